//! The simulated disk beside the real one: without faults nobody can tell them apart.

use edgebus::files::RealFiles;

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// One random change below `root`, or a read; says what came of it.
pub(super) fn change(
    files: &dyn Files,
    root: &Path,
    rng: &mut SimRng,
) -> Result<Vec<u8>, io::ErrorKind> {
    let path = root.join(rng.pick(&NAMES));
    let other = root.join(rng.pick(&NAMES));
    let (kind, at, len) = (rng.below(12), rng.below(9_000), rng.below(3_000));
    let mut bytes = vec![0; len as usize];
    rng.fill(&mut bytes);
    let open = |mode| files.open(&path, mode);
    let result = match kind {
        0 => open(OpenMode::Truncate).map(drop),
        1 => files.rename(&path, &other),
        2 => files.remove(&path),
        3 => files.sync_dir(root),
        4 => open(OpenMode::Existing).and_then(|file| file.set_len(at)),
        5 => open(OpenMode::Create).and_then(|file| file.allocate(at)),
        6 => open(OpenMode::Existing).and_then(|file| file.sync()),
        7 => {
            let read = open(OpenMode::Existing).and_then(|file| {
                file.drop_cache()?;
                file.read_at(&mut bytes, at)
            });
            return read.map(|()| bytes).map_err(|error| error.kind());
        }
        _ => open(OpenMode::Create).and_then(|file| file.write_at(&bytes, at)),
    };
    result.map(|()| Vec::new()).map_err(|error| error.kind())
}

/// All files and what they hold.
pub(super) fn look(files: &dyn Files, root: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = files.list(root).expect("power");
    let read = |name: String| {
        let file = files
            .open(&root.join(&name), OpenMode::Existing)
            .expect("listed");
        (name, read(&*file))
    };
    names.into_iter().map(read).collect()
}

#[test]
fn without_faults_it_is_like_the_real_one() {
    for seed in 0..20 {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let disk = SimDisk::new(seed);
        let (mut sim_rng, mut real_rng) = (SimRng::seeded(seed), SimRng::seeded(seed));
        for step in 0..200 {
            let simulated = change(&disk, Path::new("/"), &mut sim_rng);
            let real = change(&RealFiles, folder.path(), &mut real_rng);
            assert_eq!(simulated, real, "seed {seed} step {step}");
        }
        let simulated = look(&disk, Path::new("/"));
        assert!(simulated == look(&RealFiles, folder.path()), "seed {seed}");
        disk.sync_all();
        disk.power_cut(&mut sim_rng);
        assert!(
            simulated == look(&disk, Path::new("/")),
            "seed {seed}: all was synced"
        );
    }
}
