//! Who somebody is, by a token or without.

use edgebus::{ClientConfig, Code, ConnectError, Refusal, ServeError, Server, ServerConfig};

use super::fixture::{Guarded, allow, on, token};
use crate::bus::fixture::{TestBus, eventually, log, message, new, within};
use crate::tcp::fixture::TestServer;

fn refusal<T: std::fmt::Debug>(result: Result<T, ConnectError>) -> Refusal {
    match result {
        Err(ConnectError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_says_who_somebody_is() {
    let guarded = Guarded::start_open().await;
    let till = guarded.connect("till-7").await;
    new(within(till.send_message(message(1))).await);
    let nobody = guarded.connect_anonymous().await;
    new(within(nobody.send_message(message(2))).await);
    let log = log(guarded.server.bus());
    let identities: Vec<_> = log.iter().map(|entry| entry.identity()).collect();
    assert_eq!(identities, ["till-7", "anonymous"]);
    let clients = within(till.clients()).await.unwrap();
    let known: Vec<_> = clients.iter().map(|c| (&*c.name, &*c.identity)).collect();
    assert_eq!(known, [("I am till-7", "till-7"), ("", "anonymous")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identity_comes_with_live_notifications() {
    let guarded = Guarded::start_open().await;
    let till = guarded.connect("till-7").await;
    let doors = edgebus::Subscription::to("doors".parse().unwrap());
    let mut live = within(till.subscribe(doors)).await.unwrap();
    within(till.publish("doors", "open")).await.unwrap();
    match within(live.next()).await {
        Some(edgebus::Notification::Message(entry)) => assert_eq!(entry.identity(), "till-7"),
        other => panic!("no notification: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_that_is_not_in_the_file_is_refused() {
    let guarded = Guarded::start(&allow("anonymous", "send", ">")).await;
    for wrong in ["the-secret-of-nobody", &token("till-7").to_uppercase()] {
        let refusal = refusal(guarded.try_connect("till-7", wrong).await);
        assert_eq!(refusal.code, Code::Unauthenticated);
        assert!(!refusal.message.contains(wrong), "{refusal}");
    }
    eventually(|| guarded.stats().unauthenticated == 2).await;
    assert_eq!(guarded.stats().last_seq, 0);
    // Who says nothing is nobody, which is another matter.
    let nobody = guarded.connect_anonymous().await;
    new(within(nobody.send_message(on("a", 1))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_is_refused_where_none_is_taken() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let config = || ClientConfig::default().token_file(&file).reconnect(false);
    // First of all it has to be there, and nobody else's to read.
    assert_eq!(
        refusal(server.try_connect(config()).await).code,
        Code::BadConfig
    );
    std::fs::write(&file, token("till-7")).unwrap();
    let others_read = refusal(server.try_connect(config()).await);
    assert!(others_read.message.contains("chmod 600"), "{others_read}");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode).unwrap();
    let refusal = refusal(server.try_connect(config()).await);
    assert_eq!(refusal.code, Code::Unauthenticated);
    assert!(refusal.message.contains("takes no tokens"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_does_not_start_with_files_that_cannot_be_used() {
    let on = TestBus::start();
    let folder = tempfile::tempdir().unwrap();
    let rights = folder.path().join("rights.toml");
    let bind = async || {
        let mut config = ServerConfig::default();
        config.listen = vec!["tcp://127.0.0.1:0".parse().unwrap()];
        config.rights = Some(rights.clone());
        Server::bind(on.bus.clone(), config).await
    };
    for (text, names) in [
        (None, "No such file"),
        (Some("[[alow]]"), "rights.toml:1: "),
    ] {
        if let Some(text) = text {
            std::fs::write(&rights, text).unwrap();
        }
        match bind().await {
            Err(ServeError::Files(refusal)) => {
                assert!(refusal.message.contains(names), "{refusal}");
                assert!(refusal.message.contains("rights.toml"), "{refusal}");
            }
            other => panic!("{other:?}"),
        }
    }
    std::fs::write(&rights, "# nobody, today").unwrap();
    assert!(bind().await.is_ok());
}
