//! Who is at the other end of a connection: where it comes from, and who that was proven to be.

use std::fmt;
use std::net::SocketAddr;

use edgebus_core::{Refusal, Scope};

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
}

impl Guest {
    /// A guest from somewhere, as proven.
    pub(super) fn new(peer: Peer, identity: Identity) -> Self {
        Self {
            peer,
            identity,
            scope: Scope::default(),
            admission: None,
        }
    }

    /// The same guest, who came in by a certificate.
    pub(super) fn admitted(self, admission: Admission) -> Self {
        let admission = Some(admission);
        Self { admission, ..self }
    }

    /// Waits until what let it in is not taken any more: why. Cancel-safe.
    pub(super) async fn revoked(&mut self) -> Refusal {
        match &mut self.admission {
            Some(admission) => admission.revoked().await,
            None => std::future::pending().await,
        }
    }
}
