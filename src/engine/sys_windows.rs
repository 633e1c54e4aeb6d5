//! What `sys.rs` has, for Windows.
#![allow(unsafe_code)]

use super::error::Error;
use once_cell::sync::OnceCell;
use std::ptr::NonNull;
use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};

static TICKS_PER_SECOND: OnceCell<u128> = OnceCell::new();

/// Nanoseconds since the system started. It goes on while the system is suspended: the engine takes that for a pause of
/// its own, as when the process was stopped.
pub fn monotonic_ns() -> u64 {
    let per_second = *TICKS_PER_SECOND.get_or_init(|| {
        let mut ticks = 0;
        // SAFETY: it writes one i64, and cannot fail since Windows XP.
        unsafe { QueryPerformanceFrequency(&mut ticks) };
        u128::from(ticks.unsigned_abs()).max(1)
    });
    let mut ticks = 0;
    // SAFETY: likewise.
    unsafe { QueryPerformanceCounter(&mut ticks) };
    (u128::from(ticks.unsigned_abs()) * 1_000_000_000 / per_second) as u64
}

/// There is one clock only.
pub fn suspended_ns() -> u64 {
    0
}

/// Large pages are for privileged programs here.
pub fn ask_for_large_pages(_: NonNull<u8>, _: usize) {}

/// Nothing forks.
pub fn forks() -> u32 {
    0
}

/// Nothing to watch.
pub fn watch_forks() -> Result<(), Error> {
    Ok(())
}

/// There are no signals to keep from a thread.
pub struct SignalsBlocked;

impl SignalsBlocked {
    pub fn new() -> Self {
        Self
    }
}

/// Nice value and affinity of a single thread cannot be set here.
pub fn settle_thread(nice: i32, cpus: u64) -> Result<(), std::io::Error> {
    if nice == 0 && cpus == 0 { Ok(()) } else { Err(std::io::ErrorKind::Unsupported.into()) }
}
