//! Whoever waits for a reply gets the one that is stored, or hears why there is none.

use edgebus_core::Seq;
use edgebus_core::consumer::{Answer, Reply, Settlement};

use super::{Change, Command, Desk, name, responder, tokens};
use crate::delivery::Settle;

#[test]
fn request_that_is_moved_to_the_dead_letters_is_answered() {
    let mut desk = Desk::new();
    let worker = desk.worker("prices", responder("a"), 1);
    let mut answer = desk.ask(1);
    desk.rest();
    let mut moved = desk.command(|done| Command::DeadLetter {
        seq: Seq(1),
        consumer: name("prices"),
        reason: "sold out".to_owned(),
        done,
    });
    desk.rest();
    assert_eq!(moved.try_recv().expect("told"), Ok(true));
    let reason = "sold out".to_owned();
    assert_eq!(answer.try_recv(), Ok(Answer::DeadLettered { reason }));
    drop(worker);
}

/// After a reset the request runs again, and somebody asks for its reply meanwhile.
#[test]
fn reply_that_is_stored_is_told_also_while_the_request_runs_again() {
    let mut desk = Desk::new();
    let mut worker = desk.worker("prices", responder("a"), 9);
    let mut answer = desk.ask(1);
    desk.rest();
    let token = tokens(&mut worker)[0];
    let first = Reply::new("first");
    worker
        .handle
        .settle(token, Settlement::Complete(first.clone()));
    desk.rest();
    assert_eq!(answer.try_recv(), Ok(Answer::Reply(first.clone())));

    desk.change(Change::Reset(name("prices"), Seq(0)))
        .expect("reset");
    let token = tokens(&mut worker)[0];
    let mut again = desk.ask(1);
    // It is being looked up.
    desk.turn();
    worker
        .handle
        .settle(token, Settlement::Complete(Reply::new("second")));
    desk.turn();
    desk.rest();
    assert_eq!(again.try_recv(), Ok(Answer::Reply(first)));
}

/// The same, where it is asked for and done again in one group: found by simulated workers.
#[test]
fn reply_that_is_stored_is_told_although_the_request_is_done_again_in_the_same_group() {
    let mut desk = Desk::new();
    let mut worker = desk.worker("prices", responder("a"), 9);
    let mut answer = desk.ask(1);
    desk.rest();
    let token = tokens(&mut worker)[0];
    let first = Reply::new("first");
    worker
        .handle
        .settle(token, Settlement::Complete(first.clone()));
    desk.rest();
    assert_eq!(answer.try_recv(), Ok(Answer::Reply(first.clone())));

    desk.change(Change::Reset(name("prices"), Seq(0)))
        .expect("reset");
    let token = tokens(&mut worker)[0];
    let mut again = desk.ask(1);
    worker
        .handle
        .settle(token, Settlement::Complete(Reply::new("second")));
    desk.rest();
    assert_eq!(again.try_recv(), Ok(Answer::Reply(first)));
}
