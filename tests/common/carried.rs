//! What tests of carried links have in common: an engine and all that it said, and a peer that answers hearts.

use hbeat::core::{Backoff, Cause, Policy};
use hbeat::engine::{Endpoint, Engine, Event, EventKind, LinkId, LinkOptions, Options, TimeSource};
use hbeat::wire::{Fields, Inbound, Owed, Protocol, Reader};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::IntoRawFd;
use std::time::{Duration, Instant};

/// Long: a machine without a name server takes its time to say that there is no such name.
pub const PATIENCE: Duration = Duration::from_secs(120);
pub fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap()
}

pub fn heart() -> LinkOptions {
    let backoff =
        Backoff { least_ms: 1, first_ms: 20, cap_ms: 100, stable_ms: 60_000, refused_ms: 100, ..Default::default() };
    LinkOptions { protocol: Protocol::Heart, backoff, ..LinkOptions::default() }
}

/// An engine whose events are pulled, and all that it has said.
pub struct Bench {
    pub engine: Engine,
    pub events: Vec<Event>,
}

impl Bench {
    pub fn new(clock: TimeSource) -> Self {
        Self::with(Options { clock, ..Options::default() })
    }

    pub fn with(options: Options) -> Self {
        Self { engine: Engine::new(options).unwrap(), events: Vec::new() }
    }

    pub fn dial(&self, endpoint: &str, text: &str, options: &LinkOptions) -> LinkId {
        self.engine.dial(&Endpoint::parse(endpoint).unwrap(), &policy(text), options).unwrap()
    }

    pub fn adopt(&self, socket: impl IntoRawFd, text: &str, options: &LinkOptions) -> LinkId {
        self.engine.adopt(socket.into_raw_fd(), &policy(text), options).unwrap()
    }

    /// Pulls until there is an event like that behind the first `from`, and gives its place.
    pub fn until(&mut self, from: usize, mut like: impl FnMut(&Event) -> bool) -> usize {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.events[from.min(self.events.len())..].iter().position(&mut like) {
                return from + at;
            }
            assert!(Instant::now() < end, "it did not come: {:#?}", self.lines());
            let events = &mut self.events;
            let _ = self.engine.wait(64, Some(Duration::from_millis(20)), &mut |event| events.push(event.clone()));
        }
    }

    /// Moves the manual clock on, pulling on the way.
    pub fn advance(&mut self, to_ms: u64) {
        while self.engine.advance(to_ms * 1_000_000).unwrap() {
            let events = &mut self.events;
            let _ = self.engine.wait(64, Some(Duration::ZERO), &mut |event| events.push(event.clone()));
        }
    }

    pub fn until_kind(&mut self, from: usize, link: LinkId, kind: EventKind) -> usize {
        self.until(from, |event| event.kind == kind && event.link == Some(link))
    }

    pub fn lines(&self) -> Vec<String> {
        self.events.iter().map(Event::to_string).collect()
    }

    pub fn kinds(&self, link: LinkId) -> Vec<EventKind> {
        self.events.iter().filter(|event| event.link == Some(link)).map(|event| event.kind).collect()
    }

    /// How often it happened, those that were merged included.
    pub fn count(&self, link: LinkId, kind: EventKind) -> u32 {
        let like = |event: &&Event| event.kind == kind && event.link == Some(link);
        self.events.iter().filter(like).map(|event| event.count).sum()
    }
}

/// How a closed connection looks from the other end: a beat that was on its way to it is answered by a reset.
pub fn is_end(cause: Option<Cause>) -> bool {
    matches!(cause, Some(Cause::ClosedByPeer | Cause::Reset))
}

pub fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}

/// Answers hearts until told to stop or the connection ends.
pub fn answer_hearts(mut stream: impl Read + Write, mut wanted: impl FnMut() -> bool) {
    let mut reader = Reader::new(Protocol::Heart).unwrap();
    let mut buffer = [0; 4096];
    while wanted() {
        let Ok(count @ 1..) = stream.read(&mut buffer) else { return };
        let mut bytes = &buffer[..count];
        let mut owed: Vec<Owed> = Vec::new();
        while let Ok(Some(inbound)) = reader.next(&mut bytes) {
            if let Inbound::Beat { owed: Some(one), .. } = inbound {
                owed.push(one);
            }
        }
        for one in owed {
            let mut out = [0; 64];
            let length = Protocol::Heart.answer(&one, &Fields::default(), &mut out).unwrap();
            if stream.write_all(&out[..length]).is_err() {
                return;
            }
        }
    }
}
