//! Links: opened, fed, taken from, closed.

use super::backoff::{hbeat_backoff, read_backoff};
use super::convert::{check_output, choice, flag, optional_text, place, plain, read, read_size, text, values, write};
use super::engine::{event_mask, hbeat_engine, with_engine};
use super::event::{byte_count, cause_number, cause_of, link_name, or_unknown, pointer, state_number};
use super::key::{hbeat_key, read_keys};
use super::last_error::Failure;
use super::policy::{hbeat_policy, read_policy};
use super::status::hbeat_status_code::{HBEAT_INFO_ALREADY_DOWN, HBEAT_INFO_MORE, HBEAT_INFO_SEND, HBEAT_OK};
use super::version::HBEAT_NAME_MAX;
use super::{done, hbeat_listener, hbeat_status};
use crate::core::Backoff;
use crate::engine::{Endpoint, Engine, Info, LinkData, LinkId, LinkOptions, Reconnect};
use crate::wire::Protocol;
use std::ffi::{c_char, c_void};

/// The id of a link: never 0. A number, not a pointer: safe to keep for ever. Once the link is closed, calls with it
/// say NO_LINK.
pub type hbeat_link = u64;

/// reconnect: a connection that hbeat_link_dial made is made anew, one that was handed over is not.
pub const HBEAT_RECONNECT_DEFAULT: u32 = 0u32;
/// reconnect: it is made anew; one that was handed over to the address of its peer.
pub const HBEAT_RECONNECT_YES: u32 = 1u32;
/// reconnect: it is not.
pub const HBEAT_RECONNECT_NO: u32 = 2u32;

/// How a link is set up. Begin with HBEAT_LINK_OPTIONS_INIT; a struct that is all zero but for struct_size is right, too.
/// hbeat copies the texts.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_link_options {
    /// sizeof(hbeat_link_options).
    pub struct_size: u32,
    /// Socket to observe (unread bytes, send queue): never read, written, duplicated or closed by hbeat. It must stay
    /// open until hbeat_link_close. 0 or -1: none.
    pub fd: i32,
    /// For events and logs: UTF-8, at most 63 bytes; NULL or "" = "link-" and the id in hexadecimal.
    pub name: *const c_char,
    /// How beats and answers look: "none" (the application's own), "cmpp", "heart" (hbeat's own); NULL = "none".
    pub protocol: *const c_char,
    /// Handed back with each event of the link; hbeat never looks at it.
    pub link_data: *mut c_void,
    /// 1: nothing is due or judged before hbeat_link_start (login); 0: the link is UP at once.
    pub start_paused: u32,
    /// Which events are asked for, a mask of 1u << HBEAT_EVENT_*; 0 = as the engine.
    pub events: u32,
    /// dial, adopt: the delays between attempts; NULL = those of hbeat_backoff_default. Copied.
    pub backoff: *const hbeat_backoff,
    /// dial, adopt: HBEAT_RECONNECT_*.
    pub reconnect: u32,
    /// dial, adopt: how many attempts in a row may fail before the link is DOWN for good; 0 = any number.
    pub attempts: u32,
    /// dial, adopt: "heart" only. Every frame is sealed with the first of these keys, and taken only if it is sealed with
    /// one of them; see hbeat_link_set_keys. NULL = nothing is sealed.
    pub keys: *const hbeat_key,
    /// How many there are: 1 or 2; 0 where keys is NULL.
    pub key_count: usize,
}

plain!(hbeat_link_options {
    struct_size,
    fd,
    name,
    protocol,
    link_data,
    start_paused,
    events,
    backoff,
    reconnect,
    attempts,
    keys,
    key_count,
} until events);

/// All that is known of a link. Set struct_size before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_info {
    /// sizeof(hbeat_info); comes back as how many bytes hbeat filled.
    pub struct_size: u32,
    /// HBEAT_STATE_*.
    pub state: u32,
    /// HBEAT_CAUSE_*: why it is DOWN or, with observe_only, would be.
    pub cause: u32,
    /// What hbeat_link_report_down said.
    pub detail: u32,
    /// Tries missed.
    pub tries: u32,
    /// Tries that the policy allows.
    pub tries_max: u32,
    /// Sequence number of the latest beat taken.
    pub sequence: u32,
    /// 0 "none", 1 "cmpp", 2 "heart".
    pub protocol: u32,
    /// The link.
    pub link: hbeat_link,
    /// What the application gave to hbeat_link_open, or to hbeat_link_set_data since.
    pub link_data: *mut c_void,
    /// How long ago something was received last; or HBEAT_UNKNOWN.
    pub last_received_ms: u32,
    /// Likewise sent.
    pub last_sent_ms: u32,
    /// For how long it has been in its state.
    pub in_state_ms: u32,
    /// Latest round-trip time in microseconds, or HBEAT_UNKNOWN.
    pub rtt_us: u32,
    /// The shortest.
    pub rtt_min_us: u32,
    /// The longest.
    pub rtt_max_us: u32,
    /// Bytes that wait unread on the observed descriptor; -1 = not known.
    pub unread_bytes: i32,
    /// Bytes that wait in its send queue; -1 = not known.
    pub send_queue_bytes: i32,
    /// Beats taken; with observe_only those that the application sent.
    pub beats_sent: u64,
    /// Answers that matched a beat.
    pub answers_received: u64,
    /// Beats of the peer.
    pub beats_received: u64,
    /// Answers taken; with observe_only those that hbeat_link_feed_sent found.
    pub answers_sent: u64,
    /// Answers that came after their time, but before the next probe; no sign of life.
    pub answers_late: u64,
    /// Answers to no beat of ours, or later still; no sign of life.
    pub answers_unmatched: u64,
    /// Answers owed and given up: for newer ones, because nobody took them, or because observe_only was turned on.
    pub answers_dropped: u64,
    /// Tries missed, in all.
    pub misses: u64,
    /// Complete messages that hbeat_link_feed found.
    pub messages_received: u64,
    /// Bytes that went through hbeat_link_feed.
    pub bytes_received: u64,
    /// Name of the link; UTF-8, ends with a NUL.
    pub name: [c_char; HBEAT_NAME_MAX],
    /// Complete messages that hbeat_link_feed_sent found.
    pub messages_sent: u64,
    /// Bytes that went through hbeat_link_feed_sent.
    pub bytes_sent: u64,
    /// With observe_only: how often the link would have been given up.
    pub would_be_downs: u64,
    /// How many round-trip times were taken.
    pub rtt_count: u64,
    /// All of them together, in microseconds.
    pub rtt_sum_us: u64,
    /// CONNECTING: number of the attempt, from 1.
    pub attempt: u32,
    /// CONNECTING: in how many ms the attempt begins; HBEAT_UNKNOWN: it has begun.
    pub next_ms: u32,
    /// Frames of the peer that had no room for its state: what hbeat_link_peer_state gives may be older than they.
    pub peer_states_left_out: u64,
    /// How often the peer was caught beating too often (least_ms).
    pub strikes: u64,
    /// The listener that its peer came to; 0 = none.
    pub listener: hbeat_listener,
    /// dial, adopt: how often this side beats, in ms, as both ends agreed; 0: only when asked. All four are 0 where nothing
    /// is agreed: before the peer was heard, or with one that says no terms.
    pub agreed_interval_ms: u32,
    /// How often the peer does.
    pub agreed_peer_interval_ms: u32,
    /// How much silence this side tolerates at least before its policy has more to say.
    pub agreed_hold_ms: u32,
    /// How much the peer does.
    pub agreed_peer_hold_ms: u32,
    /// Frames of the peer whose contents made no sense: not answered, no sign of life.
    pub frames_rejected: u64,
    /// Frames that were not sealed with a key of the link's, were sent before, or belong to another connection.
    pub frames_unauthenticated: u64,
}

plain!(hbeat_info {
    struct_size,
    state,
    cause,
    detail,
    tries,
    tries_max,
    sequence,
    protocol,
    link,
    link_data,
    last_received_ms,
    last_sent_ms,
    in_state_ms,
    rtt_us,
    rtt_min_us,
    rtt_max_us,
    unread_bytes,
    send_queue_bytes,
    beats_sent,
    answers_received,
    beats_received,
    answers_sent,
    answers_late,
    answers_unmatched,
    answers_dropped,
    misses,
    messages_received,
    bytes_received,
    name,
    messages_sent,
    bytes_sent,
    would_be_downs,
    rtt_count,
    rtt_sum_us,
    attempt,
    next_ms,
    peer_states_left_out,
    strikes,
    listener,
    agreed_interval_ms,
    agreed_peer_interval_ms,
    agreed_hold_ms,
    agreed_peer_hold_ms,
    frames_rejected,
    frames_unauthenticated,
} until name);

impl From<&Info> for hbeat_info {
    fn from(info: &Info) -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            state: state_number(info.state),
            cause: cause_number(info.cause),
            detail: info.detail,
            tries: info.tries,
            tries_max: info.tries_max,
            sequence: info.sequence,
            protocol: info.protocol as u32,
            link: info.link.0,
            link_data: pointer(info.data),
            last_received_ms: or_unknown(info.last_received_ms),
            last_sent_ms: or_unknown(info.last_sent_ms),
            in_state_ms: info.in_state_ms,
            rtt_us: or_unknown(info.rtt.map(|rtt| rtt.last_us)),
            rtt_min_us: or_unknown(info.rtt.map(|rtt| rtt.min_us)),
            rtt_max_us: or_unknown(info.rtt.map(|rtt| rtt.max_us)),
            unread_bytes: byte_count(info.unread_bytes),
            send_queue_bytes: byte_count(info.send_queue_bytes),
            beats_sent: info.beats_sent,
            answers_received: info.answers_received,
            beats_received: info.beats_received,
            answers_sent: info.answers_sent,
            answers_late: info.answers_late,
            answers_unmatched: info.answers_unmatched,
            answers_dropped: info.answers_dropped,
            misses: info.misses,
            messages_received: info.messages_received,
            bytes_received: info.bytes_received,
            name: link_name(info.name.as_deref(), Some(info.link), None),
            messages_sent: info.messages_sent,
            bytes_sent: info.bytes_sent,
            would_be_downs: info.would_be_downs,
            rtt_count: info.rtt.map_or(0, |rtt| rtt.count.into()),
            rtt_sum_us: info.rtt.map_or(0, |rtt| rtt.sum_us),
            attempt: info.attempt,
            next_ms: or_unknown(info.next_ms),
            peer_states_left_out: info.peer_states_left_out,
            strikes: info.strikes,
            listener: info.listener.map_or(0, |listener| listener.0),
            agreed_interval_ms: info.agreed.map_or(0, |agreed| agreed.send_ms),
            agreed_peer_interval_ms: info.agreed.map_or(0, |agreed| agreed.receive_ms),
            agreed_hold_ms: info.agreed.map_or(0, |agreed| agreed.hold_ms),
            agreed_peer_hold_ms: info.agreed.map_or(0, |agreed| agreed.peer_hold_ms),
            frames_rejected: info.frames_rejected,
            frames_unauthenticated: info.frames_unauthenticated,
        }
    }
}

/// The caller's options.
///
/// # Safety
/// As for [`read`]; `name` and `protocol` are NULL or text.
unsafe fn read_options(pointer: *const hbeat_link_options) -> Result<LinkOptions, Failure> {
    // SAFETY: as for this function.
    let options = unsafe { read(pointer, "options") }?;
    let backoff = if options.backoff.is_null() {
        Backoff::default()
    } else {
        // SAFETY: as for this function.
        unsafe { read_backoff(options.backoff) }?
    };
    let reconnects = [
        ("HBEAT_RECONNECT_DEFAULT", Reconnect::Default),
        ("HBEAT_RECONNECT_YES", Reconnect::Yes),
        ("HBEAT_RECONNECT_NO", Reconnect::No),
    ];
    // SAFETY: as for this function.
    let (name, protocol) = unsafe {
        let name = optional_text(options.name, "name", HBEAT_NAME_MAX - 1)?;
        (name.unwrap_or_default(), optional_text(options.protocol, "protocol", HBEAT_NAME_MAX - 1)?)
    };
    Ok(LinkOptions {
        name: name.to_owned(),
        protocol: protocol.map_or(Ok(Protocol::None), protocol_of)?,
        fd: descriptor(options.fd)?,
        data: LinkData(options.link_data.expose_provenance()),
        start_paused: flag(options.start_paused, "start_paused")?,
        events: match event_mask(options.events)? {
            0 => None,
            events => Some(events),
        },
        reconnect: choice(options.reconnect, "reconnect", reconnects)?,
        attempts: options.attempts,
        backoff,
        // SAFETY: as for this function.
        keys: unsafe { read_keys(options.keys, options.key_count, "key_count") }?,
    })
}

/// The options of a link that hbeat carries, whose protocol is heart unless another one is named.
///
/// # Safety
/// As for [`read_options`].
unsafe fn read_carried(options: *const hbeat_link_options) -> Result<LinkOptions, Failure> {
    // SAFETY: as for this function.
    let (taken, named) = unsafe { (read_options(options)?, !read(options, "options")?.protocol.is_null()) };
    Ok(LinkOptions { protocol: if named { taken.protocol } else { Protocol::Heart }, ..taken })
}

/// The longest endpoint, in bytes.
pub(super) const ENDPOINT_MAX: usize = 271;

fn protocol_of(name: &str) -> Result<Protocol, Failure> {
    Protocol::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Protocol::names().map(|known| format!("\"{known}\"")).collect();
        Failure::invalid(format!("protocol is \"{}\", known are {}", name.escape_debug(), known.join(", ")))
    })
}

fn descriptor(fd: i32) -> Result<Option<i32>, Failure> {
    match fd {
        0 | -1 => Ok(None),
        1.. => Ok(Some(fd)),
        _ => Err(Failure::invalid(format!("fd is {fd}, allowed is a socket, or 0 or -1 for none"))),
    }
}

/// ==== Link ====
///
/// Opens a link, one for each connection, and writes its id to *link. Never waits. From here on its last event is
/// CLOSED (or release), whatever happens.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED, AGAIN, LIMIT, STOPPED, FAILED, FORKED, NO_MEMORY; INVALID for a policy, a name or a
/// protocol that is refused, or an fd that is no socket.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_open(
    engine: *mut hbeat_engine,
    policy: *const hbeat_policy,
    options: *const hbeat_link_options,
    link: *mut hbeat_link,
) -> hbeat_status {
    // SAFETY: an engine that lives and structs, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let (policy, options) = (read_policy(policy)?, read_options(options)?);
            check_output(link, "link")?;
            link.write(engine.open(&policy, &options)?.0);
            Ok(HBEAT_OK)
        })
    }
}

/// Opens a link whose connection hbeat makes itself, and writes its id to *link. Never waits: names are looked up and
/// connections made by hbeat's threads. endpoint: "tcp://name:port" or "udp://name:port", with an IPv6 address in brackets, or
/// "unix:///path" (not on Windows). The link speaks "heart" to a peer that does (a link of hbeat_link_adopt there, or one that its
/// application feeds; with udp only to a listener, which first asks this side to prove its address); it carries beats
/// only, no data. Each attempt sends a beat at once; the link is UP with the first
/// answer or beat of the peer. An attempt has as long as the policy gives a peer: tries times timeout_ms. Events:
/// CONNECTING before each attempt, with cause and detail of the failure before it; UP; one DOWN for each UP. With
/// HBEAT_RECONNECT_NO, or after as many failures as attempts allows, DOWN is final, and comes without UP, too.
/// hbeat_link_report_down gives the connection up. Only with HBEAT_RUN_THREADS.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED, AGAIN, LIMIT, STOPPED, FAILED, FORKED, NO_MEMORY; INVALID for an endpoint, policy,
/// backoff or option that is refused; WRONG_MODE with HBEAT_RUN_APPLICATION; SYSTEM: no descriptors are left.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_dial(
    engine: *mut hbeat_engine,
    endpoint: *const c_char,
    policy: *const hbeat_policy,
    options: *const hbeat_link_options,
    link: *mut hbeat_link,
) -> hbeat_status {
    // SAFETY: an engine that lives, texts and structs, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let endpoint = Endpoint::parse(text(endpoint, "endpoint", ENDPOINT_MAX)?).map_err(Failure::invalid)?;
            let (policy, options) = (read_policy(policy)?, read_carried(options)?);
            check_output(link, "link")?;
            link.write(engine.dial(&endpoint, &policy, &options)?.0);
            Ok(HBEAT_OK)
        })
    }
}

/// Opens a link over a connected TCP or Unix stream socket and writes its id to *link: from then on the socket is
/// hbeat's, which closes it when it is lost or the link is closed. After an error it is still the caller's. protocol
/// "heart", or another whose login the application did before. Otherwise like hbeat_link_dial, but a lost connection is
/// made anew only with HBEAT_RECONNECT_YES, to the address of its peer, and only for "heart".
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: as hbeat_link_dial; INVALID also for an fd that is no connected stream socket.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_adopt(
    engine: *mut hbeat_engine,
    fd: i32,
    policy: *const hbeat_policy,
    options: *const hbeat_link_options,
    link: *mut hbeat_link,
) -> hbeat_status {
    // SAFETY: an engine that lives and structs, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let (policy, options) = (read_policy(policy)?, read_carried(options)?);
            check_output(link, "link")?;
            link.write(engine.adopt(fd, &policy, &options)?.0);
            Ok(HBEAT_OK)
        })
    }
}

/// Starts a link that was opened or paused: its last sign of life is now, its tries are 0. Answers owed since then
/// give a SEND. On a link that runs it changes nothing. now_ns: see the head of this header.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_start(engine: *mut hbeat_engine, link: hbeat_link, now_ns: u64) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| done(engine.start(LinkId(link), now_ns))) }
}

/// Stops judging and beating until hbeat_link_start, as before a TERMINATE. What arrives meanwhile is kept: beats of
/// the peer are answered after the start. On a link that is DOWN it changes nothing.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_pause(engine: *mut hbeat_engine, link: hbeat_link, now_ns: u64) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| done(engine.pause(LinkId(link), now_ns))) }
}

/// Closes a link. Never waits, may be called anywhere, in its own callbacks too. Exactly one of several closers gets
/// HBEAT_OK. After it returns no event of the link is handed out but CLOSED (or release); one that was handed out
/// before may still run. So free link_data in CLOSED or release, never after this call. Closing gives no DOWN.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, FORKED; NO_LINK: it was closed before.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_close(engine: *mut hbeat_engine, link: hbeat_link) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| done(engine.close(LinkId(link)))) }
}

/// ==== What the application tells ====
///
/// A complete message arrived: a sign of life. For who does not use hbeat_link_feed; call it for every message but
/// answers to beats that match none. Costs a few nanoseconds, takes no lock, wakes nobody. now_ns: when; the caller's
/// own time is much cheaper than 0.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED. In a forked child it does nothing and says OK.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_received(engine: *mut hbeat_engine, link: hbeat_link, now_ns: u64) -> hbeat_status {
    // Nothing that is caught or kept lies on the way that nearly every call takes.
    // SAFETY: an engine that lives, by the rules at the head of the header.
    let plain = unsafe { engine.as_ref() }.is_some_and(|handle| handle.engine.received_plainly(LinkId(link), now_ns));
    if plain && !cfg!(feature = "fault-injection") {
        return HBEAT_OK as hbeat_status;
    }
    // SAFETY: likewise.
    unsafe { received_somehow(engine, LinkId(link), now_ns) }
}

/// # Safety
/// As for [`with_engine`].
#[cold]
#[inline(never)]
unsafe fn received_somehow(engine: *const hbeat_engine, link: LinkId, now_ns: u64) -> hbeat_status {
    // SAFETY: as for this function.
    unsafe { with_engine(engine, |engine| done(engine.received_somehow(link, now_ns))) }
}

/// hbeat_link_received for many links at once, for who has just handled all that an epoll_wait brought: count of them at
/// links, in any order and as often as one likes, all at now_ns. Several times as fast for each, where there are so many
/// links that their memory is far away. Of those that are open it is noted whatever the others are.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, unless count is 0; STOPPED; NO_LINK: one or more are not open. In a forked child it does nothing and
/// says OK.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_links_received(
    engine: *mut hbeat_engine,
    links: *const hbeat_link,
    count: u32,
    now_ns: u64,
) -> hbeat_status {
    // SAFETY: an engine that lives, and so many ids, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let links = values(links.cast::<LinkId>(), count as usize, "links")?;
            done(engine.received_all(links, now_ns))
        })
    }
}

/// Something was written to the peer. Only for idle_on = HBEAT_IDLE_ON_EITHER, for evidence, and to correct when the
/// beat taken last really left. Never a sign of life. As cheap as hbeat_link_received.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED. In a forked child it does nothing and says OK.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_sent(engine: *mut hbeat_engine, link: hbeat_link, now_ns: u64) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| done(engine.sent(LinkId(link), now_ns))) }
}

/// Shows hbeat the bytes that were read, in order, in portions of any size. A tap: the application still handles every
/// message itself, but leaves beats and their answers to hbeat. Replaces hbeat_link_received.
/// HBEAT_INFO_SEND: an answer is owed; take it with hbeat_link_take and write it.
///
/// Threads: any, one at a time for each link.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; BUSY: another thread feeds this link; DESYNC: the link is DOWN now
/// (with observe_only: would be); WRONG_MODE with protocol "none".
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_feed(
    engine: *mut hbeat_engine,
    link: hbeat_link,
    bytes: *const c_void,
    length: usize,
    now_ns: u64,
) -> hbeat_status {
    // SAFETY: an engine that lives and `length` bytes, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let bytes = values(bytes.cast(), length, "bytes")?;
            let owed = engine.feed(LinkId(link), bytes, now_ns)?;
            Ok(if owed { HBEAT_INFO_SEND } else { HBEAT_OK })
        })
    }
}

/// Shows hbeat the bytes that the application writes, in order, in portions of any size, before it writes them: an answer
/// must not be known before its beat. Replaces hbeat_link_sent. With observe_only the beats in them are the link's tries,
/// and hbeat_link_unsent takes the latest one back. Otherwise they only count: messages, bytes, and that something was
/// sent. Begin at the first byte of the connection, or of any message.
///
/// Threads: any, one at a time for each link.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; BUSY: another thread is in this call for this link; DESYNC: what was
/// sent is not the protocol, and no beat in it is seen any more; WRONG_MODE with protocol "none".
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_feed_sent(
    engine: *mut hbeat_engine,
    link: hbeat_link,
    bytes: *const c_void,
    length: usize,
    now_ns: u64,
) -> hbeat_status {
    // SAFETY: an engine that lives and `length` bytes, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let bytes = values(bytes.cast(), length, "bytes")?;
            done(engine.feed_sent(LinkId(link), bytes, now_ns))
        })
    }
}

/// With observe_only: the application's own heartbeat is about to send a beat with this number; for who parses himself.
/// To be told before it is written, as to hbeat_link_feed_sent.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; WRONG_MODE where observe_only is 0.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_beat_sent(
    engine: *mut hbeat_engine,
    link: hbeat_link,
    sequence: u32,
    now_ns: u64,
) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| done(engine.beat_sent(LinkId(link), sequence, now_ns))) }
}

/// Takes all frames that are to be written now, answers first, built at this moment; where the application writes.
/// *sequence goes in as the application's next free number and comes out advanced if a beat used one; NULL: hbeat
/// counts by itself. The beat counts as sent at now_ns.
///
/// HBEAT_OK with *length 0: nothing is needed any more. HBEAT_INFO_MORE: more frames than fit; write these, take
/// again; nothing is lost. With protocol "none" a beat that is due gives HBEAT_INFO_SEND and no bytes: write your own
/// beat with the number that *sequence had before the call.
///
/// Threads: any, one at a time for each link.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; BUSY: another thread takes from this link.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_take(
    engine: *mut hbeat_engine,
    link: hbeat_link,
    sequence: *mut u32,
    now_ns: u64,
    buffer: *mut c_void,
    capacity: usize,
    length: *mut usize,
) -> hbeat_status {
    // SAFETY: an engine that lives, a place of `capacity` bytes and one for a number, by the rules at the head of the
    // header.
    unsafe {
        with_engine(engine, |engine| {
            check_output(length, "length")?;
            let buffer = place(buffer.cast(), capacity, "buffer")?;
            let taken = engine.take(LinkId(link), sequence.as_mut(), now_ns, buffer)?;
            length.write(taken.length);
            Ok(match taken {
                taken if taken.own_beat => HBEAT_INFO_SEND,
                taken if taken.more => HBEAT_INFO_MORE,
                _ => HBEAT_OK,
            })
        })
    }
}

/// What was taken last could not be written: its beat counts as never sent, the next SEND comes soon. With observe_only
/// the beat shown last.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_unsent(engine: *mut hbeat_engine, link: hbeat_link, now_ns: u64) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| done(engine.unsent(LinkId(link), now_ns))) }
}

/// An answer to a beat arrived; for who parses himself. hbeat matches it with the beats that are outstanding: one that
/// matches none is counted and proves nothing, so do not report it with hbeat_link_received.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_answer_received(
    engine: *mut hbeat_engine,
    link: hbeat_link,
    sequence: u32,
    now_ns: u64,
) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| done(engine.answer_received(LinkId(link), sequence, now_ns))) }
}

/// A beat of the peer arrived; for who parses, and answers, himself.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_beat_received(
    engine: *mut hbeat_engine,
    link: hbeat_link,
    sequence: u32,
    now_ns: u64,
) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| done(engine.beat_received(LinkId(link), sequence, now_ns))) }
}

/// The application found out itself: end of file, a write error, TERMINATE, a failed login, requests that nobody
/// answers. The link goes DOWN with this cause and the DOWN event comes as for any verdict, once.
/// HBEAT_INFO_ALREADY_DOWN: somebody was first. cause is any HBEAT_CAUSE_* but NONE; detail (an errno, a protocol's
/// status) comes back in the event.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; INVALID for a cause that is none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_report_down(
    engine: *mut hbeat_engine,
    link: hbeat_link,
    cause: u32,
    detail: u32,
) -> hbeat_status {
    let report = |engine: &Engine| {
        let cause = cause_of(cause).ok_or_else(|| {
            Failure::invalid(format!("cause is {cause}, allowed is any HBEAT_CAUSE_* but NONE: 1 to 14"))
        })?;
        let first = engine.report_down(LinkId(link), cause, detail)?;
        Ok(if first { HBEAT_OK } else { HBEAT_INFO_ALREADY_DOWN })
    };
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, report) }
}

/// Changes the policy of a link, at once. In a probe the misses so far count on, unless observe_only changes: then
/// whoever beats from here on begins with all tries.
///
/// On a link that hbeat carries and whose peer says its terms, interval_ms, hold_time_ms and least_ms are wishes: they are
/// told to the peer at once, and count when it acknowledges them. This side then beats each interval_ms or each least_ms of
/// the peer, whichever is longer. Meanwhile, and from the peer, the longer silence is tolerated. What is agreed is in
/// hbeat_info.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED, NO_LINK, STOPPED, FAILED, FORKED; INVALID as for hbeat_policy_check.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_set_policy(
    engine: *mut hbeat_engine,
    link: hbeat_link,
    policy: *const hbeat_policy,
) -> hbeat_status {
    // SAFETY: an engine that lives and a struct, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| done(engine.set_policy(LinkId(link), &read_policy(policy)?))) }
}

/// Gives a sealed link other keys, at once: the first seals what is sent from here on, each is good for what arrives. The
/// connection goes on. To change keys without a gap give both ends (old, new), then both (new, old), then both (new).
/// hbeat copies what it needs. A link that was opened without keys stays as it is.
///
/// On a sealed link each frame carries a tag, HMAC-SHA-256 (RFC 2104) truncated to 128 bits, and a counter by which a frame
/// that is sent again is found; docs/heart-frame.md has the details. Nothing is encrypted. A peer that sends nothing
/// better than frames without a valid seal is given up as if it were mute, with HBEAT_CAUSE_UNAUTHENTICATED.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED, NO_LINK, STOPPED, FAILED, FORKED; INVALID: not 1 or 2 keys, a key of less than 16 or
/// more than 64 octets, two with one id; WRONG_MODE: the link was opened without keys.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_set_keys(
    engine: *mut hbeat_engine,
    link: hbeat_link,
    keys: *const hbeat_key,
    count: usize,
) -> hbeat_status {
    // SAFETY: an engine that lives and structs, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let keys = read_keys(keys, count, "count")?.ok_or_else(|| Failure::null("keys"))?;
            done(engine.set_keys(LinkId(link), keys))
        })
    }
}

/// Gives a link another link_data, as one needs who did not open it. hbeat_link_info gives it from here on, and so does
/// each event that is made after this call; CLOSED or release gets what was set last. Events that wait already keep the
/// value before: it is not used any more once hbeat_engine_quiesce was OK, or with CLOSED or release. That one is the
/// application's to free. Where another thread closes the link or stops the engine at the same time, its end may come with
/// either.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_set_data(
    engine: *mut hbeat_engine,
    link: hbeat_link,
    link_data: *mut c_void,
) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| done(engine.set_data(LinkId(link), LinkData(link_data.expose_provenance()))))
    }
}

/// All that is known of a link; also after DOWN, until it is closed. info->struct_size must be set.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, NO_LINK, STOPPED, FAILED, FORKED.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_info(
    engine: *const hbeat_engine,
    link: hbeat_link,
    info: *mut hbeat_info,
) -> hbeat_status {
    // SAFETY: an engine that lives and a struct, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let size = read_size(info, "info")?;
            write(hbeat_info::from(&engine.info(LinkId(link))?), info.cast(), size);
            Ok(HBEAT_OK)
        })
    }
}

/// ==== State in the beat ====
///
/// Tells the peer something of the application in every beat and answer of the link that is taken from here on: up to
/// HBEAT_APP_STATE_MAX bytes that mean what the two applications agree upon (how long their queues are, which of two
/// nodes leads). hbeat copies them. length 0: nothing is told any more. Only with protocol "heart". Nothing is sent
/// because of it: the peer knows it with the next beat or answer.
///
/// In a datagram an answer is never larger than its beat: where the state does not fit, it is left out and the answer says
/// so. Both sides then better set states of the same length, or the one that does not beat a shorter one.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; INVALID: more than HBEAT_APP_STATE_MAX bytes; WRONG_MODE where the
/// protocol is not "heart".
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_set_state(
    engine: *mut hbeat_engine,
    link: hbeat_link,
    bytes: *const c_void,
    length: usize,
) -> hbeat_status {
    // SAFETY: an engine that lives and `length` bytes, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let bytes = values(bytes.cast(), length, "bytes")?;
            done(engine.set_state(LinkId(link), bytes))
        })
    }
}

/// Copies the state that the peer told last into buffer; *length is how long it is, 0: it told none. A buffer of
/// HBEAT_APP_STATE_MAX bytes holds every state. HBEAT_INFO_MORE: capacity is less than *length; nothing was written, and
/// the state is still there. buffer may be NULL if capacity is 0.
///
/// Each beat and answer that hbeat_link_feed found whole and valid says what it is by then, answers that match no beat
/// included; a frame that was rejected changes nothing, and neither does one that had no room for the state
/// (peer_states_left_out of hbeat_info counts those). hbeat keeps one state of a link, the latest; also while the link is
/// DOWN, until it is closed.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; WRONG_MODE where the protocol is not "heart".
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_link_peer_state(
    engine: *const hbeat_engine,
    link: hbeat_link,
    buffer: *mut c_void,
    capacity: usize,
    length: *mut usize,
) -> hbeat_status {
    // SAFETY: an engine that lives, a place of `capacity` bytes and one for a number, by the rules at the head of the
    // header.
    unsafe {
        with_engine(engine, |engine| {
            check_output(length, "length")?;
            let buffer = place(buffer.cast(), capacity, "buffer")?;
            let whole = engine.peer_state(LinkId(link), buffer)?;
            length.write(whole);
            Ok(if whole > capacity { HBEAT_INFO_MORE } else { HBEAT_OK })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::last_error::tests::last_error;
    use crate::ffi::status::hbeat_status_code::{HBEAT_ERR_INVALID, HBEAT_ERR_NULL};
    use std::mem::zeroed;
    use std::ptr::{null, null_mut};

    fn zero() -> hbeat_link_options {
        hbeat_link_options { struct_size: size_of::<hbeat_link_options>() as u32, ..unsafe { zeroed() } }
    }

    fn taken(options: &hbeat_link_options) -> Result<LinkOptions, &'static str> {
        unsafe { read_options(options) }.map_err(|failure| {
            assert_eq!(failure.keep(), HBEAT_ERR_INVALID as i32);
            last_error()
        })
    }

    #[test]
    fn zero_means_the_usual() {
        let options = taken(&zero()).unwrap();
        assert_eq!((options.name.as_str(), options.protocol, options.fd), ("", Protocol::None, None));
        assert_eq!((options.start_paused, options.events, options.data.0), (false, None, 0));
    }

    #[test]
    fn what_is_set_arrives() {
        let set = hbeat_link_options {
            fd: 9,
            name: c"gd-mt-07".as_ptr(),
            protocol: c"cmpp".as_ptr(),
            link_data: 0x1234 as *mut c_void,
            start_paused: 1,
            events: 16,
            ..zero()
        };
        let options = taken(&set).unwrap();
        assert_eq!((options.name.as_str(), options.protocol, options.fd), ("gd-mt-07", Protocol::Cmpp, Some(9)));
        assert_eq!((options.start_paused, options.events, options.data.0), (true, Some(16), 0x1234));
    }

    #[test]
    fn what_is_refused_is_named() {
        let refused = |options: hbeat_link_options| taken(&options).unwrap_err();
        assert_eq!(taken(&hbeat_link_options { fd: -1, ..zero() }).unwrap().fd, None);
        let sentence = refused(hbeat_link_options { fd: -2, ..zero() });
        assert_eq!(sentence, "fd is -2, allowed is a socket, or 0 or -1 for none");
        let sentence = refused(hbeat_link_options { protocol: c"smpp".as_ptr(), ..zero() });
        assert_eq!(sentence, "protocol is \"smpp\", known are \"none\", \"cmpp\", \"heart\"");
        let long = std::ffi::CString::new("n".repeat(64)).unwrap();
        let sentence = refused(hbeat_link_options { name: long.as_ptr(), ..zero() });
        assert!(sentence.starts_with("name is too long (\"nnn") && sentence.ends_with("allowed are 63 bytes"));
        assert!(refused(hbeat_link_options { name: c"\xC3".as_ptr(), ..zero() }).ends_with("is not UTF-8 at byte 0"));
        assert_eq!(refused(hbeat_link_options { start_paused: 2, ..zero() }), "start_paused is 2, allowed is 0 or 1");
        assert!(refused(hbeat_link_options { events: 1 << 19, ..zero() }).starts_with("events is 0x80000"));
    }

    #[test]
    fn no_engine_is_an_error_of_every_call() {
        unsafe {
            let engine = null_mut();
            for status in [
                hbeat_link_open(engine, null(), null(), null_mut()),
                hbeat_link_start(engine, 1, 0),
                hbeat_link_pause(engine, 1, 0),
                hbeat_link_close(engine, 1),
                hbeat_link_received(engine, 1, 0),
                hbeat_links_received(engine, null(), 0, 0),
                hbeat_link_sent(engine, 1, 0),
                hbeat_link_feed(engine, 1, null(), 0, 0),
                hbeat_link_feed_sent(engine, 1, null(), 0, 0),
                hbeat_link_beat_sent(engine, 1, 0, 0),
                hbeat_link_take(engine, 1, null_mut(), 0, null_mut(), 0, null_mut()),
                hbeat_link_unsent(engine, 1, 0),
                hbeat_link_answer_received(engine, 1, 0, 0),
                hbeat_link_beat_received(engine, 1, 0, 0),
                hbeat_link_report_down(engine, 1, 1, 0),
                hbeat_link_set_policy(engine, 1, null()),
                hbeat_link_set_keys(engine, 1, null(), 0),
                hbeat_link_set_data(engine, 1, null_mut()),
                hbeat_link_info(engine, 1, null_mut()),
                hbeat_link_set_state(engine, 1, null(), 0),
                hbeat_link_peer_state(engine, 1, null_mut(), 0, null_mut()),
            ] {
                assert_eq!((status, last_error()), (HBEAT_ERR_NULL as i32, "engine is NULL"));
            }
        }
    }
}
