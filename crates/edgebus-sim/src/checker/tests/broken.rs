//! What clients were told and what was seen, against the log: each test breaks one promise.

use std::time::Duration;

use edgebus_core::{Code, Scope, Seq};

use super::{Story, duplicate, id, stored, topic};
use crate::history::{Client, Death, Digest, Event, Kind, Operation, Outcome};

#[test]
fn receipt_for_what_is_not_there_is_found() {
    let mut story = Story::new();
    story.store(1);
    let call = story.ask(2);
    story.stored(call, 2);
    story.restart();
    story.breaks("acked and lost");
}

#[test]
fn receipt_for_another_place_is_found() {
    let mut story = Story::new();
    let call = story.ask(1);
    story.stored(call, 1);
    let again = story.ask(1);
    story.tell(again, duplicate(2));
    story.keep(1);
    let found = story.check();
    let rules: Vec<_> = found.iter().map(|found| found.rule).collect();
    assert_eq!(rules, ["receipt that changed", "acked and lost"]);
}

#[test]
fn request_that_is_new_twice_is_found() {
    let mut story = Story::new();
    let call = story.ask(1);
    story.stored(call, 1);
    let again = story.ask(1);
    story.tell(again, stored(1));
    story.keep(1);
    story.breaks("stored twice");
}

#[test]
fn request_that_is_new_after_it_was_a_duplicate_is_found() {
    let mut story = Story::new();
    let lost = story.ask(1);
    story.tell(lost, Outcome::Unknown);
    let call = story.ask(1);
    story.tell(call, duplicate(1));
    let again = story.ask(1);
    story.tell(again, stored(1));
    story.keep(1);
    story.breaks("stored twice");
}

#[test]
fn id_that_is_in_the_log_twice_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.keep_at(1, 2);
    story.breaks("stored twice");
}

#[test]
fn hole_in_the_log_is_found() {
    let mut story = Story::new();
    story.store(1);
    let lost = story.ask(3);
    story.tell(lost, Outcome::Unknown);
    story.keep_at(3, 3);
    story.breaks("hole in the log");
}

#[test]
fn end_of_the_log_that_is_cut_off_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.end.last = Seq(2);
    story.breaks("hole in the log");
}

#[test]
fn message_that_nobody_sent_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.keep(2);
    story.breaks("nobody asked for it");
}

#[test]
fn altered_payload_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.end.log[0].payload = Digest(7);
    story.breaks("altered");
}

#[test]
fn altered_payload_that_is_only_seen_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.end.log.clear();
    story.end.last = Seq(1);
    story.done(Operation::Trim(Seq(2)));
    story.note(seen(1, 1, 8));
    story.breaks("altered");
}

fn seen(seq: u64, n: u64, payload: u64) -> Event {
    Event::Seen {
        call: None,
        seq: Seq(seq),
        id: id(n),
        payload: Digest(payload),
    }
}

#[test]
fn place_that_two_messages_had_is_found() {
    let mut story = Story::new();
    for n in [1, 2] {
        let lost = story.ask(n);
        story.tell(lost, Outcome::Unknown);
    }
    story.note(seen(1, 1, 1));
    story.restart();
    story.note(seen(1, 2, 2));
    story.done(Operation::Trim(Seq(2)));
    story.end.last = Seq(1);
    story.breaks("two messages at one place");
}

#[test]
fn receipt_that_another_scope_already_has_is_found() {
    let mut story = Story::new();
    story.store(1);
    let other = story.ask_as(1, |asked| asked.scope = Scope(5));
    story.tell(other, duplicate(1));
    let rules: Vec<_> = story.check().iter().map(|found| found.rule).collect();
    assert_eq!(rules, ["two messages at one place", "acked and lost"]);
}

#[test]
fn message_that_was_seen_and_is_gone_is_found() {
    let mut story = Story::new();
    let lost = story.ask(1);
    story.tell(lost, Outcome::Unknown);
    story.note(seen(1, 1, 1));
    story.restart();
    story.breaks("seen before it was safe");
}

#[test]
fn last_number_that_was_seen_and_is_gone_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.note(Event::SeenLast { seq: Seq(2) });
    story.breaks("seen before it was safe");
}

#[test]
fn trim_that_was_seen_and_is_undone_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.store(2);
    let trim = story.operate(Operation::Trim(Seq(2)));
    story.note(Event::Trimmed { before: Seq(2) });
    story.tell(trim, Outcome::Unknown);
    story.restart();
    story.breaks("seen before it was safe");
}

#[test]
fn refused_and_stored_is_found() {
    let mut story = Story::new();
    let call = story.ask(1);
    story.tell(call, Outcome::Refused(Code::Busy));
    story.keep(1);
    story.breaks("refused and stored");
}

#[test]
fn other_content_under_the_same_id_is_found() {
    let mut story = Story::new();
    story.store(1);
    let other = story.ask_as(1, |asked| asked.payload = Digest(9));
    story.tell(other, duplicate(1));
    story.breaks("id conflict not refused");
    let mut story = Story::new();
    story.store(1);
    let other = story.ask_as(1, |asked| asked.topic = topic("orders.old"));
    story.tell(other, duplicate(1));
    story.breaks("id conflict not refused");
}

#[test]
fn conflict_with_nothing_is_found() {
    let mut story = Story::new();
    story.store(1);
    let again = story.ask(1);
    story.tell(again, Outcome::Refused(Code::IdConflict));
    story.breaks("refused without a reason");
}

#[test]
fn duplicate_that_is_refused_for_want_of_space_is_found() {
    let mut story = Story::new();
    story.store(1);
    let again = story.ask(1);
    story.tell(again, Outcome::Refused(Code::StorageFull));
    story.breaks("refused without a reason");
}

#[test]
fn ack_after_the_disk_failed_is_found() {
    let mut story = Story::new();
    story.note(Event::IoFailed);
    story.store(1);
    story.breaks("ack after an I/O error");
}

#[test]
fn log_that_goes_against_time_is_found() {
    let mut story = Story::new();
    let call = story.ask(1);
    story.stored(call, 2);
    let call = story.ask_as(2, |asked| asked.client = Client(2));
    story.stored(call, 1);
    story.keep(2);
    story.keep(1);
    story.breaks("log against time");
}

#[test]
fn calls_of_a_client_that_change_places_are_found() {
    let mut story = Story::new();
    let one = story.ask(1);
    let two = story.ask(2);
    story.stored(one, 2);
    story.stored(two, 1);
    story.keep(2);
    story.keep(1);
    story.breaks("client's calls out of order");
}

#[test]
fn trim_that_nobody_asked_for_is_found() {
    let mut story = Story::new();
    (1..=9).for_each(|n| story.store(n));
    story.done(Operation::Trim(Seq(4)));
    story.trimmed(5);
    story.breaks("trimmed too far");
}

#[test]
fn retention_that_takes_too_much_is_found() {
    let mut story = Story::new();
    (1..=9).for_each(|n| story.store(n));
    story.history.terms.retention = crate::history::Retention::Keeps(3);
    story.trimmed(8);
    story.breaks("trimmed too far");
}

#[test]
fn replay_that_leaves_something_out_is_found() {
    let mut story = Story::new();
    (1..=3).for_each(|n| story.store(n));
    let call = story.operate(Operation::Show(Seq(1), Seq(3)));
    for n in [1, 3] {
        story.note(Event::Seen {
            call: Some(call),
            seq: Seq(n),
            id: id(n),
            payload: Digest(n),
        });
    }
    story.tell(call, Outcome::Shown(Seq(3)));
    story.breaks("stored and not shown");
}

#[test]
fn call_that_never_ends_is_found() {
    let mut story = Story::new();
    story.ask(1);
    story.breaks("call that never ended");
}

#[test]
fn what_a_spool_never_forwards_is_found() {
    let mut story = Story::new();
    let call = story.ask_as(1, |asked| asked.kind = Kind::Spool);
    story.tell(call, Outcome::Spooled { number: 1 });
    story.note(Event::Died { how: Death::Kill });
    story.note(Event::Started);
    story.breaks("spooled and lost");
}

#[test]
fn each_rule_tells_no_more_than_a_few() {
    let mut story = Story::new();
    for n in 1..100 {
        let call = story.ask(n);
        story.stored(call, n);
    }
    assert_eq!(story.check().len(), 5);
}

/// Thousands of histories are checked in a run.
#[test]
fn long_history_is_checked_in_moments() {
    let mut story = Story::new();
    story.responder(3000);
    let worker = story.open();
    for n in 1..=3000 {
        story.store(n);
        story.work(worker, n);
    }
    let begin = std::time::Instant::now();
    story.breaks_nothing();
    assert!(begin.elapsed() < Duration::from_secs(5));
}
