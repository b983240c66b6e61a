//! Reads a configuration file: every key that is good, and everything that is wrong.
//!
//! Invariant: any text is read to its end without a panic, and nothing in it is passed over in
//! silence: what is no key of ours is a problem.

use std::path::Path;

use edgebus::files::{Privacy, read_small};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::Key;
use super::keys::{self, SECTIONS};
use super::kind::Kind;
use super::nearest;
use super::problem::{Place, Problems};
use super::settings::Settings;
use super::value::Value;

/// A key that a file sets, and in which line.
pub(super) struct Set {
    pub(super) key: &'static Key,
    pub(super) value: Value,
    pub(super) line: usize,
}

/// Most characters of somebody's text that are said again.
const SAID_AGAIN_MAX: usize = 40;

/// Reads the file at a path; relative paths in it are relative to its folder.
pub(super) fn read(path: &Path, problems: &mut Problems) -> Vec<Set> {
    let whole = |what: String, problems: &mut Problems| {
        problems.add(Place::File(path.to_owned(), 0), || what);
        Vec::new()
    };
    let bytes = match read_small(path, Privacy::Public) {
        Ok(bytes) => bytes,
        Err(error) => return whole(format!("it cannot be read: {error}"), problems),
    };
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
            let place = Place::File(path.to_owned(), line);
            problems.add(place, || {
                "here is something that is not text in UTF-8".to_owned()
            });
            return Vec::new();
        }
    };
    let mut set = parse(&text, path, problems);
    let folder = std::path::absolute(path).ok();
    if let Some(folder) = folder.as_deref().and_then(Path::parent) {
        for set in &mut set {
            let value = std::mem::replace(&mut set.value, Value::Flag(false));
            set.value = value.below(folder);
        }
    }
    set
}

/// Reads text; the path is only for what is said about it.
pub(super) fn parse(text: &str, path: &Path, problems: &mut Problems) -> Vec<Set> {
    let mut reading = Reading::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    reading.table("", "", table.get_ref());
    let mut found = reading.found;
    let mut broken = Vec::new();
    for error in &errors {
        let line = line_of(
            &reading.line_ends,
            error.span().map_or(0, |span| span.start),
        );
        broken.push(line);
        let message = error.message().to_owned();
        found.push((line, Box::new(move || syntax(&message))));
    }
    let is_syntax_error = found.len() - errors.len();
    let mut found: Vec<(usize, usize, What<'_>)> = found
        .into_iter()
        .enumerate()
        .filter(|(at, (line, _))| {
            // What a line that cannot be read seems to mean is no second problem.
            *at >= is_syntax_error || !broken.contains(line)
        })
        .map(|(at, (line, what))| (line, at, what))
        .collect();
    found.sort_by_key(|(line, at, _)| (*line, *at));
    for (line, _, what) in found {
        problems.add(Place::File(path.to_owned(), line), what);
    }
    reading.set
}

fn syntax(message: &str) -> String {
    format!("this is no TOML: {message}; write NAME = VALUE, text in \"quotes\"")
}

/// What will be said; made up only when it is told.
type What<'a> = Box<dyn FnOnce() -> String + 'a>;

struct Reading<'a> {
    text: &'a str,
    line_ends: Vec<usize>,
    set: Vec<Set>,
    found: Vec<(usize, What<'a>)>,
    /// Where values are tried.
    scratch: Settings,
}

impl<'a> Reading<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            line_ends: text.match_indices('\n').map(|(at, _)| at).collect(),
            set: Vec::new(),
            found: Vec::new(),
            scratch: Settings::default(),
        }
    }

    fn problem(&mut self, line: usize, what: impl FnOnce() -> String + 'a) {
        self.found.push((line, Box::new(what)));
    }

    /// Reads a section that was written as `written` and is taken for `section`.
    fn table(&mut self, section: &'static str, written: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let line = line_of(&self.line_ends, name.span().start);
            let name = name.get_ref().as_ref();
            let full = match section {
                "" => name.to_owned(),
                section => format!("{section}.{name}"),
            };
            let sub = SECTIONS.iter().map(|section| section.name);
            let sub = sub.filter(|sub| section.is_empty() && !sub.is_empty());
            // A name in quotes may have a point in it, which leads into no section.
            let key = keys::named(&full).filter(|_| !name.contains('.'));
            match (key, value.get_ref()) {
                (Some(key), DeValue::Table(_)) => self.problem(line, move || {
                    let (name, example) = (key.short_name(), key.example);
                    format!(
                        "{} is a key and no section: write {name} = {example}",
                        key.name
                    )
                }),
                (Some(key), _) => self.value(key, value, line),
                (None, content) => match (sub.clone().find(|sub| *sub == name), content) {
                    (Some(sub), DeValue::Table(table)) => self.table(sub, sub, table),
                    (Some(sub), _) => self.problem(line, move || {
                        format!(
                            "{sub} is a section: write [{sub}] once, in a line of its own, and below it \
                             lines of NAME = VALUE"
                        )
                    }),
                    (None, DeValue::Table(table)) if section.is_empty() => {
                        self.unknown_section(name, table, line);
                    }
                    _ => self.unknown_key(section, written, name, line),
                },
            }
        }
    }

    fn unknown_section(&mut self, name: &str, table: &DeTable<'_>, line: usize) {
        let near = nearest::section(name);
        let shown = shorten(name);
        self.problem(line, move || match near {
            Some(near) => format!("no section is called [{shown}]: did you mean [{near}]?"),
            None => {
                let names: Vec<String> = SECTIONS
                    .iter()
                    .filter(|section| !section.name.is_empty())
                    .map(|section| format!("[{}]", section.name))
                    .collect();
                let names = names.join(", ");
                format!("no section is called [{shown}]: the sections are {names}")
            }
        });
        // So that all that is wrong in it is told at once.
        if let Some(near) = near {
            self.table(near, name, table);
        }
    }

    fn unknown_key(&mut self, section: &'static str, written: &str, name: &str, line: usize) {
        let (shown, written) = (shorten(name), shorten(written));
        let name = name.to_owned();
        self.problem(line, move || {
            let place = match written.as_str() {
                "" => String::new(),
                written => format!(" in [{written}]"),
            };
            let remedy = match nearest::key(section, &name) {
                Some(key) => {
                    let there = match key.name.split_once('.') {
                        Some((there, _)) if there != section => format!(" in [{there}]"),
                        None if !section.is_empty() => {
                            " at the top of the file, before the first section".to_owned()
                        }
                        _ => String::new(),
                    };
                    format!("did you mean {}{there}?", key.short_name())
                }
                None => "`edgebus config reference` shows all there are".to_owned(),
            };
            format!("no key is called {shown}{place}: {remedy}")
        });
    }

    fn value(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>, line: usize) {
        let read = key.kind.read(value.get_ref()).and_then(|value| {
            key.set(&mut self.scratch, &value).map_err(Some)?;
            Ok(value)
        });
        let line = match value.span().start {
            0 => line,
            start => line_of(&self.line_ends, start),
        };
        match read {
            Ok(value) => self.set.push(Set { key, value, line }),
            Err(reason) => {
                let written = self.text.get(value.span()).unwrap_or_default();
                self.problem(line, move || wrong(key, written, reason));
            }
        }
    }
}

/// What to say about a value that cannot be. Of what may be secret nothing is repeated.
fn wrong(key: &Key, written: &str, reason: Option<String>) -> String {
    let (name, short) = (key.name, key.short_name());
    let what = match reason {
        // It says so itself.
        Some(reason) if reason.contains(": write ") => return format!("{name}: {reason}"),
        Some(reason) => format!("{name}: {reason}"),
        None if matches!(key.kind, Kind::Path | Kind::Paths) => format!("{name} cannot be that"),
        None => format!("{name} cannot be {}", shorten(written)),
    };
    let expected = key.kind.expected();
    format!(
        "{what}; write {expected}, such as {short} = {}",
        key.example
    )
}

/// Somebody's text, as far as it is said again; with nothing in it that a terminal acts on.
pub(super) fn shorten(text: &str) -> String {
    let short: String = text.chars().take(SAID_AGAIN_MAX).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    let mut line = String::with_capacity(short.len());
    for c in short.chars() {
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line + more
}

/// The line, from 1, in which a byte is.
fn line_of(line_ends: &[usize], at: usize) -> usize {
    1 + line_ends.partition_point(|end| *end < at)
}
