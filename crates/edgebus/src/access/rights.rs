//! The file that says who may do what.
//!
//! ```toml
//! [[allow]]
//! identity = "till-*"                  # or a list
//! verbs = ["send", "request"]          # or "all"
//! topics = ["orders.>", "prices.*"]    # or one string
//!
//! [[scope]]
//! name = "shop-7"
//! identity = ["till-*"]                # the first that selects an identity counts
//! ```
//!
//! Invariant: a file is taken whole or not at all, and what is wrong with it is told by its line. A
//! file without a word in it was cut short while it was written: it is refused, as taking it would
//! shut everybody out.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::str::FromStr;

use edgebus_core::access::{IdentityPattern, Rights, Rule, Verb};
use edgebus_core::{Code, Refusal, TopicPattern};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use toml::Spanned;

use super::text_file;
use crate::files::Privacy;

/// Reads files that say who may do what.
#[derive(Debug)]
pub enum RightsFile {}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    allow: Vec<Allow>,
    #[serde(default)]
    scope: Vec<InScope>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    identity: Texts<IdentityPattern>,
    verbs: Texts<Verbs>,
    topics: Texts<TopicPattern>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct InScope {
    name: Spanned<String>,
    identity: Texts<IdentityPattern>,
}

impl RightsFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Code::BadConfig`] with the file's name and, where it is about what is in it, the line.
    pub fn load(path: &Path) -> Result<Rights, Refusal> {
        let name = path.display().to_string();
        Self::parse(&text_file(path, Privacy::Public)?, &name)
    }

    /// Takes what is in a file, whose name is told with what is wrong. Never panics, whatever the
    /// text is.
    ///
    /// # Errors
    /// As [`RightsFile::load`].
    pub fn parse(text: &str, file: &str) -> Result<Rights, Refusal> {
        let document: Document = toml::from_str(text)
            .map_err(|error| bad(file, text, error.span().map(|s| s.start), error.message()))?;
        let mut rights = Rights::default();
        for allow in document.allow {
            rights.allow(Rule {
                identities: allow.identity.0,
                verbs: allow
                    .verbs
                    .0
                    .into_iter()
                    .flat_map(|verbs| verbs.0)
                    .collect(),
                topics: allow.topics.0,
            });
        }
        for scope in document.scope {
            let at = scope.name.span().start;
            rights
                .set_scope(scope.name.get_ref(), scope.identity.0)
                .map_err(|refusal| bad(file, text, Some(at), &refusal.message))?;
        }
        Ok(rights)
    }
}

fn bad(file: &str, text: &str, at: Option<usize>, what: &str) -> Refusal {
    let what = what.trim().replace('\n', "; ");
    let before = at.and_then(|at| text.as_bytes().get(..at));
    let line = before.map(|before| before.iter().filter(|byte| **byte == b'\n').count() + 1);
    let message = match line {
        Some(line) => format!("{file}:{line}: {what}"),
        None => format!("{file}: {what}"),
    };
    Refusal::new(Code::BadConfig, message)
}

/// One verb, or all.
struct Verbs(Vec<Verb>);

impl FromStr for Verbs {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text {
            "all" => Ok(Self(Verb::ALL.to_vec())),
            text => match text.parse() {
                Ok(verb) => Ok(Self(vec![verb])),
                Err(Refusal { message, .. }) => Err(Refusal::new(
                    Code::BadConfig,
                    format!("{message}, or \"all\""),
                )),
            },
        }
    }
}

/// A text or a list of some; at least one.
struct Texts<T>(Vec<T>);

impl<'de, T: FromStr<Err = Refusal>> Deserialize<'de> for Texts<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextsVisitor(PhantomData)).map(Self)
    }
}

struct TextsVisitor<T>(PhantomData<T>);

impl<'de, T: FromStr<Err = Refusal>> Visitor<'de> for TextsVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        Ok(vec![parsed(text)?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut texts = Vec::new();
        while let Some(One(text)) = list.next_element()? {
            texts.push(text);
        }
        if texts.is_empty() {
            return Err(de::Error::custom("an empty list names nothing"));
        }
        Ok(texts)
    }
}

/// A text within a list, so that what is wrong with it is told by its own line.
struct One<T>(T);

impl<'de, T: FromStr<Err = Refusal>> Deserialize<'de> for One<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(OneVisitor(PhantomData)).map(Self)
    }
}

struct OneVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err = Refusal>> Visitor<'_> for OneVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        parsed(text)
    }
}

fn parsed<T: FromStr<Err = Refusal>, E: de::Error>(text: &str) -> Result<T, E> {
    text.parse()
        .map_err(|refusal: Refusal| E::custom(refusal.message))
}

#[cfg(test)]
mod tests {
    use edgebus_core::Scope;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"
        [[allow]]
        identity = "till-*"
        verbs = ["send", "request"]
        topics = ["orders.>", "prices.*"]
        [[allow]]   # a comment
        identity = ["press", "unix:0"]
        verbs = "all"
        topics = ">"
        [[scope]]
        name = "shop-7"
        identity = ["till-*"]
    "#;

    #[test]
    fn rights_are_read_as_they_are_written() {
        let rights = RightsFile::parse(GOOD, "rights.toml").expect("good");
        let till = rights.grants("till-7");
        assert!(till.allows(Verb::Send, "orders.new") && till.allows(Verb::Request, "prices.eu"));
        assert!(!till.allows(Verb::Consume, "orders.new") && !till.allows(Verb::Send, "doors"));
        assert!(rights.grants("unix:0").is_everything());
        assert_eq!(rights.scope("till-7"), Scope::named("shop-7"));
        assert_eq!(rights.scope("press"), Scope(0));
    }

    #[test]
    fn nobody_may_do_anything_if_that_is_what_was_written() {
        let rights = RightsFile::parse("# closed for the holidays\n", "f").expect("good");
        assert_eq!(rights, Rights::default());
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        let all = "[[allow]]\nidentity = \"a\"\nverbs = \"all\"\ntopics = \">\"\n";
        let cases = [
            (format!("{all}[[alow]]\n"), 5, "alow"),
            (format!("{all}topic = \"a\"\n"), 5, "topic"),
            (format!("{all}[[allow]]\nidentity = \"b\"\n"), 5, "verbs"),
            (all.replace("\"all\"", "\"sned\""), 3, "sned"),
            (all.replace("\"all\"", "[\"send\",\n\n \"sned\"]"), 5, "sned"),
            (all.replace("\"all\"", "[]"), 3, "empty"),
            (all.replace("\"all\"", "7"), 3, "string"),
            (all.replace("\"all\"", "[7]"), 3, "string"),
            (all.replace("\">\"", "\"a..b\""), 4, "a..b"),
            (all.replace("\"a\"", "\"till 7\""), 2, "till 7"),
            (all.replace("\"a\"", "\"till"), 2, ""),
            (format!("{all}{all}allow = 7\n"), 9, "allow"),
            (format!("{all}[[scope]]\nname = \"b c\"\nidentity = \"a\""), 6, "b c"),
            (
                "[[scope]]\nname = \"shop-6290\"\nidentity = \"a\"\n[[scope]]\nidentity = \"b\"\nname = \
                 \"shop-12989\"\n"
                    .to_owned(),
                6,
                "shop-6290",
            ),
        ];
        for (text, line, names) in cases {
            let refusal = RightsFile::parse(&text, "rights.toml").expect_err(&text);
            assert_eq!(refusal.code, Code::BadConfig);
            let message = refusal.message;
            let place = format!("rights.toml:{line}: ");
            assert!(
                message.starts_with(&place) && message.contains(names),
                "{text}\n{message}"
            );
            assert!(!message.contains('\n'), "{message:?}");
        }
    }

    #[test]
    fn file_that_is_not_there_whole_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("rights.toml");
        let refused = |what: &str| {
            let refusal = RightsFile::load(&path).expect_err(what);
            assert_eq!(refusal.code, Code::BadConfig);
            assert!(refusal.message.contains("rights.toml"), "{refusal}");
            assert!(refusal.message.contains(what), "{refusal}");
        };
        refused("No such file");
        for (bytes, what) in [(&b" \n"[..], "empty"), (b"[[allow]]\n\xff", "UTF-8")] {
            std::fs::write(&path, bytes).expect("written");
            refused(what);
        }
        std::fs::write(&path, GOOD).expect("written");
        assert!(RightsFile::load(&path).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = RightsFile::parse(&text, "f");
        }

        /// Texts that are nearly right get further than noise does.
        #[test]
        fn good_text_with_some_of_it_replaced_is_read_or_refused(
            at in 0..GOOD.len(), remove in 0usize..20, insert in "[\\[\\]a-z\"'=.,*> \n\u{e4}]{0,6}",
        ) {
            let mut text = GOOD.to_owned();
            text.replace_range(at..(at + remove).min(GOOD.len()), &insert);
            if let Err(refusal) = RightsFile::parse(&text, "f") {
                prop_assert!(refusal.message.starts_with("f:"), "{}", refusal.message);
            }
        }
    }
}
