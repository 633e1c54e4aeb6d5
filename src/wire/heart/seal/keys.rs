//! The keys: HMAC-SHA-256 (RFC 2104, FIPS 180-4), by id.

use super::TAG;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::ops::RangeInclusive;
use zeroize::ZeroizeOnDrop;

/// Octets of a key. Shorter ones can be guessed; longer ones than a block of the hash add nothing.
const OCTETS: RangeInclusive<usize> = 16..=64;

/// One or two keys: the first signs, both are accepted. Keys are not kept as they came, only as states of the hash, which
/// are wiped when the last owner is gone.
pub struct Keys {
    signing: Key,
    other: Option<Key>,
}

struct Key {
    id: u32,
    keyed: Hmac<Sha256>,
}

// An HMAC consists of the states of its hash, and of no other secret.
const fn is_wiped<T: ZeroizeOnDrop>() {}
const _: () = is_wiped::<Sha256>();

/// What was wrong with keys. Its text never shows one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// Neither one nor two.
    Count(usize),
    /// A key is too short or too long.
    Length {
        /// The key's.
        id: u32,
        /// In octets.
        length: usize,
    },
    /// Both keys have this id.
    SameId(u32),
}

impl Keys {
    /// One or two keys, each with its id, any number that both ends know it by. The caller wipes its own copy.
    ///
    /// # Errors
    /// Not one or two keys, a key that has not 16 to 64 octets, or two with the same id.
    pub fn new(keys: &[(u32, &[u8])]) -> Result<Self, KeyError> {
        let (signing, other) = match *keys {
            [signing] => (signing, None),
            [signing, other] => (signing, Some(other)),
            _ => return Err(KeyError::Count(keys.len())),
        };
        if other.is_some_and(|other| other.0 == signing.0) {
            return Err(KeyError::SameId(signing.0));
        }
        Ok(Self { signing: Key::new(signing)?, other: other.map(Key::new).transpose()? })
    }

    pub(super) const fn signing_id(&self) -> u32 {
        self.signing.id
    }

    pub(super) fn sign(&self, octets: &[u8]) -> [u8; TAG] {
        let whole = self.signing.keyed.clone().chain_update(octets).finalize().into_bytes();
        let mut tag = [0; TAG];
        tag.copy_from_slice(&whole[..TAG]);
        tag
    }

    /// Whether the tag is right, in a time that does not depend on where it is wrong; `None` if there is no such key.
    pub(super) fn verify(&self, id: u32, octets: &[u8], tag: &[u8; TAG]) -> Option<bool> {
        let key = self.all().find(|key| key.id == id)?;
        Some(key.keyed.clone().chain_update(octets).verify_truncated_left(tag).is_ok())
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.signing).chain(&self.other)
    }
}

impl Key {
    fn new((id, octets): (u32, &[u8])) -> Result<Self, KeyError> {
        let wrong = KeyError::Length { id, length: octets.len() };
        if !OCTETS.contains(&octets.len()) {
            return Err(wrong);
        }
        Ok(Self { id, keyed: Hmac::new_from_slice(octets).map_err(|_| wrong)? })
    }
}

impl fmt::Debug for Keys {
    /// The ids only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")?;
        f.debug_list().entries(self.all().map(|key| key.id)).finish()
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (OCTETS.start(), OCTETS.end());
        match self {
            Self::Count(count) => write!(f, "there are {count} keys, allowed is 1 or 2"),
            Self::Length { id, length } => write!(f, "key {id} has {length} octets, allowed is {least} to {most}"),
            Self::SameId(id) => write!(f, "both keys have the id {id}, each needs its own"),
        }
    }
}

impl std::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 section 4.3 cannot be used (its key has 4 octets); section 4.2, test case 1, has 20.
    #[test]
    fn a_tag_is_the_left_half_of_what_rfc_4231_says() {
        let keys = Keys::new(&[(1, &[0x0b; 20])]).unwrap();
        let tag = 0xb034_4c61_d8db_3853_5ca8_afce_af0b_f12b_u128.to_be_bytes();
        assert_eq!(keys.sign(b"Hi There"), tag);
        assert_eq!(keys.verify(1, b"Hi There", &tag), Some(true));
        assert_eq!(keys.verify(1, b"Hi there", &tag), Some(false));
        assert_eq!(keys.verify(2, b"Hi There", &tag), None);
    }

    #[test]
    fn both_are_accepted_and_the_first_signs() {
        let (old, new) = (Keys::new(&[(1, &[1; 16])]).unwrap(), Keys::new(&[(2, &[2; 64])]).unwrap());
        let both = Keys::new(&[(2, &[2; 64]), (1, &[1; 16])]).unwrap();
        assert_eq!(both.sign(b"beat"), new.sign(b"beat"));
        assert_eq!(both.verify(1, b"beat", &old.sign(b"beat")), Some(true));
        assert_eq!(both.verify(2, b"beat", &old.sign(b"beat")), Some(false));
        assert_eq!(both.verify(3, b"beat", &old.sign(b"beat")), None);
    }

    #[test]
    fn keys_that_cannot_be_used_are_named() {
        let error = |keys: &[(u32, &[u8])]| Keys::new(keys).unwrap_err().to_string();
        let key = &[7; 16][..];
        assert_eq!(error(&[]), "there are 0 keys, allowed is 1 or 2");
        assert_eq!(error(&[(1, key), (2, key), (3, key)]), "there are 3 keys, allowed is 1 or 2");
        assert_eq!(error(&[(9, &key[1..])]), "key 9 has 15 octets, allowed is 16 to 64");
        assert_eq!(error(&[(1, key), (9, &[7; 65])]), "key 9 has 65 octets, allowed is 16 to 64");
        assert_eq!(error(&[(9, key), (9, &[8; 16])]), "both keys have the id 9, each needs its own");
    }

    #[test]
    fn nothing_shows_a_key() {
        let keys = Keys::new(&[(5, &[0xab; 16]), (6, &[0xcd; 16])]).unwrap();
        assert_eq!(format!("{keys:?}"), "Keys[5, 6]");
    }
}
