//! What the engine keeps of a link that it carries: one whose socket is its own, whose beats it writes and reads itself.
//! `shard/carry` moves it; the link's core judges it like any other.

use super::Inner;
use super::command::{Command, Said};
use super::event::LinkId;
use super::listener::Seat;
use super::talk::Talk;
use crate::core::{Attempts, Backoff, Cause, Stamp};
use crate::net::{Address, Connection, Endpoint, Socket};
use crate::wire::Session;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A link's socket, or the way to the next one.
pub struct Carried {
    pub phase: Phase,
    pub connection: Option<Connection>,
    /// Of protocols that say more than that they live.
    pub talk: Option<Talk>,
    /// What the socket did not take yet. Nothing is built while there is any: it is bounded by what is built at once.
    pub unwritten: Vec<u8>,
    /// Where a lost connection is made anew.
    pub endpoint: Option<Endpoint>,
    pub addresses: Vec<Address>,
    /// Which of them is tried next.
    pub next_address: usize,
    pub reconnects: bool,
    /// Attempts in a row that may fail before the link is given up; 0: any number.
    pub attempts_max: u32,
    pub backoff: Backoff,
    pub attempts: Attempts,
    /// Attempts since the peer was heard last, the present one included.
    pub tried: u32,
    /// Why the latest attempt failed, or the connection before it was lost.
    pub failure: Option<Failure>,
    /// Of a link that came to a listener.
    pub seat: Option<Seat>,
}

/// How far the connection is.
pub enum Phase {
    /// An attempt is to begin then.
    Waiting { at: Stamp },
    /// Its address is asked for.
    LookingUp,
    /// The system is connecting.
    Connecting,
    /// There is a connection, from which nothing valid was heard yet; it is given up then.
    Greeting { until: Stamp },
    /// The peer was heard.
    Up,
    /// Given up for good.
    Lost,
    /// What was handed over waits for the shard.
    HandedOver(Handed),
}

/// A connection that somebody else made.
pub enum Handed {
    /// A socket of its own.
    Socket(Socket),
    /// A peer that sends datagrams to a listener and has proved its address, and the one by which it did.
    Peer { connection: Connection, session: Session, first: Box<[u8]> },
}

/// Why there is no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    pub cause: Cause,
    /// The system's error number, or 0.
    pub errno: u32,
}

impl Failure {
    /// What an error of the system means for a connection. What is missing on this side (descriptors, permission) makes
    /// the peer unreachable, too.
    pub fn of(error: &Error) -> Self {
        let cause = match error.kind() {
            // A Unix socket that is not there has nobody who listens.
            ErrorKind::ConnectionRefused | ErrorKind::NotFound if error.raw_os_error().is_some() => Cause::Refused,
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Cause::Reset,
            _ => Cause::Unreachable,
        };
        Self { cause, errno: error.raw_os_error().map_or(0, i32::unsigned_abs) }
    }
}

impl Carried {
    /// A link whose connection the engine makes itself.
    pub fn dialled(endpoint: Endpoint, reconnects: bool, attempts_max: u32, backoff: Backoff) -> Self {
        Self { endpoint: Some(endpoint), reconnects, attempts_max, backoff, ..Self::new(Phase::LookingUp) }
    }

    /// A link whose first connection was handed over; `address`: where it is made anew.
    pub fn adopted(socket: Socket, address: Option<Address>, attempts_max: u32, backoff: Backoff) -> Self {
        Self {
            reconnects: address.is_some(),
            addresses: address.into_iter().collect(),
            attempts_max,
            backoff,
            ..Self::new(Phase::HandedOver(Handed::Socket(socket)))
        }
    }

    /// A link whose peer connected to a listener.
    pub fn accepted(handed: Handed, seat: Seat) -> Self {
        Self { seat: Some(seat), ..Self::new(Phase::HandedOver(handed)) }
    }

    fn new(phase: Phase) -> Self {
        Self {
            phase,
            connection: None,
            talk: None,
            unwritten: Vec::new(),
            endpoint: None,
            addresses: Vec::new(),
            next_address: 0,
            reconnects: false,
            attempts_max: 0,
            backoff: Backoff::default(),
            attempts: Attempts::default(),
            tried: 0,
            failure: None,
            seat: None,
        }
    }

    /// Whether the application does not know of the link yet: who connected was not heard.
    pub fn is_hidden(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| !seat.was_heard())
    }

    /// Whether the peer has not been heard yet on this connection, or there is none that will be.
    pub fn is_connecting(&self) -> bool {
        !matches!(self.phase, Phase::Up | Phase::Lost)
    }

    /// In how many milliseconds the next attempt begins; `None`: none is waited for.
    pub fn next_ms(&self, now: Stamp) -> Option<u32> {
        match self.phase {
            Phase::Waiting { at } => Some(at.since(now).max(0) as u32),
            _ => None,
        }
    }

    /// Whether there is a connection, or will be.
    pub fn is_ahead(&self) -> bool {
        !matches!(self.phase, Phase::Lost)
    }

    /// Whether there is a socket to read from and write to.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Greeting { .. } | Phase::Up)
    }

    /// The number of the present attempt, or of the one that is waited for, from 1; 0 once the peer was heard.
    pub fn attempt(&self) -> u32 {
        match self.phase {
            Phase::Up | Phase::Lost => 0,
            Phase::Waiting { .. } => self.tried.saturating_add(1),
            _ => self.tried,
        }
    }
}

/// How many look-ups run at once: each is a thread that may be stuck in the system for a while.
const LOOK_UPS: usize = 4;

/// Asks for addresses where nobody waits for the answer.
#[derive(Default)]
pub struct Resolver(Mutex<Questions>);

#[derive(Default)]
struct Questions {
    waiting: Vec<(LinkId, Endpoint)>,
    threads: usize,
}

impl Resolver {
    /// Asks for the addresses of a link's endpoint; the answer is said to its shard. The threads hold no engine: one
    /// that is stuck in the system keeps no engine from its end.
    pub fn ask(&self, engine: Weak<Inner>, link: LinkId, endpoint: Endpoint) -> Result<(), Error> {
        let mut questions = self.lock();
        questions.waiting.push((link, endpoint));
        if questions.threads == LOOK_UPS {
            return Ok(());
        }
        let _blocked = super::sys::SignalsBlocked::new();
        std::thread::Builder::new()
            .name("hbeat-names".to_owned())
            .spawn(move || look_up(&engine))
            .inspect_err(|_| drop(questions.waiting.pop()))?;
        questions.threads += 1;
        Ok(())
    }

    /// The question that has waited longest. Without one the thread that asks ends.
    fn next(&self) -> Option<(LinkId, Endpoint)> {
        let mut questions = self.lock();
        if questions.waiting.is_empty() {
            questions.threads -= 1;
            return None;
        }
        Some(questions.waiting.remove(0))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Questions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn look_up(engine: &Weak<Inner>) {
    while let Some((link, endpoint)) = engine.upgrade().and_then(|engine| engine.resolver.next()) {
        let found = endpoint.look_up();
        let Some(engine) = engine.upgrade() else { return };
        engine.resolved(link, found);
    }
}

impl Inner {
    fn resolved(self: Arc<Self>, link: LinkId, found: Result<Vec<Address>, Error>) {
        if let Some(shard) = self.shards.get(link.shard()) {
            shard.tell(Command::Link(link.key(), Said::Resolved(found)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_become_causes() {
        for (errno, cause) in [
            (libc::ECONNREFUSED, Cause::Refused),
            (libc::ENOENT, Cause::Refused),
            (libc::ECONNRESET, Cause::Reset),
            (libc::EPIPE, Cause::Reset),
            (libc::ETIMEDOUT, Cause::Unreachable),
            (libc::EHOSTUNREACH, Cause::Unreachable),
            (libc::EMFILE, Cause::Unreachable),
        ] {
            let failure = Failure::of(&Error::from_raw_os_error(errno));
            assert_eq!(failure, Failure { cause, errno: errno as u32 });
        }
        let no_such_name = Failure::of(&ErrorKind::NotFound.into());
        assert_eq!(no_such_name, Failure { cause: Cause::Unreachable, errno: 0 });
    }
}
