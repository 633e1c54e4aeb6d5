//! What only a shard's turn touches of its links.

use super::app_state::AppStates;
use super::carrier::Carried;
use super::desk::Desk;
use super::listener::ListenerId;
use super::options::LinkData;
use super::prefetch::fetch;
use super::progress::Progress;
use super::stats::{Rtt, Tally};
use super::sync::{Mutex, lock};
use super::table::Key;
use crate::core::{Link, Police, Policy, Queued, Side, Stamp, State};
use std::sync::Arc;

/// One open link.
pub struct Row {
    pub key: Key,
    pub link: Link,
    pub side: Option<Box<Side>>,
    /// When the wheel looks at it next.
    pub queued: Option<Stamp>,
    /// When its latest look was due.
    pub due: Stamp,
    pub policy: Arc<Policy>,
    pub ordinal: u32,
    pub events: u32,
    pub data: LinkData,
    pub name: Option<Arc<str>>,
    pub fd: Option<i32>,
    pub desk: Option<Arc<Desk>>,
    pub opened: Stamp,
    pub state_since: Stamp,
    /// It was given up.
    pub down: bool,
    /// What a report said.
    pub detail: u32,
    pub tally: Tally,
    pub rtt: Rtt,
    /// Of links whose socket is the engine's.
    pub carried: Option<Box<Carried>>,
    /// The state as which it is counted; `None`: it is not yet.
    pub counted: Option<State>,
    /// Of links whose policy polices the peer, or asks the application for progress.
    pub watch: Option<Box<Watch>>,
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
        match &self.carried {
            Some(carried) if carried.is_connecting() => State::Connecting,
            _ => self.link.evidence().state,
        }
    }

    /// Whether the application does not know of it yet.
    pub fn is_hidden(&self) -> bool {
        self.carried.as_ref().is_some_and(|carried| carried.is_hidden())
    }

    /// The listener that its peer came to.
    pub fn listener(&self) -> Option<ListenerId> {
        Some(self.carried.as_ref()?.seat.as_ref()?.listener().id)
    }

    /// The states that its beats and answers carry, if they do.
    pub fn states(&self) -> Option<&AppStates> {
        self.desk.as_ref()?.states.as_deref()
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

const SLAB: usize = 256;

/// The rows of a shard by index. Slabs come as links are opened and go when they are empty.
#[derive(Default)]
pub struct Rows {
    slabs: Vec<Option<Slab>>,
}

struct Slab {
    rows: Box<[Option<Row>]>,
    used: usize,
}

impl Rows {
    pub fn insert(&mut self, row: Row) {
        let (slab, slot) = place(row.key.index);
        if slab >= self.slabs.len() {
            self.slabs.resize_with(slab + 1, || None);
        }
        let slab = self.slabs[slab].get_or_insert_with(|| Slab { rows: (0..SLAB).map(|_| None).collect(), used: 0 });
        slab.used += usize::from(slab.rows[slot].is_none());
        slab.rows[slot] = Some(row);
    }

    pub fn get(&self, index: u32) -> Option<&Row> {
        let (slab, slot) = place(index);
        self.slabs.get(slab)?.as_ref()?.rows[slot].as_ref()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut Row> {
        let (slab, slot) = place(index);
        self.slabs.get_mut(slab)?.as_mut()?.rows[slot].as_mut()
    }

    /// Sends for a row, which is needed soon. Whether there is one is not asked: that would wait for it.
    pub fn fetch(&self, index: u32) {
        let (slab, slot) = place(index);
        self.slabs.get(slab).and_then(Option::as_ref).into_iter().for_each(|slab| fetch(&slab.rows[slot]));
    }

    /// Takes the row out, if it is still that link's.
    pub fn remove(&mut self, key: Key) -> Option<Row> {
        let (number, slot) = place(key.index);
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

fn place(index: u32) -> (usize, usize) {
    (index as usize / SLAB, index as usize % SLAB)
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
        let first = policies.share(&policy(9_000));
        assert!(Arc::ptr_eq(&first, &policies.share(&policy(9_000))));
        assert_eq!(*policies.share(&policy(8_000)), policy(8_000));
        // Those that are not kept any more live as long as their links.
        (0..POLICIES as u32).for_each(|more| drop(policies.share(&policy(10_000 + more))));
        assert_eq!(policies.0.lock().unwrap().len(), POLICIES);
        assert_eq!(Arc::strong_count(&first), 1);
        assert_eq!(*policies.share(&policy(9_000)), *first);
    }
}
