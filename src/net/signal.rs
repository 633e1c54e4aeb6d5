//! A descriptor that is readable while there is something to pull.

use super::system;
use socket2::Socket;
use std::io;
use std::mem::MaybeUninit;

/// A pair of sockets with one byte in it while raised: works with every poll, select, epoll, kqueue and asyncio.
/// Both ends are closed on exec.
#[derive(Debug)]
pub struct Signal {
    reader: Socket,
    writer: Socket,
}

impl Signal {
    /// A signal that is not raised.
    ///
    /// # Errors
    /// What the system says: no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = system::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self { reader, writer })
    }

    /// The end to poll for readability, never to be read.
    pub fn descriptor(&self) -> i32 {
        system::descriptor(&self.reader)
    }

    /// Makes it readable. To be called once between two calls of [`lower`](Self::lower).
    pub fn raise(&self) {
        // A full buffer is raised as well; no other error can come from a pair whose ends are both open.
        let _ = self.writer.send_with_flags(&[1], system::SEND_FLAGS);
    }

    /// Makes it unreadable.
    pub fn lower(&self) {
        let mut sink = [MaybeUninit::uninit(); 8];
        while self.reader.recv(&mut sink).is_ok_and(|count| count == sink.len()) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(signal: &Signal) -> bool {
        let mut poll = libc::pollfd { fd: signal.descriptor(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd; a timeout of 0 never waits.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    }

    #[test]
    fn it_is_readable_while_raised() {
        let signal = Signal::new().unwrap();
        assert!(!readable(&signal));
        signal.raise();
        assert!(readable(&signal) && readable(&signal));
        signal.lower();
        assert!(!readable(&signal));
    }
}
