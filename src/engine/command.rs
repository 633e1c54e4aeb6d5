//! What application threads tell a shard, in one order.

use super::listener::Listener;
use super::options::LinkData;
use super::rows::Beside;
use super::sync::channel::Sender;
use super::table::Key;
use crate::core::{Cause, Policy, Stamp};
use crate::net::{Address, Bound};
use crate::wire::Keys;
use std::io;
use std::sync::Arc;

/// A message to a shard.
pub enum Command {
    /// A link was opened; its words are in place.
    Open(Opening),
    /// Something about a link.
    Link(Key, Said),
    /// A listener was opened.
    Listen(Box<(Arc<Listener>, Bound)>),
    /// One was closed.
    Unlisten,
    /// The application makes progress again.
    Progress,
    /// Come to rest: everything told so far is done when this is dropped.
    Barrier(#[allow(dead_code, reason = "its drop is the answer")] Sender<()>),
    /// Close all links and end.
    Stop,
}

impl Command {
    /// The link that it is about.
    pub fn link(&self) -> Option<Key> {
        match self {
            Self::Open(opening) => Some(opening.key),
            Self::Link(key, _) => Some(*key),
            _ => None,
        }
    }

    /// Whether there may be very many of its kind at once, so that it waits a moment for more of them.
    pub fn gathers(&self) -> bool {
        matches!(self, Self::Open(_) | Self::Link(_, Said::Start { .. } | Said::Close))
    }
}

/// A link as it was opened.
pub struct Opening {
    pub key: Key,
    pub policy: Arc<Policy>,
    pub data: LinkData,
    pub events: u32,
    pub start: bool,
    pub opened: Stamp,
    pub beside: Beside,
}

/// What is said about a link.
pub enum Said {
    Start {
        at: Stamp,
    },
    Pause,
    Close,
    /// Its words changed in a way that may matter at once.
    Look,
    Answer {
        sequence: u32,
        at: Stamp,
        at_us: u32,
        /// When its beat was built, on the same clock as `at_us`, as the peer repeats it.
        echo_us: Option<u32>,
    },
    BeatReceived {
        sequence: u32,
        at: Stamp,
        data: Data,
        /// The peer says in it that its application does not respond.
        stuck: bool,
    },
    /// An answer in which it says so.
    PeerStuck {
        at: Stamp,
    },
    HandedOut {
        at: Stamp,
    },
    Taken {
        sequence: u32,
        at: Stamp,
        at_us: u32,
    },
    Sent {
        at: Stamp,
    },
    /// The application's own heartbeat sent a beat.
    BeatSent {
        sequence: u32,
        at: Stamp,
        at_us: u32,
    },
    /// `counted`: its departure was not confirmed before.
    Unsent {
        at: Stamp,
        counted: bool,
    },
    Desync,
    /// The peer told another state, so many times.
    PeerState {
        changes: u32,
    },
    Report {
        cause: Cause,
        detail: u32,
    },
    Policy(Arc<Policy>),
    /// Other keys, for a link that has some.
    Keys(Arc<Keys>),
    /// The addresses of its endpoint are known.
    Resolved(io::Result<Vec<Address>>),
    Data(LinkData),
}

/// Whether real data came since the peer's last beat: messages that are neither beat nor answer.
#[derive(Clone, Copy)]
pub enum Data {
    /// hbeat reads the stream.
    Seen(bool),
    /// The application parses for itself: until the beat something was received then for the last time.
    Last(Stamp),
}
