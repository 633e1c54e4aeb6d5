//! The words of each link that every thread may touch without a lock, and the ids that lead to them.
//!
//! A slot's generation is 0 while nothing is open in it, so a stale id can never match. The words of a chunk never
//! move and are never given back: a thread that holds a stale id may touch them at any time.

use super::error::{Code, Error};
use super::event::LinkId;
use super::memory::{Block, Blocks, fetch};
use super::progress::Mark;
use super::sync::{AtomicU32, Mutex, MutexGuard, lock};
use crate::core::Stamp;
use once_cell::sync::OnceCell;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// In the models few: loom looks at each of them.
const CHUNKS: Blocks = if cfg!(all(loom, test)) {
    Blocks { small: 1, few: 8, large: 1 }
} else {
    Blocks { small: 12, few: 1 << 18, large: 18 }
};
const FIELD_BITS: u32 = 28;
const FIELD_MASK: u32 = (1 << FIELD_BITS) - 1;
/// The most links that one shard can hold.
pub const INDEXES: u32 = 1 << FIELD_BITS;
/// A slot rests before it is used again: a thread that was stopped between loading a generation and storing a stamp
/// then stores it into a slot that is empty.
const REST_NS: u64 = 1_000_000_000;

/// Bits of [`Words::beat`].
pub mod beat {
    /// A beat may be taken.
    pub const WANTED: u32 = 1;
    /// It carries the number in [`Words::sequence`](super::Words::sequence) again.
    pub const AGAIN: u32 = 1 << 1;
    /// A SEND event of the link waits to be handed out.
    pub const QUEUED: u32 = 1 << 2;
    /// The verdict has been given, or reported.
    pub const DOWN: u32 = 1 << 3;
    /// What arrives is news: the shard wants to be woken by it.
    pub const SUSPECT: u32 = 1 << 4;
    /// The link was not started: answers wait.
    pub const PAUSED: u32 = 1 << 5;
    /// A thread is inside `take`.
    pub const TAKING: u32 = 1 << 6;
    /// A beat was taken and its departure not confirmed.
    pub const LEAVING: u32 = 1 << 7;
    /// Answers are owed.
    pub const OWED: u32 = 1 << 8;
    /// hbeat only watches: it sends and answers nothing.
    pub const OBSERVED: u32 = 1 << 9;
    /// The socket is the engine's, which beats and reads by itself.
    pub const CARRIED: u32 = 1 << 10;
    /// The application makes no progress: the shard wants to be told as soon as it does.
    pub const STALE: u32 = 1 << 11;
    /// Beats and answers say so meanwhile.
    pub const FLAGGED: u32 = 1 << 12;
    /// There are none meanwhile.
    pub const MUTE: u32 = 1 << 13;
    /// The application does not know of the link yet.
    pub const HIDDEN: u32 = 1 << 14;
    /// What goes over the link is sealed.
    pub const SEALED: u32 = 1 << 15;
}

/// Generation and last received stamp: the pair that `received` touches.
#[derive(Default)]
struct Hot {
    generation: AtomicU32,
    received: AtomicU32,
}

impl Hot {
    #[inline(always)]
    fn is_open(&self, key: Key) -> bool {
        self.generation.load(Ordering::Acquire) == key.generation && key.generation != 0
    }
}

/// What a beat touches on its way out.
#[derive(Default)]
struct Outgoing {
    sent: AtomicU32,
    beat: AtomicU32,
    sequence: AtomicU32,
}

#[cfg(not(all(loom, test)))]
const _: () = assert!(size_of::<Hot>() == 8 && size_of::<Outgoing>() == 12, "20 bytes a link");

/// The words of some links, by use: what is touched together lies together.
struct Chunk {
    hot: Block<Hot>,
    outgoing: Block<Outgoing>,
    /// When the application marked its progress on a link; made with the first such mark.
    marks: OnceCell<Block<Mark>>,
}

impl Chunk {
    fn new(links: usize) -> Result<Self, Error> {
        Ok(Self {
            hot: Block::new(links, Hot::default)?,
            outgoing: Block::new(links, Outgoing::default)?,
            marks: OnceCell::new(),
        })
    }
}

/// One link's words.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    generation: &'a AtomicU32,
    /// Last moment at which something complete was received.
    pub received: &'a AtomicU32,
    /// Last moment at which something was sent.
    pub sent: &'a AtomicU32,
    /// See [`beat`].
    pub beat: &'a AtomicU32,
    /// The number of the latest beat.
    pub sequence: &'a AtomicU32,
}

impl Words<'_> {
    pub fn is_open(&self, generation: u32) -> bool {
        self.generation.load(Ordering::Acquire) == generation
    }

    /// Makes the id stale; of several callers one wins.
    pub fn close(&self, generation: u32) -> bool {
        self.generation.compare_exchange(generation, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub fn has(&self, bits: u32) -> bool {
        self.beat.load(Ordering::Acquire) & bits != 0
    }

    /// Whether hbeat only watches.
    pub fn observe(&self, only: bool) {
        if only {
            self.set(beat::OBSERVED)
        } else {
            self.clear(beat::OBSERVED)
        };
    }

    /// Sets bits and says which of them were set before.
    pub fn set(&self, bits: u32) -> u32 {
        self.beat.fetch_or(bits, Ordering::SeqCst) & bits
    }

    /// Clears bits and says which of them were set before.
    pub fn clear(&self, bits: u32) -> u32 {
        self.beat.fetch_and(!bits, Ordering::SeqCst) & bits
    }
}

/// A stamp further ahead of now than callers' times and roundings reach is one of so long ago that it wrapped.
const WRAPPED_MS: i32 = 2_000;
/// Stamps that are older than this are moved up to it whenever the shard looks at their link, at least each 2^30 ms,
/// so that they stay comparable.
const OLDEST_MS: u32 = 1 << 29;

/// Moves a stamp to `at`, and never back. `now` is asked for only when it seems to go back: a stamp that nobody moved
/// for longer than stamps reach seems to lie ahead.
#[inline]
pub fn forward(word: &AtomicU32, at: Stamp, now: impl FnOnce() -> Stamp) {
    let known = Stamp(word.load(Ordering::Relaxed));
    if at.is_after(known) || has_wrapped(known, at, now) {
        word.store(at.0, Ordering::Release);
    }
}

#[cold]
fn has_wrapped(known: Stamp, at: Stamp, now: impl FnOnce() -> Stamp) -> bool {
    known != at && known.since(now()) > WRAPPED_MS
}

/// Moves a stamp up that is too old to be compared for long; one that stands at `opened`, where nothing has happened
/// yet, to `floor`, any other just beyond it. Whoever stores a new one at the same time wins.
fn keep_comparable(word: &AtomicU32, opened: Stamp, floor: Stamp, now: Stamp) {
    let known = Stamp(word.load(Ordering::Relaxed));
    let moved = if known == opened { floor } else { floor.plus(1) };
    if moved.is_after(known) || known.since(now) > WRAPPED_MS {
        let _ = word.compare_exchange(known.0, moved.0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

impl Words<'_> {
    /// Keeps the stamps comparable, and the one at which the link was opened, which tells those that were never moved.
    pub fn keep_comparable(&self, opened: &mut Stamp, now: Stamp) {
        let floor = now.minus(OLDEST_MS);
        keep_comparable(self.received, *opened, floor, now);
        keep_comparable(self.sent, *opened, floor, now);
        if floor.is_after(*opened) || opened.since(now) > WRAPPED_MS {
            *opened = floor;
        }
    }
}

/// Which slot of which shard an id names, and which of its generations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    pub index: u32,
    pub generation: u32,
}

impl LinkId {
    pub(super) fn new(shard: u32, key: Key) -> Self {
        Self(u64::from(shard) << 56 | u64::from(key.generation) << FIELD_BITS | u64::from(key.index))
    }

    pub(super) fn shard(self) -> usize {
        (self.0 >> 56) as usize
    }

    pub(super) fn key(self) -> Key {
        Key { index: self.0 as u32 & FIELD_MASK, generation: (self.0 >> FIELD_BITS) as u32 & FIELD_MASK }
    }
}

/// The slots of one shard.
pub struct Table {
    chunks: Block<OnceCell<Chunk>>,
    slots: Mutex<Slots>,
}

/// Which slots are free; the lock also puts opens and the end of opening in one order.
pub struct Slots {
    fresh: u32,
    limit: u32,
    first_generation: u32,
    resting: VecDeque<Resting>,
    /// No link is opened any more.
    pub shut: bool,
}

struct Resting {
    key: Key,
    since_ns: u64,
}

impl Table {
    /// A table for `links` links; its first generation is drawn from `seed`, so that another engine's ids do not match.
    pub fn new(links: u32, seed: u64) -> Result<Self, Error> {
        // Some more slots than links: the resting ones.
        let limit = links.saturating_add(links / 8).saturating_add(1024).min(INDEXES);
        Ok(Self {
            chunks: Block::new(CHUNKS.count(limit), OnceCell::new)?,
            slots: Mutex::new(Slots {
                fresh: 0,
                limit,
                first_generation: 1 + (seed as u32 & (FIELD_MASK >> 1)),
                resting: VecDeque::new(),
                shut: false,
            }),
        })
    }

    /// The words of a slot that has been in use.
    #[inline]
    pub fn words(&self, index: u32) -> Option<Words<'_>> {
        let (chunk, slot) = self.chunk(index)?;
        let Hot { generation, received } = &chunk.hot[slot];
        let Outgoing { sent, beat, sequence } = &chunk.outgoing[slot];
        Some(Words { generation, received, sent, beat, sequence })
    }

    /// The words of an open link.
    #[inline]
    pub fn find(&self, key: Key) -> Option<Words<'_>> {
        self.words(key.index).filter(|words| key.generation != 0 && words.is_open(key.generation))
    }

    /// Notes when something was received, unless something later is known: two loads, two compares, one store. A race
    /// with close and reopening, or of two receivers of one link, can lose a stamp, and never revives an id.
    #[inline]
    pub fn received(&self, key: Key, at: Stamp, now: impl FnOnce() -> Stamp) -> bool {
        let Some(hot) = self.hot(key.index).filter(|hot| hot.is_open(key)) else { return false };
        forward(&hot.received, at, now);
        true
    }

    #[inline(always)]
    fn hot(&self, index: u32) -> Option<&Hot> {
        let (chunk, slot) = self.chunk(index)?;
        chunk.hot.get(slot)
    }

    /// Sends for a slot's memory and does not wait for it.
    #[inline(always)]
    pub fn fetch(&self, index: u32) {
        self.hot(index).map(fetch);
    }

    /// The same of all words of a slot.
    pub fn fetch_words(&self, index: u32) {
        let Some((chunk, slot)) = self.chunk(index) else { return };
        fetch(&chunk.hot[slot]);
        fetch(&chunk.outgoing[slot]);
    }

    /// As [`received`](Self::received) where nothing needs a second look; `false` where something does.
    #[inline(always)]
    pub fn received_plainly(&self, key: Key, at: Stamp) -> bool {
        let Some(hot) = self.hot(key.index).filter(|hot| hot.is_open(key)) else { return false };
        let later_ms = at.since(Stamp(hot.received.load(Ordering::Relaxed)));
        if later_ms > 0 {
            hot.received.store(at.0, Ordering::Release);
        }
        later_ms >= 0
    }

    /// Where the application marks its progress on a link of its own; `None`: it never did on any near it.
    pub fn mark(&self, index: u32) -> Option<&Mark> {
        let (chunk, slot) = self.chunk(index)?;
        chunk.marks.get().map(|marks| &marks[slot])
    }

    /// The same, made if it is not there.
    pub fn make_mark(&self, index: u32) -> Result<&Mark, Error> {
        let (chunk, slot) = self.chunk(index).ok_or_else(Error::no_link)?;
        let marks = chunk.marks.get_or_try_init(|| Block::new(chunk.hot.len(), Mark::default))?;
        Ok(&marks[slot])
    }

    /// Where a slot's words are, if they were made.
    #[inline(always)]
    fn chunk(&self, index: u32) -> Option<(&Chunk, usize)> {
        let (chunk, slot) = CHUNKS.place(index);
        Some((self.chunks.get(chunk)?.get()?, slot))
    }

    pub fn slots(&self) -> MutexGuard<'_, Slots> {
        lock(&self.slots)
    }

    /// Takes a slot for a new link, stamps it, and makes its id valid.
    pub fn occupy(&self, slots: &mut Slots, opened: Stamp, bits: u32, now_ns: u64) -> Result<Key, Error> {
        let key = self.free_slot(slots, now_ns)?;
        let chunk = CHUNKS.place(key.index).0;
        if let Err(error) = self.chunks[chunk].get_or_try_init(|| Chunk::new(CHUNKS.size(chunk))) {
            slots.resting.push_front(Resting { key, since_ns: 0 });
            return Err(error);
        }
        let words = self.words(key.index).expect("the chunk was made above");
        words.received.store(opened.0, Ordering::Relaxed);
        words.sent.store(opened.0, Ordering::Relaxed);
        words.beat.store(bits, Ordering::Relaxed);
        words.sequence.store(0, Ordering::Relaxed);
        self.mark(key.index).into_iter().for_each(Mark::clear);
        words.generation.store(key.generation, Ordering::Release);
        Ok(key)
    }

    fn free_slot(&self, slots: &mut Slots, now_ns: u64) -> Result<Key, Error> {
        if slots.resting.front().is_some_and(|resting| now_ns.saturating_sub(resting.since_ns) >= REST_NS) {
            return Ok(slots.resting.pop_front().expect("there is a first one").key);
        }
        if slots.fresh < slots.limit {
            slots.fresh += 1;
            return Ok(Key { index: slots.fresh - 1, generation: slots.first_generation });
        }
        Err(Error::new(
            Code::Again,
            "the slots of links closed in the last second may not be used again yet: try again",
        ))
    }

    /// Gives slots back after the last events of their links. A slot whose generations are used up retires.
    pub fn vacate(&self, keys: impl IntoIterator<Item = Key>, now_ns: u64) {
        let rests = |key: Key| Resting { key: Key { generation: key.generation + 1, ..key }, since_ns: now_ns };
        let keys = keys.into_iter().filter(|key| key.generation < FIELD_MASK);
        self.slots().resting.extend(keys.map(rests));
    }

    /// The open slots from `index` on.
    pub fn open_from(&self, index: u32) -> impl Iterator<Item = Key> + '_ {
        let end = self.slots().fresh;
        (index..end).filter_map(|index| {
            let generation = self.words(index)?.generation.load(Ordering::Acquire);
            (generation != 0).then_some(Key { index, generation })
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn open(table: &Table, now_ns: u64) -> Result<Key, Error> {
        table.occupy(&mut table.slots(), Stamp(1), 0, now_ns)
    }

    #[test]
    fn ids_carry_shard_generation_and_index() {
        let key = Key { index: FIELD_MASK, generation: 1 };
        let id = LinkId::new(255, key);
        assert_eq!((id.shard(), id.key()), (255, key));
        assert_ne!(LinkId::new(0, Key { index: 0, generation: 1 }).0, 0);
    }

    #[test]
    fn a_closed_id_is_stale_and_its_slot_rests() {
        let table = Table::new(4, 0).unwrap();
        let first = open(&table, 0).unwrap();
        let words = table.find(first).unwrap();
        assert!(table.received(first, Stamp(7), || Stamp(7)));
        assert_eq!(words.received.load(Ordering::Relaxed), 7);
        assert!(words.close(first.generation) && !words.close(first.generation));
        assert!(!table.received(first, Stamp(8), || Stamp(8)) && table.find(first).is_none());
        table.vacate([first], 0);
        assert_ne!(open(&table, SECOND - 1).unwrap().index, first.index);
        let again = open(&table, SECOND).unwrap();
        assert_eq!(again, Key { index: first.index, generation: first.generation + 1 });
        assert!(table.find(first).is_none());
    }

    #[test]
    fn a_stamp_moves_forward_only() {
        let day = 86_400_000_u64;
        let moved = |known: u32, at: u32, now: u32| {
            let word = AtomicU32::new(known);
            forward(&word, Stamp(at), || Stamp(now));
            word.into_inner()
        };
        assert_eq!(moved(5, 9, 9), 9);
        assert_eq!(moved(9, 5, 10), 9);
        assert_eq!(moved(9, 9, 9), 9);
        assert_eq!(moved(u32::MAX - 3, 5, 5), 5);
        assert_eq!(moved(5, u32::MAX - 3, 5), 5);
        assert_eq!(moved(1_500, 1_000, 1_000), 1_500, "a caller's clock may be a little ahead");
        // Nobody moved it for 26, 40 and 51 days.
        for days in [26_u64, 40, 51] {
            let at = (days * day) as u32;
            assert_eq!(moved(7, at, at), at, "{days}");
        }
    }

    #[test]
    fn stamps_are_kept_comparable() {
        let table = Table::new(4, 0).unwrap();
        let key = table.occupy(&mut table.slots(), Stamp(10), 0, 0).unwrap();
        let words = table.find(key).unwrap();
        let stamps = || [words.received, words.sent].map(|word| word.load(Ordering::Relaxed));
        let mut opened = Stamp(10);
        words.received.store(20, Ordering::Relaxed);
        words.keep_comparable(&mut opened, Stamp(1 << 29));
        assert_eq!((stamps(), opened), ([20, 10], Stamp(10)));
        let mut now = Stamp(1 << 29);
        for _ in 0..10 {
            now = now.plus(1 << 30);
            words.keep_comparable(&mut opened, now);
            let floor = now.minus(OLDEST_MS);
            assert_eq!((stamps(), opened), ([floor.0 + 1, floor.0], floor), "received once, sent never");
        }
        words.received.store(now.0, Ordering::Relaxed);
        words.keep_comparable(&mut opened, now.plus(5));
        assert_eq!(stamps()[0], now.0);
    }

    #[test]
    fn a_slot_whose_generations_are_used_up_retires() {
        let table = Table::new(4, 0).unwrap();
        open(&table, 0).unwrap();
        table.vacate([Key { index: 0, generation: FIELD_MASK }], 0);
        assert!(table.slots().resting.is_empty());
    }

    #[test]
    fn zero_and_wild_keys_find_nothing() {
        let table = Table::new(4, 0).unwrap();
        open(&table, 0).unwrap();
        for index in [0, 1, 5000, FIELD_MASK] {
            assert!(table.find(Key { index, generation: 0 }).is_none());
            assert!(!table.received(Key { index, generation: 0 }, Stamp(1), || Stamp(1)));
        }
    }

    #[test]
    fn open_links_are_listed_from_any_slot_on() {
        let table = Table::new(10_000, 3).unwrap();
        let keys: Vec<_> = (0..5_000).map(|_| open(&table, 0).unwrap()).collect();
        table.find(keys[1]).unwrap().close(keys[1].generation);
        let listed: Vec<_> = table.open_from(0).collect();
        assert_eq!(listed.len(), 4_999);
        assert_eq!(table.open_from(4_998).count(), 2);
        assert!(!listed.contains(&keys[1]));
    }
}
