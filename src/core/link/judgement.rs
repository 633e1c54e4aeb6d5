//! What becomes due: misses, verdicts, beats, the way back from DOWN.

use super::*;

impl Step<'_> {
    /// Judges first, then gives the beats that are due. At a Tick a judgement only asks for the facts.
    pub(super) fn act(&mut self, facts: Option<Facts>) {
        match self.link.state {
            State::Paused | State::Connecting => {}
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

    pub(super) fn partial_due(&self) -> Option<Stamp> {
        let partial = self.side.as_ref()?.partial.filter(|partial| !partial.reported)?;
        Some(partial.since.plus(self.policy.effective_partial_ms()))
    }

    /// A miss, or the end of a hold that nothing can be probed after.
    fn judge(&mut self, at: Stamp, facts: Facts) {
        if !self.link.has(flag::PROBING) {
            self.conclude(self.peers_own_cause().or(facts.refused).unwrap_or(Cause::Silent));
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
            self.start_probe(at);
        } else if !untaken {
            // Rule c: the slots are the tries.
            self.copy(at);
        }
        if by_slot {
            self.skip_slots(self.now);
        }
    }

    /// A beat out of turn, unless the peer is being asked already.
    pub(super) fn probe(&mut self) {
        if self.link.is_judged() && !self.link.has(flag::PROBING) && !self.policy.observe_only {
            self.beat(self.now);
        }
    }

    pub(super) fn start_probe(&mut self, at: Stamp) {
        self.forget_overdue();
        self.link.set(flag::PROBING);
        self.link.clear(flag::KEPT | flag::MOVED | flag::GRACE);
        self.link.first_due = at;
        self.link.misses = 0;
        self.copy(at);
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
        if self.policy.observe_only {
            return;
        }
        let again = self.policy.resend == Resend::Same && self.link.has(flag::PROBING) && self.link.has(flag::KEPT);
        self.output.notice = Some(Notice { attempt, sequence: again.then_some(self.link.sequence) });
    }

    /// Rule l: the notice was never handed out: nothing is counted.
    fn stall(&mut self, at: Stamp) {
        self.output.app_not_responding = !self.link.has(flag::STALLED);
        self.link.set(flag::STALLED);
        side(self.side).stalled = Some(at.plus(self.policy.timeout_ms));
    }

    pub(super) fn end_stall(&mut self) {
        self.link.clear(flag::STALLED);
        self.side.iter_mut().for_each(|side| side.stalled = None);
    }

    fn miss(&mut self, at: Stamp, facts: Facts) {
        let last = !self.policy.observe_only && !self.last_miss().is_after(at);
        self.link.misses = self.link.misses.saturating_add(1);
        if last || u32::from(self.link.misses) >= self.policy.tries {
            return self.conclude(self.cause(facts));
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
        } else if self.policy.observe_only {
            // The next miss counts only if the next slot's beat is sent.
            self.copy(at.plus(self.policy.interval_ms));
        }
    }

    fn cause(&self, facts: Facts) -> Cause {
        if let Some(cause) = self.peers_own_cause() {
            cause
        } else if self.link.has(flag::WANTED) || facts.send_queue_full == Some(true) {
            Cause::SendStuck
        } else {
            facts.refused.unwrap_or(Cause::NoAnswer)
        }
    }

    /// What the peer showed by itself.
    fn peers_own_cause(&self) -> Option<Cause> {
        let side = self.side.as_ref()?;
        if side.partial.is_some_and(|partial| partial.reported) {
            Some(Cause::PartialFrame)
        } else {
            side.peer_stuck.map(|_| Cause::PeerAppNotResponding)
        }
    }

    /// hbeat's own verdict.
    pub(super) fn conclude(&mut self, cause: Cause) {
        if self.policy.observe_only { self.note_verdict(cause) } else { self.give_up(cause) }
    }

    /// R45: what would be the verdict is told; the link waits for what comes, a sign of life or a report.
    fn note_verdict(&mut self, cause: Cause) {
        if !self.link.is_judged() || self.link.is_exhausted() {
            return;
        }
        if !self.link.has(flag::PROBING) {
            self.link.first_due = self.now;
            self.link.set(flag::PROBING | flag::MOVED);
            self.link.clear(flag::GRACE);
        }
        self.link.state = State::Suspect;
        self.link.cause = Some(cause);
        self.withdraw();
        self.output.change = Some(Change::WouldBeDown(cause));
        if let Some(side) = self.side {
            side.late = None;
        }
    }

    /// The verdict, from wherever it comes. It is final on this connection.
    pub(super) fn give_up(&mut self, cause: Cause) {
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
            side.peer_stuck = None;
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
    pub(super) fn revival_due(&self) -> Option<Stamp> {
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
