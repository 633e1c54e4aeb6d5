//! The scenario tables on the whole engine, in every way to run it, under the manual clock, to the millisecond.
//!
//! A way is who turns the engine, where its events go, and how the clock is moved. One runner plays a table in any of
//! them: it acts as the application does, and writes down what the application is told. Each log must be the table's,
//! and all ways must tell the same.
//!
//! How a table becomes calls:
//! - A `<` comes a nanosecond before its millisecond is full: what happened then is stamped with that millisecond,
//!   and what is due in it is not due yet.
//! - `MATCHED` is the ANSWER event. There is no event for `LATE` and `UNMATCHED`: they are what an answer added to the
//!   counters of [`Engine::info`].
//! - A SEND says `seq=` when the number of an earlier beat was taken again.
//! - A table in which the application says `sent` has one that says so of each beat as well.
//! - Each table runs on a link of the application's own protocol, whose answers and beats it reports, and once on a
//!   CMPP link, where they are fed as bytes.
//! - Tables with `desync` or `open_message` run on the latter only. Bytes of an unfinished message prove life
//!   there, which those tables do not mean (unless they say `received`): they run with `proof=answer`; where
//!   nothing is ever asked for, the message is opened together with the link.
//! - With two lanes nothing is promised about the order of a SEND and another event of the same millisecond.

#[path = "ways/run.rs"]
mod run;
#[path = "common/scenario.rs"]
mod scenario;

use run::{By, Way};
use scenario::{Scenario, What};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Core time at the beginning of each table: the engine's own, and such that tables run across the wrap of the stamps.
const ORIGINS_MS: [u64; 3] = [0, u32::MAX as u64 - 150_000, u32::MAX as u64 - 5_000];

const fn way(name: &'static str, turned: By, on_event: bool, on_send: bool) -> Way {
    Way { name, turned, on_event, on_send }
}

const WAYS: [Way; 10] = [
    way("threads, two lanes", By::Threads, true, true),
    way("threads, one lane", By::Threads, true, false),
    way("threads, on_send and pulled", By::Threads, false, true),
    way("threads, pulled", By::Threads, false, false),
    way("application, two lanes", By::Drive, true, true),
    way("application, one lane", By::Drive, true, false),
    way("application, on_send and pulled", By::Drive, false, true),
    way("application, pulled", By::Drive, false, false),
    way("application, one lane, advanced", By::Advance, true, false),
    way("application, pulled, advanced", By::Advance, false, false),
];

/// Why a table cannot be played in a way.
fn skipped(table: &Scenario, way: &Way) -> Option<&'static str> {
    if table.says("stop_process") && way.turned != By::Drive {
        return Some("stop_process: advance stops at every deadline, only an application that drives can be late");
    }
    if table.says("hang") {
        return match (way.turned, way.on_event || way.on_send) {
            (By::Drive, false) => None,
            (By::Drive, true) => Some("hang: callbacks run inside drive, which hangs with them"),
            _ => Some("hang: advance waits for callbacks and pullers, the clock stands still with them"),
        };
    }
    None
}

#[test]
fn every_way_tells_what_the_tables_say() {
    let tables = scenario::all("tests/scenarios");
    assert!(tables.len() > 50, "only {} tables were read", tables.len());
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let counts: Mutex<BTreeMap<&str, usize>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(table) = tables.get(next.fetch_add(1, Ordering::Relaxed)) {
                    wrong.lock().unwrap().extend(play(table, &counts));
                }
            });
        }
    });
    println!(
        "{} tables, {} ways, {} origins: {:#?}",
        tables.len(),
        WAYS.len(),
        ORIGINS_MS.len(),
        counts.lock().unwrap()
    );
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} runs went wrong:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Plays a table in all ways; says what went wrong.
fn play(table: &Scenario, counts: &Mutex<BTreeMap<&'static str, usize>>) -> Vec<String> {
    let expected: Vec<(u64, String)> = (table.lines.iter())
        .filter_map(|line| match &line.what {
            What::Told(text) => Some((line.at, text.clone())),
            What::Do(_) => None,
        })
        .collect();
    let mut wrong = Vec::new();
    let mut logs = Vec::new();
    for way in &WAYS {
        if let Some(reason) = skipped(table, way) {
            *counts.lock().unwrap().entry(reason).or_default() += 1;
            continue;
        }
        for (origin_ms, fed) in
            [(ORIGINS_MS[0], true)].into_iter().chain(ORIGINS_MS.map(|origin_ms| (origin_ms, false)))
        {
            let told = run::told(table, way, origin_ms, fed);
            *counts.lock().unwrap().entry("played").or_default() += 1;
            let same = if way.on_send { sends_last(&told) == sends_last(&expected) } else { told == expected };
            if !same {
                wrong.push(format!(
                    "{}: {} ({}, origin {origin_ms}, fed {fed})\n  expected\n{}  but was told\n{}",
                    table.file,
                    table.name,
                    way.name,
                    listed(&expected),
                    listed(&told)
                ));
            }
            logs.push(sends_last(&told));
        }
    }
    if logs.is_empty() {
        wrong.push(format!("{}: {} was played in no way", table.file, table.name));
    }
    if logs.windows(2).any(|pair| pair[0] != pair[1]) {
        wrong.push(format!("{}: {}: the ways do not tell the same", table.file, table.name));
    }
    wrong
}

/// The log with the SENDs of each millisecond at its end.
fn sends_last(log: &[(u64, String)]) -> Vec<(u64, String)> {
    let mut log = log.to_vec();
    log.sort_by_key(|(at, text)| (*at, text.starts_with("SEND")));
    log
}

fn listed(log: &[(u64, String)]) -> String {
    log.iter().map(|(at, text)| format!("    {at} > {text}\n")).collect()
}
