//! Peers that beat too often (R38).

use super::turn::Turn;
use super::*;
use crate::core::Conduct;
use crate::engine::command::Data;

impl Turn<'_> {
    /// The peer beat at `at`.
    pub(super) fn police(&mut self, index: u32, at: Stamp, data: Data) {
        let pause = self.turns.pause;
        let now = self.turns.clock.latest();
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        let judged = matches!(row.link.evidence().state, State::Up | State::Suspect);
        if row.policy.least_ms == 0 || !judged {
            return;
        }
        let watch = row.beside.watch();
        let epoch = pause.map(|pause| pause.epoch);
        if std::mem::replace(&mut watch.excused, epoch) != epoch && watch.police.last().is_some() {
            watch.police.excuse(pause.map_or(0, |pause| pause.length_ms));
        }
        let forgiven = match data {
            Data::Seen(seen) => seen,
            Data::Last(received) => {
                let known = watch.police.last().into_iter().chain(watch.answered).reduce(Stamp::latest);
                known.is_some_and(|known| received.is_after(known))
            }
        };
        if forgiven {
            watch.police.forgive();
        }
        match watch.police.beat(&row.policy, at.earliest(now)) {
            Conduct::Fair => {}
            Conduct::Strike { strikes } => self.strike(index, strikes),
            Conduct::Guilty => self.visit(index, Some(Input::Policed)),
        }
    }

    fn strike(&mut self, index: u32, strikes: u32) {
        self.count(index, Counted::Strikes);
        let Some(row) = self.turns.rows.get(index) else { return };
        let wanted = row.notes.asks_for(EventKind::Strike);
        if wanted || self.engine.logs() {
            let event = Event { detail: strikes, ..self.event(index, row, EventKind::Strike, None) };
            self.turns.outbox.push(Item { event, wanted });
        }
    }
}
