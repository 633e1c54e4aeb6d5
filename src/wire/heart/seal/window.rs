//! Which counters were seen: a sliding window of 64 (RFC 4303 section 3.4.3).

/// Starts empty. 0 is no counter.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    newest: u64,
    /// Bit n: `newest` - n was seen.
    seen: u64,
}

impl Window {
    pub const fn new() -> Self {
        Self { newest: 0, seen: 0 }
    }

    /// Takes note of a counter whose frame was verified; `false` if it was seen, or may have been.
    pub fn admit(&mut self, counter: u64) -> bool {
        if counter > self.newest {
            let ahead = counter - self.newest;
            self.seen = u32::try_from(ahead).ok().and_then(|ahead| self.seen.checked_shl(ahead)).unwrap_or(0) | 1;
            self.newest = counter;
            return true;
        }
        let behind = self.newest - counter;
        if counter == 0 || behind >= u64::from(u64::BITS) || self.seen & (1 << behind) != 0 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn its_edges() {
        let mut window = Window::new();
        assert!(!window.admit(0));
        assert!(window.admit(1) && !window.admit(1) && !window.admit(0));
        assert!(window.admit(64) && window.admit(2) && !window.admit(1));
        assert!(window.admit(66) && window.admit(3) && !window.admit(2), "66 - 64 is the first that is too old");
        assert!(window.admit(u64::MAX) && !window.admit(66) && window.admit(u64::MAX - 63));
        assert!(!window.admit(u64::MAX - 64) && !window.admit(u64::MAX));
    }

    proptest! {
        #[test]
        fn it_is_what_a_set_of_all_counters_would_say(
            counters in prop::collection::vec(prop_oneof![0u64..200, 0u64..5_000, any::<u64>()], 0..300),
        ) {
            let (mut window, mut all) = (Window::new(), BTreeSet::new());
            for counter in counters {
                let newest = all.last().copied().unwrap_or(0);
                let is_new = counter != 0 && !all.contains(&counter) && (counter > newest || newest - counter < 64);
                prop_assert_eq!(window.admit(counter), is_new);
                if is_new {
                    all.insert(counter);
                }
            }
        }
    }
}
