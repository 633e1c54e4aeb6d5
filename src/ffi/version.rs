//! About the library: its version, its clock, numbers that mean the same everywhere.

use super::{guard_text, guard_value};
use crate::engine;
use std::ffi::{CStr, c_char};

/// ==== Constants ====
///
/// Version of this header, first number. As long as it is 0, a new second number may break programs.
pub const HBEAT_VERSION_MAJOR: u32 = 0;
/// Second number.
pub const HBEAT_VERSION_MINOR: u32 = 1;
/// Third number.
pub const HBEAT_VERSION_PATCH: u32 = 0;

/// As a timeout in milliseconds: wait for ever.
pub const HBEAT_FOREVER: u32 = 4294967295u32;
/// In a field of type uint32_t that comes out of hbeat: not known.
pub const HBEAT_UNKNOWN: u32 = 4294967295u32;
/// Bytes that the name of a link takes, its NUL included.
pub const HBEAT_NAME_MAX: usize = 64;
/// A buffer of so many bytes holds at least one frame of every protocol.
pub const HBEAT_FRAME_MAX: usize = 2048;
/// How long the state may be that a link's beats and answers carry, in bytes.
pub const HBEAT_APP_STATE_MAX: usize = 1024;

const _: () = assert!(crate::wire::FRAME_MAX <= HBEAT_FRAME_MAX);
const _: () = assert!(HBEAT_APP_STATE_MAX == crate::engine::APP_STATE_MAX);

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => unreachable!(),
};

/// ==== The library ====
///
/// The version of the library that is loaded, "0.1.0"; HBEAT_VERSION_MAJOR and its like are that of the header. Never
/// NULL; lives for ever.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_version() -> *const c_char {
    guard_text(|| VERSION)
}

/// The same as a number: major * 1000000 + minor * 1000 + patch.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_version_number() -> u32 {
    const { HBEAT_VERSION_MAJOR * 1_000_000 + HBEAT_VERSION_MINOR * 1_000 + HBEAT_VERSION_PATCH }
}

/// CLOCK_MONOTONIC in nanoseconds: the clock of every now_ns. Read it once a turn of a loop and hand it to all the
/// calls of that turn.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_now_ns() -> u64 {
    // A clock that panics is none; 0 makes the engine read its own.
    guard_value(0, engine::monotonic_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_package_have_one_version() {
        let header = format!("{HBEAT_VERSION_MAJOR}.{HBEAT_VERSION_MINOR}.{HBEAT_VERSION_PATCH}");
        // SAFETY: takes no pointer, and what it gives lives for ever.
        let (text, number) = unsafe { (CStr::from_ptr(hbeat_version()), hbeat_version_number()) };
        assert_eq!(text.to_str(), Ok(header.as_str()));
        assert_eq!(number, HBEAT_VERSION_MINOR * 1_000 + HBEAT_VERSION_PATCH);
    }
}
