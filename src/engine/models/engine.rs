//! Calls, shard and lanes together. The engine has no threads of its own here: a thread of the story turns the shard,
//! or drives.

use super::{explore, thread};
use crate::core::{Cause, Policy};
use crate::engine::delivery::Lane;
use crate::engine::links::Taken;
use crate::engine::shard::{Next, Shard};
use crate::engine::table::beat;
use crate::engine::{Callbacks, Engine, EventKind, LinkId, LinkOptions, Options, Run, TimeSource};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const START_NS: u64 = 1_000_000_000_000;

/// An engine that is turned by hand, and how many events of a kind its callbacks had: std's words, so that loom does
/// not try their orders, too.
struct World {
    engine: Engine,
    told: Arc<[AtomicU32; 16]>,
}

impl World {
    fn new() -> Arc<Self> {
        let told: Arc<[AtomicU32; 16]> = Arc::default();
        let counter = || {
            let told = Arc::clone(&told);
            Box::new(move |event: &crate::engine::Event| {
                told[event.kind as usize].fetch_add(1, Ordering::Relaxed);
            })
        };
        let callbacks = Callbacks { on_event: Some(counter()), on_send: Some(counter()), ..Callbacks::default() };
        let clock = TimeSource::Manual(START_NS);
        let options = Options { run: Run::Application, clock, max_links: 4, callbacks, ..Options::default() };
        Arc::new(Self { engine: Engine::new(options).unwrap_or_else(|error| panic!("{error}")), told })
    }

    /// A link of which a beat is due after 10 ms, and three times one after 10 more.
    fn open(&self) -> Option<LinkId> {
        let preset = Policy::preset("cmpp").unwrap_or_else(|error| panic!("{error}"));
        let policy = Policy { interval_ms: 10, timeout_ms: 10, tries: 3, ..preset };
        self.engine.open(&policy, &LinkOptions::default()).ok()
    }

    /// One link, known to the shard.
    fn with_link() -> (Arc<Self>, LinkId) {
        let world = Self::new();
        let link = world.open().unwrap();
        world.drive_at(0);
        (world, link)
    }

    fn move_to(&self, ms: u64) {
        self.engine.inner.clock.set_ns(START_NS + ms * 1_000_000);
    }

    fn drive_at(&self, ms: u64) {
        self.move_to(ms);
        self.drive();
    }

    fn drive(&self) {
        self.engine.drive(0).unwrap_or_else(|error| panic!("{error}"));
    }

    /// One turn of the shard; nothing is handed out.
    fn turn(&self) -> Next {
        self.engine.inner.shards[0].turn(&self.engine.inner)
    }

    /// The lane of the notices hands out one, if one waits and is still of use.
    fn hand_out_notice(&self) -> bool {
        let inner = &self.engine.inner;
        let item = inner.delivery.next(Lane::Sends, &**inner);
        inner.delivery.finish(Lane::Sends);
        item.is_some()
    }

    fn take(&self, link: LinkId) -> bool {
        self.engine.take(link, None, 0, &mut []).is_ok_and(|Taken { own_beat, .. }| own_beat)
    }

    fn has(&self, link: LinkId, bits: u32) -> bool {
        self.engine.inner.shards[0].table.find(link.key()).is_some_and(|words| words.has(bits))
    }

    fn told(&self, kind: EventKind) -> u32 {
        self.told[kind as usize].load(Ordering::Relaxed)
    }
}

fn shard(world: &World) -> &Shard {
    &world.engine.inner.shards[0]
}

fn spawn<T: 'static + Send>(
    world: &Arc<World>,
    run: impl FnOnce(&World) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let world = Arc::clone(world);
    thread::spawn(move || run(&world))
}

#[test]
fn each_link_ends_once_whoever_closes_and_stops() {
    explore(|| {
        let (world, link) = World::with_link();
        let closer = spawn(&world, move |world| world.engine.close(link).is_ok());
        let stopper = spawn(&world, |world| world.engine.stop(None).is_ok());
        let second = world.open();
        closer.join().unwrap();
        assert!(stopper.join().unwrap());
        assert_eq!(world.told(EventKind::Closed), 1 + u32::from(second.is_some()));
        assert!(world.open().is_none());
        assert_eq!(world.engine.inner.links.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_closed_link_ends_once_and_nothing_else_follows() {
    explore(|| {
        let (world, link) = World::with_link();
        world.move_to(10);
        let driver = spawn(&world, World::drive);
        assert!(world.engine.close(link).is_ok());
        let sends = world.told(EventKind::Send);
        driver.join().unwrap();
        // One that had left its lane when close returned may still come.
        assert!(world.told(EventKind::Send) <= sends + 1);
        world.drive_at(100);
        assert_eq!(world.told(EventKind::Closed), 1);
        assert!(world.told(EventKind::Send) <= 1 && world.told(EventKind::Suspect) == 0);
    });
}

#[test]
fn a_beat_is_taken_once() {
    explore(|| {
        let (world, link) = World::with_link();
        world.drive_at(10);
        let other = spawn(&world, move |world| world.take(link));
        let here = world.take(link);
        assert!(here ^ other.join().unwrap());
        world.drive();
        let info = world.engine.info(link).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(info.beats_sent, 1);
    });
}

/// A proof of life comes while the beat is taken: it is taken or withdrawn, and the shard knows which.
#[test]
fn a_beat_is_taken_or_withdrawn() {
    explore(|| {
        let (world, link) = World::with_link();
        world.drive_at(10);
        world.move_to(11);
        let taker = spawn(&world, move |world| world.take(link));
        assert!(world.engine.beat_received(link, 1, 0).is_ok());
        world.turn();
        let taken = taker.join().unwrap();
        world.drive();
        assert!(!world.has(link, beat::WANTED));
        let info = world.engine.info(link).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(info.beats_sent, u64::from(taken));
    });
}

#[test]
fn a_closed_links_beat_is_not_taken() {
    explore(|| {
        let (world, link) = World::with_link();
        world.drive_at(10);
        let closer = spawn(&world, move |world| world.engine.close(link).is_ok());
        let taken = world.take(link);
        assert!(closer.join().unwrap());
        assert!(!world.take(link), "close has returned");
        let words = world.engine.inner.shards[0].table.words(link.key().index).unwrap();
        assert_eq!(
            words.has(beat::WANTED),
            !taken,
            "what was not taken is left to the slot's next link, which clears it"
        );
        world.drive();
        assert_eq!(world.told(EventKind::Closed), 1);
    });
}

#[test]
fn of_several_reports_one_is_the_first_and_down_comes_once() {
    explore(|| {
        let (world, link) = World::with_link();
        let report = move |world: &World| world.engine.report_down(link, Cause::Reset, 1).unwrap_or(false);
        let other = spawn(&world, report);
        let driver = spawn(&world, World::drive);
        let here = report(&world);
        assert!(here ^ other.join().unwrap());
        driver.join().unwrap();
        world.drive();
        assert_eq!(world.told(EventKind::Down), 1);
    });
}

/// The shard finds the link SUSPECT and goes to sleep; what a thread tells at that moment must wake it.
#[test]
fn news_of_a_suspect_link_is_not_slept_over() {
    explore(|| {
        let (world, link) = World::with_link();
        world.drive_at(10);
        assert!(world.take(link));
        world.drive();
        world.move_to(20);
        shard(&world).was_woken();
        let teller = spawn(&world, move |world| world.engine.answer_received(link, 7, 0).is_ok());
        let next = world.turn();
        assert!(teller.join().unwrap());
        assert!(world.has(link, beat::SUSPECT), "the answer matches nothing");
        assert!(next == Next::Again || shard(&world).planned_ns() > 0 || shard(&world).was_woken());
    });
}

/// A notice waits whose beat was withdrawn; the next beat is due while the lane takes that notice up.
#[test]
fn a_beat_that_is_due_is_noticed() {
    explore(|| {
        let (world, link) = World::with_link();
        world.move_to(10);
        world.turn();
        world.move_to(11);
        assert!(world.engine.beat_received(link, 1, 0).is_ok());
        assert!(world.engine.start(link, 0).is_ok());
        world.turn();
        assert!(world.has(link, beat::QUEUED) && !world.has(link, beat::WANTED));
        world.move_to(21);
        let lane = spawn(&world, World::hand_out_notice);
        world.turn();
        let mut noticed = lane.join().unwrap();
        while world.has(link, beat::QUEUED) {
            noticed |= world.hand_out_notice();
        }
        assert!(noticed && world.has(link, beat::WANTED));
    });
}
