//! Where operators look and change: a server, or a data folder that no server runs on.
//!
//! In reading order: this module asks whichever it is; [`folder`] finds it in the files.
//!
//! Invariant: what only looks changes nothing, in a folder either: consumers are as the server left
//! them.

mod folder;

use edgebus::admin::{BackupPart, ConsumerInfo, DeadLetterFilter, DeadLetterRow, Position};
use edgebus::consumer::Answer;
use edgebus::query::{LogPage, LogQuery, Stats};
use edgebus::{Client, ClientConfig, ConsumerName, Entry, Refusal, RequestId, Seq};

use crate::args::{FolderOptions, Global};
use crate::error::CliError;
use crate::remote;
use folder::Folder;

/// Dead letters of one page.
const PAGE_LETTERS: u32 = 256;

/// Where it is asked.
pub(crate) enum Source {
    /// A server.
    Server(Client),
    /// A folder, which is locked meanwhile.
    Folder(Box<Folder>),
}

/// Part of the dead letters, and the number after which to go on if there are more.
pub(crate) type Letters = (Vec<DeadLetterRow>, Option<u64>);

impl Source {
    /// Opens the folder if one is named; connects otherwise.
    pub(crate) async fn open(folder: &FolderOptions, global: &Global) -> Result<Self, CliError> {
        match &folder.data {
            Some(dir) => Folder::open(dir).map(|folder| Self::Folder(Box::new(folder))),
            None => Ok(Self::Server(
                remote::connect(global, ClientConfig::default()).await?,
            )),
        }
    }

    /// One page of the log.
    pub(crate) async fn page(&self, query: LogQuery) -> Result<LogPage, CliError> {
        match self {
            Self::Server(client) => Ok(client.log(query).await?),
            Self::Folder(folder) => Ok(folder.reader().read_log(&query)?),
        }
    }

    /// The request with a sequence number.
    pub(crate) async fn get(&self, seq: Seq) -> Result<Option<Entry>, CliError> {
        match self {
            Self::Server(client) => Ok(client.get(seq).await?),
            Self::Folder(folder) => Ok(folder.reader().get_by_seq(seq)?),
        }
    }

    /// The request with an id.
    pub(crate) async fn find(&self, id: RequestId) -> Result<Option<Entry>, CliError> {
        match self {
            Self::Server(client) => Ok(client.find(id).await?),
            Self::Folder(folder) => folder.find(id),
        }
    }

    /// How a request ended, if it has.
    pub(crate) async fn answer(&self, entry: &Entry) -> Result<Option<Answer>, CliError> {
        match self {
            Self::Server(client) => {
                let state = client.request_state(entry.record().id()).await?;
                // The same id in another scope is another request.
                Ok(state.answer.filter(|_| state.seq == Some(entry.seq())))
            }
            Self::Folder(folder) => folder.answer(entry.seq()),
        }
    }

    /// Where a request was stored, also when it was trimmed since.
    pub(crate) async fn was_stored(&self, id: RequestId) -> Result<Option<Seq>, CliError> {
        match self {
            Self::Server(client) => Ok(client.request_state(id).await?.seq),
            Self::Folder(folder) => folder.was_stored(id),
        }
    }

    /// The figures.
    pub(crate) async fn stats(&self) -> Result<Stats, CliError> {
        match self {
            Self::Server(client) => Ok(client.stats().await?),
            Self::Folder(folder) => Ok(folder.stats()),
        }
    }

    /// All consumers.
    pub(crate) async fn consumers(&self) -> Result<Vec<ConsumerInfo>, CliError> {
        match self {
            Self::Server(client) => Ok(client.consumers().await?),
            Self::Folder(folder) => Ok(folder.consumers()),
        }
    }

    /// One consumer.
    pub(crate) async fn consumer(&self, name: ConsumerName) -> Result<ConsumerInfo, CliError> {
        match self {
            Self::Server(client) => Ok(client.consumer_info(name).await?),
            Self::Folder(folder) => folder.consumer(&name),
        }
    }

    /// Dead letters with numbers above one.
    pub(crate) async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        after: u64,
    ) -> Result<Letters, CliError> {
        match self {
            Self::Server(client) => {
                let page = client.dead_letters(filter.clone(), after, PAGE_LETTERS);
                let page = page.await?;
                Ok((page.letters, page.next))
            }
            Self::Folder(folder) => folder.dead_letters(filter, after, PAGE_LETTERS as usize),
        }
    }

    /// How many dead letters there are.
    pub(crate) async fn dead_letter_count(
        &self,
        filter: &DeadLetterFilter,
    ) -> Result<u64, CliError> {
        match self {
            Self::Server(client) => Ok(client.dead_letter_count(filter.clone()).await?),
            Self::Folder(folder) => folder.dead_letter_count(filter),
        }
    }

    /// Has dead letters tried again; says how many.
    pub(crate) async fn requeue(
        &mut self,
        filter: &DeadLetterFilter,
        dry_run: bool,
    ) -> Result<u64, CliError> {
        match self {
            Self::Server(client) => Ok(client.requeue(filter.clone(), dry_run).await?),
            Self::Folder(folder) => folder.requeue(filter, dry_run),
        }
    }

    /// Removes dead letters for good; says how many.
    pub(crate) async fn remove_dead_letters(
        &mut self,
        filter: &DeadLetterFilter,
        dry_run: bool,
    ) -> Result<u64, CliError> {
        match self {
            Self::Server(client) => Ok(client.remove_dead_letters(filter.clone(), dry_run).await?),
            Self::Folder(folder) => folder.remove_dead_letters(filter, dry_run),
        }
    }

    /// The next part of a backup; the first one with nothing before it.
    pub(crate) async fn backup_part(
        &mut self,
        before: Option<&BackupPart>,
    ) -> Result<BackupPart, Refusal> {
        match self {
            Self::Server(client) => client.backup_part(before).await,
            Self::Folder(folder) => folder.backup_part(before),
        }
    }

    /// Removes the old end of the log; gives what is the oldest then, and how many were removed.
    pub(crate) async fn trim(&mut self, before: Position) -> Result<(Seq, u64), CliError> {
        match self {
            Self::Server(client) => {
                let trimmed = client.trim(before).await?;
                Ok((trimmed.first_seq, trimmed.messages))
            }
            Self::Folder(folder) => folder.trim(before),
        }
    }
}
