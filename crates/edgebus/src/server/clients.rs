//! Who is connected, for operators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use edgebus_core::admin::ClientInfo;
use parking_lot::Mutex;

use crate::access::Identity;

/// Connections of this process, so that no two of them, of whichever server, have one number.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// The connections of a server.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<BTreeMap<u64, Arc<Figures>>>);

/// What is told of one connection.
#[derive(Debug)]
pub(super) struct Figures {
    id: u64,
    address: String,
    connected_ms: u64,
    name: Mutex<String>,
    identity: Mutex<Identity>,
    streams: AtomicU64,
    in_flight: AtomicU64,
    sent: AtomicU64,
}

/// A connection among the others, until it is dropped.
#[derive(Debug)]
pub(super) struct Listed<'a> {
    clients: &'a Clients,
    pub(super) figures: Arc<Figures>,
}

impl Clients {
    /// Adds a connection.
    pub(super) fn list(&self, address: &str, identity: Identity) -> Listed<'_> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let figures = Arc::new(Figures {
            id: LAST_ID.fetch_add(1, Ordering::Relaxed) + 1,
            address: address.to_owned(),
            connected_ms: now.unwrap_or_default().as_millis() as u64,
            name: Mutex::default(),
            identity: Mutex::new(identity),
            streams: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        });
        self.0.lock().insert(figures.id, figures.clone());
        Listed {
            clients: self,
            figures,
        }
    }

    /// All of them, in the order in which they came; one that did not introduce itself yet has no
    /// name.
    pub(super) fn all(&self) -> Vec<ClientInfo> {
        let clients = self.0.lock();
        clients.values().map(|figures| figures.info()).collect()
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.clients.0.lock().remove(&self.figures.id);
    }
}

impl Figures {
    /// Its number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The name it gave itself.
    pub(super) fn set_name(&self, name: &str) {
        name.clone_into(&mut self.name.lock());
    }

    /// Who it is, as proven.
    pub(super) fn set_identity(&self, identity: &Identity) {
        identity.clone_into(&mut self.identity.lock());
    }

    pub(super) fn set_streams(&self, streams: usize) {
        self.streams.store(streams as u64, Ordering::Relaxed);
    }

    /// It sent messages.
    pub(super) fn send(&self, messages: usize) {
        self.sent.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// Its workers were given messages.
    pub(super) fn hold(&self, messages: u64) {
        self.in_flight.fetch_add(messages, Ordering::Relaxed);
    }

    /// Its workers settled messages.
    pub(super) fn release(&self, messages: u64) {
        self.in_flight.fetch_sub(messages, Ordering::Relaxed);
    }

    fn info(&self) -> ClientInfo {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ClientInfo {
            id: self.id,
            name: self.name.lock().clone(),
            identity: self.identity.lock().name().to_owned(),
            address: self.address.clone(),
            connected_ms: self.connected_ms,
            streams: u32::try_from(get(&self.streams)).unwrap_or(u32::MAX),
            in_flight: get(&self.in_flight),
            sent: get(&self.sent),
        }
    }
}
