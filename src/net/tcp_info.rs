//! What the kernel knows of a TCP connection.

use std::io;

/// Linux's states by number (`include/net/tcp_states.h`).
const STATES: [&str; 13] = [
    "unknown",
    "established",
    "syn_sent",
    "syn_received",
    "fin_wait_1",
    "fin_wait_2",
    "time_wait",
    "closed",
    "close_wait",
    "last_ack",
    "listening",
    "closing",
    "new_syn_received",
];

/// A look at one connection; `None` = the system does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpInfo {
    /// Linux's number of the state, 1 (established) to 12.
    pub state: Option<u32>,
    /// Segments sent and not acknowledged.
    pub unacked: Option<u32>,
    /// How often the oldest of them has been sent again.
    pub retransmits: Option<u32>,
    /// Segments sent again since the connection was made.
    pub total_retransmits: Option<u32>,
    /// Smoothed round-trip time.
    pub rtt_us: Option<u32>,
    /// Its variation.
    pub rtt_var_us: Option<u32>,
    /// How long ago an acknowledgement came; `None` also where none ever did.
    pub last_ack_ms: Option<u32>,
    /// How long ago data came; likewise.
    pub last_data_received_ms: Option<u32>,
}

impl TcpInfo {
    /// The name of the state.
    pub fn state_name(&self) -> &'static str {
        self.state.and_then(|state| STATES.get(state as usize)).unwrap_or(&STATES[0])
    }
}

/// Looks at a TCP socket.
///
/// # Errors
/// What the system says; [`io::ErrorKind::Unsupported`] where `fd` is another kind of socket.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn tcp_info(fd: i32) -> io::Result<TcpInfo> {
    use std::mem::{MaybeUninit, offset_of};
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: at most `length` bytes are written to `info`; a closed descriptor gives an error.
    let status =
        unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut length) };
    if status != 0 {
        let error = io::Error::last_os_error();
        // What datagrams say.
        let is_other = error.raw_os_error() == Some(libc::ENOPROTOOPT);
        return Err(if is_other { io::ErrorKind::Unsupported.into() } else { error });
    }
    // SAFETY: plain integers, of which those that the kernel did not write are 0.
    let info = unsafe { info.assume_init() };
    // An older kernel writes less.
    let known = |offset: usize, value: u32| (offset + 4 <= length as usize).then_some(value);
    // Of who never answered it tells how old the system is.
    let age = |offset: usize, value: u32| known(offset, value).filter(|_| info.tcpi_rtt > 0);
    Ok(TcpInfo {
        state: known(offset_of!(libc::tcp_info, tcpi_state), info.tcpi_state.into()),
        unacked: known(offset_of!(libc::tcp_info, tcpi_unacked), info.tcpi_unacked),
        retransmits: known(offset_of!(libc::tcp_info, tcpi_retransmits), info.tcpi_retransmits.into()),
        total_retransmits: known(offset_of!(libc::tcp_info, tcpi_total_retrans), info.tcpi_total_retrans),
        rtt_us: known(offset_of!(libc::tcp_info, tcpi_rtt), info.tcpi_rtt),
        rtt_var_us: known(offset_of!(libc::tcp_info, tcpi_rttvar), info.tcpi_rttvar),
        last_ack_ms: age(offset_of!(libc::tcp_info, tcpi_last_ack_recv), info.tcpi_last_ack_recv),
        last_data_received_ms: age(offset_of!(libc::tcp_info, tcpi_last_data_recv), info.tcpi_last_data_recv),
    })
}

/// Looks at a TCP socket, of which nothing is known here.
///
/// # Errors
/// What the system says; [`io::ErrorKind::Unsupported`] where `fd` is another kind of socket.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn tcp_info(fd: i32) -> io::Result<TcpInfo> {
    super::check_tcp(fd)?;
    Ok(TcpInfo::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    const ESTABLISHED: u32 = 1;
    const LISTEN: u32 = 10;

    #[test]
    fn a_connection_and_a_listener_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(tcp_info(listener.as_raw_fd()).unwrap().state, Some(LISTEN));
        let info = tcp_info(stream.as_raw_fd()).unwrap();
        assert_eq!((info.state, info.unacked, info.retransmits), (Some(ESTABLISHED), Some(0), Some(0)));
        assert_eq!(info.state_name(), "established");
        assert!(info.rtt_us.is_some_and(|rtt_us| rtt_us > 0) && info.last_ack_ms.is_some());
    }

    #[test]
    fn other_sockets_are_refused() {
        let (unix, _other) = UnixStream::pair().unwrap();
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for fd in [unix.as_raw_fd(), datagrams.as_raw_fd()] {
            assert_eq!(tcp_info(fd).unwrap_err().kind(), io::ErrorKind::Unsupported);
        }
        assert!(super::super::is_no_socket(&tcp_info(-1).unwrap_err()));
    }
}
