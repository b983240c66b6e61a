//! Unix sockets: who comes is known, and the socket is there exactly as long as its server.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use edgebus::{Client, ClientConfig, MessageBus, ServeError, Server, ServerConfig, ServerUrl};

use crate::bus::fixture::{TestBus, log, message, new, within};
use crate::tcp::fixture::TestServer;

fn url(path: &Path) -> ServerUrl {
    format!("unix://{}", path.display()).parse().unwrap()
}

async fn refused(bus: &MessageBus, listen: Vec<ServerUrl>) -> ServeError {
    let mut config = ServerConfig::default();
    config.listen = listen;
    let bound = within(Server::bind(bus.clone(), config)).await;
    bound.expect_err("one cannot be listened on")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_of_a_unix_socket_is_known_by_its_user() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus.sock");
    let mut server = TestServer::start_with(|config| {
        config.listen = vec![url(&path)];
        config.unix_mode = 0o600;
    })
    .await;
    assert_eq!(server.url, url(&path));
    let socket = std::fs::symlink_metadata(&path).unwrap();
    assert_eq!(socket.mode() & 0o777, 0o600);
    let client = server.connect(ClientConfig::default()).await;
    new(within(client.send_message(message(1))).await);
    let identity = format!("unix:{}", socket.uid());
    assert_eq!(log(server.bus())[0].identity(), identity);
    let clients = within(client.clients()).await.unwrap();
    assert_eq!(clients[0].address, identity);
    server.stop().await;
    assert!(!path.exists(), "the socket goes with its server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_listeners_serve_one_bus() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus.sock");
    let on = TestBus::start();
    let mut config = ServerConfig::default();
    config.listen = vec![
        url(&path),
        "tcp://127.0.0.1:0".parse().unwrap(),
        "tcp://[::1]:0".parse().unwrap(),
    ];
    let server = Server::bind(on.bus.clone(), config).await.unwrap();
    let urls = server.urls();
    let running = tokio::spawn(server.run(std::future::pending()));
    for (number, url) in (1..).zip(&urls) {
        let client = within(Client::connect_with(url, ClientConfig::default())).await;
        new(within(client.unwrap().send_message(message(number))).await);
    }
    assert_eq!((urls.len(), log(&on.bus).len()), (3, 3));
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_that_fails_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus.sock");
    let on = TestBus::start();
    let free = Server::bind(on.bus.clone(), {
        let mut config = ServerConfig::default();
        config.listen = vec!["tcp://127.0.0.1:0".parse().unwrap()];
        config
    });
    let taken = free.await.unwrap();
    let error = refused(&on.bus, vec![url(&path), taken.urls().remove(0)]).await;
    assert!(matches!(error, ServeError::Listen { .. }), "{error}");
    assert!(!path.exists());
    let open = "tcp://0.0.0.0:0".parse().unwrap();
    let error = refused(&on.bus, vec![url(&path), open]).await;
    assert!(matches!(error, ServeError::Insecure(_)), "{error}");
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn socket_of_another_server_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus.sock");
    let server = TestServer::start_with(|config| config.listen = vec![url(&path)]).await;
    let other = TestBus::start();
    let error = refused(&other.bus, vec![url(&path)]).await;
    assert!(error.to_string().contains("another process"), "{error}");
    let client = server.connect(ClientConfig::default()).await;
    new(within(client.send_message(message(1))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_finds_its_server_again_behind_the_same_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus.sock");
    let mut server = TestServer::start_with(|config| config.listen = vec![url(&path)]).await;
    let client = server.connect(ClientConfig::default()).await;
    new(within(client.send_message(message(1))).await);
    server.stop().await;
    let mut config = ServerConfig::default();
    config.listen = vec![url(&path)];
    let again = Server::bind(server.bus().clone(), config).await.unwrap();
    let running = tokio::spawn(again.run(std::future::pending()));
    new(within(client.send_message(message(2))).await);
    running.abort();
}
