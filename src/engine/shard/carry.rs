//! Links that the engine carries: their attempts, their sockets, and what goes through them.

use super::listen::place_of;
use super::turn::Turn;
use super::*;
use crate::core::Cause;
use crate::engine::carrier::{Carried, Failure, Handed, Phase};
use crate::engine::clock::micros;
use crate::engine::desk::OWED_MAX;
use crate::net::{Address, Connection, Endpoint, Kind, Poller, Ready};
use crate::wire::{FRAME_MAX, Protocol, Session};
use std::io;

/// Bytes read at once, and how many times before others have their turn; what is left is still ready then.
const PORTION: usize = 16_384;
const PORTIONS: usize = 4;
/// Likewise datagrams.
const DATAGRAMS: usize = 64;

impl Shard {
    /// The shard's poller, made for its first carried link.
    pub fn poller(&self) -> io::Result<&Poller> {
        self.poller.get_or_try_init(Poller::new)
    }
}

impl Turn<'_> {
    /// Looks at the sockets that are ready by now.
    pub(super) fn poll(&mut self) {
        let Some(poller) = self.shard.poller.get() else { return };
        let mut ready = std::mem::take(&mut self.turns.ready);
        poller.find_all(&mut ready, |key| self.look_at_ready(key));
        self.turns.ready = ready;
    }

    /// What is not ready any more does no harm: each socket is asked without waiting.
    pub(super) fn look_at_sockets(&mut self, ready: &Ready) {
        ready.keys().for_each(|key| self.look_at_ready(key));
    }

    fn look_at_ready(&mut self, key: usize) {
        match place_of(key) {
            Some(place) => self.accept(place),
            None => self.look_at_socket(key as u32),
        }
    }

    fn look_at_socket(&mut self, index: u32) {
        let Some(carried) = self.carried(index) else { return };
        if matches!(carried.phase, Phase::Connecting) {
            match carried.connection.as_ref().and_then(|connection| connection.outcome()) {
                None => {}
                Some(Ok(())) => self.connected(index),
                Some(Err(error)) => self.refused(index, &error),
            }
        } else if carried.is_connected() && !self.read(index) {
            // Writable, that is.
            self.visit(index, None);
        }
    }

    fn carried(&mut self, index: u32) -> Option<&mut Carried> {
        self.turns.rows.get_mut(index)?.beside.carried_mut()
    }

    /// Gives all connections up: nobody reads them any more.
    pub(super) fn let_go(&mut self) {
        if self.shard.poller.get().is_none() {
            return;
        }
        self.turns.places.clear();
        for key in self.turns.rows.keys() {
            let Some(carried) = self.carried(key.index) else { continue };
            (carried.connection, carried.phase) = (None, Phase::Lost);
        }
    }

    /// A carried link was opened.
    pub(super) fn set_out(&mut self, index: u32) {
        let now = self.turns.clock.latest();
        let Some(carried) = self.carried(index) else { return };
        match std::mem::replace(&mut carried.phase, Phase::Waiting { at: now }) {
            Phase::HandedOver(Handed::Peer { connection, session, first }) => {
                carried.tried = 1;
                self.begin(index, connection, Some(session));
                self.connected(index);
                self.feed(index, &first);
            }
            Phase::HandedOver(Handed::Socket(socket)) => {
                carried.tried = 1;
                match self.shard.poller().and_then(|poller| poller.watch(socket, index as usize)) {
                    Ok(connection) => {
                        self.begin(index, connection, None);
                        self.connected(index);
                    }
                    Err(error) => self.refused(index, &error),
                }
            }
            _ => {
                self.tell_connecting(index, 0);
                self.attempt(index);
            }
        }
    }

    /// The next attempt begins.
    fn attempt(&mut self, index: u32) {
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        let link = LinkId::new(self.shard.number, row.key(index));
        let Some(carried) = row.beside.carried_mut() else { return };
        carried.phase = Phase::LookingUp;
        carried.tried = carried.tried.saturating_add(1);
        let Some(endpoint) = carried.endpoint.clone() else { return self.connect(index) };
        match endpoint.addresses() {
            Some(known) => self.resolved(index, known),
            None => {
                if let Err(error) = self.engine.resolver.ask(self.engine.me(), link, endpoint) {
                    self.refused(index, &error);
                }
            }
        }
    }

    /// The addresses of its endpoint are known.
    pub(super) fn resolved(&mut self, index: u32, found: io::Result<Vec<Address>>) {
        let Some(carried) = self.carried(index).filter(|carried| matches!(carried.phase, Phase::LookingUp)) else {
            return;
        };
        match found {
            Ok(addresses) => {
                carried.addresses = addresses;
                self.connect(index);
            }
            Err(error) => self.fail_attempt(index, Failure::of(&error)),
        }
    }

    /// Connects to the next address. An attempt begins where the one before it ended, so that one address that swallows
    /// everything does not hide the others.
    fn connect(&mut self, index: u32) {
        let Some(carried) = self.carried(index) else { return };
        let place = carried.next_address % carried.addresses.len().max(1);
        let Some(address) = carried.addresses.get(place).cloned() else {
            return self.fail_attempt(index, Failure::of(&io::ErrorKind::NotFound.into()));
        };
        carried.next_address = place + 1;
        let kind = carried.endpoint.as_ref().map_or(Kind::STREAM, Endpoint::kind);
        match self.shard.poller().and_then(|poller| poller.connect(&address, kind, index as usize)) {
            Ok(connection) => {
                self.begin(index, connection, None);
                self.visit(index, Some(Input::Probe));
            }
            Err(error) => self.refused(index, &error),
        }
    }

    /// A connection that fails at once: the next address of this attempt, or its end.
    fn refused(&mut self, index: u32, error: &io::Error) {
        let Some(carried) = self.carried(index) else { return };
        if carried.next_address < carried.addresses.len() {
            return self.connect(index);
        }
        self.fail_attempt(index, Failure::of(error));
    }

    /// A new connection: the link's core begins anew. It times the whole attempt, connecting included.
    fn begin(&mut self, index: u32, connection: Connection, session: Option<Session>) {
        let now = self.turns.clock.latest();
        let Some(words) = self.shard.table.words(index) else { return };
        words.clear(beat::DOWN | beat::SUSPECT | beat::WANTED | beat::AGAIN | beat::OWED);
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        row.beside.set_fd(connection.descriptor());
        row.notes.note_down(false);
        row.begin(now);
        row.beside.desk().into_iter().for_each(|desk| desk.renew());
        let Some(carried) = self.carried(index) else { return };
        carried.unwritten.clear();
        carried.connection = Some(connection);
        carried.phase = Phase::Connecting;
        self.begin_talk(index, session);
        self.visit(index, Some(Input::Start { at: now }));
    }

    /// There is a connection: the peer is asked at once.
    fn connected(&mut self, index: u32) {
        let now = self.turns.clock.latest();
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        let until = now.plus(row.policy.detection().latest_ms.min(REST_MS));
        let Some(carried) = row.beside.carried_mut() else { return };
        carried.phase = Phase::Greeting { until };
        if let Some(Err(error)) = carried.connection.as_mut().map(|connection| connection.want_writes(false)) {
            return self.lose(index, Failure::of(&error));
        }
        self.visit(index, Some(Input::Probe));
    }

    /// Reads what has arrived, and visits the link for it; `false`: nothing has.
    fn read(&mut self, index: u32) -> bool {
        let mut buffer = std::mem::take(&mut self.turns.portion);
        buffer.resize(PORTION, 0);
        let mut visited = true;
        for portion in 1.. {
            let connection = self.carried(index).and_then(|carried| carried.connection.as_ref());
            let Some(connection) = connection else { break };
            let is_datagram = connection.is_datagram();
            match connection.read(&mut buffer) {
                Ok(None) => {
                    visited = portion > 1;
                    break;
                }
                Ok(Some([])) if !is_datagram => self.lose(index, Failure { cause: Cause::ClosedByPeer, errno: 0 }),
                Ok(Some(bytes)) => {
                    let more =
                        if is_datagram { portion < DATAGRAMS } else { bytes.len() == PORTION && portion < PORTIONS };
                    self.feed(index, bytes);
                    if !more {
                        break;
                    }
                }
                Err(error) => self.lose(index, Failure::of(&error)),
            }
        }
        self.turns.portion = buffer;
        visited
    }

    pub(super) fn feed(&mut self, index: u32, bytes: &[u8]) {
        let now_ns = self.engine.clock.now_ns();
        let (at, at_us) = (self.engine.clock.ceil(now_ns), micros(now_ns));
        // What was read just now lies in the past of what follows from it.
        self.turns.clock.clamp(at);
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        let (key, Some(desk)) = (row.key(index), row.beside.desk().cloned()) else { return };
        let mut said = std::mem::take(&mut self.turns.said);
        let talk = row.beside.carried_mut().and_then(|carried| carried.talk.as_mut());
        // Nobody else feeds it.
        let Ok(portion) = desk.feed(bytes, at, at_us, talk, |heard| said.push(heard)) else { return };
        let visits = said.is_empty() || portion.desync.is_some();
        let beaten = said.iter().any(|said| matches!(said, Said::BeatReceived { stuck: false, .. }));
        let before = row.numbers.tally(Counted::AnswersReceived);
        if let Some(words) = self.shard.table.words(index).filter(|_| portion.credit) {
            forward(words.received, at, || at);
        }
        said.drain(..).for_each(|said| self.hear_of(key, said));
        self.turns.said = said;
        let answered =
            self.turns.rows.get(index).is_some_and(|row| row.numbers.tally(Counted::AnswersReceived) != before);
        if beaten || answered {
            self.greet(index);
        }
        if portion.states > 0 {
            self.peer_state(index, portion.states);
        }
        self.agree(index);
        if visits {
            self.visit(index, portion.desync.map(|_| Input::Desync));
        }
        self.speak(index);
        self.meet_challenge(index);
    }

    /// The peer was heard: the link is UP.
    fn greet(&mut self, index: u32) {
        let now = self.turns.clock.latest();
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        let alive = row.link.evidence().state == State::Up;
        let Some(carried) = row.beside.carried_mut().filter(|carried| matches!(carried.phase, Phase::Greeting { .. }))
        else {
            return;
        };
        if !alive {
            return;
        }
        carried.phase = Phase::Up;
        carried.attempts.up(self.engine.clock.now_ns() / 1_000_000);
        carried.tried = 0;
        carried.failure = None;
        row.state_since = now;
        row.beside.set_detail(0);
        let Some(seat) = row.beside.carried_mut().and_then(|carried| carried.seat.as_mut()) else {
            self.turns.stats.count(Counted::Ups);
            self.note_state(index);
            return self.tell(index, EventKind::Up, None);
        };
        seat.hear();
        let events = seat.listener().events.unwrap_or(self.engine.options.events);
        row.notes.ask_for(events);
        self.shard.table.words(index).map(|words| words.clear(beat::HIDDEN));
        self.turns.stats.count(Counted::Opened);
        self.note_state(index);
        self.tell(index, EventKind::Accepted, None);
    }

    /// The connection is gone, as the socket says.
    pub(super) fn lose(&mut self, index: u32, failure: Failure) {
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        row.beside.set_detail(failure.errno);
        self.visit(index, Some(Input::Report(failure.cause)));
    }

    /// What the core says of a connection from which nothing was heard yet concerns the attempt only, unless it is the
    /// last one; `true`: it is no change of the link's.
    pub(super) fn is_of_attempt(&mut self, index: u32, change: Change) -> bool {
        let now = self.turns.clock.latest();
        let Some(row) = self.turns.rows.get_mut(index) else { return false };
        let Some(carried) = row.beside.carried().filter(|carried| carried.is_connecting()) else { return false };
        let Change::Down(cause) = change else { return true };
        let mut failure = Failure { cause, errno: row.beside.detail() };
        if matches!(carried.phase, Phase::Connecting) {
            // There was no connection: what the core counted was time, and no beat was sent.
            row.begin(now);
            if matches!(cause, Cause::NoAnswer | Cause::SendStuck | Cause::Silent) {
                failure.cause = Cause::Unreachable;
            }
            self.fail_attempt(index, failure);
            return true;
        }
        if row.is_hidden() {
            self.dismiss(index);
            return true;
        }
        let another_follows = self.retry(index, failure);
        if another_follows {
            self.hang_up(index);
        }
        another_follows
    }

    /// A link is DOWN, and that was told: of one that is carried the connection ends, and perhaps another follows.
    pub(super) fn after_down(&mut self, index: u32, cause: Cause) {
        let Some(row) = self.turns.rows.get(index) else { return };
        let failure = Failure { cause, errno: row.beside.detail() };
        let Some(carried) = row.beside.carried() else { return };
        if matches!(carried.phase, Phase::Up) {
            self.retry(index, failure);
        }
        self.hang_up(index);
    }

    /// An attempt came to nothing.
    fn fail_attempt(&mut self, index: u32, failure: Failure) {
        if self.turns.rows.get(index).is_some_and(Row::is_hidden) {
            return self.dismiss(index);
        }
        if self.retry(index, failure) {
            self.hang_up(index);
        } else {
            // Now it is the link that is DOWN.
            self.lose(index, failure);
        }
    }

    /// Ends the connection, after the verdict: that looks at the socket once more.
    fn hang_up(&mut self, index: u32) {
        let Some(row) = self.turns.rows.get_mut(index) else { return };
        row.beside.carried_mut().into_iter().for_each(|carried| carried.connection = None);
        row.beside.set_fd(None);
    }

    /// Who connected to a listener was not heard: the application never learns of it.
    fn dismiss(&mut self, index: u32) {
        let Some(row) = self.turns.rows.get(index) else { return };
        let key = row.key(index);
        row.beside.carried().into_iter().flat_map(|carried| &carried.seat).for_each(|seat| seat.listener().miss());
        self.shard.table.words(index).map(|words| words.close(key.generation));
        self.close(key);
    }

    /// Plans the next attempt, if there is to be one.
    fn retry(&mut self, index: u32, failure: Failure) -> bool {
        let now = self.turns.clock.latest();
        let now_ms = self.engine.clock.now_ns() / 1_000_000;
        let random = self.engine.random();
        let Some(row) = self.turns.rows.get_mut(index) else { return false };
        let Some(carried) = row.beside.carried_mut() else { return false };
        carried.failure = Some(failure);
        let delay_ms = carried.attempts.failed(&carried.backoff, now_ms, random);
        let used_up = carried.attempts_max > 0 && carried.tried >= carried.attempts_max;
        if !carried.reconnects || used_up {
            carried.phase = Phase::Lost;
            return false;
        }
        carried.phase = Phase::Waiting { at: now.plus(delay_ms) };
        // In the meantime there is nothing to judge.
        row.begin(now);
        row.state_since = now;
        self.note_state(index);
        self.tell_connecting(index, delay_ms);
        self.arm(index, now.plus(delay_ms));
        true
    }

    fn tell_connecting(&mut self, index: u32, next_ms: u32) {
        let Some(row) = self.turns.rows.get(index) else { return };
        let wanted = row.notes.asks_for(EventKind::Connecting);
        let Some(carried) = row.beside.carried().filter(|_| wanted || self.engine.logs()) else { return };
        let event = Event {
            attempt: carried.attempt(),
            next_ms: Some(next_ms),
            cause: carried.failure.map(|failure| failure.cause),
            detail: carried.failure.map_or(0, |failure| failure.errno),
            ..self.event(index, row, EventKind::Connecting, None)
        };
        self.turns.outbox.push(Item { event, wanted });
    }

    /// What a look at a carried link does besides: begins the attempt whose time has come, writes what is to be written.
    /// Gives the deadline that results, if it is another one.
    pub(super) fn carry(&mut self, index: u32, now: Stamp, deadline: Option<Stamp>) -> Option<Stamp> {
        let due_by = self.turns.due_by;
        match self.carried(index).map(|carried| &carried.phase) {
            Some(&Phase::Waiting { at }) if at.is_after(due_by) => Some(at),
            Some(Phase::Waiting { .. }) => {
                self.attempt(index);
                None
            }
            Some(&Phase::Greeting { until }) if !until.is_after(due_by) => {
                let cause = self.what_came(index);
                self.fail_attempt(index, Failure { cause, errno: 0 });
                None
            }
            Some(&Phase::Greeting { until }) => {
                self.write(index, now).or(deadline).into_iter().chain([until]).reduce(Stamp::earliest)
            }
            Some(Phase::Up) => self.write(index, now).or(deadline),
            _ => deadline,
        }
    }

    /// What a peer that was not heard in its time did instead.
    fn what_came(&self, index: u32) -> Cause {
        let row = self.turns.rows.get(index);
        let refused = row.and_then(|row| row.beside.carried()?.talk.as_ref()?.refused());
        let open = row.and_then(|row| row.beside.desk()?.open_since());
        refused.or(open.map(|_| Cause::PartialFrame)).unwrap_or(Cause::NoAnswer)
    }

    /// Writes answers that are owed and the beat that is due, unless something is still unwritten: a beat that waits for the
    /// socket is not taken yet, so that the verdict is SEND_STUCK.
    fn write(&mut self, index: u32, now: Stamp) -> Option<Stamp> {
        let words = self.shard.table.words(index)?;
        if let Err(error) = self.flush(index) {
            self.lose(index, Failure::of(&error));
            return None;
        }
        let row = self.turns.rows.get_mut(index)?;
        let desk = row.beside.desk().cloned()?;
        let carried = row.beside.carried_mut()?;
        if !carried.unwritten.is_empty() || words.has(beat::MUTE) {
            return None;
        }
        let stuck = words.has(beat::FLAGGED);
        let wanted = words.has(beat::WANTED);
        if !wanted && !desk.owes() {
            return None;
        }
        let mut frames = std::mem::take(&mut self.turns.frames);
        frames.resize((OWED_MAX + 1) * FRAME_MAX, 0);
        let now_ns = self.engine.clock.now_ns();
        let mut length = desk.write_answers(now_ns, stuck, carried.talk.as_mut(), &mut frames);
        let mut deadline = None;
        if wanted {
            let latest = words.sequence.load(Ordering::Relaxed);
            let again = words.clear(beat::WANTED | beat::AGAIN) & beat::AGAIN != 0;
            let sequence = if again { latest } else { latest.wrapping_add(1) };
            words.sequence.store(sequence, Ordering::Relaxed);
            length += desk.write_beat(sequence, now_ns, stuck, carried.talk.as_mut(), &mut frames[length..]);
            self.count(index, Counted::BeatsSent);
            deadline = self.step(&words, index, now, None, Input::Taken { sequence, at: now, at_us: micros(now_ns) });
        }
        forward(words.sent, now, || now);
        self.carried(index)?.unwritten.extend_from_slice(&frames[..length]);
        self.turns.frames = frames;
        if let Err(error) = self.flush(index) {
            self.lose(index, Failure::of(&error));
            return None;
        }
        deadline
    }

    /// Writes what the socket takes; for the rest it says when.
    fn flush(&mut self, index: u32) -> io::Result<()> {
        let Some(carried) = self.carried(index) else { return Ok(()) };
        let Some(connection) = carried.connection.as_mut().filter(|_| !carried.unwritten.is_empty()) else {
            return Ok(());
        };
        let written = if connection.is_datagram() {
            // Each frame by itself: none is larger than what passes everywhere.
            Protocol::Heart.frames(&carried.unwritten).try_for_each(|frame| connection.write(frame).map(drop))?;
            carried.unwritten.len()
        } else {
            connection.write(&carried.unwritten)?
        };
        carried.unwritten.drain(..written);
        connection.want_writes(!carried.unwritten.is_empty())
    }
}
