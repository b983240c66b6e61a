//! Acked means on disk: while a sync has not returned, nobody is told and nobody sees anything.

use edgebus::query::LogQuery;
use edgebus::{Code, Scope, Seq};

use super::files::{Call, Of};
use super::fixture::{TestBus, code, duplicate, id, is_pending, message, new, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_unsynced_is_told_or_visible() {
    let on = TestBus::start();
    new(on.bus.send_to_server(message(1)).await);
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let mut second = Box::pin(on.bus.try_send_to_server(message(2)).unwrap());
    within(hold.reached()).await;

    assert!(is_pending(&mut second).await, "told before the sync");
    let reader = on.bus.reader();
    assert_eq!(reader.last_seq(), Seq(1));
    assert_eq!(reader.get_by_seq(Seq(2)).unwrap(), None);
    assert_eq!(reader.find(id(2), Scope::default()).unwrap(), None);
    assert!(!reader.is_duplicate(id(2)).unwrap());
    assert_eq!(
        reader
            .read_log(&LogQuery::from(Seq(1)))
            .unwrap()
            .entries
            .len(),
        1
    );
    assert_eq!(on.bus.replay(Seq(1)).count(), 1);
    let stats = on.bus.stats();
    assert_eq!(
        (
            stats.last_seq,
            stats.stored,
            stats.appended,
            stats.groups,
            stats.synced_lsn
        ),
        (1, 1, 1, 1, 1)
    );
    assert_eq!(stats.queued, 1);

    drop(hold);
    assert_eq!(new(within(second).await), Seq(2));
    assert_eq!(reader.find(id(2), Scope::default()).unwrap(), Some(Seq(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsynced_offset_and_dead_letter_are_not_visible() {
    let on = TestBus::start();
    new(on.bus.send_to_server(message(1)).await);
    let till: edgebus::ConsumerName = "till".parse().unwrap();
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let mut offset = Box::pin(on.bus.set_consumer_offset(till.clone(), Seq(1)));
    let mut letter = Box::pin(
        on.bus
            .move_to_dead_letter(Seq(1), till.clone(), "no such item"),
    );
    assert!(is_pending(&mut offset).await && is_pending(&mut letter).await);
    within(hold.reached()).await;

    assert!(is_pending(&mut offset).await && is_pending(&mut letter).await);
    assert_eq!(on.bus.reader().get_consumer_offset(&till).unwrap(), None);
    assert_eq!(on.bus.reader().dead_letter_count(), 0);
    assert_eq!(on.bus.stats().dead_letters, 0);

    drop(hold);
    assert_eq!(within(offset).await, Ok(()));
    assert_eq!(within(letter).await, Ok(true));
    assert_eq!(
        on.bus.reader().get_consumer_offset(&till).unwrap(),
        Some(Seq(1))
    );
    assert_eq!(on.bus.reader().dead_letter_count(), 1);
}

/// A duplicate that is answered earlier than the first one's sync would acknowledge what a power
/// cut may still take away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicate_in_flight_is_answered_only_after_the_first_ones_sync() {
    let on = TestBus::start();
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let mut first = Box::pin(on.bus.try_send_to_server(message(1)).unwrap());
    within(hold.reached()).await;
    let mut again = Box::pin(on.bus.try_send_to_server(message(1)).unwrap());
    // One that is in the same group as its first.
    let mut two = Box::pin(on.bus.try_send_to_server(message(2)).unwrap());
    let mut two_again = Box::pin(on.bus.try_send_to_server(message(2)).unwrap());
    let mut other = message(2);
    other.payload = "something else".into();
    let conflict = on.bus.try_send_to_server(other).unwrap();

    hold.let_pass(1);
    assert_eq!(new(within(&mut first).await), Seq(1));
    within(hold.reached()).await;
    assert!(is_pending(&mut two).await);
    assert!(
        is_pending(&mut two_again).await,
        "before its first was on disk"
    );
    // It shares the group with them, so it is told with them.
    assert!(is_pending(&mut again).await);

    drop(hold);
    assert_eq!(duplicate(within(again).await), Seq(1));
    assert_eq!(new(within(two).await), Seq(2));
    assert_eq!(duplicate(within(two_again).await), Seq(2));
    assert_eq!(code(within(conflict).await), Code::IdConflict);
    assert_eq!(on.bus.stats().groups, 2);
}
