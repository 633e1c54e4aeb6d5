//! Core time: milliseconds since the engine's origin in a `u32` that wraps (after 49.7 days).

use std::fmt;

/// A moment in core time. Two stamps are compared by their signed difference, so they must lie within
/// 2^31 ms of each other; the engine visits every link within 2^30 ms to keep that true.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp(pub u32);

impl Stamp {
    /// The moment `ms` milliseconds later.
    #[must_use]
    pub const fn plus(self, ms: u32) -> Self {
        Self(self.0.wrapping_add(ms))
    }

    /// The moment `ms` milliseconds earlier.
    #[must_use]
    pub const fn minus(self, ms: u32) -> Self {
        Self(self.0.wrapping_sub(ms))
    }

    /// Milliseconds from `earlier` to `self`; negative when `self` is the earlier one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// Whether `self` comes strictly after `other`.
    #[must_use]
    pub const fn is_after(self, other: Self) -> bool {
        self.since(other) > 0
    }

    /// The later of two moments.
    #[must_use]
    pub const fn latest(self, other: Self) -> Self {
        if other.is_after(self) { other } else { self }
    }

    /// The earlier of two moments.
    #[must_use]
    pub const fn earliest(self, other: Self) -> Self {
        if self.is_after(other) { other } else { self }
    }
}

/// Keeps `now` from going back: whatever a caller's clock does, core time only moves forward.
#[derive(Debug, Default)]
pub struct Clock {
    latest: Stamp,
}

impl Clock {
    /// A clock that stands at `start`.
    #[must_use]
    pub const fn new(start: Stamp) -> Self {
        Self { latest: start }
    }

    /// `now`, or the latest moment seen so far if that is later.
    pub fn clamp(&mut self, now: Stamp) -> Stamp {
        self.latest = self.latest.latest(now);
        self.latest
    }

    /// The latest moment seen so far.
    #[must_use]
    pub const fn latest(&self) -> Stamp {
        self.latest
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let before = Stamp(u32::MAX - 4);
        let after = before.plus(10);
        assert_eq!(after, Stamp(5));
        assert!(after.is_after(before));
        assert_eq!(after.since(before), 10);
        assert_eq!(before.since(after), -10);
        assert_eq!(before.latest(after), after);
        assert_eq!(before.earliest(after), before);
        assert_eq!(after.minus(10), before);
    }
}
