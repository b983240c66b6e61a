//! Somebody who speaks something else, at either end: each hears it in plain words.

use std::sync::Arc;

use edgebus::{Client, ClientConfig, ServerUrl, TlsServerConfig, TlsVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, RootCertStore, SupportedProtocolVersion};

use super::fixture::{Shop, unreachable};
use crate::bus::fixture::{eventually, message, new, within};
use crate::tcp::fixture::TestServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_client_hears_that_the_port_speaks_tls() {
    let shop = Shop::new();
    let server = shop.start().await;
    let plain = ServerUrl::Tcp {
        host: "127.0.0.1".into(),
        port: server
            .url
            .authority()
            .rsplit(':')
            .next()
            .unwrap()
            .parse()
            .unwrap(),
    };
    let why = unreachable(&plain, ClientConfig::default()).await;
    assert!(why.contains("not an edgebus server"), "{why}");
    assert!(why.contains("TLS") && why.contains("tls://"), "{why}");
    eventually(|| server.handle.stats().connections_cut == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_client_hears_that_the_port_does_not_speak_tls() {
    let shop = Shop::new();
    let server = TestServer::start().await;
    let url = format!("tls://{}", server.url.authority());
    let why = unreachable(&url.parse().unwrap(), shop.nobody()).await;
    assert!(why.contains("does not speak TLS"), "{why}");
    eventually(|| server.handle.stats().connections_cut == 1).await;
}

/// A server of another kind, which says something and waits for the other end to go.
async fn one_that_says(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = ServerUrl::of(listener.local_addr().unwrap());
    let other = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        stream.write_all(bytes).await.unwrap();
        let mut came = Vec::new();
        let _ = stream.read_to_end(&mut came).await;
    });
    let why = unreachable(&url, ClientConfig::default()).await;
    within(other).await.unwrap();
    why
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_names_what_answered_in_its_servers_place() {
    for (bytes, name) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        // An alert, smaller than what it announces as a frame.
        (&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x32], "TLS"),
    ] {
        let why = one_that_says(bytes).await;
        let expected = format!("not an edgebus server: it answered with {name}");
        assert!(why.contains(&expected), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_tls_port_is_turned_away_at_once() {
    let mut shop = Shop::new();
    let server = shop.start().await;
    let garbage = [
        &b"GET / HTTP/1.1\r\nHost: till\r\n\r\n"[..],
        &[0; 64],
        &[0xff; 64],
        // Records that are no handshake, or one without end.
        &[0x17, 0x03, 0x03, 0x00, 0x02, 0x01, 0x02],
        &[0x16, 0x03, 0x01, 0xff, 0xff, 0x01, 0x02],
        b"",
    ];
    for bytes in garbage {
        let mut stream = TcpStream::connect(server.url.authority()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut came = Vec::new();
        // A reset says as much as an end.
        let _ = within(stream.read_to_end(&mut came)).await;
        assert!(came.len() <= 7, "an alert at most: {came:?}");
    }
    let many = garbage.len() as u64;
    eventually(|| server.handle.stats().connections_cut == many).await;
    let client = server.connect(shop.till("till-7")).await;
    new(within(client.send_message(message(1))).await);
}

/// The version that a foreign client and the server agree on.
async fn agreed(
    shop: &Shop,
    url: &ServerUrl,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<Option<rustls::ProtocolVersion>> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(shop.ca.ca()).unwrap();
    roots.add(ca).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(url.authority()).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = within(connecting).await?;
    Ok(stream.get_ref().1.protocol_version())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_1_2_is_spoken_only_when_configured() {
    let shop = Shop::new();
    let tls = TlsServerConfig::new(&shop.server.certificate, &shop.server.key);
    let mut older = tls.clone();
    older.min_version = TlsVersion::V1_2;
    let server = shop.start_with(tls, |_| ()).await;
    assert!(agreed(&shop, &server.url, &[&TLS12]).await.is_err());
    let version = agreed(&shop, &server.url, &[&TLS13]).await.unwrap();
    assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_3));
    let server = shop.start_with(older, |_| ()).await;
    let version = agreed(&shop, &server.url, &[&TLS12]).await.unwrap();
    assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_2));
    let version = agreed(&shop, &server.url, &[&TLS12, &TLS13]).await.unwrap();
    assert_eq!(version, Some(rustls::ProtocolVersion::TLSv1_3));
    within(Client::connect_with(&server.url, shop.nobody()))
        .await
        .unwrap();
}
