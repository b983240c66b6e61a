//! Who is blamed when a place dies, and who is not.

use std::collections::BTreeSet;

use super::*;

const HERE: Place = Place::Connection(1);
const THERE: Place = Place::Connection(2);

#[test]
fn message_that_kills_its_process_each_time_becomes_the_only_dead_letter() {
    const POISON: u64 = 100;
    let mut desk = Desk::new(config(), 400);
    let mut letters = Vec::new();
    let mut done = BTreeSet::new();
    let mut crashes = 0;
    let mut highest_attempt = BTreeSet::new();
    for life in 1.. {
        assert!(life < 20, "it ends");
        desk.worker(life, Place::Process, 256);
        let mut given = desk.feed();
        letters.extend(desk.letters());
        assert!(life > 1 || given.len() == 256);
        while !given.iter().any(|given| given.token.seq == Seq(POISON)) {
            if given.is_empty() {
                let Some(next) = desk.machine.next_tick_ms() else {
                    break;
                };
                desk.wait(next - desk.now.store_ms);
            }
            for given in given {
                assert!(done.insert(given.token.seq.0), "done twice");
                highest_attempt.insert(given.attempt);
                desk.ack(given.token);
                desk.machine.add_credit(life, 1);
            }
            desk.wait(0);
            given = desk.feed();
        }
        if desk.info().offset == Seq(400) {
            break;
        }
        crashes += 1;
        desk.crash();
        letters.extend(desk.letters());
    }
    assert_eq!(crashes, 4, "once in the crowd, three times alone");
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].seq, letters[0].code),
        (POISON, DeadLetterCode::Crashed)
    );
    assert_eq!(letters[0].attempts.len(), 3);
    assert_eq!(done.len(), 399, "all others are done");
    assert_eq!(
        highest_attempt,
        BTreeSet::from([1]),
        "no neighbour was charged"
    );
}

#[test]
fn suspect_waits_for_an_empty_place_and_keeps_it_to_itself() {
    let mut desk = Desk::new(config(), 4);
    desk.worker(1, Place::Process, 2);
    desk.feed();
    desk.crash();
    assert_eq!(desk.info().suspects, 2);
    desk.worker(2, Place::Process, 9);
    let first = desk.feed();
    assert_eq!(seqs(&first), [1], "one suspect, and nothing beside it");
    desk.ack(first[0].token);
    let second = desk.feed();
    assert_eq!(seqs(&second), [2]);
    desk.ack(second[0].token);
    assert_eq!(seqs(&desk.feed()), [3, 4], "then as before");
}

#[test]
fn one_place_is_emptied_for_suspects_while_others_go_on() {
    let mut desk = Desk::new(config(), 20);
    desk.worker(1, HERE, 1);
    let suspect = desk.feed()[0];
    desk.worker(2, THERE, 2);
    desk.worker(3, Place::Connection(3), 9);
    desk.leave(1, Left::Lost);
    let busy = desk.feed();
    assert_eq!(busy.len(), 11);
    desk.machine.add_credit(2, 9);
    desk.machine.add_credit(3, 9);
    desk.wait(900);
    for given in &busy {
        desk.settle(given.token, Settlement::Extend).expect("held");
    }
    desk.wait(800);
    for given in &busy {
        desk.settle(given.token, Settlement::Extend).expect("held");
    }
    for _ in 0..4 {
        desk.wait(825);
        for given in &busy {
            desk.settle(given.token, Settlement::Extend).expect("held");
        }
    }
    assert_eq!(desk.info().suspects, 1, "its worker did not come back");
    let others = desk.feed();
    assert!(!others.is_empty());
    assert!(
        others.iter().all(|given| given.worker == 3),
        "the emptier place runs empty"
    );
    for given in busy.iter().filter(|given| given.worker == 2) {
        desk.ack(given.token);
    }
    let alone = desk.feed();
    assert_eq!(
        (alone[0].worker, alone[0].token.seq),
        (2, suspect.token.seq)
    );
    assert!(alone[1..].iter().all(|given| given.worker == 3));
    desk.ack(alone[0].token);
    desk.machine.add_credit(2, 1);
    assert_eq!(alone[0].attempt, 1, "it was not charged");
}

#[test]
fn one_suspect_is_out_at_a_time_though_two_places_are_free() {
    let mut desk = Desk::new(config(), 2);
    desk.worker(1, HERE, 2);
    desk.feed();
    desk.leave(1, Left::Lost);
    desk.wait(5_000);
    desk.worker(2, HERE, 9);
    desk.worker(3, THERE, 9);
    let first = desk.feed();
    assert_eq!(first.len(), 1, "both may be one process");
    // It dies with both connections.
    desk.leave(2, Left::Lost);
    desk.leave(3, Left::Lost);
    desk.wait(5_000);
    assert_eq!((desk.info().suspects, desk.info().failed), (2, 1));
}

#[test]
fn message_that_kills_its_remote_worker_is_charged_only_when_alone() {
    let mut desk = Desk::new(config(), 2);
    let mut workers = 1..;
    let mut letters = Vec::new();
    for _ in 0..100 {
        let id = workers.next().expect("more");
        desk.worker(id, Place::Connection(id), 9);
        let given = desk.feed();
        for given in &given {
            if given.token.seq != Seq(1) {
                assert_eq!(given.attempt, 1);
                if !desk.places.is_empty() && desk.info().in_flight == 1 {
                    desk.ack(given.token);
                }
            }
        }
        desk.leave(id, Left::Lost);
        desk.wait(5_000);
        letters.extend(desk.letters());
        desk.wait(1_000);
    }
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].seq, letters[0].code),
        (1, DeadLetterCode::Crashed)
    );
    assert_eq!(desk.info().offset, Seq(2));
}

#[test]
fn worker_at_a_connection_is_not_to_blame_for_the_servers_death() {
    let mut desk = Desk::new(config(), 3);
    desk.worker(1, HERE, 3);
    let held: Vec<LeaseToken> = desk.feed().iter().map(|given| given.token).collect();
    desk.crash();
    assert_eq!(desk.info().in_flight, 3);
    assert_eq!(desk.worker_with(2, THERE, 9, &held[..1]), &held[..1]);
    assert_eq!(desk.feed(), [], "the grace is not over");
    desk.wait(999);
    desk.settle(held[0], Settlement::Extend).expect("held");
    for _ in 0..5 {
        desk.wait(900);
        desk.settle(held[0], Settlement::Extend).expect("held");
    }
    let again = desk.feed();
    assert_eq!(seqs(&again), [2, 3]);
    assert!(again.iter().all(|given| given.attempt == 1));
    assert_eq!(desk.info().suspects, 0);
}

#[test]
fn process_cannot_be_lost_while_the_server_runs() {
    let mut desk = Desk::new(config(), 2);
    desk.worker(1, Place::Process, 2);
    desk.feed();
    desk.leave(1, Left::Lost);
    let info = desk.info();
    assert_eq!((info.in_flight, info.suspects, info.failed), (0, 0, 0));
    desk.worker(2, Place::Process, 2);
    assert_eq!(seqs(&desk.feed()), [1, 2]);
}

/// Two consumers with workers in one process.
struct Two {
    a: Desk,
    b: Desk,
}

impl Two {
    /// Two suspects of the first; the second has one message out.
    fn after_crash() -> Self {
        let mut a = Desk::new(config(), 3);
        a.worker(1, Place::Process, 2);
        a.feed();
        a.crash();
        let mut two = Self {
            a,
            b: Desk::new(config(), 9),
        };
        two.with_b(|b| b.worker(2, Place::Process, 1));
        assert_eq!(two.with_b(Desk::feed).len(), 1);
        two.a.worker(1, Place::Process, 9);
        two
    }

    fn with_b<R>(&mut self, act: impl FnOnce(&mut Desk) -> R) -> R {
        std::mem::swap(&mut self.a.places, &mut self.b.places);
        let result = act(&mut self.b);
        std::mem::swap(&mut self.a.places, &mut self.b.places);
        result
    }
}

#[test]
fn process_is_one_place_over_all_consumers() {
    let mut two = Two::after_crash();
    assert_eq!(two.a.feed(), [], "the other's message is there");
    two.with_b(|b| b.machine.add_credit(2, 9));
    assert_eq!(two.with_b(Desk::feed), [], "the process runs empty");
    two.with_b(|b| {
        let token = LeaseToken {
            epoch: 1,
            seq: Seq(1),
            delivery: 1,
        };
        b.ack(token);
    });
    assert_eq!(seqs(&two.a.feed()), [1]);
    assert_eq!(
        two.with_b(Desk::feed),
        [],
        "a suspect is alone, whose it ever is"
    );
    let token = LeaseToken {
        epoch: 1,
        seq: Seq(1),
        delivery: 2,
    };
    two.a.ack(token);
    assert_eq!(two.with_b(Desk::feed), [], "the next suspect's turn");
    let second = two.a.feed();
    assert_eq!(seqs(&second), [2]);
    two.a.ack(second[0].token);
    assert_eq!(two.with_b(Desk::feed).len(), 8);
}

#[test]
fn consumer_that_cannot_use_a_place_does_not_keep_others_out() {
    let ways: [fn(&mut Desk); 4] = [
        |desk| desk.leave(1, Left::Closed),
        |desk| desk.machine.pause(&mut desk.ledger, true, &mut desk.out),
        |desk| desk.machine.block(Some(PauseReason::DeadLettersFull)),
        |desk| {
            let (ledger, places) = (&mut desk.ledger, &mut desk.places);
            desk.machine.reset(ledger, places, Seq(0), &mut desk.out);
        },
    ];
    for way in ways {
        let mut two = Two::after_crash();
        two.with_b(|b| b.machine.add_credit(2, 9));
        assert_eq!(two.with_b(Desk::feed), []);
        way(&mut two.a);
        if let Some(at) = two.a.machine.next_tick_ms() {
            assert!(
                at <= two.a.now.store_ms,
                "it says that it has to be looked at"
            );
            two.a.wait(0);
        }
        assert_eq!(two.with_b(Desk::feed).len(), 8);
    }
}
