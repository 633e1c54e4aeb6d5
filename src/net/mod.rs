//! Sockets: what the system knows of a connection, connections of our own, and a descriptor that says "come and pull".
//! Knows nothing of links.
#![allow(unsafe_code)]

mod endpoint;
mod keepalive;
mod listener;
mod observe;
mod poller;
mod ready;
mod signal;
mod tcp_info;

pub use endpoint::Endpoint;
pub use keepalive::{COUNT_MAX, Keepalive, SECONDS_MAX, keepalive, set_keepalive};
pub use listener::{Bound, Listening};
use observe::ask;
pub use observe::{Observed, check_socket, check_tcp, observe};
pub use poller::{Connection, Poller, check_stream, take_over};
pub use ready::Ready;
pub use signal::Signal;
pub use socket2::{SockAddr as Address, Socket, Type as Kind};
pub use tcp_info::{TcpInfo, tcp_info};

#[cfg(any(target_os = "linux", target_os = "android"))]
const fn no_sigpipe() -> i32 {
    libc::MSG_NOSIGNAL
}

/// socket2 sets `SO_NOSIGPIPE` where there is no such flag.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const fn no_sigpipe() -> i32 {
    0
}
