//! What a shard's thread sleeps by. A channel would do, but whoever waits at one tries for a while before he sleeps, which
//! is wasted on a thread that has nothing to do until its next deadline.

use super::sync::{Condvar, Mutex, lock};
use std::sync::PoisonError;
use std::time::Duration;

#[derive(Default)]
pub struct Wake {
    state: Mutex<State>,
    roused: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Awake,
    Asleep,
    /// The next sleep does not begin.
    Roused,
}

impl Wake {
    pub fn rouse(&self) {
        if std::mem::replace(&mut *lock(&self.state), State::Roused) == State::Asleep {
            self.roused.notify_one();
        }
    }

    /// Whether it was roused since this was asked last, or a sleep ended.
    pub fn was_roused(&self) -> bool {
        std::mem::take(&mut *lock(&self.state)) == State::Roused
    }

    /// Sleeps until it is roused, if it was not by now, or for so long; it may end for no reason.
    pub fn sleep(&self, length: Option<Duration>) {
        let mut state = lock(&self.state);
        if *state != State::Roused {
            *state = State::Asleep;
            state = match length {
                None => self.roused.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(length) => self.roused.wait_timeout(state, length).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        *state = State::Awake;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_by_itself_by_being_roused_and_at_once_if_that_was_before() {
        let wake = Wake::default();
        wake.sleep(Some(Duration::from_millis(1)));
        assert!(!wake.was_roused());
        wake.rouse();
        wake.rouse();
        assert!(wake.was_roused() && !wake.was_roused());
        wake.rouse();
        wake.sleep(None);
        assert!(!wake.was_roused());
        std::thread::scope(|threads| {
            threads.spawn(|| wake.sleep(None));
            while *lock(&wake.state) != State::Asleep {
                std::thread::yield_now();
            }
            wake.rouse();
        });
        assert!(!wake.was_roused());
    }
}
