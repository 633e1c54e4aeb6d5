//! Rule d: which beats may still be answered. Exact ids, never a range. The latest one lies in the link itself, older ones
//! in the side.

use super::{Step, flag, side};
use crate::core::step::Answered;
use crate::core::{Resend, Stamp};

/// An outstanding beat.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    pub sequence: u32,
    pub taken: Stamp,
    pub taken_us: u32,
}

impl Step<'_> {
    pub(super) fn note_outstanding(&mut self, sequence: u32, taken: Stamp, taken_us: u32) {
        if !self.policy.answer_expected {
            self.link.sequence = sequence;
            return self.link.set(flag::NUMBERED);
        }
        let kept = self.policy.resend == Resend::Same;
        let before = self.link.has(flag::OUTSTANDING).then_some(self.latest());
        let again = kept && self.link.has(flag::KEPT) && before.is_some_and(|before| before.sequence == sequence);
        if kept {
            self.side.iter_mut().for_each(|side| side.older.clear());
        }
        if let Some(before) = before.filter(|_| !kept) {
            let room = (self.policy.tries as usize).saturating_sub(1);
            let older = &mut side(self.side).older;
            older.push(before);
            let excess = older.len().saturating_sub(room);
            older.drain(..excess);
        }
        self.link.clear(flag::RESENT);
        self.link.set(flag::OUTSTANDING | flag::NUMBERED | flag::KEPT | if again { flag::RESENT } else { 0 });
        self.link.sequence = sequence;
        self.link.taken = taken;
        self.link.taken_us = taken_us;
    }

    fn latest(&self) -> Beat {
        Beat { sequence: self.link.sequence, taken: self.link.taken, taken_us: self.link.taken_us }
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
            self.link.clear(flag::OUTSTANDING | flag::RESENT);
            if let Some(side) = self.side {
                side.older.clear();
            }
            self.prove(at);
        }
    }

    fn look_up(&mut self, sequence: u32, at: Stamp, at_us: u32) -> Answered {
        let older = self.side.as_ref().map_or(&[][..], |side| &side.older);
        if let Some(place) = older.iter().position(|beat| beat.sequence == sequence) {
            let beat = side(self.side).older.remove(place);
            return self.in_time(beat, at, at_us);
        }
        if !self.link.has(flag::OUTSTANDING) || self.link.sequence != sequence {
            return Answered::Unmatched;
        }
        if self.policy.resend == Resend::Same {
            // Whichever try it answers. Karn: no round-trip time of what was sent more than once.
            let once = !self.link.has(flag::RESENT);
            return Answered::Matched { rtt_us: once.then(|| at_us.wrapping_sub(self.link.taken_us)) };
        }
        let answered = self.in_time(self.latest(), at, at_us);
        if answered == Answered::Late {
            self.link.clear(flag::OUTSTANDING);
        }
        answered
    }

    fn in_time(&self, beat: Beat, at: Stamp, at_us: u32) -> Answered {
        if i64::from(at.since(beat.taken)) > i64::from(self.policy.timeout_ms) {
            return Answered::Late;
        }
        Answered::Matched { rtt_us: Some(at_us.wrapping_sub(beat.taken_us)) }
    }
}
