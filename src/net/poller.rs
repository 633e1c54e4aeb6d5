//! Sockets of our own: which of them are ready, and what is read from and written to them without waiting.

use super::listener::Bound;
use super::ready::Ready;
use super::system::{self, ask, is_in_progress};
use polling::{Event, PollMode};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

/// Whether `fd` is a connected stream socket; gives its peer's address.
///
/// # Errors
/// What the system says, or `Unsupported` for another kind of socket.
pub fn check_stream(fd: i32) -> io::Result<SockAddr> {
    ask(
        fd,
        |socket| {
            if socket.r#type()? == Type::STREAM { socket.peer_addr() } else { Err(io::ErrorKind::Unsupported.into()) }
        },
    )
}

/// Waits for many sockets at once.
#[derive(Debug)]
pub struct Poller(Arc<polling::Poller>);

impl Poller {
    /// A poller without sockets.
    ///
    /// # Errors
    /// What the system says: no descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(polling::Poller::new()?)))
    }

    pub(super) fn inner(&self) -> &Arc<polling::Poller> {
        &self.0
    }

    /// Waits until a socket is ready, the time is up or somebody calls [`wake`](Self::wake). What was found before is
    /// forgotten.
    pub fn wait(&self, ready: &mut Ready, timeout: Option<Duration>) {
        ready.look(&self.0, timeout);
    }

    /// Finds all sockets that are ready by now, however many; one may come twice.
    pub fn find_all(&self, ready: &mut Ready, mut each: impl FnMut(usize)) {
        // Each holds a share of the poller. Those that were found and are ready again come behind the others.
        let mut left = Arc::strong_count(&self.0);
        loop {
            self.wait(ready, Some(Duration::ZERO));
            for key in ready.keys() {
                left = left.saturating_sub(1);
                each(key);
            }
            if left == 0 || !ready.is_full() {
                return;
            }
        }
    }

    /// Ends a wait, the present or the next one.
    pub fn wake(&self) {
        let _ = self.0.notify();
    }

    /// Waits for this socket, too, under `key`.
    ///
    /// # Errors
    /// What the system says; the socket is closed.
    pub fn watch(&self, socket: Socket, key: usize) -> io::Result<Connection> {
        socket.set_nonblocking(true)?;
        let is_datagram = socket.r#type()? == Type::DGRAM;
        // SAFETY: the connection owns the socket and takes it out of the poller before it closes it.
        unsafe { self.0.add_with_mode(&socket, Event::readable(key), PollMode::Level)? };
        Ok(Connection::Own(Own { socket, is_datagram, poller: Arc::clone(&self.0), key, writes: false }))
    }

    /// Begins to connect a socket of that kind. It is writable once that came to something, see [`Connection::outcome`].
    ///
    /// # Errors
    /// What the system says at once.
    pub fn connect(&self, address: &SockAddr, kind: Type, key: usize) -> io::Result<Connection> {
        let socket = Socket::new(Domain::from(i32::from(address.family())), kind, None)?;
        socket.set_nonblocking(true)?;
        if kind == Type::STREAM && !address.is_unix() {
            // A beat that waits for another packet's acknowledgement is late.
            socket.set_tcp_nodelay(true)?;
        }
        match socket.connect(address) {
            Err(error) if !is_in_progress(&error) => return Err(error),
            _ => {}
        }
        let mut connection = self.watch(socket, key)?;
        connection.want_writes(true)?;
        Ok(connection)
    }
}

/// A way to one peer.
#[derive(Debug)]
pub enum Connection {
    /// A socket of its own.
    Own(Own),
    /// A peer of a socket that datagrams of many come to.
    Shared(Arc<Bound>, SockAddr),
}

/// A connected socket of ours.
#[derive(Debug)]
pub struct Own {
    socket: Socket,
    is_datagram: bool,
    poller: Arc<polling::Poller>,
    key: usize,
    writes: bool,
}

impl Connection {
    /// Its descriptor, to be observed, where it has one of its own.
    pub fn descriptor(&self) -> Option<i32> {
        match self {
            Self::Own(own) => Some(system::descriptor(&own.socket)),
            Self::Shared(..) => None,
        }
    }

    /// Whether what is written at once arrives at once, or not at all.
    pub fn is_datagram(&self) -> bool {
        match self {
            Self::Own(own) => own.is_datagram,
            Self::Shared(..) => true,
        }
    }

    /// What became of the connect: `None`, still nothing.
    pub fn outcome(&self) -> Option<io::Result<()>> {
        let Self::Own(own) = self else { return Some(Ok(())) };
        match own.socket.take_error() {
            Ok(None) => match own.socket.peer_addr() {
                Ok(_) => Some(Ok(())),
                Err(_) => None,
            },
            Ok(Some(error)) | Err(error) => Some(Err(error)),
        }
    }

    /// Whether to be told that it can be written to.
    ///
    /// # Errors
    /// What the system says.
    pub fn want_writes(&mut self, writes: bool) -> io::Result<()> {
        match self {
            Self::Own(own) if own.writes != writes => {
                let interest = if writes { Event::all(own.key) } else { Event::readable(own.key) };
                own.poller.modify_with_mode(&own.socket, interest, PollMode::Level)?;
                own.writes = writes;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Reads what is there, at most `buffer`, of datagrams one; `Ok(None)`: nothing now; `Ok(Some(&[]))`: the peer of a
    /// stream is done.
    ///
    /// # Errors
    /// What the system says.
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        let Self::Own(own) = self else { return Ok(None) };
        match own.socket.recv(uninitialised(buffer)) {
            Ok(count) => Ok(Some(&buffer[..count])),
            Err(error) if is_later(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes what the system takes now, and says how much. A datagram that it does not take is lost, as it might be on its
    /// way.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self {
            Self::Own(own) => own.socket.send_with_flags(bytes, system::SEND_FLAGS),
            Self::Shared(bound, peer) => bound.send(bytes, peer),
        };
        match written {
            Ok(count) => Ok(count),
            Err(error) if is_later(&error) => Ok(if self.is_datagram() { bytes.len() } else { 0 }),
            Err(error) => Err(error),
        }
    }
}

/// Bytes that need not be initialised.
pub(super) fn uninitialised(buffer: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    let length = buffer.len();
    // SAFETY: initialised bytes may be seen as such that need not be; who receives writes only what it received.
    unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<MaybeUninit<u8>>(), length) }
}

pub(super) fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.poller.delete(&self.socket);
        // With bytes unread the peer would see a reset in place of an end.
        let _ = self.socket.recv(uninitialised(&mut [0; 4096]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    const SOON: Option<Duration> = Some(Duration::from_secs(10));

    fn wait(poller: &Poller) -> Vec<usize> {
        let mut ready = Ready::default();
        poller.wait(&mut ready, SOON);
        ready.keys().collect()
    }

    #[test]
    fn a_connection_is_made_read_written_and_seen_to_end() {
        let poller = Poller::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = poller.connect(&listener.local_addr().unwrap().into(), Type::STREAM, 7).unwrap();
        assert_eq!(wait(&poller), [7]);
        assert!(connection.outcome().unwrap().is_ok());
        connection.want_writes(false).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let mut buffer = [0; 16];
        assert!(connection.read(&mut buffer).unwrap().is_none());
        assert_eq!(connection.write(b"beat").unwrap(), 4);
        peer.read_exact(&mut buffer[..4]).unwrap();
        peer.write_all(b"answer").unwrap();
        assert_eq!(wait(&poller), [7]);
        assert_eq!(connection.read(&mut buffer).unwrap(), Some(&b"answer"[..]));
        drop(peer);
        assert_eq!(wait(&poller), [7]);
        assert_eq!(connection.read(&mut buffer).unwrap(), Some(&b""[..]));
    }

    #[test]
    fn a_refusal_is_seen_and_a_full_peer_takes_nothing() {
        let poller = Poller::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connection = poller.connect(&address.into(), Type::STREAM, 1).unwrap();
        assert_eq!(wait(&poller), [1]);
        assert!(connection.outcome().unwrap().is_ok());
        while connection.write(&[0; 65_536]).unwrap() > 0 {}
        drop((listener, connection));
        if let Ok(refused) = poller.connect(&address.into(), Type::STREAM, 2) {
            assert_eq!(wait(&poller), [2]);
            assert_eq!(refused.outcome().unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        }
    }

    #[test]
    fn more_are_found_than_there_is_room_for_at_once() {
        let poller = Poller::new().unwrap();
        let pair = |key| {
            let (ours, mut peers) = std::os::unix::net::UnixStream::pair().unwrap();
            peers.write_all(b"beat").unwrap();
            (poller.watch(ours.into(), key).unwrap(), peers)
        };
        let pairs: Vec<_> = (0..20).map(pair).collect();
        let mut ready = Ready::with_room(6);
        let mut found = Vec::new();
        poller.find_all(&mut ready, |key| found.push(key));
        // Nobody read what made them ready, and it comes to an end all the same.
        assert!(found.len() < 2 * pairs.len());
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, Vec::from_iter(0..20));
    }

    #[test]
    fn a_wait_ends_when_it_is_woken() {
        let poller = Poller::new().unwrap();
        for _ in 0..3 {
            poller.wake();
            assert!(wait(&poller).is_empty());
            // It ended one wait only.
            let begun = std::time::Instant::now();
            poller.wait(&mut Ready::default(), Some(Duration::from_millis(20)));
            assert!(begun.elapsed() >= Duration::from_millis(20));
        }
    }
}
