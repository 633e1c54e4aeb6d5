//! What the kernel does with a TCP connection: its own keepalive, and what it knows.

use super::convert::{flag, plain, read, read_size, write};
use super::event::or_unknown;
use super::last_error::Failure;
use super::policy::{hbeat_policy, read_policy};
use super::status::hbeat_status_code::{HBEAT_ERR_SYSTEM, HBEAT_OK};
use super::version::HBEAT_FOREVER;
use super::{guard, hbeat_status};
use crate::net::{self, COUNT_MAX, Keepalive, Observed, SECONDS_MAX, TcpInfo};
use std::io;

/// The kernel's own keepalive. It ends at the first proxy or balancer and answers for a process that has deadlocked;
/// beats do not. It costs nothing, and finds dead connections that nobody beats on.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_keepalive {
    /// sizeof(hbeat_keepalive).
    pub struct_size: u32,
    /// 1: the kernel probes the connection; 0: it does not.
    pub enabled: u32,
    /// Silence before the first probe: 1 to 32767000; the kernel counts in whole seconds, so this is rounded up. Comes
    /// back as HBEAT_UNKNOWN where the system does not say, as likewise the next two: Windows before 10, version 1709.
    pub idle_ms: u32,
    /// Time between probes: likewise.
    pub interval_ms: u32,
    /// Probes that may go unanswered before the connection is given up: 1 to 127. Windows before 10, version 1703, has a
    /// number of its own, 10.
    pub count: u32,
    /// How long sent data may stay unacknowledged (TCP_USER_TIMEOUT, RFC 5482), for which no probe is sent. 0: as long as
    /// silence, idle + interval * count; HBEAT_FOREVER: the system's own rule, a quarter of an hour and more. Comes back
    /// as what the kernel uses. Only Linux has it; elsewhere it comes back as HBEAT_FOREVER.
    pub user_timeout_ms: u32,
}

plain!(hbeat_keepalive {
    struct_size,
    enabled,
    idle_ms,
    interval_ms,
    count,
    user_timeout_ms,
} until user_timeout_ms);

/// What the kernel knows of a TCP connection; HBEAT_UNKNOWN in a field that the system does not tell (all of them on
/// other systems than Linux).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct hbeat_tcp_info {
    /// sizeof(hbeat_tcp_info); comes back as how many bytes hbeat filled.
    pub struct_size: u32,
    /// 1 established, 2 syn sent, 3 syn received, 4 and 5 fin wait, 6 time wait, 7 closed, 8 close wait, 9 last ack,
    /// 10 listening, 11 closing.
    pub state: u32,
    /// Segments sent and not acknowledged.
    pub unacked: u32,
    /// How often the oldest of them has been sent again.
    pub retransmits: u32,
    /// Segments sent again since the connection was made.
    pub total_retransmits: u32,
    /// Smoothed round-trip time of the kernel's, in microseconds.
    pub rtt_us: u32,
    /// Its variation.
    pub rtt_var_us: u32,
    /// How long ago an acknowledgement came, in ms; HBEAT_UNKNOWN also where none ever did.
    pub last_ack_ms: u32,
    /// How long ago data came, in ms; likewise.
    pub last_data_received_ms: u32,
    /// Bytes that wait in the send queue.
    pub send_queue_bytes: u32,
    /// Bytes that arrived and wait unread.
    pub unread_bytes: u32,
}

plain!(hbeat_tcp_info {
    struct_size,
    state,
    unacked,
    retransmits,
    total_retransmits,
    rtt_us,
    rtt_var_us,
    last_ack_ms,
    last_data_received_ms,
    send_queue_bytes,
    unread_bytes,
} until unread_bytes);

impl From<Option<Keepalive>> for hbeat_keepalive {
    fn from(how: Option<Keepalive>) -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            enabled: how.is_some().into(),
            idle_ms: how.map_or(0, |how| how.idle_ms),
            interval_ms: how.map_or(0, |how| how.interval_ms),
            count: how.map_or(0, |how| how.count),
            user_timeout_ms: how.and_then(|how| how.user_timeout_ms).unwrap_or(HBEAT_FOREVER),
        }
    }
}

impl From<(TcpInfo, Observed)> for hbeat_tcp_info {
    fn from((info, queues): (TcpInfo, Observed)) -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            state: or_unknown(info.state),
            unacked: or_unknown(info.unacked),
            retransmits: or_unknown(info.retransmits),
            total_retransmits: or_unknown(info.total_retransmits),
            rtt_us: or_unknown(info.rtt_us),
            rtt_var_us: or_unknown(info.rtt_var_us),
            last_ack_ms: or_unknown(info.last_ack_ms),
            last_data_received_ms: or_unknown(info.last_data_received_ms),
            send_queue_bytes: or_unknown(queues.send_queue_bytes),
            unread_bytes: or_unknown(queues.unread_bytes),
        }
    }
}

/// What the caller wants; `None`: off.
fn wanted(how: &hbeat_keepalive) -> Result<Option<Keepalive>, Failure> {
    if !flag(how.enabled, "enabled")? {
        return Ok(None);
    }
    for (field, value, most) in [
        ("idle_ms", how.idle_ms, SECONDS_MAX * 1_000),
        ("interval_ms", how.interval_ms, SECONDS_MAX * 1_000),
        ("count", how.count, COUNT_MAX),
    ] {
        if !(1..=most).contains(&value) {
            return Err(Failure::invalid(format!("{field} is {value}, allowed is 1 to {most} where enabled is 1")));
        }
    }
    let derived = Keepalive::of(how.idle_ms, how.interval_ms, how.count);
    let user_timeout_ms = match how.user_timeout_ms {
        0 => derived.user_timeout_ms,
        HBEAT_FOREVER => None,
        set if i32::try_from(set).is_ok() => Some(set),
        set => {
            let sentence = format!("user_timeout_ms is {set}, allowed is 0 to {}, or HBEAT_FOREVER", i32::MAX);
            return Err(Failure::invalid(sentence));
        }
    };
    Ok(Some(Keepalive { user_timeout_ms, ..derived }))
}

/// Why a socket was refused.
fn refused(fd: i32, error: &io::Error) -> Failure {
    if net::is_no_socket(error) || error.kind() == io::ErrorKind::Unsupported {
        return Failure::invalid(format!("fd is {fd}, allowed is an open TCP socket: {error}"));
    }
    Failure::new(HBEAT_ERR_SYSTEM, format!("fd is {fd}, the system refused: {error}"))
}

/// ==== Kernel ====
///
/// Sets the kernel's own keepalive of a TCP socket, all of it in one call: the default of two hours is never left by
/// accident. After an error of INVALID nothing was changed.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED; INVALID for a value out of its range or an fd that is no open TCP socket; SYSTEM.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_keepalive_set(fd: i32, how: *const hbeat_keepalive) -> hbeat_status {
    guard(|| {
        // SAFETY: a struct, by the rules at the head of the header.
        let how = wanted(&unsafe { read(how, "how") }?)?;
        net::set_keepalive(fd, how).map_err(|error| refused(fd, &error))?;
        Ok(HBEAT_OK)
    })
}

/// What the kernel uses for a TCP socket now. Set struct_size before the call. With enabled 0 the other fields are 0,
/// and user_timeout_ms HBEAT_FOREVER.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE; INVALID for an fd that is no open TCP socket; SYSTEM.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_keepalive_get(fd: i32, how: *mut hbeat_keepalive) -> hbeat_status {
    guard(|| {
        // SAFETY: a struct, by the rules at the head of the header.
        let size = unsafe { read_size(how, "how") }?;
        let found = net::keepalive(fd).map_err(|error| refused(fd, &error))?;
        // SAFETY: a place of `size` bytes, by the same rules.
        unsafe { write(hbeat_keepalive::from(found), how.cast(), size) };
        Ok(HBEAT_OK)
    })
}

/// The kernel's keepalive that goes with a policy: idle is the longest silence before a probe of the policy, interval its
/// timeout_ms, count its tries (at least 1), each rounded up and no more than hbeat_keepalive allows; the user timeout is
/// idle + interval * count. So the kernel gives up no earlier than the policy's latest verdict (for policies of up to
/// nine hours), and not much later. Set struct_size of how before the call.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE, UNSUPPORTED; INVALID for a policy that hbeat_policy_check refuses.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_policy_keepalive(
    policy: *const hbeat_policy,
    how: *mut hbeat_keepalive,
) -> hbeat_status {
    guard(|| {
        // SAFETY: structs, by the rules at the head of the header.
        let (policy, size) = unsafe { (read_policy(policy)?, read_size(how, "how")?) };
        policy.check().map_err(|error| Failure::invalid(error.to_string()))?;
        let tries = if policy.probes() { policy.tries } else { 0 };
        let idle_ms = policy.detection().latest_ms - tries * policy.timeout_ms;
        let found = Some(Keepalive::of(idle_ms, policy.timeout_ms, tries));
        // SAFETY: a place of `size` bytes, by the same rules.
        unsafe { write(hbeat_keepalive::from(found), how.cast(), size) };
        Ok(HBEAT_OK)
    })
}

/// Looks at a TCP socket. Set struct_size before the call. Nothing is read, written or changed.
///
/// Threads: any.
/// In a callback: yes.
/// Blocks: no.
/// Errors: NULL, SIZE; INVALID for an fd that is no open TCP socket; SYSTEM.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hbeat_tcp_info_get(fd: i32, info: *mut hbeat_tcp_info) -> hbeat_status {
    guard(|| {
        // SAFETY: a struct, by the rules at the head of the header.
        let size = unsafe { read_size(info, "info") }?;
        let found = net::tcp_info(fd).map_err(|error| refused(fd, &error))?;
        // SAFETY: a place of `size` bytes, by the same rules.
        unsafe { write(hbeat_tcp_info::from((found, net::observe(fd))), info.cast(), size) };
        Ok(HBEAT_OK)
    })
}
