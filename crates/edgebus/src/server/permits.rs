//! Whether an operator may have what it asks for. What that takes is looked up here; what it comes
//! to is decided in [`super::authorize`].
//!
//! Invariant: what somebody may not know of is, for whoever asks, not there.

use edgebus_core::access::Verb;
use edgebus_core::admin::{Admin, DeadLetterFilter, Managed, RequestState};
use edgebus_core::consumer::{ConsumerConfig, Hold};
use edgebus_core::{Code, ConsumerName, Refusal, RequestId};

use super::Shared;
use super::asker::Asker;
use crate::bus::MessageBus;
use crate::host;
use crate::store::{StoreError, StoreReader};

/// What becomes of a question.
pub(super) enum Permit {
    /// It is asked, as far as the asker may.
    Ask(Admin),
    /// There is nothing to be asked: this is the answer.
    Answer(Managed),
}

/// Decides on a question. Everything is asked as it came where nobody has written down who may do
/// what.
///
/// # Errors
/// [`Code::Forbidden`], or why it cannot be found out.
pub(super) async fn permit(
    shared: &Shared,
    asker: &Asker,
    mut admin: Admin,
) -> Result<Permit, Refusal> {
    if asker.grants.is_none() {
        return Ok(Permit::Ask(admin));
    }
    let bus = &shared.bus;
    match &mut admin {
        Admin::ConsumerAdd { name, config } => {
            may_set_up(bus, asker, name, config).await?;
        }
        Admin::Next { name, .. } | Admin::Settle { name, .. } => {
            asker.may_work_for(name, set_up(bus, name).await?.as_ref())?;
        }
        Admin::ConsumerInfo { name } => {
            asker.may_see(name, set_up(bus, name).await?.as_ref())?;
        }
        Admin::ConsumerPause { name, .. }
        | Admin::ConsumerRemove { name }
        | Admin::ConsumerReset { name, .. } => {
            asker.may_change(name, set_up(bus, name).await?.as_ref())?;
        }
        Admin::ReplayInto { name, query } => {
            asker.may(Verb::Replay, &query.topics)?;
            asker.may_change(name, set_up(bus, name).await?.as_ref())?;
        }
        Admin::DeadLetters { filter, .. } => {
            if !narrow(bus, asker, filter).await? {
                let (letters, next) = (Vec::new(), None);
                return Ok(Permit::Answer(Managed::DeadLetters { letters, next }));
            }
        }
        Admin::DeadLetterCount { filter }
        | Admin::Requeue { filter, .. }
        | Admin::RemoveDeadLetters { filter, .. } => {
            if !narrow(bus, asker, filter).await? {
                return Ok(Permit::Answer(Managed::Count(0)));
            }
        }
        Admin::RequestState { id } => {
            if !may_know(bus, asker, *id).await? {
                return Ok(Permit::Answer(Managed::State(RequestState::default())));
            }
        }
        // It holds everything: who takes it must be allowed to read all that is in it.
        Admin::Backup { .. } => {
            for verb in [Verb::Admin, Verb::Replay, Verb::DeadLetters] {
                asker.may(verb, &[])?;
            }
        }
        // Also what this version does not know.
        _ => asker.may(Verb::Admin, &[])?,
    }
    Ok(Permit::Ask(admin))
}

/// Fails unless somebody may set a consumer up like that, and work for one that is there. An inbox
/// is that of whoever makes it.
///
/// # Errors
/// [`Code::Forbidden`], or why it cannot be found out.
pub(super) async fn may_set_up(
    bus: &MessageBus,
    asker: &Asker,
    name: &ConsumerName,
    config: &mut ConsumerConfig,
) -> Result<(), Refusal> {
    if !config.target.is_empty() {
        asker.identity.name().clone_into(&mut config.target);
    }
    asker.may_consume(config)?;
    // One that is there is told about by the bus, if it is another than is wanted.
    match set_up(bus, name).await? {
        Some(there) => asker.may_work_for(name, Some(&there)),
        // Whoever holds the log for ever fills the disk for everyone.
        None if config.hold == Hold::Forever => asker.may(Verb::Admin, &config.patterns),
        None => Ok(()),
    }
}

/// How a consumer is set up; `None` when it is not there, or nobody has set it up.
///
/// # Errors
/// Why it cannot be found out.
pub(super) async fn set_up(
    bus: &MessageBus,
    name: &ConsumerName,
) -> Result<Option<ConsumerConfig>, Refusal> {
    match bus.consumer_info(name.clone()).await {
        Ok(info) => Ok(info.config),
        Err(refusal) if refusal.code == Code::NoSuchConsumer => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Leaves those dead letters in a filter of which the asker may know; whether there can be any.
async fn narrow(
    bus: &MessageBus,
    asker: &Asker,
    filter: &mut DeadLetterFilter,
) -> Result<bool, Refusal> {
    let verb = Verb::DeadLetters;
    let Err(refusal) = asker.may(verb, filter.topic.as_slice()) else {
        return Ok(true);
    };
    let has_any = asker.limits().is_none_or(|grants| grants.has(verb));
    if filter.numbers.is_empty() || !has_any {
        return Err(refusal);
    }
    // Before as many are looked up as somebody likes.
    filter.check()?;
    let (asker, numbers) = (asker.clone(), std::mem::take(&mut filter.numbers));
    filter.numbers = look(bus, move |reader| {
        let mut known = Vec::new();
        for number in numbers {
            let Some(letter) = reader.dead_letter(number)? else {
                continue;
            };
            if asker.allows(verb, letter.entry()?.record().topic_str()) {
                known.push(number);
            }
        }
        Ok(known)
    })
    .await?;
    // Without a number every one would be meant.
    Ok(!filter.numbers.is_empty())
}

/// Whether somebody may know of a request. Of one that is not kept any more only those may who may
/// read all.
async fn may_know(bus: &MessageBus, asker: &Asker, id: RequestId) -> Result<bool, Refusal> {
    let asker = asker.clone();
    look(bus, move |reader| {
        let Some(seq) = reader.find(id, asker.scope)? else {
            return Ok(true);
        };
        let entry = reader.get_by_seq(seq)?;
        Ok(match entry {
            Some(entry) => asker.may_know(&entry),
            None => asker.may(Verb::Replay, &[]).is_ok(),
        })
    })
    .await
}

/// Looks something up where reading from disk holds up nobody.
async fn look<T: Send + 'static>(
    bus: &MessageBus,
    look: impl FnOnce(&StoreReader) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Refusal> {
    let reader = bus.reader();
    match host::blocking(move || look(&reader)).await {
        Ok(found) => found.map_err(|error| Refusal::from(&error)),
        Err(_) => Err(Refusal::new(Code::Corrupt, "looking it up failed")),
    }
}
