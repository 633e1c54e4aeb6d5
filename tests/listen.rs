//! Listeners, over real sockets of the loopback. Where a time is judged the clock is manual; elsewhere nothing but an
//! order is.

#[path = "common/carried.rs"]
#[allow(dead_code, reason = "not all of it is for listeners")]
mod carried;

use carried::{Bench, PATIENCE, heart, is_end, policy};
use hbeat::core::State;
use hbeat::engine::{Code, Endpoint, EventKind, ListenerId, ListenerInfo, ListenerOptions, Refusal, TimeSource};
use hbeat::wire::{Fields, Protocol};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const QUICK: &str = "interval=50ms timeout=2s tries=3";
const ANYWHERE: &str = "tcp://127.0.0.1:0";

fn open(bench: &Bench, endpoint: &str, text: &str, options: &ListenerOptions) -> ListenerId {
    bench.engine.listen(&Endpoint::parse_local(endpoint).unwrap(), &policy(text), options).unwrap()
}

fn info(bench: &Bench, listener: ListenerId) -> ListenerInfo {
    bench.engine.listener_info(listener).unwrap()
}

fn address(bench: &Bench, listener: ListenerId) -> String {
    info(bench, listener).endpoint.trim_start_matches("tcp://").to_owned()
}

/// Waits in real time for what threads do.
fn settle(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "it did not come about");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether the other end closed the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    loop {
        match stream.read(&mut [0; 256]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn a_heart() -> Vec<u8> {
    let mut out = [0; 64];
    let length = Protocol::Heart.beat(1, &Fields::default(), &mut out).unwrap();
    out[..length].to_vec()
}

#[test]
fn who_dials_is_accepted_once_it_was_heard_and_lives_on_when_the_listener_is_closed() {
    let mut server = Bench::new(TimeSource::System);
    let options = ListenerOptions { name: "devices".into(), ..ListenerOptions::default() };
    let listener = open(&server, ANYWHERE, QUICK, &options);
    let port = info(&server, listener).port;
    assert_ne!(port, 0);
    let mut client = Bench::new(TimeSource::System);
    let dialled = client.dial(&info(&server, listener).endpoint, QUICK, &heart());
    client.until_kind(0, dialled, EventKind::Up);
    let at = server.until(0, |event| event.kind == EventKind::Accepted);
    let event = server.events[at].clone();
    let accepted = event.link.unwrap();
    assert_eq!((event.listener, event.state), (Some(listener), State::Up));
    assert!(event.name.unwrap().starts_with("devices/127.0.0.1:"));
    let known = server.engine.info(accepted).unwrap();
    assert_eq!((known.state, known.listener), (State::Up, Some(listener)));
    let seen = info(&server, listener);
    assert_eq!((seen.links, seen.greeting, seen.accepted, seen.never_heard), (1, 0, 1, 0));
    let stats = server.engine.stats().unwrap();
    assert_eq!((stats[hbeat::engine::Counted::Opened], stats.links(State::Up)), (1, 1));
    // The listener goes, its link stays and beats.
    server.engine.close_listener(listener).unwrap();
    assert_eq!(server.engine.close_listener(listener).unwrap_err().code, Code::NoLink);
    assert_eq!(server.engine.listener_info(listener).unwrap_err().code, Code::NoLink);
    server.engine.quiesce(None).unwrap();
    let beats = server.engine.info(accepted).unwrap().answers_received;
    settle(|| server.engine.info(accepted).unwrap().answers_received > beats + 2);
    // Its port is free, and another one takes who comes again.
    let second = open(&server, &format!("tcp://127.0.0.1:{port}"), QUICK, &options);
    server.engine.close(accepted).unwrap();
    let down = client.until_kind(0, dialled, EventKind::Down);
    assert!(is_end(client.events[down].cause));
    client.until_kind(down, dialled, EventKind::Up);
    let next = server.until(at + 1, |event| event.kind == EventKind::Accepted);
    assert_eq!(server.events[next].listener, Some(second));
    assert_ne!(server.events[next].link, Some(accepted));
    assert_eq!(server.kinds(accepted), [EventKind::Accepted, EventKind::Closed]);
}

#[test]
fn who_is_never_heard_is_never_known_and_has_as_long_as_the_policy_gives_a_peer() {
    let text = "interval=1s timeout=1s tries=3";
    let latest = policy(text).detection().latest_ms;
    let mut server = Bench::new(TimeSource::Manual(0));
    let listener = open(&server, ANYWHERE, text, &ListenerOptions::default());
    let mut mute = TcpStream::connect(address(&server, listener)).unwrap();
    // One that sends what is no beat, each time with the beginning of something more.
    let mut chatter = TcpStream::connect(address(&server, listener)).unwrap();
    let mut foreign = a_heart();
    foreign[4] = 9;
    chatter.write_all(&foreign[..20]).unwrap();
    settle(|| info(&server, listener).greeting == 2);
    let mut links = [0; 4];
    assert_eq!(server.engine.links(None, &mut links).unwrap(), (0, false));
    // It beats on them, and nobody answers.
    let mut waited_ms = 0;
    while info(&server, listener).greeting > 0 {
        chatter.write_all(&foreign[20..]).unwrap();
        chatter.write_all(&foreign[..20]).unwrap();
        waited_ms += 500;
        server.advance(waited_ms.into());
        assert!(waited_ms <= latest + 1_000);
        assert!(waited_ms >= 3_000 || info(&server, listener).greeting == 2);
    }
    assert!(is_closed(&mut mute) && is_closed(&mut chatter));
    let seen = info(&server, listener);
    assert_eq!((seen.links, seen.greeting, seen.accepted, seen.never_heard), (0, 0, 0, 2));
    server.engine.quiesce(None).unwrap();
    assert_eq!(server.engine.health().unwrap().links, 0);
    let _ = server.engine.wait(16, Some(Duration::ZERO), &mut |event| panic!("{event}"));
    // One that is heard in time is known, and nothing of its first frame was lost.
    let mut late = TcpStream::connect(address(&server, listener)).unwrap();
    settle(|| info(&server, listener).greeting == 1);
    late.write_all(&a_heart()).unwrap();
    let at = server.until(0, |event| event.kind == EventKind::Accepted);
    assert_eq!(at, 0, "{:?}", server.lines());
    assert_eq!(server.engine.info(server.events[at].link.unwrap()).unwrap().beats_received, 1);
}

#[test]
fn limits_refuse_who_is_too_much_and_say_so_and_links_live_on() {
    let mut server = Bench::new(TimeSource::Manual(0));
    let options = ListenerOptions { max_links: 3, max_per_source: 2, max_greeting: 1, ..ListenerOptions::default() };
    let listener = open(&server, "tcp://127.0.0.1:0", "interval=1s timeout=1s tries=3", &options);
    let to = address(&server, listener);
    let connect = || TcpStream::connect(&to).unwrap();
    let refused = |bench: &Bench, refusal: Refusal| info(bench, listener).refused[refusal as usize];
    let mut first = connect();
    settle(|| info(&server, listener).greeting == 1);
    assert!(is_closed(&mut connect()), "one that has not greeted is enough");
    let at = server.until(0, |event| event.kind == EventKind::ListenerLimit);
    let limit = &server.events[at];
    assert_eq!((limit.listener, limit.link, limit.count, limit.detail), (Some(listener), None, 1, 0));
    first.write_all(&a_heart()).unwrap();
    settle(|| info(&server, listener).links == 1);
    let mut second = connect();
    second.write_all(&a_heart()).unwrap();
    settle(|| info(&server, listener).links == 2);
    assert!(is_closed(&mut connect()), "the same source");
    assert!(is_closed(&mut connect()), "the same source");
    assert_eq!([Refusal::Greeting, Refusal::Source, Refusal::Links].map(|why| refused(&server, why)), [1, 2, 0]);
    // They are told together, once the second since the event before is over.
    server.advance(1_100);
    let next = server.until(at + 1, |event| event.kind == EventKind::ListenerLimit);
    assert_eq!(server.events[next].count, 2);
    // Who goes makes room.
    drop(first);
    let down = server.until(0, |event| event.kind == EventKind::Down);
    server.engine.close(server.events[down].link.unwrap()).unwrap();
    settle(|| info(&server, listener).links == 1);
    let mut third = connect();
    third.write_all(&a_heart()).unwrap();
    settle(|| info(&server, listener).links == 2);
    assert_eq!(server.engine.stats().unwrap().links(State::Up), 2);
}

#[test]
fn the_engines_own_limit_is_a_limit_of_its_listeners() {
    let mut server = Bench::with(hbeat::engine::Options { max_links: 1, ..Default::default() });
    let listener = open(&server, ANYWHERE, QUICK, &ListenerOptions::default());
    let to = address(&server, listener);
    let mut first = TcpStream::connect(&to).unwrap();
    first.write_all(&a_heart()).unwrap();
    server.until(0, |event| event.kind == EventKind::Accepted);
    assert!(is_closed(&mut TcpStream::connect(&to).unwrap()));
    settle(|| info(&server, listener).refused[Refusal::Links as usize] == 1);
    let seen = info(&server, listener);
    assert_eq!((seen.links, seen.greeting, seen.accepted), (1, 0, 1));
}

#[test]
fn a_unix_socket_is_listened_at_and_its_name_goes_with_the_listener() {
    let path = std::env::temp_dir().join(format!("hbeat-listen-{}", std::process::id()));
    let endpoint = format!("unix://{}", path.display());
    let mut server = Bench::new(TimeSource::System);
    let options = ListenerOptions { name: "local".into(), max_per_source: 1, ..ListenerOptions::default() };
    let listener = open(&server, &endpoint, QUICK, &options);
    assert_eq!((info(&server, listener).endpoint, info(&server, listener).port), (endpoint.clone(), 0));
    let taken = server.engine.listen(&Endpoint::parse_local(&endpoint).unwrap(), &policy(QUICK), &options);
    assert_eq!(taken.unwrap_err().code, Code::System);
    let mut streams = [(); 2].map(|()| UnixStream::connect(&path).unwrap());
    streams.iter_mut().for_each(|stream| stream.write_all(&a_heart()).unwrap());
    let first = server.until(0, |event| event.kind == EventKind::Accepted);
    assert_eq!(server.events[first].name.as_deref(), Some("local"));
    server.until(first + 1, |event| event.kind == EventKind::Accepted);
    server.engine.close_listener(listener).unwrap();
    server.engine.quiesce(None).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_stop_ends_listeners_and_who_has_not_greeted() {
    let server = Bench::new(TimeSource::System);
    let listener = open(&server, ANYWHERE, QUICK, &ListenerOptions::default());
    let to = address(&server, listener);
    let mut mute = TcpStream::connect(&to).unwrap();
    settle(|| info(&server, listener).greeting == 1);
    server.engine.stop(None).unwrap();
    assert!(is_closed(&mut mute));
    assert!(TcpStream::connect(&to).is_err());
    let refused = server.engine.listen(&Endpoint::parse_local(ANYWHERE).unwrap(), &policy(QUICK), &Default::default());
    assert_eq!(refused.unwrap_err().code, Code::Stopped);
    let _ = server.engine.wait(16, Some(Duration::ZERO), &mut |event| panic!("{event}"));
    assert_eq!(server.engine.health().unwrap().links, 0);
}
