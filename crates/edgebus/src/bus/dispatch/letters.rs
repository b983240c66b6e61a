//! What operators want of dead letters.
//!
//! They were looked for on another thread, so each is looked for again here: someone else may have
//! decided it otherwise meanwhile. Invariant: what was decided before is in the journal by then.

use edgebus_core::{ConsumerName, Refusal, Seq};
use tokio::sync::oneshot;

use super::commands::refusal;
use super::{Dispatch, Release};
use crate::clock::Now;
use crate::store::RequestStore;

impl Dispatch {
    /// A request is moved to the dead letters by hand. Everything decided before must be staged.
    pub(in crate::bus) fn move_to_dead_letter(
        &mut self,
        store: &mut RequestStore,
        (seq, consumer, reason): (Seq, &ConsumerName, &str),
        done: oneshot::Sender<Result<bool, Refusal>>,
        now: Now,
    ) {
        let staged = store.stage_dead_letter(seq, consumer, reason, now);
        if matches!(staged, Ok(Ok(true))) {
            self.release(Release::Failed(consumer.clone(), seq, reason.to_owned()));
            // Nobody is to be given it any more.
            self.drive(store, consumer, |machine, ledger, places, out| {
                machine.gone(ledger, places, seq, out);
            });
        }
        match staged.map_err(|error| Refusal::from(&error)) {
            Ok(Ok(new)) => self.release(Release::Moved(done, new)),
            Ok(Err(error)) => drop(done.send(Err(refusal(error)))),
            Err(refusal) => drop(done.send(Err(refusal))),
        }
    }

    /// Dead letters are tried again by the consumers they failed for; those that were decided
    /// otherwise meanwhile are not. Everything decided before must be staged.
    pub(in crate::bus) fn requeue(
        &mut self,
        store: &mut RequestStore,
        letters: Vec<(u64, ConsumerName, Seq)>,
        done: oneshot::Sender<Result<u64, Refusal>>,
    ) {
        let mut count = 0;
        for (number, name, seq) in letters {
            if !is_there(store, number, &name, seq) {
                continue;
            }
            let requeued = self.drive(store, &name, |machine, ledger, _, out| {
                machine.requeue(ledger, seq, number, out);
            });
            if requeued.is_some() {
                self.letter_requeued(number);
                count += 1;
            }
        }
        self.release(Release::Counted(done, count));
    }

    /// Dead letters are thrown away, those that are still there. Everything decided before must be
    /// staged.
    pub(in crate::bus) fn remove_letters(
        &mut self,
        store: &mut RequestStore,
        mut letters: Vec<(u64, ConsumerName, Seq)>,
        done: oneshot::Sender<Result<u64, Refusal>>,
    ) {
        letters.retain(|(number, name, seq)| is_there(store, *number, name, *seq));
        let count = letters.len() as u64;
        for (number, name, seq) in &letters {
            let requeued = store.ledgers().get(name).and_then(|l| l.requeued(*seq));
            if requeued == Some(*number) {
                self.drive(store, name, |machine, ledger, places, out| {
                    machine.gone(ledger, places, *seq, out);
                });
            }
        }
        // Whoever waits for one of them is told that it will not be run.
        let waiting = letters.iter().map(|(.., seq)| *seq);
        let waiting: Vec<Seq> = waiting.filter(|s| self.waiters.contains(*s)).collect();
        self.letters_removed(letters.into_iter().map(|(number, ..)| number).collect());
        self.release(Release::LookUp(waiting));
        self.release(Release::Counted(done, count));
    }
}

/// Whether a dead letter is that of a consumer and a message, as it was when it was looked for.
fn is_there(store: &RequestStore, number: u64, name: &ConsumerName, seq: Seq) -> bool {
    matches!(store.reader().dead_letter_of(name.as_str(), seq), Ok(Some(of)) if of == number)
}
