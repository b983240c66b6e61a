//! A connection's streams: workers of consumers, and live subscriptions. [`worker`] is what is known
//! of a worker at the other end, [`carrying`] the task of each stream.
//!
//! Each stream has a task that carries what comes from the bus to the connection's writer, which
//! takes it as the client reads. So what a slow client holds back is bounded: the engine is given
//! the client's credit in slices, and room for as many bytes as the stream's share of what all
//! connections may hold; a subscription loses what its buffer has no room for.

mod carrying;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;

use edgebus_core::access::Verb;
use edgebus_core::consumer::{CREDIT_MAX, LeaseToken, Place, Settlement};
use edgebus_core::stream::{Consume, Open, Subscribe};
use edgebus_core::wire::Frame;
use edgebus_core::{Code, Refusal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::asker::Asker;
use super::authorize::Needs;
use super::clients::Figures;
use super::outgoing::Outgoing;
use super::permits::{may_set_up, set_up};
use crate::bus::{MessageBus, OpenWorker, Share};
use crate::delivery::{Settle, Subscription};
use carrying::Carrying;
use worker::{Credit, Push, SLICE, Worker};

/// Frames of all streams of one connection that wait for the writer.
const FRAMES: usize = 4;
/// Bytes of messages, or of notifications, that are put into one frame if there is more than one.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Frames of streams, on their way to the writer.
pub(super) type Pushes = mpsc::Receiver<Push>;

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
        let credit = Credit {
            client: credit - first,
            engine: first,
            room,
        };
        let figures = self.figures.clone();
        let worker = Arc::new(Worker::new(opened.handle, figures, credit, sharing));
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
        room: Option<Share>,
    ) -> Option<impl Future<Output = Vec<Result<(), Refusal>>> + use<>> {
        let worker = self.worker(stream)?;
        let settled = items.iter().filter(|(_, s)| *s != Settlement::Extend);
        worker.take_back(settled.count());
        Some(worker.handle.settle_all(items, room))
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
