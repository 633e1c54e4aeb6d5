//! What the application is told.

use super::listener::ListenerId;
use super::options::LinkData;
use crate::core::{Cause, State};
use crate::net::TcpInfo;
use std::fmt;
use std::sync::Arc;

/// The id of a link: never 0, never used again for another link that matters (see `table`), safe for ever.
/// Shard 8 bits, generation 28 bits, index 28 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(transparent)]
pub struct LinkId(pub u64);

/// What happened. The numbers are those of the C header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum EventKind {
    /// A beat, or an owed answer, is to be taken and written.
    Send = 1,
    /// Back from SUSPECT, or from DOWN with `up_after`.
    Up = 2,
    /// A try was missed, some are left.
    Suspect = 3,
    /// The verdict.
    Down = 4,
    /// The last event of a link.
    Closed = 5,
    /// A matched answer; on request.
    Answer = 6,
    /// A beat of the peer; on request.
    BeatReceived = 7,
    /// A judgement is due, and bytes wait unread on the observed socket or the application makes no progress.
    LocalReaderLate = 8,
    /// A message has been unfinished for too long.
    PartialFrame = 9,
    /// The process did not run for a while.
    Pause = 10,
    /// A notice could not be handed out for a whole timeout, or the application makes no progress.
    AppNotResponding = 11,
    /// A bug in hbeat was caught.
    EngineFailed = 12,
    /// What would be the verdict, with `observe_only`.
    WouldBeDown = 13,
    /// The engine makes a connection, now or later.
    Connecting = 14,
    /// The state that the peer tells in its beats and answers changed.
    PeerState = 15,
    /// The peer beat too often.
    Strike = 16,
    /// A peer connected to a listener, and was heard.
    Accepted = 17,
    /// A listener refused connections.
    ListenerLimit = 18,
}

impl EventKind {
    /// Its bit in a mask of events.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Send,
        Self::Up,
        Self::Suspect,
        Self::Down,
        Self::Closed,
        Self::Answer,
        Self::BeatReceived,
        Self::LocalReaderLate,
        Self::PartialFrame,
        Self::Pause,
        Self::AppNotResponding,
        Self::EngineFailed,
        Self::WouldBeDown,
        Self::Connecting,
        Self::PeerState,
        Self::Strike,
        Self::Accepted,
        Self::ListenerLimit,
    ];

    /// Its name, the first word of a log line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "SEND",
            Self::Up => "UP",
            Self::Suspect => "SUSPECT",
            Self::Down => "DOWN",
            Self::Closed => "CLOSED",
            Self::Answer => "ANSWER",
            Self::BeatReceived => "BEAT_RECEIVED",
            Self::LocalReaderLate => "LOCAL_READER_LATE",
            Self::PartialFrame => "PARTIAL_FRAME",
            Self::Pause => "PAUSE",
            Self::AppNotResponding => "APP_NOT_RESPONDING",
            Self::EngineFailed => "ENGINE_FAILED",
            Self::WouldBeDown => "WOULD_BE_DOWN",
            Self::Connecting => "CONNECTING",
            Self::PeerState => "PEER_STATE",
            Self::Strike => "STRIKE",
            Self::Accepted => "ACCEPTED",
            Self::ListenerLimit => "LISTENER_LIMIT",
        }
    }
}

/// Something that happened, with what is known about it.
#[derive(Clone, Debug)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// Which link; `None` for events of the engine.
    pub link: Option<LinkId>,
    /// The application's word on the link.
    pub data: LinkData,
    /// When, on the engine's clock.
    pub at_ns: u64,
    /// The state after it.
    pub state: State,
    /// Why it is DOWN, or with `observe_only` would be.
    pub cause: Option<Cause>,
    /// SEND: the number of this try, 0 outside a probe; others: tries missed.
    pub tries: u32,
    /// N.
    pub tries_max: u32,
    /// Of the latest beat taken; of the answer or beat received.
    pub sequence: u32,
    /// How many changes, or refused connections, it stands for, at least 1.
    pub count: u32,
    /// DOWN by report: its detail; PEER_STATE: its length in bytes; STRIKE: strikes so far; PAUSE: length in ms; DOWN and
    /// CONNECTING of a link that the engine carries, LISTENER_LIMIT: the system's error number, if there is one.
    pub detail: u32,
    /// Latest round-trip time.
    pub rtt_us: Option<u32>,
    /// How long ago something was received.
    pub last_received_ms: Option<u32>,
    /// How long ago something was sent.
    pub last_sent_ms: Option<u32>,
    /// Unread bytes on the observed socket.
    pub unread_bytes: Option<u32>,
    /// Bytes in its send queue.
    pub send_queue_bytes: Option<u32>,
    /// The link's name, if it has one.
    pub name: Option<Arc<str>>,
    /// CONNECTING: the number of the attempt, from 1.
    pub attempt: u32,
    /// CONNECTING: in how many milliseconds the attempt begins.
    pub next_ms: Option<u32>,
    /// ACCEPTED, and what follows of that link: which listener; LISTENER_LIMIT.
    pub listener: Option<ListenerId>,
    /// SUSPECT, DOWN, WOULD_BE_DOWN of a link whose TCP socket is known: what the kernel knew of the connection. Boxed, since
    /// most events have none.
    pub tcp: Option<Box<TcpInfo>>,
}

impl Event {
    /// An event of the engine itself, of which nothing more is known.
    pub(crate) fn of_engine(kind: EventKind, at_ns: u64) -> Self {
        Self {
            kind,
            link: None,
            data: LinkData::default(),
            at_ns,
            state: State::Up,
            cause: None,
            tries: 0,
            tries_max: 0,
            sequence: 0,
            count: 1,
            detail: 0,
            rtt_us: None,
            last_received_ms: None,
            last_sent_ms: None,
            unread_bytes: None,
            send_queue_bytes: None,
            name: None,
            attempt: 0,
            next_ms: None,
            listener: None,
            tcp: None,
        }
    }

    /// What the event is about: the name of its link or listener, `link-<id>`, `listener-<id>`, `engine`.
    pub fn subject(&self) -> impl fmt::Display + '_ {
        Subject { name: self.name.as_deref(), link: self.link, listener: self.listener }
    }
}

/// The name by which a link or a listener is known.
pub(crate) struct Subject<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) link: Option<LinkId>,
    pub(crate) listener: Option<ListenerId>,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name, self.link, self.listener) {
            (Some(name), ..) => f.write_str(name),
            (None, Some(link), _) => write_id(f, "link-", link.0),
            (None, None, Some(listener)) => write_id(f, "listener-", listener.0),
            (None, None, None) => f.write_str("engine"),
        }
    }
}

/// The id in hexadecimal, by hand: every event of a link without a name is told with it.
fn write_id(f: &mut fmt::Formatter<'_>, what: &str, id: u64) -> fmt::Result {
    let mut digits = [0; 16];
    let count = (16 - id.leading_zeros() as usize / 4).max(1);
    for (place, digit) in digits[..count].iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(id >> (4 * place)) as usize & 15];
    }
    f.write_str(what)?;
    f.write_str(std::str::from_utf8(&digits[..count]).unwrap_or_default())
}

/// The line that an operator greps for: `DOWN gd-mt-07 cause=no_answer tries=3/3 seq=4711 last_rx=360.0s unread=0
/// sendq=0 rtt=18ms tcp=established unacked=1 retrans=9 last_ack=360.0s`. What is not known is left out.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.subject())?;
        if let Some(cause) = self.cause {
            write!(f, " cause={}", cause.name())?;
        }
        if self.kind == EventKind::Pause {
            write!(f, " length={}", Seconds(self.detail))?;
        } else if self.detail != 0 {
            write!(f, " detail={}", self.detail)?;
        }
        if self.attempt > 0 {
            write!(f, " attempt={}", self.attempt)?;
        }
        if let Some(next_ms) = self.next_ms {
            write!(f, " next={}", Seconds(next_ms))?;
        }
        if self.tries_max > 0 {
            write!(f, " tries={}/{}", self.tries, self.tries_max)?;
        }
        if self.sequence != 0 || matches!(self.kind, EventKind::Answer | EventKind::BeatReceived) {
            write!(f, " seq={}", self.sequence)?;
        }
        if let Some(age) = self.last_received_ms {
            write!(f, " last_rx={}", Seconds(age))?;
        }
        if let Some(age) = self.last_sent_ms {
            write!(f, " last_tx={}", Seconds(age))?;
        }
        if let Some(bytes) = self.unread_bytes {
            write!(f, " unread={bytes}")?;
        }
        if let Some(bytes) = self.send_queue_bytes {
            write!(f, " sendq={bytes}")?;
        }
        match self.rtt_us {
            None => {}
            Some(us @ 0..1_000) => write!(f, " rtt={us}us")?,
            Some(us @ 1_000..10_000) => write!(f, " rtt={}.{}ms", us / 1_000, us % 1_000 / 100)?,
            Some(us) => write!(f, " rtt={}ms", us / 1_000)?,
        }
        if let Some(tcp) = self.tcp.as_deref() {
            write!(f, " tcp={}", tcp.state_name())?;
            if let Some(segments) = tcp.unacked {
                write!(f, " unacked={segments}")?;
            }
            if let Some(times) = tcp.retransmits {
                write!(f, " retrans={times}")?;
            }
            if let Some(age) = tcp.last_ack_ms {
                write!(f, " last_ack={}", Seconds(age))?;
            }
        }
        if self.count > 1 {
            write!(f, " count={}", self.count)?;
        }
        Ok(())
    }
}

/// Milliseconds, written as seconds with one decimal; never more than it was.
struct Seconds(u32);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}s", self.0 / 1_000, self.0 % 1_000 / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> Event {
        Event {
            kind: EventKind::Down,
            link: Some(LinkId(0x0102_AB00_0000_0007)),
            data: LinkData(0),
            at_ns: 360_000_000_000,
            state: State::Down,
            cause: Some(Cause::NoAnswer),
            tries: 3,
            tries_max: 3,
            sequence: 4711,
            count: 1,
            detail: 0,
            rtt_us: Some(18_400),
            last_received_ms: Some(360_099),
            last_sent_ms: None,
            unread_bytes: Some(0),
            send_queue_bytes: Some(0),
            name: Some("gd-mt-07".into()),
            ..Event::of_engine(EventKind::Down, 0)
        }
    }

    #[test]
    fn a_verdict_is_one_line() {
        let line = "DOWN gd-mt-07 cause=no_answer tries=3/3 seq=4711 last_rx=360.0s unread=0 sendq=0 rtt=18ms";
        assert_eq!(down().to_string(), line);
    }

    #[test]
    fn an_id_is_written_in_hexadecimal() {
        for id in [0, 1, 15, 16, 0x0102_AB00_0000_0007, u64::MAX] {
            let subject = Subject { name: None, link: Some(LinkId(id)), listener: None };
            assert_eq!(subject.to_string(), format!("link-{id:x}"));
        }
    }

    #[test]
    fn what_the_kernel_knew_is_part_of_it() {
        let tcp = TcpInfo { state: Some(8), unacked: Some(3), last_ack_ms: Some(12_345), ..TcpInfo::default() };
        let line = Event { tcp: Some(Box::new(tcp)), count: 2, ..down() }.to_string();
        assert!(line.ends_with(" rtt=18ms tcp=close_wait unacked=3 last_ack=12.3s count=2"), "{line}");
    }

    #[test]
    fn what_is_not_known_is_left_out_and_what_has_no_name_has_its_id() {
        let event = Event {
            kind: EventKind::Suspect,
            cause: None,
            name: None,
            tries: 1,
            sequence: 0,
            count: 3,
            rtt_us: Some(1_290),
            last_received_ms: None,
            last_sent_ms: Some(59_950),
            unread_bytes: None,
            send_queue_bytes: None,
            ..down()
        };
        assert_eq!(event.to_string(), "SUSPECT link-102ab0000000007 tries=1/3 last_tx=59.9s rtt=1.2ms count=3");
    }

    #[test]
    fn an_event_of_the_engine_is_about_the_engine() {
        let event = Event {
            kind: EventKind::Pause,
            link: None,
            name: None,
            cause: None,
            tries_max: 0,
            sequence: 0,
            detail: 30_500,
            rtt_us: None,
            last_received_ms: None,
            unread_bytes: None,
            send_queue_bytes: None,
            ..down()
        };
        assert_eq!(event.to_string(), "PAUSE engine length=30.5s");
    }

    #[test]
    fn kinds_are_numbered_from_one_in_order() {
        assert!(EventKind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index + 1));
    }
}
