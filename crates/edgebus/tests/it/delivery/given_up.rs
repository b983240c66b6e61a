//! Requests that nobody will run any more: whoever asks is told so, and does not wait for ever.

use edgebus::admin::{DeadLetterFilter, Position};
use edgebus::{Code, Handled, MessageBus, RequestError, Seq};

use super::fixture::{ask, name, pattern, responder};
use crate::bus::fixture::within;

async fn refused(bus: &MessageBus, number: u64) -> RequestError {
    within(bus.request_message(ask(number))).await.unwrap_err()
}

#[tokio::test]
async fn request_whose_dead_letter_was_removed_is_answered_as_failed() {
    let folder = tempfile::tempdir().unwrap();
    let bus = MessageBus::open(folder.path()).unwrap();
    let reject = |_| async { Handled::Reject("no such fruit".into()) };
    let handler = bus
        .handle(pattern("prices.*"), responder(), reject)
        .await
        .unwrap();
    let first = refused(&bus, 1).await;
    assert!(first.to_string().contains("no such fruit"), "{first}");
    let removed = bus.remove_dead_letters(DeadLetterFilter::all(), false);
    assert_eq!(within(removed).await, Ok(1));
    let again = refused(&bus, 1).await;
    assert_eq!(again.code(), Code::DeadLettered, "{again}");
    assert!(again.to_string().contains("prices"), "{again}");
    handler.stop().await;
}

#[tokio::test]
async fn request_that_the_responder_was_set_behind_is_answered_as_failed() {
    let folder = tempfile::tempdir().unwrap();
    let bus = MessageBus::open(folder.path()).unwrap();
    let config = responder().config.unwrap();
    within(bus.consumer_add(name("prices"), config))
        .await
        .unwrap();
    within(bus.send_to_server(ask(1))).await.unwrap();
    let reset = bus.consumer_reset(name("prices"), Position::Seq(Seq(2)));
    within(reset).await.unwrap();
    assert_eq!(refused(&bus, 1).await.code(), Code::DeadLettered);
}

#[tokio::test]
async fn responder_that_only_says_done_answers_with_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bus = MessageBus::open(folder.path()).unwrap();
    let done = |_| async { Handled::Done };
    let handler = bus
        .handle(pattern("prices.*"), responder(), done)
        .await
        .unwrap();
    let response = within(bus.request_message(ask(1))).await.unwrap();
    assert!(response.reply.payload.is_empty());
    let again = within(bus.request_message(ask(1))).await.unwrap();
    assert_eq!(again.reply, response.reply);
    handler.stop().await;
}
