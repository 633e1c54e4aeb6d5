//! A naive model of one link, written from `docs/decisions.md` and the rules a–m of the design alone:
//! plain 64-bit milliseconds, plain `Vec`s and `Option`s, nothing packed, nothing clever.

mod acts;
mod terms;

use hbeat::core::{
    Cause, Change, Context, Evidence, Facts, IdleOn, Input, Link, Notice, Output, Policy, Proof, Resend, Side, Stamp,
    State,
};
use terms::{Copy, LateReader, Outstanding, Probe, Stage, Step};

/// No deadline lies further ahead than this.
const FARTHEST: i64 = 1 << 30;

/// What the real link and the model have in common.
pub trait Core {
    fn step(&mut self, context: &Context<'_>, now: Stamp, input: Input) -> Output;
    fn evidence(&self) -> Evidence;
}

/// The real link with what lies beside it.
pub struct Real {
    link: Link,
    side: Option<Box<Side>>,
}

impl Real {
    pub fn new(opened: Stamp) -> Self {
        Self { link: Link::new(opened), side: None }
    }
}

impl Core for Real {
    fn step(&mut self, context: &Context<'_>, now: Stamp, input: Input) -> Output {
        self.link.step(&mut self.side, context, now, input)
    }

    fn evidence(&self) -> Evidence {
        self.link.evidence()
    }
}

#[derive(Debug)]
pub struct Model {
    origin: Stamp,
    state: State,
    cause: Option<Cause>,
    proof: i64,
    sent: i64,
    open_since: Option<i64>,
    open_noted: bool,
    /// The peer said so, and gave no proof of life since.
    peer_stuck: Option<i64>,
    probe: Option<Probe>,
    copy: Option<Copy>,
    outstanding: Vec<Outstanding>,
    /// The sequence of the latest beat taken, while an Unsent may still take it back.
    last_taken: Option<u32>,
    sequence: Option<u32>,
    /// How many beats were due so far.
    beats: u32,
    last_one_way: Option<i64>,
    /// The next slot of the grid, before jitter, and whether it is the first.
    slot: i64,
    first_slot: bool,
    reader: LateReader,
    app_told: bool,
    app_look: Option<i64>,
    /// Nothing is due before this moment: grace after a pause of our own.
    not_before: i64,
    /// `None`: no step yet; `Some(None)`: no pause yet.
    epoch: Option<Option<u8>>,
    deadline: Option<i64>,
    interval_began: i64,
    streak: u32,
    down_misses: i64,
}

impl Model {
    /// A new link; `origin` is the stamp that plain time 0 stands for.
    pub fn new(opened: Stamp, origin: Stamp) -> Self {
        let at = i64::from(opened.since(origin));
        Self {
            origin,
            state: State::Paused,
            cause: None,
            proof: at,
            sent: at,
            open_since: None,
            open_noted: false,
            peer_stuck: None,
            probe: None,
            copy: None,
            outstanding: Vec::new(),
            last_taken: None,
            sequence: None,
            beats: 0,
            last_one_way: None,
            slot: 0,
            first_slot: false,
            reader: LateReader::default(),
            app_told: false,
            app_look: None,
            not_before: i64::MIN,
            epoch: None,
            deadline: None,
            interval_began: 0,
            streak: 0,
            down_misses: 0,
        }
    }

    /// Whether tries run.
    pub fn probing(&self) -> bool {
        self.probe.is_some()
    }

    fn plain(&self, stamp: Stamp) -> i64 {
        i64::from(stamp.since(self.origin))
    }

    fn stamp(&self, at: i64) -> Stamp {
        if at >= 0 { self.origin.plus(at as u32) } else { self.origin.minus(-at as u32) }
    }

    // ------------------------------------------------------------------ proof of life

    fn prove(&mut self, s: &mut Step<'_>, at: i64) {
        match self.probe {
            Some(probe) if at >= probe.first_due || (probe.moved && at > self.proof) => {
                self.end_probe(s);
                self.reader = LateReader::default();
            }
            None if at > self.proof => self.reader = LateReader::default(),
            _ => {}
        }
        self.proof = self.proof.max(at);
        if self.peer_stuck.is_some_and(|stuck| stuck <= at) {
            self.peer_stuck = None;
        }
    }

    fn end_probe(&mut self, s: &mut Step<'_>) {
        self.probe = None;
        self.cause = None;
        self.peer_stuck = None;
        self.withdraw(s);
        self.app_told = false;
        self.app_look = None;
        if self.state == State::Suspect {
            s.out.change = Some(Change::Up);
        }
        self.state = State::Up;
        if !s.slots_are_tries() {
            self.skip_slots(s, s.now);
        }
    }

    /// A beat that was noticed and not taken is no longer needed.
    fn withdraw(&mut self, s: &mut Step<'_>) {
        if let Some(copy) = self.copy.take() {
            if matches!(copy.stage, Stage::Noticed | Stage::HandedOut) {
                s.out.withdraw = true;
            }
        }
    }

    // ------------------------------------------------------------------ when a beat is due

    fn slot_due(&self, s: &Step<'_>) -> i64 {
        if self.first_slot { self.slot } else { self.slot - s.early(self.beats) }
    }

    /// Slots that lie before `moment` were missed.
    fn skip_slots(&mut self, s: &Step<'_>, moment: i64) {
        while s.periodic() && self.slot_due(s) < moment {
            self.slot += s.c();
            self.first_slot = false;
        }
    }

    /// The next beat by interval.
    fn beat_due(&self, s: &Step<'_>) -> Option<i64> {
        if s.observes() || s.c() == 0 || (self.probe.is_some() && !s.slots_are_tries()) {
            return None;
        }
        if s.periodic() {
            let earliest = if self.probe.is_some() { i64::MIN } else { self.not_before };
            return Some(self.slot_due(s).max(earliest));
        }
        let base = |stamp: i64| match self.last_one_way {
            Some(beat) => stamp.max(beat),
            None => stamp,
        };
        let mut due = base(self.proof);
        if s.policy.idle_on == IdleOn::Either {
            due = due.min(base(self.sent));
        }
        Some((due + s.c() - s.early(self.beats)).max(self.not_before))
    }

    /// The end of the hold time.
    fn hold_due(&self, s: &Step<'_>) -> Option<i64> {
        if s.observes() && s.policy.probes() {
            return None;
        }
        (s.h() > 0 && self.probe.is_none()).then(|| (self.proof + s.h()).max(self.not_before))
    }

    /// When the running probe has its next miss.
    fn miss_due(&self, s: &Step<'_>) -> Option<i64> {
        let probe = self.probe?;
        let last = probe.first_due + s.n().max(probe.misses + 1) * s.t();
        Some(if s.slots_are_tries() {
            (probe.first_due + (probe.misses + 1) * s.t()).min(last)
        } else if s.observes() {
            self.copy.map_or(last, |copy| copy.r + s.t())
        } else if probe.misses + 1 < s.n() {
            self.copy.map_or(last, |copy| (copy.r + s.t()).min(last))
        } else {
            last
        })
    }

    /// When something is to be judged: a miss, or the end of a hold without tries; and what made it wait.
    fn judgement_due(&self, s: &Step<'_>) -> Option<i64> {
        if self.exhausted() || (s.observes() && self.waits_for_a_beat()) {
            return None;
        }
        let plain = match self.probe {
            Some(_) => self.miss_due(s),
            None if !s.can_probe() => self.hold_due(s),
            None => None,
        }?;
        let waits = [self.reader.look, self.app_look];
        Some(waits.into_iter().flatten().fold(plain, i64::max))
    }

    /// With `observe_only`: what would be the verdict was told.
    pub(super) fn exhausted(&self) -> bool {
        self.cause.is_some() && self.state == State::Suspect
    }

    fn waits_for_a_beat(&self) -> bool {
        self.probe.is_some() && self.copy.is_some_and(|copy| copy.stage == Stage::Noticed)
    }

    fn partial_due(&self, s: &Step<'_>) -> Option<i64> {
        let since = self.open_since.filter(|_| !self.open_noted)?;
        Some(since + s.partial())
    }

    fn next(&self, s: &Step<'_>) -> Option<i64> {
        let due = match self.state {
            State::Paused | State::Connecting => None,
            State::Down => match s.up_interval() {
                0 => None,
                interval => Some(self.interval_began + interval),
            },
            State::Up | State::Suspect => {
                let waiting = self.copy.filter(|copy| copy.stage == Stage::Waiting).map(|copy| copy.due);
                let hold = self.hold_due(s).filter(|_| s.can_probe());
                [self.judgement_due(s), self.beat_due(s), hold, waiting, self.partial_due(s)]
                    .into_iter()
                    .flatten()
                    .min()
            }
        };
        due.map(|at| at.clamp(s.now, s.now + FARTHEST))
    }

    // ------------------------------------------------------------------ a beat

    fn new_copy(&mut self, s: &mut Step<'_>, due: i64) {
        self.copy = Some(Copy { due, stage: Stage::Noticed, r: due });
        self.beats = self.beats.wrapping_add(1);
        self.app_told = false;
        self.app_look = None;
        self.notice(s);
    }

    fn notice(&mut self, s: &mut Step<'_>) {
        if s.observes() {
            return;
        }
        s.out.notice = Some(match self.probe {
            Some(probe) => Notice {
                attempt: (probe.misses + 1) as u8,
                sequence: probe.sequence.filter(|_| s.policy.resend == Resend::Same),
            },
            None => Notice { attempt: 0, sequence: None },
        });
    }

    /// A beat by interval or by hold time, in a probe or not.
    fn beat(&mut self, s: &mut Step<'_>, due: i64) {
        let untaken = self.copy.is_some_and(|copy| !copy.taken());
        self.not_before = i64::MIN;
        if s.can_probe() && self.probe.is_none() {
            self.start_probe(s, due);
        } else if !untaken {
            self.new_copy(s, due);
        }
        if !s.can_probe() {
            self.last_one_way = Some(due);
        }
    }

    pub(super) fn start_probe(&mut self, s: &mut Step<'_>, due: i64) {
        self.not_before = i64::MIN;
        if s.policy.resend != Resend::Same {
            self.outstanding.retain(|one| s.now - one.sent <= s.t());
        }
        self.probe = Some(Probe { first_due: due, moved: false, misses: 0, sequence: None });
        self.new_copy(s, due);
    }

    fn tick(&mut self, s: &mut Step<'_>) {
        match self.state {
            State::Paused | State::Connecting => return,
            State::Down => return self.look_while_down(s),
            State::Up | State::Suspect => {}
        }
        if self.partial_due(s).is_some_and(|due| due <= s.now) {
            self.open_noted = true;
            s.out.partial_frame = true;
        }
        if self.judgement_due(s).is_some_and(|due| due <= s.now) {
            s.out.judge = true;
            return;
        }
        self.give_beats(s);
    }

    fn give_beats(&mut self, s: &mut Step<'_>) {
        if self.copy.is_some_and(|copy| copy.stage == Stage::Waiting && copy.due <= s.now) {
            let copy = self.copy.as_mut().unwrap();
            copy.stage = Stage::Noticed;
            copy.due = s.met(copy.due);
            copy.r = copy.due;
            self.notice(s);
        }
        let hold = self.hold_due(s).filter(|_| s.can_probe());
        let due = [self.beat_due(s), hold].into_iter().flatten().min();
        let Some(due) = due.filter(|due| *due <= s.now) else {
            return;
        };
        let met = s.met(due);
        self.beat_now(s, met);
    }

    /// A beat at `due`, which uses up the slot whose time has come.
    fn beat_now(&mut self, s: &mut Step<'_>, due: i64) {
        let by_slot = self.beat_due(s).is_some_and(|beat| beat <= s.now);
        self.beat(s, due);
        if by_slot && s.periodic() {
            self.slot += s.c();
            self.first_slot = false;
            self.skip_slots(s, s.now + 1);
        }
    }

    // ------------------------------------------------------------------ judgement

    fn judge(&mut self, s: &mut Step<'_>, facts: Facts) {
        if !matches!(self.state, State::Up | State::Suspect) {
            return;
        }
        if let Some(due) = self.judgement_due(s).filter(|due| *due <= s.now) {
            let moment = s.met(due);
            if !self.reader_holds(s, facts, moment) {
                self.verdict(s, facts, moment);
            }
        }
        if self.state != State::Down {
            self.give_beats(s);
        }
    }

    fn verdict(&mut self, s: &mut Step<'_>, facts: Facts, moment: i64) {
        match self.probe {
            Some(_) => self.miss(s, facts, moment),
            None if self.partial_open() => self.conclude(s, Cause::PartialFrame),
            None if self.peer_stuck.is_some() => self.conclude(s, Cause::PeerAppNotResponding),
            None => self.conclude(s, facts.refused.unwrap_or(Cause::Silent)),
        }
    }

    fn partial_open(&self) -> bool {
        self.open_since.is_some() && self.open_noted
    }

    /// Whether unread bytes, or bytes read just now, hold the judgement up.
    fn reader_holds(&mut self, s: &mut Step<'_>, facts: Facts, moment: i64) -> bool {
        let unread = facts.unread_bytes.unwrap_or(0) > 0 || facts.app_stuck;
        let held = self.reader.look.is_some();
        if unread {
            let found = *self.reader.found.get_or_insert(moment);
            let limit = found + s.reader_limit();
            if moment < limit {
                s.out.local_reader_late = !self.reader.told;
                self.reader.told = true;
                self.reader.look = Some((moment + s.t()).min(limit));
                self.reader.read = false;
                return true;
            }
        } else if !unread && held && !self.reader.read {
            self.reader.look = Some(moment + s.t());
            self.reader.read = true;
            return true;
        }
        self.reader.look = None;
        self.reader.read = false;
        false
    }

    /// The peer keeps its remaining tries.
    fn move_probe(&mut self, by: i64) {
        self.move_clock(by);
        if let Some(copy) = self.copy.as_mut() {
            copy.due += by;
            copy.r += by;
        }
    }

    fn move_clock(&mut self, by: i64) {
        if let Some(probe) = self.probe.as_mut() {
            probe.first_due += by;
            probe.moved |= by > 0;
        }
    }

    fn miss(&mut self, s: &mut Step<'_>, facts: Facts, moment: i64) {
        let copy = self.copy.expect("a probe has a copy");
        if copy.stage == Stage::Noticed {
            s.out.app_not_responding = !self.app_told;
            self.app_told = true;
            self.app_look = Some(moment + s.t());
            return;
        }
        // Found late, or held up: that must not shorten the time of the tries to come.
        let late = moment - self.miss_due(s).expect("a probe has a next miss");
        if copy.stage == Stage::Waiting {
            // Its notice keeps its moment.
            self.move_clock(late);
        } else {
            self.move_probe(late);
        }
        let copy = self.copy.expect("a probe has a copy");
        let probe = self.probe.as_mut().expect("a miss belongs to a probe");
        probe.misses += 1;
        let time_is_up = !s.observes() && moment >= probe.first_due + s.n() * s.t();
        if probe.misses >= s.n() || time_is_up {
            let cause = if self.partial_open() {
                Cause::PartialFrame
            } else if self.peer_stuck.is_some() {
                Cause::PeerAppNotResponding
            } else if !copy.taken() || facts.send_queue_full == Some(true) {
                Cause::SendStuck
            } else {
                facts.refused.unwrap_or(Cause::NoAnswer)
            };
            return self.conclude(s, cause);
        }
        self.state = State::Suspect;
        s.out.change = Some(Change::Suspect { left: (s.n() - probe.misses) as u8 });
        match copy.stage {
            Stage::Taken { .. } if !s.slots_are_tries() => self.new_copy(s, moment),
            Stage::Taken { .. } if s.observes() => self.new_copy(s, moment + s.c()),
            Stage::HandedOut => self.copy = Some(Copy { due: moment, r: moment, ..copy }),
            _ => {}
        }
    }

    fn conclude(&mut self, s: &mut Step<'_>, cause: Cause) {
        if !s.observes() {
            return self.down(s, cause);
        }
        if self.exhausted() || !matches!(self.state, State::Up | State::Suspect) {
            return;
        }
        self.withdraw(s);
        if self.probe.is_none() {
            self.probe = Some(Probe { first_due: s.now, moved: true, misses: 0, sequence: None });
            self.not_before = i64::MIN;
        }
        self.app_told = false;
        self.app_look = None;
        self.reader = LateReader::default();
        self.state = State::Suspect;
        self.cause = Some(cause);
        s.out.change = Some(Change::WouldBeDown(cause));
    }

    fn down(&mut self, s: &mut Step<'_>, cause: Cause) {
        self.down_misses = self.probe.map_or(0, |probe| probe.misses);
        self.withdraw(s);
        self.probe = None;
        self.peer_stuck = None;
        self.app_look = None;
        self.reader = LateReader::default();
        self.not_before = i64::MIN;
        self.state = State::Down;
        self.cause = Some(cause);
        self.interval_began = s.now;
        self.streak = 0;
        s.out.change = Some(Change::Down(cause));
    }

    /// `up_after`: an interval ends with a look, and the next one begins with a try.
    fn look_while_down(&mut self, s: &mut Step<'_>) {
        let interval = s.up_interval();
        let due = self.interval_began + interval;
        if interval == 0 || due > s.now {
            return;
        }
        self.streak = if self.proof > self.interval_began { self.streak + 1 } else { 0 };
        self.interval_began = s.met(due);
        if self.streak >= s.policy.up_after {
            self.withdraw(s);
            self.state = State::Up;
            self.cause = None;
            self.down_misses = 0;
            self.last_one_way = None;
            s.out.change = Some(Change::Up);
            self.skip_slots(s, s.now);
        } else if self.copy.is_none_or(|copy| copy.taken()) && (s.policy.answer_expected || s.c() > 0) {
            self.new_copy(s, self.interval_began);
        }
    }

    // ------------------------------------------------------------------ pauses and policies

    /// Our own pause: one grace for each link that was armed before it.
    fn grace(&mut self, s: &Step<'_>) {
        let epoch = s.context.pause.map(|pause| pause.epoch);
        let before = self.epoch.replace(epoch);
        let due = match self.probe {
            Some(_) => self.miss_due(s),
            None => [self.beat_due(s), self.hold_due(s)].into_iter().flatten().min(),
        };
        let (Some(before), Some(pause), Some(deadline)) = (before, s.context.pause, due) else {
            return;
        };
        if self.exhausted() || !matches!(self.state, State::Up | State::Suspect) {
            return;
        }
        if before == epoch || (s.t() / 2).max(500) >= i64::from(pause.length_ms) {
            return;
        }
        let moved = deadline.max(self.plain(pause.ended)) + s.t();
        if self.probe.is_some() {
            let by = moved - deadline;
            self.move_probe(by);
            // Nobody knows how long answers took that came meanwhile.
            for one in &mut self.outstanding {
                one.sent += by;
                one.sends += 1;
            }
            for look in [&mut self.reader.look, &mut self.app_look] {
                *look = look.map(|at| at + by);
            }
        } else {
            self.not_before = moved;
        }
        self.skip_slots(s, moved);
    }

    fn start(&mut self, s: &Step<'_>, at: i64) {
        self.state = State::Up;
        self.proof = self.proof.max(at);
        self.sent = self.sent.max(at);
        self.reader = LateReader::default();
        self.slot = s.new_grid(at);
        self.first_slot = true;
        self.not_before = i64::MIN;
        self.last_one_way = None;
    }

    fn pause(&mut self, s: &mut Step<'_>) {
        self.state = State::Paused;
        self.cause = None;
        self.probe = None;
        self.peer_stuck = None;
        self.app_told = false;
        self.app_look = None;
        self.reader = LateReader::default();
        self.withdraw(s);
    }

    fn new_policy(&mut self, s: &mut Step<'_>, old: &Policy) {
        if !matches!(self.state, State::Up | State::Suspect) {
            return;
        }
        if old.answer_expected != s.policy.answer_expected {
            self.last_one_way = None;
        }
        if old.strategy != s.policy.strategy || old.interval_ms != s.policy.interval_ms {
            self.slot = s.new_grid(s.now);
            self.first_slot = true;
        }
        if old.observe_only != s.policy.observe_only {
            self.withdraw(s);
            if self.probe.is_some() {
                return self.end_probe(s);
            }
        }
        if self.exhausted() {
            return;
        }
        let asks = |policy: &Policy| policy.answer_expected && policy.tries > 0;
        if self.probe.is_none() && asks(old) != asks(s.policy) {
            self.withdraw(s);
        }
        if self.probe.is_some() && !s.can_probe() {
            return self.end_probe(s);
        }
        let (Some(probe), Some(copy)) = (self.probe.as_mut(), self.copy.as_mut()) else {
            return;
        };
        let miss = (copy.r + s.t()).max(s.now);
        copy.r = miss - s.t();
        probe.first_due = copy.r - probe.misses * s.t();
        probe.moved = true;
        self.reader.look = None;
        self.app_look = None;
    }
}

impl Core for Model {
    fn step(&mut self, context: &Context<'_>, now: Stamp, input: Input) -> Output {
        let now = self.plain(now);
        let mut s = Step { policy: context.policy, context, now, out: Output::default() };
        let plain = |stamp: Stamp| i64::from(stamp.since(self.origin)).min(now);
        if let Input::Stamps { received, sent, open_since } = input {
            let (received, sent, open_since) = (plain(received), plain(sent), open_since.map(plain));
            self.stamps(&mut s, received, sent, open_since);
        }
        self.grace(&s);
        let plain = |stamp: Stamp| i64::from(stamp.since(self.origin)).min(now);
        let running = matches!(self.state, State::Up | State::Suspect);
        match input {
            Input::Stamps { .. } => {}
            Input::Start { at } if self.state == State::Paused => self.start(&s, plain(at)),
            Input::Pause if running => self.pause(&mut s),
            Input::Probe if running && self.probe.is_none() && !s.policy.observe_only => self.beat_now(&mut s, now),
            Input::Start { .. } | Input::Pause | Input::Probe => {}
            Input::Answer { sequence, at, at_us } => self.answer(&mut s, sequence, plain(at), at_us),
            Input::BeatReceived { at } if s.policy.proof == Proof::Any => self.prove(&mut s, plain(at)),
            Input::BeatReceived { .. } => {}
            Input::PeerStuck { at } if running && plain(at) >= self.proof => self.peer_stuck = Some(plain(at)),
            Input::PeerStuck { .. } => {}
            Input::HandedOut { at } => self.handed_out(&s, plain(at)),
            Input::Taken { sequence, at, at_us } => self.taken(&s, sequence, plain(at), at_us),
            Input::BeatSent { sequence, at, at_us } => self.beat_sent(&mut s, sequence, plain(at), at_us),
            Input::Sent { at } => self.really_sent(&s, plain(at)),
            Input::Unsent { at } => self.unsent(&s, plain(at)),
            Input::Report(cause) if self.state != State::Down => self.down(&mut s, cause),
            Input::Desync if self.state != State::Down => self.conclude(&mut s, Cause::Desync),
            Input::Policed if running => self.conclude(&mut s, Cause::Policed),
            Input::Report(_) | Input::Desync | Input::Policed => {}
            Input::Policy(old) => self.new_policy(&mut s, &old),
            Input::Tick => self.tick(&mut s),
            Input::Judge(facts) => self.judge(&mut s, facts),
        }
        self.deadline = self.next(&s);
        s.out.deadline = self.deadline.map(|at| self.stamp(at));
        s.out
    }

    fn evidence(&self) -> Evidence {
        Evidence {
            state: self.state,
            cause: self.cause,
            proof: self.stamp(self.proof),
            misses: self.probe.map_or(self.down_misses, |probe| probe.misses) as u8,
            sequence: self.sequence,
        }
    }
}
