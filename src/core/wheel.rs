//! The timing wheel: when each link is to be looked at next.
//!
//! Three rings of slots. A slot is a chain of 64-byte chunks of ids and nothing else:
//!
//! | level | slots | one slot spans | reaches, with a tick of 1 ms |
//! |---|---|---|---|
//! | 0 | 4096 | 1 tick | 4 s |
//! | 1 | 4096 | 1024 ticks | 70 min |
//! | 2 | 1024 | 2^20 ticks | 12.4 days; what lies beyond waits in the last slot |
//!
//! **An entry is a hint, the link has the word.** The owner keeps one queued time for each id ([`Queued`]). An entry
//! whose slot does not cover that time is *stale* and is dropped where it is met: closing a link or giving it an
//! earlier deadline unlinks nothing. When stale entries may be more than half of all, a sweep drops them, a few at a
//! time.
//!
//! **No cascade stall.** An upper slot is spread over the level below a few ids per tick, during the whole slot
//! before it. If the owner slept through that time, the rest moves on arrival, within the budget of the turn.
//!
//! **No idle wake-ups.** Each upper slot knows its least due tick, so [`Wheel::next_due`] is exact at any distance:
//! one link at 24 h is one wake-up.

mod bitmap;
mod chunks;

use super::Stamp;
use bitmap::Bitmap;
use chunks::{Chain, Chunks, Taken};

/// What the wheel asks of the owner of the links.
pub trait Queued {
    /// The time for which `id` was last inserted; `None` once it was handed out or closed.
    fn queued(&self, id: u32) -> Option<Stamp>;

    /// Called as `id` is handed out: from here on `queued(id)` must be `None` until the next insert. That is what
    /// makes a second entry for the same time stale, even within one batch.
    fn clear(&mut self, id: u32);

    /// These are asked about next: their memory may be sent for, all of it at once.
    fn announce(&self, _ids: &[u32]) {}
}

/// A timing wheel of link ids.
pub struct Wheel {
    tick_ms: u32,
    /// The latest moment seen, in ms. Its lower 32 bits are the [`Stamp`]; 64 bits let the ticks count on for ever.
    now_ms: u64,
    /// The tick that is being handed out. Behind `now_ms` only while a turn is cut.
    current: u64,
    /// All slots, level after level.
    slots: Vec<Chain>,
    occupied: [Bitmap; LEVELS.len()],
    /// For each upper slot the least due tick, counted from the slot's first.
    least: Vec<u32>,
    /// Slots of level 2 that hold ids due later than the slot.
    parked: Bitmap,
    chunks: Chunks,
    /// Entries, live and stale.
    entries: usize,
    /// Entries looked at since the wheel was made.
    looked_at: u64,
    sweep: Sweep,
}

/// One ring of slots.
struct Level {
    /// Its first slot among all slots.
    first: usize,
    slots: usize,
    /// log2 of the ticks that one slot spans.
    shift: u32,
}

const LEVELS: [Level; 3] = [
    Level { first: 0, slots: 4096, shift: 0 },
    Level { first: 4096, slots: 4096, shift: 10 },
    Level { first: 8192, slots: 1024, shift: 20 },
];
const SLOTS: usize = 9216;

/// Level 0 has no least due ticks: a slot is one tick.
const UPPER: usize = 4096;

/// The least due tick of a slot that has none.
const NEVER: u32 = u32::MAX;

/// Entries that `next_due` looks at before it answers with what may be a stale entry's time.
const LOOKS: usize = 128;

/// Stale entries that are not worth a sweep (about 70 KB).
const SWEEP_FLOOR: usize = 16 * 1024;

/// Entries that a sweep looks at in one turn, at most (some 50 µs).
const SWEEP_TURN: usize = 4096;

/// A pass over all slots that drops stale and double entries.
struct Sweep {
    /// The slot at work; `SLOTS` when no sweep runs.
    slot: usize,
    /// What is still to be looked at of that slot. It counts as part of the slot.
    rest: Chain,
    /// The least due tick of `rest`, counted from the slot's first.
    least: u32,
    /// A bit for each id whose newest entry lies where the sweep has been: any it meets from here on is a double.
    seen: Vec<u64>,
    /// Entries that the last sweep found live, or the fewest entries since.
    kept: usize,
    /// Inserts since the last turn: a sweep must outrun them.
    inserted: usize,
    /// Inserts since the sweep began: it does not vouch for them.
    unseen: usize,
    /// [`SWEEP_FLOOR`], except in tests.
    floor: usize,
    /// [`SWEEP_TURN`], except in tests.
    turn: usize,
}

/// The ticks for which an entry in a slot is live: first to last.
type Span = (u64, u64);

impl Wheel {
    /// An empty wheel that stands at `start`.
    ///
    /// # Panics
    /// If `tick_ms` is not within 1–1000.
    #[must_use]
    pub fn new(start: Stamp, tick_ms: u32) -> Self {
        assert!((1..=1000).contains(&tick_ms), "tick_ms is {tick_ms}, must be 1 to 1000");
        // One whole turn of the stamp ahead of zero, so that a time before `start` is not negative.
        let now_ms = (1 << 32) + u64::from(start.0);
        Self {
            tick_ms,
            now_ms,
            current: now_ms / u64::from(tick_ms),
            slots: vec![Chain::EMPTY; SLOTS],
            occupied: LEVELS.map(|level| Bitmap::new(level.slots)),
            least: vec![NEVER; SLOTS - UPPER],
            parked: Bitmap::new(LEVELS[2].slots),
            chunks: Chunks::new(),
            entries: 0,
            looked_at: 0,
            sweep: Sweep::new(),
        }
    }

    /// Queues `id` for `due`, at most 2^30 ms after now; the owner's `queued(id)` must be `due` from here on. Rounds
    /// late to a tick; what is due already is handed out by the next `advance`. What was queued for `id` before no
    /// longer counts.
    pub fn insert(&mut self, id: u32, due: Stamp) {
        let tick = self.tick_of(due);
        self.sweep.inserted += 1;
        self.place(id, tick);
    }

    /// Appends to `out` the ids that are due at or before `now`, in the order of their ticks, and `clear`s each.
    /// Never early; late by the rounding to a tick only. To be called at least once in 2^30 ms.
    ///
    /// A turn looks at `budget` entries or a few more (whole chunks of 15). Returns whether it was cut: then there is
    /// more to do for the same `now`, and the caller comes again.
    #[must_use = "a turn that was cut must be continued"]
    pub fn advance<Q: Queued>(&mut self, now: Stamp, owner: &mut Q, out: &mut Vec<u32>, budget: usize) -> bool {
        let before = self.current;
        let target = self.follow(now);
        let mut left = budget.max(1);
        while let Some((level, slot, tick)) = self.next_stop() {
            if tick > target {
                break;
            }
            if left == 0 {
                return true;
            }
            self.current = tick;
            left = if level == 0 { self.hand_out(slot, owner, out, left) } else { self.move_down(slot, owner, left) };
        }
        self.current = target;
        self.move_ahead(target - before, owner, left);
        self.sweep(owner);
        false
    }

    /// When `advance` next has an id to hand out: the least due time, rounded late to a tick; not after `now` when
    /// something is due already. `None` when nothing is queued.
    ///
    /// Never later than the truth. Earlier only for the sake of stale entries, when more than 128 would have to be
    /// looked at to tell, and once or twice for a deadline beyond the reach of the wheel (1023 · 2^20 ticks).
    /// Otherwise one wake-up for each tick that has something due.
    pub fn next_due<Q: Queued>(&mut self, owner: &Q) -> Option<Stamp> {
        let mut looks = LOOKS;
        loop {
            let (slot, tick) = self.earliest()?;
            if self.confirm(slot, tick, owner, &mut looks) {
                return Some(self.stamp_of(tick));
            }
            self.prune(slot, owner);
        }
    }

    /// Entries, live and stale.
    #[must_use]
    pub const fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes reserved by the wheel. It grows with the most entries there ever were and never shrinks.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bitmaps: usize = self.occupied.iter().map(Bitmap::bytes).sum();
        self.chunks.bytes()
            + self.slots.capacity() * size_of::<Chain>()
            + (self.least.capacity() + self.sweep.seen.capacity() * 2) * size_of::<u32>()
            + bitmaps
            + self.parked.bytes()
    }

    /// Entries looked at by `advance` and `next_due` since the wheel was made: its work, counted.
    #[doc(hidden)]
    #[must_use]
    pub const fn looked_at(&self) -> u64 {
        self.looked_at
    }
}

/// Time.
impl Wheel {
    /// Follows the caller's clock, never back. The tick of `now`, rounded early.
    fn follow(&mut self, now: Stamp) -> u64 {
        let step = now.since(Stamp(self.now_ms as u32));
        self.now_ms += u64::from(step.max(0).unsigned_abs());
        self.now_ms / u64::from(self.tick_ms)
    }

    /// The tick of a deadline, rounded late.
    fn tick_of(&self, due: Stamp) -> u64 {
        let ahead_ms = due.since(Stamp(self.now_ms as u32));
        let due_ms = self.now_ms.saturating_add_signed(i64::from(ahead_ms));
        if self.tick_ms == 1 { due_ms } else { due_ms.div_ceil(u64::from(self.tick_ms)) }
    }

    const fn stamp_of(&self, tick: u64) -> Stamp {
        Stamp((tick * self.tick_ms as u64) as u32)
    }
}

/// Slots.
impl Wheel {
    /// Puts an entry where `tick` belongs as seen from the current tick; what is late belongs to the current tick.
    ///
    /// A slot that is being moved down gets nothing new: all its ticks are within reach of the level below.
    fn place(&mut self, id: u32, tick: u64) {
        let tick = tick.max(self.current);
        let level = if tick - self.current < LEVELS[0].slots as u64 {
            0
        } else if (tick >> LEVELS[1].shift) - (self.current >> LEVELS[1].shift) < LEVELS[1].slots as u64 {
            1
        } else {
            2
        };
        let shift = LEVELS[level].shift;
        let last = (self.current >> shift) + LEVELS[level].slots as u64 - 1;
        let block = (tick >> shift).min(last);
        if tick >> shift > last {
            self.parked.set(ring_index(level, block));
        }
        self.sweep.note(id, LEVELS[level].first + ring_index(level, block));
        self.push(level, ring_index(level, block), id, tick - (block << shift));
    }

    /// Adds an entry that is due `offset` ticks after the slot's first.
    fn push(&mut self, level: usize, index: usize, id: u32, offset: u64) {
        let slot = LEVELS[level].first + index;
        self.chunks.push(&mut self.slots[slot], id);
        self.occupied[level].set(index);
        self.entries += 1;
        if level > 0 {
            // A parked id counts as due at the slot's end: later slots must not be overtaken.
            let offset = offset.min((1 << LEVELS[level].shift) - 1) as u32;
            let least = &mut self.least[slot - UPPER];
            *least = offset.min(*least);
        }
    }

    /// Takes some entries out of an occupied slot.
    fn take(&mut self, slot: usize) -> Taken {
        let swept = self.sweep.slot == slot;
        let taken = if self.slots[slot].count() > 0 {
            self.chunks.take(&mut self.slots[slot])
        } else {
            debug_assert!(swept, "an occupied slot holds something");
            self.chunks.take(&mut self.sweep.rest)
        };
        self.entries -= taken.ids().len();
        self.looked_at += taken.ids().len() as u64;
        self.empty_if_drained(slot);
        taken
    }

    fn empty_if_drained(&mut self, slot: usize) {
        if self.count(slot) > 0 {
            return;
        }
        let (level, index) = level_of(slot);
        self.occupied[level].clear(index);
        if level > 0 {
            self.least[slot - UPPER] = NEVER;
        }
        if level == 2 {
            self.parked.clear(index);
        }
    }

    fn count(&self, slot: usize) -> usize {
        let rest = if self.sweep.slot == slot { self.sweep.rest.count() } else { 0 };
        self.slots[slot].count() + rest
    }

    fn ids(&self, slot: usize) -> impl Iterator<Item = u32> + '_ {
        let rest = if self.sweep.slot == slot { self.sweep.rest } else { Chain::EMPTY };
        self.chunks.iter(self.slots[slot]).chain(self.chunks.iter(rest))
    }

    /// The ticks for which an entry in `slot` is live.
    fn span(&self, slot: usize) -> Span {
        let (level, index) = level_of(slot);
        let (shift, mask) = (LEVELS[level].shift, LEVELS[level].slots as u64 - 1);
        let current = self.current >> shift;
        let block = current + ((index as u64).wrapping_sub(current) & mask);
        let parks = level == 2 && self.parked.get(index);
        (block << shift, if parks { u64::MAX } else { ((block + 1) << shift) - 1 })
    }

    /// The tick of `id` if an entry for it in a slot of `span` is live.
    fn live<Q: Queued>(&self, id: u32, span: Span, owner: &Q) -> Option<u64> {
        let tick = self.tick_of(owner.queued(id)?).max(self.current);
        (span.0 <= tick && tick <= span.1).then_some(tick)
    }
}

/// Turning.
impl Wheel {
    /// The next slot to be emptied and the tick at which: a slot of level 0 at its tick, an upper one at its first.
    /// Of several at the same tick the uppermost, as it may hold ids for the others.
    fn next_stop(&self) -> Option<(usize, usize, u64)> {
        let mut next = None;
        for level in 0..LEVELS.len() {
            if let Some((slot, first)) = self.first_slot(level) {
                let stop = first.max(self.current);
                if next.is_none_or(|(_, _, least)| stop <= least) {
                    next = Some((level, slot, stop));
                }
            }
        }
        next
    }

    /// The next occupied slot of a level and its first tick.
    fn first_slot(&self, level: usize) -> Option<(usize, u64)> {
        let shift = LEVELS[level].shift;
        let current = self.current >> shift;
        let distance = self.occupied[level].distance_from(ring_index(level, current))?;
        let block = current + distance as u64;
        Some((LEVELS[level].first + ring_index(level, block), block << shift))
    }

    /// Hands out the slot of the current tick, as far as the budget goes. Returns what is left of it.
    fn hand_out<Q: Queued>(&mut self, slot: usize, owner: &mut Q, out: &mut Vec<u32>, mut left: usize) -> usize {
        let limit = self.stamp_of(self.current);
        while left > 0 && self.count(slot) > 0 {
            let taken = self.take(slot);
            owner.announce(taken.ids());
            for &id in taken.ids() {
                // What is due earlier is late, and may go out by whichever of its entries comes first.
                if owner.queued(id).is_some_and(|due| !due.is_after(limit)) {
                    owner.clear(id);
                    debug_assert!(owner.queued(id).is_none(), "clear({id}) must clear");
                    out.push(id);
                }
            }
            left = left.saturating_sub(taken.ids().len());
        }
        left
    }

    /// Spreads an upper slot over the levels below, as far as the budget goes. Returns what is left of it.
    fn move_down<Q: Queued>(&mut self, slot: usize, owner: &Q, mut left: usize) -> usize {
        let span = self.span(slot);
        while left > 0 && self.count(slot) > 0 {
            let taken = self.take(slot);
            owner.announce(taken.ids());
            for &id in taken.ids() {
                if let Some(tick) = self.live(id, span, owner) {
                    self.place(id, tick);
                }
            }
            left = left.saturating_sub(taken.ids().len());
        }
        left
    }

    /// Moves the share of the next slot of each upper level that falls to the `passed` ticks.
    fn move_ahead<Q: Queued>(&mut self, passed: u64, owner: &Q, mut left: usize) {
        for level in [2, 1] {
            let shift = LEVELS[level].shift;
            let next = (self.current >> shift) + 1;
            let slot = LEVELS[level].first + ring_index(level, next);
            let ticks_left = (next << shift) - self.current;
            // Time slept before this slot began is no reason to hurry now.
            let passed = passed.min(self.current - ((next - 1) << shift));
            let share = (self.count(slot) as u64 * passed).div_ceil(ticks_left);
            let share = left.min(share as usize);
            left -= share - self.move_down(slot, owner, share);
        }
    }
}

/// The next deadline.
impl Wheel {
    /// The slot with the least due tick, and that tick. Slots of a level follow each other, so only the first of each
    /// level can have it.
    fn earliest(&self) -> Option<(usize, u64)> {
        (0..LEVELS.len())
            .filter_map(|level| {
                let (slot, first) = self.first_slot(level)?;
                let offset = if level == 0 { 0 } else { self.least_of(slot) };
                Some((slot, (first + u64::from(offset)).max(self.current)))
            })
            .min_by_key(|&(_, tick)| tick)
    }

    fn least_of(&self, slot: usize) -> u32 {
        let least = self.least[slot - UPPER];
        let swept = self.sweep.slot == slot && self.sweep.rest.count() > 0;
        if swept { least.min(self.sweep.least) } else { least }
    }

    /// Whether a live entry of `slot` is due at `tick`, or the looks are used up.
    fn confirm<Q: Queued>(&mut self, slot: usize, tick: u64, owner: &Q, looks: &mut usize) -> bool {
        let count = self.count(slot);
        let span = self.span(slot);
        let last = span.0 + (1 << LEVELS[level_of(slot).0].shift) - 1;
        let examined = count.min(*looks);
        let mut ids = self.ids(slot).take(examined);
        let found = ids.position(|id| self.live(id, span, owner).is_some_and(|due| due.min(last) == tick));
        drop(ids);
        let looked = found.map_or(examined, |at| at + 1);
        *looks -= looked;
        self.looked_at += looked as u64;
        found.is_some() || examined < count
    }

    /// Drops the stale entries of a slot, of which there are at most `LOOKS`, and finds its least due tick anew.
    fn prune<Q: Queued>(&mut self, slot: usize, owner: &Q) {
        let span = self.span(slot);
        let mut live = Vec::with_capacity(LOOKS);
        while self.count(slot) > 0 {
            let taken = self.take(slot);
            live.extend(taken.ids().iter().filter_map(|&id| Some((id, self.live(id, span, owner)?))));
        }
        for (id, tick) in live {
            self.place(id, tick);
        }
    }
}

/// Compaction.
impl Wheel {
    /// Goes on with a sweep, or starts one when more than half of the entries may be stale.
    fn sweep<Q: Queued>(&mut self, owner: &Q) {
        let inserted = std::mem::take(&mut self.sweep.inserted);
        self.sweep.unseen += inserted;
        self.sweep.kept = self.sweep.kept.min(self.entries);
        if self.sweep.slot == SLOTS {
            if self.entries <= 2 * self.sweep.kept + self.sweep.floor {
                return;
            }
            self.sweep.unseen = 0;
            self.sweep_slot(0);
        }
        let mut left = self.sweep.turn.min(4 * inserted + 64);
        while left > 0 && self.sweep.slot < SLOTS {
            if self.sweep.rest.count() == 0 {
                self.sweep_slot(self.sweep.slot + 1);
                continue;
            }
            left = left.saturating_sub(self.sweep_chunk(owner));
        }
        if self.sweep.slot == SLOTS {
            self.sweep.kept = self.entries.saturating_sub(self.sweep.unseen);
            self.sweep.seen = Vec::new();
        }
    }

    /// Makes all entries of `slot` the rest to be looked at.
    fn sweep_slot(&mut self, slot: usize) {
        self.sweep.slot = slot;
        if slot < SLOTS {
            self.sweep.rest = std::mem::replace(&mut self.slots[slot], Chain::EMPTY);
            if slot >= UPPER {
                self.sweep.least = std::mem::replace(&mut self.least[slot - UPPER], NEVER);
            }
        }
    }

    /// Looks at one chunk of the rest and puts back what is live. Returns how many entries it was.
    fn sweep_chunk<Q: Queued>(&mut self, owner: &Q) -> usize {
        let slot = self.sweep.slot;
        let (level, index) = level_of(slot);
        let span = self.span(slot);
        let taken = self.chunks.take(&mut self.sweep.rest);
        self.entries -= taken.ids().len();
        self.looked_at += taken.ids().len() as u64;
        owner.announce(taken.ids());
        for &id in taken.ids() {
            if let Some(tick) = self.live(id, span, owner) {
                if self.sweep.keep(id) {
                    self.push(level, index, id, tick - span.0);
                }
            }
        }
        self.empty_if_drained(slot);
        taken.ids().len()
    }
}

impl Sweep {
    const fn new() -> Self {
        Self {
            slot: SLOTS,
            rest: Chain::EMPTY,
            least: NEVER,
            seen: Vec::new(),
            kept: 0,
            inserted: 0,
            unseen: 0,
            floor: SWEEP_FLOOR,
            turn: SWEEP_TURN,
        }
    }

    /// Whether `id` has no entry yet where the sweep has been; from here on it has.
    fn keep(&mut self, id: u32) -> bool {
        let word = id as usize / 64;
        if word >= self.seen.len() {
            self.seen.resize((word + 1).next_power_of_two(), 0);
        }
        let bit = 1 << (id % 64);
        let first = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        first
    }

    /// An entry of `id` is about to be put into `slot`. If the sweep will meet it there, it must not be taken for a
    /// double; if not, it stands for `id`, and those still to be met are doubles.
    fn note(&mut self, id: u32, slot: usize) {
        if self.slot == SLOTS {
            return;
        }
        if slot <= self.slot {
            self.keep(id);
        } else if let Some(word) = self.seen.get_mut(id as usize / 64) {
            *word &= !(1 << (id % 64));
        }
    }
}

/// Where a block (a tick without the bits below the level) lies in its ring.
const fn ring_index(level: usize, block: u64) -> usize {
    block as usize & (LEVELS[level].slots - 1)
}

/// The level of a slot and its place in the ring.
const fn level_of(slot: usize) -> (usize, usize) {
    if slot < LEVELS[1].first {
        (0, slot)
    } else if slot < LEVELS[2].first {
        (1, slot - LEVELS[1].first)
    } else {
        (2, slot - LEVELS[2].first)
    }
}

/// Checks.
impl Wheel {
    /// Sweeps as soon as there is anything to drop, and slowly: for tests, so that much happens during a sweep.
    #[doc(hidden)]
    pub fn sweep_always(&mut self) {
        self.sweep.floor = 0;
        self.sweep.turn = 16;
    }

    /// Panics where the wheel contradicts itself, or has no entry for one of `ids` that the owner holds queued.
    #[doc(hidden)]
    pub fn check<Q: Queued>(&self, owner: &Q, ids: std::ops::Range<u32>) {
        let mut missing: std::collections::HashSet<u32> = ids.filter(|&id| owner.queued(id).is_some()).collect();
        let (mut entries, mut chunks) = (0, self.sweep.rest.count().div_ceil(chunks::IDS));
        for slot in 0..SLOTS {
            let (level, index) = level_of(slot);
            assert_eq!(self.occupied[level].get(index), self.count(slot) > 0, "bit of slot {slot}");
            if self.count(slot) == 0 {
                continue;
            }
            entries += self.count(slot);
            chunks += self.slots[slot].count().div_ceil(chunks::IDS);
            let span = self.span(slot);
            let offset = if level == 0 { 0 } else { u64::from(self.least_of(slot)) };
            for id in self.ids(slot) {
                // An old entry may look live by chance; it need not be known to `least`, as the newer one is.
                if self.live(id, span, owner).is_some_and(|tick| span.0.saturating_add(offset) <= tick) {
                    missing.remove(&id);
                }
            }
        }
        assert!(missing.is_empty(), "lost: {missing:?}");
        assert_eq!(entries, self.entries, "entries");
        let (used, free) = self.chunks.census();
        assert_eq!(used - free, chunks, "chunks in use");
    }
}

#[cfg(test)]
mod tests;
