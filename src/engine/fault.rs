//! Panics on purpose, for tests that show what a bug in hbeat would come to. Only the feature `fault-injection` has them;
//! without it a point is nothing.

/// Where a panic can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(feature = "fault-injection"), allow(dead_code, reason = "a point is nothing"))]
pub(crate) enum Point {
    /// The next body of an export, on the thread that asked.
    Call = 1,
    /// A link is being stepped, under the lock of its shard's turns.
    Turn = 2,
    /// A lane is about to call the application.
    BeforeCallback = 3,
    /// A lane is back from it.
    AfterCallback = 4,
    /// Bytes are being fed, under the lock of the desk's reader.
    Feed = 5,
    /// Answers are being taken, under the lock of the desk's ring.
    Take = 6,
}

#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub(crate) fn point(_: Point) {}

#[cfg(feature = "fault-injection")]
pub(crate) use armed::{arm, point};

#[cfg(feature = "fault-injection")]
mod armed {
    use super::Point;
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU32, Ordering};

    thread_local! {
        static CALL: Cell<bool> = const { Cell::new(false) };
    }
    /// The number of the point that panics next; 0 = none.
    static ARMED: AtomicU32 = AtomicU32::new(0);

    /// Makes the point of that number panic, once.
    pub(crate) fn arm(number: u32) {
        if number == Point::Call as u32 {
            CALL.set(true);
        } else {
            ARMED.store(number, Ordering::SeqCst);
        }
    }

    pub(crate) fn point(point: Point) {
        let armed = match point {
            Point::Call => CALL.take(),
            _ => ARMED.compare_exchange(point as u32, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok(),
        };
        assert!(!armed, "{point:?} was asked to panic by a test");
    }
}
