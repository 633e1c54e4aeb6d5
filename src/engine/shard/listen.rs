//! Listeners: what connects is accepted here, given a seat, and opened as a link. Datagrams: see `datagrams`.

use super::datagrams::Peers;
use super::turn::Turn;
use super::*;
use crate::engine::carrier::Handed;
use crate::engine::listener::{Listener, Refusal};
use crate::net::{Bound, Listening};
use std::io;
use std::sync::Arc;

/// Connections accepted at once; those that are left are still there then.
const PORTION: usize = 64;
/// For so long nothing is accepted once the system has no descriptors or memory left, and so long lies between two
/// events about limits.
const REST_MS: u32 = 1_000;
/// A poller's key of a listener; others are those of links, which are smaller.
const KEY: usize = 1 << 30;

/// A listener that the shard serves.
pub struct Place {
    pub(super) listener: Arc<Listener>,
    pub(super) listening: Listening,
    /// Of one that is sent datagrams.
    pub(super) peers: Option<Peers>,
    /// Nothing is accepted before; or one that was closed is still needed, and looked at then.
    closed_until: Option<Stamp>,
    /// What was refused and not told yet, and when it may be.
    refused: u32,
    errno: u32,
    quiet_until: Option<Stamp>,
}

/// Whether a poller's key is that of a listener, and of which.
pub(super) fn place_of(key: usize) -> Option<usize> {
    (key & KEY != 0).then_some(key & !KEY)
}

impl Place {
    /// When it is to be looked at, whoever connects.
    pub fn due(&self) -> Option<Stamp> {
        let tell = self.quiet_until.filter(|_| self.refused > 0);
        self.closed_until.into_iter().chain(tell).reduce(Stamp::earliest)
    }
}

impl Turn<'_> {
    pub(super) fn listen(&mut self, listener: Arc<Listener>, bound: Bound) {
        let free = self.turns.places.iter().position(Option::is_none).unwrap_or(self.turns.places.len());
        let listening = match self.shard.poller().and_then(|poller| poller.listen(bound, KEY | free)) {
            Ok(listening) => listening,
            Err(error) => return self.tell_limit(&listener, 1, errno(&error)),
        };
        let peers = listening.is_datagram().then(|| Peers::new(self.turns.clock.latest()));
        let place = Place { listener, listening, peers, closed_until: None, refused: 0, errno: 0, quiet_until: None };
        if free == self.turns.places.len() {
            self.turns.places.push(None);
        }
        self.turns.places[free] = Some(place);
    }

    /// Gives up the listeners that were closed, but for the sockets that links still need.
    pub(super) fn unlisten(&mut self) {
        let until = self.turns.clock.latest().plus(REST_MS);
        let Turns { places, rows, .. } = &mut *self.turns;
        for place in places {
            let Some(closed) = place.as_mut().filter(|place| place.listener.is_closed()) else { continue };
            closed.closed_until = Some(until);
            if !closed.is_needed(&self.shard.table, rows) {
                *place = None;
            }
        }
    }

    /// Looks at listeners whose time has come.
    pub(super) fn look_at_places(&mut self) {
        let now = self.turns.clock.latest();
        for number in 0..self.turns.places.len() {
            let Some(place) = &mut self.turns.places[number] else { continue };
            if place.closed_until.take_if(|until| !until.is_after(now)).is_some() {
                if place.listener.is_closed() {
                    return self.unlisten();
                }
                let _ = place.listening.watch(true);
            }
            if place.due().is_some_and(|due| !due.is_after(now)) {
                self.tell_refused(number);
            }
        }
    }

    /// Takes in who connected, or what was sent.
    pub(super) fn accept(&mut self, number: usize) {
        if self.turns.places.get(number).and_then(Option::as_ref).is_some_and(|place| place.peers.is_some()) {
            return self.receive(number);
        }
        for _ in 0..PORTION {
            let Some(place) = self.turns.places.get(number).and_then(Option::as_ref) else { return };
            match place.listening.accept() {
                Ok(None) => return,
                Ok(Some((socket, peer))) => match place.listener.seat(&peer) {
                    Ok(seat) => {
                        if let Err(refusal) = self.engine.admit(seat, Handed::Socket(socket), &peer, None) {
                            self.refuse(number, refusal, 0);
                        }
                    }
                    // Counted before the peer sees its end.
                    Err(refusal) => self.refuse(number, refusal, 0),
                },
                Err(error) => {
                    self.rest(number);
                    return self.refuse(number, Refusal::System, errno(&error));
                }
            }
        }
    }

    /// Who connects waits in the system until there is room.
    fn rest(&mut self, number: usize) {
        let until = self.turns.clock.latest().plus(REST_MS);
        if let Some(place) = &mut self.turns.places[number] {
            place.closed_until = Some(until);
            let _ = place.listening.watch(false);
        }
    }

    pub(super) fn refuse(&mut self, number: usize, refusal: Refusal, errno: u32) {
        let now = self.turns.clock.latest();
        let Some(place) = &mut self.turns.places[number] else { return };
        place.listener.refuse(refusal);
        place.refused += 1;
        place.errno = errno;
        if place.quiet_until.is_none_or(|until| !until.is_after(now)) {
            self.tell_refused(number);
        }
    }

    fn tell_refused(&mut self, number: usize) {
        let until = self.turns.clock.latest().plus(REST_MS);
        let Some(place) = &mut self.turns.places[number] else { return };
        place.quiet_until = Some(until);
        let (listener, count, errno) = (Arc::clone(&place.listener), std::mem::take(&mut place.refused), place.errno);
        self.tell_limit(&listener, count, errno);
    }

    fn tell_limit(&mut self, listener: &Listener, count: u32, errno: u32) {
        let event = Event {
            listener: Some(listener.id),
            name: listener.name.clone(),
            count,
            detail: errno,
            ..Event::of_engine(EventKind::ListenerLimit, self.engine.clock.now_ns())
        };
        self.turns.outbox.extend(self.engine.item(event));
    }

    /// When a listener is due next.
    pub(super) fn places_due(&self) -> Option<Stamp> {
        self.turns.places.iter().flatten().filter_map(Place::due).reduce(Stamp::earliest)
    }
}

fn errno(error: &io::Error) -> u32 {
    error.raw_os_error().map_or(0, i32::unsigned_abs)
}
