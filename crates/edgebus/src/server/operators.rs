//! Answers what operators ask over a connection. The bus does it; here it is made to fit a frame.

use std::pin::pin;
use std::sync::Arc;

use edgebus_core::admin::{Admin, Managed};
use edgebus_core::consumer::{Delivery, LeaseToken, Settlement};
use edgebus_core::wire::Frame;
use edgebus_core::wire::managed::WireManaged;
use edgebus_core::{Code, ConsumerName, Refusal};
use futures_util::future::join_all;
use prost::Message as _;
use tokio::sync::watch;

use super::Shared;
use super::asker::{Asker, change};
use super::backups;
use super::permits::{Permit, permit, set_up};
use crate::access::Rights;
use crate::flag::Flag;

/// Room in a frame for what is not messages, and for the one message that fills it.
const SHARE: usize = 4;

/// The frame that answers an operator. One that waits for messages does so until the connection
/// ends.
pub(super) async fn answer(
    shared: Arc<Shared>,
    mut asker: Asker,
    tag: u64,
    admin: Admin,
    ending: Flag,
) -> Frame {
    let frame_bytes = shared.config.limits.frame_bytes_max;
    let mut rights = shared.guard.rights();
    // It may wait for long, so it begins with what is so now.
    asker.judge_by(rights.as_mut());
    // What commands ask beside what they were told to do would fill the log.
    let aside = matches!(admin, Admin::Consumers | Admin::ConsumerInfo { .. });
    let managed = match permit(&shared, &asker, admin).await {
        Ok(Permit::Answer(managed)) => Ok(managed),
        Ok(Permit::Ask(Admin::Clients)) => Ok(Managed::Clients(shared.clients.all())),
        Ok(Permit::Ask(Admin::Backup { id, offset })) => {
            let part = backups::part(&shared, (id, offset), frame_bytes / SHARE, ending).await;
            part.map(Managed::Backup)
        }
        Ok(Permit::Ask(admin @ Admin::Next { .. })) => {
            let until = Until {
                asker: asker.clone(),
                rights,
                ending,
            };
            until.next(&shared, admin, frame_bytes / SHARE).await
        }
        Ok(Permit::Ask(admin)) => shared.bus.admin_in(asker.scope, admin).await,
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = &managed
        && refusal.code == Code::Forbidden
    {
        match aside {
            true => shared.counters.forbid(1),
            false => shared.forbid(&asker, 1, refusal),
        }
    }
    let managed = managed.map(|managed| WireManaged::from(&page(managed, frame_bytes / SHARE)));
    match managed {
        Ok(managed) if managed.encoded_len() > frame_bytes.max(LETTER_BYTES) => Frame::Error {
            tag,
            refusal: Refusal::new(
                Code::BadQuery,
                "the answer is too large for a frame: ask for less at a time",
            ),
        },
        Ok(managed) => Frame::Managed {
            tag,
            managed: Box::new(managed),
        },
        Err(refusal) => Frame::Error { tag, refusal },
    }
}

/// A dead letter with the largest message and all its attempts may always be told.
const LETTER_BYTES: usize = 2 * edgebus_core::wire::FRAME_BYTES_MAX;

/// How long somebody may wait for messages.
struct Until {
    asker: Asker,
    rights: Option<watch::Receiver<Arc<Rights>>>,
    ending: Flag,
}

impl Until {
    /// Waits for messages until the connection ends, or the asker may not have them any more.
    async fn next(
        mut self,
        shared: &Shared,
        admin: Admin,
        bytes_max: usize,
    ) -> Result<Managed, Refusal> {
        let Admin::Next { name, .. } = &admin else {
            return shared.bus.admin(admin).await;
        };
        let name = name.clone();
        let mut waiting = pin!(next(shared, admin, bytes_max));
        loop {
            tokio::select! {
                // What has come is not thrown away, as it is leased by now.
                biased;
                next = &mut waiting => return next,
                () = self.ending.raised() => return Err(ended()),
                () = change(self.rights.as_mut()) => {
                    self.asker.judge_by(self.rights.as_mut());
                    let there = set_up(&shared.bus, &name).await?;
                    self.asker.may_work_for(&name, there.as_ref())?;
                }
            }
        }
    }
}

/// Leases messages, as many as fit. What does not fit is given back; what is to be acked is acked
/// only when it is known to fit.
async fn next(shared: &Shared, admin: Admin, bytes_max: usize) -> Result<Managed, Refusal> {
    let Admin::Next {
        name,
        count,
        ack,
        wait_ms,
    } = admin
    else {
        return shared.bus.admin(admin).await;
    };
    let alone = count == 1;
    let next = Admin::Next {
        name: name.clone(),
        count,
        ack: ack && alone,
        wait_ms,
    };
    let mut deliveries = match shared.bus.admin(next).await? {
        Managed::Deliveries(deliveries) => deliveries,
        other => return Ok(other),
    };
    let over = deliveries.split_off(fitting(&deliveries, bytes_max));
    let over = over.iter().map(|delivery| delivery.token);
    settle(shared, &name, over, Settlement::Release).await;
    if ack && !alone {
        let tokens = deliveries.iter().map(|delivery| delivery.token);
        let acked = settle(shared, &name, tokens, Settlement::Ack).await;
        // What was not acked comes again, to someone.
        let mut acked = acked.into_iter();
        deliveries.retain(|_| acked.next().unwrap_or(false));
    }
    Ok(Managed::Deliveries(deliveries))
}

/// Says the same of several leases, in one go; for each, whether that is on disk.
async fn settle(
    shared: &Shared,
    name: &ConsumerName,
    tokens: impl Iterator<Item = LeaseToken>,
    settlement: Settlement,
) -> Vec<bool> {
    let settling = tokens.map(|token| {
        shared.bus.admin(Admin::Settle {
            name: name.clone(),
            token,
            settlement: settlement.clone(),
        })
    });
    let settled = join_all(settling).await;
    settled.iter().map(Result::is_ok).collect()
}

/// How many of the first fit; at least one.
fn fitting(deliveries: &[Delivery], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let over = deliveries.iter().position(|delivery| {
        bytes += delivery.entry.as_bytes().len();
        bytes > bytes_max
    });
    over.map_or(deliveries.len(), |over| over.max(1))
}

/// Cuts a page of dead letters where the frame would be full.
fn page(managed: Managed, bytes_max: usize) -> Managed {
    let Managed::DeadLetters { mut letters, next } = managed else {
        return managed;
    };
    let mut bytes = 0;
    let over = letters.iter().position(|letter| {
        let attempts = letter.attempts.iter().map(|a| a.error.len() + 16);
        bytes += letter.entry.as_bytes().len() + attempts.sum::<usize>() + letter.reason.len();
        bytes > bytes_max
    });
    match over {
        Some(over) if letters.len() > over.max(1) => {
            letters.truncate(over.max(1));
            let next = letters.last().map(|letter| letter.number);
            Managed::DeadLetters { letters, next }
        }
        _ => Managed::DeadLetters { letters, next },
    }
}

fn ended() -> Refusal {
    Refusal::new(Code::ShuttingDown, "the connection ends: ask again").retry_after_ms(1000)
}
