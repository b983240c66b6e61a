//! HTTP beside the bus: whether the server is well, and its figures.
//!
//! Invariant: what is told here is never ahead of the bus: once its store has stopped, nothing
//! says "ok".

use std::net::SocketAddr;

use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use edgebus::{BusState, Code, Refusal, ServerHandle, StoreReader};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::error::{CliError, ErrorBody, ErrorObject, REFUSED, insecure};
use crate::metrics;

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
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "HTTP stopped");
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
