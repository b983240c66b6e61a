//! The proofs over the network with tiny numbers: that all their parts work together. The figures
//! come from the commands.

use edgebus_sim::network::certificates;
use edgebus_sim::network::flood::{self, Scenario};
use edgebus_sim::processes::binary;

#[test]
fn honest_clients_are_served_while_others_idle_or_say_half_a_frame() {
    let options = flood::Options {
        scale: 0.002,
        seconds: 1.0,
        base_seconds: 0.2,
        scenario: vec![Scenario::Idle, Scenario::Half],
        binary: Some(binary::built().expect("a binary")),
    };
    assert_eq!(flood::run(&options), Ok(()));
}

#[test]
fn tills_send_on_while_strangers_are_refused_and_every_certificate_is_replaced() {
    let options = certificates::Options {
        tills: 3,
        seconds: 0.2,
        binary: Some(binary::built().expect("a binary")),
    };
    assert_eq!(certificates::run(&options), Ok(()));
}
