//! What a key is.

use super::kind::Kind;
use super::settings::Settings;
use super::value::{Field, Value};

/// A key, and everything about it.
pub(super) struct Key {
    /// The section, a point, and the name in it; no section for the keys at the top.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// How it may be written in a file.
    pub(super) example: &'static str,
    /// What it is for, what happens at the limit; in sentences.
    pub(super) about: &'static str,
    /// What it is when it is not set.
    pub(super) unset: &'static str,
    pub(super) field: fn(&mut Settings) -> &mut dyn Field,
}

/// A section, and what its keys are about.
pub(super) struct Section {
    /// Empty for the keys at the top.
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) keys: &'static [Key],
}

impl Key {
    /// Sets it in the settings.
    ///
    /// # Errors
    /// What is wrong with the value.
    pub(super) fn set(&self, settings: &mut Settings, value: &Value) -> Result<(), String> {
        (self.field)(settings).take(value)
    }

    /// What it is in the settings; `None` if it is nothing.
    pub(super) fn get(&self, settings: &mut Settings) -> Option<Value> {
        (self.field)(settings).give()
    }

    /// The variable that sets it.
    pub(super) fn variable(&self) -> String {
        format!(
            "EDGEBUS_{}",
            self.name.to_ascii_uppercase().replace('.', "_")
        )
    }

    /// The option of `serve` that sets it.
    pub(super) fn option(&self) -> Option<&'static str> {
        Some(match self.name {
            "data" => "--data",
            "listen" => "--listen",
            "http" => "--http",
            "insecure" => "--insecure",
            "store.retention_age" => "--retention-age",
            "store.retention_bytes" => "--retention-bytes",
            "store.retention_count" => "--retention-count",
            "store.dedupe_horizon" => "--dedupe-horizon",
            _ => return None,
        })
    }

    /// The name within its section.
    pub(super) fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}
