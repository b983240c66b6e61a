//! Connections that are lost: what was in flight is unknown, never refused, and asking again with
//! the same id gives the receipt.

use std::io::{Read, Write};

use edgebus::wire::control::Welcome;
use edgebus::wire::{Frame, ReceiptRange};
use edgebus::{Client, ClientConfig, Code, SendError, Seq, ServerUrl};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::fixture::{TestServer, bytes_of, send, window};
use crate::bus::files::{Call, Of};
use crate::bus::fixture::{
    code, duplicate, eventually, id, log_ids, message, new, record, records, within,
};

/// A way to a server that can be cut.
async fn cable(to: &ServerUrl) -> (ServerUrl, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = ServerUrl::of(listener.local_addr().unwrap());
    let to = to.authority();
    let cable = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(to).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    (url, cable)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connection_makes_sends_unknown_and_the_same_id_tells() {
    let server = TestServer::start().await;
    let (url, cable) = cable(&server.url).await;
    let client = Client::connect_with(&url, window(100).reconnect(false))
        .await
        .unwrap();
    assert_eq!(new(client.send_message(message(0)).await), Seq(1));

    let hold = server.files().hold(Of::Journal, Call::Sync);
    let mut in_flight = Vec::new();
    for number in 1..=5 {
        in_flight.push(client.try_send(message(number)).unwrap());
    }
    let batch = client.clone();
    let batch = tokio::spawn(async move { batch.send_batch((6..9).map(message).collect()).await });
    eventually(|| server.bus().stats().queued == 8).await;
    cable.abort();
    for pending in in_flight {
        let error = within(pending).await.unwrap_err();
        assert!(matches!(error, SendError::Unknown { .. }), "{error}");
        assert!(error.is_retryable());
    }
    for result in within(batch).await.unwrap() {
        assert!(
            matches!(result, Err(SendError::Unknown { .. })),
            "{result:?}"
        );
    }
    // What is sent after that was not sent at all.
    let error = client.send_message(message(100)).await.unwrap_err();
    assert!(matches!(error, SendError::Refused { .. }), "{error}");
    assert_eq!(error.code(), Code::Disconnected);
    assert_eq!(client.stats().await.unwrap_err().code, Code::Disconnected);
    drop(hold);
    // Between connections there is no order: what was sent again could be stored first.
    eventually(|| server.bus().stats().queued == 0).await;

    let again = server.connect(ClientConfig::default()).await;
    for number in 1..=8 {
        assert_eq!(
            duplicate(again.send_message(message(number)).await),
            Seq(number + 1)
        );
    }
    assert_eq!(log_ids(server.bus()), (0..9).map(id).collect::<Vec<_>>());
    eventually(|| server.handle.stats().connections == 1).await;
    assert_eq!(server.handle.stats().connections_cut, 0, "it broke no rule");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_leaves_at_any_byte_gives_its_place_back() {
    let server = TestServer::start().await;
    let frame = bytes_of(&send(0, vec![record(1)]));
    for cut in 0..=frame.len() {
        let mut socket = server.welcomed().await;
        socket.write(&frame[..cut]).await;
    }
    eventually(|| server.handle.stats().connections == 0).await;
    let stats = server.handle.stats();
    assert_eq!((stats.connections_cut, stats.queued), (0, 0));
    // Only the whole frame may have been stored.
    assert!(stats.stored <= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_leaves_with_sends_in_flight_changes_nothing_for_them() {
    let server = TestServer::start().await;
    let hold = server.files().hold(Of::Journal, Call::Sync);
    let mut socket = server.welcomed().await;
    socket.send(&send(0, records(0..500))).await;
    eventually(|| server.bus().stats().queued == 500).await;
    drop(socket);
    drop(hold);
    eventually(|| server.bus().reader().last_seq() == Seq(500)).await;
    eventually(|| server.handle.stats().connections == 0).await;
    assert_eq!(server.bus().stats().queued, 0);
}

/// A client may say that nothing more comes and still read every answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_only_reads_any_more_is_answered() {
    let server = TestServer::start().await;
    let hold = server.files().hold(Of::Journal, Call::Sync);
    let mut socket = server.welcomed().await;
    socket.send(&send(0, records(0..100))).await;
    socket.end().await;
    within(hold.reached()).await;
    drop(hold);
    let told = super::fixture::outcomes(&socket.frames().await);
    assert_eq!(told.len(), 100);
}

/// A server that is killed resets its connections. Receipts that came before that are receipts;
/// the client used to throw them away when its next write failed.
///
/// On one thread, which is blocked until receipt and reset have both come: the write then fails
/// before anything is read.
#[tokio::test]
async fn receipts_that_came_before_a_reset_are_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = ServerUrl::of(listener.local_addr().unwrap());
    let (has_sent, sent) = tokio::sync::oneshot::channel();
    let (may_reset, reset) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut some = [0; 12];
        stream.read_exact(&mut some).unwrap();
        let body = u32::from_le_bytes(some[..4].try_into().unwrap()) as usize + 4 - some.len();
        stream.read_exact(&mut vec![0; body]).unwrap();
        let welcome = Frame::Welcome(Welcome {
            version: 1,
            frame_bytes_max: 1 << 20,
            payload_bytes_max: 1 << 19,
            ..Welcome::default()
        });
        stream.write_all(&bytes_of(&welcome)).unwrap();
        stream.read_exact(&mut some).unwrap();
        has_sent.send(()).unwrap();
        reset.recv().unwrap();
        let receipt = ReceiptRange {
            first_tag: 0,
            first_seq: 7,
            count: 1,
            duplicate: false,
        };
        let receipts = Frame::Receipts(vec![receipt]);
        stream.write_all(&bytes_of(&receipts)).unwrap();
        // Closed with bytes in it that nobody has read: a reset.
    });
    let config = ClientConfig::default().reconnect(false);
    let client = within(Client::connect_with(&url, config));
    let client = client.await.unwrap();
    let first = client.try_send(message(0)).unwrap();
    within(sent).await.unwrap();
    may_reset.send(()).unwrap();
    server.join().unwrap();
    let second = client.try_send(message(1)).unwrap();
    assert_eq!(new(within(first).await), Seq(7));
    assert_eq!(code(within(second).await), Code::Unknown);
    let third = client.send_message(message(2)).await;
    assert_eq!(code(third), Code::Disconnected);
}
