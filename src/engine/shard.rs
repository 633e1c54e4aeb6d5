//! One shard: its links, their wheel, and the turn that moves them. All judgement happens here, on one thread at a
//! time; no code of the application ever runs under its lock.

mod carry;
mod datagrams;
mod listen;
mod police;
mod progress;
mod talk;
mod turn;

use super::Inner;
use super::app_state::AppStates;
use super::command::{Command, Opening, Said};
use super::delivery::Item;
use super::desk::Desks;
use super::error::{Code, Error};
use super::event::{Event, EventKind, LinkId};
use super::options::LinkData;
use super::rows::{Beside, Row, Rows};
use super::stats::{Counted, Histogram, Stats};
use super::sync::channel::{Receiver, Sender, bounded, unbounded};
use super::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard, fence};
use super::sys;
use super::table::{Key, Table, Words, beat, forward};
use super::wake::Wake;
use crate::core::{Answered, Change, Clock, Context, Facts, Input, Output, PAUSE_MS, Pause, Stamp, State, Wheel};
use crate::net::{Observed, Poller, Ready, observe, tcp_info};
use once_cell::sync::OnceCell;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;
use turn::Turn;

/// Links that one turn looks at before it hands over what it found and lets others at its lock.
const TURN: usize = 4096;
/// A shard that sleeps is woken after this many commands, so that they do not pile up.
const MANY: u64 = 1024;
/// While links are opened and closed one after the other the shard turns so often, and need not be woken for each.
const GATHER_NS: u64 = 1_000_000;
/// The longest sleep, and the longest step of time: stamps must stay comparable.
const SLEEP_MS: u32 = 1 << 29;
const STRIDE_NS: u64 = SLEEP_MS as u64 * 1_000_000;
/// A link that wants nothing is looked at all the same, so that its stamps stay comparable.
const REST_MS: u32 = 1 << 30;

/// What other threads see of a shard.
pub struct Shard {
    pub number: u32,
    pub table: Table,
    pub desks: Desks,
    commands: Sender<Command>,
    wake: Wake,
    /// Opens that wait in the queue.
    opening: AtomicU32,
    /// What gathers was said: the shard turns again within [`GATHER_NS`], whoever wakes it.
    gathers: AtomicBool,
    /// Commands ever sent: tells whether anything was said meanwhile.
    posted: AtomicU64,
    /// When the shard means to turn next; `u64::MAX`: when it is woken.
    planned_ns: AtomicU64,
    /// Waits for the sockets of carried links, once there are any.
    poller: OnceCell<Poller>,
    turns: Mutex<Turns>,
}

/// What a turn works on.
pub struct Turns {
    inbox: Receiver<Command>,
    /// What was taken out of it and not acted upon yet.
    heard: VecDeque<Command>,
    rows: Rows,
    wheel: Wheel,
    clock: Clock,
    due: Vec<u32>,
    outbox: Vec<Item>,
    /// Slots of links that nobody is told the end of.
    vacated: Vec<Key>,
    /// Something that gathers was heard in this turn.
    gathered: bool,
    barriers: Vec<Sender<()>>,
    pause: Option<Pause>,
    /// When the clock was last read.
    read_ns: u64,
    /// Deadlines up to this one are due.
    due_by: Stamp,
    suspended_ns: u64,
    pub stats: Stats,
    pub rtt: Histogram,
    pub lateness: Histogram,
    ended: bool,
    /// Links for which the application makes no progress, and waits for the engine's mark.
    silent: Vec<u32>,
    /// Listeners, each at its own place.
    places: Vec<Option<listen::Place>>,
    /// For the sockets of carried links: those that are ready, what is read, what was found in it, what is written.
    ready: Ready,
    portion: Vec<u8>,
    said: Vec<Said>,
    frames: Vec<u8>,
}

/// What comes after a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// There is more to do now.
    Again,
    /// Nothing before this moment of the engine's clock; `None`: nothing unless told.
    At(Option<u64>),
    /// All links are closed.
    Ended,
}

impl Shard {
    pub fn new(number: u32, links: u32, seed: u64, clock: &super::Clock, tick_ms: u32) -> Result<Self, Error> {
        let start_ns = clock.now_ns();
        let start = clock.floor(start_ns);
        let (commands, inbox) = unbounded();
        Ok(Self {
            number,
            table: Table::new(links, seed)?,
            desks: Desks::new(),
            commands,
            wake: Wake::default(),
            opening: AtomicU32::new(0),
            gathers: AtomicBool::new(false),
            posted: AtomicU64::new(0),
            planned_ns: AtomicU64::new(u64::MAX),
            poller: OnceCell::new(),
            turns: Mutex::new(Turns {
                inbox,
                heard: VecDeque::new(),
                rows: Rows::default(),
                wheel: Wheel::new(start, tick_ms),
                clock: Clock::new(start),
                due: Vec::new(),
                outbox: Vec::new(),
                vacated: Vec::new(),
                gathered: false,
                barriers: Vec::new(),
                pause: None,
                read_ns: start_ns,
                due_by: start,
                suspended_ns: sys::suspended_ns(),
                stats: Stats::default(),
                rtt: Histogram::default(),
                lateness: Histogram::default(),
                ended: false,
                silent: Vec::new(),
                places: Vec::new(),
                ready: Ready::default(),
                portion: Vec::new(),
                said: Vec::new(),
                frames: Vec::new(),
            }),
        })
    }

    /// Says something that must be acted upon now, or what [gathers](Command::gathers): for that the shard is woken unless
    /// it turns soon by itself.
    pub fn tell(&self, command: Command) {
        let gathers = command.gathers();
        self.note(command);
        // Pairs with the fence in a turn: either the word is seen there, or the command is seen by the turn.
        fence(Ordering::SeqCst);
        if !(gathers && self.gathers.load(Ordering::Relaxed)) {
            self.rouse();
        }
    }

    /// Says something that matters at the next turn, whenever that is.
    /// `true`: so much was said that it has been woken all the same.
    pub fn note(&self, command: Command) -> bool {
        let many = self.posted.fetch_add(1, Ordering::Relaxed) % MANY == MANY - 1;
        // The receiver lives as long as the shard.
        let _ = self.commands.send(command);
        if many {
            self.rouse();
        }
        many
    }

    /// Opens need room in the queue, nothing else does: takes that of one, and says how many had some before.
    pub fn queue_up(&self) -> u32 {
        self.opening.fetch_add(1, Ordering::Relaxed)
    }

    pub fn leave_queue(&self) {
        self.opening.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn rouse(&self) {
        self.wake.rouse();
        // Pairs with the fence in `sleep`: either the poller is seen here, or that it was roused is seen there.
        fence(Ordering::SeqCst);
        self.poller.get().into_iter().for_each(Poller::wake);
    }

    /// Says something about a link; wakes the shard if it waits for news of it.
    /// `true`: it was woken.
    pub fn news(&self, words: &Words<'_>, key: Key, said: Said) -> bool {
        let many = self.note(Command::Link(key, said));
        fence(Ordering::SeqCst);
        let waits = words.has(beat::SUSPECT);
        if waits {
            self.rouse();
        }
        many || waits
    }

    /// When the shard means to turn next; `u64::MAX`: when it is told something. Told something already: at once.
    pub fn planned_ns(&self) -> u64 {
        if self.commands.is_empty() { self.planned_ns.load(Ordering::Relaxed) } else { 0 }
    }

    pub fn posted(&self) -> u64 {
        self.posted.load(Ordering::Relaxed)
    }

    /// A receiver that disconnects once everything said so far has been acted upon.
    pub fn barrier(&self) -> Receiver<()> {
        let (answer, done) = bounded(0);
        let _ = self.commands.send(Command::Barrier(answer));
        self.rouse();
        done
    }

    /// How much later than it meant to the shard would turn now.
    pub fn behind_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.planned_ns.load(Ordering::Relaxed))
    }

    /// Whether it has been woken since this was asked last; who sleeps takes note of it in the same way.
    #[cfg(test)]
    pub fn was_woken(&self) -> bool {
        self.wake.was_roused()
    }

    /// What a panic left here is good enough to close links with, and for nothing else.
    fn turns(&self, engine: &Inner) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(|poisoned| {
            engine.fail();
            poisoned.into_inner()
        })
    }

    /// One turn at the engine's present time.
    pub fn turn(&self, engine: &Inner) -> Next {
        self.turn_after(engine, None)
    }

    /// One turn after a sleep, which may have found sockets that are ready.
    fn turn_after(&self, engine: &Inner, found: Option<&Ready>) -> Next {
        let mut turns = self.turns(engine);
        let next = Turn { engine, shard: self, turns: &mut turns }.turn(found);
        self.plan(engine, next);
        if next != Next::Again {
            // Who waits for rest may look at the plan.
            turns.barriers.clear();
        }
        next
    }

    fn plan(&self, engine: &Inner, next: Next) {
        let planned_ns = match next {
            Next::Again => engine.clock.now_ns(),
            Next::At(Some(at_ns)) => at_ns,
            Next::At(None) | Next::Ended => u64::MAX,
        };
        self.planned_ns.store(planned_ns, Ordering::Relaxed);
    }

    /// What a shard's thread does until the engine stops.
    pub fn serve(&self, engine: &Inner) {
        let mut ready = Ready::default();
        let mut looked = false;
        loop {
            looked = match self.turn_after(engine, looked.then_some(&ready)) {
                Next::Ended => return,
                Next::Again => false,
                Next::At(at_ns) => self.sleep(engine, at_ns, &mut ready),
            }
        }
    }

    /// `true`: what is `ready` now was looked for.
    fn sleep(&self, engine: &Inner, at_ns: Option<u64>, ready: &mut Ready) -> bool {
        let manual = engine.clock.is_manual();
        if let Some(poller) = self.poller.get() {
            fence(Ordering::SeqCst);
            if self.wake.was_roused() {
                return false;
            }
            let left =
                at_ns.map(|at_ns| Duration::from_nanos(at_ns.saturating_sub(engine.clock.now_ns()).min(STRIDE_NS)));
            poller.wait(ready, left.filter(|_| !manual));
            return true;
        }
        let left_ns = at_ns.map_or(STRIDE_NS, |at_ns| at_ns.saturating_sub(engine.clock.now_ns()).min(STRIDE_NS));
        if manual || left_ns > 0 {
            self.wake.sleep((!manual).then(|| Duration::from_nanos(left_ns)));
        }
        false
    }

    /// Looks at a link after everything said so far has been acted upon.
    pub fn look<T>(
        &self,
        engine: &Inner,
        key: Key,
        look: impl FnOnce(&Row, &Words<'_>, Stamp) -> T,
    ) -> Result<T, Error> {
        let seen = self.attend(engine, |turns, now| {
            turns.rows.find(key).zip(self.table.find(key)).map(|(row, words)| look(row, &words, now))
        });
        seen.ok_or_else(Error::no_link)
    }

    /// Looks at what the shard knows after everything said so far has been acted upon; once the engine failed, at what it
    /// knew then.
    pub fn attend<T>(&self, engine: &Inner, look: impl FnOnce(&Turns, Stamp) -> T) -> T {
        let mut turns = self.turns(engine);
        if engine.has_failed() || turns.ended {
            return look(&turns, turns.clock.latest());
        }
        let mut turn = Turn { engine, shard: self, turns: &mut turns };
        turn.catch_up();
        let next = turn.plan();
        let seen = look(turn.turns, turn.turns.clock.latest());
        turn.hand_over();
        self.plan(engine, next);
        drop(turns);
        // What was heard may be due before the shard meant to turn.
        self.rouse();
        seen
    }
}

/// How long ago a link was last heard and last written to; `None`: never.
#[derive(Clone, Copy)]
pub struct Ages {
    pub received_ms: Option<u32>,
    pub sent_ms: Option<u32>,
}

impl Ages {
    pub fn of(row: &Row, words: &Words<'_>, now: Stamp) -> Self {
        let age = |word: &AtomicU32| {
            let at = Stamp(word.load(Ordering::Relaxed));
            (at != row.opened).then(|| now.since(at).max(0) as u32)
        };
        Self { received_ms: age(words.received), sent_ms: age(words.sent) }
    }
}

impl Error {
    pub(super) fn no_link() -> Self {
        Self::new(Code::NoLink, "the link is closed, was never opened, or belongs to another engine")
    }
}
