//! Numbers: what is counted of each link and of the whole engine, and how round-trip times and our own lateness are
//! spread. Counters of the engine include links that were closed; they add up to what their links count.

use super::Engine;
use super::error::Error;
use crate::core::{Cause, State};
use std::ops::{Index, IndexMut};
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Counted {
    /// Beats taken to be written, less those that could not be; with `observe_only` the application's own.
    BeatsSent,
    /// Answers that matched.
    AnswersReceived,
    /// Answers that came after their time.
    AnswersLate,
    /// Answers to no outstanding beat.
    AnswersUnmatched,
    /// Beats of peers.
    BeatsReceived,
    /// Tries missed.
    Misses,
    /// What would have been DOWN, with `observe_only`.
    WouldBeDowns,
    /// How often peers were caught beating too often.
    Strikes,

    /// Answers taken to be written; with `observe_only` the application's own.
    AnswersSent,
    /// Owed answers dropped: for newer ones, or because `observe_only` was turned on.
    AnswersDropped,
    /// Complete messages fed.
    MessagesReceived,
    /// Bytes fed.
    BytesReceived,
    /// Complete messages that [`feed_sent`](Engine::feed_sent) found.
    MessagesSent,
    /// Bytes that went through [`feed_sent`](Engine::feed_sent).
    BytesSent,
    /// Messages whose contents made no sense.
    FramesRejected,
    /// Messages that were not sealed as they must be, or of another connection.
    FramesUnauthenticated,

    /// Links opened.
    Opened,
    /// Links closed.
    Closed,
    /// Beats noticed as due, those noticed again included.
    BeatsDue,
    /// Misses that were not the last, each a SUSPECT.
    Suspects,
    /// Changes back to UP.
    Ups,
    /// How often a judgement began to wait for a late reader.
    ReadersLate,
    /// Messages that were unfinished for too long.
    PartialFrames,
    /// Notices that could not be handed out for a whole timeout, and limits of links that passed without progress.
    AppsNotResponding,
    /// How often this process did not run when it should have.
    Pauses,
    /// For how long, in all.
    PausedMs,
    /// Turns of shards.
    Turns,
}

/// Those from the first on are a link's, counted by its shard; from here on by the application's threads.
const BY_APPLICATION: usize = Counted::AnswersSent as usize;
/// From here on they are a shard's.
const OF_SHARDS: usize = Counted::Opened as usize;
const ALL: usize = Counted::Turns as usize + 1;

/// What a shard counts of one link, wrapping.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally([u32; BY_APPLICATION]);

impl Index<Counted> for Tally {
    type Output = u32;

    fn index(&self, what: Counted) -> &u32 {
        &self.0[what as usize]
    }
}

impl IndexMut<Counted> for Tally {
    fn index_mut(&mut self, what: Counted) -> &mut u32 {
        &mut self.0[what as usize]
    }
}

/// What the application's threads count of one link whose protocol hbeat speaks, or of all such links of a shard.
#[derive(Default)]
pub struct Traffic([AtomicU64; OF_SHARDS - BY_APPLICATION]);

impl Traffic {
    pub fn add(&self, what: Counted, count: u64) {
        self.0[what as usize - BY_APPLICATION].fetch_add(count, Ordering::Relaxed);
    }

    pub fn read(&self, what: Counted) -> u64 {
        self.0[what as usize - BY_APPLICATION].load(Ordering::Relaxed)
    }
}

/// Round-trip times of a link, in microseconds; all 0 where there was none yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rtt {
    /// The latest.
    pub last_us: u32,
    /// The shortest.
    pub min_us: u32,
    /// The longest.
    pub max_us: u32,
    /// How many there were, wrapping.
    pub count: u32,
    /// All of them together.
    pub sum_us: u64,
}

impl Rtt {
    pub(super) fn add(&mut self, rtt_us: u32) {
        self.min_us = if self.count == 0 { rtt_us } else { self.min_us.min(rtt_us) };
        self.max_us = self.max_us.max(rtt_us);
        self.last_us = rtt_us;
        self.count = self.count.wrapping_add(1).max(1);
        self.sum_us += u64::from(rtt_us);
    }

    pub(super) fn known(self) -> Option<Self> {
        (self.count > 0).then_some(self)
    }
}

/// What an engine counted since it was made, or one of its shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Shards.
    pub shards: u32,
    links: [u32; State::ALL.len()],
    counts: [u64; ALL],
    downs: [u64; Cause::ALL.len()],
}

impl Stats {
    /// Open links that are in this state now.
    #[must_use]
    pub fn links(&self, state: State) -> u32 {
        self.links[state as usize]
    }

    /// Changes to DOWN for this cause.
    #[must_use]
    pub fn downs(&self, cause: Cause) -> u64 {
        self.downs[cause as usize]
    }

    pub(super) fn count(&mut self, what: Counted) {
        self.counts[what as usize] += 1;
    }

    pub(super) fn count_down(&mut self, cause: Cause) {
        self.downs[cause as usize] += 1;
    }

    /// A link left a state, entered another, or came, or went.
    pub(super) fn moved(&mut self, from: Option<State>, to: Option<State>) {
        let mut add = |state: Option<State>, by| {
            let links = state.map(|state| &mut self.links[state as usize]);
            links.into_iter().for_each(|links| *links = links.wrapping_add_signed(by));
        };
        add(from, -1);
        add(to, 1);
    }

    fn add(&mut self, shard: &Self, traffic: &Traffic) {
        fn sum<N: Copy + std::ops::AddAssign>(to: &mut [N], from: &[N]) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
        }
        self.shards += 1;
        sum(&mut self.links, &shard.links);
        sum(&mut self.counts, &shard.counts);
        sum(&mut self.downs, &shard.downs);
        sum(&mut self.counts[BY_APPLICATION..], &traffic.0.each_ref().map(|count| count.load(Ordering::Relaxed)));
    }
}

impl Index<Counted> for Stats {
    type Output = u64;

    fn index(&self, what: Counted) -> &u64 {
        &self.counts[what as usize]
    }
}

impl IndexMut<Counted> for Stats {
    fn index_mut(&mut self, what: Counted) -> &mut u64 {
        &mut self.counts[what as usize]
    }
}

/// Longer times count as this one: an hour and twelve minutes.
const LONGEST_US: u64 = (1 << 32) - 1;
/// Values are told apart to one percent.
const DIGITS: u8 = 2;

/// How times are spread, in microseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    values: hdrhistogram::Histogram<u64>,
    sum_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let values = hdrhistogram::Histogram::new_with_bounds(1, LONGEST_US, DIGITS);
        Self { values: values.expect("the bounds are right"), sum_us: 0 }
    }
}

impl Histogram {
    pub(super) fn record(&mut self, us: u64) {
        self.values.saturating_record(us);
        self.sum_us += us;
    }

    fn add(&mut self, other: &Self) {
        self.values.add(&other.values).expect("all have the same bounds");
        self.sum_us += other.sum_us;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.values.len()
    }

    /// All of them together, exactly.
    #[must_use]
    pub const fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The least, to one percent; 0 where there is none.
    #[must_use]
    pub fn min_us(&self) -> u64 {
        self.values.min()
    }

    /// The greatest, to one percent.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.values.max()
    }

    /// The value that this share of them, 0 to 1, does not exceed, to one percent.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> u64 {
        self.values.value_at_quantile(share)
    }

    /// For each n: how many are less than 2^n, exactly.
    #[must_use]
    pub fn below(&self) -> [u64; 32] {
        let mut below = [0; 32];
        for value in self.values.iter_recorded() {
            let bits = (u64::BITS - value.value_iterated_to().leading_zeros()) as usize;
            below.iter_mut().skip(bits).for_each(|count| *count += value.count_at_value());
        }
        below
    }
}

/// Which times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Times {
    /// Round-trip times, of all links.
    Rtt,
    /// How much later than due a shard looked at a deadline.
    Lateness,
}

impl Engine {
    /// What the engine counted since it was made, after everything said to it so far.
    ///
    /// # Errors
    /// [`Code::Forked`](super::Code::Forked).
    pub fn stats(&self) -> Result<Stats, Error> {
        self.inner.check_fork()?;
        let mut stats = Stats::default();
        for shard in &self.inner.shards {
            shard.attend(&self.inner, |turns, _| stats.add(&turns.stats, &shard.desks.traffic));
        }
        self.inner.nudge();
        Ok(stats)
    }

    /// How times of all links were spread since the engine was made.
    ///
    /// # Errors
    /// [`Code::Forked`](super::Code::Forked).
    pub fn histogram(&self, times: Times) -> Result<Histogram, Error> {
        self.inner.check_fork()?;
        let mut histogram = Histogram::default();
        for shard in &self.inner.shards {
            shard.attend(&self.inner, |turns, _| {
                histogram.add(match times {
                    Times::Rtt => &turns.rtt,
                    Times::Lateness => &turns.lateness,
                });
            });
        }
        self.inner.nudge();
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_exactly_below_each_power_of_two() {
        let mut histogram = Histogram::default();
        let values =
            [0, 1, 1, 2, 3, 4, 255, 256, 257, 1_000, 1_023, 1_024, 65_535, 65_536, 1 << 30, u64::from(u32::MAX)];
        values.iter().for_each(|&us| histogram.record(us));
        for (bits, below) in histogram.below().into_iter().enumerate() {
            assert_eq!(below, values.iter().filter(|&&us| us < 1 << bits).count() as u64, "{bits}");
        }
        assert_eq!((histogram.count(), histogram.sum_us()), (values.len() as u64, values.iter().sum()));
        assert_eq!(histogram.min_us(), 0);
        let max_us = histogram.max_us();
        assert!((u64::from(u32::MAX) * 99 / 100..=u64::from(u32::MAX)).contains(&max_us), "{max_us}");
    }

    #[test]
    fn quantiles_are_right_to_one_percent() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile_us(0.5), histogram.max_us()), (0, 0));
        (1..=10_000).for_each(|us| histogram.record(us));
        for (share, exact) in [(0.5, 5_000_u64), (0.9, 9_000), (0.99, 9_900), (0.999, 9_990)] {
            assert!(histogram.quantile_us(share).abs_diff(exact) <= exact / 100, "{share}");
        }
    }

    #[test]
    fn times_beyond_the_longest_count_as_the_longest() {
        let mut histogram = Histogram::default();
        histogram.record(1 << 40);
        assert_eq!((histogram.count(), histogram.sum_us(), histogram.below()[31]), (1, 1 << 40, 0));
    }
}
