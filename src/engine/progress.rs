//! How the application says that it goes on (R9): marks, one of the engine and one of each link. To mark is to store a
//! time; the shards look at the marks when a limit ends (`shard/progress`).

use super::command::{Command, Said};
use super::error::Code;
use super::event::LinkId;
use super::sync::{AtomicBool, AtomicU64};
use super::table::beat;
use super::{Engine, Error};
use crate::core::Stamp;
use std::sync::atomic::Ordering;

/// A stamp further ahead of now than callers' times and roundings reach is one of so long ago that it wrapped.
pub const WRAPPED_MS: i32 = 2_000;
const MARKED: u64 = 1 << 32;

/// When the application said for the last time that it goes on.
#[derive(Default)]
pub struct Mark(AtomicU64);

impl Mark {
    /// `None`: it never did.
    pub fn get(&self) -> Option<Stamp> {
        let word = self.0.load(Ordering::Relaxed);
        (word != 0).then_some(Stamp(word as u32))
    }

    /// Never back.
    fn set(&self, at: Stamp, now: impl FnOnce() -> Stamp) {
        let known = self.get();
        if known == Some(at) {
            return;
        }
        if known.is_none_or(|known| at.is_after(known) || known.since(now()) > WRAPPED_MS) {
            self.0.store(MARKED | u64::from(at.0), Ordering::Relaxed);
        }
    }

    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The engine's mark.
#[derive(Default)]
pub struct EngineMark {
    pub mark: Mark,
    /// Shards wait for it: links of theirs have been without progress for too long.
    pub awaited: AtomicBool,
}

/// What a shard knows of the application's progress on one link.
#[derive(Debug, Default)]
pub struct Progress {
    /// The limit runs from here; `None`: nobody asks.
    pub since: Option<Stamp>,
    /// It was over, and that was told.
    pub silent: bool,
    /// The link is in the shard's list of those that wait for the engine's mark.
    pub listed: bool,
    /// Beats and answers were held back until now.
    pub unmuted: bool,
    /// The number of the latest try.
    pub attempt: u8,
}

impl Engine {
    /// Says that the application goes on, at `now_ns` (0: now): all links whose policy asks for progress are good for
    /// another `progress_ms`, but for those that are marked by themselves. Takes no lock; wakes the engine only where it
    /// had given the application up.
    ///
    /// # Errors
    /// [`Code::Stopped`].
    pub fn progress(&self, now_ns: u64) -> Result<(), Code> {
        let inner = &*self.inner;
        inner.check_going().map_err(|error| error.code)?;
        inner.progress.mark.set(inner.stamp(now_ns).0, || inner.now());
        // After a fork the queues must not be touched.
        let awaited = inner.progress.awaited.load(Ordering::Relaxed) && inner.check_fork().is_ok();
        if awaited && inner.progress.awaited.swap(false, Ordering::SeqCst) {
            inner.shards.iter().for_each(|shard| shard.tell(Command::Progress));
            inner.nudge();
        }
        Ok(())
    }

    /// The same for one link. From the first time on it is this mark alone that counts for it.
    ///
    /// # Errors
    /// [`Code::NoMemory`]; [`Code::NoLink`], [`Code::Stopped`], [`Code::Failed`], [`Code::Forked`].
    pub fn link_progress(&self, link: LinkId, now_ns: u64) -> Result<(), Error> {
        let found = self.inner.find(link)?;
        let (at, _) = self.inner.stamp(now_ns);
        found.shard.table.make_mark(found.key.index)?.set(at, || self.inner.now());
        if found.words.has(beat::STALE) {
            found.tell(Said::Look);
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_mark_never_moves_back() {
        let mark = Mark::default();
        assert_eq!(mark.get(), None);
        mark.set(Stamp(0), || Stamp(0));
        assert_eq!(mark.get(), Some(Stamp(0)));
        mark.set(Stamp(50), || Stamp(50));
        mark.set(Stamp(49), || Stamp(50));
        assert_eq!(mark.get(), Some(Stamp(50)));
        // Nobody marked for four weeks.
        let late = Stamp(50).plus(28 * 86_400_000);
        mark.set(late, || late);
        assert_eq!(mark.get(), Some(late));
        mark.clear();
        assert_eq!(mark.get(), None);
    }
}
