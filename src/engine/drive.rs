//! The calls that turn an engine, pull from it, bring it to rest and stop it.

use super::command::Command;
use super::delivery::{Gate, Item, Lane};
use super::event::{Event, EventKind};
use super::shard::Next;
use super::sync::channel::Receiver;
use super::sync::{MutexGuard, lock};
use super::{Code, Engine, Error, Inner, Run};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long the manual clock waits for the application to come out of a callback, and `retire` for lanes to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest step of the manual clock while nothing is due.
const STRIDE_NS: u64 = (1 << 29) * 1_000_000;
/// No program means a time further ahead.
const TEN_YEARS_NS: u64 = 315_576_000 * 1_000_000_000;

/// Room for so many events is made before a pull, for more as they come.
const FEW: usize = 64;

/// How often who waits for a shard looks whether there still is one.
const GLANCE: Duration = Duration::from_millis(20);

/// How a stop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// All links are closed, and all that callbacks were owed was handed out.
    Complete,
    /// It was called from inside a callback: the rest follows when that callback returns.
    InCallback,
}

/// What a pull came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waited {
    /// So many events; 0 when the time was up.
    Events(usize),
    /// The engine was stopped and everything has been handed out.
    End,
}

impl Engine {
    /// Pulls up to `capacity` events into `out`, waiting up to `timeout` for the first (`None`: for ever; with
    /// [`Run::Application`] not at all).
    ///
    /// # Errors
    /// [`Code::WrongMode`] when `on_event` is set, [`Code::Busy`] when another thread is pulling, [`Code::Invalid`] when
    /// `capacity` is 0, [`Code::Forked`].
    pub fn wait(
        &self,
        capacity: usize,
        timeout: Option<Duration>,
        out: &mut dyn FnMut(&Event),
    ) -> Result<Waited, Error> {
        let inner = &*self.inner;
        inner.check_fork()?;
        if !inner.is_pulled() {
            return Err(Error::new(Code::WrongMode, "on_event is set: events go there and cannot be pulled"));
        }
        if capacity == 0 {
            return Err(Error::new(Code::Invalid, "capacity = 0: there must be room for at least one event"));
        }
        let _alone = inner.alone(&inner.puller, "wait")?;
        // Without threads of ours nobody would turn the engine meanwhile.
        let timeout = if inner.options.run == Run::Application { Some(Duration::ZERO) } else { timeout };
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut count = 0;
        let mut batch = Vec::with_capacity(capacity.min(FEW));
        loop {
            // All at once: what is handed out must not be followed by the end of its link in the same batch.
            if !inner.delivery.pull(&mut batch, capacity - count, until, inner) {
                return Ok(if count == 0 { Waited::End } else { Waited::Events(count) });
            }
            let timed_out = batch.is_empty();
            for item in batch.drain(..) {
                inner.guarded(|| inner.log_event(&item.event));
                inner.guarded(|| {
                    if inner.conclude(&item) && inner.is_open(&item.event) {
                        out(&item.event);
                        count += 1;
                        inner.after(&item.event);
                    }
                });
            }
            inner.delivery.finish(Lane::Events);
            if timed_out || count > 0 {
                return Ok(Waited::Events(count));
            }
        }
    }

    /// A descriptor that is readable while events wait to be pulled, or the application's loop is wanted for
    /// [`drive`](Self::drive). Never to be read, closed with the engine.
    ///
    /// # Errors
    /// [`Code::WrongMode`] when the engine's threads call `on_event`, [`Code::System`] when there are no descriptors
    /// left, [`Code::Forked`].
    pub fn readiness(&self) -> Result<i32, Error> {
        let inner = &*self.inner;
        inner.check_fork()?;
        if !inner.is_pulled() && inner.options.run == Run::Threads {
            return Err(Error::new(Code::WrongMode, "on_event is set: events go there, there is nothing to wait for"));
        }
        let refused = |error| Error::new(Code::System, format!("the readiness descriptor could not be made: {error}"));
        inner.delivery.readiness().map_err(refused)
    }

    /// Turns an engine that has no threads: all that is due is done, callbacks run here. `true`: events wait to be
    /// pulled.
    ///
    /// # Errors
    /// [`Code::WrongMode`] unless [`Run::Application`], [`Code::Invalid`] when `now_ns` lies more than ten years ahead,
    /// [`Code::Busy`], [`Code::WouldDeadlock`] inside a callback, [`Code::Stopped`], [`Code::Failed`],
    /// [`Code::Forked`].
    pub fn drive(&self, now_ns: u64) -> Result<bool, Error> {
        let inner = &*self.inner;
        inner.check_fork()?;
        if inner.options.run != Run::Application {
            inner.check_failed()?;
            return Err(not_driven());
        }
        inner.check_going()?;
        inner.check_ahead(now_ns)?;
        let _alone = inner.enter_driver("drive")?;
        inner.check_going()?;
        inner.clock.set_ns(now_ns);
        // One that failed hands out what it owes, too: nobody else would.
        inner.drive_here();
        inner.check_failed()?;
        Ok(inner.is_pulled() && inner.delivery.waits())
    }

    /// When the engine wants to be driven next; `None`: not before something is said to it.
    ///
    /// # Errors
    /// [`Code::WrongMode`] unless [`Run::Application`], [`Code::Forked`], [`Code::Stopped`], [`Code::Failed`].
    pub fn next_deadline(&self) -> Result<Option<u64>, Error> {
        let inner = &*self.inner;
        inner.check_running()?;
        if inner.options.run != Run::Application {
            return Err(not_driven());
        }
        Ok(inner.next_deadline())
    }

    /// Steps the manual clock from deadline to deadline up to `now_ns`. Returns when shards and callbacks are at rest;
    /// `true`: events wait to be pulled, at the moment [`now_ns`](Self::now_ns): pull, and call again.
    ///
    /// # Errors
    /// [`Code::WrongMode`] without a manual clock, [`Code::Invalid`] when `now_ns` lies more than ten years ahead, [`Code::Busy`], [`Code::WouldDeadlock`] inside a callback,
    /// [`Code::Timeout`] when a callback does not return, [`Code::Stopped`], [`Code::Failed`], [`Code::Forked`].
    pub fn advance(&self, now_ns: u64) -> Result<bool, Error> {
        let inner = &*self.inner;
        inner.check_running()?;
        if !inner.clock.is_manual() {
            let sentence = "clock is HBEAT_CLOCK_SYSTEM: only one with HBEAT_CLOCK_MANUAL is advanced";
            return Err(Error::new(Code::WrongMode, sentence));
        }
        inner.check_ahead(now_ns)?;
        let _alone = inner.enter_driver("advance")?;
        inner.check_running()?;
        loop {
            inner.settle(false, Instant::now().checked_add(PATIENCE))?;
            inner.check_failed()?;
            if inner.is_pulled() && inner.delivery.waits() {
                return Ok(true);
            }
            match inner.next_deadline().filter(|&deadline_ns| deadline_ns <= now_ns) {
                Some(deadline_ns) => inner.clock.set_ns(deadline_ns),
                None if inner.clock.now_ns() >= now_ns => return Ok(false),
                // In steps in which stamps stay comparable.
                None => inner.clock.set_ns(now_ns.min(inner.clock.now_ns().saturating_add(STRIDE_NS))),
            }
        }
    }

    /// Waits until all that was due or said so far is done and handed out, and no callback runs.
    ///
    /// # Errors
    /// [`Code::Timeout`], [`Code::WouldDeadlock`] inside a callback, [`Code::Stopped`], [`Code::Failed`],
    /// [`Code::Forked`].
    pub fn quiesce(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.check_running()?;
        if inner.is_inside() {
            return Err(would_deadlock("quiesce"));
        }
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let _alone = match inner.options.run {
            Run::Threads => None,
            Run::Application => Some(inner.driver_by(until).ok_or_else(not_at_rest)?),
        };
        inner.settle(true, until)?;
        inner.check_failed()
    }

    /// Closes all links and ends the threads. The shards end at once; for callbacks it waits up to `timeout`.
    ///
    /// # Errors
    /// [`Code::Timeout`]: callbacks are still running; call again. [`Code::Forked`].
    pub fn stop(&self, timeout: Option<Duration>) -> Result<Stopped, Error> {
        let inner = &*self.inner;
        inner.check_fork()?;
        inner.stopping.store(true, Ordering::Release);
        for shard in &inner.shards {
            // Under the lock of the slots no open is half way.
            let mut slots = shard.table.slots();
            if !std::mem::replace(&mut slots.shut, true) {
                shard.tell(Command::Stop);
            }
        }
        // Under the lock, so that a second caller waits for the first: the lanes must not end before the shards.
        lock(&self.shard_threads).drain(..).for_each(|thread| drop(thread.join()));
        if inner.options.run == Run::Application {
            inner.turn_all();
        }
        inner.delivery.end();
        if inner.is_inside() {
            return Ok(Stopped::InCallback);
        }
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let still = || Error::new(Code::Timeout, "callbacks are still running: call stop again");
        if inner.options.run == Run::Application {
            let _alone = inner.driver_by(until).ok_or_else(still)?;
            inner.hand_out_here();
        } else if !inner.delivery.ended(until) {
            return Err(still());
        }
        lock(&self.lane_threads).drain(..).for_each(|thread| drop(thread.join()));
        inner.stopped.store(true, Ordering::Release);
        Ok(Stopped::Complete)
    }

    /// Comes to rest for good: stops if that was not done, and calls `release` for links whose last event nobody
    /// pulled. After it the engine may be dropped.
    ///
    /// # Errors
    /// [`Code::WouldDeadlock`] inside a callback, [`Code::Busy`] when callbacks do not return or another thread is
    /// pulling, [`Code::Forked`].
    pub fn retire(&self) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.check_fork()?;
        if inner.is_inside() {
            return Err(would_deadlock("free"));
        }
        let busy = |what| Error::new(Code::Busy, what);
        if !inner.stopped.load(Ordering::Acquire) {
            let patience = if inner.stopping.load(Ordering::Acquire) { Duration::ZERO } else { PATIENCE / 2 };
            self.stop(Some(patience)).map_err(|_| busy("callbacks are still running: stop the engine first"))?;
        }
        let _alone = inner.alone(&inner.puller, "wait")?;
        if inner.is_pulled() && inner.options.callbacks.release.is_some() {
            let mut batch = Vec::new();
            while inner.delivery.pull(&mut batch, 1024, Some(Instant::now()), &Over) {
                for item in batch.drain(..).filter(|item: &Item| item.event.kind == EventKind::Closed) {
                    inner.guarded(|| inner.conclude(&item));
                }
            }
        }
        Ok(())
    }
}

/// Nothing is handed out any more.
struct Over;

impl Gate for Over {
    fn is_alive(&self, _: &Event) -> bool {
        false
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.inner.is_inside() {
            // Nothing can be waited for here; the lane that calls ends by itself when the callback returns.
            let _ = self.stop(Some(Duration::ZERO));
        } else {
            let _ = self.retire();
        }
    }
}

fn not_at_rest() -> Error {
    Error::new(Code::Timeout, "a callback, or who pulls, did not come to rest in time")
}

fn not_driven() -> Error {
    let sentence = "run is HBEAT_RUN_THREADS: only an engine with HBEAT_RUN_APPLICATION is driven by the application";
    Error::new(Code::WrongMode, sentence)
}

fn would_deadlock(call: &str) -> Error {
    Error::new(Code::WouldDeadlock, format!("{call} would wait for the callback that it is called from"))
}

impl Inner {
    fn enter_driver(&self, call: &str) -> Result<MutexGuard<'_, ()>, Error> {
        if self.is_inside() {
            return Err(would_deadlock(call));
        }
        self.alone(&self.driver, call)
    }

    fn check_ahead(&self, now_ns: u64) -> Result<(), Error> {
        if now_ns <= self.clock.now_ns().saturating_add(TEN_YEARS_NS) {
            return Ok(());
        }
        Err(Error::new(
            Code::Invalid,
            format!("now_ns = {now_ns}: lies more than ten years ahead of the engine's clock"),
        ))
    }

    /// Wakes whoever turns the engine: a shard's thread wakes by itself, the application's loop by the descriptor.
    pub(super) fn nudge(&self) {
        if self.options.run == Run::Application {
            self.delivery.nudge(true);
        }
    }

    /// Turns and hands out until nothing is left to do now.
    fn drive_here(&self) {
        self.delivery.nudge(false);
        loop {
            self.turn_all();
            if !self.hand_out_here() {
                return;
            }
        }
    }

    /// Turns each shard until nothing is due; after a panic, until its links are closed that are to be.
    fn turn_all(&self) {
        for shard in &self.shards {
            while self.guarded(|| while shard.turn(self) == Next::Again {}).is_none() {}
        }
    }

    /// The earliest moment at which a shard has something to do.
    fn next_deadline(&self) -> Option<u64> {
        if self.options.run == Run::Application && !self.is_pulled() && self.delivery.waits() {
            // Callbacks are owed; who pulls is told by the descriptor.
            return Some(self.clock.now_ns());
        }
        self.shards.iter().map(|shard| shard.planned_ns()).min().filter(|&at_ns| at_ns != u64::MAX)
    }

    /// Brings shards and callbacks to rest at the present time; with `pulls`, who pulls as well.
    fn settle(&self, pulls: bool, until: Option<Instant>) -> Result<(), Error> {
        if self.options.run == Run::Application {
            self.drive_here();
            return Ok(());
        }
        loop {
            let before = self.posted();
            for shard in &self.shards {
                let done = shard.barrier();
                self.wait_for(&done, until)?;
            }
            if !self.delivery.rest(self.is_pulled() && !pulls, until) {
                return Err(not_at_rest());
            }
            if self.posted() == before {
                return Ok(());
            }
        }
    }

    /// Waits for a barrier, whose disconnection is the answer. A shard that ended meanwhile never answers.
    fn wait_for(&self, done: &Receiver<()>, until: Option<Instant>) -> Result<(), Error> {
        while done.recv_timeout(GLANCE).is_err_and(|error| error.is_timeout()) {
            self.check_running()?;
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(not_at_rest());
            }
        }
        Ok(())
    }

    fn posted(&self) -> u64 {
        self.shards.iter().map(|shard| shard.posted()).sum()
    }
}
