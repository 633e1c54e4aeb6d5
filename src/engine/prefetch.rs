//! Memory that is sent for before it is needed.
#![allow(unsafe_code)]

/// Sends for the memory of a value that is about to be written, where the processor can be told so.
#[inline(always)]
pub fn fetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it changes nothing but what the caches hold, and the address is that of a value.
    unsafe {
        std::arch::x86_64::_mm_prefetch(std::ptr::from_ref(value).cast(), std::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
