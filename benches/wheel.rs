//! The timing wheel against a binary heap with lazy deletion, in one run; ends with the ratios.
//!
//! `cargo bench --bench wheel`

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use hbeat::core::{Queued, Stamp, Wheel};

const LINKS: u32 = 1_000_000;
const PERIOD_MS: u32 = 30_000;

/// The queued time of each link; 0 = none (no deadline here is 0).
struct Links(Vec<u32>);

impl Queued for Links {
    fn queued(&self, id: u32) -> Option<Stamp> {
        let due = self.0[id as usize];
        (due != 0).then_some(Stamp(due))
    }

    fn clear(&mut self, id: u32) {
        self.0[id as usize] = 0;
    }
}

/// What both peers can do.
trait Timers {
    fn new() -> Self;
    fn insert(&mut self, id: u32, due: u32);
    /// Hands out what is due at `now`.
    fn advance(&mut self, now: u32, out: &mut Vec<u32>);
}

struct WheelTimers(Wheel, Links);

impl Timers for WheelTimers {
    fn new() -> Self {
        Self(Wheel::new(Stamp(1), 1), Links(vec![0; LINKS as usize]))
    }

    fn insert(&mut self, id: u32, due: u32) {
        self.1.0[id as usize] = due;
        self.0.insert(id, Stamp(due));
    }

    fn advance(&mut self, now: u32, out: &mut Vec<u32>) {
        while self.0.advance(Stamp(now), &mut self.1, out, 4096) {}
    }
}

/// The usual peer: entries of closed or moved links stay in the heap until they surface.
struct HeapTimers(BinaryHeap<Reverse<(u32, u32)>>, Links);

impl Timers for HeapTimers {
    fn new() -> Self {
        Self(BinaryHeap::new(), Links(vec![0; LINKS as usize]))
    }

    fn insert(&mut self, id: u32, due: u32) {
        self.1.0[id as usize] = due;
        self.0.push(Reverse((due, id)));
    }

    fn advance(&mut self, now: u32, out: &mut Vec<u32>) {
        while let Some(&Reverse((due, id))) = self.0.peek() {
            if due > now {
                break;
            }
            self.0.pop();
            if self.1.0[id as usize] == due {
                self.1.clear(id);
                out.push(id);
            }
        }
    }
}

/// A due time of the first period; neighbours in id are far apart in time.
fn phase(id: u32) -> u32 {
    2 + (u64::from(id) * 618_033_989 % u64::from(PERIOD_MS)) as u32
}

fn filled<T: Timers>() -> T {
    let mut timers = T::new();
    (0..LINKS).for_each(|id| timers.insert(id, phase(id)));
    timers
}

/// One millisecond of the steady state: hand out, arm again a period later.
fn turn<T: Timers>(timers: &mut T, now: u32, out: &mut Vec<u32>) -> u64 {
    out.clear();
    timers.advance(now, out);
    for &id in out.iter() {
        timers.insert(id, now + PERIOD_MS);
    }
    out.len() as u64
}

/// ns per id of the last measurement, and ns of each turn where turns were measured one by one.
#[derive(Default)]
struct Result {
    ns: Cell<f64>,
    turns: RefCell<Vec<u64>>,
}

impl Result {
    /// The turn than which only one in `of` was longer, in µs. The longest of all tells of the machine, not of us.
    fn rare_turn_us(&self, of: usize) -> f64 {
        let mut turns = self.turns.borrow_mut();
        turns.sort_unstable();
        let at = turns.len() - turns.len() / of;
        turns.get(at.saturating_sub(1)).map_or(0.0, |&ns| ns as f64 / 1000.0)
    }
}

fn bench_insert<T: Timers>(criterion: &mut Criterion, name: &str, result: &Result) {
    let mut group = criterion.benchmark_group("insert_1m");
    group.throughput(Throughput::Elements(u64::from(LINKS))).sample_size(10);
    group.bench_function(name, |bench| {
        bench.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let begun = Instant::now();
                let timers = filled::<T>();
                spent += begun.elapsed();
                drop(black_box(timers));
            }
            result.ns.set(spent.as_nanos() as f64 / (rounds as f64 * f64::from(LINKS)));
            spent
        });
    });
}

/// One iteration is one millisecond of 1 M links, 33 of which come.
fn bench_steady<T: Timers>(criterion: &mut Criterion, name: &str, result: &Result) {
    let mut group = criterion.benchmark_group("fire_and_rearm_1m_per_ms");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    let (mut timers, mut out, mut now) = (filled::<T>(), Vec::new(), 1);
    for _ in 0..PERIOD_MS + 5_000 {
        now += 1;
        turn(&mut timers, now, &mut out);
    }
    let (mut total, mut fired) = (Duration::ZERO, 0);
    group.bench_function(name, |bench| {
        bench.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                now += 1;
                let begun = Instant::now();
                fired += turn(&mut timers, now, &mut out);
                let step = begun.elapsed();
                spent += step;
                result.turns.borrow_mut().push(step.as_nanos() as u64);
            }
            total += spent;
            spent
        });
    });
    result.ns.set(total.as_nanos() as f64 / fired as f64);
}

/// All links are due within the same second and nobody comes again.
fn bench_death<T: Timers>(criterion: &mut Criterion, name: &str, result: &Result) {
    let mut group = criterion.benchmark_group("mass_death_1m");
    group.throughput(Throughput::Elements(u64::from(LINKS))).sample_size(10);
    group.bench_function(name, |bench| {
        bench.iter_custom(|rounds| {
            let (mut spent, mut out) = (Duration::ZERO, Vec::with_capacity(LINKS as usize));
            for _ in 0..rounds {
                let mut timers = T::new();
                (0..LINKS).for_each(|id| timers.insert(id, 10_000 + phase(id) % 1_000));
                out.clear();
                let begun = Instant::now();
                (1..=11_001).for_each(|now| timers.advance(now, &mut out));
                spent += begun.elapsed();
                assert_eq!(out.len(), LINKS as usize);
            }
            result.ns.set(spent.as_nanos() as f64 / (rounds as f64 * f64::from(LINKS)));
            spent
        });
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let (wheel, heap): ([Result; 3], [Result; 3]) = Default::default();
    bench_insert::<WheelTimers>(&mut criterion, "wheel", &wheel[0]);
    bench_insert::<HeapTimers>(&mut criterion, "heap", &heap[0]);
    bench_steady::<WheelTimers>(&mut criterion, "wheel", &wheel[1]);
    bench_steady::<HeapTimers>(&mut criterion, "heap", &heap[1]);
    bench_death::<WheelTimers>(&mut criterion, "wheel", &wheel[2]);
    bench_death::<HeapTimers>(&mut criterion, "heap", &heap[2]);
    criterion.final_summary();

    println!("1 M links, ns per id          wheel      heap  heap/wheel");
    for (at, name) in ["insert", "fire and arm again", "mass death"].iter().enumerate() {
        let (ours, theirs) = (wheel[at].ns.get(), heap[at].ns.get());
        println!("{name:<24}{ours:>11.1}{theirs:>10.1}{:>12.2}", theirs / ours);
    }
    for (of, name) in [(2, "turn, p50, us"), (100, "turn, p99, us"), (10_000, "turn, p99.99, us")] {
        println!("{name:<24}{:>11.1}{:>10.1}", wheel[1].rare_turn_us(of), heap[1].rare_turn_us(of));
    }
}
