//! What few links need, kept beside the link and made on first use.

use super::outstanding::Beat;
use crate::core::Stamp;

/// Several outstanding beats, an unfinished message, a late reader, the way back from DOWN, a peer that says it is stuck.
#[derive(Debug, Default)]
pub struct Side {
    /// Outstanding beats older than the link's own, oldest first.
    pub(super) older: Vec<Beat>,
    pub(super) partial: Option<Partial>,
    pub(super) late: Option<Late>,
    /// Intervals in a row in which a DOWN link gave a proof of life.
    pub(super) streak: u8,
    /// When to look again at a beat whose notice was not handed out.
    pub(super) stalled: Option<Stamp>,
    /// When the peer said that its application does not respond, unless it gave a proof of life since.
    pub(super) peer_stuck: Option<Stamp>,
}

impl Side {
    pub(super) fn is_empty(&self) -> bool {
        self.older.is_empty()
            && self.partial.is_none()
            && self.late.is_none()
            && self.streak == 0
            && self.stalled.is_none()
            && self.peer_stuck.is_none()
    }

    /// Moves what was planned.
    pub(super) fn shift(&mut self, by_ms: u32) {
        if let Some(late) = &mut self.late {
            late.look = late.look.plus(by_ms);
        }
        self.stalled = self.stalled.map(|look| look.plus(by_ms));
    }
}

/// A message that has begun and not ended.
#[derive(Clone, Copy, Debug)]
pub struct Partial {
    pub since: Stamp,
    pub reported: bool,
}

/// Bytes waited unread, or our application made no progress, when a judgement was due.
#[derive(Clone, Copy, Debug)]
pub struct Late {
    /// When that was found first.
    pub since: Stamp,
    /// When to look again.
    pub look: Stamp,
    /// A judgement waits for that look.
    pub held: bool,
    /// At the last look there was no such thing any more.
    pub read: bool,
}
