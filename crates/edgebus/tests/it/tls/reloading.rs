//! Files that change while a server runs and clients are connected.

use edgebus::{Client, Code, ConnectionState};

use super::authority::{Wanted, write};
use super::fixture::{Shop, refusal};
use crate::bus::fixture::{eventually, message, new, within};

/// Connects until it is let in, or refused, as the server reads its files in its own time.
async fn until_refused(url: &edgebus::ServerUrl, config: &edgebus::ClientConfig) -> Code {
    within(async {
        loop {
            match Client::connect_with(url, config.clone()).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(edgebus::ConnectError::Refused(refusal)) => return refusal.code,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_rotated_under_load_cost_no_request() {
    let mut shop = Shop::new();
    let server = shop.start().await;
    let config = shop.till("till-7");
    let steady = server.connect(config.clone()).await;
    let load = tokio::spawn(async move {
        for number in 0..2000 {
            new(within(steady.send_message(message(number))).await);
        }
    });
    let mut number = 10_000;
    while !load.is_finished() {
        let names = ["127.0.0.1", "bus.shop.example"];
        shop.ca.issue("server", Wanted::server(&names));
        shop.ca.issue("till-7", Wanted::client(&["till-7"]));
        shop.ca.write_crl();
        let refused = server.handle.reload().await;
        assert!(refused.is_empty(), "{refused:?}");
        let fresh = server.connect(config.clone()).await;
        new(within(fresh.send_message(message(number))).await);
        number += 1;
    }
    load.await.unwrap();
    assert_eq!(server.handle.stats().connections_cut, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_is_revoked_while_connected_is_cut_and_no_other() {
    let mut shop = Shop::new();
    let server = shop.start().await;
    let issued = shop.ca.issue("till-6", Wanted::client(&["till-6"]));
    let revoked = server.connect(shop.with(&issued).reconnect(false)).await;
    let other = server.connect(shop.till("till-7").reconnect(false)).await;
    shop.ca.revoke(&issued);
    let mut states = revoked.states();
    let closed = within(async {
        loop {
            if let ConnectionState::Closed { reason } = states.next().await.unwrap() {
                return reason;
            }
        }
    })
    .await;
    assert_eq!(closed.code, Code::Unauthenticated, "{closed}");
    assert!(closed.message.contains("was revoked"), "{closed}");
    new(within(other.send_message(message(1))).await);
    let refused = refusal(&server.url, shop.with(&issued)).await;
    assert_eq!(refused.code, Code::Unauthenticated);
    eventually(|| server.handle.stats().connections == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_new_file_is_refused_by_name_and_the_old_one_stays() {
    let mut shop = Shop::new();
    let server = shop.start().await;
    let till = shop.till("till-7");
    let connected = server.connect(till.clone().reconnect(false)).await;
    for bad in ["server.pem", "server.key", "shop.ca.pem", "shop.crl.pem"] {
        let path = shop.folder.path().join(bad);
        let good = std::fs::read_to_string(&path).unwrap();
        write(&path, "not what it was", 0o600);
        let refused = server.handle.reload().await;
        assert_eq!(refused.len(), 1);
        assert!(refused[0].message.contains(bad), "{refused:?}");
        // The client has a copy of the CA that is good.
        let copy = shop.folder.path().join("copy.pem");
        if bad == "shop.ca.pem" {
            write(&copy, &good, 0o600);
        }
        let config = match bad {
            "shop.ca.pem" => till.clone().ca(&copy),
            _ => till.clone(),
        };
        server.connect(config).await;
        write(&path, &good, 0o600);
    }
    assert!(server.handle.reload().await.is_empty());
    new(within(connected.send_message(message(1))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_a_ca_that_is_dropped_are_cut_off() {
    let mut shop = Shop::new();
    let mut tls = shop.mutual();
    tls.client_crl.clear();
    let server = shop.start_with(tls, |_| ()).await;
    let mut other = shop.other_ca();
    let both = [shop.ca.ca(), other.ca()].map(|file| std::fs::read_to_string(file).unwrap());
    let ca = shop.ca.ca();
    let (own, both) = (both[0].clone(), both.concat());
    write(&ca, &both, 0o644);
    assert!(server.handle.reload().await.is_empty());
    let guest = other.issue("guest", Wanted::client(&["guest"]));
    let guest = shop.with(&guest).reconnect(false);
    let connected = server.connect(guest.clone()).await;
    let stays = server.connect(shop.till("till-7").reconnect(false)).await;
    write(&ca, &own, 0o644);
    assert_eq!(
        until_refused(&server.url, &guest).await,
        Code::Unauthenticated
    );
    let mut states = connected.states();
    within(async {
        while !matches!(
            states.next().await,
            Some(ConnectionState::Closed { .. }) | None
        ) {}
    })
    .await;
    new(within(stays.send_message(message(1))).await);
}

/// A till whose certificate was revoked gets a new one put in place: it goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_is_refused_when_it_comes_back_goes_on_asking() {
    let mut shop = Shop::new();
    let server = shop.start().await;
    let issued = shop.ca.issue("till-7", Wanted::client(&["till-7"]));
    let config = shop.with(&issued).give_up_after(None);
    let client = server.connect(config).await;
    let before = server.handle.stats().connections_cut;
    shop.ca.revoke(&issued);
    // Cut, and refused when it comes back.
    eventually(|| server.handle.stats().connections_cut >= before + 2).await;
    let waiting = client.enqueue(message(1)).await.unwrap();
    // While files are being replaced they do not fit each other.
    std::fs::remove_file(&issued.key).unwrap();
    shop.ca.issue("till-7", Wanted::client(&["till-7"]));
    new(within(waiting).await);
}

/// What waits is not told that a server went away, but what there is to be done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_is_not_let_in_any_more_says_so_to_all_who_wait() {
    let mut shop = Shop::new();
    let server = shop.start().await;
    let issued = shop.ca.issue("till-7", Wanted::client(&["till-7"]));
    let client = server.connect(shop.with(&issued)).await;
    let mut states = client.states();
    shop.ca.revoke(&issued);
    let refused = "the server refused this client's certificate: it was revoked";
    within(async {
        loop {
            match states.next().await.unwrap() {
                ConnectionState::Lost { reason } if reason.message == refused => break,
                ConnectionState::Closed { reason } => panic!("{reason}"),
                _ => {}
            }
        }
    })
    .await;
}
