//! What a call can fail with: a code for programs, a sentence for people.

use std::fmt;

/// Why a call failed. The C face has one status for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// An argument is out of its range.
    Invalid,
    /// The link is closed, was never opened, or belongs to another engine.
    NoLink,
    /// The shard has as many opens waiting as it may: try again.
    Again,
    /// As many links are open as the engine may hold.
    Limit,
    /// Another thread is inside the same call, or the engine has not come to rest yet.
    Busy,
    /// The time given was not enough.
    Timeout,
    /// The call would wait for the callback that it was made from.
    WouldDeadlock,
    /// The engine was stopped.
    Stopped,
    /// The engine failed: a bug in hbeat was caught.
    Failed,
    /// This process is a fork of the one that made the engine.
    Forked,
    /// The engine, or the link, was not set up for this call.
    WrongMode,
    /// The bytes are not the link's protocol (any more).
    Desync,
    /// Memory was refused.
    NoMemory,
    /// A system call failed.
    System,
}

/// A failed call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// For programs.
    pub code: Code,
    /// One sentence: what was wrong and what is right.
    pub sentence: String,
}

impl Error {
    pub(crate) fn new(code: Code, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Error {}
