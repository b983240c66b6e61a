//! Dead letters, by hand: moved there, requeued, removed.

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

    /// Dead letters are tried again by the consumers they failed for.
    pub(in crate::bus) fn requeue(
        &mut self,
        store: &mut RequestStore,
        letters: Vec<(u64, ConsumerName, Seq)>,
        done: oneshot::Sender<Result<u64, Refusal>>,
    ) {
        let mut count = 0;
        for (number, name, seq) in letters {
            if !self.has_letter(store, number) {
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

    /// Dead letters are thrown away.
    pub(in crate::bus) fn remove_letters(
        &mut self,
        store: &mut RequestStore,
        mut letters: Vec<(u64, ConsumerName, Seq)>,
        done: oneshot::Sender<Result<u64, Refusal>>,
    ) {
        letters.retain(|(number, ..)| self.has_letter(store, *number));
        let count = letters.len() as u64;
        for (number, name, seq) in &letters {
            let requeued = store.ledgers().get(name).and_then(|l| l.requeued(*seq));
            if requeued == Some(*number) {
                self.drive(store, name, |machine, ledger, places, out| {
                    machine.gone(ledger, places, *seq, out);
                });
            }
        }
        self.letters_removed(letters.into_iter().map(|(number, ..)| number).collect());
        self.release(Release::Counted(done, count));
    }
}
