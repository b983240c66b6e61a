//! HTTP beside the bus: whether the server is well, and its figures.
//!
//! Invariants: what is told here is never ahead of the bus: once its store has stopped, nothing
//! says "ok". Whoever connects and asks nothing takes no files from the store, and keeps nobody out
//! for long.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use axum::{Json, Router};
use edgebus::{BusState, Code, Refusal, ServerHandle, StoreReader};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};

use crate::error::{CliError, ErrorBody, ErrorObject, REFUSED, insecure};
use crate::metrics;

/// Connections at a time; more wait until one ends.
const CONNECTIONS_MAX: usize = 32;
/// How long a connection may take until its next request has come whole.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// Binds the address.
///
/// # Errors
/// When it can be reached from other machines and that is not wanted, or cannot be had.
pub(crate) async fn bind(
    address: SocketAddr,
    insecure_allowed: bool,
) -> Result<TcpListener, CliError> {
    if !address.ip().is_loopback() && !insecure_allowed {
        return Err(insecure(format_args!("http://{address}")));
    }
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!("cannot listen on http://{address}: {error}");
        CliError::with_status(Refusal::new(Code::Io, message), REFUSED)
    })
}

/// What the answers are about.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub(crate) bus: watch::Receiver<BusState>,
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) store: StoreReader,
    pub(crate) server: ServerHandle,
}

impl Health {
    fn live(&self) -> (StatusCode, &'static str) {
        match *self.bus.borrow() {
            BusState::Poisoned(_) => (StatusCode::SERVICE_UNAVAILABLE, "poisoned\n"),
            _ => (StatusCode::OK, "ok\n"),
        }
    }

    fn ready(&self) -> (StatusCode, &'static str) {
        match self.live() {
            (StatusCode::OK, _) if *self.stopping.borrow() => {
                (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
            }
            (StatusCode::OK, _) if self.store.is_full() => {
                (StatusCode::SERVICE_UNAVAILABLE, "storage_full\n")
            }
            live => live,
        }
    }
}

/// Answers until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, health: Health) {
    let (live, ready, server) = (health.clone(), health.clone(), health.server);
    let router = Router::new()
        .route("/healthz", get(move || async move { live.live() }))
        .route("/readyz", get(move || async move { ready.ready() }))
        .route(
            "/metrics",
            get(move || async move {
                let page = metrics::page(&server.stats());
                ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], page)
            }),
        )
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed);
    if let Err(error) = axum::serve(Few::of(listener, REQUEST_TIME), router).await {
        tracing::error!(%error, "HTTP stopped");
    }
}

/// Lets in a few at a time.
struct Few {
    listener: TcpListener,
    places: Arc<Semaphore>,
    request_time: Duration,
}

/// A connection that ends when no request comes for a while after the last answer.
struct Prompt {
    stream: TcpStream,
    request_time: Duration,
    until: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Few {
    fn of(listener: TcpListener, request_time: Duration) -> Self {
        Self {
            listener,
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            request_time,
        }
    }
}

impl Listener for Few {
    type Io = Prompt;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Prompt, SocketAddr) {
        // Nobody closes it.
        let place = self.places.clone().acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let prompt = Prompt {
            stream,
            request_time: self.request_time,
            until: Box::pin(tokio::time::sleep(self.request_time)),
            _place: place,
        };
        (prompt, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Prompt {
    fn in_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.until.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.in_time(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if written.is_ready() {
            let until = Instant::now() + self.request_time;
            self.until.as_mut().reset(until);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn not_found(method: Method, uri: Uri) -> Response {
    let message = format!("nothing is at {method} {}", uri.path());
    refuse(
        StatusCode::NOT_FOUND,
        &Refusal::new(Code::NotFound, message),
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let message = format!("{} does not take {method}", uri.path());
    refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        &Refusal::new(Code::BadQuery, message),
    )
}

fn refuse(status: StatusCode, refusal: &Refusal) -> Response {
    let object = ErrorObject {
        error: ErrorBody::from(refusal),
        request_id: None,
    };
    (status, Json(object)).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn crowd_that_asks_nothing_keeps_nobody_out_for_long() {
        let bound = bind(([127, 0, 0, 1], 0).into(), false).await;
        let listener = bound.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let few = Few::of(listener, Duration::from_millis(50));
        let places = few.places.clone();
        let router = Router::new().route("/", get(|| async { "ok" }));
        let serving = tokio::spawn(async move { axum::serve(few, router).await });
        let mut crowd = Vec::new();
        for _ in 0..2 * CONNECTIONS_MAX {
            crowd.push(TcpStream::connect(address).await.expect("connected"));
        }
        let mut asking = TcpStream::connect(address).await.expect("connected");
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        asking.write_all(request).await.expect("asked");
        let mut answer = String::new();
        let answered = asking.read_to_string(&mut answer);
        let answered = tokio::time::timeout(Duration::from_secs(20), answered).await;
        answered.expect("in time").expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(places.available_permits() <= CONNECTIONS_MAX);
        serving.abort();
    }
}
