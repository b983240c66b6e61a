//! The first frames of a connection.

use edgebus::wire::Frame;
use edgebus::wire::control::{Hello, Welcome};
use edgebus::{Client, ClientConfig, Code, ConnectError, ServerUrl};
use tokio::net::TcpListener;

use super::fixture::{Socket, TestServer, bytes_of, hello, send, short};
use crate::bus::fixture::{eventually, record, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn welcome_tells_version_and_limits() {
    let server = TestServer::start().await;
    let mut socket = server.socket().await;
    socket.send(&hello(1, 7)).await;
    let Some(Frame::Welcome(welcome)) = socket.frame().await else {
        panic!("no welcome")
    };
    let limits = server.bus().record_limits();
    assert_eq!(
        (
            welcome.version,
            welcome.frame_bytes_max,
            welcome.payload_bytes_max
        ),
        (1, 1024 * 1024, limits.payload_bytes_max as u64)
    );
    assert!(welcome.software.starts_with("edgebus "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_that_the_server_does_not_speak_is_refused() {
    let server = TestServer::start().await;
    for (min, max) in [(2, 3), (0, 0), (3, 1)] {
        let mut socket = server.socket().await;
        socket.send(&hello(min, max)).await;
        let refusal = socket.goodbye().await;
        assert_eq!(refusal.code, Code::WrongVersion);
        assert!(refusal.message.contains(&format!("{min} to {max}")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_frame_must_be_a_hello() {
    let server = TestServer::start().await;
    let long_name = Frame::Hello(Hello {
        token: None,
        version_min: 1,
        version_max: 1,
        client: "x".repeat(256),
        software: String::new(),
    });
    for frame in [
        send(0, vec![record(1)]),
        Frame::Ping { token: 1 },
        long_name,
    ] {
        let mut socket = server.socket().await;
        socket.send(&frame).await;
        assert_eq!(socket.goodbye().await.code, Code::UnexpectedFrame);
    }
    assert_eq!(server.bus().stats().stored, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_says_nothing_is_cut() {
    let server = TestServer::start_with(|config| config.limits.handshake_timeout = short()).await;
    let mut silent = server.socket().await;
    let mut slow = server.socket().await;
    let first = bytes_of(&hello(1, 1));
    slow.write(&first[..first.len() - 1]).await;
    assert_eq!(silent.goodbye().await.code, Code::HandshakeTimeout);
    assert_eq!(slow.goodbye().await.code, Code::HandshakeTimeout);
    drop((silent, slow));
    eventually(|| server.handle.stats().connections == 0).await;
    assert_eq!(server.handle.stats().connections_cut, 2);
}

/// A silent client is cut, one that was welcomed may be as silent as it likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn welcomed_client_may_be_idle() {
    let server = TestServer::start_with(|config| config.limits.handshake_timeout = short()).await;
    let mut idle = server.welcomed().await;
    let mut later = server.socket().await;
    // When this one is cut, the idle one has been idle for longer than the time for a hello.
    assert_eq!(later.goodbye().await.code, Code::HandshakeTimeout);
    idle.send(&Frame::Ping { token: 3 }).await;
    assert_eq!(idle.frame().await, Some(Frame::Pong { token: 3 }));
}

/// A server of another kind, or of another version.
async fn connect_to_one_that_says(bytes: &'static [u8]) -> ConnectError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = ServerUrl::of(listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut socket = Socket::over(listener.accept().await.unwrap().0);
        let frame = socket.frame().await;
        assert!(matches!(frame, Some(Frame::Hello(_))), "{frame:?}");
        socket.write(bytes).await;
    });
    let failed = within(Client::connect_with(&url, ClientConfig::default())).await;
    within(server).await.unwrap();
    failed.expect_err("that is no server")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_finds_out_what_is_no_server_of_its_version() {
    assert!(matches!(
        connect_to_one_that_says(b"").await,
        ConnectError::Unreachable { .. }
    ));
    assert!(matches!(
        connect_to_one_that_says(b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
        ConnectError::Unreachable { reason, .. } if reason.contains("answered with HTTP")
    ));
    let newer = bytes_of(&Frame::Welcome(Welcome {
        version: 2,
        ..Welcome::default()
    }));
    assert!(matches!(
        connect_to_one_that_says(newer.to_vec().leak()).await,
        ConnectError::Refused(refusal) if refusal.code == Code::WrongVersion
    ));
    let url = "tcp://127.0.0.1:1".parse().unwrap();
    assert!(matches!(
        within(Client::connect_with(&url, ClientConfig::default())).await,
        Err(ConnectError::Unreachable { .. })
    ));
}
