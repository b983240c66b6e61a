//! A consumer's machine and ledger against a small model of their own.
//!
//! Random runs of everything that can happen to one consumer: messages, workers that come, are
//! lost and come back, settlements with current and with old tokens, time, crashes, operators and
//! retention. `world` drives the machine as the engine does and checks each output; `model` says
//! what is wanted of each message. At the end everything stops failing, and all must drain.

mod model;
mod world;

use proptest::prelude::*;

use world::World;

/// One thing that happens. Numbers choose among what there is.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append { matching: bool },
    Attach { place: u8, credit: u8 },
    ComeBack { gone: u8, credit: u8 },
    Lose(u8),
    Close(u8),
    Credit { worker: u8, credit: u8 },
    Feed,
    Settle { token: u16, how: How },
    Time(u16),
    NextTick,
    Crash,
    Reset(u8),
    Pause(bool),
    Block(bool),
    Requeue(u8),
    RemoveRequeued(u8),
    MoveByHand { seq: u8, told: bool },
    Again { from: u8, length: u8 },
    Trim(u8),
    Progress,
    Configure { in_flight_max: u8 },
    Snapshot,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Ack,
    Complete,
    Nak(Option<u8>),
    Term,
    Extend,
    Release,
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        6 => Just(How::Ack),
        3 => Just(How::Complete),
        3 => prop::option::of(any::<u8>()).prop_map(How::Nak),
        1 => Just(How::Term),
        1 => Just(How::Extend),
        2 => Just(How::Release),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => prop::bool::weighted(0.7).prop_map(|matching| Step::Append { matching }),
        6 => (any::<u8>(), 0u8..6).prop_map(|(place, credit)| Step::Attach { place, credit }),
        3 => (any::<u8>(), 0u8..6).prop_map(|(gone, credit)| Step::ComeBack { gone, credit }),
        4 => any::<u8>().prop_map(Step::Lose),
        2 => any::<u8>().prop_map(Step::Close),
        10 => (any::<u8>(), 1u8..5).prop_map(|(worker, credit)| Step::Credit { worker, credit }),
        30 => Just(Step::Feed),
        30 => (any::<u16>(), how()).prop_map(|(token, how)| Step::Settle { token, how }),
        8 => (0u16..150).prop_map(Step::Time),
        8 => Just(Step::NextTick),
        3 => Just(Step::Crash),
        1 => any::<u8>().prop_map(Step::Reset),
        2 => any::<bool>().prop_map(Step::Pause),
        1 => any::<bool>().prop_map(Step::Block),
        6 => any::<u8>().prop_map(Step::Requeue),
        1 => any::<u8>().prop_map(Step::RemoveRequeued),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(seq, told)| Step::MoveByHand { seq, told }),
        3 => (any::<u8>(), 0u8..8).prop_map(|(from, length)| Step::Again { from, length }),
        2 => any::<u8>().prop_map(Step::Trim),
        2 => Just(Step::Progress),
        1 => (1u8..6).prop_map(|in_flight_max| Step::Configure { in_flight_max }),
        2 => Just(Step::Snapshot),
    ]
}

proptest! {
    // More with PROPTEST_CASES.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1500)))]

    #[test]
    fn no_run_loses_repeats_or_wrongly_blames_a_message(
        seed in any::<u64>(),
        responder in any::<bool>(),
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut world = World::new(seed, responder);
        for step in steps {
            world.step(step);
        }
        world.drain();
    }
}
