//! Sockets that others connect to.

use super::poller::{Poller, is_later};
use polling::{Event, PollMode};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Connections that wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4096;

/// A socket that is bound and listens.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    /// Of a Unix socket: its name goes with it.
    path: Option<PathBuf>,
}

impl Bound {
    /// Listens at an address.
    ///
    /// # Errors
    /// What the system says: it is in use, it is not one of this machine's.
    pub fn new(address: &SockAddr) -> io::Result<Self> {
        let domain = Domain::from(i32::from(address.family()));
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if !address.is_unix() {
            // Connections of the one before that linger do not keep it out.
            socket.set_reuse_address(true)?;
        }
        if domain == Domain::IPV6 {
            socket.set_only_v6(!address.as_socket_ipv6().is_some_and(|address| address.ip().is_unspecified()))?;
        }
        socket.bind(address)?;
        let path = address.as_pathname().map(Into::into);
        let bound = Self { socket, path };
        bound.socket.listen(BACKLOG)?;
        bound.socket.set_nonblocking(true)?;
        Ok(bound)
    }

    /// The address that it got.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SockAddr> {
        self.socket.local_addr()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// One that a poller watches.
#[derive(Debug)]
pub struct Listening {
    bound: Bound,
    poller: Arc<polling::Poller>,
    key: usize,
}

impl Poller {
    /// Waits for connections, too, under `key`.
    ///
    /// # Errors
    /// What the system says; the socket is closed.
    pub fn listen(&self, bound: Bound, key: usize) -> io::Result<Listening> {
        let poller = Arc::clone(self.inner());
        // SAFETY: what listens owns the socket and takes it out of the poller before it closes it.
        unsafe { poller.add_with_mode(&bound.socket, Event::readable(key), PollMode::Level)? };
        Ok(Listening { bound, poller, key })
    }
}

impl Listening {
    /// The next connection, with its peer's address; `None`: there is none now.
    ///
    /// # Errors
    /// What the system says: no descriptors are left. A connection that ended before it was accepted is none.
    pub fn accept(&self) -> io::Result<Option<(Socket, SockAddr)>> {
        loop {
            match self.bound.socket.accept() {
                Ok((socket, peer)) => {
                    if !peer.is_unix() {
                        // As for those that we make.
                        let _ = socket.set_tcp_nodelay(true);
                    }
                    return Ok(Some((socket, peer)));
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if is_later(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether to be told of connections.
    ///
    /// # Errors
    /// What the system says.
    pub fn watch(&self, watched: bool) -> io::Result<()> {
        let interest = if watched { Event::readable(self.key) } else { Event::none(self.key) };
        self.poller.modify_with_mode(&self.bound.socket, interest, PollMode::Level)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.poller.delete(&self.bound.socket);
    }
}
