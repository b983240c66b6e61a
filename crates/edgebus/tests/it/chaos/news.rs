//! Notifications to a live subscriber on a bad network: where something is missing, it was told.

use edgebus::{Notification, Subscription};
use edgebus_testing::till::{client, connect, within};
use edgebus_testing::{Proxy, Weather, seeds};

use super::fixture::Restarting;
use crate::delivery::fixture::pattern;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_are_heard_in_order_and_gaps_are_told() {
    const PUBLISHED: u64 = 1000;
    for seed in seeds(&[41, 42]) {
        println!("seed {seed}");
        let server = Restarting::start().await;
        let proxy = Proxy::with(server.url(), seed, Weather::storm());
        let subscriber = connect(|| client(proxy.url(), "shelf").give_up_after(None)).await;
        let mut news = within(subscriber.subscribe(Subscription::to(pattern("prices.*"))))
            .await
            .unwrap();
        let bus = server.bus().clone();
        let publishing = tokio::spawn(async move {
            for number in 1..=PUBLISHED {
                bus.publish("prices.bread", number.to_string())
                    .await
                    .unwrap();
                tokio::task::yield_now().await;
            }
            // What is said until somebody hears it.
            loop {
                bus.publish("prices.end", "0").await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let (mut last, mut gap_told, mut interruptions) = (0, false, 0);
        let mut hear = async || loop {
            match news.next().await.expect("it goes on") {
                Notification::Message(entry) => {
                    let text = String::from_utf8(entry.record().payload().to_vec()).unwrap();
                    let number: u64 = text.parse().unwrap();
                    if number == 0 && interruptions > 0 {
                        return;
                    }
                    // All of them may have been on their way before the first cut.
                    if number == 0 {
                        proxy.cut_all();
                        continue;
                    }
                    let in_turn = number == last + 1;
                    assert!(number > last, "{number} came after {last}");
                    assert!(in_turn || gap_told, "{last} to {number} without a word");
                    (last, gap_told) = (number, false);
                    if number.is_multiple_of(50) {
                        proxy.cut_all();
                    }
                }
                Notification::Lagged(missed) => gap_told |= missed > 0,
                Notification::Interrupted => {
                    gap_told = true;
                    interruptions += 1;
                }
                other => panic!("{other:?}"),
            }
        };
        within(hear()).await;
        assert!(last == PUBLISHED || gap_told);
        publishing.abort();
    }
}
