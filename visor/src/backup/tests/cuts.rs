//! Work that is cut off before each of its changes, as by a kill, and given again.

use super::scene::Scene;
use crate::backup::fault::{cut_after, left};
use crate::backup::manifest::is_finished;

/// Runs `each` with one more change permitted every time, until it was not cut off. Says how many changes it made.
fn at_every_change(mut each: impl FnMut(&dyn Fn(&mut dyn FnMut()))) -> u64 {
    for permitted in 1.. {
        let cut = std::cell::Cell::new(false);
        each(&|work| {
            cut_after(permitted);
            work();
            cut.set(left() == 0);
            cut_after(u64::MAX);
        });
        if !cut.get() {
            return permitted;
        }
        assert!(permitted < 1000, "it never ends");
    }
    0
}

fn assert_restores(scene: &Scene, expected: &[super::scene::Picture]) {
    scene.damage();
    scene.restore().unwrap();
    assert_eq!(scene.picture(), expected);
}

#[test]
fn vis_02_a_first_pass_that_was_killed_anywhere_is_followed_by_a_whole_backup() {
    let changes = at_every_change(|cut| {
        let scene = Scene::small();
        cut(&mut || drop(scene.first()));
        scene.change();
        let expected = scene.picture();
        scene.second().unwrap();
        assert_restores(&scene, &expected);
    });
    assert!(changes > 20, "{changes}");
}

#[test]
fn vis_02_a_second_pass_that_was_killed_anywhere_is_repeated() {
    let changes = at_every_change(|cut| {
        let scene = Scene::small();
        scene.first().unwrap();
        scene.change();
        let expected = scene.picture();
        let mut done = false;
        cut(&mut || done = scene.second().is_ok());
        let finished = is_finished(&scene.plan.backup());
        assert!(finished || !done);
        if !finished {
            let refused = scene.restore().unwrap_err().to_string();
            assert!(refused.contains("no manifest"), "{refused}");
            assert_eq!(scene.picture(), expected, "a refused restore changes nothing");
        }
        scene.second().unwrap();
        assert_restores(&scene, &expected);
    });
    assert!(changes > 20, "{changes}");
}

#[test]
fn vis_02_a_restore_that_was_killed_anywhere_is_repeated_and_loses_nothing() {
    let changes = at_every_change(|cut| {
        let scene = Scene::small();
        let expected = scene.picture();
        scene.second().unwrap();
        scene.change();
        scene.restore().unwrap();
        assert_eq!(scene.picture(), expected);
        scene.change();
        let damaged = scene.picture();
        cut(&mut || drop(scene.restore()));
        let now = scene.picture();
        assert!(
            now[0] == damaged[0] || now[0] == expected[0] || now[0].is_empty(),
            "never half of it"
        );
        scene.restore().unwrap();
        assert_eq!(scene.picture(), expected);
        let aside = scene.aside();
        assert_eq!(aside.len(), 2, "once per restore, however often it was begun");
        assert_eq!(aside[1], damaged[0]);
        assert_eq!(scene.restore().unwrap().copied, 0, "it is done");
        assert_eq!(scene.aside().len(), 2);
    });
    assert!(changes > 20, "{changes}");
}

#[test]
fn vis_02_a_finished_backup_is_never_written_to_again() {
    let scene = Scene::small();
    scene.change();
    let expected = scene.picture();
    scene.second().unwrap();
    // The new version has begun its work, and visor was killed before it could record that the backup is done.
    scene.damage();
    let again = scene.second().unwrap();
    assert_eq!(again.copied, 0);
    assert!(again.bytes > 6000);
    assert_eq!(scene.first().unwrap().copied, 0);
    scene.restore().unwrap();
    assert_eq!(scene.picture(), expected);
}
