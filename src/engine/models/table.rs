//! The words of a link: opening, closing, its slot's next use, and the stamps.

use super::{explore, thread};
use crate::core::Stamp;
use crate::engine::table::{Key, Table, forward};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const REST_NS: u64 = 1_000_000_000;

fn open(table: &Table, at: u32, bits: u32, now_ns: u64) -> Key {
    table.occupy(&mut table.slots(), Stamp(at), bits, now_ns).unwrap_or_else(|error| panic!("{error}"))
}

fn close(table: &Table, key: Key) -> bool {
    table.find(key).is_some_and(|words| words.close(key.generation))
}

/// A table with one link.
fn table() -> (Arc<Table>, Key) {
    let table = Table::new(4, 0).unwrap_or_else(|error| panic!("{error}"));
    let key = open(&table, 10, 1, 0);
    (Arc::new(table), key)
}

#[test]
fn of_several_closers_one_wins() {
    explore(|| {
        let (table, key) = table();
        let others = Arc::clone(&table);
        let other = thread::spawn(move || close(&others, key));
        let here = close(&table, key);
        assert!(here ^ other.join().unwrap());
        assert!(table.find(key).is_none());
    });
}

#[test]
fn whoever_sees_a_link_sees_its_own_words() {
    explore(|| {
        let (table, key) = table();
        assert!(close(&table, key));
        table.vacate([key], 0);
        let opens = Arc::clone(&table);
        let opener = thread::spawn(move || open(&opens, 50, 6, REST_NS));
        for seen in table.open_from(0) {
            let words = table.words(seen.index).unwrap();
            assert_eq!(words.received.load(Ordering::Relaxed), 50);
            assert_eq!(words.sent.load(Ordering::Relaxed), 50);
            assert_eq!(words.beat.load(Ordering::Relaxed), 6);
        }
        let again = opener.join().unwrap();
        assert_eq!(again, Key { index: key.index, generation: key.generation + 1 });
    });
}

/// A thread that was stopped in the midst of `received` for as long as the slot rested may move the next link's stamp;
/// it never brings the old id back.
#[test]
fn an_id_that_was_closed_stays_stale() {
    explore(|| {
        let (table, key) = table();
        let receives = Arc::clone(&table);
        let receiver = thread::spawn(move || receives.received(key, Stamp(20), || Stamp(20)));
        assert!(close(&table, key));
        assert!(!table.received(key, Stamp(30), || Stamp(30)), "close has returned");
        table.vacate([key], 0);
        let again = open(&table, 50, 0, REST_NS);
        receiver.join().unwrap();
        assert!(table.find(key).is_none() && table.find(again).is_some());
        let stamp = table.find(again).unwrap().received.load(Ordering::Relaxed);
        assert!(stamp == 50 || stamp == 20, "{stamp}");
    });
}

/// Not under loom: it lets the last load give the value that the compare-and-exchange put there, although a plain store
/// can only come after it in the order of that word, whose value before it was read.
#[cfg(not(loom))]
#[test]
fn a_new_stamp_wins_over_keeping_old_ones_comparable() {
    explore(|| {
        let (table, key) = table();
        let now = Stamp(1 << 30);
        let receives = Arc::clone(&table);
        let receiver = thread::spawn(move || receives.received(key, now, || now));
        let words = table.find(key).unwrap();
        words.keep_comparable(&mut Stamp(10), now);
        assert!(receiver.join().unwrap());
        assert_eq!(words.received.load(Ordering::Relaxed), now.0);
    });
}

/// Two receivers at the same time: one of their stamps stands; it never goes back behind what was known.
#[test]
fn of_two_stamps_one_stands() {
    explore(|| {
        let (table, key) = table();
        let receives = Arc::clone(&table);
        let receiver = thread::spawn(move || receives.received(key, Stamp(20), || Stamp(30)));
        let words = table.find(key).unwrap();
        forward(words.received, Stamp(30), || Stamp(30));
        receiver.join().unwrap();
        let stands = words.received.load(Ordering::Relaxed);
        assert!(stands == 20 || stands == 30, "{stands}");
    });
}
