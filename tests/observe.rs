//! hbeat beside a heartbeat that works (R45), and its numbers (R43): one trace, shown to a link that carries the beats
//! and to one that only observes them, gives equal reports, and the counters are those of a log of the trace.

use hbeat::core::{Cause, Policy, State};
use hbeat::engine::{
    Counted, EVENTS_ALL, Engine, Event, EventKind, Info, LinkId, LinkOptions, Options, Run, TimeSource, Times,
};
use hbeat::wire::{Fields, Inbound, Owed, Protocol, Reader};
use proptest::prelude::*;
use std::time::Duration;

const MS: u64 = 1_000_000;
const START_NS: u64 = 5_000 * MS;

/// The peer as a history has it: how it treats the next beat, or what it does by itself.
#[derive(Clone, Debug)]
enum Peer {
    /// It answers the next beat after so long.
    Answers(u32),
    /// It leaves the next beat unanswered.
    IsSilent,
    /// After so long it sends a message that is no beat.
    Says(u32),
    /// After so long it tests us.
    Tests(u32),
    /// After so long an answer comes that nobody asked for.
    AnswersNothing(u32),
}

fn a_peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        3 => (0..150u32).prop_map(Peer::Answers),
        4 => Just(Peer::IsSilent),
        1 => (0..400u32).prop_map(Peer::Says),
        1 => (0..400u32).prop_map(Peer::Tests),
        1 => (0..400u32).prop_map(Peer::AnswersNothing),
    ]
}

fn policies() -> impl Strategy<Value = String> {
    (
        prop_oneof![Just("cmpp"), Just("normal jitter=0%")],
        (5..40u32).prop_map(|tens| tens * 10),
        (2..20u32).prop_map(|tens| tens * 10),
        1..5u32,
        any::<bool>(),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(preset, interval, timeout, tries, periodic, answers_only)| {
            let strategy = if periodic { "periodic" } else { "idle" };
            let proof = if answers_only { "answer" } else { "any" };
            format!(
                "{preset} interval={interval}ms timeout={timeout}ms tries={tries} strategy={strategy} proof={proof}"
            )
        })
}

/// What went over the wire, as a log would have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Log {
    beats_sent: u64,
    answers_sent: u64,
    answers_came: u64,
    beats_received: u64,
    messages_received: u64,
    bytes_received: u64,
    messages_sent: u64,
    bytes_sent: u64,
}

/// An engine that the application drives, one link that beats and one that watches it.
struct Bench {
    engine: Engine,
    protocol: Protocol,
    beating: LinkId,
    observing: LinkId,
    /// Reads what goes out, as a recorder on the wire would.
    recorder: Reader,
    sequence: u32,
    log: Log,
    told: Vec<Event>,
}

impl Bench {
    fn new(policy: &str, protocol: Protocol) -> Self {
        let options = Options {
            run: Run::Application,
            clock: TimeSource::Manual(START_NS),
            events: EVENTS_ALL,
            ..Options::default()
        };
        let engine = Engine::new(options).unwrap();
        let open = |policy: &str| {
            let how = LinkOptions { protocol, ..LinkOptions::default() };
            engine.open(&Policy::parse(policy).unwrap(), &how).unwrap()
        };
        let beating = open(policy);
        let observing = open(&format!("{policy} observe_only=yes"));
        let recorder = Reader::new(protocol).unwrap();
        // The opens are heard: the next deadline is the first beat's.
        engine.drive(START_NS).unwrap();
        let (log, told) = (Log::default(), Vec::new());
        Self { engine, protocol, beating, observing, recorder, sequence: 1, log, told }
    }

    fn now_ns(&self) -> u64 {
        self.engine.now_ns()
    }

    /// Up to and with `to_ns`. Beats are taken and written at once; `seen` gets their numbers.
    fn go(&mut self, to_ns: u64, seen: &mut Vec<u32>) {
        for _ in 0..10_000 {
            let due = self.engine.next_deadline().unwrap().filter(|&due_ns| due_ns <= to_ns);
            let at_end = due.is_none() && self.now_ns() == to_ns;
            self.engine.drive(due.unwrap_or(to_ns).max(self.now_ns())).unwrap();
            if !self.pull(seen) && at_end && self.engine.next_deadline().unwrap().is_none_or(|due_ns| due_ns > to_ns) {
                return;
            }
        }
        panic!("the clock stands still");
    }

    /// Until a beat was written, or the link is over.
    fn go_to_beat(&mut self, seen: &mut Vec<u32>) {
        while seen.is_empty() && !self.is_over() {
            let Some(due_ns) = self.engine.next_deadline().unwrap() else { return };
            self.go(due_ns, seen);
        }
    }

    fn pull(&mut self, seen: &mut Vec<u32>) -> bool {
        let mut events = Vec::new();
        self.engine.wait(64, Some(Duration::ZERO), &mut |event| events.push(event.clone())).unwrap();
        for event in &events {
            assert!(event.link == Some(self.beating) || event.kind != EventKind::Send, "an observer that beats");
            if event.kind == EventKind::Send {
                self.write(seen);
            } else {
                self.told.push(event.clone());
            }
        }
        !events.is_empty()
    }

    /// The beating link's frames go out; the observer is shown them.
    fn write(&mut self, seen: &mut Vec<u32>) {
        let (now_ns, mut buffer) = (self.now_ns(), [0; 2048]);
        let taken = self.engine.take(self.beating, Some(&mut self.sequence), now_ns, &mut buffer).unwrap();
        let mut bytes = &buffer[..taken.length];
        // In pieces, as a socket takes them.
        for piece in bytes.chunks(7) {
            self.engine.feed_sent(self.observing, piece, now_ns).unwrap();
        }
        self.log.bytes_sent += taken.length as u64;
        while let Some(outbound) = self.recorder.next(&mut bytes).unwrap() {
            self.log.messages_sent += 1;
            match outbound {
                Inbound::Beat { sequence, .. } => {
                    self.log.beats_sent += 1;
                    seen.push(sequence);
                }
                Inbound::Answer { .. } => self.log.answers_sent += 1,
                _ => {}
            }
        }
        assert_eq!(self.engine.take(self.observing, None, now_ns, &mut buffer).unwrap().length, 0);
    }

    /// The peer's frame arrives at both.
    fn arrive(&mut self, frame: &[u8], seen: &mut Vec<u32>) {
        let now_ns = self.now_ns();
        self.log.messages_received += 1;
        self.log.bytes_received += frame.len() as u64;
        let owed = self.engine.feed(self.beating, frame, now_ns).unwrap();
        assert!(!self.engine.feed(self.observing, frame, now_ns).unwrap(), "an observer owes nothing");
        if owed {
            self.write(seen);
        }
    }

    fn answer(&mut self, sequence: u32, seen: &mut Vec<u32>) {
        let mut frame = [0; 64];
        let owed = Owed { sequence, ..Owed::default() };
        let length = self.protocol.answer(&owed, &Fields::default(), &mut frame).unwrap();
        self.log.answers_came += 1;
        self.arrive(&frame[..length], seen);
    }

    fn test(&mut self, seen: &mut Vec<u32>) {
        let mut frame = [0; 64];
        let length = self.protocol.beat(77, &Fields::default(), &mut frame).unwrap();
        self.log.beats_received += 1;
        self.arrive(&frame[..length], seen);
    }

    fn info(&self, link: LinkId) -> Info {
        self.engine.info(link).unwrap()
    }

    /// What one of the two was told of changes, in words in which a would-be verdict is a verdict.
    fn changes(&self, link: LinkId) -> Vec<(u64, EventKind, Option<Cause>, u32)> {
        let kinds = [EventKind::Suspect, EventKind::Up, EventKind::Down, EventKind::WouldBeDown, EventKind::Answer];
        let told = self.told.iter().filter(|event| event.link == Some(link) && kinds.contains(&event.kind));
        told.map(|event| {
            let kind = if event.kind == EventKind::WouldBeDown { EventKind::Down } else { event.kind };
            (event.at_ns, kind, event.cause, event.tries)
        })
        .collect()
    }

    fn is_over(&self) -> bool {
        self.told.iter().any(|event| event.kind == EventKind::Down)
    }
}

/// Plays a history until it or the beating link is over.
fn play(policy: &str, protocol: Protocol, history: &[Peer]) -> Bench {
    let mut bench = Bench::new(policy, protocol);
    let mut seen = Vec::new();
    for peer in history {
        // Never in the millisecond of a beat, in which nobody can tell what came first.
        let later = |ms: u32, bench: &Bench| (bench.now_ns() / MS + u64::from(ms)) / 10 * 10 * MS + 5 * MS;
        match *peer {
            Peer::Answers(ms) | Peer::Says(ms) | Peer::Tests(ms) | Peer::AnswersNothing(ms) => {
                if matches!(peer, Peer::Answers(_)) {
                    bench.go_to_beat(&mut seen);
                }
                let to_ns = later(ms, &bench).max(bench.now_ns());
                bench.go(to_ns, &mut seen);
            }
            Peer::IsSilent => {
                seen.clear();
                bench.go_to_beat(&mut seen);
            }
        }
        if bench.is_over() {
            break;
        }
        match *peer {
            Peer::Answers(_) => seen.pop().into_iter().for_each(|sequence| bench.answer(sequence, &mut seen)),
            Peer::IsSilent => {}
            Peer::Says(_) if protocol == Protocol::Cmpp => {
                let submit = [0, 0, 0, 16, 0, 0, 0, 4, 0, 0, 0, 9, 1, 2, 3, 4];
                bench.arrive(&submit, &mut seen);
            }
            Peer::Says(_) | Peer::Tests(_) => bench.test(&mut seen),
            Peer::AnswersNothing(_) => bench.answer(4_000_000_000, &mut seen),
        }
        bench.go(bench.now_ns(), &mut seen);
    }
    bench
}

/// `PROPTEST_CASES` of them, 600 unless set.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let set = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig { cases: if set { usual.cases } else { 600 }, failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn who_observes_reports_what_who_beats_reports(
        policy in policies(),
        heart in any::<bool>(),
        history in prop::collection::vec(a_peer(), 1..40),
    ) {
        let protocol = if heart { Protocol::Heart } else { Protocol::Cmpp };
        let bench = play(&policy, protocol, &history);
        prop_assert_eq!(bench.changes(bench.observing), bench.changes(bench.beating));
        let (beating, observing) = (bench.info(bench.beating), bench.info(bench.observing));
        prop_assert_eq!(observing.rtt, beating.rtt);
        prop_assert_eq!(observing.tries, beating.tries);
        let down = beating.state == State::Down;
        prop_assert_eq!(observing.state, if down { State::Suspect } else { beating.state });
        prop_assert_eq!((observing.cause, observing.would_be_downs), (beating.cause, u64::from(down)));
    }

    #[test]
    fn counters_are_those_of_a_log_of_the_wire(
        policy in policies(),
        heart in any::<bool>(),
        history in prop::collection::vec(a_peer(), 1..40),
    ) {
        let protocol = if heart { Protocol::Heart } else { Protocol::Cmpp };
        let bench = play(&policy, protocol, &history);
        let (log, beating, observing) = (bench.log, bench.info(bench.beating), bench.info(bench.observing));
        for info in [&beating, &observing] {
            prop_assert_eq!(info.beats_sent, log.beats_sent);
            prop_assert_eq!(info.answers_sent, log.answers_sent);
            prop_assert_eq!(info.beats_received, log.beats_received);
            prop_assert_eq!(info.messages_received, log.messages_received);
            prop_assert_eq!(info.bytes_received, log.bytes_received);
            prop_assert_eq!(info.answers_received + info.answers_late + info.answers_unmatched, log.answers_came);
            prop_assert_eq!(info.answers_dropped, 0);
        }
        prop_assert_eq!((observing.messages_sent, observing.bytes_sent), (log.messages_sent, log.bytes_sent));
        prop_assert_eq!((beating.messages_sent, beating.bytes_sent), (0, 0));
        adds_up(&bench);
    }
}

/// The engine's numbers are the sums of its links', also once they are closed.
fn adds_up(bench: &Bench) {
    let links = [bench.info(bench.beating), bench.info(bench.observing)];
    let sum = |count: fn(&Info) -> u64| links.iter().map(count).sum::<u64>();
    let check = || {
        let stats = bench.engine.stats().unwrap();
        for (what, expected) in [
            (Counted::BeatsSent, sum(|info| info.beats_sent)),
            (Counted::AnswersReceived, sum(|info| info.answers_received)),
            (Counted::AnswersLate, sum(|info| info.answers_late)),
            (Counted::AnswersUnmatched, sum(|info| info.answers_unmatched)),
            (Counted::BeatsReceived, sum(|info| info.beats_received)),
            (Counted::Misses, sum(|info| info.misses)),
            (Counted::WouldBeDowns, sum(|info| info.would_be_downs)),
            (Counted::AnswersSent, sum(|info| info.answers_sent)),
            (Counted::AnswersDropped, 0),
            (Counted::MessagesReceived, sum(|info| info.messages_received)),
            (Counted::BytesReceived, sum(|info| info.bytes_received)),
            (Counted::MessagesSent, sum(|info| info.messages_sent)),
            (Counted::BytesSent, sum(|info| info.bytes_sent)),
            (Counted::Opened, 2),
        ] {
            assert_eq!(stats[what], expected, "{what:?}");
        }
        let told = |kind| bench.told.iter().filter(|event| event.kind == kind).count() as u64;
        assert_eq!(stats[Counted::Suspects], told(EventKind::Suspect));
        assert_eq!(stats[Counted::Ups], told(EventKind::Up));
        let downs: u64 = Cause::ALL.into_iter().map(|cause| stats.downs(cause)).sum();
        assert_eq!(downs, told(EventKind::Down));
        stats
    };
    let before = check();
    let rtts = bench.engine.histogram(Times::Rtt).unwrap();
    assert_eq!(rtts.count(), sum(|info| info.rtt.map_or(0, |rtt| rtt.count.into())));
    assert_eq!(rtts.sum_us(), sum(|info| info.rtt.map_or(0, |rtt| rtt.sum_us)));
    let by_state = |stats: &hbeat::engine::Stats| State::ALL.map(|state| stats.links(state));
    assert_eq!(
        by_state(&before),
        State::ALL.map(|state| links.iter().filter(|info| info.state == state).count() as u32)
    );
    assert_eq!(before[Counted::Closed], 0);
    bench.engine.close(bench.beating).unwrap();
    bench.engine.close(bench.observing).unwrap();
    let after = check();
    assert_eq!((by_state(&after), after[Counted::Closed]), ([0; 5], 2));
}

#[test]
fn round_trip_times_are_those_of_the_trace() {
    let mut bench = Bench::new("normal jitter=0% interval=100ms timeout=60ms", Protocol::Cmpp);
    let mut seen = Vec::new();
    let rtts_ms = [3, 59, 0, 17];
    for rtt_ms in rtts_ms {
        bench.go_to_beat(&mut seen);
        bench.go(bench.now_ns() + rtt_ms * MS, &mut seen);
        let sequence = seen.pop().unwrap();
        bench.answer(sequence, &mut seen);
        bench.go(bench.now_ns(), &mut seen);
    }
    for link in [bench.beating, bench.observing] {
        let rtt = bench.info(link).rtt.unwrap();
        assert_eq!((rtt.last_us, rtt.min_us, rtt.max_us, rtt.count, rtt.sum_us), (17_000, 0, 59_000, 4, 79_000));
    }
    let histogram = bench.engine.histogram(Times::Rtt).unwrap();
    assert_eq!((histogram.count(), histogram.sum_us(), histogram.min_us()), (8, 158_000, 0));
    assert_eq!((histogram.below()[11], histogram.below()[12], histogram.below()[31]), (2, 4, 8));
}

#[test]
fn lateness_of_our_own_is_measured() {
    let mut bench = Bench::new("normal jitter=0% interval=100ms timeout=60ms", Protocol::Cmpp);
    let first_ns = bench.engine.next_deadline().unwrap().unwrap();
    bench.engine.drive(first_ns + 25 * MS).unwrap();
    let lateness = bench.engine.histogram(Times::Lateness).unwrap();
    // Only the one that beats had a deadline.
    assert_eq!((lateness.count(), lateness.sum_us()), (1, 25_000));
    assert!((24_700..=25_300).contains(&lateness.quantile_us(0.5)));
    bench.pull(&mut Vec::new());
    let next_ns = bench.engine.next_deadline().unwrap().unwrap();
    bench.engine.drive(next_ns).unwrap();
    let lateness = bench.engine.histogram(Times::Lateness).unwrap();
    assert_eq!((lateness.sum_us(), lateness.below()[0]), (25_000, lateness.count() - 1), "the others were on time");
}

#[test]
fn what_is_sent_counts_as_sent_and_own_beats_once() {
    let bench = Bench::new("normal jitter=0% interval=100ms timeout=60ms", Protocol::Cmpp);
    let due_ns = bench.engine.next_deadline().unwrap().unwrap();
    bench.engine.drive(due_ns).unwrap();
    let mut frame = [0; 64];
    let taken = bench.engine.take(bench.beating, None, 0, &mut frame).unwrap();
    // Who shows hbeat all that he writes shows it hbeat's own beats, too.
    bench.engine.feed_sent(bench.beating, &frame[..taken.length], due_ns).unwrap();
    let info = bench.info(bench.beating);
    assert_eq!((info.beats_sent, info.messages_sent, info.bytes_sent), (1, 1, 12));
    assert_eq!(info.last_sent_ms, Some(0));
    bench.engine.drive(due_ns + 5 * MS).unwrap();
    let submit = [0, 0, 0, 12, 0, 0, 0, 4, 0, 0, 0, 1];
    bench.engine.feed_sent(bench.beating, &submit, 0).unwrap();
    bench.engine.drive(due_ns + 7 * MS).unwrap();
    let info = bench.info(bench.beating);
    assert_eq!((info.last_sent_ms, info.messages_sent), (Some(2), 2));
}
