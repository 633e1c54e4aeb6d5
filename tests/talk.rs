//! Sealed links between two engines, over real sockets of the loopback, with someone in between who copies, keeps and replays.

use hbeat::core::{Backoff, Cause, Policy, State};
use hbeat::engine::{Endpoint, Engine, Event, EventKind, LinkId, LinkOptions, Options};
use hbeat::wire::{Keys, Protocol};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// Each try has ten seconds: no machine is so slow that a link of these tests goes DOWN by itself.
const QUICK: &str = "interval=20ms timeout=10s tries=3";

fn keys(octets: &[u8]) -> Arc<Keys> {
    let both: Vec<_> = octets.iter().map(|octet| (u32::from(*octet), [*octet; 32])).collect();
    let both: Vec<_> = both.iter().map(|(id, octets)| (*id, &octets[..])).collect();
    Arc::new(Keys::new(&both).unwrap())
}

fn sealed(octets: &[u8]) -> LinkOptions {
    let backoff = Backoff { least_ms: 1, first_ms: 5, cap_ms: 20, refused_ms: 20, ..Backoff::default() };
    LinkOptions { protocol: Protocol::Heart, backoff, keys: Some(keys(octets)), ..LinkOptions::default() }
}

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap()
}

struct Bench {
    engine: Engine,
    events: Vec<Event>,
}

impl Bench {
    fn new() -> Self {
        Self { engine: Engine::new(Options::default()).unwrap(), events: Vec::new() }
    }

    fn adopt(&self, socket: impl IntoRawFd, text: &str, options: &LinkOptions) -> LinkId {
        self.engine.adopt(socket.into_raw_fd(), &policy(text), options).unwrap()
    }

    /// Pulls until it is so.
    fn until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !so(self) {
            let lines: Vec<_> = self.events.iter().map(Event::to_string).collect();
            assert!(Instant::now() < end, "{what}: {lines:#?}");
            let events = &mut self.events;
            self.engine.wait(64, Some(Duration::from_millis(5)), &mut |event| events.push(event.clone())).unwrap();
        }
    }

    fn count(&self, link: LinkId, kind: EventKind) -> u32 {
        let of_it = |event: &&Event| event.link == Some(link) && event.kind == kind;
        self.events.iter().filter(of_it).map(|event| event.count).sum()
    }

    fn up(&mut self, link: LinkId, times: u32) {
        self.until("up", |bench| bench.count(link, EventKind::Up) == times);
    }

    fn unauthenticated(&self, link: LinkId) -> u64 {
        self.engine.info(link).unwrap().frames_unauthenticated
    }
}

/// Hands on what comes, and a copy of it to who listens.
fn relay(mut from: TcpStream, mut to: TcpStream, copies: Sender<Vec<u8>>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let _ = copies.send(buffer[..count].to_vec());
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

/// The next connection of the client's, led to the server; gives both ends of the way, and what the server says.
fn lead(listener: &TcpListener, server: &TcpListener) -> (TcpStream, TcpStream, Receiver<Vec<u8>>) {
    let client = listener.accept().unwrap().0;
    let onward = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    let (copies, said) = channel();
    relay(client.try_clone().unwrap(), onward.try_clone().unwrap(), channel().0);
    relay(onward.try_clone().unwrap(), client.try_clone().unwrap(), copies);
    (client, onward, said)
}

/// How long the first `count` frames are.
fn frames(bytes: &[u8], count: usize) -> usize {
    (0..count).fold(0, |at, _| at + usize::from(u16::from_be_bytes([bytes[at + 6], bytes[at + 7]])))
}

#[test]
fn a_connection_that_was_recorded_gives_the_next_one_nothing() {
    let (between, behind) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (mut client, mut server) = (Bench::new(), Bench::new());
    let endpoint = Endpoint::parse(&format!("tcp://{}", between.local_addr().unwrap())).unwrap();
    let dialled = client.engine.dial(&endpoint, &policy(QUICK), &sealed(&[1])).unwrap();
    let (ours, onward, said) = lead(&between, &behind);
    let first = server.adopt(behind.accept().unwrap().0, QUICK, &sealed(&[1]));
    client.up(dialled, 1);
    server.up(first, 1);
    let mut recorded = Vec::new();
    while recorded.len() < 100 * 80 {
        recorded.extend(said.recv_timeout(PATIENCE).unwrap());
    }
    // The connection breaks; the next one leads to the recording first, and the link is not UP by it.
    ours.shutdown(Shutdown::Both).unwrap();
    onward.shutdown(Shutdown::Both).unwrap();
    let mut player = between.accept().unwrap().0;
    player.write_all(&recorded[..frames(&recorded, 90)]).unwrap();
    client.until("the recording was heard", |bench| bench.unauthenticated(dialled) > 50);
    let info = client.engine.info(dialled).unwrap();
    assert_eq!((info.state, client.count(dialled, EventKind::Up)), (State::Connecting, 1));
    assert_eq!(info.agreed, None);
    player.shutdown(Shutdown::Both).unwrap();
    drop(player);
    // Then to the server, with the recording in between: the link is UP and stays so.
    let (mut ours, _onward, _said) = lead(&between, &behind);
    let second = server.adopt(behind.accept().unwrap().0, QUICK, &sealed(&[1]));
    client.up(dialled, 2);
    server.up(second, 1);
    let before = client.unauthenticated(dialled);
    let answers = client.engine.info(dialled).unwrap().answers_received;
    ours.write_all(&recorded[..frames(&recorded, 20)]).unwrap();
    let info = |bench: &Bench| bench.engine.info(dialled).unwrap();
    client.until("it goes on", |bench| info(bench).answers_received > answers + 10);
    assert!(client.unauthenticated(dialled) > before && client.count(dialled, EventKind::Down) == 1);
}

#[test]
fn keys_are_changed_under_load_and_no_frame_is_refused() {
    let mut bench = Bench::new();
    let links: Vec<_> = (0..20)
        .map(|_| {
            let (one, other) = UnixStream::pair().unwrap();
            [one, other]
                .map(|socket| bench.adopt(socket, "strategy=periodic interval=5ms timeout=10s tries=3", &sealed(&[0])))
        })
        .collect();
    for link in links.iter().flatten() {
        bench.up(*link, 1);
    }
    for old in 0..4 {
        let new = old + 1;
        for keys_now in [&[old, new][..], &[new, old], &[new]] {
            for side in 0..2 {
                for pair in &links {
                    bench.engine.set_keys(pair[side], keys(keys_now)).unwrap();
                }
            }
            // What was sealed before was heard by then.
            let answers = |bench: &Bench| -> Vec<u64> {
                links.iter().flatten().map(|link| bench.engine.info(*link).unwrap().answers_received).collect()
            };
            let before = answers(&bench);
            bench.until("beats go on", |bench| answers(bench).iter().zip(&before).all(|(now, then)| *now > then + 2));
        }
    }
    for link in links.iter().flatten() {
        let info = bench.engine.info(*link).unwrap();
        assert_eq!((info.state, info.frames_unauthenticated), (State::Up, 0));
        assert_eq!((bench.count(*link, EventKind::Down), bench.count(*link, EventKind::Suspect)), (0, 0));
    }
}

#[test]
fn a_mirror_is_not_taken_for_a_peer() {
    let mut bench = Bench::new();
    let (ours, mut mirror) = UnixStream::pair().unwrap();
    let link = bench.adopt(ours, "interval=20ms timeout=100ms tries=3", &sealed(&[1]));
    let reflect = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = mirror.read(&mut buffer) {
            if mirror.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    });
    bench.until("down", |bench| bench.count(link, EventKind::Down) == 1);
    assert_eq!(bench.events.last().unwrap().cause, Some(Cause::Unauthenticated));
    assert_eq!(bench.count(link, EventKind::Up), 0);
    reflect.join().unwrap();
}
