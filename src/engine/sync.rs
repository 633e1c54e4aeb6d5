//! The words, locks and queues by which threads meet: std's and crossbeam's, but for the models under `--cfg loom`.
//! There they are loom's, which tries all orders of what threads do and all values that a load may give.

#[cfg(not(all(loom, test)))]
pub use {
    crossbeam_channel as channel,
    std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence},
    std::sync::{Condvar, Mutex, MutexGuard},
};

#[cfg(all(loom, test))]
pub use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, fence},
};

/// A panic leaves the engine failed as a whole; what it left behind a lock is still good enough to come to rest.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As much of crossbeam-channel as the engine uses, for loom. A queue is no stronger a meeting point here than it must
/// be: who receives has seen what the sender did before; an empty queue says nothing about its senders.
#[cfg(all(loom, test))]
pub mod channel {
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::time::Duration;

    struct Queue<T> {
        items: std::sync::Mutex<VecDeque<T>>,
        count: AtomicUsize,
    }

    impl<T> Queue<T> {
        fn items(&self) -> std::sync::MutexGuard<'_, VecDeque<T>> {
            self.items.lock().expect("nobody panics inside")
        }
    }

    pub struct Sender<T>(Arc<Queue<T>>);
    pub struct Receiver<T>(Arc<Queue<T>>);

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }

    #[derive(Debug)]
    pub struct Empty;

    impl Empty {
        #[allow(clippy::unused_self, reason = "as crossbeam's")]
        pub fn is_timeout(&self) -> bool {
            true
        }
    }

    pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        let queue = Arc::new(Queue { items: std::sync::Mutex::default(), count: AtomicUsize::new(0) });
        (Sender(Arc::clone(&queue)), Receiver(queue))
    }

    /// Nothing is sent but the end of its sender.
    pub fn bounded<T>(_: usize) -> (Sender<T>, Receiver<T>) {
        unbounded()
    }

    impl<T> Sender<T> {
        pub fn send(&self, item: T) -> Result<(), Empty> {
            // loom lets other threads in before it counts, not after: count and items are always of one mind.
            self.0.count.fetch_add(1, Ordering::Release);
            self.0.items().push_back(item);
            Ok(())
        }

        pub fn is_empty(&self) -> bool {
            self.0.count.load(Ordering::Acquire) == 0
        }
    }

    impl<T> Receiver<T> {
        pub fn len(&self) -> usize {
            self.0.count.load(Ordering::Acquire)
        }

        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub fn try_recv(&self) -> Result<T, Empty> {
            if self.is_empty() {
                return Err(Empty);
            }
            self.0.count.fetch_sub(1, Ordering::AcqRel);
            self.0.items().pop_front().ok_or(Empty)
        }

        pub fn recv(&self) -> Result<T, Empty> {
            // No model waits at a queue.
            self.try_recv()
        }

        pub fn recv_timeout(&self, _: Duration) -> Result<T, Empty> {
            self.recv()
        }
    }
}
