//! Fresh request ids, for clients and embedding applications alike.

use edgebus_core::RequestId;

/// A new version 7 id: ordered by time, and within this process strictly.
pub fn new_request_id() -> RequestId {
    RequestId::from_bytes(uuid::Uuid::now_v7().into_bytes())
}
