//! The seal: who holds the key wrote the frame, and it was not heard before. One [`Seal`] for each connection, over the
//! [`Keys`] that connections share.

mod keys;
mod window;

pub use keys::{KeyError, Keys};

use super::fields::{FIELD_CRITICAL, FIELD_HEADER, FIELD_SEAL, Session, put_header};
use super::octets::put;
use super::{FRAMING, HEADER, LENGTH_AT, Rejection};
use std::sync::Arc;
use window::Window;

/// Octets of the tag: HMAC-SHA-256, truncated to its left half (RFC 2104 section 5).
const TAG: usize = 16;
/// Octets of the value: key id, counter, tag.
pub const SEAL: usize = 4 + 8 + TAG;
/// Octets that a seal adds to a frame.
pub const SEAL_LENGTH: usize = FIELD_HEADER + SEAL;

/// Seals the frames of one connection in one direction, and opens those of the other.
///
/// ```
/// use hbeat::wire::{Fields, Inbound, Keys, Protocol, Reader, Rejection, SEAL_LENGTH, Seal, Session};
/// use std::sync::Arc;
/// let keys = Arc::new(Keys::new(&[(1, &b"sixteen or more octets"[..])])?);
/// let (mut ours, mut theirs) = (Seal::new(Arc::clone(&keys)), Seal::new(keys));
/// let session = Some(Session { mine: 17, yours: 4 });
/// let fields = Fields { session, reserve: SEAL_LENGTH as u16, ..Fields::default() };
/// let mut frame = [0; hbeat::wire::FRAME_MAX];
/// let length = Protocol::Heart.beat(1, &fields, &mut frame).unwrap();
/// let length = ours.close(&mut frame, length).unwrap();
/// let mut reader = Reader::new(Protocol::Heart).unwrap();
/// let mut hear = |mut bytes: &[u8]| match reader.next_sealed(&mut bytes, Some(&mut theirs)) {
///     Ok(Some(Inbound::Rejected(rejection))) => Err(rejection),
///     _ => Ok(()),
/// };
/// assert_eq!(hear(&frame[..length]), Ok(()));
/// assert_eq!(hear(&frame[..length]), Err(Rejection::Replayed));
/// # Ok::<(), hbeat::wire::KeyError>(())
/// ```
#[derive(Debug)]
pub struct Seal {
    keys: Arc<Keys>,
    /// Counter of the last frame that was sealed.
    sealed: u64,
    /// Counters that were opened.
    opened: Window,
    /// Our number for the connection.
    number: Option<u64>,
}

/// The value of a frame's seal.
#[derive(Clone, Copy)]
pub struct Claim {
    key: u32,
    counter: u64,
    tag: [u8; TAG],
}

impl Seal {
    /// For a new connection: counts from 1.
    #[must_use]
    pub const fn new(keys: Arc<Keys>) -> Self {
        Self { keys, sealed: 0, opened: Window::new(), number: None }
    }

    /// Other keys from here on. Counters and window stay, so what was heard under the old keys is not heard again
    /// under those that are in both.
    pub fn set_keys(&mut self, keys: Arc<Keys>) {
        self.keys = keys;
    }

    /// Our own number for the connection ([`Session::mine`] of what we send). From here on the window is for frames that
    /// name it as [`Session::yours`]. All others prove nothing anyway, and a frame of an earlier connection under the same
    /// key, sent again, could otherwise push the window past the counters of this one.
    pub const fn bind(&mut self, number: u64) {
        self.number = Some(number);
    }

    /// Appends the seal to the frame of `length` octets at the front of `buffer` and gives its new length. `None`, with
    /// nothing written: no room in `buffer` or in a frame, or there is no such frame; the counters are used up, which
    /// takes longer than any machine lasts.
    #[must_use]
    pub fn close(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let whole = length.checked_add(SEAL_LENGTH)?;
        let frame = buffer.get_mut(..whole)?;
        let is_frame = length >= HEADER && frame[LENGTH_AT..LENGTH_AT + 2] == (length as u16).to_be_bytes();
        if !is_frame || whole > FRAMING.maximum as usize {
            return None;
        }
        self.sealed = self.sealed.checked_add(1)?;

        frame[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&(whole as u16).to_be_bytes());
        let (covered, tag) = frame.split_at_mut(whole - TAG);
        let mut rest = &mut covered[length..];
        put_header(&mut rest, FIELD_CRITICAL | FIELD_SEAL, SEAL);
        put(&mut rest, &self.keys.signing_id().to_be_bytes());
        put(&mut rest, &self.sealed.to_be_bytes());
        tag.copy_from_slice(&self.keys.sign(covered));
        Some(whole)
    }

    /// Whether the frame with this claim at its end is from who holds a key, and new. Nothing changes before the tag was
    /// verified (RFC 4303 section 3.4.3).
    pub(super) fn open(
        &mut self,
        frame: &[u8],
        claim: Option<Claim>,
        session: Option<Session>,
        is_challenge: bool,
    ) -> Result<(), Rejection> {
        let Claim { key, counter, tag } = claim.ok_or(Rejection::Unsealed)?;
        let covered = &frame[..frame.len() - TAG];
        if !self.keys.verify(key, covered, &tag).ok_or(Rejection::UnknownKey(key))? {
            return Err(Rejection::Forged);
        }
        let Session { yours, .. } = session.ok_or(Rejection::NoSession)?;
        // Who challenges keeps nothing, so his counters mean nothing.
        let is_counted = !is_challenge && self.number.is_none_or(|number| number == yours);
        if counter == 0 || (is_counted && !self.opened.admit(counter)) {
            return Err(Rejection::Replayed);
        }
        Ok(())
    }
}

impl Claim {
    /// From the value of the field; `None` if it has another length.
    pub fn read(value: &[u8]) -> Option<Self> {
        let (key, rest) = value.split_first_chunk()?;
        let (counter, tag) = rest.split_first_chunk()?;
        let (key, counter) = (u32::from_be_bytes(*key), u64::from_be_bytes(*counter));
        Some(Self { key, counter, tag: tag.try_into().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{built, example};
    use super::super::{beat, decode};
    use super::*;
    use crate::wire::{Fields, Inbound, Protocol};

    const FIELDS: Fields<'static> = Fields {
        sent_us: 1_000_000,
        next_due_ms: 9_000,
        hold_ms: 30_000,
        session: Some(Session { mine: 0x0102_0304_0506_0708, yours: 0x1112_1314_1516_1718 }),
        one_way: false,
        datagram: false,
        stuck: false,
        terms: None,
        reserve: SEAL_LENGTH as u16,
        state: &[],
    };
    const KEY: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn seal() -> Seal {
        Seal::new(Arc::new(Keys::new(&[(1, KEY)]).unwrap()))
    }

    fn sealed(seal: &mut Seal) -> Vec<u8> {
        built(|out| {
            let length = beat(7, &FIELDS, out)?;
            seal.close(out, length)
        })
    }

    /// What of a datagram's one frame is said to be wrong.
    fn rejection(frame: &[u8], seal: &mut Seal) -> Option<Rejection> {
        match Protocol::Heart.datagram(&mut &frame[..], Some(seal)) {
            Some(Inbound::Rejected(rejection)) => Some(rejection),
            Some(Inbound::Beat { .. }) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_example_of_the_page_is_what_is_built_and_opens() {
        let frame = sealed(&mut seal());
        assert_eq!(frame, example(6));
        assert_eq!(rejection(&frame, &mut seal()), None);
        assert_eq!(decode(&frame), Err(Rejection::Field(4)));
    }

    #[test]
    fn no_bit_of_a_frame_can_be_changed() {
        let frame = sealed(&mut seal());
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let mut seal = seal();
            assert!(rejection(&changed, &mut seal).is_some(), "bit {bit}");
            assert_eq!(rejection(&frame, &mut seal), None, "a forged frame moves nothing");
        }
        for length in 0..frame.len() {
            let inbound = Protocol::Heart.datagram(&mut &frame[..length], Some(&mut seal()));
            assert!(matches!(inbound, None | Some(Inbound::Rejected(_))));
        }
    }

    #[test]
    fn what_is_not_sealed_or_not_once_and_last_is_rejected() {
        let with = |more: &[u8]| {
            let mut frame = [&built(|out| beat(7, &FIELDS, out)), more].concat();
            let length = frame.len() as u16;
            frame[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&length.to_be_bytes());
            rejection(&frame, &mut seal())
        };
        let field = [&[0x80, 4, 0, 28][..], &[7; 28]].concat();
        assert_eq!(with(&[]), Some(Rejection::Unsealed));
        assert_eq!(with(&field), Some(Rejection::UnknownKey(0x0707_0707)));
        assert_eq!(with(&[&field[..], &[0, 0, 0, 0]].concat()), Some(Rejection::SealNotLast));
        assert_eq!(with(&field.repeat(2)), Some(Rejection::SealNotLast));
        assert_eq!(with(&[0x80, 4, 0, 0]), Some(Rejection::SealLength(0)));
        assert_eq!(with(&[&[0x80, 4, 0, 29][..], &[7; 29]].concat()), Some(Rejection::SealLength(29)));
        // Nor does a frame that is neither heart nor answer get past it.
        let mut other = built(|out| beat(7, &FIELDS, out));
        other[3] = 200;
        assert_eq!(rejection(&other, &mut seal()), Some(Rejection::Unsealed));
        let cmpp = built(|out| Protocol::Cmpp.beat(7, &FIELDS, out));
        let inbound = Protocol::Cmpp.datagram(&mut &cmpp[..], Some(&mut seal()));
        assert_eq!(inbound, Some(Inbound::Rejected(Rejection::Unsealed)));
    }

    #[test]
    fn a_sealed_frame_without_a_session_is_rejected() {
        let mut ours = seal();
        let frame = built(|out| {
            let length = beat(7, &Fields { session: None, ..FIELDS }, out)?;
            ours.close(out, length)
        });
        assert_eq!(rejection(&frame, &mut seal()), Some(Rejection::NoSession));
    }

    #[test]
    fn counter_0_is_no_counter() {
        let mut frame = sealed(&mut seal());
        let covered = frame.len() - TAG;
        frame[covered - 8..covered].fill(0);
        let tag = Keys::new(&[(1, KEY)]).unwrap().sign(&frame[..covered]);
        frame[covered..].copy_from_slice(&tag);
        assert_eq!(rejection(&frame, &mut seal()), Some(Rejection::Replayed));
    }

    #[test]
    fn frames_of_another_connection_do_not_move_the_window() {
        let (mut ours, mut theirs) = (seal(), seal());
        theirs.bind(5);
        let frames: Vec<_> = (0..200).map(|_| sealed(&mut ours)).collect();
        // They name another number. They come out, and what they say proves nothing.
        assert_eq!(rejection(&frames[199], &mut theirs), None);
        assert_eq!(rejection(&frames[199], &mut theirs), None);
        theirs.bind(0x1112_1314_1516_1718);
        assert_eq!(rejection(&frames[0], &mut theirs), None);
        assert_eq!(rejection(&frames[0], &mut theirs), Some(Rejection::Replayed));
    }

    #[test]
    fn a_challenge_is_sealed_and_not_counted() {
        let session = Session { mine: 9, yours: 5 };
        let owed = crate::wire::Owed { echo_us: 1, sequence: 7, room: 80 };
        // By one who keeps nothing: each time with a new seal.
        let challenge = built(|out| {
            let length = Protocol::Heart.challenge(&owed, session, out)?;
            seal().close(out, length)
        });
        assert_eq!(challenge.len(), 80);
        let mut theirs = seal();
        for _ in 0..2 {
            let inbound = Protocol::Heart.datagram(&mut &challenge[..], Some(&mut theirs));
            assert!(matches!(inbound, Some(Inbound::Challenge { sequence: 7, .. })));
        }
        assert_eq!(rejection(&sealed(&mut seal()), &mut theirs), None);
        let plain = &mut &built(|out| Protocol::Heart.challenge(&owed, session, out))[..];
        let inbound = Protocol::Heart.datagram(plain, Some(&mut theirs));
        assert_eq!(inbound, Some(Inbound::Rejected(Rejection::Unsealed)));
    }

    #[test]
    fn keys_are_changed_without_beginning_anew() {
        let keys = |ids: &[u32]| {
            let octets: Vec<_> = ids.iter().map(|id| [*id as u8; 32]).collect();
            let keys: Vec<_> = ids.iter().zip(&octets).map(|(id, octets)| (*id, &octets[..])).collect();
            Arc::new(Keys::new(&keys).unwrap())
        };
        let (mut ours, mut theirs) = (Seal::new(keys(&[1])), Seal::new(keys(&[1])));
        let first = sealed(&mut ours);
        assert_eq!(rejection(&first, &mut theirs), None);
        // The receiver learns the new key, then the sender uses it, then the old one goes.
        theirs.set_keys(keys(&[1, 2]));
        assert_eq!(rejection(&first, &mut theirs), Some(Rejection::Replayed));
        assert_eq!(rejection(&sealed(&mut ours), &mut theirs), None);
        let late = sealed(&mut ours);
        ours.set_keys(keys(&[2, 1]));
        assert_eq!(rejection(&sealed(&mut ours), &mut theirs), None);
        assert_eq!(rejection(&late, &mut theirs), None);
        let old = sealed(&mut Seal::new(keys(&[1])));
        theirs.set_keys(keys(&[2]));
        assert_eq!(rejection(&old, &mut theirs), Some(Rejection::UnknownKey(1)));
        assert_eq!(rejection(&sealed(&mut ours), &mut theirs), None);
        ours.set_keys(keys(&[3]));
        assert_eq!(rejection(&sealed(&mut ours), &mut theirs), Some(Rejection::UnknownKey(3)));
        assert_eq!(ours.sealed, 6);
    }

    #[test]
    fn what_has_no_room_or_is_no_frame_is_not_sealed_and_not_counted() {
        let mut ours = seal();
        let frame = built(|out| beat(7, &FIELDS, out));
        let length = frame.len();
        let mut exact = [&frame[..], &[0; SEAL_LENGTH]].concat();
        assert_eq!(ours.close(&mut exact[..length + SEAL_LENGTH - 1], length), None);
        assert_eq!(ours.close(&mut exact, length - 1), None);
        assert_eq!(ours.close(&mut exact, usize::MAX), None);
        assert_eq!(ours.close(&mut [0; 100], 0), None);
        let mut large = vec![0; 1300];
        large[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&1169u16.to_be_bytes());
        assert_eq!(ours.close(&mut large, 1169), None);
        assert_eq!(exact[..length], frame);
        assert_eq!(ours.close(&mut exact, length), Some(length + SEAL_LENGTH));
        assert_eq!(ours.sealed, 1);
        ours.sealed = u64::MAX;
        assert_eq!(ours.close(&mut large, 1168), None);
    }

    #[test]
    fn nothing_shows_a_key() {
        let text = format!("{:?}", Seal::new(Arc::new(Keys::new(&[(77, KEY)]).unwrap())));
        assert!(text.contains("77") && !text.contains("9, 10, 11"), "{text}");
    }
}
