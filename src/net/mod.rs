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
#[cfg_attr(windows, path = "system_windows.rs")]
mod system;
mod tcp_info;

pub use endpoint::Endpoint;
pub use keepalive::{COUNT_MAX, Keepalive, SECONDS_MAX, keepalive, set_keepalive};
pub use listener::{Bound, Listening};
use observe::check_tcp;
pub use observe::{Observed, check_socket, observe};
pub use poller::{Connection, Poller, check_stream};
pub use ready::Ready;
pub use signal::Signal;
pub use socket2::{SockAddr as Address, Socket, Type as Kind};
pub use system::{is_no_socket, own as take_over};
pub use tcp_info::{TcpInfo, tcp_info};
