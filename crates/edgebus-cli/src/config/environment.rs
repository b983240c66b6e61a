//! Reads the environment: `EDGEBUS_` and a key's name.
//!
//! A variable that is none of ours is told and does not stop the server: what starts it may set
//! some of its own. An empty one counts as not set.

use std::ffi::{OsStr, OsString};

use super::file::shorten;
use super::key::Key;
use super::keys;
use super::kind::Kind;
use super::nearest;
use super::problem::{Place, Problems};
use super::settings::Settings;
use super::value::Value;

/// What every variable of ours begins with.
const PREFIX: &str = "EDGEBUS_";

/// Variables that are no keys, and what they are for; without a word, what is set for the
/// commands of `reply --exec`.
pub(super) const OTHERS: &[(&str, &str)] = &[
    ("EDGEBUS_CONFIG", "the configuration file, as `--config`"),
    (
        "EDGEBUS_SERVER",
        "the server that commands talk to, as `--server`",
    ),
    ("EDGEBUS_CA", "of commands, as `--ca`"),
    ("EDGEBUS_CERT", "of commands, as `--cert`"),
    ("EDGEBUS_KEY", "of commands, as `--key`"),
    ("EDGEBUS_TOKEN_FILE", "of commands, as `--token-file`"),
    ("EDGEBUS_SERVER_NAME", "of commands, as `--server-name`"),
    ("EDGEBUS_REQUEST_ID", ""),
    ("EDGEBUS_TOPIC", ""),
    ("EDGEBUS_ATTEMPT", ""),
    ("EDGEBUS_SEQ", ""),
    ("EDGEBUS_CONSUMER", ""),
];

/// A key that a variable sets.
pub(super) struct Set {
    pub(super) key: &'static Key,
    pub(super) value: Value,
    pub(super) variable: String,
}

/// Reads all variables. What is nothing of ours goes to the warnings.
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Problems,
    warnings: &mut Vec<String>,
) -> Vec<Set> {
    let keys: Vec<(String, &'static Key)> = keys::all().map(|key| (key.variable(), key)).collect();
    let mut ours: Vec<(String, OsString)> = variables
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    ours.sort();
    let mut set = Vec::new();
    for (name, text) in ours {
        let key = keys.iter().find(|(variable, _)| *variable == name);
        match key {
            Some((_, key)) => match value(key, &text) {
                Ok(value) => set.push(Set {
                    key,
                    value,
                    variable: name,
                }),
                Err(what) => problems.add(Place::Environment(name), || what),
            },
            None if OTHERS.iter().any(|(other, _)| *other == name) => {}
            None => {
                let known = keys.iter().map(|(variable, _)| variable.as_str());
                let known = known.chain(OTHERS.iter().map(|(other, _)| *other));
                let near = nearest::of(known, &name);
                let near = near.map(|near| format!(": did you mean {near}?"));
                warnings.push(format!(
                    "{} in the environment means nothing to this version{}",
                    shorten(&name),
                    near.unwrap_or_default()
                ));
            }
        }
    }
    set
}

fn value(key: &Key, text: &OsStr) -> Result<Value, String> {
    let read = key.kind.read_variable(text).and_then(|value| {
        key.set(&mut Settings::default(), &value).map_err(Some)?;
        Ok(value)
    });
    read.map_err(|reason| {
        let what = match reason {
            // It says so itself.
            Some(reason) if reason.contains(": write ") => return reason,
            Some(reason) => reason,
            None if matches!(key.kind, Kind::Path | Kind::Paths) => "it cannot be that".to_owned(),
            None => format!("it cannot be {}", shorten(&text.to_string_lossy())),
        };
        format!("{what}; write {}", key.kind.expected())
    })
}
