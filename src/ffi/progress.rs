//! The application's word that it goes on.

use super::engine::{hbeat_engine, with_engine};
use super::{done, hbeat_link, hbeat_status};
use crate::engine::LinkId;

/// ==== Progress ====
///
/// The application goes on: call it where the work is done, in the loop or the worker that must not get stuck, once a
/// turn. Each link whose policy has progress_ms is then good for another progress_ms, but for those that
/// hbeat_link_progress was ever called for. Where the calls stay away for so long: HBEAT_EVENT_APP_NOT_RESPONDING for each
/// such link, and on_no_progress says what becomes of its beats and answers; with the next call all is as before. Until the
/// first call the time runs from the opening or the start of the link.
///
/// Costs a few nanoseconds, takes no lock, wakes nobody but an engine that had given the application up. now_ns: when; 0 =
/// now, the caller's own time is much cheaper.
///
/// Threads: any.
/// In a callback: yes; but a callback that is called proves only that hbeat goes on.
/// Blocks: no.
/// Errors: NULL, STOPPED. In a forked child it does nothing and says OK.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_engine_progress(engine: *mut hbeat_engine, now_ns: u64) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| done(engine.progress(now_ns))) }
}

/// The same for one link, for an application that works on each by itself: a worker that is stuck costs the links that it
/// serves. From the first call on it is this mark alone that counts for the link, and hbeat_engine_progress does not any
/// more.
///
/// Threads: any.
/// In a callback: yes; but a callback that is called proves only that hbeat goes on.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; NO_MEMORY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_progress(engine: *mut hbeat_engine, link: hbeat_link, now_ns: u64) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| done(engine.link_progress(LinkId(link), now_ns))) }
}
