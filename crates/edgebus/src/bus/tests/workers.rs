//! Workers that come and go, and those who fetch messages one time.

use std::time::Duration;

use edgebus_core::Code;
use edgebus_core::consumer::{Reply, Settlement};
use futures_util::FutureExt;

use super::{Begin, Change, Command, Desk, Turn, listener, name, seqs, tokens};
use crate::delivery::Settle;

/// Somebody gave up waiting for the stream at the very moment it was opened. Nobody ever said that
/// the worker was gone, and it was given messages for ever.
#[test]
fn worker_that_nobody_took_over_leaves() {
    let mut desk = Desk::new();
    desk.send_many(1);
    let opened = desk.open("audit", listener("a"), 9);
    desk.rest();
    drop(opened);
    desk.rest();
    assert_eq!(desk.info("audit").expect("there").workers, 0);
    let mut worker = desk.worker("audit", listener("a"), 9);
    assert_eq!(seqs(&mut worker), [1]);
}

/// The stream is dropped, one of its messages is still worked on: what comes later used to go
/// there all the same, and was lost until its lease ended.
#[test]
fn worker_that_takes_nothing_more_is_given_nothing_more() {
    let mut desk = Desk::new();
    desk.send_many(1);
    let mut first = desk.worker("audit", listener("a"), 9);
    let held = tokens(&mut first)[0];
    first.events.close();
    desk.send(2, "a").expect("stored");
    let mut second = desk.worker("audit", listener("a"), 9);
    assert_eq!(seqs(&mut second), [2]);
    desk.send(3, "a").expect("stored");
    assert_eq!(seqs(&mut second), [3]);
    let mut settled = Box::pin(first.handle.settle_all(vec![(held, Settlement::Ack)], None));
    desk.rest();
    assert_eq!((&mut settled).now_or_never(), Some(vec![Ok(())]));
}

fn fetch(desk: &Desk, wait_ms: u64) -> tokio::sync::oneshot::Receiver<Fetched> {
    desk.command(|done| Command::Pull {
        consumer: name("audit"),
        count: 1,
        ack: false,
        wait_ms,
        done,
    })
}

type Fetched = Result<Vec<edgebus_core::admin::Delivery>, edgebus_core::Refusal>;

#[test]
fn fetch_from_a_consumer_that_is_removed_says_so() {
    let mut desk = Desk::new();
    let put = Change::Put(name("audit"), listener("a"), Begin::New);
    desk.change(put).expect("made");
    let mut got = fetch(&desk, 60_000);
    desk.rest();
    desk.change(Change::Remove(name("audit"))).expect("removed");
    let refusal = got.try_recv().expect("told").expect_err("no messages");
    assert_eq!(refusal.code, Code::NoSuchConsumer);
}

/// It waits for what is being read, without keeping the engine busy.
#[test]
fn engine_rests_while_a_fetch_whose_time_is_over_waits_for_the_disk() {
    let mut desk = Desk::new();
    desk.send_many(1);
    desk.seal();
    let put = Change::Put(
        name("audit"),
        listener("a"),
        Begin::At(edgebus_core::Seq(0)),
    );
    let mut made = desk.ask_to_change(put);
    let mut got = fetch(&desk, 0);
    let turn = desk.turn();
    assert_eq!(made.try_recv().expect("told"), Ok(()));
    assert!(!is_due_at_once(turn), "{turn:?}");
    desk.rest();
    assert_eq!(got.try_recv().expect("told").expect("some").len(), 1);
}

#[test]
fn fetch_hears_that_the_store_has_stopped() {
    let mut desk = Desk::new();
    desk.send_many(1);
    desk.seal();
    let put = Change::Put(
        name("audit"),
        listener("a"),
        Begin::At(edgebus_core::Seq(0)),
    );
    let _made = desk.ask_to_change(put);
    let mut got = fetch(&desk, 100);
    desk.turn();
    desk.engine.store().reader().poison("a test");
    desk.wait(Duration::from_secs(1));
    let turn = desk.turn();
    let refusal = got.try_recv().expect("told").expect_err("no messages");
    assert_eq!(refusal.code, Code::Unknown);
    assert!(!is_due_at_once(turn), "{turn:?}");
}

fn is_due_at_once(turn: Turn) -> bool {
    let at_once = Some(Duration::ZERO);
    matches!(turn, Turn::Idle { until, .. } if until == at_once)
}

/// Over a connection the session looks after the limits. In this process nobody did, and a reply
/// that fits no group of the journal kept the engine busy for ever.
#[test]
fn reply_over_the_limits_is_refused_and_the_attempt_has_failed() {
    let mut desk = Desk::new();
    desk.send_many(1);
    let mut worker = desk.worker("prices", super::responder("a").max_attempts(1), 9);
    let token = tokens(&mut worker)[0];
    let large = Settlement::Complete(Reply::new(vec![0; 5 << 20]));
    let mut settled = worker.handle.settle_wait(token, large);
    desk.rest();
    let settled = (&mut settled).now_or_never().expect("told");
    assert_eq!(settled.unwrap_err().code, Code::PayloadTooLarge);
    assert_eq!(desk.info("prices").expect("there").dead_letters, 1);
}

/// The same where nobody looked at it before: the engine rests, and the store goes on.
#[test]
fn reply_over_the_limits_that_reaches_the_engine_is_refused_there() {
    let mut desk = Desk::new();
    desk.send_many(1);
    let mut worker = desk.worker("prices", super::responder("a"), 9);
    let token = tokens(&mut worker)[0];
    let large = Settlement::Complete(Reply::new(vec![0; 5 << 20]));
    let mut settled = Box::pin(worker.handle.settle_all(vec![(token, large)], None));
    desk.turn();
    let settled = (&mut settled).now_or_never().expect("told");
    assert_eq!(settled[0].as_ref().unwrap_err().code, Code::PayloadTooLarge);
    assert!(!desk.engine.store().reader().is_poisoned());
}

/// A crowd that fails at once, each with as long a reason as is kept.
#[test]
fn decisions_about_many_messages_fit_the_groups_they_need() {
    let mut desk = Desk::new();
    let records = (0..5_000_u32).map(|number| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        super::record_with(id, "a")
    });
    let submitted = desk.lane.try_submit(records.collect());
    let config = listener("a").max_in_flight(10_000);
    let mut worker = desk.worker("audit", config, 10_000);
    drop(submitted);
    let items = tokens(&mut worker).into_iter().map(|token| {
        let (reason, delay_ms) = ("x".repeat(1_024), Some(1_000_000));
        (token, Settlement::Nak { delay_ms, reason })
    });
    let mut settled = Box::pin(worker.handle.settle_all(items.collect(), None));
    desk.rest();
    let settled = (&mut settled).now_or_never().expect("told");
    assert!(settled.iter().all(Result::is_ok), "{:?}", settled[0]);
    assert_eq!(desk.info("audit").expect("there").retrying, 5_000);
}

/// A client settles what it never had, without end and on a hundred streams. All of that used to be
/// heard before the next request was taken.
#[test]
fn flood_of_settlements_holds_up_no_send() {
    let mut desk = Desk::new();
    desk.send_many(1);
    let mut floods = Vec::new();
    let mut bogus = None;
    for _ in 0..100 {
        let mut worker = desk.worker("audit", listener("a"), 9);
        let token = bogus.unwrap_or_else(|| tokens(&mut worker)[0]);
        bogus = Some(token);
        floods.push(worker);
    }
    let token = bogus.expect("given");
    for worker in &floods {
        for _ in 0..20 {
            let items = vec![(token, Settlement::Extend); 1000];
            drop(worker.handle.settle_all(items, None));
        }
    }
    let groups = desk.engine.store().reader().stats().groups;
    let submitted = desk.lane.try_submit(vec![super::record(7, "a")]);
    let mut told = Box::pin(submitted.expect("room").outcomes());
    let mut steps = 0;
    while (&mut told).now_or_never().is_none() {
        assert_eq!(desk.engine.step(desk.now), Turn::Worked);
        steps += 1;
    }
    let groups = desk.engine.store().reader().stats().groups - groups;
    assert!(steps <= 3 && groups <= 3, "{steps} steps, {groups} groups");
}
