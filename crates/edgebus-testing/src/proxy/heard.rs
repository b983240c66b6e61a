//! What clients said, told from the frames that came from them.

use std::collections::BTreeMap;

use bytes::BytesMut;
use edgebus_core::RequestId;
use edgebus_core::wire::{Decoder, Frame};

/// Larger than any frame of a test.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// What all clients said.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) ids: BTreeMap<RequestId, u64>,
    pub(super) pings: u64,
    pub(super) broken: u64,
}

/// What one client says on one connection.
#[derive(Debug)]
pub(super) struct Listener {
    decoder: Decoder,
    came: BytesMut,
    broken: bool,
}

impl Listener {
    pub(super) fn new() -> Self {
        Self {
            decoder: Decoder::new(FRAME_BYTES_MAX),
            came: BytesMut::new(),
            broken: false,
        }
    }

    /// Takes what came next.
    pub(super) fn hear(&mut self, bytes: &[u8], heard: &mut Heard) {
        if self.broken {
            return;
        }
        self.came.extend_from_slice(bytes);
        loop {
            match self.decoder.decode(&mut self.came) {
                Ok(None) => return,
                Ok(Some(
                    Frame::Send { records, .. }
                    | Frame::Request { records, .. }
                    | Frame::Publish { records, .. },
                )) => {
                    for record in records {
                        *heard.ids.entry(record.id()).or_default() += 1;
                    }
                }
                Ok(Some(Frame::Ping { .. })) => heard.pings += 1,
                Ok(Some(_)) => {}
                Err(_) => {
                    self.broken = true;
                    heard.broken += 1;
                    return;
                }
            }
        }
    }
}
