//! Links over UDP: who proves his address is a link, who does not costs nothing. Over real sockets of the loopback; where a
//! time is judged the clock is manual.

#[path = "common/carried.rs"]
#[allow(dead_code, reason = "not all of it is for datagrams")]
mod carried;

use carried::{Bench, PATIENCE, heart, policy};
use hbeat::core::{Cause, State};
use hbeat::engine::{Endpoint, EventKind, LinkOptions, ListenerId, ListenerInfo, ListenerOptions, Refusal, TimeSource};
use hbeat::wire::{Fields, Inbound, Keys, Owed, Protocol, SEAL_LENGTH, Seal, Session};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

const QUICK: &str = "interval=50ms timeout=2s tries=3";
const CALM: &str = "interval=1s timeout=1s tries=3 jitter=0%";
const ANYWHERE: &str = "udp://127.0.0.1:0";

fn open(bench: &Bench, text: &str, options: &ListenerOptions) -> ListenerId {
    bench.engine.listen(&Endpoint::parse_local(ANYWHERE).unwrap(), &policy(text), options).unwrap()
}

fn info(bench: &Bench, listener: ListenerId) -> ListenerInfo {
    bench.engine.listener_info(listener).unwrap()
}

fn settle(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "it did not come about");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn keys(octet: u8) -> Arc<Keys> {
    Arc::new(Keys::new(&[(u32::from(octet), &[octet; 32][..])]).unwrap())
}

/// A peer by hand.
struct Peer {
    socket: UdpSocket,
    session: Session,
    seal: Option<Seal>,
}

impl Peer {
    fn new(bench: &Bench, listener: ListenerId) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", info(bench, listener).port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, session: Session { mine: 0x1234, yours: 0 }, seal: None }
    }

    fn heart(&mut self, sequence: u32) -> Vec<u8> {
        let reserve = if self.seal.is_some() { SEAL_LENGTH as u16 } else { 0 };
        let fields = Fields { session: Some(self.session), sent_us: sequence.into(), reserve, ..Fields::default() };
        let mut out = vec![0; 256];
        let mut length = Protocol::Heart.beat(sequence, &fields, &mut out).unwrap();
        if let Some(seal) = &mut self.seal {
            length = seal.close(&mut out, length).unwrap();
        }
        out.truncate(length);
        out
    }

    fn send(&mut self, sequence: u32) {
        let heart = self.heart(sequence);
        self.socket.send(&heart).unwrap();
    }

    fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let length = self.socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    /// The cookie of the challenge that comes next.
    fn challenged(&mut self) -> u64 {
        let received = self.receive();
        match Protocol::Heart.datagram(&mut &received[..], self.seal.as_mut()) {
            Some(Inbound::Challenge { told, .. }) => told.session.unwrap().mine,
            other => panic!("no challenge: {other:?}"),
        }
    }

    /// What came so far, without waiting.
    fn has_received(&self) -> bool {
        self.socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let received = self.socket.recv(&mut [0; 2048]).is_ok();
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        received
    }

    fn prove(&mut self) {
        self.send(1);
        self.session.yours = self.challenged();
        self.send(2);
    }
}

#[test]
fn both_ends_come_up_and_a_closed_end_is_forgotten_and_dialled_again() {
    for sealed in [false, true] {
        let keys = sealed.then(|| keys(7));
        let mut server = Bench::new(TimeSource::System);
        let options = ListenerOptions { name: "far".into(), keys: keys.clone(), ..ListenerOptions::default() };
        let listener = open(&server, QUICK, &options);
        let mut client = Bench::new(TimeSource::System);
        let dialled = client.dial(&info(&server, listener).endpoint, QUICK, &LinkOptions { keys, ..heart() });
        client.until_kind(0, dialled, EventKind::Up);
        let at = server.until(0, |event| event.kind == EventKind::Accepted);
        let accepted = server.events[at].link.unwrap();
        assert!(server.events[at].name.as_deref().unwrap().starts_with("far/127.0.0.1:"));
        client.engine.set_state(dialled, b"load=3").unwrap();
        settle(|| client.engine.info(dialled).unwrap().answers_received > 5);
        settle(|| server.engine.info(accepted).unwrap().answers_received > 5);
        let mut told = [0; 16];
        settle(|| server.engine.peer_state(accepted, &mut told).unwrap() == 6);
        let seen = client.engine.info(dialled).unwrap();
        assert!(seen.agreed.is_some() && seen.rtt.is_some() && seen.frames_unauthenticated == 0, "{seen:?}");
        // One exchange more than over a stream, and nothing else.
        assert_eq!(info(&server, listener).challenged, 1);
        // The other application lets the link go: who beats on is told that he is not known any more.
        server.engine.close(accepted).unwrap();
        let down = client.until_kind(0, dialled, EventKind::Down);
        assert!(matches!(client.events[down].cause, Some(Cause::Reset)), "{:?}", client.lines());
        client.until_kind(down, dialled, EventKind::Up);
        let next = server.until(at + 1, |event| event.kind == EventKind::Accepted);
        assert_ne!(server.events[next].link, Some(accepted));
        // A closed listener still serves the links that it has.
        server.engine.close_listener(listener).unwrap();
        let second = server.events[next].link.unwrap();
        let beats = server.engine.info(second).unwrap().answers_received;
        settle(|| server.engine.info(second).unwrap().answers_received > beats + 3);
        assert_eq!(client.count(dialled, EventKind::Down), 1);
    }
}

#[test]
fn nothing_is_kept_or_said_of_an_address_that_did_not_prove_itself() {
    let mut server = Bench::new(TimeSource::Manual(0));
    let listener = open(&server, CALM, &ListenerOptions::default());
    let mut peer = Peer::new(&server, listener);
    // A challenge is not larger than the heart, and the same until the secret changes.
    let heart = peer.heart(1);
    peer.socket.send(&heart).unwrap();
    let challenge = peer.receive();
    assert!(challenge.len() <= heart.len());
    peer.socket.send(&heart).unwrap();
    assert_eq!(peer.receive(), challenge);
    // Who guesses gets another challenge; who has no session, or is no heart, gets nothing.
    peer.session.yours = 99;
    peer.send(1);
    assert_eq!(peer.receive(), challenge);
    let mut bare = [0; 64];
    let length = Protocol::Heart.beat(1, &Fields::default(), &mut bare).unwrap();
    peer.socket.send(&bare[..length]).unwrap();
    let owed = Owed { sequence: 1, echo_us: 1, room: 64 };
    let fields = Fields { session: Some(peer.session), ..Fields::default() };
    let length = Protocol::Heart.answer(&owed, &fields, &mut bare).unwrap();
    peer.socket.send(&bare[..length]).unwrap();
    for length in 0..heart.len() {
        peer.socket.send(&heart[..length]).unwrap();
    }
    assert!(!peer.has_received());
    let seen = info(&server, listener);
    assert_eq!((seen.links, seen.greeting, seen.challenged), (0, 0, 3));
    assert_eq!(server.engine.health().unwrap().links, 0);
    // The cookie is good for its address and number only.
    peer.session.yours = 0;
    peer.send(3);
    let cookie = peer.challenged();
    let mut thief = Peer::new(&server, listener);
    thief.session.yours = cookie;
    thief.send(4);
    assert_ne!(thief.challenged(), cookie);
    peer.session = Session { mine: 0x9999, yours: cookie };
    peer.send(4);
    assert_ne!(peer.challenged(), cookie);
    peer.session = Session { mine: 0x1234, yours: cookie };
    peer.send(5);
    server.until(0, |event| event.kind == EventKind::Accepted);
    assert_eq!(info(&server, listener).links, 1);
}

#[test]
fn a_number_that_was_used_is_not_good_again() {
    let mut server = Bench::new(TimeSource::Manual(0));
    let listener = open(&server, CALM, &ListenerOptions::default());
    let mut peer = Peer::new(&server, listener);
    server.advance(5_000);
    peer.prove();
    let at = server.until(0, |event| event.kind == EventKind::Accepted);
    let used = peer.session;
    let link = server.events[at].link.unwrap();
    server.engine.close(link).unwrap();
    server.until_kind(at, link, EventKind::Closed);
    settle(|| {
        // What is replayed proves nothing, and gets a challenge by another secret.
        peer.session = used;
        peer.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        peer.send(3);
        let mut buffer = [0; 256];
        while let Ok(length) = peer.socket.recv(&mut buffer) {
            if let Some(Inbound::Challenge { told, .. }) = Protocol::Heart.datagram(&mut &buffer[..length], None) {
                assert_ne!(told.session.unwrap().mine, used.yours);
                return true;
            }
        }
        false
    });
    assert_eq!((info(&server, listener).links, info(&server, listener).accepted), (0, 1));
}

#[test]
fn a_sealed_listener_hears_only_who_has_the_key() {
    let server = Bench::new(TimeSource::Manual(0));
    let listener = open(&server, CALM, &ListenerOptions { keys: Some(keys(7)), ..ListenerOptions::default() });
    let mut plain = Peer::new(&server, listener);
    plain.send(1);
    let mut wrong = Peer::new(&server, listener);
    wrong.seal = Some(Seal::new(keys(8)));
    wrong.send(1);
    assert!(!plain.has_received() && !wrong.has_received());
    let mut right = Peer::new(&server, listener);
    right.seal = Some(Seal::new(keys(7)));
    let heart = right.heart(1);
    right.socket.send(&heart).unwrap();
    let challenge = right.receive();
    assert!(challenge.len() <= heart.len());
    right.send(1);
    right.session.yours = right.challenged();
    let first = right.heart(2);
    right.socket.send(&first).unwrap();
    settle(|| info(&server, listener).links == 1);
    // What was recorded is heard once.
    let mut links = [0; 1];
    server.engine.links(None, &mut links).unwrap();
    let link = hbeat::engine::LinkId(links[0]);
    for _ in 0..5 {
        right.socket.send(&first).unwrap();
    }
    settle(|| server.engine.info(link).unwrap().frames_unauthenticated == 5);
    assert_eq!(server.engine.info(link).unwrap().beats_received, 1);
}

#[test]
fn limits_hold_for_datagrams_too_and_silence_has_its_verdict() {
    let mut server = Bench::new(TimeSource::Manual(0));
    let listener = open(&server, CALM, &ListenerOptions { max_links: 1, ..ListenerOptions::default() });
    let mut first = Peer::new(&server, listener);
    first.prove();
    let at = server.until(0, |event| event.kind == EventKind::Accepted);
    let mut second = Peer::new(&server, listener);
    second.prove();
    let limit = server.until(0, |event| event.kind == EventKind::ListenerLimit);
    assert_eq!(server.events[limit].listener, Some(listener));
    assert_eq!(info(&server, listener).refused[Refusal::Links as usize], 1);
    // Beats go each in a datagram of its own, answers never larger than what they answer.
    let heart = first.heart(3);
    while first.has_received() {}
    first.socket.send(&heart).unwrap();
    let answer = first.receive();
    assert!(matches!(Protocol::Heart.datagram(&mut &answer[..], None), Some(Inbound::Answer { sequence: 3, .. })));
    assert!(answer.len() <= heart.len());
    // Nobody answers: on time.
    server.advance(3_999);
    assert_eq!(server.engine.info(server.events[at].link.unwrap()).unwrap().state, State::Suspect);
    server.advance(4_100);
    let down = server.until(0, |event| event.kind == EventKind::Down);
    assert_eq!(server.events[down].cause, Some(Cause::NoAnswer));
}

#[test]
fn nobody_there_is_refused_and_names_are_looked_up() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut bench = Bench::new(TimeSource::System);
    let link = bench.dial(&format!("udp://localhost:{gone}"), QUICK, &heart());
    let at = bench.until(0, |event| event.attempt == 2);
    assert!(matches!(bench.events[at].cause, Some(Cause::Refused)), "{:?}", bench.lines());
    bench.engine.close(link).unwrap();
}
