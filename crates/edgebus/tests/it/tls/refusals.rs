//! Who is not let in, and how each end says why.

use edgebus::{Code, TlsServerConfig};

use super::authority::{Usage, Wanted};
use super::fixture::{Shop, refusal};
use crate::bus::fixture::{eventually, message, new, within};

/// Each of them is told its own reason, and none takes a place or leaves anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_is_refused_hears_why() {
    let mut shop = Shop::new();
    let mut other = shop.other_ca();
    let revoked = shop.ca.issue("revoked", Wanted::client(&["till-6"]));
    shop.ca.revoke(&revoked);
    let years = |from, to| Wanted {
        years: (from, to),
        ..Wanted::client(&["till-7"])
    };
    let foreign = other.issue("foreign", Wanted::client(&["till-7"]));
    let expired = shop.ca.issue("expired", years(2020, 2021));
    let early = shop.ca.issue("early", years(3000, 3001));
    let nobody = shop.ca.issue("nobody", Wanted::client(&["10.0.0.1"]));
    let star = shop.ca.issue("star", Wanted::client(&["*.shop.example"]));
    let two = shop.ca.issue("two", Wanted::client(&["a://b", "c://d"]));
    let server_only = shop.ca.issue(
        "server-only",
        Wanted {
            usage: Usage::Server,
            ..Wanted::client(&["till-7"])
        },
    );
    let server = shop.start().await;
    let cases = [
        (shop.nobody(), "wants a certificate"),
        (shop.with(&expired), "has expired"),
        (shop.with(&early), "not valid yet"),
        (shop.with(&foreign), "another CA"),
        (shop.with(&revoked), "was revoked"),
        (shop.with(&server_only), "not meant for"),
        (shop.with(&nobody), "needs a URI or DNS name"),
        (shop.with(&star), "no name that somebody can have"),
        (shop.with(&two), "several by URI"),
    ];
    let many = cases.len() as u64;
    for (config, why) in cases {
        let refused = refusal(&server.url, config).await;
        assert_eq!(refused.code, Code::Unauthenticated, "{refused}");
        assert!(refused.message.contains(why), "{refused}");
    }
    eventually(|| server.handle.stats().connections == 0).await;
    assert_eq!(server.handle.stats().connections_cut, many);
    // A good one comes in all the same.
    let client = server.connect(shop.till("till-8")).await;
    new(within(client.send_message(message(1))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_says_why_it_refuses_a_server() {
    let mut shop = Shop::new();
    let mut other = shop.other_ca();
    let years = |from, to| Wanted {
        years: (from, to),
        ..Wanted::server(&["127.0.0.1"])
    };
    let cases = [
        (
            other.issue("a", Wanted::server(&["127.0.0.1"])),
            "another CA",
        ),
        (shop.ca.issue("b", years(2020, 2021)), "has expired"),
        (shop.ca.issue("c", years(3000, 3001)), "is not valid before"),
        (
            shop.ca.issue("d", Wanted::server(&["10.0.0.1", "bus"])),
            "is not for 127.0.0.1, but for 10.0.0.1, bus: connect",
        ),
    ];
    for (issued, why) in cases {
        let tls = TlsServerConfig::new(issued.certificate, issued.key);
        let server = shop.start_with(tls, |_| ()).await;
        let refused = refusal(&server.url, shop.nobody()).await;
        assert_eq!(refused.code, Code::Unauthenticated, "{refused}");
        let text = refused.to_string();
        assert!(text.starts_with("the server's certificate "), "{text}");
        assert!(text.contains(why), "{text}");
        eventually(|| server.handle.stats().connections_cut == 1).await;
    }
}
