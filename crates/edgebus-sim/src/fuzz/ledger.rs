//! Target `ledgers`: what is durable about a consumer, and changes to it.
//!
//! The bytes are the length of a ledger (u16), the ledger, and behind it changes, each with its
//! length (u8) before it. Promises: no panic; what is decoded and encoded comes back; a ledger that
//! took a change is still one that is read again.

use bytes::Bytes;
use edgebus_core::consumer::{ConsumerOp, Ledger};

/// Target `ledgers`.
pub(super) fn ledgers(data: &[u8]) {
    let Some((head, rest)) = data.split_at_checked(2) else {
        return;
    };
    let length = usize::from(u16::from_le_bytes([head[0], head[1]])).min(rest.len());
    let (ledger, mut ops) = rest.split_at(length);
    let Ok(mut ledger) = Ledger::decode(ledger) else {
        return;
    };
    comes_back(&ledger);
    while let Some((length, rest)) = ops.split_first() {
        let (op, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        ops = rest;
        if let Ok(op) = ConsumerOp::decode(Bytes::copy_from_slice(op)) {
            ledger.apply(&op);
            let _ = (ledger.offset(), ledger.is_paused(), ledger.gaps());
        }
    }
}

fn comes_back(ledger: &Ledger) {
    let written = ledger.encode();
    let again = Ledger::decode(&written).expect("what is written is read");
    assert_eq!(&again, ledger, "does not come back");
    assert_eq!(again.encode(), written, "is written another way each time");
}
