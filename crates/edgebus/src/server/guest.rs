//! Who is at the other end of a connection: where it comes from, and who that was proven to be.

use std::fmt;
use std::net::SocketAddr;

use edgebus_core::{Code, Refusal, Scope};

use super::guard::Admission;
use super::places::Origin;
use crate::access::Identity;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peer {
    Remote(SocketAddr),
    /// A process of this machine, of the user with this number.
    Unix {
        uid: u32,
    },
    /// Dies with this process, and its workers with it.
    SameProcess,
}

impl Peer {
    /// Where its connections are counted.
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Remote(address) => Origin::of(*address),
            Self::Unix { uid } => Origin::User(*uid),
            Self::SameProcess => Origin::SameProcess,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(address) => address.fmt(f),
            Self::Unix { uid } => write!(f, "{}{uid}", Identity::UNIX_PREFIX),
            Self::SameProcess => f.write_str("memory"),
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) peer: Peer,
    /// As far as it was proven by the connection itself; a token may prove more.
    pub(super) identity: Identity,
    /// The space of its request ids.
    pub(super) scope: Scope,
    /// The certificate it came in by.
    pub(super) admission: Option<Admission>,
    /// Came over TLS, with or without a certificate.
    encrypted: bool,
}

impl Guest {
    /// A guest from somewhere, as proven.
    pub(super) fn new(peer: Peer, identity: Identity) -> Self {
        Self {
            peer,
            identity,
            scope: Scope::default(),
            admission: None,
            encrypted: false,
        }
    }

    /// The same guest, who came over TLS.
    pub(super) fn encrypted(self) -> Self {
        let encrypted = true;
        Self { encrypted, ..self }
    }

    /// The same guest, who came in by a certificate.
    pub(super) fn admitted(self, admission: Admission) -> Self {
        let admission = Some(admission);
        Self { admission, ..self }
    }

    /// Why somebody who speaks another protocol is turned away.
    pub(super) fn not_edgebus(&self, other: &str) -> Refusal {
        let (came, door) = match self.peer {
            Peer::Unix { .. } => ("", "this socket speaks edgebus: connect by unix://"),
            _ if self.encrypted => (
                " inside of TLS",
                "this port speaks edgebus over TLS: connect by tls://",
            ),
            _ => (
                "",
                "this port speaks edgebus without TLS: connect by tcp://",
            ),
        };
        Refusal::new(
            Code::UnknownFrame,
            format!("{other} came{came}, and {door}"),
        )
    }

    /// Waits until what let it in is not taken any more: why. Cancel-safe.
    pub(super) async fn revoked(&mut self) -> Refusal {
        match &mut self.admission {
            Some(admission) => admission.revoked().await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_who_speaks_something_else_hears_what_this_door_speaks() {
        let address = Peer::Remote(([127, 0, 0, 1], 1).into());
        let guest = |peer| Guest::new(peer, Identity::anonymous());
        for (guest, expected) in [
            (
                guest(address),
                "HTTP came, and this port speaks edgebus without TLS: connect by tcp://",
            ),
            (
                guest(address).encrypted(),
                "HTTP came inside of TLS, and this port speaks edgebus over TLS: connect by tls://",
            ),
            (
                guest(Peer::Unix { uid: 1 }),
                "HTTP came, and this socket speaks edgebus: connect by unix://",
            ),
        ] {
            assert_eq!(guest.not_edgebus("HTTP").message, expected);
        }
    }
}
