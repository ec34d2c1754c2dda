//! The programs under test: built by cargo, the node once per release.

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::fs::FlockOperation;

/// The release that a network starts with.
pub const OLD_VERSION: &str = "1.0.0";
/// The release that it is upgraded to.
pub const NEW_VERSION: &str = "1.1.0";

/// Paths of the built programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `governance`, stamped [`OLD_VERSION`].
    pub old_node: PathBuf,
    /// `governance`, stamped [`NEW_VERSION`].
    pub new_node: PathBuf,
    /// `visor`.
    pub visor: PathBuf,
    /// `wallet`.
    pub wallet: PathBuf,
}

impl Binaries {
    /// Builds whatever is not built yet, in the profile and target directory of the running program. When the environment
    /// variable `E2E_RELEASES` names a folder laid out like `target/debug/releases`, that is used as it is.
    ///
    /// Blocks; cargo's own output goes to standard error. Processes that call it at the same time take turns.
    ///
    /// # Errors
    /// When cargo cannot be run or fails.
    pub fn build() -> Result<Self> {
        if let Some(releases) = env::var_os("E2E_RELEASES") {
            return Self::kept_in(Path::new(&releases));
        }
        let (profile_dir, profile) = own_profile()?;
        let releases = profile_dir.join("releases");
        fs::create_dir_all(&releases).with_context(|| format!("create {}", releases.display()))?;
        let turn = File::create(releases.join("lock")).context("open the build lock")?;
        rustix::fs::flock(&turn, FlockOperation::LockExclusive).context("take the build lock")?;

        let built = profile_dir.join("governance");
        cargo_build(&profile, &["--bins"], None)?;
        let old_node = keep(&built, &releases, OLD_VERSION)?;
        let new_node = releases.join(NEW_VERSION).join("governance");
        // The two releases come from one source tree: while the old one is the one that the new one was built beside, the
        // new one is up to date as well, and two links are saved.
        let beside = releases.join(NEW_VERSION).join("built-beside");
        let old_bytes = fs::read(&old_node).with_context(|| format!("read {}", old_node.display()))?;
        let fresh = new_node.exists() && fs::read(&beside).is_ok_and(|bytes| bytes == old_bytes);
        if !fresh {
            cargo_build(&profile, &["--bin", "governance"], Some(NEW_VERSION))?;
            keep(&built, &releases, NEW_VERSION)?;
            fs::write(&beside, &old_bytes).with_context(|| format!("write {}", beside.display()))?;
            // Other tests run this file and expect the release of a plain build.
            cargo_build(&profile, &["--bin", "governance"], None)?;
        }
        keep(&profile_dir.join("visor"), &releases, "host")?;
        keep(&profile_dir.join("wallet"), &releases, "desk")?;
        Self::built()
    }

    /// What [`Binaries::build`] has built last.
    ///
    /// # Errors
    /// When it has built nothing, or something else.
    pub fn built() -> Result<Self> {
        Self::kept_in(&own_profile()?.0.join("releases"))
    }

    fn kept_in(releases: &Path) -> Result<Self> {
        let binaries = Self {
            old_node: releases.join(OLD_VERSION).join("governance"),
            new_node: releases.join(NEW_VERSION).join("governance"),
            visor: releases.join("host").join("visor"),
            wallet: releases.join("desk").join("wallet"),
        };
        check_stamp(&binaries.old_node, OLD_VERSION)?;
        check_stamp(&binaries.new_node, NEW_VERSION)?;
        Ok(binaries)
    }
}

/// Writes a node binary to `path` that answers `version` correctly and dies at every start: the release nobody wants.
///
/// # Errors
/// When the file cannot be written.
pub fn crashing_node(path: &Path, version: &str) -> Result<()> {
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in\nversion) echo '{{\"version\":\"{version}\",\"hash\":\"none\"}}' ;;\n*) echo 'this release dies at every start' >&2; exit 9 ;;\nesac\n"
    );
    fs::write(path, script).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} executable", path.display()))
}

/// The directory that cargo puts this profile's binaries in, and the profile's name.
fn own_profile() -> Result<(PathBuf, String)> {
    let exe = env::current_exe().context("find the running program")?;
    // target/debug/demo, or target/debug/deps/it-0123456789abcdef
    let dir = exe
        .ancestors()
        .skip(1)
        .find(|dir| dir.file_name().is_some_and(|name| name != "deps"))
        .context("the running program lies in no target directory")?;
    let name = dir
        .file_name()
        .and_then(|name| name.to_str())
        .context("the target directory has no readable name")?;
    let profile = if name == "debug" { "dev" } else { name };
    Ok((dir.to_path_buf(), profile.to_owned()))
}

/// Builds `targets` of the packages under test. `e2e` is among the packages so that features are those of the running program.
fn cargo_build(profile: &str, targets: &[&str], version: Option<&str>) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let (profile_dir, _) = own_profile()?;
    let target = profile_dir
        .parent()
        .context("the profile directory has no parent")?;
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--profile", profile, "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .args([
            "-p",
            "e2e",
            "-p",
            "governance-node",
            "-p",
            "visor",
            "-p",
            "wallet-cli",
        ])
        .args(targets)
        .env_remove("GOVERNANCE_RELEASE_VERSION")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if let Some(version) = version {
        command.env("GOVERNANCE_RELEASE_VERSION", version);
    }
    let status = command.status().context("run cargo")?;
    if !status.success() {
        bail!(
            "cargo build for release {} failed: {status}",
            version.unwrap_or(OLD_VERSION)
        );
    }
    Ok(())
}

/// Fails unless the binary says that it is this release: another cargo may have built in between.
fn check_stamp(binary: &Path, version: &str) -> Result<()> {
    let output = Command::new(binary)
        .args(["version", "--output", "json"])
        .output()
        .with_context(|| format!("run {}", binary.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !said.contains(&format!("\"version\":\"{version}\"")) {
        bail!(
            "{} should be release {version}, but says {said}; build again while no other cargo runs here",
            binary.display()
        );
    }
    Ok(())
}

/// Copies a built binary to `releases/<label>/`, where the next build does not overwrite it. An equal copy is left alone,
/// because it may be running.
fn keep(built: &Path, releases: &Path, label: &str) -> Result<PathBuf> {
    let dir = releases.join(label);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let name = built.file_name().context("a binary has a name")?;
    let kept = dir.join(name);
    let bytes = fs::read(built).with_context(|| format!("read {}", built.display()))?;
    if fs::read(&kept).is_ok_and(|old| old == bytes) {
        return Ok(kept);
    }
    let mut file =
        tempfile::NamedTempFile::new_in(&dir).with_context(|| format!("write in {}", dir.display()))?;
    file.write_all(&bytes)
        .with_context(|| format!("copy {}", built.display()))?;
    let file = file.into_temp_path();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).context("make the copy executable")?;
    file.persist(&kept)
        .with_context(|| format!("place {}", kept.display()))?;
    Ok(kept)
}
