//! What is in effect, and where each value comes from: `edgebus config show`.
//!
//! Invariant: as text it is a configuration file that has the same effect.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::key::Key;
use super::keys::SECTIONS;
use super::{Config, Place, Value};

impl Config {
    /// As a file, with the place of each value behind it.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = String::from(
            "# What is in effect, and where it comes from. No secret is in it: keys and tokens are in files of their\n\
             # own, which are only named here.\n",
        );
        let mut settings = self.settings.clone();
        for section in SECTIONS {
            // Writing to a string cannot fail.
            if !section.name.is_empty() {
                let _ = writeln!(text, "\n[{}]", section.name);
            }
            for key in section.keys {
                let name = key.short_name();
                let _ = match key.get(&mut settings) {
                    Some(value) => {
                        let value = key.kind.written(&value);
                        let place = plain(&self.place_text(key));
                        writeln!(text, "{name} = {value}  # {place}")
                    }
                    None => writeln!(text, "# {name} is not set: {}", key.unset),
                };
            }
        }
        text
    }

    /// As one object for each key. Durations and sizes are as in a file.
    pub(crate) fn to_json(&self) -> Vec<Json> {
        let mut settings = self.settings.clone();
        let keys = SECTIONS.iter().flat_map(|section| section.keys);
        keys.map(|key| {
            let value = key.get(&mut settings);
            json!({
                "key": key.name,
                "value": value.map(|value| json_value(key, &value)),
                "from": match self.origins.get(key.name) {
                    None => "default",
                    Some(Place::File(..)) => "file",
                    Some(Place::Environment(_)) => "environment",
                    Some(_) => "option",
                },
                "place": self.origins.get(key.name).map(ToString::to_string),
            })
        })
        .collect()
    }

    fn place_text(&self, key: &Key) -> String {
        let place = self.origins.get(key.name);
        place.map_or_else(|| "default".to_owned(), ToString::to_string)
    }
}

fn json_value(key: &Key, value: &Value) -> Json {
    match value {
        Value::Flag(flag) => json!(flag),
        Value::Texts(texts) => json!(texts),
        Value::Path(path) => json!(path.to_string_lossy()),
        Value::Paths(paths) => {
            let paths: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
            json!(paths)
        }
        Value::Text(text) => json!(text),
        Value::Number(_) | Value::Duration(_) => {
            let written = key.kind.written(value);
            // What has no quotes is a number.
            written
                .parse::<u64>()
                .map_or_else(|_| json!(written.trim_matches('"')), |number| json!(number))
        }
    }
}

/// A comment ends with its line.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
