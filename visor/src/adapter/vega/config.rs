//! Vega Visor's `config.toml`: every key that it knows, with the value that its own `init` writes where a key is absent (W-30), and a few
//! of ours beside them.
//!
//! The file is tolerant, as it was: what nobody knows is warned of once and passed over. `visor.toml` beside it is strict; see
//! [`merge`](super::merge).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::table::{Table, read_text};
use super::tag::{FOLDER_EXPECTED, folder_name};
use crate::config::{ConfigError, WebAddress};
use crate::staging::host_platform;

/// The keys of the file, by which a Vega home is known.
pub(super) const KEYS: [&str; 8] = [
    "maxNumberOfFirstConnectionRetries",
    "maxNumberOfRestartConnectionRetries",
    "maxNumberOfRestarts",
    "restartsDelaySeconds",
    "stopDelaySeconds",
    "stopSignalTimeoutSeconds",
    "upgradeFolders",
    "autoInstall",
];

/// What Vega Visor polled at: its counts of connection retries are counts of such spans.
pub(crate) const POLL: Duration = Duration::from_secs(2);

/// Where releases are looked for unless the operator says otherwise.
pub(crate) const GITHUB: &str = "https://api.github.com";

/// The longest token. Those of GitHub have less than 300 bytes.
const MAX_TOKEN: u64 = 4096;

/// Vega Visor's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// So many questions in a row may stay unanswered after the node's first start, or the first after an upgrade.
    pub(crate) first_connection_retries: u32,
    /// The same after a restart.
    pub(crate) restart_connection_retries: u32,
    /// How many restarts may follow a failure.
    pub(crate) restarts: u32,
    /// Before the first restart; the later ones wait longer.
    pub(crate) restarts_delay: Duration,
    /// Between the decision to stop and SIGTERM.
    pub(crate) stop_delay: Duration,
    /// Between SIGTERM and SIGKILL.
    pub(crate) stop_signal_timeout: Duration,
    /// Folder by release tag, where they differ.
    pub(crate) upgrade_folders: BTreeMap<String, String>,
    /// What is done about a version whose folder is missing.
    pub(crate) auto_install: AutoInstall,
}

/// Where the binaries of new versions come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AutoInstall {
    /// Off: the operator puts the folder there.
    pub(crate) enabled: bool,
    /// Whose repository.
    pub(crate) repository_owner: String,
    /// Which of theirs.
    pub(crate) repository: String,
    /// Which file of a release.
    pub(crate) asset: Asset,
    /// The releases API, without a slash at its end. Ours.
    pub(crate) base_url: BaseUrl,
    /// Ours.
    pub(crate) token: TokenSource,
    /// SHA-256 of the asset, by release tag. Ours.
    pub(crate) sha256: BTreeMap<String, [u8; 32]>,
}

/// Which file of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asset {
    /// Its name.
    pub(crate) name: String,
    /// The binary in it; nothing: the asset itself.
    pub(crate) binary_name: Option<String>,
}

impl Asset {
    /// The file that is executed.
    pub(crate) fn binary(&self) -> &str {
        self.binary_name.as_deref().unwrap_or(&self.name)
    }
}

/// An address that may hold a password: shown and logged as scheme and host only.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl(String);

impl BaseUrl {
    /// The whole address, for nothing but a request to it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        WebAddress::from(self.0.clone()).fmt(formatter)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{self}\"")
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    /// The text, for nothing but the request that needs it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

/// What is shown to the releases API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// Nothing.
    #[default]
    None,
    /// A token that stands in the configuration.
    Here(Secret),
    /// One that stands in a file, relative to the home, or absolute. It is read when it is needed, so that it can be renewed.
    File(PathBuf),
}

impl TokenSource {
    /// Whoever reads the configuration reads the token.
    pub(crate) fn is_in_config(&self) -> bool {
        match self {
            Self::Here(_) => true,
            Self::None | Self::File(_) => false,
        }
    }

    /// The token, read now.
    ///
    /// # Errors
    /// When its file cannot be read or holds none.
    pub(crate) fn read(&self, home: &Path) -> Result<Option<Secret>, TokenError> {
        let path = match self {
            Self::None => return Ok(None),
            Self::Here(token) => return Ok(Some(token.clone())),
            Self::File(path) => home.join(path),
        };
        let mut text = Zeroizing::new(String::new());
        File::open(&path)
            .and_then(|file| file.take(MAX_TOKEN + 1).read_to_string(&mut text))
            .map_err(|source| TokenError::Unreadable {
                path: path.clone(),
                source,
            })?;
        match token_of(&text) {
            Some(token) => Ok(Some(token)),
            None => Err(TokenError::NoToken { path }),
        }
    }
}

fn token_of(text: &str) -> Option<Secret> {
    let token = text.trim();
    let usable =
        !token.is_empty() && token.len() <= 4096 && token.bytes().all(|byte| byte.is_ascii_graphic());
    usable.then(|| Secret(Zeroizing::new(token.to_owned())))
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// Its file cannot be read.
    #[error("read {path} (autoInstall.tokenFile)", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Its file holds something else.
    #[error("read {path} (autoInstall.tokenFile): expected one token of visible characters, found something else", path = path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            first_connection_retries: 175_000,
            restart_connection_retries: 10,
            restarts: 3,
            restarts_delay: Duration::from_secs(5),
            stop_delay: Duration::ZERO,
            stop_signal_timeout: Duration::from_secs(15),
            upgrade_folders: BTreeMap::new(),
            auto_install: AutoInstall::default(),
        }
    }
}

impl Default for AutoInstall {
    fn default() -> Self {
        Self {
            // An absent switch has always meant off, and nothing is downloaded and executed that nobody asked for.
            enabled: false,
            repository_owner: "vegaprotocol".to_owned(),
            repository: "vega".to_owned(),
            asset: Asset::default(),
            base_url: BaseUrl(GITHUB.to_owned()),
            token: TokenSource::None,
            sha256: BTreeMap::new(),
        }
    }
}

impl Default for Asset {
    fn default() -> Self {
        Self {
            name: default_asset(),
            binary_name: Some(DEFAULT_BINARY.to_owned()),
        }
    }
}

const DEFAULT_BINARY: &str = "vega";

/// The release's file for this host (W-51).
pub(super) fn default_asset() -> String {
    format!("vega-{}.zip", host_platform().replace('/', "-"))
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    /// What it says.
    pub(crate) settings: Settings,
    /// Keys that nobody knows.
    pub(crate) unknown: BTreeSet<String>,
}

/// Reads Vega Visor's `config.toml`. An empty name is an absent one.
///
/// # Errors
/// When it cannot be read, is no TOML, or holds a value that makes no sense; the text names line and key.
pub(crate) fn read(path: &Path) -> Result<Read, ConfigError> {
    parse(path, &read_text(path)?)
}

fn parse(path: &Path, text: &str) -> Result<Read, ConfigError> {
    let mut table = Table::parse(path, text)?;
    let mut unknown = BTreeSet::new();
    let default = Settings::default();
    let seconds = |found: Option<u32>, default: Duration| {
        found.map_or(default, |found| Duration::from_secs(found.into()))
    };
    let settings = Settings {
        first_connection_retries: table
            .count("maxNumberOfFirstConnectionRetries")?
            .unwrap_or(default.first_connection_retries),
        restart_connection_retries: table
            .count("maxNumberOfRestartConnectionRetries")?
            .unwrap_or(default.restart_connection_retries),
        restarts: table.count("maxNumberOfRestarts")?.unwrap_or(default.restarts),
        restarts_delay: seconds(table.count("restartsDelaySeconds")?, default.restarts_delay),
        stop_delay: seconds(table.count("stopDelaySeconds")?, default.stop_delay),
        stop_signal_timeout: seconds(
            table.count("stopSignalTimeoutSeconds")?,
            default.stop_signal_timeout,
        ),
        upgrade_folders: table
            .table("upgradeFolders")?
            .all_meant(|_, folder| folder_name(folder).ok_or(FOLDER_EXPECTED))?,
        auto_install: auto_install(table.table("autoInstall")?, &mut unknown)?,
    };
    table.end(&mut unknown);
    Ok(Read { settings, unknown })
}

fn auto_install(mut table: Table<'_>, unknown: &mut BTreeSet<String>) -> Result<AutoInstall, ConfigError> {
    let default = AutoInstall::default();
    let named = |found: Option<String>, default: String| found.unwrap_or(default);
    // Both end in an address.
    let part = |text: &str| {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if text.is_empty() {
            Ok(None)
        } else if text.bytes().all(safe) && !text.starts_with('.') {
            Ok(Some(text.to_owned()))
        } else {
            Err("a name of letters, digits, dots, hyphens and underscores")
        }
    };
    let found = AutoInstall {
        enabled: table.switch("enabled")?.unwrap_or(default.enabled),
        repository_owner: named(
            table.meant("repositoryOwner", part)?.flatten(),
            default.repository_owner,
        ),
        repository: named(table.meant("repository", part)?.flatten(), default.repository),
        asset: asset(table.table("asset")?, unknown)?,
        base_url: table
            .meant_shown("baseUrl", base_url, |text| {
                format!("{:?}", WebAddress::from(text.to_owned()))
            })?
            .unwrap_or(default.base_url),
        token: token(&mut table)?,
        sha256: table.table("sha256")?.all_meant(|_, text| {
            let mut digest = [0; 32];
            hex::decode_to_slice(text.trim(), &mut digest)
                .map(|()| digest)
                .map_err(|_| "a SHA-256 of 64 hexadecimal digits")
        })?,
    };
    table.end(unknown);
    Ok(found)
}

fn asset(mut table: Table<'_>, unknown: &mut BTreeSet<String>) -> Result<Asset, ConfigError> {
    // Both become files in a version folder.
    let file = |text: &str| {
        let mut parts = Path::new(text).components();
        match (parts.next(), parts.next()) {
            (None, _) => Ok(None),
            (Some(Component::Normal(_)), None) => Ok(Some(text.to_owned())),
            _ => Err("the name of a file, without separators"),
        }
    };
    let name = table.meant("name", file)?.flatten();
    let binary_name = table.meant("binaryName", file)?.flatten();
    table.end(unknown);
    // An archive is no program, so its binary is the usual one.
    let is_archive = name
        .as_ref()
        .is_none_or(|name| name.to_lowercase().ends_with(".zip"));
    Ok(Asset {
        name: name.unwrap_or_else(default_asset),
        binary_name: binary_name.or_else(|| is_archive.then(|| DEFAULT_BINARY.to_owned())),
    })
}

fn base_url(text: &str) -> Result<BaseUrl, &'static str> {
    let usable = reqwest::Url::parse(text).is_ok_and(|address| {
        matches!(address.scheme(), "http" | "https")
            && address.has_host()
            && address.query().is_none()
            && address.fragment().is_none()
    });
    if usable {
        Ok(BaseUrl(text.trim_end_matches('/').to_owned()))
    } else {
        Err("an http:// or https:// address without a query")
    }
}

fn token(table: &mut Table<'_>) -> Result<TokenSource, ConfigError> {
    let hidden = |_: &str| "something else".to_owned();
    let here = |text: &str| match text {
        "" => Ok(None),
        text => token_of(text).map(Some).ok_or("one token of visible characters"),
    };
    let here = table.meant_shown("token", here, hidden)?.flatten();
    // Both being there is one too many: nobody could tell which counts.
    let taken = here.is_some();
    let file = table.meant("tokenFile", |text| match text {
        "" => Ok(None),
        _ if taken => Err("either autoInstall.token or this one"),
        text => Ok(Some(PathBuf::from(text))),
    })?;
    Ok(match (here, file.flatten()) {
        (Some(token), _) => TokenSource::Here(token),
        (None, Some(path)) => TokenSource::File(path),
        (None, None) => TokenSource::None,
    })
}

#[cfg(test)]
mod tests;
