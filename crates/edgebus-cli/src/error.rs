//! How a command fails: a stable code, a message that says what to do, and an exit status.
//!
//! Exit status: 0 done, 1 refused, 2 usage, 3 cannot connect, 4 outcome unknown or no reply in
//! time, 74 the store
//! stopped after an I/O error.

use std::error::Error;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use edgebus::{Code, ConnectError, Refusal, RequestId, SendError, ServeError, StoreError};
use serde::Serialize;

use crate::config::Problems;
use crate::output::say;
use crate::unreachable;

/// Something was refused, or failed.
pub(crate) const REFUSED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// There is no connection.
pub(crate) const NO_CONNECTION: u8 = 3;
/// Requests may or may not be stored, or their replies did not come in time.
pub(crate) const UNKNOWN: u8 = 4;
/// The store stopped after an I/O error.
pub(crate) const FAIL_STOP: u8 = 74;
/// Ended by an interrupt, before it was done.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct CliError {
    /// None when everything was said already; several when they have one cause for the status.
    said: Vec<Failure>,
    status: u8,
}

#[derive(Debug)]
struct Failure {
    code: &'static str,
    message: String,
    retry_after_ms: Option<u64>,
    request_id: Option<RequestId>,
}

impl CliError {
    fn new(code: &'static str, message: String, status: u8) -> Self {
        let failure = Failure {
            code,
            message,
            retry_after_ms: None,
            request_id: None,
        };
        Self {
            said: vec![failure],
            status,
        }
    }

    /// A configuration that cannot be used: everything that is wrong with it.
    /// What is only odd is said at once.
    pub(crate) fn config(problems: Problems) -> Self {
        for warning in problems.warnings() {
            say!("edgebus: {warning}");
        }
        let failures = problems.lines().into_iter().map(|message| Failure {
            code: Code::BadConfig.as_str(),
            message,
            retry_after_ms: None,
            request_id: None,
        });
        Self {
            said: failures.collect(),
            status: USAGE,
        }
    }

    /// The command line asks for something that cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", message.into(), USAGE)
    }

    /// The operating system failed a call on a file.
    pub(crate) fn io(action: &str, path: &Path, error: io::Error) -> Self {
        let message = format!("cannot {action} {}: {error}", path.display());
        Self::new(Code::Io.as_str(), message, REFUSED)
    }

    /// Standard output cannot be written. That whoever read it has enough is no failure.
    pub(crate) fn stdout(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::silent(0),
            _ => Self::io("write", Path::new("standard output"), error),
        }
    }

    /// Ends with a status; what there was to say was said.
    pub(crate) fn silent(status: u8) -> Self {
        Self {
            said: Vec::new(),
            status,
        }
    }

    /// No failure if it is only that nobody reads stdout any more.
    pub(crate) fn unless_unread(self) -> Result<(), Self> {
        match self.said.is_empty() && self.status == 0 {
            true => Ok(()),
            false => Err(self),
        }
    }

    /// A refusal that ends the command with another status than its code calls for.
    pub(crate) fn with_status(refusal: Refusal, status: u8) -> Self {
        let mut error = Self::from(refusal);
        error.status = status;
        error
    }

    /// Whether it has this code.
    pub(crate) fn is(&self, code: Code) -> bool {
        let mut said = self.said.iter();
        said.any(|failure| failure.code == code.as_str())
    }

    /// Names the request it is about.
    #[must_use]
    pub(crate) fn about(mut self, id: RequestId) -> Self {
        for failure in &mut self.said {
            failure.request_id = Some(id);
        }
        self
    }

    /// Says it on stderr and gives the exit status.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        for failure in &self.said {
            say!("{}", failure.line(json));
        }
        ExitCode::from(self.status)
    }
}

impl Failure {
    fn line(&self, json: bool) -> String {
        let Self { code, message, .. } = self;
        let id = self.request_id.map(|id| id.to_string());
        if json {
            let object = ErrorObject {
                error: ErrorBody {
                    code,
                    message,
                    retry_after_ms: self.retry_after_ms,
                },
                request_id: id.as_deref(),
            };
            return object.to_line();
        }
        match id {
            Some(id) if !message.contains(&id) => {
                format!("edgebus: request {id}: {message} ({code})")
            }
            _ => format!("edgebus: {message} ({code})"),
        }
    }
}

/// An error as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorObject<'a> {
    pub(crate) error: ErrorBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<&'a str>,
}

/// What every error object holds.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorBody<'a> {
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
    pub(crate) retry_after_ms: Option<u64>,
}

impl<'a> From<&'a Refusal> for ErrorBody<'a> {
    fn from(refusal: &'a Refusal) -> Self {
        Self {
            code: refusal.code.as_str(),
            message: &refusal.message,
            retry_after_ms: refusal.retry_after_ms,
        }
    }
}

impl ErrorObject<'_> {
    /// The object without a line end.
    pub(crate) fn to_line(&self) -> String {
        // Strings and numbers always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            Code::Disconnected => NO_CONNECTION,
            Code::Unknown | Code::ReplyTimeout => UNKNOWN,
            Code::Poisoned => FAIL_STOP,
            _ => REFUSED,
        };
        let failure = Failure {
            code: refusal.code.as_str(),
            message: refusal.message,
            retry_after_ms: refusal.retry_after_ms,
            request_id: None,
        };
        Self {
            said: vec![failure],
            status,
        }
    }
}

impl From<SendError> for CliError {
    fn from(error: SendError) -> Self {
        let id = error.request_id();
        Self::from(error.to_refusal()).about(id)
    }
}

impl From<ConnectError> for CliError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Refused(refusal) => Self::with_status(refusal, NO_CONNECTION),
            ConnectError::Spool(refusal) => refusal.into(),
            ConnectError::Unreachable { url, reason } => {
                let hint = unreachable::hint(&url, &reason);
                Self::new(
                    Code::Disconnected.as_str(),
                    format!("cannot connect to {url}: {reason}{hint}"),
                    NO_CONNECTION,
                )
            }
            other => Self::new(
                Code::Disconnected.as_str(),
                other.to_string(),
                NO_CONNECTION,
            ),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::from(Refusal::from(&error))
    }
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Insecure(url) => insecure(&url),
            ServeError::Files(refusal) => refusal.into(),
            error @ ServeError::NoCertificate(_) => {
                Self::new(Code::BadConfig.as_str(), error.to_string(), REFUSED)
            }
            other => Self::new(Code::Io.as_str(), other.to_string(), REFUSED),
        }
    }
}

/// Other machines could connect without encryption, and nobody said that this is wanted.
pub(crate) fn insecure(url: impl std::fmt::Display) -> CliError {
    let message = format!(
        "{url} can be reached from other machines without encryption: listen on 127.0.0.1, or give \
         --insecure if that is what you want"
    );
    CliError::new(Code::BadConfig.as_str(), message, REFUSED)
}

/// Says what is wrong with the command line, or what was asked to be said about it (help,
/// version), and gives the exit status.
///
/// A value that was refused keeps its code. There is no parsed command line yet, so `--json` is
/// looked for as it was typed.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && json {
        let refusal = error.source().and_then(|e| e.downcast_ref::<Refusal>());
        let text = error.to_string();
        let (code, message) = match refusal {
            Some(refusal) => (refusal.code.as_str(), refusal.message.as_str()),
            None => ("usage", text.trim_start_matches("error: ").trim_end()),
        };
        let object = ErrorObject {
            error: ErrorBody {
                code,
                message,
                retry_after_ms: None,
            },
            request_id: None,
        };
        say!("{}", object.to_line());
    } else {
        // Nobody is left to tell when this fails.
        let _ = error.print();
    }
    ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
}
