//! Why a message was rejected, in sentences.

use super::fields::{FIELD_SEAL, FIELD_SESSION, FIELD_TERMS, SESSION, TERMS, TERMS_MAX_MS};
use super::seal::SEAL;
use super::{STATE_MAX, VERSION};
use crate::wire::framer::Desync;
use std::fmt;

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
    /// It has two sessions.
    SessionTwice,
    /// Its session has another length than a session has.
    SessionLength(u16),
    /// Its session gives its sender the number 0.
    SessionZero,
    /// It has no session, and must have one.
    NoSession,
    /// It has two sets of terms.
    TermsTwice,
    /// Its terms have another length than terms have.
    TermsLength(u16),
    /// A time in its terms is longer than any that can be kept.
    TermsTooLong(u32),
    /// It is a challenge, and came in a stream.
    ChallengeInStream,
    /// Its seal has another length than a seal has.
    SealLength(u16),
    /// A field follows its seal, which so does not cover it.
    SealNotLast,
    /// It has no seal, on a link whose frames are sealed.
    Unsealed,
    /// It is sealed with a key that is not known.
    UnknownKey(u32),
    /// Its seal is not that of the key and of what it covers.
    Forged,
    /// It was heard before, or is too old to tell.
    Replayed,
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
            Self::SessionTwice => f.write_str("the frame has two sessions"),
            Self::SessionLength(length) => {
                write!(f, "the session in the frame has {length} octets, field {FIELD_SESSION} has {SESSION}")
            }
            Self::SessionZero => {
                f.write_str("the session in the frame gives its sender the number 0, which is no number")
            }
            Self::NoSession => f.write_str("the frame has no session, and here every frame must have one"),
            Self::TermsTwice => f.write_str("the frame has two sets of terms"),
            Self::TermsLength(length) => {
                write!(f, "the terms in the frame have {length} octets, field {FIELD_TERMS} has {TERMS}")
            }
            Self::TermsTooLong(ms) => {
                write!(f, "the terms in the frame say {ms} ms, at most {TERMS_MAX_MS} are allowed")
            }
            Self::ChallengeInStream => f.write_str("the frame is a challenge, which is for datagrams only"),
            Self::SealLength(length) => {
                write!(f, "the seal in the frame has {length} octets, field {FIELD_SEAL} has {SEAL}")
            }
            Self::SealNotLast => f.write_str("the seal in the frame is not its last field"),
            Self::Unsealed => f.write_str("the frame has no seal, and on this link every frame must have one"),
            Self::UnknownKey(id) => write!(f, "the frame is sealed with key {id}, which is not known here"),
            Self::Forged => f.write_str("the seal in the frame is not that of its key and its octets"),
            Self::Replayed => f.write_str("the frame was heard before, or is too old to tell"),
        }
    }
}

impl std::error::Error for Rejection {}
