//! tokio's `DelayQueue` with the keys that its user keeps, for ../tokio.c. The round of touches is here too, so that its
//! calls are as direct as a program's are.

use std::future::poll_fn;
use std::mem::forget;
use std::slice;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{coop::unconstrained, yield_now};
use tokio::time::Instant;
use tokio_util::time::{DelayQueue, delay_queue::Key};

pub struct Store {
    runtime: &'static Runtime,
    queue: DelayQueue<u32>,
    keys: Vec<Key>,
    period: Duration,
    /// What the clock said last: once a poll, not at each touch, as `reset` would with its own reading.
    now: Instant,
    due: extern "C" fn(u32) -> u64,
}

/// `walk` in ../peers.h.
#[repr(C)]
pub struct Walk {
    order: *const u32,
    length: u32,
    count: u32,
    at: u32,
}

impl Store {
    fn arm(&mut self, id: u32, after: Duration) {
        self.keys[id as usize] = self.queue.insert_at(id, self.now + after);
    }

    fn touch(&mut self, id: u32) {
        self.queue.reset_at(&self.keys[id as usize], self.now + self.period);
    }

    /// Only a driver that is parked looks at its clock, be it for no time: that is what the yield is for. Without a
    /// budget, or tokio would send us back there after each 128 that are due.
    fn turn(&mut self) {
        let Self { runtime, queue, keys, period, due, .. } = self;
        runtime.block_on(unconstrained(async {
            yield_now().await;
            poll_fn(|context| {
                while let Poll::Ready(Some(expired)) = queue.poll_expired(context) {
                    let id = expired.into_inner();
                    if due(id) != 0 {
                        keys[id as usize] = queue.insert(id, *period);
                    }
                }
                Poll::Ready(())
            })
            .await;
        }));
    }
}

/// Its thread is the one that arms, as a sleep is made in a runtime only; all else may be done by others.
#[unsafe(no_mangle)]
pub extern "C" fn delay_queue_new(count: u32, period_ms: u32, due: extern "C" fn(u32) -> u64) -> Box<Store> {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let runtime: &Runtime = Box::leak(Box::new(runtime));
    forget(runtime.enter());
    // A deadline is rounded up twice: to a millisecond since the queue began, and to one since the runtime did. Without
    // this the second would always cost a whole one; half of one is the mean.
    thread::sleep(Duration::from_micros(500));
    let mut queue = DelayQueue::with_capacity(count as usize);
    // Only a queue makes keys.
    let none = queue.insert(0, Duration::ZERO);
    queue.remove(&none);
    let keys = vec![none; count as usize];
    let period = Duration::from_millis(period_ms.into());
    Box::new(Store { runtime, queue, keys, period, now: Instant::now(), due })
}

#[unsafe(no_mangle)]
pub extern "C" fn delay_queue_refresh(store: &mut Store) {
    store.now = Instant::now();
}

#[unsafe(no_mangle)]
pub extern "C" fn delay_queue_arm(store: &mut Store, id: u32, after_ns: u64) {
    store.arm(id, Duration::from_nanos(after_ns));
}

#[unsafe(no_mangle)]
pub extern "C" fn delay_queue_touch(store: &mut Store, id: u32) {
    store.touch(id);
}

#[unsafe(no_mangle)]
pub extern "C" fn delay_queue_remove(store: &mut Store, id: u32) {
    store.queue.remove(&store.keys[id as usize]);
}

#[unsafe(no_mangle)]
pub extern "C" fn delay_queue_turn(store: &mut Store) {
    store.turn();
}

/// `walk_each` in ../peers.h.
///
/// # Safety
///
/// The order is as long as the way says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn delay_queue_walk(store: &mut Store, way: &mut Walk, clock_each: u32) {
    // SAFETY: that is what the caller promises.
    let order = unsafe { slice::from_raw_parts(way.order, way.length as usize) };
    let mut at = way.at as usize;
    for i in 0..way.count {
        if i % clock_each == 0 {
            store.now = Instant::now();
        }
        store.touch(order[at]);
        at = if at + 1 == order.len() { 0 } else { at + 1 };
    }
    way.at = at as u32;
}
