//! A server that stops answers what it accepted, says why it goes, and leaves nothing running.

use edgebus::{ClientConfig, Code, ConnectError, SendError, Seq};

use super::fixture::{TestServer, goodbye, outcomes, send, window};
use crate::bus::files::{Call, Fault, Of};
use crate::bus::fixture::{code, eventually, is_pending, log_ids, message, new, records, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_answers_what_was_accepted_and_refuses_what_comes_after() {
    let mut server = TestServer::start().await;
    let hold = server.files().hold(Of::Journal, Call::Sync);
    let client = server.connect(window(200).reconnect(false)).await;
    let in_flight: Vec<_> = (0..100)
        .map(|number| client.try_send(message(number)).unwrap())
        .collect();
    let mut socket = server.welcomed().await;
    socket.send(&send(0, records(200..300))).await;
    eventually(|| server.bus().stats().queued == 200).await;
    let mut stopped = server.stop();
    assert!(is_pending(&mut stopped).await);
    let refused = server.try_connect(ClientConfig::default()).await;
    drop(hold);
    stopped.await;

    for pending in in_flight {
        new(within(pending).await);
    }
    let mut frames = socket.frames().await;
    let refusal = goodbye(frames.pop());
    assert_eq!(refusal.code, Code::ShuttingDown);
    assert!(refusal.retry_after_ms.is_some());
    assert_eq!(outcomes(&frames).len(), 100);
    assert_eq!(log_ids(server.bus()).len(), 200);

    let error = within(client.send_message(message(500))).await.unwrap_err();
    assert!(matches!(&error, SendError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("shutting down"), "{error}");
    assert!(matches!(
        refused,
        Err(ConnectError::Unreachable { .. } | ConnectError::Refused(_))
    ));
    let stats = server.handle.stats();
    assert_eq!((stats.connections, stats.connections_cut), (0, 0));
    // The bus goes on.
    new(server.bus().send_to_server(message(600)).await);
}

/// Clients that never pause must not keep a server from stopping, and what they were told must be
/// true: a receipt is in the log, a refusal is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_under_load_ends_and_every_answer_is_true() {
    let mut server = TestServer::start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..4u64 {
        let client = server.connect(window(512).reconnect(false)).await;
        tasks.spawn(async move {
            let mut told = Vec::new();
            for n in 0.. {
                let numbers = (0..100).map(|i| (sender << 40) + n * 100 + i);
                let results = client.send_batch(numbers.map(message).collect()).await;
                let over = results.iter().any(Result::is_err);
                told.extend(results);
                if over {
                    break;
                }
            }
            told
        });
    }
    eventually(|| server.bus().stats().appended > 2000).await;
    server.stop().await;
    let log: std::collections::HashSet<_> = log_ids(server.bus()).into_iter().collect();
    let mut receipts = 0;
    while let Some(told) = within(tasks.join_next()).await {
        for result in told.unwrap() {
            match result {
                Ok(receipt) => {
                    assert!(log.contains(&receipt.request_id));
                    receipts += 1;
                }
                Err(SendError::Refused { request_id, .. }) => {
                    assert!(!log.contains(&request_id));
                }
                Err(_) => {}
            }
        }
    }
    assert!(receipts > 2000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_poisoned_bus_are_told_the_truth() {
    let mut server = TestServer::start().await;
    let client = ClientConfig::default().reconnect(false);
    let client = server.connect(client).await;
    assert_eq!(new(client.send_message(message(1)).await), Seq(1));
    let hold = server.files().hold(Of::Journal, Call::Sync);
    let in_flight = client.try_send(message(2)).unwrap();
    within(hold.reached()).await;
    let fails = Fault::Fails(std::io::ErrorKind::Other);
    server.files().fault(Of::Journal, Call::Sync, fails);
    drop(hold);
    let error = within(in_flight).await.unwrap_err();
    assert!(matches!(error, SendError::Unknown { .. }), "{error}");
    assert_eq!(code(client.send_message(message(3)).await), Code::Poisoned);
    // Reading goes on.
    assert_eq!(client.get(Seq(1)).await.unwrap().unwrap().seq(), Seq(1));
    assert_eq!(client.get(Seq(2)).await, Ok(None));
    assert!(client.stats().await.unwrap().poisoned);
    server.stop().await;
}
