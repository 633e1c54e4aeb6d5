//! The scenario tables on the bare step function under a virtual clock, to the millisecond.

use crate::model::{Core, Model, Real};
use crate::scenario::{self, Scenario, What};
use hbeat::core::{Answered, Cause, Change, Context, Facts, Input, Notice, Output, Pause, Policy, Stamp};

/// What stands for time 0: most tables run across the wrap of the stamps.
const ORIGINS: [Stamp; 3] = [Stamp(1_000_000), Stamp(u32::MAX - 150_000), Stamp(u32::MAX - 5_000)];

#[test]
fn the_tables_hold_for_the_model() {
    run_all(|opened, origin| Box::new(Model::new(opened, origin)));
}

#[test]
fn the_tables_hold() {
    run_all(|opened, _| Box::new(Real::new(opened)));
}

fn run_all(link: impl Fn(Stamp, Stamp) -> Box<dyn Core>) {
    let tables =
        ["tests/scenarios", "tests/scenarios/core"].map(scenario::all).into_iter().flatten().collect::<Vec<_>>();
    let mut wrong = Vec::new();
    for table in &tables {
        for origin in ORIGINS {
            let told = Run::new(table, origin, link(origin.plus(table.opened as u32), origin)).log();
            let expected: Vec<String> = (table.lines.iter())
                .filter_map(|line| match &line.what {
                    What::Told(text) => Some(format!("{} > {text}", line.at)),
                    What::Do(_) => None,
                })
                .collect();
            if told != expected {
                wrong.push(format!(
                    "{}: {}\n  expected\n    {}\n  but was told\n    {}",
                    table.file,
                    table.name,
                    expected.join("\n    "),
                    told.join("\n    ")
                ));
                break;
            }
        }
    }
    println!("{} tables", tables.len());
    assert!(wrong.is_empty(), "{} of {} tables:\n\n{}", wrong.len(), tables.len(), wrong.join("\n\n"));
}

/// One table on one link, as an engine would drive it.
struct Run<'a> {
    table: &'a Scenario,
    link: Box<dyn Core>,
    origin: Stamp,
    policy: Policy,
    pause: Option<Pause>,
    now: u64,
    deadline: Option<Stamp>,
    received: Stamp,
    sent: Stamp,
    open_since: Option<Stamp>,
    facts: Facts,
    hung: bool,
    /// The notice that was given and not taken, and whether it was handed out.
    pending: Option<(Notice, bool)>,
    next_sequence: u32,
    log: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(table: &'a Scenario, origin: Stamp, link: Box<dyn Core>) -> Self {
        let opened = origin.plus(table.opened as u32);
        Self {
            table,
            link,
            origin,
            policy: Policy::parse(&table.policy).unwrap_or_else(|why| panic!("{}: {why:?}", table.name)),
            pause: None,
            now: table.opened,
            deadline: None,
            received: opened,
            sent: opened,
            open_since: None,
            facts: Facts { unread_bytes: Some(0), send_queue_full: Some(false), app_stuck: false, refused: None },
            hung: false,
            pending: None,
            next_sequence: 1,
            log: Vec::new(),
        }
    }

    fn log(mut self) -> Vec<String> {
        if !self.table.paused {
            self.give(Input::Start { at: self.stamp() });
        }
        for line in &self.table.lines {
            match &line.what {
                What::Told(_) => self.run_through(line.at),
                What::Do(text) => {
                    if line.at > self.now {
                        self.run_through(line.at - 1);
                    }
                    self.now = self.now.max(line.at);
                    self.act(text);
                }
            }
        }
        self.run_through(self.table.end);
        self.log
    }

    fn stamp(&self) -> Stamp {
        self.origin.plus(self.now as u32)
    }

    /// Lets the clock run up to and with that moment.
    fn run_through(&mut self, end: u64) {
        let mut turns = 0;
        while let Some(deadline) = self.deadline {
            let due = i64::from(deadline.since(self.origin));
            assert!(due >= self.now as i64, "{}: a deadline in the past", self.table.name);
            if due > end as i64 {
                break;
            }
            turns = if due as u64 == self.now { turns + 1 } else { 0 };
            assert!(turns < 100, "{}: the clock stands still at {due}", self.table.name);
            self.now = due as u64;
            self.give(Input::Tick);
        }
        self.now = self.now.max(end);
    }

    fn give(&mut self, input: Input) {
        let words = Input::Stamps { received: self.received, sent: self.sent, open_since: self.open_since };
        self.step(words);
        self.step(input);
    }

    fn step(&mut self, input: Input) {
        let context = Context {
            policy: &self.policy,
            seed: 7,
            ordinal: self.table.ordinal,
            tick_ms: 1,
            due_by: self.stamp(),
            pause: self.pause,
        };
        let out = self.link.step(&context, self.stamp(), input);
        self.deadline = out.deadline;
        self.tell(&out);
        if out.withdraw {
            self.pending = None;
        }
        if out.judge {
            self.step(Input::Judge(self.facts));
        }
        if let Some(notice) = out.notice {
            self.pending = Some((notice, false));
            if !self.hung {
                self.hand_out();
            }
        }
    }

    fn hand_out(&mut self) {
        if let Some((notice, false)) = self.pending {
            self.pending = Some((notice, true));
            self.give(Input::HandedOut { at: self.stamp() });
            if self.table.auto_take {
                self.take(None);
            }
        }
    }

    fn take(&mut self, sequence: Option<u32>) {
        let (notice, _) = self.pending.take().unwrap_or_else(|| panic!("{}: nothing to take", self.table.name));
        let sequence = sequence.or(notice.sequence).unwrap_or(self.next_sequence);
        self.next_sequence = self.next_sequence.max(sequence + 1);
        self.give(Input::Taken { sequence, at: self.stamp(), at_us: self.us() });
    }

    fn us(&self) -> u32 {
        (self.now as u32).wrapping_mul(1000)
    }

    fn act(&mut self, text: &str) {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let at = self.stamp();
        let number = || rest.parse::<u32>().unwrap_or_else(|_| panic!("{}: '{text}'", self.table.name));
        match word {
            "received" => self.received = at,
            "sent" => self.sent = at,
            "take" => self.take((!rest.is_empty()).then(number)),
            "really_sent" => self.give(Input::Sent { at }),
            "unsent" => self.give(Input::Unsent { at }),
            "beat_sent" => {
                self.give(Input::Tick);
                self.give(Input::BeatSent { sequence: number(), at, at_us: self.us() });
            }
            "answer" => self.give(Input::Answer { sequence: number(), at, at_us: self.us() }),
            "beat" => self.give(Input::BeatReceived { at }),
            "stuck_beat" => self.give(Input::PeerStuck { at }),
            "policed" => self.give(Input::Policed),
            "report" => self.give(Input::Report(cause(rest))),
            "desync" => self.give(Input::Desync),
            "start" => self.give(Input::Start { at: self.stamp() }),
            "pause" => self.give(Input::Pause),
            "policy" => {
                let old = std::mem::replace(&mut self.policy, Policy::parse(rest).unwrap());
                self.give(Input::Policy(old));
            }
            "unread" => self.facts.unread_bytes = Some(number()),
            "app_stuck" => self.facts.app_stuck = rest == "1",
            "refused" => self.facts.refused = (rest != "none").then(|| cause(rest)),
            "full" => self.facts.send_queue_full = Some(rest == "1"),
            "open_message" => {
                self.open_since = Some(at);
                self.give(Input::Tick);
            }
            "close_message" => self.open_since = None,
            "hang" => self.hung = true,
            "unhang" => {
                self.hung = false;
                self.hand_out();
            }
            "stop_process" => self.stop_process(u64::from(number())),
            _ => panic!("{}: '{text}'", self.table.name),
        }
    }

    fn stop_process(&mut self, ms: u64) {
        self.now += ms;
        let late = self.deadline.map_or(0, |deadline| self.stamp().since(deadline));
        if late > 500 {
            let epoch = self.pause.map_or(0, |pause| pause.epoch.wrapping_add(1));
            self.pause = Some(Pause { epoch, ended: self.stamp(), length_ms: late as u32 });
        }
        self.give(Input::Tick);
    }

    fn tell(&mut self, out: &Output) {
        let tries = self.link.evidence().misses;
        let mut lines = Vec::new();
        match out.answered {
            Some(Answered::Matched { rtt_us: Some(rtt) }) => lines.push(format!("MATCHED rtt={}", rtt / 1000)),
            Some(Answered::Matched { rtt_us: None }) => lines.push("MATCHED".to_owned()),
            Some(Answered::Late) => lines.push("LATE".to_owned()),
            Some(Answered::Unmatched) => lines.push("UNMATCHED".to_owned()),
            None => {}
        }
        for (happened, name) in [
            (out.local_reader_late, "LOCAL_READER_LATE"),
            (out.partial_frame, "PARTIAL_FRAME"),
            (out.app_not_responding, "APP_NOT_RESPONDING"),
        ] {
            if happened {
                lines.push(name.to_owned());
            }
        }
        match out.change {
            Some(Change::Up) => lines.push("UP".to_owned()),
            Some(Change::Suspect { left }) => lines.push(format!("SUSPECT left={left}")),
            Some(Change::WouldBeDown(cause)) => {
                lines.push(format!("WOULD_BE_DOWN cause={} tries={tries}", name(cause)))
            }
            Some(Change::Down(cause)) => lines.push(format!("DOWN cause={} tries={tries}", name(cause))),
            None => {}
        }
        if let Some(notice) = out.notice {
            let again = notice.sequence.map_or(String::new(), |sequence| format!(" seq={sequence}"));
            lines.push(format!("SEND try={}{again}", notice.attempt));
        }
        self.log.extend(lines.into_iter().map(|line| format!("{} > {line}", self.now)));
    }
}

const CAUSES: [(Cause, &str); 14] = [
    (Cause::NoAnswer, "no_answer"),
    (Cause::Silent, "silent"),
    (Cause::SendStuck, "send_stuck"),
    (Cause::Refused, "refused"),
    (Cause::Reset, "reset"),
    (Cause::ClosedByPeer, "closed_by_peer"),
    (Cause::Unreachable, "unreachable"),
    (Cause::Desync, "desync"),
    (Cause::PartialFrame, "partial_frame"),
    (Cause::ProtocolError, "protocol_error"),
    (Cause::Unauthenticated, "unauthenticated"),
    (Cause::Policed, "policed"),
    (Cause::PeerAppNotResponding, "peer_app_not_responding"),
    (Cause::Reported, "reported"),
];

fn name(cause: Cause) -> &'static str {
    CAUSES.iter().find(|row| row.0 == cause).unwrap().1
}

fn cause(name: &str) -> Cause {
    CAUSES.iter().find(|row| row.1 == name).unwrap_or_else(|| panic!("no cause '{name}'")).0
}
