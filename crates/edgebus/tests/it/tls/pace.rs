//! How fast bytes have to come is looked at below the encryption: a record that comes slowly is
//! slow, and one that comes steadily over a slow way is not.

use std::sync::Arc;
use std::time::Duration;

use edgebus::wire::{Decoder, Frame};
use edgebus::{Code, TlsServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::io::{Read, Write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::fixture::Shop;
use crate::bus::fixture::{record, within};
use crate::tcp::fixture::{TestServer, bytes_of, goodbye, hello, send};

/// A client whose encrypted bytes the test sends as it likes.
struct ByHand {
    tls: ClientConnection,
    socket: TcpStream,
    came: bytes::BytesMut,
}

impl ByHand {
    async fn welcomed(shop: &Shop, server: &TestServer) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(shop.ca.ca()).unwrap())
            .unwrap();
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut client = Self {
            tls: ClientConnection::new(Arc::new(config), name).unwrap(),
            socket: TcpStream::connect(server.url.authority()).await.unwrap(),
            came: bytes::BytesMut::new(),
        };
        let hello = client.encrypted(&bytes_of(&hello(1, 1)));
        client.socket.write_all(&hello).await.unwrap();
        while client.tls.is_handshaking() {
            client.read().await;
            let answer = client.encrypted(&[]);
            client.socket.write_all(&answer).await.unwrap();
        }
        let frame = client.frame().await;
        assert!(matches!(frame, Some(Frame::Welcome(_))), "{frame:?}");
        client
    }

    fn encrypted(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.tls.writer().write_all(bytes).unwrap();
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out).unwrap();
        }
        out
    }

    /// Reads some; `false` at the end.
    async fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let came = within(self.socket.read(&mut bytes)).await.unwrap();
        let mut left = &bytes[..came];
        while !left.is_empty() {
            self.tls.read_tls(&mut left).unwrap();
            self.tls.process_new_packets().unwrap();
        }
        let mut plain = Vec::new();
        // There may be nothing whole yet.
        let _ = self.tls.reader().read_to_end(&mut plain);
        self.came.extend_from_slice(&plain);
        came > 0
    }

    async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Decoder::new(1 << 20).decode(&mut self.came).unwrap() {
                return Some(frame);
            }
            if !self.read().await {
                return None;
            }
        }
    }
}

async fn start(shop: &Shop, per_second_min: usize) -> TestServer {
    let tls = TlsServerConfig::new(&shop.server.certificate, &shop.server.key);
    let set_up = |config: &mut edgebus::ServerConfig| {
        config.limits.frame_bytes_per_second_min = per_second_min;
    };
    shop.start_with(tls, set_up).await
}

/// Part of a record: no byte of a frame has come, and none ever would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_that_stops_in_the_middle_is_too_slow_although_no_frame_has_begun() {
    let shop = Shop::new();
    let server = start(&shop, 1024).await;
    let mut client = ByHand::welcomed(&shop, &server).await;
    let bytes = client.encrypted(&bytes_of(&send(0, vec![record(1)])));
    client.socket.write_all(&bytes[..20]).await.unwrap();
    assert_eq!(goodbye(client.frame().await).code, Code::TooSlow);
}

/// A record is only known whole, which takes longer than a window here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_that_comes_steadily_is_not_too_slow() {
    let shop = Shop::new();
    let server = start(&shop, 256).await;
    let mut client = ByHand::welcomed(&shop, &server).await;
    let mut frame = bytes_of(&send(0, vec![record(1)])).to_vec();
    // Pings fill the record.
    while frame.len() < 7000 {
        frame.extend_from_slice(&bytes_of(&Frame::Ping { token: 1 }));
    }
    let bytes = client.encrypted(&frame);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for part in bytes.chunks(bytes.len() / 60) {
        ticks.tick().await;
        client.socket.write_all(part).await.unwrap();
    }
    let mut told = client.frame().await;
    while let Some(Frame::Pong { .. }) = told {
        told = client.frame().await;
    }
    assert!(matches!(told, Some(Frame::Receipts(_))), "{told:?}");
}

/// TLS has records of its own, which bring nothing to wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_changes_its_keys_and_says_nothing_more_is_idle() {
    let shop = Shop::new();
    let server = start(&shop, 1024).await;
    let mut idle = ByHand::welcomed(&shop, &server).await;
    idle.tls.refresh_traffic_keys().unwrap();
    let update = idle.encrypted(&[]);
    // In two parts, of which the first is part of a record.
    idle.socket.write_all(&update[..7]).await.unwrap();
    let mut slow = ByHand::welcomed(&shop, &server).await;
    idle.socket.write_all(&update[7..]).await.unwrap();
    let bytes = slow.encrypted(&bytes_of(&send(0, vec![record(1)])));
    slow.socket.write_all(&bytes[..20]).await.unwrap();
    assert_eq!(goodbye(slow.frame().await).code, Code::TooSlow);
    let ping = idle.encrypted(&bytes_of(&Frame::Ping { token: 3 }));
    idle.socket.write_all(&ping).await.unwrap();
    assert_eq!(idle.frame().await, Some(Frame::Pong { token: 3 }));
}
