//! Rules against models that try everything out, over alphabets small enough for that.

use proptest::prelude::*;

use super::*;
use crate::code::Code;
use crate::id::Scope;
use crate::topic::TopicPattern;

fn identities(text: &str) -> Vec<IdentityPattern> {
    text.split(' ').map(|p| p.parse().expect(p)).collect()
}

fn topics(text: &str) -> Vec<TopicPattern> {
    text.split(' ').map(|p| p.parse().expect(p)).collect()
}

fn rule(who: &str, verbs: &[Verb], on: &str) -> Rule {
    Rule {
        identities: identities(who),
        verbs: verbs.to_vec(),
        topics: topics(on),
    }
}

fn rights(rules: impl IntoIterator<Item = Rule>) -> Rights {
    let mut rights = Rights::default();
    rules.into_iter().for_each(|rule| rights.allow(rule));
    rights
}

#[test]
fn what_no_rule_grants_is_not_granted() {
    let nothing = Rights::default().grants("till-7");
    let rights = rights([
        rule("till-*", &[Verb::Send, Verb::Request], "orders.> prices.eu"),
        rule("till-7", &[Verb::Subscribe], "doors"),
        rule("press", &Verb::ALL, ">"),
    ]);
    let till = rights.grants("till-7");
    for (verb, topic) in [
        (Verb::Send, "orders.created"),
        (Verb::Request, "prices.eu"),
        (Verb::Subscribe, "doors"),
    ] {
        assert!(till.allows(verb, topic), "{verb} {topic}");
        assert!(till.has(verb));
        assert!(!nothing.allows(verb, topic) && !nothing.has(verb));
    }
    for (verb, topic) in [
        (Verb::Send, "orders"),
        (Verb::Send, "prices.us"),
        (Verb::Send, "doors"),
        (Verb::Consume, "orders.created"),
        (Verb::Admin, "orders.created"),
    ] {
        assert!(!till.allows(verb, topic), "{verb} {topic}");
    }
    assert!(!till.has(Verb::Consume) && !till.is_everything());
    assert!(rights.grants("press").is_everything());
    assert_eq!(rights.grants("press"), Grants::everything());
    assert_eq!(rights.grants("pres"), nothing);
}

#[test]
fn whole_pattern_has_to_be_granted_and_by_one_rule() {
    let rights = rights([
        rule("a", &[Verb::Consume], "orders.* orders.*.> prices"),
        rule("b", &[Verb::Consume], "orders.>"),
    ]);
    let (a, b) = (rights.grants("a"), rights.grants("b"));
    let wanted = topics("orders.> orders.* orders.eu.* prices >");
    let covered = |grants: &Grants| -> Vec<bool> {
        let covers = |p| grants.covers(Verb::Consume, p);
        wanted.iter().map(covers).collect()
    };
    assert_eq!(covered(&a), [false, true, true, true, false]);
    assert_eq!(covered(&b), [true, true, true, false, false]);
}

#[test]
fn who_proved_nothing_is_granted_only_what_names_them() {
    for pattern in ["*", "anonymou*", "**", "a*s", "*anonymous"] {
        let pattern: IdentityPattern = pattern.parse().expect("a pattern");
        assert!(!pattern.matches(ANONYMOUS) && !pattern.matches(""));
    }
    let rights = rights([
        rule("*", &Verb::ALL, ">"),
        rule(ANONYMOUS, &[Verb::Publish], "doors"),
    ]);
    let grants = rights.grants(ANONYMOUS);
    assert!(grants.allows(Verb::Publish, "doors") && !grants.allows(Verb::Send, "doors"));
    assert!(rights.grants("unix:0").is_everything());
    assert!(!rights.grants("").has(Verb::Send));
}

#[test]
fn verbs_are_read_as_they_are_written() {
    for (at, verb) in Verb::ALL.into_iter().enumerate() {
        assert_eq!(verb as usize, at);
        assert_eq!(verb.as_str().parse(), Ok(verb));
    }
    let refusal = "sned".parse::<Verb>().expect_err("no verb");
    assert_eq!(refusal.code, Code::BadConfig);
    assert!(refusal.message.contains("\"sned\"") && refusal.message.contains("dead-letters"));
}

#[test]
fn first_scope_that_names_somebody_counts() {
    let mut rights = Rights::default();
    let mut set = |name, who| rights.set_scope(name, identities(who)).expect("a name");
    set("default", "till-9");
    set("shop-7", "till-* press");
    set("shop-8", "*");
    assert_eq!(rights.scope("till-9"), Scope(0));
    assert_eq!(rights.scope("till-7"), Scope::named("shop-7"));
    assert_eq!(rights.scope("other"), Scope::named("shop-8"));
    assert_eq!(rights.scope(ANONYMOUS), Scope(0));
}

#[test]
fn two_names_with_one_number_are_refused_by_name() {
    let (one, other) = ONE_NUMBER;
    assert_eq!(Scope::named(one), Scope::named(other));
    let mut rights = Rights::default();
    rights.set_scope(one, identities("a")).expect("the first");
    rights.set_scope(one, identities("b")).expect("shared");
    let refusal = rights.set_scope(other, identities("c"));
    let refusal = refusal.expect_err("the same number");
    assert_eq!(refusal.code, Code::BadConfig);
    assert!(refusal.message.contains(one) && refusal.message.contains(other));
    let refusal = rights.set_scope("shop 7", identities("c"));
    assert_eq!(refusal.expect_err("no name").code, Code::BadConfig);
}

/// All texts of up to so many characters.
fn texts(alphabet: &str, longest: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut from = 0;
    for _ in 0..longest {
        let until = all.len();
        for at in from..until {
            let longer: Vec<_> = alphabet
                .chars()
                .map(|c| format!("{}{c}", all[at]))
                .collect();
            all.extend(longer);
        }
        from = until;
    }
    all
}

/// The meaning of `*`, tried out in full.
fn stands_for(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|n| stands_for(rest, &text[n..])),
        Some((byte, rest)) => text
            .split_first()
            .is_some_and(|(first, behind)| first == byte && stands_for(rest, behind)),
    }
}

#[test]
fn identities_are_selected_as_the_meaning_of_a_star_says() {
    let names = texts("ab", 5);
    for text in texts("ab*", 5).iter().filter(|text| !text.is_empty()) {
        let pattern: IdentityPattern = text.parse().expect("a pattern");
        for name in names.iter().filter(|name| !name.is_empty()) {
            let expected = stands_for(text.as_bytes(), name.as_bytes());
            assert_eq!(pattern.matches(name), expected, "{text} {name}");
        }
    }
}

/// Patterns of up to three tokens, and topics of up to five: one that is longer than a pattern in
/// more than one token shows nothing that a shorter one does not.
#[test]
fn pattern_covers_another_exactly_when_no_topic_speaks_against_it() {
    let tokens = |alphabet: &str, longest| -> Vec<String> {
        let spelled = texts(alphabet, longest).into_iter().skip(1);
        let joined = spelled.map(|text| {
            let tokens: Vec<_> = text.chars().map(String::from).collect();
            tokens.join(".")
        });
        joined.collect()
    };
    let topics = tokens("abc", 5);
    let patterns: Vec<TopicPattern> = tokens("ab*>", 3)
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    let selected: Vec<Vec<bool>> = patterns
        .iter()
        .map(|pattern| topics.iter().map(|t| pattern.matches(t)).collect())
        .collect();
    for (wide, of_wide) in patterns.iter().zip(&selected) {
        let rights = rights([Rule {
            identities: identities("a"),
            verbs: vec![Verb::Send],
            topics: vec![wide.clone()],
        }]);
        let grants = rights.grants("a");
        for (narrow, of_narrow) in patterns.iter().zip(&selected) {
            let against = of_wide.iter().zip(of_narrow).any(|(w, n)| *n && !w);
            assert_eq!(wide.covers(narrow), !against, "{wide} {narrow}");
            assert_eq!(grants.covers(Verb::Send, narrow), !against);
        }
        for (topic, expected) in topics.iter().zip(of_wide) {
            assert_eq!(
                grants.allows(Verb::Send, topic),
                *expected,
                "{wide} {topic}"
            );
        }
    }
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let who = prop::collection::vec(prop::sample::select(vec!["a", "b", "a*", "*"]), 1..3);
    let verbs = prop::collection::vec(prop::sample::select(Verb::ALL.to_vec()), 1..4);
    let on = prop::sample::select(vec!["x", "x.y", "x.*", "*.y", "x.>", ">", "y.x.y"]);
    let on = prop::collection::vec(on, 1..4);
    (who, verbs, on).prop_map(|(who, verbs, on)| rule(&who.join(" "), &verbs, &on.join(" ")))
}

proptest! {
    /// What was made ready for quick answers says what the rules say one by one.
    #[test]
    fn grants_say_what_the_rules_say(
        rules in prop::collection::vec(any_rule(), 0..6),
        verb in prop::sample::select(Verb::ALL.to_vec()),
        topic in prop::sample::select(vec!["x", "y", "x.y", "y.x", "x.y.z", "y.x.y", "z.y"]),
        asked in prop::sample::select(vec!["x", "x.y", "x.*", "*.*", "x.>", ">", "*.y", "y.x.*"]),
        who in prop::sample::select(vec!["a", "b", "ab", "c", ANONYMOUS]),
    ) {
        let granted = |by: &dyn Fn(&TopicPattern) -> bool| rules.iter().any(|rule| {
            rule.identities.iter().any(|p| p.matches(who))
                && rule.verbs.contains(&verb)
                && rule.topics.iter().any(by)
        });
        let asked: TopicPattern = asked.parse().expect("a pattern");
        let allowed = granted(&|pattern| pattern.matches(topic));
        let covered = granted(&|pattern| pattern.covers(&asked));
        let grants = rights(rules.clone()).grants(who);
        prop_assert_eq!(grants.allows(verb, topic), allowed);
        prop_assert_eq!(grants.covers(verb, &asked), covered);
        let has = granted(&|_| true);
        prop_assert_eq!(grants.has(verb), has);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), name in any::<String>()) {
        if let Ok(pattern) = text.parse::<IdentityPattern>() {
            pattern.matches(&name);
            pattern.matches(&text);
        }
        let _ = text.parse::<Verb>();
        let _ = Rights::default().set_scope(&text, Vec::new());
        let _ = Scope::named(&text);
    }
}

/// The time that a hostile name can cost is bounded by the lengths.
#[test]
fn many_stars_cost_no_more_than_the_lengths_say() {
    let pattern: IdentityPattern = "*a".repeat(127).parse().expect("a pattern");
    assert!(!pattern.matches(&"b".repeat(255)));
    assert!(!pattern.matches(&format!("{}b", "a".repeat(254))));
    assert!(pattern.matches(&"a".repeat(255)));
}

const ONE_NUMBER: (&str, &str) = ("shop-6290", "shop-12989");
