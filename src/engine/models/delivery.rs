//! The lanes: nothing that waits is forgotten, CLOSED comes last, and the end comes to everybody.

use super::{explore, thread};
use crate::engine::delivery::{Delivery, Gate, Item, Lane};
use crate::engine::event::{Event, EventKind, LinkId};
use crate::engine::sync::{AtomicBool, AtomicU32};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn item(kind: EventKind, link: u64) -> Item {
    let event = Event { link: Some(LinkId(link)), ..Event::of_engine(kind, 0) };
    Item { event, wanted: true }
}

/// What the application and its lanes' threads share.
struct World {
    delivery: Delivery,
    /// The link is closed: nothing but its CLOSED may leave a lane.
    closed: AtomicBool,
    in_on_send: AtomicBool,
    handed_out: AtomicU32,
}

impl World {
    fn new(split: bool) -> Arc<Self> {
        let delivery = Delivery::new(split);
        let [closed, in_on_send] = [AtomicBool::new(false), AtomicBool::new(false)];
        Arc::new(Self { delivery, closed, in_on_send, handed_out: AtomicU32::new(0) })
    }

    /// A notice waits, then the link is closed.
    fn push_notice_and_close(&self) {
        self.push([item(EventKind::Send, 1)]);
        self.closed.store(true, Ordering::Release);
        self.push([item(EventKind::Closed, 1)]);
    }

    fn push(&self, items: impl IntoIterator<Item = Item>) {
        self.delivery.push(&mut items.into_iter().collect());
    }

    fn called(&self, item: &Item) {
        match item.event.kind {
            EventKind::Send => {
                self.in_on_send.store(true, Ordering::Relaxed);
                self.in_on_send.store(false, Ordering::Relaxed);
            }
            EventKind::Closed => assert!(!self.in_on_send.load(Ordering::Relaxed), "CLOSED inside on_send"),
            _ => {}
        }
        // A notice is handed out or not: what comes without fail is counted.
        self.handed_out.fetch_add(u32::from(item.event.kind != EventKind::Send), Ordering::Relaxed);
    }

    /// What a lane's thread does.
    fn serve(&self, lane: Lane) {
        while let Some(item) = self.delivery.next_or_end(lane, self) {
            self.called(&item);
        }
        self.delivery.thread_ends();
    }

    /// What who pulls does.
    fn pull(&self) {
        let mut batch = Vec::new();
        while self.delivery.pull(&mut batch, 2, None, self) {
            batch.drain(..).for_each(|item| self.called(&item));
            self.delivery.finish(Lane::Events);
        }
    }

    fn handed_out(&self) -> u32 {
        self.handed_out.load(Ordering::Relaxed)
    }
}

impl Gate for World {
    fn is_alive(&self, _: &Event) -> bool {
        !self.closed.load(Ordering::Acquire)
    }
}

fn spawn(world: &Arc<World>, run: impl FnOnce(&World) + Send + 'static) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || run(&world))
}

#[test]
fn what_is_pushed_is_handed_out_before_the_end() {
    explore(|| {
        let world = World::new(false);
        world.delivery.thread_begins();
        let lane = spawn(&world, |world| world.serve(Lane::Events));
        world.push([item(EventKind::Down, 1)]);
        world.push([item(EventKind::Down, 2)]);
        world.delivery.end();
        assert!(world.delivery.ended(None));
        assert_eq!(world.handed_out(), 2);
        lane.join().unwrap();
    });
}

#[test]
fn rest_is_when_the_callback_has_returned() {
    explore(|| {
        let world = World::new(false);
        world.delivery.thread_begins();
        let lane = spawn(&world, |world| world.serve(Lane::Events));
        world.push([item(EventKind::Down, 1)]);
        assert!(world.delivery.rest(false, None));
        assert_eq!(world.handed_out(), 1);
        world.delivery.end();
        lane.join().unwrap();
    });
}

#[test]
fn closed_comes_when_no_callback_of_its_link_runs() {
    explore(|| {
        let world = World::new(true);
        (0..2).for_each(|_| world.delivery.thread_begins());
        let sends = spawn(&world, |world| world.serve(Lane::Sends));
        let events = spawn(&world, |world| world.serve(Lane::Events));
        world.push_notice_and_close();
        world.delivery.end();
        assert!(world.delivery.ended(None));
        assert_eq!(world.handed_out(), 1);
        sends.join().unwrap();
        events.join().unwrap();
    });
}

#[test]
fn who_pulls_gets_everything_and_then_the_end() {
    explore(|| {
        let world = World::new(true);
        world.delivery.thread_begins();
        let sends = spawn(&world, |world| world.serve(Lane::Sends));
        let puller = spawn(&world, World::pull);
        world.push_notice_and_close();
        world.delivery.end();
        sends.join().unwrap();
        puller.join().unwrap();
        assert_eq!(world.handed_out(), 1);
    });
}
