//! A Vega home that installs its next version from a server of the test, and what such a server has.

use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use visor::adapter::vega::install::{InstallError, Installed, Installer, Provenance, Wanted};
use visor::config::Staging;
use visor::home::Home;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::releases::{File, Server, file};

pub(super) const NEW: &str = "v0.80.0";
pub(super) const ASSET: &str = "vega-linux-amd64.zip";

/// A Vega home whose version runs in `genesis`, and a server that it may install from.
pub(super) struct Scene {
    pub(super) dir: tempfile::TempDir,
    pub(super) server: Server,
}

impl Scene {
    pub(super) async fn new() -> Self {
        let scene = Self {
            dir: tempfile::tempdir().unwrap(),
            server: Server::start().await,
        };
        fs::create_dir_all(scene.home().join("genesis")).unwrap();
        scene.run_config("genesis", RUN_CONFIG);
        scene.configure("");
        scene
    }

    pub(super) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.home().join(NEW)
    }

    pub(super) fn run_config(&self, folder: &str, text: &str) {
        fs::create_dir_all(self.home().join(folder)).unwrap();
        fs::write(self.home().join(folder).join("run-config.toml"), text).unwrap();
    }

    /// With more keys of `[autoInstall]`.
    pub(super) fn configure(&self, keys: &str) {
        self.write_config(&format!(
            "[autoInstall]\nenabled = true\nbaseUrl = {:?}\n{keys}\n[autoInstall.asset]\nname = {ASSET:?}\nbinaryName = \"vega\"\n",
            self.server.url()
        ));
    }

    pub(super) fn write_config(&self, text: &str) {
        fs::write(self.home().join("config.toml"), text).unwrap();
    }

    pub(super) fn installer(&self) -> Installer {
        self.installer_with(|_| {})
    }

    pub(super) fn installer_with(&self, change: impl FnOnce(&mut Staging)) -> Installer {
        let mut limits = Staging::default();
        change(&mut limits);
        Installer::new(Home::at(self.home()), limits, wanted(&self.home()))
    }

    pub(super) async fn install(&self) -> Result<Installed, InstallError> {
        self.installer().install().await
    }

    pub(super) async fn made(&self) -> Provenance {
        made(self.install().await.unwrap())
    }

    pub(super) async fn refused(&self) -> (InstallError, String) {
        let error = self.install().await.unwrap_err();
        let text = chain(&error);
        self.assert_nothing_installed();
        (error, text)
    }

    /// The good release, with what else it has.
    pub(super) fn release(&self, more: Vec<File>) {
        let mut files = vec![file("notes.txt", "x"), file(ASSET, good())];
        files.extend(more);
        self.server.release(NEW, files);
    }

    /// Nothing under the home could be taken for the version, and nothing that was downloaded can be executed.
    pub(super) fn assert_nothing_installed(&self) {
        assert!(fs::symlink_metadata(self.folder()).is_err());
        for file in files_in(&self.home().join("staging")) {
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o111, 0, "{}", file.display());
        }
    }

    pub(super) fn assert_staging_is_empty(&self) {
        assert_eq!(files_in(&self.home().join("staging")), Vec::<PathBuf>::new());
    }
}

fn wanted(home: &Path) -> Wanted {
    Wanted {
        id: format!("{NEW}@1000"),
        tag: NEW.to_owned(),
        height: 1000,
        current: home.join("genesis"),
    }
}

/// Of a home whose scene another process has.
pub(super) fn installer_of(home: PathBuf) -> Installer {
    let wanted = wanted(&home);
    Installer::new(Home::at(home), Staging::default(), wanted)
}

pub(super) const RUN_CONFIG: &str = r#"
name = "v0.79.0"
ours = "kept"
[vega.binary]
path = "/opt/vega"
args = ["start", "--home", "/data/vega"]
[vega.rpc]
socketPath = "/tmp/vega.sock"
httpPath = "/rpc"
"#;

pub(super) const WITH_DATA_NODE: &str =
    "[data_node.binary]\npath = \"data-node\"\nargs = [\"start\", \"--home=/data/dn\"]\n";

/// A binary that says which version it is.
pub(super) fn binary(version: &str) -> Vec<u8> {
    // Longer than one read, so that a cut is in its middle.
    let filling = format!("# {}\n", "x".repeat(97)).repeat(4000);
    format!("#!/bin/sh\n[ \"$1 $2 $3\" = \"version --output json\" ] || exit 3\necho '{{\"version\":\"{version}\",\"hash\":\"0\"}}'\nexit 0\n{filling}")
        .into_bytes()
}

pub(super) fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub(super) fn tarred(entries: &[(&str, &[u8])]) -> Vec<u8> {
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

pub(super) fn good() -> Vec<u8> {
    zipped(&[("vega", &binary(NEW)), ("LICENSE", b"text")])
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(super) fn made(installed: Installed) -> Provenance {
    match installed {
        Installed::Made(made) => made,
        Installed::Found => panic!("the folder was there"),
    }
}

pub(super) fn chain(error: &InstallError) -> String {
    visor::cli::chain(error)
}

pub(super) fn files_in(folder: &Path) -> Vec<PathBuf> {
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

pub(super) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
