//! One link's state machine: a total step function (state, input, now) → output, next deadline.
//!
//! The rules are those of `docs/decisions.md`; letters name them. Short names: C `interval_ms`, T `timeout_ms`,
//! N `tries`, H `hold_time_ms`.
//!
//! A link probes, or it does not. Outside a probe `beat_due` says when one starts and `hold_end` when silence alone is
//! the verdict; inside one `miss_due` says when the next try is missed. All three are worked out anew from a few stamps
//! whenever they are needed, so that there is nothing to keep in step.

mod outstanding;
mod side;

use super::step::{Cause, Change, Context, Evidence, Facts, Input, Notice, Output, State};
use super::{IdleOn, Policy, Proof, Resend, Stamp, Strategy, jitter};
pub use side::Side;
use side::{Late, Partial};

/// The furthest that a deadline lies ahead: stamps must stay comparable.
const HORIZON_MS: u32 = 1 << 30;
/// A shorter absence of our own needs no grace, however short the timeout (rule k).
const PAUSE_MS: u32 = 500;
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
    /// That beat was sent more than once with the same sequence number.
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

/// One link. 48 bytes; what few links need lies in [`Side`].
#[derive(Debug)]
pub struct Link {
    /// Last proof of life.
    proof: Stamp,
    /// Last received stamp, whatever it proves.
    heard: Stamp,
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
            heard: opened,
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
        let mut step = Step { link: self, side, context, policy: context.policy, now, output: Output::default() };
        step.apply(input);
        step.output.deadline = step.deadline();
        let output = step.output;
        side.take_if(|side| side.is_empty());
        output
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

    /// Whether there is a connection to judge.
    const fn is_judged(&self) -> bool {
        matches!(self.state, State::Up | State::Suspect)
    }
}

/// What goes in.
impl Step<'_> {
    fn apply(&mut self, input: Input) {
        match input {
            Input::Start { at } => self.start(self.past(at)),
            Input::Pause => self.pause(),
            Input::Stamps { received, sent, open_since } => self.stamps(received, sent, open_since),
            Input::Answer { sequence, at, at_us } => self.answer(sequence, self.past(at), at_us),
            Input::BeatReceived { at } if self.policy.proof == Proof::Any => self.prove(self.past(at)),
            Input::BeatReceived { .. } => {}
            Input::HandedOut { at } => self.handed_out(self.past(at)),
            Input::Taken { sequence, at, at_us } => self.beat_taken(sequence, self.past(at), at_us),
            Input::Sent { at } => self.beat_left(self.past(at)),
            Input::Unsent { at } => self.beat_unsent(self.past(at)),
            Input::Report(cause) => self.give_up(cause),
            Input::Desync => self.give_up(Cause::Desync),
            Input::Policy(before) => self.change_policy(&before),
            Input::Tick => self.act(None),
            Input::Judge(facts) => self.act(Some(facts)),
        }
    }

    /// Rule j: a stamp ahead of now counts as now.
    fn past(&self, at: Stamp) -> Stamp {
        at.earliest(self.now)
    }

    /// Rule h.
    fn start(&mut self, at: Stamp) {
        if self.link.state == State::Paused {
            self.link.state = State::Up;
            self.link.proof = if self.is_news(at, self.link.proof) { at } else { self.link.proof };
            self.link.sent = if self.is_news(at, self.link.sent) { at } else { self.link.sent };
            self.link.clear(flag::GRACE | flag::ONE_WAY);
            self.new_grid(at);
        }
    }

    fn pause(&mut self) {
        if self.link.is_judged() {
            self.drop_probe();
            self.withdraw();
            self.link.state = State::Paused;
            if let Some(side) = self.side {
                side.late = None;
            }
        }
    }

    /// The engine gives them first, so a pause is forgiven here, after what arrived meanwhile.
    fn stamps(&mut self, received: Stamp, sent: Stamp, open_since: Option<Stamp>) {
        let sent = self.past(sent);
        if self.is_news(sent, self.link.sent) {
            self.link.sent = sent;
        }
        let told = self.side.as_ref().and_then(|side| side.partial).map(|partial| partial.since);
        if told != open_since {
            side(self.side).partial = open_since.map(|since| Partial { since, reported: false });
        }
        let received = self.past(received);
        if self.is_news(received, self.link.heard) {
            self.link.heard = received;
            if self.policy.proof == Proof::Any {
                self.prove(received);
            }
        }
        self.forgive_pause();
    }

    /// Whether a stamp is later than the one known. One so old that it seems to lie ahead is older than any.
    fn is_news(&self, at: Stamp, known: Stamp) -> bool {
        at.is_after(known) || (at != known && known.is_after(self.now))
    }

    /// Rules a, b: something shows that the peer lived at `at`.
    fn prove(&mut self, at: Stamp) {
        let probing = self.link.has(flag::PROBING);
        let news = self.is_news(at, self.link.proof);
        let ends = probing && (!self.link.first_due.is_after(at) || (news && self.link.has(flag::MOVED)));
        if news {
            self.link.proof = at;
        }
        if let Some(side) = self.side.as_mut().filter(|_| ends || (news && !probing)) {
            side.late = None;
        }
        if ends {
            self.end_probe();
        }
    }

    fn end_probe(&mut self) {
        self.drop_probe();
        self.withdraw();
        if self.link.state == State::Suspect {
            self.link.state = State::Up;
            self.output.change = Some(Change::Up);
        }
        if !self.is_slot_a_try() {
            // Rule c: slots that fell into the probe are skipped.
            self.skip_slots(self.now.minus(1));
        }
    }

    fn drop_probe(&mut self) {
        self.link.clear(flag::PROBING | flag::KEPT);
        self.link.misses = 0;
    }

    /// The beat is no longer needed.
    fn withdraw(&mut self) {
        self.output.withdraw |= self.link.has(flag::WANTED) && !self.link.has(flag::AGAIN);
        self.link.clear(flag::WANTED | flag::HANDED | flag::AGAIN);
        self.link.set(flag::LEFT);
        self.end_stall();
    }

    /// Rule l: nobody is blamed for what could not be handed out.
    fn handed_out(&mut self, at: Stamp) {
        if !self.link.has(flag::WANTED) || self.link.has(flag::HANDED | flag::AGAIN) {
            return;
        }
        self.link.set(flag::HANDED);
        self.end_stall();
        if self.link.has(flag::PROBING) && at.since(self.link.due) > self.tick() {
            self.shift(at.since(self.link.reference).max(0) as u32);
            self.link.due = at;
        }
    }

    /// Moves the probe's clock.
    fn shift(&mut self, by_ms: u32) {
        let link = &mut self.link;
        if by_ms > 0 {
            link.set(flag::MOVED);
        }
        link.first_due = link.first_due.plus(by_ms);
        link.due = link.due.plus(by_ms);
        link.reference = link.reference.plus(by_ms);
    }

    fn beat_taken(&mut self, sequence: u32, at: Stamp, at_us: u32) {
        if self.link.has(flag::WANTED) {
            self.handed_out(at);
            self.link.clear(flag::WANTED | flag::AGAIN);
            self.link.clear(flag::LEFT);
            // Rule l: T runs from the take; within a tick of the due time the due time counts.
            if at.since(self.link.due) > self.tick() {
                self.link.reference = self.link.reference.latest(at);
            }
        }
        self.link.sent = self.link.sent.latest(at);
        self.note_outstanding(sequence, at, at_us);
    }

    fn beat_left(&mut self, at: Stamp) {
        self.link.sent = self.link.sent.latest(at);
        if !self.link.has(flag::LEFT | flag::WANTED) && self.link.has(flag::NUMBERED) {
            self.link.set(flag::LEFT);
            self.link.taken = self.link.taken.latest(at);
            if at.since(self.link.due) > self.tick() {
                self.link.reference = self.link.reference.latest(at);
            }
        }
    }

    fn beat_unsent(&mut self, at: Stamp) {
        self.forget_latest();
        let taken = self.link.has(flag::NUMBERED) && !self.link.has(flag::WANTED);
        if taken && self.link.has(flag::PROBING) {
            self.link.set(flag::WANTED | flag::AGAIN);
            self.link.clear(flag::HANDED);
            let again = at.plus(self.policy.timeout_ms.min(AGAIN_MS));
            self.link.due = again;
            self.link.reference = again;
        }
    }

    /// Rule i.
    fn change_policy(&mut self, before: &Policy) {
        if !self.link.is_judged() {
            return;
        }
        let policy = self.policy;
        if policy.answer_expected != before.answer_expected {
            self.link.clear(flag::ONE_WAY);
        }
        if (policy.strategy, policy.interval_ms) != (before.strategy, before.interval_ms) {
            self.new_grid(self.now);
        }
        if !self.link.has(flag::PROBING) {
            if policy.probes() != before.probes() {
                // A one-way beat is no try.
                self.withdraw();
            }
            return;
        }
        if !policy.probes() || (policy.interval_ms == 0 && policy.hold_time_ms == 0) {
            return self.end_probe();
        }
        // The next miss is one timeout after the try, not before now; misses stay.
        let miss = self.link.reference.plus(policy.timeout_ms).latest(self.now);
        self.link.reference = miss.minus(policy.timeout_ms);
        let used_ms = u32::from(self.link.misses).wrapping_mul(policy.timeout_ms);
        self.link.first_due = self.link.reference.minus(used_ms);
        self.link.set(flag::MOVED);
        let Some(side) = self.side else { return };
        side.late.iter_mut().for_each(|late| late.held = false);
        side.stalled = None;
    }
}

/// What becomes due.
impl Step<'_> {
    /// Judges first, then gives the beats that are due. At a Tick a judgement only asks for the facts.
    fn act(&mut self, facts: Option<Facts>) {
        match self.link.state {
            State::Paused => {}
            State::Down => self.try_to_revive(),
            State::Up | State::Suspect => {
                self.report_partial();
                if let Some(due) = self.judgement_due().filter(|&due| self.is_due(due)) {
                    let Some(facts) = facts else {
                        self.output.judge = true;
                        return;
                    };
                    let at = self.found(due);
                    if self.may_judge(at, facts) {
                        self.judge(at, facts);
                    }
                }
                if self.link.is_judged() {
                    self.give_beats();
                }
            }
        }
    }

    /// Rule m.
    fn report_partial(&mut self) {
        if self.partial_due().is_some_and(|due| self.is_due(due)) {
            self.output.partial_frame = true;
            side(self.side).partial.iter_mut().for_each(|partial| partial.reported = true);
        }
    }

    fn partial_due(&self) -> Option<Stamp> {
        let partial = self.side.as_ref()?.partial.filter(|partial| !partial.reported)?;
        Some(partial.since.plus(self.policy.effective_partial_ms()))
    }

    /// A miss, or the end of a hold that nothing can be probed after.
    fn judge(&mut self, at: Stamp, facts: Facts) {
        if !self.link.has(flag::PROBING) {
            let cause = if self.has_partial() { Cause::PartialFrame } else { Cause::Silent };
            self.give_up(cause);
        } else if self.link.has(flag::WANTED) && !self.link.has(flag::HANDED | flag::AGAIN) {
            self.stall(at);
        } else {
            // Found late, or held up: that must not shorten the time of the tries to come.
            let late_ms = at.since(self.miss_due()).max(0) as u32;
            if self.link.has(flag::AGAIN) {
                // The beat that waits keeps its moment.
                self.link.first_due = self.link.first_due.plus(late_ms);
                self.link.set(flag::MOVED);
            } else {
                self.shift(late_ms);
            }
            self.miss(at, facts);
        }
    }

    fn give_beats(&mut self) {
        if self.link.has(flag::AGAIN) && self.is_due(self.link.due) {
            // Rule l: a beat that could not be written is tried again.
            let at = self.found(self.link.due);
            self.link.clear(flag::AGAIN);
            self.link.due = at;
            self.link.reference = at;
            self.notice(self.link.misses.saturating_add(1));
        }
        if let Some(due) = self.beat_due().filter(|&due| self.is_due(due)) {
            self.beat(self.found(due));
        }
    }

    /// A beat is due: with an answer expected it starts the probe (rule a), without one it is just sent (rule e).
    fn beat(&mut self, at: Stamp) {
        self.link.clear(flag::GRACE);
        let by_slot = self.pass_slot();
        let untaken = self.link.has(flag::WANTED);
        if !self.policy.probes() {
            self.link.due = at;
            self.link.reference = at;
            self.link.set(flag::ONE_WAY);
            if !untaken {
                self.want(0);
            }
        } else if !self.link.has(flag::PROBING) {
            self.link.set(flag::PROBING);
            self.link.clear(flag::KEPT | flag::MOVED);
            self.link.first_due = at;
            self.link.misses = 0;
            self.copy(at);
        } else if !untaken {
            // Rule c: the slots are the tries.
            self.copy(at);
        }
        if by_slot {
            self.skip_slots(self.now);
        }
    }

    /// A new copy of the beat is due.
    fn copy(&mut self, at: Stamp) {
        self.link.due = at;
        self.link.reference = at;
        self.want(self.link.misses.saturating_add(1));
    }

    fn want(&mut self, attempt: u8) {
        self.link.number = self.link.number.wrapping_add(1);
        self.link.set(flag::WANTED);
        self.link.clear(flag::HANDED | flag::AGAIN);
        self.end_stall();
        self.notice(attempt);
    }

    fn notice(&mut self, attempt: u8) {
        let again = self.policy.resend == Resend::Same && self.link.has(flag::PROBING) && self.link.has(flag::KEPT);
        self.output.notice = Some(Notice { attempt, sequence: again.then_some(self.link.sequence) });
    }

    /// Rule l: the notice was never handed out: nothing is counted.
    fn stall(&mut self, at: Stamp) {
        self.output.app_not_responding = !self.link.has(flag::STALLED);
        self.link.set(flag::STALLED);
        side(self.side).stalled = Some(at.plus(self.policy.timeout_ms));
    }

    fn end_stall(&mut self) {
        self.link.clear(flag::STALLED);
        self.side.iter_mut().for_each(|side| side.stalled = None);
    }

    fn miss(&mut self, at: Stamp, facts: Facts) {
        let last = !self.last_miss().is_after(at);
        self.link.misses = self.link.misses.saturating_add(1);
        if last || u32::from(self.link.misses) >= self.policy.tries {
            return self.give_up(self.cause(facts));
        }
        self.link.state = State::Suspect;
        let left = (self.policy.tries - u32::from(self.link.misses)).min(u32::from(u8::MAX)) as u8;
        self.output.change = Some(Change::Suspect { left });
        if self.link.has(flag::AGAIN) {
            // It is given at its moment.
        } else if self.link.has(flag::WANTED) {
            // No second copy while the first is untaken.
            self.link.due = at;
            self.link.reference = at;
        } else if !self.is_slot_a_try() {
            self.copy(at);
        }
    }

    fn cause(&self, facts: Facts) -> Cause {
        if self.has_partial() {
            Cause::PartialFrame
        } else if self.link.has(flag::WANTED) || facts.send_queue_full == Some(true) {
            Cause::SendStuck
        } else {
            Cause::NoAnswer
        }
    }

    fn has_partial(&self) -> bool {
        self.side.as_ref().and_then(|side| side.partial).is_some_and(|partial| partial.reported)
    }

    /// The verdict, from wherever it comes. It is final on this connection.
    fn give_up(&mut self, cause: Cause) {
        if self.link.state == State::Down {
            return;
        }
        self.link.state = State::Down;
        self.link.cause = Some(cause);
        self.link.clear(flag::PROBING | flag::GRACE);
        self.withdraw();
        self.output.notice = None;
        self.output.change = Some(Change::Down(cause));
        if let Some(side) = self.side {
            side.late = None;
        }
        self.link.first_due = self.now;
    }

    /// Datagram peers come back after `up_after` intervals in a row with a proof.
    fn try_to_revive(&mut self) {
        let Some(end) = self.revival_due().filter(|&end| self.is_due(end)) else {
            return;
        };
        let begun = self.link.first_due;
        self.link.first_due = self.found(end);
        let proved = self.link.proof.is_after(begun);
        let streak = if proved { self.side.as_ref().map_or(0, |side| side.streak).saturating_add(1) } else { 0 };
        if u32::from(streak) >= self.policy.up_after {
            return self.revive();
        }
        if streak > 0 || self.side.is_some() {
            side(self.side).streak = streak;
        }
        let beats = self.policy.answer_expected || self.policy.interval_ms > 0;
        if beats && !self.link.has(flag::WANTED) {
            self.link.due = self.link.first_due;
            self.want(0);
        }
    }

    /// When the present interval of a DOWN link ends, in which it is tried once.
    fn revival_due(&self) -> Option<Stamp> {
        let Policy { interval_ms, hold_time_ms, up_after, .. } = *self.policy;
        let interval_ms = if interval_ms > 0 { interval_ms } else { hold_time_ms };
        (up_after > 0 && interval_ms > 0).then(|| self.link.first_due.plus(interval_ms))
    }

    fn revive(&mut self) {
        if let Some(side) = self.side {
            side.streak = 0;
        }
        self.drop_probe();
        self.withdraw();
        self.link.state = State::Up;
        self.link.cause = None;
        self.link.clear(flag::ONE_WAY);
        self.output.change = Some(Change::Up);
        self.skip_slots(self.now.minus(1));
    }
}

/// Rule k: what is not the peer's fault.
impl Step<'_> {
    /// Whether the judgement that is due may be made, or is held up because our own reader is late.
    fn may_judge(&mut self, at: Stamp, facts: Facts) -> bool {
        let unread = facts.unread_bytes.is_some_and(|bytes| bytes > 0);
        let known = self.late();
        if known.is_none() && !unread {
            return true;
        }
        self.output.local_reader_late = known.is_none();
        let mut late = known.unwrap_or(Late { since: at, look: at, held: false, read: false });
        let limit = self.late_limit(late);
        let hold = if unread { limit.is_after(at) } else { late.held && !late.read };
        if hold {
            let look = at.plus(self.policy.timeout_ms.max(1));
            late.look = if unread { look.earliest(limit) } else { look };
        }
        late.held = hold;
        late.read = hold && !unread;
        side(self.side).late = Some(late);
        !hold
    }

    fn late_limit(&self, late: Late) -> Stamp {
        late.since.plus(self.policy.effective_late_reader_limit_ms())
    }

    fn late(&self) -> Option<Late> {
        self.side.as_ref().and_then(|side| side.late)
    }

    /// Our own absence moves every deadline that was armed before it, once.
    fn forgive_pause(&mut self) {
        let stepped = self.link.has(flag::STEPPED);
        self.link.set(flag::STEPPED);
        let Some(pause) = self.context.pause else { return };
        if self.link.has(flag::PAUSED_ONCE) && self.link.pause == pause.epoch {
            return;
        }
        self.link.set(flag::PAUSED_ONCE);
        self.link.pause = pause.epoch;
        let timeout_ms = self.policy.timeout_ms;
        if !stepped || !self.link.is_judged() || pause.length_ms <= PAUSE_MS.max(timeout_ms / 2) {
            return;
        }
        let moved = |due: Stamp| due.latest(pause.ended).plus(timeout_ms);
        let due = if self.link.has(flag::PROBING) {
            let due = self.miss_due();
            let by_ms = moved(due).since(due).max(0) as u32;
            self.shift(by_ms);
            self.side.iter_mut().for_each(|side| side.shift(by_ms));
            due
        } else {
            let Some(due) = earliest(self.beat_due(), self.hold_end()) else {
                return;
            };
            self.link.first_due = moved(due);
            self.link.set(flag::GRACE);
            due
        };
        // Missed slots are not made up.
        self.skip_slots(moved(due).minus(1));
    }
}

/// When things are due.
impl Step<'_> {
    fn deadline(&self) -> Option<Stamp> {
        let due = match self.link.state {
            State::Paused => None,
            State::Down => self.revival_due(),
            State::Up | State::Suspect => {
                let again = self.link.has(flag::AGAIN).then_some(self.link.due);
                let beat = earliest(again, self.beat_due());
                earliest(earliest(self.judgement_due(), beat), self.partial_due())
            }
        };
        due.map(|due| due.latest(self.now).earliest(self.now.plus(HORIZON_MS)))
    }

    /// When the next miss, or the end of a hold, is to be judged, and what it waits for.
    fn judgement_due(&self) -> Option<Stamp> {
        let due = if self.link.has(flag::PROBING) { self.miss_due() } else { self.hold_end()? };
        let held = self.late().filter(|late| late.held).map_or(due, |late| late.look);
        let stalled = self.side.as_ref().and_then(|side| side.stalled);
        Some(due.latest(held).latest(stalled.unwrap_or(due)))
    }

    /// When a beat is due: outside a probe, and inside one where the slots are the tries.
    fn beat_due(&self) -> Option<Stamp> {
        let link = &self.link;
        if link.has(flag::PROBING) {
            return self.slot_due().filter(|_| self.is_slot_a_try());
        }
        let hold =
            (self.policy.hold_time_ms > 0 && self.policy.probes()).then(|| link.proof.plus(self.policy.hold_time_ms));
        let beat = match self.policy.strategy {
            _ if self.policy.interval_ms == 0 => None,
            Strategy::Periodic => self.slot_due(),
            Strategy::Idle => Some(self.idle_end()),
        };
        earliest(hold, beat).map(|due| self.not_before_grace(due))
    }

    /// Rules e, g: idleness counts from what was received; own silence can only add a beat.
    fn idle_end(&self) -> Stamp {
        let link = &self.link;
        let since = |stamp: Stamp| {
            if link.has(flag::ONE_WAY) { stamp.latest(link.due) } else { stamp }
        };
        let idle_ms = self.policy.interval_ms - self.early_ms().min(self.policy.interval_ms);
        let received = since(link.proof).plus(idle_ms);
        match self.policy.idle_on {
            IdleOn::Received => received,
            IdleOn::Either => received.earliest(since(link.sent).plus(idle_ms)),
        }
    }

    /// Rule f, where nothing can be probed.
    fn hold_end(&self) -> Option<Stamp> {
        let alone = self.policy.hold_time_ms > 0 && !self.policy.probes();
        alone.then(|| self.not_before_grace(self.link.proof.plus(self.policy.hold_time_ms)))
    }

    fn not_before_grace(&self, due: Stamp) -> Stamp {
        if self.link.has(flag::GRACE) { due.latest(self.link.first_due) } else { due }
    }

    /// Rule a: when the next try is missed. None is missed later than N·T after the first was due.
    fn miss_due(&self) -> Stamp {
        let timeout_ms = self.policy.timeout_ms;
        let next = u32::from(self.link.misses) + 1;
        if self.is_slot_a_try() {
            return self.link.first_due.plus(next.wrapping_mul(timeout_ms));
        }
        let last = self.last_miss();
        if next < self.policy.tries { self.link.reference.plus(timeout_ms).earliest(last) } else { last }
    }

    /// When the last try is missed, whatever happened in between.
    fn last_miss(&self) -> Stamp {
        let tries = self.policy.tries.max(u32::from(self.link.misses) + 1);
        self.link.first_due.plus(tries.wrapping_mul(self.policy.timeout_ms))
    }

    /// Rule c: with C ≤ T the slots themselves are the tries.
    fn is_slot_a_try(&self) -> bool {
        let Policy { strategy, interval_ms, timeout_ms, .. } = *self.policy;
        strategy == Strategy::Periodic && interval_ms > 0 && interval_ms <= timeout_ms
    }

    /// When the beat of the next slot is due.
    fn slot_due(&self) -> Option<Stamp> {
        (self.policy.strategy == Strategy::Periodic && self.policy.interval_ms > 0).then(|| {
            let early_ms = if self.link.has(flag::FIRST_SLOT) { 0 } else { self.early_ms() };
            self.link.slot.minus(early_ms)
        })
    }

    /// A new grid of slots.
    fn new_grid(&mut self, from: Stamp) {
        let interval_ms = self.policy.interval_ms;
        let first_ms = match self.policy.jitter_percent {
            0 => interval_ms,
            _ => {
                (interval_ms - jitter::part(interval_ms, jitter::phase(self.context.ordinal))).max(self.context.tick_ms)
            }
        };
        self.link.slot = from.plus(first_ms);
        self.link.set(flag::FIRST_SLOT);
    }

    /// Rule c: the grid never moves. The slot whose time has come is used, if there is one.
    fn pass_slot(&mut self) -> bool {
        let due = self.slot_due().is_some_and(|due| self.is_due(due));
        if due {
            self.link.slot = self.link.slot.plus(self.policy.interval_ms);
            self.link.clear(flag::FIRST_SLOT);
        }
        due
    }

    /// Slots whose beats were due by `until` were missed.
    fn skip_slots(&mut self, until: Stamp) {
        // Twice: behind the first slot of a grid beats come early.
        for _ in 0..2 {
            if let Some(due) = self.slot_due().filter(|due| !due.is_after(until)) {
                let missed = until.since(due) as u32 / self.policy.interval_ms + 1;
                self.link.slot = self.link.slot.plus(missed.wrapping_mul(self.policy.interval_ms));
                self.link.clear(flag::FIRST_SLOT);
            }
        }
    }

    /// How much earlier than the end of its interval the next beat is due (R35): BFD's rule, RFC 5880 section 6.8.7.
    fn early_ms(&self) -> u32 {
        let Policy { interval_ms, jitter_percent, tries, .. } = *self.policy;
        if jitter_percent == 0 {
            return 0;
        }
        let fraction = match self.link.number {
            0 => jitter::phase(self.context.ordinal),
            number => jitter::hash(self.context.seed, self.context.ordinal, number.into()),
        };
        let percent = |percent: u32| (u64::from(interval_ms) * u64::from(percent.min(100)) / 100) as u32;
        let least_ms = if tries == 1 { percent(jitter_percent.min(10)) } else { 0 };
        least_ms + jitter::part(percent(jitter_percent) - least_ms, fraction)
    }

    fn is_due(&self, due: Stamp) -> bool {
        !due.is_after(self.now)
    }

    /// Rule j: found at most a tick late, a due time counts as met exactly.
    fn found(&self, due: Stamp) -> Stamp {
        if self.now.since(due) > self.tick() { self.now } else { due }
    }

    fn tick(&self) -> i32 {
        self.context.tick_ms.clamp(1, 1_000) as i32
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
