//! The table of open links, by the calls that go through it, against a map in shards with a lock each, and against an array
//! that checks nothing; in one run, ends with the ratios.
//!
//! `cargo bench --bench table`
//!
//! What an engine does later with links that were opened and closed is not counted here, but in `benches/peers`, W3.

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::measure;
use criterion::{Criterion, Throughput};
use hbeat::core::Policy;
use hbeat::engine::{Engine, Event, EventKind, LinkId, LinkOptions, Options, Run, TimeSource};

const LINKS: u32 = 1 << 20;
/// So many are opened and closed at once, beside those.
const BATCH: u32 = 50_000;
const AT_ONCE: usize = 64;
const MS: u64 = 1_000_000;
const START_NS: u64 = 1_000_000 * MS;

/// What all peers can do.
trait Table {
    fn open(&mut self) -> u64;
    fn close(&mut self, id: u64);
    /// Something arrived for each of them; how many are open.
    fn received(&mut self, ids: &[u64]) -> usize;
    /// A moment later: what was said is done, and time has gone on.
    fn rest(&mut self);
}

/// hbeat, in the application's own thread, with a clock that goes on when it is told to.
struct Links {
    engine: Engine,
    policy: Policy,
    options: LinkOptions,
    now_ns: u64,
}

impl Links {
    fn new() -> Self {
        let engine = Engine::new(Options {
            run: Run::Application,
            clock: TimeSource::Manual(START_NS),
            events: 1 << EventKind::EngineFailed as u32,
            max_links: LINKS + 8 * BATCH,
            ..Options::default()
        });
        // Nothing is due while this lasts.
        let policy = Policy { interval_ms: Policy::MAX_MS / 2, ..Policy::preset("normal").expect("a preset") };
        let options = LinkOptions::default();
        Self { engine: engine.expect("an engine"), policy, options, now_ns: START_NS }
    }
}

impl Table for Links {
    fn open(&mut self) -> u64 {
        self.engine.open(&self.policy, &self.options).expect("room for a link").0
    }

    fn close(&mut self, id: u64) {
        self.engine.close(LinkId(id)).expect("an open link");
    }

    fn received(&mut self, ids: &[u64]) -> usize {
        ids.iter().filter(|&&id| self.engine.received(LinkId(id), self.now_ns).is_ok()).count()
    }

    /// Two seconds: slots rest for one. A slot is free when it was handed out that its link was closed, even to nobody.
    fn rest(&mut self) {
        self.now_ns += 2_000 * MS;
        while self.engine.advance(self.now_ns).expect("an engine that runs") {
            let unexpected = &mut |event: &Event| panic!("{event:?}");
            self.engine.wait(AT_ONCE, Some(Duration::ZERO), unexpected).expect("an engine that runs");
        }
    }
}

/// The same links, [`AT_ONCE`] in a call.
struct Many<'a>(&'a mut Links, Vec<LinkId>);

impl Many<'_> {
    fn received(&mut self) -> usize {
        let Self(links, ids) = self;
        let all = |some: &&[LinkId]| links.engine.received_all(some, links.now_ns).is_ok();
        ids.chunks(AT_ONCE).filter(all).map(<[_]>::len).sum()
    }
}

/// The usual peer: what a program writes that knows its links by number.
struct Map {
    shards: [Mutex<HashMap<u64, u32>>; 64],
    last: u64,
    now: u32,
}

impl Map {
    fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), last: 0, now: 1 }
    }

    fn with<T>(&self, id: u64, what: impl FnOnce(&mut HashMap<u64, u32>) -> T) -> T {
        what(&mut self.shards[id as usize % self.shards.len()].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Table for Map {
    fn open(&mut self) -> u64 {
        self.last += 1;
        self.with(self.last, |map| map.insert(self.last, self.now));
        self.last
    }

    fn close(&mut self, id: u64) {
        self.with(id, |map| map.remove(&id));
    }

    fn received(&mut self, ids: &[u64]) -> usize {
        let store = |id: u64| self.with(id, |map| map.get_mut(&id).map(|at| *at = self.now)).is_some();
        ids.iter().filter(|&&id| store(id)).count()
    }

    fn rest(&mut self) {
        self.now += 1;
    }
}

/// No more than a place for each: a stale id is as good as any other.
struct Array {
    times: Vec<AtomicU32>,
    free: Vec<u32>,
    now: u32,
}

impl Array {
    fn new() -> Self {
        let count = LINKS + BATCH;
        Self { times: (0..count).map(AtomicU32::new).collect(), free: (0..count).rev().collect(), now: 1 }
    }
}

impl Table for Array {
    fn open(&mut self) -> u64 {
        let index = self.free.pop().expect("a free place");
        self.times[index as usize].store(self.now, Ordering::Relaxed);
        index.into()
    }

    fn close(&mut self, id: u64) {
        self.free.push(id as u32);
    }

    fn received(&mut self, ids: &[u64]) -> usize {
        ids.iter().for_each(|&id| self.times[id as usize].store(self.now, Ordering::Relaxed));
        ids.len()
    }

    fn rest(&mut self) {
        self.now += 1;
    }
}

/// In another order than the one in which they were opened: neighbours are far apart.
fn shuffled(ids: &[u64]) -> Vec<u64> {
    (0..ids.len()).map(|at| ids[at * 618_033_989 % ids.len()]).collect()
}

fn timed(what: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    what();
    begun.elapsed()
}

fn opened<T: Table>(table: &mut T, count: u32) -> Vec<u64> {
    let ids = (0..count).map(|_| table.open()).collect();
    table.rest();
    ids
}

fn bench_received<T: Table>(criterion: &mut Criterion, name: &str, table: &mut T, ids: &[u64], open: usize) -> f64 {
    let group = if open > 0 { "received_1m" } else { "received_stale" };
    measure(criterion, (group, name), (Throughput::Elements, ids.len() as u64), || {
        table.rest();
        timed(|| assert_eq!(table.received(ids), open))
    })
}

fn bench_open<T: Table>(criterion: &mut Criterion, name: &str, table: &mut T) -> f64 {
    let mut ids = Vec::with_capacity(BATCH as usize);
    measure(criterion, ("open", name), (Throughput::Elements, BATCH.into()), || {
        let spent = timed(|| ids.extend((0..BATCH).map(|_| table.open())));
        table.rest();
        ids.drain(..).for_each(|id| table.close(id));
        table.rest();
        spent
    })
}

fn bench_close<T: Table>(criterion: &mut Criterion, name: &str, table: &mut T) -> f64 {
    measure(criterion, ("close", name), (Throughput::Elements, BATCH.into()), || {
        let ids = shuffled(&opened(table, BATCH));
        let spent = timed(|| ids.iter().for_each(|&id| table.close(id)));
        table.rest();
        spent
    })
}

/// As an engine takes no more opens than a batch before it is turned.
fn opened_in_batches<T: Table>(table: &mut T) -> Vec<u64> {
    (0..LINKS).step_by(BATCH as usize).flat_map(|at| opened(table, BATCH.min(LINKS - at))).collect()
}

/// The ids in the order of the touches, and the rows that all peers have: received, stale, open, close. `tells`: it knows a
/// stale id when it sees one.
fn bench<T: Table>(criterion: &mut Criterion, name: &str, table: &mut T, tells: bool) -> (Vec<u64>, [Option<f64>; 4]) {
    let ids = shuffled(&opened_in_batches(table));
    let received = bench_received(criterion, name, table, &ids, ids.len());
    let stale = tells.then(|| {
        let stale = shuffled(&opened(table, BATCH));
        stale.iter().for_each(|&id| table.close(id));
        bench_received(criterion, name, table, &stale, 0)
    });
    let (open, close) = (bench_open(criterion, name, table), bench_close(criterion, name, table));
    (ids, [Some(received), stale, Some(open), Some(close)])
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut links = Links::new();
    let (ids, ours) = bench(&mut criterion, "links", &mut links, true);
    let mut many = Many(&mut links, ids.into_iter().map(LinkId).collect());
    let at_once =
        measure(&mut criterion, ("received_1m", "links, 64 at once"), (Throughput::Elements, LINKS.into()), || {
            many.0.rest();
            timed(|| assert_eq!(many.received(), LINKS as usize))
        });
    let (_, map) = bench(&mut criterion, "map", &mut Map::new(), true);
    let (_, array) = bench(&mut criterion, "array", &mut Array::new(), false);
    criterion.final_summary();

    println!("1 M links, ns each            links       map     array   map/links  links/array");
    let rows = [
        ("received", ours[0], map[0], array[0]),
        ("received, 64 at once", Some(at_once), map[0], array[0]),
        ("received, a stale id", ours[1], map[1], array[1]),
        ("open", ours[2], map[2], array[2]),
        ("close", ours[3], map[3], array[3]),
    ];
    for (title, ours, map, array) in rows {
        let over = |one: Option<f64>, other: Option<f64>| Some(one? / other?);
        let (ratio, bound) = (shown(over(map, ours), 2), shown(over(ours, array), 2));
        let [ours, map, array] = [ours, map, array].map(|ns| shown(ns, 1));
        println!("{title:<24}{ours:>11}{map:>10}{array:>10}{ratio:>12}{bound:>13}");
    }
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}
