use super::simulate;

#[test]
fn the_same_seed_is_the_same_run() {
    let (one, other) = (simulate(1), simulate(1));
    assert_eq!(one.trace, other.trace);
}
