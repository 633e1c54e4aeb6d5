//! Memory that is sent for before it is needed: where links lie far apart, waiting for one after the other is most of what
//! dealing with many of them costs.
#![allow(unsafe_code)]

/// What a processor fetches at once.
const LINE: usize = 64;

/// Sends for the memory of a value, all of it, where the processor can be told so.
#[inline(always)]
pub fn fetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let begin = std::ptr::from_ref(value).cast::<i8>();
        for offset in (0..size_of::<T>()).step_by(LINE) {
            // SAFETY: it changes nothing but what the caches hold, and the address lies within the value.
            unsafe { _mm_prefetch(begin.add(offset), _MM_HINT_T0) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
