//! The way to a server, or to a data folder that no server runs on.

use std::path::Path;

use edgebus::query::{LogPage, LogQuery, Stats};
use edgebus::{
    Client, ClientConfig, Code, Entry, Refusal, RequestId, RequestStore, Scope, Seq, StoreError,
};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{FolderOptions, Global};
use crate::error::CliError;
use crate::output;

/// A runtime for a command: one thread, as a command does one thing at a time.
pub(crate) fn runtime() -> Result<Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("start", Path::new("the runtime"), e))
}

/// Connects to the server that was named, or to the default one.
pub(crate) async fn connect(global: &Global, config: ClientConfig) -> Result<Client, CliError> {
    let url = global.server.clone().unwrap_or_default();
    Ok(Client::connect_with(&url, config.name("edgebus-cli")).await?)
}

/// Where stored requests are read.
pub(crate) enum Source {
    /// From a server.
    Server(Client),
    /// From a folder, which is locked meanwhile.
    Folder(Box<RequestStore>),
}

impl Source {
    /// Opens the folder if one is named; connects otherwise.
    pub(crate) async fn open(folder: &FolderOptions, global: &Global) -> Result<Self, CliError> {
        match &folder.data {
            Some(dir) => open_folder(dir).map(|store| Self::Folder(Box::new(store))),
            None => Ok(Self::Server(
                connect(global, ClientConfig::default()).await?,
            )),
        }
    }

    /// One page of the log.
    pub(crate) async fn page(&self, query: LogQuery) -> Result<LogPage, CliError> {
        match self {
            Self::Server(client) => Ok(client.log(query).await?),
            Self::Folder(store) => Ok(store.reader().read_log(&query)?),
        }
    }

    /// The request with a sequence number.
    pub(crate) async fn get(&self, seq: Seq) -> Result<Option<Entry>, CliError> {
        match self {
            Self::Server(client) => Ok(client.get(seq).await?),
            Self::Folder(store) => Ok(store.get_by_seq(seq)?),
        }
    }

    /// The request with an id.
    pub(crate) async fn find(&self, id: RequestId) -> Result<Option<Entry>, CliError> {
        match self {
            Self::Server(client) => Ok(client.find(id).await?),
            Self::Folder(store) => match store.reader().find(id, Scope::default())? {
                Some(seq) => Ok(store.get_by_seq(seq)?),
                None => Ok(None),
            },
        }
    }

    /// The figures.
    pub(crate) async fn stats(&self) -> Result<Stats, CliError> {
        match self {
            Self::Server(client) => Ok(client.stats().await?),
            Self::Folder(store) => Ok(store.reader().stats()),
        }
    }
}

fn open_folder(dir: &Path) -> Result<RequestStore, CliError> {
    // Opening would make a store there.
    if !dir.join("VERSION").exists() {
        let message = format!(
            "there is no store in {}: name its data folder",
            dir.display()
        );
        return Err(Refusal::new(Code::NotFound, message).into());
    }
    let store = RequestStore::open(dir).map_err(|error| match error {
        StoreError::DataInUse { path } => {
            let message = format!(
                "data folder {} is in use: a server runs on it, ask that one with --server",
                path.display()
            );
            CliError::from(Refusal::new(Code::DataInUse, message))
        }
        other => other.into(),
    })?;
    if let Some(torn) = store.torn_tail() {
        eprintln!("edgebus: {}", output::torn_tail(torn));
    }
    Ok(store)
}

/// Watches, from this call on, for the user's or the system's wish that the command ends; done
/// when it comes.
///
/// # Panics
/// Outside a runtime.
pub(crate) fn interrupted() -> impl Future<Output = ()> {
    let signals = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            // Without handlers the signals end the process as ever.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
