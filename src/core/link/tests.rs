//! What the scenario tables cannot show: size, memory beside the link, and totality.

use super::*;
use crate::core::policy::tests::any_policy;
use crate::core::step::{Answered, Pause};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_oneof, proptest};
use proptest::strategy::Strategy as _;

const _: () = assert!(size_of::<Link>() <= 48);

/// So that stories cross the wrap of core time.
const BEGIN: Stamp = Stamp(u32::MAX - 20_000);

/// C 10 s, T 4 s, N 3.
fn plain(more: &str) -> Policy {
    Policy::parse(&format!("normal jitter=0% interval=10s timeout=4s {more}")).unwrap()
}

struct Story {
    link: Link,
    side: Option<Box<Side>>,
    policy: Policy,
    pause: Option<Pause>,
    now: Stamp,
    next: u32,
}

impl Story {
    fn new(policy: Policy) -> Self {
        let mut story = Self { link: Link::new(BEGIN), side: None, policy, pause: None, now: BEGIN, next: 1 };
        story.give(0, Input::Start { at: BEGIN });
        story
    }

    /// Gives an input at a moment counted from the beginning.
    fn give(&mut self, at_ms: u32, input: Input) -> Output {
        self.now = BEGIN.plus(at_ms);
        let context =
            Context { policy: &self.policy, seed: 7, ordinal: 3, tick_ms: 1, due_by: self.now, pause: self.pause };
        self.link.step(&mut self.side, &context, self.now, input)
    }

    /// Lets the time come, judging if asked to, and takes the beat that may be due.
    fn turn(&mut self, at_ms: u32, facts: Facts) -> Output {
        let mut output = self.give(at_ms, Input::Tick);
        if output.judge {
            output = self.give(at_ms, Input::Judge(facts));
        }
        if output.notice.is_some() {
            let at = self.now;
            self.give(at_ms, Input::HandedOut { at });
            self.take(at_ms);
        }
        output
    }

    fn take(&mut self, at_ms: u32) {
        let (sequence, at) = (self.next, BEGIN.plus(at_ms));
        self.next += 1;
        self.give(at_ms, Input::Taken { sequence, at, at_us: 0 });
    }

    fn answer(&mut self, at_ms: u32, sequence: u32) -> Option<Answered> {
        let at = BEGIN.plus(at_ms);
        self.give(at_ms, Input::Answer { sequence, at, at_us: 5 }).answered
    }

    fn stamps(&mut self, at_ms: u32, received_ms: u32, open_since: Option<Stamp>) -> Output {
        let received = BEGIN.plus(received_ms);
        let sent = BEGIN;
        self.give(at_ms, Input::Stamps { received, sent, open_since })
    }
}

const MATCHED: Option<Answered> = Some(Answered::Matched { rtt_us: Some(5) });

fn unread(bytes: u32) -> Facts {
    Facts { unread_bytes: Some(bytes), ..Facts::default() }
}

#[test]
fn a_usual_link_needs_nothing_beside_it() {
    let mut story = Story::new(plain("tries=1"));
    for round in 1..5 {
        let due = round * 10_000;
        assert!(story.turn(due, Facts::default()).notice.is_some());
        assert_eq!(story.answer(due, round), MATCHED);
        assert!(story.side.is_none());
    }
}

#[test]
fn beats_whose_answers_are_never_told_need_nothing_beside_the_link() {
    let mut story = Story::new(plain(""));
    let mut heard = 0;
    for round in 1..5 {
        assert!(story.turn(heard + 10_000, Facts::default()).notice.is_some());
        assert!(story.side.is_none());
        heard += 10_500;
        story.stamps(heard, heard, None);
        if round == 4 {
            assert_eq!(story.answer(heard, 3), Some(Answered::Unmatched), "its time was over when the next was due");
            assert_eq!(story.answer(heard, 4), MATCHED);
        }
    }
}

#[test]
fn kept_numbers_need_nothing_beside_the_link() {
    let mut story = Story::new(plain("resend=same"));
    for at in [10_000, 14_000, 18_000, 22_000] {
        story.turn(at, Facts::default());
        assert!(story.side.is_none());
    }
    assert_eq!(story.link.state, State::Down);
}

#[test]
fn several_outstanding_beats_lie_beside_the_link_until_one_is_answered() {
    let mut story = Story::new(plain(""));
    story.turn(10_000, Facts::default());
    story.turn(14_000, Facts::default());
    assert_eq!(story.side.as_ref().unwrap().older.len(), 1);
    assert_eq!(story.answer(14_000, 1), MATCHED);
    assert!(story.side.is_none());
}

#[test]
fn at_most_as_many_as_tries_are_outstanding() {
    let mut story = Story::new(plain(""));
    for _ in 0..9 {
        story.take(0);
    }
    assert_eq!(story.side.as_ref().unwrap().older.len(), 2);
    assert_eq!(story.answer(1, 6), Some(Answered::Unmatched));
    assert_eq!(story.answer(1, 7), MATCHED);
}

#[test]
fn an_unfinished_message_is_forgotten_when_it_ends() {
    let mut story = Story::new(plain(""));
    story.stamps(1_000, 0, Some(BEGIN.plus(900)));
    assert!(story.side.is_some());
    assert!(story.turn(4_900, Facts::default()).partial_frame);
    story.stamps(5_000, 5_000, None);
    assert!(story.side.is_none());
}

#[test]
fn a_late_reader_is_forgotten_with_the_next_proof() {
    let mut story = Story::new(plain(""));
    story.turn(10_000, Facts::default());
    assert!(story.turn(14_000, unread(9)).local_reader_late);
    assert!(story.side.is_some());
    story.stamps(14_500, 14_400, None);
    assert!(story.side.is_none());
    assert_eq!(story.link.evidence().proof, BEGIN.plus(14_400));
}

#[test]
fn a_hang_is_forgotten_when_the_notice_is_handed_out() {
    let mut story = Story::new(plain(""));
    story.give(10_000, Input::Tick);
    assert!(story.turn(14_000, Facts::default()).app_not_responding);
    assert!(story.side.is_some());
    let at = BEGIN.plus(30_000);
    let output = story.give(30_000, Input::HandedOut { at });
    assert!(story.side.is_none());
    assert_eq!(output.deadline, Some(at.plus(4_000)));
}

#[test]
fn a_failed_write_needs_nothing_beside_the_link() {
    let mut story = Story::new(plain(""));
    story.turn(10_000, Facts::default());
    let at = BEGIN.plus(10_001);
    let output = story.give(10_001, Input::Unsent { at });
    assert_eq!(output.deadline, Some(at.plus(AGAIN_MS)));
    assert!(story.side.is_none());
    // Told twice, it changes nothing more.
    assert_eq!(story.give(10_001, Input::Unsent { at }), output);
}

#[test]
fn a_streak_is_forgotten_when_the_link_is_back() {
    let mut story = Story::new(plain("up_after=2"));
    story.give(0, Input::Report(Cause::Reset));
    story.stamps(5_000, 5_000, None);
    story.turn(10_000, Facts::default());
    assert!(story.side.is_some());
    story.stamps(15_000, 15_000, None);
    assert_eq!(story.turn(20_000, Facts::default()).change, Some(Change::Up));
    assert!(story.side.is_none());
}

#[test]
fn an_answer_from_before_the_end_of_our_pause_ends_the_probe() {
    let mut story = Story::new(plain("tries=1"));
    story.turn(10_000, Facts::default());
    story.pause = Some(Pause { epoch: 1, ended: BEGIN.plus(13_000), length_ms: 2_500 });
    story.stamps(13_000, 0, None);
    // The clock of the probe stands at 14 s by now; the answer is older, but news.
    assert_eq!(story.answer(13_500, 1), MATCHED);
    assert!(!story.link.has(flag::PROBING));
}

#[test]
fn stamps_are_compared_across_half_the_range() {
    let mut story = Story::new(Policy { hold_time_ms: 0, ..plain("") });
    story.give(0, Input::Pause);
    for part in 1..=4 {
        story.stamps(part * (HORIZON_MS / 2), 0, None);
    }
    // The last word is half the range old and seems to lie ahead.
    let received = 2 * HORIZON_MS - 1_000;
    story.stamps(2 * HORIZON_MS + 10, received, None);
    assert_eq!(story.link.evidence().proof, BEGIN.plus(received));
}

#[test]
fn a_verdict_names_what_led_to_it() {
    let mut story = Story::new(plain(""));
    for at in [10_000, 14_000, 18_000, 22_000] {
        story.turn(at, Facts::default());
    }
    let evidence = story.link.evidence();
    assert_eq!((evidence.state, evidence.misses), (State::Down, 3));
    assert_eq!((evidence.cause, evidence.sequence), (Some(Cause::NoAnswer), Some(3)));
    assert_eq!(evidence.proof, BEGIN);
}

/// Kind, two moments relative to now, a small number, a moment that may be there.
type Raw = (u8, i32, i32, u32, Option<i32>);

fn moment() -> impl proptest::strategy::Strategy<Value = i32> {
    prop_oneof![4 => -5_000_i32..50, 1 => any::<i32>()]
}

fn input(now: Stamp, before: Policy, (kind, one, other, small, open): Raw) -> Input {
    let shifted = |by: i32| now.plus(by as u32);
    let (at, at_us, sequence) = (shifted(one), other as u32, small);
    match kind {
        0 => Input::Start { at },
        1 => Input::Pause,
        2 | 3 => Input::Stamps { received: at, sent: shifted(other), open_since: open.map(shifted) },
        4 => Input::Answer { sequence, at, at_us },
        5 => Input::BeatReceived { at },
        6 => Input::HandedOut { at },
        7 | 8 => Input::Taken { sequence, at, at_us },
        9 => Input::Sent { at },
        10 => Input::Unsent { at },
        11 if small == 0 => Input::Report(Cause::Reset),
        12 if small == 0 => Input::Desync,
        13 => Input::Policy(before),
        14 => Input::Judge(unread(small / 3)),
        _ => Input::Tick,
    }
}

/// Policies of any kind, and some whose times no check would let through.
fn wild_policy() -> impl proptest::strategy::Strategy<Value = Policy> {
    let numbers = proptest::option::weighted(0.2, any::<[u32; 6]>());
    (any_policy(), numbers).prop_map(|(policy, numbers)| match numbers {
        None => policy,
        Some(numbers) => Policy {
            interval_ms: numbers[0],
            timeout_ms: numbers[1],
            tries: numbers[2],
            hold_time_ms: numbers[3],
            jitter_percent: numbers[4],
            late_reader_limit_ms: numbers[5],
            ..policy
        },
    })
}

/// What no output may ever break.
#[derive(Default)]
struct Watch {
    down: bool,
    untaken: bool,
}

impl Watch {
    fn check(&mut self, before: State, input: Input, now: Stamp, output: &Output) {
        if matches!(input, Input::Taken { .. }) || output.withdraw {
            self.untaken = false;
        }
        if output.notice.is_some() {
            assert!(!self.untaken, "a notice while a beat is untaken");
            assert_ne!(before, State::Paused, "a notice of a paused link");
            self.untaken = true;
        }
        match output.change {
            Some(Change::Down(_)) => assert!(!std::mem::replace(&mut self.down, true), "two DOWN"),
            Some(Change::Up) if before == State::Down => self.down = false,
            Some(_) => assert!(!self.down, "a change after DOWN"),
            None => {}
        }
        if let Some(deadline) = output.deadline {
            assert!((0..=1 << 30).contains(&deadline.since(now)), "{deadline:?} at {now:?}");
        }
        if output.judge {
            assert_eq!((input, output.change, output.notice), (Input::Tick, None, None));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn two_inputs_at_once_come_to_what_they_come_to_one_after_the_other(
        policy in any_policy(),
        moves in proptest::collection::vec(
            (
                0_u32..20_000,
                (2_u8..4, moment(), moment(), 0_u32..6, proptest::option::weighted(0.1, moment())),
                (0_u8..17, moment(), moment(), 0_u32..6, proptest::option::weighted(0.1, moment())),
            ),
            1..80,
        ),
    ) {
        let mut now = BEGIN;
        let context = |now| Context { policy: &policy, seed: 1, ordinal: 2, tick_ms: 1, due_by: now, pause: None };
        let (mut one, mut one_side) = (Link::new(now), None);
        let (mut other, mut other_side) = (Link::new(now), None);
        one.step(&mut one_side, &context(now), now, Input::Start { at: now });
        other.step(&mut other_side, &context(now), now, Input::Start { at: now });
        for (by_ms, stamps, second) in moves {
            now = now.plus(by_ms);
            let context = context(now);
            let (stamps, second) = (input(now, policy, stamps), input(now, policy, second));
            let (at_once, whole) = one.step_twice(&mut one_side, &context, now, stamps, second);
            let first = other.step(&mut other_side, &context, now, stamps);
            assert_eq!(whole, first.change.is_none());
            if whole {
                let last = other.step(&mut other_side, &context, now, second);
                assert_eq!(at_once, Output { withdraw: first.withdraw || last.withdraw, ..last });
            } else {
                assert_eq!(at_once, first);
            }
            assert_eq!(format!("{:?}{:?}", one, one_side), format!("{:?}{:?}", other, other_side));
        }
    }

    #[test]
    fn every_input_in_every_state_is_answered(
        policies in [wild_policy(), wild_policy()],
        origin in prop_oneof![any::<u32>(), u32::MAX - 100_000..=u32::MAX],
        moves in proptest::collection::vec(
            (
                prop_oneof![6 => 0_u32..20_000, 1 => 0..1_u32 << 30],
                (0_u8..17, moment(), moment(), 0_u32..6, proptest::option::of(moment())),
                proptest::option::weighted(0.05, any::<(u8, u32)>()),
            ),
            1..120,
        ),
    ) {
        let mut now = Stamp(origin);
        let (mut link, mut side, mut watch) = (Link::new(now), None, Watch::default());
        let (mut current, mut pause) = (0, None);
        let mut step = |current: usize, pause, now, input| {
            let context = Context { policy: &policies[current], seed: 1, ordinal: 2, tick_ms: 5, due_by: now, pause };
            let before = link.evidence().state;
            let output = link.step(&mut side, &context, now, input);
            watch.check(before, input, now, &output);
            output
        };
        step(current, pause, now, Input::Start { at: now });
        for (by_ms, raw, paused) in moves {
            now = now.plus(by_ms);
            if let Some((epoch, length_ms)) = paused {
                pause = Some(Pause { epoch, ended: now, length_ms });
            }
            let input = input(now, policies[current], raw);
            if matches!(input, Input::Policy(_)) {
                current = 1 - current;
            }
            step(current, pause, now, input);
            // What is due now is done in a few turns, where the policy can be followed.
            let followed = policies[current].check().is_ok();
            let mut turns = 0;
            loop {
                let mut output = step(current, pause, now, Input::Tick);
                if output.judge {
                    output = step(current, pause, now, Input::Judge(Facts::default()));
                }
                turns += 1;
                prop_assert!(turns < 30 || !followed, "never at rest: {output:?}");
                if output.deadline != Some(now) || turns == 40 {
                    break;
                }
            }
        }
    }
}
