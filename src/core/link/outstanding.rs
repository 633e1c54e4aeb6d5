//! Rule d: which beats may still be answered. Exact ids, never a range. The latest one lies in the link itself, older ones
//! in the side.

use super::{Step, flag, side};
use crate::core::step::Answered;
use crate::core::{Resend, Stamp};

/// Beyond it a round-trip time has wrapped, or is negative.
const LONGEST_RTT_US: u32 = u32::MAX / 2;

/// How many beats of the application's own heartbeat may be answered: it may beat more often than hbeat would.
const OBSERVED_MAX: usize = 16;

/// An outstanding beat.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    pub sequence: u32,
    pub taken: Stamp,
    pub taken_us: u32,
    /// It was sent more than once, or nothing of ours ran meanwhile: nobody knows how long its answer took.
    pub resent: bool,
}

impl Step<'_> {
    pub(super) fn note_outstanding(&mut self, sequence: u32, taken: Stamp, taken_us: u32) {
        if !self.policy.answer_expected {
            self.settle_outstanding();
            self.link.sequence = sequence;
            return self.link.set(flag::NUMBERED);
        }
        let again = self.take_outstanding(sequence).is_some();
        match self.policy.resend {
            Resend::Same if !self.policy.observe_only => self.side.iter_mut().for_each(|side| side.older.clear()),
            // How the application's own heartbeat counts is not for the policy to say.
            _ => self.keep_older(),
        }
        self.link.clear(flag::RESENT);
        self.link.set(flag::OUTSTANDING | flag::NUMBERED | flag::KEPT | if again { flag::RESENT } else { 0 });
        self.link.sequence = sequence;
        self.link.taken = taken;
        self.link.taken_us = taken_us;
    }

    /// Makes room for the beat that is taken now: at most N may be answered, of those of others more.
    fn keep_older(&mut self) {
        if self.link.has(flag::OUTSTANDING) {
            let beat = self.latest();
            side(self.side).older.push(beat);
        }
        let most = if self.policy.observe_only { OBSERVED_MAX } else { self.policy.tries as usize };
        let room = most.saturating_sub(1);
        if let Some(side) = self.side {
            let excess = side.older.len().saturating_sub(room);
            side.older.drain(..excess);
        }
    }

    fn latest(&self) -> Beat {
        Beat {
            sequence: self.link.sequence,
            taken: self.link.taken,
            taken_us: self.link.taken_us,
            resent: self.link.has(flag::RESENT),
        }
    }

    /// Answers may take so much longer: nothing of ours ran meanwhile (rule k).
    pub(super) fn excuse_answers(&mut self, by_ms: u32) {
        self.link.taken = self.link.taken.plus(by_ms);
        self.link.set(flag::RESENT);
        for beat in self.side.iter_mut().flat_map(|side| &mut side.older) {
            beat.taken = beat.taken.plus(by_ms);
            beat.resent = true;
        }
    }

    /// The beat taken last was never sent. An earlier try with the same number was, and may be answered.
    pub(super) fn forget_latest(&mut self) {
        if !self.link.has(flag::RESENT) {
            self.link.clear(flag::OUTSTANDING | flag::KEPT);
        }
    }

    pub(super) fn answer(&mut self, sequence: u32, at: Stamp, at_us: u32) {
        let answered = self.look_up(sequence, at, at_us);
        self.output.answered = Some(answered);
        if let Answered::Matched { .. } = answered {
            self.settle_outstanding();
            self.prove(at);
        }
    }

    /// The next probe begins: an answer to a beat before it that comes when its time is long over is that of a stranger.
    /// So a link whose answers are never told needs no memory for its beats.
    pub(super) fn forget_overdue(&mut self) {
        if self.policy.resend == Resend::Same {
            return;
        }
        let (now, timeout_ms) = (self.now, i64::from(self.policy.timeout_ms));
        let is_over = |taken: Stamp| i64::from(now.since(taken)) > timeout_ms;
        if is_over(self.link.taken) {
            self.link.clear(flag::OUTSTANDING | flag::RESENT);
        }
        if let Some(side) = self.side {
            side.older.retain(|beat| !is_over(beat.taken));
        }
    }

    /// No beat may be answered any more.
    fn settle_outstanding(&mut self) {
        self.link.clear(flag::OUTSTANDING | flag::RESENT | flag::KEPT);
        if let Some(side) = self.side {
            side.older.clear();
        }
    }

    fn look_up(&mut self, sequence: u32, at: Stamp, at_us: u32) -> Answered {
        let Some(beat) = self.take_outstanding(sequence) else {
            return Answered::Unmatched;
        };
        // Where the number is kept, nobody knows which try is answered. Where a judgement waits for our own reader, nobody
        // knows when the answer came (rule k).
        let kept = self.policy.resend == Resend::Same;
        let unread = self.late().is_some_and(|late| late.held);
        if !kept && !unread && i64::from(at.since(beat.taken)) > i64::from(self.policy.timeout_ms) {
            return Answered::Late;
        }
        // Karn: no round-trip time of what was sent more than once; none either where the answer was seen first.
        let rtt_us = at_us.wrapping_sub(beat.taken_us);
        let certain = !beat.resent && !unread && rtt_us <= LONGEST_RTT_US;
        Answered::Matched { rtt_us: certain.then_some(rtt_us) }
    }

    /// The oldest outstanding beat with this number; it is none any more.
    fn take_outstanding(&mut self, sequence: u32) -> Option<Beat> {
        let older = self.side.iter_mut().map(|side| &mut side.older);
        for older in older {
            if let Some(place) = older.iter().position(|beat| beat.sequence == sequence) {
                return Some(older.remove(place));
            }
        }
        let latest = self.link.has(flag::OUTSTANDING) && self.link.sequence == sequence;
        latest.then(|| {
            let beat = self.latest();
            self.link.clear(flag::OUTSTANDING | flag::RESENT | flag::KEPT);
            beat
        })
    }
}
