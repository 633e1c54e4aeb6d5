//! What goes into a link's step function and what comes out of it.

use super::{Policy, Stamp};

/// What a link is believed to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Opened and not started: nothing is due, nothing is judged.
    Paused,
    /// There is no connection that was heard from yet: of links whose connection the engine makes itself. The core
    /// never comes to it.
    Connecting,
    /// Alive as far as anyone can tell.
    Up,
    /// At least one try was missed; some are left.
    Suspect,
    /// Given up.
    Down,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Paused, Self::Connecting, Self::Up, Self::Suspect, Self::Down];

    /// Its name, as in log lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

/// Why a link went DOWN. The core itself comes to `NoAnswer`, `Silent`, `SendStuck`, `Desync`,
/// `PartialFrame`, `Policed` and `PeerAppNotResponding`, and to what the facts say; the others are reported to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Cause {
    NoAnswer,
    Silent,
    SendStuck,
    Refused,
    Reset,
    ClosedByPeer,
    Unreachable,
    Desync,
    PartialFrame,
    ProtocolError,
    Unauthenticated,
    Policed,
    PeerAppNotResponding,
    Reported,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::NoAnswer,
        Self::Silent,
        Self::SendStuck,
        Self::Refused,
        Self::Reset,
        Self::ClosedByPeer,
        Self::Unreachable,
        Self::Desync,
        Self::PartialFrame,
        Self::ProtocolError,
        Self::Unauthenticated,
        Self::Policed,
        Self::PeerAppNotResponding,
        Self::Reported,
    ];

    /// Its name, as in log lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no_answer",
            Self::Silent => "silent",
            Self::SendStuck => "send_stuck",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::ClosedByPeer => "closed_by_peer",
            Self::Unreachable => "unreachable",
            Self::Desync => "desync",
            Self::PartialFrame => "partial_frame",
            Self::ProtocolError => "protocol_error",
            Self::Unauthenticated => "unauthenticated",
            Self::Policed => "policed",
            Self::PeerAppNotResponding => "peer_app_not_responding",
            Self::Reported => "reported",
        }
    }
}

/// What the engine can see of the connection at a judgement (rule k); `None` = not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Bytes that arrived and that the application has not read yet.
    pub unread_bytes: Option<u32>,
    /// Whether the descriptor would take no more bytes.
    pub send_queue_full: Option<bool>,
    /// The application makes no progress: what arrived may lie unread wherever it reads from.
    pub app_stuck: bool,
    /// The latest that arrived was refused, and what a silence after that is to be called; `None`: it was not.
    pub refused: Option<Cause>,
}

/// A stretch in which this process did not run (rule k).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pause {
    /// Counts the engine's pauses, wrapping.
    pub epoch: u8,
    /// When the engine woke up.
    pub ended: Stamp,
    /// How late it was.
    pub length_ms: u32,
}

/// What a step needs besides the link itself.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The link's policy, valid by [`Policy::check`].
    pub policy: &'a Policy,
    /// Seed of the engine's jitter.
    pub seed: u64,
    /// Ordinal of the link in its engine, for phases and jitter.
    pub ordinal: u32,
    /// The engine's resolution in milliseconds, at least 1.
    pub tick_ms: u32,
    /// Up to when what is due is over: `now`, or the stamp before, where a part of `now` still lies ahead.
    pub due_by: Stamp,
    /// The engine's latest pause, if there was one.
    pub pause: Option<Pause>,
}

/// What happened to a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// The application starts a paused link.
    Start {
        /// When.
        at: Stamp,
    },
    /// The application pauses it.
    Pause,
    /// A beat is wanted at once, whatever is due: a new connection is to prove itself.
    Probe,
    /// The link's words as they stand now; the engine gives them before every other input that it gives.
    Stamps {
        /// Last moment at which something complete was received.
        received: Stamp,
        /// Last moment at which the application sent something.
        sent: Stamp,
        /// Since when a message has been unfinished.
        open_since: Option<Stamp>,
    },
    /// An answer was received.
    Answer {
        /// Its sequence number.
        sequence: u32,
        /// When.
        at: Stamp,
        /// The same moment in microseconds, wrapping; for round-trip times only.
        at_us: u32,
    },
    /// A beat of the peer was received.
    BeatReceived {
        /// When.
        at: Stamp,
    },
    /// A frame was received in which the peer says that its application does not respond: no proof of life.
    PeerStuck {
        /// When.
        at: Stamp,
    },
    /// The notice of the beat that is due was handed to the application.
    HandedOut {
        /// When.
        at: Stamp,
    },
    /// The application took the beat that is due, to write it.
    Taken {
        /// The sequence number it carries.
        sequence: u32,
        /// When.
        at: Stamp,
        /// The same moment in microseconds, wrapping.
        at_us: u32,
    },
    /// The application's own heartbeat sent a beat, with `observe_only`. The engine gives a Tick before it.
    BeatSent {
        /// The sequence number it carries.
        sequence: u32,
        /// When.
        at: Stamp,
        /// The same moment in microseconds, wrapping.
        at_us: u32,
    },
    /// The beat taken last really left at this moment.
    Sent {
        /// When.
        at: Stamp,
    },
    /// The beat taken last could not be written.
    Unsent {
        /// When.
        at: Stamp,
    },
    /// The application knows that the link is down.
    Report(Cause),
    /// The stream is no longer the protocol's.
    Desync,
    /// The peer beat too often ([`Police`](super::Police)).
    Policed,
    /// The policy in the context is a new one; this is the one that was in force.
    Policy(Policy),
    /// Time has come.
    Tick,
    /// Answer to [`Output::judge`].
    Judge(Facts),
}

/// A beat is due: the application is to take it and write it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Which try of the probe it is, from 1; 0 outside a probe (one-way beats, DOWN).
    pub attempt: u8,
    /// The sequence number that it must carry again; `None`: a new one.
    pub sequence: Option<u32>,
}

/// A change of state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Back from SUSPECT, or from DOWN with `up_after`.
    Up,
    /// One more try was missed.
    Suspect {
        /// How many are left.
        left: u8,
    },
    /// The verdict.
    Down(Cause),
    /// What would be the verdict, with `observe_only`: the link stays SUSPECT, all its tries used up.
    WouldBeDown(Cause),
}

/// What became of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answered {
    /// It belongs to an outstanding beat.
    Matched {
        /// Round-trip time in microseconds, where it is unambiguous (Karn).
        rtt_us: Option<u32>,
    },
    /// It belongs to a beat whose time was up.
    Late,
    /// It belongs to no outstanding beat.
    Unmatched,
}

/// What a step leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// When the link wants its next Tick; `None`: never, unless something happens.
    pub deadline: Option<Stamp>,
    /// A change for the worse is due: give [`Input::Judge`] now.
    pub judge: bool,
    /// A beat is due.
    pub notice: Option<Notice>,
    /// The beat that was noticed and not taken is no longer needed.
    pub withdraw: bool,
    /// The state changed.
    pub change: Option<Change>,
    /// What became of the answer.
    pub answered: Option<Answered>,
    /// Unread bytes, or an application without progress, hold a judgement up.
    pub local_reader_late: bool,
    /// A message has been unfinished for too long.
    pub partial_frame: bool,
    /// A notice could not be handed out for a whole timeout.
    pub app_not_responding: bool,
}

/// What the link knows, for evidence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// The state.
    pub state: State,
    /// Why it is DOWN, or with `observe_only` would be.
    pub cause: Option<Cause>,
    /// Last proof of life.
    pub proof: Stamp,
    /// Misses of the running probe, or of the one that led to DOWN.
    pub misses: u8,
    /// Sequence number of the latest beat taken, if any.
    pub sequence: Option<u32>,
}
