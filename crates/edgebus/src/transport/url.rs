//! Where a server is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use edgebus_core::{Code, Refusal};

/// The address of a server: `tcp://HOST:PORT`.
///
/// ```
/// use edgebus::ServerUrl;
/// let url: ServerUrl = "tcp://127.0.0.1:7411".parse()?;
/// assert!(url.is_loopback());
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
}

impl ServerUrl {
    /// The port used when a URL names none.
    pub const TCP_PORT: u16 = 7411;

    /// `host:port`, as sockets want it.
    pub fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port } => format!("{host}:{port}"),
        }
    }

    /// The URL of a socket that is bound.
    pub fn of(address: SocketAddr) -> Self {
        let host = match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Self::Tcp {
            host,
            port: address.port(),
        }
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => {
                let ip = host
                    .trim_start_matches('[')
                    .trim_end_matches(']')
                    .parse::<IpAddr>();
                ip.map_or(host == "localhost", |ip| ip.is_loopback())
            }
        }
    }
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
            Refusal::new(
                Code::BadConfig,
                format!("URL {text:?} {what}: write tcp://HOST:PORT"),
            )
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(bad("has no scheme"));
        };
        if scheme != "tcp" {
            return Err(bad("has a scheme this version does not speak"));
        }
        let rest = rest.trim_end_matches('/');
        let colon = match rest.rfind(']') {
            Some(bracket) => rest[bracket..].find(':').map(|colon| bracket + colon),
            None => rest.rfind(':'),
        };
        let (host, port) = match colon {
            Some(colon) => {
                let port = rest[colon + 1..]
                    .parse()
                    .map_err(|_| bad("has a port that is no port"))?;
                (&rest[..colon], port)
            }
            None => (rest, Self::TCP_PORT),
        };
        if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
            return Err(bad("has no usable host"));
        }
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp://{}", self.authority())
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
        ] {
            assert_eq!(text.parse::<ServerUrl>().expect(text).to_string(), text);
        }
        assert_eq!(
            "tcp://h".parse::<ServerUrl>().expect("port").authority(),
            "h:7411"
        );
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
        ] {
            assert_eq!(
                text.parse::<ServerUrl>().expect_err(text).code,
                Code::BadConfig
            );
        }
    }

    #[test]
    fn only_loopback_is_loopback() {
        for (text, yes) in [
            ("127.0.0.1", true),
            ("[::1]", true),
            ("localhost", true),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
        ] {
            let url: ServerUrl = format!("tcp://{text}:1").parse().expect("url");
            assert_eq!(url.is_loopback(), yes, "{text}");
        }
    }
}
