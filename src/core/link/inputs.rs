//! What goes into a link: stamps, answers, what the application did with its beats, reports.

use super::*;

impl Step<'_> {
    pub(super) fn apply(&mut self, input: Input) {
        match input {
            Input::Start { at } => self.start(self.past(at)),
            Input::Pause => self.pause(),
            Input::Probe => self.probe(),
            Input::Stamps { received, sent, open_since } => self.stamps(received, sent, open_since),
            Input::Answer { sequence, at, at_us } => self.answer(sequence, self.past(at), at_us),
            Input::BeatReceived { at } if self.policy.proof == Proof::Any => self.prove(self.past(at)),
            Input::BeatReceived { .. } => {}
            Input::PeerStuck { at } => self.hear_stuck(self.past(at)),
            Input::HandedOut { at } => self.handed_out(self.past(at)),
            Input::Taken { sequence, at, at_us } => self.beat_taken(sequence, self.past(at), at_us),
            Input::BeatSent { sequence, at, at_us } => self.beat_sent(sequence, self.past(at), at_us),
            Input::Sent { at } => self.beat_left(self.past(at)),
            Input::Unsent { at } => self.beat_unsent(self.past(at)),
            Input::Report(cause) => self.give_up(cause),
            Input::Desync => self.conclude(Cause::Desync),
            Input::Policed if self.link.is_judged() => self.conclude(Cause::Policed),
            Input::Policed => {}
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
        if self.policy.proof == Proof::Any && self.is_news(received, self.link.proof) {
            self.prove(received);
        }
        self.forgive_pause();
    }

    /// Whether a stamp is later than the one known. One so old that it seems to lie ahead is older than any.
    fn is_news(&self, at: Stamp, known: Stamp) -> bool {
        at.is_after(known) || (at != known && known.is_after(self.now))
    }

    /// Rules a, b: something shows that the peer lived at `at`.
    pub(super) fn prove(&mut self, at: Stamp) {
        let probing = self.link.has(flag::PROBING);
        let news = self.is_news(at, self.link.proof);
        let ends = probing && (!self.link.first_due.is_after(at) || (news && self.link.has(flag::MOVED)));
        if news {
            self.link.proof = at;
        }
        if let Some(side) = self.side {
            side.peer_stuck.take_if(|stuck| !stuck.is_after(at));
        }
        if let Some(side) = self.side.as_mut().filter(|_| ends || (news && !probing)) {
            side.late = None;
        }
        if ends {
            self.end_probe();
        }
    }

    /// The peer lives and its application does not: nobody's proof, but maybe the cause.
    fn hear_stuck(&mut self, at: Stamp) {
        if self.link.is_judged() && !self.link.proof.is_after(at) {
            side(self.side).peer_stuck = Some(at);
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

    pub(super) fn drop_probe(&mut self) {
        self.link.clear(flag::PROBING | flag::KEPT);
        self.link.misses = 0;
        self.link.cause = None;
        self.side.iter_mut().for_each(|side| side.peer_stuck = None);
    }

    /// The beat is no longer needed.
    pub(super) fn withdraw(&mut self) {
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
    pub(super) fn shift(&mut self, by_ms: u32) {
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

    /// R45: the beats of the application's own heartbeat are the tries.
    fn beat_sent(&mut self, sequence: u32, at: Stamp, at_us: u32) {
        let starts = self.link.is_judged() && self.policy.probes() && !self.link.has(flag::PROBING);
        if self.policy.observe_only && starts && self.is_news(at, self.link.proof) {
            self.start_probe(at);
        }
        self.beat_taken(sequence, at, at_us);
        self.link.set(flag::LEFT);
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
        if taken && self.link.has(flag::PROBING) && !self.link.is_exhausted() {
            // The application's own heartbeat beats again when it likes.
            let observed = self.policy.observe_only;
            self.link.set(flag::WANTED | if observed { 0 } else { flag::AGAIN });
            self.link.clear(flag::HANDED);
            let again = if observed { at } else { at.plus(self.policy.timeout_ms.min(AGAIN_MS)) };
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
        if policy.observe_only != before.observe_only {
            // Whoever beats from here on begins with all his tries.
            self.withdraw();
            if self.link.has(flag::PROBING) {
                return self.end_probe();
            }
        }
        if self.link.is_exhausted() {
            return;
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
