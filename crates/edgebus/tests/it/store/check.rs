//! Looking at a whole store: what is sound is called sound, what is damaged is found and named, and
//! nothing is changed by looking.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edgebus::files::{Files, RealFiles};
use edgebus::store::check::{Finding, Severity, Summary, Watch, check};
use edgebus::{Code, StoreError};

use super::damaged_tables::sealed_store;
use super::{append, contents, fixture, open_with, small_config, unsealed_config};

fn look(dir: &Path) -> (Summary, Vec<Finding>) {
    let files: Arc<dyn Files> = Arc::new(RealFiles);
    let mut findings = Vec::new();
    let summary = check(dir, &files, &mut findings).expect("looked at");
    (summary, findings)
}

fn damages(dir: &Path) -> Vec<Finding> {
    let (_, findings) = look(dir);
    let damages = findings.into_iter();
    damages.filter(|f| f.severity == Severity::Damage).collect()
}

/// Which bytes of which file count.
#[derive(Default)]
struct InUse(Vec<(PathBuf, u64, u64, String)>);

impl Watch for InUse {
    fn found(&mut self, finding: Finding) {
        assert_eq!(finding.severity, Severity::Note, "{finding:?}");
    }

    fn in_use(&mut self, file: &Path, at: u64, bytes: u64, what: &str) {
        self.0.push((file.to_owned(), at, bytes, what.to_owned()));
    }
}

/// A store with something of everything, sealed, and a tail that is not.
fn store_with_a_tail() -> tempfile::TempDir {
    let folder = sealed_store();
    let mut store = open_with(folder.path(), unsealed_config()).expect("opens");
    let last = store.reader().last_seq().0;
    append(&mut store, last + 1..=last + 20);
    folder
}

#[test]
fn a_sound_store_is_called_sound_and_nothing_of_it_is_changed() {
    let folder = store_with_a_tail();
    let before = contents(folder.path());
    let (summary, findings) = look(folder.path());
    assert_eq!(findings, []);
    assert!(summary.is_sound());
    assert_eq!((summary.requests, summary.ids), (440, 440));
    assert_eq!(
        (summary.replies, summary.consumers, summary.dead_letters),
        (60, 2, 2)
    );
    assert!(
        summary.groups >= 20 && summary.blocks > 3 && summary.pages > 20,
        "{summary:?}"
    );
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn stores_of_every_format_are_called_sound() {
    for format in [1, 2] {
        let folder = tempfile::tempdir().expect("folder");
        fixture::copy(&fixture::dir(format), folder.path());
        assert_eq!(damages(folder.path()), [], "format {format}");
        drop(open_with(folder.path(), small_config()).expect("opens"));
        assert_eq!(damages(folder.path()), [], "format {format}, opened");
    }
}

#[test]
fn a_flipped_bit_in_any_byte_that_counts_is_found_and_its_place_named() {
    let folder = store_with_a_tail();
    let mut in_use = InUse::default();
    let files: Arc<dyn Files> = Arc::new(RealFiles);
    check(folder.path(), &files, &mut in_use).expect("looked at");
    let mut state = 7u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for (at, (file, start, bytes, what)) in in_use.0.iter().enumerate() {
        // VERSION has its own test, and not all of it is guarded.
        if what == "VERSION" || at % 3 != 0 || *bytes == 0 {
            continue;
        }
        let (byte, bit) = (start + random(*bytes), random(8));
        let mut content = fs::read(file).expect("read");
        content[byte as usize] ^= 1 << bit;
        fs::write(file, &content).expect("written");
        let (_, findings) = look(folder.path());
        assert!(
            !findings.is_empty(),
            "{} byte {byte} bit {bit}, {what}",
            file.display()
        );
        let is_named = findings
            .iter()
            .any(|f| f.file == *file || f.kind == "segment" || f.kind == "gap");
        assert!(is_named, "{what}: {findings:?}");
        content[byte as usize] ^= 1 << bit;
        fs::write(file, &content).expect("written");
    }
    assert_eq!(damages(folder.path()), []);
}

#[test]
fn a_folder_in_use_or_without_a_store_is_refused() {
    let files: Arc<dyn Files> = Arc::new(RealFiles);
    let folder = tempfile::tempdir().expect("folder");
    let empty = check(folder.path(), &files, &mut Vec::new()).expect_err("nothing there");
    assert_eq!(empty.code(), Code::NotFound);
    let _store = open_with(folder.path(), small_config()).expect("opens");
    let used = check(folder.path(), &files, &mut Vec::new()).expect_err("in use");
    assert!(matches!(used, StoreError::DataInUse { .. }));
}
