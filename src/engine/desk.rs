//! What application threads keep of a link whose protocol hbeat speaks: the reader of its stream, the answers it
//! owes. The shard never waits for any of it.

use super::fault::{self, Point};
use super::lock;
use crate::core::{Policy, Stamp};
use crate::wire::{Desync, Fields, Inbound, Owed, Protocol, Reader};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

/// How many answers a link may owe; the oldest is dropped for the next one.
pub const OWED_MAX: usize = 8;

/// One link's desk.
pub struct Desk {
    pub protocol: Protocol,
    policy: Mutex<Arc<Policy>>,
    feed: Mutex<Feed>,
    owed: Mutex<VecDeque<Owed>>,
    open_since: AtomicU64,
    /// The shard has a look planned at the end of an unfinished message's time.
    watched: AtomicBool,
    pub counters: Counters,
}

/// What went through a desk.
#[derive(Default)]
pub struct Counters {
    pub answers_sent: AtomicU64,
    pub answers_dropped: AtomicU64,
    pub beats_received: AtomicU64,
    pub messages_received: AtomicU64,
    pub bytes_received: AtomicU64,
}

impl Counters {
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

struct Feed {
    reader: Reader,
    open_since: Option<Stamp>,
}

/// What one portion of a stream came to.
#[derive(Default)]
pub struct Portion {
    /// It counts as received.
    pub credit: bool,
    /// A message was begun whose end the shard has to watch for.
    pub watch: bool,
    /// The stream is not the protocol's any more.
    pub desync: Option<Desync>,
}

/// Another thread is inside the same call.
pub struct Busy;

impl Desk {
    /// A desk for a protocol that hbeat can read; `None` for the application's own.
    pub fn new(protocol: Protocol, policy: Arc<Policy>) -> Option<Self> {
        Some(Self {
            protocol,
            policy: Mutex::new(policy),
            feed: Mutex::new(Feed { reader: Reader::new(protocol)?, open_since: None }),
            owed: Mutex::new(VecDeque::new()),
            open_since: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            counters: Counters::default(),
        })
    }

    pub fn set_policy(&self, policy: Arc<Policy>) {
        *lock(&self.policy) = policy;
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&lock(&self.policy))
    }

    /// What a beat or answer built now says besides its number.
    pub fn fields(&self, now_ns: u64) -> Fields<'static> {
        let policy = self.policy();
        Fields {
            sent_us: now_ns / 1_000,
            next_due_ms: policy.interval_ms,
            hold_ms: policy.hold_time_ms,
            one_way: !policy.answer_expected,
            datagram: false,
            state: &[],
        }
    }

    /// Reads a portion of the stream. Answers and beats of the peer go to `answer` and `beat` with their numbers.
    pub fn feed(
        &self,
        bytes: &[u8],
        at: Stamp,
        answer: impl FnMut(u32),
        beat: impl FnMut(u32),
    ) -> Result<Portion, Busy> {
        let mut feed = match self.feed.try_lock() {
            Ok(feed) => feed,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Busy),
        };
        fault::point(Point::Feed);
        let policy = self.policy();
        let was_open = feed.reader.is_open();
        let mut portion = Portion::default();
        let messages = self.read(&mut feed.reader, bytes, policy.answer, &mut portion, answer, beat);
        Counters::add(&self.counters.messages_received, messages);
        Counters::add(&self.counters.bytes_received, bytes.len() as u64);
        let begun_here = messages > 0 || !was_open;
        feed.open_since = match (feed.reader.is_open(), feed.open_since) {
            (false, _) => None,
            (true, Some(since)) if !begun_here => Some(since),
            (true, _) => Some(at),
        };
        if let Some(since) = feed.open_since {
            // Rule m: bytes of an unfinished message count until it has been open for too long.
            portion.credit |= !bytes.is_empty() && at.since(since) < policy.effective_partial_ms() as i32;
        }
        portion.watch = self.publish(feed.open_since);
        Ok(portion)
    }

    /// Takes the messages out of `bytes` and counts them.
    fn read(
        &self,
        reader: &mut Reader,
        mut bytes: &[u8],
        owes_answers: bool,
        portion: &mut Portion,
        mut answer: impl FnMut(u32),
        mut beat: impl FnMut(u32),
    ) -> u64 {
        let mut messages = 0;
        loop {
            match reader.next(&mut bytes) {
                Ok(None) => return messages,
                Err(desync) => {
                    portion.desync = Some(desync);
                    return messages;
                }
                // A proof only if it matches, which the shard knows.
                Ok(Some(Inbound::Answer { sequence, .. })) => answer(sequence),
                Ok(Some(Inbound::Beat { sequence, owed, .. })) => {
                    portion.credit = true;
                    Counters::add(&self.counters.beats_received, 1);
                    owed.filter(|_| owes_answers).into_iter().for_each(|owed| self.owe(owed));
                    beat(sequence);
                }
                Ok(Some(Inbound::Message)) => portion.credit = true,
                Ok(Some(Inbound::Rejected(_))) => {}
            }
            messages += 1;
        }
    }

    /// Tells the shard since when a message has been open; says whether it has to be woken for it.
    fn publish(&self, open_since: Option<Stamp>) -> bool {
        let word = open_since.map_or(0, |since| 1 << 32 | u64::from(since.0));
        self.open_since.store(word, Ordering::SeqCst);
        word != 0 && !self.watched.swap(true, Ordering::SeqCst)
    }

    /// Since when a message has been open. The shard that asks looks again at the end of its time; once there is none,
    /// it is told of the next one.
    pub fn open_since(&self) -> Option<Stamp> {
        let read = || {
            let word = self.open_since.load(Ordering::SeqCst);
            (word != 0).then_some(Stamp(word as u32))
        };
        read().or_else(|| {
            self.watched.store(false, Ordering::SeqCst);
            let since = read();
            self.watched.store(since.is_some(), Ordering::SeqCst);
            since
        })
    }

    /// The unfinished message has been reported; the shard is told of what comes next.
    pub fn unwatch(&self) {
        self.watched.store(false, Ordering::SeqCst);
    }

    /// Notes an answer that is owed.
    pub fn owe(&self, owed: Owed) {
        let mut ring = self.ring();
        if ring.len() == OWED_MAX {
            ring.pop_front();
            Counters::add(&self.counters.answers_dropped, 1);
        }
        ring.push_back(owed);
    }

    pub fn owes(&self) -> bool {
        !self.ring().is_empty()
    }

    /// The answers that are owed, oldest first.
    pub fn ring(&self) -> MutexGuard<'_, VecDeque<Owed>> {
        lock(&self.owed)
    }
}

/// The desks of a shard's links, found by index. Plain links have none and cost nothing here.
pub struct Desks {
    stripes: Box<[Stripe]>,
    count: AtomicU32,
}

/// One stripe: a lock for each 64th part of the desks.
type Stripe = Mutex<HashMap<u32, Arc<Desk>>>;

const STRIPES: usize = 64;

impl Desks {
    pub fn new() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::default()).collect(), count: AtomicU32::new(0) }
    }

    pub fn find(&self, index: u32) -> Option<Arc<Desk>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        lock(self.stripe(index)).get(&index).map(Arc::clone)
    }

    pub fn insert(&self, index: u32, desk: Arc<Desk>) {
        lock(self.stripe(index)).insert(index, desk);
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub fn remove(&self, index: u32) {
        if lock(self.stripe(index)).remove(&index).is_some() {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn stripe(&self, index: u32) -> &Stripe {
        &self.stripes[index as usize % STRIPES]
    }
}
