//! What decides who may come in: certificates, tokens and rights, read again while the server runs.
//!
//! Invariants: what is used is whole and good; files that cannot be used change nothing. Who is in
//! stays in, unless what let him in is not taken any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgebus_core::{Code, Refusal};
use tokio::sync::watch;

use super::config::{ServeError, ServerConfig};
use crate::access::{Rights, RightsFile, Tokens, Watched};

/// What decides who may come in. The default lets everybody in and has them do everything.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// `None`: everyone may do everything.
    rights: Option<Watched<Rights>>,
    tokens: Option<Watched<Tokens>>,
}

/// What came of reading something again.
#[derive(Debug)]
pub(super) struct Reloaded {
    /// What it is, for people.
    pub(super) what: &'static str,
    /// The refusal names the file; what was read before stays.
    pub(super) result: Result<(), Refusal>,
}

impl Guard {
    /// Reads all files for the first time. Blocks for as long as they take.
    ///
    /// # Errors
    /// [`ServeError::Files`].
    pub(super) fn open(config: &ServerConfig) -> Result<Self, ServeError> {
        Ok(Self {
            rights: watched(&config.rights, RightsFile::load)?,
            tokens: watched(&config.tokens, Tokens::load)?,
        })
    }

    /// As [`Guard::open`], without blocking; the configuration comes back.
    pub(super) async fn read(config: ServerConfig) -> Result<(Self, ServerConfig), ServeError> {
        let reading = tokio::task::spawn_blocking(move || Ok((Self::open(&config)?, config)));
        reading.await.unwrap_or_else(|_| {
            let stopping = "the runtime is shutting down";
            Err(ServeError::Files(Refusal::new(
                Code::ShuttingDown,
                stopping,
            )))
        })
    }

    /// Whether there is anything to read again.
    pub(super) fn watches(&self) -> bool {
        self.rights.is_some() || self.tokens.is_some()
    }

    /// Who may do what, and how that changes; `None`: everyone may do everything.
    pub(super) fn rights(&self) -> Option<watch::Receiver<Arc<Rights>>> {
        self.rights.as_ref().map(Watched::subscribe)
    }

    /// Who has which token, and how that changes.
    pub(super) fn tokens(&self) -> Option<watch::Receiver<Arc<Tokens>>> {
        self.tokens.as_ref().map(Watched::subscribe)
    }

    /// Reads what has changed. Blocks for as long as the files take.
    pub(super) fn look(&self) -> Vec<Reloaded> {
        let tokens = self.tokens.as_ref().and_then(Watched::look);
        let rights = self.rights.as_ref().and_then(Watched::look);
        let tokens = Reloaded::of("tokens", tokens);
        tokens.chain(Reloaded::of("rights", rights)).collect()
    }

    /// Reads everything again. Blocks for as long as the files take.
    pub(super) fn reload(&self) -> Vec<Reloaded> {
        let tokens = self.tokens.as_ref().map(Watched::reload);
        let rights = self.rights.as_ref().map(Watched::reload);
        let tokens = Reloaded::of("tokens", tokens);
        tokens.chain(Reloaded::of("rights", rights)).collect()
    }
}

impl Reloaded {
    fn of(what: &'static str, result: Option<Result<(), Refusal>>) -> impl Iterator<Item = Self> {
        result.into_iter().map(move |result| Self { what, result })
    }
}

fn watched<T: Send + Sync + 'static>(
    file: &Option<PathBuf>,
    load: impl Fn(&Path) -> Result<T, Refusal> + Send + Sync + 'static,
) -> Result<Option<Watched<T>>, ServeError> {
    let Some(file) = file.clone() else {
        return Ok(None);
    };
    let files = vec![file.clone()];
    let watched = Watched::open(files, move || load(&file)).map_err(ServeError::Files)?;
    Ok(Some(watched))
}
