//! From a release to a complete version folder.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use reqwest::redirect::Policy;
use serde::Serialize;

use super::archive::{Allowance, Kind, recognise, unpack};
use super::download::{Download, Origin};
use super::error::io_error;
use super::releases::{Asset, Releases};
use super::{InstallError, Installer, digest, folder, releases, run_config};
use crate::adapter::vega::config::AutoInstall;
use crate::adapter::vega::run_config::{FILE_NAME, RunConfig};
use crate::fault;
use crate::home::{sync_directory, write_durably};
use crate::staging::{client, measure};

/// Bytes that no installation takes: the node writes to the same disk.
const RESERVE: u64 = 64 << 20;
/// How many files of a release may state digests: one of the asset's own, and a listing or two.
const MAX_STATEMENTS: usize = 4;
/// GitHub answers with one redirect; a mirror may add its own.
const MAX_REDIRECTS: usize = 10;
/// The file in the folder that says where it comes from.
const PROVENANCE: &str = "installed-from.toml";

/// Where an installed version comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// The release.
    pub tag: String,
    /// The releases API, without anything secret.
    pub server: String,
    /// Owner and name.
    pub repository: String,
    /// The file.
    pub asset: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of what was downloaded, hexadecimal.
    pub sha256: String,
    /// Who said beforehand that this is its SHA-256. Empty: nobody, and only what the binary says of itself was checked.
    pub verified_by: Vec<String>,
}

impl Installer {
    /// Makes `folder` from the release.
    pub(super) async fn make(
        &self,
        settings: &AutoInstall,
        folder: &Path,
    ) -> Result<Provenance, InstallError> {
        let tag = &self.wanted.tag;
        let work = self.work();
        fs::create_dir_all(&work).map_err(io_error("create", &work))?;
        fault::point("staging-begun");
        // Before the download: the operator should not wait for it to hear of this.
        run_config::text_for(
            self.home.root(),
            &self.wanted.current,
            tag,
            settings.asset.binary(),
        )?;
        let token = settings
            .token
            .read(self.home.root())
            .map_err(|error| InstallError::Token(crate::cli::chain(&error)))?;
        let client = client(redirects()).map_err(|source| releases::ReleaseError::Client {
            server: settings.base_url.to_string(),
            source,
        })?;
        let releases = Releases::new(client, settings, token.as_ref());
        let release = releases.find(tag).await?;
        let assets = releases.assets(&release).await?;
        let asset = self.choose(settings, &assets)?;
        let known = self.known_digests(settings, &releases, asset, &assets).await?;
        let part = self.download(settings, &releases, asset, &work).await?;
        let (size, sha256) = measure(&part)?;
        if let Err(error) = digest::check(&sha256, &known, &asset.name) {
            // Never a byte of it again.
            fs::remove_file(&part).map_err(io_error("remove", &part))?;
            return Err(error.into());
        }
        fault::point("fetch-checked");
        if known.is_empty() {
            tracing::warn!(
                upgrade.version = tag,
                asset.name = asset.name,
                asset.sha256 = hex::encode(sha256),
                "nothing says beforehand what the release's file must be (no .sha256 file, none by the API, no autoInstall.sha256): only \
                 what the binary says of its version is checked"
            );
        }
        let provenance = Provenance {
            tag: tag.clone(),
            server: settings.base_url.to_string(),
            repository: format!("{}/{}", settings.repository_owner, settings.repository),
            asset: asset.name.clone(),
            size,
            sha256: hex::encode(sha256),
            verified_by: known.into_iter().map(|known| known.by).collect(),
        };
        // From here on the bytes are those of the release.
        fault::point("staging-fetched");
        let new = work.join("folder");
        let result = self.build(settings, &part, &new, &provenance).await;
        if let Err(error) = result {
            // Best effort: the next attempt removes it again before it begins.
            let _ = fs::remove_dir_all(&new);
            if provenance.verified_by.is_empty() && matches!(error, InstallError::Archive(_)) {
                // It may have been damaged on the way.
                let _ = fs::remove_file(&part);
            }
            return Err(error);
        }
        fs::rename(&new, folder).map_err(io_error("create", folder))?;
        fault::point("staging-installed");
        let home = self.home.root();
        sync_directory(home).map_err(io_error("sync", home))?;
        Ok(provenance)
    }

    fn choose<'a>(&self, settings: &AutoInstall, assets: &'a [Asset]) -> Result<&'a Asset, InstallError> {
        let wanted = &settings.asset.name;
        let tag = &self.wanted.tag;
        let Some(asset) = assets.iter().find(|asset| asset.name == *wanted) else {
            return Err(InstallError::NoAsset {
                asset: wanted.clone(),
                tag: tag.clone(),
                repository: format!("{}/{}", settings.repository_owner, settings.repository),
                offered: assets.iter().map(|asset| asset.name.clone()).collect(),
            });
        };
        match &asset.state {
            Some(state) if state != "uploaded" => Err(InstallError::Unfinished {
                asset: asset.name.clone(),
                tag: tag.clone(),
                state: state.clone(),
            }),
            _ => Ok(asset),
        }
    }

    /// Everything that is said of the asset's SHA-256, by whomever: all of it must be true.
    async fn known_digests(
        &self,
        settings: &AutoInstall,
        releases: &Releases<'_>,
        asset: &Asset,
        assets: &[Asset],
    ) -> Result<Vec<digest::Expected>, InstallError> {
        let mut known = Vec::new();
        if let Some(sha256) = settings.sha256.get(&self.wanted.tag) {
            known.push(digest::Expected {
                sha256: *sha256,
                by: "autoInstall.sha256".to_owned(),
            });
        }
        if let Some(text) = &asset.digest {
            known.extend(digest::of_api(text, &asset.name)?);
        }
        let statements = assets
            .iter()
            .filter(|file| digest::states(&file.name, &asset.name));
        for file in statements.take(MAX_STATEMENTS) {
            let text = releases.text(file).await?;
            known.extend(digest::of_file(&text, &file.name, &asset.name)?);
        }
        Ok(known)
    }

    /// Downloads what is missing of the asset, within the time that is allowed.
    async fn download(
        &self,
        settings: &AutoInstall,
        releases: &Releases<'_>,
        asset: &Asset,
        work: &Path,
    ) -> Result<PathBuf, InstallError> {
        let of = Origin {
            repository: format!(
                "{} {}/{}",
                settings.base_url, settings.repository_owner, settings.repository
            ),
            asset: asset.id,
            name: asset.name.clone(),
            size: asset.size,
            updated_at: asset.updated_at.clone(),
        };
        let (request, label) = releases.content(asset);
        let mut download = Download::open(work, of, label, self.limits.max_artifact_size)?;
        if download.is_whole()? {
            return Ok(download.part());
        }
        let missing = asset.size.unwrap_or_default().saturating_sub(download.arrived()?);
        expect_room("download", &asset.name, work, missing)?;
        let whole = async {
            let response = download.ask(request).await?;
            if !response.status().is_success() {
                if response.status() == reqwest::StatusCode::RANGE_NOT_SATISFIABLE {
                    download.discard()?;
                }
                return Err(InstallError::from(releases.refusal(asset, response).await));
            }
            Ok(download.take(response).await?)
        };
        let limit = self.limits.fetch_timeout;
        match tokio::time::timeout(limit, whole).await {
            Ok(result) => result?,
            Err(_) => {
                return Err(InstallError::TooSlow {
                    asset: asset.name.clone(),
                    limit,
                    arrived: download.arrived()?,
                });
            }
        }
        Ok(download.part())
    }

    /// Makes the folder's content in `new`, complete, checked and durable.
    async fn build(
        &self,
        settings: &AutoInstall,
        part: &Path,
        new: &Path,
        provenance: &Provenance,
    ) -> Result<(), InstallError> {
        let tag = &self.wanted.tag;
        match fs::remove_dir_all(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", new)(error));
            }
            _ => {}
        }
        fs::create_dir_all(new).map_err(io_error("create", new))?;
        let holds = self.unpack(settings, part, new, &provenance.asset)?;
        fault::point("staging-unpacked");
        let text = run_config::text_for(
            self.home.root(),
            &self.wanted.current,
            tag,
            settings.asset.binary(),
        )?;
        let file = new.join(FILE_NAME);
        write_durably(&file, text.as_bytes(), 0o644).map_err(io_error("write", &file))?;
        let run = RunConfig::read(new)?;
        let lacking = |source| InstallError::NoBinary {
            tag: tag.clone(),
            asset: provenance.asset.clone(),
            holds: holds.clone(),
            source: Box::new(source),
        };
        run.check_programs(new).map_err(lacking)?;
        let mut programs = folder::programs(&run, new);
        programs.dedup();
        for program in programs.iter().filter(|program| program.starts_with(new)) {
            fs::set_permissions(program, Permissions::from_mode(0o755))
                .map_err(io_error("make executable", program))?;
        }
        run.make_executable(new).map_err(lacking)?;
        fault::point("staging-executable");
        for program in &programs {
            folder::expect_exactly(program, tag, self.limits.version_timeout, &self.programs).await?;
        }
        fault::point("staging-probed");
        let file = new.join(PROVENANCE);
        let text = toml::to_string(provenance).map_err(io::Error::other);
        text.and_then(|text| write_durably(&file, text.as_bytes(), 0o644))
            .map_err(io_error("write", &file))?;
        fault::point("staging-marked");
        for program in &programs {
            // The mode was set after the content was synced.
            File::open(program)
                .and_then(|file| file.sync_all())
                .map_err(io_error("sync", program))?;
        }
        sync_folders(new)?;
        fault::point("staging-synced");
        Ok(())
    }

    /// Returns what came out of the asset.
    fn unpack(
        &self,
        settings: &AutoInstall,
        part: &Path,
        new: &Path,
        asset: &str,
    ) -> Result<Vec<String>, InstallError> {
        let kind = recognise(part)?;
        if kind == Kind::Plain {
            let size = fs::metadata(part).map_err(io_error("look at", part))?.len();
            expect_room("copy", asset, new, size)?;
            let name = settings.asset.binary();
            let binary = new.join(name);
            // A copy: what was downloaded stays for the next attempt, should this one fail.
            fs::copy(part, &binary).map_err(io_error("copy", part))?;
            File::open(&binary)
                .and_then(|file| file.sync_all())
                .map_err(io_error("sync", &binary))?;
            return Ok(vec![format!("the binary {name} alone")]);
        }
        let free = free(new)?;
        let room = free.saturating_sub(RESERVE);
        let most = self.limits.max_artifact_size;
        let allowance = match room < most {
            true => Allowance {
                bytes: room,
                because: "what the disk has room for",
            },
            false => Allowance {
                bytes: most,
                because: "staging.max_artifact_size",
            },
        };
        let files = unpack(part, kind, new, allowance)?;
        Ok(files.iter().map(|file| file.display().to_string()).collect())
    }
}

/// Never from https to http: what comes over the latter anybody on the way can have changed.
fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let before = attempt.previous();
        let was_safe = before.last().is_some_and(|before| before.scheme() == "https");
        if before.len() > MAX_REDIRECTS {
            attempt.error("more redirects than any release needs")
        } else if was_safe && attempt.url().scheme() != "https" {
            attempt.error("a redirect from https to http is not followed")
        } else {
            attempt.follow()
        }
    })
}

fn free(folder: &Path) -> Result<u64, InstallError> {
    let found = rustix::fs::statvfs(folder).map_err(|error| io_error("look at", folder)(error.into()))?;
    // What is set aside for the administrator is not for downloads, also when visor runs as root.
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn expect_room(operation: &'static str, what: &str, folder: &Path, needed: u64) -> Result<(), InstallError> {
    let free = free(folder)?;
    if free < needed.saturating_add(RESERVE) {
        return Err(InstallError::NoRoom {
            operation,
            what: what.to_owned(),
            folder: folder.to_path_buf(),
            needed,
            reserve: RESERVE,
            free,
        });
    }
    Ok(())
}

/// Makes the entries of a folder and of those in it durable; the files' contents are already.
fn sync_folders(folder: &Path) -> Result<(), InstallError> {
    for entry in fs::read_dir(folder).map_err(io_error("read", folder))? {
        let entry = entry.map_err(io_error("read", folder))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sync_folders(&entry.path())?;
        }
    }
    sync_directory(folder).map_err(io_error("sync", folder))
}
