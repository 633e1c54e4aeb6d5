//! Random policies and histories: the real link and the naive model do the same at every step, and both keep
//! what no link may ever break.

use crate::model::{Core, Model, Real};
use hbeat::core::{
    Answered, Cause, Change, Context, Facts, IdleOn, Input, NoProgress, Notice, Output, Pause, Policy, Proof, Resend,
    Stamp, State, Strategy,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Move {
    Wait(u32),
    /// To the deadline.
    Due,
    /// So much past it.
    Past(u32),
    /// Our process stands still for so long.
    Stop(u32),
    Received,
    OwnSend,
    OpenMessage,
    CloseMessage,
    HandOut(u32),
    Take,
    Sent,
    Unsent,
    /// The application's own heartbeat sends a beat, again or a new one; seen so long ago.
    BeatSent(bool, u32),
    /// To one of the latest sequences, stamped so long ago.
    Answer(u32, u32),
    Beat(u32),
    /// A frame in which the peer says that its application does not respond, stamped so long ago.
    StuckBeat(u32),
    Unread(bool),
    AppStuck(bool),
    Refused(bool),
    Full(bool),
    Policy(Policy),
    Start,
    Pause,
    Probe,
    Report,
    Desync,
    Policed,
}

fn a_policy() -> impl Strategy2<Value = Policy> {
    let times = (prop_oneof![1 => Just(0u32), 8 => 1..50u32], 1..50u32, 0..5u32, prop_oneof![Just(0u32), 1..90u32]);
    let flags = (
        (any::<bool>(), any::<bool>(), any::<bool>()),
        (prop::bool::weighted(0.8), any::<bool>(), prop::bool::weighted(0.2)),
    );
    let rest = (
        prop_oneof![2 => Just(0u32), 1 => 1..=25u32],
        prop_oneof![Just(0u32), 1..30u32],
        prop_oneof![Just(0u32), 1..100u32],
        prop_oneof![2 => Just(0u32), 1 => 1..4u32],
    );
    (times, flags, rest).prop_map(
        |((c, t, n, h), ((periodic, either, answer_only), (expected, same, observe_only)), rest)| {
            let (jitter_percent, partial_ms, late_reader_limit_ms, up_after) = rest;
            Policy {
                interval_ms: c,
                timeout_ms: t,
                tries: if expected && (c > 0 || h == 0) { n.max(1) } else { n },
                strategy: if periodic && c > 0 { Strategy::Periodic } else { Strategy::Idle },
                idle_on: if either && c > 0 && !periodic { IdleOn::Either } else { IdleOn::Received },
                proof: if answer_only && expected && n > 0 { Proof::Answer } else { Proof::Any },
                answer_expected: expected,
                answer: true,
                resend: if same { Resend::Same } else { Resend::New },
                hold_time_ms: if c == 0 || !expected { h.max(1) } else { h },
                jitter_percent,
                partial_ms,
                late_reader_limit_ms,
                up_after: if observe_only { 0 } else { up_after },
                observe_only,
                // None of the step function's business.
                least_ms: 0,
                strikes: 0,
                progress_ms: 0,
                on_no_progress: NoProgress::GoOn,
            }
        },
    )
}

/// Small times, and now and then times that a pause of ours or a failed write's second can tell apart.
fn a_scaled_policy() -> impl Strategy2<Value = Policy> {
    (a_policy(), prop_oneof![4 => Just(1u32), 1 => Just(37u32)]).prop_map(|(policy, scale)| {
        let policy = Policy {
            interval_ms: policy.interval_ms * scale,
            timeout_ms: policy.timeout_ms * scale,
            hold_time_ms: policy.hold_time_ms * scale,
            ..policy
        };
        within_limits(policy)
    })
}

/// What `Policy::check` asks for besides.
fn within_limits(mut policy: Policy) -> Policy {
    if policy.interval_ms == 0 || !policy.answer_expected {
        policy.hold_time_ms = policy.hold_time_ms.max(1);
    }
    if policy.tries == 1 && policy.jitter_percent > 0 {
        policy.jitter_percent = policy.jitter_percent.max(10);
    }
    if policy.late_reader_limit_ms > 0 {
        policy.late_reader_limit_ms = policy.late_reader_limit_ms.max(policy.timeout_ms);
    }
    policy.partial_ms = policy.partial_ms.min(policy.detection().latest_ms);
    assert_eq!(policy.check(), Ok(()), "{policy:?}");
    policy
}

fn a_move() -> impl Strategy2<Value = Move> {
    prop_oneof![
        6 => (0..30u32).prop_map(Move::Wait),
        12 => Just(Move::Due),
        4 => (0..4u32).prop_map(Move::Past),
        1 => (0..300u32).prop_map(Move::Past),
        1 => (400..2000u32).prop_map(Move::Stop),
        4 => Just(Move::Received),
        3 => Just(Move::OwnSend),
        1 => Just(Move::OpenMessage),
        1 => Just(Move::CloseMessage),
        8 => (0..8u32).prop_map(Move::HandOut),
        10 => Just(Move::Take),
        2 => Just(Move::Sent),
        2 => Just(Move::Unsent),
        8 => (prop::bool::weighted(0.3), 0..4u32).prop_map(|(again, ago)| Move::BeatSent(again, ago)),
        4 => (0..4u32, 0..6u32).prop_map(|(back, ago)| Move::Answer(back, ago)),
        2 => (0..6u32).prop_map(Move::Beat),
        3 => (0..6u32).prop_map(Move::StuckBeat),
        2 => any::<bool>().prop_map(Move::Unread),
        1 => any::<bool>().prop_map(Move::AppStuck),
        1 => any::<bool>().prop_map(Move::Refused),
        1 => any::<bool>().prop_map(Move::Full),
        1 => a_scaled_policy().prop_map(Move::Policy),
        1 => Just(Move::Start),
        1 => Just(Move::Probe),
        1 => prop::bool::weighted(0.3).prop_map(|pause| if pause { Move::Pause } else { Move::Start }),
        1 => prop::bool::weighted(0.2).prop_map(|report| if report { Move::Report } else { Move::Due }),
        1 => prop::bool::weighted(0.2).prop_map(|desync| if desync { Move::Desync } else { Move::Due }),
        1 => prop::bool::weighted(0.2).prop_map(|policed| if policed { Move::Policed } else { Move::Due }),
    ]
}

/// Both links, driven side by side as an engine would.
struct Pair {
    model: Model,
    real: Option<Real>,
    policy: Policy,
    ordinal: u32,
    tick_ms: u32,
    pause: Option<Pause>,
    origin: Stamp,
    now: Stamp,
    deadline: Option<Stamp>,
    received: Stamp,
    sent: Stamp,
    open_since: Option<Stamp>,
    facts: Facts,
    notice: Option<Notice>,
    taken: Vec<u32>,
    next_sequence: u32,
    policy_changed: bool,
    /// A beat out of turn is being asked for.
    asked: bool,
    /// The application takes each beat as soon as it is noticed.
    prompt: bool,
    /// The first notice of the running probe.
    probe_began: Option<Stamp>,
    downs: u32,
    /// When the application's own heartbeat sent its beats.
    beats_sent: Vec<Stamp>,
    history: Vec<String>,
}

impl Pair {
    fn new(policy: Policy, ordinal: u32, tick_ms: u32, origin: Stamp, prompt: bool, with_real: bool) -> Self {
        Self {
            model: Model::new(origin, origin),
            real: with_real.then(|| Real::new(origin)),
            policy,
            ordinal,
            tick_ms,
            pause: None,
            origin,
            now: origin,
            deadline: None,
            received: origin,
            sent: origin,
            open_since: None,
            facts: Facts { unread_bytes: Some(0), send_queue_full: Some(false), app_stuck: false, refused: None },
            notice: None,
            taken: Vec::new(),
            next_sequence: 1,
            policy_changed: false,
            asked: false,
            prompt,
            probe_began: None,
            downs: 0,
            beats_sent: Vec::new(),
            history: vec![format!("policy {policy:?}, ordinal {ordinal}, tick {tick_ms}")],
        }
    }

    fn ms(&self, stamp: Stamp) -> i32 {
        stamp.since(self.origin)
    }

    fn us(&self, stamp: Stamp) -> u32 {
        stamp.0.wrapping_mul(1000)
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{why}\n{}", self.history.join("\n"));
    }

    fn make(&mut self, one: &Move) {
        let recently = |ago: u32| self.now.minus(ago);
        match one.clone() {
            Move::Wait(ms) => self.wait_until(self.now.plus(ms)),
            Move::Due => self.wait_until(self.deadline.unwrap_or(self.now).latest(self.now)),
            Move::Past(ms) => {
                self.now = self.deadline.unwrap_or(self.now).latest(self.now).plus(ms);
                self.give(Input::Tick);
            }
            Move::Stop(ms) => {
                self.now = self.now.plus(ms);
                let late = self.deadline.map_or(0, |deadline| self.now.since(deadline));
                if late > 500 {
                    let epoch = self.pause.map_or(250, |pause| pause.epoch.wrapping_add(1));
                    self.pause = Some(Pause { epoch, ended: self.now, length_ms: late as u32 });
                }
                self.give(Input::Tick);
            }
            Move::Received => self.received = self.now,
            Move::OwnSend => self.sent = self.now,
            Move::OpenMessage => self.open_since = Some(self.now),
            Move::CloseMessage => self.open_since = None,
            Move::HandOut(late) => {
                if self.notice.is_some() {
                    self.wait_until(self.now.plus(late / 4 * late));
                    self.give(Input::HandedOut { at: self.now });
                }
            }
            Move::Take => {
                if let Some(notice) = self.notice.take() {
                    let sequence = notice.sequence.unwrap_or(self.next_sequence);
                    self.next_sequence = self.next_sequence.max(sequence + 1);
                    self.taken.push(sequence);
                    self.give(Input::Taken { sequence, at: self.now, at_us: self.us(self.now) });
                }
            }
            Move::Sent => self.give(Input::Sent { at: self.now }),
            Move::Unsent => self.give(Input::Unsent { at: self.now }),
            Move::BeatSent(again, ago) => {
                if self.policy.observe_only {
                    self.next_sequence += u32::from(!again);
                    // Told late, maybe, but in their order.
                    let at = self.beats_sent.last().map_or(recently(ago), |before| recently(ago).latest(*before));
                    let sequence = self.next_sequence;
                    self.taken.push(sequence);
                    self.beats_sent.push(at);
                    self.give(Input::Tick);
                    self.give(Input::BeatSent { sequence, at, at_us: self.us(at) });
                }
            }
            Move::Answer(back, ago) => {
                let sequence = self.taken.iter().rev().nth(back as usize).copied().unwrap_or(back);
                let at = recently(ago);
                self.give(Input::Answer { sequence, at, at_us: self.us(at) });
            }
            Move::Beat(ago) => self.give(Input::BeatReceived { at: recently(ago) }),
            Move::StuckBeat(ago) => self.give(Input::PeerStuck { at: recently(ago) }),
            Move::AppStuck(yes) => self.facts.app_stuck = yes,
            Move::Refused(yes) => self.facts.refused = yes.then_some(Cause::Unauthenticated),
            Move::Unread(yes) => self.facts.unread_bytes = Some(u32::from(yes)),
            Move::Full(yes) => self.facts.send_queue_full = Some(yes),
            Move::Policy(policy) => {
                let old = std::mem::replace(&mut self.policy, policy);
                self.policy_changed = true;
                self.history.push(format!("       from here on {policy:?}"));
                self.give(Input::Policy(old));
            }
            Move::Start => self.give(Input::Start { at: self.now.minus(self.now.0 % 3) }),
            Move::Pause => self.give(Input::Pause),
            Move::Probe => {
                self.give(Input::Tick);
                self.asked = true;
                self.give(Input::Probe);
                self.asked = false;
            }
            Move::Report => self.give(Input::Report(Cause::Reset)),
            Move::Desync => self.give(Input::Desync),
            Move::Policed => self.give(Input::Policed),
        }
    }

    /// Time goes on; what is due on the way is done on time.
    fn wait_until(&mut self, end: Stamp) {
        let mut turns = 0;
        while let Some(deadline) = self.deadline.filter(|deadline| !deadline.is_after(end)) {
            turns = if deadline == self.now { turns + 1 } else { 0 };
            if turns > 60 {
                self.fail("the clock stands still");
            }
            self.now = deadline;
            self.give(Input::Tick);
        }
        self.now = self.now.latest(end);
    }

    fn give(&mut self, input: Input) {
        self.step(Input::Stamps { received: self.received, sent: self.sent, open_since: self.open_since });
        self.step(input);
    }

    fn step(&mut self, input: Input) {
        let policy = self.policy;
        let context = Context {
            policy: &policy,
            seed: 42,
            ordinal: self.ordinal,
            tick_ms: self.tick_ms,
            due_by: self.now,
            pause: self.pause,
        };
        let before = self.model.evidence();
        self.history.push(format!("{:>6} {input:?}", self.ms(self.now)));
        let out = self.model.step(&context, self.now, input);
        let mut seen = self.model.evidence();
        self.history.push(format!("       model {} | {seen:?}", self.readable(&out)));
        if let Some(real) = self.real.as_mut() {
            let other = real.step(&context, self.now, input);
            let mut known = real.evidence();
            if other != out || { differ(&mut known, &mut seen) } {
                self.history.push(format!("       real  {} | {known:?}", self.readable(&other)));
                self.fail("model and link differ");
            }
        }
        self.check(before.state, &out);
        self.check_observed(input, &out);
        self.check_proof(before.proof, input, &out);
        self.deadline = out.deadline;
        if out.withdraw {
            self.notice = None;
        }
        if out.judge {
            self.step(Input::Judge(self.facts));
        }
        if out.notice.is_some() {
            self.notice = out.notice;
            if self.prompt {
                self.give(Input::HandedOut { at: self.now });
                self.make(&Move::Take);
            }
        }
    }

    /// The output, only what is in it, with its deadline counted from the origin.
    fn readable(&self, out: &Output) -> String {
        let mut words = vec![format!("deadline {:?}", out.deadline.map(|at| self.ms(at)))];
        words.extend(out.notice.map(|notice| format!("{notice:?}")));
        words.extend(out.change.map(|change| format!("{change:?}")));
        words.extend(out.answered.map(|answered| format!("{answered:?}")));
        for (happened, word) in [
            (out.judge, "judge"),
            (out.withdraw, "withdraw"),
            (out.local_reader_late, "local reader late"),
            (out.partial_frame, "partial frame"),
            (out.app_not_responding, "app not responding"),
        ] {
            if happened {
                words.push(word.to_owned());
            }
        }
        words.join(", ")
    }

    /// What holds whatever the model says.
    fn check(&mut self, before: State, out: &Output) {
        let state = self.model.evidence().state;
        let policy = &self.policy;
        if let Some(deadline) = out.deadline {
            let ahead = deadline.since(self.now);
            if !(0..=1 << 30).contains(&ahead) {
                self.fail("a deadline in the past or too far ahead");
            }
        }
        if before == State::Paused && (out.notice.is_some() || matches!(out.change, Some(Change::Suspect { .. }))) {
            self.fail("something happened to a paused link");
        }
        if before == State::Down && out.change.is_some() && (out.change != Some(Change::Up) || policy.up_after == 0) {
            self.fail("a change after DOWN");
        }
        match out.change {
            Some(Change::Down(cause)) => {
                self.downs += 1;
                let judged = matches!(cause, Cause::NoAnswer | Cause::SendStuck | Cause::PeerAppNotResponding);
                let needed = policy.tries * policy.timeout_ms;
                if let Some(began) = self.probe_began.filter(|_| judged && !self.policy_changed) {
                    if self.now.since(began) < needed as i32 - self.tick_ms as i32 {
                        self.fail("DOWN before the tries were used up");
                    }
                }
                let silence = self.now.since(self.model.evidence().proof);
                if cause == Cause::Silent && silence < policy.hold_time_ms as i32 {
                    self.fail("SILENT before the hold time");
                }
            }
            Some(Change::Up) => self.downs = 0,
            _ => {}
        }
        if self.downs > 1 {
            self.fail("two DOWN in one connection");
        }
        if let Some(notice) = out.notice.filter(|notice| notice.attempt == 1 && self.probe_began.is_none()) {
            let silence = self.now.since(self.model.evidence().proof);
            let earliest = policy.interval_ms * (100 - policy.jitter_percent) / 100;
            let by_proof = policy.strategy == Strategy::Idle && policy.idle_on == IdleOn::Received;
            let by_hold = policy.hold_time_ms > 0 && silence >= policy.hold_time_ms as i32;
            if by_proof && !by_hold && !self.asked && silence < earliest as i32 {
                self.fail(&format!("a beat before its time: {notice:?}"));
            }
            self.probe_began = Some(self.now);
        }
        if state != State::Suspect && out.notice.is_none() && (out.withdraw || self.ended(out)) {
            self.probe_began = None;
        }
    }

    /// Who only observes sends nothing, gives nobody up, and judges tries that were really made.
    fn check_observed(&mut self, input: Input, out: &Output) {
        let reported = matches!(input, Input::Report(_));
        if self.policy.observe_only {
            if out.notice.is_some() || out.app_not_responding {
                self.fail("a beat of our own on a link that is only observed");
            }
            if matches!(out.change, Some(Change::Down(_))) && !reported {
                self.fail("a link that is only observed was given up");
            }
        }
        let Some(Change::WouldBeDown(cause)) = out.change else { return };
        if !self.policy.observe_only {
            self.fail("WOULD_BE_DOWN of a link that is not only observed");
        }
        let proof = self.model.evidence().proof;
        let unanswered = self.beats_sent.iter().filter(|at| at.is_after(proof)).count();
        if cause == Cause::NoAnswer && unanswered < self.policy.tries as usize && !self.policy_changed {
            self.fail("fewer beats were sent than tries were missed");
        }
    }

    /// A sign of life from within the probe ends it, whatever happened to its clock.
    fn check_proof(&mut self, known: Stamp, input: Input, out: &Output) {
        let at = match input {
            Input::Answer { at, .. } if matches!(out.answered, Some(Answered::Matched { .. })) => at,
            Input::BeatReceived { at } if self.policy.proof == Proof::Any => at,
            _ => return,
        };
        let within = self.probe_began.is_some_and(|began| !began.is_after(at));
        if within && at.is_after(known) && self.model.evidence().state == State::Suspect {
            self.fail("SUSPECT in spite of a sign of life");
        }
    }

    fn ended(&self, out: &Output) -> bool {
        out.change.is_some() || !self.model.probing()
    }
}

/// Evidence is compared but for the last proof of a link that is down for good.
fn differ(a: &mut hbeat::core::Evidence, b: &mut hbeat::core::Evidence) -> bool {
    if a.state == State::Down {
        b.proof = a.proof;
    }
    a != b
}

use proptest::strategy::Strategy as Strategy2;

/// Policy, ordinal, tick, origin, whether it lies close to the wrap, prompt application, moves.
type History = (Policy, u32, u32, u32, bool, bool, Vec<Move>);

fn histories() -> impl Strategy2<Value = History> {
    (
        a_scaled_policy(),
        0..5u32,
        1..4u32,
        any::<u32>(),
        any::<bool>(),
        any::<bool>(),
        prop::collection::vec(a_move(), 1..60),
    )
}

fn run(history: History, with_real: bool) {
    let (policy, ordinal, tick_ms, origin, wrap, prompt, moves) = history;
    let origin = if wrap { Stamp(u32::MAX - origin % 300) } else { Stamp(origin) };
    let mut pair = Pair::new(policy, ordinal, tick_ms, origin, prompt, with_real);
    pair.give(Input::Start { at: origin });
    for one in &moves {
        pair.make(one);
    }
}

/// `PROPTEST_CASES` of them, 4000 unless set.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let set = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig { cases: if set { usual.cases } else { 4000 }, failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_model_keeps_the_invariants(history in histories()) {
        run(history, false);
    }

    #[test]
    fn link_and_model_agree(history in histories()) {
        run(history, true);
    }
}
