//! Keys that come in.

use super::convert::{check_output, plain, read, read_size, values};
use super::last_error::Failure;
use super::status::hbeat_status_code::HBEAT_ERR_SIZE;
use crate::wire::Keys;
use std::ffi::c_void;
use std::sync::Arc;

/// A secret that both ends of a link have, by the same id. Made by a generator of random numbers, not by a person. hbeat
/// keeps no copy of the octets, only what it computes from them, and wipes that with the last link that uses it; the
/// caller wipes its own.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_key {
    /// sizeof(hbeat_key), in each element of an array.
    pub struct_size: u32,
    /// Any number that both ends know the key by.
    pub id: u32,
    /// The octets.
    pub bytes: *const c_void,
    /// How many: 16 to 64.
    pub length: usize,
}

plain!(hbeat_key {
    struct_size,
    id,
    bytes,
    length,
} until length);

/// More are never looked at.
const KEYS_MAX: usize = 2;

/// The caller's keys, of whatever version their struct is; `None` without any.
///
/// # Safety
/// `keys` is NULL or points to `count` structs, each as [`read`] has it, and each with so many octets as it says.
pub(super) unsafe fn read_keys(
    keys: *const hbeat_key,
    count: usize,
    count_name: &str,
) -> Result<Option<Arc<Keys>>, Failure> {
    if keys.is_null() && count == 0 {
        return Ok(None);
    }
    check_output(keys.cast_mut(), "keys")?;
    if !(1..=KEYS_MAX).contains(&count) {
        // A link whose keys were forgotten must not go unsealed.
        return Err(Failure::invalid(format!("{count_name} is {count}, allowed is 1 or 2 where keys is not NULL")));
    }
    // SAFETY: as for this function.
    let stride = unsafe { read_size(keys, "keys[0]") }?;
    let mut found: Vec<(u32, &[u8])> = Vec::with_capacity(count);
    for index in 0..count {
        let name = format!("keys[{index}]");
        // SAFETY: the elements lie one after another, all of the size of the first.
        let key = unsafe {
            let key = keys.cast::<u8>().add(index * stride).cast::<hbeat_key>();
            if read_size(key, &name)? != stride {
                let sentence = format!("{name}.struct_size is not that of keys[0], which is {stride}");
                return Err(Failure::new(HBEAT_ERR_SIZE, sentence));
            }
            read(key, &name)?
        };
        // SAFETY: as for this function.
        found.push((key.id, unsafe { values(key.bytes.cast(), key.length, &format!("{name}.bytes")) }?));
    }
    let keys = Keys::new(&found).map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(Some(Arc::new(keys)))
}
