//! `kill -9`, a few times: that all parts of the proof work together, and that nothing is lost.

use edgebus_sim::checker::check;
use edgebus_sim::history::{Death, Event, History};
use edgebus_sim::processes::figures::Figures;
use edgebus_sim::processes::server::Setup;
use edgebus_sim::processes::{binary, crash, interrupt};

const KILLS: u32 = 4;

#[test]
fn kill_9_under_retrying_clients_and_workers_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let binary = binary::built().expect("a binary");
    let mut setup = Setup::new(&binary, folder.path());
    let crashed = interrupt::run(crash::crash(&mut setup, KILLS, 7)).expect("runs to its end");
    let violations = check(&crashed.history);
    let told: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert_eq!(told, Vec::<String>::new(), "seed 7");
    let figures = Figures::of(&crashed.history);
    assert!(figures.acked > 0 && figures.given > 0, "{figures}");
    let deaths = &crashed.history.counts().deaths;
    assert!(deaths[&Death::Kill] >= u64::from(KILLS), "{deaths:?}");
    assert_eq!(deaths[&Death::Shutdown], 1);
    that_something_is_lost_would_be_found(crashed.history);
}

/// A proof that finds nothing wrong in anything proves nothing.
fn that_something_is_lost_would_be_found(mut history: History) {
    let last = history
        .noted
        .iter_mut()
        .find_map(|noted| match &mut noted.event {
            Event::Final(last) => Some(last),
            _ => None,
        });
    let log = &mut last.expect("it was read").log;
    log.remove(log.len() / 2);
    assert!(!check(&history).is_empty(), "a request was taken away");
}
