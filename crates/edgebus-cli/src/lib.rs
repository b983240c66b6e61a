//! What fuzzing needs of the command line and cannot reach in a binary: the reader of configuration
//! files. Not an API.
//!
//! The modules are those of the binary, compiled once more: it stays a binary with nothing public
//! in it.

#![allow(dead_code, reason = "the binary uses what is not used here")]

mod values;

mod config {
    //! The part of the binary's module that reads files.

    mod file;
    mod key;
    mod keys;
    mod kind;
    mod nearest;
    mod problem;
    mod settings;
    mod value;

    pub(crate) use problem::Problems;

    /// How many keys a text sets, and what is wrong with it.
    pub(crate) fn read(text: &str) -> (usize, Vec<String>) {
        let mut problems = Problems::default();
        let set = file::parse(text, std::path::Path::new("edgebus.toml"), &mut problems);
        let mut settings = settings::Settings::default();
        for set in &set {
            // A value that was read may be refused beside others, never more.
            let _ = set.key.set(&mut settings, &set.value);
        }
        (set.len(), problems.lines())
    }
}

#[doc(hidden)]
pub mod fuzzing {
    //! See the crate.

    /// Reads a configuration file: how many keys it sets, and each line of what is wrong with it.
    pub fn config(text: &str) -> (usize, Vec<String>) {
        crate::config::read(text)
    }
}
