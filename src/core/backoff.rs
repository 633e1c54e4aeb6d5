//! When to try again: reconnect delays as a pure function. Time and randomness are arguments.
//!
//! Times of this file are `u64` milliseconds of any clock that does not go back, not core stamps: a connection may be
//! up for longer than core time lasts without a wrap.

use super::{Policy, PolicyError};

/// The rule by which a lost connection is tried again. All times in milliseconds.
///
/// Before attempt n (counted from 1) the delay is a random value, evenly spread, from `least_ms` to
/// min(`cap_ms`, `first_ms` · (`multiplier_percent` / 100)^(n − 1)): full jitter, so that links that were lost
/// together do not come back together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Backoff {
    /// No delay is shorter: 1 to `first_ms`. Keeps a lucky draw from becoming a busy loop.
    pub least_ms: u32,
    /// Longest delay before the first attempt: `least_ms` to `cap_ms`.
    pub first_ms: u32,
    /// Longest delay before any attempt: `first_ms` to 2^29.
    pub cap_ms: u32,
    /// Growth from attempt to attempt, in percent: 100 (none) to 1000.
    pub multiplier_percent: u32,
    /// How long a connection must have been up for the attempts to count from 1 again: 1 to 2^29.
    pub stable_ms: u32,
    /// Longest delay after a refusal that only a change of configuration can cure: `cap_ms` to 2^29.
    pub refused_ms: u32,
    /// Least time between two starts to one destination, see [`RateCap`]: 0 (no cap) to 2^29.
    pub spacing_ms: u32,
}

impl Default for Backoff {
    /// 1 s doubling up to 60 s; a gateway that restarts is back within a minute and is not flooded meanwhile. Only a
    /// connection that stood for the same 60 s proves that the trouble is over. A wrong password does not mend itself,
    /// and gateways lock accounts that insist: 300 s. Ten starts a second to one destination: 300 links are back
    /// within 30 s.
    fn default() -> Self {
        Self {
            least_ms: 100,
            first_ms: 1_000,
            cap_ms: 60_000,
            multiplier_percent: 200,
            stable_ms: 60_000,
            refused_ms: 300_000,
            spacing_ms: 100,
        }
    }
}

impl Backoff {
    /// Whether every value is in its range.
    ///
    /// # Errors
    /// The first value that is not, in one sentence that names field, value and range.
    pub fn check(&self) -> Result<(), PolicyError> {
        let longest = Policy::MAX_MS;
        for (field, value, lowest, highest) in [
            ("cap_ms", self.cap_ms, 1, longest),
            ("first_ms", self.first_ms, 1, self.cap_ms),
            ("least_ms", self.least_ms, 1, self.first_ms),
            ("multiplier_percent", self.multiplier_percent, 100, 1_000),
            ("stable_ms", self.stable_ms, 1, longest),
            ("refused_ms", self.refused_ms, self.cap_ms, longest),
            ("spacing_ms", self.spacing_ms, 0, longest),
        ] {
            if !(lowest..=highest).contains(&value) {
                return Err(PolicyError::new(field, format!("{field} is {value}, allowed is {lowest} to {highest}")));
            }
        }
        Ok(())
    }

    /// The delay before attempt `attempt`, counted from 1 (0 counts as 1). `random` is 64 evenly distributed bits.
    /// Defined for any attempt and any values, checked or not.
    #[must_use]
    pub fn delay_ms(&self, attempt: u32, random: u64) -> u32 {
        between(self.least_ms, self.ceiling_ms(attempt), random)
    }

    /// The delay after a refusal by configuration (wrong password, unknown account, version not served): from
    /// three quarters of `refused_ms` to the whole, however many came before. `random` is 64 evenly distributed bits.
    #[must_use]
    pub fn refused_delay_ms(&self, random: u64) -> u32 {
        between(self.refused_ms - self.refused_ms / 4, self.refused_ms, random)
    }

    /// Longest delay before `attempt`, rounded up at each step.
    fn ceiling_ms(&self, attempt: u32) -> u32 {
        if self.multiplier_percent <= 100 {
            return self.first_ms.min(self.cap_ms);
        }
        let cap = u64::from(self.cap_ms);
        let mut ceiling = u64::from(self.first_ms.max(1));
        // Grows by at least 1 % and at least 1 ms a turn, so it meets any cap within 2500 turns.
        for _ in 1..attempt {
            if ceiling >= cap {
                break;
            }
            ceiling = (ceiling * u64::from(self.multiplier_percent)).div_ceil(100);
        }
        ceiling.min(cap) as u32
    }
}

/// An even choice from `low` to `high`, both included; `high` if they are the wrong way round.
fn between(low: u32, high: u32, random: u64) -> u32 {
    let low = low.min(high);
    let choices = u128::from(high - low) + 1;
    low + ((choices * u128::from(random)) >> 64) as u32
}

/// How often in a row a connection could not be had, or not be kept. Starts at `Default`; one for each link.
///
/// A connection that comes up and falls again before `stable_ms` counts on: coming up alone proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Attempts {
    /// Since when the connection has been up; means something only while `is_up` is not 0.
    pub up_since_ms: u64,
    /// Failures in a row.
    pub failures: u32,
    /// 1 while the connection is up, otherwise 0.
    pub is_up: u32,
}

impl Attempts {
    /// The connection is up for use, login included. A repeated call changes nothing.
    pub fn up(&mut self, now_ms: u64) {
        if self.is_up == 0 {
            self.up_since_ms = now_ms;
            self.is_up = 1;
        }
    }

    /// An attempt failed, or the connection that was up is gone: the delay in milliseconds before the next attempt.
    #[must_use]
    pub fn failed(&mut self, backoff: &Backoff, now_ms: u64, random: u64) -> u32 {
        self.count(backoff, now_ms);
        backoff.delay_ms(self.failures, random)
    }

    /// The peer refused us for a reason that only a change of configuration can cure: the delay in milliseconds before
    /// the next attempt.
    #[must_use]
    pub fn refused(&mut self, backoff: &Backoff, now_ms: u64, random: u64) -> u32 {
        self.count(backoff, now_ms);
        backoff.refused_delay_ms(random)
    }

    fn count(&mut self, backoff: &Backoff, now_ms: u64) {
        let up_ms = now_ms.saturating_sub(self.up_since_ms);
        if self.is_up != 0 && up_ms >= u64::from(backoff.stable_ms) {
            self.failures = 0;
        }
        self.is_up = 0;
        self.failures = self.failures.saturating_add(1);
    }
}

/// Keeps the starts to one destination apart, for many links to one gateway. Starts at `Default`; one for each
/// destination, shared by its links.
///
/// Each caller gets a start of its own, first come, first served, so those that wait need not ask again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct RateCap {
    /// The earliest moment that is still free.
    pub free_from_ms: u64,
}

impl RateCap {
    /// Reserves the next free start, `spacing_ms` after the one before: how many milliseconds from now it is, 0 = at
    /// once. To be asked when the delay of [`Attempts`] is over, not when it begins: a start reserved for later would hold up
    /// every link that asks meanwhile.
    #[must_use]
    pub fn reserve(&mut self, backoff: &Backoff, now_ms: u64) -> u32 {
        let start = self.free_from_ms.max(now_ms);
        self.free_from_ms = start.saturating_add(u64::from(backoff.spacing_ms));
        u32::try_from(start - now_ms).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOWEST: u64 = 0;
    const HIGHEST: u64 = u64::MAX;

    /// The default with one change.
    fn with(change: fn(&mut Backoff)) -> Backoff {
        let mut backoff = Backoff::default();
        change(&mut backoff);
        backoff
    }

    #[test]
    fn delays_double_up_to_the_cap_and_start_at_the_least() {
        let backoff = Backoff::default();
        assert_eq!(backoff.check(), Ok(()));
        let longest: Vec<u32> = (1..=9).map(|attempt| backoff.delay_ms(attempt, HIGHEST)).collect();
        assert_eq!(longest, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        assert_eq!(backoff.delay_ms(0, HIGHEST), 1_000);
        assert_eq!(backoff.delay_ms(9, LOWEST), 100);
        assert_eq!(backoff.delay_ms(7, HIGHEST / 2), 30_050);
        assert_eq!(backoff.delay_ms(u32::MAX, HIGHEST), 60_000);
    }

    #[test]
    fn growth_without_end_or_effect_ends() {
        let flat = with(|b| b.multiplier_percent = 100);
        assert_eq!(flat.delay_ms(u32::MAX, HIGHEST), 1_000);
        let slow = Backoff {
            multiplier_percent: 101,
            least_ms: 1,
            first_ms: 1,
            cap_ms: Policy::MAX_MS,
            refused_ms: Policy::MAX_MS,
            ..Backoff::default()
        };
        assert_eq!(slow.check(), Ok(()));
        assert_eq!(slow.delay_ms(u32::MAX, HIGHEST), Policy::MAX_MS);
    }

    #[test]
    fn a_story_of_one_link() {
        let backoff = Backoff::default();
        let mut attempts = Attempts::default();
        assert_eq!(attempts.failed(&backoff, 0, HIGHEST), 1_000);
        assert_eq!(attempts.failed(&backoff, 1_000, HIGHEST), 2_000);
        // Up for a moment only: counts on.
        attempts.up(3_000);
        assert_eq!(attempts.failed(&backoff, 62_999, HIGHEST), 4_000);
        // Up for the stable time, though told so twice: counts anew.
        attempts.up(70_000);
        attempts.up(129_000);
        assert_eq!(attempts.failed(&backoff, 130_000, HIGHEST), 1_000);
        // Down again without having been up.
        assert_eq!(attempts.failed(&backoff, 500_000, HIGHEST), 2_000);
        // Refused: slow from the first time on.
        assert_eq!(attempts.refused(&backoff, 502_000, HIGHEST), 300_000);
        assert_eq!(attempts.refused(&backoff, 802_000, LOWEST), 225_000);
        // A connection that stood for a year.
        attempts.up(1_000_000);
        assert_eq!(attempts.failed(&backoff, 1_000_000 + 365 * 86_400_000, HIGHEST), 1_000);
    }

    #[test]
    fn three_hundred_links_to_one_gateway_start_one_after_the_other() {
        let backoff = Backoff::default();
        let mut gateway = RateCap::default();
        for link in 0..300 {
            assert_eq!(gateway.reserve(&backoff, 5_000), link * 100);
        }
        assert_eq!(gateway.reserve(&backoff, 34_990), 10);
        // Long idle: nothing is saved up for a burst.
        assert_eq!(gateway.reserve(&backoff, 90_000), 0);
        assert_eq!(gateway.reserve(&backoff, 90_001), 99);
    }

    #[test]
    fn no_cap_never_waits() {
        let backoff = with(|b| b.spacing_ms = 0);
        let mut gateway = RateCap::default();
        assert_eq!(gateway.reserve(&backoff, 7), 0);
        assert_eq!(gateway.reserve(&backoff, 7), 0);
    }

    #[test]
    fn refused_values_are_named() {
        type Change = fn(&mut Backoff);
        let changes: [(&str, Change); 9] = [
            ("cap_ms", |b| b.cap_ms = 0),
            ("cap_ms", |b| b.cap_ms = Policy::MAX_MS + 1),
            ("first_ms", |b| b.first_ms = 60_001),
            ("least_ms", |b| b.least_ms = 0),
            ("least_ms", |b| b.least_ms = 1_001),
            ("multiplier_percent", |b| b.multiplier_percent = 99),
            ("stable_ms", |b| b.stable_ms = 0),
            ("refused_ms", |b| b.refused_ms = 59_999),
            ("spacing_ms", |b| b.spacing_ms = u32::MAX),
        ];
        for (field, change) in changes {
            assert_eq!(with(change).check().unwrap_err().field(), field);
        }
        let error = with(|b| b.first_ms = 0).check().unwrap_err();
        assert_eq!(error.to_string(), "first_ms is 0, allowed is 1 to 60000");
    }

    prop_compose! {
        fn any_backoff()(least_ms: u32, first_ms: u32, cap_ms: u32, multiplier_percent: u32, stable_ms: u32,
                         refused_ms: u32, spacing_ms: u32) -> Backoff {
            Backoff { least_ms, first_ms, cap_ms, multiplier_percent, stable_ms, refused_ms, spacing_ms }
        }
    }

    proptest! {
        #[test]
        fn delays_stay_within_their_bounds(
            least_ms in 1_u32..1_000, more in 0_u32..100_000, most in 0_u32..1_000_000,
            multiplier_percent in 100_u32..=1_000, attempt: u32, random: u64,
        ) {
            let first_ms = least_ms + more;
            let backoff = Backoff { least_ms, first_ms, cap_ms: first_ms + most, multiplier_percent, ..Backoff::default() };
            let delay = backoff.delay_ms(attempt, random);
            prop_assert!((least_ms..=backoff.cap_ms).contains(&delay));
            prop_assert!(backoff.delay_ms(attempt.saturating_add(1), random) >= delay);
        }

        #[test]
        fn unchecked_values_never_panic(backoff in any_backoff(), attempt: u32, random: u64, times: [u64; 3]) {
            let _ = backoff.check();
            prop_assert!(backoff.delay_ms(attempt, random) <= backoff.cap_ms);
            let mut attempts = Attempts { up_since_ms: times[0], failures: attempt, is_up: random as u32 };
            attempts.up(times[1]);
            let _ = attempts.failed(&backoff, times[2], random);
            let _ = attempts.refused(&backoff, times[0], random);
            let mut cap = RateCap { free_from_ms: times[1] };
            let _ = cap.reserve(&backoff, times[2]);
        }
    }
}
