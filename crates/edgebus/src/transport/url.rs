//! Where a server is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use edgebus_core::{Code, Refusal};

/// The address of a server: `tcp://HOST:PORT`, `tls://HOST:PORT` or `unix:///PATH`.
///
/// ```
/// use edgebus::ServerUrl;
/// let url: ServerUrl = "tcp://127.0.0.1:7411".parse()?;
/// assert!(url.is_loopback());
/// let url: ServerUrl = "tls://bus.shop.example".parse()?;
/// assert!(url.is_encrypted());
/// # Ok::<(), edgebus::Refusal>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServerUrl {
    /// Plain TCP.
    Tcp {
        /// Name or address; an IPv6 address in brackets.
        host: String,
        /// Port; 0 to listen on a free one.
        port: u16,
    },
    /// TLS over TCP.
    Tls {
        /// Name or address, which the server's certificate is for; an IPv6 address in brackets.
        host: String,
        /// Port; 0 to listen on a free one.
        port: u16,
    },
    /// A Unix socket, for clients on the same machine.
    Unix {
        /// Where it is; absolute.
        path: PathBuf,
    },
}

impl ServerUrl {
    /// The port used when a `tcp://` URL names none.
    pub const TCP_PORT: u16 = 7411;
    /// The port used when a `tls://` URL names none.
    pub const TLS_PORT: u16 = 7412;

    /// `host:port`, as sockets want it, or the path of a Unix socket.
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } | Self::Tls { host, port } => format!("{host}:{port}"),
            Self::Unix { path } => path.display().to_string(),
        }
    }

    /// The URL of a socket that is bound, for plain TCP.
    pub fn of(address: SocketAddr) -> Self {
        Self::Tcp {
            host: host(address.ip()),
            port: address.port(),
        }
    }

    /// The URL of a socket that is bound, for TLS.
    pub fn of_tls(address: SocketAddr) -> Self {
        Self::Tls {
            host: host(address.ip()),
            port: address.port(),
        }
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp { host, .. } | Self::Tls { host, .. } => {
                let ip = without_brackets(host).parse::<IpAddr>();
                ip.map_or(host == "localhost", |ip| ip.is_loopback())
            }
            Self::Unix { .. } => true,
        }
    }

    /// Whether what goes there is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls { .. })
    }
}

fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// A host as it stands in a certificate.
pub(crate) fn without_brackets(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    inner.unwrap_or(host)
}

impl Default for ServerUrl {
    fn default() -> Self {
        Self::Tcp {
            host: "127.0.0.1".to_owned(),
            port: Self::TCP_PORT,
        }
    }
}

impl FromStr for ServerUrl {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let bad = |what: &str| {
            let forms = "write tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH";
            Refusal::new(Code::BadConfig, format!("URL {text:?} {what}: {forms}"))
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(bad("has no scheme"));
        };
        match scheme {
            "tcp" => {
                let (host, port) = split(rest).map_err(bad)?;
                let port = port.unwrap_or(Self::TCP_PORT);
                Ok(Self::Tcp { host, port })
            }
            "tls" => {
                let (host, port) = split(rest).map_err(bad)?;
                let port = port.unwrap_or(Self::TLS_PORT);
                Ok(Self::Tls { host, port })
            }
            "unix" => {
                if !rest.starts_with('/') || rest.ends_with('/') || rest.contains('\0') {
                    return Err(bad("has no absolute path of a socket"));
                }
                let path = Path::new(rest).to_owned();
                Ok(Self::Unix { path })
            }
            _ => Err(bad("has a scheme this version does not speak")),
        }
    }
}

/// Host and, if there is one, port.
fn split(rest: &str) -> Result<(String, Option<u16>), &'static str> {
    let rest = rest.trim_end_matches('/');
    let colon = match rest.rfind(']') {
        Some(bracket) => rest[bracket..].find(':').map(|colon| bracket + colon),
        None => rest.rfind(':'),
    };
    let (host, port) = match colon {
        Some(colon) => {
            let port = rest[colon + 1..].parse();
            let port = port.map_err(|_| "has a port that is no port")?;
            (&rest[..colon], Some(port))
        }
        None => (rest, None),
    };
    if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
        return Err("has no usable host");
    }
    Ok((host.to_owned(), port))
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self {
            Self::Tcp { .. } => "tcp",
            Self::Tls { .. } => "tls",
            Self::Unix { .. } => "unix",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_back_as_they_were_written() {
        for text in [
            "tcp://127.0.0.1:7411",
            "tcp://[::1]:80",
            "tcp://till.local:1",
            "tls://bus.shop.example:7412",
            "tls://[::1]:7412",
            "unix:///run/edgebus.sock",
        ] {
            assert_eq!(text.parse::<ServerUrl>().expect(text).to_string(), text);
        }
        for (text, authority) in [("tcp://h", "h:7411"), ("tls://h/", "h:7412")] {
            let url: ServerUrl = text.parse().expect("port");
            assert_eq!(url.authority(), authority);
        }
    }

    #[test]
    fn bad_urls_are_refused_by_code() {
        for text in [
            "",
            "127.0.0.1:1",
            "http://a:1",
            "tcp://",
            "tcp://:1",
            "tcp://a:b",
            "tcp://a:99999",
            "tls://",
            "tls://a:b",
            "unix://",
            "unix://run/edgebus.sock",
            "unix:///run/",
        ] {
            assert_eq!(
                text.parse::<ServerUrl>().expect_err(text).code,
                Code::BadConfig
            );
        }
    }

    #[test]
    fn only_loopback_is_loopback_and_only_tls_is_encrypted() {
        for (text, yes) in [
            ("tcp://127.0.0.1:1", true),
            ("tcp://[::1]:1", true),
            ("tls://localhost:1", true),
            ("unix:///run/edgebus.sock", true),
            ("tcp://0.0.0.0:1", false),
            ("tls://10.0.0.1:1", false),
        ] {
            let url: ServerUrl = text.parse().expect("url");
            assert_eq!(url.is_loopback(), yes, "{text}");
            assert_eq!(url.is_encrypted(), text.starts_with("tls"), "{text}");
        }
    }
}
