//! Another library in Rust, with a std of its own in its archive: threads, hash maps, a panic that is caught.
use std::collections::HashMap;

/// The sum of the numbers below `count`; the largest number there is for 0, by way of a panic.
#[unsafe(no_mangle)]
pub extern "C" fn other_sum(count: u32) -> u64 {
    let sum = move || {
        assert!(count > 0, "a panic that is caught");
        (0..count).map(|number| (number, u64::from(number))).collect::<HashMap<_, _>>().into_values().sum()
    };
    std::thread::spawn(sum).join().unwrap_or(u64::MAX)
}
