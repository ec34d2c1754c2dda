//! An installation is killed at every place that it passes, and the next one completes it.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;

use visor::adapter::vega::install::Installed;
use visor::fault::{Kill, arm};

use super::install_scene::{NEW, Scene, binary, good, installer_of, sha256};
use super::releases::file;

const HOME: &str = "VISOR_TEST_INSTALL_HOME";
const PLACE: &str = "VISOR_TEST_INSTALL_PLACE";
/// More than an installation has.
const MOST: u64 = 100;

/// No test of its own but the program of the one below, which runs it in a process that may die.
#[test]
fn installs_and_dies() {
    let (Some(home), Ok(place)) = (std::env::var_os(HOME), std::env::var(PLACE)) else {
        return;
    };
    arm(Some(Kill::Numbered(place.parse().unwrap())), None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(installer_of(PathBuf::from(home)).install())
        .unwrap();
}

#[tokio::test]
async fn w_46_an_installation_that_is_killed_anywhere_is_completed_by_the_next() {
    let mut killed = 0;
    for place in 1..=MOST {
        let scene = Scene::new().await;
        scene.release(vec![file(
            "SHA256SUMS",
            format!("{}  vega-linux-amd64.zip\n", sha256(&good())),
        )]);
        let status = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "vega::install_kills::installs_and_dies", "--nocapture"])
            .env(HOME, scene.home())
            .env(PLACE, place.to_string())
            .stdout(std::process::Stdio::null())
            .status()
            .await
            .unwrap();
        if status.success() {
            break;
        }
        assert_eq!(status.signal(), Some(9), "place {place}: {status}");
        killed += 1;
        // Not there, or there and complete.
        let was_there = scene.folder().exists();
        let installed = scene.install().await.unwrap();
        assert_eq!(was_there, installed == Installed::Found, "place {place}");
        assert_eq!(
            fs::read(scene.folder().join("vega")).unwrap(),
            binary(NEW),
            "place {place}"
        );
        let mut left: Vec<_> = fs::read_dir(scene.folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(
            left,
            ["LICENSE", "installed-from.toml", "run-config.toml", "vega"],
            "place {place}"
        );
        scene.assert_staging_is_empty();
    }
    assert!((12..MOST).contains(&killed), "killed at {killed} places");
}
