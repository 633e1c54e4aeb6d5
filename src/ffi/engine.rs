//! The engine: made, stopped, freed; turned by the application; asked how it is.

use super::convert::{check_output, check_size, choice, optional_text, place, plain, read, read_size, write};
use super::event::{hbeat_event, pointer};
use super::last_error::Failure;
use super::status::hbeat_status_code::{HBEAT_INFO_END, HBEAT_INFO_MORE, HBEAT_INFO_STOPPING, HBEAT_OK};
use super::version::HBEAT_FOREVER;
use super::{Outcome, done, guard, guard_or, hbeat_link, hbeat_status};
use crate::engine::{
    Callbacks, EVENTS_ALL, EVENTS_DEFAULT, Engine, Event, Health, Level, LinkId, OnEvent, OnLog, OnPanic, OnRelease,
    Options, Run, Stopped, TimeSource, Waited,
};
use std::ffi::{c_char, c_void};
use std::time::Duration;
use std::{process, ptr};

/// engine_options.run: hbeat's own threads turn the engine.
pub const HBEAT_RUN_THREADS: u32 = 0u32;
/// engine_options.run: the application turns it with hbeat_engine_drive; hbeat has no thread.
pub const HBEAT_RUN_APPLICATION: u32 = 1u32;
/// engine_options.clock: CLOCK_MONOTONIC.
pub const HBEAT_CLOCK_SYSTEM: u32 = 0u32;
/// engine_options.clock: hbeat_engine_advance moves it; for tests.
pub const HBEAT_CLOCK_MANUAL: u32 = 1u32;
/// engine_options.on_panic: a bug in hbeat that is caught gives HBEAT_EVENT_ENGINE_FAILED.
pub const HBEAT_ON_PANIC_EVENT: u32 = 0u32;
/// engine_options.on_panic: it aborts the process.
pub const HBEAT_ON_PANIC_ABORT: u32 = 1u32;
/// on_log: a change of state, as it should be.
pub const HBEAT_LOG_INFO: u32 = 1u32;
/// on_log: something that an operator should look into.
pub const HBEAT_LOG_WARNING: u32 = 2u32;
/// health.phase: it runs.
pub const HBEAT_PHASE_RUNNING: u32 = 1u32;
/// health.phase: stop was called and has not come to its end.
pub const HBEAT_PHASE_STOPPING: u32 = 2u32;
/// health.phase: it was stopped.
pub const HBEAT_PHASE_STOPPED: u32 = 3u32;
/// health.phase: a bug in hbeat was caught; nothing is watched any more.
pub const HBEAT_PHASE_FAILED: u32 = 4u32;

/// ==== Types ====
///
/// An engine: keeps the time of many links. Made by hbeat_engine_new, ended by hbeat_engine_free.
pub struct hbeat_engine {
    pub(super) engine: Engine,
}

/// Told about an event. It must not throw, longjmp out or end its thread: see the head of this header.
pub type hbeat_event_callback =
    Option<unsafe extern "C-unwind" fn(engine_data: *mut c_void, event: *const hbeat_event)>;

/// Told, once a link, that nothing of hbeat will use its link_data again. May be free itself.
pub type hbeat_release_callback = Option<unsafe extern "C-unwind" fn(link_data: *mut c_void)>;

/// Given a line for a log, without a line end; level is HBEAT_LOG_*. The line is valid until the callback returns.
pub type hbeat_log_callback =
    Option<unsafe extern "C-unwind" fn(engine_data: *mut c_void, level: u32, line: *const c_char)>;

/// How an engine is set up. Begin with HBEAT_ENGINE_OPTIONS_INIT; a struct that is all zero but for struct_size runs,
/// too: one thread, events to pull. hbeat keeps no pointer of it but engine_data and the callbacks.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_engine_options {
    /// sizeof(hbeat_engine_options).
    pub struct_size: u32,
    /// HBEAT_RUN_*.
    pub run: u32,
    /// HBEAT_CLOCK_*.
    pub clock: u32,
    /// Shards, each a thread of its own with HBEAT_RUN_THREADS: 1 to 64; 0 = 1.
    pub threads: u32,
    /// Resolution: 1 to 1000; 0 = 1.
    pub tick_ms: u32,
    /// Which events are asked for, a mask of 1u << HBEAT_EVENT_*; 0 = HBEAT_EVENTS_DEFAULT.
    pub events: u32,
    /// How many links may be open at once: at most 2^28 a shard; 0 = 1048576.
    pub max_links: u32,
    /// How many opens may wait for a shard; 0 = 65536.
    pub open_queue: u32,
    /// HBEAT_ON_PANIC_*.
    pub on_panic: u32,
    /// Nice value of hbeat's threads, -20 to 19; 0 = that of the creator.
    pub nice: i32,
    /// CPUs that hbeat's threads may run on, a mask of the first 64; 0 = any.
    pub cpus: u64,
    /// HBEAT_CLOCK_MANUAL: where the clock starts. Otherwise unused.
    pub start_ns: u64,
    /// Prefix of the names of hbeat's threads, UTF-8, at most 10 bytes; NULL = "hbeat".
    pub thread_name: *const c_char,
    /// Handed to on_event, on_send and on_log; hbeat never looks at it.
    pub engine_data: *mut c_void,
    /// Told about everything but SEND, on a thread of its own. NULL: pull with hbeat_engine_wait.
    pub on_event: hbeat_event_callback,
    /// Told about SEND, on a thread of its own; must not block. NULL: SEND goes where the other events go.
    pub on_send: hbeat_event_callback,
    /// In place of HBEAT_EVENT_CLOSED: called once a link, as its last callback.
    pub release: hbeat_release_callback,
    /// One line a change of state, and warnings.
    pub on_log: hbeat_log_callback,
}

plain!(hbeat_engine_options {
    struct_size,
    run,
    clock,
    threads,
    tick_ms,
    events,
    max_links,
    open_queue,
    on_panic,
    nice,
    cpus,
    start_ns,
    thread_name,
    engine_data,
    on_event,
    on_send,
    release,
    on_log,
} until on_log);

/// How an engine is; for a watchdog. Set struct_size before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_health {
    /// sizeof(hbeat_health); comes back as how many bytes hbeat filled.
    pub struct_size: u32,
    /// HBEAT_PHASE_*.
    pub phase: u32,
    /// Threads of hbeat's that exist.
    pub threads: u32,
    /// Links that are open, or closed with their last event not yet handed out.
    pub links: u32,
    /// How far the most backward shard is behind what it should have done; more than a few seconds: ask for help.
    pub turn_age_ms: u32,
    /// How long on_event has been inside the application; 0 = it is not.
    pub on_event_ms: u32,
    /// Likewise on_send.
    pub on_send_ms: u32,
    /// Events that wait to be handed out.
    pub waiting: u32,
    /// Times so far that callers gave and that could not be right: more than six days back. 0 is as it should be.
    pub doubtful_times: u32,
}

plain!(hbeat_health {
    struct_size,
    phase,
    threads,
    links,
    turn_age_ms,
    on_event_ms,
    on_send_ms,
    waiting,
    doubtful_times,
} until doubtful_times);

impl From<&Health> for hbeat_health {
    fn from(health: &Health) -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            phase: health.phase as u32,
            threads: health.threads,
            links: health.links,
            turn_age_ms: health.turn_age_ms,
            on_event_ms: health.on_event_ms,
            on_send_ms: health.on_send_ms,
            waiting: health.waiting,
            doubtful_times: health.doubtful_times,
        }
    }
}

/// Runs the body of an export that has an engine, as [`guard`] does. A panic in it is a bug of ours, after which the
/// engine fails as a whole.
///
/// # Safety
/// `pointer` is NULL or came from `hbeat_engine_new` and was not freed, and `body` may be run.
#[inline]
pub(super) unsafe fn with_engine(pointer: *const hbeat_engine, body: impl FnOnce(&Engine) -> Outcome) -> hbeat_status {
    // SAFETY: as for this function; only shared references to it exist before it is freed.
    let Some(handle) = (unsafe { pointer.as_ref() }) else {
        return Failure::null("engine").keep();
    };
    guard_or(|| handle.engine.fail(), || body(&handle.engine))
}

/// A timeout in milliseconds; `None` = for ever.
fn timeout(timeout_ms: u32) -> Option<Duration> {
    (timeout_ms != HBEAT_FOREVER).then(|| Duration::from_millis(timeout_ms.into()))
}

/// A mask of events: only events that there are.
pub(super) fn event_mask(events: u32) -> Result<u32, Failure> {
    if events & !EVENTS_ALL == 0 {
        return Ok(events);
    }
    Err(Failure::invalid(format!("events is {events:#x}, allowed is a mask within HBEAT_EVENTS_ALL ({EVENTS_ALL:#x})")))
}

/// `value`, or what its field means when it is 0.
fn or_usual(value: u32, usual: u32) -> u32 {
    if value == 0 { usual } else { value }
}

/// The caller's options. Ranges are the engine's own to check.
///
/// # Safety
/// As for [`read`]; `thread_name` is NULL or text.
unsafe fn read_options(pointer: *const hbeat_engine_options) -> Result<Options, Failure> {
    // SAFETY: as for this function.
    let options = unsafe { read(pointer, "options") }?;
    let usual = Options::default();
    let run = [("HBEAT_RUN_THREADS", Run::Threads), ("HBEAT_RUN_APPLICATION", Run::Application)];
    let clocks =
        [("HBEAT_CLOCK_SYSTEM", TimeSource::System), ("HBEAT_CLOCK_MANUAL", TimeSource::Manual(options.start_ns))];
    let on_panic = [("HBEAT_ON_PANIC_EVENT", OnPanic::Event), ("HBEAT_ON_PANIC_ABORT", OnPanic::Abort)];
    Ok(Options {
        run: choice(options.run, "run", run)?,
        clock: choice(options.clock, "clock", clocks)?,
        threads: or_usual(options.threads, usual.threads),
        tick_ms: or_usual(options.tick_ms, usual.tick_ms),
        events: or_usual(event_mask(options.events)?, EVENTS_DEFAULT),
        max_links: or_usual(options.max_links, usual.max_links),
        open_queue: or_usual(options.open_queue, usual.open_queue),
        on_panic: choice(options.on_panic, "on_panic", on_panic)?,
        nice: options.nice,
        cpus: options.cpus,
        // SAFETY: as for this function.
        thread_name: unsafe { optional_text(options.thread_name, "thread_name", 10) }?
            .map_or(usual.thread_name, str::to_owned),
        callbacks: callbacks(&options),
    })
}

/// Calls into the application. What it throws ends here, and the process with it: other threads, and frames of
/// languages that know nothing of it, must not be unwound.
fn into_application(call: impl FnOnce()) {
    struct Fence;
    impl Drop for Fence {
        fn drop(&mut self) {
            eprintln!("hbeat: an exception or a forced unwinding left a callback; the process ends here");
            process::abort();
        }
    }
    let fence = Fence;
    call();
    std::mem::forget(fence);
}

/// The application's functions as the engine calls them. `engine_data` travels as a number: it is never looked at,
/// and numbers may go to other threads.
fn callbacks(options: &hbeat_engine_options) -> Callbacks {
    let engine_data = options.engine_data.expose_provenance();
    let on_event = |callback: unsafe extern "C-unwind" fn(*mut c_void, *const hbeat_event)| -> OnEvent {
        Box::new(move |event| {
            let event = hbeat_event::from(event);
            // SAFETY: the caller of hbeat_engine_new gave the function and its argument for this.
            into_application(|| unsafe { callback(ptr::with_exposed_provenance_mut(engine_data), &raw const event) });
        })
    };
    Callbacks {
        on_event: options.on_event.map(on_event),
        on_send: options.on_send.map(on_event),
        release: options.release.map(|callback| -> OnRelease {
            // SAFETY: the caller of hbeat_engine_new gave the function for this, that of hbeat_link_open the argument.
            Box::new(move |data| into_application(|| unsafe { callback(pointer(data)) }))
        }),
        on_log: options.on_log.map(|callback| -> OnLog {
            Box::new(move |level, line| {
                let line = super::last_error::c_string(line.to_owned());
                let level = match level {
                    Level::Info => HBEAT_LOG_INFO,
                    Level::Warning => HBEAT_LOG_WARNING,
                };
                let engine_data = ptr::with_exposed_provenance_mut(engine_data);
                // SAFETY: the caller of hbeat_engine_new gave the function and its argument for this.
                into_application(|| unsafe { callback(engine_data, level, line.as_ptr()) });
            })
        }),
    }
}

/// ==== Engine ====
///
/// Makes an engine and starts its threads. *engine is written on success only.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED, INVALID, NO_MEMORY; SYSTEM if a thread or a descriptor cannot be had.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_new(
    options: *const hbeat_engine_options,
    engine: *mut *mut hbeat_engine,
) -> hbeat_status {
    guard(|| {
        check_output(engine, "engine")?;
        // SAFETY: `options` is a struct, by the rules at the head of the header.
        let made = Engine::new(unsafe { read_options(options) }?)?;
        // SAFETY: not NULL.
        unsafe { engine.write(Box::into_raw(Box::new(hbeat_engine { engine: made }))) };
        Ok(HBEAT_OK)
    })
}

/// Closes all links, joins the engine's threads, and waits up to timeout_ms for what is still to be handed out. From
/// inside a callback it waits for nothing, returns HBEAT_INFO_STOPPING, and the engine stops when the callback has
/// returned. Stopping again is OK. When pulling, hbeat_engine_wait hands out the rest, then HBEAT_INFO_END.
///
/// Threads: any.
/// In a callback: yes, returns HBEAT_INFO_STOPPING.
/// Blocks: until all is handed out, at most timeout_ms; HBEAT_FOREVER = no limit.
/// Errors: NULL, FORKED; TIMEOUT: the threads that watch are gone, a callback still runs; stop again.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_stop(engine: *mut hbeat_engine, timeout_ms: u32) -> hbeat_status {
    let stop = |engine: &Engine| match engine.stop(timeout(timeout_ms))? {
        Stopped::Complete => Ok(HBEAT_OK),
        Stopped::InCallback => Ok(HBEAT_INFO_STOPPING),
    };
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, stop) }
}

/// Frees an engine; NULL is OK. One that runs is stopped first, for at most 5 s. Events that were not pulled are
/// dropped, but release is called for every link. Afterwards the pointer must not be used; link ids stay harmless
/// numbers. On an error nothing is freed.
///
/// Threads: any one, when no other is inside a call on this engine or will make one.
/// In a callback: no.
/// Blocks: until the engine has stopped, at most 5 s.
/// Errors: BUSY: a callback still runs, stop has not come to its end; WOULD_DEADLOCK, FORKED.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_free(engine: *mut hbeat_engine) -> hbeat_status {
    if engine.is_null() {
        return HBEAT_OK as hbeat_status;
    }
    // SAFETY: an engine that lives, by the rules at the head of the header.
    let retired = unsafe { with_engine(engine, |engine| done(engine.retire())) };
    if retired != HBEAT_OK as hbeat_status {
        return retired;
    }
    guard(|| {
        // SAFETY: hbeat_engine_new made it so, retire says that nobody of ours uses it any more, and the caller that
        // nobody of his does.
        drop(unsafe { Box::from_raw(engine) });
        Ok(HBEAT_OK)
    })
}

/// Waits until everything that was due, or told to hbeat, before the call is handed out and no callback runs. After
/// hbeat_link_close and this, nothing of that link is running anywhere.
///
/// Threads: any.
/// In a callback: no.
/// Blocks: at most timeout_ms; HBEAT_FOREVER = no limit.
/// Errors: NULL, TIMEOUT, WOULD_DEADLOCK, STOPPED, FAILED, FORKED.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_quiesce(engine: *mut hbeat_engine, timeout_ms: u32) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| done(engine.quiesce(timeout(timeout_ms)))) }
}

/// How the engine is: cheap enough to be asked each second. health->struct_size must be set.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, FORKED.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_health(engine: *const hbeat_engine, health: *mut hbeat_health) -> hbeat_status {
    // SAFETY: an engine that lives and a struct, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let size = read_size(health, "health")?;
            write(hbeat_health::from(&engine.health()?), health.cast(), size);
            Ok(HBEAT_OK)
        })
    }
}

/// The ids of the links that are open, page by page: after = 0 for the first page, then the last id got.
/// HBEAT_INFO_MORE: there are more. Links opened or closed meanwhile may or may not be among them.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, FORKED; INVALID for capacity 0.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_links(
    engine: *const hbeat_engine,
    after: hbeat_link,
    links: *mut hbeat_link,
    capacity: u32,
    count: *mut u32,
) -> hbeat_status {
    // SAFETY: an engine that lives and a place of `capacity` ids, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            check_output(count, "count")?;
            check_capacity(capacity)?;
            let links = place(links, capacity as usize, "links")?;
            let (found, more) = engine.links((after != 0).then_some(LinkId(after)), links)?;
            count.write(found as u32);
            Ok(if more { HBEAT_INFO_MORE } else { HBEAT_OK })
        })
    }
}

/// What time the engine has: CLOCK_MONOTONIC, or the manual clock.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_now(engine: *const hbeat_engine, now_ns: *mut u64) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            check_output(now_ns, "now_ns")?;
            now_ns.write(engine.now_ns());
            Ok(HBEAT_OK)
        })
    }
}

/// ==== Pulling events ====
///
/// Takes events that wait, or waits for some: fills the first *count places of events, which lie event_size bytes
/// apart: sizeof(hbeat_event) of the caller, so that programs compiled with another version of this header work.
/// *count is 0 when the time was up. timeout_ms 0 = do not wait, HBEAT_FOREVER = no limit; with HBEAT_RUN_APPLICATION
/// it never waits, since nobody would turn the engine meanwhile. After stop: the rest, then HBEAT_INFO_END with
/// *count 0.
///
/// Threads: any, one at a time.
/// In a callback: yes; a wait holds up that callback's lane.
/// Blocks: at most timeout_ms.
/// Errors: NULL, SIZE, FORKED; INVALID for capacity 0; BUSY: another thread is in wait; WRONG_MODE with on_event set.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_wait(
    engine: *mut hbeat_engine,
    events: *mut hbeat_event,
    event_size: u32,
    capacity: u32,
    timeout_ms: u32,
    count: *mut u32,
) -> hbeat_status {
    // SAFETY: an engine that lives and an array of `capacity` places of `event_size` bytes, by the rules at the head of
    // the header.
    unsafe {
        with_engine(engine, |engine| {
            check_output(events, "events")?;
            check_output(count, "count")?;
            check_size::<hbeat_event>(event_size as usize, "event_size")?;
            check_capacity(capacity)?;
            let mut filled = 0;
            let mut out = |event: &Event| {
                assert!(filled < capacity, "more events than there is room for");
                let place = events.cast::<u8>().add(filled as usize * event_size as usize);
                write(hbeat_event::from(event), place, event_size as usize);
                filled += 1;
            };
            let waited = engine.wait(capacity as usize, timeout(timeout_ms), &mut out)?;
            count.write(filled);
            Ok(if waited == Waited::End { HBEAT_INFO_END } else { HBEAT_OK })
        })
    }
}

/// A descriptor that is readable while events wait to be pulled, until HBEAT_INFO_END was handed out, and with
/// HBEAT_RUN_APPLICATION also when another thread said something that hbeat_engine_drive is to act upon; for epoll and
/// its like. Level-triggered: hbeat_engine_wait, or hbeat_engine_drive, quiets it; never read, write or close it. It
/// lives as long as the engine.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SYSTEM, FORKED; WRONG_MODE with on_event set and HBEAT_RUN_THREADS.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_fd(engine: *mut hbeat_engine, fd: *mut i32) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            check_output(fd, "fd")?;
            fd.write(engine.readiness()?);
            Ok(HBEAT_OK)
        })
    }
}

/// ==== Turning the engine oneself ====
///
/// HBEAT_RUN_APPLICATION: does all that is due now. now_ns moves a manual clock; with HBEAT_CLOCK_SYSTEM hbeat reads
/// the clock itself. Callbacks run inside; without them HBEAT_INFO_MORE says that events wait to be pulled. In a loop: wait until hbeat_engine_next_deadline, take
/// now, read what is ready and report it, then drive: what has arrived must be known before it is judged.
///
/// Threads: any, one at a time.
/// In a callback: no.
/// Blocks: no, apart from the callbacks.
/// Errors: NULL, STOPPED, FAILED, FORKED, BUSY, WOULD_DEADLOCK; INVALID for a now_ns more than ten years ahead;
/// WRONG_MODE with HBEAT_RUN_THREADS.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_drive(engine: *mut hbeat_engine, now_ns: u64) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| more(engine.drive(now_ns)?)) }
}

/// When hbeat_engine_drive wants to be called next, on the clock of hbeat_now_ns; UINT64_MAX: nothing is due. Calls on
/// links may bring it forward: ask again after them.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, STOPPED, FAILED, FORKED; WRONG_MODE with HBEAT_RUN_THREADS.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_next_deadline(engine: *mut hbeat_engine, deadline_ns: *mut u64) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            check_output(deadline_ns, "deadline_ns")?;
            deadline_ns.write(engine.next_deadline()?.unwrap_or(u64::MAX));
            Ok(HBEAT_OK)
        })
    }
}

/// HBEAT_CLOCK_MANUAL: moves the clock to now_ns, stopping at each deadline on the way, and returns when all is at
/// rest. HBEAT_INFO_MORE: the clock stands where events wait to be pulled; pull, then call again with the same now_ns.
/// A now_ns that is past changes nothing.
///
/// Threads: any, one at a time.
/// In a callback: no.
/// Blocks: until shards and callbacks are at rest.
/// Errors: NULL, STOPPED, FAILED, FORKED, BUSY, WOULD_DEADLOCK; INVALID for a now_ns more than ten years ahead;
/// TIMEOUT: a callback did not return for 10 s; WRONG_MODE without HBEAT_CLOCK_MANUAL.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_advance(engine: *mut hbeat_engine, now_ns: u64) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| more(engine.advance(now_ns)?)) }
}

fn more(more: bool) -> Outcome {
    Ok(if more { HBEAT_INFO_MORE } else { HBEAT_OK })
}

fn check_capacity(capacity: u32) -> Result<(), Failure> {
    if capacity == 0 {
        return Err(Failure::invalid("capacity is 0, allowed is 1 and more"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EventKind;
    use crate::ffi::last_error::tests::last_error;
    use crate::ffi::status::hbeat_status_code::{self, HBEAT_ERR_INVALID, HBEAT_ERR_NULL};
    use std::mem::zeroed;
    use std::ptr::{null, null_mut};

    fn zero() -> hbeat_engine_options {
        hbeat_engine_options { struct_size: size_of::<hbeat_engine_options>() as u32, ..unsafe { zeroed() } }
    }

    fn refused(options: &hbeat_engine_options) -> &'static str {
        let status = unsafe { read_options(options) }.map(|_| ()).map_err(Failure::keep);
        assert_eq!(status, Err(HBEAT_ERR_INVALID as i32));
        last_error()
    }

    #[test]
    fn zero_means_the_usual() {
        let options = unsafe { read_options(&zero()) }.ok().unwrap();
        let usual = Options::default();
        assert_eq!((options.run, options.clock, options.on_panic), (usual.run, usual.clock, usual.on_panic));
        assert_eq!((options.threads, options.tick_ms, options.events), (1, 1, EVENTS_DEFAULT));
        assert_eq!((options.max_links, options.open_queue), (usual.max_links, usual.open_queue));
        assert_eq!(options.thread_name, "hbeat");
        assert!(options.callbacks.on_event.is_none() && options.callbacks.release.is_none());
    }

    #[test]
    fn what_is_set_arrives() {
        let set = hbeat_engine_options {
            run: HBEAT_RUN_APPLICATION,
            clock: HBEAT_CLOCK_MANUAL,
            start_ns: 5,
            threads: 3,
            events: 1 << 4,
            nice: -3,
            thread_name: c"gw".as_ptr(),
            ..zero()
        };
        let options = unsafe { read_options(&set) }.ok().unwrap();
        assert_eq!((options.run, options.clock), (Run::Application, TimeSource::Manual(5)));
        assert_eq!((options.threads, options.events, options.nice, options.thread_name.as_str()), (3, 16, -3, "gw"));
    }

    #[test]
    fn what_is_refused_is_named() {
        let sentence = refused(&hbeat_engine_options { run: 2, ..zero() });
        assert_eq!(sentence, "run is 2, allowed is HBEAT_RUN_THREADS (0) or HBEAT_RUN_APPLICATION (1)");
        assert!(refused(&hbeat_engine_options { clock: 9, ..zero() }).starts_with("clock is 9"));
        assert!(refused(&hbeat_engine_options { on_panic: 9, ..zero() }).starts_with("on_panic is 9"));
        let sentence = refused(&hbeat_engine_options { events: 1, ..zero() });
        assert_eq!(sentence, "events is 0x1, allowed is a mask within HBEAT_EVENTS_ALL (0x7fffe)");
        let sentence = refused(&hbeat_engine_options { thread_name: c"heartbeat-1".as_ptr(), ..zero() });
        assert_eq!(sentence, "thread_name is too long (\"heartbeat-1...\"), allowed are 10 bytes");
    }

    #[test]
    fn callbacks_get_the_applications_word_and_the_event() {
        unsafe extern "C-unwind" fn on_log(engine_data: *mut c_void, level: u32, line: *const c_char) {
            let seen = unsafe { &mut *engine_data.cast::<(u32, String)>() };
            *seen = (level, unsafe { std::ffi::CStr::from_ptr(line) }.to_str().unwrap().to_owned());
        }
        unsafe extern "C-unwind" fn release(link_data: *mut c_void) {
            unsafe { *link_data.cast::<u32>() += 1 };
        }
        let mut seen = (0, String::new());
        let mut released = 0_u32;
        let engine_data = (&raw mut seen).cast();
        let callbacks =
            callbacks(&hbeat_engine_options { on_log: Some(on_log), release: Some(release), engine_data, ..zero() });
        callbacks.on_log.unwrap()(Level::Warning, "late by\0 3 s");
        callbacks.release.unwrap()(crate::engine::LinkData((&raw mut released).expose_provenance()));
        assert_eq!((seen.0, seen.1.as_str(), released), (HBEAT_LOG_WARNING, "late by? 3 s", 1));
        assert!(callbacks.on_event.is_none());
    }

    #[test]
    fn a_panic_in_a_call_fails_the_engine_as_a_whole() {
        unsafe {
            let mut engine = null_mut();
            assert_eq!(hbeat_engine_new(&zero(), &mut engine), 0, "{}", last_error());
            let panics = with_engine(engine, |_| panic!("row 7 is missing"));
            assert_eq!(panics, hbeat_status_code::HBEAT_ERR_PANIC as i32);
            assert_eq!(last_error(), "a bug in hbeat was caught: row 7 is missing");
            assert_eq!(hbeat_engine_quiesce(engine, 0), hbeat_status_code::HBEAT_ERR_FAILED as i32);
            let mut health = hbeat_health { struct_size: size_of::<hbeat_health>() as u32, ..zeroed() };
            assert_eq!((hbeat_engine_health(engine, &mut health), health.phase), (0, HBEAT_PHASE_FAILED));
            assert_eq!(hbeat_engine_stop(engine, 10_000), 0);
            let (mut event, mut count) = (zeroed::<hbeat_event>(), 0);
            let size = size_of::<hbeat_event>() as u32;
            assert_eq!(hbeat_engine_wait(engine, &mut event, size, 1, 0, &mut count), 0);
            assert_eq!((event.r#type, count), (EventKind::EngineFailed as u32, 1));
            assert_eq!(hbeat_engine_wait(engine, &mut event, size, 1, 0, &mut count), HBEAT_INFO_END as i32);
            assert_eq!(hbeat_engine_free(engine), 0);
        }
    }

    #[test]
    fn no_engine_is_an_error_and_freeing_none_is_not() {
        let mut u64_place = 0;
        let mut health = unsafe { zeroed() };
        unsafe {
            for status in [
                hbeat_engine_stop(null_mut(), 0),
                hbeat_engine_quiesce(null_mut(), 0),
                hbeat_engine_health(null(), &mut health),
                hbeat_engine_links(null(), 0, &mut u64_place, 1, &mut 0),
                hbeat_engine_now(null(), &mut u64_place),
                hbeat_engine_wait(null_mut(), null_mut(), 0, 0, 0, null_mut()),
                hbeat_engine_fd(null_mut(), &mut 0),
                hbeat_engine_drive(null_mut(), 0),
                hbeat_engine_next_deadline(null_mut(), &mut u64_place),
                hbeat_engine_advance(null_mut(), 0),
            ] {
                assert_eq!((status, last_error()), (HBEAT_ERR_NULL as i32, "engine is NULL"));
            }
            assert_eq!(hbeat_engine_new(&zero(), null_mut()), HBEAT_ERR_NULL as i32);
            assert_eq!(last_error(), "engine is NULL");
            let mut engine = null_mut();
            assert_eq!(hbeat_engine_new(null(), &mut engine), HBEAT_ERR_NULL as i32);
            assert_eq!(last_error(), "options is NULL");
            assert!(engine.is_null());
            assert_eq!(hbeat_engine_free(null_mut()), 0);
        }
    }
}
