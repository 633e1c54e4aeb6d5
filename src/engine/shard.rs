//! One shard: its links, their wheel, and the turn that moves them. All judgement happens here, on one thread at a
//! time; no code of the application ever runs under its lock.

use super::Inner;
use super::command::{Command, Opening, Said, mask};
use super::delivery::Item;
use super::desk::Desks;
use super::error::{Code, Error};
use super::event::{Event, EventKind, LinkId};
use super::rows::{Row, Rows, Tally};
use super::sys;
use super::table::{Key, Table, Words, beat, forward};

use crate::core::{Answered, Cause, Change, Clock, Context, Facts, Input, Link, Output, Pause, Stamp, Wheel};
use crate::net::{Observed, observe};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Links that one turn looks at before it hands over what it found and lets others at its lock.
const TURN: usize = 4096;
/// A shard that turns this much later than it meant to was stopped, not busy.
const PAUSE_MS: u64 = 500;
/// A shard that sleeps is woken after this many commands, so that they do not pile up.
const MANY: u64 = 1024;
/// The longest sleep, and the longest step of time: stamps must stay comparable.
const SLEEP_MS: u32 = 1 << 29;
const STRIDE_NS: u64 = SLEEP_MS as u64 * 1_000_000;
/// A link that wants nothing is looked at all the same, so that its stamps stay comparable.
const REST_MS: u32 = 1 << 30;

/// What other threads see of a shard.
pub struct Shard {
    pub number: u32,
    pub table: Table,
    pub desks: Desks,
    commands: Sender<Command>,
    wake: Sender<()>,
    woken: Receiver<()>,
    /// Opens that wait in the queue.
    opening: AtomicU32,
    /// Commands ever sent: tells whether anything was said meanwhile.
    posted: AtomicU64,
    /// When the shard means to turn next; `u64::MAX`: when it is woken.
    planned_ns: AtomicU64,
    turns: Mutex<Turns>,
}

/// What a turn works on.
pub struct Turns {
    inbox: Receiver<Command>,
    rows: Rows,
    wheel: Wheel,
    clock: Clock,
    due: Vec<u32>,
    outbox: Vec<Item>,
    barriers: Vec<Sender<()>>,
    pause: Option<Pause>,
    /// When the clock was last read.
    read_ns: u64,
    suspended_ns: u64,
    ended: bool,
}

/// What comes after a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// There is more to do now.
    Again,
    /// Nothing before this moment of the engine's clock; `None`: nothing unless told.
    At(Option<u64>),
    /// All links are closed.
    Ended,
}

impl Shard {
    pub fn new(number: u32, links: u32, seed: u64, clock: &super::Clock, tick_ms: u32) -> Self {
        let start_ns = clock.now_ns();
        let start = clock.floor(start_ns);
        let (commands, inbox) = unbounded();
        let (wake, woken) = bounded(1);
        Self {
            number,
            table: Table::new(links, seed),
            desks: Desks::new(),
            commands,
            wake,
            woken,
            opening: AtomicU32::new(0),
            posted: AtomicU64::new(0),
            planned_ns: AtomicU64::new(u64::MAX),
            turns: Mutex::new(Turns {
                inbox,
                rows: Rows::default(),
                wheel: Wheel::new(start, tick_ms),
                clock: Clock::new(start),
                due: Vec::new(),
                outbox: Vec::new(),
                barriers: Vec::new(),
                pause: None,
                read_ns: start_ns,
                suspended_ns: sys::suspended_ns(),
                ended: false,
            }),
        }
    }

    /// Says something that must be acted upon now.
    pub fn tell(&self, command: Command) {
        self.note(command);
        self.rouse();
    }

    /// Says something that matters at the next turn, whenever that is.
    /// `true`: so much was said that it has been woken all the same.
    pub fn note(&self, command: Command) -> bool {
        let many = self.posted.fetch_add(1, Ordering::Relaxed) % MANY == MANY - 1;
        // The receiver lives as long as the shard.
        let _ = self.commands.send(command);
        if many {
            self.rouse();
        }
        many
    }

    /// Opens need room; nothing else does.
    pub fn open(&self, opening: Box<Opening>) {
        self.opening.fetch_add(1, Ordering::Relaxed);
        self.tell(Command::Open(opening));
    }

    pub fn opens_waiting(&self) -> u32 {
        self.opening.load(Ordering::Relaxed)
    }

    pub fn rouse(&self) {
        match self.wake.try_send(()) {
            // Full: it will wake anyway.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    /// Says something about a link; wakes the shard if it waits for news of it.
    /// `true`: it was woken.
    pub fn news(&self, words: &Words<'_>, key: Key, said: Said) -> bool {
        let many = self.note(Command::Link(key, said));
        fence(Ordering::SeqCst);
        let waits = words.has(beat::SUSPECT);
        if waits {
            self.rouse();
        }
        many || waits
    }

    /// When the shard means to turn next; `u64::MAX`: when it is told something. Told something already: at once.
    pub fn planned_ns(&self) -> u64 {
        if self.commands.is_empty() { self.planned_ns.load(Ordering::Relaxed) } else { 0 }
    }

    pub fn posted(&self) -> u64 {
        self.posted.load(Ordering::Relaxed)
    }

    /// A receiver that disconnects once everything said so far has been acted upon.
    pub fn barrier(&self) -> Receiver<()> {
        let (answer, done) = bounded(0);
        let _ = self.commands.send(Command::Barrier(answer));
        self.rouse();
        done
    }

    /// How much later than it meant to the shard would turn now.
    pub fn behind_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.planned_ns.load(Ordering::Relaxed))
    }

    pub fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One turn at the engine's present time.
    pub fn turn(&self, engine: &Inner) -> Next {
        let mut turns = self.turns();
        let next = turns.turn(engine, self);
        self.plan(engine, next);
        if next != Next::Again {
            // Who waits for rest may look at the plan.
            turns.barriers.clear();
        }
        next
    }

    fn plan(&self, engine: &Inner, next: Next) {
        let planned_ns = match next {
            Next::Again => engine.clock.now_ns(),
            Next::At(Some(at_ns)) => at_ns,
            Next::At(None) | Next::Ended => u64::MAX,
        };
        self.planned_ns.store(planned_ns, Ordering::Relaxed);
    }

    /// What a shard's thread does until the engine stops.
    pub fn serve(&self, engine: &Inner) {
        loop {
            match self.turn(engine) {
                Next::Ended => return,
                Next::Again => {}
                Next::At(at_ns) => self.sleep(engine, at_ns),
            }
        }
    }

    fn sleep(&self, engine: &Inner, at_ns: Option<u64>) {
        if engine.clock.is_manual() {
            let _ = self.woken.recv();
            return;
        }
        let left_ns = at_ns.map_or(STRIDE_NS, |at_ns| at_ns.saturating_sub(engine.clock.now_ns()).min(STRIDE_NS));
        if left_ns > 0 {
            let _ = self.woken.recv_timeout(std::time::Duration::from_nanos(left_ns));
        }
    }

    /// Looks at a link after everything said so far has been acted upon.
    pub fn look<T>(
        &self,
        engine: &Inner,
        key: Key,
        look: impl FnOnce(&Row, &Words<'_>, Stamp) -> T,
    ) -> Result<T, Error> {
        let mut turns = self.turns();
        let said = turns.inbox.len();
        turns.take_time(engine);
        turns.notice_pause(engine, self);
        let now = turns.clock.latest();
        turns.hear(engine, self, said);
        let row = turns.rows.get(key.index).filter(|row| row.key == key);
        let words = self.table.find(key);
        let seen = row.zip(words).map(|(row, words)| look(row, &words, now));
        engine.delivery.push(&mut turns.outbox);
        self.plan(engine, turns.plan(engine));
        drop(turns);
        // What was heard may be due before the shard meant to turn.
        self.rouse();
        seen.ok_or_else(Error::no_link)
    }
}

impl Turns {
    /// Reads the clock. The time of what happens is rounded up, as all stamps are; the time for which deadlines are due,
    /// the one given here, is rounded down: nothing is ever early.
    fn take_time(&mut self, engine: &Inner) -> Stamp {
        let now_ns = engine.clock.now_ns();
        // After weeks without a turn in steps over which stamps can be compared.
        while now_ns.saturating_sub(self.read_ns) > STRIDE_NS {
            self.read_ns += STRIDE_NS;
            self.clock.clamp(engine.clock.ceil(self.read_ns));
            let step = engine.clock.floor(self.read_ns);
            while self.wheel.advance(step, &mut self.rows, &mut self.due, TURN) {}
        }
        self.read_ns = self.read_ns.max(now_ns);
        self.clock.clamp(engine.clock.ceil(now_ns));
        engine.clock.floor(now_ns)
    }

    fn turn(&mut self, engine: &Inner, shard: &Shard) -> Next {
        // Counted before the clock is read: what is heard lies in the past, and is not taken for earlier than it was.
        let said = self.inbox.len();
        let due_by = self.take_time(engine);
        self.notice_pause(engine, shard);
        self.hear(engine, shard, said);
        let mut due = std::mem::take(&mut self.due);
        let cut = self.wheel.advance(due_by, &mut self.rows, &mut due, TURN);
        for index in due.drain(..) {
            self.visit(engine, shard, index, Some(Input::Tick));
        }
        self.due = due;
        engine.delivery.push(&mut self.outbox);
        // Pairs with the fence in `news`: either the flag raised above is seen there, or the command is seen here.
        fence(Ordering::SeqCst);
        if cut || !self.inbox.is_empty() {
            return Next::Again;
        }
        if self.ended {
            return Next::Ended;
        }
        self.plan(engine)
    }

    /// When something is due next.
    fn plan(&mut self, engine: &Inner) -> Next {
        let now_ns = engine.clock.now_ns();
        let now = engine.clock.floor(now_ns);
        if !self.due.is_empty() {
            return Next::Again;
        }
        match self.wheel.next_due(&self.rows) {
            Some(due) if !due.is_after(now) => Next::Again,
            Some(due) => Next::At(Some(engine.clock.ns_of(due.earliest(now.plus(SLEEP_MS)), now_ns))),
            None => Next::At(None),
        }
    }

    /// Rule k: a turn much later than planned, or a suspend, is our own absence, not the peers'.
    fn notice_pause(&mut self, engine: &Inner, shard: &Shard) {
        let now_ns = engine.clock.now_ns();
        let late_ms = shard.behind_ns(now_ns) / 1_000_000;
        let suspended_ns = if engine.clock.is_manual() { 0 } else { sys::suspended_ns() };
        let asleep_ms = suspended_ns.saturating_sub(self.suspended_ns) / 1_000_000;
        self.suspended_ns = suspended_ns;
        let length_ms = late_ms.max(asleep_ms);
        if length_ms <= PAUSE_MS {
            return;
        }
        let length_ms = u32::try_from(length_ms).unwrap_or(u32::MAX);
        let epoch = self.pause.map_or(0, |pause| pause.epoch.wrapping_add(1));
        self.pause = Some(Pause { epoch, ended: self.clock.latest(), length_ms });
        let event = Event { detail: length_ms, ..engine.event(EventKind::Pause, now_ns) };
        self.outbox.extend(engine.item(event));
    }

    /// Acts upon the next `count` things that were said.
    fn hear(&mut self, engine: &Inner, shard: &Shard, count: usize) {
        // What is said meanwhile waits for the next turn: a busy caller must not hold up the others' deadlines.
        for _ in 0..count {
            let Ok(command) = self.inbox.try_recv() else { return };
            match command {
                Command::Open(opening) => self.open(engine, shard, *opening),
                Command::Link(key, said) => self.hear_of(engine, shard, key, said),
                Command::Barrier(answer) => self.barriers.push(answer),
                Command::Stop => self.stop(engine, shard),
            }
        }
    }

    fn open(&mut self, engine: &Inner, shard: &Shard, opening: Opening) {
        shard.opening.fetch_sub(1, Ordering::Relaxed);
        let index = opening.key.index;
        let now = self.clock.latest();
        self.rows.insert(Row {
            key: opening.key,
            link: Link::new(opening.opened),
            side: None,
            queued: None,
            policy: opening.policy,
            ordinal: opening.ordinal,
            events: opening.events,
            data: opening.data,
            name: opening.name,
            fd: opening.fd,
            desk: opening.desk,
            opened: opening.opened,
            state_since: now,
            cause: None,
            detail: 0,
            tally: Tally::default(),
        });
        if opening.start {
            self.visit(engine, shard, index, Some(Input::Start { at: opening.opened }));
        }
    }

    fn hear_of(&mut self, engine: &Inner, shard: &Shard, key: Key, said: Said) {
        let Some(row) = self.rows.get_mut(key.index).filter(|row| row.key == key) else {
            return;
        };
        let input = match said {
            Said::Close => return self.close(engine, shard, key),
            Said::Look => return self.visit(engine, shard, key.index, None),
            Said::Start { at } => return self.start(engine, shard, key.index, at),
            Said::Pause => Input::Pause,
            Said::Answer { sequence, at, at_us } => Input::Answer { sequence, at, at_us },
            Said::BeatReceived { sequence, at } => {
                self.beat_received(engine, shard, key.index, sequence);
                Input::BeatReceived { at }
            }
            Said::HandedOut { at } => Input::HandedOut { at },
            Said::Taken { sequence, at, at_us } => {
                row.tally.beats_sent = row.tally.beats_sent.wrapping_add(1);
                Input::Taken { sequence, at, at_us }
            }
            Said::Sent { at } => Input::Sent { at },
            Said::Unsent { at, counted } => {
                row.tally.beats_sent = row.tally.beats_sent.wrapping_sub(u32::from(counted));
                Input::Unsent { at }
            }
            Said::Desync => Input::Desync,
            Said::Report { cause, detail } => {
                if row.cause.is_none() {
                    row.detail = detail;
                }
                Input::Report(cause)
            }
            Said::Policy(policy) => {
                let before = std::mem::replace(&mut row.policy, policy);
                Input::Policy(*before)
            }
        };
        self.visit(engine, shard, key.index, Some(input));
    }

    fn start(&mut self, engine: &Inner, shard: &Shard, index: u32, at: Stamp) {
        shard.table.words(index).map(|words| words.clear(beat::PAUSED));
        self.visit(engine, shard, index, Some(Input::Start { at }));
        // Beats of the peer that came before the start are answered now.
        let Some(row) = self.rows.get(index) else { return };
        let owes = row.desk.as_ref().is_some_and(|desk| desk.owes());
        let Some(words) = shard.table.words(index) else { return };
        if owes && row.events & mask(EventKind::Send) != 0 && words.set(beat::QUEUED) == 0 {
            let event = self.event(engine, shard, row, EventKind::Send, None);
            self.outbox.push(Item { event, wanted: true });
        }
    }

    fn beat_received(&mut self, engine: &Inner, shard: &Shard, index: u32, sequence: u32) {
        let Some(row) = self.rows.get_mut(index) else { return };
        if row.desk.is_none() {
            row.tally.beats_received = row.tally.beats_received.wrapping_add(1);
        }
        if let Some(row) = self.rows.get(index).filter(|row| row.events & mask(EventKind::BeatReceived) != 0) {
            let event = Event { sequence, ..self.event(engine, shard, row, EventKind::BeatReceived, None) };
            self.outbox.push(Item { event, wanted: true });
        }
    }

    fn close(&mut self, engine: &Inner, shard: &Shard, key: Key) {
        let Some(row) = self.rows.remove(key) else { return };
        shard.desks.remove(key.index);
        let event = self.event(engine, shard, &row, EventKind::Closed, None);
        self.outbox.push(Item { event, wanted: row.events & mask(EventKind::Closed) != 0 });
    }

    fn stop(&mut self, engine: &Inner, shard: &Shard) {
        for key in self.rows.keys() {
            if let Some(words) = shard.table.words(key.index) {
                words.close(key.generation);
            }
            self.close(engine, shard, key);
        }
        self.ended = true;
    }

    /// Steps a link: what its words say, then `input`.
    fn visit(&mut self, engine: &Inner, shard: &Shard, index: u32, input: Option<Input>) {
        let Some(words) = shard.table.words(index) else { return };
        let now = self.clock.latest();
        let Some(row) = self.rows.get_mut(index) else { return };
        words.keep_comparable(&mut row.opened, now);
        let stamps = Input::Stamps {
            received: Stamp(words.received.load(Ordering::Acquire)),
            sent: Stamp(words.sent.load(Ordering::Acquire)),
            open_since: row.desk.as_ref().and_then(|desk| desk.open_since()),
        };
        let mut deadline = self.step(engine, shard, &words, index, now, stamps);
        if let Some(input) = input {
            deadline = self.step(engine, shard, &words, index, now, input);
        }
        self.arm(index, deadline.unwrap_or(now.plus(REST_MS)));
    }

    fn arm(&mut self, index: u32, deadline: Stamp) {
        let Some(row) = self.rows.get_mut(index) else { return };
        // Lazily: a look that is planned earlier finds out by itself that there is time.
        if row.queued.is_none_or(|queued| queued.is_after(deadline)) {
            row.queued = Some(deadline);
            self.wheel.insert(index, deadline);
        }
    }

    fn step(
        &mut self,
        engine: &Inner,
        shard: &Shard,
        words: &Words<'_>,
        index: u32,
        now: Stamp,
        input: Input,
    ) -> Option<Stamp> {
        let row = self.rows.get_mut(index)?;
        let context = Context {
            policy: &row.policy,
            seed: engine.seed,
            ordinal: row.ordinal,
            tick_ms: engine.options.tick_ms,
            pause: self.pause,
        };
        let mut output = row.link.step(&mut row.side, &context, now, input);
        let partial_frame = output.partial_frame;
        let mut observed = None;
        if output.judge {
            let seen = row.fd.map(observe).unwrap_or_default();
            observed = Some(seen);
            let facts = Facts { unread_bytes: seen.unread_bytes, send_queue_full: seen.send_queue_full };
            output = row.link.step(&mut row.side, &context, now, Input::Judge(facts));
            output.partial_frame |= partial_frame;
        }
        self.follow(engine, shard, words, index, &output, observed, input);
        if let Some(notice) = output.notice {
            let row = self.rows.get(index)?;
            if row.events & mask(EventKind::Send) == 0 {
                // Nobody wants to be told: the application asks by itself.
                return self.step(engine, shard, words, index, now, Input::HandedOut { at: now });
            }
            if words.set(beat::QUEUED) == 0 {
                let tries = u32::from(notice.attempt);
                let event = Event { tries, ..self.event(engine, shard, row, EventKind::Send, None) };
                self.outbox.push(Item { event, wanted: true });
            }
        }
        output.deadline
    }

    /// Makes true what a step came to.
    #[allow(clippy::too_many_arguments, reason = "one call, in step, which has all of it at hand")]
    fn follow(
        &mut self,
        engine: &Inner,
        shard: &Shard,
        words: &Words<'_>,
        index: u32,
        output: &Output,
        observed: Option<Observed>,
        input: Input,
    ) {
        if output.withdraw {
            words.clear(beat::WANTED | beat::AGAIN);
        }
        if let Some(notice) = output.notice {
            if let Some(sequence) = notice.sequence {
                words.sequence.store(sequence, Ordering::Relaxed);
            }
            words.clear(beat::AGAIN);
            words.set(beat::WANTED | if notice.sequence.is_some() { beat::AGAIN } else { 0 });
        }
        if let Some(answered) = output.answered {
            self.answered(engine, shard, words, index, answered, input);
        }
        if output.local_reader_late {
            self.tell(engine, shard, index, EventKind::LocalReaderLate, observed);
        }
        if output.partial_frame {
            self.tell(engine, shard, index, EventKind::PartialFrame, observed);
            self.rows.get(index).and_then(|row| row.desk.as_ref()).into_iter().for_each(|desk| desk.unwatch());
        }
        if output.app_not_responding {
            self.tell(engine, shard, index, EventKind::AppNotResponding, observed);
        }
        if let Some(change) = output.change {
            self.changed(engine, shard, words, index, change, observed);
        }
    }

    fn changed(
        &mut self,
        engine: &Inner,
        shard: &Shard,
        words: &Words<'_>,
        index: u32,
        change: Change,
        observed: Option<Observed>,
    ) {
        let now = self.clock.latest();
        let Some(row) = self.rows.get_mut(index) else { return };
        row.state_since = now;
        let was_down = row.cause.take().is_some();
        let kind = match change {
            Change::Up => {
                // A report that waits to be heard keeps its bit.
                words.clear(beat::SUSPECT | if was_down { beat::DOWN } else { 0 });
                EventKind::Up
            }
            Change::Suspect { .. } => {
                row.tally.misses = row.tally.misses.wrapping_add(1);
                words.set(beat::SUSPECT);
                EventKind::Suspect
            }
            Change::Down(cause) => {
                let missed = matches!(cause, Cause::NoAnswer | Cause::SendStuck | Cause::PartialFrame);
                row.tally.misses = row.tally.misses.wrapping_add(u32::from(missed));
                row.cause = Some(cause);
                words.set(beat::DOWN);
                words.clear(beat::SUSPECT | beat::WANTED | beat::AGAIN);
                EventKind::Down
            }
        };
        self.tell(engine, shard, index, kind, observed);
    }

    fn answered(
        &mut self,
        engine: &Inner,
        shard: &Shard,
        words: &Words<'_>,
        index: u32,
        answered: Answered,
        input: Input,
    ) {
        let now = self.clock.latest();
        let Some(row) = self.rows.get_mut(index) else { return };
        let tally = &mut row.tally;
        let Input::Answer { sequence, at, .. } = input else {
            return;
        };
        match answered {
            Answered::Late => tally.answers_late = tally.answers_late.wrapping_add(1),
            Answered::Unmatched => tally.answers_unmatched = tally.answers_unmatched.wrapping_add(1),
            Answered::Matched { rtt_us } => {
                tally.answers_received = tally.answers_received.wrapping_add(1);
                // An answer that claims to be older than its beat has no round-trip time.
                rtt_us
                    .filter(|rtt_us| i32::try_from(*rtt_us).is_ok())
                    .into_iter()
                    .for_each(|rtt_us| tally.add_rtt(rtt_us));
                forward(words.received, at.earliest(now), || now);
                if let Some(row) = self.rows.get(index).filter(|row| row.events & mask(EventKind::Answer) != 0) {
                    let event = Event { sequence, ..self.event(engine, shard, row, EventKind::Answer, None) };
                    self.outbox.push(Item { event, wanted: true });
                }
            }
        }
    }

    fn tell(&mut self, engine: &Inner, shard: &Shard, index: u32, kind: EventKind, observed: Option<Observed>) {
        let Some(row) = self.rows.get(index) else { return };
        let wanted = row.events & mask(kind) != 0;
        if wanted || engine.logs() {
            let event = self.event(engine, shard, row, kind, observed);
            self.outbox.push(Item { event, wanted });
        }
    }

    fn event(&self, engine: &Inner, shard: &Shard, row: &Row, kind: EventKind, observed: Option<Observed>) -> Event {
        let now = self.clock.latest();
        let evidence = row.link.evidence();
        let ages = shard.table.words(row.key.index).map(|words| Ages::of(row, &words, now));
        let observed = observed.unwrap_or_else(|| match kind {
            EventKind::Suspect | EventKind::Down => row.fd.map(observe).unwrap_or_default(),
            _ => Observed::default(),
        });
        Event {
            link: Some(LinkId::new(shard.number, row.key)),
            data: row.data,
            state: evidence.state,
            cause: row.cause,
            tries: u32::from(evidence.misses),
            tries_max: row.policy.tries,
            sequence: evidence.sequence.unwrap_or_default(),
            detail: row.detail,
            rtt_us: row.tally.rtt_us(),
            last_received_ms: ages.and_then(|ages| ages.received_ms),
            last_sent_ms: ages.and_then(|ages| ages.sent_ms),
            unread_bytes: observed.unread_bytes,
            send_queue_bytes: observed.send_queue_bytes,
            name: row.name.clone(),
            ..engine.event(kind, engine.clock.ns_of(now, engine.clock.now_ns()))
        }
    }
}

/// How long ago a link was last heard and last written to; `None`: never.
#[derive(Clone, Copy)]
pub struct Ages {
    pub received_ms: Option<u32>,
    pub sent_ms: Option<u32>,
}

impl Ages {
    pub fn of(row: &Row, words: &Words<'_>, now: Stamp) -> Self {
        let age = |word: &AtomicU32| {
            let at = Stamp(word.load(Ordering::Relaxed));
            (at != row.opened).then(|| now.since(at).max(0) as u32)
        };
        Self { received_ms: age(words.received), sent_ms: age(words.sent) }
    }
}

impl Error {
    pub(super) fn no_link() -> Self {
        Self::new(Code::NoLink, "the link is closed, was never opened, or belongs to another engine")
    }
}
