//! Whoever asks on a connection: who that is, in which scope, and what it may do, now and as the
//! files that say so change.
//!
//! Invariants: what a connection may do is what the files say by which it is judged now, but its
//! scope stays, so that the ids it used mean one thing. A token that is gone takes its connections
//! with it.

use std::sync::Arc;

use edgebus_core::access::AccessToken;
use edgebus_core::{Code, Refusal, Scope};
use tokio::sync::watch;

use super::guard::Guard;
use super::guest::{Guest, Peer};
use crate::access::{Grants, Identity, Proof, Rights, TokenDigest, Tokens};
use crate::bus::{Pool, Sender};

/// Who asks, and what it may do, at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) peer: Peer,
    pub(super) identity: Identity,
    /// The space of its request ids.
    pub(super) scope: Scope,
    /// `None`: everything, as nobody has written down who may do what.
    pub(super) grants: Option<Arc<Grants>>,
}

/// Who asks, for as long as the connection lasts.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) asker: Asker,
    rights: Option<watch::Receiver<Arc<Rights>>>,
    token: Option<HeldToken>,
}

/// The token that somebody is known by.
#[derive(Debug)]
struct HeldToken {
    digest: TokenDigest,
    tokens: watch::Receiver<Arc<Tokens>>,
}

impl Asker {
    /// Finds out what it may do now. Whoever is in this process may do everything.
    pub(super) fn judge_by(&mut self, rights: Option<&mut watch::Receiver<Arc<Rights>>>) {
        let identity = &self.identity;
        let rights = rights.filter(|_| identity.proof() != Proof::SameProcess);
        self.grants = rights.map(|rights| {
            let rights = rights.borrow_and_update().clone();
            Arc::new(rights.grants(identity.name()))
        });
    }

    /// Whose turns its connection takes: those of who it is, or, if that is not proven, of where it
    /// comes from.
    pub(super) fn owner(&self) -> Arc<str> {
        match self.identity.proof() {
            Proof::None => format!("@{}", self.peer.origin()).into(),
            _ => self.identity.name().into(),
        }
    }

    /// As whom it sends; what is undecided counts in the pool.
    pub(super) fn sender(&self, pool: Pool) -> Sender {
        Sender {
            identity: self.identity.name().to_owned(),
            scope: self.scope,
            owner: self.owner(),
            pool: Some(pool),
        }
    }
}

impl Standing {
    /// Somebody who has come in and has not said anything.
    pub(super) fn new(guest: &Guest) -> Self {
        Self {
            asker: Asker {
                peer: guest.peer,
                identity: guest.identity.clone(),
                scope: guest.scope,
                grants: Some(Arc::new(Grants::default())),
            },
            rights: None,
            token: None,
        }
    }

    /// It introduces itself, with a token or without. A certificate says more than a token, and
    /// whoever is in this process may do everything.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`]: it says a token that is not taken.
    pub(super) fn introduce(
        &mut self,
        guard: &Guard,
        token: Option<&AccessToken>,
    ) -> Result<(), Refusal> {
        let proof = self.asker.identity.proof();
        if proof == Proof::SameProcess {
            self.asker.grants = None;
            return Ok(());
        }
        if let Some(token) = token
            && proof != Proof::Certificate
        {
            let held = HeldToken {
                digest: TokenDigest::of(token.as_bytes()),
                tokens: guard.tokens().ok_or_else(no_tokens)?,
            };
            self.asker.identity = held.whose().ok_or_else(unknown_token)?;
            self.token = Some(held);
        }
        self.rights = guard.rights();
        if let Some(rights) = &self.rights {
            let name = self.asker.identity.name();
            self.asker.scope = rights.borrow().scope(name);
        }
        self.asker.judge_by(self.rights.as_mut());
        Ok(())
    }

    /// Waits until something about it has changed, which [`Standing::renew`] takes in. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        let Self { rights, token, .. } = self;
        let tokens = token.as_mut().map(|token| &mut token.tokens);
        tokio::select! {
            biased;
            () = change(rights.as_mut()) => {}
            () = change(tokens) => {}
        }
    }

    /// Takes in what has changed, if anything has; says whether it may do something else now.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`]: its token is not taken any more.
    pub(super) fn renew(&mut self) -> Result<bool, Refusal> {
        if let Some(token) = &mut self.token
            && has_changed(Some(&token.tokens))
        {
            token.tokens.mark_unchanged();
            if token.whose().as_ref() != Some(&self.asker.identity) {
                return Err(token_is_gone(&self.asker.identity));
            }
        }
        if !has_changed(self.rights.as_ref()) {
            return Ok(false);
        }
        self.asker.judge_by(self.rights.as_mut());
        Ok(true)
    }
}

impl HeldToken {
    fn whose(&self) -> Option<Identity> {
        self.tokens.borrow().whose(&self.digest).cloned()
    }
}

/// Waits for a change; for ever where there is nothing that changes.
pub(super) async fn change<T>(watched: Option<&mut watch::Receiver<T>>) {
    let Some(watched) = watched else {
        return std::future::pending().await;
    };
    match watched.changed().await {
        // It is still to be taken in.
        Ok(()) => watched.mark_changed(),
        Err(_) => std::future::pending().await,
    }
}

fn has_changed<T>(watched: Option<&watch::Receiver<T>>) -> bool {
    watched.is_some_and(|watched| watched.has_changed().unwrap_or(false))
}

fn no_tokens() -> Refusal {
    Refusal::new(
        Code::Unauthenticated,
        "this server takes no tokens: name a file of tokens in its configuration, or connect without one",
    )
}

fn unknown_token() -> Refusal {
    Refusal::new(
        Code::Unauthenticated,
        "the token is not one that this server takes: compare the file it is in with the server's",
    )
}

fn token_is_gone(identity: &Identity) -> Refusal {
    let message =
        format!("the token of {identity} is not taken any more: connect with another one");
    Refusal::new(Code::Unauthenticated, message)
}
