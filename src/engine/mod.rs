//! Threads, shards, ids, delivery: the only place where decisions, bytes and sockets meet.
//!
//! - `table`: the words of each link that any thread touches without a lock, and the ids that lead to them
//! - `desk`: what application threads keep of a link whose protocol hbeat speaks
//! - `app_state`: what the applications at both ends tell each other
//! - `command`: what they tell a shard
//! - `shard`, `rows`: one shard's links and the turn that moves them
//! - `delivery`, `lanes`: from shard to application
//! - `links`: the calls about one link; `drive`: the calls that turn the engine
//! - `listener`: who may connect, and the calls about it
//! - `carrier`: links whose sockets are the engine's own
//! - `progress`: how the application says that it goes on
//! - `stats`: what is counted, of links and of the engine
//! - `clock`, `sys`: where time comes from, and the system calls of our own
//! - `sync`: by what threads meet; `models`: what must hold in whatever order they do
//! - `fault`: panics on purpose, in the tests' build

mod app_state;
mod carrier;
mod clock;
mod command;
mod delivery;
mod desk;
mod drive;
mod error;
mod event;
pub(crate) mod fault;
mod lanes;
mod links;
mod listener;
mod memory;
#[cfg(test)]
mod models;
mod options;
mod progress;
mod rows;
mod shard;
mod stats;
mod sync;
#[cfg_attr(windows, path = "sys_windows.rs")]
mod sys;
mod table;
mod talk;
mod waiting;
mod wake;

pub use crate::net::Endpoint;
pub use app_state::APP_STATE_MAX;
pub use drive::{Stopped, Waited};
pub use error::{Code, Error};
pub(crate) use event::Subject;
pub use event::{Event, EventKind, LinkId};
pub use links::{Info, Taken};
pub use listener::{ListenerId, ListenerInfo, ListenerOptions, Refusal};
pub use options::{
    Callbacks, EVENTS_ALL, EVENTS_DEFAULT, Level, LinkData, LinkOptions, OnEvent, OnLog, OnPanic, OnRelease, Options,
    Reconnect, Run, TimeSource,
};
pub use stats::{Counted, Histogram, Rtt, Stats, Times};
pub use sys::monotonic_ns;

use carrier::Resolver;
use clock::Clock;
use delivery::{Delivery, Lane};
use listener::Listeners;
use once_cell::sync::OnceCell;
use rows::Policies;
use shard::Shard;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};
use sync::{AtomicBool, AtomicU32, Mutex, channel, lock};

/// A heartbeat engine.
pub struct Engine {
    inner: Arc<Inner>,
    shard_threads: Mutex<Vec<JoinHandle<()>>>,
    lane_threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the engine's threads share.
struct Inner {
    options: Options,
    clock: Clock,
    /// Of jitter, and of the first generations.
    seed: u64,
    /// Itself, for threads that must not keep it alive.
    me: OnceCell<Weak<Inner>>,
    resolver: Resolver,
    listeners: Listeners,
    shards: Box<[Shard]>,
    delivery: Delivery,
    policies: Policies,
    progress: progress::EngineMark,
    ordinals: AtomicU32,
    /// Links that are open, or closed with their last event still to be handed out.
    links: AtomicU32,
    stopping: AtomicBool,
    failed: AtomicBool,
    /// It has come to rest.
    stopped: AtomicBool,
    /// [`sys::forks`] as it was in the process that made the engine.
    forks: u32,
    /// Held by who turns the engine from outside.
    driver: Mutex<()>,
    /// Held by who pulls.
    puller: Mutex<()>,
}

/// Where an engine is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Links can be opened.
    Running = 1,
    /// It was told to stop; events are still being handed out.
    Stopping = 2,
    /// It has come to rest.
    Stopped = 3,
    /// A bug in hbeat was caught.
    Failed = 4,
}

/// How an engine is doing, for a watchdog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Health {
    /// Where it is in its life.
    pub phase: Phase,
    /// Threads of ours that run.
    pub threads: u32,
    /// Links that are open, or closed with their last event still to be handed out.
    pub links: u32,
    /// How far the most backward shard is behind what it meant to do.
    pub turn_age_ms: u32,
    /// For how long `on_event` has been inside the application; 0 = it is not.
    pub on_event_ms: u32,
    /// For how long `on_send` has been inside the application; 0 = it is not.
    pub on_send_ms: u32,
    /// Events that wait to be handed out.
    pub waiting: u32,
    /// Callers' times so far that could not be right.
    pub doubtful_times: u32,
}

impl Engine {
    /// An engine that runs.
    ///
    /// # Errors
    /// [`Code::Invalid`] names the field, [`Code::System`] what the system refused: a thread, its nice value or CPUs;
    /// [`Code::NoMemory`].
    pub fn new(options: Options) -> Result<Self, Error> {
        options.check()?;
        sys::watch_forks()?;
        let engine = Self {
            inner: Arc::new(Inner::new(options)?),
            shard_threads: Mutex::default(),
            lane_threads: Mutex::default(),
        };
        let _ = engine.inner.me.set(Arc::downgrade(&engine.inner));
        engine.start_threads()?;
        Ok(engine)
    }

    fn start_threads(&self) -> Result<(), Error> {
        let inner = &self.inner;
        if inner.options.run == Run::Application {
            return Ok(());
        }
        let _blocked = sys::SignalsBlocked::new();
        let (settled, outcomes) = channel::unbounded();
        let mut started = 0;
        for number in 0..inner.shards.len() {
            let serve = move |inner: &Arc<Inner>| inner.serve_shard(number);
            lock(&self.shard_threads).push(self.thread(&format!("s{number}"), settled.clone(), serve)?);
            started += 1;
        }
        for (lane, suffix) in inner.served_lanes() {
            inner.delivery.thread_begins();
            let serve = move |inner: &Arc<Inner>| inner.serve_lane(lane);
            lock(&self.lane_threads)
                .push(self.thread(suffix, settled.clone(), serve).inspect_err(|_| inner.delivery.thread_ends())?);
            started += 1;
        }
        (0..started).try_for_each(|_| outcomes.recv().unwrap_or(Ok(())))
    }

    /// Starts a thread that says first whether it got its nice value and CPUs.
    fn thread(
        &self,
        suffix: &str,
        settled: channel::Sender<Result<(), Error>>,
        serve: impl FnOnce(&Arc<Inner>) + Send + 'static,
    ) -> Result<JoinHandle<()>, Error> {
        let inner = Arc::clone(&self.inner);
        let run = move || {
            let Options { nice, cpus, .. } = inner.options;
            let refused = |error| {
                Error::new(Code::System, format!("nice = {nice}, cpus = {cpus:#x}: the system refused: {error}"))
            };
            let _ = settled.send(sys::settle_thread(nice, cpus).map_err(refused));
            drop(settled);
            serve(&inner);
        };
        Builder::new()
            .name(format!("{}-{suffix}", self.inner.options.thread_name))
            .spawn(run)
            .map_err(|error| Error::new(Code::System, format!("a thread could not be started: {error}")))
    }

    /// What a caller of the engine does who caught a panic in it: the engine fails as a whole. Event ENGINE_FAILED, or
    /// the end of the process, as [`OnPanic`] says.
    pub fn fail(&self) {
        self.inner.fail();
    }

    /// The engine's clock.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.inner.clock.now_ns()
    }

    /// How the engine is doing. Waits for nothing that the application does.
    ///
    /// # Errors
    /// [`Code::Forked`].
    pub fn health(&self) -> Result<Health, Error> {
        let inner = &self.inner;
        inner.check_fork()?;
        let (on_event_ms, on_send_ms, waiting) = inner.delivery.health();
        let now_ns = inner.clock.now_ns();
        let behind_ns = inner.shards.iter().map(|shard| shard.behind_ns(now_ns)).max().unwrap_or(0);
        let running = |threads: &Mutex<Vec<JoinHandle<()>>>| {
            threads.try_lock().map_or(0, |threads| threads.iter().filter(|thread| !thread.is_finished()).count())
        };
        Ok(Health {
            phase: inner.phase(),
            threads: (running(&self.shard_threads) + running(&self.lane_threads)) as u32,
            links: inner.links.load(Ordering::Relaxed),
            turn_age_ms: u32::try_from(behind_ns / 1_000_000).unwrap_or(u32::MAX),
            on_event_ms,
            on_send_ms,
            waiting,
            doubtful_times: u32::try_from(inner.clock.doubted()).unwrap_or(u32::MAX),
        })
    }
}

impl Inner {
    fn new(options: Options) -> Result<Self, Error> {
        let clock = Clock::new(options.clock);
        let seed = RandomState::new().hash_one(sys::monotonic_ns());
        let shards = match options.run {
            Run::Threads => options.threads,
            Run::Application => 1,
        };
        // Each has slots for all: closes need not be spread as evenly as opens are.
        let links = options.max_links.min(table::INDEXES);
        Ok(Self {
            seed,
            me: OnceCell::new(),
            resolver: Resolver::default(),
            listeners: Listeners::default(),
            shards: (0..shards)
                .map(|number| {
                    let shard_seed = seed.rotate_left(number);
                    Shard::new(number, links, shard_seed, &clock, options.tick_ms)
                })
                .collect::<Result<_, _>>()?,
            clock,
            delivery: Delivery::new(options.callbacks.on_send.is_some()),
            policies: Policies::default(),
            progress: progress::EngineMark::default(),
            ordinals: AtomicU32::new(0),
            links: AtomicU32::new(0),
            stopping: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            forks: sys::forks(),
            driver: Mutex::new(()),
            puller: Mutex::new(()),
            options,
        })
    }

    fn me(&self) -> Weak<Self> {
        self.me.get().cloned().unwrap_or_default()
    }

    /// 64 bits that nobody can tell beforehand.
    fn random(&self) -> u64 {
        RandomState::new().hash_one(self.seed)
    }

    fn phase(&self) -> Phase {
        let is = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        match () {
            () if is(&self.failed) => Phase::Failed,
            () if is(&self.stopped) => Phase::Stopped,
            () if is(&self.stopping) => Phase::Stopping,
            () => Phase::Running,
        }
    }

    /// The lanes that callbacks serve, with their threads' names.
    fn served_lanes(&self) -> impl Iterator<Item = (Lane, &'static str)> + use<> {
        let callbacks = &self.options.callbacks;
        let events = callbacks.on_event.is_some().then_some((Lane::Events, "evt"));
        let sends = callbacks.on_send.is_some().then_some((Lane::Sends, "send"));
        events.into_iter().chain(sends)
    }

    /// Whether the application pulls its events.
    fn is_pulled(&self) -> bool {
        self.options.callbacks.on_event.is_none()
    }

    fn logs(&self) -> bool {
        self.options.callbacks.on_log.is_some()
    }

    /// Whether its shards have threads, which wake as time goes by.
    fn turns_by_itself(&self) -> bool {
        self.options.run == Run::Threads && !self.clock.is_manual()
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn check_failed(&self) -> Result<(), Error> {
        if !self.has_failed() {
            return Ok(());
        }
        Err(Error::new(Code::Failed, "the engine failed: a bug in hbeat was caught; stop it and make a new one"))
    }

    fn check_fork(&self) -> Result<(), Error> {
        if self.forks == sys::forks() {
            return Ok(());
        }
        Err(Error::new(
            Code::Forked,
            "this process is a fork of the one that made the engine, whose threads did not come along: make a new one",
        ))
    }

    /// What every call but received, sent and the watchdog's checks.
    fn check_running(&self) -> Result<(), Error> {
        self.check_fork()?;
        self.check_failed()?;
        self.check_going()
    }

    fn check_going(&self) -> Result<(), Error> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Error::new(Code::Stopped, "the engine was stopped"));
        }
        Ok(())
    }
}
