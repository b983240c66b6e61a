//! The name somebody probably meant.

use super::key::Key;
use super::keys::{self, SECTIONS};

/// Longer names are not looked at: none of ours is near to them.
const NAME_BYTES_MAX: usize = 64;
/// From 0, nothing in common, to 1, the same.
const NEAR: f64 = 0.6;
/// For names that would mean something else where they stand.
const VERY_NEAR: f64 = 0.75;

/// The nearest key, for a name in a section (empty for the top).
pub(super) fn key(section: &str, name: &str) -> Option<&'static Key> {
    let name = plain(name)?;
    let full = match section {
        "" => name.clone(),
        section => format!("{section}.{name}"),
    };
    let rate = |key: &'static Key| {
        let here = key.name.strip_suffix(key.short_name());
        let here = here.is_some_and(|start| start.trim_end_matches('.') == section);
        let short = likeness(key.short_name(), &name);
        let rate = likeness(key.name, &full).max(likeness(key.name, &name));
        let akin = is_akin(key.short_name(), &name);
        match here {
            true if short >= NEAR || akin => Some(1.0 + short),
            _ if short >= VERY_NEAR || rate >= VERY_NEAR => Some(short.max(rate)),
            _ => None,
        }
    };
    best(keys::all().filter_map(|key| Some((rate(key)?, key))))
}

/// The nearest section.
pub(super) fn section(name: &str) -> Option<&'static str> {
    let name = plain(name)?;
    let named = SECTIONS.iter().map(|section| section.name);
    best(named.filter_map(|section| {
        let rate = likeness(section, &name);
        (rate >= NEAR).then_some((rate, section))
    }))
}

/// The nearest of some names.
pub(super) fn of<'a>(names: impl IntoIterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    (name.len() <= NAME_BYTES_MAX)
        .then(|| {
            best(names.into_iter().filter_map(|known| {
                let rate = likeness(known, name);
                (rate >= VERY_NEAR).then_some((rate, known))
            }))
        })
        .flatten()
}

/// Whether one is part of the other, or both begin alike, as with names of other programs.
fn is_akin(known: &str, name: &str) -> bool {
    const ALIKE: usize = 4;
    let begin = known.bytes().zip(name.bytes()).take_while(|(a, b)| a == b);
    let holds = |long: &str, short: &str| format!("_{long}_").contains(&format!("_{short}_"));
    begin.count() >= ALIKE || holds(known, name) || holds(name, known)
}

/// As names are written here, for whoever has another habit.
fn plain(name: &str) -> Option<String> {
    (name.len() <= NAME_BYTES_MAX).then(|| name.to_lowercase().replace('-', "_"))
}

fn likeness(known: &str, name: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(known, name)
}

/// The one with the highest rate; of equal ones, the first.
fn best<T>(rated: impl Iterator<Item = (f64, T)>) -> Option<T> {
    let better = |best: (f64, T), other: (f64, T)| if other.0 > best.0 { other } else { best };
    rated.reduce(better).map(|(_, value)| value)
}
