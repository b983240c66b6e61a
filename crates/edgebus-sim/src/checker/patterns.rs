//! Which topics a pattern matches: tokens by `.`, `*` for one token, `>` for the rest.

/// Whether a topic matches.
pub(super) fn matches(pattern: &str, topic: &str) -> bool {
    let mut tokens = topic.split('.');
    for wanted in pattern.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            (_, None) => return false,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn tokens_are_compared_one_by_one_and_the_rest_is_at_least_one() {
        for (pattern, topic) in [("a.b", "a.b"), ("a.*", "a.b"), ("a.>", "a.b.c"), (">", "a")] {
            assert!(matches(pattern, topic), "{pattern} {topic}");
        }
        for (pattern, topic) in [("a.b", "a"), ("a", "a.b"), ("a.*", "a.b.c"), ("a.>", "a")] {
            assert!(!matches(pattern, topic), "{pattern} {topic}");
        }
    }
}
