//! The words of the model: what it remembers of a beat, and the numbers of a policy in plain milliseconds.

use hbeat::core::{Context, Output, Policy, Strategy, jitter};

/// How far a wanted beat has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Its notice is due later: it could not be written.
    Waiting,
    /// The notice was given.
    Noticed,
    /// The notice was handed to the application.
    HandedOut,
    /// The application took it.
    Taken { at: i64, corrected: bool },
}

/// The beat that is wanted, or was taken last.
#[derive(Clone, Copy, Debug)]
pub struct Copy {
    pub due: i64,
    pub stage: Stage,
    /// Reference time: T runs from here.
    pub r: i64,
}

impl Copy {
    pub fn taken(&self) -> bool {
        matches!(self.stage, Stage::Taken { .. })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Probe {
    pub first_due: i64,
    /// Its clock was moved: `first_due` is not when it began.
    pub moved: bool,
    pub misses: i64,
    /// The sequence that re-sent beats carry again.
    pub sequence: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
pub struct Outstanding {
    pub sequence: u32,
    pub sent: i64,
    pub sent_us: u32,
    pub sends: u32,
}

/// A reader of ours that is late with bytes which arrived.
#[derive(Clone, Copy, Debug, Default)]
pub struct LateReader {
    pub told: bool,
    pub found: Option<i64>,
    pub look: Option<i64>,
    /// The bytes were read at the last look; the judgement comes at the next.
    pub read: bool,
}

/// One step: its surroundings in plain numbers, and its output as it grows.
pub struct Step<'a> {
    pub policy: &'a Policy,
    pub context: &'a Context<'a>,
    pub now: i64,
    pub out: Output,
}

impl Step<'_> {
    pub fn c(&self) -> i64 {
        i64::from(self.policy.interval_ms)
    }
    pub fn t(&self) -> i64 {
        i64::from(self.policy.timeout_ms)
    }
    pub fn n(&self) -> i64 {
        i64::from(self.policy.tries)
    }
    pub fn h(&self) -> i64 {
        i64::from(self.policy.hold_time_ms)
    }
    pub fn tick(&self) -> i64 {
        i64::from(self.context.tick_ms)
    }
    pub fn periodic(&self) -> bool {
        self.policy.strategy == Strategy::Periodic && self.c() > 0
    }
    /// Periodic with C ≤ T: the slots are the tries.
    pub fn slots_are_tries(&self) -> bool {
        self.periodic() && self.c() <= self.t()
    }
    pub fn can_probe(&self) -> bool {
        self.policy.answer_expected && self.n() > 0 && (self.c() > 0 || self.h() > 0)
    }
    pub fn observes(&self) -> bool {
        self.policy.observe_only
    }
    pub fn one_way(&self) -> bool {
        !self.policy.answer_expected
    }
    pub fn partial(&self) -> i64 {
        if self.policy.partial_ms == 0 { self.t() } else { i64::from(self.policy.partial_ms) }
    }
    pub fn reader_limit(&self) -> i64 {
        match self.policy.late_reader_limit_ms {
            0 => 10 * self.t(),
            limit => i64::from(limit),
        }
    }
    /// At most one tick late counts as met exactly; found later, the moment it was found counts.
    pub fn met(&self, due: i64) -> i64 {
        if self.now - due <= self.tick() { due } else { self.now }
    }
    /// j·C for a beat.
    pub fn early(&self, beats: u32) -> i64 {
        let most = self.c() * i64::from(self.policy.jitter_percent) / 100;
        let least = if self.n() == 1 { most.min(self.c() / 10) } else { 0 };
        let fraction = match beats {
            0 => jitter::phase(self.context.ordinal),
            number => jitter::hash(self.context.seed, self.context.ordinal, number),
        };
        least + i64::from(jitter::part((most - least) as u32, fraction))
    }
    /// Where a grid that starts at `from` has its first slot.
    pub fn new_grid(&self, from: i64) -> i64 {
        if self.policy.jitter_percent == 0 {
            return from + self.c();
        }
        let phase = i64::from(jitter::part(self.policy.interval_ms, jitter::phase(self.context.ordinal)));
        from + (self.c() - phase).max(self.tick())
    }
    /// One interval of a link that is DOWN and may come back.
    pub fn up_interval(&self) -> i64 {
        if self.policy.up_after == 0 {
            0
        } else if self.c() > 0 {
            self.c()
        } else {
            self.h()
        }
    }
}
