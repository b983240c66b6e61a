//! Fresh request ids, for clients and embedding applications alike, and messages under them.

use bytes::Bytes;
use edgebus_core::{Message, Refusal, RequestId, Topic};

use crate::error::SendError;

/// A new version 7 id: ordered by time, and within this process strictly.
pub fn new_request_id() -> RequestId {
    RequestId::from_bytes(uuid::Uuid::now_v7().into_bytes())
}

/// A request under a new id.
pub(crate) fn new_message<T>(topic: T, payload: impl Into<Bytes>) -> Result<Message, SendError>
where
    T: TryInto<Topic>,
    Refusal: From<T::Error>,
{
    let id = new_request_id();
    match topic.try_into() {
        Ok(topic) => Ok(Message::new(id, topic, payload)),
        Err(error) => Err(SendError::new(id, Refusal::from(error))),
    }
}
