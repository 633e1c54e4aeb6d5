//! The kernel's own keepalive of a TCP connection: set in one call, and read back as the kernel uses it.

use super::check_tcp;
use super::system::{self, ask};
use socket2::Socket;
use std::io;
use std::time::Duration;

/// When the kernel probes an idle connection, and when it gives one up. All times in milliseconds; [`u32::MAX`] where the
/// system does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle_ms: u32,
    /// Time between probes.
    pub interval_ms: u32,
    /// Probes that may go unanswered.
    pub count: u32,
    /// How long sent data may stay unacknowledged (RFC 5482); `None`: as long as the system's own rule has it.
    pub user_timeout_ms: Option<u32>,
}

/// What Linux takes at most; others take as much.
pub const SECONDS_MAX: u32 = 32_767;
/// Likewise.
pub const COUNT_MAX: u32 = 127;

impl Keepalive {
    /// Keepalive by which the kernel gives up idle connections and unacknowledged data after the same time: kernels take
    /// whole seconds, so times are rounded up.
    #[must_use]
    pub fn of(idle_ms: u32, interval_ms: u32, count: u32) -> Self {
        let whole = |ms: u32| ms.div_ceil(1_000).clamp(1, SECONDS_MAX) * 1_000;
        let (idle_ms, interval_ms, count) = (whole(idle_ms), whole(interval_ms), count.clamp(1, COUNT_MAX));
        let sum = u64::from(idle_ms) + u64::from(interval_ms) * u64::from(count);
        let user_timeout_ms = Some(u32::try_from(sum).unwrap_or(u32::MAX - 1).min(i32::MAX as u32));
        Self { idle_ms, interval_ms, count, user_timeout_ms }
    }
}

/// Sets the kernel's keepalive of a TCP socket; `None` turns it off, and its limit on unacknowledged data as well.
///
/// # Errors
/// What the system says; [`io::ErrorKind::Unsupported`] where `fd` is another kind of socket.
pub fn set_keepalive(fd: i32, how: Option<Keepalive>) -> io::Result<()> {
    check_tcp(fd)?;
    let user_timeout = how.and_then(|how| how.user_timeout_ms).map(|ms| Duration::from_millis(ms.into()));
    ask(fd, |socket| {
        match how {
            None => socket.set_keepalive(false)?,
            Some(how) => {
                let ms = |ms: u32| Duration::from_millis(ms.into());
                system::set_keepalive(socket, ms(how.idle_ms), ms(how.interval_ms), how.count)?;
            }
        }
        set_user_timeout(socket, user_timeout)
    })
}

/// What the kernel uses; `None`: no keepalive.
///
/// # Errors
/// As [`set_keepalive`].
pub fn keepalive(fd: i32) -> io::Result<Option<Keepalive>> {
    check_tcp(fd)?;
    let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    ask(fd, |socket| {
        if !socket.keepalive()? {
            return Ok(None);
        }
        let (idle, interval, count) = system::keepalive(socket)?;
        Ok(Some(Keepalive {
            idle_ms: ms(idle),
            interval_ms: ms(interval),
            count,
            user_timeout_ms: user_timeout(socket)?.map(ms),
        }))
    })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_user_timeout(socket: &Socket, timeout: Option<Duration>) -> io::Result<()> {
    socket.set_tcp_user_timeout(timeout)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn user_timeout(socket: &Socket) -> io::Result<Option<Duration>> {
    socket.tcp_user_timeout()
}

/// There is no such limit here: keepalive alone judges.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_user_timeout(_: &Socket, _: Option<Duration>) -> io::Result<()> {
    Ok(())
}

/// There is no such limit here.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn user_timeout(_: &Socket) -> io::Result<Option<Duration>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsRawFd;

    #[test]
    fn what_was_set_is_what_the_kernel_uses_and_seconds_are_rounded_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = listener.as_raw_fd();
        assert_eq!(keepalive(fd).unwrap(), None);
        let how = Keepalive::of(9_001, 500, 3);
        let expected = Keepalive { idle_ms: 10_000, interval_ms: 1_000, count: 3, user_timeout_ms: Some(13_000) };
        assert_eq!(how, expected);
        set_keepalive(fd, Some(how)).unwrap();
        assert_eq!(keepalive(fd).unwrap(), Some(expected));
        let kernels_own = Keepalive { user_timeout_ms: None, ..how };
        set_keepalive(fd, Some(kernels_own)).unwrap();
        assert_eq!(keepalive(fd).unwrap(), Some(kernels_own));
        set_keepalive(fd, None).unwrap();
        assert_eq!(keepalive(fd).unwrap(), None);
        assert_eq!(ask(fd, user_timeout).unwrap(), None);
    }

    #[test]
    fn the_longest_times_fit_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let how = Keepalive::of(u32::MAX, u32::MAX, u32::MAX);
        set_keepalive(listener.as_raw_fd(), Some(how)).unwrap();
        assert_eq!(keepalive(listener.as_raw_fd()).unwrap(), Some(how));
    }

    #[test]
    fn other_sockets_have_none() {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let refused = set_keepalive(datagrams.as_raw_fd(), None).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
        assert!(keepalive(-1).is_err());
    }
}
