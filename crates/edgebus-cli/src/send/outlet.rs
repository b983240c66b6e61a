//! Where lines go: to a server, or past a spool.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use edgebus::{
    Accepted, Client, Message, PendingAccepted, PendingReceipt, RequestId, SendError,
    SpoolingClient,
};

use crate::reconnect::Watch;

/// Takes requests.
#[derive(Clone, Debug)]
pub(super) enum Outlet {
    Server(Client),
    Spool(SpoolingClient),
}

/// A request that was sent and may be undecided.
#[derive(Debug)]
pub(super) enum Pending {
    Server(PendingReceipt),
    Spool(PendingAccepted),
}

impl Outlet {
    pub(super) fn client(&self) -> &Client {
        match self {
            Self::Server(client) => client,
            Self::Spool(spooling) => spooling.client(),
        }
    }

    /// Watches the connection: a server's was there, a spool's need not be.
    pub(super) fn watch(&self) -> Watch {
        match self {
            Self::Server(client) => Watch::over(client),
            Self::Spool(spooling) => Watch::from_the_start(spooling.client()),
        }
    }

    /// Sends a request if there is room for it.
    pub(super) fn try_send(&self, message: Message) -> Result<Pending, SendError> {
        match self {
            Self::Server(client) => client.try_send(message).map(Pending::Server),
            Self::Spool(spooling) => spooling.try_send(message).map(Pending::Spool),
        }
    }
}

impl Pending {
    pub(super) fn request_id(&self) -> RequestId {
        match self {
            Self::Server(pending) => pending.request_id(),
            Self::Spool(pending) => pending.request_id(),
        }
    }
}

impl Future for Pending {
    type Output = Result<Accepted, SendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Server(pending) => Pin::new(pending)
                .poll(cx)
                .map(|told| told.map(Accepted::Stored)),
            Self::Spool(pending) => Pin::new(pending).poll(cx),
        }
    }
}
