//! Where the engine's time comes from, and how the application's nanoseconds become core time.

use super::options::TimeSource;
use super::sys;
use crate::core::Stamp;
use std::sync::atomic::{AtomicU64, Ordering};

const NS_PER_MS: u64 = 1_000_000;
/// A caller's time counts as what it says if it lies at most this far back: stamps stay comparable, and what happened
/// earlier proves nothing any more.
const PAST_NS: u64 = (1 << 29) * NS_PER_MS;
/// A caller's time may lie this far ahead of what the engine last saw before the system is asked.
const AHEAD_NS: u64 = 1_000 * NS_PER_MS;
/// What the application does, it does now: a time further back is not that of a deed.
const DEED_NS: u64 = 1_000 * NS_PER_MS;

/// The engine's clock. Core time 0 is the moment of its making.
pub struct Clock {
    origin_ns: u64,
    /// `None`: the system's.
    manual_ns: Option<AtomicU64>,
    /// The latest that a caller's time may be without the system being asked: somewhat ahead of the latest time that any
    /// shard or call has seen.
    limit_ns: AtomicU64,
    /// How far ahead. Nothing with a manual clock, so that its stories are exact.
    ahead_ns: u64,
    /// How many callers' times were doubted.
    doubted: AtomicU64,
}

impl Clock {
    pub fn new(source: TimeSource) -> Self {
        let (origin_ns, manual_ns) = match source {
            TimeSource::System => (sys::monotonic_ns(), None),
            TimeSource::Manual(start_ns) => (start_ns, Some(AtomicU64::new(start_ns))),
        };
        let ahead_ns = if manual_ns.is_some() { 0 } else { AHEAD_NS };
        let limit_ns = AtomicU64::new(origin_ns.saturating_add(ahead_ns));
        Self { origin_ns, manual_ns, limit_ns, ahead_ns, doubted: AtomicU64::new(0) }
    }

    pub fn doubted(&self) -> u64 {
        self.doubted.load(Ordering::Relaxed)
    }

    pub fn is_manual(&self) -> bool {
        self.manual_ns.is_some()
    }

    pub fn now_ns(&self) -> u64 {
        let now_ns = self.read_ns();
        self.limit_ns.store(now_ns.saturating_add(self.ahead_ns), Ordering::Relaxed);
        now_ns
    }

    /// The same for who reads it so often that to write it down would cost more.
    pub fn read_ns(&self) -> u64 {
        match &self.manual_ns {
            Some(manual_ns) => manual_ns.load(Ordering::Acquire),
            None => sys::monotonic_ns(),
        }
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

    /// When something happened, as a caller says: 0 is now, and so is what lies ahead (under the system's clock not
    /// before a second). The past counts as what it says, as far as stamps reach; what lies further back is moved to
    /// there, where it proves nothing, and counted.
    #[inline]
    pub fn callers_ns(&self, now_ns: u64) -> u64 {
        let last_ns = self.limit_ns.load(Ordering::Relaxed);
        let back_ns = last_ns.wrapping_sub(now_ns);
        // 0 lies as far back as there is.
        if back_ns < last_ns.min(PAST_NS) { now_ns } else { self.settle_ns(now_ns) }
    }

    /// The stamp of a caller's time that needs no second look, which is nearly every one but 0.
    #[inline(always)]
    pub fn plain_stamp(&self, now_ns: u64) -> Option<Stamp> {
        // After the origin, so that it is not 0 either.
        if now_ns <= self.origin_ns || self.limit_ns.load(Ordering::Relaxed).wrapping_sub(now_ns) >= PAST_NS {
            return None;
        }
        let up_ns = now_ns - self.origin_ns + (NS_PER_MS - 1);
        Some(Stamp((up_ns / NS_PER_MS) as u32))
    }

    #[cold]
    fn settle_ns(&self, claimed_ns: u64) -> u64 {
        let now_ns = self.now_ns();
        if claimed_ns == 0 || claimed_ns >= now_ns {
            return now_ns;
        }
        if now_ns - claimed_ns <= PAST_NS {
            return claimed_ns;
        }
        self.doubted.fetch_add(1, Ordering::Relaxed);
        now_ns - PAST_NS
    }

    /// When the caller did something: as [`callers_ns`](Self::callers_ns), but one long past counts as now.
    pub fn deed_ns(&self, now_ns: u64) -> u64 {
        let claimed_ns = self.callers_ns(now_ns);
        let now_ns = self.now_ns();
        if now_ns.saturating_sub(claimed_ns) <= DEED_NS { claimed_ns } else { now_ns }
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
    fn the_past_counts_as_what_it_says_and_the_future_as_now() {
        // An uptime shorter than the past that counts, and one that is longer.
        for now in [1_000_000 * MS, 2 * PAST_NS] {
            let clock = Clock::new(TimeSource::Manual(now));
            assert_eq!(clock.callers_ns(0), now);
            for back in [0, 1, 999 * MS, 2_000 * MS, 900_000 * MS - 1, now.min(PAST_NS) - 1] {
                assert_eq!(clock.callers_ns(now - back), now - back, "{back}");
            }
            for ahead in [now + 1, now + 999 * MS, now + PAST_NS, u64::MAX - 1, u64::MAX, 1 << 63] {
                assert_eq!(clock.callers_ns(ahead), now, "{ahead}");
            }
            assert_eq!(clock.doubted(), 0);
        }
    }

    #[test]
    fn what_lies_too_far_back_proves_nothing_and_is_counted() {
        let now = 3 * PAST_NS;
        let clock = Clock::new(TimeSource::Manual(now));
        assert_eq!(clock.callers_ns(now - PAST_NS), now - PAST_NS);
        assert_eq!(clock.doubted(), 0);
        for absurd in [1, now - PAST_NS - 1, now - 2 * PAST_NS] {
            assert_eq!(clock.callers_ns(absurd), now - PAST_NS);
        }
        assert_eq!(clock.doubted(), 3);
    }

    #[test]
    fn the_system_is_asked_when_a_caller_is_ahead_of_what_was_seen() {
        let clock = Clock::new(TimeSource::System);
        clock.limit_ns.store(1, Ordering::Relaxed);
        let now = sys::monotonic_ns();
        assert_eq!(clock.callers_ns(now), now);
        assert!(clock.limit_ns.load(Ordering::Relaxed) >= now);
        assert_eq!(clock.callers_ns(now - 1), now - 1);
        assert!(clock.callers_ns(u64::MAX) < now + 60_000 * MS);
    }

    #[test]
    fn a_deed_is_done_now() {
        let now = 3 * PAST_NS;
        let clock = Clock::new(TimeSource::Manual(now));
        assert_eq!(clock.deed_ns(0), now);
        assert_eq!(clock.deed_ns(now - 1_000 * MS), now - 1_000 * MS);
        assert_eq!(clock.deed_ns(now - 1_001 * MS), now);
        assert_eq!(clock.deed_ns(1), now);
        assert_eq!(clock.deed_ns(u64::MAX), now);
    }

    #[test]
    fn the_manual_clock_never_goes_back() {
        let clock = Clock::new(TimeSource::Manual(10));
        clock.set_ns(20);
        clock.set_ns(15);
        assert_eq!(clock.now_ns(), 20);
    }
}
