//! One server: a connection to it on which nothing was said yet, or why there is none.

use std::io;
use std::path::Path;
use std::time::Duration;

use edgebus_core::{Code, Refusal};
use tokio::net::{TcpStream, UnixStream};

use super::config::{ClientConfig, ConnectError};
use crate::host;
use crate::tls::{self, ClientTls};
use crate::transport::{
    Reader, ServerUrl, Writer, below_tls, over_stream, over_tcp, over_tls, over_unix,
    without_brackets,
};

/// How soon a Unix socket is tried again that has no room at the moment.
const CONNECT_AGAIN: Duration = Duration::from_millis(10);

/// Connects to a server. Certificates are read for each connection, so those that were replaced are
/// used from then on.
///
/// # Errors
/// It cannot be reached, one end does not take the other's certificate, or the files of this one
/// cannot be used.
pub(super) async fn reach(
    server: &ServerUrl,
    config: &ClientConfig,
) -> Result<(Reader, Writer), ConnectError> {
    let lost = |error: io::Error| unreachable(server, error.to_string());
    let frame_bytes_max = config.frame_bytes_max;
    match server {
        ServerUrl::Tcp { .. } => match &config.connector {
            Some(connector) => {
                let stream = connector.connect(server).await;
                Ok(over_stream(stream.map_err(lost)?, frame_bytes_max))
            }
            None => {
                let stream = TcpStream::connect(server.authority()).await;
                over_tcp(stream.map_err(lost)?, frame_bytes_max).map_err(lost)
            }
        },
        ServerUrl::Tls { host, .. } => {
            let (connector, name) = load(host, config).await?.connector();
            let stream = TcpStream::connect(server.authority()).await;
            let stream = below_tls(stream.map_err(lost)?).map_err(lost)?;
            match connector.connect(name, stream).await {
                Ok(stream) => Ok(over_tls(stream.into(), frame_bytes_max)),
                Err(error) => match tls::seen_by_client(&error) {
                    Some(refusal) => Err(failed(server, refusal)),
                    None if error.kind() == io::ErrorKind::UnexpectedEof => {
                        let hung_up = "the server hung up during the TLS handshake";
                        Err(unreachable(server, hung_up.to_owned()))
                    }
                    None => Err(lost(error)),
                },
            }
        }
        ServerUrl::Unix { path } => {
            let stream = connect_unix(path).await.map_err(lost)?;
            Ok(over_unix(stream, frame_bytes_max))
        }
    }
}

pub(super) fn unreachable(server: &ServerUrl, reason: String) -> ConnectError {
    let url = server.to_string();
    ConnectError::Unreachable { url, reason }
}

/// What a refusal means for a connection that is not open yet.
pub(super) fn failed(server: &ServerUrl, refusal: Refusal) -> ConnectError {
    match refusal.code {
        Code::Disconnected => unreachable(server, refusal.message),
        _ => ConnectError::Refused(refusal),
    }
}

async fn load(host: &str, config: &ClientConfig) -> Result<ClientTls, ConnectError> {
    let host = without_brackets(host).to_owned();
    let config = config.tls.clone().unwrap_or_default();
    let loading = host::blocking(move || ClientTls::load(&config, &host));
    let loaded = loading.await.unwrap_or_else(|_| {
        let stopping = "the runtime is shutting down";
        Err(Refusal::new(Code::ShuttingDown, stopping))
    });
    loaded.map_err(ConnectError::Refused)
}

/// Waits while as many connections wait to be accepted as may: over Unix sockets the system says so
/// at once.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(CONNECT_AGAIN).await;
            }
            connected => return connected,
        }
    }
}
