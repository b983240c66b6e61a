//! Target `topics`: the matcher beside a slow one that is written from what the grammar says.
//!
//! The bytes are lines: two patterns, then topics; and the first once more as the pattern of an
//! identity.

use std::collections::BTreeSet;

use edgebus_core::TopicPattern;
use edgebus_core::access::{ANONYMOUS, IdentityPattern, Rights, Rule, Verb};
use edgebus_core::topic::check_topic;

/// Target `topics`.
pub(super) fn topics(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut next = || std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default();
    let (one, other) = (next(), next());
    let texts: Vec<&str> = std::iter::repeat_with(next)
        .take_while(|text| !text.is_empty())
        .take(8)
        .collect();
    for text in [one, other] {
        let said = text.parse::<TopicPattern>().is_ok();
        assert_eq!(said, is_pattern(text), "{text:?}");
        identity(text, &texts);
    }
    for text in &texts {
        assert_eq!(
            check_topic(text.as_bytes()).is_ok(),
            is_topic(text),
            "{text:?}"
        );
    }
    if let (Ok(one), Ok(other)) = (one.parse::<TopicPattern>(), other.parse::<TopicPattern>()) {
        for topic in texts.iter().filter(|text| is_topic(text)) {
            for pattern in [&one, &other] {
                let wanted = selects(&tokens(pattern.as_str()), &tokens(topic));
                assert_eq!(pattern.matches(topic), wanted, "{pattern} {topic}");
            }
        }
        relate(&one, &other);
    }
}

/// What two patterns say about each other, beside all topics that could tell them apart.
fn relate(one: &TopicPattern, other: &TopicPattern) {
    let (ours, theirs) = (tokens(one.as_str()), tokens(other.as_str()));
    if ours.len() > 6 || theirs.len() > 6 {
        return;
    }
    let topics = telling_topics(&ours, &theirs);
    let is_covered = topics
        .iter()
        .filter(|topic| selects(&theirs, topic))
        .all(|topic| selects(&ours, topic));
    assert_eq!(one.covers(other), is_covered, "{one} covers {other}");
    let meets = topics
        .iter()
        .any(|topic| selects(&ours, topic) && selects(&theirs, topic));
    assert_eq!(one.overlaps(other), meets, "{one} overlaps {other}");
    assert_eq!(other.overlaps(one), meets, "{other} overlaps {one}");
    granted(one, other, &topics, is_covered);
}

/// A right to one pattern is a right to what it selects, and to nothing else.
fn granted(one: &TopicPattern, other: &TopicPattern, topics: &BTreeSet<Vec<&str>>, covered: bool) {
    let mut rights = Rights::default();
    rights.allow(Rule {
        identities: "till-7".parse().into_iter().collect(),
        verbs: vec![Verb::ALL[0]],
        topics: vec![one.clone()],
    });
    let grants = rights.grants("till-7");
    assert_eq!(grants.covers(Verb::ALL[0], other), covered, "{one} {other}");
    for topic in topics {
        let topic = topic.join(".");
        let wanted = one.matches(&topic);
        assert_eq!(grants.allows(Verb::ALL[0], &topic), wanted, "{one} {topic}");
        assert!(!grants.allows(Verb::ALL[1], &topic), "another verb");
    }
    assert!(
        !rights.grants("till-8").has(Verb::ALL[0]),
        "another identity"
    );
}

/// Topics up to the longest that can tell two patterns apart, of tokens out of them and one that is
/// in neither.
fn telling_topics<'a>(ours: &[&'a str], theirs: &[&'a str]) -> BTreeSet<Vec<&'a str>> {
    let longest = ours.len().max(theirs.len()) + 1;
    let mut topics: Vec<Vec<&str>> = vec![Vec::new()];
    let mut all = BTreeSet::new();
    for at in 0..longest {
        let mut choices = BTreeSet::from(["in-neither"]);
        choices.extend([ours.get(at), theirs.get(at)].into_iter().flatten());
        choices.retain(|token| !matches!(*token, "*" | ">"));
        topics = topics
            .iter()
            .flat_map(|topic| {
                choices.iter().map(|token| {
                    let mut longer = topic.clone();
                    longer.push(*token);
                    longer
                })
            })
            .collect();
        all.extend(topics.iter().cloned());
    }
    all
}

fn tokens(text: &str) -> Vec<&str> {
    text.split('.').collect()
}

fn is_token(token: &str) -> bool {
    !token.is_empty()
        && token
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-/:@+=".contains(c))
}

fn is_topic(text: &str) -> bool {
    text.len() <= 255 && tokens(text).iter().all(|token| is_token(token))
}

fn is_pattern(text: &str) -> bool {
    let tokens = tokens(text);
    let last = tokens.len() - 1;
    text.len() <= 255
        && (0..tokens.len()).all(|at| match tokens[at] {
            "*" => true,
            ">" => at == last,
            token => is_token(token),
        })
}

fn selects(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern.split_first(), topic.split_first()) {
        (None, None) => true,
        (Some((&">", [])), Some(_)) => true,
        (Some((token, pattern)), Some((found, topic))) => {
            (*token == "*" || token == found) && selects(pattern, topic)
        }
        _ => false,
    }
}

fn identity(text: &str, names: &[&str]) {
    let Ok(pattern) = text.parse::<IdentityPattern>() else {
        return;
    };
    for name in names.iter().copied().chain([ANONYMOUS, text]) {
        let wanted = match name {
            "" | ANONYMOUS => text == name,
            // Slow is exponential: short ones are enough to be told apart.
            name if name.len() > 40 || text.len() > 40 => continue,
            name => stands_for(text.as_bytes(), name.as_bytes()),
        };
        assert_eq!(pattern.matches(name), wanted, "{text:?} {name:?}");
    }
}

/// Row by row: which beginnings of the text each beginning of the pattern stands for.
fn stands_for(pattern: &[u8], text: &[u8]) -> bool {
    let mut fits = vec![false; text.len() + 1];
    fits[0] = true;
    for byte in pattern {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = match byte {
                b'*' => fits[..=at].contains(&true),
                byte => at > 0 && fits[at - 1] && text[at - 1] == *byte,
            };
        }
        fits = next;
    }
    fits[text.len()]
}
