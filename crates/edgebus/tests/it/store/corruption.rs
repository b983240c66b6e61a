//! Bytes that were acknowledged and are not what was written: the store does not open, names the
//! place, and changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use edgebus::{Code, StoreError};

use super::{append, assert_holds, contents, open_with, seal, segments, unsealed_config};

const BLOCK: usize = 4096;
/// Groups of one block in a segment, behind its header.
const GROUPS: u64 = 63;

/// A store of three segments, nothing of it sealed; each request is a group of one block.
fn three_segments() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), unsealed_config()).expect("opens");
    append(&mut store, 1..=2 * GROUPS + 10);
    drop(store);
    assert_eq!(segments(folder.path()).len(), 3);
    folder
}

/// The file and the text of the refusal to open. The folder must be left as it was.
#[track_caller]
fn refused(dir: &Path) -> (PathBuf, String) {
    let before = contents(dir);
    let error = open_with(dir, unsealed_config()).expect_err("corrupt");
    assert_eq!(error.code(), Code::Corrupt, "{error}");
    let after = contents(dir);
    let names = |contents: &std::collections::BTreeMap<PathBuf, Vec<u8>>| {
        contents.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&before), names(&after));
    for (path, bytes) in &before {
        assert!(after[path] == *bytes, "{} changed", path.display());
    }
    assert!(error.to_string().contains("nothing was deleted"));
    let StoreError::Corrupt { path, detail } = error else {
        panic!("{error}");
    };
    (path, detail)
}

fn flip(path: &Path, bit: usize) {
    let mut bytes = fs::read(path).expect("file");
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(path, bytes).expect("file");
}

#[test]
fn flipped_bit_in_a_synced_group_is_corruption_and_the_place_is_named() {
    let folder = three_segments();
    let segments = segments(folder.path());
    // Each group but the very last; of each another bit.
    let places = [(0, 1..=GROUPS), (1, 1..=GROUPS), (2, 1..=9)];
    for (segment, groups) in places {
        for group in groups.step_by(7) {
            let at = group as usize * BLOCK;
            let bit = (group as usize * 9_773) % (BLOCK * 8);
            flip(&segments[segment], at * 8 + bit);
            let (path, detail) = refused(folder.path());
            assert_eq!(path, segments[segment]);
            assert!(detail.contains(&format!("byte {at}:")), "{detail}");
            flip(&segments[segment], at * 8 + bit);
        }
    }
    let store = open_with(folder.path(), unsealed_config()).expect("as it was");
    assert_holds(&store, 2 * GROUPS + 10);
}

#[test]
fn every_bit_of_a_synced_group_counts() {
    let folder = three_segments();
    let segment = &segments(folder.path())[2];
    let in_header = (0..64 * 8).step_by(13);
    let behind_it = (64 * 8..BLOCK * 8).step_by(1_009);
    let in_footer = BLOCK * 8 - 128..BLOCK * 8;
    for bit in in_header.chain(behind_it).chain(in_footer.step_by(31)) {
        flip(segment, BLOCK * 8 + bit);
        let (path, detail) = refused(folder.path());
        assert_eq!(path, *segment);
        assert!(detail.contains("byte 4096:"), "bit {bit}: {detail}");
        flip(segment, BLOCK * 8 + bit);
    }
}

#[test]
fn synced_groups_that_read_as_zeros_are_corruption() {
    let folder = three_segments();
    let segments = segments(folder.path());
    for (segment, from, to) in [(0, 1, 3), (0, 40, 64), (1, 1, 64), (2, 4, 8)] {
        let whole = fs::read(&segments[segment]).expect("segment");
        let mut zeroed = whole.clone();
        zeroed[from * BLOCK..to * BLOCK].fill(0);
        fs::write(&segments[segment], zeroed).expect("segment");
        let (path, detail) = refused(folder.path());
        assert_eq!(path, segments[segment]);
        let place = format!("byte {}:", from * BLOCK);
        assert!(detail.contains(&place), "{detail}");
        fs::write(&segments[segment], whole).expect("segment");
    }
}

#[test]
fn segment_cut_off_before_a_synced_group_is_corruption() {
    let folder = three_segments();
    let segment = &segments(folder.path())[1];
    let mut bytes = fs::read(segment).expect("segment");
    bytes.truncate(10 * BLOCK + 100);
    fs::write(segment, bytes).expect("segment");
    let (path, detail) = refused(folder.path());
    assert_eq!(path, *segment);
    assert!(
        detail.contains(&format!("byte {}:", 10 * BLOCK)),
        "{detail}"
    );
}

#[test]
fn flipped_bit_in_the_header_of_a_segment_is_corruption() {
    let folder = three_segments();
    for segment in segments(folder.path()) {
        for bit in (0..48 * 8).step_by(17) {
            flip(&segment, bit);
            let (path, detail) = refused(folder.path());
            assert_eq!(path, segment);
            assert!(detail.contains("byte 0"), "{detail}");
            flip(&segment, bit);
        }
    }
}

#[test]
fn missing_segment_is_corruption_and_the_missing_one_is_named() {
    let folder = three_segments();
    let segments = segments(folder.path());
    for missing in [0, 1] {
        let aside = folder.path().join("aside");
        fs::rename(&segments[missing], &aside).expect("rename");
        let (path, detail) = refused(folder.path());
        assert_eq!(path, segments[missing], "{detail}");
        assert!(detail.contains("missing"), "{detail}");
        fs::rename(&aside, &segments[missing]).expect("rename");
    }
    assert_holds(
        &open_with(folder.path(), unsealed_config()).expect("as it was"),
        2 * GROUPS + 10,
    );
}

#[test]
fn segment_under_the_name_of_another_is_corruption() {
    let folder = three_segments();
    let segments = segments(folder.path());
    fs::copy(&segments[0], &segments[1]).expect("copy");
    let (path, detail) = refused(folder.path());
    assert_eq!(path, segments[1]);
    assert!(detail.contains("number 1"), "{detail}");
}

#[test]
fn journal_that_ends_before_what_is_sealed_is_corruption() {
    let folder = tempfile::tempdir().expect("folder");
    let mut store = open_with(folder.path(), unsealed_config()).expect("opens");
    append(&mut store, 1..=3);
    seal(&mut store);
    drop(store);
    fs::remove_file(&segments(folder.path())[0]).expect("remove");
    let (path, detail) = refused(folder.path());
    assert_eq!(path, folder.path().join("journal"));
    assert!(detail.contains("changes up to 3"), "{detail}");
}

#[test]
fn missing_or_empty_tables_are_corruption() {
    let folder = three_segments();
    let tables = folder.path().join("store.redb");
    fs::write(&tables, b"").expect("write");
    assert_eq!(refused(folder.path()).0, tables);
    fs::write(&tables, b"not a database at all").expect("write");
    assert_eq!(refused(folder.path()).0, tables);
    fs::remove_file(&tables).expect("remove");
    let (path, detail) = refused(folder.path());
    assert_eq!(path, tables);
    assert!(detail.contains("missing"), "{detail}");
}
