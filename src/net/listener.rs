//! Sockets that others connect to, or send datagrams to.

use super::poller::{Connection, Poller, is_later, uninitialised};
use super::system;
use polling::{Event, PollMode};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Connections that wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4096;

/// A socket that is bound, and listens if it is one of streams.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    /// Of a Unix socket: its name goes with it.
    path: Option<PathBuf>,
}

impl Bound {
    /// A socket of that kind at an address.
    ///
    /// # Errors
    /// What the system says: it is in use, it is not one of this machine's.
    pub fn new(address: &SockAddr, kind: Type) -> io::Result<Self> {
        let domain = Domain::from(i32::from(address.family()));
        let socket = Socket::new(domain, kind, None)?;
        if kind == Type::STREAM && !address.is_unix() {
            // Connections of the one before that linger do not keep it out.
            socket.set_reuse_address(true)?;
        }
        if domain == Domain::IPV6 {
            socket.set_only_v6(!address.as_socket_ipv6().is_some_and(|address| address.ip().is_unspecified()))?;
        }
        socket.bind(address)?;
        let path = system::path(address);
        let bound = Self { socket, path };
        if kind == Type::STREAM {
            bound.socket.listen(BACKLOG)?;
        }
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

    /// Sends a datagram.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&self, bytes: &[u8], to: &SockAddr) -> io::Result<usize> {
        self.socket.send_to(bytes, to)
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
    bound: Arc<Bound>,
    poller: Arc<polling::Poller>,
    key: usize,
}

impl Poller {
    /// Waits for connections or datagrams, too, under `key`.
    ///
    /// # Errors
    /// What the system says; the socket is closed.
    pub fn listen(&self, bound: Bound, key: usize) -> io::Result<Listening> {
        let poller = Arc::clone(self.inner());
        // SAFETY: what listens owns the socket and takes it out of the poller before it closes it.
        unsafe { poller.add_with_mode(&bound.socket, Event::readable(key), PollMode::Level)? };
        Ok(Listening { bound: Arc::new(bound), poller, key })
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

    /// The next datagram, cut to the size of `buffer`: its length and its sender; `None`: there is none now.
    ///
    /// # Errors
    /// What the system says.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SockAddr)>> {
        match self.bound.socket.recv_from(uninitialised(buffer)) {
            Ok(received) => Ok(Some(received)),
            Err(error) if is_later(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a datagram to somebody of whom nothing is kept; whether it arrives is his concern.
    pub fn send(&self, bytes: &[u8], to: &SockAddr) {
        let _ = self.bound.send(bytes, to);
    }

    /// Whether datagrams come to it.
    pub fn is_datagram(&self) -> bool {
        self.bound.socket.r#type().is_ok_and(|kind| kind == Type::DGRAM)
    }

    /// The way to one of those who send.
    pub fn connection(&self, peer: &SockAddr) -> Connection {
        Connection::Shared(Arc::clone(&self.bound), peer.clone())
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
