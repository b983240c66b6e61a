//! Groups grow with the load: what comes while one is being synced shares the next sync.

use edgebus::Seq;

use super::files::{Call, Of};
use super::fixture::{TestBus, large_message, message, new, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_during_a_sync_shares_the_next_one() {
    let on = TestBus::start();
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let first = on.bus.try_send_to_server(message(0)).unwrap();
    within(hold.reached()).await;
    let others: Vec<_> = (1..=2000)
        .map(|number| on.bus.try_send_to_server(message(number)).unwrap())
        .collect();
    hold.let_pass(2);
    new(within(first).await);
    for (seq, other) in (2..).zip(others) {
        assert_eq!(new(within(other).await), Seq(seq));
    }
    assert_eq!(on.bus.stats().groups, 2);
}

/// The first of a burst must not wait for all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn burst_is_cut_into_groups_of_about_a_mebibyte() {
    let on = TestBus::start();
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let first = on.bus.try_send_to_server(message(0)).unwrap();
    within(hold.reached()).await;
    let others: Vec<_> = (1..=60)
        .map(|number| {
            let message = large_message(number, 100 * 1024);
            on.bus.try_send_to_server(message).unwrap()
        })
        .collect();
    drop(hold);
    new(within(first).await);
    for other in others {
        new(within(other).await);
    }
    let groups = on.bus.stats().groups;
    assert!((6..=8).contains(&groups), "6 MB in {groups} groups");
}
