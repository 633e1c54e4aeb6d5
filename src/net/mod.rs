//! Sockets: what the system knows of a connection, connections of our own, and a descriptor that says "come and pull".
//! Knows nothing of links.
#![allow(unsafe_code)]

mod endpoint;
mod observe;
mod poller;
mod signal;

pub use endpoint::Endpoint;
pub use observe::{Observed, check_socket, observe};
pub use poller::{Connection, Poller, Ready, check_stream, take_over};
pub use signal::Signal;
pub use socket2::{SockAddr as Address, Socket};

#[cfg(any(target_os = "linux", target_os = "android"))]
const fn no_sigpipe() -> i32 {
    libc::MSG_NOSIGNAL
}

/// socket2 sets `SO_NOSIGPIPE` where there is no such flag.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const fn no_sigpipe() -> i32 {
    0
}
