//! The calls about one link. None of them waits for a shard, for another application thread, or for a callback,
//! but [`Engine::info`], which waits for a turn at most.

use super::app_state::{APP_STATE_MAX, AppStates};
use super::carrier::Carried;
use super::clock::micros;
use super::command::{Command, Data, Opening, Said};
use super::desk::{Busy, Desk};
use super::error::{Code, Error};
use super::event::LinkId;
use super::fault::{self, Point};
use super::listener::ListenerId;
use super::options::{LinkData, LinkOptions, Reconnect, Run};
use super::rows::Beside;
use super::shard::{Ages, Shard};
use super::stats::{Counted, Rtt};
use super::table::{Key, Words, beat, forward};
use super::talk::Talk;
use super::{Engine, Inner};
use crate::core::{Agreed, Cause, Policy, Stamp, State};
use crate::net::{self, Endpoint};
use crate::wire::{Keys, Protocol};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The memory of so many links is sent for while the links before them are dealt with.
const BLOCK: usize = 16;

/// What `take` gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// Bytes written to the buffer.
    pub length: usize,
    /// More frames are pending than fitted.
    pub more: bool,
    /// The link's protocol is the application's own: it is to write its beat now, with the number that was used.
    pub own_beat: bool,
}

/// What is known of a link.
#[derive(Clone, Debug)]
pub struct Info {
    /// Its id.
    pub link: LinkId,
    /// The application's word on it.
    pub data: LinkData,
    /// Its name, if it was given one.
    pub name: Option<Arc<str>>,
    /// Its state.
    pub state: State,
    /// Why it is DOWN, or with `observe_only` would be.
    pub cause: Option<Cause>,
    /// The detail of a report.
    pub detail: u32,
    /// Tries missed by the running probe, or by the one that led to DOWN.
    pub tries: u32,
    /// N.
    pub tries_max: u32,
    /// Sequence number of the latest beat.
    pub sequence: u32,
    /// How its beats look.
    pub protocol: Protocol,
    /// How long ago something was received; `None`: never.
    pub last_received_ms: Option<u32>,
    /// How long ago something was sent; `None`: never.
    pub last_sent_ms: Option<u32>,
    /// For how long it has been in its state.
    pub in_state_ms: u32,
    /// Its round-trip times; `None`: there was none yet.
    pub rtt: Option<Rtt>,
    /// Unread bytes on the observed socket, now.
    pub unread_bytes: Option<u32>,
    /// Bytes in its send queue, now.
    pub send_queue_bytes: Option<u32>,
    /// Beats taken to be written, less those that could not be; with `observe_only` the application's own.
    pub beats_sent: u64,
    /// Answers that matched.
    pub answers_received: u64,
    /// Beats of the peer.
    pub beats_received: u64,
    /// Answers taken to be written; with `observe_only` the application's own.
    pub answers_sent: u64,
    /// Answers that came after their time.
    pub answers_late: u64,
    /// Answers to no outstanding beat.
    pub answers_unmatched: u64,
    /// Owed answers dropped for newer ones.
    pub answers_dropped: u64,
    /// Tries missed.
    pub misses: u64,
    /// Complete messages fed.
    pub messages_received: u64,
    /// Bytes fed.
    pub bytes_received: u64,
    /// Complete messages that [`feed_sent`](Engine::feed_sent) found.
    pub messages_sent: u64,
    /// Bytes that went through [`feed_sent`](Engine::feed_sent).
    pub bytes_sent: u64,
    /// What would have been DOWN, with `observe_only`.
    pub would_be_downs: u64,
    /// How often the peer was caught beating too often.
    pub strikes: u64,
    /// CONNECTING: the number of the present attempt, or of the next one, from 1.
    pub attempt: u32,
    /// CONNECTING: in how many milliseconds it begins; `None`: it has begun.
    pub next_ms: Option<u32>,
    /// Frames of the peer that had no room for its application's state.
    pub peer_states_left_out: u64,
    /// The listener that its peer came to.
    pub listener: Option<ListenerId>,
    /// What a carried link's ends agreed on; `None`: nothing, yet or with a peer that says no terms.
    pub agreed: Option<Agreed>,
    /// Frames of the peer whose contents made no sense.
    pub frames_rejected: u64,
    /// Frames that were not sealed as they must be, or of another connection.
    pub frames_unauthenticated: u64,
}

fn cannot_carry(protocol: Protocol, right: &str) -> Error {
    Error::new(Code::Invalid, format!("protocol is \"{protocol}\", allowed for a link that hbeat carries is {right}"))
}

fn cannot_observe() -> Error {
    let sentence = "observe_only is yes, it must be no: hbeat beats itself on a link that it carries";
    Error::new(Code::Invalid, sentence)
}

/// How a link comes to be carried.
pub(super) struct Carry<'a> {
    /// The application does not know of it yet.
    pub hidden: bool,
    /// Where it is to be carried; `None`: anywhere.
    pub shard: Option<&'a Shard>,
    /// Makes what the engine needs for it, once nothing can fail any more.
    pub make: Box<dyn FnOnce() -> Carried + 'a>,
}

/// While it lives its thread is the only one that takes from the link.
struct Taking<'a>(Words<'a>);

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.0.clear(beat::TAKING);
    }
}

/// An open link as a call finds it.
pub(super) struct Found<'a> {
    inner: &'a Inner,
    pub shard: &'a Shard,
    pub key: Key,
    pub words: Words<'a>,
}

impl Found<'_> {
    pub fn tell(&self, said: Said) {
        self.shard.tell(Command::Link(self.key, said));
        self.inner.nudge();
    }

    fn note(&self, said: Said) {
        if self.shard.note(Command::Link(self.key, said)) {
            self.inner.nudge();
        }
    }

    /// Whether it is still the link that was found.
    fn check_open(&self) -> Result<(), Error> {
        if self.words.is_open(self.key.generation) { Ok(()) } else { Err(Error::no_link()) }
    }

    /// What hbeat keeps of a protocol that it speaks; `instead` is the call for who parses himself.
    fn desk(&self, instead: &str) -> Result<Arc<Desk>, Error> {
        let desk = self.shard.desks.find(self.key.index);
        self.check_open()?;
        let sentence = || format!("protocol is \"none\": the application parses for itself and says {instead}");
        desk.ok_or_else(|| Error::new(Code::WrongMode, sentence()))
    }

    /// The states that the link's beats and answers carry.
    fn states<T>(&self, with: impl FnOnce(&AppStates) -> T) -> Result<T, Error> {
        let desk = self.shard.desks.find(self.key.index);
        self.check_open()?;
        desk.as_ref().and_then(|desk| desk.states.as_deref()).map(with).ok_or_else(|| {
            let protocol = desk.as_ref().map_or(Protocol::None, |desk| desk.protocol);
            Error::new(Code::WrongMode, format!("protocol is \"{protocol}\": only frames of \"heart\" carry a state"))
        })
    }

    /// Something was sent, maybe the beat taken last; `tells`: the shard may be told.
    fn left(&self, at: Stamp, tells: impl FnOnce() -> bool) {
        forward(self.words.sent, at, || self.inner.now());
        if self.words.has(beat::LEAVING) && tells() && self.words.clear(beat::LEAVING) != 0 {
            self.shard.note(Command::Link(self.key, Said::Sent { at }));
        }
    }

    /// Told at once to a shard that waits for news of the link.
    fn news(&self, said: Said) {
        if self.shard.news(&self.words, self.key, said) {
            self.inner.nudge();
        }
    }
}

impl Inner {
    fn shard(&self, link: LinkId) -> Option<&Shard> {
        self.shards.get(link.shard())
    }

    pub(super) fn find(&self, link: LinkId) -> Result<Found<'_>, Error> {
        self.check_running()?;
        let shard = self.shard(link).ok_or_else(Error::no_link)?;
        let key = link.key();
        let words = shard.table.find(key).ok_or_else(Error::no_link)?;
        Ok(Found { inner: self, shard, key, words })
    }

    /// A link whose socket is the application's.
    fn find_own(&self, link: LinkId) -> Result<Found<'_>, Error> {
        let found = self.find(link)?;
        if found.words.has(beat::CARRIED) {
            let sentence = "hbeat carries this link: it reads, writes and times the connection itself";
            return Err(Error::new(Code::WrongMode, sentence));
        }
        Ok(found)
    }

    /// Whether a link set up like this can be carried.
    pub(super) fn check_carries(&self, policy: &Policy, options: &LinkOptions) -> Result<(), Error> {
        if self.options.run == Run::Application {
            let sentence = "run is HBEAT_RUN_APPLICATION: only an engine with threads of its own carries links";
            return Err(Error::new(Code::WrongMode, sentence));
        }
        if policy.observe_only {
            return Err(cannot_observe());
        }
        if options.fd.is_some() {
            return Err(Error::new(Code::Invalid, "options.fd must be 0 or -1: hbeat observes its own socket itself"));
        }
        if options.start_paused {
            return Err(Error::new(Code::Invalid, "start_paused must be 0: open the link when it is to be carried"));
        }
        if options.keys.is_some() && options.protocol != Protocol::Heart {
            let sentence =
                format!("keys must be NULL where protocol is \"{}\": only \"heart\" has a seal", options.protocol);
            return Err(Error::new(Code::Invalid, sentence));
        }
        Ok(())
    }

    /// Opens a link; with `carry` one that the engine carries.
    pub(super) fn open_with(
        &self,
        policy: &Policy,
        options: &LinkOptions,
        carry: Option<Carry<'_>>,
    ) -> Result<LinkId, Error> {
        self.check_running()?;
        policy.check().map_err(|error| Error::new(Code::Invalid, error.to_string()))?;
        options.check()?;
        if carry.is_some() {
            self.check_carries(policy, options)?;
        }
        let ordinal = self.ordinals.fetch_add(1, Ordering::Relaxed);
        let anywhere = &self.shards[ordinal as usize % self.shards.len()];
        let shard = carry.as_ref().and_then(|carry| carry.shard).unwrap_or(anywhere);
        let room = self.take_room(shard)?;
        let now_ns = self.clock.now_ns();
        let opened = self.clock.ceil(now_ns);
        let policy = self.policies.share(policy);
        let desk = Desk::new(options.protocol, &policy, &shard.desks.traffic).map(Arc::new);
        let paused = if options.start_paused { beat::PAUSED } else { 0 };
        let observed = if policy.observe_only { beat::OBSERVED } else { 0 };
        let carried = if carry.is_some() { beat::CARRIED } else { 0 };
        let hidden = if carry.as_ref().is_some_and(|carry| carry.hidden) { beat::HIDDEN } else { 0 };
        let sealed = if options.keys.is_some() { beat::SEALED } else { 0 };
        let bits = paused | observed | carried | hidden | sealed;
        let talks = carry.is_some() && options.protocol == Protocol::Heart;
        let talk = talks.then(|| Talk::new(Arc::clone(&policy), options.keys.clone()));
        if carry.is_some() {
            shard.poller().map_err(|error| {
                Error::new(Code::System, format!("what waits for sockets could not be made: {error}"))
            })?;
        }
        let mut slots = shard.table.slots();
        if slots.shut {
            return Err(Error::new(Code::Stopped, "the engine was stopped"));
        }
        let key = shard.table.occupy(&mut slots, opened, bits, now_ns)?;
        if let Some(desk) = &desk {
            shard.desks.insert(key.index, Arc::clone(desk));
        }
        // Still under the lock of the slots: after a stop no open follows.
        let name = (!options.name.is_empty()).then(|| Arc::from(options.name.as_str()));
        let carried = carry.map(|carry| Box::new(Carried { talk, ..(carry.make)() }));
        shard.tell(Command::Open(Opening {
            key,
            policy,
            data: options.data,
            events: options.events.unwrap_or(self.options.events),
            start: !options.start_paused,
            opened,
            beside: Beside::new(name, options.fd, desk, carried),
        }));
        drop(slots);
        room.keep();
        self.nudge();
        Ok(LinkId::new(shard.number, key))
    }

    /// Why a stamp found no open link.
    #[cold]
    fn why_not(&self) -> Code {
        if self.stopping.load(Ordering::Acquire) { Code::Stopped } else { Code::NoLink }
    }

    /// When something happened to the link, as the caller says.
    pub(super) fn stamp(&self, now_ns: u64) -> (Stamp, u64) {
        let now_ns = self.clock.callers_ns(now_ns);
        (self.clock.ceil(now_ns), now_ns)
    }

    /// When the caller did something.
    fn deed(&self, now_ns: u64) -> (Stamp, u64) {
        let now_ns = self.clock.deed_ns(now_ns);
        (self.clock.ceil(now_ns), now_ns)
    }

    pub(super) fn now(&self) -> Stamp {
        self.clock.ceil(self.clock.now_ns())
    }
}

impl Engine {
    /// Opens a link.
    ///
    /// # Errors
    /// [`Code::Invalid`] names the field; [`Code::Limit`], [`Code::Again`], [`Code::NoMemory`]: there is no room (yet);
    /// [`Code::Stopped`], [`Code::Failed`], [`Code::Forked`].
    pub fn open(&self, policy: &Policy, options: &LinkOptions) -> Result<LinkId, Error> {
        if (options.reconnect, options.attempts) != (Reconnect::Default, 0) {
            let sentence =
                "reconnect and attempts must be 0: the connection is the application's, hbeat does not make it anew";
            return Err(Error::new(Code::Invalid, sentence));
        }
        if options.keys.is_some() {
            let sentence =
                "keys must be NULL: hbeat seals only the links that it carries (hbeat_link_dial, hbeat_link_adopt)";
            return Err(Error::new(Code::Invalid, sentence));
        }
        self.inner.open_with(policy, options, None)
    }

    /// Opens a link whose connection the engine makes, and makes anew when it is lost. Never waits: the link is
    /// CONNECTING until the peer is heard. Its protocol must be [`Protocol::Heart`].
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Code::WrongMode`] with [`Run::Application`], [`Code::System`] when there are no
    /// descriptors left.
    pub fn dial(&self, endpoint: &Endpoint, policy: &Policy, options: &LinkOptions) -> Result<LinkId, Error> {
        self.inner.check_running()?;
        if options.protocol != Protocol::Heart {
            return Err(cannot_carry(options.protocol, "\"heart\", whose beats need no login"));
        }
        options.backoff.check().map_err(|error| Error::new(Code::Invalid, error.to_string()))?;
        let reconnects = options.reconnect != Reconnect::No;
        let carried = || Carried::dialled(endpoint.clone(), reconnects, options.attempts, options.backoff);
        self.inner.open_with(policy, options, Some(Carry { hidden: false, shard: None, make: Box::new(carried) }))
    }

    /// Opens a link over a connected stream socket, which is the engine's from then on; after an error it is still the
    /// caller's. Whatever login the protocol wants was done. With [`Reconnect::Yes`] a lost connection is made anew to
    /// the address of its peer.
    ///
    /// # Errors
    /// As [`dial`](Self::dial); [`Code::Invalid`] when `fd` is no connected stream socket.
    pub fn adopt(&self, fd: i32, policy: &Policy, options: &LinkOptions) -> Result<LinkId, Error> {
        self.inner.check_running()?;
        if options.protocol == Protocol::None {
            return Err(cannot_carry(options.protocol, "one whose beats hbeat knows"));
        }
        options.backoff.check().map_err(|error| Error::new(Code::Invalid, error.to_string()))?;
        let peer = net::check_stream(fd).map_err(|error| {
            Error::new(Code::Invalid, format!("fd = {fd}: must be a connected stream socket: {error}"))
        })?;
        let reconnects = options.reconnect == Reconnect::Yes;
        if reconnects && options.protocol != Protocol::Heart {
            return Err(cannot_carry(options.protocol, "\"heart\" with HBEAT_RECONNECT_YES: hbeat does not log in"));
        }
        let address = reconnects.then_some(peer);
        let carried = || Carried::adopted(net::take_over(fd), address, options.attempts, options.backoff);
        self.inner.open_with(policy, options, Some(Carry { hidden: false, shard: None, make: Box::new(carried) }))
    }

    /// Starts a link that was opened paused, or paused later: silence counts from now. Elsewhere it changes nothing.
    ///
    /// # Errors
    /// [`Code::NoLink`], [`Code::Stopped`], [`Code::Failed`], [`Code::Forked`].
    pub fn start(&self, link: LinkId, now_ns: u64) -> Result<(), Error> {
        let found = self.inner.find_own(link)?;
        let (at, _) = self.inner.deed(now_ns);
        found.words.clear(beat::PAUSED);
        found.tell(Said::Start { at });
        Ok(())
    }

    /// Pauses a link: nothing is due or judged until it is started again.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn pause(&self, link: LinkId, now_ns: u64) -> Result<(), Error> {
        let found = self.inner.find_own(link)?;
        self.inner.clock.callers_ns(now_ns); // counted if it cannot be right
        found.words.set(beat::PAUSED);
        found.tell(Said::Pause);
        Ok(())
    }

    /// Closes a link. Never waits, may be called anywhere. The id is stale at once; the link's last event follows.
    ///
    /// # Errors
    /// [`Code::NoLink`] for all callers but one, [`Code::Forked`].
    pub fn close(&self, link: LinkId) -> Result<(), Error> {
        self.inner.check_fork()?;
        let shard = self.inner.shard(link).ok_or_else(Error::no_link)?;
        let key = link.key();
        let words = shard.table.find(key).ok_or_else(Error::no_link)?;
        if !words.close(key.generation) {
            return Err(Error::no_link());
        }
        shard.tell(Command::Link(key, Said::Close));
        self.inner.nudge();
        Ok(())
    }

    /// Says that a complete message arrived at `now_ns` (0: now). Takes no lock and wakes nobody.
    ///
    /// # Errors
    /// [`Code::NoLink`], [`Code::Stopped`].
    #[inline]
    pub fn received(&self, link: LinkId, now_ns: u64) -> Result<(), Code> {
        if self.received_plainly(link, now_ns) { Ok(()) } else { self.received_somehow(link, now_ns) }
    }

    /// The same of many links at once: their memory is fetched side by side, which makes it several times as fast.
    ///
    /// # Errors
    /// As [`received`](Self::received), where some of them are not open; it is noted of all others.
    pub fn received_all(&self, links: &[LinkId], now_ns: u64) -> Result<(), Code> {
        let now_ns = if now_ns == 0 { self.inner.clock.read_ns() } else { now_ns };
        let at = self.inner.clock.plain_stamp(now_ns);
        let mut result = Ok(());
        let mut blocks = links.chunks(BLOCK).peekable();
        blocks.peek().into_iter().for_each(|first| self.fetch(first));
        while let Some(block) = blocks.next() {
            blocks.peek().into_iter().for_each(|next| self.fetch(next));
            for &link in block {
                let shard = self.inner.shards.get(link.shard());
                let plain = shard.zip(at).is_some_and(|(shard, at)| shard.table.received_plainly(link.key(), at));
                if !plain {
                    result = self.received_somehow(link, now_ns).and(result);
                }
            }
        }
        result
    }

    #[inline(always)]
    fn fetch(&self, links: &[LinkId]) {
        for &link in links {
            self.inner.shards.get(link.shard()).into_iter().for_each(|shard| shard.table.fetch(link.key().index));
        }
    }

    /// What nearly every call comes to: a plain time, an open link, nothing later that is known. It cannot panic.
    #[inline(always)]
    pub(crate) fn received_plainly(&self, link: LinkId, now_ns: u64) -> bool {
        let Some(at) = self.inner.clock.plain_stamp(now_ns) else { return false };
        let Some(shard) = self.inner.shards.get(link.shard()) else { return false };
        shard.table.received_plainly(link.key(), at)
    }

    #[cold]
    pub(crate) fn received_somehow(&self, link: LinkId, now_ns: u64) -> Result<(), Code> {
        if now_ns == 0 {
            // While the clock is read its memory comes.
            self.fetch(&[link]);
            if self.received_plainly(link, self.inner.clock.read_ns()) {
                return Ok(());
            }
        }
        let at = self.inner.stamp(now_ns).0;
        let now = || self.inner.now();
        let received = self.inner.shard(link).is_some_and(|shard| shard.table.received(link.key(), at, now));
        if received { Ok(()) } else { Err(self.inner.why_not()) }
    }

    /// Says that the application wrote something at `now_ns` (0: now); the first time after a
    /// [`take`](Self::take), that the beat really left then. Takes no lock and wakes nobody.
    ///
    /// # Errors
    /// [`Code::NoLink`], [`Code::Stopped`].
    pub fn sent(&self, link: LinkId, now_ns: u64) -> Result<(), Code> {
        let inner = &*self.inner;
        let at = inner.stamp(now_ns).0;
        let shard = inner.shard(link).ok_or_else(|| inner.why_not())?;
        let key = link.key();
        let words = shard.table.find(key).ok_or_else(|| inner.why_not())?;
        // After a fork the queue must not be touched.
        Found { inner, shard, key, words }.left(at, || inner.check_fork().is_ok());
        Ok(())
    }

    /// Reads a portion of what was received. `true`: an answer is owed; take it.
    ///
    /// # Errors
    /// [`Code::WrongMode`] when the link's protocol is the application's own, [`Code::Busy`] when another thread is
    /// feeding it, [`Code::Desync`] when the bytes are not the protocol's (the link is DOWN), and as
    /// [`start`](Self::start).
    pub fn feed(&self, link: LinkId, bytes: &[u8], now_ns: u64) -> Result<bool, Error> {
        let found = self.inner.find_own(link)?;
        let (at, now_ns) = self.inner.stamp(now_ns);
        let desk = found.desk("hbeat_link_received")?;
        let hear = |said| match said {
            Said::Answer { .. } => found.news(said),
            _ => found.note(said),
        };
        let portion = desk
            .feed(bytes, at, micros(now_ns), None, hear)
            .map_err(|Busy| Error::new(Code::Busy, "another thread is feeding this link"))?;
        if portion.credit {
            forward(found.words.received, at, || self.inner.now());
        }
        if portion.watch {
            found.tell(Said::Look);
        } else if portion.credit && found.words.has(beat::SUSPECT | beat::WANTED) {
            // It ends a probe: that is news, and a beat that waits to be taken is no longer needed.
            found.tell(Said::Look);
        }
        if portion.states > 0 {
            found.tell(Said::PeerState { changes: portion.states });
        }
        if let Some(desync) = portion.desync {
            found.tell(Said::Desync);
            return Err(Error::new(Code::Desync, format!("the stream is not {}: {desync}", desk.protocol)));
        }
        Ok(desk.owes() && {
            found.words.set(beat::OWED);
            !found.words.has(beat::PAUSED | beat::MUTE)
        })
    }

    /// Reads a portion of what the application writes: what it sent counts as by [`sent`](Self::sent), and with
    /// `observe_only` its beats are the link's tries.
    ///
    /// # Errors
    /// As [`feed`](Self::feed), but [`Code::Desync`] changes nothing but that no more beats are seen.
    pub fn feed_sent(&self, link: LinkId, bytes: &[u8], now_ns: u64) -> Result<(), Error> {
        let found = self.inner.find_own(link)?;
        let (at, now_ns) = self.inner.stamp(now_ns);
        let desk = found.desk("hbeat_link_sent")?;
        let observed = found.words.has(beat::OBSERVED);
        let beat_sent = |sequence| {
            if observed {
                found.tell(Said::BeatSent { sequence, at, at_us: micros(now_ns) });
            }
        };
        let desync = desk
            .feed_sent(bytes, observed, beat_sent)
            .map_err(|Busy| Error::new(Code::Busy, "another thread is inside feed_sent of this link"))?;
        if !bytes.is_empty() {
            found.left(at, || true);
        }
        match desync {
            None => Ok(()),
            Some(desync) => Err(Error::new(
                Code::Desync,
                format!("what was sent is not {}: {desync}; no beat in it is seen any more", desk.protocol),
            )),
        }
    }

    /// Says that the application's own heartbeat sent a beat, for who parses himself.
    ///
    /// # Errors
    /// [`Code::WrongMode`] where the policy is not one of `observe_only`, and as [`start`](Self::start).
    pub fn beat_sent(&self, link: LinkId, sequence: u32, now_ns: u64) -> Result<(), Error> {
        let found = self.inner.find(link)?;
        if !found.words.has(beat::OBSERVED) {
            return Err(Error::new(
                Code::WrongMode,
                "observe_only is no: beats of this link are hbeat's, hbeat_link_take gives them",
            ));
        }
        let (at, now_ns) = self.inner.stamp(now_ns);
        forward(found.words.sent, at, || self.inner.now());
        found.tell(Said::BeatSent { sequence, at, at_us: micros(now_ns) });
        Ok(())
    }

    /// Takes all pending frames of a link to be written now: answers that are owed, then the beat that is due.
    /// `sequence` goes in as the application's next free number and comes out advanced if it was used; `None`: hbeat
    /// counts by itself.
    ///
    /// # Errors
    /// [`Code::Busy`] when another thread is taking from this link, and as [`start`](Self::start).
    pub fn take(
        &self,
        link: LinkId,
        sequence: Option<&mut u32>,
        now_ns: u64,
        buffer: &mut [u8],
    ) -> Result<Taken, Error> {
        let found = self.inner.find_own(link)?;
        if found.words.set(beat::TAKING) != 0 {
            return Err(Error::new(Code::Busy, "another thread is taking from this link"));
        }
        let (at, now_ns) = self.inner.deed(now_ns);
        let _taking = Taking(found.words);
        let desk = found.shard.desks.find(found.key.index);
        found.check_open()?;
        let mut taken = Taken::default();
        if found.words.has(beat::OBSERVED | beat::MUTE) {
            return Ok(taken);
        }
        if let Some(desk) = &desk {
            found.take_answers(desk, now_ns, buffer, &mut taken);
        }
        if !taken.more {
            found.take_beat(desk.as_deref(), sequence, at, now_ns, buffer, &mut taken)?;
        }
        if taken.length > 0 || taken.own_beat {
            forward(found.words.sent, at, || self.inner.now());
        }
        Ok(taken)
    }

    /// Says that the beat taken last could not be written: its number counts as never sent, and the next notice comes
    /// after the shorter of T and a second.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn unsent(&self, link: LinkId, now_ns: u64) -> Result<(), Error> {
        let found = self.inner.find_own(link)?;
        let (at, _) = self.inner.deed(now_ns);
        let counted = found.words.clear(beat::LEAVING) != 0;
        found.tell(Said::Unsent { at, counted });
        Ok(())
    }

    /// Says that an answer was received, for who parses himself.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn answer_received(&self, link: LinkId, sequence: u32, now_ns: u64) -> Result<(), Error> {
        let found = self.inner.find_own(link)?;
        let (at, now_ns) = self.inner.stamp(now_ns);
        found.news(Said::Answer { sequence, at, at_us: micros(now_ns), echo_us: None });
        Ok(())
    }

    /// Says that a beat of the peer was received, for who parses himself; he answers it himself, too.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn beat_received(&self, link: LinkId, sequence: u32, now_ns: u64) -> Result<(), Error> {
        let found = self.inner.find_own(link)?;
        let (at, _) = self.inner.stamp(now_ns);
        let data = Data::Last(Stamp(found.words.received.load(Ordering::Relaxed)));
        forward(found.words.received, at, || self.inner.now());
        found.news(Said::BeatReceived { sequence, at, data, stuck: false });
        Ok(())
    }

    /// Says that the application found the link down by itself. `false`: the verdict had been given or reported
    /// before.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn report_down(&self, link: LinkId, cause: Cause, detail: u32) -> Result<bool, Error> {
        let found = self.inner.find(link)?;
        let first = found.words.set(beat::DOWN) == 0;
        if first {
            found.tell(Said::Report { cause, detail });
        }
        Ok(first)
    }

    /// Gives a link another policy, at once and in mid-probe (rule i). On a carried link whose peer says its terms, its
    /// rhythm and its patience count when the peer acknowledges them.
    ///
    /// # Errors
    /// [`Code::Invalid`] names the field; and as [`start`](Self::start).
    pub fn set_policy(&self, link: LinkId, policy: &Policy) -> Result<(), Error> {
        let found = self.inner.find(link)?;
        policy.check().map_err(|error| Error::new(Code::Invalid, error.to_string()))?;
        if policy.observe_only && found.words.has(beat::CARRIED) {
            return Err(cannot_observe());
        }
        let policy = self.inner.policies.share(policy);
        if !found.words.has(beat::CARRIED) {
            found.words.observe(policy.observe_only);
            found.shard.desks.find(found.key.index).iter().for_each(|desk| desk.set_policy(Arc::clone(&policy)));
        }
        found.tell(Said::Policy(policy));
        Ok(())
    }

    /// Gives a sealed link other keys, at once: the first seals, all are accepted. Its connection goes on.
    ///
    /// # Errors
    /// [`Code::WrongMode`] where the link was opened without keys, and as [`start`](Self::start).
    pub fn set_keys(&self, link: LinkId, keys: Arc<Keys>) -> Result<(), Error> {
        let found = self.inner.find(link)?;
        if !found.words.has(beat::SEALED) {
            let sentence = "the link was opened without keys: a link is sealed from its beginning or not at all";
            return Err(Error::new(Code::WrongMode, sentence));
        }
        found.tell(Said::Keys(keys));
        Ok(())
    }

    /// Gives a link another word of the application's: events made from here on carry it, the last one included. Those
    /// that wait already carry the one before.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn set_data(&self, link: LinkId, data: LinkData) -> Result<(), Error> {
        self.inner.find(link)?.tell(Said::Data(data));
        Ok(())
    }

    /// Sets the application's state, which each beat and answer taken from here on tells the peer; empty: none.
    ///
    /// # Errors
    /// [`Code::Invalid`] when it is longer than [`APP_STATE_MAX`], [`Code::WrongMode`] when the link's protocol has no
    /// room for a state, and as [`start`](Self::start).
    pub fn set_state(&self, link: LinkId, state: &[u8]) -> Result<(), Error> {
        let found = self.inner.find(link)?;
        if state.len() > APP_STATE_MAX {
            let sentence = format!("length is {}, allowed is a state of 0 to {APP_STATE_MAX} bytes", state.len());
            return Err(Error::new(Code::Invalid, sentence));
        }
        found.states(|states| states.set(state))
    }

    /// Copies the state that the peer told last to the front of `buffer`, all of it or, where it does not fit, nothing.
    /// Gives its length; 0: there is none.
    ///
    /// # Errors
    /// [`Code::WrongMode`] when the link's protocol has no room for a state, and as [`start`](Self::start).
    pub fn peer_state(&self, link: LinkId, buffer: &mut [u8]) -> Result<usize, Error> {
        self.inner.find(link)?.states(|states| states.copy_peers(buffer))
    }

    /// What is known of a link, after everything said of it so far. Waits for a turn of its shard at most.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn info(&self, link: LinkId) -> Result<Info, Error> {
        let found = self.inner.find(link)?;
        let info = found.shard.look(&self.inner, found.key, |row, words, now| {
            let evidence = row.link.evidence();
            let ages = Ages::of(row, words, now);
            let observed = row.beside.fd().map(net::observe).unwrap_or_default();
            let tally = |what| row.numbers.tally(what);
            let carried = row.beside.carried();
            let failure = carried.and_then(|carried| carried.failure);
            let read = |what| row.beside.desk().map_or(0, |desk| desk.traffic.read(what));
            Info {
                link,
                data: row.data,
                name: row.beside.name().cloned(),
                state: row.state(),
                cause: evidence.cause.or(failure.map(|failure| failure.cause)),
                detail: row.beside.detail(),
                tries: u32::from(evidence.misses),
                tries_max: row.policy.tries,
                sequence: evidence.sequence.unwrap_or_default(),
                protocol: row.beside.desk().map_or(Protocol::None, |desk| desk.protocol),
                last_received_ms: ages.received_ms,
                last_sent_ms: ages.sent_ms,
                in_state_ms: now.since(row.state_since).max(0) as u32,
                rtt: row.numbers.rtt().known(),
                unread_bytes: observed.unread_bytes,
                send_queue_bytes: observed.send_queue_bytes,
                beats_sent: tally(Counted::BeatsSent).into(),
                answers_received: tally(Counted::AnswersReceived).into(),
                beats_received: tally(Counted::BeatsReceived).into(),
                answers_sent: read(Counted::AnswersSent),
                answers_late: tally(Counted::AnswersLate).into(),
                answers_unmatched: tally(Counted::AnswersUnmatched).into(),
                answers_dropped: read(Counted::AnswersDropped),
                misses: tally(Counted::Misses).into(),
                messages_received: read(Counted::MessagesReceived),
                bytes_received: read(Counted::BytesReceived),
                messages_sent: read(Counted::MessagesSent),
                bytes_sent: read(Counted::BytesSent),
                would_be_downs: tally(Counted::WouldBeDowns).into(),
                strikes: tally(Counted::Strikes).into(),
                attempt: carried.map_or(0, Carried::attempt),
                next_ms: carried.and_then(|carried| carried.next_ms(now)),
                peer_states_left_out: row.states().map_or(0, AppStates::left_out),
                listener: row.listener(),
                agreed: carried.and_then(|carried| carried.talk.as_ref()?.agreed()),
                frames_rejected: read(Counted::FramesRejected),
                frames_unauthenticated: read(Counted::FramesUnauthenticated),
            }
        });
        self.inner.nudge();
        info
    }

    /// Lists open links, page by page: fills `links` with those that come after `after` in a fixed order, says how many,
    /// and whether there are more. Links that are opened or closed meanwhile may or may not be among them.
    ///
    /// # Errors
    /// [`Code::Forked`].
    pub fn links(&self, after: Option<LinkId>, links: &mut [u64]) -> Result<(usize, bool), Error> {
        self.inner.check_fork()?;
        let (first_shard, first_index) = after.map_or((0, 0), |link| (link.shard(), link.key().index + 1));
        let mut all = self.inner.shards.iter().skip(first_shard).flat_map(|shard| {
            let index = if shard.number as usize == first_shard { first_index } else { 0 };
            let known = |key: &Key| shard.table.find(*key).is_some_and(|words| !words.has(beat::HIDDEN));
            shard.table.open_from(index).filter(known).map(|key| LinkId::new(shard.number, key).0)
        });
        let mut count = 0;
        for (place, link) in links.iter_mut().zip(&mut all) {
            *place = link;
            count += 1;
        }
        Ok((count, all.next().is_some()))
    }
}

impl Found<'_> {
    fn take_answers(&self, desk: &Desk, now_ns: u64, buffer: &mut [u8], taken: &mut Taken) {
        if self.words.has(beat::PAUSED) {
            return;
        }
        let state = desk.state();
        let fields = desk.fields(now_ns, self.words.has(beat::FLAGGED), &state);
        let mut ring = desk.ring();
        fault::point(Point::Take);
        while let Some(owed) = ring.front() {
            let Some(length) = desk.protocol.answer(owed, &fields, &mut buffer[taken.length..]) else {
                taken.more = true;
                return;
            };
            taken.length += length;
            ring.pop_front();
            desk.count(Counted::AnswersSent, 1);
        }
        self.words.clear(beat::OWED);
    }

    fn take_beat(
        &self,
        desk: Option<&Desk>,
        sequence: Option<&mut u32>,
        at: Stamp,
        now_ns: u64,
        buffer: &mut [u8],
        taken: &mut Taken,
    ) -> Result<(), Error> {
        let wanted = self.words.beat.load(Ordering::Acquire);
        if wanted & beat::WANTED == 0 {
            return Ok(());
        }
        let (number, advanced) = self.number(wanted & beat::AGAIN != 0, sequence.as_deref().copied());
        let mut length = 0;
        if let Some(desk) = desk {
            let state = desk.state();
            match desk.protocol.beat(
                number,
                &desk.fields(now_ns, wanted & beat::FLAGGED != 0, &state),
                &mut buffer[taken.length..],
            ) {
                Some(built) => length = built,
                None => {
                    taken.more = true;
                    return Ok(());
                }
            }
        }
        // The shard may have withdrawn it meanwhile; of the two one wins.
        if self.words.clear(beat::WANTED) == 0 {
            return Ok(());
        }
        if let Err(closed) = self.check_open() {
            // The slot may be another link's by now, and the beat its.
            self.words.set(beat::WANTED);
            return Err(closed);
        }
        self.words.sequence.store(number, Ordering::Relaxed);
        self.note(Said::Taken { sequence: number, at, at_us: micros(now_ns) });
        self.words.set(beat::LEAVING);
        taken.length += length;
        taken.own_beat = desk.is_none();
        if let (Some(sequence), Some(next)) = (sequence, advanced) {
            *sequence = next;
        }
        Ok(())
    }

    /// The number of the beat, and the application's next free one if one of its own is used.
    fn number(&self, again: bool, next_free: Option<u32>) -> (u32, Option<u32>) {
        let latest = self.words.sequence.load(Ordering::Relaxed);
        match next_free {
            _ if again => (latest, None),
            Some(next_free) => (next_free, Some(next_free.wrapping_add(1))),
            None => (latest.wrapping_add(1), None),
        }
    }
}

impl Inner {
    /// Room for one more link, given back unless it is kept.
    fn take_room<'a>(&'a self, shard: &'a Shard) -> Result<Room<'a>, Error> {
        let room = Room(self, shard);
        // Both are taken before either is looked at: of threads that come together no more get one than there are.
        let waiting = shard.queue_up();
        if self.links.fetch_add(1, Ordering::Relaxed) >= self.options.max_links {
            let sentence = format!(
                "max_links = {}: as many are open (closed ones count until their last event was handed out)",
                self.options.max_links
            );
            return Err(Error::new(Code::Limit, sentence));
        }
        if waiting >= self.options.open_queue {
            let sentence =
                format!("open_queue = {}: as many opens wait for the engine: try again", self.options.open_queue);
            return Err(Error::new(Code::Again, sentence));
        }
        Ok(room)
    }
}

/// Room for a link that is being opened.
struct Room<'a>(&'a Inner, &'a Shard);

impl Room<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.0.links.fetch_sub(1, Ordering::Relaxed);
        self.1.leave_queue();
    }
}
