//! What looks wrong and is not: none of this may be flagged.

use std::time::Duration;

use edgebus_core::consumer::{DeadLetterCode, LeaseToken};
use edgebus_core::{Code, Scope, Seq};

use super::{Story, completed_while_another_has_it, duplicate, name, stored, token};
use crate::history::{Client, Digest, Event, How, Kind, Operation, Outcome, Start};

#[test]
fn message_on_its_way_while_another_worker_completed_it() {
    let mut story = Story::new();
    story.store(1);
    story.responder(2);
    let slow = story.open();
    let fast = story.open();
    story.work(fast, 1);
    story.store(2);
    // It left for the slow one when its first lease had expired.
    story.give(slow, 1, 2);
    let late = story.say(slow, token(1, 2), How::Ack);
    story.tell(late, Outcome::AlreadyCompleted);
    story.work(slow, 2);
    story.breaks_nothing();
}

/// What the late one is told is about the time before.
#[test]
fn message_that_is_replayed_while_a_worker_still_has_it_from_before() {
    let mut story = Story::new();
    story.store(1);
    let slow = completed_while_another_has_it(&mut story);
    story.done(Operation::ReplayInto(name(), Seq(1), Seq(1)));
    let late = story.say(slow, token(1, 1), How::Ack);
    story.tell(late, Outcome::AlreadyCompleted);
    let next = story.open();
    story.give_as(next, 1, token(1, 3), 1);
    story.settle(next, 1, 3, How::Ack);
    story.breaks_nothing();
}

#[test]
fn failed_message_comes_again_and_is_given_up_at_last() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    let worker = story.open();
    story.give(worker, 1, 1);
    story.settle(worker, 1, 1, How::Nak);
    story.give_as(worker, 1, token(1, 2), 2);
    story.settle(worker, 1, 2, How::Nak);
    story.letter(1, DeadLetterCode::Attempts);
    story.breaks_nothing();
}

#[test]
fn unknown_outcome_was_stored_or_was_not() {
    let mut story = Story::new();
    let one = story.ask(1);
    let two = story.ask(2);
    story.tell(one, Outcome::Unknown);
    story.restart();
    story.tell(two, Outcome::Unknown);
    story.keep(2);
    story.breaks_nothing();
}

#[test]
fn unknown_outcome_is_asked_again_and_was_there_before() {
    let mut story = Story::new();
    let one = story.ask(1);
    story.tell(one, Outcome::Unknown);
    story.restart();
    let again = story.ask(1);
    story.tell(again, duplicate(1));
    story.keep(1);
    story.breaks_nothing();
}

#[test]
fn completion_that_was_lost_in_a_power_cut_is_run_again() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    let worker = story.open();
    story.give(worker, 1, 1);
    let said = story.say(worker, token(1, 1), How::Complete(Digest(1)));
    story.restart();
    story.tell(said, Outcome::Unknown);
    let worker = story.open();
    story.give_as(worker, 1, token(1, 2), 1);
    story.settle(worker, 1, 2, How::Complete(Digest(2)));
    story.reply(1, Digest(2));
    story.breaks_nothing();
}

#[test]
fn completion_that_was_stored_though_nobody_was_told() {
    let mut story = Story::new();
    let call = story.request(1);
    story.keep(1);
    story.responder(1);
    let worker = story.open();
    story.give(worker, 1, 1);
    let said = story.say(worker, token(1, 1), How::Complete(Digest(1)));
    story.tell(said, Outcome::Unknown);
    let again = story.say(worker, token(1, 1), How::Complete(Digest(2)));
    story.tell(again, Outcome::AlreadyCompleted);
    story.reply(1, Digest(1));
    story.tell(call, Outcome::Reply(Digest(1)));
    story.breaks_nothing();
}

#[test]
fn operators_reset_has_it_run_again() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    let worker = story.open();
    story.give(worker, 1, 1);
    story.settle(worker, 1, 1, How::Complete(Digest(1)));
    story.reply(1, Digest(1));
    story.done(Operation::Reset(name(), Seq(0)));
    let worker = story.open();
    let second = LeaseToken {
        epoch: 2,
        ..token(1, 1)
    };
    story.give_as(worker, 1, second, 1);
    let said = story.say(worker, second, How::Complete(Digest(2)));
    story.tell(said, Outcome::Done);
    let call = story.request(1);
    story.tell(call, Outcome::Reply(Digest(1)));
    story.breaks_nothing();
}

#[test]
fn reset_whose_outcome_is_unknown_may_have_had_it_run_again_or_not() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    let worker = story.open();
    story.work(worker, 1);
    let reset = story.operate(Operation::Reset(name(), Seq(0)));
    story.tell(reset, Outcome::Unknown);
    story.breaks_nothing();
}

#[test]
fn requeued_dead_letter_is_answered_after_all() {
    let mut story = Story::new();
    let call = story.request(1);
    story.stored(call, 1);
    story.keep(1);
    story.responder(1);
    let worker = story.open();
    story.give(worker, 1, 1);
    story.settle(worker, 1, 1, How::Term);
    story.tell(call, Outcome::DeadLettered);
    story.done(Operation::Requeue(None));
    let worker = story.open();
    story.give(worker, 1, 2);
    story.settle(worker, 1, 2, How::Complete(Digest(3)));
    story.reply(1, Digest(3));
    let call = story.request(1);
    story.tell(call, Outcome::Reply(Digest(3)));
    story.breaks_nothing();
}

#[test]
fn trimmed_message_is_gone_with_its_reply_and_is_not_run_again() {
    let mut story = Story::new();
    story.responder(2);
    let worker = story.open();
    for n in [1, 2] {
        story.store(n);
        story.work(worker, n);
    }
    story.done(Operation::Trim(Seq(2)));
    story.trimmed(2);
    let call = story.request(1);
    story.tell(call, duplicate(1));
    story.tell(call, Outcome::ReplyExpired);
    story.breaks_nothing();
}

#[test]
fn trimmed_message_with_a_dead_letter_is_told_to_be_one_although_it_had_a_reply() {
    let mut story = Story::answered_reset_and_rejected();
    story.done(Operation::Trim(Seq(2)));
    story.trimmed(2);
    let call = story.request(1);
    story.tell(call, Outcome::DeadLettered);
    story.breaks_nothing();
}

#[test]
fn trimmed_message_whose_dead_letter_is_requeued_may_have_another_reply() {
    let mut story = Story::answered_reset_and_rejected();
    story.done(Operation::Trim(Seq(2)));
    story.trimmed(2);
    let call = story.request(1);
    story.answered_otherwise(call);
    story.breaks_nothing();
}

#[test]
fn trim_that_overtakes_a_consumer_is_told_as_a_gap() {
    let mut story = Story::new();
    story.responder(2);
    story.store(1);
    story.store(2);
    story.done(Operation::Trim(Seq(3)));
    story.trimmed(3);
    story.end.consumers[0].gap_messages = 2;
    story.breaks_nothing();
}

#[test]
fn trim_that_was_cut_short_is_done_or_not() {
    for trimmed in [false, true] {
        let mut story = Story::new();
        story.store(1);
        story.store(2);
        let trim = story.operate(Operation::Trim(Seq(2)));
        story.restart();
        story.tell(trim, Outcome::Unknown);
        if trimmed {
            story.trimmed(2);
        }
        story.breaks_nothing();
    }
}

#[test]
fn two_clients_send_one_id_at_the_same_time() {
    let mut story = Story::new();
    let one = story.ask(1);
    let two = story.ask_as(1, |asked| asked.client = Client(2));
    story.tell(two, duplicate(1));
    story.tell(one, stored(1));
    story.keep(1);
    story.breaks_nothing();
}

#[test]
fn two_clients_send_other_contents_and_one_is_refused() {
    let mut story = Story::new();
    let one = story.ask(1);
    let two = story.ask_as(1, |asked| {
        asked.client = Client(2);
        asked.payload = Digest(5);
    });
    story.tell(one, Outcome::Refused(Code::IdConflict));
    story.tell(two, stored(1));
    story.keep(1);
    story.end.log[0].payload = Digest(5);
    story.breaks_nothing();
}

#[test]
fn one_id_in_two_scopes_is_two_requests() {
    let mut story = Story::new();
    story.store(1);
    let other = story.ask_as(1, |asked| asked.scope = Scope(5));
    story.stored(other, 2);
    story.keep(1);
    story.end.log[1].scope = Scope(5);
    story.listener(2);
    story.end.replies = None;
    let worker = story.open();
    for seq in [1, 2] {
        story.give_as(worker, 1, token(seq, 1), 1);
        story.settle(worker, seq, 1, How::Ack);
    }
    story.breaks_nothing();
}

#[test]
fn receipts_that_arrive_out_of_order_say_nothing_about_the_log() {
    let mut story = Story::new();
    let one = story.ask(1);
    let two = story.ask_as(2, |asked| asked.client = Client(2));
    story.stored(two, 1);
    story.stored(one, 2);
    story.keep(2);
    story.keep(1);
    story.breaks_nothing();
}

#[test]
fn call_that_is_asked_again_is_behind_what_came_in_between() {
    let mut story = Story::new();
    let one = story.ask(1);
    story.tell(one, Outcome::Unknown);
    let two = story.ask(2);
    story.stored(two, 1);
    let again = story.ask(1);
    story.stored(again, 2);
    story.keep(2);
    story.keep(1);
    story.breaks_nothing();
}

#[test]
fn refused_once_and_stored_later() {
    let mut story = Story::new();
    let one = story.ask(1);
    story.tell(one, Outcome::Refused(Code::Busy));
    story.store(1);
    story.breaks_nothing();
}

#[test]
fn answers_that_were_on_their_way_when_the_disk_failed() {
    let mut story = Story::new();
    let one = story.ask(1);
    story.note(Event::IoFailed);
    story.stored(one, 1);
    let two = story.ask(2);
    story.tell(two, Outcome::Refused(Code::Poisoned));
    story.restart();
    story.keep(1);
    story.store(2);
    story.breaks_nothing();
}

#[test]
fn expired_request_is_a_dead_letter_that_never_ran() {
    let mut story = Story::new();
    let call = story.ask_as(1, |asked| asked.expires = Some(Duration::from_millis(4)));
    story.stored(call, 1);
    story.keep(1);
    story.responder(1);
    for _ in 0..4 {
        story.note(Event::Remark("time goes by".into()));
    }
    story.letter(1, DeadLetterCode::Expired);
    story.breaks_nothing();
}

#[test]
fn new_consumer_owes_nothing_for_what_was_there_before() {
    let mut story = Story::new();
    story.store(1);
    story.consumer(2, |setup| setup.start = Start::New);
    story.store(2);
    let worker = story.open();
    story.give(worker, 2, 1);
    story.settle(worker, 2, 1, How::Ack);
    story.breaks_nothing();
}

#[test]
fn message_that_is_not_for_a_consumer_is_passed() {
    let mut story = Story::new();
    story.store(1);
    story.consumer(1, |setup| setup.patterns = vec!["other.*".into()]);
    story.breaks_nothing();
}

#[test]
fn operator_skips_what_nobody_did() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    story.done(Operation::Reset(name(), Seq(1)));
    story.breaks_nothing();
}

#[test]
fn what_was_on_its_way_when_a_pause_was_told_arrives() {
    let mut story = Story::new();
    story.responder(1);
    let worker = story.open();
    story.store(1);
    story.done(Operation::Pause(name()));
    story.work(worker, 1);
    story.breaks_nothing();
}

#[test]
fn client_that_is_gone_is_told_nothing() {
    let mut story = Story::new();
    story.ask(1);
    story.note(Event::Gone { client: Client(1) });
    story.breaks_nothing();
}

#[test]
fn spooled_request_is_stored_behind_later_ones() {
    let mut story = Story::new();
    let one = story.ask_as(1, |asked| asked.kind = Kind::Spool);
    story.tell(one, Outcome::Spooled { number: 1 });
    let two = story.ask_as(2, |asked| asked.client = Client(2));
    story.stored(two, 1);
    story.keep(2);
    story.keep(1);
    story.breaks_nothing();
}

#[test]
fn released_message_is_given_to_others_uncharged() {
    let mut story = Story::new();
    story.store(1);
    story.store(2);
    story.responder(2);
    let one = story.open();
    let two = story.open();
    story.give(one, 1, 1);
    story.work(two, 2);
    let said = story.say(one, token(1, 1), How::Release);
    story.tell(said, Outcome::Unknown);
    story.give_as(two, 1, token(1, 2), 1);
    story.settle(two, 1, 2, How::Ack);
    story.reply(1, Digest::of(b""));
    story.breaks_nothing();
}

#[test]
fn dead_letter_of_before_a_reset_is_requeued_and_overtakes_the_others() {
    let mut story = Story::new();
    story.store(1);
    story.store(2);
    story.listener(2);
    story.end.replies = None;
    let worker = story.open();
    story.work(worker, 1);
    story.give(worker, 2, 1);
    story.settle(worker, 2, 1, How::Term);
    story.done(Operation::Reset(name(), Seq(0)));
    story.done(Operation::Requeue(None));
    for seq in [2, 1] {
        let mut lease = token(seq, 1);
        lease.epoch = 2;
        story.give_as(worker, seq, lease, 1);
        let call = story.say(worker, lease, How::Ack);
        story.tell(call, Outcome::Done);
    }
    story.breaks_nothing();
}

#[test]
fn spooled_request_that_was_trimmed_before_anybody_saw_it() {
    let mut story = Story::new();
    let call = story.ask_as(1, |asked| asked.kind = Kind::Spool);
    story.tell(call, Outcome::Spooled { number: 1 });
    let other = story.ask_as(2, |asked| asked.client = Client(2));
    story.stored(other, 2);
    story.keep_at(2, 2);
    story.done(Operation::Trim(Seq(2)));
    story.breaks_nothing();
}

#[test]
fn request_whose_refusal_was_lost_with_the_connection_is_stored_behind_the_next() {
    let mut story = Story::new();
    let refused = story.ask(1);
    let stored_first = story.ask(2);
    story.stored(refused, 2);
    story.tell(stored_first, duplicate(1));
    story.keep_at(2, 1);
    story.keep_at(1, 2);
    story.breaks_nothing();
}

#[test]
fn ack_said_again_over_another_connection_is_told_that_it_is_done() {
    let mut story = Story::new();
    story.store(1);
    story.listener(1);
    story.end.replies = None;
    let worker = story.open();
    story.give(worker, 1, 1);
    let lost = story.say(worker, token(1, 1), How::Ack);
    story.give_as(worker, 1, token(1, 2), 2);
    let second = story.say(worker, token(1, 2), How::Ack);
    story.tell(lost, Outcome::Done);
    story.tell(second, Outcome::Done);
    story.breaks_nothing();
}

#[test]
fn request_behind_which_its_responder_was_set_is_told_to_be_dead() {
    let mut story = Story::new();
    story.store(1);
    story.responder(1);
    story.done(Operation::Reset(name(), Seq(1)));
    let call = story.request(1);
    story.tell(call, Outcome::DeadLettered);
    story.breaks_nothing();
}
