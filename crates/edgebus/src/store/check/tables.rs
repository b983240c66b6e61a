//! Which tables there are, whether their pages are what was written, and what `metadata` says.

use std::collections::BTreeMap;

use edgebus_core::{Lsn, Seq};

use super::header::HEADER_BYTES;
use super::pages::{Met, Pages, Row, Tree, u64_at};
use super::{Check, Known, Lost, Place};
use crate::store::StoreError;
use crate::store::ids::Fingerprinter;
use crate::store::tables::{
    CONSUMER_OFFSETS, CONSUMER_STATE, DEAD_LETTER_KEYS, DEAD_LETTERS, FORMAT_VERSION, ID_FILTERS,
    METADATA, REPLIES, REQUEST_LOG, id_table_name, meta,
};
use redb::TableHandle as _;

/// The tables that a store has from the start, but for the first one of ids.
fn from_the_start() -> [&'static str; 8] {
    // Handles of redb know their names; the types of rows differ.
    [
        REQUEST_LOG.name(),
        CONSUMER_OFFSETS.name(),
        CONSUMER_STATE.name(),
        REPLIES.name(),
        DEAD_LETTERS.name(),
        DEAD_LETTER_KEYS.name(),
        ID_FILTERS.name(),
        METADATA.name(),
    ]
}

/// The file of the tables, and where each one begins.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) pages: Pages,
    /// `None` for one without rows.
    by_name: BTreeMap<String, Option<Tree>>,
    /// Rows of `metadata`.
    pub(super) numbers: BTreeMap<String, u64>,
    /// Whether these are what was written.
    pub(super) is_trusted: bool,
}

impl Tables {
    pub(super) fn tree(&self, name: &str) -> Option<Tree> {
        self.by_name.get(name).copied().flatten()
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.numbers.get(name).copied().unwrap_or(0)
    }

    /// The generations of ids there are, oldest first.
    pub(super) fn generations(&self) -> Vec<u64> {
        let numbers = self.by_name.keys();
        let numbers =
            numbers.filter_map(|name| name.strip_prefix("request_idempotency.")?.parse().ok());
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        numbers
    }

    /// What it says of the whole store.
    pub(super) fn known(&self) -> Known {
        Known {
            sealed: Lsn(self.number(meta::SEALED_LSN)),
            first_seq: Seq(self.number(meta::FIRST_SEQ).max(1)),
            last_seq: Seq(self.number(meta::LAST_SEQ)),
            keys: Fingerprinter::new((self.number(meta::KEY_0), self.number(meta::KEY_1))),
        }
    }
}

impl Check<'_> {
    /// Looks at `store.redb`. `None`: nobody can tell what it said of the whole store.
    pub(super) fn tables(&mut self) -> Result<Option<Known>, StoreError> {
        let path = self.tables_path();
        let everything = "all that is not in the journal any more is lost with it";
        let file = match self.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let what = format!("the file is missing: {everything}");
                self.damage(Place::file("table", &path), what, Lost::default());
                return Ok(None);
            }
            Err(error) => return Err(StoreError::io("open", &path, error)),
        };
        let pages = Pages::open(file).map_err(|e| StoreError::io("read", &path, e))?;
        self.all_bytes += pages.bytes;
        self.watch.in_use(&path, 0, HEADER_BYTES as u64, "header");
        for (at, what) in &pages.problems {
            self.damage(Place::file("page", &path).at(*at), *what, Lost::default());
        }
        let Some(user) = pages.user else {
            let what = format!("there are no tables in it: {everything}");
            self.damage(Place::file("table", &path), what, Lost::default());
            return Ok(None);
        };
        if let Some(system) = pages.system {
            let of_system = self.names(&pages, &system, "system")?;
            for (name, tree) in of_system {
                if let Some(tree) = tree {
                    self.walk(&pages, &format!("system: {name}"), &tree, |_, _| Ok(()))?;
                }
            }
        }
        let mut tables = Tables {
            by_name: self.names(&pages, &user, "the tree of tables")?,
            pages,
            numbers: BTreeMap::new(),
            is_trusted: false,
        };
        self.metadata(&mut tables)?;
        self.are_all_there(&tables);
        self.log_and_ids(&tables)?;
        self.replies(&tables)?;
        self.consumers(&tables)?;
        self.dead_letters(&tables)?;
        Ok(tables.is_trusted.then(|| tables.known()))
    }

    pub(super) fn tables_path(&self) -> std::path::PathBuf {
        self.dir.join("store.redb")
    }

    /// The trees named in a tree of tables.
    fn names(
        &mut self,
        pages: &Pages,
        tree: &Tree,
        what: &str,
    ) -> Result<BTreeMap<String, Option<Tree>>, StoreError> {
        let mut names = BTreeMap::new();
        self.walk(pages, what, tree, |check, row| {
            let name = String::from_utf8_lossy(&row.key).into_owned();
            match Tree::of_table(&row.value) {
                Some(tree) => drop(names.insert(name, tree)),
                None => {
                    let place = Place::file("table", &check.tables_path()).at(row.at);
                    let what = "the row that says where the table begins makes no sense";
                    check.damage(place.table(&name), what, Lost::default());
                }
            }
            Ok(())
        })?;
        Ok(names)
    }

    /// Looks at each page of a tree and hands over the rows.
    pub(super) fn walk(
        &mut self,
        pages: &Pages,
        table: &str,
        tree: &Tree,
        mut take: impl FnMut(&mut Self, Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let path = self.tables_path();
        let mut walk = pages.walk(tree);
        let mut rows = 0;
        while let Some(met) = walk.next().map_err(|e| StoreError::io("read", &path, e))? {
            match met {
                Met::Row(row) => {
                    rows += 1;
                    take(self, row)?;
                }
                Met::Page(page) => {
                    self.summary.pages += 1;
                    self.looked_at(page.used);
                    self.watch.in_use(&path, page.at, page.used, table);
                    if !page.is_sound {
                        let what = match page.used {
                            0 => "a page is named that cannot be there",
                            _ => "the page does not match its checksum",
                        };
                        let place = Place::file("page", &path).at(page.at).table(table);
                        self.damage(place, what, Lost::default());
                    }
                }
            }
        }
        if rows != tree.rows {
            let what = format!("{rows} rows can be found of {}", tree.rows);
            let place = Place::file("table", &path).table(table);
            self.damage(place, what, Lost::default());
        }
        Ok(())
    }

    /// Reads a table of names and numbers, and compares it with its checksum.
    pub(super) fn numbers(
        &mut self,
        pages: &Pages,
        name: &str,
        tree: Option<Tree>,
    ) -> Result<(BTreeMap<String, u64>, u64), StoreError> {
        let mut numbers = BTreeMap::new();
        let mut crc = 0;
        if let Some(tree) = tree {
            self.walk(pages, name, &tree, |check, row| {
                let found = String::from_utf8(row.key.to_vec()).ok();
                let Some((found, number)) = found.zip(u64_at(&row.value, 0)) else {
                    let place = Place::file("metadata", &check.tables_path()).at(row.at);
                    check.damage(place.table(name), "a row makes no sense", Lost::default());
                    return Ok(());
                };
                if found != meta::METADATA_CRC {
                    crc = crc32c::crc32c_append(crc, &(found.len() as u32).to_le_bytes());
                    crc = crc32c::crc32c_append(crc, found.as_bytes());
                    crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
                }
                numbers.insert(found, number);
                Ok(())
            })?;
        }
        Ok((numbers, u64::from(crc)))
    }

    fn metadata(&mut self, tables: &mut Tables) -> Result<(), StoreError> {
        let name = METADATA.name();
        let place = Place::file("metadata", &self.tables_path()).table(name);
        let (numbers, crc) = self.numbers(&tables.pages, name, tables.tree(name))?;
        tables.is_trusted = numbers.get(meta::METADATA_CRC) == Some(&crc);
        tables.numbers = numbers;
        if !tables.is_trusted {
            let what = "the rows do not match their checksum: no number of it can be relied on";
            self.damage(place, what, Lost::default());
            return Ok(());
        }
        let format = tables.number(meta::FORMAT_VERSION);
        if format == 0 || format > u64::from(FORMAT_VERSION) {
            let what = format!("the format is {format}, which nobody knows");
            self.damage(
                place.clone().key(meta::FORMAT_VERSION),
                what,
                Lost::default(),
            );
        }
        if tables.number(meta::FIRST_SEQ) > tables.number(meta::LAST_SEQ) + 1
            && tables.number(meta::SEALED_LSN) == 0
        {
            let what = "more is trimmed than was ever stored";
            self.damage(place.key(meta::FIRST_SEQ), what, Lost::default());
        }
        Ok(())
    }

    fn are_all_there(&mut self, tables: &Tables) {
        let mut wanted: Vec<String> = from_the_start().map(str::to_owned).into();
        if tables.is_trusted {
            let first = tables.number(meta::FIRST_GENERATION);
            let last = tables.number(meta::LAST_GENERATION);
            wanted.extend((first..=last).take(1 << 20).map(id_table_name));
        }
        for name in wanted {
            if !tables.by_name.contains_key(&name) {
                let place = Place::file("table", &self.tables_path()).table(&name);
                self.damage(place, "the table is missing", Lost::default());
            }
        }
    }

    /// Compares the number of bytes that `metadata` has with what is there.
    pub(super) fn total(&mut self, tables: &Tables, name: &'static str, found: u64) {
        let wanted = tables.number(name);
        // Format 1 did not count.
        let counts = tables.is_trusted && tables.number(meta::FORMAT_VERSION) >= 2;
        if counts && wanted != found {
            let place = Place::file("metadata", &self.tables_path());
            let what = format!("it says {wanted}, and there are {found}");
            self.damage(
                place.table(METADATA.name()).key(name),
                what,
                Lost::default(),
            );
        }
    }
}
