//! What follows the header: fields, each with number, length and value.

use super::octets::{get, put};
use super::seal::Claim;
use super::{Rejection, STATE_MAX};

/// Octets of number and length, before the value.
pub const FIELD_HEADER: usize = 4;
pub const FIELD_CRITICAL: u16 = 0x8000;
const FIELD_PADDING: u16 = 0;
const FIELD_STATE: u16 = 1;
pub const FIELD_SESSION: u16 = 2;
pub const FIELD_SEAL: u16 = 4;
pub const FIELD_TERMS: u16 = 5;

/// Octets of a session's value, and of that of terms.
pub const SESSION: usize = 16;
pub const TERMS: usize = 20;
/// Octets of a whole session field, and of a whole field of terms.
pub const SESSION_LENGTH: usize = FIELD_HEADER + SESSION;
pub const TERMS_LENGTH: usize = FIELD_HEADER + TERMS;
/// The longest time in terms, in milliseconds: what the core can count.
pub const TERMS_MAX_MS: u32 = 1 << 29;

/// Which connection a frame belongs to: a number of either end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// The sender's number for the connection: random, never 0.
    pub mine: u64,
    /// The receiver's, as far as the sender knows it; 0 = not yet.
    pub yours: u64,
}

/// What a side would like, and which wishes of its peer it has taken over. Not what is in force: the header says that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// Counts the sender's wishes: the next one is newer. 0 = only acknowledges.
    pub generation: u16,
    /// The receiver's generation that the sender has taken over; 0 = none yet.
    pub acknowledged: u16,
    /// The sender would like to beat that often, in milliseconds: 0 (only when asked) to 2^29.
    pub interval_ms: u32,
    /// It does not want beats more often than that, in milliseconds: 0 (any will do) to 2^29.
    pub least_ms: u32,
    /// It would like to tolerate that much silence, in milliseconds: 0 (does not say) to 2^29.
    pub hold_ms: u32,
    /// What it can do: [`CAN_STATE`](Self::CAN_STATE), [`CAN_SEAL`](Self::CAN_SEAL); others are sent as 0 and overlooked.
    pub capabilities: u32,
}

impl Terms {
    /// The capability to carry the application's state.
    pub const CAN_STATE: u32 = 1;
    /// The capability to seal frames.
    pub const CAN_SEAL: u32 = 2;
}

/// The fields of a frame that are known here.
#[derive(Clone, Copy, Default)]
pub struct Contents<'a> {
    pub session: Option<Session>,
    pub terms: Option<Terms>,
    pub state: Option<&'a [u8]>,
}

impl<'a> Contents<'a> {
    /// What has room in so many octets, and whether the state had none. The session always stays. Terms go before state, which
    /// takes what is left: they are few, and sent until they are acknowledged.
    pub fn within(self, room: usize) -> (Self, bool) {
        let length = |contents: Self| contents.length();
        let mut kept = Self { session: self.session, ..Self::default() };
        let with_terms = Self { terms: self.terms, ..kept };
        if length(with_terms) <= room {
            kept = with_terms;
        }
        let with_state = Self { state: self.state, ..kept };
        let fits = length(with_state) <= room && self.state.is_none_or(|state| state.len() <= STATE_MAX);
        if fits { (with_state, false) } else { (kept, true) }
    }

    /// In octets.
    pub fn length(&self) -> usize {
        let state = self.state.map_or(0, |state| FIELD_HEADER + state.len());
        self.session.map_or(0, |_| SESSION_LENGTH) + self.terms.map_or(0, |_| TERMS_LENGTH) + state
    }

    /// Writes them to the front of `rest`, which has room for them.
    pub fn write(&self, rest: &mut &mut [u8]) {
        if let Some(session) = self.session {
            put_header(rest, FIELD_CRITICAL | FIELD_SESSION, SESSION);
            put(rest, &session.mine.to_be_bytes());
            put(rest, &session.yours.to_be_bytes());
        }
        if let Some(terms) = self.terms {
            put_header(rest, FIELD_TERMS, TERMS);
            put(rest, &terms.generation.to_be_bytes());
            put(rest, &terms.acknowledged.to_be_bytes());
            for number in [terms.interval_ms, terms.least_ms, terms.hold_ms, terms.capabilities] {
                put(rest, &number.to_be_bytes());
            }
        }
        if let Some(state) = self.state {
            put_header(rest, FIELD_STATE, state.len());
            put(rest, state);
        }
    }

    /// Reads fields up to the end. Where seals are known one is told beside the rest.
    pub fn read(mut fields: &'a [u8], seals_known: bool) -> Result<(Self, Option<Claim>), Rejection> {
        let (mut contents, mut claim) = (Self::default(), None);
        while !fields.is_empty() {
            let (number, value) = field(&mut fields).ok_or(Rejection::FieldTruncated)?;
            match number & !FIELD_CRITICAL {
                FIELD_PADDING => {}
                FIELD_STATE => once(&mut contents.state, state(value)?, Rejection::StateTwice)?,
                FIELD_SESSION => once(&mut contents.session, session(value)?, Rejection::SessionTwice)?,
                FIELD_TERMS => once(&mut contents.terms, terms(value)?, Rejection::TermsTwice)?,
                FIELD_SEAL if seals_known && !fields.is_empty() => return Err(Rejection::SealNotLast),
                FIELD_SEAL if seals_known => claim = Some(seal(value)?),
                unknown if number & FIELD_CRITICAL != 0 => return Err(Rejection::Field(unknown)),
                _ => {}
            }
        }
        Ok((contents, claim))
    }
}

fn once<T>(place: &mut Option<T>, value: T, twice: Rejection) -> Result<(), Rejection> {
    if place.replace(value).is_some() { Err(twice) } else { Ok(()) }
}

fn state(value: &[u8]) -> Result<&[u8], Rejection> {
    if value.len() > STATE_MAX { Err(Rejection::StateTooLong(value.len() as u16)) } else { Ok(value) }
}

fn session(value: &[u8]) -> Result<Session, Rejection> {
    let octets: [u8; SESSION] = value.try_into().map_err(|_| Rejection::SessionLength(value.len() as u16))?;
    let both = u128::from_be_bytes(octets);
    let session = Session { mine: (both >> 64) as u64, yours: both as u64 };
    if session.mine == 0 { Err(Rejection::SessionZero) } else { Ok(session) }
}

fn terms(value: &[u8]) -> Result<Terms, Rejection> {
    let mut rest = value;
    let (Some(generations), Some(numbers), []) = (get::<4>(&mut rest), get::<16>(&mut rest), rest) else {
        return Err(Rejection::TermsLength(value.len() as u16));
    };
    let generations = u32::from_be_bytes(generations);
    let both = u128::from_be_bytes(numbers);
    let number = |place: u32| (both >> (96 - 32 * place)) as u32;
    let terms = Terms {
        generation: (generations >> 16) as u16,
        acknowledged: generations as u16,
        interval_ms: number(0),
        least_ms: number(1),
        hold_ms: number(2),
        capabilities: number(3),
    };
    match [terms.interval_ms, terms.least_ms, terms.hold_ms].into_iter().find(|ms| *ms > TERMS_MAX_MS) {
        Some(ms) => Err(Rejection::TermsTooLong(ms)),
        None => Ok(terms),
    }
}

fn seal(value: &[u8]) -> Result<Claim, Rejection> {
    Claim::read(value).ok_or(Rejection::SealLength(value.len() as u16))
}

/// Takes a field off the front: its number with the critical bit, and its value.
fn field<'a>(fields: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let number = u16::from_be_bytes(get(fields)?);
    let length = u16::from_be_bytes(get(fields)?);
    let (value, rest) = fields.split_at_checked(usize::from(length))?;
    *fields = rest;
    Some((number, value))
}

/// Writes number and length of a field, whose value is short enough for a frame.
pub fn put_header(rest: &mut &mut [u8], number: u16, length: usize) {
    put(rest, &number.to_be_bytes());
    put(rest, &(length as u16).to_be_bytes());
}
