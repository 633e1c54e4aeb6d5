//! What a call comes to: one table of statuses, their names and their sentences.

use super::guard_text;
use crate::engine::Code;
use std::ffi::{CStr, c_char};

/// What a call came to: 0 is done, below 0 is an error and nothing was done, above 0 is done with something to add.
/// The values are those of enum hbeat_status_code.
pub type hbeat_status = i32;

/// ==== Statuses ====
///
/// Every status there is. hbeat_status_name and hbeat_status_text have a name and a sentence for each.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum hbeat_status_code {
    /// Done.
    HBEAT_OK = 0,
    /// feed: an answer is owed, take it. take, with protocol "none": write your own beat, with the number that
    /// *sequence had.
    HBEAT_INFO_SEND = 1,
    /// take: more frames than the buffer holds. advance, drive: events wait to be pulled. links: there are more.
    HBEAT_INFO_MORE = 2,
    /// report_down: the link was DOWN before; the first cause stands.
    HBEAT_INFO_ALREADY_DOWN = 3,
    /// stop from inside a callback: the engine stops as soon as the callback returns.
    HBEAT_INFO_STOPPING = 4,
    /// wait after stop: everything was handed out.
    HBEAT_INFO_END = 5,
    /// An argument, or a value of a policy, is out of its range; hbeat_last_error names field, value and range.
    HBEAT_ERR_INVALID = -1,
    /// A pointer that must not be NULL is.
    HBEAT_ERR_NULL = -2,
    /// struct_size or event_size is smaller than that struct ever was, or absurdly large (above 4096).
    HBEAT_ERR_SIZE = -3,
    /// A struct of a newer hbeat asks, by a field that is not 0, for something this one does not know.
    HBEAT_ERR_UNSUPPORTED = -4,
    /// The link is closed, was never opened, or is another engine's.
    HBEAT_ERR_NO_LINK = -5,
    /// open: as many opens wait as open_queue allows; try again.
    HBEAT_ERR_AGAIN = -6,
    /// open: max_links are open.
    HBEAT_ERR_LIMIT = -7,
    /// Another thread is in take or feed of this link, or in wait or drive of this engine; free: stop has not come
    /// to its end.
    HBEAT_ERR_BUSY = -8,
    /// stop, quiesce: the time given was not enough.
    HBEAT_ERR_TIMEOUT = -9,
    /// quiesce, drive, advance or free from inside a callback, which they would wait for.
    HBEAT_ERR_WOULD_DEADLOCK = -10,
    /// The engine was stopped.
    HBEAT_ERR_STOPPED = -11,
    /// The engine failed, see HBEAT_EVENT_ENGINE_FAILED.
    HBEAT_ERR_FAILED = -12,
    /// This process is a fork of the one that made the engine.
    HBEAT_ERR_FORKED = -13,
    /// The engine or the link was not set up for this call: drive with HBEAT_RUN_THREADS, advance without
    /// HBEAT_CLOCK_MANUAL, wait with on_event set, feed with protocol "none".
    HBEAT_ERR_WRONG_MODE = -14,
    /// feed: the bytes are not the link's protocol (any more); the link is DOWN with HBEAT_CAUSE_DESYNC. feed_sent: those
    /// sent are not.
    HBEAT_ERR_DESYNC = -15,
    /// Memory was refused.
    HBEAT_ERR_NO_MEMORY = -16,
    /// A system call failed; hbeat_last_error says which and why.
    HBEAT_ERR_SYSTEM = -17,
    /// A bug in hbeat, caught before it reached the caller.
    HBEAT_ERR_PANIC = -18,
}

use hbeat_status_code::*;

/// A status, its name and its sentence.
type Row = (hbeat_status_code, &'static CStr, &'static CStr);

static TABLE: [Row; 24] = [
    (HBEAT_OK, c"HBEAT_OK", c"the call did what was asked"),
    (HBEAT_INFO_SEND, c"HBEAT_INFO_SEND", c"something is to be sent"),
    (HBEAT_INFO_MORE, c"HBEAT_INFO_MORE", c"there is more to fetch"),
    (HBEAT_INFO_ALREADY_DOWN, c"HBEAT_INFO_ALREADY_DOWN", c"the link was down before; the first cause stands"),
    (HBEAT_INFO_STOPPING, c"HBEAT_INFO_STOPPING", c"the engine stops when the callback returns"),
    (HBEAT_INFO_END, c"HBEAT_INFO_END", c"the engine was stopped and every event was handed out"),
    (HBEAT_ERR_INVALID, c"HBEAT_ERR_INVALID", c"an argument is out of its range"),
    (HBEAT_ERR_NULL, c"HBEAT_ERR_NULL", c"a pointer that must not be NULL is NULL"),
    (HBEAT_ERR_SIZE, c"HBEAT_ERR_SIZE", c"struct_size or event_size does not fit any version of the struct"),
    (HBEAT_ERR_UNSUPPORTED, c"HBEAT_ERR_UNSUPPORTED", c"a field that this version of hbeat does not know is not 0"),
    (HBEAT_ERR_NO_LINK, c"HBEAT_ERR_NO_LINK", c"the link is closed, was never opened, or is another engine's"),
    (HBEAT_ERR_AGAIN, c"HBEAT_ERR_AGAIN", c"too many opens wait for the engine; try again"),
    (HBEAT_ERR_LIMIT, c"HBEAT_ERR_LIMIT", c"as many links are open as the engine may hold"),
    (HBEAT_ERR_BUSY, c"HBEAT_ERR_BUSY", c"another thread is inside, or the engine has not come to rest yet"),
    (HBEAT_ERR_TIMEOUT, c"HBEAT_ERR_TIMEOUT", c"the time given was not enough"),
    (HBEAT_ERR_WOULD_DEADLOCK, c"HBEAT_ERR_WOULD_DEADLOCK", c"the call would wait for the callback it was made from"),
    (HBEAT_ERR_STOPPED, c"HBEAT_ERR_STOPPED", c"the engine was stopped"),
    (HBEAT_ERR_FAILED, c"HBEAT_ERR_FAILED", c"the engine failed: a bug in hbeat was caught"),
    (HBEAT_ERR_FORKED, c"HBEAT_ERR_FORKED", c"this process is a fork of the one that made the engine"),
    (HBEAT_ERR_WRONG_MODE, c"HBEAT_ERR_WRONG_MODE", c"the engine or the link was not set up for this call"),
    (HBEAT_ERR_DESYNC, c"HBEAT_ERR_DESYNC", c"the bytes are not the link's protocol"),
    (HBEAT_ERR_NO_MEMORY, c"HBEAT_ERR_NO_MEMORY", c"memory was refused"),
    (HBEAT_ERR_SYSTEM, c"HBEAT_ERR_SYSTEM", c"a system call failed"),
    (HBEAT_ERR_PANIC, c"HBEAT_ERR_PANIC", c"a bug in hbeat was caught"),
];

/// The status of each of the engine's codes.
impl From<Code> for hbeat_status_code {
    fn from(code: Code) -> Self {
        match code {
            Code::Invalid => HBEAT_ERR_INVALID,
            Code::NoLink => HBEAT_ERR_NO_LINK,
            Code::Again => HBEAT_ERR_AGAIN,
            Code::Limit => HBEAT_ERR_LIMIT,
            Code::Busy => HBEAT_ERR_BUSY,
            Code::Timeout => HBEAT_ERR_TIMEOUT,
            Code::WouldDeadlock => HBEAT_ERR_WOULD_DEADLOCK,
            Code::Stopped => HBEAT_ERR_STOPPED,
            Code::Failed => HBEAT_ERR_FAILED,
            Code::Forked => HBEAT_ERR_FORKED,
            Code::WrongMode => HBEAT_ERR_WRONG_MODE,
            Code::Desync => HBEAT_ERR_DESYNC,
            Code::NoMemory => HBEAT_ERR_NO_MEMORY,
            Code::System => HBEAT_ERR_SYSTEM,
        }
    }
}

impl hbeat_status_code {
    /// Its sentence.
    pub(super) fn sentence(self) -> &'static str {
        row(self as hbeat_status).and_then(|row| row.2.to_str().ok()).unwrap_or_default()
    }
}

fn row(status: hbeat_status) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.0 as hbeat_status == status)
}

/// The name of a status as it stands in this header, "HBEAT_ERR_NO_LINK"; "unknown" for a number that is none. Never
/// NULL; lives for ever.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_status_name(status: hbeat_status) -> *const c_char {
    guard_text(|| row(status).map_or(c"unknown", |row| row.1))
}

/// What a status means, in one sentence. hbeat_last_error is more exact about a call that has just failed. Never
/// NULL; lives for ever.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_status_text(status: hbeat_status) -> *const c_char {
    guard_text(|| row(status).map_or(c"This is no status of hbeat.", |row| row.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_row_of_its_own() {
        for status in -18..=5 {
            assert_eq!(TABLE.iter().filter(|row| row.0 as hbeat_status == status).count(), 1, "{status}");
        }
        for (status, name, sentence) in TABLE {
            assert_eq!(name.to_str().unwrap(), format!("{status:?}"));
            assert!(!sentence.is_empty());
        }
    }

    #[test]
    fn numbers_that_are_no_status_have_a_name_too() {
        // SAFETY: takes no pointer, and what it gives lives for ever.
        let [name, text] = unsafe { [hbeat_status_name(99), hbeat_status_text(i32::MIN)].map(|it| CStr::from_ptr(it)) };
        assert_eq!(name, c"unknown");
        assert_eq!(text, c"This is no status of hbeat.");
    }
}
