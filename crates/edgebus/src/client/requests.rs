//! Requests whose replies are waited for, and notifications.

use bytes::Bytes;
use edgebus_core::{Code, Kind, Message, Receipt, Refusal, Topic};

use super::Client;
use crate::delivery::{RequestError, Response};
use crate::error::SendError;
use crate::ids::{new_message, new_request_id};

impl Client {
    /// Stores a request under a new version 7 id and waits until it is done.
    ///
    /// Waits as long as it takes: put a timeout around it where that is too long. The request is
    /// stored all the same and goes on, unless the window was full until then; to be able to ask
    /// again for its reply, use [`Client::request_message`] with an id of your own.
    ///
    /// ```no_run
    /// # async fn example(client: edgebus::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let response = client.request("prices.ask", "apples").await?;
    /// println!("{:?}, seq {}", response.reply.payload, response.receipt.seq);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RequestError`]: refused, failed for good, or nobody is left to tell.
    pub async fn request<T>(
        &self,
        topic: T,
        payload: impl Into<Bytes>,
    ) -> Result<Response, RequestError>
    where
        T: TryInto<Topic>,
        Refusal: From<T::Error>,
    {
        self.request_message(new_message(topic, payload)?).await
    }

    /// Stores a request under the id it has and waits until it is done. Asked again with the same
    /// id, at any time and over any connection, it is not run again and brings the same reply.
    ///
    /// The window bounds it until it is stored, not while its reply is waited for. A future that
    /// is dropped while the window is full, or while no server is there that may know of it, has
    /// sent nothing; later it gives up waiting, and the request goes on.
    ///
    /// # Errors
    /// [`RequestError`]: refused, failed for good, or nobody is left to tell.
    pub async fn request_message(&self, message: Message) -> Result<Response, RequestError> {
        let id = message.id;
        let failed = |refusal| SendError::new(id, refusal);
        let record = self.encode(message).map_err(failed)?;
        let room = self.window.room(1, record.as_bytes().len()).await;
        let (receipt, reply) = self.link.request(id, record, room).map_err(failed)?;
        let receipt = receipt.await?;
        match reply.await {
            Ok(Ok(answer)) => RequestError::from_answer(receipt, Some(answer)),
            Ok(Err(refusal)) => Err(RequestError::lost(id, refusal.message)),
            Err(_) => Err(RequestError::lost(id, "the connection was lost")),
        }
    }

    /// Tells everyone who listens now; says how many subscribers that were. Nothing is stored.
    ///
    /// A future that is dropped while the window is full has told nobody; later, the notification
    /// goes its way.
    ///
    /// # Errors
    /// Why not; [`Code::Unknown`] when it may have been told.
    pub async fn publish<T>(&self, topic: T, payload: impl Into<Bytes>) -> Result<u64, Refusal>
    where
        T: TryInto<Topic>,
        Refusal: From<T::Error>,
    {
        let message = Message::new(new_request_id(), topic.try_into()?, payload);
        self.publish_message(message).await
    }

    /// As [`Client::publish`], for a message with headers, or with a target that alone is to hear
    /// of it. Dropped, as there.
    ///
    /// # Errors
    /// Why not; [`Code::Unknown`] when it may have been told.
    pub async fn publish_message(&self, message: Message) -> Result<u64, Refusal> {
        let record = self.encode(message.kind(Kind::Notification))?;
        let room = self.window.room(1, record.as_bytes().len()).await;
        self.link.publish(record, room).await
    }

    /// Tells one client, if it listens now; says to how many subscriptions of it. Dropped, as
    /// [`Client::publish`].
    ///
    /// # Errors
    /// Why not; [`Code::Unknown`] when it may have been told.
    pub async fn send_to_client(&self, client: &str, message: Message) -> Result<u64, Refusal> {
        if client.is_empty() {
            let nobody = "a message for a client needs its name";
            return Err(Refusal::new(Code::BadConfig, nobody));
        }
        self.publish_message(message.target(client)).await
    }

    /// Stores a notification, and tells everyone who listens now and every named subscription,
    /// whenever it comes back. On the server's disk when this returns. Dropped, as
    /// [`Client::send_message`].
    ///
    /// # Errors
    /// [`SendError`]: refused, or unknown.
    pub async fn publish_persisted(&self, message: Message) -> Result<Receipt, SendError> {
        self.send_message(message.kind(Kind::Notification)).await
    }
}
