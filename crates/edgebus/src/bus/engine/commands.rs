//! What does not wait behind requests: the engine does it first.

use edgebus_core::{Code, Refusal};

use super::Engine;
use crate::bus::queue::{Command, Said};
use crate::clock::Now;
use crate::store::StoreError;

impl Engine {
    /// Does what workers, operators and the feeder said. Says whether there was anything.
    pub(super) fn take_commands(&mut self, now: Now) -> bool {
        let (said, fed) = self.queue.take_said();
        let commands = self.queue.take_commands();
        let any = !(said.is_empty() && fed.is_empty() && commands.is_empty());
        for said in said {
            match self.poisoned() {
                None => self.hear(said, now),
                Some(refusal) => said.refuse(&refusal),
            }
        }
        for fed in fed {
            if self.poisoned().is_none() {
                self.dispatch.fed(&mut self.store, fed, now);
            }
        }
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

    fn hear(&mut self, said: Said, now: Now) {
        let Self {
            dispatch, store, ..
        } = self;
        match said {
            Said::Credit {
                worker,
                credit,
                room,
            } => dispatch.credit(worker, credit, room),
            Said::Settle {
                consumer,
                items,
                done,
                room: _room,
            } => dispatch.settle(store, &consumer, items, done, now),
            Said::Detach { worker, left } => dispatch.detach(store, worker, left, now),
        }
    }

    fn obey(&mut self, command: Command, now: Now) {
        let full = self.store.reader().is_full();
        let Self {
            dispatch, store, ..
        } = self;
        match command {
            // On a full disk what was decided waits; what is on disk can be told all the same.
            Command::Ask(question) if full => dispatch.answer(store, question),
            Command::Ask(question) => dispatch.ask(question),
            Command::Pull {
                consumer,
                count,
                ack,
                wait_ms,
                done,
            } => dispatch.pull(store, &consumer, (count, ack, wait_ms), done, now),
            // Someone else may just have decided the same dead letters otherwise.
            Command::Requeue { letters, done } => match self.settled(false, now) {
                Ok(()) => self.dispatch.requeue(&mut self.store, letters, done),
                Err(refusal) => drop(done.send(Err(refusal))),
            },
            Command::RemoveLetters { letters, done } => match self.settled(true, now) {
                Ok(()) => self.dispatch.remove_letters(&mut self.store, letters, done),
                Err(refusal) => drop(done.send(Err(refusal))),
            },
            Command::DeadLetter {
                seq,
                consumer,
                reason,
                done,
            } => match self.settled(false, now) {
                Ok(()) => self.dispatch.move_to_dead_letter(
                    &mut self.store,
                    (seq, &consumer, &reason),
                    done,
                    now,
                ),
                Err(refusal) => drop(done.send(Err(refusal))),
            },
            // These change what ledgers there are, so all that was decided goes first.
            Command::Open { open, begin, done } => match self.settled(false, now) {
                Ok(()) => self.dispatch.open(&mut self.store, *open, begin, done, now),
                Err(refusal) => drop(done.send(Err(refusal))),
            },
            Command::Change { change, done } => match self.settled(change.frees_space(), now) {
                Ok(()) => self.dispatch.change(&mut self.store, *change, done, now),
                Err(refusal) => drop(done.send(Err(refusal))),
            },
        }
    }

    /// Sees to it that all that was decided is in the journal, and that there is room for what an
    /// operator wants, so that nobody waits for an answer until the disk has room. What makes room
    /// in the end may use the last of the journal.
    fn settled(&mut self, frees: bool, now: Now) -> Result<(), Refusal> {
        let settled = !self.dispatch.has_staging() || self.commit(now);
        // What waits goes along with what makes room.
        let room = match (frees, settled) {
            (true, _) => self.store.reserve_to_free(COMMAND_BYTES),
            (false, true) => self.store.reserve(COMMAND_BYTES),
            (false, false) => return Err(full()),
        };
        match room {
            Ok(()) => Ok(()),
            Err(StoreError::Full { .. }) => Err(full()),
            Err(error) => Err(Refusal::from(&error)),
        }
    }
}

/// Room for what one command changes.
const COMMAND_BYTES: usize = 64 * 1024;

fn full() -> Refusal {
    let refusal = Refusal::new(Code::StorageFull, "the disk is full: free some space");
    refusal.retry_after_ms(1000)
}
