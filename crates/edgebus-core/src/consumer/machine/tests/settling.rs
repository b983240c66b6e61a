//! What workers say, and what their leases are worth.

use super::*;
use crate::consumer::ConsumerMode;
use crate::consumer::Reply;

const HERE: Place = Place::Connection(1);
const THERE: Place = Place::Connection(2);

fn nak(delay_ms: Option<u64>) -> Settlement {
    let reason = "no".to_owned();
    Settlement::Nak { delay_ms, reason }
}

#[test]
fn first_completion_wins_even_on_an_expired_lease_and_the_later_one_learns_it() {
    let mut desk = Desk::new(config(), 1);
    desk.worker(1, HERE, 1);
    let first = desk.feed()[0];
    desk.wait(1_000);
    desk.leave(1, Left::Closed);
    desk.worker(2, THERE, 1);
    desk.wait(200);
    let second = desk.feed()[0];
    assert_eq!(
        (second.worker, second.attempt, second.token.delivery),
        (2, 2, 2)
    );
    assert_eq!(desk.places.in_flight(THERE), 1);
    desk.ack(first.token);
    assert_eq!(
        desk.places.in_flight(THERE),
        0,
        "nobody works on it any more"
    );
    assert_eq!(
        desk.code(second.token, Settlement::Ack),
        Code::AlreadyCompleted
    );
    assert_eq!(desk.code(second.token, nak(None)), Code::AlreadyCompleted);
    assert_eq!(desk.info().offset, Seq(1));
}

#[test]
fn lease_that_somebody_else_has_by_now_can_be_completed_but_not_given_back() {
    let mut desk = Desk::new(config(), 1);
    desk.worker(1, HERE, 2);
    let first = desk.feed()[0].token;
    desk.wait(1_000);
    for settlement in [nak(None), Settlement::Extend, Settlement::Release] {
        assert_eq!(desk.code(first, settlement), Code::StaleLease, "it expired");
    }
    desk.wait(200);
    let second = desk.feed()[0].token;
    assert_eq!(desk.code(first, Settlement::Extend), Code::StaleLease);
    let reason = "never".to_owned();
    assert_eq!(desk.settle(first, Settlement::Term { reason }), Ok(()));
    assert_eq!(desk.code(second, Settlement::Ack), Code::AlreadyCompleted);
    assert_eq!(desk.letters().len(), 1);
}

#[test]
fn token_that_was_never_given_out_is_stale() {
    let mut desk = Desk::new(config(), 2);
    desk.worker(1, HERE, 1);
    let token = desk.feed()[0].token;
    let never = [
        LeaseToken {
            delivery: 0,
            ..token
        },
        LeaseToken {
            delivery: 2,
            ..token
        },
        LeaseToken { epoch: 2, ..token },
        LeaseToken { epoch: 0, ..token },
        LeaseToken {
            seq: Seq(2),
            ..token
        },
        LeaseToken {
            seq: Seq(99),
            ..token
        },
    ];
    for token in never {
        assert_eq!(
            desk.code(token, Settlement::Ack),
            Code::StaleLease,
            "{token}"
        );
    }
    desk.ack(token);
    assert_eq!(desk.code(token, Settlement::Ack), Code::AlreadyCompleted);
}

#[test]
fn failing_message_waits_longer_each_time_then_is_a_dead_letter_with_all_errors() {
    let mut desk = Desk::new(config(), 1);
    desk.worker(1, HERE, 9);
    for (attempt, step) in [(1, 100), (2, 500)] {
        let given = desk.feed()[0];
        assert_eq!(given.attempt, attempt);
        desk.nak(given.token);
        desk.wait(step - 1);
        assert_eq!(desk.feed(), [], "not before its time");
        let due = desk.machine.next_tick_ms().expect("a retry") - desk.now.store_ms;
        assert!((1..=1 + step / 5).contains(&due), "{due} ms more of {step}");
        desk.wait(due);
    }
    let given = desk.feed()[0];
    desk.nak(given.token);
    let letter = desk.letters().remove(0);
    assert_eq!(
        (letter.seq, letter.number, letter.code),
        (1, None, DeadLetterCode::Attempts)
    );
    assert_eq!(letter.attempts.len(), 3);
    assert!(letter.attempts.iter().all(|attempt| attempt.error == "no"));
    assert!(letter.attempts[0].wall_ms < letter.attempts[2].wall_ms);
    assert_eq!(desk.info().offset, Seq(1), "the offset moves on");
    assert_eq!(desk.machine.next_tick_ms(), None);
}

#[test]
fn message_never_comes_back_at_once_however_the_worker_asks() {
    let mut desk = Desk::new(config(), 1);
    desk.worker(1, HERE, 9);
    let token = desk.feed()[0].token;
    desk.settle(token, nak(Some(0))).expect("given back");
    assert_eq!(desk.feed(), []);
    desk.wait(1);
    let token = desk.feed()[0].token;
    desk.settle(token, nak(Some(7_000))).expect("given back");
    desk.wait(6_999);
    assert_eq!(desk.feed(), []);
    desk.wait(1);
    assert_eq!(desk.feed()[0].attempt, 3);
}

#[test]
fn rejected_message_is_a_dead_letter_at_once() {
    let mut desk = Desk::new(config(), 1);
    desk.worker(1, HERE, 1);
    let token = desk.feed()[0].token;
    let reason = "ä".repeat(REASON_BYTES_MAX);
    desk.settle(token, Settlement::Term { reason })
        .expect("rejected");
    let letter = desk.letters().remove(0);
    assert_eq!(letter.code, DeadLetterCode::Rejected);
    assert_eq!(
        letter.reason.len(),
        REASON_BYTES_MAX,
        "a long reason is cut"
    );
    assert_eq!(letter.attempts.len(), 1);
}

#[test]
fn message_given_back_untouched_costs_no_attempt_and_goes_out_at_once() {
    let mut desk = Desk::new(config(), 3);
    desk.worker(1, HERE, 3);
    let given = desk.feed();
    desk.settle(given[1].token, Settlement::Release)
        .expect("given back");
    desk.leave(1, Left::Closed);
    assert_eq!(desk.places.in_flight(HERE), 0);
    desk.worker(2, THERE, 9);
    let again = desk.feed();
    assert_eq!(seqs(&again), [1, 2, 3], "in the order of the log");
    assert!(
        again
            .iter()
            .all(|given| given.attempt == 1 && given.token.delivery == 2)
    );
    assert_eq!(desk.info().failed, 0);
}

#[test]
fn lease_begins_anew_as_long_as_the_worker_says_so() {
    let mut desk = Desk::new(config(), 1);
    desk.worker(1, HERE, 1);
    let token = desk.feed()[0].token;
    for _ in 0..5 {
        desk.wait(999);
        desk.settle(token, Settlement::Extend).expect("it holds it");
    }
    assert_eq!(desk.machine.next_tick_ms(), Some(desk.now.store_ms + 1_000));
    desk.wait(1_000);
    assert_eq!(desk.info().retrying, 1);
    assert_eq!(desk.info().failed, 1, "an expired lease is charged");
}

#[test]
fn worker_that_comes_back_in_time_keeps_its_leases() {
    let mut desk = Desk::new(config(), 2);
    desk.worker(1, HERE, 2);
    let held: Vec<LeaseToken> = desk.feed().iter().map(|given| given.token).collect();
    desk.leave(1, Left::Lost);
    assert_eq!(desk.places.in_flight(HERE), 0);
    desk.wait(4_999);
    assert_eq!(desk.worker_with(2, THERE, 0, &held), held);
    assert_eq!(desk.places.in_flight(THERE), 2);
    desk.wait(999);
    assert_eq!(desk.info().in_flight, 2, "their time began anew");
    // The server may not have noticed yet that the old connection is dead.
    assert_eq!(desk.worker_with(3, HERE, 0, &held), held);
    assert_eq!(
        (desk.places.in_flight(HERE), desk.places.in_flight(THERE)),
        (2, 0)
    );
    desk.leave(2, Left::Lost);
    for token in held {
        desk.ack(token);
    }
    assert!(desk.places.is_empty());
}

#[test]
fn lost_worker_that_shows_life_keeps_its_lease_for_its_time() {
    let mut desk = Desk::new(config(), 1);
    desk.worker(1, HERE, 1);
    let token = desk.feed()[0].token;
    desk.leave(1, Left::Lost);
    desk.settle(token, Settlement::Extend).expect("it holds it");
    desk.wait(1_000);
    let info = desk.info();
    assert_eq!((info.retrying, info.suspects, info.failed), (1, 0, 1));
}

#[test]
fn lease_of_nobody_in_particular_ends_by_time_alone() {
    let mut desk = Desk::new(config(), 1);
    desk.worker(1, Place::Detached, 1);
    let token = desk.feed()[0].token;
    desk.leave(1, Left::Closed);
    assert_eq!(desk.info().in_flight, 1);
    desk.crash();
    assert_eq!(
        desk.info().in_flight,
        1,
        "not even the server's death ends it"
    );
    desk.wait(999);
    desk.settle(token, Settlement::Extend).expect("it holds it");
    desk.wait(1_000);
    assert_eq!((desk.info().in_flight, desk.info().retrying), (0, 1));
    desk.ack(token);
    assert_eq!(desk.info().retrying, 0);
}

#[test]
fn completion_of_a_responder_is_one_change_with_its_reply() {
    let mut desk = Desk::new(config(), 2);
    desk.worker(1, HERE, 2);
    let given = desk.feed();
    desk.out.clear();
    let complete = Settlement::Complete(Reply::new("done"));
    desk.settle(given[0].token, complete.clone())
        .expect("completed");
    let op = ConsumerOp::Done(vec![(Seq(1), Seq(1))]);
    let closed = Vec::new();
    assert_eq!(
        desk.out,
        [Output::Change { op, closed }],
        "a listener's reply is not kept"
    );
    desk.out.clear();

    let config = desk.ledger.config.as_mut().expect("set up");
    config.mode = ConsumerMode::Responder;
    desk.settle(given[1].token, complete).expect("completed");
    let [
        Output::Change {
            op: ConsumerOp::Completed { seq, reply },
            ..
        },
    ] = &desk.out[..]
    else {
        panic!("one change: {:?}", desk.out);
    };
    assert_eq!(*seq, Seq(2));
    let reply: Reply = prost::Message::decode(reply.clone()).expect("a reply");
    assert_eq!(reply, Reply::new("done"));
}
