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
    identity: Texts<Identities>,
    verbs: Texts<Verbs>,
    topics: Texts<TopicPattern>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct InScope {
    name: Spanned<String>,
    identity: Texts<Identities>,
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
        let document: Document = toml::from_str(text).map_err(|error| {
            let what = plainly(error.message());
            bad(file, text, error.span().map(|span| span.start), &what)
        })?;
        let mut rights = Rights::default();
        for allow in document.allow {
            rights.allow(Rule {
                identities: allow.identity.patterns(),
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
                .set_scope(scope.name.get_ref(), scope.identity.patterns())
                .map_err(|refusal| bad(file, text, Some(at), &refusal.message))?;
        }
        Ok(rights)
    }
}

/// Every word that may stand in a file.
const KEYS: [&str; 6] = ["allow", "scope", "identity", "verbs", "topics", "name"];
/// From 0, nothing in common, to 1, the same.
const NEAR: f64 = 0.6;

/// The nearest of some words.
fn nearest(words: &[&'static str], to: &str) -> Option<&'static str> {
    // Longer ones are near to none, and would take their time.
    let to = (to.len() <= 64).then(|| to.to_lowercase())?;
    let rate = |word: &str| strsim::normalized_damerau_levenshtein(word, &to);
    let rated = words.iter().map(|word| (rate(word), *word));
    let best = rated.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 >= NEAR).then_some(best.1)
}

/// What the parser says, in words for whoever wrote the file.
fn plainly(what: &str) -> String {
    let quoted = |after: &str| {
        let rest = what.strip_prefix(after)?;
        rest.split_once('`')
    };
    if let Some((key, rest)) = quoted("unknown field `") {
        let near = nearest(&KEYS, key).filter(|near| rest.contains(&format!("`{near}`")));
        let near = near.map_or_else(String::new, |near| format!(": did you mean {near}?"));
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let known = known.join(", ");
        return format!("no key is called {key} here{near} (there are {known})");
    }
    if let Some((key, _)) = quoted("missing field `") {
        return format!("{key} is missing here");
    }
    if let Some((found, expected)) = what
        .strip_prefix("invalid type: ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        return match expected {
            "a sequence" => format!("{found} cannot stand here: write the name in [[ ]]"),
            _ => format!("{found} cannot stand here: write {expected}"),
        };
    }
    what.to_owned()
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
                Err(Refusal { message, .. }) => {
                    let near = nearest(&Verb::ALL.map(Verb::as_str), text);
                    let near =
                        near.map_or_else(String::new, |near| format!(" (did you mean {near:?}?)"));
                    let message = format!("{message}, or \"all\"{near}");
                    Err(Refusal::new(Code::BadConfig, message))
                }
            },
        }
    }
}

/// Selects some identities that there can be.
struct Identities(IdentityPattern);

impl FromStr for Identities {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let pattern = text.parse()?;
        let never = |why: &str| {
            let message = format!("{text:?} selects nobody: {why}");
            Err(Refusal::new(Code::BadConfig, message))
        };
        // Only a URI has those in it.
        if !text.contains(':') && text.contains(['?', '[', ']', '{', '}', '\\']) {
            return never("'*' is all there is to stand for others, for any run of characters");
        }
        if let Some(user) = text.strip_prefix("unix:")
            && !user
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'*')
        {
            return never("write the number of the user (`id -u NAME`) after unix:");
        }
        Ok(Self(pattern))
    }
}

impl Texts<Identities> {
    fn patterns(self) -> Vec<IdentityPattern> {
        self.0.into_iter().map(|one| one.0).collect()
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
            (format!("{all}[[alow]]\n"), 5, "alow here: did you mean allow?"),
            (all.replace("verbs", "verb"), 3, "did you mean verbs?"),
            (all.replace("\"all\"", "\"sned\""), 3, "did you mean \"send\"?"),
            (all.replace("\"a\"", "\"till-?\""), 2, "selects nobody"),
            (all.replace("\"a\"", "\"unix:root\""), 2, "id -u"),
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
