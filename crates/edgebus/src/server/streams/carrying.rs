//! The way of one stream from the bus to the connection's writer.

use std::sync::Arc;

use edgebus_core::session::{deliver_frames, notify_frames};
use edgebus_core::wire::Frame;
use edgebus_core::{Code, Refusal};
use tokio::sync::mpsc;

use super::super::outgoing::Outgoing;
use super::worker::{Push, Worker};
use crate::delivery::{Notification, Notifications, WorkerEvent};

/// Notifications that are put into a frame at most.
const NOTIFY_MAX: usize = 1024;

/// The way from the bus to the writer.
pub(super) struct Carrying {
    pub(super) stream: u64,
    pub(super) frame_bytes: usize,
    pub(super) outgoing: Outgoing,
    pub(super) frames: mpsc::Sender<Push>,
    pub(super) ended: mpsc::UnboundedSender<(u64, Refusal)>,
}

impl Carrying {
    /// Messages for a worker.
    pub(super) async fn messages(
        self,
        mut events: mpsc::UnboundedReceiver<WorkerEvent>,
        worker: Arc<Worker>,
    ) {
        let why = loop {
            match events.recv().await {
                Some(WorkerEvent::Deliveries(deliveries)) => {
                    let frames = deliver_frames(self.stream, deliveries, self.frame_bytes);
                    let pushes: Vec<_> = frames.map(|frame| worker.push(frame)).collect();
                    for push in pushes {
                        worker.give_out(push.messages());
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

    /// Notifications for a live subscription.
    pub(super) async fn notifications(self, mut notifications: Notifications) {
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
        let room = self.outgoing.room(bytes).await;
        self.frames.send(Push::holding(frame, room)).await.is_ok()
    }
}

fn stopped() -> Refusal {
    Refusal::new(
        Code::ShuttingDown,
        "the bus has stopped: open the stream again after the restart",
    )
    .retry_after_ms(1000)
}
