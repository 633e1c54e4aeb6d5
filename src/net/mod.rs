//! Sockets: what the system knows of a connection, and a descriptor that says "come and pull". Knows nothing of links.
#![allow(unsafe_code)]

mod observe;
mod signal;

pub use observe::{Observed, check_socket, observe};
pub use signal::Signal;
