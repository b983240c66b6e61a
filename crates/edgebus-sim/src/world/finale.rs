//! The end of a world: faults have stopped, everybody finishes, nothing moves any more, and what is
//! stored is read.

use std::time::Duration;

use edgebus::{LogQuery, MessageBus, Refusal, Seq};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::{Phase, World};
use crate::history::{Digest, Event, Final, FinalConsumer, FinalReply, Letter, Row, Terms};

/// How long it may take until everything has drained: everything that waits, waits for less.
const DRAIN: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the server's last life waits for.
pub(super) struct Finale(oneshot::Receiver<()>);

/// Tells that everyone has finished who finishes by himself.
pub(super) struct Done(oneshot::Sender<()>);

impl Done {
    pub(super) fn tell(self) {
        let _ = self.0.send(());
    }
}

impl Finale {
    pub(super) fn new() -> (Self, Done) {
        let (done, finished) = oneshot::channel();
        (Self(finished), Done(done))
    }

    /// Waits until all has drained, and reads what is there.
    pub(super) async fn play(self, world: &World, bus: &MessageBus) {
        if timeout(DRAIN, self.0).await.is_err() {
            world.remark("somebody has not finished");
        }
        let until = Instant::now() + DRAIN;
        loop {
            match waits_for(bus).await {
                Ok(None) => break,
                Ok(Some(what)) if Instant::now() > until => {
                    world.remark(format_args!("not drained: {what}"));
                    break;
                }
                Err(refusal) => {
                    world.remark(format_args!("not drained: {refusal}"));
                    break;
                }
                Ok(Some(_)) => sleep(LOOK_EVERY).await,
            }
        }
        world.set_phase(Phase::Over);
        sleep(LOOK_EVERY).await;
        match read(bus).await {
            Ok(last) => {
                let terms = world.recorder.look(|history| history.terms);
                world.recorder.set_terms(Terms {
                    drained: true,
                    ..terms
                });
                world.recorder.note(Event::Final(Box::new(last)));
            }
            Err(error) => panic!("what is stored cannot be read: {error}"),
        }
    }
}

/// What still moves, if anything does.
async fn waits_for(bus: &MessageBus) -> Result<Option<String>, Refusal> {
    for info in bus.consumers().await? {
        if info.config.is_none() {
            continue;
        }
        if matches!(&*info.state, "paused" | "tripped") {
            bus.consumer_resume(info.name.clone()).await?;
        }
        if info.lag > 0 || info.in_flight > 0 || info.retrying > 0 || info.suspects > 0 {
            return Ok(Some(format!("{info:?}")));
        }
    }
    Ok(None)
}

/// Everything that is stored.
async fn read(bus: &MessageBus) -> Result<Final, Refusal> {
    let reader = bus.reader();
    let mut last = Final {
        last: reader.last_seq(),
        ..Final::default()
    };
    let mut replies = Vec::new();
    let mut query = Some(LogQuery::from(Seq(1)));
    while let Some(asked) = query.take() {
        let page = reader
            .read_log(&asked)
            .map_err(|error| Refusal::from(&error))?;
        for entry in page.entries {
            let record = entry.record();
            last.log.push(Row {
                seq: entry.seq(),
                id: record.id(),
                scope: entry.scope(),
                topic: record.topic_str().into(),
                payload: Digest::of(&record.payload()),
                notification: record.kind() == edgebus::Kind::Notification,
            });
            let reply = reader
                .reply(entry.seq())
                .map_err(|error| Refusal::from(&error))?;
            if let Some(reply) = reply {
                replies.push(FinalReply {
                    seq: entry.seq(),
                    payload: Digest::of(&reply.payload),
                });
            }
        }
        query = page.next.map(LogQuery::from);
    }
    last.replies = Some(replies);
    let mut after = 0;
    loop {
        let letters = reader
            .dead_letters(after, 100)
            .map_err(|error| Refusal::from(&error))?;
        let Some((number, _)) = letters.last() else {
            break;
        };
        after = *number;
        for (_, letter) in &letters {
            last.letters.push(Letter {
                consumer: letter.consumer.parse()?,
                seq: Seq(letter.seq),
                reason: letter.code(),
            });
        }
    }
    for info in bus.consumers().await? {
        last.consumers.push(FinalConsumer {
            name: info.name,
            offset: info.offset,
            paused: matches!(
                &*info.state,
                "paused" | "tripped" | "bounded" | "dead_letters_full"
            ),
            gap_messages: info.gap_messages,
        });
    }
    Ok(last)
}
