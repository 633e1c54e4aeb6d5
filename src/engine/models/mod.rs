//! What must hold in whatever order threads do what they do. Each story is a function of a few steps on two or three
//! threads. `cargo test` runs it with std's threads some thousand times; `make loom` has loom try every order, and
//! every value that a load may give, with at most so many preemptions: the same bodies, the same code of the engine.
//!
//! - `table`: the words of a link
//! - `desk`: the flag by which a feeding thread and the shard agree who looks after an unfinished message
//! - `delivery`: the lanes, and their end
//! - `engine`: calls, shard and lanes together

mod delivery;
mod desk;
mod engine;
mod table;

#[cfg(loom)]
use loom::thread;
#[cfg(not(loom))]
use std::thread;

/// How often std's threads try.
#[cfg(not(loom))]
const REPEATS: usize = 2_000;

#[cfg(not(loom))]
fn explore(story: fn()) {
    (0..REPEATS).for_each(|_| story());
}

/// Preemptions in one order, unless LOOM_MAX_PREEMPTIONS says otherwise: bugs that need more are rare.
#[cfg(loom)]
const PREEMPTIONS: usize = 3;

#[cfg(loom)]
fn explore(story: fn()) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(PREEMPTIONS));
    model.max_branches = 10_000;
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    model.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        story();
    });
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    println!("{name}: {} orders", orders.load(Ordering::Relaxed));
}
