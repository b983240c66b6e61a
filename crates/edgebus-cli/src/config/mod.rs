//! The configuration of a server: from its options, the environment, a file, and the defaults, in
//! this order.
//!
//! In reading order: [`key`], [`keys`] the table of all keys, from which everything else follows;
//! [`value`] and [`kind`] what can be written; [`settings`] what comes of it; [`file`],
//! [`environment`] where it stands, [`nearest`] what was probably meant, [`problem`] how
//! everything that is wrong is told at once; [`checks`] what does not fit together; [`show`],
//! [`reference`] what is in effect, and what could be; [`command`] the commands about it.
//!
//! Invariants: no value is ignored in silence; with anything wrong there are no settings at all.
//! Secrets are never part of it: keys and tokens are only named, by their files.

mod checks;
pub(crate) mod command;
mod environment;
mod file;
mod key;
mod keys;
mod kind;
mod nearest;
mod problem;
mod reference;
mod settings;
mod show;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use key::Key;
pub(crate) use problem::{Place, Problems};
pub(crate) use settings::Settings;
pub(crate) use value::Value;

/// Settings, and where each comes from.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    /// The file, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// What is odd and no reason to stop.
    pub(crate) warnings: Vec<String>,
    /// By key; those that are not in it have their default.
    origins: BTreeMap<&'static str, Place>,
}

/// Where settings can come from, beside the file.
pub(crate) struct Sources<V> {
    /// The environment.
    pub(crate) variables: V,
    /// Keys that options set, and the options.
    pub(crate) options: Vec<(&'static str, Value)>,
}

/// The configuration file: what the option names, else the environment.
pub(crate) fn file_named(option: Option<&Path>) -> Option<PathBuf> {
    let variable = || std::env::var_os("EDGEBUS_CONFIG").filter(|name| !name.is_empty());
    option
        .map(Path::to_owned)
        .or_else(|| variable().map(PathBuf::from))
}

/// The environment of this process, and keys that options set.
pub(crate) fn sources(options: Vec<(&'static str, Value)>) -> Sources<std::env::VarsOs> {
    Sources {
        variables: std::env::vars_os(),
        options,
    }
}

impl Config {
    /// Puts everything together: an option wins over the environment, that over the file.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(crate) fn load<V>(file: Option<&Path>, sources: Sources<V>) -> Result<Self, Problems>
    where
        V: IntoIterator<Item = (OsString, OsString)>,
    {
        let mut problems = Problems::default();
        let mut config = Self {
            settings: Settings::default(),
            file: file.map(Path::to_owned),
            warnings: Vec::new(),
            origins: BTreeMap::new(),
        };
        if let Some(path) = file {
            for set in file::read(path, &mut problems) {
                let place = Place::File(path.to_owned(), set.line);
                config.set(set.key, &set.value, place, &mut problems);
            }
        }
        let warnings = &mut config.warnings;
        for set in environment::read(sources.variables, &mut problems, warnings) {
            let place = Place::Environment(set.variable);
            config.set(set.key, &set.value, place, &mut problems);
        }
        for (name, value) in sources.options {
            let key = keys::named(name).and_then(|key| Some((key, key.option()?)));
            let (key, option) = key.expect("each of these options sets a key");
            config.set(key, &value, Place::Option(option), &mut problems);
        }
        match problems.is_empty() {
            true => Ok(config),
            false => {
                problems.warn(config.warnings);
                Err(problems)
            }
        }
    }

    /// The keys that have another value in another configuration, in words.
    pub(crate) fn changes(&self, other: &Self) -> Vec<String> {
        let (mut old, mut new) = (self.settings.clone(), other.settings.clone());
        let changed = keys::all().filter_map(|key| {
            let value = key.get(&mut new);
            let same = key.get(&mut old) == value;
            (!same).then_some((key, value))
        });
        let told = changed.map(|(key, value)| {
            let place = other.origins.get(key.name).or(self.origins.get(key.name));
            let place = place.map_or_else(String::new, |place| format!("{place}: "));
            match value {
                Some(value) => format!("{place}{} is now {}", key.name, key.kind.written(&value)),
                None => format!("{place}{} is not set any more", key.name),
            }
        });
        told.collect()
    }

    fn set(&mut self, key: &'static Key, value: &Value, place: Place, problems: &mut Problems) {
        match key.set(&mut self.settings, value) {
            Ok(()) => drop(self.origins.insert(key.name, place)),
            Err(what) => problems.add(place, || what),
        }
    }
}
