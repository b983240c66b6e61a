//! The notifications of a subscription as a stream, and the bounded buffer they wait in.
//!
//! Invariant: whoever publishes never waits. What finds no room is counted, and the count stands
//! in the stream at the place of what is missing.

use std::any::Any;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};

use edgebus_core::{Entry, Refusal};
use futures_core::Stream;
use parking_lot::Mutex;

use super::{Messages, Subscription};

/// Most bytes of notifications that may wait to be read.
const BUFFER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most bytes of notifications that may wait in all buffers that share a bound; each buffer may hold
/// [`OWN_BYTES`] in any case.
const ALL_BYTES_MAX: usize = 64 * 1024 * 1024;
const OWN_BYTES: usize = 64 * 1024;

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notification {
    /// A notification. Its sequence number is 0 when it is not in the log.
    Message(Entry),
    /// So many were missed here, as they came faster than they were read.
    Lagged(u64),
    /// The connection was lost here and is back. What was published meanwhile, if anything, is
    /// missing.
    Interrupted,
}

/// The notifications of a subscription.
///
/// A stream of [`Notification`]. It ends when the bus stops or the connection is lost;
/// [`Notifications::why_ended`] says which. Dropping it ends the subscription.
///
/// ```no_run
/// # async fn example(client: edgebus::Client) -> Result<(), edgebus::Refusal> {
/// use edgebus::delivery::{Notification, Subscription};
///
/// let mut news = client.subscribe(Subscription::to("prices.*".parse()?)).await?;
/// while let Some(notification) = news.next().await {
///     match notification {
///         Notification::Message(entry) => println!("{}", entry.record().topic_str()),
///         Notification::Lagged(missed) => println!("{missed} missed"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Notifications {
    from: From,
    ended: Option<Refusal>,
}

#[derive(Debug)]
enum From {
    Live(Live),
    /// A durable consumer; what is handed over is acked.
    Named(Messages),
}

#[derive(Debug)]
struct Live {
    buffer: Arc<Mutex<Buffer>>,
    /// Ends the subscription at whoever feeds it, when it is dropped.
    _subscribed: Option<Box<dyn Any + Send + Sync>>,
}

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It waits to be read.
    Waits,
    /// There was no room; it is counted, and the reader will be told.
    Missed,
    /// Nobody reads any more.
    Gone,
}

/// The end that notifications are put in at. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Notifier(Arc<Mutex<Buffer>>);

#[derive(Debug)]
struct Buffer {
    waiting: VecDeque<Notification>,
    bytes: usize,
    /// Bytes in all buffers that share the bound, this one's included.
    all_bytes: Arc<AtomicUsize>,
    count_max: usize,
    state: State,
    reader: Option<Waker>,
}

#[derive(Debug)]
enum State {
    Open,
    /// Nothing more comes.
    Ended(Option<Refusal>),
    /// Nobody reads any more.
    Gone,
}

/// A buffer of so many notifications, with both its ends.
pub(crate) fn notifications(count_max: usize) -> (Notifier, Notifications) {
    notifications_beside(count_max, Arc::default())
}

/// A buffer that shares a bound in bytes with others.
pub(crate) fn notifications_beside(
    count_max: usize,
    all_bytes: Arc<AtomicUsize>,
) -> (Notifier, Notifications) {
    let buffer = Arc::new(Mutex::new(Buffer {
        waiting: VecDeque::new(),
        bytes: 0,
        all_bytes,
        count_max: count_max.clamp(1, Subscription::BUFFER_MAX),
        state: State::Open,
        reader: None,
    }));
    let live = Live {
        buffer: buffer.clone(),
        _subscribed: None,
    };
    let notifications = Notifications {
        from: From::Live(live),
        ended: None,
    };
    (Notifier(buffer), notifications)
}

impl Notifier {
    /// Puts a notification in, or counts it as missed.
    pub(crate) fn notify(&self, entry: Entry) -> Put {
        self.put(Notification::Message(entry))
    }

    /// So many were missed before they came here.
    pub(crate) fn lagged(&self, missed: u64) -> Put {
        self.put(Notification::Lagged(missed))
    }

    /// Something may have been missed here, and nobody counted it.
    pub(crate) fn interrupted(&self) -> Put {
        self.put(Notification::Interrupted)
    }

    /// Nothing more comes, and why. What waits can still be read.
    pub(crate) fn end(&self, refusal: Option<Refusal>) {
        let mut buffer = self.0.lock();
        if let State::Open = buffer.state {
            buffer.state = State::Ended(refusal);
            buffer.wake();
        }
    }

    fn put(&self, notification: Notification) -> Put {
        let mut buffer = self.0.lock();
        match buffer.state {
            State::Open => {
                let waits = buffer.put(notification);
                buffer.wake();
                if waits { Put::Waits } else { Put::Missed }
            }
            State::Ended(_) => Put::Missed,
            State::Gone => Put::Gone,
        }
    }
}

impl Buffer {
    /// Says whether it waits; if not, it was counted.
    fn put(&mut self, notification: Notification) -> bool {
        let missed = match notification {
            Notification::Message(entry) if self.has_room_for(&entry) => {
                let bytes = entry.as_bytes().len();
                self.bytes += bytes;
                self.all_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.waiting.push_back(Notification::Message(entry));
                return true;
            }
            Notification::Message(_) => 1,
            Notification::Lagged(missed) => missed,
            Notification::Interrupted => {
                // One says as much as several.
                if !matches!(self.waiting.back(), Some(Notification::Interrupted)) {
                    self.waiting.push_back(Notification::Interrupted);
                }
                return true;
            }
        };
        // Gaps that follow each other are one, so they need no more room than the messages.
        if let Some(Notification::Lagged(sum)) = self.waiting.back_mut() {
            *sum = sum.saturating_add(missed);
        } else {
            self.waiting.push_back(Notification::Lagged(missed));
        }
        false
    }

    fn has_room_for(&self, entry: &Entry) -> bool {
        let bytes = self.bytes.saturating_add(entry.as_bytes().len());
        let own = bytes <= OWN_BYTES || self.bytes == 0;
        let all = self.all_bytes.load(Ordering::Relaxed) < ALL_BYTES_MAX;
        self.waiting.len() < self.count_max && (own || (all && bytes <= BUFFER_BYTES_MAX))
    }

    fn take(&mut self) -> Option<Notification> {
        let notification = self.waiting.pop_front();
        if let Some(Notification::Message(entry)) = &notification {
            self.release(entry.as_bytes().len());
        }
        notification
    }

    fn release(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.all_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Notifications {
    /// The notifications of a durable consumer, acked as they are handed over.
    pub(crate) fn of(messages: Messages) -> Self {
        Self {
            from: From::Named(messages),
            ended: None,
        }
    }

    /// Drops this when it is dropped itself, after the buffer has been closed.
    pub(crate) fn holding(mut self, subscribed: Box<dyn Any + Send + Sync>) -> Self {
        if let From::Live(live) = &mut self.from {
            live._subscribed = Some(subscribed);
        }
        self
    }

    /// The next notification. `None` when no more come. Cancel-safe.
    pub async fn next(&mut self) -> Option<Notification> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// The notifications that wait, at least one and at most so many; a gap only as the last of
    /// them. `None` when no more come. Cancel-safe.
    pub(crate) async fn next_many(&mut self, max: usize) -> Option<Vec<Notification>> {
        let mut came = vec![self.next().await?];
        if let From::Live(live) = &self.from {
            let mut buffer = live.buffer.lock();
            while came.len() < max
                && let Some(Notification::Message(_)) = came.last()
                && let Some(notification) = buffer.take()
            {
                came.push(notification);
            }
        }
        Some(came)
    }

    /// Why no more come, once none do and somebody said why.
    pub fn why_ended(&self) -> Option<&Refusal> {
        self.ended.as_ref()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Notification>> {
        match &mut self.from {
            From::Live(live) => {
                let mut buffer = live.buffer.lock();
                if let Some(notification) = buffer.take() {
                    return Poll::Ready(Some(notification));
                }
                if let State::Ended(why) = &mut buffer.state {
                    self.ended = self.ended.take().or(why.take());
                    return Poll::Ready(None);
                }
                buffer.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            From::Named(messages) => {
                let next = ready!(Pin::new(messages).poll_next(cx));
                Poll::Ready(match next {
                    Some(Ok(delivered)) => {
                        let entry = delivered.entry().clone();
                        delivered.ack();
                        Some(Notification::Message(entry))
                    }
                    Some(Err(refusal)) => {
                        self.ended = Some(refusal);
                        None
                    }
                    None => None,
                })
            }
        }
    }
}

impl Stream for Notifications {
    type Item = Notification;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut buffer = self.buffer.lock();
        buffer.state = State::Gone;
        buffer.waiting.clear();
        let bytes = buffer.bytes;
        buffer.release(bytes);
    }
}
