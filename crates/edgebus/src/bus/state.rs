//! Whether a bus takes requests.

/// Whether a bus takes requests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusState {
    /// It does.
    Running,
    /// An I/O error stopped it; nothing more is accepted until the store is opened again.
    Poisoned(String),
    /// It was shut down; everything accepted is on disk and sealed.
    Stopped,
}
