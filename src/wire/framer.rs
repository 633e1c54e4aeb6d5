//! Finds the messages in a stream of bytes, by a table: one [`Framing`] row describes how a protocol says how
//! long its messages are. Bytes may come in any portions; what comes out depends on the bytes only.

use std::fmt;

/// The most octets kept of a message whose body is not: enough for the longest header of the protocols that a row can
/// describe (memcached's binary one and BFD's, 24 octets).
pub const HEADER_MAX: usize = 24;

/// How the messages of one protocol are found in its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Framing {
    /// Octets with which every message begins; empty where the protocol has none.
    pub begins_with: &'static [u8],
    /// The length field, 1 to 4 octets.
    pub length: Field,
    /// Added to the length field to get the length of the whole message, in octets.
    pub adjust: i32,
    /// The shortest whole message, in octets; anything shorter is [`Desync::TooShort`].
    pub header_minimum: u8,
    /// The longest whole message, in octets; anything longer is [`Desync::TooLong`].
    pub maximum: u32,
    /// What tells the kinds of messages apart.
    pub opcode: Field,
    /// The number that a request and its answer share; [`Field::NONE`] where the protocol has none.
    pub sequence: Field,
    /// How much of a message must be at hand in one piece to tell what it is.
    pub keep: Keep,
}

/// An unsigned integer at a fixed place of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Where it begins, in octets from the start of the message.
    pub offset: u8,
    /// How many octets it has: 1 to 4; 0 = there is no such field.
    pub size: u8,
    /// Whether its least significant octet comes first.
    pub little_endian: bool,
}

/// How much of a message is kept until it is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// That many first octets, at most [`HEADER_MAX`]; the rest is counted, never stored.
    Header(u8),
    /// All of it: at most [`Framing::maximum`] octets, and only of a message that straddles two portions.
    Whole,
}

/// The stream is not, or no longer, the protocol's. There is no way back: where the next message begins is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Desync {
    /// A message that says it is shorter than its own header.
    TooShort {
        /// The length field as received.
        length: u32,
    },
    /// A message that says it is longer than any real one.
    TooLong {
        /// The length field as received.
        length: u32,
    },
    /// A message that does not begin as every message of the protocol does.
    Beginning,
}

/// One complete message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    framing: &'static Framing,
    head: &'a [u8],
    length: u32,
}

/// The reading end of one direction of one stream. Never loops, never panics, stores at most what its row asks for.
#[derive(Debug)]
pub struct Framer {
    framing: &'static Framing,
    /// Octets seen of the message that is open, out of `total`; equal when none is open.
    have: u32,
    /// The length of the message that is open; 0 while it is unknown.
    total: u32,
    header: [u8; HEADER_MAX],
    whole: Vec<u8>,
    desync: Option<Desync>,
}

impl Framer {
    /// A framer at the first octet of a stream. Allocates nothing.
    #[must_use]
    pub const fn new(framing: &'static Framing) -> Self {
        Self { framing, have: 0, total: 0, header: [0; HEADER_MAX], whole: Vec::new(), desync: None }
    }

    /// Takes from the front of `bytes` up to the end of the next message and hands that message out; `None`: the
    /// bytes are used up. Call until then.
    ///
    /// # Errors
    /// [`Desync`], after the messages before it; every later call gives the same one.
    pub fn next<'a, 'b: 'a>(&'a mut self, bytes: &mut &'b [u8]) -> Result<Option<Message<'a>>, Desync> {
        if let Some(desync) = self.desync {
            return Err(desync);
        }
        if !self.is_open() {
            (self.have, self.total) = (0, 0);
            self.whole.clear();
            // Most messages lie in one portion: those are lent from it, nothing is copied.
            if let Some(message) = self.framing.first(bytes).map_err(|desync| self.fail(desync))? {
                return Ok(Some(message));
            }
        }
        self.go_on(bytes)
    }

    /// Whether a message has begun and is not finished. After a portion is used up this is what rule m of the
    /// design asks; the open message began in that portion if a message was handed out from it, or if none was open
    /// before. Always `false` after a desync.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.desync.is_none() && self.have != self.total
    }

    /// The desync that ended the stream, if one did.
    #[must_use]
    pub const fn desync(&self) -> Option<Desync> {
        self.desync
    }

    /// The next message where it straddles portions.
    fn go_on(&mut self, bytes: &mut &[u8]) -> Result<Option<Message<'_>>, Desync> {
        if self.total == 0 {
            let lead = self.framing.lead();
            self.absorb(bytes, lead as u32);
            if (self.have as usize) < lead {
                return Ok(None);
            }
            self.total = self.framing.measure(self.head()).map_err(|desync| self.fail(desync))?;
        }
        self.absorb(bytes, self.total);
        let complete = self.have == self.total;
        Ok(complete.then(|| Message { framing: self.framing, head: self.head(), length: self.total }))
    }

    /// Takes bytes until `until` octets of the open message have been seen, keeping what the row asks for.
    fn absorb(&mut self, bytes: &mut &[u8], until: u32) {
        let wanted = until.saturating_sub(self.have) as usize;
        let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
        match self.framing.keep {
            Keep::Whole => {
                self.whole.reserve_exact(wanted);
                self.whole.extend_from_slice(taken);
            }
            Keep::Header(_) => {
                let room = self.header.get_mut(self.have as usize..).unwrap_or_default();
                room.iter_mut().zip(taken).for_each(|(kept, octet)| *kept = *octet);
            }
        }
        // Fits: `taken` is no longer than `until`, a u32.
        self.have += taken.len() as u32;
        *bytes = rest;
    }

    fn head(&self) -> &[u8] {
        match self.framing.keep {
            Keep::Whole => &self.whole,
            Keep::Header(kept) => &self.header[..(self.have as usize).min(kept as usize).min(HEADER_MAX)],
        }
    }

    fn fail(&mut self, desync: Desync) -> Desync {
        self.desync = Some(desync);
        self.whole = Vec::new();
        desync
    }
}

impl Framing {
    /// Whether the row makes sense; every row of the table is asserted to, at compile time.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        let minimum = self.header_minimum as usize;
        let kept = match self.keep {
            Keep::Header(kept) => kept as usize <= HEADER_MAX && self.fields_end() <= kept as usize,
            Keep::Whole => true,
        };
        let field = self.length.size >= 1 && self.length.size <= 4 && self.opcode.size <= 4 && self.sequence.size <= 4;
        kept && field && self.lead() <= minimum && minimum as u32 <= self.maximum
    }

    /// The message at the front of `bytes`, lent from there and taken off; `None` (and nothing taken) if it is not
    /// all there.
    pub(super) fn first<'b>(&'static self, bytes: &mut &'b [u8]) -> Result<Option<Message<'b>>, Desync> {
        if bytes.len() < self.lead() {
            return Ok(None);
        }
        let length = self.measure(bytes)?;
        let Some((message, rest)) = bytes.split_at_checked(length as usize) else {
            return Ok(None);
        };
        *bytes = rest;
        let head = match self.keep {
            Keep::Whole => message,
            Keep::Header(kept) => &message[..message.len().min(kept as usize)],
        };
        Ok(Some(Message { framing: self, head, length }))
    }

    /// The length of the message of which `head` is at least the first [`lead`](Self::lead) octets.
    fn measure(&self, head: &[u8]) -> Result<u32, Desync> {
        if !head.starts_with(self.begins_with) {
            return Err(Desync::Beginning);
        }
        let length = self.length.read(head).unwrap_or(0);
        let whole = i64::from(length) + i64::from(self.adjust);
        match u32::try_from(whole) {
            Ok(whole) if whole > self.maximum => Err(Desync::TooLong { length }),
            Ok(whole) if whole >= u32::from(self.header_minimum) => Ok(whole),
            // The sum of a u32 and an i32 that is no u32 is negative, or past every maximum.
            Err(_) if whole > 0 => Err(Desync::TooLong { length }),
            _ => Err(Desync::TooShort { length }),
        }
    }

    /// How many octets it takes to know how long a message is, and that it is one.
    const fn lead(&self) -> usize {
        if self.length.end() > self.begins_with.len() { self.length.end() } else { self.begins_with.len() }
    }

    const fn fields_end(&self) -> usize {
        let (mut end, opcode, sequence) = (self.lead(), self.opcode.end(), self.sequence.end());
        if opcode > end {
            end = opcode;
        }
        if sequence > end { sequence } else { end }
    }
}

impl Field {
    /// A field that the protocol does not have.
    pub const NONE: Self = Self::big(0, 0);

    /// A field with its most significant octet first.
    #[must_use]
    pub const fn big(offset: u8, size: u8) -> Self {
        Self { offset, size, little_endian: false }
    }

    /// A field with its least significant octet first.
    #[must_use]
    pub const fn little(offset: u8, size: u8) -> Self {
        Self { offset, size, little_endian: true }
    }

    /// Its value in a message; `None` if there is no such field, or the message is too short to have it.
    #[must_use]
    pub fn read(self, message: &[u8]) -> Option<u32> {
        if self.size == 0 {
            return None;
        }
        let octets = message.get(self.offset as usize..self.end())?;
        let join = |value: u32, octet: &u8| value << 8 | u32::from(*octet);
        Some(if self.little_endian { octets.iter().rev().fold(0, join) } else { octets.iter().fold(0, join) })
    }

    const fn end(self) -> usize {
        self.offset as usize + self.size as usize
    }
}

impl<'a> Message<'a> {
    /// Its first octets, as many as the row keeps; all of them with [`Keep::Whole`].
    #[must_use]
    pub const fn head(&self) -> &'a [u8] {
        self.head
    }

    /// Its whole length in octets, header included.
    #[must_use]
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// What kind of message it is, if it is long enough to say so.
    #[must_use]
    pub fn opcode(&self) -> Option<u32> {
        self.framing.opcode.read(self.head)
    }

    /// Its sequence number, if it has one.
    #[must_use]
    pub fn sequence(&self) -> Option<u32> {
        self.framing.sequence.read(self.head)
    }
}

impl fmt::Display for Desync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { length } => write!(f, "a message says its length is {length}, less than its own header"),
            Self::TooLong { length } => write!(f, "a message says its length is {length}, more than any real one"),
            Self::Beginning => f.write_str("a message does not begin as every message of the protocol does"),
        }
    }
}

impl std::error::Error for Desync {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shapes of protocols we do not ship, to prove that a new one is only a row.
    const IEC_104: Framing = Framing {
        begins_with: &[0x68],
        length: Field::big(1, 1),
        adjust: 2,
        header_minimum: 6,
        maximum: 255,
        opcode: Field::big(2, 1),
        sequence: Field::NONE,
        keep: Keep::Header(6),
    };
    const HTTP_2: Framing = Framing {
        begins_with: &[],
        length: Field::big(0, 3),
        adjust: 9,
        header_minimum: 9,
        maximum: 9 + (1 << 24),
        opcode: Field::big(3, 1),
        sequence: Field::NONE,
        keep: Keep::Header(17),
    };
    const MYSQL: Framing = Framing {
        length: Field::little(0, 3),
        adjust: 4,
        header_minimum: 4,
        opcode: Field::big(4, 1),
        keep: Keep::Header(5),
        ..HTTP_2
    };
    /// Memcached's adjust of 24 on a 4-octet field: the sum passes 2^32.
    const MEMCACHED: Framing = Framing {
        length: Field::big(8, 4),
        adjust: 24,
        header_minimum: 24,
        maximum: u32::MAX,
        opcode: Field::big(1, 1),
        keep: Keep::Header(24),
        ..HTTP_2
    };
    /// A length field that counts more than the message.
    const NEGATIVE: Framing = Framing { length: Field::big(0, 1), adjust: -4, header_minimum: 2, ..HTTP_2 };
    const WHOLE: Framing = Framing { maximum: 64, keep: Keep::Whole, ..IEC_104 };

    const _: () = assert!(
        IEC_104.is_sound() && HTTP_2.is_sound() && MYSQL.is_sound() && MEMCACHED.is_sound() && NEGATIVE.is_sound()
    );

    /// Head and length of each message, the desync, whether one is open.
    type Found = (Vec<(Vec<u8>, u32)>, Option<Desync>, bool);

    /// All that comes out of `portions`.
    fn run(framing: &'static Framing, portions: &[&[u8]]) -> Found {
        let mut framer = Framer::new(framing);
        let mut messages = Vec::new();
        for portion in portions {
            let mut bytes = *portion;
            let mut left = bytes.len();
            while let Ok(Some(message)) = framer.next(&mut bytes) {
                assert!(bytes.len() < left, "each message takes something");
                left = bytes.len();
                messages.push((message.head().to_vec(), message.length()));
            }
            assert!(framer.desync().is_some() || bytes.is_empty());
        }
        (messages, framer.desync(), framer.is_open())
    }

    #[test]
    fn one_octet_lengths_with_a_start_octet() {
        let stream = [0x68, 4, 0x43, 0, 0, 0, 0x68, 5, 0x83, 0, 0, 0, 9, 0x67, 4];
        let (messages, desync, open) = run(&IEC_104, &[&stream]);
        assert_eq!(messages, [(stream[..6].to_vec(), 6), (stream[6..12].to_vec(), 7)]);
        assert_eq!((desync, open), (Some(Desync::Beginning), false));
    }

    #[test]
    fn three_octet_lengths_either_way_round() {
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(run(&HTTP_2, &[&ping]), (vec![(ping.to_vec(), 17)], None, false));
        let com_ping = [1, 0, 0, 0, 0x0e];
        assert_eq!(run(&MYSQL, &[&com_ping]), (vec![(com_ping.to_vec(), 5)], None, false));
    }

    #[test]
    fn a_message_too_short_for_its_opcode_has_none() {
        let mut bytes = &[0u8, 0, 0, 0][..];
        let mut framer = Framer::new(&MYSQL);
        let message = framer.next(&mut bytes).unwrap().unwrap();
        assert_eq!((message.opcode(), message.sequence(), message.length()), (None, None, 4));
        // Also where a longer one has been in its place.
        let portions: [&[u8]; 3] = [&[1, 0, 0], &[0, 0x0e, 0], &[0, 0, 0]];
        let messages = [(vec![1, 0, 0, 0, 0x0e], 5), (vec![0; 4], 4)];
        assert_eq!(run(&MYSQL, &portions).0, messages);
    }

    #[test]
    fn lengths_beyond_all_arithmetic() {
        let mut header = [0u8; 24];
        header[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(run(&MEMCACHED, &[&header]).1, Some(Desync::TooLong { length: u32::MAX }));
        assert_eq!(run(&NEGATIVE, &[&[5]]).1, Some(Desync::TooShort { length: 5 }));
        assert_eq!(run(&NEGATIVE, &[&[3]]).1, Some(Desync::TooShort { length: 3 }));
        assert_eq!(run(&NEGATIVE, &[&[6, 1]]).0, [(vec![6, 1], 2)]);
    }

    #[test]
    fn bodies_are_counted_and_not_kept() {
        let mut framer = Framer::new(&HTTP_2);
        let mut header = &[1u8, 0, 0, 0, 0, 0, 0, 0, 0][..];
        assert_eq!(framer.next(&mut header), Ok(None));
        let body = vec![7u8; 65535];
        assert_eq!(framer.next(&mut &body[..]), Ok(None));
        assert!(framer.is_open());
        let message = framer.next(&mut &[7u8][..]).unwrap().unwrap();
        assert_eq!((message.length(), message.head().len()), (65545, 17));
        assert!(!framer.is_open());
        assert_eq!(framer.whole.capacity(), 0);
    }

    #[test]
    fn a_whole_message_is_lent_or_kept_within_its_cap() {
        let stream = [0x68, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x68, 4, 0, 0, 0, 0];
        let unsplit = run(&WHOLE, &[&stream]);
        assert_eq!(unsplit.0, [(stream[..10].to_vec(), 10), (stream[10..].to_vec(), 6)]);
        for at in 0..stream.len() {
            let (left, right) = stream.split_at(at);
            assert_eq!(run(&WHOLE, &[left, right]), unsplit);
        }
        assert_eq!(run(&WHOLE, &[&[0x68, 63]]).1, Some(Desync::TooLong { length: 63 }));
        let mut framer = Framer::new(&WHOLE);
        assert_eq!(framer.next(&mut &stream[..5]), Ok(None));
        assert_eq!(framer.whole.capacity(), 10);
    }

    #[test]
    fn a_desync_stays() {
        let mut framer = Framer::new(&IEC_104);
        let good = [0x68, 4, 0x43, 0, 0, 0];
        assert_eq!(framer.next(&mut &[0x68u8, 3][..]), Err(Desync::TooShort { length: 3 }));
        assert_eq!(framer.next(&mut &good[..]), Err(Desync::TooShort { length: 3 }));
        assert_eq!(framer.next(&mut &[][..]), Err(Desync::TooShort { length: 3 }));
        assert!(!framer.is_open());
    }

    #[test]
    fn a_row_that_makes_no_sense_is_told_from_one_that_does() {
        assert!(!Framing { length: Field::NONE, ..HTTP_2 }.is_sound());
        assert!(!Framing { header_minimum: 2, ..HTTP_2 }.is_sound());
        assert!(!Framing { maximum: 8, ..HTTP_2 }.is_sound());
        assert!(!Framing { keep: Keep::Header(3), ..HTTP_2 }.is_sound());
        assert!(!Framing { keep: Keep::Header(25), ..HTTP_2 }.is_sound());
    }

    #[test]
    fn sentences() {
        assert!(Desync::TooShort { length: 3 }.to_string().contains("3, less"));
        assert!(Desync::TooLong { length: 99 }.to_string().contains("99, more"));
        assert!(Desync::Beginning.to_string().contains("begin"));
    }
}
