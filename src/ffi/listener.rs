//! Listeners: peers that dial become links.

use super::convert::{check_output, name_array, optional_text, plain, read, read_size, text, write};
use super::engine::{event_mask, hbeat_engine, with_engine};
use super::event::link_name;
use super::key::{hbeat_key, read_keys};
use super::last_error::Failure;
use super::link::ENDPOINT_MAX;
use super::policy::{hbeat_policy, read_policy};
use super::status::hbeat_status_code::HBEAT_OK;
use super::version::HBEAT_NAME_MAX;
use super::{done, hbeat_status};
use crate::engine::{Endpoint, ListenerId, ListenerInfo, ListenerOptions, Refusal};
use std::ffi::c_char;

/// The id of a listener: never 0, never that of a link. A number, safe to keep for ever.
pub type hbeat_listener = u64;

/// Places of listener_info.endpoint, its NUL included.
pub const HBEAT_ENDPOINT_MAX: usize = 128;

/// How a listener is set up. A struct that is all zero but for struct_size is right. hbeat copies the text.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_listener_options {
    /// sizeof(hbeat_listener_options).
    pub struct_size: u32,
    /// How many of its links may be open, those that are DOWN and not closed included; 0 = as many as the engine takes.
    pub max_links: u32,
    /// For events and logs, and the first part of its links' names; UTF-8, at most 63 bytes; NULL or "" = none.
    pub name: *const c_char,
    /// How many of them from one source, an IPv4 address or the first 64 bits of an IPv6 address; 0 = any number.
    pub max_per_source: u32,
    /// How many connections may be open from which nothing valid was heard yet; 0 = 1024. They count for the limits
    /// above, and for max_links of the engine, and last at most as long as the policy's longest detection.
    pub max_greeting: u32,
    /// Which events of its links are asked for, a mask of 1u << HBEAT_EVENT_*; 0 = as the engine.
    pub events: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Its links are sealed with these keys, as with those of hbeat_link_options; NULL = nothing is sealed.
    pub keys: *const hbeat_key,
    /// How many there are: 1 or 2; 0 where keys is NULL.
    pub key_count: usize,
}

plain!(hbeat_listener_options {
    struct_size,
    max_links,
    name,
    max_per_source,
    max_greeting,
    events,
    reserved,
    keys,
    key_count,
} until key_count);

/// What is known of a listener. Set struct_size before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_listener_info {
    /// sizeof(hbeat_listener_info); comes back as how many bytes hbeat filled.
    pub struct_size: u32,
    /// The port that it got; 0 for a Unix socket.
    pub port: u32,
    /// The listener.
    pub listener: hbeat_listener,
    /// Its links that are open, those that are DOWN and not closed included.
    pub links: u32,
    /// Connections from which nothing valid was heard yet.
    pub greeting: u32,
    /// Links that it ever had.
    pub accepted: u64,
    /// Connections that ended, or were ended, before anything valid was heard; the application never knew of them.
    pub never_heard: u64,
    /// Connections that were closed at once because of max_links, its own or the engine's.
    pub refused_links: u64,
    /// Because of max_per_source.
    pub refused_source: u64,
    /// Because of max_greeting.
    pub refused_greeting: u64,
    /// How often the system had no descriptors or memory left: connections wait there until it has.
    pub refused_system: u64,
    /// udp: how many datagrams came from senders that had not proved their address, and were asked to.
    pub challenged: u64,
    /// Its name, or "listener-" and the id in hexadecimal; UTF-8, ends with a NUL.
    pub name: [c_char; HBEAT_NAME_MAX],
    /// Where it listens, with the port that it got; ends with a NUL.
    pub endpoint: [c_char; HBEAT_ENDPOINT_MAX],
}

plain!(hbeat_listener_info {
    struct_size,
    port,
    listener,
    links,
    greeting,
    accepted,
    never_heard,
    refused_links,
    refused_source,
    refused_greeting,
    refused_system,
    challenged,
    name,
    endpoint,
} until endpoint);

impl From<&ListenerInfo> for hbeat_listener_info {
    fn from(info: &ListenerInfo) -> Self {
        let refused = |refusal| info.refused[refusal as usize];
        Self {
            struct_size: size_of::<Self>() as u32,
            port: info.port.into(),
            listener: info.listener.0,
            links: info.links,
            greeting: info.greeting,
            accepted: info.accepted,
            never_heard: info.never_heard,
            refused_links: refused(Refusal::Links),
            refused_source: refused(Refusal::Source),
            refused_greeting: refused(Refusal::Greeting),
            refused_system: refused(Refusal::System),
            challenged: info.challenged,
            name: link_name(info.name.as_deref(), None, Some(info.listener)),
            endpoint: name_array(&info.endpoint),
        }
    }
}

/// ==== Listener ====
///
/// Listens for peers that dial, and writes an id to *listener. Never waits. endpoint: "tcp://address:port" or "udp://address:port" with an
/// address of this machine in numbers, an IPv6 address in brackets (`[::]`: all its addresses, those of IPv4 included), or
/// "unix:///path" (not on Windows); port 0: a free one, hbeat_listener_info says which. Each connection that is heard within the time that the policy gives a
/// peer becomes a link of the policy with protocol "heart", and HBEAT_EVENT_ACCEPTED is its first event; of others the
/// application never learns. A link that is lost is DOWN: close it; the peer comes again by itself, as another link.
/// Links are named after listener and peer ("devices/10.0.0.7:4711"). Limits: see hbeat_listener_options; who is too
/// much is closed at once, with HBEAT_EVENT_LISTENER_LIMIT. Where the system has no more descriptors, connections wait
/// there, and are tried again each second. Only with HBEAT_RUN_THREADS.
///
/// With udp all links share the listener's socket, and one thread reads it. Who sends must first prove that his address is
/// his: until then nothing is kept of him, and nothing is sent to him that is larger than what came. A link that this side
/// closes is refused when the peer beats on. On a machine with several addresses listen at one of them: answers leave from
/// the one that the system chooses.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED, STOPPED, FAILED, FORKED, NO_MEMORY; INVALID for an endpoint, policy or option that is
/// refused; WRONG_MODE with HBEAT_RUN_APPLICATION; SYSTEM: the endpoint is in use or not of this machine, or no
/// descriptors are left.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_listener_open(
    engine: *mut hbeat_engine,
    endpoint: *const c_char,
    policy: *const hbeat_policy,
    options: *const hbeat_listener_options,
    listener: *mut hbeat_listener,
) -> hbeat_status {
    // SAFETY: an engine that lives, texts and structs, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let endpoint =
                Endpoint::parse_local(text(endpoint, "endpoint", ENDPOINT_MAX)?).map_err(Failure::invalid)?;
            let (policy, options) = (read_policy(policy)?, read_options(options)?);
            check_output(listener, "listener")?;
            listener.write(engine.listen(&endpoint, &policy, &options)?.0);
            Ok(HBEAT_OK)
        })
    }
}

/// Listens no longer. Links that came of it stay open. The endpoint is free again once hbeat_engine_quiesce returned; with
/// udp not before the last of them is closed.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, FORKED; NO_LINK: it was closed before, or is none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_listener_close(engine: *mut hbeat_engine, listener: hbeat_listener) -> hbeat_status {
    // SAFETY: an engine that lives, by the rules at the head of the header.
    unsafe { with_engine(engine, |engine| done(engine.close_listener(ListenerId(listener)))) }
}

/// What is known of a listener. info->struct_size must be set.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, STOPPED, FAILED, FORKED; NO_LINK: it was closed, or is none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_listener_info_get(
    engine: *const hbeat_engine,
    listener: hbeat_listener,
    info: *mut hbeat_listener_info,
) -> hbeat_status {
    // SAFETY: an engine that lives and a struct, by the rules at the head of the header.
    unsafe {
        with_engine(engine, |engine| {
            let size = read_size(info, "info")?;
            write(hbeat_listener_info::from(&engine.listener_info(ListenerId(listener))?), info.cast(), size);
            Ok(HBEAT_OK)
        })
    }
}

/// The caller's options.
///
/// # Safety
/// As for [`read`]; `name` is NULL or text.
unsafe fn read_options(pointer: *const hbeat_listener_options) -> Result<ListenerOptions, Failure> {
    // SAFETY: as for this function.
    let (options, name) = unsafe {
        let options = read(pointer, "options")?;
        (options, optional_text(options.name, "name", HBEAT_NAME_MAX - 1)?.unwrap_or_default())
    };
    if options.reserved != 0 {
        return Err(Failure::invalid(format!("reserved is {}, it must be 0", options.reserved)));
    }
    Ok(ListenerOptions {
        // SAFETY: as for this function.
        keys: unsafe { read_keys(options.keys, options.key_count, "key_count") }?,
        name: name.to_owned(),
        max_links: options.max_links,
        max_per_source: options.max_per_source,
        max_greeting: options.max_greeting,
        events: match event_mask(options.events)? {
            0 => None,
            events => Some(events),
        },
    })
}
