//! What `system.rs` has, for Windows.
//!
//! A socket's number is its `SOCKET`: handles have 32 significant bits, so that an `int` holds every one of them
//! ("Interprocess Communication Between 32-bit and 64-bit Applications", Microsoft).

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::windows::io::{AsRawSocket, BorrowedSocket, FromRawSocket, RawSocket};
use std::path::PathBuf;
use std::time::Duration;
use windows_sys::Win32::Networking::WinSock::{
    FIONREAD, IPPROTO_TCP, POLLERR, POLLHUP, POLLNVAL, POLLWRNORM, SOCKET, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL,
    WSAENOPROTOOPT, WSAENOTSOCK, WSAPOLLFD, WSAPoll, getsockopt, ioctlsocket,
};

/// Those that newer versions have do not tell their name, by which they are taken away again.
pub const HAS_UNIX_SOCKETS: bool = false;

/// There are no signals.
pub const SEND_FLAGS: i32 = 0;

pub fn ask<T>(fd: i32, question: impl FnOnce(&Socket) -> io::Result<T>) -> io::Result<T> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(WSAENOTSOCK));
    }
    // SAFETY: not INVALID_SOCKET; what is asked fails cleanly when it is not open, and it is not kept.
    let borrowed = unsafe { BorrowedSocket::borrow_raw(fd as RawSocket) };
    question(&SockRef::from(&borrowed))
}

pub fn own(fd: i32) -> Socket {
    // SAFETY: the caller hands over what he owned.
    unsafe { Socket::from_raw_socket(fd as RawSocket) }
}

pub fn descriptor(socket: &Socket) -> i32 {
    socket.as_raw_socket() as i32
}

pub fn is_no_socket(error: &io::Error) -> bool {
    error.raw_os_error() == Some(WSAENOTSOCK)
}

pub fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// It always is: the others have no sockets here.
pub fn is_inet(_: &Socket) -> io::Result<bool> {
    Ok(true)
}

/// One that sends datagrams to itself, twice: once it is connected, nobody else's arrive.
pub fn pair() -> io::Result<(Socket, Socket)> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())?;
    socket.connect(&socket.local_addr()?)?;
    let other = socket.try_clone()?;
    Ok((socket, other))
}

pub fn path(_: &SockAddr) -> Option<PathBuf> {
    None
}

pub fn unread_bytes(fd: i32) -> Option<u32> {
    let mut bytes = 0;
    // SAFETY: the request writes one u_long; a closed socket gives an error.
    let status = unsafe { ioctlsocket(fd as SOCKET, FIONREAD, &mut bytes) };
    (status == 0).then_some(bytes)
}

/// Windows does not say.
pub fn send_queue_bytes(_: i32) -> Option<u32> {
    None
}

pub fn send_queue_full(fd: i32) -> Option<bool> {
    let mut poll = WSAPOLLFD { fd: fd as SOCKET, events: POLLWRNORM, revents: 0 };
    // SAFETY: one valid WSAPOLLFD; a timeout of 0 never waits.
    let count = unsafe { WSAPoll(&mut poll, 1, 0) };
    let told = count >= 0 && poll.revents & (POLLNVAL | POLLERR) == 0;
    told.then_some(poll.revents & (POLLWRNORM | POLLHUP) == 0)
}

/// By `SIO_KEEPALIVE_VALS`, which takes milliseconds. The number of probes is fixed before Windows 10, version 1703.
pub fn set_keepalive(socket: &Socket, idle: Duration, interval: Duration, count: u32) -> io::Result<()> {
    let times = TcpKeepalive::new().with_time(idle).with_interval(interval);
    socket.set_tcp_keepalive(&times)?;
    match socket.set_tcp_keepalive(&times.with_retries(count)) {
        Err(error) if error.raw_os_error() == Some(WSAENOPROTOOPT) => Ok(()),
        other => other,
    }
}

/// The largest values where the system does not say: it can be asked since Windows 10, version 1709.
pub fn keepalive(socket: &Socket) -> io::Result<(Duration, Duration, u32)> {
    let value = |option| {
        let (mut value, mut length) = (0_u32, size_of::<u32>() as i32);
        let place = std::ptr::from_mut(&mut value).cast();
        // SAFETY: at most `length` bytes are written to `value`.
        match unsafe { getsockopt(socket.as_raw_socket() as SOCKET, IPPROTO_TCP, option, place, &mut length) } {
            0 => Ok(Some(value)),
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(WSAENOPROTOOPT) => Ok(None),
                error => Err(error),
            },
        }
    };
    let seconds = |value: Option<u32>| value.map_or(Duration::MAX, |value| Duration::from_secs(value.into()));
    Ok((seconds(value(TCP_KEEPIDLE)?), seconds(value(TCP_KEEPINTVL)?), value(TCP_KEEPCNT)?.unwrap_or(u32::MAX)))
}
