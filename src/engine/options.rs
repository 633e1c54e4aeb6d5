//! How an engine and a link are set up.

use super::error::{Code, Error};
use super::event::Event;
use crate::core::Backoff;
use crate::net;
use crate::wire::{Keys, Protocol};
use std::sync::Arc;

/// Who turns the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Run {
    /// The engine's own threads.
    #[default]
    Threads,
    /// The application's loop, by [`Engine::drive`](super::Engine::drive); the engine has no thread.
    Application,
}

/// Where the time comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimeSource {
    /// `CLOCK_MONOTONIC`.
    #[default]
    System,
    /// [`Engine::advance`](super::Engine::advance), for tests; it starts at this many nanoseconds.
    Manual(u64),
}

/// What happens when a bug in hbeat is caught.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnPanic {
    /// The engine fails: event ENGINE_FAILED, and every later call says so.
    #[default]
    Event,
    /// The process aborts.
    Abort,
}

/// How loud a log line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// A change of state, as it should be.
    Info,
    /// Something that an operator should look into.
    Warning,
}

/// The application's word on a link, handed back with each event and never looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct LinkData(pub usize);

/// A callback for events.
pub type OnEvent = Box<dyn Fn(&Event) + Send + Sync>;
/// A callback for the end of a link.
pub type OnRelease = Box<dyn Fn(LinkData) + Send + Sync>;
/// A callback for log lines.
pub type OnLog = Box<dyn Fn(Level, &str) + Send + Sync>;

/// The application's callbacks. None may unwind.
#[derive(Default)]
pub struct Callbacks {
    /// Everything but SEND; `None`: the application pulls with [`Engine::wait`](super::Engine::wait).
    pub on_event: Option<OnEvent>,
    /// SEND, on a lane of its own; `None`: SEND goes where the other events go.
    pub on_send: Option<OnEvent>,
    /// In place of the CLOSED event, once a link.
    pub release: Option<OnRelease>,
    /// One line a change of state, and warnings.
    pub on_log: Option<OnLog>,
}

/// How an engine is set up. [`Options::default`] runs: one thread, system clock, events to pull.
pub struct Options {
    /// Who turns the engine.
    pub run: Run,
    /// Where the time comes from.
    pub clock: TimeSource,
    /// Shards, 1 to 64; each is a thread with [`Run::Threads`].
    pub threads: u32,
    /// The resolution, 1 to 1000 ms.
    pub tick_ms: u32,
    /// Which events are asked for: a mask of `1 << EventKind`.
    pub events: u32,
    /// How many links may be open at once, 1 to 2^28 a shard.
    pub max_links: u32,
    /// How many opens may wait for a shard.
    pub open_queue: u32,
    /// What happens when a bug in hbeat is caught.
    pub on_panic: OnPanic,
    /// Nice value of the engine's threads, -20 to 19; 0 leaves it as it is.
    pub nice: i32,
    /// The first 64 CPUs that the engine's threads may run on, as a mask; 0 leaves it as it is.
    pub cpus: u64,
    /// Prefix of the threads' names, at most 10 bytes.
    pub thread_name: String,
    /// The application's callbacks.
    pub callbacks: Callbacks,
}

/// Events that are handed out unless an engine or a link asks for others: all but ANSWER and BEAT_RECEIVED.
pub const EVENTS_DEFAULT: u32 = 524094;
/// All events.
pub const EVENTS_ALL: u32 = 524286;

impl Default for Options {
    fn default() -> Self {
        Self {
            run: Run::default(),
            clock: TimeSource::default(),
            threads: 1,
            tick_ms: 1,
            events: EVENTS_DEFAULT,
            max_links: 1 << 20,
            open_queue: 65_536,
            on_panic: OnPanic::default(),
            nice: 0,
            cpus: 0,
            thread_name: "hbeat".to_owned(),
            callbacks: Callbacks::default(),
        }
    }
}

/// How a link is set up.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// For events and log lines; empty: `link-<id>`. At most 63 bytes.
    pub name: String,
    /// How beats and answers look.
    pub protocol: Protocol,
    /// A socket to observe (unread bytes, send queue): never read, written, duplicated or closed.
    pub fd: Option<i32>,
    /// Handed back with each event.
    pub data: LinkData,
    /// Whether nothing is due or judged before [`Engine::start`](super::Engine::start).
    pub start_paused: bool,
    /// Which events are asked for; `None`: as the engine.
    pub events: Option<u32>,
    /// When a connection that the engine carries is made anew.
    pub reconnect: Reconnect,
    /// How many attempts in a row may fail before such a link is given up; 0: any number.
    pub attempts: u32,
    /// The delays between them.
    pub backoff: Backoff,
    /// What every frame of such a link is sealed with; `None`: nothing is sealed.
    pub keys: Option<Arc<Keys>>,
}

/// Whether a lost connection that the engine carries is made anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reconnect {
    /// Where the engine dialled it.
    #[default]
    Default,
    /// Always.
    Yes,
    /// Never.
    No,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            protocol: Protocol::None,
            fd: None,
            data: LinkData::default(),
            start_paused: false,
            events: None,
            reconnect: Reconnect::default(),
            attempts: 0,
            backoff: Backoff::default(),
            keys: None,
        }
    }
}

/// The longest name, in bytes.
pub(super) const NAME_MAX: usize = 63;
const THREAD_NAME_MAX: usize = 10;
const LINKS_MAX: u32 = 1 << 28;

impl Options {
    /// Whether every field is in its range.
    pub(super) fn check(&self) -> Result<(), Error> {
        within("threads", self.threads.into(), 1, 64)?;
        within("tick_ms", self.tick_ms.into(), 1, 1000)?;
        within("max_links", self.max_links.into(), 1, i64::from(LINKS_MAX) * i64::from(self.threads))?;
        within("open_queue", self.open_queue.into(), 1, u32::MAX.into())?;
        within("nice", self.nice.into(), -20, 19)?;
        check_events(self.events)?;
        if let TimeSource::Manual(start_ns) = self.clock {
            within("start_ns", i64::try_from(start_ns).unwrap_or(i64::MAX), 0, 1 << 62)?;
        }
        let length = self.thread_name.len();
        if !(1..=THREAD_NAME_MAX).contains(&length) || self.thread_name.contains('\0') {
            return Err(invalid(format!(
                "thread_name is {:?}: must be 1 to {THREAD_NAME_MAX} bytes without NUL",
                self.thread_name
            )));
        }
        Ok(())
    }
}

impl LinkOptions {
    /// Whether every field is in its range, and the descriptor a socket.
    pub(super) fn check(&self) -> Result<(), Error> {
        check_name(&self.name)?;
        self.events.map_or(Ok(()), check_events)?;
        let Some(fd) = self.fd else { return Ok(()) };
        net::check_socket(fd).map_err(|error| invalid(format!("fd = {fd}: must be an open socket: {error}")))
    }
}

pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let length = name.len();
    if length > NAME_MAX || name.chars().any(char::is_control) {
        return Err(invalid(format!(
            "name has {length} bytes: must be at most {NAME_MAX}, without control characters"
        )));
    }
    Ok(())
}

pub(super) fn check_events(events: u32) -> Result<(), Error> {
    if events & !EVENTS_ALL == 0 {
        return Ok(());
    }
    Err(invalid(format!("events = {events:#x}: only bits of {EVENTS_ALL:#x} name an event")))
}

pub(super) fn within(field: &str, value: i64, least: i64, most: i64) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(invalid(format!("{field} = {value}: must be {least} to {most}")))
}

fn invalid(sentence: String) -> Error {
    Error::new(Code::Invalid, sentence)
}
