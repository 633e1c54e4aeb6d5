//! Reconnect delays.

use super::convert::{check_output, check_size, plain, read, write};
use super::last_error::Failure;
use super::status::hbeat_status_code::HBEAT_OK;
use super::{guard, hbeat_status};
use crate::core::{Backoff, RateCap};
use std::hash::{BuildHasher, Hasher, RandomState};

/// By what rule a lost connection is tried again: exponential, full jitter, capped. hbeat computes; connecting, and
/// counting attempts, is the application's. Count from 1 again when a connection was up for stable_ms.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_backoff {
    /// sizeof(hbeat_backoff); set by hbeat_backoff_default.
    pub struct_size: u32,
    /// No delay is shorter: 1 to first_ms.
    pub least_ms: u32,
    /// Longest delay before the first attempt: least_ms to cap_ms.
    pub first_ms: u32,
    /// Longest delay before any attempt: first_ms to 2^29.
    pub cap_ms: u32,
    /// Growth from attempt to attempt in percent: 100 (none) to 1000.
    pub multiplier_percent: u32,
    /// How long a connection must have been up for the attempts to count from 1 again.
    pub stable_ms: u32,
    /// Delay after a refusal that only a change of configuration can cure (wrong password): cap_ms to 2^29.
    pub refused_ms: u32,
    /// Least time between two starts to one destination, see hbeat_backoff_reserve: 0 (no cap) to 2^29.
    pub spacing_ms: u32,
}

plain!(hbeat_backoff {
    struct_size,
    least_ms,
    first_ms,
    cap_ms,
    multiplier_percent,
    stable_ms,
    refused_ms,
    spacing_ms,
} until spacing_ms);

impl From<&Backoff> for hbeat_backoff {
    fn from(backoff: &Backoff) -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            least_ms: backoff.least_ms,
            first_ms: backoff.first_ms,
            cap_ms: backoff.cap_ms,
            multiplier_percent: backoff.multiplier_percent,
            stable_ms: backoff.stable_ms,
            refused_ms: backoff.refused_ms,
            spacing_ms: backoff.spacing_ms,
        }
    }
}

/// The caller's rule, checked.
///
/// # Safety
/// As for [`read`].
pub(super) unsafe fn read_backoff(pointer: *const hbeat_backoff) -> Result<Backoff, Failure> {
    // SAFETY: as for this function.
    let backoff = unsafe { read(pointer, "backoff") }?;
    let backoff = Backoff {
        least_ms: backoff.least_ms,
        first_ms: backoff.first_ms,
        cap_ms: backoff.cap_ms,
        multiplier_percent: backoff.multiplier_percent,
        stable_ms: backoff.stable_ms,
        refused_ms: backoff.refused_ms,
        spacing_ms: backoff.spacing_ms,
    };
    backoff.check()?;
    Ok(backoff)
}

/// ==== Reconnect delays ====
///
/// Fills *backoff with 1 s doubling up to 60 s, at least 100 ms, stable after 60 s, 300 s after a refusal, starts to one
/// destination 100 ms apart. backoff_size is
/// sizeof(hbeat_backoff).
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_backoff_default(backoff: *mut hbeat_backoff, backoff_size: usize) -> hbeat_status {
    guard(|| {
        check_output(backoff, "backoff")?;
        check_size::<hbeat_backoff>(backoff_size, "backoff_size")?;
        // SAFETY: a place of `backoff_size` bytes, by the rules at the head of the header.
        unsafe { write(hbeat_backoff::from(&Backoff::default()), backoff.cast(), backoff_size) };
        Ok(HBEAT_OK)
    })
}

/// The delay in milliseconds before an attempt, counted from 1: even between least_ms and first_ms *
/// multiplier^(attempt - 1), at most cap_ms, so that links that were lost together do not come back together. random is any 64 random bits, the same bits give the same delay; 0 = hbeat draws them.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED; INVALID for attempt 0 or a value out of its range.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_backoff_delay(
    backoff: *const hbeat_backoff,
    attempt: u32,
    random: u64,
    delay_ms: *mut u32,
) -> hbeat_status {
    guard(|| {
        check_output(delay_ms, "delay_ms")?;
        // SAFETY: `backoff` is a struct, by the rules at the head of the header.
        let backoff = unsafe { read_backoff(backoff) }?;
        if attempt == 0 {
            return Err(Failure::invalid("attempt is 0, allowed is 1 and more"));
        }
        let random = if random == 0 { drawn() } else { random };
        // SAFETY: not NULL.
        unsafe { delay_ms.write(backoff.delay_ms(attempt, random)) };
        Ok(HBEAT_OK)
    })
}

/// The delay in milliseconds after a refusal that only a change of configuration can cure (wrong password, unknown
/// account): even between three quarters of refused_ms and the whole, however many came before. random as for
/// hbeat_backoff_delay.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED; INVALID for a value out of its range.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_backoff_refused(
    backoff: *const hbeat_backoff,
    random: u64,
    delay_ms: *mut u32,
) -> hbeat_status {
    guard(|| {
        check_output(delay_ms, "delay_ms")?;
        // SAFETY: `backoff` is a struct, by the rules at the head of the header.
        let backoff = unsafe { read_backoff(backoff) }?;
        let random = if random == 0 { drawn() } else { random };
        // SAFETY: not NULL.
        unsafe { delay_ms.write(backoff.refused_delay_ms(random)) };
        Ok(HBEAT_OK)
    })
}

/// Keeps the starts of many links to one destination spacing_ms apart: reserves the next free start and says how many
/// milliseconds from now_ms it is, 0 = at once. *free_from_ms is the destination's only state: 0 at first, shared by
/// its links, under a lock of the application's where several threads dial. now_ms is any clock that does not go back.
/// To be asked when a delay is over, not when it begins.
///
/// Threads: any, one at a time for one *free_from_ms.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED; INVALID for a value out of its range.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_backoff_reserve(
    backoff: *const hbeat_backoff,
    free_from_ms: *mut u64,
    now_ms: u64,
    wait_ms: *mut u32,
) -> hbeat_status {
    guard(|| {
        check_output(free_from_ms, "free_from_ms")?;
        check_output(wait_ms, "wait_ms")?;
        // SAFETY: `backoff` is a struct, by the rules at the head of the header.
        let backoff = unsafe { read_backoff(backoff) }?;
        // SAFETY: not NULL, and the caller's alone while the call runs.
        let mut cap = RateCap { free_from_ms: unsafe { free_from_ms.read() } };
        let wait = cap.reserve(&backoff, now_ms);
        // SAFETY: neither is NULL.
        unsafe {
            free_from_ms.write(cap.free_from_ms);
            wait_ms.write(wait);
        }
        Ok(HBEAT_OK)
    })
}

/// 64 bits that nobody foresees: a keyed hash under keys that differ from call to call.
fn drawn() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::last_error::tests::last_error;
    use crate::ffi::status::hbeat_status_code::HBEAT_ERR_INVALID;

    #[test]
    fn delays_grow_up_to_the_cap() {
        unsafe {
            let mut backoff = std::mem::zeroed();
            assert_eq!(hbeat_backoff_default(&mut backoff, size_of::<hbeat_backoff>()), 0);
            assert_eq!((backoff.struct_size, backoff.first_ms, backoff.cap_ms), (32, 1_000, 60_000));
            let mut delay = 0;
            for (attempt, longest) in [(1, 1_000), (2, 2_000), (99, 60_000)] {
                assert_eq!(hbeat_backoff_delay(&backoff, attempt, u64::MAX, &mut delay), 0);
                assert_eq!(delay, longest);
                assert_eq!(hbeat_backoff_delay(&backoff, attempt, 0, &mut delay), 0);
                assert!((100..=longest).contains(&delay));
            }
            assert_eq!(hbeat_backoff_refused(&backoff, u64::MAX, &mut delay), 0);
            assert_eq!(delay, 300_000);
            let short = hbeat_backoff { least_ms: 1, first_ms: 1, cap_ms: 1, ..backoff };
            assert_eq!(hbeat_backoff_delay(&short, 3, 7, &mut delay), 0, "{}", last_error());
            assert_eq!(delay, 1);
        }
    }

    #[test]
    fn starts_to_one_destination_are_kept_apart() {
        unsafe {
            let mut backoff = std::mem::zeroed();
            hbeat_backoff_default(&mut backoff, size_of::<hbeat_backoff>());
            let (mut free_from, mut wait) = (0, 7);
            for expected in [0, 100, 200] {
                assert_eq!(hbeat_backoff_reserve(&backoff, &mut free_from, 5_000, &mut wait), 0);
                assert_eq!(wait, expected);
            }
            assert_eq!(hbeat_backoff_reserve(&backoff, &mut free_from, 9_000, &mut wait), 0);
            assert_eq!(wait, 0);
        }
    }

    #[test]
    fn what_is_refused_is_named_and_writes_nothing() {
        unsafe {
            let mut backoff = std::mem::zeroed();
            hbeat_backoff_default(&mut backoff, size_of::<hbeat_backoff>());
            let mut delay = 7;
            assert_eq!(hbeat_backoff_delay(&backoff, 0, 1, &mut delay), HBEAT_ERR_INVALID as i32);
            assert_eq!(last_error(), "attempt is 0, allowed is 1 and more");
            backoff.first_ms = 0;
            assert_eq!(hbeat_backoff_delay(&backoff, 1, 1, &mut delay), HBEAT_ERR_INVALID as i32);
            assert_eq!(last_error(), "first_ms is 0, allowed is 1 to 60000");
            assert_eq!(hbeat_backoff_refused(&backoff, 1, &mut delay), HBEAT_ERR_INVALID as i32);
            assert_eq!(delay, 7);
        }
    }
}
