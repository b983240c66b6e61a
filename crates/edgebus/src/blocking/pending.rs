//! A receipt that is waited for later, and the same with a spool.

use edgebus_core::{Receipt, RequestId};

use super::runtime::Runtime;
use crate::client::{self, Accepted};
use crate::error::SendError;

/// A request that was sent; [`PendingReceipt::wait`] waits for its receipt. Dropping it changes
/// nothing for the request.
#[derive(Debug)]
pub struct PendingReceipt {
    pending: client::PendingReceipt,
    runtime: Runtime,
}

impl PendingReceipt {
    pub(super) fn new(pending: client::PendingReceipt, runtime: &Runtime) -> Self {
        Self {
            pending,
            runtime: runtime.clone(),
        }
    }

    /// The request's id.
    pub fn request_id(&self) -> RequestId {
        self.pending.request_id()
    }

    /// Waits until the request is on the server's disk.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub fn wait(self) -> Result<Receipt, SendError> {
        self.runtime.wait(self.pending)
    }
}

/// A request that was sent by a client with a spool; [`PendingAccepted::wait`] waits until it is on
/// a disk. Dropping it changes nothing for the request.
#[derive(Debug)]
pub struct PendingAccepted {
    pending: client::PendingAccepted,
    runtime: Runtime,
}

impl PendingAccepted {
    pub(super) fn new(pending: client::PendingAccepted, runtime: &Runtime) -> Self {
        Self {
            pending,
            runtime: runtime.clone(),
        }
    }

    /// The request's id.
    pub fn request_id(&self) -> RequestId {
        self.pending.request_id()
    }

    /// Waits until the request is on the server's disk, or on this machine's.
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub fn wait(self) -> Result<Accepted, SendError> {
        self.runtime.wait(self.pending)
    }
}
