//! `edgebus request`: stores a request and prints the reply to it.
//!
//! Invariants: the request keeps its id however often it is asked for, so it is done once. When
//! there is no reply the id is told on stderr, so that it can be asked for again.

use std::ffi::OsString;
use std::time::Duration;

use edgebus::{
    Client, ClientConfig, Code, ConnectionState, Message, Refusal, RequestError, RequestId,
    Response, SendError, Topic,
};
use serde::Serialize;
use tokio::time::Instant;

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Headers, ReceiptObject};
use crate::payload;
use crate::reconnect::may_come_back;
use crate::remote;
use crate::takers;
use crate::values;

/// What can be typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints the reply byte for byte. When the connection is lost or the server restarts, it connects and
asks again with the same id; the request is done once all the same. Exit status 4: no reply in time,
the id is on stderr, ask again with it.

Example:
  edgebus request orders.price '{\"item\":7}' --timeout 10s")]
pub(crate) struct Options {
    /// What the request is about, for example orders.price
    topic: Topic,
    /// The content; `-`, or none, for standard input
    #[arg(allow_negative_numbers = true)]
    payload: Option<OsString>,
    /// The request's id, to ask again for the same reply; a new one if not given
    #[arg(long, value_name = "UUID")]
    id: Option<RequestId>,
    /// How long to wait for the reply
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::some_duration)]
    timeout: Duration,
    /// A header that travels along. Can be given more than once
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = values::header)]
    headers: Vec<(String, String)>,
    /// How long after being stored it may still be started, for example 30s
    #[arg(long, value_name = "DURATION", value_parser = values::some_duration)]
    expires: Option<Duration>,
}

/// `edgebus request …`.
pub(crate) fn run(options: Options, global: &Global) -> Result<(), CliError> {
    let payload = payload::read(options.payload)?;
    let id = options.id.unwrap_or_else(edgebus::new_request_id);
    let expires_ms = options.expires.map_or(0, values::millis);
    let mut message = Message::new(id, options.topic, payload).expires_ms(expires_ms);
    message.headers = options.headers;
    let mut asking = Asking {
        message,
        may_be_stored: false,
        client: None,
    };
    let response = remote::runtime()?
        .block_on(asking.ask(options.timeout, global))
        .map_err(|error| error.about(id))?;
    let printed = match global.json {
        true => output::line(&ResponseObject::new(&response)),
        false => output::print_bytes(&response.reply.payload),
    };
    // It is done, whether or not anybody reads the reply.
    printed.or_else(CliError::unless_unread)
}

struct Asking {
    message: Message,
    /// A try left and was not answered.
    may_be_stored: bool,
    /// Once there was a connection.
    client: Option<Client>,
}

impl Asking {
    async fn ask(&mut self, timeout: Duration, global: &Global) -> Result<Response, CliError> {
        let deadline = Instant::now() + timeout;
        let interrupted = remote::interrupted();
        let mut config = ClientConfig::default();
        config.connect_timeout = config.connect_timeout.min(timeout);
        let asked = tokio::select! {
            asked = tokio::time::timeout_at(deadline, self.until_answered(config, global)) => asked,
            () = interrupted => return Err(self.unknown("interrupted before the reply came")),
        };
        match asked {
            Ok(answered) => answered,
            Err(_) => Err(self.timed_out(timeout).await),
        }
    }

    async fn until_answered(
        &mut self,
        config: ClientConfig,
        global: &Global,
    ) -> Result<Response, CliError> {
        // The timeout of the command says how long to wait for a server, too.
        let config = config.give_up_after(None);
        let client = remote::connect_lasting(global, config).await?;
        self.client = Some(client.clone());
        let mut wait = AGAIN_MIN;
        loop {
            let before = std::mem::replace(&mut self.may_be_stored, true);
            let error = match client.request_message(self.message.clone()).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if let RequestError::Send(SendError::Refused { .. }) = &error {
                self.may_be_stored = before;
            }
            let is_over = matches!(client.state(), ConnectionState::Closed { .. });
            if is_over || !is_worth_asking_again(&error) {
                return Err(error.to_refusal().into());
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(AGAIN_MAX);
        }
    }

    fn unknown(&self, reason: &str) -> CliError {
        let request_id = self.message.id;
        let reason = reason.to_owned();
        SendError::Unknown { request_id, reason }
            .to_refusal()
            .into()
    }

    async fn timed_out(&self, timeout: Duration) -> CliError {
        let timeout = humantime::format_duration(timeout);
        let id = self.message.id;
        if !self.may_be_stored {
            let message = format!("the server took nothing within {timeout}");
            return Refusal::new(Code::Disconnected, message).into();
        }
        let connected = self.client.as_ref().filter(|client| {
            let state = client.state();
            matches!(state, ConnectionState::Connected { .. })
        });
        let hint = match connected {
            Some(client) => takers::none_takes(client, &self.message.topic).await,
            None => Some("the connection was lost".to_owned()),
        };
        let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        let message = format!(
            "no reply within {timeout}{hint}; what is stored goes on: ask again with --id {id}"
        );
        Refusal::new(Code::ReplyTimeout, message).into()
    }
}

/// How long to wait before asking again; longer each time.
const AGAIN_MIN: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(2);

/// Whether the same may be answered in a moment.
fn is_worth_asking_again(error: &RequestError) -> bool {
    match error {
        RequestError::Lost { .. } | RequestError::Send(SendError::Unknown { .. }) => true,
        // That will not be over soon, and wants somebody to act.
        RequestError::Send(SendError::Refused { refusal, .. }) => {
            may_come_back(refusal) && refusal.code != Code::StorageFull
        }
        _ => false,
    }
}

/// A reply as JSON.
#[derive(Serialize)]
struct ResponseObject<'a> {
    #[serde(flatten)]
    receipt: ReceiptObject,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_base64: Option<String>,
    headers: Headers,
}

impl<'a> ResponseObject<'a> {
    fn new(response: &'a Response) -> Self {
        let (reply, reply_base64) = payload::text_or_base64(&response.reply.payload);
        let headers = response.reply.headers.iter();
        Self {
            receipt: ReceiptObject::from(&response.receipt),
            reply,
            reply_base64,
            headers: output::headers(headers.map(|h| (h.name.clone(), h.value.clone()))),
        }
    }
}
