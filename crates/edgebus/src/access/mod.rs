//! Who a client is, and the files that say so.
//!
//! In reading order: [`identity`] who somebody is and how that was proven; [`watched`] what is
//! read again when its files change.
//!
//! Used by the server, which decides with it. Nothing in here knows connections or stores.

mod identity;
#[expect(dead_code, reason = "for what is read from files")]
mod watched;

pub use identity::{Identity, Proof};
#[expect(unused_imports, reason = "for what is read from files")]
pub(crate) use watched::Watched;
