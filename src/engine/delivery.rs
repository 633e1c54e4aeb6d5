//! From shard to application: two lanes of events, handed out one at a time.
//!
//! Lane 0 carries everything; when the application set `on_send`, SEND goes by lane 1 with a thread of its own.
//! UP and SUSPECT wait at most once a link, and so do the rarer kinds: a later one takes the place of the one that it makes
//! out of date, and counts for both. SEND waits once because the link's word says so. DOWN and CLOSED are never merged. CLOSED is held back while the other lane is inside a callback of that link.

use super::event::{Event, EventKind, LinkId};
use super::listener::ListenerId;
use super::memory::AHEAD;
use super::sync::{Condvar, Mutex, MutexGuard, lock};
use super::waiting::Waiting;
use crate::net::Signal;
use once_cell::sync::OnceCell;
use std::collections::HashMap;
use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// An event on its way.
pub struct Item {
    pub event: Event,
    /// The application asked for it; otherwise it is only logged.
    pub wanted: bool,
}

/// Who knows the links of events.
pub trait Gate {
    /// Whether an event that waited may still be handed out.
    fn is_alive(&self, event: &Event) -> bool;
    /// That will be asked of this one soon.
    fn announce(&self, _: &Event) {}
}

/// Which lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    Events = 0,
    Sends = 1,
}

/// The lanes.
pub struct Delivery {
    /// SEND has a lane of its own.
    split: bool,
    state: Mutex<State>,
    filled: [Condvar; 2],
    rested: Condvar,
    signal: OnceCell<Signal>,
}

/// What the lanes hold.
pub struct State {
    queues: [Queue; 2],
    /// CLOSED events of links that the sends' lane is inside of.
    held: Vec<Item>,
    /// No shard pushes any more.
    over: bool,
    /// Who pulls was told that nothing comes any more.
    told: bool,
    /// Threads that serve a lane.
    threads: u32,
    /// Threads that wait until the lanes are at rest, or ended: where there is none a change costs no system call.
    waiting: u32,
    /// The application's loop is wanted for another reason than events.
    nudged: bool,
    raised: bool,
}

#[derive(Default)]
struct Queue {
    items: Waiting<Item>,
    /// Where the event waits that a later one of its kind takes the place of.
    latest: HashMap<(u64, Class), u64>,
    /// The application is inside a callback of this link (0: of none in particular) since then.
    inside: Option<(u64, Instant)>,
    /// Threads that wait for an item.
    waiting: u32,
}

/// Kinds of which the latest is enough.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    Change,
    Alone(EventKind),
}

fn class(kind: EventKind) -> Option<Class> {
    match kind {
        EventKind::Up | EventKind::Suspect => Some(Class::Change),
        // The word of the link sees to it that SEND waits once.
        EventKind::Down | EventKind::Closed | EventKind::Send | EventKind::EngineFailed => None,
        other => Some(Class::Alone(other)),
    }
}

impl Queue {
    fn push(&mut self, mut item: Item) {
        let link = id(&item.event);
        if item.event.kind == EventKind::Down && !self.latest.is_empty() {
            // What comes after a verdict must not be moved before it.
            self.latest.remove(&(link, Class::Change));
        }
        if let Some(class) = class(item.event.kind) {
            // It goes to the end, where its time belongs, and counts for the one that it makes out of date.
            let before = self.latest.insert((link, class), self.items.end()).and_then(|at| self.items.take(at));
            if let Some(before) = before {
                item.event.count = item.event.count.saturating_add(before.event.count);
                item.wanted |= before.wanted;
            }
        }
        self.items.push(item);
        if self.items.is_sparse() {
            let latest = &mut self.latest;
            self.items.close_up(|item, before, now| {
                let key = class(item.event.kind).map(|class| (id(&item.event), class));
                key.and_then(|key| latest.get_mut(&key))
                    .filter(|at| **at == before)
                    .into_iter()
                    .for_each(|at| *at = now);
            });
        }
    }

    fn pop(&mut self) -> Option<Item> {
        let (at, item) = self.items.pop()?;
        if let Some(class) = class(item.event.kind) {
            let key = (id(&item.event), class);
            if self.latest.get(&key) == Some(&at) {
                self.latest.remove(&key);
            }
        }
        Some(item)
    }

    fn is_at_rest(&self) -> bool {
        self.items.is_empty() && self.inside.is_none()
    }
}

fn id(event: &Event) -> u64 {
    let listener = event.listener.map_or(0, |ListenerId(id)| id);
    event.link.map_or(listener, |LinkId(id)| id)
}

impl Delivery {
    pub fn new(split: bool) -> Self {
        let state = State {
            queues: [Queue::default(), Queue::default()],
            held: Vec::new(),
            over: false,
            told: false,
            threads: 0,
            waiting: 0,
            nudged: false,
            raised: false,
        };
        Self {
            split,
            state: Mutex::new(state),
            filled: [Condvar::new(), Condvar::new()],
            rested: Condvar::new(),
            signal: OnceCell::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn lane_of(&self, kind: EventKind) -> Lane {
        if self.split && kind == EventKind::Send { Lane::Sends } else { Lane::Events }
    }

    /// Takes all of `items` in order.
    pub fn push(&self, items: &mut Vec<Item>) {
        if items.is_empty() {
            return;
        }
        let mut state = self.lock();
        let mut filled = [false; 2];
        for item in items.drain(..) {
            let lane = self.lane_of(item.event.kind);
            filled[lane as usize] = true;
            state.queues[lane as usize].push(item);
        }
        self.wake(&mut state, filled);
    }

    /// Wakes who serves the lanes that have something new.
    fn wake(&self, state: &mut State, lanes: [bool; 2]) {
        self.show(state);
        for (lane, filled) in self.filled.iter().enumerate() {
            if lanes[lane] && state.queues[lane].waiting > 0 {
                filled.notify_one();
            }
        }
    }

    /// The next item of a lane, if it may still be handed out. The lane is inside its link until the next is asked
    /// for, or [`finish`](Self::finish).
    fn enter(&self, state: &mut State, lane: Lane, gate: &dyn Gate) -> Option<Item> {
        let item = self.pop(state, lane, gate)?;
        state.queues[lane as usize].inside = Some((id(&item.event), Instant::now()));
        Some(item)
    }

    /// The same without the lane being inside.
    fn pop(&self, state: &mut State, lane: Lane, gate: &dyn Gate) -> Option<Item> {
        while let Some(item) = state.queues[lane as usize].pop() {
            if let Some(later) = state.queues[lane as usize].items.ahead(AHEAD) {
                gate.announce(&later.event);
            }
            let link = id(&item.event);
            if item.event.kind == EventKind::Closed {
                if state.queues[Lane::Sends as usize].inside.is_some_and(|(inside, _)| inside == link) {
                    state.held.push(item);
                    continue;
                }
            } else if !gate.is_alive(&item.event) {
                continue;
            }
            return Some(item);
        }
        None
    }

    /// The next item, if there is one now. The lane is out of the callback of the one before.
    pub fn next(&self, lane: Lane, gate: &dyn Gate) -> Option<Item> {
        let mut state = self.lock();
        self.leave(&mut state, lane);
        let item = self.enter(&mut state, lane, gate);
        self.show(&mut state);
        if item.is_none() {
            self.rests(&state);
        }
        item
    }

    /// The next item, when it comes; `None` once nothing comes any more. The lane is out of the callback of the one before.
    pub fn next_or_end(&self, lane: Lane, gate: &dyn Gate) -> Option<Item> {
        let mut state = self.lock();
        self.leave(&mut state, lane);
        loop {
            let item = self.enter(&mut state, lane, gate);
            if item.is_some() || (state.over && (lane == Lane::Sends || state.held.is_empty())) {
                return item;
            }
            self.rests(&state);
            state = self.wait_for_items(state, lane, None);
        }
    }

    /// The lane is out of its callback, and goes into none now.
    pub fn finish(&self, lane: Lane) {
        let mut state = self.lock();
        self.leave(&mut state, lane);
        self.rests(&state);
    }

    fn leave(&self, state: &mut State, lane: Lane) {
        state.queues[lane as usize].inside = None;
        if lane == Lane::Sends && !state.held.is_empty() {
            let held = std::mem::take(&mut state.held);
            held.into_iter().for_each(|item| state.queues[Lane::Events as usize].push(item));
            self.wake(state, [true, false]);
        }
    }

    /// Fills `batch` with what waits for a puller, up to `capacity`; waits for the first item until `until`. The lane is
    /// inside the application until [`finish`](Self::finish).
    /// `false`: nothing comes any more.
    pub fn pull(&self, batch: &mut Vec<Item>, capacity: usize, until: Option<Instant>, gate: &dyn Gate) -> bool {
        let mut state = self.lock();
        loop {
            while batch.len() < capacity {
                let Some(item) = self.pop(&mut state, Lane::Events, gate) else {
                    break;
                };
                batch.push(item);
            }
            match batch.last() {
                Some(last) => state.queues[Lane::Events as usize].inside = Some((id(&last.event), Instant::now())),
                None => self.rests(&state),
            }
            let ended = state.over && state.held.is_empty();
            state.told |= ended && batch.is_empty();
            self.show(&mut state);
            if !batch.is_empty() || ended {
                return !batch.is_empty();
            }
            let Some(left) = until.map(|until| until.saturating_duration_since(Instant::now())) else {
                state = self.wait_for_items(state, Lane::Events, None);
                continue;
            };
            if left.is_zero() {
                return true;
            }
            state = self.wait_for_items(state, Lane::Events, Some(left));
        }
    }

    fn wait_for_items<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        lane: Lane,
        length: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        let filled = &self.filled[lane as usize];
        state.queues[lane as usize].waiting += 1;
        state = match length {
            None => filled.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(length) => filled.wait_timeout(state, length).unwrap_or_else(PoisonError::into_inner).0,
        };
        state.queues[lane as usize].waiting -= 1;
        state
    }

    /// Whether a puller would find something (or something that turns out stale).
    pub fn waits(&self) -> bool {
        !self.lock().queues[Lane::Events as usize].items.is_empty()
    }

    /// Waits until the lanes are at rest, that of the events only if it is not to be skipped; `false`: not by then.
    pub fn rest(&self, skip_events: bool, until: Option<Instant>) -> bool {
        self.wait_until(until, |state| {
            state.queues[Lane::Sends as usize].is_at_rest()
                && (skip_events || (state.queues[Lane::Events as usize].is_at_rest() && state.held.is_empty()))
        })
    }

    /// A lane's thread begins.
    pub fn thread_begins(&self) {
        self.lock().threads += 1;
    }

    /// A lane's thread ends.
    pub fn thread_ends(&self) {
        let mut state = self.lock();
        state.threads -= 1;
        self.rests(&state);
    }

    /// No shard pushes any more: lanes end when they are empty.
    pub fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        // From here on there is nothing to drive.
        state.nudged = false;
        self.wake(&mut state, [true, true]);
    }

    /// Waits until the lanes' threads have ended; `false`: not by then.
    pub fn ended(&self, until: Option<Instant>) -> bool {
        self.wait_until(until, |state| state.threads == 0)
    }

    fn wait_until(&self, until: Option<Instant>, done: impl Fn(&State) -> bool) -> bool {
        let mut state = self.lock();
        while !done(&state) {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            state.waiting += 1;
            state = match left {
                None => self.rested.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.rested.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            state.waiting -= 1;
        }
        true
    }

    /// Who waits for rest looks again.
    fn rests(&self, state: &State) {
        if state.waiting > 0 {
            self.rested.notify_all();
        }
    }

    /// For how many milliseconds each lane has been inside the application, and how many items wait.
    pub fn health(&self) -> (u32, u32, u32) {
        let state = self.lock();
        let inside_ms = |queue: &Queue| {
            queue.inside.map_or(0, |(_, since)| since.elapsed().as_millis().clamp(1, u128::from(u32::MAX)) as u32)
        };
        let [events, sends] = &state.queues;
        (inside_ms(events), inside_ms(sends), (events.items.len() + sends.items.len()) as u32)
    }

    /// A descriptor that is readable while there is something to pull, or the application's loop is wanted.
    pub fn readiness(&self) -> io::Result<i32> {
        let descriptor = self.signal.get_or_try_init(Signal::new)?.descriptor();
        self.show(&mut self.lock());
        Ok(descriptor)
    }

    /// The application's loop is wanted, or no longer.
    pub fn nudge(&self, wanted: bool) {
        let mut state = self.lock();
        state.nudged = wanted && !state.over;
        self.show(&mut state);
    }

    fn show(&self, state: &mut State) {
        let Some(signal) = self.signal.get() else { return };
        let wanted =
            state.nudged || (state.over && !state.told) || !state.queues[Lane::Events as usize].items.is_empty();
        match (wanted, state.raised) {
            (true, false) => signal.raise(),
            (false, true) => signal.lower(),
            _ => {}
        }
        state.raised = wanted;
    }
}
