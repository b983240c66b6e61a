//! Dead letters: those on topics that are not granted are not there.

use std::time::Duration;

use edgebus::admin::DeadLetterFilter;
use edgebus::consumer::{ConsumerConfig, Settlement};

use super::fixture::{Guarded, allow, forbidden, on};
use crate::bus::fixture::{new, within};
use crate::delivery::fixture::{name, pattern};

/// Dead letters 1 and 3 on `mine`, 2 and 4 on `theirs`.
async fn with_letters(rights: &str) -> Guarded {
    let guarded = Guarded::start(rights).await;
    let root = guarded.connect("root").await;
    let all = ConsumerConfig::listener(pattern(">"));
    within(root.consumer_add(name("c"), all)).await.unwrap();
    for (topic, number) in ["mine", "theirs", "mine", "theirs"].into_iter().zip(1..) {
        new(within(root.send_message(on(topic, number))).await);
        let leased = root.next(name("c"), 1, false, Duration::from_secs(5));
        let token = within(leased).await.unwrap()[0].token;
        let term = Settlement::Term {
            reason: "no".to_owned(),
        };
        within(root.settle_by_name(name("c"), token, term))
            .await
            .unwrap();
    }
    guarded
}

fn of(topic: &str) -> DeadLetterFilter {
    DeadLetterFilter {
        topic: Some(pattern(topic)),
        ..DeadLetterFilter::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_on_topics_that_are_not_granted_are_not_there() {
    let guarded = with_letters(&allow("till-7", "dead-letters", "mine")).await;
    let till = guarded.connect("till-7").await;
    let count = async |filter| within(till.dead_letter_count(filter)).await;
    assert_eq!(count(of("mine")).await, Ok(2));
    let words = "till-7 may not handle dead-letters on theirs";
    assert_eq!(forbidden(count(of("theirs")).await), words);
    assert_eq!(
        forbidden(count(of("never")).await),
        words.replace("theirs", "never")
    );
    let words = words.replace("theirs", ">");
    assert_eq!(forbidden(count(DeadLetterFilter::all()).await), words);
    assert_eq!(forbidden(count(DeadLetterFilter::default()).await), words);
    // By number, those of others are as good as those that never were.
    let numbers = |numbers: &[u64]| DeadLetterFilter::numbers(numbers);
    assert_eq!(count(numbers(&[1, 2, 3, 4, 99])).await, Ok(2));
    assert_eq!(
        count(numbers(&[2, 4])).await,
        count(numbers(&[98, 99])).await
    );
    let page = within(till.dead_letters(numbers(&[1, 2, 99]), 0, 9))
        .await
        .unwrap();
    let listed: Vec<_> = page.letters.iter().map(|letter| letter.number).collect();
    assert_eq!((listed, page.next), (vec![1], None));
    let page = within(till.dead_letters(numbers(&[2]), 0, 9))
        .await
        .unwrap();
    assert!(page.letters.is_empty() && page.next.is_none());
    // Above all nothing becomes of them. Without any number left, all would be meant.
    assert_eq!(
        within(till.remove_dead_letters(numbers(&[2, 4]), false)).await,
        Ok(0)
    );
    assert_eq!(within(till.requeue(numbers(&[2, 4]), false)).await, Ok(0));
    assert_eq!(guarded.stats().dead_letters, 4);
    assert_eq!(
        within(till.remove_dead_letters(numbers(&[1, 2]), false)).await,
        Ok(1)
    );
    assert_eq!(within(till.requeue(of("mine"), true)).await, Ok(1));
    assert_eq!(guarded.stats().dead_letters, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_worth_nothing_without_the_right() {
    let guarded = with_letters(&allow("till-7", "consume admin", ">")).await;
    let till = guarded.connect("till-7").await;
    for numbers in [vec![1], vec![99]] {
        let filter = DeadLetterFilter::numbers(numbers);
        let words = forbidden(within(till.dead_letter_count(filter)).await);
        assert_eq!(words, "till-7 may not handle dead-letters on >");
    }
}
