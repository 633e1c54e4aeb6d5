//! What only a shard's turn touches of its links.

use super::app_state::AppStates;
use super::carrier::Carried;
use super::command::Opening;
use super::desk::Desk;
use super::event::EventKind;
use super::listener::ListenerId;
use super::memory::{Block, Blocks, fetch};
use super::options::LinkData;
use super::progress::Progress;
use super::stats::{Counted, Rtt, Tally};
use super::sync::{Mutex, lock};
use super::table::Key;
use crate::core::{Link, Police, Policy, Queued, Side, Stamp, State};
use std::num::NonZeroU32;
use std::sync::Arc;

/// One open link, as small as can be: there may be millions. What few links need lies beside it.
#[repr(align(32))]
pub struct Row {
    pub link: Link,
    generation: u32,
    /// When the wheel looks at it next, or was due to look at it last.
    due: Stamp,
    pub notes: Notes,
    pub opened: Stamp,
    pub state_since: Stamp,
    pub policy: Arc<Policy>,
    pub data: LinkData,
    pub numbers: Numbers,
    pub beside: Beside,
}

const _: () = assert!(size_of::<Option<Row>>() == 96, "it never touches more than two lines of a processor's memory");

/// Which events the application asked for, and what the shard notes of the link, in one word.
#[derive(Clone, Copy)]
pub struct Notes(u32);

impl Notes {
    /// A bit for each event that is asked for, by its kind.
    const EVENTS: u32 = (1 << 24) - 1;
    /// The wheel is to look at the link.
    const QUEUED: u32 = 1 << 24;
    /// It was given up.
    const DOWN: u32 = 1 << 25;
    /// From here on: 0, or one more than the number of the state as which the link is counted.
    const COUNTED: u32 = 26;

    pub const fn new(events: u32) -> Self {
        Self(events & Self::EVENTS)
    }

    pub const fn ask_for(&mut self, events: u32) {
        self.0 = self.0 & !Self::EVENTS | events & Self::EVENTS;
    }

    pub const fn asks_for(self, kind: EventKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// `true`: it was noted before.
    const fn note(&mut self, bit: u32, holds: bool) -> bool {
        let before = self.0 & bit != 0;
        self.0 = if holds { self.0 | bit } else { self.0 & !bit };
        before
    }

    /// Notes whether the link was given up, and says what was noted before.
    pub const fn note_down(&mut self, down: bool) -> bool {
        self.note(Self::DOWN, down)
    }

    /// The state as which it is counted; `None`: it is not yet.
    pub fn counted(self) -> Option<State> {
        State::ALL.into_iter().find(|&state| self.0 >> Self::COUNTED == 1 + state as u32)
    }

    pub const fn count_as(&mut self, state: Option<State>) {
        let number = if let Some(state) = state { 1 + state as u32 } else { 0 };
        self.0 = self.0 & ((1 << Self::COUNTED) - 1) | number << Self::COUNTED;
    }
}

const _: () = assert!(EventKind::ALL.len() < 24 && 1 + State::ALL.len() < 1 << (32 - Notes::COUNTED));

const _: () = assert!(size_of::<(Tally, Rtt)>() == 56, "one line, with what an allocator adds");

/// What a link counted and measured, from the first time on that there is something.
#[derive(Default)]
pub struct Numbers(Option<Box<(Tally, Rtt)>>);

impl Numbers {
    pub fn tally(&self, what: Counted) -> u32 {
        self.0.as_ref().map_or(0, |numbers| numbers.0[what])
    }

    pub fn count(&mut self, what: Counted, by: i32) {
        let counter = &mut self.0.get_or_insert_default().0[what];
        *counter = counter.wrapping_add_signed(by);
    }

    /// All 0 where there was none yet.
    pub fn rtt(&self) -> Rtt {
        self.0.as_ref().map_or_else(Rtt::default, |numbers| numbers.1)
    }

    pub fn add_rtt(&mut self, rtt_us: u32) {
        self.0.get_or_insert_default().1.add(rtt_us);
    }
}

/// What few links have, or have for a while.
#[derive(Default)]
pub struct Beside(Option<Box<Parts>>);

#[derive(Default)]
pub struct Parts {
    side: Option<Box<Side>>,
    name: Option<Arc<str>>,
    /// One more than the descriptor.
    fd: Option<NonZeroU32>,
    /// What a report said.
    detail: u32,
    desk: Option<Arc<Desk>>,
    /// Of links whose socket is the engine's.
    carried: Option<Box<Carried>>,
    /// Of links whose policy polices the peer, or asks the application for progress.
    watch: Option<Box<Watch>>,
}

impl Beside {
    pub fn new(
        name: Option<Arc<str>>,
        fd: Option<i32>,
        desk: Option<Arc<Desk>>,
        carried: Option<Box<Carried>>,
    ) -> Self {
        let parts = Parts { name, fd: Parts::kept(fd), desk, carried, ..Parts::default() };
        Self((!parts.is_empty()).then(|| Box::new(parts)))
    }

    pub fn name(&self) -> Option<&Arc<str>> {
        self.0.as_ref()?.name.as_ref()
    }

    pub fn fd(&self) -> Option<i32> {
        self.0.as_ref()?.fd.map(|fd| (fd.get() - 1) as i32)
    }

    pub fn set_fd(&mut self, fd: Option<i32>) {
        self.0.get_or_insert_default().fd = Parts::kept(fd);
    }

    /// What a report said.
    pub fn detail(&self) -> u32 {
        self.0.as_ref().map_or(0, |parts| parts.detail)
    }

    pub fn set_detail(&mut self, detail: u32) {
        if self.detail() != detail {
            self.0.get_or_insert_default().detail = detail;
        }
    }

    pub fn desk(&self) -> Option<&Arc<Desk>> {
        self.0.as_ref()?.desk.as_ref()
    }

    pub fn carried(&self) -> Option<&Carried> {
        self.0.as_ref()?.carried.as_deref()
    }

    pub fn carried_mut(&mut self) -> Option<&mut Carried> {
        self.0.as_mut()?.carried.as_deref_mut()
    }

    pub fn watch_mut(&mut self) -> Option<&mut Watch> {
        self.0.as_mut()?.watch.as_deref_mut()
    }

    /// From here on there is one.
    pub fn watch(&mut self) -> &mut Watch {
        self.0.get_or_insert_default().watch.get_or_insert_default()
    }

    /// For a step of the core, which makes a side and drops it as needed.
    pub fn with_side<T>(&mut self, step: impl FnOnce(&mut Option<Box<Side>>) -> T) -> T {
        let mut side = self.0.as_mut().and_then(|parts| parts.side.take());
        let had = side.is_some();
        let result = step(&mut side);
        if side.is_some() {
            self.0.get_or_insert_default().side = side;
        } else if had {
            self.0.take_if(|parts| parts.is_empty());
        }
        result
    }
}

const _: () = assert!(size_of::<Parts>() == 56, "one line, with what an allocator adds");

impl Parts {
    fn kept(fd: Option<i32>) -> Option<NonZeroU32> {
        fd.and_then(|fd| NonZeroU32::new(u32::try_from(fd).ok()?.wrapping_add(1)))
    }

    fn is_empty(&self) -> bool {
        let Self { side, name, fd, detail, desk, carried, watch } = self;
        (side.is_none() && name.is_none() && fd.is_none() && *detail == 0)
            && (desk.is_none() && carried.is_none() && watch.is_none())
    }
}

/// What is known of who is watched.
#[derive(Debug, Default)]
pub struct Watch {
    /// How often the peer beats.
    pub police: Police,
    /// The last answer that matched.
    pub answered: Option<Stamp>,
    /// The latest pause of ours that the peer was excused for.
    pub excused: Option<u8>,
    /// The application's progress.
    pub progress: Progress,
}

impl Row {
    /// A link that was just opened.
    pub fn new(opening: Opening, events: u32, now: Stamp) -> Self {
        Self {
            link: Link::new(opening.opened),
            generation: opening.key.generation,
            due: opening.opened,
            notes: Notes::new(events),
            opened: opening.opened,
            state_since: now,
            policy: opening.policy,
            data: opening.data,
            numbers: Numbers::default(),
            beside: opening.beside,
        }
    }

    /// Which link it is, from where it lies.
    pub fn key(&self, index: u32) -> Key {
        Key { index, generation: self.generation }
    }

    /// When the wheel was due to look at it.
    pub fn due(&self) -> Stamp {
        self.due
    }

    fn queued(&self) -> Option<Stamp> {
        (self.notes.0 & Notes::QUEUED != 0).then_some(self.due)
    }

    /// Plans a look. Lazily: one that is planned earlier finds out by itself that there is time; `false`: there is one.
    pub fn queue(&mut self, due: Stamp) -> bool {
        let news = self.queued().is_none_or(|queued| queued.is_after(due));
        if news {
            self.due = due;
            self.notes.note(Notes::QUEUED, true);
        }
        news
    }

    /// What the link is believed to be.
    pub fn state(&self) -> State {
        match self.beside.carried() {
            Some(carried) if carried.is_connecting() => State::Connecting,
            _ => self.link.evidence().state,
        }
    }

    /// The core begins anew.
    pub fn begin(&mut self, now: Stamp) {
        self.link = Link::new(now);
        self.beside.with_side(|side| *side = None);
    }

    /// Whether the application does not know of it yet.
    pub fn is_hidden(&self) -> bool {
        self.beside.carried().is_some_and(|carried| carried.is_hidden())
    }

    /// The listener that its peer came to.
    pub fn listener(&self) -> Option<ListenerId> {
        Some(self.beside.carried()?.seat.as_ref()?.listener().id)
    }

    /// The states that its beats and answers carry, if they do.
    pub fn states(&self) -> Option<&AppStates> {
        self.beside.desk()?.states.as_deref()
    }
}

/// How many policies are kept for the next link.
const POLICIES: usize = 16;

/// The policies used last: links that have the same one share it.
#[derive(Default)]
pub struct Policies(Mutex<Vec<Arc<Policy>>>);

impl Policies {
    pub fn share(&self, policy: &Policy) -> Arc<Policy> {
        let mut kept = lock(&self.0);
        if let Some(same) = kept.iter().rev().find(|kept| ***kept == *policy) {
            return Arc::clone(same);
        }
        if kept.len() == POLICIES {
            kept.remove(0);
        }
        let policy = Arc::new(*policy);
        kept.push(Arc::clone(&policy));
        policy
    }
}

/// A large one is three large pages.
const SLABS: Blocks = Blocks { small: 8, few: 1 << 16, large: 16 };

/// The rows of a shard by index. Slabs come as links are opened and go when they are empty.
#[derive(Default)]
pub struct Rows {
    slabs: Vec<Option<Slab>>,
}

struct Slab {
    rows: Block<Option<Row>>,
    used: usize,
}

impl Rows {
    pub fn insert(&mut self, index: u32, row: Row) {
        let (slab, slot) = SLABS.place(index);
        if slab >= self.slabs.len() {
            self.slabs.resize_with(slab + 1, || None);
        }
        let make = || Block::new(SLABS.size(slab), || None).expect("memory for more links");
        let slab = self.slabs[slab].get_or_insert_with(|| Slab { rows: make(), used: 0 });
        slab.used += usize::from(slab.rows[slot].is_none());
        slab.rows[slot] = Some(row);
    }

    /// The row of a link, if it is still that link's.
    pub fn find(&self, key: Key) -> Option<&Row> {
        self.get(key.index).filter(|row| row.key(key.index) == key)
    }

    pub fn find_mut(&mut self, key: Key) -> Option<&mut Row> {
        self.get_mut(key.index).filter(|row| row.key(key.index) == key)
    }

    pub fn get(&self, index: u32) -> Option<&Row> {
        let (slab, slot) = SLABS.place(index);
        self.slabs.get(slab)?.as_ref()?.rows[slot].as_ref()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut Row> {
        let (slab, slot) = SLABS.place(index);
        self.slabs.get_mut(slab)?.as_mut()?.rows[slot].as_mut()
    }

    /// Sends for a row, which is needed soon. Whether there is one is not asked: that would wait for it.
    pub fn fetch(&self, index: u32) {
        let (slab, slot) = SLABS.place(index);
        self.slabs.get(slab).and_then(Option::as_ref).into_iter().for_each(|slab| fetch(&slab.rows[slot]));
    }

    /// The same of what a row that has come by now counted.
    pub fn fetch_numbers(&self, index: u32) {
        self.get(index).and_then(|row| row.numbers.0.as_deref()).into_iter().for_each(fetch);
    }

    /// Takes the row out, if it is still that link's.
    pub fn remove(&mut self, key: Key) -> Option<Row> {
        let (number, slot) = SLABS.place(key.index);
        let slab = self.slabs.get_mut(number)?.as_mut()?;
        let row = slab.rows[slot].take_if(|row| row.key(key.index) == key)?;
        slab.used -= 1;
        if slab.used == 0 {
            self.slabs[number] = None;
        }
        Some(row)
    }

    /// The keys of all rows.
    pub fn keys(&self) -> Vec<Key> {
        let slabs = self.slabs.iter().enumerate().filter_map(|(slab, rows)| Some((slab, rows.as_ref()?)));
        slabs
            .flat_map(|(slab, rows)| rows.rows.iter().enumerate().map(move |(slot, row)| (slab, slot, row)))
            .filter_map(|(slab, slot, row)| Some(row.as_ref()?.key(SLABS.index(slab, slot))))
            .collect()
    }
}

impl Queued for Rows {
    fn queued(&self, id: u32) -> Option<Stamp> {
        self.get(id)?.queued()
    }

    fn clear(&mut self, id: u32) {
        if let Some(row) = self.get_mut(id) {
            row.notes.note(Notes::QUEUED, false);
        }
    }

    fn announce(&self, ids: &[u32]) {
        ids.iter().for_each(|&id| self.fetch(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_with_the_same_policy_share_it() {
        let policies = Policies::default();
        let policy = |interval_ms| Policy { interval_ms, ..Policy::preset("normal").unwrap() };
        let share = |interval_ms| policies.share(&policy(interval_ms));
        let first = share(9_000);
        assert!(Arc::ptr_eq(&first, &share(9_000)));
        assert_eq!(*share(8_000), policy(8_000));
        // Those that are not kept any more live as long as their links.
        (0..POLICIES as u32).for_each(|more| drop(share(10_000 + more)));
        assert_eq!(policies.0.lock().unwrap().len(), POLICIES);
        assert_eq!(Arc::strong_count(&first), 1);
        assert_eq!(*share(9_000), *first);
    }
}
