//! When things are due, worked out from the link's stamps.

use super::*;

impl Step<'_> {
    pub(super) fn deadline(&self) -> Option<Stamp> {
        let due = match self.link.state {
            State::Paused | State::Connecting => None,
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
    pub(super) fn judgement_due(&self) -> Option<Stamp> {
        let due = if self.link.has(flag::PROBING) { self.miss_due() } else { self.hold_end()? };
        if self.link.is_exhausted() || self.waits_for_a_beat() {
            return None;
        }
        let held = self.late().filter(|late| late.held).map_or(due, |late| late.look);
        let stalled = self.side.as_ref().and_then(|side| side.stalled);
        Some(due.latest(held).latest(stalled.unwrap_or(due)))
    }

    /// R45: the next try is the next beat of the application's own heartbeat.
    fn waits_for_a_beat(&self) -> bool {
        let asked = !self.link.has(flag::WANTED) || self.link.has(flag::HANDED | flag::AGAIN);
        self.policy.observe_only && self.link.has(flag::PROBING) && !asked
    }

    /// When a beat is due: outside a probe, and inside one where the slots are the tries.
    pub(super) fn beat_due(&self) -> Option<Stamp> {
        if self.policy.observe_only {
            return None;
        }
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
    pub(super) fn hold_end(&self) -> Option<Stamp> {
        let alone = self.policy.hold_time_ms > 0 && !self.policy.probes();
        alone.then(|| self.not_before_grace(self.link.proof.plus(self.policy.hold_time_ms)))
    }

    fn not_before_grace(&self, due: Stamp) -> Stamp {
        if self.link.has(flag::GRACE) { due.latest(self.link.first_due) } else { due }
    }

    /// Rule a: when the next try is missed. None is missed later than N·T after the first was due.
    pub(super) fn miss_due(&self) -> Stamp {
        let timeout_ms = self.policy.timeout_ms;
        let next = u32::from(self.link.misses) + 1;
        if self.is_slot_a_try() {
            return self.link.first_due.plus(next.wrapping_mul(timeout_ms));
        }
        if self.policy.observe_only {
            // Each try that is really made has its whole timeout.
            return self.link.reference.plus(timeout_ms);
        }
        let last = self.last_miss();
        if next < self.policy.tries { self.link.reference.plus(timeout_ms).earliest(last) } else { last }
    }

    /// When the last try is missed, whatever happened in between.
    pub(super) fn last_miss(&self) -> Stamp {
        let tries = self.policy.tries.max(u32::from(self.link.misses) + 1);
        self.link.first_due.plus(tries.wrapping_mul(self.policy.timeout_ms))
    }

    /// Rule c: with C ≤ T the slots themselves are the tries.
    pub(super) fn is_slot_a_try(&self) -> bool {
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
    pub(super) fn new_grid(&mut self, from: Stamp) {
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
    pub(super) fn pass_slot(&mut self) -> bool {
        let due = self.slot_due().is_some_and(|due| !due.is_after(self.now));
        if due {
            self.link.slot = self.link.slot.plus(self.policy.interval_ms);
            self.link.clear(flag::FIRST_SLOT);
        }
        due
    }

    /// Slots whose beats were due by `until` were missed.
    pub(super) fn skip_slots(&mut self, until: Stamp) {
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

    pub(super) fn is_due(&self, due: Stamp) -> bool {
        !due.is_after(self.context.due_by)
    }

    /// Rule j: found at most a tick late, a due time counts as met exactly.
    pub(super) fn found(&self, due: Stamp) -> Stamp {
        if self.now.since(due) > self.tick() { self.now } else { due }
    }

    pub(super) fn tick(&self) -> i32 {
        self.context.tick_ms.clamp(1, 1_000) as i32
    }
}
