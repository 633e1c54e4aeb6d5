//! Rule k, what is not the peer's fault: our own late reader, our own application without progress, our own absence.

use super::*;

impl Step<'_> {
    /// Whether the judgement that is due may be made, or is held up because our own reader is late.
    pub(super) fn may_judge(&mut self, at: Stamp, facts: Facts) -> bool {
        let unread = facts.app_stuck || facts.unread_bytes.is_some_and(|bytes| bytes > 0);
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

    pub(super) fn late(&self) -> Option<Late> {
        self.side.as_ref().and_then(|side| side.late)
    }

    /// Our own absence moves every deadline that was armed before it, once.
    pub(super) fn forgive_pause(&mut self) {
        let stepped = self.link.has(flag::STEPPED);
        self.link.set(flag::STEPPED);
        let Some(pause) = self.context.pause else { return };
        if self.link.has(flag::PAUSED_ONCE) && self.link.pause == pause.epoch {
            return;
        }
        self.link.set(flag::PAUSED_ONCE);
        self.link.pause = pause.epoch;
        let timeout_ms = self.policy.timeout_ms;
        if !stepped
            || !self.link.is_judged()
            || self.link.is_exhausted()
            || pause.length_ms <= PAUSE_MS.max(timeout_ms / 2)
        {
            return;
        }
        let moved = |due: Stamp| due.latest(pause.ended).plus(timeout_ms);
        let due = if self.link.has(flag::PROBING) {
            let due = self.miss_due();
            let by_ms = moved(due).since(due).max(0) as u32;
            self.shift(by_ms);
            self.side.iter_mut().for_each(|side| side.shift(by_ms));
            self.excuse_answers(by_ms);
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
