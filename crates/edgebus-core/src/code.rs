//! Why something was refused: one stable code per case, with a message that says what to do.
//!
//! Codes are part of the contract with clients and scripts: they travel on the wire and are
//! printed as JSON. A code is never renamed; new cases get new codes.

use std::fmt;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal, retryable $retryable:literal;)+) => {
        /// A stable code for each way a request, a connection or a store can be refused.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code, for documentation and tests.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code as it travels on the wire and is printed.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Whether the same request, with the same id, may be answered otherwise later.
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)+ }
            }
        }
    };
}

codes! {
    /// The text is not a topic.
    BadTopic = "bad_topic", retryable false;
    /// The text is not a topic pattern.
    BadPattern = "bad_pattern", retryable false;
    /// The text is not a UUID.
    BadId = "bad_id", retryable false;
    /// The text is not a consumer name.
    BadConsumer = "bad_consumer", retryable false;
    /// The text is not a lease token.
    BadToken = "bad_token", retryable false;
    /// A record is cut short, names lengths that do not fit, or has fields that cannot be read.
    BadRecord = "bad_record", retryable false;
    /// A header name or value is not allowed, or there are too many.
    BadHeader = "bad_header", retryable false;
    /// A line of input is not JSON, or has no usable id field.
    BadLine = "bad_line", retryable false;
    /// A query names a range or limit that makes no sense.
    BadQuery = "bad_query", retryable false;
    /// The payload is larger than the server takes.
    PayloadTooLarge = "payload_too_large", retryable false;
    /// The same id was stored with another topic or payload.
    IdConflict = "id_conflict", retryable false;
    /// A frame's checksum does not match its bytes.
    FrameCorrupt = "frame_corrupt", retryable true;
    /// A record's checksum does not match its bytes.
    RecordCorrupt = "record_corrupt", retryable true;
    /// A frame is larger than the limit.
    FrameTooLarge = "frame_too_large", retryable false;
    /// A frame's type is not known to this version.
    UnknownFrame = "unknown_frame", retryable false;
    /// A frame is known but not allowed at this point of the conversation.
    UnexpectedFrame = "unexpected_frame", retryable false;
    /// The two ends share no protocol version.
    WrongVersion = "wrong_version", retryable false;
    /// The handshake or first frame did not come in time.
    HandshakeTimeout = "handshake_timeout", retryable true;
    /// A frame came more slowly than the server allows.
    TooSlow = "too_slow", retryable true;
    /// It is not known who asks: no certificate or token, or one that is not taken. That may be
    /// mended while the asker goes on asking.
    Unauthenticated = "unauthenticated", retryable true;
    /// Whoever asks has no right to it.
    Forbidden = "forbidden", retryable false;
    /// The server has as many connections as it takes.
    TooManyConnections = "too_many_connections", retryable true;
    /// A queue is full; nothing was stored.
    Busy = "busy", retryable true;
    /// The store is full; nothing was stored.
    StorageFull = "storage_full", retryable true;
    /// An I/O error stopped the store; nothing more is accepted until it is reopened.
    Poisoned = "poisoned", retryable true;
    /// The outcome is unknown: ask again with the same id.
    Unknown = "unknown", retryable true;
    /// The server is shutting down; nothing was stored.
    ShuttingDown = "shutting_down", retryable true;
    /// No such request.
    NotFound = "not_found", retryable false;
    /// No such consumer.
    NoSuchConsumer = "no_such_consumer", retryable false;
    /// A consumer of that name is set up in another way.
    ConsumerExists = "consumer_exists", retryable false;
    /// Another responder selects some of the same topics.
    ResponderOverlap = "responder_overlap", retryable false;
    /// The lease was given to someone else, or belongs to an earlier epoch of the consumer.
    StaleLease = "stale_lease", retryable false;
    /// The message was done before; this completion changes nothing.
    AlreadyCompleted = "already_completed", retryable false;
    /// The request failed for good and is among the dead letters.
    DeadLettered = "dead_lettered", retryable true;
    /// The request and its reply were trimmed; it is not run again.
    ReplyExpired = "reply_expired", retryable false;
    /// No reply came in time; the request goes on.
    ReplyTimeout = "reply_timeout", retryable true;
    /// No such dead letter.
    NoSuchDeadLetter = "no_such_dead_letter", retryable false;
    /// Stored bytes do not match their checksum; they are not handed out.
    Corrupt = "corrupt", retryable false;
    /// The data folder is in use by another process.
    DataInUse = "data_in_use", retryable true;
    /// The data folder was written by a newer version.
    NewerFormat = "newer_format", retryable false;
    /// The data folder cannot be written.
    ReadOnly = "read_only", retryable false;
    /// The operating system refused a file or socket operation.
    Io = "io", retryable true;
    /// No connection could be made, or it was lost.
    Disconnected = "disconnected", retryable true;
    /// The time a request was given had run out before it could be sent; it will not be.
    Expired = "expired", retryable false;
    /// A URL, path or option cannot be used.
    BadConfig = "bad_config", retryable false;
}

impl Code {
    /// The code with this text; `None` for a code of a newer version.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal: nothing was stored (or, for [`Code::Unknown`], perhaps), and here is why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message} ({code})")]
#[non_exhaustive]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What failed, on which id or name, and what to do.
    pub message: String,
    /// When trying again may help, in milliseconds from now.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal without a retry time.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// The same refusal with a time after which trying again may help.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }
}

/// As much of a text as a message quotes: what is wrong with it may be its length.
pub(crate) fn start_of(text: &str) -> &str {
    let (end, _) = text.char_indices().nth(64).unwrap_or((text.len(), ' '));
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_own_text_and_no_text_is_used_twice() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
        }
    }
}
