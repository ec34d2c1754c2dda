//! Trees, files and configurations that are out of the ordinary.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::Mode;

use super::scene::{Scene, TUNING, settle};
use crate::backup::job::Cancel;
use crate::backup::manifest::MANIFEST;
use crate::backup::pass::{DATA, Tuning, first};
use crate::backup::plan::check_paths;
use crate::backup::tree;

#[test]
fn the_second_pass_copies_only_what_has_changed() {
    let scene = Scene::small();
    assert!(scene.first().unwrap().copied >= 6000);
    assert_eq!(
        scene.first().unwrap().copied,
        0,
        "a repeated pass has nothing to do"
    );
    scene.change();
    let second = scene.second().unwrap();
    assert_eq!(
        second.copied,
        ("two".len() + "new".len() + "a file now".len() + 12) as u64
    );
}

#[test]
fn a_file_that_had_changed_a_moment_before_is_copied_again() {
    let scene = Scene::small();
    // As if no change of the last hour could be told from a later one.
    let tuning = Tuning {
        settle: Duration::from_secs(3600),
        ..TUNING
    };
    let pass = || first(&scene.plan, tuning, &Cancel::default()).unwrap().copied;
    let all = pass();
    assert!(all >= 6000);
    assert_eq!(pass(), all, "none was recorded");
    assert_eq!(scene.second().unwrap().copied, all);
}

#[test]
fn a_file_that_keeps_its_size_and_its_time_is_still_copied() {
    let scene = Scene::small();
    scene.first().unwrap();
    let path = scene.data().join("sub/changed");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"two", 0).unwrap();
    file.set_modified(time).unwrap();
    let expected = scene.picture();
    scene.second().unwrap();
    fs::write(&path, "xxx").unwrap();
    scene.restore().unwrap();
    assert_eq!(scene.picture(), expected);
    assert_eq!(fs::read(&path).unwrap(), b"two");
}

#[test]
fn a_node_that_writes_all_the_time_disturbs_no_first_pass() {
    let scene = Scene::small();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let data = scene.data();
            for number in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let (name, other) = (
                    data.join(format!("n{}", number % 7)),
                    data.join(format!("n{}", number % 5)),
                );
                let _ = match number % 6 {
                    0 | 1 => fs::write(&name, vec![1; usize::try_from(number % 70_000).unwrap()]),
                    2 => fs::rename(&name, &other),
                    3 => fs::remove_file(&name).or_else(|_| fs::remove_dir(&name)),
                    4 => fs::create_dir(&name),
                    _ => symlink("../outside", &name),
                };
            }
        });
        for _ in 0..30 {
            scene.first().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let expected = scene.picture();
    scene.second().unwrap();
    fs::remove_dir_all(scene.data()).unwrap();
    scene.restore().unwrap();
    assert_eq!(scene.picture(), expected);
}

#[test]
fn a_file_that_is_written_while_the_node_is_down_is_named() {
    // On a busy host the writer may sleep through a whole pass.
    let (scene, error) = (0..20).find_map(|_| pass_over_a_busy_file()).unwrap();
    assert!(
        error.contains("busy.log") && error.contains("while the node is down"),
        "{error}"
    );
    scene.second().unwrap();
}

/// Nothing when nobody wrote while it was copied.
fn pass_over_a_busy_file() -> Option<(Scene, String)> {
    let scene = Scene::small();
    let path = scene.data().join("busy.log");
    fs::write(&path, vec![0; 8 << 20]).unwrap();
    let (stop, writes) = (AtomicBool::new(false), Barrier::new(2));
    let passed = thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = OpenOptions::new().write(true).open(&path).unwrap();
            writes.wait();
            while !stop.load(Ordering::Relaxed) {
                file.seek(SeekFrom::Start(0)).unwrap();
                file.write_all(b"more").unwrap();
            }
        });
        writes.wait();
        let passed = scene.second();
        stop.store(true, Ordering::Relaxed);
        passed
    });
    passed.err().map(|error| (scene, error.to_string()))
}

#[test]
fn a_deep_tree_is_copied_restored_and_removed() {
    let scene = Scene::new();
    let depth = 1500;
    let data = tree::open_path(&scene.data()).unwrap();
    let mut here = data.try_clone().unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&here, "deeper", Mode::RWXU).unwrap();
        here = tree::open_folder(&here, "deeper".as_ref()).unwrap();
    }
    let file = tree::create_file(&here, "end".as_ref()).unwrap();
    rustix::io::write(&file, b"found").unwrap();
    settle();
    scene.first().unwrap();
    scene.second().unwrap();
    tree::remove(&data, "deeper".as_ref()).unwrap();
    scene.restore().unwrap();
    let mut here = tree::open_path(&scene.data()).unwrap();
    for _ in 0..depth {
        here = tree::open_folder(&here, "deeper".as_ref()).unwrap();
    }
    let file = tree::open_file(&here, "end".as_ref()).unwrap();
    let mut bytes = [0; 5];
    rustix::io::read(&file, &mut bytes).unwrap();
    assert_eq!(&bytes, b"found");
    let root = tree::open_path(scene.root.path()).unwrap();
    for name in tree::names(&root).unwrap() {
        tree::remove(&root, &name).unwrap();
    }
}

#[test]
fn holes_stay_holes() {
    let scene = Scene::new();
    let path = scene.data().join("sparse");
    let file = File::create(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(b"in the middle", 32 << 20).unwrap();
    let expected = scene.picture();
    scene.second().unwrap();
    fs::remove_file(&path).unwrap();
    scene.restore().unwrap();
    assert_eq!(scene.picture(), expected);
    for path in [path, scene.plan.backup().join(DATA).join("0/sparse")] {
        let taken = fs::metadata(&path).unwrap().blocks() * 512;
        assert!(taken < 1 << 20, "{} takes {taken} bytes", path.display());
    }
}

#[test]
fn sockets_and_pipes_are_left_out() {
    let scene = Scene::small();
    let socket = scene.data().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scene.data().join("pipe"),
        rustix::fs::FileType::Fifo,
        Mode::RWXU,
        0,
    )
    .unwrap();
    settle();
    scene.first().unwrap();
    scene.second().unwrap();
    scene.restore().unwrap();
    assert!(!socket.exists(), "the folder is replaced as a whole");
    assert_eq!(fs::read(scene.data().join("removed")).unwrap(), b"old");
}

#[test]
fn a_damaged_backup_is_refused_before_anything_is_touched() {
    let in_backup = |scene: &Scene, path: &str| scene.plan.backup().join(path);
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 6] = [
        ("data/0/sub/changed", |path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(b"x", 1).unwrap();
        }),
        ("data/0/sub/changed", |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(10)
                .unwrap();
        }),
        ("data/0/sub/changed", |path| fs::remove_file(path).unwrap()),
        ("data/1", |path| fs::write(path, "{\"height\":9}").unwrap()),
        (MANIFEST, |path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        (MANIFEST, |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 40]).unwrap();
        }),
    ];
    for (path, harm) in harms {
        let scene = Scene::small();
        scene.second().unwrap();
        scene.damage_by_upgrade();
        let before = scene.picture();
        harm(&in_backup(&scene, path));
        let error = scene.restore().unwrap_err().to_string();
        assert!(error.contains(path) && error.contains("expected"), "{error}");
        assert_eq!(scene.picture(), before);
        assert!(scene.aside().is_empty());
        let left: Vec<_> = fs::read_dir(scene.root.path()).unwrap().collect();
        assert_eq!(left.len(), 4, "nothing is left over: {left:?}");
    }
}

#[test]
fn a_restore_goes_by_the_sources_of_the_backup() {
    let mut scene = Scene::small();
    scene.second().unwrap();
    let expected = scene.picture();
    fs::remove_dir_all(scene.data()).unwrap();
    fs::remove_file(&scene.plan.sources[1]).unwrap();
    let sources = std::mem::take(&mut scene.plan.sources);
    scene.restore().unwrap();
    scene.plan.sources = sources;
    assert_eq!(scene.picture(), expected);
}

#[test]
fn a_record_of_other_sources_counts_for_nothing() {
    let mut scene = Scene::small();
    scene.first().unwrap();
    let other = scene.root.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("file"), "other").unwrap();
    scene.plan.sources = vec![other.clone()];
    let expected = scene.picture();
    scene.second().unwrap();
    fs::remove_dir_all(&other).unwrap();
    scene.restore().unwrap();
    assert_eq!(scene.picture(), expected);
    assert!(!scene.plan.backup().join(DATA).join("1").exists());
}

#[test]
fn paths_that_cannot_work_are_refused() {
    let scene = Scene::small();
    let root = scene.root.path();
    symlink("data", root.join("link")).unwrap();
    let path = |name: &str| root.join(name);
    let backups = path("backups");
    let cases: [(&[PathBuf], &Path, &str); 9] = [
        (&[path("data"), path("data/sub")], &backups, "another source"),
        (&[path("data/sub"), path("data")], &backups, "another source"),
        (&[path("data"), path("data")], &backups, "another source"),
        (&[path("data")], &path("data/backups"), "the backups folder"),
        (&[path("data")], &path("link/new/backups"), "the backups folder"),
        (&[path("backups/data")], &backups, "found nothing"),
        (&[path("nothing")], &backups, "found nothing"),
        (&[path("link")], &backups, "symbolic link"),
        (&[PathBuf::from("data")], &backups, "absolute"),
    ];
    for (sources, folder, expected) in cases {
        let error = check_paths(sources, folder, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let sources = [path("data"), path("state.json")];
    check_paths(&sources, &backups, Some(&path("home"))).unwrap();
    let error = check_paths(&sources, &backups, Some(&path("data/sub/home"))).unwrap_err();
    assert!(error.to_string().contains("visor's home"), "{error}");
}

#[test]
fn a_name_that_leads_elsewhere_is_refused() {
    let mut scene = Scene::small();
    for name in ["", ".", "..", "../x", "a/b", ".removing-a"] {
        scene.plan.name = name.to_owned();
        for result in [scene.first(), scene.second(), scene.restore()] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("use the backup name"), "{error}");
        }
    }
}

impl Scene {
    fn damage_by_upgrade(&self) {
        fs::write(self.data().join("sub/changed"), "by the new version").unwrap();
        fs::write(&self.plan.sources[1], "by the new version").unwrap();
    }
}
