//! Who means harm: floods, noise and dribble against listeners, while other links are watched as ever. Over real sockets of
//! the loopback; nothing here is timed but by generous bounds.

#[path = "common/carried.rs"]
#[allow(dead_code, reason = "not all of it is for this")]
mod carried;

use carried::{Bench, heart, policy};
use hbeat::core::{Cause, State};
use hbeat::engine::{Endpoint, EventKind, LinkId, ListenerId, ListenerInfo, ListenerOptions, TimeSource};
use hbeat::wire::{Fields, Protocol, Session};
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const QUICK: &str = "interval=200ms timeout=1s tries=3";
/// What memory may grow by meanwhile: one byte kept of each datagram or stream would be more.
const FLAT_BYTES: usize = 8 << 20;

/// A server, a link to it that lives, and one whose peer takes the connection and never says a word.
struct Stage {
    server: Bench,
    client: Bench,
    alive: LinkId,
    mute: LinkId,
    _door: TcpListener,
}

impl Stage {
    fn new() -> Self {
        let server = Bench::new(TimeSource::System);
        let mut client = Bench::new(TimeSource::System);
        let listener = listen(&server, "tcp://127.0.0.1:0", ListenerOptions::default());
        let alive = client.dial(&info(&server, listener).endpoint, QUICK, &heart());
        client.until_kind(0, alive, EventKind::Up);
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let mute = server.dial(&format!("tcp://{}", door.local_addr().unwrap()), QUICK, &heart());
        Self { server, client, alive, mute, _door: door }
    }

    /// The link that lives never went DOWN, and the peer that is mute was given up in its time, again and again.
    fn went_on(mut self, since: Instant) {
        let first = self.server.until(0, |event| event.link == Some(self.mute) && event.attempt > 1);
        assert_eq!(self.server.events[first].cause, Some(Cause::NoAnswer));
        // Each attempt has three seconds, and there is little between them.
        let attempts = (since.elapsed().as_secs() / 6) as u32;
        self.server.until(first, |event| event.link == Some(self.mute) && event.attempt >= attempts);
        assert_eq!(self.client.engine.info(self.alive).unwrap().state, State::Up);
        let _ = self.client.engine.wait(64, Some(Duration::ZERO), &mut |event| assert_ne!(event.kind, EventKind::Down));
    }
}

fn listen(bench: &Bench, endpoint: &str, options: ListenerOptions) -> ListenerId {
    bench.engine.listen(&Endpoint::parse_local(endpoint).unwrap(), &policy(QUICK), &options).unwrap()
}

fn info(bench: &Bench, listener: ListenerId) -> ListenerInfo {
    bench.engine.listener_info(listener).unwrap()
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Numbers without a pattern.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Fills a datagram; one of two looks like a frame at first.
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        if bytes.len() >= 28 && self.next() & 1 == 0 {
            bytes[..6].copy_from_slice(b"HB\x01\x01\0\0");
            let length = bytes.len() as u16;
            bytes[6..8].copy_from_slice(&length.to_be_bytes());
        }
    }
}

#[test]
fn a_hundred_thousand_hellos_and_a_million_random_datagrams_leave_nothing_behind() {
    let since = Instant::now();
    let stage = Stage::new();
    let listener = listen(&stage.server, "udp://127.0.0.1:0", ListenerOptions::default());
    let to = ("127.0.0.1", info(&stage.server, listener).port);
    let links = stage.server.engine.health().unwrap().links;
    let before = resident_bytes();
    // Each of 200 addresses claims 500 connections; nobody reads what comes back.
    let hosts: Vec<_> = (0..200).map(|host| UdpSocket::bind((format!("127.0.7.{}", host + 1), 0)).unwrap()).collect();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut buffer = [0; 1400];
    for _ in 0..500 {
        for host in &hosts {
            let session = Some(Session { mine: noise.next() | 1, yours: 0 });
            let length = Protocol::Heart.beat(1, &Fields { session, ..Fields::default() }, &mut buffer).unwrap();
            host.send_to(&buffer[..length], to).unwrap();
        }
    }
    for round in 0..1_000_000_usize {
        let length = 1 + (noise.next() as usize) % if round % 16 == 0 { buffer.len() - 1 } else { 64 };
        noise.fill(&mut buffer[..length]);
        hosts[round % hosts.len()].send_to(&buffer[..length], to).unwrap();
    }
    let seen = info(&stage.server, listener);
    assert!(seen.challenged > 0);
    assert_eq!((seen.links, seen.greeting, seen.accepted), (0, 0, 0));
    assert_eq!(stage.server.engine.health().unwrap().links, links);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < FLAT_BYTES, "{grown} bytes");
    stage.went_on(since);
}

#[test]
fn ten_thousand_streams_of_noise_and_those_that_dribble_come_to_their_end() {
    let since = Instant::now();
    let stage = Stage::new();
    let options = ListenerOptions { max_greeting: 64, ..ListenerOptions::default() };
    let listener = listen(&stage.server, "tcp://127.0.0.1:0", options);
    let to = ("127.0.0.1", info(&stage.server, listener).port);
    let before = resident_bytes();
    // As many as there is room for, each with an octet now and then.
    let mut dribbling: Vec<_> = (0..100).map(|_| TcpStream::connect(to).unwrap()).collect();
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    let mut buffer = [0; 600];
    for round in 0..10_000_usize {
        let length = 1 + (noise.next() as usize) % buffer.len();
        noise.fill(&mut buffer[..length]);
        // Refused or given up, it may be gone before it said a word.
        let _ = TcpStream::connect(to).unwrap().write_all(&buffer[..length]);
        if round % 100 == 0 {
            let octet = [b"HB"[round / 100 % 2]];
            dribbling.retain_mut(|stream| stream.write_all(&octet).is_ok());
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < FLAT_BYTES, "{grown} bytes");
    // Who means well gets in as soon as there is room again, while the others still try.
    let mut friend = Bench::new(TimeSource::System);
    let link = friend.dial(&info(&stage.server, listener).endpoint, QUICK, &heart());
    friend.until_kind(0, link, EventKind::Up);
    drop(dribbling);
    let patience = Instant::now() + carried::PATIENCE;
    while info(&stage.server, listener).accepted == 0 {
        assert!(Instant::now() < patience, "it was heard at one end only");
        std::thread::sleep(Duration::from_millis(5));
    }
    let seen = info(&stage.server, listener);
    assert!(seen.never_heard > 64 && seen.refused.iter().sum::<u64>() > 0, "{seen:?}");
    stage.went_on(since);
}
