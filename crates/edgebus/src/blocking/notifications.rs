//! The notifications of a subscription as an iterator.

use std::time::Duration;

use edgebus_core::Refusal;

use super::runtime::{Runtime, TimedOut};
use crate::delivery::{self, Notification};

/// The notifications of a subscription: an iterator that waits for the next one.
///
/// It ends when a connection that is not made again is lost; [`Notifications::why_ended`] says why.
/// Dropping it ends the subscription.
///
/// ```no_run
/// # fn example(client: edgebus::blocking::Client) -> Result<(), edgebus::Refusal> {
/// use edgebus::{Notification, Subscription};
///
/// for notification in client.subscribe(Subscription::to("prices.*".parse()?))? {
///     match notification {
///         Notification::Message(entry) => println!("{}", entry.record().topic_str()),
///         Notification::Lagged(missed) => println!("{missed} missed"),
///         Notification::Interrupted => println!("the connection was away for a while"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Notifications {
    notifications: delivery::Notifications,
    runtime: Runtime,
}

impl Notifications {
    pub(super) fn new(notifications: delivery::Notifications, runtime: &Runtime) -> Self {
        Self {
            notifications,
            runtime: runtime.clone(),
        }
    }

    /// The next notification; `None` when no more come.
    ///
    /// # Errors
    /// [`TimedOut`] when there was none in this time.
    pub fn next_timeout(&mut self, time: Duration) -> Result<Option<Notification>, TimedOut> {
        self.runtime.wait_at_most(time, self.notifications.next())
    }

    /// Why no more come, once none do and somebody said why.
    pub fn why_ended(&self) -> Option<&Refusal> {
        self.notifications.why_ended()
    }
}

impl Iterator for Notifications {
    type Item = Notification;

    fn next(&mut self) -> Option<Self::Item> {
        self.runtime.wait(self.notifications.next())
    }
}
