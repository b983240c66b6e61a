//! What decides who may come in: certificates, tokens and rights, read again while the server runs.
//!
//! Invariants: what is used is whole and good; files that cannot be used change nothing. Who is in
//! stays in, unless what let him in is not taken any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgebus_core::{Code, Refusal};
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use super::config::{ServeError, ServerConfig};
use crate::access::{Rights, RightsFile, Tokens, Watched};
use crate::host;
use crate::tls::ServerTls;

/// What decides who may come in. The default lets everybody in and has them do everything.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// `None`: everyone may do everything.
    rights: Option<Watched<Rights>>,
    tokens: Option<Watched<Tokens>>,
    tls: Option<Watched<ServerTls>>,
}

/// What came of reading something again.
#[derive(Debug)]
pub(super) struct Reloaded {
    /// What it is, for people.
    pub(super) what: &'static str,
    /// What is in use now, as far as it tells.
    pub(super) now: Option<String>,
    /// The refusal names the file; what was read before stays.
    pub(super) result: Result<(), Refusal>,
}

/// What may have been read, what came of it, and what is in use now.
type Look = (&'static str, Option<Result<(), Refusal>>, Option<String>);

impl Guard {
    /// Reads all files for the first time. Blocks for as long as they take.
    ///
    /// # Errors
    /// [`ServeError::Files`].
    pub(super) fn open(config: &ServerConfig) -> Result<Self, ServeError> {
        Ok(Self {
            rights: watched(&config.rights, RightsFile::load)?,
            tokens: watched(&config.tokens, Tokens::load)?,
            tls: watched_tls(config)?,
        })
    }

    /// As [`Guard::open`], without blocking; the configuration comes back.
    pub(super) async fn read(config: ServerConfig) -> Result<(Self, ServerConfig), ServeError> {
        let reading = host::blocking(move || Ok((Self::open(&config)?, config)));
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
        self.rights.is_some() || self.tokens.is_some() || self.tls.is_some()
    }

    /// Who may do what, and how that changes; `None`: everyone may do everything.
    pub(super) fn rights(&self) -> Option<watch::Receiver<Arc<Rights>>> {
        self.rights.as_ref().map(Watched::subscribe)
    }

    /// Who has which token, and how that changes.
    pub(super) fn tokens(&self) -> Option<watch::Receiver<Arc<Tokens>>> {
        self.tokens.as_ref().map(Watched::subscribe)
    }

    /// The TLS to shake hands with, and how it changes after that; `None` when there is none.
    pub(super) fn tls(&self) -> Option<Trust> {
        let mut changes = self.tls.as_ref()?.subscribe();
        let tls = changes.borrow_and_update().clone();
        Some(Trust { tls, changes })
    }

    /// What will soon be of no more use, in words.
    pub(super) fn warnings(&self) -> Vec<String> {
        let now = std::time::SystemTime::now();
        let tls = self.tls.as_ref();
        tls.map_or_else(Vec::new, |tls| tls.current().warnings(now))
    }

    /// The server's certificate in words.
    fn certificate(&self) -> Option<String> {
        let tls = self.tls.as_ref();
        tls.map(|tls| tls.current().summary().to_owned())
    }

    /// Reads what has changed. Blocks for as long as the files take.
    pub(super) fn look(&self) -> Vec<Reloaded> {
        let tokens = self.tokens.as_ref().and_then(Watched::look);
        let rights = self.rights.as_ref().and_then(Watched::look);
        let tls = self.tls.as_ref().and_then(Watched::look);
        Reloaded::all([
            ("certificates", tls, self.certificate()),
            ("tokens", tokens, None),
            ("rights", rights, None),
        ])
    }

    /// Reads everything again. Blocks for as long as the files take.
    pub(super) fn reload(&self) -> Vec<Reloaded> {
        let tokens = self.tokens.as_ref().map(Watched::reload);
        let rights = self.rights.as_ref().map(Watched::reload);
        let tls = self.tls.as_ref().map(Watched::reload);
        Reloaded::all([
            ("certificates", tls, self.certificate()),
            ("tokens", tokens, None),
            ("rights", rights, None),
        ])
    }
}

impl Reloaded {
    /// Those of a list that were read.
    fn all(read: [Look; 3]) -> Vec<Self> {
        let read = read.into_iter();
        read.filter_map(|(what, result, now)| result.map(|result| Self { what, now, result }))
            .collect()
    }
}

/// Whom the server trusts, now and as that changes.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    /// What a connection came in by, or was looked at with last.
    pub(super) tls: Arc<ServerTls>,
    changes: watch::Receiver<Arc<ServerTls>>,
}

/// A certificate that let somebody in, and whether it still would.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    chain: Vec<CertificateDer<'static>>,
    trust: Trust,
}

impl Admission {
    pub(super) fn new(chain: Vec<CertificateDer<'static>>, trust: Trust) -> Self {
        Self { chain, trust }
    }

    /// Waits until it would not let anybody in any more: why. Cancel-safe.
    pub(super) async fn revoked(&mut self) -> Refusal {
        loop {
            if self.trust.changes.changed().await.is_err() {
                // Nothing changes any more.
                return std::future::pending().await;
            }
            let tls = self.trust.changes.borrow_and_update().clone();
            let same = tls.trusts_as(&self.trust.tls);
            self.trust.tls = tls;
            if !same && let Err(refusal) = self.trust.tls.check(&self.chain) {
                return refusal;
            }
        }
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

fn watched_tls(config: &ServerConfig) -> Result<Option<Watched<ServerTls>>, ServeError> {
    let Some(tls) = config.tls.clone() else {
        return Ok(None);
    };
    let watched = Watched::open(tls.files(), move || ServerTls::load(&tls));
    Ok(Some(watched.map_err(ServeError::Files)?))
}
