//! What application threads keep of a link whose protocol hbeat speaks: the readers of its streams, the answers it
//! owes. The shard never waits for any of it.

use super::app_state::AppStates;
use super::command::{Data, Said};
use super::fault::{self, Point};
use super::stats::{Counted, Traffic};
use super::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard, lock};
use super::talk::{Talk, Worth};
use crate::core::{Cause, Policy, Stamp};
use crate::wire::{Desync, Fields, Inbound, Owed, Protocol, Reader, Seal, Told};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, TryLockError};

/// How many answers a link may owe; the oldest is dropped for the next one.
pub const OWED_MAX: usize = 8;

/// One link's desk.
pub struct Desk {
    pub protocol: Protocol,
    policy: Mutex<Arc<Policy>>,
    feed: Mutex<Feed>,
    /// Reads what the application writes, once it shows it.
    sent: Mutex<Option<Box<Reader>>>,
    owed: Mutex<VecDeque<Owed>>,
    /// Where the protocol has room for them.
    pub states: Option<Box<AppStates>>,
    open_since: AtomicU64,
    /// The shard has a look planned at the end of an unfinished message's time.
    watched: AtomicBool,
    pub traffic: Traffic,
    /// That of all links of the shard.
    total: Arc<Traffic>,
}

struct Feed {
    reader: Reader,
    open_since: Option<Stamp>,
    /// Real data came since the peer's last beat.
    data: bool,
}

/// What one portion of a stream came to.
#[derive(Default)]
pub struct Portion {
    /// It counts as received.
    pub credit: bool,
    /// A message was begun whose end the shard has to watch for.
    pub watch: bool,
    /// How often the peer told another state than before.
    pub states: u32,
    /// The stream is not the protocol's any more.
    pub desync: Option<Desync>,
}

/// Another thread is inside the same call.
pub struct Busy;

impl Desk {
    /// A desk for a protocol that hbeat can read; `None` for the application's own.
    pub fn new(protocol: Protocol, policy: &Arc<Policy>, total: &Arc<Traffic>) -> Option<Self> {
        Some(Self {
            protocol,
            policy: Mutex::new(Arc::clone(policy)),
            feed: Mutex::new(Feed { reader: Reader::new(protocol)?, open_since: None, data: false }),
            sent: Mutex::new(None),
            owed: Mutex::new(VecDeque::new()),
            states: (protocol == Protocol::Heart).then(Box::default),
            open_since: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            traffic: Traffic::default(),
            total: Arc::clone(total),
        })
    }

    pub fn set_policy(&self, policy: Arc<Policy>) {
        // Under the lock of what is owed: where the application answers from here on, nothing is owed any more.
        let mut ring = self.ring();
        if policy.observe_only {
            self.count(Counted::AnswersDropped, ring.drain(..).count() as u64);
        }
        *lock(&self.policy) = policy;
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&lock(&self.policy))
    }

    /// The application's state, as a beat or answer built now tells it.
    pub fn state(&self) -> Arc<[u8]> {
        self.states.as_ref().map(|states| states.own()).unwrap_or_default()
    }

    /// What a beat or answer built now says besides its number.
    pub fn fields<'a>(&self, now_ns: u64, stuck: bool, state: &'a [u8]) -> Fields<'a> {
        let policy = self.policy();
        Fields {
            sent_us: now_ns / 1_000,
            next_due_ms: policy.interval_ms,
            hold_ms: policy.hold_time_ms,
            one_way: !policy.answer_expected,
            stuck,
            state,
            ..Fields::default()
        }
    }

    /// Begins anew with a new connection: what was unfinished or owed concerned the one before.
    pub fn renew(&self) {
        let mut feed = lock(&self.feed);
        feed.open_since = None;
        if let Some(reader) = Reader::new(self.protocol) {
            feed.reader = reader;
        }
        self.publish(None);
        let dropped = self.ring().drain(..).count();
        self.count(Counted::AnswersDropped, dropped as u64);
    }

    /// Writes all answers that are owed to the front of `out`, which has room for [`OWED_MAX`]; says how many bytes.
    pub fn write_answers(&self, now_ns: u64, stuck: bool, mut talk: Option<&mut Talk>, out: &mut [u8]) -> usize {
        let mut length = 0;
        for owed in self.ring().drain(..) {
            let build = |fields: &Fields<'_>, out: &mut [u8]| self.protocol.answer(&owed, fields, out);
            length += self.write(now_ns, stuck, talk.as_deref_mut(), &mut out[length..], build);
            self.count(Counted::AnswersSent, 1);
        }
        length
    }

    /// Writes the beat of that number to the front of `out`; says how many bytes.
    pub fn write_beat(
        &self,
        sequence: u32,
        now_ns: u64,
        stuck: bool,
        talk: Option<&mut Talk>,
        out: &mut [u8],
    ) -> usize {
        let mut talk = talk;
        talk.iter_mut().for_each(|talk| talk.ask(sequence, now_ns / 1_000));
        self.write(now_ns, stuck, talk, out, |fields, out| self.protocol.beat(sequence, fields, out))
    }

    fn write(
        &self,
        now_ns: u64,
        stuck: bool,
        talk: Option<&mut Talk>,
        out: &mut [u8],
        build: impl FnOnce(&Fields<'_>, &mut [u8]) -> Option<usize>,
    ) -> usize {
        let state = self.state();
        let fields = self.fields(now_ns, stuck, &state);
        match talk {
            Some(talk) => talk.write(fields, out, build),
            None => build(&fields, out),
        }
        .unwrap_or(0)
    }

    /// Reads a portion of the stream, or a datagram, that arrived at `at`. What the shard is to know of answers and beats of the peer goes
    /// to `hear`. `talk`: of a link that is carried.
    pub fn feed(
        &self,
        bytes: &[u8],
        at: Stamp,
        at_us: u32,
        mut talk: Option<&mut Talk>,
        mut hear: impl FnMut(Said),
    ) -> Result<Portion, Busy> {
        let mut feed = alone(&self.feed)?;
        let feed = &mut *feed;
        fault::point(Point::Feed);
        let policy = self.policy();
        let was_open = feed.reader.is_open();
        let mut portion = Portion::default();
        let is_sealed = talk.as_deref_mut().is_some_and(|talk| talk.seal().is_some());
        let source = match &talk {
            Some(talk) if talk.is_over_datagrams() => Source::Datagram(self.protocol),
            _ => Source::Stream(&mut feed.reader),
        };
        let (messages, desync) = read(source, bytes, talk, |inbound, worth| match inbound {
            _ if !worth.counts => {
                self.count_refused(worth.refused);
                if let Inbound::Beat { owed: Some(owed), .. } = inbound {
                    // Over a stream: who asks is told our number.
                    worth.answered.then(|| self.owe(owed));
                }
            }
            // A proof only if it matches, which the shard knows.
            Inbound::Answer { sequence, echo_us, told } => {
                portion.states += u32::from(worth.fresh && self.hear_state(&told));
                let echo_us = echo_us.map(|us| us as u32);
                hear(if told.stuck { Said::PeerStuck { at } } else { Said::Answer { sequence, at, at_us, echo_us } });
            }
            Inbound::Beat { sequence, owed, told } => {
                portion.credit |= !told.stuck;
                portion.states += u32::from(worth.fresh && self.hear_state(&told));
                owed.into_iter().for_each(|owed| self.owe(owed));
                let data = Data::Seen(std::mem::take(&mut feed.data));
                hear(Said::BeatReceived { sequence, at, data, stuck: told.stuck });
            }
            Inbound::Message => {
                portion.credit = true;
                feed.data = true;
            }
            Inbound::Challenge { .. } | Inbound::Rejected(_) => {}
        });
        portion.desync = desync;
        self.count(Counted::MessagesReceived, messages);
        self.count(Counted::BytesReceived, bytes.len() as u64);
        let begun_here = messages > 0 || !was_open;
        feed.open_since = match (feed.reader.is_open(), feed.open_since) {
            (false, _) => None,
            (true, Some(since)) if !begun_here => Some(since),
            (true, _) => Some(at),
        };
        if let Some(since) = feed.open_since {
            // Rule m: bytes of an unfinished message count until it has been open for too long. Anyone could have sent them.
            let fresh = at.since(since) < policy.effective_partial_ms() as i32;
            portion.credit |= !is_sealed && !bytes.is_empty() && fresh;
        }
        portion.watch = self.publish(feed.open_since);
        Ok(portion)
    }

    /// Reads a portion of what the application writes. The beats in it go to `beat` with their numbers.
    pub fn feed_sent(&self, bytes: &[u8], observed: bool, mut beat: impl FnMut(u32)) -> Result<Option<Desync>, Busy> {
        let mut sent = alone(&self.sent)?;
        if sent.is_none() {
            *sent = Reader::new(self.protocol).map(Box::new);
        }
        let Some(reader) = sent.as_mut() else { return Ok(None) };
        let (messages, desync) = read(Source::Stream(reader), bytes, None, |outbound, _| match outbound {
            Inbound::Beat { sequence, .. } => beat(sequence),
            // Those that hbeat builds are counted when they are taken.
            Inbound::Answer { .. } if observed => self.count(Counted::AnswersSent, 1),
            _ => {}
        });
        self.count(Counted::MessagesSent, messages);
        self.count(Counted::BytesSent, bytes.len() as u64);
        Ok(desync)
    }

    pub fn count(&self, what: Counted, count: u64) {
        if count == 0 {
            return;
        }
        self.traffic.add(what, count);
        self.total.add(what, count);
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

    /// Keeps the peer's state; says whether it is another one than before.
    fn hear_state(&self, told: &Told<'_>) -> bool {
        self.states.as_ref().is_some_and(|states| states.hear(told))
    }

    fn count_refused(&self, cause: Option<Cause>) {
        match cause {
            None => {}
            Some(Cause::Unauthenticated) => self.count(Counted::FramesUnauthenticated, 1),
            Some(_) => self.count(Counted::FramesRejected, 1),
        }
    }

    /// Notes an answer, if hbeat owes it.
    fn owe(&self, owed: Owed) {
        let mut ring = self.ring();
        let policy = self.policy();
        if !policy.answer || policy.observe_only {
            return;
        }
        if ring.len() == OWED_MAX {
            ring.pop_front();
            self.count(Counted::AnswersDropped, 1);
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

/// The lock of who feeds, unless another thread has it.
fn alone<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>, Busy> {
    match mutex.try_lock() {
        Ok(guard) => Ok(guard),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(Busy),
    }
}

/// Where messages are taken from.
enum Source<'a> {
    Stream(&'a mut Reader),
    Datagram(Protocol),
}

impl Source<'_> {
    fn next<'a, 'b: 'a>(
        &'a mut self,
        bytes: &mut &'b [u8],
        seal: Option<&mut Seal>,
    ) -> Result<Option<Inbound<'a>>, Desync> {
        match self {
            Self::Stream(reader) => reader.next_sealed(bytes, seal),
            Self::Datagram(protocol) => Ok(protocol.datagram(bytes, seal)),
        }
    }
}

/// Takes the messages out of `bytes`, says what each is worth, and counts them.
fn read(
    mut source: Source<'_>,
    mut bytes: &[u8],
    mut talk: Option<&mut Talk>,
    mut each: impl FnMut(Inbound<'_>, Worth),
) -> (u64, Option<Desync>) {
    let mut messages = 0;
    loop {
        let seal = talk.as_deref_mut().and_then(Talk::seal);
        match source.next(&mut bytes, seal) {
            Ok(None) => return (messages, None),
            Ok(Some(inbound)) => {
                let worth = talk.as_deref_mut().map_or_else(|| Worth::of(&inbound), |talk| talk.hear(&inbound));
                each(inbound, worth);
            }
            Err(desync) => return (messages, Some(desync)),
        }
        messages += 1;
    }
}

/// The desks of a shard's links, found by index. Plain links have none and cost nothing here.
pub struct Desks {
    /// What went through all of them, those of closed links included.
    pub traffic: Arc<Traffic>,
    stripes: Box<[Stripe]>,
    count: AtomicU32,
}

/// One stripe: a lock for each 64th part of the desks.
type Stripe = Mutex<HashMap<u32, Arc<Desk>>>;

const STRIPES: usize = if cfg!(all(loom, test)) { 2 } else { 64 };

impl Desks {
    pub fn new() -> Self {
        Self {
            traffic: Arc::default(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            count: AtomicU32::new(0),
        }
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
