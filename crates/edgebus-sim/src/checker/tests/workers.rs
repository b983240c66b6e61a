//! What workers, requesters and operators were told: each test breaks one promise.

use edgebus_core::Seq;
use edgebus_core::consumer::DeadLetterCode;

use super::{Story, completed_while_another_has_it, name, token};
use crate::history::{Digest, How, Operation, Outcome};

#[test]
fn message_on_a_stream_opened_after_its_completion_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.listener(1);
    let worker = story.open();
    story.work(worker, 1);
    story.end.replies = None;
    let later = story.open();
    story.give(later, 1, 2);
    story.breaks("executed after completion");
}

#[test]
fn message_behind_a_later_one_after_its_completion_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.responder(2);
    let worker = story.open();
    story.work(worker, 1);
    story.store(2);
    story.work(worker, 2);
    story.give(worker, 1, 2);
    story.breaks("executed after completion");
}

#[test]
fn message_given_out_after_it_was_given_up_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    let worker = story.open();
    story.give(worker, 1, 1);
    story.settle(worker, 1, 1, How::Term);
    story.letter(1, DeadLetterCode::Rejected);
    let later = story.open();
    story.give(later, 1, 2);
    story.breaks("executed after completion");
}

#[test]
fn two_completions_that_count_are_found() {
    let mut story = Story::new();
    story.store(1);
    story.listener(1);
    story.end.replies = None;
    let worker = story.open();
    story.give(worker, 1, 1);
    story.settle(worker, 1, 1, How::Complete(Digest(1)));
    story.settle(worker, 1, 1, How::Complete(Digest(2)));
    story.breaks("completed twice");
}

#[test]
fn lease_that_is_given_out_twice_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    let worker = story.open();
    story.give(worker, 1, 1);
    story.restart();
    let worker = story.open();
    story.work(worker, 1);
    story.breaks("lease given twice");
}

#[test]
fn attempt_that_was_never_made_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    let worker = story.open();
    story.give_as(worker, 1, token(1, 1), 2);
    story.settle(worker, 1, 1, How::Ack);
    story.reply(1, Digest::of(b""));
    story.breaks("attempts that were not made");
}

#[test]
fn message_that_fails_for_ever_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.responder(0);
    story.history.terms.drained = false;
    let worker = story.open();
    for delivery in 1..=3 {
        story.give(worker, 1, delivery);
        story.settle(worker, 1, delivery, How::Nak);
    }
    story.breaks("failed more often than allowed");
}

#[test]
fn first_deliveries_that_change_places_are_found() {
    let mut story = Story::new();
    story.store(1);
    story.store(2);
    story.responder(2);
    let worker = story.open();
    story.work(worker, 2);
    story.work(worker, 1);
    story.breaks("first deliveries out of order");
}

#[test]
fn rejected_message_that_nobody_rejected_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    story.letter(1, DeadLetterCode::Rejected);
    story.breaks("dead letter without a cause");
}

#[test]
fn message_that_expires_without_a_time_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    story.letter(1, DeadLetterCode::Expired);
    story.breaks("dead letter without a cause");
}

#[test]
fn dead_letter_that_is_lost_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    let worker = story.open();
    story.give(worker, 1, 1);
    story.settle(worker, 1, 1, How::Term);
    story.breaks("dead letter told and lost");
}

#[test]
fn requester_who_is_told_of_a_dead_letter_that_is_none_is_found() {
    let mut story = Story::new();
    let call = story.request(1);
    story.stored(call, 1);
    story.keep(1);
    story.responder(0);
    story.history.terms.drained = false;
    story.tell(call, Outcome::DeadLettered);
    story.breaks("dead letter told and lost");
}

#[test]
fn consumer_that_is_forgotten_is_found() {
    let mut story = Story::new();
    story.responder(0);
    story.end.consumers.clear();
    story.breaks("consumer made and lost");
}

#[test]
fn paused_consumer_that_goes_on_is_found() {
    let mut story = Story::new();
    story.responder(1);
    let worker = story.open();
    story.done(Operation::Pause(name()));
    story.store(1);
    story.work(worker, 1);
    story.done(Operation::Resume(name()));
    story.breaks("given out while paused");
}

#[test]
fn lease_that_survives_a_reset_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    let worker = story.open();
    story.give(worker, 1, 1);
    story.done(Operation::Reset(name(), Seq(0)));
    story.settle(worker, 1, 1, How::Ack);
    story.reply(1, Digest::of(b""));
    story.breaks("stale lease taken");
}

#[test]
fn second_reply_is_found() {
    let mut story = Story::new();
    let call = story.request(1);
    story.stored(call, 1);
    story.keep(1);
    story.responder(1);
    let worker = story.open();
    story.give(worker, 1, 1);
    let one = story.say(worker, token(1, 1), How::Complete(Digest(1)));
    story.tell(one, Outcome::Unknown);
    story.tell(call, Outcome::Reply(Digest(1)));
    let two = story.say(worker, token(1, 1), How::Complete(Digest(2)));
    story.tell(two, Outcome::Unknown);
    let call = story.request(1);
    story.tell(call, Outcome::Reply(Digest(2)));
    story.reply(1, Digest(1));
    story.breaks("another reply");
}

#[test]
fn other_reply_than_the_one_that_counts_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    let worker = story.open();
    story.give(worker, 1, 1);
    story.settle(worker, 1, 1, How::Complete(Digest(1)));
    let two = story.say(worker, token(1, 1), How::Complete(Digest(2)));
    story.tell(two, Outcome::AlreadyCompleted);
    story.reply(1, Digest(2));
    story.breaks("another reply");
}

#[test]
fn reply_that_is_told_and_lost_is_found() {
    let mut story = Story::new();
    let call = story.request(1);
    story.stored(call, 1);
    story.keep(1);
    story.responder(1);
    let worker = story.open();
    story.give(worker, 1, 1);
    let said = story.say(worker, token(1, 1), How::Complete(Digest(1)));
    story.tell(call, Outcome::Reply(Digest(1)));
    story.restart();
    story.tell(said, Outcome::Unknown);
    story.breaks("reply told and lost");
}

#[test]
fn reply_that_nobody_gave_is_found() {
    let mut story = Story::new();
    let call = story.request(1);
    story.stored(call, 1);
    story.keep(1);
    story.responder(1);
    let worker = story.open();
    story.work(worker, 1);
    story.tell(call, Outcome::Reply(Digest(5)));
    let rules: Vec<_> = story.check().iter().map(|found| found.rule).collect();
    assert_eq!(rules, ["reply that nobody gave", "reply told and lost"]);
}

#[test]
fn requester_who_is_told_of_a_dead_letter_after_the_reply_is_found() {
    let mut story = Story::new();
    let call = story.request(1);
    story.stored(call, 1);
    story.keep(1);
    story.responder(1);
    let worker = story.open();
    story.work(worker, 1);
    story.tell(call, Outcome::Reply(Digest::of(b"")));
    let call = story.request(1);
    story.tell(call, Outcome::DeadLettered);
    story.letter(1, DeadLetterCode::Attempts);
    story.breaks("reply forgotten");
}

#[test]
fn trim_after_it_does_not_explain_why_a_reply_was_forgotten() {
    let mut story = Story::new();
    let call = story.request(1);
    story.stored(call, 1);
    story.keep(1);
    story.responder(1);
    let worker = story.open();
    story.work(worker, 1);
    story.tell(call, Outcome::Reply(Digest::of(b"")));
    let call = story.request(1);
    story.tell(call, Outcome::DeadLettered);
    story.letter(1, DeadLetterCode::Attempts);
    story.done(Operation::Trim(Seq(2)));
    story.trimmed(2);
    story.breaks("reply forgotten");
}

#[test]
fn other_reply_to_a_request_that_is_still_there_is_found() {
    let mut story = Story::answered_reset_and_rejected();
    let call = story.request(1);
    story.answered_otherwise(call);
    story.breaks("another reply");
}

#[test]
fn replay_before_the_first_completion_does_not_explain_another_run() {
    let mut story = Story::new();
    story.store(1);
    story.done(Operation::ReplayInto(name(), Seq(1), Seq(1)));
    let slow = completed_while_another_has_it(&mut story);
    let late = story.say(slow, token(1, 1), How::Ack);
    story.tell(late, Outcome::AlreadyCompleted);
    let next = story.open();
    story.give_as(next, 1, token(1, 3), 1);
    story.breaks("executed after completion");
}

#[test]
fn reply_that_is_expired_beside_its_request_is_found() {
    let mut story = Story::new();
    let call = story.request(1);
    story.stored(call, 1);
    story.keep(1);
    story.responder(1);
    let worker = story.open();
    story.work(worker, 1);
    story.tell(call, Outcome::ReplyExpired);
    story.breaks("reply expired and still there");
}

#[test]
fn message_that_is_passed_in_silence_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    story.breaks("silent gap");
}

/// It may have been done once: an operator wants it done again.
#[test]
fn message_that_is_passed_after_a_reset_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.listener(1);
    story.end.replies = None;
    let worker = story.open();
    story.work(worker, 1);
    story.done(Operation::Reset(name(), Seq(0)));
    story.breaks("silent gap");
}

#[test]
fn gap_that_is_not_counted_is_found() {
    let mut story = Story::new();
    story.responder(2);
    story.store(1);
    story.store(2);
    story.done(Operation::Trim(Seq(3)));
    story.trimmed(3);
    story.end.consumers[0].gap_messages = 1;
    story.breaks("gap that was not reported");
}

#[test]
fn message_that_nobody_ever_does_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.responder(0);
    story.breaks("message that nobody did");
}

/// It failed, and was to be tried again.
#[test]
fn failed_message_that_is_passed_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.listener(1);
    story.end.replies = None;
    let worker = story.open();
    story.give(worker, 1, 1);
    let said = story.say(worker, token(1, 1), How::Nak);
    story.tell(said, Outcome::AlreadyCompleted);
    story.breaks("silent gap");
}

#[test]
fn completion_that_is_refused_though_there_was_none_is_found() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    let worker = story.open();
    story.give(worker, 1, 1);
    let said = story.say(worker, token(1, 1), How::Complete(Digest(1)));
    story.tell(said, Outcome::AlreadyCompleted);
    story.breaks("reply told and lost");
}
