//! What proves who somebody is.

use std::fmt;

use bytes::Bytes;

/// A token, as a client says it. Its bytes are shown to nobody by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Bytes);

impl AccessToken {
    /// A token out of its bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, for the wire.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(..)")
    }
}
