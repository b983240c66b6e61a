//! `edgebus client`: who is connected.

use edgebus::ClientConfig;
use serde_json::json;

use crate::args::{ClientCommand, Global};
use crate::error::CliError;
use crate::output::{Output, payload_text};
use crate::remote;
use crate::table;
use crate::time::rfc3339;

/// `edgebus client …`.
pub(crate) fn run(command: &ClientCommand, global: &Global) -> Result<(), CliError> {
    match command {
        ClientCommand::Ls => list(global),
    }
}

fn list(global: &Global) -> Result<(), CliError> {
    let clients = remote::runtime()?.block_on(async {
        let client = remote::connect(global, ClientConfig::default()).await?;
        Ok::<_, CliError>(client.clients().await?)
    })?;
    if global.json {
        let mut output = Output::new();
        for client in &clients {
            output.json(&json!({
                "id": client.id,
                "name": client.name,
                "identity": client.identity,
                "address": client.address,
                "connected": rfc3339(client.connected_ms),
                "streams": client.streams,
                "in_flight": client.in_flight,
                "sent": client.sent,
            }))?;
        }
        return output.flush();
    }
    let rows = clients.iter().map(|client| {
        [
            client.id.to_string(),
            client.address.clone(),
            rfc3339(client.connected_ms),
            client.streams.to_string(),
            client.in_flight.to_string(),
            client.sent.to_string(),
            payload_text(client.identity.as_bytes()),
            payload_text(client.name.as_bytes()),
        ]
    });
    let header = [
        "ID",
        "ADDRESS",
        "CONNECTED",
        "STREAMS",
        "IN FLIGHT",
        "SENT",
        "IDENTITY",
        "NAME",
    ];
    table::print(header, rows.collect())
}
