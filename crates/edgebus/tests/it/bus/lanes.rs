//! Lanes: what one sender may have undecided is bounded, and so is what it costs the others.

use edgebus::bus::{LaneConfig, Outcome};
use edgebus::{Code, Scope, Seq};

use super::files::{Call, Of};
use super::fixture::{
    TestBus, code, id, is_pending, large_message, log_ids, message, new, record, records, within,
};

fn bounds(messages_max: usize, bytes_max: usize) -> LaneConfig {
    let mut config = LaneConfig::default();
    config.messages_max = messages_max;
    config.bytes_max = bytes_max;
    config
}

fn seqs(outcomes: Vec<Outcome>) -> Vec<u64> {
    outcomes.into_iter().map(|o| o.unwrap().0.0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_lane_says_busy_and_has_room_as_soon_as_an_outcome_is_told() {
    let on = TestBus::start();
    let lane = on.bus.lane("", Scope::default(), bounds(3, 1 << 20));
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let first = lane.try_submit(records(0..1)).unwrap();
    within(hold.reached()).await;
    let others = lane.try_submit(records(1..3)).unwrap();
    let busy = lane.try_submit(records(3..4)).unwrap_err();
    assert_eq!(busy.code, Code::Busy);
    assert!(busy.retry_after_ms.is_some());
    // Another lane is not concerned.
    let elsewhere = on.bus.try_send_to_server(message(9)).unwrap();

    hold.let_pass(1);
    assert_eq!(seqs(within(first.outcomes()).await), [1]);
    let next = lane.try_submit(records(3..4)).expect("room for one");
    assert_eq!(lane.try_submit(records(4..5)).unwrap_err().code, Code::Busy);
    drop(hold);
    assert_eq!(seqs(within(others.outcomes()).await).len(), 2);
    assert_eq!(seqs(within(next.outcomes()).await).len(), 1);
    new(within(elsewhere).await);
    lane.try_submit(records(4..7))
        .expect("all of it is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bus_says_busy_when_its_own_lane_is_full_of_bytes() {
    let on = TestBus::start();
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let mut sends = Vec::new();
    let busy = loop {
        let number = sends.len() as u64;
        match on.bus.try_send_to_server(large_message(number, 900 * 1024)) {
            Ok(send) => sends.push(send),
            Err(error) => break error,
        }
    };
    assert_eq!(busy.code(), Code::Busy);
    assert_eq!(sends.len(), 9, "8 MiB");
    drop(hold);
    for (seq, send) in (1..).zip(sends) {
        assert_eq!(new(within(send).await), Seq(seq));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submit_waits_while_the_lane_is_full_and_keeps_the_order() {
    let on = TestBus::start();
    let lane = on.bus.lane("", Scope::default(), bounds(10, 1 << 20));
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let mut submit = Box::pin(lane.submit(records(0..100)));
    assert!(is_pending(&mut submit).await);
    within(hold.reached()).await;
    assert_eq!(on.bus.stats().queued, 10, "the lane's bound");
    drop(hold);
    let outcomes = within(within(submit).await.outcomes()).await;
    assert_eq!(seqs(outcomes), (1..=100).collect::<Vec<_>>());
    assert_eq!(on.bus.stats().queued, 0);
}

/// A record that is larger than the lane may pass when the lane is empty; a bound of 0 is 1.
#[tokio::test]
async fn record_larger_than_its_lane_passes_alone() {
    let on = TestBus::start();
    for config in [bounds(1, 1), bounds(0, 0), bounds(usize::MAX, usize::MAX)] {
        let lane = on.bus.lane("", Scope::default(), config);
        let outcomes = within(within(lane.submit(records(0..20))).await.outcomes()).await;
        assert_eq!(seqs(outcomes), (1..=20).collect::<Vec<_>>());
    }
}

/// Permits of a submission that nobody waits for any more must come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_submissions_give_their_room_back() {
    let on = TestBus::start();
    let lane = on.bus.lane("", Scope::default(), bounds(5, 1 << 20));
    let hold = on.files.hold(Of::Journal, Call::Sync);
    drop(lane.try_submit(records(0..3)).unwrap());
    within(hold.reached()).await;
    // This one has handed over nothing, as 3 + 4 are more than 5.
    let mut waiting = Box::pin(lane.submit(records(10..14)));
    assert!(is_pending(&mut waiting).await);
    drop(waiting);
    assert_eq!(
        lane.try_submit(records(20..23)).unwrap_err().code,
        Code::Busy
    );
    drop(hold);
    super::fixture::eventually(|| on.bus.stats().queued == 0).await;
    let all = lane.try_submit(records(30..35)).expect("all room is back");
    assert_eq!(within(all.outcomes()).await.len(), 5);
    let stored: Vec<_> = (0..3).chain(30..35).map(id).collect();
    assert_eq!(log_ids(&on.bus), stored);
}

/// A backlog costs another sender a turn, not the whole of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backlog_of_one_lane_does_not_hold_up_another() {
    let on = TestBus::start();
    let greedy = on.bus.lane("", Scope::default(), bounds(50_000, 64 << 20));
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let first = greedy.try_submit(records(0..1)).unwrap();
    within(hold.reached()).await;
    let backlog = greedy.try_submit(records(1..50_000)).unwrap();
    let single = on.bus.try_send_to_server(message(1 << 40)).unwrap();
    // The group that is being written, and the next.
    hold.let_pass(2);
    let seq = new(within(single).await);
    assert!(seq.0 < 15_000, "behind {seq} of 50,000");
    drop(hold);
    assert_eq!(within(first.outcomes()).await.len(), 1);
    assert_eq!(within(backlog.outcomes()).await.len(), 49_999);
}

/// How many groups a single send waits for while one client has a hundred connections with all that
/// they may have undecided. The first group is being written when they begin.
async fn groups_for_a_single_send(backlog: impl Fn(u64) -> Vec<edgebus::Record>) -> u64 {
    const CONNECTIONS: u64 = 100;
    let on = TestBus::start();
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let mut hogs = Vec::new();
    for number in 0..CONNECTIONS {
        let lane = on
            .bus
            .lane("hog", Scope::default(), bounds(50_000, 64 << 20));
        hogs.push(lane.try_submit(backlog(number * 1_000_000)).unwrap());
        if number == 0 {
            within(hold.reached()).await;
        }
    }
    let before = on.bus.stats().groups;
    let lane = on.bus.lane("lone", Scope::default(), LaneConfig::default());
    let single = lane.try_submit(vec![record(u64::MAX >> 1)]).unwrap();
    hold.let_pass(3);
    assert!(within(single.outcomes()).await[0].is_ok());
    let stats = on.bus.stats();
    drop(hold);
    let all: u64 = (0..CONNECTIONS).map(|n| backlog(n).len() as u64).sum();
    assert!(stats.stored < all, "nobody was ahead of it");
    drop(hogs);
    stats.groups - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_send_beside_a_hundred_backlogs_of_small_requests_takes_three_groups_at_most() {
    let groups = groups_for_a_single_send(|from| records(from..from + 1000)).await;
    assert!(groups <= 3, "{groups}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_send_beside_a_hundred_backlogs_of_large_requests_takes_three_groups_at_most() {
    let large = |from| {
        let limits = edgebus::RecordLimits::default();
        let messages = (from..from + 2).map(|n| large_message(n, 300 * 1024));
        messages
            .map(|message| edgebus::Record::encode(&message, &limits).unwrap())
            .collect()
    };
    let groups = groups_for_a_single_send(large).await;
    assert!(groups <= 3, "{groups}");
}

/// A large one is paid for afterwards: it does not have to save up for its turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_large_send_does_not_wait_until_the_others_have_sent_as_much() {
    let on = TestBus::start();
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let hogs: Vec<_> = (0..100)
        .map(|number| {
            let lane = on
                .bus
                .lane("hog", Scope::default(), bounds(50_000, 64 << 20));
            let from = number * 1_000_000;
            lane.try_submit(records(from..from + 1000)).unwrap()
        })
        .collect();
    within(hold.reached()).await;
    let large = on
        .bus
        .try_send_to_server(large_message(1 << 40, 900 * 1024));
    hold.let_pass(3);
    new(within(large.unwrap()).await);
    drop((hold, hogs));
}

/// Duplicates add no bytes to a group; still they must not keep it open for as long as they come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backlog_of_duplicates_does_not_hold_up_another_lane() {
    let on = TestBus::start();
    let greedy = on.bus.lane("", Scope::default(), bounds(100_000, 64 << 20));
    let hold = on.files.hold(Of::Journal, Call::Sync);
    let first = greedy.try_submit(records(0..1)).unwrap();
    within(hold.reached()).await;
    // In the middle of it is a new one: the group that takes it waits for its sync, so how far the
    // engine had come with the backlog does not change while the test looks.
    let mut backlog = vec![record(0); 60_000];
    backlog[30_000] = record(2);
    let backlog = greedy.try_submit(backlog).unwrap();
    let single = on.bus.try_send_to_server(message(1)).unwrap();
    // The group that is being written, and that of the single one. Groups of nothing but duplicates
    // need no sync.
    hold.let_pass(2);
    assert_eq!(new(within(single).await), Seq(2), "before half of them");
    assert_eq!(on.bus.reader().last_seq(), Seq(2), "in an earlier group");
    drop(hold);
    assert_eq!(within(first.outcomes()).await.len(), 1);
    let mut outcomes = within(backlog.outcomes()).await;
    assert_eq!(outcomes.len(), 60_000);
    assert_eq!(outcomes.remove(30_000), Ok((Seq(3), false)));
    assert!(outcomes.into_iter().all(|o| o == Ok((Seq(1), true))));
}

#[tokio::test]
async fn ids_of_another_scope_are_other_requests() {
    let on = TestBus::start();
    new(on.bus.send_to_server(message(1)).await);
    let lane = on.bus.lane("till-7", Scope(7), LaneConfig::default());
    let outcome = lane.submit(records(1..2)).await.outcomes().await.remove(0);
    assert_eq!(outcome, Ok((Seq(2), false)));
    let entry = on.bus.reader().get_by_seq(Seq(2)).unwrap().unwrap();
    assert_eq!((entry.identity(), entry.scope()), ("till-7", Scope(7)));
    let mut other = message(1);
    other.payload = "something else".into();
    assert_eq!(code(on.bus.send_to_server(other).await), Code::IdConflict);
}
