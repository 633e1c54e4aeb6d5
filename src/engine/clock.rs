//! Where the engine's time comes from, and how the application's nanoseconds become core time.

use super::options::TimeSource;
use super::sys;
use crate::core::Stamp;
use std::sync::atomic::{AtomicU64, Ordering};

const NS_PER_MS: u64 = 1_000_000;
/// A caller's time may lie this far behind the engine's before it is doubted.
const PAST_NS: u64 = 1_000 * NS_PER_MS;
/// A caller's time may lie this far ahead of what the engine last saw (which may have slept for long).
const AHEAD_NS: u64 = (1 << 29) * NS_PER_MS;

/// The engine's clock. Core time 0 is the moment of its making.
pub struct Clock {
    origin_ns: u64,
    /// `None`: the system's.
    manual_ns: Option<AtomicU64>,
    /// Latest time that any shard or call has seen; callers' times are judged by it without asking the system.
    seen_ns: AtomicU64,
    /// How many callers' times were doubted.
    doubted: AtomicU64,
}

impl Clock {
    pub fn new(source: TimeSource) -> Self {
        let (origin_ns, manual_ns) = match source {
            TimeSource::System => (sys::monotonic_ns(), None),
            TimeSource::Manual(start_ns) => (start_ns, Some(AtomicU64::new(start_ns))),
        };
        Self { origin_ns, manual_ns, seen_ns: AtomicU64::new(origin_ns), doubted: AtomicU64::new(0) }
    }

    pub fn is_manual(&self) -> bool {
        self.manual_ns.is_some()
    }

    pub fn now_ns(&self) -> u64 {
        let now_ns = match &self.manual_ns {
            Some(manual_ns) => manual_ns.load(Ordering::Acquire),
            None => sys::monotonic_ns(),
        };
        self.seen_ns.store(now_ns, Ordering::Relaxed);
        now_ns
    }

    /// Moves the manual clock; it never goes back.
    pub fn set_ns(&self, now_ns: u64) {
        if let Some(manual_ns) = &self.manual_ns {
            manual_ns.fetch_max(now_ns, Ordering::AcqRel);
        }
    }

    /// Now, in core time, rounded down: nothing is due too early.
    pub fn floor(&self, ns: u64) -> Stamp {
        let since = ns.wrapping_sub(self.origin_ns) as i64;
        Stamp(since.div_euclid(NS_PER_MS as i64) as u32)
    }

    /// When something happened, in core time, rounded up: nothing is forgotten too early.
    pub fn ceil(&self, ns: u64) -> Stamp {
        self.floor(ns.wrapping_add(NS_PER_MS - 1))
    }

    /// The nanoseconds at which a core time near `now_ns` begins.
    pub fn ns_of(&self, stamp: Stamp, now_ns: u64) -> u64 {
        let now = self.floor(now_ns);
        let begun_ns = now_ns - now_ns.wrapping_sub(self.origin_ns) % NS_PER_MS;
        begun_ns.wrapping_add_signed(i64::from(stamp.since(now)) * NS_PER_MS as i64)
    }

    /// A caller's time: 0 asks the clock; one that cannot be right is replaced by now, and counted.
    #[inline]
    pub fn callers_ns(&self, now_ns: u64) -> u64 {
        let since = now_ns.wrapping_sub(self.seen_ns.load(Ordering::Relaxed)).wrapping_add(PAST_NS);
        if now_ns != 0 && since <= AHEAD_NS { now_ns } else { self.settle_ns(now_ns) }
    }

    #[cold]
    fn settle_ns(&self, claimed_ns: u64) -> u64 {
        let now_ns = self.now_ns();
        if claimed_ns != 0 {
            if now_ns.wrapping_sub(claimed_ns).wrapping_add(PAST_NS) <= 2 * PAST_NS {
                return claimed_ns;
            }
            self.doubted.fetch_add(1, Ordering::Relaxed);
        }
        now_ns
    }
}

/// Microseconds, wrapping: for round-trip times.
pub fn micros(ns: u64) -> u32 {
    (ns / 1_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = NS_PER_MS;

    #[test]
    fn now_rounds_down_and_stamps_round_up() {
        let clock = Clock::new(TimeSource::Manual(5 * MS + 7));
        assert_eq!(clock.floor(5 * MS + 7), Stamp(0));
        assert_eq!(clock.floor(6 * MS + 6), Stamp(0));
        assert_eq!(clock.floor(6 * MS + 7), Stamp(1));
        assert_eq!(clock.ceil(5 * MS + 8), Stamp(1));
        assert_eq!(clock.ceil(6 * MS + 7), Stamp(1));
        assert_eq!(clock.floor(5 * MS), Stamp(u32::MAX), "before the origin");
        assert_eq!(clock.ns_of(Stamp(3), 7 * MS), 8 * MS + 7);
    }

    #[test]
    fn callers_times_that_cannot_be_right_are_replaced_and_counted() {
        let clock = Clock::new(TimeSource::Manual(1_000_000 * MS));
        let now = clock.now_ns();
        assert_eq!(clock.callers_ns(0), now);
        assert_eq!(clock.callers_ns(now - 999 * MS), now - 999 * MS);
        assert_eq!(clock.callers_ns(now + 1_000 * MS), now + 1_000 * MS, "core takes it as now");
        assert_eq!(clock.doubted.load(Ordering::Relaxed), 0);
        assert_eq!(clock.callers_ns(now - 2_000 * MS), now);
        assert_eq!(clock.callers_ns(u64::MAX), now);
        assert_eq!(clock.callers_ns(now + 365 * 86_400_000 * MS), now);
        assert_eq!(clock.doubted.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn the_manual_clock_never_goes_back() {
        let clock = Clock::new(TimeSource::Manual(10));
        clock.set_ns(20);
        clock.set_ns(15);
        assert_eq!(clock.now_ns(), 20);
    }
}
