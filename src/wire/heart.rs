//! hbeat's own frame: `docs/heart-frame.md` is its layout, and the reasons for it. Header and fields are written and
//! read in the order of that page.

mod fields;
mod octets;
mod rejection;
mod seal;

pub use fields::{Session, TERMS_MAX_MS, Terms};
pub use rejection::Rejection;
pub use seal::{KeyError, Keys, SEAL_LENGTH, Seal};

use super::framer::{Desync, Field, Framing, Keep, Message};
use super::{Fields, Inbound, Owed, Told};
use fields::{Contents, FIELD_HEADER, SESSION_LENGTH, TERMS_LENGTH};
use octets::put;
use seal::Claim;

const MAGIC: [u8; 2] = *b"HB";
const VERSION: u8 = 1;
/// Where the length stands.
const LENGTH_AT: usize = 6;

/// Octets of the header, which is a whole beat when there is no state.
pub const HEADER: usize = 28;
/// The most octets of state in a beat or an answer.
pub const STATE_MAX: usize = 1024;
/// The longest frame that is built, its seal included, in octets. Longer ones, up to the maximum of [`FRAMING`], are read.
pub const FRAME_MAX: usize = HEADER + SESSION_LENGTH + TERMS_LENGTH + FIELD_HEADER + STATE_MAX + SEAL_LENGTH;

const FLAG_ONE_WAY: u16 = 0x0001;
const FLAG_STATE_LEFT_OUT: u16 = 0x0002;
const FLAG_STUCK: u16 = 0x0004;
const FLAGS_CRITICAL: u16 = 0xff00;

/// Where frames begin and end. The cap leaves room for the fields that are reserved, and keeps a frame within what a
/// datagram carries unfragmented wherever IPv6 does.
pub const FRAMING: Framing = Framing {
    begins_with: &MAGIC,
    length: Field::big(LENGTH_AT as u8, 2),
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
    /// What is said over datagrams to a beat of someone who has not proved his address.
    Challenge,
    /// None of them; the application's own, or a later version's.
    Other(u8),
}

/// A frame in parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Heart, answer, challenge or none of them.
    pub kind: Kind,
    /// The beat wants no answer.
    pub one_way: bool,
    /// There was state to tell and no room for it.
    pub state_left_out: bool,
    /// The sender's application does not respond.
    pub stuck: bool,
    /// Of a heart its own, otherwise that of the heart it answers.
    pub sequence: u32,
    /// Of a heart its own, otherwise that of the heart it answers; microseconds of the heart's sender.
    pub time_us: u64,
    /// The sender's next beat comes within that many milliseconds; 0 = it does not say.
    pub next_due_ms: u32,
    /// The silence the sender tolerates, in milliseconds; 0 = it does not say.
    pub hold_ms: u32,
    /// Which connection it belongs to; always `None` for [`Kind::Other`].
    pub session: Option<Session>,
    /// What the sender would like; always `None` for [`Kind::Other`].
    pub terms: Option<Terms>,
    /// The application's state, at most [`STATE_MAX`] octets; empty = none, and always empty for [`Kind::Other`], whose
    /// contents are not looked at.
    pub state: &'a [u8],
}

/// Writes a heart and gives its length; `None`, with nothing written, if it does not fit.
pub(super) fn beat(sequence: u32, fields: &Fields<'_>, out: &mut [u8]) -> Option<usize> {
    let frame = Frame { kind: Kind::Heart, one_way: fields.one_way, ..said(sequence, fields.sent_us, fields) };
    encode(&frame, room_beside(fields, FRAMING.maximum as usize), out)
}

/// Writes an answer and gives its length; `None`, with nothing written, if it does not fit, or if over datagrams even
/// header and session would be larger than the beat.
pub(super) fn answer(owed: &Owed, fields: &Fields<'_>, out: &mut [u8]) -> Option<usize> {
    let frame = Frame { kind: Kind::Answer, ..said(owed.sequence, owed.echo_us, fields) };
    let room = if fields.datagram { usize::from(owed.room) } else { FRAMING.maximum as usize };
    encode(&frame, room_beside(fields, room), out)
}

/// Writes a challenge and gives its length; `None`, with nothing written, if it does not fit, or would be larger than
/// the beat.
pub(super) fn challenge(owed: &Owed, session: Session, out: &mut [u8]) -> Option<usize> {
    let fields = Fields { session: Some(session), ..Fields::default() };
    let frame = Frame { kind: Kind::Challenge, ..said(owed.sequence, owed.echo_us, &fields) };
    encode(&frame, usize::from(owed.room), out)
}

/// What hearts and answers have in common.
fn said<'a>(sequence: u32, time_us: u64, fields: &Fields<'a>) -> Frame<'a> {
    Frame {
        kind: Kind::Heart,
        one_way: false,
        state_left_out: false,
        stuck: fields.stuck,
        sequence,
        time_us,
        next_due_ms: fields.next_due_ms,
        hold_ms: fields.hold_ms,
        session: fields.session,
        terms: fields.terms,
        state: fields.state,
    }
}

/// What of `room` is left when the seal has its part.
fn room_beside(fields: &Fields<'_>, room: usize) -> usize {
    room.saturating_sub(usize::from(fields.reserve))
}

/// Says what a complete message is.
pub(super) fn classify<'a>(message: &Message<'a>) -> Inbound<'a> {
    say(message, decode(message.head()))
}

/// Says what a complete message of a sealed link is.
pub(super) fn classify_sealed<'a>(message: &Message<'a>, seal: &mut Seal) -> Inbound<'a> {
    say(message, decode_sealed(message.head(), seal))
}

fn say<'a>(message: &Message<'a>, decoded: Result<Frame<'a>, Rejection>) -> Inbound<'a> {
    let frame = match decoded {
        Ok(frame) => frame,
        Err(rejection) => return Inbound::Rejected(rejection),
    };
    let Frame { sequence, time_us, next_due_ms, hold_ms, state_left_out, stuck, session, terms, state, .. } = frame;
    let told = Told { next_due_ms, hold_ms, state_left_out, stuck, session, terms, state };
    match frame.kind {
        Kind::Heart => {
            // A message has at most 1200 octets, so its length is a u16.
            let owed = Owed { sequence, echo_us: time_us, room: message.length() as u16 };
            Inbound::Beat { sequence, owed: (!frame.one_way).then_some(owed), told }
        }
        Kind::Answer => Inbound::Answer { sequence, echo_us: Some(time_us), told },
        Kind::Challenge => Inbound::Challenge { sequence, echo_us: time_us, told },
        Kind::Other(_) => Inbound::Message,
    }
}

/// Writes `frame`, as much of it as has room in so many octets. `None`, with nothing written, if header and session
/// have none, or the frame does not fit into `out`.
fn encode(frame: &Frame<'_>, room: usize, out: &mut [u8]) -> Option<usize> {
    let state = (!frame.state.is_empty()).then_some(frame.state);
    let told = Contents { session: frame.session, terms: frame.terms, state };
    let (contents, left_out) = told.within(room.checked_sub(HEADER)?);
    let length = HEADER + contents.length();
    if length > room {
        return None;
    }

    let mut rest = out.get_mut(..length)?;
    put(&mut rest, &MAGIC);
    put(&mut rest, &[VERSION, frame.kind.octet()]);
    put(&mut rest, &flags(&Frame { state_left_out: frame.state_left_out || left_out, ..*frame }).to_be_bytes());
    put(&mut rest, &(length as u16).to_be_bytes());
    put(&mut rest, &frame.sequence.to_be_bytes());
    put(&mut rest, &frame.time_us.to_be_bytes());
    put(&mut rest, &frame.next_due_ms.to_be_bytes());
    put(&mut rest, &frame.hold_ms.to_be_bytes());
    contents.write(&mut rest);
    Some(length)
}

/// Takes a frame apart. Any octets are accepted or rejected; `octets` must be the frame and nothing else.
///
/// # Errors
/// Why it is rejected.
pub fn decode(octets: &[u8]) -> Result<Frame<'_>, Rejection> {
    take_apart(octets, false).map(|(frame, _)| frame)
}

/// Takes a frame of a sealed link apart, if the seal is right. What has no fields that are looked at has none.
fn decode_sealed<'a>(octets: &'a [u8], seal: &mut Seal) -> Result<Frame<'a>, Rejection> {
    let (frame, claim) = take_apart(octets, true)?;
    seal.open(octets, claim, frame.session, frame.kind == Kind::Challenge)?;
    Ok(frame)
}

/// Which connection the first frame of a datagram claims to belong to. Nothing of it is proved.
#[must_use]
pub fn claimed_session(datagram: &[u8]) -> Option<Session> {
    let message = FRAMING.first(&mut &datagram[..]).ok()??;
    take_apart(message.head(), true).ok()?.0.session
}

/// The frame, and the seal that it claims to have where seals are known.
fn take_apart(octets: &[u8], seals_known: bool) -> Result<(Frame<'_>, Option<Claim>), Rejection> {
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
        session: None,
        terms: None,
        state: &[],
    };
    if matches!(frame.kind, Kind::Other(_)) {
        return Ok((frame, None));
    }
    if flags & FLAGS_CRITICAL != 0 {
        return Err(Rejection::Flags(flags & FLAGS_CRITICAL));
    }
    let (Contents { session, terms, state }, claim) = Contents::read(rest, seals_known)?;
    if frame.kind == Kind::Challenge && session.is_none() {
        return Err(Rejection::NoSession);
    }
    (frame.session, frame.terms, frame.state) = (session, terms, state.unwrap_or_default());
    Ok((frame, claim))
}

fn get<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Rejection> {
    octets::get(rest).ok_or(Rejection::Truncated)
}

fn flags(frame: &Frame<'_>) -> u16 {
    let set = |yes: bool, flag: u16| if yes { flag } else { 0 };
    set(frame.one_way, FLAG_ONE_WAY) | set(frame.state_left_out, FLAG_STATE_LEFT_OUT) | set(frame.stuck, FLAG_STUCK)
}

impl Kind {
    fn of(octet: u8) -> Self {
        match octet {
            1 => Self::Heart,
            2 => Self::Answer,
            3 => Self::Challenge,
            other => Self::Other(other),
        }
    }

    fn octet(self) -> u8 {
        match self {
            Self::Heart => 1,
            Self::Answer => 2,
            Self::Challenge => 3,
            Self::Other(octet) => octet,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::fields::SESSION_LENGTH;
    use super::*;

    const HEART: Fields<'static> = Fields {
        sent_us: 1_000_000,
        next_due_ms: 9_000,
        hold_ms: 30_000,
        one_way: false,
        datagram: false,
        stuck: false,
        session: None,
        terms: None,
        reserve: 0,
        state: &[],
    };
    const SESSION: Session = Session { mine: 0x0102_0304_0506_0708, yours: 0 };
    const TERMS: Terms =
        Terms { generation: 1, acknowledged: 0, interval_ms: 9_000, least_ms: 1_000, hold_ms: 30_000, capabilities: 1 };
    const OWED: Owed = Owed { echo_us: 1_000_000, sequence: 7, room: HEADER as u16 };

    /// The octets of an indented line of `docs/heart-frame.md`.
    pub(super) fn example(number: usize) -> Vec<u8> {
        let page = include_str!("../../docs/heart-frame.md");
        let line = page.lines().filter(|line| line.starts_with("    4842")).nth(number).expect("an example");
        let digits: String = line.split_whitespace().collect();
        let octet = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
        (0..digits.len()).step_by(2).map(octet).collect()
    }

    pub(super) fn built(build: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
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
        let first = Fields { session: Some(SESSION), terms: Some(TERMS), ..HEART };
        assert_eq!(built(|out| beat(7, &first, out)), example(3));
        let cookie = Session { mine: 0x1112_1314_1516_1718, yours: SESSION.mine };
        let owed = Owed { room: example(3).len() as u16, ..OWED };
        assert_eq!(built(|out| challenge(&owed, cookie, out)), example(4));
        assert_eq!(built(|out| answer(&OWED, &Fields { stuck: true, ..Fields::default() }, out)), example(5));
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
        let first = example(3);
        let first = decode(&first).unwrap();
        assert_eq!((first.session, first.terms, first.stuck), (Some(SESSION), Some(TERMS), false));
        let asked = example(4);
        let asked = decode(&asked).unwrap();
        assert_eq!((asked.kind, asked.sequence, asked.time_us), (Kind::Challenge, 7, 1_000_000));
        assert_eq!(asked.session.map(|session| session.yours), Some(SESSION.mine));
        assert!(decode(&example(5)).is_ok_and(|answer| answer.stuck && answer.kind == Kind::Answer));
    }

    #[test]
    fn over_datagrams_an_answer_is_never_larger_than_its_beat() {
        let state = [7; STATE_MAX];
        for room in HEADER..=FRAMING.maximum as usize {
            let owed = Owed { room: room as u16, ..OWED };
            for length in [0, 1, room - HEADER, STATE_MAX] {
                let fields = Fields { datagram: true, state: &state[..length.min(STATE_MAX)], ..HEART };
                assert!(built(|out| answer(&owed, &fields, out)).len() <= room);
                let more = Fields { session: Some(SESSION), terms: Some(TERMS), reserve: 32, ..fields };
                let length = answer(&owed, &more, &mut [0; FRAME_MAX]);
                assert_eq!(length.is_some(), room >= HEADER + SESSION_LENGTH + 32);
                assert!(length.is_none_or(|length| length + 32 <= room));
                let length = challenge(&owed, SESSION, &mut [0; FRAME_MAX]);
                assert_eq!(length, (room >= HEADER + SESSION_LENGTH).then_some(HEADER + SESSION_LENGTH));
            }
        }
    }

    #[test]
    fn what_has_no_room_in_an_answer_is_state_first_and_then_terms() {
        let fields =
            Fields { datagram: true, session: Some(SESSION), terms: Some(TERMS), reserve: 32, state: b"ok", ..HEART };
        let told = |room: u16| {
            let frame = built(|out| answer(&Owed { room, ..OWED }, &fields, out));
            let frame = decode(&frame).unwrap();
            assert_eq!((frame.session, frame.state_left_out), (Some(SESSION), frame.state.is_empty()));
            (frame.terms.is_some(), !frame.state.is_empty())
        };
        assert_eq!([told(110), told(109), told(104)], [(true, true), (true, false), (true, false)]);
        // No room for terms: what is left is for state.
        assert_eq!(
            [told(103), told(86), told(85), told(80)],
            [(false, true), (false, true), (false, false), (false, false)]
        );
    }

    #[test]
    fn state_that_is_too_long_is_left_out_whole() {
        let state = [7; STATE_MAX + 1];
        let longest = Fields { session: Some(SESSION), terms: Some(TERMS), state: &state[1..], ..HEART };
        assert_eq!(built(|out| beat(7, &longest, out)).len(), FRAME_MAX - SEAL_LENGTH);
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
    fn sessions_and_terms_that_make_no_sense_reject_the_frame() {
        let rejection = |fields: &[u8]| decode(&with_fields(fields)).unwrap_err();
        let session = [&[0x80, 2, 0, 16][..], &[7; 16]].concat();
        assert_eq!(rejection(&session.repeat(2)), Rejection::SessionTwice);
        assert_eq!(rejection(&[0x80, 2, 0, 0]), Rejection::SessionLength(0));
        assert_eq!(rejection(&[&[0, 2, 0, 17][..], &[7; 17]].concat()), Rejection::SessionLength(17));
        assert_eq!(rejection(&[&[0x80, 2, 0, 16][..], &[0; 8], &[7; 8]].concat()), Rejection::SessionZero);
        let terms = |numbers: [u32; 3]| {
            [&[0, 5, 0, 20, 0, 1, 0, 0][..], &numbers.map(u32::to_be_bytes).concat(), &[0; 4]].concat()
        };
        assert!(decode(&with_fields(&terms([TERMS_MAX_MS; 3]))).is_ok());
        assert_eq!(rejection(&terms([0; 3]).repeat(2)), Rejection::TermsTwice);
        assert_eq!(rejection(&[0, 5, 0, 3, 0, 0, 0]), Rejection::TermsLength(3));
        assert_eq!(rejection(&[&[0, 5, 0, 21][..], &[0; 21]].concat()), Rejection::TermsLength(21));
        for place in 0..3 {
            for ms in [TERMS_MAX_MS + 1, u32::MAX] {
                let mut numbers = [0; 3];
                numbers[place] = ms;
                assert_eq!(rejection(&terms(numbers)), Rejection::TermsTooLong(ms));
            }
        }
        let mut challenge = example(0);
        challenge[3] = 3;
        assert_eq!(decode(&challenge), Err(Rejection::NoSession));
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
            Rejection::SessionTwice,
            Rejection::SessionLength(17),
            Rejection::SessionZero,
            Rejection::NoSession,
            Rejection::TermsTwice,
            Rejection::TermsLength(21),
            Rejection::TermsTooLong(u32::MAX),
            Rejection::ChallengeInStream,
            Rejection::SealLength(29),
            Rejection::SealNotLast,
            Rejection::Unsealed,
            Rejection::UnknownKey(9),
            Rejection::Forged,
            Rejection::Replayed,
        ];
        let sentences: std::collections::BTreeSet<String> = all.iter().map(Rejection::to_string).collect();
        assert_eq!(sentences.len(), all.len());
        assert!(Rejection::StateTooLong(1025).to_string().contains("1025"));
    }
}
