//! Frames out of a stream of bytes.

use std::io;

use bytes::BytesMut;
use edgebus_core::wire::{Decoder, Frame};
use tokio::io::AsyncReadExt;

use super::TransportError;
use super::halves::ReadHalf;

/// Memory for bytes that have come: little for a connection that is idle, more while it is busy.
const ROOM_MIN: usize = 4 * 1024;
const ROOM_MAX: usize = 256 * 1024;

/// Reads bytes and cuts frames off them, without copying payloads.
#[derive(Debug)]
pub(super) struct StreamReader {
    half: ReadHalf,
    frame_bytes_max: usize,
    decoder: Decoder,
    buffer: BytesMut,
    room: usize,
    /// Bytes that have come so far.
    came: u64,
}

impl StreamReader {
    pub(super) fn new(half: ReadHalf, frame_bytes_max: usize) -> Self {
        Self {
            half,
            frame_bytes_max,
            decoder: Decoder::new(frame_bytes_max),
            buffer: BytesMut::new(),
            room: ROOM_MIN,
            came: 0,
        }
    }

    /// See [`super::Reader::bytes_came`].
    pub(super) fn bytes_came(&self) -> u64 {
        self.came
    }

    /// See [`super::Reader::allow_frame_bytes`].
    pub(super) fn allow_frame_bytes(&mut self, bytes: usize) {
        self.frame_bytes_max = self.frame_bytes_max.max(bytes);
        self.decoder = Decoder::new(self.frame_bytes_max);
    }

    /// See [`super::Reader::discard`].
    pub(super) async fn discard(&mut self) {
        self.buffer = BytesMut::new();
        let mut thrown_away = [0; ROOM_MIN];
        while let Ok(1..) = self.half.read(&mut thrown_away).await {}
    }

    /// See [`super::Reader::read`].
    pub(super) async fn read(&mut self, frames: &mut Vec<Frame>) -> Result<bool, TransportError> {
        let before = frames.len();
        loop {
            while let Some(frame) = self.decoder.decode(&mut self.buffer)? {
                frames.push(frame);
            }
            if frames.len() > before {
                return Ok(true);
            }
            if self.buffer.capacity() - self.buffer.len() < self.room / 2 {
                self.buffer.reserve(self.room);
            }
            let room = self.buffer.capacity() - self.buffer.len();
            let came = self.half.read_buf(&mut self.buffer).await?;
            self.came += came as u64;
            match came {
                0 if self.buffer.is_empty() => return Ok(false),
                0 => {
                    let cut = "the other end closed the connection in the middle of a frame";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, cut).into());
                }
                came if came == room => self.room = (self.room * 2).min(ROOM_MAX),
                came if came < self.room / 8 => self.room = (self.room / 2).max(ROOM_MIN),
                _ => {}
            }
        }
    }
}
