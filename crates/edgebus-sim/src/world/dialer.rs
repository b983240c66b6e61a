//! A client's way into the simulated network.

use std::io;

use edgebus::ServerUrl;
use edgebus::client::{Connecting, Connector};

use super::net::{Dialed, Net, Owner};

/// Connects one process.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) net: Net,
    pub(crate) owner: Owner,
}

impl Connector for Dialer {
    fn connect<'a>(&'a self, _: &'a ServerUrl) -> Connecting<'a> {
        Box::pin(async {
            match self.net.dial(self.owner) {
                Dialed::Connected(wire, latency) => {
                    tokio::time::sleep(latency).await;
                    Ok(Box::new(wire) as Box<dyn edgebus::transport::ByteStream>)
                }
                Dialed::Refused(latency) => {
                    tokio::time::sleep(latency).await;
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
                Dialed::NoAnswer => std::future::pending().await,
            }
        })
    }
}
