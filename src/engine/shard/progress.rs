//! Whether the application makes progress (R9), link by link, and what follows where it does not. The rules are those of
//! `docs/decisions.md`, section "Progress".

use super::turn::Turn;
use super::*;
use crate::core::NoProgress;
use crate::engine::progress::{Mark, WRAPPED_MS};

/// What keeps stamps comparable, however long the application is silent.
const OLDEST_MS: u32 = 1 << 29;

impl Turn<'_> {
    /// Looks at the marks that count for a link, before anything is judged. Gives the moment of the next look.
    pub(super) fn look_at_progress(
        &mut self,
        words: &Words<'_>,
        index: u32,
        now: Stamp,
        input: Option<Input>,
    ) -> Option<Stamp> {
        let due_by = self.turns.due_by;
        let row = self.turns.rows.get_mut(index)?;
        let limit_ms = row.policy.progress_ms;
        if limit_ms == 0 && row.beside.watch_mut().is_none() {
            return None;
        }
        let started = if let Some(Input::Start { at }) = input { Some(at.earliest(now)) } else { None };
        let runs = started.is_some() || matches!(row.state(), State::Up | State::Suspect | State::Connecting);
        if limit_ms == 0 || !runs {
            let watch = row.beside.watch_mut()?;
            watch.progress.since = None;
            self.goes_on(words, index);
            return None;
        }
        let own = self.shard.table.mark(index).and_then(Mark::get);
        let mark = own.or_else(|| self.engine.progress.mark.get());
        let pause = self.turns.pause.map(|pause| pause.ended);
        let progress = &mut row.beside.watch().progress;
        let since = progress.since.unwrap_or(started.unwrap_or(now));
        let later = [mark, pause].into_iter().flatten().filter(|at| at.since(now) <= WRAPPED_MS);
        let since = later.fold(since, Stamp::latest).latest(now.minus(OLDEST_MS));
        progress.since = Some(since);
        let end = since.plus(limit_ms);
        if end.is_after(due_by) {
            self.goes_on(words, index);
            return Some(end);
        }
        self.is_silent(words, index, own.is_none());
        // A mark that is set just now may miss that it is waited for.
        Some(now.plus(limit_ms))
    }

    /// The limit is over. `awaits`: it is the engine's mark that counts.
    fn is_silent(&mut self, words: &Words<'_>, index: u32, awaits: bool) {
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        let what = match row.policy.on_no_progress {
            NoProgress::GoOn => 0,
            NoProgress::Flag => beat::FLAGGED,
            NoProgress::Stop => beat::MUTE,
        };
        let Some(watch) = row.beside.watch_mut() else { return };
        let progress = &mut watch.progress;
        progress.unmuted |= words.clear((beat::FLAGGED | beat::MUTE) & !what) & beat::MUTE != 0;
        words.set(beat::STALE | what);
        let told = std::mem::replace(&mut progress.silent, true);
        if awaits {
            if !std::mem::replace(&mut progress.listed, true) {
                self.turns.silent.push(index);
            }
            self.engine.progress.awaited.store(true, Ordering::SeqCst);
        }
        if !told {
            self.turns.stats.count(Counted::AppsNotResponding);
            self.tell(index, EventKind::AppNotResponding, None);
        }
    }

    /// All is as before.
    fn goes_on(&mut self, words: &Words<'_>, index: u32) {
        let Some(watch) = self.turns.rows.get_mut(index).and_then(|row| row.beside.watch_mut()) else { return };
        if std::mem::replace(&mut watch.progress.silent, false) {
            watch.progress.unmuted |= words.clear(beat::STALE | beat::FLAGGED | beat::MUTE) & beat::MUTE != 0;
        }
    }

    /// Hands out what was held back.
    pub(super) fn unmute(&mut self, words: &Words<'_>, index: u32, now: Stamp) {
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        let Some(progress) = row.beside.watch_mut().map(|watch| &mut watch.progress) else { return };
        if !std::mem::replace(&mut progress.unmuted, false) {
            return;
        }
        let attempt = progress.attempt;
        let owes = row.beside.desk().is_some_and(|desk| desk.owes());
        if words.has(beat::WANTED) {
            self.hand_out(words, index, now, attempt);
        }
        if owes {
            self.ask_to_take(index, 0);
        }
    }

    /// The application set the engine's mark: looks at the links that wait for it.
    pub(super) fn look_at_silent(&mut self) {
        for index in std::mem::take(&mut self.turns.silent) {
            if let Some(watch) = self.turns.rows.get_mut(index).and_then(|row| row.beside.watch_mut()) {
                watch.progress.listed = false;
                self.visit(index, None);
            }
        }
    }
}
