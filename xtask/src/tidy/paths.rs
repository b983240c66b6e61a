//! The paths a Rust file names, written out in full from where they can be.
//!
//! `use crate::{a, b::c as d}` becomes `crate::a` and `crate::b::c`; `super::x`, `self::x`, a
//! declared child module and a name brought in by `use` are resolved, so that `use std::time;` and
//! then `time::Instant` is seen as `std::time::Instant`. One file at a time, no macro expansion:
//! what a macro builds from pieces stays unseen. Called by [`super::source_file`].

use std::collections::{BTreeMap, BTreeSet};

use super::scan::{Kind, Token};

/// One place where a file names a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathUse {
    /// Resolved; starts with `crate`, or with the name of another crate or something local.
    pub(super) segments: Vec<String>,
    /// Whether it ends in `::*`.
    pub(super) is_glob: bool,
    /// The name it is known by afterwards, when this is (part of) a `use`.
    pub(super) imported_as: Option<String>,
    pub(super) line: usize,
    pub(super) in_test: bool,
}

impl PathUse {
    /// Whether it names `prefix` (`a::b`), something below it, or all of what is around it.
    pub(super) fn names(&self, prefix: &str) -> bool {
        let prefix: Vec<&str> = prefix.split("::").collect();
        let shared = prefix
            .iter()
            .zip(&self.segments)
            .take_while(|(a, b)| a == b)
            .count();
        shared == prefix.len() || (self.is_glob && shared == self.segments.len())
    }

    /// Whether its last segments are `suffix` (`a::b`).
    pub(super) fn ends_with(&self, suffix: &str) -> bool {
        let suffix: Vec<&str> = suffix.split("::").collect();
        self.segments.len() >= suffix.len()
            && self.segments[self.segments.len() - suffix.len()..] == suffix[..]
    }

    /// The path as it is written.
    pub(super) fn text(&self) -> String {
        let path = self.segments.join("::");
        if self.is_glob {
            format!("{path}::*")
        } else {
            path
        }
    }
}

/// Every path in `tokens`, the content of the file at `path`.
///
/// A name on its own counts only in a `use` or `extern crate`: elsewhere it may be a variable.
pub(super) fn collect(path: &str, tokens: &[Token], in_test: &[bool]) -> Vec<PathUse> {
    let mut collector = Collector {
        tokens,
        in_test,
        found: Vec::new(),
        module: module_of(path),
        blocks: Vec::new(),
        children: BTreeSet::new(),
    };
    collector.find_children();
    collector.walk();

    // What a test module imports must not change the meaning of product code.
    let product_imports = collector.imports(|path| !path.in_test);
    let all_imports = collector.imports(|_| true);
    collector
        .found
        .into_iter()
        .map(|Found { mut path, is_local }| {
            let imports = if path.in_test {
                &all_imports
            } else {
                &product_imports
            };
            let first = path
                .segments
                .first()
                .filter(|_| is_local && path.imported_as.is_none());
            if let Some(full) = first.and_then(|first| imports.get(first)) {
                path.segments.splice(..1, full.iter().cloned());
            }
            path
        })
        .collect()
}

/// The module a file holds: `crates/x/src/store/journal.rs` is `crate::store::journal`.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.rsplit_once("src/").map_or("", |(_, inside)| inside);
    let mut module = vec!["crate".to_owned()];
    module.extend(
        inside
            .trim_end_matches(".rs")
            .split('/')
            .filter(|part| !["", "lib", "main", "mod"].contains(part))
            .map(str::to_owned),
    );
    module
}

/// A path, and whether its first segment may still be a name from a `use`.
struct Found {
    path: PathUse,
    is_local: bool,
}

struct Collector<'a> {
    tokens: &'a [Token],
    in_test: &'a [bool],
    found: Vec<Found>,
    /// The module around the current token.
    module: Vec<String>,
    /// For each open brace, whether it opened an inline module.
    blocks: Vec<bool>,
    /// Full names of the modules declared here.
    children: BTreeSet<Vec<String>>,
}

impl Collector<'_> {
    fn is_punct(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|t| t.is_punct(text))
    }

    fn ident(&self, at: usize) -> Option<&str> {
        let token = self.tokens.get(at)?;
        (token.kind == Kind::Ident).then_some(token.text.as_str())
    }

    /// The names that the accepted `use` items bring in, with what they stand for.
    fn imports(&self, accept: impl Fn(&PathUse) -> bool) -> BTreeMap<String, Vec<String>> {
        self.found
            .iter()
            .filter(|found| accept(&found.path))
            .filter_map(|Found { path, .. }| {
                Some((path.imported_as.clone()?, path.segments.clone()))
            })
            .collect()
    }

    /// A `use` may stand above the `mod` line it needs, so these are gathered first.
    fn find_children(&mut self) {
        for at in 0..self.tokens.len() {
            if self.ident(at) == Some("mod")
                && let Some(name) = self.ident(at + 1)
            {
                let mut child = self.module.clone();
                child.push(name.to_owned());
                self.children.insert(child);
            }
        }
    }

    fn walk(&mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            at = self.step(at);
        }
    }

    /// Handles what begins at `at` and returns where to go on.
    fn step(&mut self, at: usize) -> usize {
        if self.is_punct(at, "{") {
            self.blocks.push(false);
        } else if self.is_punct(at, "}") && self.blocks.pop() == Some(true) {
            self.module.pop();
        }
        let Some(word) = self.ident(at) else {
            return at + 1;
        };
        let is_member = at > 0 && self.is_punct(at - 1, ".");
        match word {
            // Not the capture list of `impl Trait + use<'a>`.
            "use" if !self.is_punct(at + 1, "<") => self.use_tree(Vec::new(), at + 1),
            "crate" if at > 0 && self.ident(at - 1) == Some("extern") => {
                self.use_tree(Vec::new(), at + 1)
            }
            "mod" if self.is_punct(at + 2, "{") => {
                if let Some(name) = self.ident(at + 1) {
                    let name = name.to_owned();
                    self.module.push(name);
                    self.blocks.push(true);
                }
                at + 3
            }
            "return" | "in" | "as" | "else" | "match" | "if" | "while" | "dyn" | "impl" => at + 1,
            _ if is_member => at + 1,
            _ => self.expression_path(at),
        }
    }

    /// A path outside of `use`, such as `crate::bus::Engine` or `Duration::ZERO`.
    fn expression_path(&mut self, start: usize) -> usize {
        let mut segments = Vec::new();
        let mut at = start;
        while let Some(segment) = self.ident(at) {
            segments.push(segment.to_owned());
            if !self.is_punct(at + 1, "::") {
                at += 1;
                break;
            }
            at += 2;
        }
        if segments.len() > 1 {
            self.add(segments, false, None, start);
        }
        at.max(start + 1)
    }

    /// One tree of a `use`: a path that ends in a name, an alias, a glob or a group.
    fn use_tree(&mut self, mut segments: Vec<String>, mut at: usize) -> usize {
        let start = at;
        if self.is_punct(at, "::") {
            at += 1;
        }
        while let Some(segment) = self.ident(at) {
            // `a::{self}` is `a`.
            if segment != "self" || segments.is_empty() {
                segments.push(segment.to_owned());
            }
            at += 1;
            if !self.is_punct(at, "::") {
                break;
            }
            at += 1;
        }
        if self.is_punct(at, "*") {
            self.add(segments, true, None, at);
            return at + 1;
        }
        if self.is_punct(at, "{") {
            return self.use_group(&segments, at + 1);
        }
        let mut name = segments.last().cloned();
        if self.ident(at) == Some("as") {
            name = self.ident(at + 1).map(str::to_owned);
            at += 2;
        }
        if !segments.is_empty() {
            self.add(segments, false, name, start);
        }
        at.max(start + 1)
    }

    fn use_group(&mut self, prefix: &[String], mut at: usize) -> usize {
        while at < self.tokens.len() && !self.is_punct(at, "}") {
            at = if self.is_punct(at, ",") {
                at + 1
            } else {
                self.use_tree(prefix.to_vec(), at)
            };
        }
        at + 1
    }

    fn add(&mut self, written: Vec<String>, is_glob: bool, imported_as: Option<String>, at: usize) {
        let at = at.min(self.tokens.len() - 1);
        let (segments, is_local) = self.resolve(written);
        let path = PathUse {
            segments,
            is_glob,
            imported_as,
            line: self.tokens[at].line,
            in_test: self.in_test[at],
        };
        self.found.push(Found { path, is_local });
    }

    /// Replaces `self`, `super` and child modules by the module they stand for.
    fn resolve(&self, written: Vec<String>) -> (Vec<String>, bool) {
        let mut base = self.module.clone();
        let mut rest = written.as_slice();
        match written.first().map(String::as_str) {
            Some("crate") => return (written, false),
            Some("self" | "super") => {
                while let [first, others @ ..] = rest {
                    match first.as_str() {
                        "self" => {}
                        "super" if base.len() > 1 => {
                            base.pop();
                        }
                        _ => break,
                    }
                    rest = others;
                }
            }
            Some(first) => {
                base.push(first.to_owned());
                if !self.children.contains(&base) {
                    return (written, true);
                }
                rest = &written[1..];
            }
            None => return (written, false),
        }
        base.extend_from_slice(rest);
        (base, false)
    }
}

#[cfg(test)]
mod tests;
