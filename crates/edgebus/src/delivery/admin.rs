//! Typed calls for operators, the same on the bus and on a client, with async and without.
//!
//! Both have one `admin(Admin) -> Managed`; the macro here puts a method with the right types above
//! it for everything that can be asked.

use edgebus_core::admin::{DeadLetterRow, Managed};
use edgebus_core::{Code, Refusal, Seq};

/// Part of the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterPage {
    /// In order of their numbers.
    pub letters: Vec<DeadLetterRow>,
    /// Number after which to go on; `None` when there are no more.
    pub next: Option<u64>,
}

impl DeadLetterPage {
    pub(crate) fn new(letters: Vec<DeadLetterRow>, next: Option<u64>) -> Self {
        Self { letters, next }
    }
}

/// What trimming did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// The oldest message that is kept.
    pub first_seq: Seq,
    /// How many were removed.
    pub messages: u64,
}

impl Trimmed {
    pub(crate) fn new(first_seq: Seq, messages: u64) -> Self {
        Self {
            first_seq,
            messages,
        }
    }
}

/// An answer to something else than what was asked.
#[cold]
pub(crate) fn mismatch(_: Managed) -> Refusal {
    Refusal::new(
        Code::UnexpectedFrame,
        "the server's answer does not fit the question",
    )
}

/// Gives a type with `async fn admin(&self, Admin) -> Result<Managed, Refusal>` the typed calls:
/// `admin_calls!(Type, [async] [.await])`. With `[] []` none of them is async, nor is `admin`.
macro_rules! admin_calls {
    ($type:ty, [$($async:tt)?] [$($await:tt)*]) => {
        const _: () = {
            use edgebus_core::admin::{
                Admin, ClientInfo, ConsumerInfo, DeadLetterFilter, Managed, Position, RequestState,
            };
            use edgebus_core::consumer::{ConsumerConfig, Delivery, LeaseToken, Settlement};
            use edgebus_core::query::LogQuery;
            use edgebus_core::{ConsumerName, Refusal, RequestId};

            use $crate::delivery::admin::{DeadLetterPage, Trimmed, mismatch};

            /// Calls for operators. Each is on disk when it returns, and each may be refused for
            /// [`edgebus_core::Code::Busy`], [`edgebus_core::Code::ShuttingDown`] or a value that makes
            /// no sense; those that name a consumer also for [`edgebus_core::Code::NoSuchConsumer`].
            /// Where they can be dropped before they return, what they ask is asked all the same
            /// once they were polled.
            impl $type {
                /// All consumers, in order of their names.
                ///
                /// # Errors
                /// Why not.
                pub $($async)? fn consumers(&self) -> Result<Vec<ConsumerInfo>, Refusal> {
                    match self.admin(Admin::Consumers)$($await)*? {
                        Managed::Consumers(consumers) => Ok(consumers),
                        other => Err(mismatch(other)),
                    }
                }

                /// One consumer and how it is doing.
                ///
                /// # Errors
                /// Why not.
                pub $($async)? fn consumer_info(
                    &self,
                    name: ConsumerName,
                ) -> Result<ConsumerInfo, Refusal> {
                    match self.admin(Admin::ConsumerInfo { name })$($await)*? {
                        Managed::Consumers(mut consumers) if consumers.len() == 1 => {
                            Ok(consumers.remove(0))
                        }
                        other => Err(mismatch(other)),
                    }
                }

                /// Makes a consumer. If there is one, mode, kind and patterns must be these, and the
                /// rest is set anew.
                ///
                /// # Errors
                /// [`edgebus_core::Code::ConsumerExists`],
                /// [`edgebus_core::Code::ResponderOverlap`] and others.
                pub $($async)? fn consumer_add(
                    &self,
                    name: ConsumerName,
                    config: ConsumerConfig,
                ) -> Result<(), Refusal> {
                    self.done(Admin::ConsumerAdd { name, config })$($await)*
                }

                /// Stops giving out a consumer's messages. What workers hold they may finish.
                ///
                /// # Errors
                /// Why not.
                pub $($async)? fn consumer_pause(&self, name: ConsumerName) -> Result<(), Refusal> {
                    self.done(Admin::ConsumerPause { name, paused: true })$($await)*
                }

                /// Gives out a consumer's messages again, also when most of what it was given failed.
                ///
                /// # Errors
                /// Why not.
                pub $($async)? fn consumer_resume(&self, name: ConsumerName) -> Result<(), Refusal> {
                    self.done(Admin::ConsumerPause {
                        name,
                        paused: false,
                    })$($await)*
                }

                /// Removes a consumer with all it knew. Its workers are told.
                ///
                /// # Errors
                /// Why not.
                pub $($async)? fn consumer_remove(&self, name: ConsumerName) -> Result<(), Refusal> {
                    self.done(Admin::ConsumerRemove { name })$($await)*
                }

                /// Sets a consumer to a place in the log: everything before it is done, everything from
                /// there on is not. Leases end.
                ///
                /// # Errors
                /// Why not.
                pub $($async)? fn consumer_reset(
                    &self,
                    name: ConsumerName,
                    to: Position,
                ) -> Result<(), Refusal> {
                    self.done(Admin::ConsumerReset { name, to })$($await)*
                }

                /// Leases up to `count` messages of a consumer, of about 1 MiB together, without being
                /// its worker, waiting at most so long for the first. The leases are bound to the consumer's `ack_wait` alone;
                /// with `ack` the messages are done with being handed over.
                ///
                /// # Errors
                /// Why not.
                pub $($async)? fn next(
                    &self,
                    name: ConsumerName,
                    count: u32,
                    ack: bool,
                    wait: std::time::Duration,
                ) -> Result<Vec<Delivery>, Refusal> {
                    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                    let next = Admin::Next {
                        name,
                        count,
                        ack,
                        wait_ms,
                    };
                    match self.admin(next)$($await)*? {
                        Managed::Deliveries(deliveries) => Ok(deliveries),
                        other => Err(mismatch(other)),
                    }
                }

                /// Says what became of a lease, whoever holds it.
                ///
                /// # Errors
                /// [`edgebus_core::Code::StaleLease`], [`edgebus_core::Code::AlreadyCompleted`] and
                /// others.
                pub $($async)? fn settle_by_name(
                    &self,
                    name: ConsumerName,
                    token: LeaseToken,
                    settlement: Settlement,
                ) -> Result<(), Refusal> {
                    self.done(Admin::Settle {
                        name,
                        token,
                        settlement,
                    })$($await)*
                }

                /// Up to `limit` dead letters with numbers above `after`, in their order.
                ///
                /// # Errors
                /// Why not.
                pub $($async)? fn dead_letters(
                    &self,
                    filter: DeadLetterFilter,
                    after: u64,
                    limit: u32,
                ) -> Result<DeadLetterPage, Refusal> {
                    let page = Admin::DeadLetters {
                        filter,
                        after,
                        limit,
                    };
                    match self.admin(page)$($await)*? {
                        Managed::DeadLetters { letters, next } => {
                            Ok(DeadLetterPage::new(letters, next))
                        }
                        other => Err(mismatch(other)),
                    }
                }

                /// How many dead letters there are.
                ///
                /// # Errors
                /// Why not.
                pub $($async)? fn dead_letter_count(
                    &self,
                    filter: DeadLetterFilter,
                ) -> Result<u64, Refusal> {
                    self.count(Admin::DeadLetterCount { filter })$($await)*
                }

                /// Has dead letters tried again by their consumers; says how many. With `dry_run` only
                /// counts them.
                ///
                /// # Errors
                /// [`edgebus_core::Code::BadQuery`] when nothing is chosen, and others.
                pub $($async)? fn requeue(
                    &self,
                    filter: DeadLetterFilter,
                    dry_run: bool,
                ) -> Result<u64, Refusal> {
                    self.count(Admin::Requeue { filter, dry_run })$($await)*
                }

                /// Removes dead letters for good; says how many. With `dry_run` only counts them.
                ///
                /// # Errors
                /// [`edgebus_core::Code::BadQuery`] when nothing is chosen, and others.
                pub $($async)? fn remove_dead_letters(
                    &self,
                    filter: DeadLetterFilter,
                    dry_run: bool,
                ) -> Result<u64, Refusal> {
                    self.count(Admin::RemoveDeadLetters { filter, dry_run })$($await)*
                }

                /// Who is connected to the server. A bus that runs alone knows of nobody.
                ///
                /// # Errors
                /// Why not.
                pub $($async)? fn clients(&self) -> Result<Vec<ClientInfo>, Refusal> {
                    match self.admin(Admin::Clients)$($await)*? {
                        Managed::Clients(clients) => Ok(clients),
                        other => Err(mismatch(other)),
                    }
                }

                /// Removes the old end of the log.
                ///
                /// # Errors
                /// Why not.
                pub $($async)? fn trim(&self, before: Position) -> Result<Trimmed, Refusal> {
                    match self.admin(Admin::Trim { before })$($await)*? {
                        Managed::Trimmed {
                            first_seq,
                            messages,
                        } => Ok(Trimmed::new(first_seq, messages)),
                        other => Err(mismatch(other)),
                    }
                }

                /// Gives stored messages to a consumer once more, as far as they match it; says how
                /// many.
                ///
                /// # Errors
                /// Why not.
                pub $($async)? fn replay_into(
                    &self,
                    name: ConsumerName,
                    query: LogQuery,
                ) -> Result<u64, Refusal> {
                    self.count(Admin::ReplayInto { name, query })$($await)*
                }

                /// What became of a request.
                ///
                /// # Errors
                /// Why not.
                pub $($async)? fn request_state(&self, id: RequestId) -> Result<RequestState, Refusal> {
                    match self.admin(Admin::RequestState { id })$($await)*? {
                        Managed::State(state) => Ok(state),
                        other => Err(mismatch(other)),
                    }
                }

                $($async)? fn done(&self, admin: Admin) -> Result<(), Refusal> {
                    match self.admin(admin)$($await)*? {
                        Managed::Done => Ok(()),
                        other => Err(mismatch(other)),
                    }
                }

                $($async)? fn count(&self, admin: Admin) -> Result<u64, Refusal> {
                    match self.admin(admin)$($await)*? {
                        Managed::Count(count) => Ok(count),
                        other => Err(mismatch(other)),
                    }
                }
            }
        };
    };
}
pub(crate) use admin_calls;
