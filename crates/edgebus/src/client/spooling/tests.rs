//! What is done next with a spool, step by step.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edgebus_core::wire::control::Welcome;
use edgebus_core::wire::{Frame, PROTOCOL_VERSION};
use edgebus_core::{Code, Message, Record, RecordLimits, Refusal, RequestId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::queue::{SpoolQueue, Taken};
use super::{PendingAccepted, driver};
use crate::client::config::ClientConfig;
use crate::client::link::{Link, Shared};
use crate::client::pending::{Room, SendWaiter};
use crate::client::state::Session;
use crate::client::undecided::Sent;
use crate::spool::{Settled, Spool, SpoolConfig, StoreError};

/// Longer than anything that is waited for in here.
const LONG: Duration = Duration::from_secs(90);

fn record(number: u64, bytes: usize) -> Record {
    let id = RequestId::from_bytes([number as u8; 16]);
    let message = Message::new(id, "orders.created".parse().unwrap(), vec![b'x'; bytes]);
    Record::encode(&message, &RecordLimits::default()).unwrap()
}

fn waiter() -> (SendWaiter, oneshot::Receiver<Result<Taken, Refusal>>) {
    let room = Room {
        _count: None,
        _bytes: None,
    };
    let (waiter, outcome) = oneshot::channel();
    (SendWaiter::Spooling(waiter, room), outcome)
}

fn sent(ordinal: u64) -> Sent {
    Sent::new(ordinal, record(ordinal, 2), waiter().0)
}

/// Hands out and sends so many of what waits.
fn sending(queue: &mut SpoolQueue, count: usize) {
    assert!(queue.take_work(true).room.is_some());
    queue.written((queue.count(), 0));
    queue.found(true);
    queue.sending(count);
}

/// Sets the clock forward.
async fn pass_until(until: Instant) {
    tokio::time::advance(until - Instant::now()).await;
}

#[tokio::test(start_paused = true)]
async fn request_that_takes_the_place_of_a_dead_one_is_looked_for() {
    let mut queue = SpoolQueue::new(1, 0);
    assert!(queue.take_work(true).room.is_some());
    // Its time is over; meanwhile another one comes.
    queue.push(sent(1));
    queue.settle((1, Settled::Forwarded));
    queue.written((1, 0));
    queue.found(true);
    let work = queue.take_work(true);
    assert_eq!((work.to_write.len(), work.settled.len()), (1, 1));
    // One gone, one new: as many as before.
    queue.written((1, 0));
    queue.found(false);
    let work = queue.take_work(true);
    assert!(work.is_nothing() && work.again_at.is_some());
    queue.push(sent(2));
    queue.take_work(true);
    queue.written((1, 0));
    assert!(queue.take_work(true).room.is_some());
}

#[tokio::test(start_paused = true)]
async fn dead_one_that_found_no_room_on_the_disk_is_tried_again() {
    let mut queue = SpoolQueue::new(1, 0);
    queue.found(false);
    let work = queue.take_work(true);
    assert!(work.is_nothing());
    pass_until(work.again_at.unwrap()).await;
    assert!(queue.take_work(true).room.is_some());
}

#[tokio::test(start_paused = true)]
async fn receipts_for_what_was_read_before_the_spool_was_opened_again_remove_nothing() {
    let mut queue = SpoolQueue::new(2, 0);
    sending(&mut queue, 2);
    let (first, second) = (queue.origin(1), queue.origin(2));
    queue.decided(first, Ok((1, false)));
    assert!(!queue.is_settled());
    assert!(queue.refuse().is_empty());
    queue.decided(second, Ok((2, false)));
    assert!(queue.is_settled(), "nothing that draining has to wait for");
    queue.written((5, 0));
    let work = queue.take_work(true);
    assert!(work.settled.is_empty());
    assert!(work.room.is_some());
    queue.decided(queue.origin(2), Ok((2, true)));
    assert_eq!(queue.take_work(true).settled, [(2, Settled::Forwarded)]);
}

#[tokio::test(start_paused = true)]
async fn server_that_could_not_take_a_request_is_asked_with_one_before_all_others() {
    let mut queue = SpoolQueue::new(100, 0);
    sending(&mut queue, 100);
    for number in 1..=100 {
        let full = Refusal::new(Code::StorageFull, "full").retry_after_ms(0);
        queue.decided(queue.origin(number), Err(full));
    }
    let work = queue.take_work(true);
    assert!(work.rewind && work.room.is_none(), "not at once");
    pass_until(work.again_at.unwrap()).await;
    let (count, _) = queue.take_work(true).room.unwrap();
    assert_eq!(count, 1);
    queue.found(true);
    queue.sending(1);
    assert!(queue.take_work(true).is_nothing(), "one at a time");
    queue.decided(queue.origin(1), Ok((1, false)));
    let (count, _) = queue.take_work(true).room.unwrap();
    assert!(count > 1, "{count}");
}

#[tokio::test]
async fn client_that_is_being_drained_leaves_in_the_spool_what_is_there() {
    let shared = Shared::spooling(&ClientConfig::default(), SpoolQueue::new(5, 0));
    let (session, _) = Session::open("till", "test", None);
    shared.resume("server", session, &Welcome::default());
    let (work, connection) = shared.spool_work();
    assert_eq!((work.room.is_some(), connection), (true, 1));
    shared.state.lock().drain();
    assert!(shared.spool_work().0.is_nothing());
}

#[tokio::test]
async fn receipt_for_what_was_spooled_shows_that_the_connection_is_of_use() {
    let shared = Shared::spooling(&ClientConfig::default(), SpoolQueue::new(1, 0));
    let (mut session, _) = Session::open("till", "test", None);
    let welcome = Welcome {
        version: PROTOCOL_VERSION,
        ..Welcome::default()
    };
    let hello = Frame::Welcome(welcome.clone());
    session.on_frame(hello, |_| {}).unwrap();
    let connection = shared.resume("server", session, &welcome);
    let mut state = shared.state.lock();
    let origin = state.spool.as_ref().unwrap().origin(1);
    let forward = Sent::new(0, record(1, 2), SendWaiter::Forward(origin));
    assert!(state.forward(connection, vec![forward]));
    drop(state);
    let Some(Frame::Send { first_tag: tag, .. }) = shared.take_frames(connection).unwrap().pop()
    else {
        panic!("it is not sent");
    };
    assert!(!shared.take_answered());
    let refusal = Refusal::new(Code::IdConflict, "another one");
    let mut frames = vec![Frame::Error { tag, refusal }];
    shared.on_frames(connection, &mut frames).unwrap();
    assert!(shared.take_answered());
}

/// A spool that opens, and fails at the first write.
fn broken() -> Result<Spool, StoreError> {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(
        folder.path(),
        SpoolConfig::default().segment_bytes(64 * 1024),
    )?;
    std::fs::remove_dir_all(folder.path()).unwrap();
    Ok(spool)
}

#[tokio::test(start_paused = true)]
async fn spool_that_fails_each_time_is_not_opened_all_the_time() {
    let opened = Arc::new(AtomicU64::new(0));
    let opens = {
        let opened = opened.clone();
        move || match opened.fetch_add(1, Ordering::Relaxed) {
            1 => panic!("this happens too"),
            _ => broken(),
        }
    };
    let shared = Shared::spooling(&ClientConfig::default(), SpoolQueue::new(0, 0));
    let link = Link::new(shared.clone());
    tokio::spawn(driver::run(broken().unwrap(), opens, shared));
    let mut codes = Vec::new();
    for number in 0..50 {
        // It does not fit the segment that is there.
        let record = record(number, 300 * 1024);
        let id = record.id();
        let (waiter, outcome) = waiter();
        link.send_spooling(record, waiter).unwrap();
        let pending = PendingAccepted { id, outcome };
        codes.push(pending.await.unwrap_err().code());
    }
    let unknown = codes.iter().filter(|code| **code == Code::Unknown).count();
    assert_eq!(unknown, 2, "{codes:?}");
    assert!(
        codes
            .iter()
            .all(|code| [Code::Unknown, Code::Poisoned].contains(code))
    );
    assert_eq!(opened.load(Ordering::Relaxed), 1);
    let pass = async || {
        tokio::time::advance(LONG / 100).await;
        // What may block has its turn.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    };
    while opened.load(Ordering::Relaxed) < 3 {
        pass().await;
    }
    // That one opens, and is left alone.
    for _ in 0..200 {
        pass().await;
    }
    assert_eq!(opened.load(Ordering::Relaxed), 3);
}
