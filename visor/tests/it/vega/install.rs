//! A version that is not there is installed from its release, long before the halt: over a real server, real archives and real binaries.

use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use visor::adapter::vega::install::{
    ArchiveError, DigestError, DownloadError, FolderError, InstallError, Installed, Installer, Provenance,
    ReleaseError, Wanted,
};
use visor::config::Staging;
use visor::home::Home;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::releases::{File, Server, file};

const NEW: &str = "v0.80.0";
const ASSET: &str = "vega-linux-amd64.zip";

/// A Vega home whose version runs in `genesis`, and a server that it may install from.
struct Scene {
    dir: tempfile::TempDir,
    server: Server,
}

impl Scene {
    async fn new() -> Self {
        let scene = Self {
            dir: tempfile::tempdir().unwrap(),
            server: Server::start().await,
        };
        fs::create_dir_all(scene.home().join("genesis")).unwrap();
        scene.run_config("genesis", RUN_CONFIG);
        scene.configure("");
        scene
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn folder(&self) -> PathBuf {
        self.home().join(NEW)
    }

    fn run_config(&self, folder: &str, text: &str) {
        fs::create_dir_all(self.home().join(folder)).unwrap();
        fs::write(self.home().join(folder).join("run-config.toml"), text).unwrap();
    }

    /// With more keys of `[autoInstall]`.
    fn configure(&self, keys: &str) {
        self.write_config(&format!(
            "[autoInstall]\nenabled = true\nbaseUrl = {:?}\n{keys}\n[autoInstall.asset]\nname = {ASSET:?}\nbinaryName = \"vega\"\n",
            self.server.url()
        ));
    }

    fn write_config(&self, text: &str) {
        fs::write(self.home().join("config.toml"), text).unwrap();
    }

    fn installer(&self) -> Installer {
        self.installer_with(|_| {})
    }

    fn installer_with(&self, change: impl FnOnce(&mut Staging)) -> Installer {
        let mut limits = Staging::default();
        change(&mut limits);
        let wanted = Wanted {
            id: format!("{NEW}@1000"),
            tag: NEW.to_owned(),
            height: 1000,
            current: self.home().join("genesis"),
        };
        Installer::new(Home::at(self.home()), limits, wanted)
    }

    async fn install(&self) -> Result<Installed, InstallError> {
        self.installer().install().await
    }

    async fn made(&self) -> Provenance {
        made(self.install().await.unwrap())
    }

    async fn refused(&self) -> (InstallError, String) {
        let error = self.install().await.unwrap_err();
        let text = chain(&error);
        self.assert_nothing_installed();
        (error, text)
    }

    /// The good release, with what else it has.
    fn release(&self, more: Vec<File>) {
        let mut files = vec![file("notes.txt", "x"), file(ASSET, good())];
        files.extend(more);
        self.server.release(NEW, files);
    }

    /// Nothing under the home could be taken for the version, and nothing that was downloaded can be executed.
    fn assert_nothing_installed(&self) {
        assert!(fs::symlink_metadata(self.folder()).is_err());
        for file in files_in(&self.home().join("staging")) {
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o111, 0, "{}", file.display());
        }
    }

    fn assert_staging_is_empty(&self) {
        assert_eq!(files_in(&self.home().join("staging")), Vec::<PathBuf>::new());
    }
}

const RUN_CONFIG: &str = r#"
name = "v0.79.0"
ours = "kept"
[vega.binary]
path = "/opt/vega"
args = ["start", "--home", "/data/vega"]
[vega.rpc]
socketPath = "/tmp/vega.sock"
httpPath = "/rpc"
"#;

const WITH_DATA_NODE: &str =
    "[data_node.binary]\npath = \"data-node\"\nargs = [\"start\", \"--home=/data/dn\"]\n";

/// A binary that says which version it is.
fn binary(version: &str) -> Vec<u8> {
    // Longer than one read, so that a cut is in its middle.
    let filling = format!("# {}\n", "x".repeat(97)).repeat(4000);
    format!("#!/bin/sh\n[ \"$1 $2 $3\" = \"version --output json\" ] || exit 3\necho '{{\"version\":\"{version}\",\"hash\":\"0\"}}'\nexit 0\n{filling}")
        .into_bytes()
}

fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn tarred(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(writer);
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn good() -> Vec<u8> {
    zipped(&[("vega", &binary(NEW)), ("LICENSE", b"text")])
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn made(installed: Installed) -> Provenance {
    match installed {
        Installed::Made(made) => made,
        Installed::Found => panic!("the folder was there"),
    }
}

fn chain(error: &InstallError) -> String {
    visor::cli::chain(error)
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

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
async fn w_49_the_asset_is_found_on_whatever_page_it_is() {
    for no_links in [false, true] {
        let scene = Scene::new().await;
        scene.server.faults(|faults| faults.no_links = no_links);
        let mut files: Vec<File> = (0..230)
            .map(|number| file(&format!("other-{number}"), "x"))
            .collect();
        files.push(file(ASSET, good()));
        scene.server.release(NEW, files);
        scene.made().await;
        assert_eq!(scene.server.asked_for("/assets?per_page=100"), 3);
    }
}

#[tokio::test]
async fn a_release_is_found_in_the_listing_where_tags_have_no_address() {
    let scene = Scene::new().await;
    scene.server.faults(|faults| faults.no_tags = true);
    for number in 0..150 {
        scene.server.release(&format!("v0.1.{number}"), Vec::new());
    }
    let (error, text) = scene.refused().await;
    assert!(matches!(
        error,
        InstallError::Release(ReleaseError::NoRelease { .. })
    ));
    assert!(
        text.contains("v0.1.0, v0.1.1") && text.contains("goes on by itself"),
        "{text}"
    );
    scene.release(Vec::new());
    scene.made().await;
}

#[tokio::test]
async fn w_48_a_known_sha_256_is_verified_whoever_says_it() {
    let digits = sha256(&good());
    let wrong = sha256(b"other");
    let own = |digits: &str| file(&format!("{ASSET}.sha256"), format!("{digits}  {ASSET}\n"));
    let listing = |digits: &str| {
        file(
            "SHA256SUMS",
            format!("{}  other\n{digits} *{ASSET}\n", "ab".repeat(32)),
        )
    };
    let by_api = |digits: &str| File {
        digest: json!(format!("sha256:{digits}")),
        ..file(ASSET, good())
    };
    let plain = file(ASSET, good());
    for (keys, files, by) in [
        (
            "",
            vec![plain.clone(), own(&digits)],
            "vega-linux-amd64.zip.sha256",
        ),
        ("", vec![listing(&digits), plain.clone()], "SHA256SUMS"),
        ("", vec![by_api(&digits)], "the releases API"),
        (
            "sha256 = { \"v0.80.0\" = \"GOOD\" }",
            vec![plain.clone()],
            "autoInstall.sha256",
        ),
    ] {
        let scene = Scene::new().await;
        scene.configure(&keys.replace("GOOD", &digits));
        scene.server.release(NEW, files);
        let made = scene.made().await;
        assert_eq!(made.verified_by.len(), 1);
        assert!(made.verified_by[0].contains(by), "{made:?}");
    }
    for (keys, files, by) in [
        (
            "",
            vec![plain.clone(), own(&wrong)],
            "vega-linux-amd64.zip.sha256",
        ),
        ("", vec![listing(&wrong), plain.clone()], "SHA256SUMS"),
        ("", vec![by_api(&wrong)], "the releases API"),
        (
            "sha256 = { \"v0.80.0\" = \"WRONG\" }",
            vec![plain.clone()],
            "autoInstall.sha256",
        ),
        // One of several is enough to refuse.
        (
            "sha256 = { \"v0.80.0\" = \"WRONG\" }",
            vec![by_api(&digits), own(&digits)],
            "autoInstall.sha256",
        ),
        (
            "sha256 = { \"v0.80.0\" = \"GOOD\" }",
            vec![by_api(&digits), listing(&wrong)],
            "SHA256SUMS",
        ),
    ] {
        let scene = Scene::new().await;
        scene.configure(&keys.replace("WRONG", &wrong).replace("GOOD", &digits));
        scene.server.release(NEW, files);
        let (error, text) = scene.refused().await;
        assert!(
            matches!(error, InstallError::Digest(DigestError::Other { .. })),
            "{text}"
        );
        assert!(
            text.contains(by) && text.contains(&wrong) && text.contains(&digits),
            "{text}"
        );
        // Not a byte of it is kept.
        assert!(
            files_in(&scene.home().join("staging"))
                .iter()
                .all(|file| !file.ends_with("asset.part"))
        );
    }
    let scene = Scene::new().await;
    scene.release(vec![file(&format!("{ASSET}.sha256"), "<html>not found</html>")]);
    let (error, _) = scene.refused().await;
    assert!(matches!(
        error,
        InstallError::Digest(DigestError::Unreadable { .. })
    ));
    // It is read before the large file is downloaded.
    assert_eq!(scene.server.sent(), "<html>not found</html>".len());
}

#[tokio::test]
async fn w_48_a_download_that_was_cut_goes_on_where_it_broke_off() {
    let whole = good();
    for (chunked, no_redirect) in [(false, false), (true, false), (false, true)] {
        let scene = Scene::new().await;
        scene.release(Vec::new());
        scene.server.faults(|faults| {
            faults.cut_after = Some((100_000, 2));
            faults.chunked = chunked;
            faults.no_redirect = no_redirect;
        });
        let installer = scene.installer();
        let mut arrived = 0;
        for _ in 0..2 {
            let error = installer.install().await.unwrap_err();
            let text = chain(&error);
            assert!(
                matches!(error, InstallError::Download(DownloadError::Http { .. })),
                "{text}"
            );
            // What the store's address holds is nobody's business.
            assert!(
                text.contains("broken off after") && !text.contains("secret-of-the-store"),
                "{text}"
            );
            scene.assert_nothing_installed();
            let parts = files_in(&scene.home().join("staging"));
            let part = parts.iter().find(|file| file.ends_with("asset.part")).unwrap();
            let here = fs::read(part).unwrap();
            assert!(
                here.len() > arrived && whole.starts_with(&here),
                "{} after {arrived}",
                here.len()
            );
            arrived = here.len();
        }
        scene.server.sent();
        // Another installer: nothing but the files is remembered.
        made(scene.installer().install().await.unwrap());
        assert_eq!(scene.server.sent(), whole.len() - arrived);
        scene.assert_staging_is_empty();
    }
}

#[tokio::test]
async fn a_part_is_thrown_away_when_the_server_cannot_go_on_with_it() {
    let cut = async |scene: &Scene| {
        scene.release(Vec::new());
        scene
            .server
            .faults(|faults| faults.cut_after = Some((100_000, 1)));
        scene.refused().await;
        scene.server.sent();
    };
    // It does not know ranges.
    let scene = Scene::new().await;
    cut(&scene).await;
    scene.server.faults(|faults| faults.no_ranges = true);
    scene.made().await;
    assert_eq!(scene.server.sent(), good().len());
    // It has been uploaded anew.
    let scene = Scene::new().await;
    cut(&scene).await;
    let other = zipped(&[("README", b"new"), ("vega", &binary(NEW))]);
    scene.server.release(NEW, vec![file(ASSET, other.clone())]);
    assert_eq!(scene.made().await.sha256, sha256(&other));
    assert_eq!(scene.server.sent(), other.len());
    // It sends another part than it was asked for: refused, and begun anew.
    let scene = Scene::new().await;
    cut(&scene).await;
    scene.server.faults(|faults| faults.other_range = true);
    let (error, _) = scene.refused().await;
    assert!(matches!(
        error,
        InstallError::Download(DownloadError::Range { .. })
    ));
    scene.server.faults(|faults| faults.other_range = false);
    scene.server.sent();
    scene.made().await;
    assert_eq!(scene.server.sent(), good().len());
}

#[tokio::test]
async fn a_file_of_another_size_than_the_release_says_is_refused() {
    for (wrong, chunked) in [(-1_i64, false), (1, false), (-1, true), (1, true)] {
        let scene = Scene::new().await;
        let mut asset = file(ASSET, good());
        asset.size = asset.size.checked_add_signed(wrong).unwrap();
        scene.server.release(NEW, vec![asset]);
        scene.server.faults(|faults| faults.chunked = chunked);
        let (error, text) = scene.refused().await;
        let expected = matches!(
            error,
            InstallError::Download(DownloadError::Size { .. } | DownloadError::Short { .. })
        );
        assert!(expected && text.contains("as the release says"), "{text}");
    }
}

#[tokio::test]
async fn a_file_larger_than_the_operator_allows_is_not_downloaded() {
    let scene = Scene::new().await;
    scene.release(Vec::new());
    let error = scene
        .installer_with(|limits| limits.max_artifact_size = 1000)
        .install()
        .await
        .unwrap_err();
    assert!(chain(&error).contains("at most 1000 bytes (staging.max_artifact_size)"));
    assert_eq!(scene.server.sent(), 0);
    scene.assert_nothing_installed();
}

#[tokio::test]
async fn w_48_a_slow_server_is_given_its_time_and_the_next_attempt_goes_on() {
    let scene = Scene::new().await;
    scene.release(Vec::new());
    let error = scene
        .installer_with(|limits| limits.fetch_timeout = Duration::ZERO)
        .install()
        .await
        .unwrap_err();
    assert!(matches!(error, InstallError::TooSlow { .. }), "{error}");
    scene.assert_nothing_installed();
    scene.made().await;
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
async fn a_token_is_shown_to_the_configured_server_and_to_nobody_else() {
    const TOKEN: &str = "ghp_verysecret";
    let scene = Scene::new().await;
    scene.release(vec![file(&format!("{ASSET}.sha256"), sha256(&good()))]);
    scene
        .server
        .faults(|faults| faults.token = Some(TOKEN.to_owned()));
    // As for a repository that is not there, which is what GitHub says of a private one.
    let (error, text) = scene.refused().await;
    assert!(matches!(
        error,
        InstallError::Release(ReleaseError::NoRepository { .. })
    ));
    assert!(text.contains("a private repository needs a token"), "{text}");
    for refusal in [401, 403] {
        scene.server.faults(|faults| faults.refusal = Some(refusal));
        for keys in ["", "token = \"ghp_othersecret\""] {
            scene.configure(keys);
            let (error, text) = scene.refused().await;
            assert!(
                matches!(error, InstallError::Release(ReleaseError::NotAllowed { .. })),
                "{text}"
            );
            assert!(
                text.contains("Bad credentials") && text.contains("autoInstall.token"),
                "{text}"
            );
            assert!(!text.contains("secret"), "{text}");
        }
    }
    scene.configure("tokenFile = \"token\"");
    let (_, text) = scene.refused().await;
    assert!(
        text.contains("tokenFile") && text.contains("home/token"),
        "{text}"
    );
    fs::write(scene.home().join("token"), format!("{TOKEN}\n")).unwrap();
    scene.made().await;
    let asked = scene.server.asked();
    assert!(asked.iter().any(|asked| asked.elsewhere));
    for asked in asked.iter().filter(|asked| asked.elsewhere) {
        assert!(!asked.headers.contains_key("authorization"), "{asked:?}");
    }
    assert!(asked.iter().all(|asked| {
        asked.headers["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("visor/")
    }));
    let written = fs::read_to_string(scene.folder().join("installed-from.toml")).unwrap();
    assert!(!written.contains("secret"), "{written}");
}

#[tokio::test]
async fn a_rate_limit_is_told_and_obeyed() {
    let until = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 1000;
    let message = r#"{"message":"API rate limit exceeded for 192.0.2.1."}"#;
    for (status, headers) in [
        (
            403,
            vec![
                ("x-ratelimit-remaining", "0".to_owned()),
                ("x-ratelimit-reset", until.to_string()),
            ],
        ),
        (429, vec![("retry-after", "1000".to_owned())]),
        (403, Vec::new()),
    ] {
        let scene = Scene::new().await;
        scene.release(Vec::new());
        scene
            .server
            .faults(|faults| faults.api = Some((status, headers.clone(), message.to_owned())));
        let installer = scene.installer();
        let error = installer.install().await.unwrap_err();
        let text = chain(&error);
        assert!(
            matches!(error, InstallError::Release(ReleaseError::RateLimited { .. })),
            "{text}"
        );
        assert!(
            text.contains("exceeded for 192.0.2.1") && text.contains("a token raises the limit"),
            "{text}"
        );
        assert!(
            text.contains("asked again in")
                && (headers.is_empty() || text.contains(" 100") || text.contains(" 99")),
            "{text}"
        );
        // It is left alone, and the operator is told still.
        scene.server.faults(|faults| faults.api = None);
        let requests = scene.server.asked().len();
        let error = installer.install().await.unwrap_err();
        assert!(
            matches!(error, InstallError::Waiting { .. }) && chain(&error).contains("exceeded for 192.0.2.1")
        );
        assert_eq!(scene.server.asked().len(), requests);
        // A folder that is put there counts at once.
        scene.run_config(NEW, &RUN_CONFIG.replace("/opt/vega", "vega"));
        fs::write(scene.folder().join("vega"), binary(NEW)).unwrap();
        assert_eq!(installer.install().await.unwrap(), Installed::Found);
    }
}

#[tokio::test]
async fn a_server_that_is_down_or_something_else_is_named() {
    let scene = Scene::new().await;
    scene.release(Vec::new());
    for (status, body, because) in [
        (500, "oops", "found 500 (oops)"),
        (
            200,
            "<html>login</html>",
            "expected JSON in the shape of GitHub's",
        ),
        (200, "{\"id\":1}", "tag_name"),
    ] {
        scene
            .server
            .faults(|faults| faults.api = Some((status, Vec::new(), body.to_owned())));
        let (_, text) = scene.refused().await;
        assert!(
            text.contains(because) && text.contains("/releases/tags/v0.80.0"),
            "{text}"
        );
    }
    scene.server.faults(|faults| faults.api = None);
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    scene.write_config(&format!(
        "[autoInstall]\nenabled = true\nbaseUrl = \"http://me:password@127.0.0.1:{port}/api\"\n"
    ));
    let (error, text) = scene.refused().await;
    assert!(
        matches!(error, InstallError::Release(ReleaseError::Http { .. })),
        "{text}"
    );
    assert!(
        text.contains(&format!("127.0.0.1:{port}")) && !text.contains("password"),
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
