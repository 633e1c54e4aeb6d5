//! One link's state machine: a total step function (state, input, now) → output, next deadline.
//!
//! The rules are those of `docs/decisions.md`; letters name them. Short names: C `interval_ms`, T `timeout_ms`,
//! N `tries`, H `hold_time_ms`.
//!
//! A link probes, or it does not. Outside a probe `beat_due` says when one starts and `hold_end` when silence alone is
//! the verdict; inside one `miss_due` says when the next try is missed. All three are worked out anew from a few stamps
//! whenever they are needed, so that there is nothing to keep in step.

mod due;
mod fault;
mod inputs;
mod judgement;
mod outstanding;
mod side;

use super::step::{Cause, Change, Context, Evidence, Facts, Input, Notice, Output, State};
use super::{IdleOn, Policy, Proof, Resend, Stamp, Strategy, jitter};
pub use side::Side;
use side::{Late, Partial};

/// The furthest that a deadline lies ahead: stamps must stay comparable.
const HORIZON_MS: u32 = 1 << 30;
/// Who turns this many milliseconds later than he meant to was stopped, not busy; a shorter absence needs no grace,
/// however short the timeout (rule k).
pub const PAUSE_MS: u32 = 500;
/// The longest wait before a beat that could not be written is noticed again (rule l).
const AGAIN_MS: u32 = 1_000;

/// Bits of [`Link::flags`].
mod flag {
    /// A probe runs.
    pub const PROBING: u16 = 1;
    /// A beat is wanted: due and not taken.
    pub const WANTED: u16 = 1 << 1;
    /// Its notice was handed out.
    pub const HANDED: u16 = 1 << 2;
    /// The beat could not be written and is noticed again at `due`.
    pub const AGAIN: u16 = 1 << 3;
    /// Its notice was not handed out in time, which was told.
    pub const STALLED: u16 = 1 << 4;
    /// The moment at which the beat taken last left is settled.
    pub const LEFT: u16 = 1 << 5;
    /// `sequence`, `taken` and `taken_us` are those of an outstanding beat.
    pub const OUTSTANDING: u16 = 1 << 6;
    /// That beat was sent more than once with the same sequence number, or a pause of ours fell into its time.
    pub const RESENT: u16 = 1 << 7;
    /// A beat was taken at some time: `sequence` means something.
    pub const NUMBERED: u16 = 1 << 8;
    /// `due` is that of a one-way beat.
    pub const ONE_WAY: u16 = 1 << 9;
    /// `slot` is the first of its grid.
    pub const FIRST_SLOT: u16 = 1 << 10;
    /// Outside a probe: nothing is due before `first_due`, after a pause of our own.
    pub const GRACE: u16 = 1 << 11;
    /// The link has been stepped: pauses from here on concern it.
    pub const STEPPED: u16 = 1 << 12;
    /// `pause` is the epoch of the latest pause it knows.
    pub const PAUSED_ONCE: u16 = 1 << 13;
    /// A copy of this probe's beat was taken: its number is `sequence`.
    pub const KEPT: u16 = 1 << 14;
    /// The probe's clock was moved: `first_due` no longer tells which proofs are older than the probe.
    pub const MOVED: u16 = 1 << 15;
}

/// One link. 44 bytes; what few links need lies in [`Side`].
#[derive(Debug)]
pub struct Link {
    /// Last proof of life.
    proof: Stamp,
    /// Last own send.
    sent: Stamp,
    /// When the probe's first beat was due; outside a probe the end of a grace; when DOWN the beginning of the interval.
    first_due: Stamp,
    /// When the latest beat was due.
    due: Stamp,
    /// From when its timeout runs.
    reference: Stamp,
    /// Next slot of the grid (periodic).
    slot: Stamp,
    /// Of the beat taken last.
    sequence: u32,
    taken: Stamp,
    taken_us: u32,
    flags: u16,
    /// How many copies were noticed, wrapping, for jitter.
    number: u16,
    state: State,
    misses: u8,
    cause: Option<Cause>,
    pause: u8,
}

const _: () = assert!(size_of::<Link>() == 44);

/// One step: the link, what it needs, and the output as it grows.
struct Step<'a> {
    link: &'a mut Link,
    side: &'a mut Option<Box<Side>>,
    context: &'a Context<'a>,
    policy: &'a Policy,
    now: Stamp,
    output: Output,
}

impl Link {
    /// A new link, PAUSED; give it [`Input::Start`] to start it.
    #[must_use]
    pub fn new(opened: Stamp) -> Self {
        Self {
            proof: opened,
            sent: opened,
            first_due: opened,
            due: opened,
            reference: opened,
            slot: opened,
            sequence: 0,
            taken: opened,
            taken_us: 0,
            flags: 0,
            number: 0,
            state: State::Paused,
            misses: 0,
            cause: None,
            pause: 0,
        }
    }

    /// Takes one input. Total: any input in any state at any `now` has a defined result.
    /// `now` comes from [`Clock::clamp`](super::Clock::clamp).
    pub fn step(&mut self, side: &mut Option<Box<Side>>, context: &Context<'_>, now: Stamp, input: Input) -> Output {
        let mut step = Step::new(self, side, context, now);
        step.apply(input);
        step.end()
    }

    /// Takes two inputs as one step, of which the first is [`Input::Stamps`]: most of what a step costs, it costs once.
    /// `false`: the first changed the state, which is told by itself, and the second is still to be given.
    pub fn step_twice(
        &mut self,
        side: &mut Option<Box<Side>>,
        context: &Context<'_>,
        now: Stamp,
        stamps: Input,
        input: Input,
    ) -> (Output, bool) {
        let mut step = Step::new(self, side, context, now);
        step.apply(stamps);
        let unchanged = step.output.change.is_none();
        if unchanged {
            step.apply(input);
        }
        (step.end(), unchanged)
    }

    /// What the link knows.
    #[must_use]
    pub fn evidence(&self) -> Evidence {
        Evidence {
            state: self.state,
            cause: self.cause,
            proof: self.proof,
            misses: self.misses,
            sequence: self.has(flag::NUMBERED).then_some(self.sequence),
        }
    }

    const fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    const fn set(&mut self, flags: u16) {
        self.flags |= flags;
    }

    const fn clear(&mut self, flags: u16) {
        self.flags &= !flags;
    }

    /// Whether its tries are used up, and it only waits for what comes (R45).
    const fn is_exhausted(&self) -> bool {
        self.is_judged() && self.cause.is_some()
    }

    /// Whether there is a connection to judge.
    const fn is_judged(&self) -> bool {
        matches!(self.state, State::Up | State::Suspect)
    }
}

impl<'a> Step<'a> {
    fn new(link: &'a mut Link, side: &'a mut Option<Box<Side>>, context: &'a Context<'a>, now: Stamp) -> Self {
        Self { link, side, context, policy: context.policy, now, output: Output::default() }
    }

    fn end(mut self) -> Output {
        self.output.deadline = self.deadline();
        self.side.take_if(|side| side.is_empty());
        self.output
    }
}

fn earliest(one: Option<Stamp>, other: Option<Stamp>) -> Option<Stamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.earliest(other)),
        (one, other) => one.or(other),
    }
}

fn side(side: &mut Option<Box<Side>>) -> &mut Side {
    side.get_or_insert_default()
}

#[cfg(test)]
mod tests;
