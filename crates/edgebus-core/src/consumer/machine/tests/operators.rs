//! What operators and retention do.

use super::*;
use crate::consumer::Gaps;

const HERE: Place = Place::Connection(1);

/// A message that became dead letter 7 and was requeued.
fn requeued() -> Desk {
    let mut desk = Desk::new(config(), 3);
    desk.worker(1, HERE, 9);
    let given = desk.feed();
    let reason = "bad".to_owned();
    desk.settle(given[0].token, Settlement::Term { reason })
        .expect("rejected");
    desk.ack(given[1].token);
    desk.ack(given[2].token);
    desk.out.clear();
    desk.machine
        .requeue(&mut desk.ledger, Seq(1), 7, &mut desk.out);
    assert_eq!(desk.info().offset, Seq(3), "no offset moves back");
    desk
}

#[test]
fn requeued_dead_letter_starts_anew_and_its_row_goes_with_the_ack() {
    let mut desk = requeued();
    let due = desk.machine.due(&desk.ledger, &desk.places, desk.now, 9);
    assert_eq!(due, [(Seq(1), Some(7))]);
    let given = desk.feed();
    assert_eq!((seqs(&given), given[0].attempt), (vec![1], 1));
    assert_eq!(given[0].token.delivery, 2, "no token is used twice");
    desk.out.clear();
    desk.ack(given[0].token);
    let closed = desk
        .out
        .iter()
        .any(|output| matches!(output, Output::Change { closed, .. } if closed == &[7]));
    assert!(closed, "{:?}", desk.out);
    assert!(desk.ledger.is_done(Seq(1)));
}

#[test]
fn requeued_dead_letter_that_fails_is_the_same_dead_letter_again() {
    let mut desk = requeued();
    for _ in 0..3 {
        let given = desk.feed();
        desk.nak(given[0].token);
        desk.wait(1_000);
    }
    let letter = desk.letters().remove(0);
    assert_eq!((letter.number, letter.attempts.len()), (Some(7), 3));
    assert_eq!(desk.feed(), []);
}

#[test]
fn late_completion_of_a_message_that_was_requeued_counts() {
    let mut desk = requeued();
    let token = LeaseToken {
        epoch: 1,
        seq: Seq(1),
        delivery: 1,
    };
    let reason = "bad".to_owned();
    assert_eq!(
        desk.code(token, Settlement::Term { reason }),
        Code::StaleLease
    );
    desk.ack(token);
    assert_eq!(desk.feed(), []);
}

#[test]
fn requeued_dead_letter_that_an_operator_removed_is_not_run() {
    let mut desk = requeued();
    let given = desk.feed();
    let (ledger, places) = (&mut desk.ledger, &mut desk.places);
    desk.machine.gone(ledger, places, Seq(1), &mut desk.out);
    assert_eq!(
        desk.code(given[0].token, Settlement::Ack),
        Code::AlreadyCompleted
    );
    assert!(desk.places.is_empty());
    assert_eq!(desk.info().in_flight, 0);
}

#[test]
fn messages_are_done_again_without_an_offset_moving_back() {
    let odd = |seq| if seq % 2 == 1 { "a.x" } else { "b.x" };
    let mut desk = Desk::with_log(config(), odd, 9);
    desk.worker(1, HERE, 100);
    let first = desk.feed();
    for given in &first {
        desk.ack(given.token);
    }
    desk.machine.progress(&mut desk.ledger, &mut desk.out);
    desk.machine.again(
        &mut desk.ledger,
        vec![(Seq(2), Seq(6)), (Seq(9), Seq(99))],
        &mut desk.out,
    );
    let again = desk.feed();
    assert_eq!(seqs(&again), [3, 5, 9]);
    assert_eq!(desk.info().offset, Seq(9));
    let old = first[1].token;
    assert_eq!(
        desk.code(old, Settlement::Ack),
        Code::AlreadyCompleted,
        "done before, not again"
    );
    desk.crash();
    desk.wait(5_000);
    desk.worker(2, HERE, 100);
    let again = desk.feed();
    assert_eq!(seqs(&again), [3, 5, 9], "also after a crash");
    for given in again {
        desk.ack(given.token);
    }
    assert!(desk.ledger.again.is_empty() && desk.ledger.open.is_empty());
}

#[test]
fn reset_makes_all_tokens_stale_and_begins_anew() {
    let mut desk = Desk::new(config(), 3);
    desk.worker(1, HERE, 100);
    let old = desk.feed();
    desk.ack(old[1].token);
    let (ledger, places) = (&mut desk.ledger, &mut desk.places);
    desk.machine.reset(ledger, places, Seq(1), &mut desk.out);
    assert!(desk.places.is_empty());
    assert_eq!(desk.code(old[0].token, Settlement::Ack), Code::StaleLease);
    assert_eq!(desk.code(old[1].token, Settlement::Ack), Code::StaleLease);
    let new = desk.feed();
    assert_eq!(seqs(&new), [2, 3]);
    assert_eq!(
        new[0].token,
        LeaseToken {
            epoch: 2,
            seq: Seq(2),
            delivery: 1
        }
    );
}

#[test]
fn paused_consumer_gives_nothing_out_and_holds_nothing_that_is_not_for_it() {
    let last = |seq| if seq == 9 { "a.x" } else { "b.x" };
    let mut desk = Desk::with_log(config(), last, 9);
    desk.machine.pause(&mut desk.ledger, true, &mut desk.out);
    desk.worker(1, HERE, 9);
    assert_eq!(desk.feed(), []);
    assert_eq!((desk.info().offset, desk.info().state), (Seq(8), "paused"));
    desk.crash();
    assert_eq!(desk.info().state, "paused", "it stays so over a restart");
    desk.worker(2, HERE, 9);
    desk.machine.pause(&mut desk.ledger, false, &mut desk.out);
    assert_eq!(seqs(&desk.feed()), [9]);
}

#[test]
fn what_retention_took_is_told_once_and_what_is_out_can_still_be_done() {
    let mut desk = Desk::new(config(), 10);
    desk.worker(1, HERE, 3);
    let given = desk.feed();
    desk.ack(given[1].token);
    desk.nak(given[2].token);
    for _ in 0..2 {
        let (ledger, places) = (&mut desk.ledger, &mut desk.places);
        desk.machine.trimmed(ledger, places, Seq(9), &mut desk.out);
    }
    let gaps = Gaps {
        count: 1,
        messages: 6,
        last: Some((Seq(3), Seq(8))),
    };
    assert_eq!(desk.ledger.gaps(), gaps);
    assert_eq!(desk.info().offset, Seq(0), "the first one is out");
    desk.ack(given[0].token);
    assert_eq!(desk.info().offset, Seq(8));
    desk.machine.add_credit(1, 9);
    desk.wait(200);
    assert_eq!(seqs(&desk.feed()), [9, 10]);
}

#[test]
fn retry_whose_message_was_trimmed_is_a_gap() {
    let mut desk = Desk::new(config(), 1);
    desk.worker(1, HERE, 3);
    let given = desk.feed();
    let (ledger, places) = (&mut desk.ledger, &mut desk.places);
    desk.machine.trimmed(ledger, places, Seq(2), &mut desk.out);
    desk.nak(given[0].token);
    let (ledger, places) = (&mut desk.ledger, &mut desk.places);
    desk.machine.gone(ledger, places, Seq(1), &mut desk.out);
    assert_eq!(desk.ledger.gaps().messages, 1);
    assert_eq!((desk.info().retrying, desk.info().offset), (0, Seq(1)));
}

#[test]
fn message_moved_to_the_dead_letters_by_hand_is_let_go() {
    for told in [true, false] {
        let mut desk = Desk::new(config(), 9);
        desk.worker(1, HERE, 2);
        let given = desk.feed();
        desk.nak(given[1].token);
        for seq in [1, 2, 7] {
            desk.ledger
                .apply(&ConsumerOp::DeadLettered { seq: Seq(seq) });
            if told {
                let (ledger, places) = (&mut desk.ledger, &mut desk.places);
                desk.machine.gone(ledger, places, Seq(seq), &mut desk.out);
            }
        }
        assert_eq!(
            desk.code(given[0].token, Settlement::Ack),
            Code::AlreadyCompleted
        );
        desk.wait(2_000);
        desk.machine.add_credit(1, 99);
        assert_eq!(
            seqs(&desk.feed()),
            [3, 4, 5, 6, 8, 9],
            "and nothing before it is passed by"
        );
        let info = desk.info();
        assert_eq!((info.in_flight, info.retrying), (6, 0));
        desk.crash();
        assert_eq!(desk.info().cursor, Seq(9));
    }
}

#[test]
fn offset_without_a_consumer_is_moved_by_hand_alone() {
    let mut desk = Desk::new(config(), 5);
    desk.ledger = Ledger::new(None, Seq(2));
    desk.crash();
    desk.worker(1, HERE, 9);
    assert_eq!(desk.machine.scan_from(&desk.ledger), None);
    desk.offer(3);
    let (ledger, places) = (&mut desk.ledger, &mut desk.places);
    desk.machine.trimmed(ledger, places, Seq(5), &mut desk.out);
    desk.machine.progress(&mut desk.ledger, &mut desk.out);
    assert_eq!((desk.info().offset, desk.ledger.gaps().count), (Seq(2), 0));
    desk.ledger.apply(&ConsumerOp::Put {
        config: config(),
        offset: Seq(4),
    });
    desk.machine.configured();
    assert_eq!(
        seqs(&desk.feed()),
        [3, 4, 5],
        "a configuration goes on from there"
    );
}

/// The requeued one before it was done first, so that the offset is ahead of what was looked at.
#[test]
fn scan_goes_on_over_an_open_message_right_behind_an_offset_that_is_ahead() {
    let mut desk = Desk::new(config(), 4);
    desk.worker(1, HERE, 9);
    let given = desk.feed();
    for given in &given[1..3] {
        let reason = "bad".to_owned();
        desk.settle(given.token, Settlement::Term { reason })
            .expect("rejected");
    }
    desk.out.clear();
    let (ledger, places, out) = (&mut desk.ledger, &mut desk.places, &mut desk.out);
    desk.machine.reset(ledger, places, Seq(0), out);
    desk.machine.requeue(ledger, Seq(2), 7, out);
    desk.machine.requeue(ledger, Seq(3), 8, out);
    desk.out.clear();
    let now = desk.now;
    let offer = |desk: &mut Desk, seq: usize| {
        let entry = desk.log[seq - 1].clone();
        let (ledger, places) = (&mut desk.ledger, &mut desk.places);
        desk.machine
            .offer(ledger, places, &entry, now, &mut desk.out)
    };
    for seq in [2, 3, 1] {
        assert_eq!(offer(&mut desk, seq), Offer::Taken);
    }
    let tokens: Vec<_> = desk
        .out
        .drain(..)
        .filter_map(|output| match output {
            Output::Deliver { token, .. } => Some(token),
            _ => None,
        })
        .collect();
    desk.ack(tokens[0]);
    desk.ack(tokens[2]);
    assert_eq!(desk.machine.scan_from(&desk.ledger), Some(Seq(3)));
    assert_eq!(offer(&mut desk, 3), Offer::Skipped);
    assert_eq!(desk.machine.scan_from(&desk.ledger), Some(Seq(4)));
}

/// It was read for a retry, and an operator was faster.
#[test]
fn message_that_is_out_or_to_be_given_out_again_is_awaited_and_no_other() {
    let mut desk = Desk::new(config(), 3);
    desk.worker(1, HERE, 1);
    let given = desk.feed();
    assert!(desk.machine.awaits(&desk.ledger, given[0].token.seq));
    assert!(!desk.machine.awaits(&desk.ledger, Seq(2)));
    let (ledger, places, out) = (&mut desk.ledger, &mut desk.places, &mut desk.out);
    desk.machine.reset(ledger, places, Seq(0), out);
    assert!(!desk.machine.awaits(&desk.ledger, Seq(1)));
}

#[test]
fn worker_that_was_withdrawn_gets_nothing_and_keeps_what_it_has() {
    let mut desk = Desk::new(config(), 2);
    desk.worker(1, HERE, 1);
    let held = desk.feed()[0].token;
    desk.machine.add_credit(1, 5);
    desk.machine.withdraw(1);
    assert_eq!(desk.feed(), []);
    desk.ack(held);
    desk.worker(2, Place::Connection(2), 5);
    assert_eq!(seqs(&desk.feed()), [2]);
}
