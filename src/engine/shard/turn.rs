//! A turn: what was said is heard, what is due is stepped, what comes of it is handed to delivery.

use super::*;
use crate::core::Policy;
use crate::engine::carrier::Carried;
use crate::engine::fault::{self, Point};
use crate::engine::memory::AHEAD;
use crate::engine::talk::Talk;
use std::sync::Arc;

/// So many commands are taken at once.
const PORTION: usize = 32;

/// One turn: the shard, what the turn works on, and the engine around it.
pub(super) struct Turn<'a> {
    pub engine: &'a Inner,
    pub shard: &'a Shard,
    pub turns: &'a mut Turns,
}

impl Turn<'_> {
    /// Acts upon what was said; gives the time by which deadlines are due.
    pub fn catch_up(&mut self) -> Stamp {
        // Counted before the clock is read: what is heard lies in the past, and is not taken for earlier than it was.
        let said = self.turns.inbox.len();
        let due_by = self.take_time();
        self.notice_pause();
        self.hear(said);
        due_by
    }

    /// Reads the clock. The time of what happens is rounded up, as all stamps are; the time for which deadlines are due,
    /// the one given here, is rounded down: nothing is ever early.
    fn take_time(&mut self) -> Stamp {
        let now_ns = self.engine.clock.now_ns();
        // After weeks without a turn in steps over which stamps can be compared.
        while now_ns.saturating_sub(self.turns.read_ns) > STRIDE_NS {
            self.turns.read_ns += STRIDE_NS;
            self.turns.clock.clamp(self.engine.clock.ceil(self.turns.read_ns));
            let step = self.engine.clock.floor(self.turns.read_ns);
            while self.turns.wheel.advance(step, &mut self.turns.rows, &mut self.turns.due, TURN) {}
        }
        self.turns.read_ns = self.turns.read_ns.max(now_ns);
        self.turns.clock.clamp(self.engine.clock.ceil(now_ns));
        self.turns.due_by = self.engine.clock.floor(self.turns.read_ns);
        self.turns.due_by
    }

    /// `found`: the sockets that were ready when a sleep ended.
    pub fn turn(&mut self, found: Option<&Ready>) -> Next {
        if self.engine.has_failed() {
            return self.wind_up();
        }
        let due_by = self.catch_up();
        self.look_at_places();
        let mut due = std::mem::take(&mut self.turns.due);
        let cut = self.turns.wheel.advance(due_by, &mut self.turns.rows, &mut due, TURN);
        match found {
            // What has arrived by now is known before a deadline is judged.
            Some(found) if due.is_empty() => self.look_at_sockets(found),
            _ => self.poll(),
        }
        for at in 0..due.len() {
            if let Some(&later) = due.get(at + 2 * AHEAD) {
                self.turns.rows.fetch(later);
                self.shard.table.fetch_words(later);
            }
            if let Some(&later) = due.get(at + AHEAD) {
                self.turns.rows.fetch_numbers(later);
            }
            self.note_lateness(due[at]);
            self.look(due[at], due_by, Some(Input::Tick));
        }
        due.clear();
        self.turns.due = due;
        self.turns.stats.count(Counted::Turns);
        self.hand_over();
        let gathers = std::mem::take(&mut self.turns.gathered) && self.engine.turns_by_itself();
        self.shard.gathers.store(gathers, Ordering::Relaxed);
        // Pairs with the fences in `news` and `tell`: either what was set above is seen there, or the command here.
        fence(Ordering::SeqCst);
        if cut || (!gathers && !self.turns.inbox.is_empty()) {
            return Next::Again;
        }
        if self.turns.ended {
            return Next::Ended;
        }
        match self.plan() {
            Next::At(at_ns) if gathers => {
                let soon_ns = self.turns.read_ns + GATHER_NS;
                Next::At(Some(at_ns.map_or(soon_ns, |at_ns| at_ns.min(soon_ns))))
            }
            next => next,
        }
    }

    /// What a turn came to is handed over: events to delivery, and slots to whoever opens a link.
    pub fn hand_over(&mut self) {
        let vacated = &mut self.turns.vacated;
        if !vacated.is_empty() {
            self.engine.links.fetch_sub(vacated.len() as u32, Ordering::Relaxed);
            self.shard.table.vacate(vacated.drain(..), self.turns.read_ns);
        }
        self.engine.delivery.push(&mut self.turns.outbox);
    }

    fn note_lateness(&mut self, index: u32) {
        let now_ns = self.turns.read_ns;
        if let Some(row) = self.turns.rows.get(index) {
            let due_ns = self.engine.clock.ns_of(row.due(), now_ns);
            self.turns.lateness.record(now_ns.saturating_sub(due_ns) / 1_000);
        }
    }

    /// A turn of an engine that failed: links are only closed, none is stepped or judged, so that what the engine failed
    /// by does not stand in its way. Each panic here takes its command or its row with it: it comes to an end.
    fn wind_up(&mut self) -> Next {
        self.let_go();
        self.shard.gathers.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // Some may have been taken out before a panic.
        while let Some(command) = self.turns.heard.pop_front().or_else(|| self.turns.inbox.try_recv().ok()) {
            match command {
                Command::Open(opening) => self.open(Opening { start: false, ..opening }),
                Command::Link(key, Said::Close) => self.close(key),
                Command::Link(key, Said::Data(data)) => self.set_data(key, data),
                Command::Link(..) | Command::Listen(_) | Command::Unlisten | Command::Progress => {}
                Command::Barrier(answer) => self.turns.barriers.push(answer),
                Command::Stop => self.stop(),
            }
        }
        if self.turns.ended {
            // A panic may have left some.
            self.close_all();
        }
        self.hand_over();
        if self.turns.ended { Next::Ended } else { Next::At(None) }
    }

    /// When something is due next.
    pub fn plan(&mut self) -> Next {
        let now_ns = self.engine.clock.now_ns();
        let now = self.engine.clock.floor(now_ns);
        if !self.turns.due.is_empty() {
            return Next::Again;
        }
        let due = self.turns.wheel.next_due(&self.turns.rows);
        match due.into_iter().chain(self.places_due()).reduce(Stamp::earliest) {
            Some(due) if !due.is_after(now) => Next::Again,
            Some(due) => Next::At(Some(self.engine.clock.ns_of(due.earliest(now.plus(SLEEP_MS)), now_ns))),
            None => Next::At(None),
        }
    }

    /// Rule k: a turn much later than planned, or a suspend, is our own absence, not the peers'.
    fn notice_pause(&mut self) {
        let now_ns = self.engine.clock.now_ns();
        let late_ms = self.shard.behind_ns(now_ns) / 1_000_000;
        let suspended_ns = if self.engine.clock.is_manual() { 0 } else { sys::suspended_ns() };
        let asleep_ms = suspended_ns.saturating_sub(self.turns.suspended_ns) / 1_000_000;
        self.turns.suspended_ns = suspended_ns;
        let length_ms = late_ms.max(asleep_ms);
        if length_ms <= u64::from(PAUSE_MS) {
            return;
        }
        let length_ms = u32::try_from(length_ms).unwrap_or(u32::MAX);
        let epoch = self.turns.pause.map_or(0, |pause| pause.epoch.wrapping_add(1));
        self.turns.pause = Some(Pause { epoch, ended: self.turns.clock.latest(), length_ms });
        self.turns.stats.count(Counted::Pauses);
        self.turns.stats[Counted::PausedMs] += u64::from(length_ms);
        let event = Event { detail: length_ms, ..Event::of_engine(EventKind::Pause, now_ns) };
        self.turns.outbox.extend(self.engine.item(event));
    }

    /// Takes so many commands at once, and sends for what they are about.
    fn fetch_commands(&mut self, count: usize) {
        let turns = &mut *self.turns;
        for command in std::iter::from_fn(|| turns.inbox.try_recv().ok()).take(count) {
            if let Some(Key { index, .. }) = command.link() {
                turns.rows.fetch(index);
                self.shard.table.fetch_words(index);
            }
            turns.heard.push_back(command);
        }
        for key in turns.heard.iter().filter_map(Command::link) {
            turns.rows.fetch_numbers(key.index);
        }
    }

    /// Acts upon the next `count` things that were said.
    fn hear(&mut self, count: usize) {
        // What is said meanwhile waits for the next turn: a busy caller must not hold up the others' deadlines.
        for done in 0..count {
            if self.turns.heard.is_empty() {
                self.fetch_commands((count - done).min(PORTION));
            }
            let Some(command) = self.turns.heard.pop_front() else { return };
            self.turns.gathered |= command.gathers();
            match command {
                Command::Open(opening) => self.open(opening),
                Command::Link(key, said) => self.hear_of(key, said),
                Command::Listen(opened) => self.listen(opened.0, opened.1),
                Command::Unlisten => self.unlisten(),
                Command::Progress => self.look_at_silent(),
                Command::Barrier(answer) => self.turns.barriers.push(answer),
                Command::Stop => self.stop(),
            }
        }
    }

    fn open(&mut self, opening: Opening) {
        self.shard.leave_queue();
        let index = opening.key.index;
        let now = self.turns.clock.latest();
        let carried = opening.beside.carried().is_some();
        let hidden = opening.beside.carried().is_some_and(Carried::is_hidden);
        // Nothing is told of a link before the application knows of it.
        let events = if hidden { 0 } else { opening.events };
        let (start, opened) = (opening.start, opening.opened);
        self.turns.rows.insert(index, Row::new(opening, events, now));
        if !hidden {
            self.turns.stats.count(Counted::Opened);
            self.note_state(index);
        }
        if carried {
            return self.set_out(index);
        }
        if start {
            self.visit(index, Some(Input::Start { at: opened }));
        }
    }

    pub(super) fn hear_of(&mut self, key: Key, said: Said) {
        let Some(row) = self.turns.rows.find_mut(key) else {
            return;
        };
        let input = match said {
            Said::Close => return self.close(key),
            Said::Look => return self.visit(key.index, None),
            Said::Resolved(found) => return self.resolved(key.index, found),
            Said::Start { at } => return self.start(key.index, at),
            Said::Pause => Input::Pause,
            Said::Answer { sequence, at, at_us, echo_us } => {
                let input = Input::Answer { sequence, at, at_us };
                return self.answer(key.index, input, echo_us);
            }
            Said::BeatReceived { sequence, at, data, stuck } => {
                self.count(key.index, Counted::BeatsReceived);
                self.beat_received(key.index, sequence);
                self.visit(key.index, Some(if stuck { Input::PeerStuck { at } } else { Input::BeatReceived { at } }));
                return self.police(key.index, at, data);
            }
            Said::PeerStuck { at } => Input::PeerStuck { at },
            // Taken by now: that follows, and says it, too.
            Said::HandedOut { .. }
                if !self.shard.table.words(key.index).is_some_and(|words| words.has(beat::WANTED)) =>
            {
                return;
            }
            Said::HandedOut { at } => Input::HandedOut { at },
            Said::Taken { sequence, at, at_us } => {
                self.count(key.index, Counted::BeatsSent);
                Input::Taken { sequence, at, at_us }
            }
            Said::BeatSent { sequence, at, at_us } => {
                self.count(key.index, Counted::BeatsSent);
                // Who beats again as soon as T is over beats after the miss.
                self.visit(key.index, Some(Input::Tick));
                Input::BeatSent { sequence, at, at_us }
            }
            Said::Sent { at } => Input::Sent { at },
            Said::Unsent { at, counted } => {
                let seen = row.policy.observe_only && row.numbers.tally(Counted::BeatsSent) > 0;
                if counted || seen {
                    row.numbers.count(Counted::BeatsSent, -1);
                    self.turns.stats[Counted::BeatsSent] -= 1;
                }
                Input::Unsent { at }
            }
            Said::Desync => Input::Desync,
            Said::PeerState { changes } => return self.peer_state(key.index, changes),
            Said::Data(data) => return self.set_data(key, data),
            Said::Report { cause, detail } => {
                if row.link.evidence().state != State::Down {
                    row.beside.set_detail(detail);
                }
                Input::Report(cause)
            }
            Said::Policy(policy) => return self.wish(key.index, policy),
            Said::Keys(keys) => return self.set_keys(key.index, keys),
        };
        self.visit(key.index, Some(input));
    }

    /// Another policy is in force.
    pub(super) fn set_policy(&mut self, index: u32, policy: Arc<Policy>) {
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        let before = std::mem::replace(&mut row.policy, Arc::clone(&policy));
        // Of several callers at once the one heard last has its way, here and where the application's threads look.
        row.beside.desk().into_iter().for_each(|desk| desk.set_policy(Arc::clone(&policy)));
        self.shard.table.words(index).into_iter().for_each(|words| words.observe(policy.observe_only));
        self.visit(index, Some(Input::Policy(*before)));
    }

    /// Where the number does not tell which try an answer belongs to, the time that it brings back does.
    fn answer(&mut self, index: u32, answer: Input, echo_us: Option<u32>) {
        let samples = |row: &Row| (row.numbers.tally(Counted::AnswersReceived), row.numbers.rtt().count);
        let Some(before) = self.turns.rows.get(index).map(samples) else { return };
        self.visit(index, Some(answer));
        let (Input::Answer { at, at_us, .. }, Some(echo_us)) = (answer, echo_us) else { return };
        let pause = self.turns.pause;
        // Of a link that the application reads nobody knows when the answer came.
        let Some(row) = self.turns.rows.get_mut(index).filter(|row| row.beside.carried().is_some()) else { return };
        let matched_without = samples(row).0 != before.0 && row.numbers.rtt().count == before.1;
        let rtt_us = at_us.wrapping_sub(echo_us);
        let sent = at.minus(rtt_us.div_ceil(1_000));
        let paused = pause.is_some_and(|pause| pause.ended.is_after(sent));
        if matched_without && !paused && i32::try_from(rtt_us).is_ok() {
            row.numbers.add_rtt(rtt_us);
            self.turns.rtt.record(rtt_us.into());
        }
    }

    fn start(&mut self, index: u32, at: Stamp) {
        self.shard.table.words(index).map(|words| words.clear(beat::PAUSED));
        self.visit(index, Some(Input::Start { at }));
        // Beats of the peer that came before the start are answered now.
        if self.turns.rows.get(index).and_then(|row| row.beside.desk()).is_some_and(|desk| desk.owes()) {
            self.ask_to_take(index, 0);
        }
    }

    /// Tells the application, once until it is told, that there is something to take: a beat, the try of this number, or
    /// an answer.
    pub(super) fn ask_to_take(&mut self, index: u32, tries: u32) {
        let Some(words) = self.shard.table.words(index) else { return };
        let Some(row) = self.turns.rows.get(index).filter(|row| row.notes.asks_for(EventKind::Send)) else {
            return;
        };
        if words.set(beat::QUEUED) == 0 {
            let event = Event { tries, ..self.event(index, row, EventKind::Send, None) };
            self.turns.outbox.push(Item { event, wanted: true });
        }
    }

    /// Counts something of a link, for the link and for all.
    pub(super) fn count(&mut self, index: u32, what: Counted) {
        if let Some(row) = self.turns.rows.get_mut(index) {
            row.numbers.count(what, 1);
            self.turns.stats.count(what);
        }
    }

    fn beat_received(&mut self, index: u32, sequence: u32) {
        if let Some(row) = self.turns.rows.get(index).filter(|row| row.notes.asks_for(EventKind::BeatReceived)) {
            let event = Event { sequence, ..self.event(index, row, EventKind::BeatReceived, None) };
            self.turns.outbox.push(Item { event, wanted: true });
        }
    }

    pub(super) fn peer_state(&mut self, index: u32, changes: u32) {
        if let Some(row) = self.turns.rows.get(index).filter(|row| row.notes.asks_for(EventKind::PeerState)) {
            // As it is by now: who asks for it gets no other.
            let detail = row.states().map_or(0, AppStates::peers_length);
            let event = Event { detail, count: changes, ..self.event(index, row, EventKind::PeerState, None) };
            self.turns.outbox.push(Item { event, wanted: true });
        }
    }

    fn set_data(&mut self, key: Key, data: LinkData) {
        if let Some(row) = self.turns.rows.find_mut(key) {
            row.data = data;
        }
    }

    pub(super) fn close(&mut self, key: Key) {
        let Some(row) = self.turns.rows.remove(key) else { return };
        if row.beside.desk().is_some() {
            self.shard.desks.remove(key.index);
        }
        let hidden = row.is_hidden();
        if !hidden {
            self.turns.stats.count(Counted::Closed);
            self.turns.stats.moved(row.notes.counted(), None);
        }
        let wanted = row.notes.asks_for(EventKind::Closed);
        // Of a hidden one the application never knew.
        if hidden || !(wanted || self.engine.options.callbacks.release.is_some() || self.engine.logs()) {
            return self.turns.vacated.push(key);
        }
        let event = self.event(key.index, &row, EventKind::Closed, None);
        self.turns.outbox.push(Item { event, wanted });
    }

    fn stop(&mut self) {
        self.turns.ended = true;
        self.turns.places.clear();
        self.close_all();
    }

    fn close_all(&mut self) {
        for key in self.turns.rows.keys() {
            if let Some(words) = self.shard.table.words(key.index) {
                words.close(key.generation);
            }
            self.close(key);
        }
    }

    /// Steps a link: what its words say, then `input`. What is told of this very millisecond counts as told at its end.
    pub(super) fn visit(&mut self, index: u32, input: Option<Input>) {
        self.look(index, self.turns.clock.latest(), input);
    }

    fn look(&mut self, index: u32, due_by: Stamp, input: Option<Input>) {
        fault::point(Point::Turn);
        let Some(words) = self.shard.table.words(index) else { return };
        let now = self.turns.clock.latest();
        let next = self.look_at_progress(&words, index, now, input);
        self.unmute(&words, index, now);
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        words.keep_comparable(&mut row.opened, now);
        let stamps = Input::Stamps {
            received: Stamp(words.received.load(Ordering::Acquire)),
            sent: Stamp(words.sent.load(Ordering::Acquire)),
            open_since: row.beside.desk().and_then(|desk| desk.open_since()),
        };
        let deadline = match input {
            Some(input) => self.step(&words, index, due_by, Some(stamps), input),
            None => self.step(&words, index, due_by, None, stamps),
        };
        let deadline = self.carry(index, now, deadline);
        let deadline = deadline.into_iter().chain(next).reduce(Stamp::earliest);
        self.arm(index, deadline.unwrap_or(now.plus(REST_MS)));
    }

    /// Counts a link as what it is now.
    pub(super) fn note_state(&mut self, index: u32) {
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        let state = (!row.is_hidden()).then(|| row.state());
        let before = row.notes.counted();
        row.notes.count_as(state);
        if before != state {
            self.turns.stats.moved(before, state);
        }
    }

    pub(super) fn arm(&mut self, index: u32, deadline: Stamp) {
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        if row.queue(deadline) {
            self.turns.wheel.insert(index, deadline);
        }
    }

    /// Gives the core an input, and `stamps` before it, and makes true what comes of it. Gives the deadline that results.
    pub(super) fn step(
        &mut self,
        words: &Words<'_>,
        index: u32,
        due_by: Stamp,
        stamps: Option<Input>,
        input: Input,
    ) -> Option<Stamp> {
        let now = self.turns.clock.latest();
        let row = self.turns.rows.get_mut(index)?;
        let context = Context {
            policy: &row.policy,
            seed: self.engine.seed,
            // Of all links, in the order in which slots are taken.
            ordinal: index.wrapping_mul(self.engine.shards.len() as u32).wrapping_add(self.shard.number),
            tick_ms: self.engine.options.tick_ms,
            due_by,
            pause: self.turns.pause,
        };
        let before = row.link.evidence();
        let facts = |beside: &Beside, seen: Observed| Facts {
            // What a carried link's socket holds was read, as much as there was time for.
            unread_bytes: seen.unread_bytes.filter(|_| beside.carried().is_none()),
            send_queue_full: seen.send_queue_full,
            app_stuck: words.has(beat::STALE),
            refused: beside.carried().and_then(|carried| carried.talk.as_ref()).and_then(Talk::refused),
        };
        // Where there is no socket to look at, all that can be seen is seen at once.
        let blind = input == Input::Tick && row.beside.fd().is_none();
        let given = if blind { Input::Judge(facts(&row.beside, Observed::default())) } else { input };
        let (mut output, whole) = row.beside.with_side(|side| match stamps {
            Some(stamps) => row.link.step_twice(side, &context, now, stamps, given),
            None => (row.link.step(side, &context, now, given), true),
        });
        let partial_frame = output.partial_frame;
        let mut observed = None;
        if output.judge {
            let seen = row.beside.fd().map(observe).unwrap_or_default();
            observed = Some(seen);
            let judge = Input::Judge(facts(&row.beside, seen));
            output = row.beside.with_side(|side| row.link.step(side, &context, now, judge));
            output.partial_frame |= partial_frame;
        }
        let after = row.link.evidence();
        if after.state != before.state {
            self.note_state(index);
        }
        if after.misses > before.misses {
            self.count(index, Counted::Misses);
        }
        self.follow(words, index, &output, observed, input);
        if !whole {
            return self.step(words, index, due_by, None, input);
        }
        if let Some(notice) = output.notice {
            return self.hand_out(words, index, now, notice.attempt).or(output.deadline);
        }
        output.deadline
    }

    /// A beat is due: the application is told, unless it makes no progress. Gives the deadline that results, if it is
    /// another one.
    pub(super) fn hand_out(&mut self, words: &Words<'_>, index: u32, now: Stamp, attempt: u8) -> Option<Stamp> {
        let row = self.turns.rows.get_mut(index)?;
        row.beside.watch_mut().into_iter().for_each(|watch| watch.progress.attempt = attempt);
        if words.has(beat::MUTE) {
            return None;
        }
        if !row.notes.asks_for(EventKind::Send) || row.beside.carried().is_some() {
            // Nobody wants to be told: the application asks by itself, or the engine writes.
            return self.step(words, index, now, None, Input::HandedOut { at: now });
        }
        self.ask_to_take(index, u32::from(attempt));
        None
    }

    /// Makes true what a step came to.
    fn follow(&mut self, words: &Words<'_>, index: u32, output: &Output, observed: Option<Observed>, input: Input) {
        if output.withdraw {
            words.clear(beat::WANTED | beat::AGAIN);
        }
        if let Some(notice) = output.notice {
            self.turns.stats.count(Counted::BeatsDue);
            if let Some(sequence) = notice.sequence {
                words.sequence.store(sequence, Ordering::Relaxed);
            }
            words.clear(beat::AGAIN);
            words.set(beat::WANTED | if notice.sequence.is_some() { beat::AGAIN } else { 0 });
        }
        if let Some(answered) = output.answered {
            self.answered(words, index, answered, input);
        }
        if output.local_reader_late {
            self.turns.stats.count(Counted::ReadersLate);
            self.tell(index, EventKind::LocalReaderLate, observed);
        }
        if output.partial_frame {
            self.turns.stats.count(Counted::PartialFrames);
            self.tell(index, EventKind::PartialFrame, observed);
            self.turns.rows.get(index).and_then(|row| row.beside.desk()).into_iter().for_each(|desk| desk.unwatch());
        }
        // One that makes no progress was told of.
        if output.app_not_responding && !words.has(beat::STALE) {
            self.turns.stats.count(Counted::AppsNotResponding);
            self.tell(index, EventKind::AppNotResponding, observed);
        }
        if let Some(change) = output.change {
            self.changed(words, index, change, observed);
        }
    }

    fn changed(&mut self, words: &Words<'_>, index: u32, change: Change, observed: Option<Observed>) {
        if self.is_of_attempt(index, change) {
            return;
        }
        let now = self.turns.clock.latest();
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        row.state_since = now;
        let was_down = row.notes.note_down(matches!(change, Change::Down(_)));
        let kind = match change {
            Change::Up => {
                // A report that waits to be heard keeps its bit.
                words.clear(beat::SUSPECT | if was_down { beat::DOWN } else { 0 });
                self.turns.stats.count(Counted::Ups);
                EventKind::Up
            }
            Change::Suspect { .. } => {
                words.set(beat::SUSPECT);
                self.turns.stats.count(Counted::Suspects);
                EventKind::Suspect
            }
            Change::WouldBeDown(_) => {
                words.set(beat::SUSPECT);
                self.count(index, Counted::WouldBeDowns);
                EventKind::WouldBeDown
            }
            Change::Down(cause) => {
                words.set(beat::DOWN);
                words.clear(beat::SUSPECT | beat::WANTED | beat::AGAIN);
                self.turns.stats.count_down(cause);
                EventKind::Down
            }
        };
        self.tell(index, kind, observed);
        if let Change::Down(cause) = change {
            self.after_down(index, cause);
        }
    }

    fn answered(&mut self, words: &Words<'_>, index: u32, answered: Answered, input: Input) {
        let now = self.turns.clock.latest();
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        let Input::Answer { sequence, at, .. } = input else {
            return;
        };
        match answered {
            Answered::Late => self.count(index, Counted::AnswersLate),
            Answered::Unmatched => self.count(index, Counted::AnswersUnmatched),
            Answered::Matched { rtt_us } => {
                // An answer that claims to be older than its beat has no round-trip time.
                if let Some(rtt_us) = rtt_us.filter(|rtt_us| i32::try_from(*rtt_us).is_ok()) {
                    row.numbers.add_rtt(rtt_us);
                    self.turns.rtt.record(rtt_us.into());
                }
                row.beside.watch_mut().into_iter().for_each(|watch| watch.answered = Some(at));
                self.count(index, Counted::AnswersReceived);
                forward(words.received, at.earliest(now), || now);
                if let Some(row) = self.turns.rows.get(index).filter(|row| row.notes.asks_for(EventKind::Answer)) {
                    let event = Event { sequence, ..self.event(index, row, EventKind::Answer, None) };
                    self.turns.outbox.push(Item { event, wanted: true });
                }
            }
        }
    }

    pub(super) fn tell(&mut self, index: u32, kind: EventKind, observed: Option<Observed>) {
        let Some(row) = self.turns.rows.get(index) else { return };
        let wanted = row.notes.asks_for(kind);
        if wanted || self.engine.logs() {
            let event = self.event(index, row, kind, observed);
            self.turns.outbox.push(Item { event, wanted });
        }
    }

    pub(super) fn event(&self, index: u32, row: &Row, kind: EventKind, observed: Option<Observed>) -> Event {
        let now = self.turns.clock.latest();
        let evidence = row.link.evidence();
        let ages = self.shard.table.words(index).map(|words| Ages::of(row, &words, now));
        let verdict = matches!(kind, EventKind::Suspect | EventKind::Down | EventKind::WouldBeDown);
        let socket = row.beside.fd().filter(|_| verdict);
        let observed = observed.or_else(|| socket.map(observe)).unwrap_or_default();
        let tcp = socket.and_then(|fd| tcp_info(fd).ok()).filter(|info| info.state.is_some()).map(Box::new);
        Event {
            link: Some(LinkId::new(self.shard.number, row.key(index))),
            data: row.data,
            state: row.state(),
            cause: evidence.cause,
            tries: u32::from(evidence.misses),
            tries_max: row.policy.tries,
            sequence: evidence.sequence.unwrap_or_default(),
            detail: row.beside.detail(),
            rtt_us: row.numbers.rtt().known().map(|rtt| rtt.last_us),
            last_received_ms: ages.and_then(|ages| ages.received_ms),
            last_sent_ms: ages.and_then(|ages| ages.sent_ms),
            unread_bytes: observed.unread_bytes,
            send_queue_bytes: observed.send_queue_bytes,
            name: row.beside.name().cloned(),
            listener: row.listener(),
            tcp,
            ..Event::of_engine(kind, self.engine.clock.ns_of(now, self.turns.read_ns))
        }
    }
}
