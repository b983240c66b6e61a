//! Operators and dead letters: what one decided on, another may have changed since.

use edgebus_core::Seq;
use edgebus_core::consumer::Settlement;

use super::{Change, Command, Desk, listener, name, tokens};
use crate::delivery::Settle;

/// Two operators look the same dead letter up; the second to act used to keep the engine busy for
/// ever.
#[test]
fn letter_that_is_gone_by_the_time_it_is_removed_or_requeued_does_not_count() {
    let mut desk = Desk::new();
    desk.dead_letter("audit");
    let letters = vec![(1, name("audit"), Seq(1))];
    let remove = |letters| move |done| Command::RemoveLetters { letters, done };
    let mut first = desk.command(remove(letters.clone()));
    desk.rest();
    assert_eq!(first.try_recv().expect("told"), Ok(1));
    let mut second = desk.command(remove(letters.clone()));
    let mut third = desk.command(|done| Command::Requeue { letters, done });
    desk.rest();
    assert_eq!(second.try_recv().expect("told"), Ok(0));
    assert_eq!(third.try_recv().expect("told"), Ok(0));
}

/// The same within one group.
#[test]
fn letter_that_is_removed_and_requeued_at_once_is_gone() {
    let mut desk = Desk::new();
    desk.dead_letter("audit");
    let letters = vec![(1, name("audit"), Seq(1))];
    let both = letters.clone();
    let mut removed = desk.command(|done| Command::RemoveLetters { letters, done });
    let mut requeued = desk.command(|done| Command::Requeue {
        letters: both,
        done,
    });
    desk.rest();
    assert_eq!(removed.try_recv().expect("told"), Ok(1));
    assert_eq!(requeued.try_recv().expect("told"), Ok(0));
    let worker = desk.worker("audit", listener("a"), 1);
    let info = desk.info("audit").expect("there");
    assert_eq!((info.dead_letters, info.in_flight), (0, 0));
    drop(worker);
}

/// Retention overtook it while a worker had it: there is nothing to be kept, and it is done all the
/// same, also after a restart.
#[test]
fn message_that_fails_for_good_after_it_was_trimmed_is_done() {
    let mut desk = Desk::new();
    desk.send_many(1);
    let mut worker = desk.worker("audit", listener("a"), 1);
    let token = tokens(&mut worker)[0];
    desk.change(Change::Trim(Seq(2))).expect("trimmed");
    let reason = "never".to_owned();
    worker.handle.settle(token, Settlement::Term { reason });
    desk.rest();
    let before = desk.info("audit").expect("there");
    let mut desk = desk.reopen();
    let after = desk.info("audit").expect("there");
    for info in [before, after] {
        let open = (info.in_flight, info.retrying, info.suspects);
        assert_eq!((info.offset, open), (Seq(1), (0, 0, 0)));
    }
}
