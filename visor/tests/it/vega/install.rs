//! A version that is not there is installed from its release, long before the halt: over a real server, real archives and real binaries.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::PathBuf;

use visor::adapter::vega::install::{ArchiveError, FolderError, InstallError, Installed, Installer, Wanted};
use visor::config::Staging;
use visor::home::Home;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::install_scene::*;
use super::releases::file;

#[tokio::test]
async fn w_45_a_missing_version_is_installed_from_its_release_and_twice_is_once() {
    let scene = Scene::new().await;
    scene.release(Vec::new());
    let made = scene.made().await;
    assert_eq!((made.tag.as_str(), made.asset.as_str()), (NEW, ASSET));
    assert_eq!(made.sha256, sha256(&good()));
    // W-48: nothing says what the file must be, and that is said.
    assert_eq!(made.verified_by, Vec::<String>::new());
    let folder = scene.folder();
    assert_eq!(fs::read(folder.join("vega")).unwrap(), binary(NEW));
    assert_eq!(
        (mode(&folder.join("vega")), mode(&folder.join("LICENSE"))),
        (0o755, 0o644)
    );
    let run: toml::Table = fs::read_to_string(folder.join("run-config.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let expected = RUN_CONFIG.replace("v0.79.0", NEW).replace("/opt/vega", "vega");
    assert_eq!(run, expected.parse().unwrap());
    let from: toml::Table = fs::read_to_string(folder.join("installed-from.toml"))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(from["sha256"].as_str(), Some(made.sha256.as_str()));
    scene.assert_staging_is_empty();
    // What runs was only read.
    assert_eq!(
        fs::read_to_string(scene.home().join("genesis/run-config.toml")).unwrap(),
        RUN_CONFIG
    );

    let requests = scene.server.asked().len();
    assert_eq!(scene.install().await.unwrap(), Installed::Found);
    assert_eq!(scene.server.asked().len(), requests);
}

#[tokio::test]
async fn w_50_every_kind_of_asset_is_recognised_by_its_content() {
    let vega = binary(NEW);
    for (name, binary_name, content) in [
        // The names say something else than the content.
        ("vega.bin", "vega", zipped(&[("vega", &vega)])),
        ("vega.zip", "vega", tarred(&[("vega", &vega)])),
        ("vega.tar.gz", "vega", vega.clone()),
        ("vega-linux-amd64", "", vega.clone()),
        ("vega.zip", "bin/vega", zipped(&[("bin/vega", &vega)])),
    ] {
        let scene = Scene::new().await;
        let binary_name = if binary_name.contains('/') {
            "vega"
        } else {
            binary_name
        };
        let mut keys = format!(
            "[autoInstall]\nenabled = true\nbaseUrl = {:?}\n[autoInstall.asset]\nname = {name:?}\n",
            scene.server.url()
        );
        if !binary_name.is_empty() {
            keys += &format!("binaryName = {binary_name:?}\n");
        }
        scene.write_config(&keys);
        scene.server.release(NEW, vec![file(name, content.clone())]);
        if content == zipped(&[("bin/vega", &vega)]) {
            // In a folder of the archive: a run configuration of the operator's own leads there.
            let (_, text) = scene.refused().await;
            assert!(
                text.contains("which holds bin/vega") && text.contains("binaryName"),
                "{text}"
            );
            let own = RUN_CONFIG.replace("/opt/vega", "bin/vega");
            fs::write(scene.home().join(format!("run-config.{NEW}.toml")), own).unwrap();
        }
        scene.made().await;
        assert_eq!(scene.install().await.unwrap(), Installed::Found, "{name}");
    }
}

#[tokio::test]
async fn the_data_node_becomes_a_command_of_the_one_binary() {
    let scene = Scene::new().await;
    scene.run_config("genesis", &format!("{RUN_CONFIG}{WITH_DATA_NODE}"));
    scene.release(Vec::new());
    scene.made().await;
    let run: toml::Table = fs::read_to_string(scene.folder().join("run-config.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let data_node = &run["data_node"]["binary"];
    assert_eq!(data_node["path"].as_str(), Some("vega"));
    assert_eq!(
        data_node["args"],
        toml::Value::from(vec!["datanode", "start", "--home=/data/dn"])
    );
}

#[tokio::test]
async fn w_52_an_override_of_the_operator_is_used_word_for_word() {
    let scene = Scene::new().await;
    let own = format!(
        "# mine\n{}",
        RUN_CONFIG
            .replace("/opt/vega", "vega")
            .replace("\"start\"", "\"start\", \"--new-flag\"")
    );
    fs::write(scene.home().join(format!("run-config.{NEW}.toml")), &own).unwrap();
    scene.release(Vec::new());
    scene.made().await;
    assert_eq!(
        fs::read_to_string(scene.folder().join("run-config.toml")).unwrap(),
        own
    );
}

#[tokio::test]
async fn auto_install_off_says_what_is_expected_where_until_when() {
    let scene = Scene::new().await;
    scene.write_config("[autoInstall]\nenabled = false\n");
    let installer = scene.installer();
    for _ in 0..2 {
        let text = chain(&installer.install().await.unwrap_err());
        for part in [
            "v0.80.0",
            &scene.folder().display().to_string(),
            "run-config.toml",
            "before height 1000",
            "the node will stay halted at 1000 until it is there",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    assert_eq!(scene.server.asked().len(), 0);
    // It appears, and it goes on by itself.
    scene.run_config(NEW, &RUN_CONFIG.replace("/opt/vega", "vega"));
    fs::write(scene.folder().join("vega"), binary(NEW)).unwrap();
    assert_eq!(installer.install().await.unwrap(), Installed::Found);
    // The mode was added, as the original does.
    assert_ne!(mode(&scene.folder().join("vega")) & 0o100, 0);
}

#[tokio::test]
async fn a_change_of_the_configuration_counts_from_the_next_attempt_on() {
    let scene = Scene::new().await;
    scene.release(Vec::new());
    scene.write_config("");
    let installer = scene.installer();
    assert!(matches!(
        installer.install().await,
        Err(InstallError::Missing { .. })
    ));
    scene.configure("");
    made(installer.install().await.unwrap());
}

#[tokio::test]
async fn w_46_a_folder_that_is_there_and_not_in_order_is_named_until_it_is() {
    let scene = Scene::new().await;
    scene.release(Vec::new());
    let installer = scene.installer();
    let refused = async || {
        let error = installer.install().await.unwrap_err();
        let text = chain(&error);
        let InstallError::Unusable { source, .. } = error else {
            panic!("{text}")
        };
        assert!(
            text.contains(&scene.folder().display().to_string()) && text.contains("halted at 1000"),
            "{text}"
        );
        (*source, text)
    };
    // A file instead of a folder.
    fs::write(scene.folder(), "").unwrap();
    assert!(matches!(refused().await.0, FolderError::NoFolder { .. }));
    fs::remove_file(scene.folder()).unwrap();
    // What an installation of the original leaves when it fails.
    fs::create_dir(scene.folder()).unwrap();
    fs::write(scene.folder().join(ASSET), &good()[..100]).unwrap();
    let (error, text) = refused().await;
    assert!(matches!(error, FolderError::Half { .. }));
    assert!(
        text.contains(&format!("found {ASSET} and no run-config.toml")) && text.contains("remove the folder"),
        "{text}"
    );
    assert!(scene.folder().join(ASSET).exists());
    // A run configuration that is no TOML, then one without its binary, then binaries of the wrong version.
    scene.run_config(NEW, "name = ");
    assert!(matches!(refused().await.0, FolderError::RunConfig(_)));
    let run = format!("{}{WITH_DATA_NODE}", RUN_CONFIG.replace("/opt/vega", "vega"));
    scene.run_config(NEW, &run);
    let (error, text) = refused().await;
    assert!(
        matches!(error, FolderError::Program(_)) && text.contains("vega") && text.contains("found nothing"),
        "{text}"
    );
    fs::write(scene.folder().join("vega"), binary(NEW)).unwrap();
    let (error, text) = refused().await;
    assert!(
        matches!(error, FolderError::Program(_)) && text.contains("data-node"),
        "{text}"
    );
    // The core is right and the data node is not; and only an exact match counts.
    for other in ["v0.79.0", "0.80.0", "v0.80.0+x", ""] {
        fs::write(scene.folder().join("data-node"), binary(other)).unwrap();
        let (error, text) = refused().await;
        assert!(matches!(error, FolderError::Version(_)), "{text}");
        assert!(
            text.contains("data-node") && text.contains("expected version v0.80.0"),
            "{text}"
        );
    }
    fs::write(scene.folder().join("data-node"), binary(NEW)).unwrap();
    assert_eq!(installer.install().await.unwrap(), Installed::Found);
    assert_eq!(scene.server.asked().len(), 0);
}

#[tokio::test]
async fn a_folder_by_another_name_is_used_for_its_tag() {
    let scene = Scene::new().await;
    scene.release(Vec::new());
    let config = fs::read_to_string(scene.home().join("config.toml")).unwrap();
    scene.write_config(&format!("[upgradeFolders]\n\"{NEW}\" = \"next\"\n{config}"));
    scene.made().await;
    assert!(scene.home().join("next/run-config.toml").exists() && !scene.folder().exists());
    assert_eq!(scene.install().await.unwrap(), Installed::Found);
}

#[tokio::test]
async fn w_53_a_tag_that_is_no_release_touches_nothing() {
    let scene = Scene::new().await;
    for tag in ["../../etc", "v1.2.3/..", "genesis", "", "v1.2"] {
        let wanted = Wanted {
            id: format!("../../{tag}"),
            tag: tag.to_owned(),
            height: 1,
            current: scene.home().join("genesis"),
        };
        let installer = Installer::new(Home::at(scene.home()), Staging::default(), wanted);
        let error = installer.install().await.unwrap_err();
        assert!(matches!(error, InstallError::Name { .. }), "{error}");
    }
    assert_eq!(scene.server.asked().len(), 0);
    assert_eq!(fs::read_dir(scene.home()).unwrap().count(), 2);
}

#[tokio::test]
async fn w_47_a_release_without_the_asset_names_what_it_offers() {
    let scene = Scene::new().await;
    scene.server.release(
        NEW,
        vec![
            file("vega-linux-arm64.zip", good()),
            file("vega-darwin-amd64.zip", good()),
        ],
    );
    let (error, text) = scene.refused().await;
    assert!(matches!(error, InstallError::NoAsset { .. }));
    assert!(
        text.contains(ASSET) && text.contains("vega-linux-arm64.zip, vega-darwin-amd64.zip"),
        "{text}"
    );
    scene.server.release(NEW, Vec::new());
    let (_, text) = scene.refused().await;
    assert!(text.contains("it offers none at all"), "{text}");
    let mut unfinished = file(ASSET, good());
    unfinished.state = "starter";
    scene.server.release(NEW, vec![unfinished]);
    let (error, _) = scene.refused().await;
    assert!(matches!(error, InstallError::Unfinished { .. }));
}

#[tokio::test]
async fn evil_archives_are_refused_and_leave_nothing() {
    let vega = binary(NEW);
    let link = {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer
            .add_symlink("vega", "/bin/sh", SimpleFileOptions::default())
            .unwrap();
        writer.finish().unwrap().into_inner()
    };
    let bomb = {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let deflated = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        writer.start_file("vega", deflated).unwrap();
        writer.write_all(&vec![0; 8 << 20]).unwrap();
        writer.finish().unwrap().into_inner()
    };
    for (name, archive, because) in [
        (
            "slip",
            zipped(&[("vega", &vega), ("../../evil", b"x")]),
            "leaves the folder",
        ),
        (
            "slip",
            tarred(&[("vega", &vega), ("../../evil", b"x")]),
            "leaves the folder",
        ),
        (
            "absolute",
            zipped(&[("vega", &vega), ("/tmp/evil", b"x")]),
            "absolute",
        ),
        (
            "absolute",
            tarred(&[("vega", &vega), ("/tmp/evil", b"x")]),
            "absolute",
        ),
        ("link", link, "link"),
        ("bomb", bomb, "staging.max_artifact_size"),
        ("xz", b"\xfd7zXZ\0 and so on".to_vec(), "an xz file"),
    ] {
        let scene = Scene::new().await;
        let before = files_in(scene.dir.path());
        scene.server.release(NEW, vec![file(ASSET, archive)]);
        let error = scene
            .installer_with(|limits| limits.max_artifact_size = 4 << 20)
            .install()
            .await
            .unwrap_err();
        let text = chain(&error);
        assert!(
            matches!(error, InstallError::Archive(_)) && text.contains(because),
            "{name}: {text}"
        );
        scene.assert_nothing_installed();
        let after: Vec<PathBuf> = files_in(scene.dir.path())
            .into_iter()
            .filter(|file| !file.ends_with("asset.json"))
            .collect();
        assert_eq!(after, before, "{name}");
    }
    // One that was damaged on the way is downloaded anew.
    let scene = Scene::new().await;
    let mut damaged = good();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    scene.server.release(NEW, vec![file(ASSET, damaged)]);
    let (error, text) = scene.refused().await;
    assert!(
        matches!(error, InstallError::Archive(ArchiveError::Corrupt { .. })),
        "{text}"
    );
}

#[tokio::test]
async fn a_binary_that_is_another_version_is_refused_and_not_downloaded_again() {
    let scene = Scene::new().await;
    let other = zipped(&[("vega", &binary("v0.79.0"))]);
    scene.server.release(NEW, vec![file(ASSET, other.clone())]);
    for sent in [other.len(), 0] {
        let (error, text) = scene.refused().await;
        assert!(matches!(error, InstallError::Version(_)), "{text}");
        assert!(
            text.contains("expected version v0.80.0") && text.contains("v0.79.0"),
            "{text}"
        );
        assert_eq!(scene.server.sent(), sent);
    }
    scene.release(Vec::new());
    scene.made().await;
}

#[tokio::test]
async fn a_release_without_the_binary_in_its_archive_names_what_is_in_it() {
    let scene = Scene::new().await;
    scene.server.release(
        NEW,
        vec![file(
            ASSET,
            zipped(&[("vega-node", &binary(NEW)), ("LICENSE", b"")]),
        )],
    );
    let (error, text) = scene.refused().await;
    assert!(matches!(error, InstallError::NoBinary { .. }), "{text}");
    assert!(
        text.contains("holds vega-node, LICENSE") && text.contains("found nothing"),
        "{text}"
    );
}

#[tokio::test]
async fn what_a_killed_attempt_left_is_no_obstacle() {
    let scene = Scene::new().await;
    scene.release(Vec::new());
    let work = scene.home().join(format!("staging/install-{NEW}@1000"));
    fs::create_dir_all(work.join("folder/vega")).unwrap();
    fs::write(work.join("folder/run-config.toml.part"), "half").unwrap();
    fs::write(work.join("asset.json"), "{\"of\":").unwrap();
    fs::write(work.join("asset.part"), "of nobody knows what").unwrap();
    scene.made().await;
    assert_eq!(fs::read(scene.folder().join("vega")).unwrap(), binary(NEW));
    scene.assert_staging_is_empty();
}
