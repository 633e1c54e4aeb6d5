//! Datagrams that come to a listener: whose they are, who is challenged, and who becomes a link. docs/heart-frame.md,
//! section "Datagrams from who knows where", is what is done here.

use super::listen::Place;
use super::turn::Turn;
use super::*;
use crate::engine::carrier::Handed;
use crate::engine::listener::{Listener, Refusal};
use crate::net::Address;
use crate::wire::{FRAME_MAX, Inbound, Owed, Protocol, SEAL_LENGTH, Seal, Session, claimed_session};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

/// Datagrams taken at once; those that are left are still there then.
const PORTION: usize = 64;
/// For so long a cookie is good, and so long lies at least between two secrets.
const SECRET_MS: i32 = 60_000;
const SECRET_LEAST_MS: i32 = 1_000;

/// The peers of a listener that is sent datagrams. Nothing is kept of an address that did not prove itself.
pub(super) struct Peers {
    /// By address, and by the number that the peer has for the connection.
    links: HashMap<(SocketAddr, u64), Known>,
    secret: RandomState,
    secret_since: Stamp,
}

/// A peer that proved its address.
#[derive(Clone, Copy)]
struct Known {
    key: Key,
    /// Our number for the connection: the cookie by which it did.
    number: u64,
}

impl Peers {
    pub fn new(now: Stamp) -> Self {
        Self { links: HashMap::new(), secret: RandomState::new(), secret_since: now }
    }

    /// What is told to an address, and comes back only from there: a keyed hash, so that nothing need be kept of it.
    fn cookie(&self, address: SocketAddr, theirs: u64) -> u64 {
        self.secret.hash_one((address, theirs)).max(1)
    }

    pub fn has_any(&self, lives: impl Fn(Key) -> bool) -> bool {
        self.links.values().any(|known| lives(known.key))
    }

    /// Another secret, so that the numbers of connections that ended are not good for new ones; `false`: it is too early.
    fn renew(&mut self, now: Stamp, lives: impl Fn(Key) -> bool) -> bool {
        if (0..SECRET_LEAST_MS).contains(&now.since(self.secret_since)) {
            return false;
        }
        self.links.retain(|_, known| lives(known.key));
        (self.secret, self.secret_since) = (RandomState::new(), now);
        true
    }

    /// Our number for a connection of that peer, and its link; `None`: it ended a moment ago.
    fn find(&mut self, peer: (SocketAddr, u64), now: Stamp, lives: impl Fn(Key) -> bool) -> Option<(u64, Option<Key>)> {
        if !(0..SECRET_MS).contains(&now.since(self.secret_since)) {
            self.renew(now, &lives);
        }
        match self.links.get(&peer).copied() {
            Some(known) if lives(known.key) => return Some((known.number, Some(known.key))),
            Some(_) if !self.renew(now, lives) => return None,
            _ => {}
        }
        Some((self.cookie(peer.0, peer.1), None))
    }
}

impl Turn<'_> {
    /// Takes in what was sent to a listener.
    pub(super) fn receive(&mut self, number: usize) {
        let mut buffer = std::mem::take(&mut self.turns.portion);
        buffer.resize(buffer.len().max(FRAME_MAX), 0);
        for _ in 0..PORTION {
            let Some(place) = self.turns.places.get(number).and_then(Option::as_ref) else { break };
            match place.listening.receive(&mut buffer) {
                Ok(None) => break,
                Ok(Some((length, sender))) => {
                    self.take_in(number, &buffer[..length], &sender);
                }
                // What the system knows of one sender concerns no other.
                Err(_) => {}
            }
        }
        self.turns.portion = buffer;
    }

    /// One datagram, which may be anybody's. `None`: it is worth nothing.
    fn take_in(&mut self, number: usize, datagram: &[u8], sender: &Address) -> Option<()> {
        let now = self.turns.clock.latest();
        let address = sender.as_socket()?;
        let session = claimed_session(datagram)?;
        let (table, rows) = (&self.shard.table, &self.turns.rows);
        let lives = |key: Key| lives(table, rows, key);
        let place = self.turns.places[number].as_mut()?;
        let (ours, link) = place.peers.as_mut()?.find((address, session.mine), now, lives)?;
        if session.yours != ours {
            return self.challenge(number, datagram, sender, Session { mine: ours, yours: session.mine });
        }
        match link {
            // One that was opened a moment ago is not there yet; what is lost comes again.
            Some(key) => self.turns.rows.find(key).map(drop)?,
            None => return self.welcome(number, datagram, sender, Session { mine: ours, yours: session.mine }),
        }
        self.feed(link?.index, datagram);
        Some(())
    }

    /// Asks who sends for a sign that what is sent to his address arrives there.
    fn challenge(&mut self, number: usize, datagram: &[u8], sender: &Address, session: Session) -> Option<()> {
        let place = self.turns.places[number].as_ref()?;
        let listener = Arc::clone(&place.listener);
        let mut seal = listener.seal();
        let owed = read_beat(datagram, seal.as_mut())?;
        let mut out = [0; 128];
        let mut length = Protocol::Heart.challenge(&owed, session, &mut out)?;
        if let Some(keys) = &listener.keys {
            length =
                Seal::new(Arc::clone(keys)).close(&mut out, length).filter(|length| *length <= owed.room.into())?;
        }
        // Counted before it is seen.
        listener.challenge();
        place.listening.send(&out[..length], sender);
        Some(())
    }

    /// A peer that proved its address with this datagram becomes a link.
    fn welcome(&mut self, number: usize, datagram: &[u8], sender: &Address, session: Session) -> Option<()> {
        let place = self.turns.places[number].as_ref()?;
        let listener = Arc::clone(&place.listener);
        if listener.is_closed() {
            return None;
        }
        let mut seal = listener.seal();
        seal.iter_mut().for_each(|seal| seal.bind(session.mine));
        read_beat(datagram, seal.as_mut())?;
        let handed = Handed::Peer { connection: place.listening.connection(sender), session, first: datagram.into() };
        match self.seat_peer(&listener, handed, sender) {
            Ok(key) => {
                let peers = self.turns.places[number].as_mut()?.peers.as_mut()?;
                peers.links.insert((sender.as_socket()?, session.yours), Known { key, number: session.mine });
            }
            Err(refusal) => self.refuse(number, refusal, 0),
        }
        Some(())
    }

    fn seat_peer(&mut self, listener: &Arc<Listener>, handed: Handed, sender: &Address) -> Result<Key, Refusal> {
        let seat = listener.seat(sender)?;
        // What is sent to it is read here.
        self.engine.admit(seat, handed, sender, Some(self.shard))
    }
}

impl Place {
    /// Whether links still need the socket of a listener that was closed.
    pub(super) fn is_needed(&self, table: &Table, rows: &Rows) -> bool {
        self.peers.as_ref().is_some_and(|peers| peers.has_any(|key| lives(table, rows, key)))
    }
}

/// Whether a link is open and has its connection, or is about to be opened.
fn lives(table: &Table, rows: &Rows, key: Key) -> bool {
    let connected = |row: &Row| row.beside.carried().is_some_and(|carried| carried.is_ahead());
    table.find(key).is_some() && rows.get(key.index).is_none_or(|row| row.key(key.index) == key && connected(row))
}

/// The beat that a datagram begins with, one-way or not, if nothing is wrong with it.
fn read_beat(mut datagram: &[u8], seal: Option<&mut Seal>) -> Option<Owed> {
    match Protocol::Heart.datagram(&mut datagram, seal)? {
        Inbound::Beat { owed, .. } => owed,
        _ => None,
    }
}

const _: () = assert!(28 + 20 + SEAL_LENGTH <= 128, "a sealed challenge has room");
