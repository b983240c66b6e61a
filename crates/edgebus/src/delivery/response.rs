//! How a request ends for whoever asked.

use edgebus_core::consumer::{Answer, Reply};
use edgebus_core::{Code, Receipt, Refusal, RequestId};

use crate::error::SendError;

/// A request that was done. However often it is asked for, the reply has the same bytes.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Response {
    /// Where the request is in the log, and whether it had been stored before.
    pub receipt: Receipt,
    /// What the responder answered.
    pub reply: Reply,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request was refused, or whether it was stored is not known.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It failed for good and is among the dead letters. If it is requeued and done after all,
    /// asking again with the same id brings the reply.
    #[error("request {request_id} failed for good: {reason}")]
    DeadLettered {
        /// The request.
        request_id: RequestId,
        /// Why.
        reason: String,
    },
    /// It was stored long ago and trimmed since, with its reply. It is not run again.
    #[error("request {request_id} and its reply were trimmed: it is not run again")]
    ReplyExpired {
        /// The request.
        request_id: RequestId,
    },
    /// Nobody is left to bring the reply. The request is stored and goes on: ask again with the
    /// same id, and the reply comes when there is one.
    #[error("the reply to request {request_id} was lost ({reason}): ask again with the same id")]
    Lost {
        /// The request.
        request_id: RequestId,
        /// What got in the way.
        reason: String,
    },
}

impl RequestError {
    /// What an answer comes to for whoever asked.
    pub(crate) fn from_answer(
        receipt: Receipt,
        answer: Option<Answer>,
    ) -> Result<Response, RequestError> {
        let request_id = receipt.request_id;
        match answer {
            Some(Answer::Reply(reply)) => Ok(Response { receipt, reply }),
            Some(Answer::DeadLettered { reason }) => {
                Err(RequestError::DeadLettered { request_id, reason })
            }
            Some(Answer::Expired) => Err(RequestError::ReplyExpired { request_id }),
            Some(_) => Err(RequestError::lost(
                request_id,
                "the answer is of a newer kind",
            )),
            None => Err(RequestError::lost(request_id, "the bus went away")),
        }
    }

    pub(crate) fn lost(request_id: RequestId, reason: impl Into<String>) -> Self {
        Self::Lost {
            request_id,
            reason: reason.into(),
        }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Send(error) => error.code(),
            Self::DeadLettered { .. } => Code::DeadLettered,
            Self::ReplyExpired { .. } => Code::ReplyExpired,
            Self::Lost { .. } => Code::Unknown,
        }
    }

    /// Whether asking again with the same id may end otherwise.
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// The request.
    pub fn request_id(&self) -> RequestId {
        match self {
            Self::Send(error) => error.request_id(),
            Self::DeadLettered { request_id, .. }
            | Self::ReplyExpired { request_id }
            | Self::Lost { request_id, .. } => *request_id,
        }
    }

    /// The error as a refusal, to be passed on or printed.
    pub fn to_refusal(&self) -> Refusal {
        match self {
            Self::Send(error) => error.to_refusal(),
            other => Refusal::new(other.code(), other.to_string()),
        }
    }
}
