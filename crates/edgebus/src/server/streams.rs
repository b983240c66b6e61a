//! A connection's streams: workers of consumers, and live subscriptions.
//!
//! Each stream has a task that carries what comes from the bus to the connection's writer, which
//! takes it as the client reads. So what a slow client holds back is bounded: the engine is given
//! the client's credit in slices, and room for as many bytes as the stream's share of what all
//! connections may hold; a subscription loses what its buffer has no room for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edgebus_core::access::Verb;
use edgebus_core::consumer::{CREDIT_MAX, LeaseToken, Place, Settlement};
use edgebus_core::session::{deliver_frames, notify_frames};
use edgebus_core::stream::{Consume, Open, Subscribe};
use edgebus_core::wire::Frame;
use edgebus_core::{Code, Refusal};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::asker::Asker;
use super::authorize::Needs;
use super::clients::Figures;
use super::outgoing::{Held, Outgoing, Room, Sharing};
use super::permits::{may_set_up, set_up};
use crate::bus::{MessageBus, OpenWorker, WorkerHandle};
use crate::delivery::{Notification, Notifications, Settle, Subscription, WorkerEvent};

/// Frames of all streams of one connection that wait for the writer.
const FRAMES: usize = 4;
/// Messages that are asked of the engine ahead of the writer, whatever their size.
const SLICE: u64 = 4096;
/// Bytes of messages, or of notifications, that are put into one frame if there is more than one.
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Notifications that are put into a frame at most.
const NOTIFY_MAX: usize = 1024;

/// Frames of streams, on their way to the writer.
pub(super) type Pushes = mpsc::Receiver<Push>;

/// A frame of a stream, and what it holds until it is written.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) frame: Frame,
    pub(super) holds: Holds,
}

/// What a frame holds until it is written or thrown away. Never read.
#[derive(Debug)]
pub(super) struct Holds {
    _room: Room,
    _sent: Option<Sent>,
}

impl Push {
    fn of(frame: Frame) -> Self {
        let holds = Holds {
            _room: None,
            _sent: None,
        };
        Self { frame, holds }
    }
}
/// Streams that the bus has ended, and why; each is told once.
pub(super) type EndedStreams = mpsc::UnboundedReceiver<(u64, Refusal)>;

/// What a connection's client has open.
#[derive(Debug)]
pub(super) struct Streams {
    bus: MessageBus,
    figures: Arc<Figures>,
    runs: Runs,
    /// Bytes of messages that are put into one frame, if there is more than one.
    frame_bytes: usize,
    open: HashMap<u64, Stream>,
    outgoing: Outgoing,
    frames: mpsc::Sender<Push>,
    ended: mpsc::UnboundedSender<(u64, Refusal)>,
}

/// Where a connection's workers run, and whose turns they take.
#[derive(Debug)]
pub(super) struct Runs {
    pub(super) place: Place,
    pub(super) owner: Arc<str>,
}

#[derive(Debug)]
struct Stream {
    /// `None` for a subscription.
    worker: Option<Arc<Worker>>,
    /// What its client has to be allowed for as long as it is open, as far as that is asked.
    needs: Option<Needs>,
    carrying: JoinHandle<()>,
}

/// What became of the workers of a connection that ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// They may come back for their leases.
    Lost,
    /// They gave everything back.
    Closed,
}

impl Streams {
    /// No stream yet. What they bring, and which of them have ended, comes out of the other ends.
    pub(super) fn new(
        bus: MessageBus,
        figures: Arc<Figures>,
        runs: Runs,
        outgoing: Outgoing,
        frame_bytes_max: usize,
    ) -> (Self, Pushes, EndedStreams) {
        let (frames, pushes) = mpsc::channel(FRAMES);
        let (ended, ended_streams) = mpsc::unbounded_channel();
        let streams = Self {
            bus,
            figures,
            runs,
            frame_bytes: (frame_bytes_max / 4).min(FRAME_BYTES_MAX),
            open: HashMap::new(),
            outgoing,
            frames,
            ended,
        };
        (streams, pushes, ended_streams)
    }

    /// It is known now whose turns the workers take.
    pub(super) fn belong_to(&mut self, owner: Arc<str>) {
        self.runs.owner = owner;
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// Why not: it is to be ended.
    pub(super) async fn open(
        &mut self,
        stream: u64,
        open: Open,
        asker: &Asker,
        client: &str,
    ) -> Result<(), Refusal> {
        let opened = match open {
            Open::Consume(consume) => self.consume(stream, consume, asker).await?,
            Open::Subscribe(subscribe) => {
                asker.may(Verb::Subscribe, &subscribe.patterns)?;
                // An inbox is that of whoever somebody is, once that counts.
                let client = match asker.limits() {
                    Some(_) => asker.identity.name(),
                    None => client,
                };
                self.subscribe(stream, subscribe, client).await?
            }
            _ => {
                let what = "this server does not know what is to be opened";
                return Err(Refusal::new(Code::BadQuery, what));
            }
        };
        self.open.insert(stream, opened);
        self.figures.set_streams(self.open.len());
        Ok(())
    }

    async fn consume(
        &mut self,
        stream: u64,
        mut consume: Consume,
        asker: &Asker,
    ) -> Result<Stream, Refusal> {
        let name = consume.consumer.clone();
        if asker.limits().is_some() {
            match &mut consume.config {
                Some(config) => may_set_up(&self.bus, asker, &name, config).await?,
                None => asker.may_work_for(&name, set_up(&self.bus, &name).await?.as_ref())?,
            }
        }
        let credit = u64::from(consume.credit.min(CREDIT_MAX));
        let first = credit.min(SLICE);
        let sharing = self.outgoing.share();
        let room = sharing.bytes();
        let open = OpenWorker {
            consumer: consume.consumer,
            config: consume.config,
            credit: first as u32,
            held: consume.held,
            place: self.runs.place,
            owner: self.runs.owner.clone(),
            room: Some(room),
        };
        let opened = self.bus.open_worker(open).await?;
        let needs = match asker.limits() {
            Some(_) => {
                // It may be another one than a moment ago; from here on it stays what it is.
                let there = set_up(&self.bus, &name).await;
                let may = there.and_then(|there| {
                    asker.may_work_for(&name, there.as_ref())?;
                    Ok(there)
                });
                let there = may.inspect_err(|_| opened.handle.close())?;
                there.map(|there| Needs::Work(name, Box::new(there)))
            }
            None => None,
        };
        let worker = Arc::new(Worker {
            handle: opened.handle,
            figures: self.figures.clone(),
            held: AtomicU64::new(0),
            credit: Mutex::new(Credit {
                client: credit - first,
                engine: first,
                room,
            }),
            sharing,
        });
        worker.give_out(opened.kept.len());
        let kept = opened.kept;
        self.say(Frame::Opened { stream, kept }).await;
        let carrying = self
            .carrying(stream)
            .messages(opened.events, worker.clone());
        Ok(Stream {
            worker: Some(worker),
            needs,
            carrying: tokio::spawn(carrying),
        })
    }

    async fn subscribe(
        &mut self,
        stream: u64,
        subscribe: Subscribe,
        client: &str,
    ) -> Result<Stream, Refusal> {
        let needs = Some(Needs::Subscribe(subscribe.patterns.clone()));
        let mut wanted = Subscription::of(subscribe.patterns);
        wanted.buffer = subscribe.buffer as usize;
        wanted.client = client.to_owned();
        let notifications = self.bus.subscribe(wanted).await?;
        let kept = Vec::new();
        self.say(Frame::Opened { stream, kept }).await;
        let carrying = self.carrying(stream).notifications(notifications);
        Ok(Stream {
            worker: None,
            needs,
            carrying: tokio::spawn(carrying),
        })
    }

    fn carrying(&self, stream: u64) -> Carrying {
        Carrying {
            stream,
            frame_bytes: self.frame_bytes,
            outgoing: self.outgoing.clone(),
            frames: self.frames.clone(),
            ended: self.ended.clone(),
        }
    }

    /// Lets so many more messages come.
    pub(super) fn credit(&self, stream: u64, messages: u32) {
        if let Some(worker) = self.worker(stream) {
            worker.allow(messages);
        }
    }

    /// Says what became of messages; the future waits for the disk, and dropping it changes
    /// nothing. One outcome for each item.
    pub(super) fn settle(
        &self,
        stream: u64,
        items: Vec<(LeaseToken, Settlement)>,
    ) -> Option<impl Future<Output = Vec<Result<(), Refusal>>> + use<>> {
        let worker = self.worker(stream)?;
        let settled = items.iter().filter(|(_, s)| *s != Settlement::Extend);
        worker.take_back(settled.count());
        Some(worker.handle.settle_all(items))
    }

    /// A stream is at its end, with this as its last frame. What a worker still holds is given
    /// back.
    pub(super) async fn end(&mut self, stream: u64, last: Frame) {
        if let Some(ended) = self.open.remove(&stream) {
            ended.leave(Left::Closed);
        }
        self.figures.set_streams(self.open.len());
        self.say(last).await;
    }

    /// Streams that the client may not have any more, and why: they are to be ended.
    pub(super) fn forbidden(&self, asker: &Asker) -> Vec<(u64, Refusal)> {
        let needs = |(stream, open): (&u64, &Stream)| {
            let why = open.needs.as_ref()?.met_by(asker).err()?;
            Some((*stream, why))
        };
        self.open.iter().filter_map(needs).collect()
    }

    /// The connection has ended.
    pub(super) fn leave(&mut self, left: Left) {
        for (_, stream) in self.open.drain() {
            stream.leave(left);
        }
    }

    fn worker(&self, stream: u64) -> Option<&Arc<Worker>> {
        self.open.get(&stream)?.worker.as_ref()
    }

    /// Behind everything else that streams have said.
    async fn say(&self, frame: Frame) {
        // Once the writer is gone the connection ends, which the reader finds out by itself.
        let _ = self.frames.send(Push::of(frame)).await;
    }
}

impl Drop for Streams {
    /// The connection's task was ended from outside.
    fn drop(&mut self) {
        self.leave(Left::Lost);
    }
}

impl Stream {
    fn leave(self, left: Left) {
        self.carrying.abort();
        if let Some(worker) = &self.worker {
            match left {
                Left::Lost => worker.handle.lost(),
                Left::Closed => worker.handle.close(),
            }
        }
    }
}

/// A worker at the other end, as this end knows it.
#[derive(Debug)]
struct Worker {
    handle: WorkerHandle,
    figures: Arc<Figures>,
    /// Messages it was sent and has not settled.
    held: AtomicU64,
    credit: Mutex<Credit>,
    sharing: Sharing,
}

/// How many messages may come, as the client sees it: in two parts. And how many bytes.
#[derive(Debug)]
struct Credit {
    /// What the engine was not told of yet.
    client: u64,
    /// What the engine was told of and has not used, or what it used is not written yet.
    engine: u64,
    /// Bytes that the engine was told of and has not used, or what used them is not written yet.
    room: u64,
}

impl Credit {
    /// What the engine is to be told now, with a stream's share as it is at present; in parts that
    /// are worth it.
    fn top_up(&mut self, share: u64) -> Option<(u32, u64)> {
        let messages = SLICE.saturating_sub(self.engine).min(self.client);
        let bytes = share.saturating_sub(self.room);
        let worth = messages > 0 && (messages == self.client || messages >= SLICE / 4);
        if !worth && bytes < share / 4 {
            return None;
        }
        self.client -= messages;
        self.engine += messages;
        self.room += bytes;
        Some((u32::try_from(messages).unwrap_or(u32::MAX), bytes))
    }
}

impl Worker {
    fn allow(&self, messages: u32) {
        let more = {
            let mut credit = self.credit.lock();
            let sum = credit.client + u64::from(messages);
            credit.client = sum.min(u64::from(CREDIT_MAX));
            credit.top_up(self.sharing.bytes())
        };
        self.tell(more);
    }

    /// So many messages, of so many bytes, are with the client's system.
    fn written(&self, messages: u64, bytes: u64) {
        let more = {
            let mut credit = self.credit.lock();
            credit.engine = credit.engine.saturating_sub(messages);
            credit.room = credit.room.saturating_sub(bytes);
            credit.top_up(self.sharing.bytes())
        };
        self.tell(more);
    }

    fn tell(&self, more: Option<(u32, u64)>) {
        if let Some((messages, bytes)) = more {
            self.handle.take_more(messages, bytes);
        }
    }

    /// A frame of messages that came for it.
    fn push(self: &Arc<Self>, frame: Frame) -> Push {
        let (messages, bytes) = size_of(&frame);
        let sent = Sent {
            worker: self.clone(),
            messages: messages as u64,
            bytes: bytes as u64,
            _held: self.sharing.hold(bytes),
        };
        let holds = Holds {
            _room: None,
            _sent: Some(sent),
        };
        Push { frame, holds }
    }

    fn give_out(&self, messages: usize) {
        self.held.fetch_add(messages as u64, Ordering::Relaxed);
        self.figures.hold(messages as u64);
    }

    /// What is settled twice, or by someone else, is not counted twice.
    fn take_back(&self, messages: usize) {
        let less = |held: u64| Some(held.saturating_sub(messages as u64));
        let relaxed = Ordering::Relaxed;
        if let Ok(held) = self.held.fetch_update(relaxed, relaxed, less) {
            self.figures.release(held.min(messages as u64));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.figures.release(self.held.load(Ordering::Relaxed));
    }
}

/// Messages on their way to the client, until they are written.
#[derive(Debug)]
struct Sent {
    worker: Arc<Worker>,
    messages: u64,
    bytes: u64,
    _held: Held,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.worker.written(self.messages, self.bytes);
    }
}

/// The way from the bus to the writer.
struct Carrying {
    stream: u64,
    frame_bytes: usize,
    outgoing: Outgoing,
    frames: mpsc::Sender<Push>,
    ended: mpsc::UnboundedSender<(u64, Refusal)>,
}

impl Carrying {
    async fn messages(self, mut events: mpsc::UnboundedReceiver<WorkerEvent>, worker: Arc<Worker>) {
        let why = loop {
            match events.recv().await {
                Some(WorkerEvent::Deliveries(deliveries)) => {
                    let frames = deliver_frames(self.stream, deliveries, self.frame_bytes);
                    let pushes: Vec<_> = frames.map(|frame| worker.push(frame)).collect();
                    for push in pushes {
                        worker.give_out(size_of(&push.frame).0);
                        if self.frames.send(push).await.is_err() {
                            return;
                        }
                    }
                }
                // Only a client loses its connection to the bus.
                Some(WorkerEvent::Resumed(_)) => {}
                Some(WorkerEvent::Ended(refusal)) => break refusal,
                None => break stopped(),
            }
        };
        self.end(why);
    }

    async fn notifications(self, mut notifications: Notifications) {
        let stream = self.stream;
        while let Some(came) = notifications.next_many(NOTIFY_MAX).await {
            let mut entries = Vec::new();
            let mut missed = 0;
            for notification in came {
                match notification {
                    Notification::Message(entry) => entries.push(entry),
                    // Always the last: what comes behind it is taken the next time.
                    Notification::Lagged(count) => missed = count,
                    Notification::Interrupted => {}
                }
            }
            for frame in notify_frames(stream, entries, self.frame_bytes) {
                if !self.say(frame).await {
                    return;
                }
            }
            if missed > 0 && !self.say(Frame::Lagged { stream, missed }).await {
                return;
            }
        }
        let why = notifications.why_ended().cloned();
        self.end(why.unwrap_or_else(stopped));
    }

    /// Has the connection end the stream, unless that has ended itself.
    fn end(&self, why: Refusal) {
        let _ = self.ended.send((self.stream, why));
    }

    /// `false` once nothing is written any more.
    async fn say(&self, frame: Frame) -> bool {
        let bytes = match &frame {
            Frame::Notify { entries, .. } => entries.iter().map(|e| e.as_bytes().len()).sum(),
            _ => 0,
        };
        let holds = Holds {
            _room: self.outgoing.room(bytes).await,
            _sent: None,
        };
        self.frames.send(Push { frame, holds }).await.is_ok()
    }
}

fn stopped() -> Refusal {
    Refusal::new(
        Code::ShuttingDown,
        "the bus has stopped: open the stream again after the restart",
    )
    .retry_after_ms(1000)
}

/// Messages in a frame, and their bytes.
fn size_of(frame: &Frame) -> (usize, usize) {
    match frame {
        Frame::Deliver { deliveries, .. } => {
            let bytes = deliveries.iter().map(|d| d.entry.as_bytes().len());
            (deliveries.len(), bytes.sum())
        }
        _ => (0, 0),
    }
}
