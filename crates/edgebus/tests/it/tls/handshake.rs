//! TLS connections that come to be: who is at the other end, and what goes over them.

use edgebus::query::LogQuery;
use edgebus::{ClientAuth, Seq, TlsServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::authority::Wanted;
use super::fixture::{Shop, refusal};
use crate::bus::fixture::{eventually, large_message, log, message, new, within};
use crate::tcp::fixture::short;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_is_who_its_certificate_says() {
    let mut shop = Shop::new();
    let server = shop.start().await;
    let names: [(&[&str], &str); 4] = [
        (&["Till-7.Shop.Example"], "till-7.shop.example"),
        (&["till-8", "till-9"], "till-8"),
        (
            &["till-10", "spiffe://Shop/till-10"],
            "spiffe://Shop/till-10",
        ),
        (&["10.0.0.1", "till-11"], "till-11"),
    ];
    for (number, (sans, identity)) in (0..).zip(names) {
        let issued = shop.ca.issue("till", Wanted::client(sans));
        // What it calls itself does not count.
        let config = shop.with(&issued).name("someone-else");
        let client = server.connect(config).await;
        new(within(client.send_message(message(number))).await);
        let entries = log(server.bus());
        assert_eq!(entries.last().unwrap().identity(), identity);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_is_asked_for_as_configured() {
    let mut shop = Shop::new();
    let till = shop.till("till-7");
    let none = TlsServerConfig::new(&shop.server.certificate, &shop.server.key);
    let mut optional = shop.mutual();
    optional.client_auth = ClientAuth::Optional;
    for (tls, nobody, somebody) in [
        (none, "anonymous", "anonymous"),
        (optional, "anonymous", "till-7"),
    ] {
        let server = shop.start_with(tls, |_| ()).await;
        for (number, config) in [(1, shop.nobody()), (2, till.clone())] {
            let client = server.connect(config).await;
            new(within(client.send_message(message(number))).await);
        }
        let identities = log(server.bus());
        let identities: Vec<_> = identities.iter().map(|entry| entry.identity()).collect();
        assert_eq!(identities, [nobody, somebody]);
    }
}

/// Frames larger than any buffer on the way, and many small ones, in both directions at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_over_tls_that_goes_over_tcp() {
    let mut shop = Shop::new();
    let server = shop.start().await;
    let client = server.connect(shop.till("till-7").window(64)).await;
    let large: Vec<_> = (0..20)
        .map(|number| large_message(number, 900 * 1024))
        .collect();
    let pending = large.into_iter().map(|message| client.enqueue(message));
    for pending in futures_util::future::join_all(pending).await {
        new(within(pending.unwrap()).await);
    }
    let small = within(client.send_batch((100..600).map(message).collect())).await;
    small.into_iter().for_each(|result| {
        new(result);
    });
    let mut replay = client.replay(LogQuery::from(Seq(1)));
    let mut bytes = 0;
    while let Some(entry) = within(replay.next()).await {
        bytes += entry.unwrap().record().payload_bytes().len();
    }
    assert!(bytes >= 20 * 900 * 1024);
    client.drain().await;
    drop(client);
    eventually(|| server.handle.stats().connections == 0).await;
    assert_eq!(server.handle.stats().connections_cut, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshake_and_first_frame_share_one_limit_of_time() {
    let shop = Shop::new();
    let tls = TlsServerConfig::new(&shop.server.certificate, &shop.server.key);
    let server = shop
        .start_with(tls, |config| config.limits.handshake_timeout = short())
        .await;
    let mut silent = TcpStream::connect(server.url.authority()).await.unwrap();
    let mut slow = TcpStream::connect(server.url.authority()).await.unwrap();
    // The beginning of a handshake that never goes on.
    slow.write_all(&[0x16, 0x03, 0x01, 0x01, 0x00, 0x01])
        .await
        .unwrap();
    for stream in [&mut silent, &mut slow] {
        let mut came = Vec::new();
        // Nobody is left to talk to.
        let _ = within(stream.read_to_end(&mut came)).await;
    }
    eventually(|| server.handle.stats().connections == 0).await;
    assert_eq!(server.handle.stats().connections_cut, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_over_the_limit_is_told_so_over_tls() {
    let mut shop = Shop::new();
    let tls = shop.mutual();
    let server = shop
        .start_with(tls, |config| config.limits.connections_max = 1)
        .await;
    let till = shop.till("till-7");
    let _first = server.connect(till.clone()).await;
    let refused = refusal(&server.url, till).await;
    assert_eq!(refused.code, edgebus::Code::TooManyConnections);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_is_found_by_another_name_when_told_to_expect_it() {
    let shop = Shop::new();
    let tls = TlsServerConfig::new(&shop.server.certificate, &shop.server.key);
    let server = shop.start_with(tls, |_| ()).await;
    let expecting = |name: &str| shop.nobody().server_name(name);
    server.connect(expecting("bus.shop.example")).await;
    let refused = refusal(&server.url, expecting("bus.other.example")).await;
    assert_eq!(refused.code, edgebus::Code::Unauthenticated);
    let text = refused.to_string();
    assert!(text.contains("bus.other.example"), "{text}");
    assert!(text.contains("bus.shop.example"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_the_middle_of_a_handshake_does_not_keep_a_server_from_stopping() {
    let shop = Shop::new();
    let a_year = std::time::Duration::from_secs(365 * 24 * 60 * 60);
    let set_up = |config: &mut edgebus::ServerConfig| config.limits.handshake_timeout = a_year;
    let mut server = shop.start_with(shop.mutual(), set_up).await;
    let silent = TcpStream::connect(server.url.authority()).await.unwrap();
    eventually(|| server.handle.stats().connections == 1).await;
    server.stop().await;
    assert_eq!(server.handle.stats().connections, 0);
    drop(silent);
}
