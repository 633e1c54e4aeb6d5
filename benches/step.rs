//! A link's step function against the least that could keep its schedule, in one run; ends with the ratios.
//!
//! `cargo bench --bench step`

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use common::measure;
use criterion::{Criterion, Throughput};
use hbeat::core::{Context, Facts, Input, Link, Output, Policy, Side, Stamp};

/// So few that they stay in the cache: it is the step that is measured, not memory.
const LINKS: u32 = 4_096;

/// What both peers can do. Each has a time of its own, which goes on to what it is to do next; `true`: it said what was
/// expected of it.
trait Machine {
    fn started(policy: &Policy, ordinal: u32) -> Self;
    /// The deadline has come: a beat is due.
    fn beat(&mut self, policy: &Policy) -> bool;
    /// The application took the beat, to write it.
    fn taken(&mut self, policy: &Policy) -> bool;
    /// The deadline has come: the answer is missed, and one more beat is due.
    fn miss(&mut self, policy: &Policy) -> bool;
    /// Something arrived, which proves that the peer lives.
    fn heard(&mut self, policy: &Policy) -> bool;
}

struct Ours {
    link: Link,
    side: Option<Box<Side>>,
    ordinal: u32,
    sequence: u32,
    now: Stamp,
    deadline: Stamp,
}

impl Ours {
    fn step(&mut self, policy: &Policy, input: Input) -> Output {
        let context = Context { policy, seed: 1, ordinal: self.ordinal, tick_ms: 1, due_by: self.now, pause: None };
        let output = self.link.step(&mut self.side, &context, self.now, input);
        self.deadline = output.deadline.unwrap_or(self.deadline);
        output
    }
}

impl Machine for Ours {
    fn started(policy: &Policy, ordinal: u32) -> Self {
        let now = Stamp(1);
        let mut ours = Self { link: Link::new(now), side: None, ordinal, sequence: 0, now, deadline: now };
        ours.step(policy, Input::Start { at: now });
        ours
    }

    fn beat(&mut self, policy: &Policy) -> bool {
        self.now = self.deadline;
        self.step(policy, Input::Tick).notice.is_some()
    }

    fn taken(&mut self, policy: &Policy) -> bool {
        self.sequence += 1;
        let taken = Input::Taken { sequence: self.sequence, at: self.now, at_us: self.now.0.wrapping_mul(1_000) };
        self.step(policy, taken).notice.is_none()
    }

    fn miss(&mut self, policy: &Policy) -> bool {
        self.now = self.deadline;
        self.step(policy, Input::Tick).judge && self.step(policy, Input::Judge(Facts::default())).change.is_some()
    }

    fn heard(&mut self, policy: &Policy) -> bool {
        self.now = self.now.plus(1);
        self.step(policy, Input::Stamps { received: self.now, sent: self.now, open_since: None }).change.is_some()
    }
}

/// Counts tries, and knows none of the rules that make a verdict truthful.
struct Bound {
    now: u32,
    deadline: u32,
    sequence: u32,
    misses: u32,
    asks: bool,
}

impl Machine for Bound {
    fn started(policy: &Policy, _: u32) -> Self {
        Self { now: 1, deadline: 1 + policy.interval_ms, sequence: 0, misses: 0, asks: false }
    }

    fn beat(&mut self, policy: &Policy) -> bool {
        self.now = self.deadline;
        self.deadline = self.now.wrapping_add(policy.timeout_ms);
        !std::mem::replace(&mut self.asks, true)
    }

    fn taken(&mut self, policy: &Policy) -> bool {
        self.sequence += 1;
        self.deadline = self.now.wrapping_add(policy.timeout_ms);
        self.asks
    }

    fn miss(&mut self, policy: &Policy) -> bool {
        self.now = self.deadline;
        self.deadline = self.now.wrapping_add(policy.timeout_ms);
        self.misses += 1;
        self.asks && self.misses < policy.tries
    }

    fn heard(&mut self, policy: &Policy) -> bool {
        self.now = self.now.wrapping_add(1);
        self.deadline = self.now.wrapping_add(policy.interval_ms);
        self.misses = 0;
        std::mem::replace(&mut self.asks, false)
    }
}

/// What is measured, in the order in which a link lives through it: it ends as it began.
const STEPS: [&str; 4] = ["beat", "taken", "miss", "heard"];
const TITLES: [&str; 4] = ["Tick, a beat is due", "Taken", "Tick and Judge, a miss", "Stamps, a sign of life"];

/// All links live through all of it; gives how long step number `counted` took.
fn live<M: Machine>(links: &mut [M], policy: &Policy, counted: usize) -> Duration {
    let steps = [M::beat, M::taken, M::miss, M::heard];
    let mut spent = Duration::ZERO;
    for (at, step) in steps.iter().enumerate() {
        let begun = Instant::now();
        let expected = links.iter_mut().map(|link| step(black_box(link), policy)).filter(|&expected| expected).count();
        if at == counted {
            spent = begun.elapsed();
        }
        assert_eq!(expected, links.len(), "{}", STEPS[at]);
    }
    spent
}

fn bench<M: Machine>(criterion: &mut Criterion, name: &str, policy: &Policy) -> [f64; 4] {
    let mut links: Vec<M> = (0..LINKS).map(|ordinal| M::started(policy, ordinal)).collect();
    std::array::from_fn(|at| {
        let count = (Throughput::Elements as _, LINKS.into());
        measure(criterion, (STEPS[at], name), count, || live(&mut links, policy, at))
    })
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let policy = Policy::preset("normal").expect("a preset");
    let ours = bench::<Ours>(&mut criterion, "link", &policy);
    let bound = bench::<Bound>(&mut criterion, "bound", &policy);
    criterion.final_summary();

    println!("4096 links, ns a step         link     bound  link/bound");
    for (at, title) in TITLES.iter().enumerate() {
        println!("{title:<24}{:>10.1}{:>10.1}{:>12.2}", ours[at], bound[at], ours[at] / bound[at]);
    }
}
