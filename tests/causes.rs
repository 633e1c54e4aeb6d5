//! Every cause that a link can be DOWN for occurs, is told from the others, and has its evidence. Over real sockets of the
//! loopback; nothing here is timed.

#[path = "common/carried.rs"]
#[allow(dead_code, reason = "not all of it is for this")]
mod carried;

use carried::{Bench, heart, listen};
use hbeat::core::Cause;
use hbeat::engine::{Event, EventKind, LinkId, LinkOptions, Reconnect, TimeSource};
use hbeat::wire::{Fields, Keys, Protocol};
use socket2::SockRef;
use std::any::Any;
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Gives up soon.
const HASTY: &str = "interval=20ms timeout=50ms tries=3";
/// Does not give up by itself while a test runs, however slow the machine.
const PATIENT: &str = "interval=20ms timeout=30s tries=3";

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn sealed() -> LinkOptions {
    LinkOptions { keys: Some(Arc::new(Keys::new(&[(1, &[7; 32])]).unwrap())), ..heart() }
}

fn beat(sequence: u32) -> Vec<u8> {
    let mut frame = [0; 64];
    let length = Protocol::Heart.beat(sequence, &Fields::default(), &mut frame).unwrap();
    frame[..length].to_vec()
}

/// The verdict on a link, which comes of itself or of what was done.
fn verdict(mut bench: Bench, link: LinkId) -> Event {
    let down = bench.until_kind(0, link, EventKind::Down);
    bench.events.swap_remove(down)
}

fn verdict_on(ours: TcpStream, text: &str, options: &LinkOptions) -> Event {
    let bench = Bench::new(TimeSource::System);
    let link = bench.adopt(ours, text, options);
    verdict(bench, link)
}

/// Has the peer do something with its end of a connection, and then hands over ours, so that what the peer said is there
/// however slow the machine is. What `peer` gives lives until the verdict.
fn verdict_with(text: &str, options: &LinkOptions, peer: impl FnOnce(TcpStream) -> Box<dyn Any>) -> Event {
    let (ours, theirs) = connected();
    let _alive = peer(theirs);
    verdict_on(ours, text, options)
}

/// Likewise with another engine, of which something must have come.
fn verdict_with_engine(text: &str, options: &LinkOptions, theirs: (&str, &LinkOptions)) -> Event {
    let (ours, stream) = connected();
    let other = Bench::new(TimeSource::System);
    other.adopt(stream, theirs.0, theirs.1);
    ours.peek(&mut [0]).unwrap();
    verdict_on(ours, text, options)
}

/// A link that does not give up by itself, and the peer's end.
fn adopted() -> (Bench, LinkId, TcpStream) {
    let (ours, theirs) = connected();
    let bench = Bench::new(TimeSource::System);
    let link = bench.adopt(ours, PATIENT, &heart());
    (bench, link, theirs)
}

/// A link to where nobody is.
fn verdict_on_dialling(endpoint: &str) -> Event {
    let bench = Bench::new(TimeSource::System);
    let link = bench.dial(endpoint, PATIENT, &LinkOptions { reconnect: Reconnect::No, ..heart() });
    verdict(bench, link)
}

/// The occurrence of each; the compiler misses the one that is left out.
fn occurrence(cause: Cause) -> Event {
    match cause {
        Cause::NoAnswer => verdict_with(HASTY, &heart(), |stream| Box::new(stream)),
        Cause::Silent => verdict_with("passive hold=100ms timeout=20ms tries=0", &heart(), |mut stream| {
            stream.write_all(&beat(1)).unwrap();
            Box::new(stream)
        }),
        Cause::SendStuck => {
            let (mut ours, theirs) = connected();
            ours.set_nonblocking(true).unwrap();
            let full = std::iter::repeat_with(|| ours.write(&[0; 65536])).find_map(Result::err).unwrap();
            assert_eq!(full.kind(), ErrorKind::WouldBlock);
            let event = verdict_on(ours, HASTY, &heart());
            drop(theirs);
            event
        }
        Cause::Refused => {
            let (listener, endpoint) = listen();
            drop(listener);
            verdict_on_dialling(&endpoint)
        }
        Cause::Reset => {
            let (bench, link, theirs) = adopted();
            SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
            drop(theirs);
            verdict(bench, link)
        }
        Cause::ClosedByPeer => verdict_with(PATIENT, &heart(), |stream| {
            stream.shutdown(Shutdown::Write).unwrap();
            Box::new(stream)
        }),
        Cause::Unreachable => verdict_on_dialling("tcp://no-such-name.invalid:7"),
        Cause::Desync => verdict_with(PATIENT, &heart(), |mut stream| {
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            Box::new(stream)
        }),
        Cause::PartialFrame => verdict_with(HASTY, &heart(), |mut stream| {
            stream.write_all(b"HB\x01\x01").unwrap();
            Box::new(stream)
        }),
        Cause::ProtocolError => verdict_with_engine(HASTY, &heart(), (PATIENT, &sealed())),
        Cause::Unauthenticated => verdict_with_engine(HASTY, &sealed(), (PATIENT, &heart())),
        Cause::Policed => verdict_with("interval=10s timeout=30s least=10s strikes=3", &heart(), |mut stream| {
            for sequence in 1..=100 {
                if stream.write_all(&beat(sequence)).is_err() {
                    break;
                }
            }
            Box::new(stream)
        }),
        Cause::PeerAppNotResponding => verdict_with_engine(
            "interval=20ms timeout=1s tries=2",
            &heart(),
            ("interval=20ms timeout=30s tries=3 progress=10ms on_no_progress=flag", &heart()),
        ),
        Cause::Reported => {
            let (bench, link, _theirs) = adopted();
            assert!(bench.engine.report_down(link, Cause::Reported, 0).unwrap());
            verdict(bench, link)
        }
    }
}

#[test]
fn every_cause_occurs_with_its_evidence() {
    let occurred = Cause::ALL.map(|cause| (cause, occurrence(cause)));
    for (cause, event) in &occurred {
        assert_eq!(event.cause, Some(*cause), "{event}");
        // All but the name that leads nowhere had a socket.
        let had_socket = *cause != Cause::Unreachable;
        assert_eq!(event.tcp.is_some(), cfg!(target_os = "linux") && had_socket, "{event}");
        // Who refused acknowledged nothing, ever.
        let age = event.tcp.as_ref().and_then(|tcp| tcp.last_ack_ms);
        assert_eq!(age.is_some(), event.tcp.is_some() && *cause != Cause::Refused, "{event}");
    }
}
