//! What does not wait behind requests: the engine does it first.

use edgebus_core::{Code, Refusal};

use super::Engine;
use crate::bus::queue::Command;
use crate::clock::Now;
use crate::store::StoreError;

impl Engine {
    /// Does what workers, operators and the feeder said. Says whether there was anything.
    pub(super) fn take_commands(&mut self, now: Now) -> bool {
        let commands = self.queue.take_commands();
        let any = !commands.is_empty();
        for command in commands {
            match self.poisoned() {
                None => self.obey(command, now),
                Some(refusal) => command.refuse(&refusal),
            }
        }
        any
    }

    fn poisoned(&self) -> Option<Refusal> {
        let reader = self.store.reader();
        let poisoned = reader.is_poisoned().then(|| reader.poisoned()).flatten();
        poisoned.map(|reason| Refusal::from(&StoreError::Poisoned { reason }))
    }

    fn obey(&mut self, command: Command, now: Now) {
        let Self {
            dispatch, store, ..
        } = self;
        match command {
            Command::Credit { worker, credit } => dispatch.credit(worker, credit),
            Command::Settle {
                consumer,
                items,
                done,
            } => dispatch.settle(store, &consumer, items, done, now),
            Command::Detach { worker, left } => dispatch.detach(store, worker, left, now),
            Command::Fed(fed) => dispatch.fed(store, fed, now),
            Command::Ask(question) => dispatch.ask(question),
            Command::Pull {
                consumer,
                count,
                ack,
                wait_ms,
                done,
            } => dispatch.pull(store, &consumer, (count, ack, wait_ms), done, now),
            Command::Requeue { letters, done } => dispatch.requeue(store, letters, done),
            Command::RemoveLetters { letters, done } => {
                dispatch.remove_letters(store, letters, done);
            }
            Command::DeadLetter {
                seq,
                consumer,
                reason,
                done,
            } => match self.settled(now) {
                Ok(()) => self.dispatch.move_to_dead_letter(
                    &mut self.store,
                    (seq, &consumer, &reason),
                    done,
                    now,
                ),
                Err(refusal) => drop(done.send(Err(refusal))),
            },
            // These change what ledgers there are, so all that was decided goes first.
            Command::Open { open, begin, done } => match self.settled(now) {
                Ok(()) => self.dispatch.open(&mut self.store, *open, begin, done, now),
                Err(refusal) => drop(done.send(Err(refusal))),
            },
            Command::Change { change, done } => match self.settled(now) {
                Ok(()) => self.dispatch.change(&mut self.store, *change, done, now),
                Err(refusal) => drop(done.send(Err(refusal))),
            },
        }
    }

    /// Sees to it that all that was decided is in the journal.
    fn settled(&mut self, now: Now) -> Result<(), Refusal> {
        if !self.dispatch.has_staging() || self.commit(now) {
            return Ok(());
        }
        let refusal = Refusal::new(Code::StorageFull, "the disk is full: free some space");
        Err(refusal.retry_after_ms(1000))
    }
}
