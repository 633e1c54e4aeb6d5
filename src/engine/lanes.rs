//! Handing events out: the threads of the lanes, and what happens around each callback.

use super::Inner;
use super::command::{Command, Said};
use super::delivery::{Gate, Item, Lane};
use super::event::{Event, EventKind, LinkId};
use super::fault::{self, Point};
use super::options::{Level, OnPanic};
use super::shard::Shard;
use super::sync::{Mutex, MutexGuard, lock};
use super::table::beat;
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A callback that stays longer inside the application is named in the log.
const LONG: Duration = Duration::from_secs(1);

thread_local! {
    /// The engine inside whose callback this thread is, 0 for none.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
    /// Those around it, outermost first: a callback of one engine may drive another. Neither has a destructor, so that
    /// exit handlers, and destructors of a thread's own data, may call hbeat; it holds no memory unless it holds an engine.
    static AROUND: RefCell<ManuallyDrop<Vec<usize>>> = const { RefCell::new(ManuallyDrop::new(Vec::new())) };
}

impl Inner {
    /// Whether the calling thread is inside a callback of this engine.
    pub(super) fn is_inside(&self) -> bool {
        let engine = self.address();
        INSIDE.get() == engine || AROUND.with_borrow(|engines| engines.contains(&engine))
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn inside<T>(&self, call: impl FnOnce() -> T) -> T {
        /// Takes the engine off again, also when the callback panics.
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                AROUND.with_borrow_mut(|engines| {
                    INSIDE.set(engines.pop().unwrap_or(0));
                    if engines.is_empty() {
                        engines.shrink_to_fit();
                    }
                });
            }
        }
        let around = INSIDE.replace(self.address());
        if around != 0 {
            AROUND.with_borrow_mut(|engines| engines.push(around));
        }
        let _leave = Leave;
        call()
    }

    /// What a shard's thread does. After a panic it goes on, to close links.
    pub(super) fn serve_shard(&self, number: usize) {
        while self.guarded(|| self.shards[number].serve(self)).is_none() {}
    }

    /// Runs what is ours. A panic in it is a bug of ours: the engine fails and says so, the process goes on.
    pub(super) fn guarded<T>(&self, body: impl FnOnce() -> T) -> Option<T> {
        catch_unwind(AssertUnwindSafe(body)).inspect_err(|_| self.fail()).ok()
    }

    pub(super) fn fail(&self) {
        if self.options.on_panic == OnPanic::Abort {
            std::process::abort();
        }
        // In a forked child a lock may be held by a thread that did not come along.
        if !self.failed.swap(true, Ordering::AcqRel) && self.check_fork().is_ok() {
            let event = Event::of_engine(EventKind::EngineFailed, self.clock.now_ns());
            self.delivery.push(&mut self.item(event).into_iter().collect());
        }
    }

    pub(super) fn serve_lane(&self, lane: Lane) {
        while let Some(item) = self.delivery.next_or_end(lane, self) {
            self.hand_out(lane, &item);
        }
        self.delivery.thread_ends();
    }

    /// Hands out on the calling thread what waits for callbacks; says whether there was anything.
    pub(super) fn hand_out_here(&self) -> bool {
        let mut any = false;
        for (lane, _) in self.served_lanes() {
            while let Some(item) = self.delivery.next(lane, self) {
                self.hand_out(lane, &item);
                any = true;
            }
        }
        any
    }

    /// A panic on the way (C callbacks cannot unwind, Rust ones should not) ends neither the lane nor the call that
    /// hands out: links are still owed their last event.
    fn hand_out(&self, lane: Lane, item: &Item) {
        self.guarded(|| self.log_event(&item.event));
        self.guarded(|| self.call_back(lane, item));
    }

    /// Whether it is CLOSED, an event of the engine, or its link is still open: it may have been closed since the event
    /// left its lane.
    pub(super) fn is_open(&self, event: &Event) -> bool {
        event.kind == EventKind::Closed
            || self.shard_of(event).is_none_or(|(shard, link)| shard.table.find(link.key()).is_some())
    }

    fn shard_of(&self, event: &Event) -> Option<(&Shard, LinkId)> {
        let link = event.link?;
        Some((self.shards.get(link.shard())?, link))
    }

    fn call_back(&self, lane: Lane, item: &Item) {
        let callbacks = &self.options.callbacks;
        let (callback, name) = match lane {
            Lane::Events => (&callbacks.on_event, "on_event"),
            Lane::Sends => (&callbacks.on_send, "on_send"),
        };
        if !self.conclude(item) || !self.is_open(&item.event) {
            return;
        }
        let Some(callback) = callback else { return };
        fault::point(Point::BeforeCallback);
        let begun = Instant::now();
        self.inside(|| callback(&item.event));
        let stay = begun.elapsed();
        fault::point(Point::AfterCallback);
        if stay > LONG {
            let link = item.event.subject();
            self.log(
                Level::Warning,
                &format!("{name} was inside the application for {:.1}s ({link})", stay.as_secs_f64()),
            );
        }
        self.after(&item.event);
    }

    /// What is due before an event reaches the application; `false`: it does not.
    pub(super) fn conclude(&self, item: &Item) -> bool {
        let event = &item.event;
        if event.kind == EventKind::Closed {
            if let Some(release) = &self.options.callbacks.release {
                self.inside(|| release(event.data));
            }
            if self.options.callbacks.release.is_some() || !item.wanted {
                self.after(event);
                return false;
            }
        }
        item.wanted
    }

    /// What is due after it did.
    pub(super) fn after(&self, event: &Event) {
        let Some((shard, link)) = self.shard_of(event) else { return };
        match event.kind {
            // Not before the callback returned: while it hangs, the application was not told (rule l).
            // A beat that was taken by now tells it, too, and where a newer notice waits, that one will be told of.
            EventKind::Send
                if shard
                    .table
                    .find(link.key())
                    .is_some_and(|words| words.has(beat::WANTED) && !words.has(beat::QUEUED)) =>
            {
                let at = self.clock.ceil(self.clock.now_ns());
                shard.note(Command::Link(link.key(), Said::HandedOut { at }));
            }
            EventKind::Closed => {
                self.links.fetch_sub(1, Ordering::Relaxed);
                shard.table.vacate([link.key()], self.clock.now_ns());
            }
            _ => {}
        }
    }

    /// One line a change of state, and one for whatever an operator should know.
    pub(super) fn log_event(&self, event: &Event) {
        let level = match event.kind {
            EventKind::Send | EventKind::Answer | EventKind::BeatReceived | EventKind::PeerState => return,
            EventKind::Up | EventKind::Closed | EventKind::Connecting => Level::Info,
            _ => Level::Warning,
        };
        if self.logs() {
            self.log(level, &event.to_string());
        }
    }

    fn log(&self, level: Level, line: &str) {
        if let Some(on_log) = &self.options.callbacks.on_log {
            self.inside(|| on_log(level, line));
        }
    }

    /// An event of the engine as the lanes take it, if anybody wants it.
    pub(super) fn item(&self, event: Event) -> Option<Item> {
        let wanted = self.options.events & event.kind.bit() != 0;
        (wanted || self.logs()).then_some(Item { event, wanted })
    }

    /// The lock of who pulls or drives, if nobody has it.
    pub(super) fn alone<'a>(&self, mutex: &'a Mutex<()>, call: &str) -> Result<MutexGuard<'a, ()>, super::Error> {
        use std::sync::TryLockError;
        match mutex.try_lock() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(super::Error::new(super::Code::Busy, format!("another thread is inside {call}")))
            }
        }
    }

    /// The lock of who drives, once it is free; `None`: not by then.
    pub(super) fn driver_by(&self, until: Option<Instant>) -> Option<MutexGuard<'_, ()>> {
        let Some(until) = until else { return Some(lock(&self.driver)) };
        loop {
            if let Ok(driver) = self.alone(&self.driver, "drive") {
                return Some(driver);
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Gate for Inner {
    /// Its link is open, and a beat is still wanted.
    fn is_alive(&self, event: &Event) -> bool {
        let Some((shard, link)) = self.shard_of(event) else {
            return true;
        };
        let Some(words) = shard.table.find(link.key()) else {
            return false;
        };
        if event.kind != EventKind::Send {
            return true;
        }
        words.clear(beat::QUEUED);
        let owed = words.has(beat::OWED) && !words.has(beat::PAUSED | beat::OBSERVED);
        (words.has(beat::WANTED) || owed) && !words.has(beat::MUTE)
    }

    fn announce(&self, event: &Event) {
        if let Some((shard, link)) = self.shard_of(event) {
            shard.table.fetch_words(link.key().index);
        }
    }
}
