//! Ids live in scopes: two identities use the same ids, and neither sees nor blocks the other.

use edgebus::consumer::{Answer, ConsumerConfig, Reply};
use edgebus::{Code, ConsumeConfig, Seq};

use super::fixture::{Guarded, allow, forbidden, on, scope};
use crate::bus::fixture::{code, duplicate, id, log, new, within};
use crate::delivery::fixture::{name, next, pattern};

fn two_shops() -> String {
    allow("till-*", "send request", "orders")
        + &allow("press", "consume", "orders")
        + &scope("shop-7", "till-7")
        + &scope("shop-8", "till-8")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_id_in_another_scope_is_another_request() {
    let guarded = Guarded::start(&two_shops()).await;
    let (seven, eight) = (
        guarded.connect("till-7").await,
        guarded.connect("till-8").await,
    );
    let press = guarded.connect("press").await;
    let responder = ConsumerConfig::responder(pattern("orders"));
    let responder = ConsumeConfig::new(name("press")).config(responder);
    let mut messages = within(press.consumer(responder)).await.unwrap();
    // Not even another content under the same id is in the way.
    let others = on("orders", 1);
    let mut mine = others.clone();
    mine.payload = "another".into();
    assert_eq!(new(within(seven.send_message(mine.clone())).await), Seq(1));
    assert_eq!(
        new(within(eight.send_message(others.clone())).await),
        Seq(2)
    );
    assert_eq!(
        code(within(seven.send_message(others.clone())).await),
        Code::IdConflict
    );
    assert_eq!(duplicate(within(seven.send_message(mine)).await), Seq(1));
    assert_eq!(duplicate(within(eight.send_message(others)).await), Seq(2));
    for (reply, entry) in [("seven", 1), ("eight", 2)] {
        let message = next(&mut messages).await;
        assert_eq!(message.entry().seq(), Seq(entry));
        within(message.complete(Reply::new(reply))).await.unwrap();
    }
    for (client, reply, seq) in [(&seven, "seven", 1), (&eight, "eight", 2)] {
        let found = within(client.find(id(1))).await.unwrap().expect("its own");
        assert_eq!(found.seq(), Seq(seq));
        let state = within(client.request_state(id(1))).await.unwrap();
        assert_eq!(state.seq, Some(Seq(seq)));
        match state.answer {
            Some(Answer::Reply(answer)) => assert_eq!(answer.payload, reply),
            other => panic!("no reply: {other:?}"),
        }
    }
    let scopes: Vec<_> = log(guarded.server.bus())
        .iter()
        .map(|e| e.scope())
        .collect();
    assert_eq!(scopes, ["shop-7", "shop-8"].map(edgebus::Scope::named));
}

/// Of what somebody else sent in the same scope nobody learns anything, not even whether it is
/// there: only whoever sent it, and who may read the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_of_another_identity_is_not_there() {
    let rights = allow("till-*", "send", "orders") + &allow("press", "replay", "orders");
    let guarded = Guarded::start(&rights).await;
    let seven = guarded.connect("till-7").await;
    new(within(seven.send_message(on("orders", 1))).await);
    for (who, sees) in [("till-7", true), ("till-8", false), ("press", true)] {
        let client = guarded.connect(who).await;
        let found = within(client.find(id(1))).await.unwrap();
        assert_eq!(found.is_some(), sees, "{who}");
        let state = within(client.request_state(id(1))).await.unwrap();
        assert_eq!(state.seq, sees.then_some(Seq(1)), "{who}");
        // What is not there at all is answered in the same way.
        assert_eq!(within(client.find(id(2))).await, Ok(None));
        let nothing = within(client.request_state(id(2))).await.unwrap();
        assert_eq!((nothing.seq, nothing.answer), (None, None));
    }
    let eight = guarded.connect("till-8").await;
    assert_eq!(
        forbidden(eight.get(Seq(1)).await),
        "till-8 may not replay on >"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scope_stays_until_somebody_connects_again() {
    let guarded = Guarded::start(&two_shops()).await;
    let before = guarded.connect("till-7").await;
    assert_eq!(
        new(within(before.send_message(on("orders", 1))).await),
        Seq(1)
    );
    let moved = allow("till-*", "send", "orders") + &scope("shop-9", "till-7");
    guarded.set_rights(&moved).await;
    assert_eq!(
        duplicate(within(before.send_message(on("orders", 1))).await),
        Seq(1)
    );
    let after = guarded.connect("till-7").await;
    assert_eq!(
        new(within(after.send_message(on("orders", 1))).await),
        Seq(2)
    );
}
