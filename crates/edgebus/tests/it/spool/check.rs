//! Looking at a whole spool: sound, damaged, and put right.

use std::fs;
use std::sync::Arc;

use edgebus::files::RealFiles;
use edgebus::store::check::{Finding, Repair, Severity};

use super::*;
use crate::store::{contents, segments};

fn look(dir: &Path) -> Vec<Finding> {
    let files: Arc<dyn Files> = Arc::new(RealFiles);
    let mut findings = Vec::new();
    Spool::check_folder(dir, &files, &mut findings).expect("looked at");
    findings
}

#[test]
fn a_flipped_bit_in_a_spool_is_found_and_turned_back() {
    let folder = tempfile::tempdir().expect("folder");
    let mut spool = open(folder.path());
    put(&mut spool, 1..=3);
    settle(&mut spool, &[dead(2)]);
    put(&mut spool, 4..=5);
    drop(spool);
    assert_eq!(look(folder.path()), []);

    let segment = &segments(folder.path())[0];
    let sound = fs::read(segment).expect("segment");
    for byte in [20, 4096 + 30, 2 * 4096 + 90, 3 * 4096 + 2000, 4 * 4096 - 1] {
        let mut flipped = sound.clone();
        flipped[byte] ^= 0x10;
        fs::write(segment, &flipped).expect("written");
        let found = look(folder.path());
        assert!(
            found.iter().any(|f| f.severity == Severity::Damage),
            "byte {byte}"
        );
        let before = contents(folder.path());
        let files: Arc<dyn Files> = Arc::new(RealFiles);
        let plan = Repair::plan(folder.path(), &files, &mut Vec::new()).expect("planned");
        assert!(contents(folder.path()) == before, "nothing was changed");
        assert_eq!((plan.patches().len(), plan.after().damages), (1, 0));
        let kept = plan.apply().expect("repaired");
        assert!(fs::read(segment).expect("segment") == sound, "byte {byte}");
        let name = segment.strip_prefix(folder.path()).expect("inside");
        assert!(fs::read(kept.join(name)).expect("kept") == flipped);
    }
    let mut spool = open(folder.path());
    assert_eq!(take(&mut spool), [1, 3, 4, 5]);
}
