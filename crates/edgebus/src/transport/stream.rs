//! Frames out of a stream of bytes.
//!
//! A server's end is guarded: frames have to keep up a pace, the first one is small, and memory is
//! taken only as far as all connections together have it.

use std::io;

use bytes::BytesMut;
use edgebus_core::wire::{Decoder, Frame};
use edgebus_core::{Code, Refusal};
use futures_util::FutureExt;
use tokio::io::AsyncReadExt;

use super::TransportError;
use super::halves::ReadHalf;
use super::inbox::{OWN_BYTES, Share};
use super::pace::{Pace, WINDOW};

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
    /// A whole frame has come: this is the right protocol.
    understood: bool,
    guard: Option<Guard>,
}

/// What the other end has to keep to.
#[derive(Debug)]
struct Guard {
    pace: Pace,
    share: Share,
    /// No frame has come yet.
    first: bool,
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
            understood: false,
            guard: None,
        }
    }

    /// See [`super::Reader::guard`].
    pub(super) fn guard(&mut self, limits: &super::Receive) {
        self.decoder = Decoder::new(limits.first_frame_bytes_max.min(self.frame_bytes_max));
        self.guard = Some(Guard {
            pace: Pace::new(limits.bytes_per_second_min),
            share: limits.inbox.share(),
            first: true,
        });
    }

    /// See [`super::Reader::bytes_came`].
    pub(super) fn bytes_came(&self) -> u64 {
        self.half.came_below().unwrap_or(self.came)
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
        // What was read last is accounted for elsewhere by now.
        if let Some(guard) = &mut self.guard {
            guard.share.shrink(self.buffer.capacity());
        }
        loop {
            while let Some(frame) = self.decode(frames.len() == before).await? {
                frames.push(frame);
            }
            if frames.len() > before {
                return Ok(true);
            }
            self.make_room();
            let room = self.buffer.capacity() - self.buffer.len();
            let (came, rested) = self.fill().await?;
            self.came += came as u64;
            match came {
                0 if self.buffer.is_empty() => return Ok(false),
                0 => {
                    let cut = "the other end closed the connection in the middle of a frame";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, cut).into());
                }
                // What came first after a rest says little.
                _ if rested => {}
                came if came == room => self.room = (self.room * 2).min(ROOM_MAX),
                came if came < self.room / 8 => self.room = (self.room / 2).max(ROOM_MIN),
                _ => {}
            }
        }
    }

    /// The next frame, if it has come whole. What a large one needs is waited for only while
    /// nothing else was read.
    async fn decode(&mut self, may_wait: bool) -> Result<Option<Frame>, TransportError> {
        if !self.understood
            && let Some(other) = other_protocol(&self.buffer)
        {
            return Err(TransportError::OtherProtocol(other));
        }
        if let Some(guard) = &mut self.guard
            && let Some(bytes) = announced(&self.buffer)
            && bytes > self.buffer.len()
            && bytes <= 4 + self.frame_bytes_max
            && !guard.first
            && !guard.share.try_grow(bytes)
        {
            if !may_wait {
                return Ok(None);
            }
            guard.share.grow(bytes).await?;
        }
        let frame = self.decoder.decode(&mut self.buffer)?;
        self.understood |= frame.is_some();
        let came = self.bytes_came();
        if let Some(guard) = &mut self.guard
            && frame.is_some()
        {
            guard.pace.restart(came);
            if std::mem::replace(&mut guard.first, false) {
                self.decoder = Decoder::new(self.frame_bytes_max);
            }
        }
        Ok(frame)
    }

    /// Room for what comes next: more where much comes, as far as there is memory.
    fn make_room(&mut self) {
        if self.buffer.capacity() - self.buffer.len() >= self.room / 2 {
            return;
        }
        if let Some(guard) = &mut self.guard {
            let wanted = self.buffer.len() + self.room;
            if wanted > OWN_BYTES && !guard.share.try_grow(wanted) {
                let left = guard.share.bytes().saturating_sub(self.buffer.len());
                self.room = left.clamp(ROOM_MIN, self.room);
            }
        }
        self.buffer.reserve(self.room);
    }

    /// Reads what comes next; no longer than the pace allows while a frame has begun. Says also
    /// whether memory was given back before. Cancel-safe.
    async fn fill(&mut self) -> Result<(usize, bool), TransportError> {
        let half = &mut self.half;
        let Some(guard) = &mut self.guard else {
            return Ok((half.read_buf(&mut self.buffer).await?, false));
        };
        if let Some(came) = half.read_buf(&mut self.buffer).now_or_never() {
            return Ok((came?, false));
        }
        let rested = rest(&mut self.buffer, &mut guard.share);
        loop {
            if self.buffer.is_empty() && !half.is_within_record() {
                guard.pace.restart(half.came_below().unwrap_or(self.came));
                if let Some(came) = half.begin(&mut self.buffer).await? {
                    return Ok((came, rested));
                }
            }
            guard.pace.check(half.came_below().unwrap_or(self.came))?;
            if guard.share.is_wanted() && guard.pace.waited() >= WINDOW {
                return Err(in_the_way().into());
            }
            let left = guard.pace.left();
            let _waiting = guard.pace.wait();
            let came = tokio::time::timeout(left, half.read_buf(&mut self.buffer)).await;
            if let Ok(came) = came {
                return Ok((came?, rested));
            }
        }
    }
}

/// The bytes of the frame at the front, length field counted, as far as that is known.
fn announced(buffer: &[u8]) -> Option<usize> {
    let length = buffer.first_chunk()?;
    (u32::from_le_bytes(*length) as usize).checked_add(4)
}

/// Gives memory back that whoever waits does not need; says whether there was any.
fn rest(buffer: &mut BytesMut, share: &mut Share) -> bool {
    let needed = match announced(buffer) {
        Some(bytes) => bytes.max(buffer.len()),
        None => ROOM_MIN,
    };
    // Less is not worth copying for.
    if share.bytes().max(buffer.capacity()) <= 2 * needed.max(OWN_BYTES / 2) {
        return false;
    }
    let mut smaller = BytesMut::with_capacity(needed.min(share.bytes()));
    smaller.extend_from_slice(buffer);
    *buffer = smaller;
    share.shrink(needed);
    true
}

fn in_the_way() -> Refusal {
    let what = "a frame came slowly while others waited for the memory it takes: try again";
    Refusal::new(Code::TooSlow, what).retry_after_ms(1000)
}

/// What the other end speaks, when its first bytes cannot be the beginning of a first frame: they
/// would announce one of 64 KiB and more.
fn other_protocol(bytes: &[u8]) -> Option<&'static str> {
    const METHODS: [&[u8; 4]; 9] = [
        b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"PRI ",
    ];
    let first = bytes.first_chunk::<4>()?;
    match first {
        // A record of an alert or of a handshake, in a version from 1.0 on.
        [0x15 | 0x16, 0x03, 0x01..=0x04, _] => Some("TLS"),
        b"HTTP" => Some("HTTP"),
        b"SSH-" => Some("SSH"),
        other => METHODS.contains(&other).then_some("HTTP"),
    }
}
