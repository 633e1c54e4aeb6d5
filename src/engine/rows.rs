//! What only a shard's turn touches of its links.

use super::app_state::AppStates;
use super::carrier::Carried;
use super::desk::Desk;
use super::listener::ListenerId;
use super::memory::{Block, Blocks, fetch};
use super::options::LinkData;
use super::progress::Progress;
use super::stats::{Counted, Rtt, Tally};
use super::sync::{Mutex, lock};
use super::table::Key;
use crate::core::{Link, Police, Policy, Queued, Side, Stamp, State};
use std::sync::Arc;

/// One open link: two lines of a processor's memory, as there may be millions. What few links need lies beside it.
#[repr(align(64))]
pub struct Row {
    pub key: Key,
    pub link: Link,
    /// When the wheel looks at it next.
    pub queued: Option<Stamp>,
    /// When its latest look was due.
    pub due: Stamp,
    pub policy: Arc<Policy>,
    pub ordinal: u32,
    pub events: u32,
    pub data: LinkData,
    pub opened: Stamp,
    pub state_since: Stamp,
    /// What a report said.
    pub detail: u32,
    /// It was given up.
    pub down: bool,
    /// The state as which it is counted; `None`: it is not yet.
    pub counted: Option<State>,
    pub numbers: Numbers,
    pub beside: Beside,
}

const _: () = assert!(size_of::<Option<Row>>() == 128, "two lines");

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
    fd: Option<i32>,
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
        let parts = Parts { name, fd, desk, carried, ..Parts::default() };
        Self((!parts.is_empty()).then(|| Box::new(parts)))
    }

    pub fn name(&self) -> Option<&Arc<str>> {
        self.0.as_ref()?.name.as_ref()
    }

    pub fn fd(&self) -> Option<i32> {
        self.0.as_ref()?.fd
    }

    pub fn set_fd(&mut self, fd: Option<i32>) {
        self.0.get_or_insert_default().fd = fd;
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

impl Parts {
    fn is_empty(&self) -> bool {
        let Self { side, name, fd, desk, carried, watch } = self;
        side.is_none() && name.is_none() && fd.is_none() && desk.is_none() && carried.is_none() && watch.is_none()
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

/// A large one is a large page.
const SLABS: Blocks = Blocks { small: 8, few: 1 << 16, large: 14 };

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
    pub fn insert(&mut self, row: Row) {
        let (slab, slot) = SLABS.place(row.key.index);
        if slab >= self.slabs.len() {
            self.slabs.resize_with(slab + 1, || None);
        }
        let make = || Block::new(SLABS.size(slab), || None).expect("memory for more links");
        let slab = self.slabs[slab].get_or_insert_with(|| Slab { rows: make(), used: 0 });
        slab.used += usize::from(slab.rows[slot].is_none());
        slab.rows[slot] = Some(row);
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
        let row = slab.rows[slot].take_if(|row| row.key == key)?;
        slab.used -= 1;
        if slab.used == 0 {
            self.slabs[number] = None;
        }
        Some(row)
    }

    /// The keys of all rows.
    pub fn keys(&self) -> Vec<Key> {
        self.slabs.iter().flatten().flat_map(|slab| slab.rows.iter().flatten()).map(|row| row.key).collect()
    }
}

impl Queued for Rows {
    fn queued(&self, id: u32) -> Option<Stamp> {
        self.get(id)?.queued
    }

    fn clear(&mut self, id: u32) {
        if let Some(row) = self.get_mut(id) {
            row.due = row.queued.take().unwrap_or(row.due);
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
