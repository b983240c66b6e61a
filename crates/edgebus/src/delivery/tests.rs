//! What a worker says and when, told to a recorder in place of a bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use edgebus_core::consumer::{ConsumerConfig, Delivery, LeaseToken, Reply, Settlement};
use edgebus_core::entry::Envelope;
use edgebus_core::{Code, Entry, Message, Record, RecordLimits, Refusal, RequestId, Scope, Seq};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};

use super::*;

#[derive(Clone, Debug, PartialEq)]
enum Said {
    Settled(u64, Settlement),
    Awaited(u64, Settlement),
    Credit(u32),
    Closed,
}
use Said::{Awaited, Closed, Credit, Settled};

#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Said>>);

impl Recorder {
    fn say(&self, said: Said) {
        self.0.lock().push(said);
    }

    fn said(&self) -> Vec<Said> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Settle for Recorder {
    fn settle(&self, token: LeaseToken, settlement: Settlement) {
        self.say(Settled(token.seq.0, settlement));
    }

    fn settle_wait(
        &self,
        token: LeaseToken,
        settlement: Settlement,
    ) -> BoxFuture<Result<(), Refusal>> {
        self.say(Awaited(token.seq.0, settlement));
        Box::pin(async { Ok(()) })
    }

    fn credit(&self, messages: u32) {
        self.say(Credit(messages));
    }

    fn close(&self) {
        self.say(Closed);
    }
}

fn entry(seq: u64, payload_bytes: usize) -> Entry {
    let topic = "a.b".parse().expect("a topic");
    let id = RequestId::from_bytes([seq as u8; 16]);
    let message = Message::new(id, topic, vec![b'x'; payload_bytes]);
    let record = Record::encode(&message, &RecordLimits::default()).expect("fits");
    let envelope = Envelope {
        seq: Seq(seq),
        received_ms: 1,
        store_time_ms: 1,
        scope: Scope::default(),
        identity: "",
    };
    let mut bytes = Vec::new();
    Entry::encode(&mut bytes, &envelope, &record);
    Entry::from_bytes(Bytes::from(bytes)).expect("whole")
}

fn token(seq: u64) -> LeaseToken {
    LeaseToken {
        epoch: 1,
        seq: Seq(seq),
        delivery: 1,
    }
}

fn deliveries(seqs: std::ops::Range<u64>) -> WorkerEvent {
    let delivery = |seq| Delivery {
        token: token(seq),
        attempt: 1,
        entry: entry(seq, 1),
    };
    WorkerEvent::Deliveries(seqs.map(delivery).collect())
}

fn messages(
    credit: u32,
) -> (
    Arc<Recorder>,
    mpsc::UnboundedSender<WorkerEvent>,
    super::Messages,
) {
    let recorder = Arc::new(Recorder::default());
    let (events, receiver) = mpsc::unbounded_channel();
    let messages = super::Messages::new(recorder.clone(), receiver, credit, Vec::new());
    (recorder, events, messages)
}

async fn next(messages: &mut super::Messages) -> Delivered {
    let next = tokio::time::timeout(Duration::from_secs(60), messages.next());
    let next = next.await.expect("this hangs");
    next.expect("a message").expect("no end")
}

fn released(seq: u64) -> Said {
    Settled(seq, Settlement::Release)
}

#[tokio::test]
async fn each_word_settles_once() {
    let (recorder, events, mut messages) = messages(1000);
    events.send(deliveries(1..8)).expect("open");
    next(&mut messages).await.ack();
    let reply = Reply::new("done");
    let completing = next(&mut messages).await.complete(reply.clone());
    completing.await.expect("recorded");
    next(&mut messages)
        .await
        .nak(Some(Duration::from_secs(2)), "later");
    next(&mut messages).await.term("never");
    let message = next(&mut messages).await;
    message.extend().await.expect("recorded");
    message.ack_durable().await.expect("recorded");
    drop(next(&mut messages).await);
    next(&mut messages).await.complete_now(reply.clone());
    let nak = Settlement::Nak {
        delay_ms: Some(2000),
        reason: "later".into(),
    };
    let term = Settlement::Term {
        reason: "never".into(),
    };
    assert_eq!(
        recorder.said(),
        [
            Settled(1, Settlement::Ack),
            Awaited(2, Settlement::Complete(reply.clone())),
            Settled(3, nak),
            Settled(4, term),
            Awaited(5, Settlement::Extend),
            Awaited(5, Settlement::Ack),
            released(6),
            Settled(7, Settlement::Complete(reply)),
        ]
    );
    drop(messages);
    assert_eq!(recorder.said(), [Closed]);
}

#[tokio::test]
async fn completion_that_nobody_waits_for_any_more_gives_the_message_back_only_if_it_was_not_said()
{
    let (recorder, events, mut messages) = messages(1000);
    events.send(deliveries(1..2)).expect("open");
    drop(next(&mut messages).await.ack_durable());
    assert_eq!(recorder.said(), [released(1)]);
}

#[tokio::test]
async fn credit_comes_back_in_parts_and_never_more_than_was_used() {
    let (recorder, events, mut messages) = messages(8);
    events.send(deliveries(1..9)).expect("open");
    for _ in 0..8 {
        next(&mut messages).await.ack();
    }
    let said = recorder.said();
    let credit: Vec<_> = said.iter().filter(|said| **said == Credit(2)).collect();
    assert_eq!((said.len(), credit.len()), (12, 4));
    // What is still held keeps its credit.
    events.send(deliveries(9..12)).expect("open");
    let held = next(&mut messages).await;
    next(&mut messages).await.ack();
    assert_eq!(recorder.said().len(), 1);
    drop(held);
    assert_eq!(recorder.said(), [released(9), Credit(2)]);
}

#[tokio::test]
async fn worker_leaves_with_its_last_message() {
    let (recorder, events, mut messages) = messages(8);
    events.send(deliveries(1..5)).expect("open");
    let first = next(&mut messages).await;
    events.send(deliveries(5..6)).expect("open");
    drop(messages);
    // Waiting ones are given back, and take no new ones in their place.
    assert_eq!(
        recorder.said(),
        [released(2), released(3), released(4), released(5)]
    );
    assert!(events.send(deliveries(6..7)).is_err());
    first.ack();
    assert_eq!(recorder.said(), [Settled(1, Settlement::Ack), Closed]);
}

#[tokio::test]
async fn end_is_told_before_messages_that_nothing_can_be_said_about_any_more() {
    let (_, events, mut messages) = messages(8);
    events.send(deliveries(1..4)).expect("open");
    let held = next(&mut messages).await;
    let lost = Refusal::new(Code::Disconnected, "gone");
    events.send(WorkerEvent::Ended(lost.clone())).expect("open");
    let end = messages.next().await.expect("an end");
    assert_eq!(end.expect_err("lost"), lost);
    assert!(messages.next().await.is_none());
    drop(held);
}

#[tokio::test]
async fn held_message_is_settled_where_it_was_taken_over() {
    let (before, events, mut lost) = messages(1);
    events.send(deliveries(1..2)).expect("open");
    let held = next(&mut lost).await;
    drop(lost);
    let (after, _events, messages) = messages(1);
    let held = messages.adopt(held);
    assert_eq!(before.said(), [Closed]);
    held.extend().await.expect("recorded");
    held.ack();
    // It took none of the new worker's credit.
    let extended = Awaited(1, Settlement::Extend);
    assert_eq!(after.said(), [extended, Settled(1, Settlement::Ack)]);
}

#[tokio::test]
async fn message_that_is_taken_over_where_it_is_keeps_its_credit() {
    let (recorder, events, mut messages) = messages(1);
    events.send(deliveries(1..2)).expect("open");
    let held = next(&mut messages).await;
    messages.adopt(held).ack();
    assert_eq!(recorder.said(), [Settled(1, Settlement::Ack), Credit(1)]);
}

#[tokio::test]
async fn what_waits_and_was_not_kept_is_held_no_more() {
    let (recorder, events, mut messages) = messages(4);
    events.send(deliveries(1..4)).expect("open");
    let held = next(&mut messages).await;
    let kept = vec![token(2)];
    events
        .send(WorkerEvent::Resumed(kept.clone()))
        .expect("open");
    let second = next(&mut messages).await;
    assert_eq!((second.seq(), messages.kept()), (Seq(2), &*kept));
    assert_eq!(recorder.said(), [released(3), Credit(1)]);
    // Whether it was kept or not, its work counts.
    held.ack();
    assert_eq!(recorder.said(), [Settled(1, Settlement::Ack), Credit(1)]);
}

#[tokio::test]
async fn handler_answers_in_every_way() {
    let (recorder, events, messages) = messages(1000);
    events.send(deliveries(1..6)).expect("open");
    let handler = run(messages, 1, |message| async move {
        match message.seq().0 {
            1 => Handled::from(Reply::new("ok")),
            2 => Handled::Done,
            3 => Handled::from("x".parse::<u32>().map(|_| ())),
            4 => Handled::Reject("never".into()),
            _ => panic!("the till is on fire"),
        }
    });
    let mut said = Vec::new();
    while said.len() < 5 {
        said.extend(recorder.said());
        tokio::task::yield_now().await;
    }
    let nak = |reason: &str| Settlement::Nak {
        delay_ms: None,
        reason: reason.to_owned(),
    };
    assert_eq!(
        said,
        [
            Settled(1, Settlement::Complete(Reply::new("ok"))),
            Settled(2, Settlement::Ack),
            Settled(3, nak("invalid digit found in string")),
            Settled(
                4,
                Settlement::Term {
                    reason: "never".into()
                }
            ),
            Settled(5, nak("the handler panicked: the till is on fire")),
        ]
    );
    handler.stop().await;
    assert_eq!(recorder.said(), [Closed]);
}

/// A handler that begins, and goes on when it is let.
fn gated(
    messages: super::Messages,
    concurrency: usize,
) -> (Handler, Arc<AtomicU32>, Arc<Semaphore>) {
    let begun = Arc::new(AtomicU32::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let (counter, closed) = (begun.clone(), gate.clone());
    let handler = run(messages, concurrency, move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        let gate = closed.clone();
        async move { gate.acquire().await.expect("never closed").forget() }
    });
    (handler, begun, gate)
}

async fn until(begun: &AtomicU32, count: u32) {
    while begun.load(Ordering::SeqCst) < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn handler_that_stops_finishes_what_it_began_and_gives_the_rest_back() {
    let (recorder, events, messages) = messages(1000);
    events.send(deliveries(1..5)).expect("open");
    let (handler, begun, gate) = gated(messages, 2);
    until(&begun, 2).await;
    let stopping = tokio::spawn(handler.stop());
    while recorder.0.lock().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(recorder.said(), [released(3), released(4)]);
    gate.add_permits(2);
    stopping.await.expect("no panic");
    let said = recorder.said();
    assert_eq!(begun.load(Ordering::SeqCst), 2);
    for done in [1, 2].map(|seq| Awaited(seq, Settlement::Ack)) {
        assert!(said.contains(&done), "{said:?}");
    }
    assert_eq!((said.len(), said.last()), (3, Some(&Closed)));
}

#[tokio::test]
async fn handler_that_is_dropped_gives_everything_back_uncharged() {
    let (recorder, events, messages) = messages(4);
    events.send(deliveries(1..5)).expect("open");
    let (handler, begun, _gate) = gated(messages, 2);
    until(&begun, 2).await;
    drop(handler);
    let mut said = Vec::new();
    while !said.contains(&Closed) {
        said.extend(recorder.said());
        tokio::task::yield_now().await;
    }
    for seq in 1..5 {
        assert!(said.contains(&released(seq)), "{said:?}");
    }
    assert_eq!(said.len(), 5);
}

#[tokio::test]
async fn handler_hears_why_no_more_messages_come() {
    let (_recorder, events, messages) = messages(4);
    let mut handler = run(messages, 2, |_| async {});
    let lost = Refusal::new(Code::Disconnected, "gone");
    events.send(WorkerEvent::Ended(lost.clone())).expect("open");
    assert_eq!(handler.ended().await, Err(lost));
    // There is nothing more to wait for, and nobody waits.
    assert_eq!(handler.ended().await, Ok(()));
    handler.stop().await;
}

#[test]
fn handler_waits_for_no_more_than_twice_what_it_works_on() {
    let pattern = || "a.*".parse().expect("a pattern");
    let config = || ConsumeConfig::new("c".parse().expect("a name"));
    let for_handler = config().concurrency(3).for_handler(pattern());
    assert_eq!(for_handler.credit_or_default(), 6);
    assert_eq!(
        for_handler.config,
        Some(ConsumerConfig::responder(pattern()))
    );
    let credit = config().credit(9).concurrency(0).for_handler(pattern());
    assert_eq!((credit.credit_or_default(), credit.concurrency), (9, 1));
    assert_eq!(config().credit(0).credit_or_default(), 1);
    assert_eq!(config().credit(u32::MAX).credit_or_default(), 65_536);
}

#[tokio::test]
async fn slow_reader_of_notifications_is_told_where_how_many_are_missing() {
    let (notifier, mut notifications) = notifications(2);
    for seq in 1..6 {
        assert_ne!(notifier.notify(entry(seq, 1)), Put::Gone);
    }
    notifier.lagged(10);
    let message = |seq| Some(Notification::Message(entry(seq, 1)));
    assert_eq!(notifications.next().await, message(1));
    notifier.notify(entry(6, 1));
    assert_eq!(notifications.next().await, message(2));
    assert_eq!(notifications.next().await, Some(Notification::Lagged(14)));
    notifier.notify(entry(7, 1));
    assert_eq!(notifications.next().await, message(7));
    let why = Refusal::new(Code::ShuttingDown, "stops");
    notifier.notify(entry(8, 1));
    notifier.end(Some(why.clone()));
    notifier.notify(entry(9, 1));
    assert_eq!(notifications.next().await, message(8));
    assert_eq!(notifications.next().await, None);
    assert_eq!(notifications.why_ended(), Some(&why));
}

#[tokio::test]
async fn waiting_notifications_are_bounded_in_bytes_too() {
    let (notifier, mut notifications) = notifications(65_536);
    for seq in 1..64 {
        notifier.notify(entry(seq, 512 * 1024));
    }
    let mut read = 0;
    loop {
        match notifications.next().await {
            Some(Notification::Message(_)) => read += 1,
            Some(Notification::Lagged(missed)) => {
                assert_eq!(missed + read, 63);
                break;
            }
            Some(Notification::Interrupted) | None => panic!("no gap"),
        }
    }
    assert!((30..=32).contains(&read), "{read}");
}

#[tokio::test]
async fn publisher_hears_that_nobody_listens_any_more() {
    let (notifier, notifications) = notifications(2);
    drop(notifications);
    assert_eq!(notifier.notify(entry(1, 1)), Put::Gone);
}

#[tokio::test]
async fn named_subscription_acks_what_it_hands_over() {
    let (recorder, events, messages) = messages(1000);
    events.send(deliveries(1..3)).expect("open");
    let mut notifications = Notifications::of(messages);
    assert!(notifications.next().await.is_some());
    assert_eq!(recorder.said(), [Settled(1, Settlement::Ack)]);
    drop(notifications);
    assert_eq!(recorder.said(), [Closed]);
}
