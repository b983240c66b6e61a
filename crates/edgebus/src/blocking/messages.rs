//! The messages of a consumer as an iterator.

use std::time::Duration;

use edgebus_core::Refusal;
use edgebus_core::consumer::LeaseToken;

use super::delivered::Delivered;
use super::runtime::{Runtime, TimedOut};
use crate::delivery;

/// The messages of a consumer, as they come to one worker: an iterator that waits for the next one.
///
/// It ends after an `Err` that says why: the consumer was removed, or a connection that is not made
/// again was lost. Dropping it gives back what was not taken from it; messages that were taken can
/// still be settled.
///
/// ```no_run
/// # fn example(client: edgebus::blocking::Client) -> Result<(), edgebus::Refusal> {
/// use edgebus::ConsumeConfig;
/// use edgebus::consumer::ConsumerConfig;
///
/// let readings = ConsumerConfig::listener("sensors.>".parse()?);
/// let config = ConsumeConfig::new("archive".parse()?).config(readings);
/// for message in client.consumer(config)? {
///     let message = message?;
///     println!("{} {:?}", message.topic(), message.payload());
///     message.ack();
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Messages {
    messages: delivery::Messages,
    runtime: Runtime,
}

impl Messages {
    pub(super) fn new(messages: delivery::Messages, runtime: &Runtime) -> Self {
        Self {
            messages,
            runtime: runtime.clone(),
        }
    }

    /// The next message; `None` when no more come.
    ///
    /// # Errors
    /// [`TimedOut`] when there was none in this time.
    pub fn next_timeout(
        &mut self,
        time: Duration,
    ) -> Result<Option<Result<Delivered, Refusal>>, TimedOut> {
        let next = self.runtime.wait_at_most(time, self.messages.next())?;
        Ok(self.delivered(next))
    }

    /// Which of the leases that were held are still good, as [`delivery::Messages::kept`].
    pub fn kept(&self) -> &[LeaseToken] {
        self.messages.kept()
    }

    /// Takes over a message that came over a connection that was lost, so that it is settled here.
    ///
    /// As [`delivery::Messages::adopt`].
    pub fn adopt(&self, delivered: Delivered) -> Delivered {
        let adopted = self.messages.adopt(delivered.into_async());
        Delivered::new(adopted, &self.runtime)
    }

    fn delivered(
        &self,
        next: Option<Result<delivery::Delivered, Refusal>>,
    ) -> Option<Result<Delivered, Refusal>> {
        next.map(|next| next.map(|delivered| Delivered::new(delivered, &self.runtime)))
    }
}

impl Iterator for Messages {
    type Item = Result<Delivered, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.runtime.wait(self.messages.next());
        self.delivered(next)
    }
}
