//! Clients in the server's own process: the same API and the same rules as over the network,
//! without encoding frames.

use std::sync::Arc;

use edgebus_core::{Code, Refusal};

use super::{
    BESIDE_PAYLOAD_BYTES, Guard, Guest, Limits, Origin, Peer, ServerConfig, ServerHandle, Shared,
    serve,
};
use crate::access::Identity;
use crate::bus::MessageBus;
use crate::client::{Client, ClientConfig, ConnectError};
use crate::transport::pair;

impl ServerHandle {
    /// A client of this server within the same process. It counts as a connection and ends with
    /// the server.
    ///
    /// # Errors
    /// [`ConnectError`] when the server is stopping, or has as many connections as it takes.
    pub async fn connect(&self, config: ClientConfig) -> Result<Client, ConnectError> {
        if self.shared.stopping.is_raised() {
            return Err(stopping());
        }
        connect(self.shared.clone(), config).await
    }
}

impl MessageBus {
    /// A client of this bus within the same process, for what is written against [`Client`].
    ///
    /// # Errors
    /// [`ConnectError`] when the bus is shutting down.
    pub async fn client(&self, config: ClientConfig) -> Result<Client, ConnectError> {
        if self.is_stopping() {
            return Err(stopping());
        }
        let config_of_server = ServerConfig {
            limits: Limits {
                // Frames are not encoded, so what the store takes is the only limit.
                frame_bytes_max: self.record_limits().payload_bytes_max + BESIDE_PAYLOAD_BYTES,
                ..Limits::default()
            },
            ..ServerConfig::default()
        };
        let shared = Shared::new(self.clone(), config_of_server, Guard::default());
        connect(shared, config).await
    }
}

async fn connect(shared: Arc<Shared>, config: ClientConfig) -> Result<Client, ConnectError> {
    let seat = shared.places.take(Origin::SameProcess);
    let seat = seat.map_err(|(full, refusal)| {
        shared.counters.turn_away(full);
        ConnectError::Refused(refusal)
    })?;
    let (server, client) = pair();
    tokio::spawn(async move {
        let guest = Guest::new(Peer::SameProcess, Identity::same_process());
        serve(&shared, server.0, server.1, guest, seat).await;
    });
    Client::over(client.0, client.1, config).await
}

fn stopping() -> ConnectError {
    let refusal = Refusal::new(Code::ShuttingDown, "the server is shutting down");
    ConnectError::Refused(refusal.retry_after_ms(1000))
}
