//! The timing wheel against a sorted map: same ids, same ticks, nothing lost, early or twice.

use std::collections::BTreeSet;

use hbeat::core::{Queued, Stamp, Wheel};
use proptest::prelude::*;

const IDS: usize = 24;
const DAY_MS: u32 = 86_400_000;

/// What happens to the links. Times in ms.
#[derive(Clone, Debug)]
enum Step {
    /// Queue an id, again or anew, so far from now (negative: in the past).
    Queue(usize, i32),
    /// Queue an id so far from now, close it and queue it for the same time again.
    Reuse(usize, i32),
    Close(usize),
    /// Queue ids again and again, as churn does.
    Churn(i32),
    /// Time passes; the turns look at so many entries.
    Pass(u32, usize),
    /// Sleep until the wheel's next deadline, this often.
    Sleep(usize),
}

/// The owner and the model in one: the queued time of each id, in ms since the start.
struct Links {
    start: Stamp,
    due: Vec<Option<i64>>,
}

impl Queued for Links {
    fn queued(&self, id: u32) -> Option<Stamp> {
        self.due[id as usize].map(|due| stamp(self.start, due))
    }

    fn clear(&mut self, id: u32) {
        assert!(self.due[id as usize].is_some(), "{id} was handed out twice");
        self.due[id as usize] = None;
    }
}

fn stamp(start: Stamp, ms: i64) -> Stamp {
    Stamp(start.0.wrapping_add(ms as u32))
}

struct World {
    wheel: Wheel,
    links: Links,
    /// (tick, id) of all that is queued: the model.
    model: BTreeSet<(i64, usize)>,
    now: i64,
    tick_ms: i64,
    spurious: usize,
    /// Whether something was ever queued beyond the reach of the wheel: then it may wake one turn early.
    beyond: bool,
}

/// As far as the wheel reaches wherever it stands, in ticks.
const REACH: i64 = 1023 << 20;

impl World {
    fn new(start: Stamp, tick_ms: u32) -> Self {
        Self {
            wheel: Wheel::new(start, tick_ms),
            links: Links { start, due: vec![None; IDS] },
            model: BTreeSet::new(),
            now: 0,
            tick_ms: i64::from(tick_ms),
            spurious: 0,
            beyond: false,
        }
    }

    /// The first moment, in ms since the start, at which the wheel's ticks allow `due` to be handed out. Ticks are
    /// multiples of `tick_ms` in a count that has the stamp as its lower 32 bits and started in the second turn.
    fn rounded(&self, due: i64) -> i64 {
        let offset = (1 << 32) + i64::from(self.links.start.0);
        (due + offset + self.tick_ms - 1).div_euclid(self.tick_ms) * self.tick_ms - offset
    }

    /// The moment of the current tick.
    fn current(&self) -> i64 {
        self.rounded(self.now - self.tick_ms + 1)
    }

    fn forget(&mut self, id: usize) {
        self.model.retain(|&(_, other)| other != id);
    }

    fn queue(&mut self, id: usize, after: i32) {
        let due = self.now + i64::from(after);
        self.forget(id);
        self.beyond |= i64::from(after) >= REACH * self.tick_ms;
        self.links.due[id] = Some(due);
        self.wheel.insert(id as u32, stamp(self.links.start, due));
        self.model.insert((self.rounded(due).max(self.current()), id));
    }

    fn close(&mut self, id: usize) {
        self.forget(id);
        self.links.due[id] = None;
    }

    /// Turns the wheel at `now` and compares what comes with the model.
    fn pass(&mut self, ms: u32, budget: usize) -> usize {
        self.now += i64::from(ms);
        let now = stamp(self.links.start, self.now);
        let mut out = Vec::new();
        let mut turns = 0;
        while self.wheel.advance(now, &mut self.links, &mut out, budget) {
            turns += 1;
            assert!(turns < 1_000_000, "never done");
            let due = self.wheel.next_due(&self.links);
            assert!(due.is_none_or(|due| !due.is_after(now)) || self.nothing_due(&out), "a cut turn hides a deadline");
        }
        self.compare(&out);
        out.len()
    }

    fn nothing_due(&self, out: &[u32]) -> bool {
        self.model.iter().filter(|(tick, _)| *tick <= self.now).count() == out.len()
    }

    fn compare(&mut self, out: &[u32]) {
        let later = self.model.split_off(&(self.now + 1, 0));
        let expected = std::mem::replace(&mut self.model, later);
        let mut handed_out: Vec<(i64, usize)> = Vec::new();
        for &id in out {
            let found = expected.iter().find(|&&(_, other)| other == id as usize);
            handed_out.push(*found.unwrap_or_else(|| panic!("{id} is early or nobody's")));
        }
        assert!(handed_out.is_sorted_by_key(|&(tick, _)| tick), "out of order: {handed_out:?}");
        assert_eq!(handed_out.len(), expected.len(), "lost, of {expected:?}");
        assert_eq!(handed_out.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    /// With so few links the next deadline is exact, stale entries or not.
    fn check(&mut self) {
        self.wheel.check(&self.links, 0..IDS as u32);
        let least = self.model.first().map(|&(tick, _)| stamp(self.links.start, tick));
        let many = self.beyond || self.wheel.entries() > 128;
        let next = self.wheel.next_due(&self.links);
        match (next, least) {
            (Some(next), Some(least)) => assert!(!next.is_after(least), "{next:?} is later than {least:?}"),
            (None, None) => {}
            (None, Some(least)) => panic!("{least:?} is queued, and no deadline"),
            (Some(next), None) => assert!(many, "{next:?} for nothing"),
        }
        assert!(many || next == least, "{next:?} is not {least:?}");
    }

    fn sleep(&mut self) {
        let Some(next) = self.wheel.next_due(&self.links) else {
            return;
        };
        let now = stamp(self.links.start, self.now);
        if self.pass(next.since(now).max(0) as u32, usize::MAX) == 0 {
            self.spurious += 1;
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Queue(id, after) => self.queue(id, after),
            Step::Reuse(id, after) => {
                self.queue(id, after);
                self.close(id);
                self.queue(id, after);
            }
            Step::Close(id) => self.close(id),
            Step::Churn(after) => (0..2_000).for_each(|n| self.queue(n % IDS, after + (n / IDS) as i32)),
            Step::Pass(ms, budget) => {
                self.pass(ms, budget);
            }
            Step::Sleep(times) => (0..times).for_each(|_| self.sleep()),
        }
    }
}

fn after() -> impl Strategy<Value = i32> {
    prop_oneof![
        2 => -5_000..0,
        4 => 0..50,
        4 => 0..6_000,
        4 => 0..5_000_000,
        4 => 0..DAY_MS as i32,
        1 => 0..=1 << 30,
        1 => (0u32..31).prop_map(|bit| 1 << bit),
        1 => (0u32..31).prop_map(|bit| (1 << bit) - 1),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let pass = prop_oneof![4 => 0..4u32, 4 => 0..2_000u32, 3 => 0..5_000_000u32, 2 => 0..DAY_MS, 1 => 0..=1u32 << 30];
    let budget = prop_oneof![Just(1usize), Just(20), Just(usize::MAX)];
    prop_oneof![
        10 => (0..IDS, after()).prop_map(|(id, after)| Step::Queue(id, after)),
        3 => (0..IDS, after()).prop_map(|(id, after)| Step::Reuse(id, after)),
        4 => (0..IDS).prop_map(Step::Close),
        1 => after().prop_map(Step::Churn),
        6 => (pass, budget).prop_map(|(ms, budget)| Step::Pass(ms, budget)),
        4 => (1usize..6).prop_map(Step::Sleep),
    ]
}

fn start() -> impl Strategy<Value = Stamp> {
    prop_oneof![any::<u32>(), (0..10_000u32).prop_map(|before| u32::MAX - before), 0..2_000u32].prop_map(Stamp)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_wheel_is_a_sorted_map(
        start in start(),
        tick_ms in prop_oneof![Just(1u32), Just(10), Just(1000), 1..=1000u32],
        sweep_always in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut world = World::new(start, tick_ms);
        if sweep_always {
            world.wheel.sweep_always();
        }
        for step in &steps {
            world.step(step);
            world.check();
        }
    }

    /// Every link at any distance up to 24 h is one wake-up; closed and earlier ones add none.
    #[test]
    fn a_sleeper_wakes_once_for_each_due_tick(
        start in start(),
        tick_ms in prop_oneof![Just(1u32), Just(10), Just(1000)],
        afters in proptest::collection::vec((0..IDS, 0..DAY_MS as i32, any::<bool>()), 1..80),
    ) {
        let mut world = World::new(start, tick_ms);
        for &(id, after, close) in &afters {
            world.queue(id, after);
            if close {
                world.close(id);
            }
        }
        while world.wheel.next_due(&world.links).is_some() {
            world.sleep();
        }
        prop_assert!(world.model.is_empty());
        prop_assert_eq!(world.spurious, 0);
    }
}
