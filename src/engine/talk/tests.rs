use super::*;
use crate::wire::heart::FRAME_MAX;
use crate::wire::{Owed, Protocol, Reader};
use proptest::prelude::{Just, any, prop, prop_assert_eq, prop_oneof, proptest};

fn keys(octet: u8) -> Option<Arc<Keys>> {
    Some(Arc::new(Keys::new(&[(octet.into(), &[octet; 16])]).unwrap()))
}

fn policy(text: &str) -> Arc<Policy> {
    Arc::new(Policy::parse(text).unwrap())
}

/// One end, with a reader of the stream that comes to it.
struct End {
    talk: Talk,
    reader: Reader,
}

impl End {
    fn new(text: &str, number: u64, keys: Option<Arc<Keys>>) -> Self {
        let mut talk = Talk::new(policy(text), keys);
        talk.begin(Session { mine: number, yours: 0 }, false);
        Self { talk, reader: Reader::new(Protocol::Heart).unwrap() }
    }

    fn fields(&self) -> Fields<'static> {
        let policy = self.talk.policy();
        Fields { next_due_ms: policy.interval_ms, hold_ms: policy.hold_time_ms, ..Fields::default() }
    }

    fn frame(&mut self, build: impl FnOnce(&Fields<'_>, &mut [u8]) -> Option<usize>) -> Vec<u8> {
        let mut out = [0; FRAME_MAX];
        let fields = self.fields();
        let length = self.talk.write(fields, &mut out, build).expect("room");
        out[..length].to_vec()
    }

    fn beat(&mut self) -> Vec<u8> {
        self.frame(|fields, out| Protocol::Heart.beat(7, fields, out))
    }

    fn one_way(&mut self) -> Vec<u8> {
        self.frame(|fields, out| Protocol::Heart.beat(7, &Fields { one_way: true, ..*fields }, out))
    }

    fn answer(&mut self) -> Vec<u8> {
        self.frame(|fields, out| Protocol::Heart.answer(&Owed { sequence: 7, ..Owed::default() }, fields, out))
    }

    fn hear(&mut self, frame: &[u8]) -> Worth {
        let mut bytes = frame;
        let inbound = self.reader.next_sealed(&mut bytes, self.talk.seal()).expect("in step").expect("whole");
        self.talk.hear(&inbound)
    }

    /// Both ask and answer, so that all is said that there is to say.
    fn talk_to(&mut self, other: &mut End) {
        for _ in 0..3 {
            let (ours, theirs) = (self.beat(), other.beat());
            self.hear(&theirs);
            other.hear(&ours);
            let (ours, theirs) = (self.answer(), other.answer());
            self.hear(&theirs);
            other.hear(&ours);
        }
    }
}

const COUNTS: Worth = Worth::FULL;
const ANSWERED: Worth = Worth { counts: false, fresh: false, answered: true, refused: None };
const UNAUTHENTICATED: Worth = Worth::refused(Cause::Unauthenticated);

#[test]
fn without_keys_frames_say_terms_until_they_are_acknowledged_and_no_session() {
    let (mut a, mut b) = (End::new("interval=9s", 1, None), End::new("interval=20s least=10s", 2, None));
    assert_eq!((a.beat().len(), a.beat().len()), (52, 52));
    let first = a.beat();
    assert_eq!(b.hear(&first), COUNTS);
    assert!(b.talk.owes());
    let answer = b.answer();
    assert!(!b.talk.owes());
    assert_eq!(a.hear(&answer), COUNTS);
    // B's acknowledgement is in it, and A's is in A's next frame, which says no more than that.
    let second = a.beat();
    b.hear(&second);
    assert_eq!((second.len(), a.beat().len(), b.beat().len()), (52, 28, 28));
    assert_eq!((a.talk.policy().interval_ms, b.talk.policy().interval_ms), (10_000, 20_000));
    let (ours, theirs) = (a.talk.agreed().unwrap(), b.talk.agreed().unwrap());
    assert_eq!((ours.send_ms, ours.receive_ms), (theirs.receive_ms, theirs.send_ms));
}

#[test]
fn with_a_peer_that_says_no_terms_all_is_as_wished() {
    let mut a = End::new("interval=9s least=10s hold=40s", 1, None);
    let frame = a.beat();
    assert_eq!(frame.len(), 52);
    let mut simple = [0; FRAME_MAX];
    let length = Protocol::Heart.beat(1, &Fields { next_due_ms: 60_000, ..Fields::default() }, &mut simple).unwrap();
    assert_eq!((a.hear(&simple[..length]), a.talk.agreed(), a.talk.owes()), (COUNTS, None, false));
    assert_eq!(a.talk.policy(), *policy("interval=9s least=10s hold=40s"));
    a.talk.wish(policy("interval=5s"));
    assert_eq!((a.talk.policy(), a.talk.owes()), (*policy("interval=5s"), false));
}

#[test]
fn a_change_counts_when_it_is_acknowledged() {
    let (mut a, mut b) = (End::new("interval=9s hold=40s", 1, None), End::new("interval=9s hold=40s", 2, None));
    a.talk_to(&mut b);
    a.talk.wish(policy("interval=2s least=30s hold=100s timeout=3s"));
    assert!(a.talk.owes());
    let meanwhile = a.talk.policy();
    // What does not concern the peer counts at once, and so does patience.
    assert_eq!((meanwhile.interval_ms, meanwhile.least_ms), (9_000, 0));
    assert_eq!((meanwhile.hold_time_ms, meanwhile.timeout_ms), (100_000, 3_000));
    let told = a.beat();
    b.hear(&told);
    // B takes it over at once, as far as it concerns what B does.
    assert_eq!(b.talk.policy().interval_ms, 30_000);
    let answer = b.answer();
    a.hear(&answer);
    let policy = a.talk.policy();
    assert_eq!((policy.interval_ms, policy.least_ms), (2_000, 30_000));
    assert!(b.beat().len() == 28 && !a.talk.owes());
}

#[test]
fn changes_wait_for_each_other_and_the_last_one_has_its_way() {
    let (mut a, mut b) = (End::new("interval=9s", 1, None), End::new("interval=9s", 2, None));
    a.talk_to(&mut b);
    for seconds in [20, 30, 40] {
        a.talk.wish(policy(&format!("interval={seconds}s")));
    }
    let first = a.beat();
    b.hear(&first);
    let answer = b.answer();
    a.hear(&answer);
    assert_eq!(a.talk.policy().interval_ms, 20_000);
    assert!(a.talk.owes(), "the next is told as soon as it may be");
    a.talk_to(&mut b);
    assert_eq!((a.talk.policy().interval_ms, b.talk.agreed().unwrap().receive_ms), (40_000, 40_000));
}

#[test]
fn a_policy_that_contradicts_the_rhythm_of_before_counts_at_once() {
    let (mut a, mut b) = (End::new("interval=9s", 1, None), End::new("interval=9s least=5s", 2, None));
    a.talk_to(&mut b);
    // With no tries left there is nothing that beats each 9 s could mean.
    a.talk.wish(policy("passive interval=0s hold=60s tries=0"));
    let policy = a.talk.policy();
    assert_eq!((policy.interval_ms, policy.tries, policy.check().is_ok()), (0, 0, true));
}

#[test]
fn a_peer_that_cannot_be_asked_has_a_timeout_beyond_its_rhythm() {
    let (mut a, mut b) = (
        End::new("interval=1s timeout=2s hold=5s answer_expected=no", 1, None),
        End::new("interval=60s timeout=1s hold=70s answer_expected=no", 2, None),
    );
    a.talk_to(&mut b);
    assert_eq!(a.talk.policy().hold_time_ms, 62_000);
    assert_eq!(b.talk.policy().hold_time_ms, 70_000);
}

#[test]
fn one_way_terms_and_strange_sessions_ask_for_a_word() {
    let mut a = End::new("interval=9s hold=30s answer_expected=no", 1, keys(1));
    let mut b = End::new("interval=9s hold=30s answer_expected=no", 2, keys(1));
    let first = a.one_way();
    assert_eq!((b.hear(&first), b.talk.owes()), (ANSWERED, true));
    let second = b.one_way();
    assert_eq!((a.hear(&second), a.talk.owes()), (COUNTS, true));
    let third = a.one_way();
    assert_eq!((b.hear(&third), b.talk.owes()), (COUNTS, true));
    let fourth = b.one_way();
    assert_eq!((a.hear(&fourth), a.talk.owes()), (COUNTS, false), "it only acknowledged");
    assert_eq!(fourth.len(), 28 + 20 + 24 + 32);
    assert_eq!(a.one_way().len(), 28 + 20 + 32);
}

#[test]
fn what_is_sealed_proves_nothing_before_it_names_our_number() {
    let (mut a, mut b) = (End::new("normal", 1, keys(1)), End::new("normal", 2, keys(1)));
    let hello = a.beat();
    assert_eq!(b.hear(&hello), ANSWERED);
    assert_eq!(b.talk.agreed(), None, "its terms may be of another connection");
    let answer = b.answer();
    assert_eq!(a.hear(&answer), COUNTS);
    // Once more: it was heard.
    assert_eq!(a.hear(&answer), UNAUTHENTICATED);
    assert_eq!(a.talk.refused(), Some(Cause::Unauthenticated));
    let beat = a.beat();
    assert_eq!(b.hear(&beat), COUNTS);
    let answer = b.answer();
    assert_eq!((a.hear(&answer), a.talk.refused()), (COUNTS, None));
}

#[test]
fn a_mirror_is_no_peer() {
    let mut a = End::new("normal", 1, keys(1));
    let hello = a.beat();
    assert_eq!((a.hear(&hello), a.talk.owes()), (UNAUTHENTICATED, false));
    // Had the number been taken over, this frame would name it as the receiver's.
    let answer = a.answer();
    assert_eq!(a.hear(&answer), UNAUTHENTICATED);
}

#[test]
fn frames_of_another_connection_are_not_taken() {
    let (mut a, mut b) = (End::new("interval=9s", 1, keys(1)), End::new("interval=9s", 2, keys(1)));
    let greeting = b.beat();
    a.talk_to(&mut b);
    let old: Vec<_> = (0..100).map(|_| b.beat()).collect();
    a.talk.begin(Session { mine: 11, yours: 0 }, false);
    b.talk.begin(Session { mine: 12, yours: 0 }, false);
    let elsewhere = Worth { refused: Some(Cause::Unauthenticated), ..ANSWERED };
    assert_eq!((a.hear(&greeting), a.talk.refused()), (ANSWERED, None));
    for frame in &old {
        assert_eq!(a.hear(frame), elsewhere);
    }
    // Neither does the connection that there is come to harm by it.
    a.talk_to(&mut b);
    let beat = b.beat();
    assert_eq!(a.hear(&beat), COUNTS);
    // Nor once it stands.
    assert_eq!((a.hear(&old[0]), a.hear(&greeting)), (elsewhere, ANSWERED));
    let beat = a.beat();
    assert_eq!(b.hear(&beat), COUNTS);
}

#[test]
fn who_lacks_the_key_or_the_seal_is_refused() {
    let mut a = End::new("normal", 1, keys(1));
    let same_id = Some(Arc::new(Keys::new(&[(1, &[9; 16])]).unwrap()));
    for key in [keys(2), same_id, None] {
        let mut b = End::new("normal", 2, key);
        let beat = b.beat();
        assert_eq!(a.hear(&beat), UNAUTHENTICATED);
    }
    // And without one a sealed frame is no frame that could be understood.
    let mut plain = End::new("normal", 3, None);
    let beat = a.beat();
    assert_eq!(plain.hear(&beat), Worth::refused(Cause::ProtocolError));
    assert_eq!(plain.talk.refused(), Some(Cause::ProtocolError));
}

#[test]
fn keys_are_changed_while_the_connection_stands() {
    let both = |first: u8, second: u8| {
        let octets = [[first; 16], [second; 16]];
        Arc::new(Keys::new(&[(first.into(), &octets[0]), (second.into(), &octets[1])]).unwrap())
    };
    let (mut a, mut b) = (End::new("normal", 1, keys(1)), End::new("normal", 2, keys(1)));
    a.talk_to(&mut b);
    let mut check = |change: &dyn Fn(&mut Talk)| {
        for first in [true, false] {
            change(if first { &mut a.talk } else { &mut b.talk });
            let (ours, theirs) = (a.beat(), b.beat());
            assert_eq!((a.hear(&theirs), b.hear(&ours)), (COUNTS, COUNTS));
        }
    };
    check(&|talk| talk.set_keys(both(1, 2)));
    check(&|talk| talk.set_keys(both(2, 1)));
    check(&|talk| talk.set_keys(keys(2).unwrap()));
    let mut late = End::new("normal", 2, keys(1));
    let beat = late.beat();
    assert_eq!(a.hear(&beat), UNAUTHENTICATED);
}

#[test]
fn each_rejection_has_its_cause() {
    let mut a = End::new("normal", 1, None);
    let mut version = a.beat();
    version[2] = 2;
    let mut flags = a.beat();
    flags[4] = 1;
    for frame in [version, flags] {
        assert_eq!(a.hear(&frame), Worth::refused(Cause::ProtocolError));
    }
    // Terms that are beyond what can be kept reject the frame.
    let mut terms = a.beat();
    terms[28 + 8..28 + 12].fill(0xff);
    assert_eq!((a.hear(&terms), a.talk.agreed()), (Worth::refused(Cause::ProtocolError), None));
}

fn a_time() -> impl proptest::strategy::Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), 0..100_000u32, Just(Policy::MAX_MS), Just(u32::MAX), any::<u32>()]
}

proptest! {
    /// Whatever a peer says and whatever the application wishes meanwhile: what is in force can be followed.
    #[test]
    fn the_policy_in_force_is_one(
        wishes in prop::collection::vec(
            prop::sample::select(vec![
                "normal", "fast", "passive", "normal interval=149h timeout=1s tries=1",
                "interval=9s answer_expected=no hold=30s", "passive hold=60s tries=0", "interval=1s partial=1s",
                "interval=100s partial=100s timeout=5s tries=3", "strategy=periodic interval=20s hold=50s",
                "least=20s strikes=9", "interval=5s least=1s hold=149h timeout=1s tries=1",
            ]),
            1..6,
        ),
        said in prop::collection::vec((any::<u16>(), any::<u16>(), a_time(), a_time(), a_time(), a_time()), 0..12),
    ) {
        let mut a = End::new(wishes[0], 1, None);
        let mut wishes = wishes.into_iter().cycle();
        for (generation, acknowledged, interval_ms, least_ms, hold_ms, next_due_ms) in said {
            let _ = a.beat();
            let terms = Terms { generation: generation % 4, acknowledged: acknowledged % 4, interval_ms, least_ms, hold_ms, capabilities: u32::MAX };
            let told = Told { terms: Some(terms), next_due_ms, ..Told::default() };
            a.talk.hear(&Inbound::Beat { sequence: 1, owed: None, told });
            prop_assert_eq!(a.talk.policy().check(), Ok(()));
            a.talk.wish(policy(wishes.next().unwrap()));
            prop_assert_eq!(a.talk.policy().check(), Ok(()));
        }
    }
}
