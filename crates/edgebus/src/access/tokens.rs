//! The file that says who has which token.
//!
//! A line is `NAME TOKEN`; one that begins with `#` is a comment. A name may have several tokens,
//! so that a new one can be handed out before the old one goes.
//!
//! Invariant: a token is nowhere but in the file and in what a client says. Here is only its
//! SHA-256, messages name lines instead of what is on them, and `Debug` shows names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::Path;

use edgebus_core::{Code, Refusal};
use sha2::{Digest as _, Sha256};

use super::identity::{Identity, Proof};
use super::text_file;
use crate::files::Privacy;

/// Fewest characters of a token: chance must not find one.
pub const TOKEN_BYTES_MIN: usize = 16;
/// Most characters of a token.
pub const TOKEN_BYTES_MAX: usize = 1024;

/// What is kept of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Of what somebody says is a token.
    pub(crate) fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

/// Who has which token.
#[derive(Default)]
pub struct Tokens {
    whose: HashMap<TokenDigest, Identity>,
}

impl Tokens {
    /// Reads a file, which nobody but its owner may read.
    ///
    /// # Errors
    /// [`Code::BadConfig`] with the file's name and, where it is about what is in it, the line.
    pub fn load(path: &Path) -> Result<Self, Refusal> {
        let name = path.display().to_string();
        Self::parse(&text_file(path, Privacy::Secret)?, &name)
    }

    /// Takes what is in a file, whose name is told with what is wrong. Never panics, whatever the
    /// text is.
    ///
    /// # Errors
    /// As [`Tokens::load`].
    pub fn parse(text: &str, file: &str) -> Result<Self, Refusal> {
        if !text.is_empty() && !text.ends_with('\n') {
            // A part of a token would be let in.
            let what = "the last line does not end: is it written whole?";
            return Err(Refusal::new(Code::BadConfig, format!("{file}: {what}")));
        }
        let mut tokens = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            tokens.add(line).map_err(|what| {
                Refusal::new(Code::BadConfig, format!("{file}:{number}: {what}"))
            })?;
        }
        Ok(tokens)
    }

    /// Nothing of the line is in what is wrong: it may be the token.
    fn add(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(token), None) = (words.next(), words.next(), words.next()) else {
            return Err("a line is a name, a space and a token".to_owned());
        };
        let identity = Identity::named(name, Proof::Token)
            .map_err(|_| "what the line begins with is no name that somebody can have")?;
        let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) {
            return Err(format!(
                "a token has {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII characters"
            ));
        }
        match self.whose.entry(TokenDigest::of(token.as_bytes())) {
            Entry::Occupied(other) if *other.get() != identity => {
                Err("a line above gives the same token to another name".to_owned())
            }
            entry => {
                entry.or_insert(identity);
                Ok(())
            }
        }
    }

    /// Who has the token, if anybody does.
    pub(crate) fn whose(&self, token: &TokenDigest) -> Option<&Identity> {
        self.whose.get(token)
    }

    /// The names, each once and sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.whose.values().map(Identity::name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tokens").field(&self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    const FIRST: &str = "correct-horse-battery";
    const SECOND: &str = "staple#in\"the'middle";

    fn name_of(tokens: &Tokens, token: &str) -> Option<String> {
        let whose = tokens.whose(&TokenDigest::of(token.as_bytes()));
        whose.map(|identity| identity.name().to_owned())
    }

    #[test]
    fn name_may_have_several_tokens_and_a_token_has_one_name() {
        let text = format!("# tills\n\ntill-7 {FIRST}\r\n  till-7\t{SECOND}  \n");
        let tokens = Tokens::parse(&text, "tokens").expect("good");
        for token in [FIRST, SECOND] {
            assert_eq!(name_of(&tokens, token).as_deref(), Some("till-7"));
        }
        assert_eq!(name_of(&tokens, &FIRST[1..]), None);
        assert_eq!(name_of(&tokens, ""), None);
        assert_eq!(tokens.names(), ["till-7"]);
    }

    #[test]
    fn what_is_wrong_is_told_by_line_and_without_what_is_secret() {
        let long = "x".repeat(TOKEN_BYTES_MAX + 1);
        let cases = [
            format!("till-7 {FIRST}\ntill-8 {FIRST}"),
            format!("#\n{FIRST} till-7"),
            format!("\n{FIRST}"),
            format!("\ntill-7 {FIRST} {SECOND}"),
            format!("\nanonymous {FIRST}"),
            format!("\nunix:0 {FIRST}"),
            format!("\ntill-* {FIRST}"),
            "\ntill-7 short".to_owned(),
            format!("\ntill-7 {FIRST}\u{e4}"),
            format!("\ntill-7 {long}"),
        ];
        for text in cases {
            let refusal = Tokens::parse(&format!("{text}\n"), "tokens").expect_err(&text);
            assert_eq!(refusal.code, Code::BadConfig);
            assert!(
                refusal.message.starts_with("tokens:2: "),
                "{text}: {refusal}"
            );
            for secret in [FIRST, SECOND, &long, "short"] {
                assert!(!refusal.message.contains(secret), "{refusal}");
            }
        }
    }

    /// A file that was cut inside a token let in whoever had that part of it.
    #[test]
    fn file_that_ends_within_a_line_is_not_taken() {
        let text = format!("till-7 {FIRST}\n");
        for cut in 1..text.len() {
            assert!(Tokens::parse(&text[..cut], "tokens").is_err(), "{cut}");
        }
    }

    #[test]
    fn debug_shows_names_only() {
        let tokens = Tokens::parse(&format!("till-7 {FIRST}\n"), "tokens").expect("good");
        assert_eq!(format!("{tokens:?}"), r#"Tokens(["till-7"])"#);
        let digest = format!("{:?}", TokenDigest::of(FIRST.as_bytes()));
        assert_eq!(digest, "TokenDigest(..)");
    }

    #[test]
    fn file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("tokens");
        fs::write(&path, format!("till-7 {FIRST}\n")).expect("written");
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
        set(0o640).expect("set");
        let refusal = Tokens::load(&path).expect_err("others may read it");
        assert_eq!(refusal.code, Code::BadConfig);
        assert!(refusal.message.contains("chmod 600"), "{refusal}");
        set(0o600).expect("set");
        assert!(Tokens::load(&path).is_ok());
        fs::write(&path, "").expect("written");
        assert!(Tokens::load(&path).is_err(), "it was cut short");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), lines in "([a# ]{0,4}[a-z0-9\u{e4}]{14,18}\n?){0,6}") {
            let _ = Tokens::parse(&text, "f");
            let _ = Tokens::parse(&lines, "f");
        }
    }
}
