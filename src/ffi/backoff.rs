//! Reconnect delays.

use super::convert::{check_output, check_size, plain, read, write};
use super::last_error::Failure;
use super::status::hbeat_status_code::HBEAT_OK;
use super::{guard, hbeat_status};
use crate::core::Backoff;
use std::hash::{BuildHasher, Hasher, RandomState};

/// By what rule a lost connection is tried again: exponential, full jitter, capped. hbeat computes; connecting, and
/// counting attempts, is the application's. Count from 1 again when a connection was up for stable_ms.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_backoff {
    /// sizeof(hbeat_backoff); set by hbeat_backoff_default.
    pub struct_size: u32,
    /// Longest delay before the first attempt, from 1.
    pub first_ms: u32,
    /// Longest delay before any attempt: first_ms to 2^29.
    pub cap_ms: u32,
    /// Growth from attempt to attempt in percent: 100 (none) to 1000.
    pub multiplier_percent: u32,
    /// How long a connection must have been up for the attempts to count from 1 again.
    pub stable_ms: u32,
    /// Delay after a refusal that only a change of configuration can cure (wrong password): cap_ms to 2^29.
    pub refused_ms: u32,
}

plain!(hbeat_backoff {
    struct_size,
    first_ms,
    cap_ms,
    multiplier_percent,
    stable_ms,
    refused_ms,
} until refused_ms);

impl From<&Backoff> for hbeat_backoff {
    fn from(backoff: &Backoff) -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            first_ms: backoff.first_ms,
            cap_ms: backoff.cap_ms,
            multiplier_percent: backoff.multiplier_percent,
            stable_ms: backoff.stable_ms,
            refused_ms: backoff.refused_ms,
        }
    }
}

/// The caller's rule, checked.
///
/// # Safety
/// As for [`read`].
unsafe fn read_backoff(pointer: *const hbeat_backoff) -> Result<Backoff, Failure> {
    // SAFETY: as for this function.
    let backoff = unsafe { read(pointer, "backoff") }?;
    let usual = Backoff::default();
    let backoff = Backoff {
        // C has no word for it; it must not exceed what C says.
        least_ms: usual.least_ms.min(backoff.first_ms).max(1),
        first_ms: backoff.first_ms,
        cap_ms: backoff.cap_ms,
        multiplier_percent: backoff.multiplier_percent,
        stable_ms: backoff.stable_ms,
        refused_ms: backoff.refused_ms,
        ..usual
    };
    backoff.check()?;
    Ok(backoff)
}

/// ==== Reconnect delays ====
///
/// Fills *backoff with 1 s doubling up to 60 s, stable after 60 s, 300 s after a refusal. backoff_size is
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

/// The delay in milliseconds before an attempt, counted from 1: a random part of first_ms * multiplier^(attempt - 1),
/// at most cap_ms. random is any 64 random bits, the same bits give the same delay; 0 = hbeat draws them.
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
            assert_eq!((backoff.struct_size, backoff.first_ms, backoff.cap_ms), (24, 1_000, 60_000));
            let mut delay = 0;
            for (attempt, longest) in [(1, 1_000), (2, 2_000), (99, 60_000)] {
                assert_eq!(hbeat_backoff_delay(&backoff, attempt, u64::MAX, &mut delay), 0);
                assert_eq!(delay, longest);
                assert_eq!(hbeat_backoff_delay(&backoff, attempt, 0, &mut delay), 0);
                assert!(delay <= longest);
            }
            let short = hbeat_backoff { first_ms: 1, cap_ms: 1, ..backoff };
            assert_eq!(hbeat_backoff_delay(&short, 3, 7, &mut delay), 0, "{}", last_error());
            assert_eq!(delay, 1);
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
            assert_eq!(delay, 7);
        }
    }
}
