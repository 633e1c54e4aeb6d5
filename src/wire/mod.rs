//! The bytes: how a protocol's beat and answer look, and how messages are found in a stream. Pure: no clock, no
//! thread, no socket; nothing here knows what a beat decides.
//!
//! A protocol is one row of `TABLE` and one file beside this one. Writing goes through [`Protocol::beat`] and
//! [`Protocol::answer`], into the caller's buffer; reading through a [`Reader`] for a stream and through
//! [`Protocol::datagram`] for datagrams, out of the caller's bytes.

pub mod cmpp;
pub mod framer;
pub mod heart;

use std::fmt;

pub use framer::Desync;
use framer::{Framer, Framing, Message};
pub use heart::{KeyError, Keys, Rejection, SEAL_LENGTH, Seal, Session, Terms, claimed_session};

/// What a link speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Protocol {
    /// The application's own: it builds and parses for itself.
    #[default]
    None,
    /// CMPP 2.0 and 3.0; see [`cmpp`].
    Cmpp,
    /// hbeat's own frame; see [`heart`].
    Heart,
}

/// All that is known of a protocol.
struct Row {
    protocol: Protocol,
    name: &'static str,
    framing: Option<&'static Framing>,
    /// The longest beat or answer that is built, in octets.
    frame_max: usize,
    beat: fn(u32, &Fields<'_>, &mut [u8]) -> Option<usize>,
    answer: fn(&Owed, &Fields<'_>, &mut [u8]) -> Option<usize>,
    challenge: fn(&Owed, Session, &mut [u8]) -> Option<usize>,
    classify: for<'a> fn(&Message<'a>) -> Inbound<'a>,
    classify_sealed: for<'a> fn(&Message<'a>, &mut Seal) -> Inbound<'a>,
}

/// In the order of [`Protocol`].
static TABLE: [Row; 3] = [
    Row {
        protocol: Protocol::None,
        name: "none",
        framing: None,
        frame_max: 0,
        beat: |_, _, _| Some(0),
        answer: |_, _, _| Some(0),
        challenge: |_, _, _| None,
        classify: |_| Inbound::Message,
        classify_sealed: unsealed,
    },
    Row {
        protocol: Protocol::Cmpp,
        name: "cmpp",
        framing: Some(&cmpp::FRAMING),
        frame_max: cmpp::ANSWER_LENGTH,
        beat: cmpp::beat,
        answer: cmpp::answer,
        challenge: |_, _, _| None,
        classify: cmpp::classify,
        classify_sealed: unsealed,
    },
    Row {
        protocol: Protocol::Heart,
        name: "heart",
        framing: Some(&heart::FRAMING),
        frame_max: heart::FRAME_MAX,
        beat: heart::beat,
        answer: heart::answer,
        challenge: heart::challenge,
        classify: heart::classify,
        classify_sealed: heart::classify_sealed,
    },
];

/// Protocols whose messages cannot be sealed: on a link whose messages must be, none of them counts.
fn unsealed<'a>(_: &Message<'a>, _: &mut Seal) -> Inbound<'a> {
    Inbound::Rejected(Rejection::Unsealed)
}

/// The longest beat or answer that any protocol builds, in octets.
pub const FRAME_MAX: usize = heart::FRAME_MAX;

/// What a beat or an answer can say besides its sequence number. Protocols that have no room for it ignore it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fields<'a> {
    /// When the beat is built, in microseconds since any origin; comes back in its answer and means nothing to anyone
    /// else. Unused in an answer.
    pub sent_us: u64,
    /// The sender's next beat comes within that many milliseconds; 0 = it does not say.
    pub next_due_ms: u32,
    /// The silence that the sender tolerates from its peer, in milliseconds; 0 = it does not say.
    pub hold_ms: u32,
    /// The beat wants no answer. Unused in an answer.
    pub one_way: bool,
    /// The frame leaves in a datagram: an answer must not be larger than its beat.
    pub datagram: bool,
    /// The sender's application does not respond.
    pub stuck: bool,
    /// Which connection the frame belongs to; over datagrams and on sealed links each frame says it.
    pub session: Option<Session>,
    /// What the sender would like, while its peer has not acknowledged it.
    pub terms: Option<Terms>,
    /// Octets that a seal will append to the frame: they count where the frame has a limit.
    pub reserve: u16,
    /// The application's state, at most [`heart::STATE_MAX`] octets; empty = none.
    pub state: &'a [u8],
}

/// An answer that is owed: all that it must repeat of its beat.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Owed {
    /// The beat's [`Fields::sent_us`].
    pub echo_us: u64,
    /// The beat's sequence number.
    pub sequence: u32,
    /// The beat's whole length in octets, which bounds the answer in a datagram; 0 for protocols whose answer has one
    /// length.
    pub room: u16,
}

/// What a peer says of itself in a beat or an answer; all empty where its protocol has no room for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Told<'a> {
    /// Its next beat comes within that many milliseconds; 0 = it does not say.
    pub next_due_ms: u32,
    /// The silence it tolerates, in milliseconds; 0 = it does not say.
    pub hold_ms: u32,
    /// It had state to tell and no room for it.
    pub state_left_out: bool,
    /// Its application does not respond.
    pub stuck: bool,
    /// Which connection it means. Where sessions are used, what does not name the receiver's own number as
    /// [`yours`](Session::yours) proves nothing.
    pub session: Option<Session>,
    /// What it would like.
    pub terms: Option<Terms>,
    /// Its application's state, at most [`heart::STATE_MAX`] octets; empty = none.
    pub state: &'a [u8],
}

/// What a complete message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inbound<'a> {
    /// A beat of the peer.
    Beat {
        /// Its sequence number, chosen by the peer: any value.
        sequence: u32,
        /// The answer it wants; `None`: it wants none.
        owed: Option<Owed>,
        /// What else it says.
        told: Told<'a>,
    },
    /// An answer to a beat of ours, or what claims to be one.
    Answer {
        /// The sequence number it repeats.
        sequence: u32,
        /// The [`Fields::sent_us`] it repeats, where the protocol has it. It is the peer's word: good for a round-trip
        /// time once the sequence number was found outstanding, and for nothing else.
        echo_us: Option<u64>,
        /// What else it says.
        told: Told<'a>,
    },
    /// Over datagrams: the peer wants to see that we receive what is sent to our address. It proves no life.
    Challenge {
        /// The sequence number of our beat, which it repeats.
        sequence: u32,
        /// The [`Fields::sent_us`] of our beat, which it repeats.
        echo_us: u64,
        /// What else it says: its session's [`mine`](Session::mine) is to be the [`yours`](Session::yours) of our beats
        /// from now on.
        told: Told<'a>,
    },
    /// Any other message of the protocol.
    Message,
    /// A message whose length made sense and whose contents do not. It proves nothing and is not answered; the
    /// messages after it are found all the same.
    Rejected(Rejection),
}

impl Protocol {
    /// The protocol of that name, as in a link's options: exactly as in [`names`](Self::names).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name == name).map(|row| row.protocol)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The names of all protocols, for a sentence that lists them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|row| row.name)
    }

    /// The longest beat or answer of it that is built, its seal included, in octets; 0 for [`None`](Self::None).
    #[must_use]
    pub fn frame_max(self) -> usize {
        self.row().frame_max
    }

    /// How messages are found in its stream; `None` where only the application knows.
    #[must_use]
    pub fn framing(self) -> Option<&'static Framing> {
        self.row().framing
    }

    /// Writes a beat to the front of `out` and gives its length in octets: at most [`frame_max`](Self::frame_max), and
    /// 0 for [`None`](Self::None). `None`: it does not fit, and nothing is written.
    pub fn beat(self, sequence: u32, fields: &Fields<'_>, out: &mut [u8]) -> Option<usize> {
        (self.row().beat)(sequence, fields, out)
    }

    /// Writes an answer, likewise. Over datagrams it is never larger than its beat: state is left out for that, and
    /// terms; `None` if that is not enough.
    pub fn answer(self, owed: &Owed, fields: &Fields<'_>, out: &mut [u8]) -> Option<usize> {
        (self.row().answer)(owed, fields, out)
    }

    /// Writes the challenge to a beat from an address that has not proved itself, and gives its length. `None`: it does not
    /// fit, would be larger than the beat, or the protocol has none; nothing is written.
    pub fn challenge(self, owed: &Owed, session: Session, out: &mut [u8]) -> Option<usize> {
        (self.row().challenge)(owed, session, out)
    }

    /// The messages that were written one after another to `bytes`.
    pub(crate) fn frames(self, mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        std::iter::from_fn(move || {
            let all = bytes;
            let length = self.framing()?.first(&mut bytes).ok()??.length();
            all.get(..length as usize)
        })
    }

    /// Takes the first message off the front of what is left of one datagram; `None` when nothing is left. A
    /// datagram holds whole messages only: what is not one takes the rest of the datagram with it as
    /// [`Inbound::Rejected`]. For [`None`](Self::None) a datagram is one [`Inbound::Message`]. With a seal every message
    /// must be sealed, as in [`Reader::next_sealed`].
    pub fn datagram<'a>(self, bytes: &mut &'a [u8], seal: Option<&mut Seal>) -> Option<Inbound<'a>> {
        if bytes.is_empty() {
            return None;
        }
        let found = match self.framing() {
            Some(framing) => framing.first(bytes),
            None => {
                *bytes = &[];
                return Some(if seal.is_some() { Inbound::Rejected(Rejection::Unsealed) } else { Inbound::Message });
            }
        };
        let rejection = match found {
            Ok(Some(message)) => return Some(self.classify(&message, seal)),
            Ok(None) => Rejection::Truncated,
            Err(desync) => Rejection::NotAFrame(desync),
        };
        *bytes = &[];
        Some(Inbound::Rejected(rejection))
    }

    fn classify<'a>(self, message: &Message<'a>, seal: Option<&mut Seal>) -> Inbound<'a> {
        match seal {
            Some(seal) => (self.row().classify_sealed)(message, seal),
            None => (self.row().classify)(message),
        }
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads one direction of one stream: what is fed to a link goes through one of these. A new connection needs a new
/// one.
#[derive(Debug)]
pub struct Reader {
    protocol: Protocol,
    framer: Framer,
}

impl Reader {
    /// A reader at the first octet of a stream, or at the first octet of any message; `None` for a protocol that
    /// only the application can parse. Allocates nothing; later at most [`Framing::maximum`] octets, and only for
    /// a protocol whose messages must be whole to be understood.
    #[must_use]
    pub fn new(protocol: Protocol) -> Option<Self> {
        let framer = Framer::new(protocol.framing()?);
        Some(Self { protocol, framer })
    }

    /// Takes from the front of `bytes` up to the end of the next message and says what it is; `None`: the bytes are
    /// used up. Call until then:
    ///
    /// ```
    /// use hbeat::wire::{Inbound, Protocol, Reader};
    /// let mut reader = Reader::new(Protocol::Cmpp).unwrap();
    /// let mut bytes = &[0, 0, 0, 12, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0][..];
    /// let mut beats = 0;
    /// while let Some(inbound) = reader.next(&mut bytes)? {
    ///     beats += u32::from(matches!(inbound, Inbound::Beat { sequence: 1, .. }));
    /// }
    /// assert!(beats == 1 && reader.is_open());
    /// # Ok::<(), hbeat::wire::Desync>(())
    /// ```
    ///
    /// # Errors
    /// [`Desync`], after the messages before it; every later call gives the same one.
    pub fn next<'a, 'b: 'a>(&'a mut self, bytes: &mut &'b [u8]) -> Result<Option<Inbound<'a>>, Desync> {
        self.next_sealed(bytes, None)
    }

    /// As [`next`](Self::next), for a link whose messages must be sealed if there is a `seal`. What has no valid one is
    /// [`Inbound::Rejected`], whatever kind of message it is. Without a `seal` a sealed message is rejected, as it has a
    /// field that must be understood.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_sealed<'a, 'b: 'a>(
        &'a mut self,
        bytes: &mut &'b [u8],
        seal: Option<&mut Seal>,
    ) -> Result<Option<Inbound<'a>>, Desync> {
        let message = self.framer.next(bytes)?;
        Ok(message.map(|message| match self.protocol.classify(&message, seal) {
            Inbound::Challenge { .. } => Inbound::Rejected(Rejection::ChallengeInStream),
            inbound => inbound,
        }))
    }

    /// Whether a message has begun and is not finished. If so after a portion is used up, it began in that portion when
    /// [`next`](Self::next) handed anything out from it, or when this was `false` before it. Always `false` after a
    /// desync.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.framer.is_open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.protocol as usize, index);
            assert_eq!(Protocol::from_name(row.name), Some(row.protocol));
            assert_eq!(row.protocol.to_string(), row.name);
            assert!(row.frame_max <= FRAME_MAX);
        }
        assert_eq!(Protocol::names().collect::<Vec<_>>(), ["none", "cmpp", "heart"]);
        assert_eq!(Protocol::from_name("CMPP"), None);
        assert_eq!(Protocol::from_name(""), None);
    }

    #[test]
    fn frames_built_are_as_long_as_said_and_no_longer_than_their_buffer() {
        let state = [7; heart::STATE_MAX];
        let session = Some(Session { mine: 1, yours: 2 });
        let fields = Fields { state: &state, session, terms: Some(Terms::default()), ..Fields::default() };
        for protocol in TABLE.iter().map(|row| row.protocol) {
            let mut out = [0; FRAME_MAX];
            let beat = protocol.beat(1, &fields, &mut out).unwrap();
            let answer = protocol.answer(&Owed::default(), &fields, &mut out).unwrap();
            let seal = if protocol == Protocol::Heart { SEAL_LENGTH } else { 0 };
            assert_eq!(beat.max(answer) + seal, protocol.frame_max());
            for short in 0..beat {
                assert_eq!(protocol.beat(1, &fields, &mut out[..short]), None);
            }
            for short in 0..answer {
                assert_eq!(protocol.answer(&Owed::default(), &fields, &mut out[..short]), None);
            }
        }
    }

    #[test]
    fn the_applications_own_protocol_builds_and_reads_nothing() {
        assert_eq!(Protocol::None.beat(1, &Fields::default(), &mut []), Some(0));
        assert!(Reader::new(Protocol::None).is_none());
        let mut bytes = &b"anything"[..];
        assert_eq!(Protocol::None.datagram(&mut bytes, None), Some(Inbound::Message));
        assert_eq!(Protocol::None.datagram(&mut bytes, None), None);
    }

    #[test]
    fn what_a_link_keeps_is_small() {
        assert_eq!(size_of::<Owed>(), 16);
        assert!(size_of::<Reader>() <= 96, "{}", size_of::<Reader>());
    }
}
