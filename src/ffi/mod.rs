//! The face to C: one noun a file. `include/hbeat.h` is made from these files, documentation included, so what
//! is said here is said to people who write C.
//!
//! Rules of every export:
//! - its body is one `guard`, or `with_engine` where there is one: a panic becomes `HBEAT_ERR_PANIC` and fails the
//!   engine, nothing unwinds into C;
//! - every pointer, size and number is checked before anything is done; outputs are written on success only;
//! - what comes in is plain integers and pointers, made into Rust's types by `convert`; enums only go out;
//! - what goes wrong has a status and a sentence, kept for `hbeat_last_error`.
//!
//! This is the only place in hbeat that sees raw pointers. They are the caller's promise: the page at the top of the
//! header says what must hold for them, and the `SAFETY` reasons here refer to it.
#![allow(unsafe_code, reason = "C hands in raw pointers; this layer makes references and values of them")]
#![allow(non_camel_case_types, clippy::enum_variant_names, reason = "the names are those of the header")]
#![allow(clippy::missing_safety_doc, reason = "the rules for pointers are the same for all and head the header")]
#![cfg_attr(test, allow(clippy::undocumented_unsafe_blocks, reason = "tests hand in places of their own"))]

mod backoff;
mod convert;
mod engine;
mod event;
#[cfg(feature = "fault-injection")]
mod fault;
mod key;
mod last_error;
mod link;
mod listener;
mod policy;
mod progress;
mod socket;
mod stats;
mod status;
mod version;

pub use backoff::*;
pub use engine::*;
pub use event::*;
pub use key::*;
pub use last_error::*;
pub use link::*;
pub use listener::*;
pub use policy::*;
pub use progress::*;
pub use socket::*;
pub use stats::*;
pub use status::*;
pub use version::*;

use crate::engine::fault::{Point, point};
use last_error::{Failure, panicked};
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the body of an export comes to.
type Outcome = Result<hbeat_status_code, Failure>;

/// Runs the body of an export that has no engine. Nothing unwinds out of it, and what failed is kept for
/// `hbeat_last_error`.
fn guard(body: impl FnOnce() -> Outcome) -> hbeat_status {
    guard_or(|| {}, body)
}

/// The same; after a panic it runs `or`.
///
/// What the body touches is the engine, whose own state is sound after a panic (it fails as a whole), and the
/// caller's outputs, which are written last: that is why unwinding through it is safe to assert.
#[inline]
fn guard_or(or: impl FnOnce(), body: impl FnOnce() -> Outcome) -> hbeat_status {
    let body = || {
        point(Point::Call);
        body()
    };
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(status)) => status as hbeat_status,
        Ok(Err(failure)) => failure.keep(),
        Err(payload) => panicked(payload.as_ref(), or),
    }
}

/// The outcome of a body that gives nothing but whether it failed.
fn done<E: Into<Failure>>(result: Result<(), E>) -> Outcome {
    result.map(|()| hbeat_status_code::HBEAT_OK).map_err(Into::into)
}

/// As [`guard`] for the exports that give text instead of a status.
fn guard_text(body: impl FnOnce() -> &'static CStr) -> *const c_char {
    guard_value(c"", body).as_ptr()
}

/// The same for those that give a value: `instead` after a panic.
fn guard_value<T>(instead: T, body: impl FnOnce() -> T) -> T {
    let body = || {
        point(Point::Call);
        body()
    };
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(instead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::last_error::tests::last_error;

    #[test]
    fn a_panic_is_a_status_with_a_sentence() {
        assert_eq!(guard(|| panic!("row {} is missing", 7)), hbeat_status_code::HBEAT_ERR_PANIC as i32);
        assert_eq!(last_error(), "a bug in hbeat was caught: row 7 is missing");
    }

    #[test]
    fn success_leaves_the_last_error_alone() {
        assert_eq!(guard(|| Err(Failure::null("link"))), hbeat_status_code::HBEAT_ERR_NULL as i32);
        assert_eq!(guard(|| Ok(hbeat_status_code::HBEAT_INFO_MORE)), 2);
        assert_eq!(last_error(), "link is NULL");
    }
}
