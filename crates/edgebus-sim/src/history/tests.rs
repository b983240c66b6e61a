use std::time::Duration;

use edgebus_core::Seq;

use super::{Client, Counts, Death, Digest, Event, Operation, Outcome, Recorder, Terms};

#[test]
fn what_is_noted_has_its_place_its_time_and_its_line() {
    let recorder = Recorder::new(Terms::default(), || Duration::from_millis(5));
    let call = recorder
        .clone()
        .operating(Client(1), Operation::Trim(Seq(9)));
    recorder.told(call, Outcome::Done);
    let history = recorder.finish();
    let lines: Vec<String> = history.noted.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "     5.000 ms  c0 asks operator 1 trim before 9",
            "     5.000 ms  c0 told done"
        ]
    );
    assert!(recorder.is_empty());
}

#[test]
fn counts_of_runs_add_up_by_kind() {
    let recorder = Recorder::in_real_time(Terms::default());
    let call = recorder.operating(Client(1), Operation::Trim(Seq(9)));
    recorder.told(call, Outcome::Unknown);
    recorder.note(Event::Died {
        how: Death::PowerCut,
    });
    let once = recorder.finish().counts();
    let mut twice = Counts::default();
    twice.add(&once);
    twice.add(&once);
    assert_eq!(twice.operations_total(), 2);
    assert_eq!(twice.outcomes["unknown"], 2);
    assert_eq!(twice.deaths[&Death::PowerCut], 2);
}

#[test]
fn other_bytes_have_another_digest() {
    assert_eq!(Digest::of(b"a"), Digest::of(b"a"));
    assert_ne!(Digest::of(b"a"), Digest::of(b"b"));
}
