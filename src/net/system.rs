//! What systems do each in their own way: here those that follow POSIX; `system_windows.rs` has the same for Windows.

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};
use std::path::PathBuf;
use std::time::Duration;

/// Whether there are Unix sockets.
pub const HAS_UNIX_SOCKETS: bool = true;

/// With what to send, so that a peer that is gone raises no signal.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;
/// socket2 sets `SO_NOSIGPIPE` where there is no such flag.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub const SEND_FLAGS: i32 = 0;

/// Asks the system about a socket that is not ours.
pub fn ask<T>(fd: i32, question: impl FnOnce(&Socket) -> io::Result<T>) -> io::Result<T> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: not -1; what is asked fails cleanly when `fd` is not open, and it is not kept.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    question(&SockRef::from(&borrowed))
}

/// Makes a socket ours that its owner hands over.
pub fn own(fd: i32) -> Socket {
    // SAFETY: the caller hands over what he owned.
    unsafe { Socket::from_raw_fd(fd) }
}

/// The number of a socket.
pub fn descriptor(socket: &Socket) -> i32 {
    socket.as_raw_fd()
}

/// Whether it says that there is no open socket of that number.
pub fn is_no_socket(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK))
}

/// Whether it says that a connect has begun.
pub fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::EINPROGRESS)
}

/// Whether it is of the Internet's protocols.
pub fn is_inet(socket: &Socket) -> io::Result<bool> {
    Ok(matches!(socket.local_addr()?.domain(), Domain::IPV4 | Domain::IPV6))
}

/// Two sockets: what is sent at the second can be read at the first.
pub fn pair() -> io::Result<(Socket, Socket)> {
    Socket::pair(Domain::UNIX, Type::STREAM, None)
}

/// The name of a Unix socket.
pub fn path(address: &SockAddr) -> Option<PathBuf> {
    address.as_pathname().map(Into::into)
}

/// Bytes that arrived and were not read.
pub fn unread_bytes(fd: i32) -> Option<u32> {
    // SAFETY: the request writes one int; a closed descriptor gives an error.
    counted(|bytes| unsafe { libc::ioctl(fd, libc::FIONREAD, bytes) })
}

/// Bytes that were written and are still here.
pub fn send_queue_bytes(fd: i32) -> Option<u32> {
    // SAFETY: likewise.
    counted(|bytes| unsafe { libc::ioctl(fd, libc::TIOCOUTQ, bytes) })
}

fn counted(request: impl FnOnce(&mut libc::c_int) -> libc::c_int) -> Option<u32> {
    let mut bytes = 0;
    if request(&mut bytes) == 0 { u32::try_from(bytes).ok() } else { None }
}

/// Whether it would take no more bytes.
pub fn send_queue_full(fd: i32) -> Option<bool> {
    let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid pollfd; a timeout of 0 never waits.
    let count = unsafe { libc::poll(&mut poll, 1, 0) };
    let told = count >= 0 && poll.revents & (libc::POLLNVAL | libc::POLLERR) == 0;
    told.then_some(poll.revents & (libc::POLLOUT | libc::POLLHUP) == 0)
}

/// Sets silence before the first probe, time between probes, and probes.
pub fn set_keepalive(socket: &Socket, idle: Duration, interval: Duration, count: u32) -> io::Result<()> {
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(count))
}

/// The same as the system has them.
pub fn keepalive(socket: &Socket) -> io::Result<(Duration, Duration, u32)> {
    Ok((socket.tcp_keepalive_time()?, socket.tcp_keepalive_interval()?, socket.tcp_keepalive_retries()?))
}
