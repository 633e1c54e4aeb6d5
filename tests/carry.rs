//! Links that the engine carries, over real sockets of the loopback. Where a time is judged the clock is manual; elsewhere
//! nothing but an order is.

#[path = "common/carried.rs"]
mod carried;

use carried::{Bench, PATIENCE, answer_hearts, heart, is_end, listen};
use hbeat::core::{Cause, State};
use hbeat::engine::{EventKind, LinkOptions, Reconnect, TimeSource};
use hbeat::wire::Protocol;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

const ENOENT: u32 = libc::ENOENT.unsigned_abs();
const ECONNREFUSED: u32 = libc::ECONNREFUSED.unsigned_abs();
/// Octets of a heart that says terms, as each does before the peer has acknowledged them.
const GREETING: usize = 52;
const QUICK: &str = "interval=50ms timeout=2s tries=3";

#[test]
fn both_ends_come_up_and_beat_and_a_closed_end_is_seen_and_dialled_again() {
    let (listener, endpoint) = listen();
    let mut client = Bench::new(TimeSource::System);
    let mut server = Bench::new(TimeSource::System);
    let dialled = client.dial(&endpoint, QUICK, &LinkOptions { name: "door".into(), ..heart() });
    let first = server.adopt(listener.accept().unwrap().0, QUICK, &heart());
    client.until_kind(0, dialled, EventKind::Up);
    server.until_kind(0, first, EventKind::Up);
    // They go on beating.
    let end = Instant::now() + PATIENCE;
    while client.engine.info(dialled).unwrap().answers_received < 5 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
    let info = client.engine.info(dialled).unwrap();
    assert_eq!((info.state, info.cause, info.attempt), (State::Up, None, 0));
    assert!(info.rtt.is_some() && info.beats_sent >= 5);
    // The other end goes.
    server.engine.close(first).unwrap();
    let down = client.until_kind(0, dialled, EventKind::Down);
    assert!(is_end(client.events[down].cause));
    let second = server.adopt(listener.accept().unwrap().0, QUICK, &heart());
    let again = client.until_kind(down, dialled, EventKind::Up);
    server.until_kind(0, second, EventKind::Up);
    let kinds = client.kinds(dialled);
    use EventKind::{Connecting, Down, Up};
    assert_eq!(kinds, [Connecting, Up, Down, Connecting, Up], "{:#?}", client.lines());
    assert_eq!(client.events[again].name.as_deref(), Some("door"));
    client.engine.close(dialled).unwrap();
    client.until_kind(0, dialled, EventKind::Closed);
    let down = server.until_kind(0, second, EventKind::Down);
    assert!(is_end(server.events[down].cause));
    // An adopted link is not dialled.
    assert_eq!(server.engine.info(second).unwrap().state, State::Down);
    let stats = client.engine.stats().unwrap();
    assert!(State::ALL.iter().all(|state| stats.links(*state) == 0));
}

#[test]
fn who_does_not_answer_is_no_connection_and_each_attempt_is_timed_by_the_policy() {
    let (listener, endpoint) = listen();
    let mut bench = Bench::new(TimeSource::Manual(0));
    let backoff = hbeat::core::Backoff { least_ms: 700, first_ms: 700, cap_ms: 700, ..Default::default() };
    let link = bench.dial(&endpoint, "timeout=1s tries=3", &LinkOptions { backoff, ..heart() });
    let (mut mute, _) = listener.accept().unwrap();
    // The heart that greets has arrived: the connection stands.
    mute.read_exact(&mut [0; GREETING]).unwrap();
    bench.advance(2_999);
    assert_eq!(bench.engine.info(link).unwrap().attempt, 1);
    bench.advance(3_000);
    let failed = bench.until(0, |event| event.attempt == 2);
    let event = &bench.events[failed];
    assert_eq!(
        (event.kind, event.state, event.cause),
        (EventKind::Connecting, State::Connecting, Some(Cause::NoAnswer))
    );
    assert_eq!((event.at_ns, event.next_ms), (3_000_000_000, Some(700)));
    let info = bench.engine.info(link).unwrap();
    assert_eq!((info.attempt, info.next_ms, info.cause), (2, Some(700), Some(Cause::NoAnswer)));
    assert_eq!(mute.read(&mut [0; 256]).map(|_| ()).map_err(|error| error.kind()), Ok(()));
    // The next one, on time.
    bench.advance(3_700);
    let (other, _) = listener.accept().unwrap();
    drop(other);
}

#[test]
fn a_peer_that_falls_silent_is_down_for_want_of_an_answer() {
    let (listener, endpoint) = listen();
    let mut bench = Bench::new(TimeSource::System);
    let link = bench.dial(&endpoint, "interval=30ms timeout=100ms tries=3", &heart());
    let (stream, _) = listener.accept().unwrap();
    let keep = stream.try_clone().unwrap();
    let mut left = 3;
    answer_hearts(stream, || {
        left -= 1;
        left >= 0
    });
    let down = bench.until_kind(0, link, EventKind::Down);
    assert_eq!(bench.events[down].cause, Some(Cause::NoAnswer), "{:#?}", bench.lines());
    assert!(bench.kinds(link).contains(&EventKind::Suspect));
    drop(keep);
}

#[test]
fn the_last_attempt_is_the_verdict_on_the_link_with_its_evidence() {
    let (listener, endpoint) = listen();
    let mut bench = Bench::new(TimeSource::Manual(0));
    let once = LinkOptions { reconnect: Reconnect::No, ..heart() };
    let link = bench.dial(&endpoint, "timeout=1s tries=3", &once);
    let (mut mute, _) = listener.accept().unwrap();
    mute.read_exact(&mut [0; GREETING]).unwrap();
    bench.advance(3_000);
    let down = bench.until_kind(0, link, EventKind::Down);
    let down = &bench.events[down];
    assert_eq!((down.cause, down.tries, down.tries_max), (Some(Cause::NoAnswer), 3, 3), "{down}");
    assert!(down.tcp.is_some(), "{down}");
    assert_eq!(bench.kinds(link), [EventKind::Connecting, EventKind::Down], "{:#?}", bench.lines());
}

#[test]
fn each_failure_has_its_cause_and_attempts_come_to_an_end() {
    let (listener, refused) = listen();
    drop(listener);
    let mut bench = Bench::new(TimeSource::System);
    let twice = LinkOptions { attempts: 2, ..heart() };
    let once = LinkOptions { reconnect: Reconnect::No, ..heart() };
    for (endpoint, options, cause, errno) in [
        (refused.as_str(), &twice, Cause::Refused, Some(ECONNREFUSED)),
        (refused.as_str(), &once, Cause::Refused, Some(ECONNREFUSED)),
        ("unix:///no/such/socket", &once, Cause::Refused, Some(ENOENT)),
        // What the resolver says has a number on some machines.
        ("tcp://no-such-name.invalid:7", &once, Cause::Unreachable, None),
    ] {
        let link = bench.dial(endpoint, QUICK, options);
        let down = bench.until_kind(0, link, EventKind::Down);
        let event = &bench.events[down];
        assert_eq!((event.cause, event.state), (Some(cause), State::Down), "{endpoint}");
        assert!(errno.is_none_or(|errno| event.detail == errno), "{endpoint}: {event}");
        assert_eq!(event.tries, 0, "no beat was sent");
        let attempts = bench.count(link, EventKind::Connecting);
        assert_eq!(attempts, if options.attempts == 2 { 2 } else { 1 }, "{:#?}", bench.lines());
        assert_eq!(bench.engine.info(link).unwrap().state, State::Down);
        bench.engine.close(link).unwrap();
    }
}

#[test]
fn what_is_not_the_protocol_ends_the_connection() {
    let mut bench = Bench::new(TimeSource::System);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let link = bench.adopt(ours, QUICK, &heart());
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let down = bench.until_kind(0, link, EventKind::Down);
    assert_eq!(bench.events[down].cause, Some(Cause::Desync));
    let mut rest = Vec::new();
    theirs.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), GREETING, "the heart that greets, and then the end");
}

#[test]
fn an_engine_that_failed_lets_its_connections_go() {
    let bench = Bench::new(TimeSource::System);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    bench.adopt(ours, QUICK, &heart());
    theirs.read_exact(&mut [0; GREETING]).unwrap();
    bench.engine.fail();
    theirs.write_all(b"something to read").unwrap();
    let mut rest = Vec::new();
    let _ = theirs.read_to_end(&mut rest);
    assert!(rest.len() % GREETING == 0, "hearts, and then the end");
}

#[test]
fn a_link_that_was_logged_in_elsewhere_is_carried_in_its_protocol() {
    let mut bench = Bench::new(TimeSource::System);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let link = bench.adopt(ours, "cmpp interval=50ms timeout=2s", &LinkOptions { protocol: Protocol::Cmpp, ..heart() });
    let mut test = [0; 12];
    for _ in 0..3 {
        theirs.read_exact(&mut test).unwrap();
        assert_eq!(test[..8], [0, 0, 0, 12, 0, 0, 0, 8]);
        let mut answer = [0; 13];
        answer[..4].copy_from_slice(&[0, 0, 0, 13]);
        answer[4..8].copy_from_slice(&[0x80, 0, 0, 8]);
        answer[8..12].copy_from_slice(&test[8..]);
        theirs.write_all(&answer).unwrap();
    }
    bench.until_kind(0, link, EventKind::Up);
    theirs.write_all(&test).unwrap();
    let mut answered = [0; 13];
    theirs.read_exact(&mut answered[..12]).unwrap();
    bench.engine.close(link).unwrap();
}

#[test]
fn unix_sockets_are_dialled_and_a_report_gives_a_connection_up() {
    let directory = std::env::temp_dir().join(format!("hbeat-carry-{}", std::process::id()));
    let _ = std::fs::remove_file(&directory);
    let listener = UnixListener::bind(&directory).unwrap();
    let mut bench = Bench::new(TimeSource::System);
    let link = bench.dial(&format!("unix://{}", directory.display()), QUICK, &heart());
    let serve = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            answer_hearts(stream.unwrap(), || true);
        }
    });
    let up = bench.until_kind(0, link, EventKind::Up);
    assert!(bench.engine.report_down(link, Cause::Reported, 7).unwrap());
    let down = bench.until_kind(up, link, EventKind::Down);
    assert_eq!((bench.events[down].cause, bench.events[down].detail), (Some(Cause::Reported), 7));
    bench.until_kind(down, link, EventKind::Up);
    bench.engine.close(link).unwrap();
    serve.join().unwrap();
    std::fs::remove_file(&directory).unwrap();
}

#[test]
fn five_hundred_links_come_back_spread_and_none_is_lost() {
    const LINKS: usize = 500;
    let (listener, endpoint) = listen();
    let backoff = hbeat::core::Backoff { least_ms: 1, first_ms: 2_000, cap_ms: 2_000, ..Default::default() };
    let mut bench = Bench::new(TimeSource::System);
    let options = LinkOptions { backoff, ..heart() };
    let links: Vec<_> = (0..LINKS).map(|_| bench.dial(&endpoint, "timeout=10s", &options)).collect();
    let serve = |listener: &TcpListener| -> Vec<(Instant, TcpStream)> {
        (0..LINKS)
            .map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                let arrived = Instant::now();
                let mut left = 1;
                answer_hearts(&mut stream, || {
                    left -= 1;
                    left >= 0
                });
                (arrived, stream)
            })
            .collect()
    };
    let streams = serve(&listener);
    let all_up = |bench: &mut Bench, times: usize| {
        let mut from = 0;
        for _ in 0..LINKS * times {
            from = 1 + bench.until(from, |event| event.kind == EventKind::Up);
        }
    };
    all_up(&mut bench, 1);
    // The server restarts.
    drop(streams);
    let again = serve(&listener);
    all_up(&mut bench, 2);
    let first = again.iter().map(|(at, _)| *at).min().unwrap();
    let mut slots = [0; 40];
    for (at, _) in &again {
        slots[((at.duration_since(first).as_millis() / 100) as usize).min(39)] += 1;
    }
    // Full jitter over two seconds: 25 a slot on the mean.
    let busiest = slots[10..20].iter().max().unwrap();
    assert!(*busiest <= 3 * LINKS / 20, "{slots:?}");
    for link in links {
        assert_eq!((bench.count(link, EventKind::Up), bench.count(link, EventKind::Down)), (2, 1));
        assert_eq!(bench.engine.info(link).unwrap().state, State::Up);
    }
}
