//! What the application does with its beats, and what it tells of the peer's answers.

use super::Model;
use super::terms::{Copy, Outstanding, Stage, Step};
use hbeat::core::{Answered, Proof, Resend, State};

impl Model {
    pub(super) fn handed_out(&mut self, s: &Step<'_>, at: i64) {
        let Some(mut copy) = self.copy.filter(|copy| copy.stage == Stage::Noticed) else {
            return;
        };
        if let Some(probe) = self.probe.as_mut().filter(|_| at - copy.due > s.tick()) {
            let by = (at - copy.r).max(0);
            probe.first_due += by;
            probe.moved |= by > 0;
            copy.r += by;
            copy.due = at;
        }
        copy.stage = Stage::HandedOut;
        self.copy = Some(copy);
        self.app_told = false;
        self.app_look = None;
    }

    pub(super) fn taken(&mut self, s: &Step<'_>, sequence: u32, at: i64, at_us: u32) {
        self.handed_out(s, at);
        // What was taken while it was being withdrawn left all the same, and may be answered.
        if let Some(copy) = self.copy.as_mut().filter(|copy| !copy.taken()) {
            if at - copy.due > s.tick() {
                copy.r = copy.r.max(at);
            }
            copy.stage = Stage::Taken { at, corrected: false };
        }
        self.sent = self.sent.max(at);
        self.sequence = Some(sequence);
        self.last_taken = Some(sequence);
        if s.one_way() {
            self.outstanding.clear();
            self.probe.iter_mut().for_each(|probe| probe.sequence = None);
            return;
        }
        let before = self.outstanding.iter().position(|one| one.sequence == sequence);
        let sends = before.map_or(0, |index| self.outstanding.remove(index).sends) + 1;
        if s.policy.resend == Resend::Same && !s.observes() {
            self.outstanding.clear();
        }
        self.outstanding.push(Outstanding { sequence, sent: at, sent_us: at_us, sends });
        let most = if s.observes() { 16 } else { s.policy.tries.max(1) as usize };
        while self.outstanding.len() > most {
            self.outstanding.remove(0);
        }
        if let Some(probe) = self.probe.as_mut() {
            probe.sequence = Some(sequence);
        }
    }

    /// A beat of the application's own heartbeat, seen with `observe_only`.
    pub(super) fn beat_sent(&mut self, s: &mut Step<'_>, sequence: u32, at: i64, at_us: u32) {
        let starts = s.observes() && s.policy.probes() && self.probe.is_none() && at > self.proof;
        if starts && matches!(self.state, State::Up | State::Suspect) {
            self.start_probe(s, at);
        }
        self.taken(s, sequence, at, at_us);
        // It was seen when it left.
        if let Some(Stage::Taken { corrected, .. }) = self.copy.as_mut().map(|copy| &mut copy.stage) {
            *corrected = true;
        }
    }

    pub(super) fn really_sent(&mut self, s: &Step<'_>, at: i64) {
        self.sent = self.sent.max(at);
        let Some(copy) = self.copy.as_mut() else { return };
        let Stage::Taken { at: taken, corrected: false } = copy.stage else {
            return;
        };
        let at = at.max(taken);
        if at - copy.due > s.tick() {
            copy.r = copy.r.max(at);
        }
        copy.stage = Stage::Taken { at: taken, corrected: true };
        self.sent = self.sent.max(at);
        if let Some(one) = self.outstanding.iter_mut().rfind(|one| Some(one.sequence) == self.last_taken) {
            one.sent = one.sent.max(at);
        }
    }

    pub(super) fn unsent(&mut self, s: &Step<'_>, at: i64) {
        let Some(sequence) = self.last_taken.take() else { return };
        let sent_before = self.outstanding.iter().any(|one| one.sequence == sequence && one.sends > 1);
        if !sent_before {
            self.outstanding.retain(|one| one.sequence != sequence);
        }
        let exhausted = self.exhausted();
        let Some(probe) = self.probe.as_mut().filter(|_| !exhausted) else { return };
        if probe.sequence == Some(sequence) && !sent_before {
            probe.sequence = None;
        }
        if let Some(copy) = self.copy.as_mut().filter(|copy| copy.taken()) {
            let (due, stage) = if s.observes() { (at, Stage::Noticed) } else { (at + s.t().min(1000), Stage::Waiting) };
            *copy = Copy { due, r: due, stage };
        }
    }

    pub(super) fn answer(&mut self, s: &mut Step<'_>, sequence: u32, at: i64, at_us: u32) {
        let Some(index) = self.outstanding.iter().position(|one| one.sequence == sequence) else {
            s.out.answered = Some(Answered::Unmatched);
            return;
        };
        let one = self.outstanding[index];
        let unread = self.reader.look.is_some();
        if s.policy.resend == Resend::New && !unread && at - one.sent > s.t() {
            self.outstanding.remove(index);
            if let Some(probe) = self.probe.as_mut().filter(|probe| probe.sequence == Some(sequence)) {
                probe.sequence = None;
            }
            s.out.answered = Some(Answered::Late);
            return;
        }
        let rtt_us =
            Some(at_us.wrapping_sub(one.sent_us)).filter(|rtt| one.sends == 1 && !unread && (*rtt as i32) >= 0);
        s.out.answered = Some(Answered::Matched { rtt_us });
        self.outstanding.clear();
        self.probe.iter_mut().for_each(|probe| probe.sequence = None);
        self.prove(s, at);
    }

    pub(super) fn stamps(&mut self, s: &mut Step<'_>, received: i64, sent: i64, open_since: Option<i64>) {
        if s.policy.proof == Proof::Any && received > self.proof {
            self.prove(s, received);
        }
        self.sent = self.sent.max(sent);
        if open_since != self.open_since {
            self.open_since = open_since;
            self.open_noted = false;
        }
    }
}
