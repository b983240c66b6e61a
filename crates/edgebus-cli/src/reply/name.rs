//! The consumer that `reply` works for when none is named.

use edgebus::{ConsumerName, Refusal, TopicPattern};
use uuid::Uuid;

/// A name that comes from the pattern alone, so that the same command goes on where it was, on
/// any machine: `reply-orders.any` for `orders.*`, `reply-sensors.all` for `sensors.>`.
///
/// Two patterns get the same name only if eight hexadecimal digits of a hash agree: they are put
/// behind where a pattern has a token `any` or `all` of its own, a character that no name may have, or
/// too many of them. Should it happen, the server refuses the second one, as its pattern differs.
///
/// # Errors
/// Never: what it makes is a name.
pub(super) fn of(prefix: &str, pattern: &TopicPattern) -> Result<ConsumerName, Refusal> {
    let mut exact = true;
    let tokens = pattern.as_str().split('.').map(|token| match token {
        "*" => "any".to_owned(),
        ">" => "all".to_owned(),
        token => {
            exact &= !matches!(token, "any" | "all");
            let named = |c: char| match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => c,
                _ => '_',
            };
            let name: String = token.chars().map(named).collect();
            exact &= name == token;
            name
        }
    });
    let mut name = tokens.collect::<Vec<_>>().join(".");
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_URL, pattern.as_str().as_bytes());
    let hash = &hash.as_simple().to_string()[..8];
    let room = ConsumerName::MAX_BYTES - prefix.len() - 1;
    if !exact || name.len() > room {
        name.truncate(room - 1 - hash.len());
        name = format!("{name}-{hash}");
    }
    format!("{prefix}-{name}").parse()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn name(pattern: &str) -> String {
        let pattern = pattern.parse().expect(pattern);
        of("reply", &pattern).expect("a name").to_string()
    }

    #[test]
    fn a_pattern_gives_a_name_that_people_recognise() {
        assert_eq!(name("orders.*"), "reply-orders.any");
        assert_eq!(name("sensors.>"), "reply-sensors.all");
        assert_eq!(name("orders.created"), "reply-orders.created");
    }

    #[test]
    fn patterns_that_look_alike_get_names_of_their_own() {
        let long = "x".repeat(200);
        let patterns = [
            "orders.*".to_owned(),
            "orders.any".to_owned(),
            "orders.>".to_owned(),
            "orders.all".to_owned(),
            "a/b".to_owned(),
            "a_b".to_owned(),
            "a:b".to_owned(),
            format!("{long}.a"),
            format!("{long}.b"),
        ];
        let names: HashSet<String> = patterns.iter().map(|pattern| name(pattern)).collect();
        assert_eq!(names.len(), patterns.len(), "{names:?}");
    }
}
