//! Who may do what: rules that grant verbs on topics to identities, and the scopes in which
//! identities name their requests.
//!
//! In reading order: [`verb`] what may be granted; [`identity_pattern`] to whom; [`rights`] the rules
//! as they are written; [`grants`] what they come to for one identity, made once for a connection
//! and asked for each message; [`access_token`] what proves who somebody is.
//!
//! Invariant: what no rule grants is not granted. Nothing here reads a file or knows a connection.

mod access_token;
mod grants;
mod identity_pattern;
mod rights;
#[cfg(test)]
mod tests;
mod verb;

pub use access_token::AccessToken;
pub use grants::Grants;
pub use identity_pattern::IdentityPattern;
pub use rights::{Rights, Rule};
pub use verb::Verb;

/// The name of those who proved nothing.
pub const ANONYMOUS: &str = "anonymous";
