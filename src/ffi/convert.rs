//! Between C's values and Rust's: structs of any version's size, text, numbers that stand for a choice.

use super::last_error::Failure;
use super::status::hbeat_status_code::{HBEAT_ERR_SIZE, HBEAT_ERR_UNSUPPORTED};
use std::ffi::{CStr, c_char};
use std::fmt::Display;
use std::mem::MaybeUninit;
use std::{ptr, slice};

/// The largest struct_size that is believed: no struct comes near it, and a wild one must not be read.
const SIZE_MAX: usize = 4096;

/// A struct that crosses the border: `repr(C)`, `u32 struct_size` first, then integers, characters and pointers
/// without padding, so that all bytes zero is a value and a version may append to it.
///
/// # Safety
/// All of that holds. Only [`plain!`] implements it, and checks what can be checked.
pub(super) unsafe trait Plain: Copy {
    /// Its size in the first version that had it.
    const FIRST_SIZE: usize;

    /// Sets its first field.
    fn set_size(&mut self, size: u32);
}

/// Implements [`Plain`]: names all fields and, after `until`, the last one of the first version.
macro_rules! plain {
    ($name:ident { $($field:ident),* $(,)? } until $last:ident) => {
        const _: () = {
            #[allow(dead_code, reason = "fails to compile when the list misses a field")]
            const fn names_every_field($name { $($field: _),* }: &$name) {}
            const fn size_of_field<T>(_: fn(&$name) -> &T) -> usize {
                size_of::<T>()
            }
            let fields = 0 $(+ size_of_field(|it| &it.$field))*;
            // Where pointers have 32 bits, a u64 after one may be preceded by padding; nothing depends on it there.
            assert!(size_of::<$name>() == fields || size_of::<usize>() < 8, "padding in a struct for C");
            assert!(std::mem::offset_of!($name, struct_size) == 0);
            // SAFETY: the sum above leaves no room for padding, and the fields are what Plain wants them to be.
            unsafe impl $crate::ffi::convert::Plain for $name {
                const FIRST_SIZE: usize = std::mem::offset_of!($name, $last) + size_of_field(|it| &it.$last);

                fn set_size(&mut self, size: u32) {
                    self.struct_size = size;
                }
            }
        };
    };
}
pub(super) use plain;

/// Whether a struct of that size can be a `T` of any version.
pub(super) fn check_size<T: Plain>(size: usize, field: impl Display) -> Result<(), Failure> {
    if (T::FIRST_SIZE..=SIZE_MAX).contains(&size) {
        return Ok(());
    }
    let sentence = format!("{field} is {size}, allowed is {} to {SIZE_MAX}; set it with sizeof", T::FIRST_SIZE);
    Err(Failure::new(HBEAT_ERR_SIZE, sentence))
}

/// Copies a struct in, whatever version the caller was compiled with: what a smaller one lacks is 0, what a larger
/// one adds must be 0.
///
/// # Safety
/// `pointer` is NULL or points to as many bytes as the `u32` there says.
pub(super) unsafe fn read<T: Plain>(pointer: *const T, name: &str) -> Result<T, Failure> {
    // SAFETY: as for this function.
    let size = unsafe { read_size(pointer, name) }?;
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: `size` bytes can be read, and no more than a T is written.
    unsafe { ptr::copy_nonoverlapping(pointer.cast::<u8>(), value.as_mut_ptr().cast(), size.min(size_of::<T>())) };
    if size > size_of::<T>() {
        // SAFETY: these are the bytes between the end of a T and `size`.
        let tail = unsafe { slice::from_raw_parts(pointer.cast::<u8>().add(size_of::<T>()), size - size_of::<T>()) };
        if let Some(at) = tail.iter().position(|byte| *byte != 0) {
            let at = size_of::<T>() + at;
            let sentence =
                format!("{name} has a field at byte {at} that this version of hbeat does not know; it must be 0");
            return Err(Failure::new(HBEAT_ERR_UNSUPPORTED, sentence));
        }
    }
    // SAFETY: every byte is 0 or the caller's, and any bytes make a Plain.
    Ok(unsafe { value.assume_init() })
}

/// The checked struct_size of a struct of the caller's.
///
/// # Safety
/// `pointer` is NULL or points to at least a `u32`.
pub(super) unsafe fn read_size<T: Plain>(pointer: *const T, name: &str) -> Result<usize, Failure> {
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    // SAFETY: a Plain begins with its u32 struct_size.
    let size = unsafe { pointer.cast::<u32>().read_unaligned() } as usize;
    check_size::<T>(size, format_args!("{name}.struct_size"))?;
    Ok(size)
}

/// Copies a struct out to a place of `size` bytes, which [`check_size`] has passed: no more than fits, struct_size says
/// how much, and what is left of the place is 0.
///
/// # Safety
/// `size` bytes may be written at `place`.
pub(super) unsafe fn write<T: Plain>(mut value: T, place: *mut u8, size: usize) {
    let filled = size.min(size_of::<T>());
    value.set_size(filled as u32);
    // SAFETY: `filled` is within the value and within the place, the rest ends where the place ends.
    unsafe {
        ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), place, filled);
        ptr::write_bytes(place.add(filled), 0, size - filled);
    }
}

/// That a place of `size` bytes takes all that a struct says: what an older caller's lacks must be 0.
pub(super) fn check_fits<T: Plain>(value: &T, size: usize, name: &str) -> Result<(), Failure> {
    let length = size_of::<T>().saturating_sub(size);
    // SAFETY: a Plain has no padding, so that all its bytes can be read; these are its last `length` ones.
    let cut = unsafe { slice::from_raw_parts(ptr::from_ref(value).cast::<u8>().add(size_of::<T>() - length), length) };
    if cut.iter().any(|byte| *byte != 0) {
        let sentence =
            format!("{name} has {size} bytes, which lack a field that is not 0: build against a newer hbeat.h");
        return Err(Failure::new(HBEAT_ERR_UNSUPPORTED, sentence));
    }
    Ok(())
}

/// That an output has a place.
pub(super) fn check_output<T>(place: *mut T, name: &str) -> Result<(), Failure> {
    if place.is_null() { Err(Failure::null(name)) } else { Ok(()) }
}

/// Text that comes in: UTF-8, at most `longest` bytes. Never reads further than one byte beyond that.
///
/// # Safety
/// `pointer` is NULL or points to text that ends with a NUL, which stays as it is during the call.
pub(super) unsafe fn text<'a>(pointer: *const c_char, name: &str, longest: usize) -> Result<&'a str, Failure> {
    if pointer.is_null() {
        return Err(Failure::null(name));
    }
    // SAFETY: the text ends with a NUL, and strnlen stops at it.
    let length = unsafe { libc::strnlen(pointer, longest + 1) };
    // SAFETY: as many bytes were just looked at.
    let bytes = unsafe { slice::from_raw_parts(pointer.cast::<u8>(), length) };
    let begins = || String::from_utf8_lossy(&bytes[..length.min(32)]).escape_debug().to_string();
    if length > longest {
        return Err(Failure::invalid(format!("{name} is too long (\"{}...\"), allowed are {longest} bytes", begins())));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        Failure::invalid(format!("{name} (\"{}\") is not UTF-8 at byte {}", begins(), error.valid_up_to()))
    })
}

/// Text that may be left out by NULL.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn optional_text<'a>(
    pointer: *const c_char,
    name: &str,
    longest: usize,
) -> Result<Option<&'a str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: as for this function.
    unsafe { text(pointer, name, longest) }.map(Some)
}

/// Text that goes out as `snprintf` does it: cut at a character so that it and its NUL fit, `*length` is that of all.
///
/// # Safety
/// `capacity` bytes may be written at `buffer`, and `length` is NULL or may be written.
pub(super) unsafe fn put_text(
    text: &str,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> Result<(), Failure> {
    if buffer.is_null() && capacity > 0 {
        return Err(Failure::null("buffer"));
    }
    if capacity > 0 {
        let mut fits = text.len().min(capacity - 1);
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        // SAFETY: `fits` bytes and a NUL are at most `capacity`.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), fits);
            buffer.add(fits).write(0);
        }
    }
    if !length.is_null() {
        // SAFETY: not NULL.
        unsafe { length.write(text.len()) };
    }
    Ok(())
}

/// Bytes, or other values, that come in.
///
/// # Safety
/// `length` values can be read at `pointer` during the call.
pub(super) unsafe fn values<'a, T>(pointer: *const T, length: usize, name: &str) -> Result<&'a [T], Failure> {
    if length == 0 {
        return Ok(&[]);
    }
    check_output(pointer.cast_mut(), name)?;
    check_length(length.saturating_mul(size_of::<T>()))?;
    // SAFETY: as for this function; the length is one that a slice can have.
    Ok(unsafe { slice::from_raw_parts(pointer, length) })
}

/// A place for values that go out.
///
/// # Safety
/// `length` values may be written at `pointer` during the call, and nobody else uses them meanwhile.
pub(super) unsafe fn place<'a, T>(pointer: *mut T, length: usize, name: &str) -> Result<&'a mut [T], Failure> {
    if length == 0 {
        return Ok(&mut []);
    }
    check_output(pointer, name)?;
    check_length(length.saturating_mul(size_of::<T>()))?;
    // SAFETY: as for this function; the length is one that a slice can have.
    Ok(unsafe { slice::from_raw_parts_mut(pointer, length) })
}

fn check_length(bytes: usize) -> Result<(), Failure> {
    if isize::try_from(bytes).is_err() {
        return Err(Failure::invalid(format!("{bytes} bytes are more than there can be")));
    }
    Ok(())
}

/// A number that stands for a choice: `choices` are the numbers from 0 on, by name and by meaning.
pub(super) fn choice<T: Copy, const N: usize>(value: u32, field: &str, choices: [(&str, T); N]) -> Result<T, Failure> {
    choices.get(value as usize).map(|choice| choice.1).ok_or_else(|| {
        let names: Vec<_> =
            choices.iter().enumerate().map(|(number, choice)| format!("{} ({number})", choice.0)).collect();
        Failure::invalid(format!("{field} is {value}, allowed is {}", names.join(" or ")))
    })
}

/// A number that stands for yes or no.
pub(super) fn flag(value: u32, field: &str) -> Result<bool, Failure> {
    match value {
        0 | 1 => Ok(value == 1),
        _ => Err(Failure::invalid(format!("{field} is {value}, allowed is 0 or 1"))),
    }
}

/// Copies text into an array for C, cut at a character where it is too long.
pub(super) fn name_array<const N: usize>(text: impl Display) -> [c_char; N] {
    let mut array = Array { bytes: [0; N], length: 0 };
    // What does not fit is cut; nothing else can fail.
    let _ = std::fmt::Write::write_fmt(&mut array, format_args!("{text}"));
    array.bytes
}

struct Array<const N: usize> {
    bytes: [c_char; N],
    length: usize,
}

impl<const N: usize> std::fmt::Write for Array<N> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        // As many whole characters as there is room for before a NUL.
        let mut end = text.len().min(N - 1 - self.length);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        for (cell, byte) in self.bytes[self.length..].iter_mut().zip(&text.as_bytes()[..end]) {
            *cell = *byte as c_char;
        }
        self.length += end;
        if end == text.len() { Ok(()) } else { Err(std::fmt::Error) }
    }
}

/// The text of an array of C's; `None` where no NUL ends it.
pub(super) fn array_text<const N: usize>(array: &[c_char; N]) -> Option<String> {
    let bytes: Vec<u8> = array.iter().map(|character| u8::from_ne_bytes(character.to_ne_bytes())).collect();
    CStr::from_bytes_until_nul(&bytes).ok().map(|text| text.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::last_error::tests::last_error;
    use crate::ffi::status::hbeat_status_code::{HBEAT_ERR_INVALID, HBEAT_ERR_NULL};
    use crate::ffi::{hbeat_policy, hbeat_status_code};
    use std::fmt::Debug;

    fn refused<T: Debug>(outcome: Result<T, Failure>, status: hbeat_status_code) -> &'static str {
        let failure = outcome.map_err(Failure::keep);
        assert_eq!(failure.unwrap_err(), status as i32);
        last_error()
    }

    /// A policy as a program of another version has it: `size` bytes, all of them 1.
    fn foreign(size: usize) -> Vec<u32> {
        let mut words = vec![0x0101_0101; size.div_ceil(4)];
        words[0] = size as u32;
        words
    }

    unsafe fn read_interval(words: &[u32]) -> Result<u32, Failure> {
        unsafe { read(words.as_ptr().cast::<hbeat_policy>(), "policy") }.map(|policy| policy.interval_ms)
    }

    #[test]
    fn a_struct_of_this_version_comes_in_as_it_is() {
        let words = foreign(size_of::<hbeat_policy>());
        assert!(matches!(unsafe { read_interval(&words) }, Ok(0x0101_0101)));
    }

    #[test]
    fn a_struct_of_no_version_is_refused_and_not_read() {
        for size in [0, 4, 59, 4097, u32::MAX as usize] {
            let words = [size as u32];
            let sentence = refused(unsafe { read_interval(&words) }, HBEAT_ERR_SIZE);
            assert_eq!(sentence, format!("policy.struct_size is {size}, allowed is 60 to 4096; set it with sizeof"));
        }
        let null = unsafe { read::<hbeat_policy>(ptr::null(), "policy") };
        assert_eq!(refused(null.map(|_| ()), HBEAT_ERR_NULL), "policy is NULL");
    }

    #[test]
    fn a_newer_struct_is_understood_as_long_as_it_asks_nothing_new() {
        let mut words = foreign(88);
        words[15..].fill(0);
        assert!(unsafe { read_interval(&words) }.is_ok());
        words[21] = 1 << 24;
        let sentence = refused(unsafe { read_interval(&words) }, HBEAT_ERR_UNSUPPORTED);
        let at = if cfg!(target_endian = "little") { 87 } else { 84 };
        assert_eq!(
            sentence,
            format!("policy has a field at byte {at} that this version of hbeat does not know; it must be 0")
        );
    }

    #[test]
    fn structs_that_go_out_fill_their_place_and_no_more() {
        let policy = hbeat_policy::from(&crate::core::Policy::preset("cmpp").unwrap());
        for (size, told) in [(60, 60), (64, 64), (80, 80), (88, 80)] {
            let mut place = [0xEE_u8; 96];
            unsafe { write(policy, place.as_mut_ptr(), size) };
            assert_eq!(place[..4], (told as u32).to_ne_bytes());
            assert_eq!(place[4..8], 180_000_u32.to_ne_bytes());
            assert!(place[told..size].iter().all(|byte| *byte == 0));
            assert!(place[size..].iter().all(|byte| *byte == 0xEE));
        }
    }

    #[test]
    fn text_is_utf8_of_bounded_length() {
        assert_eq!(unsafe { text(c"gd-mt-07".as_ptr(), "name", 8) }.ok(), Some("gd-mt-07"));
        assert_eq!(unsafe { text(c"".as_ptr(), "name", 8) }.ok(), Some(""));
        let long = unsafe { text(c"gd-mt-007".as_ptr(), "name", 8) };
        assert_eq!(refused(long, HBEAT_ERR_INVALID), "name is too long (\"gd-mt-007...\"), allowed are 8 bytes");
        let bad = unsafe { text(c"a\xFFb".as_ptr(), "name", 8) };
        assert_eq!(refused(bad, HBEAT_ERR_INVALID), "name (\"a\u{fffd}b\") is not UTF-8 at byte 1");
        assert_eq!(refused(unsafe { text(ptr::null(), "name", 8) }, HBEAT_ERR_NULL), "name is NULL");
        assert!(matches!(unsafe { optional_text(ptr::null(), "name", 8) }, Ok(None)));
    }

    #[test]
    fn text_that_does_not_fit_is_cut_at_a_character_and_its_length_told() {
        let mut buffer = [0x55 as c_char; 8];
        let mut length = 0;
        assert!(unsafe { put_text("ab\u{e9}\u{e9}", buffer.as_mut_ptr(), 6, &raw mut length) }.is_ok());
        assert_eq!(array_text(&buffer).as_deref(), Some("ab\u{e9}"));
        assert_eq!((length, buffer[6]), (6, 0x55));
        assert!(unsafe { put_text("abc", ptr::null_mut(), 0, &raw mut length) }.is_ok());
        assert_eq!(length, 3);
        assert!(unsafe { put_text("abc", buffer.as_mut_ptr(), 1, ptr::null_mut()) }.is_ok());
        assert_eq!(buffer[0], 0);
        assert_eq!(
            refused(unsafe { put_text("abc", ptr::null_mut(), 4, &raw mut length) }, HBEAT_ERR_NULL),
            "buffer is NULL"
        );
    }

    #[test]
    fn bytes_may_be_none_but_not_nowhere() {
        assert!(matches!(unsafe { values::<u8>(ptr::null(), 0, "bytes") }, Ok([])));
        assert_eq!(refused(unsafe { values::<u8>(ptr::null(), 1, "bytes") }, HBEAT_ERR_NULL), "bytes is NULL");
        let absurd = unsafe { values([0_u8].as_ptr(), usize::MAX, "bytes") };
        assert_eq!(refused(absurd, HBEAT_ERR_INVALID), format!("{} bytes are more than there can be", usize::MAX));
        let absurd = unsafe { place(ptr::dangling_mut::<u64>(), usize::MAX / 4, "links") };
        assert!(refused(absurd, HBEAT_ERR_INVALID).contains("more than there can be"));
    }

    #[test]
    fn numbers_that_stand_for_nothing_are_named_with_those_that_do() {
        let choices = [("HBEAT_A", 'a'), ("HBEAT_B", 'b')];
        assert_eq!(choice(1, "field", choices).ok(), Some('b'));
        assert_eq!(
            refused(choice(2, "field", choices), HBEAT_ERR_INVALID),
            "field is 2, allowed is HBEAT_A (0) or HBEAT_B (1)"
        );
        assert_eq!((flag(0, "answer").ok(), flag(1, "answer").ok()), (Some(false), Some(true)));
        assert_eq!(refused(flag(7, "answer"), HBEAT_ERR_INVALID), "answer is 7, allowed is 0 or 1");
    }

    #[test]
    fn names_for_c_end_with_a_nul_and_at_a_character() {
        assert_eq!(array_text(&name_array::<8>("abc")).as_deref(), Some("abc"));
        assert_eq!(array_text(&name_array::<4>("ab\u{e9}")).as_deref(), Some("ab"));
        assert_eq!(array_text(&[0x55 as c_char; 4]), None);
    }
}
