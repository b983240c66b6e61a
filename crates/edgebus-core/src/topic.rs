//! Topics and the patterns that select them.
//!
//! A topic is 1 to 255 bytes of tokens joined by `.`; a token is one or more characters out of
//! `A-Z a-z 0-9 _ - / : @ + =`. A pattern is a topic in which a whole token may be `*` (exactly
//! one token) and the last may be `>` (one or more tokens). Called wherever text from outside
//! becomes a topic; a [`Topic`] that exists is valid.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::code::{Code, Refusal, start_of};

/// Longest topic or pattern, in bytes.
pub const TOPIC_BYTES_MAX: usize = 255;

/// A valid topic, cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Bytes);

impl Topic {
    /// Checks bytes and keeps them without copying.
    ///
    /// # Errors
    /// [`Code::BadTopic`] naming the text and the rule.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, Refusal> {
        check_topic(&bytes)?;
        Ok(Self(bytes))
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        // Valid topics are ASCII, which `check_topic` made sure of.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Whether the bytes are a topic, without keeping them.
///
/// # Errors
/// [`Code::BadTopic`] naming the text and the rule.
pub fn check_topic(bytes: &[u8]) -> Result<(), Refusal> {
    if is_topic(bytes) {
        Ok(())
    } else {
        Err(bad_topic(bytes))
    }
}

fn is_topic(bytes: &[u8]) -> bool {
    if bytes.is_empty() || bytes.len() > TOPIC_BYTES_MAX {
        return false;
    }
    let mut token_empty = true;
    for &byte in bytes {
        if byte == b'.' {
            if token_empty {
                return false;
            }
            token_empty = true;
        } else if TOKEN_BYTES[byte as usize] {
            token_empty = false;
        } else {
            return false;
        }
    }
    !token_empty
}

/// Which bytes a token is made of.
static TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'_' | b'-' | b'/' | b':' | b'@' | b'+' | b'=');
        byte += 1;
    }
    table
};

#[cold]
fn bad_topic(bytes: &[u8]) -> Refusal {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]);
    Refusal::new(
        Code::BadTopic,
        format!(
            "topic {text:?} is not allowed: use 1 to {TOPIC_BYTES_MAX} bytes of tokens joined by '.', \
             each of A-Z a-z 0-9 _ - / : @ + ="
        ),
    )
}

impl FromStr for Topic {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::from_bytes(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl TryFrom<&str> for Topic {
    type Error = Refusal;

    fn try_from(text: &str) -> Result<Self, Refusal> {
        text.parse()
    }
}

impl TryFrom<String> for Topic {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        Self::from_bytes(Bytes::from(text))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({self})")
    }
}

/// A pattern that selects topics: `orders.*`, `sensors.>`, or a topic itself.
///
/// ```
/// use edgebus_core::TopicPattern;
/// let pattern: TopicPattern = "orders.*".parse()?;
/// assert!(pattern.matches("orders.created"));
/// assert!(!pattern.matches("orders.created.eu"));
/// # Ok::<(), edgebus_core::Refusal>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TopicPattern(String);

impl TopicPattern {
    /// The pattern that selects every topic: `>`.
    pub fn all() -> Self {
        Self(">".to_owned())
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a topic is selected. The text is taken to be a valid topic.
    pub fn matches(&self, topic: &str) -> bool {
        let mut tokens = topic.split('.');
        for wanted in self.0.split('.') {
            match (wanted, tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(token)) if wanted == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }

    /// Whether it is `>`, which selects every topic.
    pub fn is_all(&self) -> bool {
        self.0 == ">"
    }

    /// Whether it is a topic, which selects itself and no other.
    pub fn is_single(&self) -> bool {
        !self.0.contains(['*', '>'])
    }

    /// Whether every topic that the other pattern selects is selected by this one too. (The limit
    /// to the length of topics is not made use of: near it, `false` may be said of a pattern that
    /// leaves room for no further token.)
    pub fn covers(&self, other: &Self) -> bool {
        let mut theirs = other.0.split('.');
        for ours in self.0.split('.') {
            match (ours, theirs.next()) {
                (">", Some(_)) => return true,
                // One token does not stand for several.
                (_, Some(">")) => return false,
                ("*", Some(_)) => {}
                (ours, Some(token)) if ours == token => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }

    /// Whether there is a topic that both patterns select.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.0.split('.'), other.0.split('.'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (Some(a), Some(b)) if a == "*" || b == "*" || a == b => {}
                _ => return false,
            }
        }
    }
}

impl FromStr for TopicPattern {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let last = text.split('.').count() - 1;
        let valid = text.len() <= TOPIC_BYTES_MAX
            && text.split('.').enumerate().all(|(i, token)| match token {
                "*" => true,
                ">" => i == last,
                token => is_topic(token.as_bytes()),
            });
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(Refusal::new(
                Code::BadPattern,
                format!(
                    "pattern {:?} is not allowed: use a topic in which a whole token may be '*', \
                     and the last may be '>'",
                    start_of(text)
                ),
            ))
        }
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_a_grammar_and_a_limit() {
        for good in ["a", "orders.created", "till-7/temp:C.x_1", &"t".repeat(255)] {
            assert!(good.parse::<Topic>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a.*",
            "a.>",
            "ü",
            "a\0",
            &"t".repeat(256),
        ] {
            assert_eq!(bad.parse::<Topic>().expect_err(bad).code, Code::BadTopic);
        }
    }

    #[test]
    fn patterns_select_by_token() {
        let yes = [
            ("a.b", "a.b"),
            ("a.*", "a.b"),
            ("*.b", "a.b"),
            ("a.>", "a.b.c"),
            (">", "a"),
        ];
        let no = [
            ("a.b", "a"),
            ("a", "a.b"),
            ("a.*", "a"),
            ("a.*", "a.b.c"),
            ("a.>", "a"),
        ];
        for (pattern, topic) in yes {
            assert!(
                pattern
                    .parse::<TopicPattern>()
                    .expect(pattern)
                    .matches(topic),
                "{pattern} {topic}"
            );
        }
        for (pattern, topic) in no {
            assert!(
                !pattern
                    .parse::<TopicPattern>()
                    .expect(pattern)
                    .matches(topic),
                "{pattern} {topic}"
            );
        }
    }

    #[test]
    fn patterns_overlap_when_one_topic_is_selected_by_both() {
        let pattern = |text: &str| text.parse::<TopicPattern>().expect(text);
        for (a, b) in [
            ("a.b", "a.b"),
            ("a.*", "*.b"),
            ("a.>", "a.b.c"),
            (">", "a"),
            ("*.>", "a.*.c"),
        ] {
            assert!(pattern(a).overlaps(&pattern(b)), "{a} {b}");
            assert!(pattern(b).overlaps(&pattern(a)), "{b} {a}");
        }
        for (a, b) in [("a.b", "a.c"), ("a.*", "a.b.c"), ("a.>", "a"), ("a", "b.>")] {
            assert!(!pattern(a).overlaps(&pattern(b)), "{a} {b}");
            assert!(!pattern(b).overlaps(&pattern(a)), "{b} {a}");
        }
    }

    #[test]
    fn pattern_covers_another_when_it_selects_all_that_the_other_does() {
        let pattern = |text: &str| text.parse::<TopicPattern>().expect(text);
        for (wide, narrow) in [
            (">", ">"),
            (">", "a.*"),
            ("a.>", "a.*.c"),
            ("a.*", "a.b"),
            ("*.>", "a.b.>"),
            ("a.b", "a.b"),
        ] {
            assert!(pattern(wide).covers(&pattern(narrow)), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("a.*", "a.>"),
            ("a.>", "a"),
            ("a.>", ">"),
            ("*.>", ">"),
            ("a.b", "a.*"),
            ("*.*", "*.>"),
            ("a.*", "b.*"),
        ] {
            assert!(!pattern(wide).covers(&pattern(narrow)), "{wide} {narrow}");
        }
    }

    #[test]
    fn pattern_with_a_wildcard_inside_a_token_is_refused() {
        for bad in ["", "a*", "a.>.b", "a..b", ">x", &"t".repeat(256)] {
            assert_eq!(
                bad.parse::<TopicPattern>().expect_err(bad).code,
                Code::BadPattern
            );
        }
    }
}
