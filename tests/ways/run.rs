//! One table in one way: the application, and what it was told.

use crate::scenario::{Scenario, What};
use hbeat::core::{Cause, Policy, Proof, Resend};
use hbeat::engine::{
    Callbacks, EVENTS_ALL, Engine, Event, EventKind, Info, LinkId, LinkOptions, Options, Run, TimeSource, Waited,
};
use hbeat::wire::Protocol;
use hbeat::wire::cmpp::{ACTIVE_TEST, ACTIVE_TEST_RESP};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

const MS: u64 = 1_000_000;
/// Where the manual clock starts: at no full millisecond of its own.
const START_NS: u64 = 7_000 * MS + 123_457;
/// Nobody moves the clock further at once, so that stamps stay comparable.
const STRIDE_NS: u64 = (1 << 29) * MS;

const SUBMIT: u32 = 4;

/// A way to run an engine.
pub struct Way {
    pub name: &'static str,
    pub turned: By,
    pub on_event: bool,
    pub on_send: bool,
}

/// Who turns the engine, and how its clock moves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Its threads; the clock moves by `advance`.
    Threads,
    /// The application, from deadline to deadline.
    Drive,
    /// The application, by `advance`.
    Advance,
}

impl Scenario {
    /// Whether an unfinished message stands alone in it, whose bytes must not prove life.
    pub fn has_mute_message(&self) -> bool {
        self.says("open_message") && !self.says("received")
    }

    /// Whether only answers are to prove life, so that those bytes do not.
    pub fn asks_for_answers(&self) -> bool {
        self.has_mute_message() && Policy::parse(&self.policy).is_ok_and(|policy| policy.probes())
    }

    /// Whether the application does `word` in it.
    pub fn says(&self, word: &str) -> bool {
        self.lines.iter().any(|line| matches!(&line.what, What::Do(text) if text.split(' ').next() == Some(word)))
    }
}

/// Plays a table; what was told, and in which millisecond of the table. `fed`: what arrives comes as CMPP's bytes.
pub fn told(table: &Scenario, way: &Way, origin_ms: u64, fed: bool) -> Vec<(u64, String)> {
    // After garbage nothing can be fed.
    let fed = fed && !table.says("desync");
    let app = App::new(table, way, START_NS + origin_ms * MS, fed);
    app.play();
    app.end();
    let notes = std::mem::take(&mut app.state().log);
    notes.into_iter().map(|note| (note.at, note.text)).collect()
}

/// The application.
struct App<'a> {
    table: &'a Scenario,
    way: &'a Way,
    origin_ns: u64,
    fed: bool,
    heard: Arc<Heard>,
    /// The connection, and its other end.
    socket: (UnixStream, UnixStream),
}

/// What callbacks and puller share.
struct Heard {
    engine: OnceLock<Engine>,
    origin_ns: u64,
    takes: bool,
    confirms: bool,
    state: Mutex<State>,
}

struct State {
    link: LinkId,
    next_sequence: u32,
    resends: bool,
    hung: bool,
    open_message: bool,
    log: Vec<Note>,
    closed: u32,
}

struct Note {
    at: u64,
    text: String,
}

impl Heard {
    fn engine(&self) -> &Engine {
        self.engine.get().unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The millisecond of the table that is, or is about to be full.
    fn now_ms(&self) -> u64 {
        self.engine().now_ns().saturating_sub(self.origin_ns).div_ceil(MS)
    }

    fn now_ns(&self) -> u64 {
        self.origin_ns + self.now_ms() * MS
    }

    fn hear(&self, event: &Event) {
        let text = match event.kind {
            EventKind::Closed => return self.state().closed += 1,
            EventKind::BeatReceived | EventKind::Pause => return,
            EventKind::Send => format!("SEND try={}", event.tries),
            EventKind::Suspect => format!("SUSPECT left={}", event.tries_max.saturating_sub(event.tries)),
            EventKind::Down | EventKind::WouldBeDown => {
                format!("{} cause={} tries={}", event.kind.name(), event.cause.map_or("none", Cause::name), event.tries)
            }
            EventKind::Answer => {
                event.rtt_us.map_or("MATCHED".to_owned(), |rtt_us| format!("MATCHED rtt={}", rtt_us / 1_000))
            }
            other => other.name().to_owned(),
        };
        let at = (event.at_ns - self.origin_ns) / MS;
        let mut state = self.state();
        // Handed out in the millisecond in which it happened, unless the application hangs.
        let late = if state.hung || at == self.now_ms() { "" } else { ", handed out at another time" };
        let merged = if event.count == 1 { "" } else { ", merged" };
        let again = event.kind == EventKind::Send && event.tries > 1 && state.resends;
        let number = if again { format!(" seq={}", event.sequence) } else { String::new() };
        state.log.push(Note { at, text: format!("{text}{number}{late}{merged}") });
        drop(state);
        if event.kind == EventKind::Send && self.takes {
            self.take();
        }
    }

    /// Takes the beat that is due. Whether its number is one that was used before must be as its SEND said.
    fn take(&self) {
        let (link, mut next) = {
            let state = self.state();
            (state.link, state.next_sequence)
        };
        let before = next;
        let mut buffer = [0; 64];
        let taken = self.engine().take(link, Some(&mut next), self.now_ns(), &mut buffer).unwrap();
        let mut state = self.state();
        state.next_sequence = next;
        if let Some(note) = state.log.iter_mut().rev().find(|note| note.text.starts_with("SEND")) {
            let number = if next == before { before.wrapping_sub(1) } else { before };
            if !taken.own_beat && taken.length == 0 {
                note.text += ", nothing to take";
            } else if taken.length > 0 && buffer[..taken.length] != message(ACTIVE_TEST, number, 0)[..] {
                note.text += ", taken as other bytes";
            } else if (next == before) != note.text.contains(" seq=") {
                note.text += ", taken with a number of the other kind";
            }
        }
        drop(state);
        if self.confirms {
            self.engine().sent(link, self.now_ns()).unwrap();
        }
    }
}

impl<'a> App<'a> {
    fn new(table: &'a Scenario, way: &'a Way, origin_ns: u64, fed: bool) -> Self {
        let socket = UnixStream::pair().unwrap();
        socket.0.set_nonblocking(true).unwrap();
        socket.1.set_nonblocking(true).unwrap();
        let state = State {
            link: LinkId(0),
            next_sequence: 1,
            resends: false,
            hung: false,
            open_message: false,
            log: Vec::new(),
            closed: 0,
        };
        let heard = Arc::new(Heard {
            engine: OnceLock::new(),
            origin_ns,
            takes: table.auto_take,
            confirms: table.says("sent"),
            state: Mutex::new(state),
        });
        let options = Options {
            run: if way.turned == By::Threads { Run::Threads } else { Run::Application },
            clock: TimeSource::Manual(START_NS),
            events: EVENTS_ALL,
            max_links: 16,
            callbacks: Callbacks {
                on_event: way.on_event.then(|| told_to(&heard)),
                on_send: way.on_send.then(|| told_to(&heard)),
                ..Callbacks::default()
            },
            ..Options::default()
        };
        assert!(heard.engine.set(Engine::new(options).unwrap()).is_ok());
        Self { table, way, origin_ns, fed, heard, socket }
    }

    fn engine(&self) -> &Engine {
        self.heard.engine()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.heard.state()
    }

    fn link(&self) -> LinkId {
        self.state().link
    }

    fn ns(&self, ms: u64) -> u64 {
        self.origin_ns + ms * MS
    }

    fn play(&self) {
        self.go(self.ns(self.table.opened));
        self.open();
        for line in &self.table.lines {
            match &line.what {
                What::Told(_) => self.go(self.ns(line.at)),
                What::Do(text) => {
                    self.go(self.ns(line.at) - 1);
                    self.act(text);
                    self.go(self.engine().now_ns());
                }
            }
        }
        self.go(self.ns(self.table.end));
    }

    fn open(&self) {
        let engine = self.engine();
        // Those before it in the engine.
        for _ in 0..self.table.ordinal {
            let options = LinkOptions { start_paused: true, events: Some(0), ..LinkOptions::default() };
            let link = engine.open(&Policy::preset("normal").unwrap(), &options).unwrap();
            engine.close(link).unwrap();
        }
        let options = LinkOptions {
            protocol: if self.fed || self.table.says("desync") || self.table.says("open_message") {
                Protocol::Cmpp
            } else {
                Protocol::None
            },
            fd: Some(self.socket.0.as_raw_fd()),
            start_paused: self.table.paused,
            ..LinkOptions::default()
        };
        let policy = self.policy(&self.table.policy);
        let link = engine.open(&policy, &options).unwrap();
        self.state().link = link;
        self.go(engine.now_ns());
    }

    fn policy(&self, text: &str) -> Policy {
        let policy = Policy::parse(text).unwrap_or_else(|why| panic!("{}: {why}", self.table.name));
        let proof = if self.table.asks_for_answers() { Proof::Answer } else { policy.proof };
        // Beats of the peer are not answered: the tables are about ours.
        let policy = Policy { proof, answer: false, ..policy };
        self.state().resends = policy.resend == Resend::Same;
        policy
    }

    /// Lets time run up to and with `to_ns`; all that is told on the way is heard.
    fn go(&self, to_ns: u64) {
        let engine = self.engine();
        while engine.now_ns() + STRIDE_NS < to_ns {
            self.step(engine.now_ns() + STRIDE_NS);
        }
        self.step(to_ns.max(engine.now_ns()));
    }

    fn step(&self, to_ns: u64) {
        let engine = self.engine();
        if self.way.turned != By::Drive {
            while engine.advance(to_ns).unwrap() {
                self.pull();
            }
            return;
        }
        for _ in 0..10_000 {
            let due = engine.next_deadline().unwrap().filter(|&due_ns| due_ns <= to_ns);
            if due.is_none() && engine.now_ns() == to_ns {
                return;
            }
            let waits = engine.drive(due.map_or(to_ns, |due_ns| due_ns.max(engine.now_ns()))).unwrap();
            if waits && !self.state().hung {
                self.pull();
            }
        }
        panic!("{}: the clock stands still", self.table.name);
    }

    fn pull(&self) {
        let mut events = Vec::new();
        let waited = self.engine().wait(64, Some(Duration::ZERO), &mut |event| events.push(event.clone())).unwrap();
        assert_ne!(waited, Waited::End);
        events.iter().for_each(|event| self.heard.hear(event));
    }

    fn act(&self, text: &str) {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let number = || rest.parse::<u32>().unwrap_or_else(|_| panic!("{}: '{text}'", self.table.name));
        let (engine, link, now_ns) = (self.engine(), self.link(), self.heard.now_ns());
        match word {
            "received" => engine.received(link, now_ns).unwrap(),
            "sent" | "really_sent" => engine.sent(link, now_ns).unwrap(),
            "take" => {
                if !rest.is_empty() {
                    self.state().next_sequence = number();
                }
                self.heard.take();
            }
            "unsent" => engine.unsent(link, now_ns).unwrap(),
            "beat_sent" if self.fed => engine.feed_sent(link, &message(ACTIVE_TEST, number(), 0), now_ns).unwrap(),
            "beat_sent" => engine.beat_sent(link, number(), now_ns).unwrap(),
            "answer" => self.answer(number()),
            "beat" if self.fed => self.feed(&message(ACTIVE_TEST, 1, 0)),
            "beat" => engine.beat_received(link, 1, now_ns).unwrap(),
            "report" => {
                let cause = Cause::ALL.into_iter().find(|cause| cause.name() == rest).unwrap();
                engine.report_down(link, cause, 0).map(drop).unwrap();
            }
            "desync" => assert!(engine.feed(link, b"garbage, as text goes", now_ns).is_err()),
            "start" => engine.start(link, now_ns).unwrap(),
            "pause" => engine.pause(link, now_ns).unwrap(),
            "policy" => engine.set_policy(link, &self.policy(rest)).unwrap(),
            "unread" => self.unread(number()),
            "full" => self.full(rest == "1"),
            "open_message" => self.message(true),
            "close_message" => self.message(false),
            "hang" => self.state().hung = true,
            "unhang" => {
                self.pull();
                self.state().hung = false;
            }
            "stop_process" => {
                let until_ns = now_ns + u64::from(number()) * MS;
                if engine.drive(until_ns).unwrap() {
                    self.pull();
                }
            }
            _ => panic!("{}: '{text}'", self.table.name),
        }
    }

    /// What has no event is seen in the counters.
    fn answer(&self, sequence: u32) {
        let place = self.state().log.len();
        let before = self.info();
        if self.fed {
            self.feed(&message(ACTIVE_TEST_RESP, sequence, 1));
        } else {
            self.engine().answer_received(self.link(), sequence, self.heard.now_ns()).unwrap();
        }
        self.go(self.engine().now_ns());
        let after = self.info();
        let at = self.heard.now_ms();
        for (count, text) in [
            (after.answers_late - before.answers_late, "LATE"),
            (after.answers_unmatched - before.answers_unmatched, "UNMATCHED"),
        ] {
            for _ in 0..count {
                self.state().log.insert(place, Note { at, text: text.to_owned() });
            }
        }
    }

    fn info(&self) -> Info {
        self.engine().info(self.link()).unwrap()
    }

    /// Sees to it that so many bytes wait unread.
    fn unread(&self, bytes: u32) {
        while (&self.socket.0).read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
        (&self.socket.1).write_all(&vec![0; bytes as usize]).unwrap();
    }

    fn full(&self, full: bool) {
        if full {
            while (&self.socket.0).write(&[0; 4096]).is_ok() {}
        } else {
            while (&self.socket.1).read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
        }
    }

    /// Ends the unfinished message, if there is one, and begins another, or not.
    fn message(&self, begin: bool) {
        let ends = std::mem::replace(&mut self.state().open_message, begin);
        let submit = message(SUBMIT, 9, 8);
        let (half, rest) = submit.split_at(15);
        self.feed(&[if ends { rest } else { &[] }, if begin { half } else { &[] }].concat());
    }

    fn feed(&self, bytes: &[u8]) {
        let owes = self.engine().feed(self.link(), bytes, self.heard.now_ns()).unwrap();
        assert!(!owes, "{}", self.table.name);
    }

    /// Closes, stops; the link's last event must come, once.
    fn end(&self) {
        let engine = self.engine();
        engine.close(self.link()).unwrap();
        engine.stop(Some(Duration::from_secs(10))).unwrap();
        if !self.way.on_event {
            let mut hear = |event: &Event| self.state().closed += u32::from(event.kind == EventKind::Closed);
            while engine.wait(64, None, &mut hear).unwrap() != Waited::End {}
        }
        let mut state = self.state();
        if state.closed != 1 {
            let text = format!("CLOSED came {} times", state.closed);
            state.log.push(Note { at: self.table.end, text });
        }
    }
}

/// A CMPP message with so many octets after its header.
fn message(command: u32, sequence: u32, body: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = [12 + body, command, sequence].iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.resize(12 + body as usize, 0);
    bytes
}

fn told_to(heard: &Arc<Heard>) -> hbeat::engine::OnEvent {
    let heard: Weak<Heard> = Arc::downgrade(heard);
    Box::new(move |event| heard.upgrade().into_iter().for_each(|heard| heard.hear(event)))
}
