//! Who a client is, and the files that say so.
//!
//! In reading order: [`identity`] who somebody is and how that was proven; [`tokens`] the file of
//! tokens; [`rights`] the file of who may do what, which [`edgebus_core::access`] decides with;
//! [`watched`] what is read again when its files change.
//!
//! Used by the server, which decides with it. Nothing in here knows connections or stores.

mod identity;
mod rights;
mod tokens;
mod watched;

use std::path::Path;

pub use edgebus_core::access::{Grants, IdentityPattern, Rights, Rule, Verb};
use edgebus_core::{Code, Refusal};
pub use identity::{Identity, Proof};
pub use rights::RightsFile;
pub(crate) use tokens::TokenDigest;
pub use tokens::{TOKEN_BYTES_MAX, TOKEN_BYTES_MIN, Tokens};
pub(crate) use watched::Watched;

use crate::files::{Privacy, read_small};

/// The text in a file that somebody wrote. One without a word in it is refused: whoever means that
/// writes a comment, and a file that is just being written looks like that.
pub(crate) fn text_file(path: &Path, privacy: Privacy) -> Result<String, Refusal> {
    let bad = |what: &str| {
        let message = format!("{}: {what}", path.display());
        Refusal::new(Code::BadConfig, message)
    };
    let bytes = read_small(path, privacy).map_err(|error| bad(&error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| bad("it is not UTF-8 text"))?;
    if text.trim().is_empty() {
        return Err(bad(
            "it is empty: if that is meant, write a comment into it",
        ));
    }
    Ok(text)
}
