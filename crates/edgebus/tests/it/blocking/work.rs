//! Messages taken one by one, and all that can be said about them.

use std::time::Duration;

use edgebus::Seq;
use edgebus::admin::DeadLetterFilter;
use edgebus::blocking::{Client, Delivered, Messages, TimedOut};
use edgebus::consumer::Reply;

use super::fixture::{HANGS_AFTER, with_server};
use crate::delivery::fixture::{ask, listener, name, responder};

fn next(messages: &mut Messages) -> Delivered {
    let next = messages.next_timeout(HANGS_AFTER);
    next.expect("in time").expect("no end").expect("a message")
}

fn offset(client: &Client, consumer: &str) -> Seq {
    client.consumer_info(name(consumer)).unwrap().offset
}

#[test]
fn message_is_done_when_it_says_so() {
    with_server(|host| {
        let client = host.client();
        let mut messages = client.consumer(listener("work").credit(1)).unwrap();
        let nothing = messages.next_timeout(Duration::from_millis(1));
        assert_eq!(nothing.unwrap_err(), TimedOut);
        client.send_batch((1..=3).map(ask).collect());
        let message = messages.next().unwrap().unwrap();
        assert_eq!((message.seq(), message.attempt()), (Seq(1), 1));
        assert_eq!(message.payload(), "what costs 1");
        message.extend().unwrap();
        message.incoming().extend().unwrap();
        message.ack_durable().unwrap();
        assert_eq!(offset(&client, "work"), Seq(1));
        // What is not waited for is done all the same, before more comes.
        next(&mut messages).ack();
        next(&mut messages).ack_durable().unwrap();
        assert_eq!(offset(&client, "work"), Seq(3));
    });
}

#[test]
fn failed_message_comes_again_and_in_the_end_is_a_dead_letter() {
    with_server(|host| {
        let client = host.client();
        let mut messages = client.consumer(listener("work").credit(1)).unwrap();
        client.send_message(ask(1)).unwrap();
        next(&mut messages).nak(Some(Duration::ZERO), "not now");
        let second = next(&mut messages);
        assert_eq!(second.attempt(), 2);
        second.release();
        let back = next(&mut messages);
        assert_eq!(back.attempt(), 2);
        drop(back);
        let back = next(&mut messages);
        assert_eq!(back.attempt(), 2);
        back.term("no such fruit");
        client.send_message(ask(2)).unwrap();
        assert_eq!(next(&mut messages).seq(), Seq(2));
        assert_eq!(client.dead_letter_count(DeadLetterFilter::all()), Ok(1));
    });
}

#[test]
fn reply_is_brought_whether_it_is_waited_for_or_not() {
    with_server(|host| {
        let client = host.client();
        let mut messages = client.consumer(responder()).unwrap();
        let asking = std::thread::spawn({
            let client = client.clone();
            move || [1, 2].map(|number| client.request_message(ask(number)).unwrap())
        });
        next(&mut messages).complete(Reply::new("2.49")).unwrap();
        next(&mut messages).complete_now(Reply::new("1.99"));
        let replies = asking
            .join()
            .unwrap()
            .map(|response| response.reply.payload);
        assert_eq!(replies, ["2.49", "1.99"]);
    });
}

#[test]
fn message_is_settled_over_another_connection() {
    with_server(|host| {
        let first = host.client();
        let mut messages = first.consumer(responder()).unwrap();
        first.send_message(ask(1)).unwrap();
        let held = next(&mut messages);
        let again = host.client();
        let second = again.consumer(responder().held([held.token()])).unwrap();
        let adopted = second.adopt(held);
        drop(messages);
        drop(first);
        adopted.complete(Reply::new("2.49")).unwrap();
        let response = again.request_message(ask(1)).unwrap();
        assert_eq!(response.reply.payload, "2.49");
    });
}
