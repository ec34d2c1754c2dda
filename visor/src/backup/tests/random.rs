//! Random trees with random changes before, between and after the passes.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;

use super::scene::{Scene, picture, settle};
use crate::backup::tree::{from_text, to_text};

/// Names that need care: no text, an escape, a space, a line break.
const NAMES: [&[u8]; 6] = [b"a", b"b b", b"c\xff\xfe", b"%41", b"e\n\"", b".visor"];

#[derive(Debug, Clone)]
enum Change {
    Write(Place, usize, u8),
    Append(Place, u8),
    Holes(Place, u32),
    Folder(Place),
    Link(Place, bool),
    HardLink(Place, Place),
    Rename(Place, Place),
    Remove(Place),
    Mode(Place, u32),
    Owner(Place, u32),
}

type Place = Vec<usize>;

fn path(root: &Path, place: &Place) -> PathBuf {
    place.iter().fold(root.to_path_buf(), |path, name| {
        path.join(OsStr::from_bytes(NAMES[*name]))
    })
}

fn place() -> impl Strategy<Value = Place> {
    vec(0..NAMES.len(), 1..4)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (place(), 0_usize..9000, any::<u8>()).prop_map(|(place, size, byte)| Change::Write(place, size, byte)),
        2 => (place(), any::<u8>()).prop_map(|(place, byte)| Change::Append(place, byte)),
        1 => (place(), 0_u32..200_000).prop_map(|(place, size)| Change::Holes(place, size)),
        4 => place().prop_map(Change::Folder),
        1 => (place(), any::<bool>()).prop_map(|(place, outside)| Change::Link(place, outside)),
        2 => (place(), place()).prop_map(|(from, to)| Change::HardLink(from, to)),
        2 => (place(), place()).prop_map(|(from, to)| Change::Rename(from, to)),
        1 => place().prop_map(Change::Remove),
        1 => (place(), 0_u32..0o10000).prop_map(|(place, mode)| Change::Mode(place, mode)),
        1 => (place(), 0_u32..3).prop_map(|(place, owner)| Change::Owner(place, owner)),
    ]
}

/// What cannot be done is left undone.
fn carry_out(scene: &Scene, changes: &[Change]) {
    let data = scene.data();
    let root = rustix::process::geteuid().is_root();
    let at = |place: &Place| path(&data, place);
    // A link is replaced or removed, never written through.
    let writable = |place: &Place| {
        let path = at(place);
        let through_link = path.ancestors().take(4).any(Path::is_symlink);
        (!through_link).then_some(path)
    };
    for change in changes {
        let _ = match change {
            Change::Write(place, size, byte) => {
                writable(place).map(|path| fs::write(path, vec![*byte; *size]).is_ok())
            }
            Change::Append(place, byte) => writable(place).map(|path| {
                let file = OpenOptions::new().append(true).open(path);
                file.and_then(|mut file| file.write_all(&[*byte; 100])).is_ok()
            }),
            Change::Holes(place, size) => writable(place).map(|path| {
                let file = File::create(path);
                file.and_then(|file| file.set_len((*size).into())).is_ok()
            }),
            Change::Folder(place) => writable(place).map(|path| fs::create_dir_all(path).is_ok()),
            Change::Link(place, outside) => writable(place).map(|path| {
                let _ = fs::remove_file(&path);
                let target = if *outside {
                    scene.root.path().join("outside")
                } else {
                    "a".into()
                };
                symlink(target, path).is_ok()
            }),
            Change::HardLink(from, to) => writable(from)
                .zip(writable(to))
                .map(|(from, to)| fs::hard_link(from, to).is_ok()),
            Change::Rename(from, to) => writable(from)
                .zip(writable(to))
                .map(|(from, to)| fs::rename(from, to).is_ok()),
            Change::Remove(place) => writable(place).map(|path| {
                fs::remove_file(&path)
                    .or_else(|_| fs::remove_dir_all(&path))
                    .is_ok()
            }),
            // Others than root cannot read what they took the right to read from.
            Change::Mode(place, mode) => writable(place).map(|path| {
                let mode = if root { *mode } else { mode & 0o777 | 0o700 };
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).is_ok()
            }),
            Change::Owner(place, owner) => writable(place)
                .filter(|_| root)
                .map(|path| chown(path, Some(*owner), Some(owner + 1)).is_ok()),
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restore_brings_back_every_byte(
        before in vec(change(), 0..40),
        between in vec(change(), 0..20),
        after in vec(change(), 0..20),
        with_first_pass in any::<bool>(),
    ) {
        let scene = Scene::new();
        let outside = picture(&scene.root.path().join("outside"));
        carry_out(&scene, &before);
        settle();
        if with_first_pass {
            scene.first().unwrap();
            carry_out(&scene, &between);
        }
        let expected = scene.picture();
        scene.second().unwrap();
        prop_assert_eq!(&scene.picture(), &expected, "a backup changes nothing");
        carry_out(&scene, &after);
        let damaged = scene.picture();
        scene.restore().unwrap();
        prop_assert_eq!(&scene.picture(), &expected);
        let aside = scene.aside();
        if damaged[0] == expected[0] {
            prop_assert!(aside.is_empty());
        } else {
            prop_assert_eq!(&aside, &vec![damaged[0].clone()]);
        }
        prop_assert_eq!(picture(&scene.root.path().join("outside")), outside);
    }

    #[test]
    fn any_path_survives_being_written_as_text(bytes in vec(any::<u8>(), 0..40)) {
        let path = Path::new(OsStr::from_bytes(&bytes));
        let text = to_text(path);
        prop_assert_eq!(from_text(&text), Some(path.to_path_buf()));
    }
}
