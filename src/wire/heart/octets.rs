//! Octets off the front of what is read, and onto the front of what is written.

/// Takes `N` octets off the front; `None`, with nothing taken, if there are fewer.
pub fn get<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (octets, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*octets)
}

/// Writes `octets` to the front of `rest`, which has room for them.
pub fn put(rest: &mut &mut [u8], octets: &[u8]) {
    let (place, after) = std::mem::take(rest).split_at_mut(octets.len());
    place.copy_from_slice(octets);
    *rest = after;
}
