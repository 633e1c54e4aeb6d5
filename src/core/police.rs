//! Policing (R38): a peer is to beat no more often than each `least_ms`. The rules are those of `docs/decisions.md`,
//! section "Policing".

use super::{Policy, Stamp};

/// A caller's time lies this far back at most; what seems to lie further back has wrapped.
const OLDEST_MS: u32 = 1 << 29;

/// What a beat of the peer comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduct {
    /// Nothing to say against it.
    Fair,
    /// It came too early.
    Strike {
        /// Strikes so far, this one included.
        strikes: u32,
    },
    /// It came too early once more than may be.
    Guilty,
}

/// What is known of how often a peer beats: a bucket of time. Each beat takes three quarters of `least_ms` out of it,
/// and time fills it up again.
#[derive(Debug, Default)]
pub struct Police {
    /// What was taken out and not filled up yet, in quarters of a millisecond; below 0 after a pause of our own.
    missing: i64,
    /// When it was filled last; `None`: the peer has not beaten yet.
    filled: Option<Stamp>,
    strikes: u32,
}

impl Police {
    /// The peer beat at `at`. Means something only where `least_ms` is not 0.
    pub fn beat(&mut self, policy: &Policy, at: Stamp) -> Conduct {
        self.fill(at);
        let price = 3 * i64::from(policy.least_ms);
        if self.missing + price <= room(policy) {
            self.missing += price;
            return Conduct::Fair;
        }
        self.strikes += 1;
        if self.strikes > policy.effective_strikes() {
            *self = Self::default();
            return Conduct::Guilty;
        }
        Conduct::Strike { strikes: self.strikes }
    }

    /// The peer sent real data since its last beat: it had reason to live.
    pub fn forgive(&mut self) {
        self.strikes = 0;
    }

    /// Nothing of ours ran for so long: the beats of that time come at once now.
    pub fn excuse(&mut self, pause_ms: u32) {
        self.missing = (self.missing - quarters(pause_ms)).max(-quarters(Policy::MAX_MS));
    }

    /// When the peer beat last, as far as it was told in time.
    #[must_use]
    pub const fn last(&self) -> Option<Stamp> {
        self.filled
    }

    fn fill(&mut self, at: Stamp) {
        let last = self.filled.unwrap_or(at);
        let elapsed_ms = at.0.wrapping_sub(last.0);
        if elapsed_ms > u32::MAX - OLDEST_MS {
            // Told late: it lies before the last one.
            return;
        }
        self.filled = Some(at);
        self.missing = self.missing.min((self.missing - quarters(elapsed_ms)).max(0));
    }
}

const fn quarters(ms: u32) -> i64 {
    ms as i64 * 4
}

/// How deep the bucket is: what can come at once from a peer that keeps to its limit and is still alive for us. Its beats
/// of the longest silence after which it is not given up yet, that of a late reader of ours included; one that was not
/// held up; and retries, as many as we would make ourselves.
fn room(policy: &Policy) -> i64 {
    let silence_ms = i64::from(policy.detection().latest_ms) + i64::from(policy.effective_late_reader_limit_ms());
    let beats = 1 + i64::from(policy.tries);
    4 * silence_ms + beats * 3 * i64::from(policy.least_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Just, any, prop, prop_assert_eq, prop_oneof, proptest};

    /// Normal's own numbers: silence of 39 s, a reader late by 100 s, three tries.
    fn policy(line: &str) -> Policy {
        Policy::parse(line).unwrap()
    }

    /// What beats at these moments come to, as text: `.` fair, a digit a strike, `!` guilty.
    fn conduct(police: &mut Police, policy: &Policy, beats: impl IntoIterator<Item = u32>) -> String {
        let mut seen = String::new();
        for at in beats {
            seen += &match police.beat(policy, Stamp(at)) {
                Conduct::Fair => ".".to_owned(),
                Conduct::Strike { strikes } => strikes.to_string(),
                Conduct::Guilty => "!".to_owned(),
            };
        }
        seen
    }

    fn judged(line: &str, beats: impl IntoIterator<Item = u32>) -> String {
        conduct(&mut Police::default(), &policy(line), beats)
    }

    #[test]
    fn a_flood_gets_strikes_and_a_verdict() {
        // 139 s of silence at 15 s a beat: 9 at once, and the one that is due, and three retries.
        let flood = judged("least=20s", 0..20);
        assert_eq!(flood, ".............123!...");
        assert_eq!(judged("least=20s strikes=1", 0..16), ".............1!.");
        // From then on it begins anew: a peer that may come back.
        assert_eq!(judged("least=20s", 0..34).matches('!').count(), 2);
    }

    #[test]
    fn at_the_limit_with_jitter_and_without_nothing_is_struck() {
        for gap_ms in [15_000, 20_000, 17_500] {
            let beats = (0..10_000_u32).map(|beat| beat.wrapping_mul(gap_ms));
            assert!(!judged("least=20s", beats).contains(|c| c != '.'), "{gap_ms}");
        }
        // A little more often is found out in the end.
        assert!(judged("least=20s", (0..10_000).map(|beat| beat * 14_000)).contains('!'));
    }

    #[test]
    fn what_a_network_held_up_comes_at_once() {
        // Silence for 139 s, then all of it in one millisecond; and again right after the next interval.
        let burst = |from: u32| std::iter::repeat_n(from, 139 / 15 + 1);
        let beats = (0..100).map(|beat| beat * 15_000).chain(burst(99 * 15_000 + 139_000));
        assert!(!judged("least=20s", beats).contains(|c| c != '.'));
    }

    #[test]
    fn real_data_forgive_strikes_and_fill_nothing() {
        let policy = policy("least=20s");
        let mut police = Police::default();
        assert_eq!(conduct(&mut police, &policy, 0..16), ".............123");
        police.forgive();
        assert_eq!(conduct(&mut police, &policy, 16..20), "123!");
    }

    #[test]
    fn a_pause_of_ours_is_not_the_peers() {
        let policy = policy("least=20s");
        let mut police = Police::default();
        conduct(&mut police, &policy, [0]);
        police.excuse(600_000);
        // 40 beats of ten minutes come at once, and what may come at once besides, less the one before.
        let beats = conduct(&mut police, &policy, std::iter::repeat_n(600_000, 40 + 12 + 4));
        assert_eq!(beats, ".".repeat(40 + 12) + "123!");
    }

    #[test]
    fn moments_wrap_and_come_late() {
        let policy = policy("least=20s");
        let mut police = Police::default();
        conduct(&mut police, &policy, [u32::MAX - 10]);
        assert_eq!(conduct(&mut police, &policy, (0..12).chain([u32::MAX - 10, 3, 4, 12])), "............123!");
    }

    proptest! {
        /// A peer that keeps to its limit (a gap of three quarters at least), retries a probe as often as we would, over
        /// a network that holds beats up as long as it lives for us, and keeps them in order.
        #[test]
        fn a_healthy_peer_is_never_struck(
            least_ms in prop_oneof![Just(1_u32), 2..100_000_u32],
            strikes in 0..3_u32,
            origin in any::<u32>(),
            beats in prop::collection::vec((prop_oneof![Just(75_u32), 75..=100_u32, 100..1_000_u32], 0..=100_u32), 1..300),
            retries in 0..300_usize,
        ) {
            let policy = Policy { least_ms, strikes, ..Policy::preset("fast").unwrap() };
            let silence_ms = policy.detection().latest_ms + policy.effective_late_reader_limit_ms();
            let mut police = Police::default();
            let (mut sent, mut arrived) = (0_u64, 0_u64);
            for (number, (percent, held)) in beats.into_iter().enumerate() {
                sent += (u64::from(least_ms) * u64::from(percent)).div_ceil(100);
                arrived = arrived.max(sent + u64::from(silence_ms) * u64::from(held) / 100);
                let copies = if number == retries { policy.tries + 1 } else { 1 };
                for _ in 0..copies {
                    let at = Stamp(origin.wrapping_add(arrived as u32));
                    prop_assert_eq!(police.beat(&policy, at), Conduct::Fair);
                }
            }
        }

        /// Whatever the limit, twice as often is too often in the end.
        #[test]
        fn whoever_beats_twice_as_often_is_found_out(least_ms in 10..10_000_u32, origin in any::<u32>()) {
            let policy = Policy { least_ms, ..Policy::preset("fast").unwrap() };
            let mut police = Police::default();
            let mut guilty = false;
            for beat in 0..60_000 / least_ms * 4 + 100 {
                let at = Stamp(origin.wrapping_add(beat * (least_ms / 2)));
                guilty |= police.beat(&policy, at) == Conduct::Guilty;
            }
            prop_assert_eq!(guilty, true);
        }
    }
}
