//! Listeners: their limits, who is inside them, and the calls about them. `shard/listen` accepts.

use super::carrier::{Carried, Handed};
use super::command::Command;
use super::error::{Code, Error};
use super::event::LinkId;
use super::links::Carry;
use super::options::{LinkOptions, check_events, check_name, within};
use super::shard::Shard;
use super::sync::{AtomicBool, AtomicU64, Mutex, lock};
use super::table::Key;
use super::{Engine, Inner};
use crate::core::Policy;
use crate::net::{Address, Bound, Endpoint};
use crate::wire::{Keys, Protocol, Seal};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The id of a listener: never 0, never a link's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct ListenerId(pub u64);

/// The shard byte of a link's id is no such number.
const OF_LISTENERS: u64 = 0xff << 56;
const LIMIT_MAX: u32 = 1 << 28;
/// How many connections may be silent so far, unless the application says.
const GREETING: u32 = 1024;

/// How a listener is set up.
#[derive(Clone, Debug, Default)]
pub struct ListenerOptions {
    /// For events and logs, and the first part of its links' names; empty = none.
    pub name: String,
    /// How many of its links may be open; 0: as many as the engine takes.
    pub max_links: u32,
    /// How many of them from one source, which is an IPv4 address or 64 bits of an IPv6 address; 0: any number. Unix
    /// sockets have no source.
    pub max_per_source: u32,
    /// How many connections from which nothing valid was heard yet; 0 = 1024.
    pub max_greeting: u32,
    /// Which events of its links are asked for; `None`: as the engine.
    pub events: Option<u32>,
    /// What every frame of its links is sealed with; `None`: nothing is sealed.
    pub keys: Option<Arc<Keys>>,
}

impl ListenerOptions {
    fn check(&self) -> Result<(), Error> {
        check_name(&self.name)?;
        within("max_links", self.max_links.into(), 0, LIMIT_MAX.into())?;
        within("max_per_source", self.max_per_source.into(), 0, LIMIT_MAX.into())?;
        within("max_greeting", self.max_greeting.into(), 0, LIMIT_MAX.into())?;
        self.events.map_or(Ok(()), check_events)
    }
}

/// What is known of a listener.
#[derive(Clone, Debug)]
pub struct ListenerInfo {
    /// Its id.
    pub listener: ListenerId,
    /// Its name, if it was given one.
    pub name: Option<Arc<str>>,
    /// Where it listens, with the port that it got.
    pub endpoint: String,
    /// That port; 0 for a Unix socket.
    pub port: u16,
    /// Its links that are open.
    pub links: u32,
    /// Connections from which nothing valid was heard yet.
    pub greeting: u32,
    /// Links that it ever had.
    pub accepted: u64,
    /// Connections that were closed at once, by what stood in their way.
    pub refused: [u64; Refusal::ALL.len()],
    /// Connections that ended, or were ended, before anything valid was heard.
    pub never_heard: u64,
    /// Datagrams of senders that had not proved their address, and were asked to.
    pub challenged: u64,
}

/// What stands in a connection's way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Refusal {
    /// As many links are open as it, or the engine, may have.
    Links,
    /// As many are from that source.
    Source,
    /// As many have not greeted yet.
    Greeting,
    /// The system has no descriptors or memory left: connections wait there.
    System,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Links, Self::Source, Self::Greeting, Self::System];
}

/// What shards and callers share of a listener.
pub struct Listener {
    pub id: ListenerId,
    pub name: Option<Arc<str>>,
    pub policy: Policy,
    pub events: Option<u32>,
    pub keys: Option<Arc<Keys>>,
    shard: usize,
    endpoint: String,
    port: u16,
    max_links: u32,
    max_per_source: u32,
    max_greeting: u32,
    closed: AtomicBool,
    crowd: Mutex<Crowd>,
    accepted: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    never_heard: AtomicU64,
    challenged: AtomicU64,
}

/// Who is inside.
#[derive(Default)]
struct Crowd {
    seats: u32,
    greeting: u32,
    sources: HashMap<Source, u32>,
}

/// Where connections come from, as far as they are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Source(u64, bool);

impl Source {
    /// An IPv4 address, or the half of an IPv6 address that one customer has at least.
    fn of(peer: &Address) -> Option<Self> {
        let address = peer.as_socket()?.ip().to_canonical();
        Some(match address {
            IpAddr::V4(address) => Self(u64::from(u32::from(address)), false),
            IpAddr::V6(address) => Self((u128::from(address) >> 64) as u64, true),
        })
    }
}

impl Listener {
    /// A seat for a connection from there.
    pub fn seat(self: &Arc<Self>, peer: &Address) -> Result<Seat, Refusal> {
        let source = Source::of(peer).filter(|_| self.max_per_source > 0);
        let mut crowd = lock(&self.crowd);
        if self.max_links > 0 && crowd.seats >= self.max_links {
            return Err(Refusal::Links);
        }
        let there = |source| crowd.sources.get(&source).copied().unwrap_or(0);
        if source.is_some_and(|source| there(source) >= self.max_per_source) {
            return Err(Refusal::Source);
        }
        if crowd.greeting >= self.max_greeting {
            return Err(Refusal::Greeting);
        }
        source.into_iter().for_each(|source| *crowd.sources.entry(source).or_default() += 1);
        crowd.seats += 1;
        crowd.greeting += 1;
        Ok(Seat { listener: Arc::clone(self), source, heard: false })
    }

    /// A connection ended before anything valid was heard on it.
    pub fn miss(&self) {
        self.never_heard.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody was asked to prove his address.
    pub fn challenge(&self) {
        self.challenged.fetch_add(1, Ordering::Relaxed);
    }

    /// What opens a frame of a connection of which nothing is known; `None` where nothing is sealed.
    pub fn seal(&self) -> Option<Seal> {
        self.keys.clone().map(Seal::new)
    }

    pub fn refuse(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What a link from there is called: the listener and the peer, as far as there is room.
    pub fn name_of(&self, peer: &Address) -> String {
        let peer = match peer.as_socket() {
            Some(mut address) => {
                address.set_ip(address.ip().to_canonical());
                address.to_string()
            }
            None => String::new(),
        };
        match &self.name {
            None => peer,
            Some(name) if peer.is_empty() => name.to_string(),
            Some(name) => {
                let room = super::options::NAME_MAX.saturating_sub(peer.len() + 1);
                let end = (0..=room.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
                format!("{}/{peer}", &name[..end])
            }
        }
    }
}

/// A connection's place in its listener, given back when it is dropped.
pub struct Seat {
    listener: Arc<Listener>,
    source: Option<Source>,
    /// Something valid was heard: the application knows of the link.
    heard: bool,
}

impl Seat {
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    pub fn was_heard(&self) -> bool {
        self.heard
    }

    /// Something valid was heard on the connection for the first time.
    pub fn hear(&mut self) {
        self.heard = true;
        lock(&self.listener.crowd).greeting -= 1;
        self.listener.accepted.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut crowd = lock(&self.listener.crowd);
        crowd.seats -= 1;
        if !self.heard {
            crowd.greeting -= 1;
        }
        if let Some(source) = self.source
            && let Some(there) = crowd.sources.get_mut(&source)
        {
            *there -= 1;
            if *there == 0 {
                crowd.sources.remove(&source);
            }
        }
    }
}

/// The listeners of an engine.
#[derive(Default)]
pub struct Listeners(Mutex<Vec<Arc<Listener>>>);

impl Listeners {
    fn find(&self, id: ListenerId) -> Result<Arc<Listener>, Error> {
        let found = lock(&self.0).iter().find(|listener| listener.id == id).map(Arc::clone);
        found.ok_or_else(no_listener)
    }
}

fn no_listener() -> Error {
    Error::new(Code::NoLink, "the listener is closed, was never opened, or belongs to another engine")
}

impl Engine {
    /// Listens for peers that dial. Each of their connections becomes a link of the policy, protocol
    /// [`Protocol::Heart`], of which the application learns by [`Accepted`](super::EventKind::Accepted), as soon as the
    /// peer was heard. Never waits.
    ///
    /// # Errors
    /// [`Code::Invalid`] names the field; [`Code::System`]: the endpoint is in use, not this machine's, or there are no
    /// descriptors left; [`Code::WrongMode`], [`Code::Stopped`], [`Code::Failed`], [`Code::Forked`].
    pub fn listen(&self, endpoint: &Endpoint, policy: &Policy, options: &ListenerOptions) -> Result<ListenerId, Error> {
        let inner = &*self.inner;
        inner.check_running()?;
        policy.check().map_err(|error| Error::new(Code::Invalid, error.to_string()))?;
        options.check()?;
        inner.check_carries(policy, &LinkOptions::default())?;
        let refused = |error: io::Error| Error::new(Code::System, format!("{endpoint} cannot be listened at: {error}"));
        let bound = bind(endpoint).map_err(refused)?;
        let ordinal = inner.ordinals.fetch_add(1, Ordering::Relaxed);
        let shard = ordinal as usize % inner.shards.len();
        inner.shards[shard].poller().map_err(refused)?;
        let port = bound.address().map_err(refused)?.as_socket().map_or(0, |address| address.port());
        let listener = Arc::new(Listener {
            id: ListenerId(OF_LISTENERS | u64::from(ordinal) << 24 | (inner.random() & 0x00ff_ffff)),
            name: (!options.name.is_empty()).then(|| options.name.as_str().into()),
            policy: *policy,
            events: options.events,
            keys: options.keys.clone(),
            shard,
            endpoint: endpoint.with_port(port).to_string(),
            port,
            max_links: options.max_links,
            max_per_source: options.max_per_source,
            max_greeting: if options.max_greeting == 0 { GREETING } else { options.max_greeting },
            closed: AtomicBool::new(false),
            crowd: Mutex::default(),
            accepted: AtomicU64::new(0),
            refused: Default::default(),
            never_heard: AtomicU64::new(0),
            challenged: AtomicU64::new(0),
        });
        let id = listener.id;
        // In one order with a stop, after which there is no other listener.
        let slots = inner.shards[shard].table.slots();
        if slots.shut {
            return Err(Error::new(Code::Stopped, "the engine was stopped"));
        }
        lock(&inner.listeners.0).push(Arc::clone(&listener));
        inner.shards[shard].tell(Command::Listen(Box::new((listener, bound))));
        drop(slots);
        Ok(id)
    }

    /// Listens no longer. The links that came of it stay. Never waits: the endpoint is free once a
    /// [`quiesce`](Self::quiesce) came to its end.
    ///
    /// # Errors
    /// [`Code::NoLink`], [`Code::Forked`].
    pub fn close_listener(&self, id: ListenerId) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.check_fork()?;
        let listener = inner.listeners.find(id)?;
        if listener.closed.swap(true, Ordering::AcqRel) {
            return Err(no_listener());
        }
        lock(&inner.listeners.0).retain(|listener| listener.id != id);
        inner.shards[listener.shard].tell(Command::Unlisten);
        Ok(())
    }

    /// What is known of a listener. Waits for nobody.
    ///
    /// # Errors
    /// [`Code::NoLink`], [`Code::Stopped`], [`Code::Failed`], [`Code::Forked`].
    pub fn listener_info(&self, id: ListenerId) -> Result<ListenerInfo, Error> {
        let inner = &*self.inner;
        inner.check_running()?;
        let listener = inner.listeners.find(id)?;
        let crowd = lock(&listener.crowd);
        Ok(ListenerInfo {
            listener: id,
            name: listener.name.clone(),
            endpoint: listener.endpoint.clone(),
            port: listener.port,
            links: crowd.seats - crowd.greeting,
            greeting: crowd.greeting,
            accepted: listener.accepted.load(Ordering::Relaxed),
            refused: listener.refused.each_ref().map(|count| count.load(Ordering::Relaxed)),
            never_heard: listener.never_heard.load(Ordering::Relaxed),
            challenged: listener.challenged.load(Ordering::Relaxed),
        })
    }
}

/// Listens at the endpoint's address.
fn bind(endpoint: &Endpoint) -> io::Result<Bound> {
    let address = endpoint.addresses().unwrap_or_else(|| Ok(Vec::new()))?.pop();
    Bound::new(&address.ok_or(io::ErrorKind::InvalidInput)?, endpoint.kind())
}

impl Inner {
    /// Opens a link for a connection that was accepted, in that shard if it matters.
    pub(super) fn admit(
        &self,
        seat: Seat,
        handed: Handed,
        peer: &Address,
        shard: Option<&Shard>,
    ) -> Result<Key, Refusal> {
        let listener = Arc::clone(&seat.listener);
        let options = LinkOptions {
            name: listener.name_of(peer),
            protocol: Protocol::Heart,
            events: listener.events,
            keys: listener.keys.clone(),
            ..LinkOptions::default()
        };
        let carry = Carry { hidden: true, shard, make: Box::new(move || Carried::accepted(handed, seat)) };
        self.open_with(&listener.policy, &options, Some(carry)).map(LinkId::key).map_err(|error| match error.code {
            Code::Limit | Code::Again => Refusal::Links,
            _ => Refusal::System,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn listener(max_links: u32, max_per_source: u32, max_greeting: u32) -> Arc<Listener> {
        Arc::new(Listener {
            id: ListenerId(1),
            name: Some("devices".into()),
            policy: Policy::preset("normal").unwrap(),
            events: None,
            keys: None,
            shard: 0,
            endpoint: String::new(),
            port: 0,
            max_links,
            max_per_source,
            max_greeting,
            closed: AtomicBool::new(false),
            crowd: Mutex::default(),
            accepted: AtomicU64::new(0),
            refused: Default::default(),
            never_heard: AtomicU64::new(0),
            challenged: AtomicU64::new(0),
        })
    }

    fn peer(text: &str) -> Address {
        text.parse::<SocketAddr>().unwrap().into()
    }

    #[test]
    fn seats_are_limited_in_all_from_each_source_and_until_they_are_heard() {
        let listener = listener(4, 2, 3);
        let (one, other) = (peer("10.0.0.1:1"), peer("[::ffff:10.0.0.2]:2"));
        let mut first = listener.seat(&one).unwrap();
        let second = listener.seat(&one).unwrap();
        assert_eq!(listener.seat(&one).err(), Some(Refusal::Source));
        let third = listener.seat(&other).unwrap();
        assert_eq!(listener.seat(&other).err(), Some(Refusal::Greeting));
        first.hear();
        let _fourth = listener.seat(&peer("10.0.0.2:9")).unwrap();
        assert_eq!(listener.seat(&peer("10.0.0.3:1")).err(), Some(Refusal::Links));
        drop((first, third));
        // What went gave back what it had, and only that.
        let _fifth = listener.seat(&one).unwrap();
        assert_eq!(listener.seat(&one).err(), Some(Refusal::Source));
        drop(second);
        let crowd = lock(&listener.crowd);
        assert_eq!((crowd.seats, crowd.greeting, crowd.sources.len()), (2, 2, 2));
        assert_eq!(listener.accepted.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn one_customer_of_ipv6_is_one_source() {
        let (near, same, far) = (peer("[2001:db8::1]:1"), peer("[2001:db8::ff]:2"), peer("[2001:db8:0:1::1]:1"));
        assert_eq!(Source::of(&near), Source::of(&same));
        assert_ne!(Source::of(&near), Source::of(&far));
        assert_eq!(Source::of(&Address::unix("/run/x").unwrap()), None);
    }

    #[test]
    fn links_are_named_after_listener_and_peer() {
        let mut listener = listener(0, 0, 1);
        assert_eq!(listener.name_of(&peer("[::ffff:10.0.0.2]:7")), "devices/10.0.0.2:7");
        assert_eq!(listener.name_of(&Address::unix("/run/x").unwrap()), "devices");
        Arc::get_mut(&mut listener).unwrap().name = Some("ä".repeat(31).as_str().into());
        let name = listener.name_of(&peer("[2001:db8:1111:2222:3333:4444:5555:6666]:65535"));
        assert!(name.len() <= 63 && name.ends_with("ä/[2001:db8:1111:2222:3333:4444:5555:6666]:65535"), "{name}");
    }
}
