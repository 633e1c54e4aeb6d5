//! Policy: when to beat, how long to wait, how many tries, what proves life.

mod text;

use std::fmt;

/// When a beat is due (requirement R5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Strategy {
    /// Only after the link was idle for `interval_ms`.
    #[default]
    Idle,
    /// Each `interval_ms`, on a grid of slots that never moves, whatever the traffic.
    Periodic,
}

/// Whose silence makes a beat due with [`Strategy::Idle`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum IdleOn {
    /// Nothing was received for `interval_ms`.
    #[default]
    Received,
    /// Nothing was received, or nothing was sent, for `interval_ms` (NAT, MQTT).
    Either,
}

/// What counts as proof of life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Proof {
    /// Any complete inbound message.
    #[default]
    Any,
    /// Only an answer that matches an outstanding beat.
    Answer,
}

/// The sequence number of a re-sent beat.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Resend {
    /// Each try carries a new sequence number.
    #[default]
    New,
    /// Each try of a probe carries the sequence number of the first (CMPP).
    Same,
}

/// What becomes of beats and answers while the application makes no progress (requirement R9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum NoProgress {
    /// They go on.
    #[default]
    GoOn,
    /// They say that the application does not respond.
    Flag,
    /// They stop.
    Stop,
}

/// When to beat, how long to wait for an answer, how many tries, and what proves life. All times in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Policy {
    /// C: idle time or period after which a beat is due; 0 = this side never beats by itself.
    pub interval_ms: u32,
    /// T: how long an answer may take.
    pub timeout_ms: u32,
    /// N: how many beats in a row may go unanswered before the verdict; counts all sends.
    pub tries: u32,
    /// Idle or periodic.
    pub strategy: Strategy,
    /// Whose silence counts as idle.
    pub idle_on: IdleOn,
    /// What proves life.
    pub proof: Proof,
    /// Whether a beat is answered at all by the peer's protocol; `false` for one-way beats.
    pub answer_expected: bool,
    /// Whether hbeat owes an answer to an inbound beat on a fed link; `false` leaves it to the application.
    pub answer: bool,
    /// Sequence number of a re-sent beat.
    pub resend: Resend,
    /// How long silence is tolerated before a probe starts (or the verdict falls, where nothing can be probed); 0 = off.
    pub hold_time_ms: u32,
    /// J: how much earlier than due a beat may go out, in percent of the interval: 0 to 25.
    pub jitter_percent: u32,
    /// How long a message may stay unfinished before its bytes no longer count; 0 = `timeout_ms`.
    pub partial_ms: u32,
    /// The longest that unread bytes hold a verdict up; 0 = 10 × `timeout_ms`.
    pub late_reader_limit_ms: u32,
    /// Intervals in a row with a proof of life that bring a DOWN link back; 0 = DOWN is final.
    pub up_after: u32,
    /// Watches a heartbeat of the application's own (R45): nothing is sent or answered, what would be DOWN is only told.
    pub observe_only: bool,
    /// The peer is to beat no more often than each so many milliseconds (R38); 0 = as often as it likes.
    pub least_ms: u32,
    /// How many times it may be caught before the verdict; 0 = 3.
    pub strikes: u32,
    /// How long the application may make no progress before it counts as not responding (R9); 0 = nobody asks.
    pub progress_ms: u32,
    /// What then becomes of beats and answers.
    pub on_no_progress: NoProgress,
}

const NORMAL: Policy = Policy {
    interval_ms: 9_000,
    timeout_ms: 10_000,
    tries: 3,
    strategy: Strategy::Idle,
    idle_on: IdleOn::Received,
    proof: Proof::Any,
    answer_expected: true,
    answer: true,
    resend: Resend::New,
    hold_time_ms: 0,
    jitter_percent: 25,
    partial_ms: 0,
    late_reader_limit_ms: 0,
    up_after: 0,
    observe_only: false,
    least_ms: 0,
    strikes: 0,
    progress_ms: 0,
    on_no_progress: NoProgress::GoOn,
};

/// The presets, the one place where they are written down.
static PRESETS: [(&str, Policy); 4] = [
    // A verdict within 30 to 39 s.
    ("normal", NORMAL),
    // A verdict within 6 to 8.5 s.
    ("fast", Policy { interval_ms: 2_500, timeout_ms: 2_000, ..NORMAL }),
    // Never beats first; asks before it gives a silent peer up.
    ("passive", Policy { interval_ms: 0, hold_time_ms: 30_000, timeout_ms: 5_000, ..NORMAL }),
    // CMPP 2.0 and 3.0, ACTIVE_TEST: C = 3 min, T = 60 s, N = 3, to the second.
    ("cmpp", Policy { interval_ms: 180_000, timeout_ms: 60_000, resend: Resend::Same, jitter_percent: 0, ..NORMAL }),
];

impl Policy {
    /// No time of a policy is longer: 2^29 ms, about 149 hours. Core time wraps, and this keeps every deadline of a link
    /// within the half of its range that can be compared.
    pub const MAX_MS: u32 = 1 << 29;

    /// The preset of this name.
    ///
    /// # Errors
    /// An unknown name; the sentence lists the known ones.
    pub fn preset(name: &str) -> Result<Self, PolicyError> {
        match PRESETS.iter().find(|(known, _)| *known == name) {
            Some((_, policy)) => Ok(*policy),
            None => {
                let known: Vec<&str> = Self::presets().collect();
                let sentence = format!("unknown preset {}, known are {}", text::quoted(name), known.join(", "));
                Err(PolicyError::new("preset", sentence))
            }
        }
    }

    /// The names of all presets.
    pub fn presets() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// Whether the policy can be followed: every value in its range, no two that contradict each other, and a dead peer
    /// is found in the end. The core relies on it.
    ///
    /// # Errors
    /// The first value that is refused, in one sentence that names field, value and what is allowed.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.check_ranges()?;
        self.check_sums()?;
        self.check_verdict()?;
        self.check_contradictions()?;
        self.check_limits()
    }

    /// How long a message may stay unfinished before its bytes no longer count, in milliseconds: `partial_ms`, or
    /// `timeout_ms` where that is 0.
    #[must_use]
    pub const fn effective_partial_ms(&self) -> u32 {
        if self.partial_ms == 0 { self.timeout_ms } else { self.partial_ms }
    }

    /// The longest that unread bytes hold a verdict up, in milliseconds: `late_reader_limit_ms`, or ten times
    /// `timeout_ms` where that is 0, never more than [`MAX_MS`](Self::MAX_MS).
    #[must_use]
    pub const fn effective_late_reader_limit_ms(&self) -> u32 {
        let limit = match self.late_reader_limit_ms {
            0 => self.timeout_ms.saturating_mul(10),
            set => set,
        };
        if limit > Self::MAX_MS { Self::MAX_MS } else { limit }
    }

    /// How many times a peer may be caught beating too often: `strikes`, or 3 where that is 0.
    #[must_use]
    pub const fn effective_strikes(&self) -> u32 {
        if self.strikes == 0 { 3 } else { self.strikes }
    }

    /// Whether the policy ever asks the peer for a sign of life: a verdict then takes `tries` unanswered beats. Otherwise
    /// the hold time alone judges.
    #[must_use]
    pub const fn probes(&self) -> bool {
        self.answer_expected && self.tries > 0
    }

    /// How long it takes from the peer's death to the verdict. Means something only if the policy passes
    /// [`check`](Self::check); any other is computed without overflow.
    #[must_use]
    pub fn detection(&self) -> Detection {
        let tries = u64::from(self.tries_ms());
        Detection { earliest_ms: clamped(tries), latest_ms: clamped(self.longest_silence_ms() + tries) }
    }

    /// N·T where the peer is asked, otherwise 0.
    fn tries_ms(&self) -> u32 {
        if self.probes() { clamped(u64::from(self.tries) * u64::from(self.timeout_ms)) } else { 0 }
    }

    /// The longest that a link without any sign of life waits for its first try, or for the end of its hold.
    fn longest_silence_ms(&self) -> u64 {
        let hold = u64::from(self.hold_time_ms);
        if !self.probes() || self.interval_ms == 0 {
            return hold;
        }
        let interval = u64::from(self.interval_ms);
        let longest = match self.strategy {
            Strategy::Idle => interval,
            // A beat that went out early and the next one that goes out on its slot.
            Strategy::Periodic => interval + (interval * u64::from(self.jitter_percent)).div_ceil(100),
        };
        if hold == 0 { longest } else { longest.min(hold) }
    }

    fn check_ranges(&self) -> Result<(), PolicyError> {
        for (field, value, lowest, highest) in [
            ("interval_ms", self.interval_ms, 0, Self::MAX_MS),
            // Not 0 even where nothing is asked: it also paces the looks at a late reader.
            ("timeout_ms", self.timeout_ms, 1, Self::MAX_MS),
            ("tries", self.tries, 0, 255),
            ("hold_time_ms", self.hold_time_ms, 0, Self::MAX_MS),
            ("jitter_percent", self.jitter_percent, 0, 25),
            ("partial_ms", self.partial_ms, 0, Self::MAX_MS),
            ("late_reader_limit_ms", self.late_reader_limit_ms, 0, Self::MAX_MS),
            ("up_after", self.up_after, 0, 255),
            ("least_ms", self.least_ms, 0, Self::MAX_MS),
            ("strikes", self.strikes, 0, 255),
            ("progress_ms", self.progress_ms, 0, Self::MAX_MS),
        ] {
            if !(lowest..=highest).contains(&value) {
                return Err(PolicyError::new(field, format!("{field} is {value}, allowed is {lowest} to {highest}")));
            }
        }
        Ok(())
    }

    fn check_sums(&self) -> Result<(), PolicyError> {
        let tries_ms = u64::from(self.tries) * u64::from(self.timeout_ms);
        for (field, value) in [("interval_ms", self.interval_ms), ("hold_time_ms", self.hold_time_ms)] {
            let sum = u64::from(value) + tries_ms;
            if sum > u64::from(Self::MAX_MS) {
                let (tries, timeout, most) = (self.tries, self.timeout_ms, Self::MAX_MS);
                let sentence =
                    format!("{field} + tries * timeout_ms is {value} + {tries} * {timeout}, allowed is {most} at most");
                // Blamed on the larger part: that is the one to shrink.
                return Err(PolicyError::new(if tries_ms > value.into() { "timeout_ms" } else { field }, sentence));
            }
        }
        Ok(())
    }

    /// Refuses what could never find a dead peer, or would give up one that was never asked.
    fn check_verdict(&self) -> Result<(), PolicyError> {
        let beats = self.interval_ms > 0;
        let no_hold = self.hold_time_ms == 0;
        if !beats && no_hold {
            return refuse(
                "hold_time_ms",
                "hold_time_ms is 0 where interval_ms is 0: that can never find a dead peer, one of them must be 1 or more",
            );
        }
        if !self.answer_expected && no_hold {
            return refuse(
                "hold_time_ms",
                "hold_time_ms is 0 where answer_expected is no: that can never find a dead peer, it must be 1 or more",
            );
        }
        if beats && self.answer_expected && self.tries == 0 {
            return refuse(
                "tries",
                "tries is 0 where beats expect answers, allowed is 1 to 255 (0 needs interval_ms 0 or answer_expected no)",
            );
        }
        if self.proof == Proof::Answer && !self.probes() {
            return refuse(
                "proof",
                "proof is answer where no answer is ever asked for: that gives up every peer, \
                 it must be any, or tries 1 or more and answer_expected yes",
            );
        }
        Ok(())
    }

    /// Refuses a value that another one takes the meaning from.
    fn check_contradictions(&self) -> Result<(), PolicyError> {
        let beats = self.interval_ms > 0;
        let periodic = self.strategy == Strategy::Periodic;
        if periodic && !beats {
            return refuse(
                "strategy",
                "strategy is periodic where interval_ms is 0, it must be idle, or interval_ms 1 or more",
            );
        }
        if self.idle_on == IdleOn::Either && periodic {
            return refuse(
                "idle_on",
                "idle_on is either where strategy is periodic, it must be received, or strategy idle",
            );
        }
        if self.idle_on == IdleOn::Either && !beats {
            return refuse(
                "idle_on",
                "idle_on is either where interval_ms is 0, it must be received, or interval_ms 1 or more",
            );
        }
        if beats && self.probes() && self.tries == 1 && (1..10).contains(&self.jitter_percent) {
            // BFD's rule for a single try (RFC 5880, 6.8.7): it must not be lost to two clocks that differ a little.
            let sentence = format!(
                "jitter_percent is {} where tries is 1, allowed is 0, or 10 to 25: a single try goes out at least 10 % early",
                self.jitter_percent
            );
            return Err(PolicyError::new("jitter_percent", sentence));
        }
        if self.observe_only && self.up_after > 0 {
            let sentence = format!(
                "up_after is {} where observe_only is yes, it must be 0: such a link does not go DOWN",
                self.up_after
            );
            return Err(PolicyError::new("up_after", sentence));
        }
        if self.strikes > 0 && self.least_ms == 0 {
            let sentence =
                format!("strikes is {} where least_ms is 0, it must be 0, or least_ms 1 or more", self.strikes);
            return Err(PolicyError::new("strikes", sentence));
        }
        self.check_no_progress()
    }

    fn check_no_progress(&self) -> Result<(), PolicyError> {
        let word = text::no_progress(self.on_no_progress);
        let contradiction = match self.on_no_progress {
            NoProgress::GoOn => return Ok(()),
            _ if self.progress_ms == 0 => "progress_ms is 0, it must be go_on, or progress_ms 1 or more",
            _ if self.observe_only => "observe_only is yes, it must be go_on: such a link sends nothing",
            _ => return Ok(()),
        };
        refuse("on_no_progress", &format!("on_no_progress is {word} where {contradiction}"))
    }

    fn check_limits(&self) -> Result<(), PolicyError> {
        let latest = self.detection().latest_ms;
        if self.partial_ms > latest {
            let sentence = format!(
                "partial_ms is {}, allowed is 0 (= timeout_ms) to {latest}: the verdict falls after that time",
                self.partial_ms
            );
            return Err(PolicyError::new("partial_ms", sentence));
        }
        if self.late_reader_limit_ms > 0 && self.late_reader_limit_ms < self.timeout_ms {
            let sentence = format!(
                "late_reader_limit_ms is {}, allowed is 0 (= 10 * timeout_ms), or timeout_ms ({}) to {}",
                self.late_reader_limit_ms,
                self.timeout_ms,
                Self::MAX_MS
            );
            return Err(PolicyError::new("late_reader_limit_ms", sentence));
        }
        Ok(())
    }
}

fn refuse(field: &'static str, sentence: &str) -> Result<(), PolicyError> {
    Err(PolicyError::new(field, sentence.to_owned()))
}

fn clamped(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}

/// How long it takes from the peer's death to the verdict DOWN(NO_ANSWER) or DOWN(SILENT).
///
/// Counted from the moment of death, which lies somewhere between the peer's last proof of life and the moment when
/// this side would have asked for the next one. Earliest: death comes right before the first try (or right before the
/// end of a hold that judges alone: 0). Latest: right after the last proof of life, with the least jitter; with
/// [`Strategy::Periodic`] after a beat that went out as early as jitter allows.
///
/// Round trips count as 0: a peer that dies after a beat reached it and before it answered is found earlier by the
/// time that it took. Not counted is what holds a verdict up on purpose or late: unread bytes, a pause of this
/// process, the engine's resolution, an unfinished message (whose bytes are proofs of life until `partial_ms`).
/// A reset or closed connection that the application reports is found at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Detection {
    /// The shortest time, in milliseconds.
    pub earliest_ms: u32,
    /// The longest time, in milliseconds.
    pub latest_ms: u32,
}

/// Why a policy (or a backoff rule) was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyError {
    field: &'static str,
    sentence: String,
}

impl PolicyError {
    pub(super) const fn new(field: &'static str, sentence: String) -> Self {
        Self { field, sentence }
    }

    /// The field that is refused, as its struct has it; `"preset"` for a preset's name, `"text"` for a word that stands
    /// for no field.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// One sentence that names field, value and what is allowed.
    #[must_use]
    pub fn sentence(&self) -> &str {
        &self.sentence
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for PolicyError {}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::{Just, prop_assert, prop_compose, prop_oneof, proptest};
    use proptest::strategy::Strategy as _;

    /// The policy of a line, good or not.
    fn policy(line: &str) -> Policy {
        text::read(line).unwrap()
    }

    fn sentence(line: &str) -> String {
        policy(line).check().unwrap_err().to_string()
    }

    /// Earliest and latest verdict in milliseconds.
    fn window(line: &str) -> (u32, u32) {
        let policy = Policy::parse(line).unwrap();
        (policy.detection().earliest_ms, policy.detection().latest_ms)
    }

    #[test]
    fn presets_keep_their_promises() {
        assert_eq!(window("normal"), (30_000, 39_000));
        assert_eq!(window("fast"), (6_000, 8_500));
        assert_eq!(window("passive"), (15_000, 45_000));
        assert_eq!(window("cmpp"), (180_000, 360_000));
        let names: Vec<_> = Policy::presets().collect();
        assert_eq!(names, ["normal", "fast", "passive", "cmpp"]);
    }

    #[test]
    fn cmpp_is_what_the_specification_says() {
        let cmpp = Policy::preset("cmpp").unwrap();
        assert_eq!((cmpp.interval_ms, cmpp.timeout_ms, cmpp.tries), (180_000, 60_000, 3));
        assert_eq!((cmpp.strategy, cmpp.idle_on), (Strategy::Idle, IdleOn::Received));
        assert_eq!((cmpp.proof, cmpp.resend), (Proof::Any, Resend::Same));
        assert_eq!((cmpp.jitter_percent, cmpp.hold_time_ms), (0, 0));
    }

    #[test]
    fn an_unknown_preset_is_told_the_known_ones() {
        let error = Policy::preset("slow\n").unwrap_err();
        assert_eq!(error.field(), "preset");
        let expected = r#"unknown preset "slow\n", known are normal, fast, passive, cmpp"#;
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn detection_follows_the_policy() {
        // A periodic beat that went out early and one that does not: a longer gap than the interval.
        let periodic = "strategy=periodic interval=10001ms";
        assert_eq!(window(periodic), (30_000, 10_001 + 2_501 + 30_000));
        assert_eq!(window(&format!("{periodic} jitter=0%")), (30_000, 40_001));
        // A hold shorter than the interval starts the probe; a longer one never comes to it.
        assert_eq!(window("hold=4s"), (30_000, 34_000));
        assert_eq!(window("hold=60s"), (30_000, 39_000));
        // Own silence makes beats earlier, never later.
        assert_eq!(window("idle_on=either"), (30_000, 39_000));
        // One-way beats, and a listener that never asks: the hold alone.
        assert_eq!(window("answer_expected=no hold=20s"), (0, 20_000));
        assert_eq!(window("passive tries=0"), (0, 30_000));
        assert_eq!(window("tries=1"), (10_000, 19_000));
    }

    #[test]
    fn zero_stands_for_a_multiple_of_the_timeout() {
        assert_eq!(policy("normal").effective_partial_ms(), 10_000);
        assert_eq!(policy("partial=7ms").effective_partial_ms(), 7);
        assert_eq!(policy("normal").effective_late_reader_limit_ms(), 100_000);
        assert_eq!(policy("late_reader_limit=70s").effective_late_reader_limit_ms(), 70_000);
        assert_eq!((policy("least=1s").effective_strikes(), policy("least=1s strikes=9").effective_strikes()), (3, 9));
        let long = Policy::parse("timeout=148h tries=1").unwrap();
        assert_eq!(long.effective_late_reader_limit_ms(), Policy::MAX_MS);
    }

    #[test]
    fn every_number_has_its_range() {
        type Field = fn(&mut Policy) -> &mut u32;
        let fields: [(&str, u32, Field); 11] = [
            ("interval_ms", Policy::MAX_MS, |p| &mut p.interval_ms),
            ("timeout_ms", Policy::MAX_MS, |p| &mut p.timeout_ms),
            ("tries", 255, |p| &mut p.tries),
            ("hold_time_ms", Policy::MAX_MS, |p| &mut p.hold_time_ms),
            ("jitter_percent", 25, |p| &mut p.jitter_percent),
            ("partial_ms", Policy::MAX_MS, |p| &mut p.partial_ms),
            ("late_reader_limit_ms", Policy::MAX_MS, |p| &mut p.late_reader_limit_ms),
            ("up_after", 255, |p| &mut p.up_after),
            ("least_ms", Policy::MAX_MS, |p| &mut p.least_ms),
            ("strikes", 255, |p| &mut p.strikes),
            ("progress_ms", Policy::MAX_MS, |p| &mut p.progress_ms),
        ];
        for (field, highest, of) in fields {
            for value in [highest + 1, u32::MAX] {
                let mut policy = NORMAL;
                *of(&mut policy) = value;
                let error = policy.check().unwrap_err();
                assert_eq!(error.field(), field);
                assert!(error.sentence().starts_with(&format!("{field} is {value}, allowed is ")));
            }
        }
        assert_eq!(sentence("timeout=0"), "timeout_ms is 0, allowed is 1 to 536870912");
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        for (field, line) in [
            // Sums beyond what core time can compare.
            ("interval_ms", "interval=536840913ms"),
            ("hold_time_ms", "hold=536840913ms"),
            ("timeout_ms", "timeout=50h"),
            ("timeout_ms", "timeout=149h tries=255"),
            // No verdict, or a false one.
            ("hold_time_ms", "interval=0"),
            ("hold_time_ms", "answer_expected=no"),
            ("tries", "tries=0"),
            ("tries", "tries=0 hold=60s"),
            ("proof", "passive proof=answer tries=0"),
            ("proof", "answer_expected=no hold=9s proof=answer"),
            // One value takes the meaning from another.
            ("strategy", "passive strategy=periodic"),
            ("idle_on", "strategy=periodic idle_on=either"),
            ("idle_on", "passive idle_on=either"),
            ("jitter_percent", "tries=1 jitter=9%"),
            ("up_after", "observe_only=yes up_after=1"),
            ("strikes", "strikes=1"),
            ("on_no_progress", "on_no_progress=flag"),
            ("on_no_progress", "on_no_progress=stop progress=9s observe_only=yes"),
            // Limits that come too late or too early.
            ("partial_ms", "partial=39.001s"),
            ("partial_ms", "passive tries=0 partial=31s"),
            ("late_reader_limit_ms", "late_reader_limit=9.999s"),
        ] {
            let error = policy(line).check().unwrap_err();
            assert_eq!(error.field(), field, "{line}: {error}");
            assert!(error.sentence().contains(field), "{line}: {error}");
        }
    }

    #[test]
    fn limits_are_allowed_to_the_last_millisecond() {
        for line in [
            "interval=536840912ms",
            "hold=536840912ms",
            "interval=1ms timeout=1ms tries=255",
            "partial=39s late_reader_limit=10s up_after=255",
            "tries=1 jitter=10%",
            "tries=1 jitter=0%",
            "passive tries=1 jitter=5%",
            "passive proof=answer",
            "cmpp observe_only=yes",
            "least=1ms strikes=255 progress=1ms on_no_progress=stop",
            "least=536870912ms progress=536870912ms observe_only=yes",
        ] {
            assert_eq!(policy(line).check(), Ok(()), "{line}");
        }
    }

    #[test]
    fn sentences_read_well() {
        for (line, expected) in [
            ("timeout=50h", "interval_ms + tries * timeout_ms is 9000 + 3 * 180000000, allowed is 536870912 at most"),
            (
                "partial=40s",
                "partial_ms is 40000, allowed is 0 (= timeout_ms) to 39000: the verdict falls after that time",
            ),
            (
                "late_reader_limit=5ms",
                "late_reader_limit_ms is 5, allowed is 0 (= 10 * timeout_ms), or timeout_ms (10000) to 536870912",
            ),
            (
                "tries=1 jitter=3%",
                "jitter_percent is 3 where tries is 1, allowed is 0, or 10 to 25: \
                 a single try goes out at least 10 % early",
            ),
            ("strikes=5", "strikes is 5 where least_ms is 0, it must be 0, or least_ms 1 or more"),
            (
                "on_no_progress=stop",
                "on_no_progress is stop where progress_ms is 0, it must be go_on, or progress_ms 1 or more",
            ),
        ] {
            assert_eq!(sentence(line), expected);
        }
    }

    fn time() -> impl proptest::strategy::Strategy<Value = u32> {
        prop_oneof![
            3 => Just(0_u32),
            1 => 1..2_000_u32,
            2 => (1..200_u32).prop_map(|s| s * 1_000),
            1 => (1..100_u32).prop_map(|min| min * 60_000),
            1 => 1..=Policy::MAX_MS,
        ]
    }

    prop_compose! {
        /// Policies of any kind, most of them refused.
        pub fn any_policy()(
            times in [time(), time(), time(), time(), time(), time(), time()],
            counts in (0_u32..=255, 0_u32..=25, 0_u32..=255, prop_oneof![Just(0_u32), 1..=255_u32]),
            on_no_progress in prop_oneof![Just(NoProgress::GoOn), Just(NoProgress::Flag), Just(NoProgress::Stop)],
            few in proptest::option::of(0_u32..4),
            flags: [bool; 7],
        ) -> Policy {
            Policy {
                interval_ms: times[0],
                timeout_ms: times[1],
                tries: few.unwrap_or(counts.0),
                strategy: if flags[0] { Strategy::Periodic } else { Strategy::Idle },
                idle_on: if flags[1] { IdleOn::Either } else { IdleOn::Received },
                proof: if flags[2] { Proof::Answer } else { Proof::Any },
                answer_expected: flags[3],
                answer: flags[4],
                resend: if flags[5] { Resend::Same } else { Resend::New },
                hold_time_ms: times[2],
                jitter_percent: counts.1,
                partial_ms: times[3],
                late_reader_limit_ms: times[4],
                up_after: counts.2,
                observe_only: flags[6],
                least_ms: times[5],
                strikes: counts.3,
                progress_ms: times[6],
                on_no_progress,
            }
        }
    }

    proptest! {
        #[test]
        fn a_checked_policy_finds_a_dead_peer(policy in any_policy()) {
            let Detection { earliest_ms, latest_ms } = policy.detection();
            prop_assert!(earliest_ms <= latest_ms);
            if policy.check().is_ok() {
                prop_assert!(latest_ms >= 1);
                prop_assert!(latest_ms <= Policy::MAX_MS + Policy::MAX_MS / 4);
                prop_assert!(policy.effective_partial_ms() >= 1);
                prop_assert!(policy.effective_late_reader_limit_ms() >= policy.timeout_ms);
            }
        }

        #[test]
        fn unchecked_numbers_never_panic(policy in any_policy(), n: [u32; 11]) {
            let wild = Policy {
                interval_ms: n[0], timeout_ms: n[1], tries: n[2], hold_time_ms: n[3], jitter_percent: n[4],
                partial_ms: n[5], late_reader_limit_ms: n[6], up_after: n[7],
                least_ms: n[8], strikes: n[9], progress_ms: n[10], ..policy
            };
            let _ = wild.check();
            let Detection { earliest_ms, latest_ms } = wild.detection();
            prop_assert!(earliest_ms <= latest_ms);
            let _ = (wild.effective_partial_ms(), wild.effective_late_reader_limit_ms(), wild.to_string());
        }
    }
}
