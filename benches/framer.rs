//! The framer against a loop that reads nothing but lengths, in one run, over streams of small messages that come in
//! different portions; ends with the ratios.
//!
//! `cargo bench --bench framer`

mod common;

use std::hint::black_box;
use std::time::Instant;

use common::measure;
use criterion::{Criterion, Throughput};
use hbeat::wire::framer::{Framer, Framing};
use hbeat::wire::{FRAME_MAX, Fields, Owed, Protocol};

const STREAM: usize = 64 << 10;
const PORTION: usize = 4_096;

/// Of a CMPP gateway: the answer to a short message.
const SUBMIT_RESP: [u8; 21] = [0, 0, 0, 21, 0x80, 0, 0, 4, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 0];

/// The messages of a stream: beats and answers by turns, and what else the protocol has.
fn messages(protocol: Protocol) -> Vec<Vec<u8>> {
    let (mut all, mut length, mut frame) = (Vec::new(), 0, [0; FRAME_MAX]);
    for sequence in 1.. {
        let owed = Owed { sequence, echo_us: 7, room: 0 };
        let written = match sequence % 3 {
            0 if protocol == Protocol::Cmpp => {
                frame[..SUBMIT_RESP.len()].copy_from_slice(&SUBMIT_RESP);
                Some(SUBMIT_RESP.len())
            }
            0 => protocol.beat(sequence, &Fields { state: b"ready", ..Fields::default() }, &mut frame),
            1 => protocol.beat(sequence, &Fields::default(), &mut frame),
            _ => protocol.answer(&owed, &Fields::default(), &mut frame),
        };
        let message = &frame[..written.expect("room for a frame")];
        length += message.len();
        all.push(message.to_vec());
        if length >= STREAM {
            break;
        }
    }
    all
}

/// What both peers can do.
trait Lengths {
    fn new(framing: &'static Framing) -> Self;
    /// How many messages end in the portion.
    fn feed(&mut self, portion: &[u8]) -> usize;
}

impl Lengths for Framer {
    fn new(framing: &'static Framing) -> Self {
        Self::new(framing)
    }

    fn feed(&mut self, mut portion: &[u8]) -> usize {
        let mut count = 0;
        while let Some(message) = self.next(&mut portion).expect("a sound stream") {
            black_box(message.head());
            count += 1;
        }
        count
    }
}

/// Keeps nothing, checks nothing, hands nothing out.
struct Bound {
    /// Where the length stands.
    begin: usize,
    end: usize,
    /// Octets seen of the message, and how many it has; while that is unknown, what was read of it.
    seen: usize,
    length: usize,
}

impl Lengths for Bound {
    fn new(framing: &'static Framing) -> Self {
        let begin = framing.length.offset as usize;
        Self { begin, end: begin + framing.length.size as usize, seen: 0, length: 0 }
    }

    fn feed(&mut self, portion: &[u8]) -> usize {
        let (mut at, mut count) = (0, 0);
        while at < portion.len() {
            if self.seen < self.end {
                if self.seen >= self.begin {
                    self.length = self.length << 8 | usize::from(portion[at]);
                }
                self.seen += 1;
                at += 1;
                continue;
            }
            let taken = (self.length - self.seen).min(portion.len() - at);
            self.seen += taken;
            at += taken;
            if self.seen == self.length {
                (self.seen, self.length) = (0, 0);
                count += 1;
            }
        }
        count
    }
}

/// Gives ns for each octet of the stream.
fn bench<L: Lengths>(criterion: &mut Criterion, name: (&str, &str), protocol: Protocol, portions: &[&[u8]]) -> f64 {
    let framing = protocol.framing().expect("a protocol with frames");
    let messages = messages(protocol).len();
    let length: usize = portions.iter().map(|portion| portion.len()).sum();
    measure(criterion, name, (Throughput::Bytes, length as u64), || {
        let mut reader = L::new(framing);
        let begun = Instant::now();
        let found: usize = black_box(portions).iter().map(|portion| reader.feed(portion)).sum();
        let spent = begun.elapsed();
        assert_eq!(found, messages);
        spent
    })
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut rows = Vec::new();
    for protocol in [Protocol::Cmpp, Protocol::Heart] {
        let messages = messages(protocol);
        let stream = messages.concat();
        let portions: [(&str, Vec<&[u8]>); 3] = [
            ("one message", messages.iter().map(Vec::as_slice).collect()),
            ("4 KiB", stream.chunks(PORTION).collect()),
            ("one octet", stream.chunks(1).collect()),
        ];
        for (what, portions) in portions {
            let group = format!("{protocol}_{}", what.replace(' ', "_"));
            let ours = bench::<Framer>(&mut criterion, (&group, "framer"), protocol, &portions);
            let bound = bench::<Bound>(&mut criterion, (&group, "bound"), protocol, &portions);
            rows.push((format!("{protocol}, {what}"), ours, bound));
        }
    }
    criterion.final_summary();

    println!("portions, MB a second         framer     bound  bound/framer");
    for (title, ours, bound) in rows {
        println!("{title:<24}{:>12.0}{:>10.0}{:>14.2}", 1e3 / ours, 1e3 / bound, ours / bound);
    }
}
