//! Where a connection leads: `tcp://name:port`, `udp://name:port`, `unix:///path`.

use super::system::HAS_UNIX_SOCKETS;
use socket2::{SockAddr, Type};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// A place to connect to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// TCP or UDP.
    Net {
        /// Which.
        transport: Transport,
        /// A host name, or an address in numbers.
        name: String,
        /// 1 to 65535.
        port: u16,
    },
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// What runs over the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    const fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// No longer name or path is taken.
const LONGEST: usize = 255;
/// Of a name that has more addresses the first ones are tried.
const ADDRESSES: usize = 16;

impl Endpoint {
    /// Reads the text form.
    ///
    /// # Errors
    /// One sentence that says what is wrong and what is right.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text, 1, "tcp://name:port, udp://name:port (an IPv6 address in brackets) or unix:///path")
    }

    /// Reads the text form of a place of this machine's to listen at: `[::]` is all its addresses, port 0 a free one.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_local(text: &str) -> Result<Self, String> {
        let allowed = "tcp:// or udp:// with ipv4:port or [ipv6]:port, port 0 for a free one, or unix:///path";
        let endpoint = Self::read(text, 0, allowed)?;
        match &endpoint {
            Self::Net { name, .. } if name.parse::<IpAddr>().is_err() => {
                Err(refusal(text, "whose address is not in numbers", allowed))
            }
            _ => Ok(endpoint),
        }
    }

    fn read(text: &str, first_port: u16, allowed: &str) -> Result<Self, String> {
        let refused = |why: &str| Err(refusal(text, why, allowed));
        if text.len() > LONGEST + 16 || text.contains(['\0', '\n']) {
            return refused("which is too long or has control characters");
        }
        let Some((scheme, place)) = text.split_once("://") else {
            return refused("which has no scheme");
        };
        match scheme {
            "unix" if !HAS_UNIX_SOCKETS => refused("and there are no such sockets on this system"),
            "unix" if place.starts_with('/') => Ok(Self::Unix(place.into())),
            "unix" => refused("whose path does not begin with /"),
            "tcp" | "udp" => {
                let transport = if scheme == "tcp" { Transport::Tcp } else { Transport::Udp };
                // Within the brackets of an IPv6 address there is none.
                let Some((name, port)) = place.rsplit_once(':').filter(|(_, port)| !port.contains(']')) else {
                    return refused("which has no port");
                };
                let Some(port) = port.parse().ok().filter(|port| *port >= first_port) else {
                    return refused(&format!("whose port is not {first_port} to 65535"));
                };
                match bare(name) {
                    Some(name) => Ok(Self::Net { transport, name: name.to_owned(), port }),
                    None => refused("whose name is none"),
                }
            }
            _ => refused("whose scheme is not known"),
        }
    }

    /// The kind of its sockets.
    pub(crate) fn kind(&self) -> Type {
        match self {
            Self::Net { transport: Transport::Udp, .. } => Type::DGRAM,
            Self::Net { transport: Transport::Tcp, .. } | Self::Unix(_) => Type::STREAM,
        }
    }

    /// The same with another port, where there are ports.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        match self {
            Self::Net { transport, name, .. } => Self::Net { transport: *transport, name: name.clone(), port },
            Self::Unix(_) => self.clone(),
        }
    }

    /// Its addresses, where nobody needs to be asked for them.
    pub fn addresses(&self) -> Option<io::Result<Vec<SockAddr>>> {
        match self {
            Self::Unix(path) => Some(SockAddr::unix(path).map(|address| vec![address])),
            Self::Net { name, port, .. } => {
                let address = name.parse().ok()?;
                Some(Ok(vec![SocketAddr::new(address, *port).into()]))
            }
        }
    }

    /// Asks the system for its addresses: may take many seconds.
    ///
    /// # Errors
    /// What the system says; a name without any address is not found.
    pub fn look_up(&self) -> io::Result<Vec<SockAddr>> {
        if let Some(known) = self.addresses() {
            return known;
        }
        let Self::Net { name, port, .. } = self else { return Ok(Vec::new()) };
        let found: Vec<SockAddr> = (name.as_str(), *port).to_socket_addrs()?.take(ADDRESSES).map(Into::into).collect();
        if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
    }
}

fn refusal(text: &str, why: &str, allowed: &str) -> String {
    format!("endpoint is \"{}\", {why}: allowed is {allowed}", text.escape_debug())
}

/// A name without the brackets of an IPv6 address.
fn bare(name: &str) -> Option<&str> {
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok().then_some(inner),
        None => (!name.is_empty() && !name.contains([':', '/', '[', ']', ' ', '@'])).then_some(name),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net { transport, name, port } => {
                let (open, close) = if name.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "{}://{open}{name}{close}:{port}", transport.scheme())
            }
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_read_back_as_they_were_written() {
        for text in ["tcp://gw.example:7890", "tcp://10.0.0.7:1", "udp://[::1]:65535", "unix:///run/hbeat.sock"] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused_with_what_is_right() {
        for (text, why) in [
            ("", "no scheme"),
            ("gw:7890", "no scheme"),
            ("http://gw:80", "scheme is not known"),
            ("tcp://gw", "no port"),
            ("tcp://[::1]", "no port"),
            ("tcp://gw:0", "port is not"),
            ("tcp://gw:65536", "port is not"),
            ("tcp://gw:", "port is not"),
            ("tcp://:80", "name is none"),
            ("tcp://::1:80", "name is none"),
            ("tcp://[gw]:80", "name is none"),
            ("tcp://a b:80", "name is none"),
            ("unix://run/x", "does not begin with /"),
            ("tcp://gw\n:80", "control characters"),
        ] {
            let sentence = Endpoint::parse(text).unwrap_err();
            assert!(sentence.contains(why) && sentence.contains("allowed is"), "{text}: {sentence}");
        }
        assert!(Endpoint::parse(&format!("tcp://{}:80", "a".repeat(300))).is_err());
    }

    #[test]
    fn a_place_to_listen_at_is_in_numbers_and_may_have_any_port() {
        for text in ["tcp://[::]:0", "tcp://127.0.0.1:7700", "udp://[::1]:0", "unix:///run/hbeat.sock"] {
            let endpoint = Endpoint::parse_local(text).unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(endpoint.addresses().unwrap().unwrap().len(), 1, "{text}");
        }
        for text in ["tcp://localhost:80", "tcp://[::]", "udp://[::]:65536", "sctp://[::]:1", "unix://x"] {
            assert!(Endpoint::parse_local(text).unwrap_err().contains("allowed is tcp:// or udp://"), "{text}");
        }
    }

    #[test]
    fn numbers_need_nobody_to_be_asked() {
        let address = Endpoint::parse("tcp://[::1]:7").unwrap().addresses().unwrap().unwrap().remove(0);
        assert_eq!(address.as_socket().unwrap().to_string(), "[::1]:7");
        let unix = Endpoint::parse("unix:///run/x").unwrap();
        assert!(unix.look_up().unwrap()[0].is_unix());
        let name = Endpoint::parse("tcp://localhost:7").unwrap();
        assert!(name.addresses().is_none() && !name.look_up().unwrap().is_empty());
        // A path that no socket can have.
        let long = Endpoint::Unix(format!("/{}", "x".repeat(200)).into());
        assert!(long.addresses().unwrap().is_err());
    }
}
