//! How a send can end, other than with a receipt.

use edgebus_core::{Code, Refusal, RequestId};

/// Why there is no receipt.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Nothing was stored.
    #[error("request {request_id} was refused: {refusal}")]
    Refused {
        /// The request.
        request_id: RequestId,
        /// Why.
        refusal: Refusal,
    },
    /// Whether it was stored is not known. Ask again with the same id: if it was, the first
    /// receipt comes back; if not, it is stored now. Never send it with a new id.
    #[error(
        "the outcome of request {request_id} is unknown ({reason}): ask again with the same id"
    )]
    Unknown {
        /// The request.
        request_id: RequestId,
        /// What got in the way.
        reason: String,
    },
}

impl SendError {
    /// The error for a request from the refusal that came back.
    pub(crate) fn new(request_id: RequestId, refusal: Refusal) -> Self {
        match refusal.code {
            Code::Unknown => Self::Unknown {
                request_id,
                reason: refusal.message,
            },
            _ => Self::Refused {
                request_id,
                refusal,
            },
        }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused { refusal, .. } => refusal.code,
            Self::Unknown { .. } => Code::Unknown,
        }
    }

    /// Whether asking again with the same id may end otherwise.
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// The request.
    pub fn request_id(&self) -> RequestId {
        match self {
            Self::Refused { request_id, .. } | Self::Unknown { request_id, .. } => *request_id,
        }
    }

    /// The error as a refusal, to be passed on or printed.
    pub fn to_refusal(&self) -> Refusal {
        match self {
            Self::Refused { refusal, .. } => refusal.clone(),
            Self::Unknown { .. } => Refusal::new(Code::Unknown, self.to_string()),
        }
    }
}
