//! Events: what the application is told, and the words for it.

use super::convert::{array_text, name_array, plain, put_text, read};
use super::last_error::{Failure, c_string};
use super::status::hbeat_status_code::HBEAT_OK;
use super::version::{HBEAT_NAME_MAX, HBEAT_UNKNOWN};
use super::{guard, guard_text, hbeat_link, hbeat_listener, hbeat_status};
use crate::core::{Cause, State};
use crate::engine::{Event, EventKind, LinkData, LinkId, ListenerId, Subject};
use crate::net::TcpInfo;
use once_cell::sync::Lazy;
use std::ffi::{CString, c_char, c_void};
use std::ptr;

/// events: all but ANSWER and BEAT_RECEIVED. The mask of an event is 1u << HBEAT_EVENT_*.
pub const HBEAT_EVENTS_DEFAULT: u32 = 524094u32;
/// events: all.
pub const HBEAT_EVENTS_ALL: u32 = 524286u32;

const _: () = assert!(HBEAT_EVENTS_DEFAULT == crate::engine::EVENTS_DEFAULT);
const _: () = assert!(HBEAT_EVENTS_ALL == crate::engine::EVENTS_ALL);

/// ==== States, causes, events ====
///
/// What a link is believed to be.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum hbeat_state {
    /// Opened and not started: nothing is due, nothing is judged.
    HBEAT_STATE_PAUSED = 1,
    /// There is no connection that was heard from yet: of links whose connection hbeat makes itself.
    HBEAT_STATE_CONNECTING = 2,
    /// Alive as far as anyone can tell.
    HBEAT_STATE_UP = 3,
    /// At least one try was missed, some are left.
    HBEAT_STATE_SUSPECT = 4,
    /// Given up, or reported.
    HBEAT_STATE_DOWN = 5,
}

/// Why a link is DOWN. hbeat itself finds NO_ANSWER, SILENT, SEND_STUCK, DESYNC and PARTIAL_FRAME; the application can
/// report any of them with hbeat_link_report_down.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum hbeat_cause {
    /// It is not DOWN.
    HBEAT_CAUSE_NONE = 0,
    /// As many tries as allowed went unanswered.
    HBEAT_CAUSE_NO_ANSWER = 1,
    /// Nothing was heard for the hold time, and nothing can be asked.
    HBEAT_CAUSE_SILENT = 2,
    /// The last beat was due and never taken, or the descriptor takes no more bytes: we could not ask.
    HBEAT_CAUSE_SEND_STUCK = 3,
    /// The connection was refused.
    HBEAT_CAUSE_REFUSED = 4,
    /// It was reset.
    HBEAT_CAUSE_RESET = 5,
    /// The peer closed it (end of file, TERMINATE).
    HBEAT_CAUSE_CLOSED_BY_PEER = 6,
    /// No route, or the host does not answer.
    HBEAT_CAUSE_UNREACHABLE = 7,
    /// The stream is not the protocol's (any more).
    HBEAT_CAUSE_DESYNC = 8,
    /// A message was begun and not finished in time.
    HBEAT_CAUSE_PARTIAL_FRAME = 9,
    /// A message that the protocol forbids.
    HBEAT_CAUSE_PROTOCOL_ERROR = 10,
    /// The login failed, or a beat did not prove who sent it.
    HBEAT_CAUSE_UNAUTHENTICATED = 11,
    /// The peer beats too often.
    HBEAT_CAUSE_POLICED = 12,
    /// The peer's process answers tests and its application does not work.
    HBEAT_CAUSE_PEER_APP_NOT_RESPONDING = 13,
    /// The application says so, for a reason of its own.
    HBEAT_CAUSE_REPORTED = 14,
}

/// What happened.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum hbeat_event_type {
    /// Something is to be taken with hbeat_link_take and written: a beat, or answers owed since a pause.
    HBEAT_EVENT_SEND = 1,
    /// Back from SUSPECT, or from DOWN with up_after. Opening and starting make no event.
    HBEAT_EVENT_UP = 2,
    /// A try was missed, some are left.
    HBEAT_EVENT_SUSPECT = 3,
    /// The verdict, or the application's own report; once a link (with up_after: once a life).
    HBEAT_EVENT_DOWN = 4,
    /// The last event of a link: free link_data here. With a release callback that is called in its place.
    HBEAT_EVENT_CLOSED = 5,
    /// On request: an answer that matches a beat; sequence and rtt_us are its own.
    HBEAT_EVENT_ANSWER = 6,
    /// On request: a beat of the peer.
    HBEAT_EVENT_BEAT_RECEIVED = 7,
    /// A judgement waits because bytes lie unread on the observed descriptor, or because the application makes no progress
    /// (progress_ms): our own reader is late.
    HBEAT_EVENT_LOCAL_READER_LATE = 8,
    /// A message has been unfinished for partial_ms; its bytes count no longer.
    HBEAT_EVENT_PARTIAL_FRAME = 9,
    /// Of the engine: this process did not run when it should have, detail ms long at least. A link whose T is less than
    /// twice as long as that gets a grace of one T.
    HBEAT_EVENT_PAUSE = 10,
    /// A notice could not be handed out for a whole timeout: a callback hangs, or nobody pulls. Or the application made no
    /// progress for the link's progress_ms; once until it makes some.
    HBEAT_EVENT_APP_NOT_RESPONDING = 11,
    /// Of the engine: a bug in hbeat was caught; nothing is watched any more.
    HBEAT_EVENT_ENGINE_FAILED = 12,
    /// With observe_only: the link would be DOWN now, for the cause of the event. It stays SUSPECT until a sign of life
    /// (UP) or a report of the application's (DOWN).
    HBEAT_EVENT_WOULD_BE_DOWN = 13,
    /// hbeat makes a connection: attempt says for which time, next_ms when, cause and detail why the one before came to
    /// nothing.
    HBEAT_EVENT_CONNECTING = 14,
    /// The state that the peer tells in its beats and answers changed, the first one included; detail is its length in
    /// bytes, 0 when it has none any more. hbeat_link_peer_state gives it.
    HBEAT_EVENT_PEER_STATE = 15,
    /// The peer beats more often than least_ms allows; detail is the number of strikes since it sent real data last.
    HBEAT_EVENT_STRIKE = 16,
    /// The first event of a link that came to a listener: its peer connected and was heard. Give it link_data with
    /// hbeat_link_set_data, and close it as any other.
    HBEAT_EVENT_ACCEPTED = 17,
    /// Of a listener: it refused count connections, or the system has no room for more (detail is its error number
    /// then). At most once a second.
    HBEAT_EVENT_LISTENER_LIMIT = 18,
}

/// Something that happened, with the evidence. Comes out of hbeat only. In a callback it is valid until the callback
/// returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_event {
    /// How many bytes of it hbeat filled.
    pub struct_size: u32,
    /// HBEAT_EVENT_*.
    pub r#type: u32,
    /// Which link; 0 for an event of the engine or a listener.
    pub link: hbeat_link,
    /// What the application gave to hbeat_link_open, or to hbeat_link_set_data since.
    pub link_data: *mut c_void,
    /// When it happened, on the engine's clock.
    pub at_ns: u64,
    /// HBEAT_STATE_* after it; 0 for an event of the engine or a listener.
    pub state: u32,
    /// HBEAT_CAUSE_*; other than 0 when the link is DOWN or, with observe_only, would be.
    pub cause: u32,
    /// SEND: the number of this try from 1, 0 outside a probe. Others: tries missed.
    pub tries: u32,
    /// Tries that the policy allows.
    pub tries_max: u32,
    /// Sequence number of the latest beat taken; ANSWER, BEAT_RECEIVED: theirs.
    pub sequence: u32,
    /// How many changes this event stands for: more than 1 when the application was late.
    pub count: u32,
    /// DOWN by report: what the report said. PAUSE: length in ms. DOWN and CONNECTING of a link that hbeat carries: the
    /// system's error number, or 0. PEER_STATE, STRIKE: see there.
    pub detail: u32,
    /// Latest round-trip time in microseconds, or HBEAT_UNKNOWN.
    pub rtt_us: u32,
    /// How long ago, at at_ns, something was received last, in ms; or HBEAT_UNKNOWN.
    pub last_received_ms: u32,
    /// Likewise sent.
    pub last_sent_ms: u32,
    /// Bytes that wait unread on the observed descriptor; -1 = not known.
    pub unread_bytes: i32,
    /// Bytes that wait in its send queue; -1 = not known.
    pub send_queue_bytes: i32,
    /// Name of the link or listener, "" for an event of the engine; UTF-8, ends with a NUL.
    pub name: [c_char; HBEAT_NAME_MAX],
    /// CONNECTING: number of the attempt, from 1.
    pub attempt: u32,
    /// CONNECTING: in how many ms the attempt begins; or HBEAT_UNKNOWN.
    pub next_ms: u32,
    /// Of a listener, and of links that came to one: which; otherwise 0.
    pub listener: hbeat_listener,
    /// SUSPECT, DOWN, WOULD_BE_DOWN of a link whose TCP socket hbeat knows: what the kernel knew of the connection, each as in
    /// hbeat_tcp_info, HBEAT_UNKNOWN where it does not tell and in other events. Its state, 1 established.
    pub tcp_state: u32,
    /// Segments sent and not acknowledged.
    pub tcp_unacked: u32,
    /// How often the oldest of them has been sent again.
    pub tcp_retransmits: u32,
    /// Segments sent again since the connection was made.
    pub tcp_total_retransmits: u32,
    /// Smoothed round-trip time of the kernel's, in microseconds.
    pub tcp_rtt_us: u32,
    /// Its variation.
    pub tcp_rtt_var_us: u32,
    /// How long ago an acknowledgement came, in ms: answers of the peer's kernel, not of its program.
    pub tcp_last_ack_ms: u32,
    /// How long ago data came, in ms.
    pub tcp_last_data_received_ms: u32,
}

plain!(hbeat_event {
    struct_size,
    r#type,
    link,
    link_data,
    at_ns,
    state,
    cause,
    tries,
    tries_max,
    sequence,
    count,
    detail,
    rtt_us,
    last_received_ms,
    last_sent_ms,
    unread_bytes,
    send_queue_bytes,
    name,
    attempt,
    next_ms,
    listener,
    tcp_state,
    tcp_unacked,
    tcp_retransmits,
    tcp_total_retransmits,
    tcp_rtt_us,
    tcp_rtt_var_us,
    tcp_last_ack_ms,
    tcp_last_data_received_ms,
} until name);

impl From<&Event> for hbeat_event {
    fn from(event: &Event) -> Self {
        let tcp = event.tcp.as_deref().copied().unwrap_or_default();
        Self {
            struct_size: size_of::<Self>() as u32,
            r#type: event.kind as u32,
            link: event.link.map_or(0, |link| link.0),
            link_data: pointer(event.data),
            at_ns: event.at_ns,
            state: event.link.map_or(0, |_| state_number(event.state)),
            cause: cause_number(event.cause),
            tries: event.tries,
            tries_max: event.tries_max,
            sequence: event.sequence,
            count: event.count,
            detail: event.detail,
            rtt_us: or_unknown(event.rtt_us),
            last_received_ms: or_unknown(event.last_received_ms),
            last_sent_ms: or_unknown(event.last_sent_ms),
            unread_bytes: byte_count(event.unread_bytes),
            send_queue_bytes: byte_count(event.send_queue_bytes),
            name: link_name(event.name.as_deref(), event.link, event.listener),
            attempt: event.attempt,
            next_ms: or_unknown(event.next_ms),
            listener: event.listener.map_or(0, |listener| listener.0),
            tcp_state: or_unknown(tcp.state),
            tcp_unacked: or_unknown(tcp.unacked),
            tcp_retransmits: or_unknown(tcp.retransmits),
            tcp_total_retransmits: or_unknown(tcp.total_retransmits),
            tcp_rtt_us: or_unknown(tcp.rtt_us),
            tcp_rtt_var_us: or_unknown(tcp.rtt_var_us),
            tcp_last_ack_ms: or_unknown(tcp.last_ack_ms),
            tcp_last_data_received_ms: or_unknown(tcp.last_data_received_ms),
        }
    }
}

/// The name as C gets it; empty where there is neither link nor listener.
pub(super) fn link_name(
    name: Option<&str>,
    link: Option<LinkId>,
    listener: Option<ListenerId>,
) -> [c_char; HBEAT_NAME_MAX] {
    match (link, listener) {
        (None, None) => [0; HBEAT_NAME_MAX],
        _ => name_array(Subject { name, link, listener }),
    }
}

/// The application's word on a link, as the pointer that it was.
pub(super) fn pointer(data: LinkData) -> *mut c_void {
    ptr::with_exposed_provenance_mut(data.0)
}

pub(super) fn or_unknown(value: Option<u32>) -> u32 {
    value.unwrap_or(HBEAT_UNKNOWN)
}

pub(super) fn byte_count(value: Option<u32>) -> i32 {
    value.map_or(-1, |bytes| i32::try_from(bytes).unwrap_or(i32::MAX))
}

pub(super) fn state_number(state: State) -> u32 {
    let number = match state {
        State::Paused => hbeat_state::HBEAT_STATE_PAUSED,
        State::Connecting => hbeat_state::HBEAT_STATE_CONNECTING,
        State::Up => hbeat_state::HBEAT_STATE_UP,
        State::Suspect => hbeat_state::HBEAT_STATE_SUSPECT,
        State::Down => hbeat_state::HBEAT_STATE_DOWN,
    };
    number as u32
}

pub(super) fn cause_number(cause: Option<Cause>) -> u32 {
    let number = match cause {
        None => hbeat_cause::HBEAT_CAUSE_NONE,
        Some(Cause::NoAnswer) => hbeat_cause::HBEAT_CAUSE_NO_ANSWER,
        Some(Cause::Silent) => hbeat_cause::HBEAT_CAUSE_SILENT,
        Some(Cause::SendStuck) => hbeat_cause::HBEAT_CAUSE_SEND_STUCK,
        Some(Cause::Refused) => hbeat_cause::HBEAT_CAUSE_REFUSED,
        Some(Cause::Reset) => hbeat_cause::HBEAT_CAUSE_RESET,
        Some(Cause::ClosedByPeer) => hbeat_cause::HBEAT_CAUSE_CLOSED_BY_PEER,
        Some(Cause::Unreachable) => hbeat_cause::HBEAT_CAUSE_UNREACHABLE,
        Some(Cause::Desync) => hbeat_cause::HBEAT_CAUSE_DESYNC,
        Some(Cause::PartialFrame) => hbeat_cause::HBEAT_CAUSE_PARTIAL_FRAME,
        Some(Cause::ProtocolError) => hbeat_cause::HBEAT_CAUSE_PROTOCOL_ERROR,
        Some(Cause::Unauthenticated) => hbeat_cause::HBEAT_CAUSE_UNAUTHENTICATED,
        Some(Cause::Policed) => hbeat_cause::HBEAT_CAUSE_POLICED,
        Some(Cause::PeerAppNotResponding) => hbeat_cause::HBEAT_CAUSE_PEER_APP_NOT_RESPONDING,
        Some(Cause::Reported) => hbeat_cause::HBEAT_CAUSE_REPORTED,
    };
    number as u32
}

/// The cause of that number.
pub(super) fn cause_of(number: u32) -> Option<Cause> {
    Cause::ALL.into_iter().find(|cause| cause_number(Some(*cause)) == number)
}

/// What a number of C's stands for, or a sentence.
fn known<T>(found: Option<T>, field: &str, value: u32, what: &str) -> Result<T, Failure> {
    found.ok_or_else(|| Failure::invalid(format!("event.{field} is {value}, allowed is {what}")))
}

/// The event that C handed back, for its text.
fn event_of(event: &hbeat_event) -> Result<Event, Failure> {
    let kind = EventKind::ALL.into_iter().find(|kind| *kind as u32 == event.r#type);
    let state = State::ALL.into_iter().find(|state| state_number(*state) == event.state);
    // An event of the engine has none, and the text does not name it.
    let state = state.or((event.state == 0).then_some(State::Up));
    let cause = match event.cause {
        0 => None,
        number => Some(known(cause_of(number), "cause", number, "HBEAT_CAUSE_*")?),
    };
    let name = array_text(&event.name).ok_or_else(|| Failure::invalid("event.name does not end with a NUL"))?;
    let number = |value: u32| (value != HBEAT_UNKNOWN).then_some(value);
    // Of a caller whose struct ends before it, all of it is 0, which is no state.
    let tcp = TcpInfo {
        state: number(event.tcp_state),
        unacked: number(event.tcp_unacked),
        retransmits: number(event.tcp_retransmits),
        total_retransmits: number(event.tcp_total_retransmits),
        rtt_us: number(event.tcp_rtt_us),
        rtt_var_us: number(event.tcp_rtt_var_us),
        last_ack_ms: number(event.tcp_last_ack_ms),
        last_data_received_ms: number(event.tcp_last_data_received_ms),
    };
    Ok(Event {
        kind: known(kind, "type", event.r#type, "HBEAT_EVENT_*")?,
        link: (event.link != 0).then_some(LinkId(event.link)),
        data: LinkData::default(),
        at_ns: event.at_ns,
        state: known(state, "state", event.state, "HBEAT_STATE_*")?,
        cause,
        tries: event.tries,
        tries_max: event.tries_max,
        sequence: event.sequence,
        count: event.count,
        detail: event.detail,
        rtt_us: number(event.rtt_us),
        last_received_ms: number(event.last_received_ms),
        last_sent_ms: number(event.last_sent_ms),
        unread_bytes: u32::try_from(event.unread_bytes).ok(),
        send_queue_bytes: u32::try_from(event.send_queue_bytes).ok(),
        name: (!name.is_empty()).then(|| name.into()),
        attempt: event.attempt,
        // Of a caller whose struct ends before it, it is 0 and so is the attempt.
        next_ms: number(event.next_ms).filter(|_| event.attempt > 0),
        listener: (event.listener != 0).then_some(ListenerId(event.listener)),
        tcp: (tcp.state.is_some_and(|state| state > 0)).then(|| Box::new(tcp)),
    })
}

/// Names by number, made for C from the tables of core and engine.
struct Names(Vec<(u32, CString)>);

impl Names {
    fn new(names: impl Iterator<Item = (u32, &'static str)>) -> Self {
        Self(names.map(|(number, name)| (number, c_string(name.to_owned()))).collect())
    }

    /// The table is made inside the guard, too.
    fn find(table: &'static Lazy<Self>, number: u32) -> *const c_char {
        guard_text(|| table.0.iter().find(|name| name.0 == number).map_or(c"unknown", |name| name.1.as_c_str()))
    }
}

static STATES: Lazy<Names> =
    Lazy::new(|| Names::new(State::ALL.into_iter().map(|state| (state_number(state), state.name()))));

static CAUSES: Lazy<Names> = Lazy::new(|| {
    let none = [(hbeat_cause::HBEAT_CAUSE_NONE as u32, "none")];
    Names::new(Cause::ALL.into_iter().map(|cause| (cause_number(Some(cause)), cause.name())).chain(none))
});

static EVENTS: Lazy<Names> =
    Lazy::new(|| Names::new(EventKind::ALL.into_iter().map(|kind| (kind as u32, kind.name()))));

/// ==== Words for events ====
///
/// The name of an HBEAT_STATE_*, as in log lines: "suspect"; "unknown" for a number that is none. Never NULL; lives
/// for ever.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_state_name(state: u32) -> *const c_char {
    Names::find(&STATES, state)
}

/// The name of an HBEAT_CAUSE_*, as in log lines: "no_answer". Otherwise like hbeat_state_name.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_cause_name(cause: u32) -> *const c_char {
    Names::find(&CAUSES, cause)
}

/// The name of an HBEAT_EVENT_*, the first word of a log line: "DOWN". Otherwise like hbeat_state_name.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_event_name(r#type: u32) -> *const c_char {
    Names::find(&EVENTS, r#type)
}

/// Writes an event as the line an operator greps for, the same that on_log gets:
/// "DOWN gd-mt-07 cause=no_answer tries=3/3 seq=4711 last_rx=360.0s unread=0 sendq=96 rtt=18ms tcp=established
/// unacked=3 retrans=9 last_ack=360.0s". What is not known is left out. At most capacity - 1 bytes and a NUL are written;
/// *length is the length of the whole line without the NUL; if it is not below capacity, the line was cut. buffer may be
/// NULL if capacity is 0, length may be NULL. 384 bytes hold every line.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED; INVALID for what hbeat did not fill.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_event_text(
    event: *const hbeat_event,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> hbeat_status {
    guard(|| {
        // SAFETY: `event` is a struct, by the rules at the head of the header.
        let event = event_of(&unsafe { read(event, "event") }?)?;
        // SAFETY: `buffer` is a place of `capacity` bytes, by the rules at the head of the header.
        unsafe { put_text(&event.to_string(), buffer, capacity, length) }?;
        Ok(HBEAT_OK)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::last_error::tests::last_error;
    use crate::ffi::status::hbeat_status_code::HBEAT_ERR_INVALID;
    use std::ffi::CStr;

    fn down() -> Event {
        Event {
            kind: EventKind::Down,
            link: Some(LinkId(0xAB)),
            data: LinkData(0x1234),
            at_ns: 7,
            state: State::Down,
            cause: Some(Cause::NoAnswer),
            tries: 3,
            tries_max: 3,
            sequence: 4711,
            count: 1,
            detail: 0,
            rtt_us: Some(18_400),
            last_received_ms: Some(360_000),
            last_sent_ms: None,
            unread_bytes: Some(0),
            send_queue_bytes: Some(u32::MAX),
            name: Some("gd-mt-07".into()),
            ..Event::of_engine(EventKind::Down, 0)
        }
    }

    fn text(event: &hbeat_event) -> Result<String, &'static str> {
        let mut buffer = [0; 256];
        let mut length = 0;
        match unsafe { hbeat_event_text(event, buffer.as_mut_ptr(), 256, &mut length) } {
            0 => Ok(array_text(&buffer).unwrap()),
            status => {
                assert_eq!(status, HBEAT_ERR_INVALID as i32);
                Err(last_error())
            }
        }
    }

    #[test]
    fn an_event_has_one_text_on_both_sides() {
        let mut event = Event { send_queue_bytes: Some(0), ..down() };
        let line = "DOWN gd-mt-07 cause=no_answer tries=3/3 seq=4711 last_rx=360.0s unread=0 sendq=0 rtt=18ms";
        assert_eq!(text(&hbeat_event::from(&event)).as_deref(), Ok(line));
        event.name = None;
        assert_eq!(text(&hbeat_event::from(&event)).unwrap(), event.to_string());
        let pause = Event { kind: EventKind::Pause, link: None, name: None, cause: None, detail: 3_000, ..event };
        assert_eq!(text(&hbeat_event::from(&pause)).unwrap(), pause.to_string());
    }

    #[test]
    fn what_is_not_known_and_what_is_too_much_has_its_number() {
        let event = hbeat_event::from(&down());
        assert_eq!((event.struct_size, event.r#type, event.link, event.state, event.cause), (192, 4, 0xAB, 5, 1));
        assert_eq!((event.last_sent_ms, event.send_queue_bytes, event.link_data.addr()), (u32::MAX, i32::MAX, 0x1234));
        let engine = hbeat_event::from(&Event { link: None, unread_bytes: None, ..down() });
        assert_eq!((engine.link, engine.state, engine.unread_bytes, engine.name[0]), (0, 0, -1, 0));
    }

    #[test]
    fn an_event_that_hbeat_did_not_fill_has_no_text() {
        let good = hbeat_event::from(&down());
        for (bad, sentence) in [
            (hbeat_event { r#type: 19, ..good }, "event.type is 19, allowed is HBEAT_EVENT_*"),
            (hbeat_event { r#type: 0, ..good }, "event.type is 0, allowed is HBEAT_EVENT_*"),
            (hbeat_event { state: 6, ..good }, "event.state is 6, allowed is HBEAT_STATE_*"),
            (hbeat_event { cause: 15, ..good }, "event.cause is 15, allowed is HBEAT_CAUSE_*"),
            (hbeat_event { name: [0x41; HBEAT_NAME_MAX], ..good }, "event.name does not end with a NUL"),
        ] {
            assert_eq!(text(&bad), Err(sentence));
        }
    }

    #[test]
    fn every_number_has_a_name() {
        let name = |name: *const c_char| unsafe { CStr::from_ptr(name) }.to_str().unwrap();
        unsafe {
            let states = [0, 1, 2, 3, 4, 5].map(|state| name(hbeat_state_name(state)));
            assert_eq!(states, ["unknown", "paused", "connecting", "up", "suspect", "down"]);
            assert_eq!(name(hbeat_cause_name(0)), "none");
            assert_eq!(name(hbeat_cause_name(13)), "peer_app_not_responding");
            assert_eq!(name(hbeat_cause_name(15)), "unknown");
            assert_eq!(name(hbeat_event_name(4)), "DOWN");
            assert_eq!(name(hbeat_event_name(0)), "unknown");
        }
        let numbers: Vec<_> = Cause::ALL.into_iter().map(|cause| cause_number(Some(cause))).collect();
        assert_eq!(numbers, (1..=14).collect::<Vec<_>>());
    }
}
