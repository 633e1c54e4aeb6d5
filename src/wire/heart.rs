//! hbeat's own frame: `docs/heart-frame.md` is its layout, and the reasons for it. Header and fields are written and
//! read in the order of that page.

use std::fmt;

use super::framer::{Desync, Field, Framing, Keep, Message};
use super::{Fields, Inbound, Owed, Told};

const MAGIC: [u8; 2] = *b"HB";
const VERSION: u8 = 1;

/// Octets of the header, which is a whole beat when there is no state.
pub const HEADER: usize = 28;
/// The most octets of state in a beat or an answer.
pub const STATE_MAX: usize = 1024;
/// The longest frame that is built, in octets. Longer ones, up to the maximum of [`FRAMING`], are read.
pub const FRAME_MAX: usize = HEADER + FIELD_HEADER + STATE_MAX;

const FIELD_HEADER: usize = 4;
const FIELD_CRITICAL: u16 = 0x8000;
const FIELD_PADDING: u16 = 0;
const FIELD_STATE: u16 = 1;

const FLAG_ONE_WAY: u16 = 0x0001;
const FLAG_STATE_LEFT_OUT: u16 = 0x0002;
const FLAG_STUCK: u16 = 0x0004;
const FLAGS_CRITICAL: u16 = 0xff00;

/// Where frames begin and end. The cap leaves room for the fields that are reserved, and keeps a frame within what a
/// datagram carries unfragmented wherever IPv6 does.
pub const FRAMING: Framing = Framing {
    begins_with: &MAGIC,
    length: Field::big(6, 2),
    adjust: 0,
    header_minimum: HEADER as u8,
    maximum: 1200,
    opcode: Field::big(3, 1),
    sequence: Field::big(8, 4),
    keep: Keep::Whole,
};

const _: () = assert!(FRAMING.is_sound() && FRAME_MAX <= FRAMING.maximum as usize);

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A beat.
    Heart,
    /// The answer to one.
    Answer,
    /// Neither; the application's own, or a later version's.
    Other(u8),
}

/// A frame in parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Heart, answer or neither.
    pub kind: Kind,
    /// The beat wants no answer.
    pub one_way: bool,
    /// There was state to tell and no room for it.
    pub state_left_out: bool,
    /// The sender's application does not respond.
    pub stuck: bool,
    /// Of a heart its own, of an answer that of the heart it answers.
    pub sequence: u32,
    /// Of a heart its own, of an answer that of the heart it answers; microseconds of the heart's sender.
    pub time_us: u64,
    /// The sender's next beat comes within that many milliseconds; 0 = it does not say.
    pub next_due_ms: u32,
    /// The silence the sender tolerates, in milliseconds; 0 = it does not say.
    pub hold_ms: u32,
    /// The application's state, at most [`STATE_MAX`] octets; empty = none, and always empty for [`Kind::Other`], whose
    /// contents are not looked at.
    pub state: &'a [u8],
}

/// Why a message was rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// It ends before its length does.
    Truncated,
    /// It does not begin like a message of the protocol, or its length is no length.
    NotAFrame(Desync),
    /// Its length is another one than that of the octets at hand.
    Length {
        /// What it says.
        said: u16,
    },
    /// Its version is not known.
    Version(u8),
    /// It has flags that must be understood and are not.
    Flags(u16),
    /// It has a field that must be understood and is not.
    Field(u16),
    /// A field runs past its end.
    FieldTruncated,
    /// It has two states.
    StateTwice,
    /// Its state is longer than [`STATE_MAX`] octets.
    StateTooLong(u16),
}

/// Writes a heart and gives its length; `None`, with nothing written, if it does not fit.
pub(super) fn beat(sequence: u32, fields: &Fields<'_>, out: &mut [u8]) -> Option<usize> {
    let frame = Frame {
        kind: Kind::Heart,
        one_way: fields.one_way,
        state_left_out: false,
        stuck: fields.stuck,
        sequence,
        time_us: fields.sent_us,
        next_due_ms: fields.next_due_ms,
        hold_ms: fields.hold_ms,
        state: fields.state,
    };
    encode(&frame, FRAME_MAX, out)
}

/// Writes an answer and gives its length; `None`, with nothing written, if it does not fit.
pub(super) fn answer(owed: &Owed, fields: &Fields<'_>, out: &mut [u8]) -> Option<usize> {
    let frame = Frame {
        kind: Kind::Answer,
        one_way: false,
        state_left_out: false,
        stuck: fields.stuck,
        sequence: owed.sequence,
        time_us: owed.echo_us,
        next_due_ms: fields.next_due_ms,
        hold_ms: fields.hold_ms,
        state: fields.state,
    };
    let room = if fields.datagram { usize::from(owed.room) } else { FRAME_MAX };
    encode(&frame, room, out)
}

/// Says what a complete message is.
pub(super) fn classify<'a>(message: &Message<'a>) -> Inbound<'a> {
    let frame = match decode(message.head()) {
        Ok(frame) => frame,
        Err(rejection) => return Inbound::Rejected(rejection),
    };
    let Frame { sequence, time_us, next_due_ms, hold_ms, state_left_out, stuck, state, .. } = frame;
    let told = Told { next_due_ms, hold_ms, state_left_out, stuck, state };
    match frame.kind {
        Kind::Heart => {
            // A message has at most 1200 octets, so its length is a u16.
            let owed = Owed { sequence, echo_us: time_us, room: message.length() as u16 };
            Inbound::Beat { sequence, owed: (!frame.one_way).then_some(owed), told }
        }
        Kind::Answer => Inbound::Answer { sequence, echo_us: Some(time_us), told },
        Kind::Other(_) => Inbound::Message,
    }
}

/// Writes `frame`, without its state if that is longer than allowed or would make the frame longer than `room` octets
/// (the header alone fits into any room). `None`, with nothing written, if the frame does not fit into `out`.
fn encode(frame: &Frame<'_>, room: usize, out: &mut [u8]) -> Option<usize> {
    let with_state = HEADER + FIELD_HEADER + frame.state.len();
    let fits = frame.state.len() <= STATE_MAX && with_state <= room;
    let state = if fits { frame.state } else { &[] };
    let left_out = frame.state_left_out || state.len() < frame.state.len();
    let length = if state.is_empty() { HEADER } else { with_state };

    let mut rest = out.get_mut(..length)?;
    put(&mut rest, &MAGIC);
    put(&mut rest, &[VERSION, frame.kind.octet()]);
    put(&mut rest, &flags(frame.one_way, left_out, frame.stuck).to_be_bytes());
    put(&mut rest, &(length as u16).to_be_bytes());
    put(&mut rest, &frame.sequence.to_be_bytes());
    put(&mut rest, &frame.time_us.to_be_bytes());
    put(&mut rest, &frame.next_due_ms.to_be_bytes());
    put(&mut rest, &frame.hold_ms.to_be_bytes());
    if !state.is_empty() {
        put(&mut rest, &FIELD_STATE.to_be_bytes());
        put(&mut rest, &(state.len() as u16).to_be_bytes());
        put(&mut rest, state);
    }
    Some(length)
}

/// Takes a frame apart. Any octets are accepted or rejected; `octets` must be the frame and nothing else.
///
/// # Errors
/// Why it is rejected.
pub fn decode(octets: &[u8]) -> Result<Frame<'_>, Rejection> {
    let mut rest = octets;
    let magic: [u8; 2] = get(&mut rest)?;
    let [version, kind] = get(&mut rest)?;
    let flags = u16::from_be_bytes(get(&mut rest)?);
    let said = u16::from_be_bytes(get(&mut rest)?);
    if magic != MAGIC {
        return Err(Rejection::NotAFrame(Desync::Beginning));
    }
    if usize::from(said) != octets.len() {
        return Err(Rejection::Length { said });
    }
    if version != VERSION {
        return Err(Rejection::Version(version));
    }
    let mut frame = Frame {
        kind: Kind::of(kind),
        one_way: flags & FLAG_ONE_WAY != 0,
        state_left_out: flags & FLAG_STATE_LEFT_OUT != 0,
        stuck: flags & FLAG_STUCK != 0,
        sequence: u32::from_be_bytes(get(&mut rest)?),
        time_us: u64::from_be_bytes(get(&mut rest)?),
        next_due_ms: u32::from_be_bytes(get(&mut rest)?),
        hold_ms: u32::from_be_bytes(get(&mut rest)?),
        state: &[],
    };
    if matches!(frame.kind, Kind::Other(_)) {
        return Ok(frame);
    }
    if flags & FLAGS_CRITICAL != 0 {
        return Err(Rejection::Flags(flags & FLAGS_CRITICAL));
    }
    frame.state = state(rest)?;
    Ok(frame)
}

/// Walks the fields and gives the state among them, empty if there is none.
fn state(mut fields: &[u8]) -> Result<&[u8], Rejection> {
    let mut state = None;
    while !fields.is_empty() {
        let (number, value) = field(&mut fields).ok_or(Rejection::FieldTruncated)?;
        match number & !FIELD_CRITICAL {
            FIELD_PADDING => {}
            FIELD_STATE if state.is_some() => return Err(Rejection::StateTwice),
            FIELD_STATE if value.len() > STATE_MAX => return Err(Rejection::StateTooLong(value.len() as u16)),
            FIELD_STATE => state = Some(value),
            unknown if number & FIELD_CRITICAL != 0 => return Err(Rejection::Field(unknown)),
            _ => {}
        }
    }
    Ok(state.unwrap_or_default())
}

/// Takes a field off the front: its number with the critical bit, and its value.
fn field<'a>(fields: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let number = u16::from_be_bytes(get(fields).ok()?);
    let length = u16::from_be_bytes(get(fields).ok()?);
    let (value, rest) = fields.split_at_checked(usize::from(length))?;
    *fields = rest;
    Some((number, value))
}

fn flags(one_way: bool, state_left_out: bool, stuck: bool) -> u16 {
    let mut flags = 0;
    if one_way {
        flags |= FLAG_ONE_WAY;
    }
    if state_left_out {
        flags |= FLAG_STATE_LEFT_OUT;
    }
    if stuck {
        flags |= FLAG_STUCK;
    }
    flags
}

/// Takes `N` octets off the front.
fn get<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Rejection> {
    let (octets, after) = rest.split_first_chunk().ok_or(Rejection::Truncated)?;
    *rest = after;
    Ok(*octets)
}

/// Writes `octets` to the front of `rest`, which has room for them.
fn put(rest: &mut &mut [u8], octets: &[u8]) {
    let (place, after) = std::mem::take(rest).split_at_mut(octets.len());
    place.copy_from_slice(octets);
    *rest = after;
}

impl Kind {
    fn of(octet: u8) -> Self {
        match octet {
            1 => Self::Heart,
            2 => Self::Answer,
            other => Self::Other(other),
        }
    }

    fn octet(self) -> u8 {
        match self {
            Self::Heart => 1,
            Self::Answer => 2,
            Self::Other(octet) => octet,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the frame ends before its length does"),
            Self::NotAFrame(desync) => write!(f, "not a frame: {desync}"),
            Self::Length { said } => write!(f, "the frame says its length is {said}, and it is not"),
            Self::Version(version) => write!(f, "the frame is of version {version}, only {VERSION} is known"),
            Self::Flags(flags) => write!(f, "the frame has flags {flags:#06x}, which must be understood and are not"),
            Self::Field(number) => write!(f, "the frame has field {number}, which must be understood and is not"),
            Self::FieldTruncated => f.write_str("a field runs past the end of the frame"),
            Self::StateTwice => f.write_str("the frame has two states"),
            Self::StateTooLong(length) => {
                write!(f, "the state in the frame has {length} octets, at most {STATE_MAX} are allowed")
            }
        }
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;

    const HEART: Fields<'static> = Fields {
        sent_us: 1_000_000,
        next_due_ms: 9_000,
        hold_ms: 30_000,
        one_way: false,
        datagram: false,
        stuck: false,
        state: &[],
    };
    const OWED: Owed = Owed { echo_us: 1_000_000, sequence: 7, room: HEADER as u16 };

    /// The octets of an indented line of `docs/heart-frame.md`.
    fn example(number: usize) -> Vec<u8> {
        let page = include_str!("../../docs/heart-frame.md");
        let line = page.lines().filter(|line| line.starts_with("    4842")).nth(number).expect("an example");
        let digits: String = line.split_whitespace().collect();
        let octet = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
        (0..digits.len()).step_by(2).map(octet).collect()
    }

    fn built(build: impl Fn(&mut [u8]) -> Option<usize>) -> Vec<u8> {
        let mut out = [0xaa; FRAME_MAX];
        let length = build(&mut out).expect("room for every frame");
        assert!(out[length..].iter().all(|octet| *octet == 0xaa));
        out[..length].to_vec()
    }

    /// A heart with these octets after its header.
    fn with_fields(fields: &[u8]) -> Vec<u8> {
        let mut frame = built(|out| beat(7, &HEART, out));
        frame.extend_from_slice(fields);
        let length = frame.len() as u16;
        frame[6..8].copy_from_slice(&length.to_be_bytes());
        frame
    }

    #[test]
    fn the_examples_of_the_page_are_what_is_built() {
        assert_eq!(built(|out| beat(7, &HEART, out)), example(0));
        let ok = Fields { state: b"ok", ..Fields::default() };
        assert_eq!(built(|out| answer(&OWED, &ok, out)), example(1));
        assert_eq!(built(|out| answer(&OWED, &Fields { datagram: true, ..ok }, out)), example(2));
    }

    #[test]
    fn and_they_read_back() {
        let octets = [example(0), example(1), example(2)];
        let heart = decode(&octets[0]).unwrap();
        assert_eq!((heart.kind, heart.sequence, heart.time_us), (Kind::Heart, 7, 1_000_000));
        assert_eq!((heart.next_due_ms, heart.hold_ms, heart.one_way), (9_000, 30_000, false));
        let answer = decode(&octets[1]).unwrap();
        assert_eq!((answer.kind, answer.sequence, answer.time_us), (Kind::Answer, 7, 1_000_000));
        assert_eq!((answer.state, answer.state_left_out), (&b"ok"[..], false));
        let short = decode(&octets[2]).unwrap();
        assert_eq!((short.state, short.state_left_out), (&b""[..], true));
    }

    #[test]
    fn over_datagrams_an_answer_is_never_larger_than_its_beat() {
        let state = [7; STATE_MAX];
        for room in HEADER..=FRAMING.maximum as usize {
            let owed = Owed { room: room as u16, ..OWED };
            for length in [0, 1, room - HEADER, STATE_MAX] {
                let fields = Fields { datagram: true, state: &state[..length.min(STATE_MAX)], ..HEART };
                assert!(built(|out| answer(&owed, &fields, out)).len() <= room);
            }
        }
    }

    #[test]
    fn state_that_is_too_long_is_left_out_whole() {
        let state = [7; STATE_MAX + 1];
        let longest = Fields { state: &state[1..], ..HEART };
        assert_eq!(built(|out| beat(7, &longest, out)).len(), FRAME_MAX);
        let frame = built(|out| beat(7, &Fields { state: &state, ..HEART }, out));
        assert!(decode(&frame).is_ok_and(|frame| frame.state.is_empty() && frame.state_left_out));
    }

    #[test]
    fn hearts_and_answers_say_that_the_application_does_not_respond() {
        let stuck = Fields { stuck: true, ..HEART };
        for frame in [built(|out| beat(7, &stuck, out)), built(|out| answer(&OWED, &stuck, out))] {
            assert_eq!(frame[4..6], [0, 4]);
            assert!(decode(&frame).is_ok_and(|frame| frame.stuck && !frame.one_way && !frame.state_left_out));
        }
    }

    #[test]
    fn unknown_fields_are_skipped_unless_they_are_critical() {
        let state = |fields: &[u8]| decode(&with_fields(fields)).map(|frame| frame.state.to_vec());
        assert_eq!(state(&[0x00, 9, 0, 1, 0xee, 0, 1, 0, 1, 0x55, 0, 0, 0, 0]), Ok(vec![0x55]));
        assert_eq!(state(&[0x80, 1, 0, 1, 0x55]), Ok(vec![0x55]));
        assert_eq!(state(&[0x80, 0, 0, 1, 0x55]), Ok(vec![]));
        assert_eq!(state(&[0x80, 9, 0, 1, 0xee]), Err(Rejection::Field(9)));
    }

    #[test]
    fn fields_that_make_no_sense_reject_the_frame() {
        let rejection = |fields: &[u8]| decode(&with_fields(fields)).unwrap_err();
        assert_eq!(rejection(&[0]), Rejection::FieldTruncated);
        assert_eq!(rejection(&[0, 1, 0]), Rejection::FieldTruncated);
        assert_eq!(rejection(&[0, 1, 0, 2, 0x55]), Rejection::FieldTruncated);
        assert_eq!(rejection(&[0, 9, 0xff, 0xff]), Rejection::FieldTruncated);
        assert_eq!(rejection(&[0, 1, 0, 0, 0, 1, 0, 0]), Rejection::StateTwice);
        let mut long = vec![0, 1, 4, 1];
        long.resize(FIELD_HEADER + STATE_MAX + 1, 0);
        assert_eq!(rejection(&long), Rejection::StateTooLong(1025));
    }

    #[test]
    fn headers_that_make_no_sense_reject_the_frame() {
        let changed = |at: usize, octet: u8| {
            let mut frame = example(0);
            frame[at] = octet;
            decode(&frame).unwrap_err()
        };
        assert_eq!(changed(0, b'h'), Rejection::NotAFrame(Desync::Beginning));
        assert_eq!(changed(2, 2), Rejection::Version(2));
        assert_eq!(changed(4, 0x40), Rejection::Flags(0x4000));
        assert_eq!(changed(7, 29), Rejection::Length { said: 29 });
        assert_eq!(decode(&[]), Err(Rejection::Truncated));
        // Says 27 and has 27: no header fits.
        let mut short = example(0);
        short.truncate(27);
        short[7] = 27;
        assert_eq!(decode(&short), Err(Rejection::Truncated));
    }

    #[test]
    fn flags_that_may_be_overlooked_are() {
        let mut frame = example(0);
        frame[5] = 0xf8;
        assert_eq!(decode(&frame), decode(&example(0)));
        frame[5] = 0x01;
        assert!(decode(&frame).unwrap().one_way);
    }

    #[test]
    fn a_frame_that_is_neither_is_not_looked_into() {
        let mut frame = with_fields(b"whatever");
        frame[3] = 200;
        frame[4] = 0xff;
        assert_eq!(decode(&frame).map(|frame| frame.kind), Ok(Kind::Other(200)));
    }

    #[test]
    fn every_rejection_has_a_sentence() {
        let all = [
            Rejection::Truncated,
            Rejection::NotAFrame(Desync::Beginning),
            Rejection::Length { said: 27 },
            Rejection::Version(2),
            Rejection::Flags(0x4000),
            Rejection::Field(9),
            Rejection::FieldTruncated,
            Rejection::StateTwice,
            Rejection::StateTooLong(1025),
        ];
        let sentences: std::collections::BTreeSet<String> = all.iter().map(Rejection::to_string).collect();
        assert_eq!(sentences.len(), all.len());
        assert!(Rejection::StateTooLong(1025).to_string().contains("1025"));
    }
}
