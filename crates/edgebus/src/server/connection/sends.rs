//! What a client sends and publishes: as far as it may, to the bus, within its bounds.

use edgebus_core::access::Verb;
use edgebus_core::session::Outcome;
use edgebus_core::wire::Frame;
use edgebus_core::{Code, Kind, Record, Refusal};

use super::Conversation;
use crate::server::reply::Reply;

impl Conversation<'_> {
    /// Refuses what the client has no right to.
    pub(super) fn sort_out(
        &self,
        records: &mut Vec<(u64, Record)>,
        refused: &mut Vec<Outcome>,
        verb_of: impl Fn(Kind) -> Verb,
    ) {
        let asker = &self.standing.asker;
        let forbidden = asker.sort_out(records, refused, verb_of);
        let first = refused.len() - forbidden;
        if let Some(Outcome {
            result: Err(refusal),
            ..
        }) = refused.get(first)
        {
            self.shared.forbid(asker, forbidden, refusal);
        }
    }

    /// Tells whoever listens, and how many that were.
    pub(super) async fn publish(
        &mut self,
        mut records: Vec<(u64, Record)>,
        mut refused: Vec<Outcome>,
    ) {
        self.sort_out(&mut records, &mut refused, |_| Verb::Publish);
        let identity = self.standing.asker.identity.name();
        self.figures.send(records.len());
        let mut published = Vec::with_capacity(records.len());
        for (tag, record) in records {
            // There may be as many of them as fit a frame, and as many who listen to each.
            tokio::task::consume_budget().await;
            published.push(match self.shared.bus.publish_record(&record, identity) {
                Ok(reached) => Frame::Published { tag, reached },
                Err(refusal) => Frame::Error { tag, refusal },
            });
        }
        if !refused.is_empty() {
            self.reply(Reply::Refused(refused)).await;
        }
        self.reply(Reply::Frames(published)).await;
    }

    /// Hands sends to the engine, waiting while the lane is full, and has their outcomes told.
    pub(super) async fn submit(&mut self, sends: Sends) {
        let Sends {
            mut tags,
            mut records,
            mut refused,
            want_replies,
        } = sends;
        let mut places = Vec::new();
        if want_replies {
            while places.len() < records.len()
                && let Ok(place) = self.places.clone().try_acquire_owned()
            {
                places.push(place);
            }
            records.truncate(places.len());
            let over = tags.drain(places.len()..);
            let max = self.shared.config.limits.replies_waiting_max;
            refused.extend(over.map(|tag| too_many_requests(tag, max)));
        }
        if !refused.is_empty() {
            self.reply(Reply::Refused(refused)).await;
        }
        if records.is_empty() {
            return;
        }
        self.figures.send(records.len());
        let (submitted, answers) = if want_replies {
            let mut submitted = self.lane.submit_requesting(records).await;
            let answers = submitted.answers().into_iter().zip(places).collect();
            (submitted, answers)
        } else {
            (self.lane.submit(records).await, Vec::new())
        };
        self.reply(Reply::Outcomes {
            tags,
            submitted,
            answers,
        })
        .await;
    }
}

/// Sends that were read together.
#[derive(Default)]
pub(super) struct Sends {
    tags: Vec<u64>,
    records: Vec<Record>,
    refused: Vec<Outcome>,
    /// Their sender waits for replies.
    pub(super) want_replies: bool,
}

impl Sends {
    pub(super) fn add(
        &mut self,
        records: Vec<(u64, Record)>,
        refused: Vec<Outcome>,
        want_replies: bool,
    ) {
        self.want_replies = want_replies;
        self.refused.extend(refused);
        for (tag, record) in records {
            self.tags.push(tag);
            self.records.push(record);
        }
    }
}

fn too_many_requests(tag: u64, max: usize) -> Outcome {
    let message = format!(
        "{max} requests of this connection wait for replies, as many as may: ask again later"
    );
    Outcome {
        tag,
        result: Err(Refusal::new(Code::Busy, message).retry_after_ms(100)),
    }
}
