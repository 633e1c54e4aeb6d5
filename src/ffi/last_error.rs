//! The sentence of a thread's last failed call.

use super::status::{hbeat_status, hbeat_status_code};
use crate::core::PolicyError;
use crate::engine::{Code, Error};
use std::any::Any;
use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Longest sentence that is kept, its NUL included.
const SENTENCE_MAX: usize = 512;

type Place = [Cell<u8>; SENTENCE_MAX];

thread_local! {
    // A place that stays as long as the thread and needs no destructor: a pointer to it that was got before a failing
    // call (`printf("%d %s", hbeat_...(), hbeat_last_error())`) reads the new sentence, not freed memory.
    static LAST: Place = const { no_error() };
}

const fn no_error() -> Place {
    let text = b"no error";
    let mut place = [const { Cell::new(0) }; SENTENCE_MAX];
    let mut at = 0;
    while at < text.len() {
        place[at] = Cell::new(text[at]);
        at += 1;
    }
    place
}

/// Why a call fails: a status for programs, a sentence for people.
pub(super) struct Failure {
    status: hbeat_status_code,
    sentence: Cow<'static, str>,
}

impl Failure {
    /// A sentence that is there already costs no memory.
    pub(super) fn new(status: hbeat_status_code, sentence: impl Into<Cow<'static, str>>) -> Self {
        Self { status, sentence: sentence.into() }
    }

    #[cold]
    pub(super) fn null(argument: &str) -> Self {
        Self::new(hbeat_status_code::HBEAT_ERR_NULL, format!("{argument} is NULL"))
    }

    #[cold]
    pub(super) fn invalid(sentence: impl Into<Cow<'static, str>>) -> Self {
        Self::new(hbeat_status_code::HBEAT_ERR_INVALID, sentence)
    }

    /// Keeps the sentence for `hbeat_last_error`, cut at a character if need be, and gives the status. A NUL inside it,
    /// where it would end for C, becomes a question mark.
    #[cold]
    pub(super) fn keep(self) -> hbeat_status {
        let mut length = self.sentence.len().min(SENTENCE_MAX - 1);
        while !self.sentence.is_char_boundary(length) {
            length -= 1;
        }
        LAST.with(|place| {
            for (cell, byte) in place.iter().zip(self.sentence[..length].bytes()) {
                cell.set(if byte == 0 { b'?' } else { byte });
            }
            place[length].set(0);
        });
        self.status as hbeat_status
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.code.into(), error.sentence)
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        let status = hbeat_status_code::from(code);
        Self::new(status, status.sentence())
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        Self::invalid(error.to_string())
    }
}

/// Keeps what a panic said, and does what has to be done after it; a second panic there changes nothing.
#[cold]
pub(super) fn panicked(payload: &(dyn Any + Send), then: impl FnOnce()) -> hbeat_status {
    let _ = catch_unwind(AssertUnwindSafe(then));
    let said = payload.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it did not say more");
    Failure::new(hbeat_status_code::HBEAT_ERR_PANIC, format!("a bug in hbeat was caught: {said}")).keep()
}

/// Text for C; a NUL inside it, where it would end for C, becomes a question mark.
pub(super) fn c_string(text: String) -> CString {
    CString::new(text).unwrap_or_else(|error| {
        let mut bytes = error.into_vec();
        bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b'?');
        CString::new(bytes).unwrap_or_default()
    })
}

/// Why this thread's last failed call failed, in one sentence of at most 511 bytes that names the field, its value and
/// what is allowed; "no error" when none has failed. Calls that succeed leave it alone, the next one that fails writes
/// over it. Never NULL; the pointer is good as long as the thread.
///
/// Threads: any; each has its own.
/// In a callback: yes.
/// Blocks: no.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_last_error() -> *const c_char {
    LAST.with(|place| place.as_ptr().cast())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::ffi::CStr;

    pub(in crate::ffi) fn last_error() -> &'static str {
        // Each test runs on a thread of its own and reads the sentence before its next failing call.
        unsafe { CStr::from_ptr(hbeat_last_error()) }.to_str().unwrap()
    }

    #[test]
    fn each_thread_has_its_own_last_error() {
        assert_eq!(last_error(), "no error");
        Failure::null("policy").keep();
        assert_eq!(last_error(), "policy is NULL");
        let other = std::thread::spawn(|| last_error().to_owned()).join().unwrap();
        assert_eq!(other, "no error");
    }

    #[test]
    fn a_pointer_got_before_a_call_fails_reads_its_sentence() {
        let last = last_error().as_ptr();
        Failure::invalid("\u{e9}".repeat(300)).keep();
        assert_eq!(last_error(), "\u{e9}".repeat(255));
        assert_eq!(last_error().as_ptr(), last);
    }

    #[test]
    fn a_nul_inside_a_sentence_does_not_end_it() {
        Failure::invalid("a\0b").keep();
        assert_eq!(last_error(), "a?b");
    }

    #[test]
    fn an_error_of_the_engine_brings_its_sentence_and_a_bare_code_has_one() {
        let busy = Failure::from(Error::new(Code::Busy, "another thread waits")).keep();
        assert_eq!((busy, last_error()), (hbeat_status_code::HBEAT_ERR_BUSY as i32, "another thread waits"));
        let no_link = Failure::from(Code::NoLink).keep();
        assert_eq!(no_link, hbeat_status_code::HBEAT_ERR_NO_LINK as i32);
        assert_eq!(last_error(), "the link is closed, was never opened, or is another engine's");
    }
}
