//! What comes out of streams and datagrams, whatever portions they arrive in and whatever is in them.

use hbeat::wire::framer::Desync;
use hbeat::wire::{
    FRAME_MAX, Fields, Inbound, Keys, Owed, Protocol, Reader, Rejection, SEAL_LENGTH, Seal, Session, Terms, Told, cmpp,
    heart,
};
use proptest::prelude::*;
use std::sync::Arc;

/// What an [`Inbound`] says, in a form that outlives the bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    Beat { sequence: u32, owed: Option<Owed>, words: Words },
    Answer { sequence: u32, echo_us: Option<u64>, words: Words },
    Challenge { sequence: u32, echo_us: u64, words: Words },
    Message,
    Rejected(Rejection),
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Words {
    next_due_ms: u32,
    hold_ms: u32,
    stuck: bool,
    session: Option<Session>,
    terms: Option<Terms>,
    state: Vec<u8>,
}

impl From<Told<'_>> for Words {
    fn from(told: Told<'_>) -> Self {
        let Told { next_due_ms, hold_ms, stuck, session, terms, state, .. } = told;
        Self { next_due_ms, hold_ms, stuck, session, terms, state: state.to_vec() }
    }
}

impl From<Inbound<'_>> for Seen {
    fn from(inbound: Inbound<'_>) -> Self {
        match inbound {
            Inbound::Beat { sequence, owed, told } => Self::Beat { sequence, owed, words: told.into() },
            Inbound::Answer { sequence, echo_us, told } => Self::Answer { sequence, echo_us, words: told.into() },
            Inbound::Challenge { sequence, echo_us, told } => Self::Challenge { sequence, echo_us, words: told.into() },
            Inbound::Message => Self::Message,
            Inbound::Rejected(rejection) => Self::Rejected(rejection),
        }
    }
}

/// All that a stream has said, and how it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Heard {
    seen: Vec<Seen>,
    desync: Option<Desync>,
    open: bool,
}

fn hear<'a>(protocol: Protocol, portions: impl IntoIterator<Item = &'a [u8]>) -> Heard {
    let mut reader = Reader::new(protocol).expect("a protocol with a framing");
    let mut heard = Heard { seen: Vec::new(), desync: None, open: false };
    for portion in portions {
        let mut bytes = portion;
        loop {
            let before = bytes.len();
            match reader.next(&mut bytes) {
                Ok(Some(inbound)) => heard.seen.push(inbound.into()),
                Ok(None) => {
                    assert!(bytes.is_empty(), "all is used up");
                    break;
                }
                Err(desync) => {
                    assert_eq!(*heard.desync.get_or_insert(desync), desync, "a desync stays");
                    break;
                }
            }
            assert!(bytes.len() < before, "each message takes something");
        }
    }
    heard.open = reader.is_open();
    heard
}

/// Hears a stream whole, then cut at every place, octet by octet, and by three and five octets: always the same.
fn hear_every_way(protocol: Protocol, stream: &[u8]) -> Heard {
    let whole = hear(protocol, [stream]);
    for at in 0..=stream.len() {
        let (left, right) = stream.split_at(at);
        assert_eq!(hear(protocol, [left, right]), whole, "cut at {at}");
    }
    for size in [1, 3, 5] {
        assert_eq!(hear(protocol, stream.chunks(size)), whole, "in portions of {size}");
    }
    whole
}

fn beat(protocol: Protocol, sequence: u32) -> Vec<u8> {
    built(|out| protocol.beat(sequence, &Fields::default(), out))
}

fn built(build: impl FnOnce(&mut [u8]) -> Option<usize>) -> Vec<u8> {
    let mut out = [0; FRAME_MAX];
    let length = build(&mut out).expect("room for every frame");
    out[..length].to_vec()
}

/// A CMPP message: its Total_Length may be a lie.
fn cmpp(total_length: u32, command: u32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let header = [total_length, command, sequence].map(u32::to_be_bytes).concat();
    [&header, body].concat()
}

fn cmpp_beat(sequence: u32) -> Seen {
    let owed = Some(Owed { sequence, ..Owed::default() });
    Seen::Beat { sequence, owed, words: Words::default() }
}

fn cmpp_answer(sequence: u32) -> Seen {
    Seen::Answer { sequence, echo_us: None, words: Words::default() }
}

// The answer variants of real gateways, each followed by a DELIVER with a body, a beat and an answer.

const DELIVER: u32 = 5;

fn cmpp_followed(answer: &[u8]) -> Heard {
    let deliver = cmpp(12 + 20, DELIVER, 99, &[0; 20]);
    let rest = [deliver, cmpp(12, 8, 100, &[]), cmpp(13, 0x8000_0008, 5, &[0])].concat();
    hear_every_way(Protocol::Cmpp, &[answer, &rest].concat())
}

fn all_good(first: Seen) -> Heard {
    Heard { seen: vec![first, Seen::Message, cmpp_beat(100), cmpp_answer(5)], desync: None, open: false }
}

#[test]
fn golden_cmpp_frames() {
    assert_eq!(beat(Protocol::Cmpp, 1), [0, 0, 0, 12, 0, 0, 0, 8, 0, 0, 0, 1]);
    let owed = Owed { sequence: 1, ..Owed::default() };
    let answer = built(|out| Protocol::Cmpp.answer(&owed, &Fields::default(), out));
    assert_eq!(answer, [0, 0, 0, 13, 0x80, 0, 0, 8, 0, 0, 0, 1, 0]);
}

#[test]
fn an_answer_of_13_octets_with_anything_in_reserved() {
    for reserved in [0, 1, b'0', 0xff] {
        assert_eq!(cmpp_followed(&cmpp(13, 0x8000_0008, 7, &[reserved])), all_good(cmpp_answer(7)));
    }
}

#[test]
fn an_answer_of_12_octets() {
    assert_eq!(cmpp_followed(&cmpp(12, 0x8000_0008, 7, &[])), all_good(cmpp_answer(7)));
}

#[test]
fn an_answer_of_16_octets_that_says_so() {
    assert_eq!(cmpp_followed(&cmpp(16, 0x8000_0008, 7, b"0x00")), all_good(cmpp_answer(7)));
}

#[test]
fn an_answer_that_says_13_and_has_16_octets_counts_and_then_the_stream_is_lost() {
    let heard = cmpp_followed(&cmpp(13, 0x8000_0008, 7, b"0x00"));
    let desync = Some(Desync::TooLong { length: 0x7830_3000 });
    assert_eq!(heard, Heard { seen: vec![cmpp_answer(7)], desync, open: false });
}

#[test]
fn an_answer_that_says_12_and_has_13_octets_counts_and_then_the_stream_is_lost() {
    let heard = cmpp_followed(&cmpp(12, 0x8000_0008, 7, &[0]));
    // The stray octet and three of the next length, which all are 0.
    let desync = Some(Desync::TooShort { length: 0 });
    assert_eq!(heard, Heard { seen: vec![cmpp_answer(7)], desync, open: false });
}

#[test]
fn a_test_with_our_own_sequence_in_place_of_the_answer_is_a_beat() {
    assert_eq!(cmpp_followed(&cmpp(12, 8, 7, &[])), all_good(cmpp_beat(7)));
}

#[test]
fn every_sequence_is_legal() {
    for sequence in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        assert_eq!(cmpp_followed(&cmpp(13, 0x8000_0008, sequence, &[0])), all_good(cmpp_answer(sequence)));
        assert_eq!(cmpp_followed(&beat(Protocol::Cmpp, sequence)), all_good(cmpp_beat(sequence)));
    }
}

#[test]
fn login_submit_and_terminate_are_the_applications() {
    for (command, length) in [(1, 39), (0x8000_0001, 30), (0x8000_0001, 33), (2, 12), (0x8000_0002, 12), (4, 3335)] {
        let message = cmpp(length, command, 7, &vec![8; length as usize - 12]);
        let heard = hear(Protocol::Cmpp, message.chunks(7));
        assert_eq!(heard, Heard { seen: vec![Seen::Message], desync: None, open: false });
    }
}

#[test]
fn a_test_inside_a_body_is_not_a_test() {
    let inside = cmpp(12, 8, 7, &[]);
    let heard = hear_every_way(Protocol::Cmpp, &cmpp(12 + 12, 4, 1, &inside));
    assert_eq!(heard.seen, [Seen::Message]);
}

#[test]
fn lengths_at_the_limits() {
    let heard = |length: u32| hear_every_way(Protocol::Cmpp, &cmpp(length, 8, 7, &[]));
    for length in [0, 1, 11] {
        assert_eq!(heard(length).desync, Some(Desync::TooShort { length }));
    }
    for length in [65_537, 0x7fff_ffff, u32::MAX] {
        assert_eq!(heard(length).desync, Some(Desync::TooLong { length }));
    }
    assert_eq!(heard(12).seen, [cmpp_beat(7)]);
    let longest = hear(Protocol::Cmpp, [&cmpp(65_536, 4, 7, &vec![0; 65_524])[..], &beat(Protocol::Cmpp, 8)]);
    assert_eq!(longest, Heard { seen: vec![Seen::Message, cmpp_beat(8)], desync: None, open: false });
}

#[test]
fn a_bad_length_is_seen_before_the_rest_of_the_header() {
    assert_eq!(hear(Protocol::Cmpp, [&[0, 0, 0, 3][..]]).desync, Some(Desync::TooShort { length: 3 }));
}

#[test]
fn a_message_is_open_from_its_first_octet_to_its_last() {
    let frame = cmpp(13, 0x8000_0008, 7, &[0]);
    let mut reader = Reader::new(Protocol::Cmpp).unwrap();
    for (index, octet) in frame.iter().enumerate() {
        let complete = reader.next(&mut std::slice::from_ref(octet)).unwrap().is_some();
        assert_eq!(complete, index == 12);
        assert_eq!(reader.is_open(), index < 12);
    }
    // A portion that ends one message and begins another.
    let mut bytes = &[&frame[..], &frame[..1]].concat()[..];
    assert!(reader.next(&mut bytes).unwrap().is_some() && !reader.is_open());
    assert!(reader.next(&mut bytes).unwrap().is_none() && reader.is_open());
}

// Our own frame.

const STATE: &[u8] = b"queue=17";

fn heart_fields() -> Fields<'static> {
    Fields { sent_us: 5_000_001, next_due_ms: 9_000, hold_ms: 30_000, state: STATE, ..Fields::default() }
}

fn heart_seen(sequence: u32, length: usize) -> Seen {
    let owed = Some(Owed { echo_us: 5_000_001, sequence, room: length as u16 });
    let words = Words { next_due_ms: 9_000, hold_ms: 30_000, state: STATE.to_vec(), ..Words::default() };
    Seen::Beat { sequence, owed, words }
}

#[test]
fn golden_heart_frames() {
    let frame = built(|out| Protocol::Heart.beat(1, &Fields { state: b"ok", ..heart_fields() }, out));
    let header = [
        0x48, 0x42, 1, 1, 0, 0, 0, 34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x4c, 0x4b, 0x41, 0, 0, 0x23, 0x28, 0, 0, 0x75, 0x30,
    ];
    assert_eq!(frame, [&header[..], &[0, 1, 0, 2, b'o', b'k']].concat());
    assert_eq!(beat(Protocol::Heart, 1).len(), heart::HEADER);
    let one_way = built(|out| Protocol::Heart.beat(1, &Fields { one_way: true, ..Fields::default() }, out));
    assert_eq!(one_way[..12], [0x48, 0x42, 1, 1, 0, 1, 0, 28, 0, 0, 0, 1]);
}

#[test]
fn a_beat_and_its_answer_there_and_back() {
    let frame = built(|out| Protocol::Heart.beat(7, &heart_fields(), out));
    let Inbound::Beat { owed: Some(owed), .. } = Protocol::Heart.datagram(&mut &frame[..], None).unwrap() else {
        panic!("a beat that wants an answer");
    };
    let reply = Fields { hold_ms: 4, state: b"fine", ..Fields::default() };
    let answer = built(|out| Protocol::Heart.answer(&owed, &reply, out));
    let words = Words { hold_ms: 4, state: b"fine".to_vec(), ..Words::default() };
    let seen = Seen::Answer { sequence: 7, echo_us: Some(5_000_001), words };
    assert_eq!(hear_every_way(Protocol::Heart, &answer).seen, [seen]);
}

#[test]
fn a_challenge_is_for_datagrams_and_no_larger_than_its_beat() {
    let session = Session { mine: 5, yours: 0 };
    let frame = built(|out| Protocol::Heart.beat(7, &Fields { session: Some(session), ..heart_fields() }, out));
    let Some(Inbound::Beat { owed: Some(owed), .. }) = Protocol::Heart.datagram(&mut &frame[..], None) else {
        panic!("a beat that wants an answer");
    };
    let cookie = Session { mine: 9, yours: 5 };
    let challenge = built(|out| Protocol::Heart.challenge(&owed, cookie, out));
    assert!(challenge.len() <= frame.len());
    let words = Words { session: Some(cookie), ..Words::default() };
    assert_eq!(datagram(Protocol::Heart, &challenge), [Seen::Challenge { sequence: 7, echo_us: 5_000_001, words }]);
    let in_stream = vec![Seen::Rejected(Rejection::ChallengeInStream)];
    assert_eq!(hear_every_way(Protocol::Heart, &challenge).seen, in_stream);
    // A beat without a session has no room for one.
    let bare = Owed { room: heart::HEADER as u16, ..owed };
    assert_eq!(Protocol::Heart.challenge(&bare, cookie, &mut [0; FRAME_MAX]), None);
    assert_eq!(Protocol::Cmpp.challenge(&owed, cookie, &mut [0; FRAME_MAX]), None);
}

#[test]
fn a_one_way_beat_wants_no_answer() {
    let frame = built(|out| Protocol::Heart.beat(7, &Fields { one_way: true, ..Fields::default() }, out));
    let inbound = Protocol::Heart.datagram(&mut &frame[..], None);
    assert!(matches!(inbound, Some(Inbound::Beat { sequence: 7, owed: None, .. })));
}

#[test]
fn a_rejected_frame_costs_only_itself() {
    let good = built(|out| Protocol::Heart.beat(7, &heart_fields(), out));
    let (mut newer, mut other) = (good.clone(), good.clone());
    newer[2] = 2;
    other[3] = 200;
    let heard = hear_every_way(Protocol::Heart, &[&newer[..], &good, &other, &good[..20]].concat());
    let seen = vec![Seen::Rejected(Rejection::Version(2)), heart_seen(7, good.len()), Seen::Message];
    assert_eq!(heard, Heard { seen, desync: None, open: true });
}

#[test]
fn a_stream_that_is_not_ours_is_lost_at_once() {
    assert_eq!(hear_every_way(Protocol::Heart, b"GET / HTTP/1.1").desync, Some(Desync::Beginning));
    let mut frame = beat(Protocol::Heart, 1);
    frame[7] = 27;
    assert_eq!(hear_every_way(Protocol::Heart, &frame).desync, Some(Desync::TooShort { length: 27 }));
    frame[6..8].copy_from_slice(&1201u16.to_be_bytes());
    assert_eq!(hear_every_way(Protocol::Heart, &frame).desync, Some(Desync::TooLong { length: 1201 }));
}

fn datagram(protocol: Protocol, mut bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Some(inbound) = protocol.datagram(&mut bytes, None) {
        seen.push(inbound.into());
    }
    assert!(bytes.is_empty());
    seen
}

#[test]
fn a_datagram_holds_whole_frames_and_nothing_else() {
    let good = built(|out| Protocol::Heart.beat(7, &heart_fields(), out));
    let first = heart_seen(7, good.len());
    assert_eq!(datagram(Protocol::Heart, &good.repeat(2)), [first.clone(), first.clone()]);
    let stray = |stray: &[u8]| datagram(Protocol::Heart, &[&good[..], stray].concat());
    assert_eq!(stray(&good[..30]), [first.clone(), Seen::Rejected(Rejection::Truncated)]);
    assert_eq!(stray(b"H"), [first.clone(), Seen::Rejected(Rejection::Truncated)]);
    assert_eq!(stray(b"whatever"), [first, Seen::Rejected(Rejection::NotAFrame(Desync::Beginning))]);
    assert_eq!(datagram(Protocol::Heart, b""), []);
    assert_eq!(datagram(Protocol::Cmpp, &beat(Protocol::Cmpp, 7)), [cmpp_beat(7)]);
}

// Sealed.

const KEY: &[u8] = b"a key of both ends";

fn keys(keys: &[(u32, &[u8])]) -> Arc<Keys> {
    Arc::new(Keys::new(keys).expect("keys that can be used"))
}

/// A sealed beat with that sequence.
fn sealed(seal: &mut Seal, sequence: u32) -> Vec<u8> {
    let session = Some(Session { mine: 17, yours: 4 });
    let fields = Fields { session, reserve: SEAL_LENGTH as u16, ..heart_fields() };
    built(|out| {
        let length = Protocol::Heart.beat(sequence, &fields, out)?;
        seal.close(out, length)
    })
}

/// What of a stream, in portions, is accepted (the sequences of its beats) and what is wrong with the rest.
fn hear_sealed<'a>(seal: &mut Seal, portions: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<u32, Rejection>> {
    let mut reader = Reader::new(Protocol::Heart).unwrap();
    let mut heard = Vec::new();
    for mut bytes in portions {
        while let Ok(Some(inbound)) = reader.next_sealed(&mut bytes, Some(seal)) {
            heard.push(match inbound {
                Inbound::Beat { sequence, .. } => Ok(sequence),
                Inbound::Rejected(rejection) => Err(rejection),
                other => panic!("{other:?}"),
            });
        }
    }
    heard
}

#[test]
fn a_sealed_link_takes_nothing_that_is_forged_replayed_or_bare_and_goes_on() {
    let (mut ours, mut theirs) = (Seal::new(keys(&[(1, KEY)])), Seal::new(keys(&[(1, KEY)])));
    let (first, second) = (sealed(&mut ours, 1), sealed(&mut ours, 2));
    let mut forged = second.clone();
    forged[20] ^= 1;
    let foreign = sealed(&mut Seal::new(keys(&[(1, b"a key of someone else")])), 9);
    let unknown = sealed(&mut Seal::new(keys(&[(2, KEY)])), 9);
    let bare = beat(Protocol::Heart, 9);
    let mut other = beat(Protocol::Heart, 9);
    other[3] = 200;
    let stream =
        [&second, &forged, &foreign, &unknown, &bare, &other, &first, &first, &second].map(|f| &f[..]).concat();
    let expected = [
        Ok(2),
        Err(Rejection::Forged),
        Err(Rejection::Forged),
        Err(Rejection::UnknownKey(2)),
        Err(Rejection::Unsealed),
        Err(Rejection::Unsealed),
        Ok(1),
        Err(Rejection::Replayed),
        Err(Rejection::Replayed),
    ];
    assert_eq!(hear_sealed(&mut theirs, stream.chunks(7)), expected);
    // One that is sealed means nothing to a link that is not.
    assert_eq!(hear(Protocol::Heart, [&first[..]]).seen, [Seen::Rejected(Rejection::Field(4))]);
}

#[test]
fn two_keys_are_valid_and_a_third_is_not() {
    let (a, b, c) = (&[1; 16][..], &[2; 32][..], &[3; 64][..]);
    let mut theirs = Seal::new(keys(&[(1, a), (2, b)]));
    let frames = [(1, a), (2, b), (3, c)].map(|key| sealed(&mut Seal::new(keys(&[key])), key.0));
    // Each first of its own seal, so each has counter 1: the window takes one.
    assert_eq!(hear_sealed(&mut theirs, [&frames[0][..]]), [Ok(1)]);
    let mut theirs = Seal::new(keys(&[(1, a), (2, b)]));
    assert_eq!(hear_sealed(&mut theirs, [&frames[1][..]]), [Ok(2)]);
    assert_eq!(hear_sealed(&mut theirs, [&frames[2][..]]), [Err(Rejection::UnknownKey(3))]);
}

// Anything at all.

fn framed() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Cmpp), Just(Protocol::Heart)]
}

/// Octets that look like something more often than chance has it.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let octet =
        prop_oneof![4 => Just(0u8), 2 => 0u8..32, 1 => Just(0x80), 1 => Just(b'H'), 1 => Just(b'B'), 2 => any::<u8>()];
    prop::collection::vec(octet, 0..400)
}

/// A stream cut into portions of these sizes, over and over.
fn cut<'a>(stream: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut portions) = (stream, Vec::new());
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (portion, after) = rest.split_at(rest.len().min(*size));
        portions.push(portion);
        rest = after;
    }
    portions
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..80, 1..8)
}

/// A CMPP message as sent, and what it is.
fn cmpp_message() -> impl Strategy<Value = (Vec<u8>, Seen)> {
    let command = prop_oneof![Just(8u32), Just(0x8000_0008), any::<u32>()];
    (command, any::<u32>(), prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(command, sequence, body)| {
        let seen = match command {
            cmpp::ACTIVE_TEST => cmpp_beat(sequence),
            cmpp::ACTIVE_TEST_RESP => cmpp_answer(sequence),
            _ => Seen::Message,
        };
        (cmpp(12 + body.len() as u32, command, sequence, &body), seen)
    })
}

fn session() -> impl Strategy<Value = Session> {
    (1..=u64::MAX, any::<u64>()).prop_map(|(mine, yours)| Session { mine, yours })
}

fn terms() -> impl Strategy<Value = Terms> {
    let ms = || 0..=heart::TERMS_MAX_MS;
    (any::<[u16; 2]>(), ms(), ms(), ms(), any::<u32>()).prop_map(
        |([generation, acknowledged], interval_ms, least_ms, hold_ms, capabilities)| Terms {
            generation,
            acknowledged,
            interval_ms,
            least_ms,
            hold_ms,
            capabilities,
        },
    )
}

fn words() -> impl Strategy<Value = Words> {
    let parts = (prop::option::of(session()), prop::option::of(terms()));
    (any::<[u32; 2]>(), any::<bool>(), parts, prop::collection::vec(any::<u8>(), 0..=heart::STATE_MAX)).prop_map(
        |([next_due_ms, hold_ms], stuck, (session, terms), state)| Words {
            next_due_ms,
            hold_ms,
            stuck,
            session,
            terms,
            state,
        },
    )
}

/// A heart or an answer as sent, and what it is.
fn heart_message() -> impl Strategy<Value = (Vec<u8>, Seen)> {
    (any::<[bool; 2]>(), any::<u32>(), any::<u64>(), words()).prop_map(
        |([answer, one_way], sequence, time_us, words)| {
            let Words { next_due_ms, hold_ms, stuck, session, terms, ref state } = words;
            let fields = Fields {
                sent_us: time_us,
                next_due_ms,
                hold_ms,
                one_way,
                stuck,
                session,
                terms,
                state,
                ..Fields::default()
            };
            let owed = Owed { echo_us: time_us, sequence, room: 0 };
            if answer {
                let frame = built(|out| Protocol::Heart.answer(&owed, &fields, out));
                (frame, Seen::Answer { sequence, echo_us: Some(time_us), words })
            } else {
                let frame = built(|out| Protocol::Heart.beat(sequence, &fields, out));
                let owed = (!one_way).then_some(Owed { room: frame.len() as u16, ..owed });
                (frame, Seen::Beat { sequence, owed, words })
            }
        },
    )
}

fn reproduced(protocol: Protocol, messages: &[(Vec<u8>, Seen)], sizes: &[usize]) -> Result<(), TestCaseError> {
    let stream: Vec<u8> = messages.iter().flat_map(|(frame, _)| frame.clone()).collect();
    let seen = messages.iter().map(|(_, seen)| seen.clone()).collect();
    prop_assert_eq!(hear(protocol, cut(&stream, sizes)), Heard { seen, desync: None, open: false });
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_octets_are_used_up_or_a_desync(protocol in framed(), stream in octets(), sizes in sizes()) {
        let whole = hear(protocol, [&stream[..]]);
        prop_assert_eq!(hear(protocol, cut(&stream, &sizes)), whole);
        datagram(protocol, &stream);
    }

    #[test]
    fn any_cmpp_messages_come_out_as_they_went_in(
        messages in prop::collection::vec(cmpp_message(), 0..12), sizes in sizes(),
    ) {
        reproduced(Protocol::Cmpp, &messages, &sizes)?;
    }

    #[test]
    fn any_heart_messages_come_out_as_they_went_in(
        messages in prop::collection::vec(heart_message(), 0..6), sizes in sizes(),
    ) {
        reproduced(Protocol::Heart, &messages, &sizes)?;
    }

    #[test]
    fn a_damaged_heart_frame_is_read_or_rejected(
        (mut frame, _) in heart_message(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        length in any::<prop::sample::Index>(), sizes in sizes(),
    ) {
        for (place, octet) in damage {
            let place = place.index(frame.len());
            frame[place] = octet;
        }
        // A seal that nobody made never opens, in a datagram or in a stream.
        let mut seal = Seal::new(keys(&[(1, KEY)]));
        let mut bytes = &frame[..];
        while let Some(inbound) = Protocol::Heart.datagram(&mut bytes, Some(&mut seal)) {
            prop_assert!(matches!(inbound, Inbound::Rejected(_)));
        }
        prop_assert!(hear_sealed(&mut seal, cut(&frame, &sizes)).iter().all(Result::is_err));
        if let Ok(decoded) = heart::decode(&frame) {
            prop_assert!(decoded.state.len() <= heart::STATE_MAX);
        }
        prop_assert!(heart::decode(&frame[..length.index(frame.len())]).is_err());
        prop_assert_eq!(hear(Protocol::Heart, cut(&frame, &sizes)), hear(Protocol::Heart, [&frame[..]]));
        datagram(Protocol::Heart, &frame);
    }

    #[test]
    fn any_octets_are_used_up_and_open_no_seal(stream in octets(), sizes in sizes()) {
        let mut seal = Seal::new(keys(&[(1, KEY)]));
        prop_assert!(hear_sealed(&mut seal, cut(&stream, &sizes)).iter().all(Result::is_err));
        let mut bytes = &stream[..];
        while let Some(inbound) = Protocol::Heart.datagram(&mut bytes, Some(&mut seal)) {
            prop_assert!(matches!(inbound, Inbound::Rejected(_)));
        }
        prop_assert!(bytes.is_empty());
    }

    /// Sent again and in any order: each once, and only what is within 64 of the newest.
    #[test]
    fn sealed_frames_come_out_once_however_they_arrive(
        order in prop::collection::vec(0usize..100, 0..300), sizes in sizes(),
    ) {
        let mut ours = Seal::new(keys(&[(1, KEY)]));
        let frames: Vec<_> = (0..100).map(|sequence| sealed(&mut ours, sequence)).collect();
        let stream: Vec<u8> = order.iter().flat_map(|index| frames[*index].clone()).collect();
        let heard = hear_sealed(&mut Seal::new(keys(&[(1, KEY)])), cut(&stream, &sizes));
        prop_assert_eq!(heard.len(), order.len());
        let (mut seen, mut newest) = (std::collections::BTreeSet::new(), 0);
        for (index, heard) in order.into_iter().zip(heard) {
            let is_new = index + 64 > newest && seen.insert(index);
            prop_assert_eq!(heard, if is_new { Ok(index as u32) } else { Err(Rejection::Replayed) });
            newest = newest.max(index);
        }
    }

    /// Any word of any frame, with any bit changed.
    #[test]
    fn a_sealed_frame_says_what_was_sealed_or_nothing(
        words in words(), session in session(), bit in any::<prop::sample::Index>(), sizes in sizes(),
    ) {
        let Words { next_due_ms, hold_ms, stuck, terms, ref state, .. } = words;
        let reserve = SEAL_LENGTH as u16;
        let fields =
            Fields { next_due_ms, hold_ms, stuck, session: Some(session), terms, state, reserve, ..Fields::default() };
        let mut ours = Seal::new(keys(&[(1, KEY)]));
        let mut frame = built(|out| {
            let length = Protocol::Heart.beat(7, &fields, out)?;
            ours.close(out, length)
        });
        let mut theirs = Seal::new(keys(&[(2, b"the next key of both ends"), (1, KEY)]));
        let Some(Inbound::Beat { told, .. }) = Protocol::Heart.datagram(&mut &frame[..], Some(&mut theirs)) else {
            return Err(TestCaseError::fail("a beat"));
        };
        prop_assert_eq!(Words::from(told), Words { session: Some(session), ..words.clone() });
        let bit = bit.index(frame.len() * 8);
        frame[bit / 8] ^= 1 << (bit % 8);
        let mut fresh = Seal::new(keys(&[(1, KEY)]));
        prop_assert!(hear_sealed(&mut fresh, cut(&frame, &sizes)).iter().all(Result::is_err));
    }
}
