//! Which backups stay.

use std::fs;

use super::scene::Scene;
use crate::backup::manifest::MANIFEST;
use crate::backup::retention::retire;

fn names(scene: &Scene) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(&scene.plan.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_newest_finished_backups_stay_and_nothing_of_others_is_touched() {
    let mut scene = Scene::small();
    for (name, finished) in [("b", true), ("a", true), ("c", false), ("d", true)] {
        scene.plan.name = name.to_owned();
        super::scene::settle();
        let made = if finished { scene.second() } else { scene.first() };
        made.unwrap();
    }
    let folder = scene.plan.folder.clone();
    fs::create_dir_all(folder.join("by-hand/data")).unwrap();
    fs::write(folder.join("notes.txt"), "by hand").unwrap();
    fs::create_dir_all(folder.join(".removing-e/data/0")).unwrap();
    retire(&scene.plan);
    // `a` is newer than `b`; `c` was never finished.
    assert_eq!(names(&scene), ["a", "by-hand", "d", "notes.txt"]);

    scene.plan.keep = 1;
    retire(&scene.plan);
    assert_eq!(names(&scene), ["by-hand", "d", "notes.txt"]);
    // Even when the configuration makes no sense the one just made stays.
    scene.plan.keep = 0;
    retire(&scene.plan);
    assert_eq!(names(&scene), ["by-hand", "d", "notes.txt"]);
}

#[test]
fn a_backup_whose_manifest_cannot_be_read_is_left_to_the_operator() {
    let mut scene = Scene::small();
    scene.plan.name = "a".to_owned();
    scene.second().unwrap();
    fs::write(scene.plan.backup().join(MANIFEST), "garbage\n").unwrap();
    scene.plan.name = "b".to_owned();
    scene.plan.keep = 1;
    scene.second().unwrap();
    retire(&scene.plan);
    assert_eq!(names(&scene), ["a", "b"]);
}
