//! What consumers are offered: each message once, in the order of the log, whatever the feeder has
//! on its way.

use edgebus_core::consumer::Settlement;
use edgebus_core::{ConsumerName, Seq};

use super::{Begin, Change, Command, Desk, listener, name, seqs, tokens};
use crate::delivery::Settle;

/// The message that was being read used to be taken for the next one: all before it were skipped.
#[test]
fn reset_while_a_message_is_being_read_skips_nothing() {
    let mut desk = Desk::new();
    desk.send_many(5);
    let mut worker = desk.worker("audit", listener("a"), 100);
    let tokens = tokens(&mut worker);
    desk.seal();
    for token in &tokens[..4] {
        worker.handle.settle(*token, Settlement::Ack);
    }
    let reason = "not now".to_owned();
    let delay_ms = Some(1);
    worker
        .handle
        .settle(tokens[4], Settlement::Nak { delay_ms, reason });
    desk.turn();
    desk.wait(std::time::Duration::from_millis(5));
    // Asks for message 5.
    desk.turn();
    let mut reset = desk.ask_to_change(Change::Reset(name("audit"), Seq(0)));
    desk.rest();
    assert_eq!(reset.try_recv().expect("told"), Ok(()));
    assert_eq!(seqs(&mut worker), [1, 2, 3, 4, 5]);
}

#[test]
fn fetch_that_does_not_wait_looks_at_all_of_the_log() {
    let mut desk = Desk::new();
    let put = Change::Put(name("audit"), listener("wanted"), Begin::At(Seq(0)));
    // Many that are not for it, and they come as one.
    let records = (0..3_000_u32).map(|number| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let topic = if number < 2_999 { "other" } else { "wanted" };
        super::record_with(id, topic)
    });
    let submitted = desk.lane.try_submit(records.collect());
    desk.rest();
    drop(submitted);
    let mut made = desk.ask_to_change(put);
    let mut got = desk.command(|done| Command::Pull {
        consumer: name("audit"),
        count: 1,
        ack: false,
        wait_ms: 0,
        done,
    });
    desk.rest();
    assert_eq!(made.try_recv().expect("told"), Ok(()));
    let got = got.try_recv().expect("told").expect("no refusal");
    assert_eq!(got.len(), 1);
}

#[test]
fn offset_beyond_all_numbers_is_an_offset() {
    let mut desk = Desk::new();
    desk.send_many(1);
    let put = Change::Put(name("audit"), listener("a"), Begin::At(Seq(0)));
    desk.change(put).expect("made");
    let far = |name: ConsumerName| Change::SetOffset(name, Seq(u64::MAX));
    desk.change(far(name("audit"))).expect("set");
    desk.change(far(name("new"))).expect("set");
    desk.send(2, "a").expect("stored");
    desk.change(Change::Trim(Seq(2))).expect("trimmed");
    let mut desk = desk.reopen();
    assert_eq!(desk.info("audit").expect("there").offset, Seq(u64::MAX));
}
