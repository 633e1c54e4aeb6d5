//! What one link's table cannot show of the engine: many links, an application that hangs, a process that was stopped,
//! calls from many threads.

use hbeat::core::{Cause, Policy, State};
use hbeat::engine::{
    Callbacks, Code, EVENTS_ALL, Engine, Event, EventKind, LinkData, LinkId, LinkOptions, Options, Run, Taken,
    TimeSource, Waited,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

const MS: u64 = 1_000_000;
const START_NS: u64 = 1_000 * MS;

fn ns(ms: u64) -> u64 {
    START_NS + ms * MS
}

/// An engine that the application turns, under the manual clock.
fn driven(callbacks: Callbacks) -> Options {
    Options { run: Run::Application, clock: TimeSource::Manual(START_NS), callbacks, ..Options::default() }
}

fn open(engine: &Engine, policy: &Policy, data: usize) -> LinkId {
    engine.open(policy, &LinkOptions { data: LinkData(data), ..LinkOptions::default() }).unwrap()
}

/// Pulls everything that waits.
fn pull(engine: &Engine, mut hear: impl FnMut(&Event)) {
    while engine.wait(4096, Some(Duration::ZERO), &mut hear).unwrap() != Waited::Events(0) {}
}

/// Takes the beat and says its number.
fn take(engine: &Engine, link: LinkId, now_ns: u64) -> u32 {
    let mut number = engine.info(link).unwrap().sequence + 1;
    assert!(engine.take(link, Some(&mut number), now_ns, &mut []).unwrap().own_beat);
    number - 1
}

/// A callback that has its engine at hand.
fn with_engine(
    engine: &Arc<OnceLock<Engine>>,
    call: impl Fn(&Engine, &Event) + Send + Sync + 'static,
) -> Option<hbeat::engine::OnEvent> {
    let engine: Weak<OnceLock<Engine>> = Arc::downgrade(engine);
    Some(Box::new(move |event| {
        if let Some(engine) = engine.upgrade() {
            call(engine.get().unwrap(), event);
        }
    }))
}

/// Rule l: a notice that waited until the peer was heard is dropped, and one that was handed out leads to no beat.
#[test]
fn a_beat_that_is_no_longer_needed_is_neither_noticed_nor_taken() {
    let engine = Engine::new(driven(Callbacks::default())).unwrap();
    let link = open(&engine, &Policy::parse("normal interval=100ms timeout=40ms jitter=0%").unwrap(), HEALTHY);
    assert!(engine.drive(ns(100)).unwrap(), "the beat is due");
    engine.beat_received(link, 1, ns(110)).unwrap();
    engine.drive(ns(110)).unwrap();
    pull(&engine, |event| panic!("{event}"));
    assert!(engine.drive(ns(210)).unwrap(), "the next one is due");
    let mut kinds = Vec::new();
    pull(&engine, |event| kinds.push(event.kind));
    assert_eq!(kinds, [EventKind::Send]);
    engine.beat_received(link, 2, ns(220)).unwrap();
    engine.drive(ns(220)).unwrap();
    let mut number = 1;
    assert_eq!(engine.take(link, Some(&mut number), ns(220), &mut []).unwrap(), Taken::default());
    assert_eq!(number, 1);
}

/// A look that was planned for 5000 comes half a millisecond late and finds that since then something arrived, by which
/// the verdict is due in what is left of that millisecond.
#[test]
fn nothing_is_early_by_a_part_of_a_millisecond() {
    for (policy, kind) in [
        ("interval=0s hold=5s tries=0", EventKind::Down),
        ("normal interval=5s timeout=1s tries=3 jitter=0%", EventKind::Send),
    ] {
        let engine = Engine::new(driven(Callbacks::default())).unwrap();
        let link = open(&engine, &Policy::parse(policy).unwrap(), HEALTHY);
        engine.drive(ns(0)).unwrap();
        engine.drive(ns(1)).unwrap();
        engine.received(link, ns(0) + 900_000).unwrap();
        engine.drive(ns(5_000) + 500_000).unwrap();
        pull(&engine, |event| panic!("{event} at {}", event.at_ns));
        assert_eq!(engine.next_deadline().unwrap(), Some(ns(5_001)));
        engine.drive(ns(5_001)).unwrap();
        let mut kinds = Vec::new();
        pull(&engine, |event| kinds.push(event.kind));
        assert_eq!(kinds, [kind]);
    }
}

const HEALTHY: usize = 0;
const DEAD: usize = 1;
const FLAPPING: usize = 2;

/// R17: nobody looks at events for five minutes; beats go on all the same, and what waits stays small.
#[test]
fn five_minutes_without_a_reader_of_events_stop_no_beat() {
    let engine = Arc::new(OnceLock::new());
    let on_send = with_engine(&engine, |engine, event| {
        let link = event.link.unwrap();
        let number = take(engine, link, event.at_ns);
        if event.data.0 == HEALTHY || (event.data.0 == FLAPPING && event.tries == 2) {
            engine.answer_received(link, number, event.at_ns).unwrap();
        }
    });
    engine.set(Engine::new(driven(Callbacks { on_send, ..Callbacks::default() })).unwrap()).ok().unwrap();
    let engine = engine.get().unwrap();
    let policy = Policy::parse("normal interval=1s timeout=500ms jitter=0%").unwrap();
    let healthy: Vec<_> = (0..200).map(|_| open(engine, &policy, HEALTHY)).collect();
    let dead = open(engine, &policy, DEAD);
    let flapping = open(engine, &policy, FLAPPING);
    while let Some(due_ns) = engine.next_deadline().unwrap().filter(|&due_ns| due_ns <= ns(300_000)) {
        engine.drive(due_ns.max(engine.now_ns())).unwrap();
    }
    engine.drive(ns(300_000)).unwrap();

    assert!(engine.health().unwrap().waiting <= 3, "{:?}", engine.health());
    for link in healthy {
        let info = engine.info(link).unwrap();
        assert_eq!((info.state, info.beats_sent, info.misses), (State::Up, 300, 0));
    }
    let mut told = Vec::new();
    pull(engine, |event| told.push((event.link.unwrap(), event.kind, event.at_ns, event.count)));
    // SUSPECT twice and DOWN; SUSPECT and UP each second and a half.
    let expected = [
        (dead, EventKind::Suspect, ns(2_000), 2),
        (dead, EventKind::Down, ns(2_500), 1),
        (flapping, EventKind::Up, ns(300_000), 400),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    assert!(expected.iter().all(|event| told.contains(event)), "{told:?}");
}

/// R17 with threads: a callback for events that does not return holds up events and nothing else.
#[test]
fn a_hung_callback_for_events_stops_no_beat() {
    let gate = Arc::new(Mutex::new(()));
    let told = Arc::new(Mutex::new(Vec::new()));
    let engine = Arc::new(OnceLock::new());
    let on_send = with_engine(&engine, |engine, event| {
        let number = take(engine, event.link.unwrap(), 0);
        engine.answer_received(event.link.unwrap(), number, 0).unwrap();
    });
    let (held, heard) = (Arc::clone(&gate), Arc::clone(&told));
    let on_event = with_engine(&engine, move |_, event| {
        drop(held.lock().unwrap());
        heard.lock().unwrap().push((event.link, event.kind));
    });
    let callbacks = Callbacks { on_event, on_send, ..Callbacks::default() };
    engine.set(Engine::new(Options { callbacks, ..Options::default() }).unwrap()).ok().unwrap();
    let engine = engine.get().unwrap();
    let policy = Policy::parse("normal interval=50ms timeout=10s").unwrap();
    let links: Vec<_> = (0..100).map(|_| open(engine, &policy, HEALTHY)).collect();
    let hung = gate.lock().unwrap();
    engine.report_down(links[0], Cause::Reset, 0).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    let beaten = || links[1..].iter().all(|&link| engine.info(link).unwrap().beats_sent >= 10);
    while !beaten() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(beaten(), "beats wait for a callback that is not theirs");
    assert!(engine.health().unwrap().on_event_ms >= 400, "{:?}", engine.health());
    drop(hung);
    engine.quiesce(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(*told.lock().unwrap(), [(Some(links[0]), EventKind::Down)]);
    engine.stop(Some(Duration::from_secs(10))).unwrap();
}

/// R30: a process that is stopped for 30 s blames none of its peers, and finds those that are really dead.
#[test]
fn a_late_wake_up_brings_down_only_the_dead() {
    const LINKS: usize = 100_000;
    const STOPPED_MS: u64 = 12_000;
    const STEP_MS: u64 = 20;
    let engine = Engine::new(driven(Callbacks::default())).unwrap();
    let policy = Policy::parse("normal interval=9s timeout=2s").unwrap();
    for data in 0..LINKS {
        open(&engine, &policy, if data == 5 { DEAD } else { HEALTHY });
        if data % 50_000 == 0 {
            engine.drive(ns(0)).unwrap();
        }
    }
    // Dies while the process is stopped.
    let later = open(&engine, &policy, HEALTHY);
    let mut kinds: HashMap<EventKind, u32> = HashMap::new();
    let mut downs = Vec::new();
    let mut answers = Vec::new();
    let mut now_ms = 0;
    while now_ms < 60_000 {
        let stops = now_ms == STOPPED_MS;
        now_ms += if stops { 30_000 } else { STEP_MS };
        engine.drive(ns(now_ms)).unwrap();
        let mut sends = Vec::new();
        pull(&engine, |event| match event.kind {
            EventKind::Send => sends.push((event.link.unwrap(), event.data.0, event.sequence)),
            kind => {
                *kinds.entry(kind).or_default() += 1;
                if kind == EventKind::Down {
                    downs.push((event.link.unwrap(), event.data.0));
                }
                if kind == EventKind::Pause {
                    assert!((29_000..=30_000).contains(&event.detail), "{event}");
                }
            }
        });
        // What the peers said to the beats of the step before: read only now, however long ago it came.
        for (link, number) in answers.drain(..) {
            engine.answer_received(link, number, 0).unwrap();
        }
        for (link, data, sequence) in sends {
            let mut number = sequence + 1;
            assert!(engine.take(link, Some(&mut number), 0, &mut []).unwrap().own_beat);
            if data != DEAD && (link != later || now_ms <= STOPPED_MS) {
                answers.push((link, number - 1));
            }
        }
        if stops {
            assert_eq!(kinds.get(&EventKind::Pause), Some(&1), "{kinds:?}");
        }
    }
    assert_eq!(kinds.get(&EventKind::Pause), Some(&1), "{kinds:?}");
    assert_eq!(downs.len(), 2, "{downs:?} {kinds:?}");
    assert!(downs.iter().any(|&(_, data)| data == DEAD), "{downs:?}");
    assert!(downs.iter().any(|&(link, _)| link == later), "{downs:?}");
}

/// R35: links that are opened at one moment do not beat at one moment.
#[test]
fn first_beats_lie_evenly_over_their_interval() {
    const LINKS: u32 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
    const SLOT_MS: u64 = 10;
    let engine = Engine::new(driven(Callbacks::default())).unwrap();
    let policy = Policy::parse("normal").unwrap();
    for number in 0..LINKS {
        open(&engine, &policy, HEALTHY);
        if number % 50_000 == 0 {
            engine.drive(ns(0)).unwrap();
        }
    }
    let mut slots = Vec::new();
    for slot in 0..=u64::from(policy.interval_ms) / SLOT_MS {
        let now_ms = (slot + 1) * SLOT_MS - 1;
        engine.drive(ns(now_ms)).unwrap();
        let mut sends = 0;
        pull(&engine, |event| sends += u32::from(event.kind == EventKind::Send));
        slots.push(sends);
    }
    assert_eq!(slots.iter().sum::<u32>(), LINKS);
    let spread_ms = u64::from(policy.interval_ms) * u64::from(policy.jitter_percent) / 100;
    let mean = f64::from(LINKS) * SLOT_MS as f64 / spread_ms as f64;
    let busiest = f64::from(*slots.iter().max().unwrap());
    println!("mean {mean:.0}, busiest {busiest:.0}");
    assert!(busiest <= 1.2 * mean, "the busiest slot has {busiest} beats, the mean is {mean}");
}

/// What was told of each link, by its number.
struct Account {
    closed: Vec<AtomicU32>,
    downs: Vec<AtomicU32>,
    after_closed: AtomicU32,
}

/// Whatever is opened, closed and reported from wherever: one CLOSED each, at most one DOWN, nothing after CLOSED.
#[test]
fn every_link_is_closed_once_and_down_at_most_once() {
    const MOST: usize = 1 << 20;
    let counters = || (0..MOST).map(|_| AtomicU32::new(0)).collect();
    let account = Arc::new(Account { closed: counters(), downs: counters(), after_closed: AtomicU32::new(0) });
    let engine = Arc::new(OnceLock::new());
    let hear = |account: &Arc<Account>| {
        let account = Arc::clone(account);
        move |engine: &Engine, event: &Event| {
            let Some(link) = event.link else { return };
            let number = event.data.0;
            match event.kind {
                EventKind::Closed => {
                    account.closed[number].fetch_add(1, Ordering::SeqCst);
                    return;
                }
                EventKind::Down => {
                    account.downs[number].fetch_add(1, Ordering::SeqCst);
                }
                // It may have been closed meanwhile.
                EventKind::Send => drop(engine.take(link, None, 0, &mut [])),
                _ => {}
            }
            account.after_closed.fetch_add(account.closed[number].load(Ordering::SeqCst), Ordering::SeqCst);
        }
    };
    let callbacks = Callbacks {
        on_event: with_engine(&engine, hear(&account)),
        on_send: with_engine(&engine, hear(&account)),
        ..Callbacks::default()
    };
    let options = Options { threads: 2, max_links: 1 << 16, events: EVENTS_ALL, callbacks, ..Options::default() };
    engine.set(Engine::new(options).unwrap()).ok().unwrap();
    let engine = engine.get().unwrap();
    let policy = Policy::parse("normal interval=20ms timeout=20ms tries=2").unwrap();
    let (opened, refused, links) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::<LinkId>::new()));
    let until = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        for seed in 1..=4_u64 {
            let (opened, refused, links, policy, account) = (&opened, &refused, &links, &policy, &account);
            scope.spawn(move || {
                let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                while Instant::now() < until {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    // The latest ones: many that were closed and some that were not.
                    let known = {
                        let links = links.lock().unwrap();
                        let back = (random >> 32) as usize % 1000 + 1;
                        links.len().checked_sub(back).map(|place| links[place])
                    };
                    match (random % 8, known) {
                        (0..=2, _) | (_, None) => {
                            let number = opened.fetch_add(1, Ordering::Relaxed);
                            let options = LinkOptions { data: LinkData(number), ..LinkOptions::default() };
                            match engine.open(policy, &options) {
                                Ok(link) => links.lock().unwrap().push(link),
                                Err(error) => {
                                    assert!(matches!(error.code, Code::Limit | Code::Again), "{error}");
                                    // As if it had been.
                                    account.closed[number].store(1, Ordering::SeqCst);
                                    refused.fetch_add(1, Ordering::Relaxed);
                                    std::thread::sleep(Duration::from_millis(1));
                                }
                            }
                        }
                        // Stale ids are part of the game.
                        (3..=4, Some(link)) => drop(engine.close(link)),
                        (5..=6, Some(link)) => drop(engine.report_down(link, Cause::Reset, 1)),
                        (_, Some(link)) => drop(engine.answer_received(link, 1, 0)),
                    }
                }
            });
        }
    });
    engine.stop(Some(Duration::from_secs(20))).unwrap();
    let opened = opened.into_inner();
    let really = opened - refused.into_inner();
    assert!(really > 1000 && opened < MOST, "{really} of {opened}");
    let count = |counters: &[AtomicU32], value: u32| {
        counters[..opened].iter().filter(|counter| counter.load(Ordering::SeqCst) == value).count()
    };
    println!("{really} opened, {} of them went down", count(&account.downs, 1));
    assert_eq!(count(&account.closed, 1), opened);
    assert_eq!(count(&account.downs, 0) + count(&account.downs, 1), opened);
    assert!(count(&account.downs, 1) > 0);
    assert_eq!(account.after_closed.load(Ordering::SeqCst), 0);
}
