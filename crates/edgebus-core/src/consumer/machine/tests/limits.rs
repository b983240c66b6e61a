//! Bounds, the breaker, and what is told of them.

use super::*;

const HERE: Place = Place::Connection(1);
const THERE: Place = Place::Connection(2);

#[test]
fn workers_share_messages_in_turn_and_within_their_credit() {
    let mut desk = Desk::new(config(), 10);
    desk.worker(1, HERE, 2);
    desk.worker(2, THERE, 9);
    let given = desk.feed();
    let workers: Vec<u64> = given.iter().map(|given| given.worker).collect();
    assert_eq!(workers, [1, 2, 1, 2, 2, 2, 2, 2, 2, 2]);
    assert_eq!(seqs(&given), (1..=10).collect::<Vec<_>>());
}

#[test]
fn no_more_are_out_than_may_be() {
    let mut desk = Desk::new(config().max_in_flight(3), 10);
    desk.worker(1, HERE, 100);
    let given = desk.feed();
    assert_eq!(given.len(), 3);
    assert_eq!(desk.machine.scan_from(&desk.ledger), None);
    desk.ack(given[1].token);
    assert_eq!(seqs(&desk.feed()), [4]);
}

#[test]
fn with_too_many_waiting_nothing_new_goes_out_but_retries_do() {
    let mut desk = Desk::new(config(), 10);
    desk.limits.pending_max = 2;
    desk.crash();
    desk.worker(1, HERE, 100);
    let given = [desk.offer(1), desk.offer(2)];
    assert_eq!(given, [Offer::Taken, Offer::Taken]);
    for given in desk.given() {
        desk.nak(given.token);
    }
    assert_eq!(desk.feed(), []);
    assert_eq!(desk.info().state, "bounded");
    assert_eq!(desk.machine.scan_from(&desk.ledger), None);
    assert_eq!(desk.pauses(), [Some(PauseReason::Bounded)]);
    desk.wait(200);
    let retries = desk.feed();
    assert_eq!(seqs(&retries)[..2], [1, 2]);
    for given in retries {
        desk.ack(given.token);
    }
    assert_eq!(desk.pauses(), [None]);
    assert_eq!((desk.info().state, desk.info().offset), ("active", Seq(10)));
}

#[test]
fn acks_of_every_second_message_do_not_pile_up_behind_one_that_fails() {
    let odd = |seq| if seq % 2 == 1 { "a.x" } else { "b.x" };
    let mut desk = Desk::with_log(config().backoff_ms([1_000_000]), odd, 30_000);
    desk.worker(1, HERE, u32::MAX);
    let mut most = 0;
    let stuck = loop {
        let given = desk.feed();
        if given[0].token.seq == Seq(1) {
            desk.nak(given[0].token);
        }
        for given in given.iter().filter(|given| given.token.seq != Seq(1)) {
            desk.ack(given.token);
            most = most.max(desk.ledger.acked.len());
        }
        if desk.info().cursor == Seq(30_000) {
            break desk.info();
        }
    };
    assert!(most < 100, "{most} ranges");
    assert_eq!((stuck.offset, stuck.retrying), (Seq(0), 1));
    assert!(desk.ledger.encode().len() < 10_000);
    desk.wait(2_000_000);
    let last = desk.feed();
    desk.ack(last[0].token);
    assert_eq!(desk.info().offset, Seq(30_000), "the offset shows at once");
    desk.machine.progress(&mut desk.ledger, &mut desk.out);
    assert_eq!(desk.ledger.offset(), Seq(30_000));
    assert!(desk.ledger.acked.is_empty());
}

#[test]
fn full_set_of_acks_found_at_opening_is_told_and_does_not_hold_the_consumer() {
    let odd = |seq| if seq % 2 == 1 { "a.x" } else { "b.x" };
    let mut desk = Desk::with_log(config(), odd, 60);
    desk.worker(1, HERE, 100);
    for given in desk.feed() {
        desk.ack(given.token);
    }
    desk.limits.ranges_max = 10;
    desk.crash();
    assert_eq!(desk.info().state, "idle");
    assert_eq!(desk.info().offset, Seq(59));
}

#[test]
fn consumer_pauses_itself_when_most_fails_and_tries_one_at_a_time() {
    let mut desk = Desk::new(config().max_attempts(1), 1000);
    desk.worker(1, HERE, 1000);
    let given = desk.feed();
    for given in &given[..100] {
        desk.nak(given.token);
    }
    assert_eq!(desk.pauses(), [Some(PauseReason::Breaker)]);
    assert_eq!(desk.info().state, "tripped");
    for given in &given[100..] {
        desk.settle(given.token, Settlement::Release)
            .expect("given back");
    }
    desk.machine.add_credit(1, 1000);
    assert_eq!(desk.feed(), []);
    assert_eq!(
        desk.machine.next_tick_ms(),
        Some(desk.now.store_ms + 30_000)
    );
    desk.wait(30_000);
    let trial = desk.feed();
    assert_eq!(trial.len(), 1, "one at a time");
    desk.nak(trial[0].token);
    assert_eq!(desk.feed(), [], "it failed: tripped again");
    desk.wait(30_000);
    let trial = desk.feed();
    desk.out.clear();
    desk.ack(trial[0].token);
    assert_eq!(desk.pauses(), [None]);
    assert_eq!(desk.feed().len(), 898);
}

#[test]
fn resuming_closes_the_breaker() {
    let mut desk = Desk::new(config().max_attempts(1), 200);
    desk.worker(1, HERE, 100);
    for given in desk.feed() {
        desk.nak(given.token);
    }
    assert_eq!(desk.info().state, "tripped");
    desk.out.clear();
    desk.machine.pause(&mut desk.ledger, false, &mut desk.out);
    assert_eq!(desk.pauses(), [None]);
    desk.machine.add_credit(1, 100);
    assert_eq!(desk.feed().len(), 100);
}

#[test]
fn expired_message_is_a_dead_letter_and_never_run() {
    let mut desk = Desk::new(config(), 3);
    desk.log[1] = entry(2, "a.x", 500);
    desk.log[2] = entry(3, "a.x", 501);
    desk.wait(500);
    desk.worker(1, HERE, 9);
    assert_eq!(seqs(&desk.feed()), [1, 3]);
    let letter = desk.letters().remove(0);
    assert_eq!((letter.seq, letter.code), (2, DeadLetterCode::Expired));
    assert_eq!(letter.attempts, []);
    desk.crash();
    desk.machine
        .requeue(&mut desk.ledger, Seq(2), 7, &mut desk.out);
    desk.worker(2, HERE, 9);
    assert_eq!(
        seqs(&desk.feed()),
        [2],
        "an operator wants it run all the same"
    );
}

#[test]
fn retry_that_comes_too_late_is_not_run_either() {
    let mut desk = Desk::new(config(), 1);
    desk.log[0] = entry(1, "a.x", 50);
    desk.worker(1, HERE, 9);
    let token = desk.feed()[0].token;
    desk.nak(token);
    desk.wait(200);
    assert_eq!(desk.feed(), []);
    let letter = desk.letters().remove(0);
    assert_eq!(
        (letter.code, letter.attempts.len()),
        (DeadLetterCode::Expired, 1)
    );
    assert_eq!(desk.info().retrying, 0);
}
