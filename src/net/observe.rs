//! What can be seen of a socket that belongs to the application, without touching its data.

use super::system::{self, ask};
use socket2::Type;
use std::io;

/// What the system knows; `None` = it does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Observed {
    /// Bytes that arrived and were not read.
    pub unread_bytes: Option<u32>,
    /// Bytes that were written and not acknowledged (TCP) or not read (Unix) by the peer.
    pub send_queue_bytes: Option<u32>,
    /// Whether it would take no more bytes.
    pub send_queue_full: Option<bool>,
}

/// Whether `fd` is an open socket.
///
/// # Errors
/// What the system says: `EBADF` when it is closed, `ENOTSOCK` when it is something else.
pub fn check_socket(fd: i32) -> io::Result<()> {
    ask(fd, |socket| socket.r#type().map(drop))
}

/// Whether `fd` is an open TCP socket.
///
/// # Errors
/// As [`check_socket`]; `Unsupported` where it is another kind of socket.
pub fn check_tcp(fd: i32) -> io::Result<()> {
    ask(fd, |socket| {
        let tcp = socket.r#type()? == Type::STREAM && system::is_inet(socket)?;
        if tcp { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
    })
}

/// Looks at a socket. One that was closed meanwhile tells nothing; nothing is read, written or changed.
pub fn observe(fd: i32) -> Observed {
    if fd < 0 {
        // poll takes a negative descriptor for one to be passed over.
        return Observed::default();
    }
    Observed {
        unread_bytes: system::unread_bytes(fd),
        send_queue_bytes: system::send_queue_bytes(fd),
        send_queue_full: system::send_queue_full(fd),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn unread_bytes_and_a_full_send_queue_are_seen() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(observe(ours.as_raw_fd()).unread_bytes, Some(0));
        theirs.write_all(b"12345").unwrap();
        assert_eq!(observe(ours.as_raw_fd()).unread_bytes, Some(5));
        assert_eq!(observe(ours.as_raw_fd()).send_queue_full, Some(false));
        ours.set_nonblocking(true).unwrap();
        while (&ours).write(&[0; 4096]).is_ok() {}
        let full = observe(ours.as_raw_fd());
        assert_eq!(full.send_queue_full, Some(true));
        assert!(full.send_queue_bytes.is_some_and(|bytes| bytes > 4096));
    }

    #[test]
    fn what_is_no_open_socket_is_refused_and_tells_nothing() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(check_socket(file.as_raw_fd()).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
        for closed in [-1, -7, i32::MAX] {
            assert_eq!(check_socket(closed).unwrap_err().raw_os_error(), Some(libc::EBADF), "{closed}");
            assert_eq!(observe(closed), Observed::default());
        }
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(check_socket(ours.as_raw_fd()).is_ok());
    }
}
