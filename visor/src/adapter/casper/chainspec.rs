//! The table `[protocol]` of a version's `chainspec.toml`: at which era the version takes over.
//!
//! Read as the node reads it: this table alone has to make sense, the rest of the file only has to be TOML. The file comes from a
//! staging tool that writes it in place, so that anything may be found there, also half a file (W41).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use semver::Version;
use serde::Deserialize;

use crate::look::Look;

/// The files of the public networks have about 20 KB.
const MAX_BYTES: u64 = 4 << 20;

/// What the chain specification says of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol {
    /// As the node reads it: three numbers, with leading zeros or without.
    version: [u32; 3],
    /// When it takes over.
    pub(crate) activation: Activation,
    /// The first start of this version removes blocks of the activation era and later that an older version made.
    pub(crate) hard_reset: bool,
    /// No era is shorter; absent where the file does not tell.
    pub(crate) era_duration: Option<Duration>,
}

/// When a version takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// With this era.
    Era(u64),
    /// It is the first version of the chain, from this time on; it never makes another one stop.
    Genesis(SystemTime),
}

impl Activation {
    /// The first era of the version; absent for the first version of a chain.
    pub(crate) const fn era(self) -> Option<u64> {
        match self {
            Self::Era(era) => Some(era),
            Self::Genesis(_) => None,
        }
    }
}

/// Why a chain specification says nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChainspecError {
    /// It cannot be read.
    #[error("read {path}", path = path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is larger than any.
    #[error("read {path}: expected at most {MAX_BYTES} bytes, found more", path = path.display())]
    TooLarge { path: PathBuf },
    /// It is no text.
    #[error(
        "read {path}: expected text in UTF-8, found another byte at {at}; it may be only half written", path = path.display()
    )]
    NotText { path: PathBuf, at: usize },
    /// It is no TOML, or lacks what counts.
    #[error("read {path}: {message}", path = path.display())]
    Invalid { path: PathBuf, message: String },
    /// It is another version's.
    #[error(
        "use {path}: expected [protocol] version {expected}, as its folder is named, found {found}; the node announces no version \
         whose folder is not named for it",
        path = path.display()
    )]
    OtherVersion {
        path: PathBuf,
        expected: String,
        found: String,
    },
}

impl Protocol {
    /// Reads a file, and holds it against the version that its folder is named for.
    pub(crate) fn read(path: &Path, version: &Version) -> Result<Self, ChainspecError> {
        let path = || path.to_path_buf();
        let unreadable = |source| ChainspecError::Unreadable { path: path(), source };
        let mut bytes = Vec::new();
        let file = File::open(path()).map_err(unreadable)?;
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(ChainspecError::TooLarge { path: path() });
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| ChainspecError::NotText {
            path: path(),
            at: error.valid_up_to(),
        })?;
        let protocol = Self::parse(text).map_err(|message| ChainspecError::Invalid {
            path: path(),
            message,
        })?;
        if !protocol.is_of(version) {
            let [major, minor, patch] = protocol.version;
            return Err(ChainspecError::OtherVersion {
                path: path(),
                expected: version.to_string(),
                found: format!("{major}.{minor}.{patch}"),
            });
        }
        Ok(protocol)
    }

    fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Chainspec {
            protocol: Table,
            core: Option<toml::Value>,
        }
        #[derive(Deserialize)]
        struct Table {
            version: String,
            hard_reset: bool,
            activation_point: toml::Value,
        }
        let Chainspec { protocol, core } =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let version = node_version(&protocol.version).ok_or_else(|| {
            let found = &protocol.version;
            format!(
                "protocol.version: expected three numbers below 4294967296, such as 1.5.8, found {found:?}"
            )
        })?;
        let activation = activation(&protocol.activation_point).ok_or_else(|| {
            let found = &protocol.activation_point;
            format!(
                "protocol.activation_point: expected the number of an era, or a time such as \"2021-03-31T15:00:00Z\", found {found}"
            )
        })?;
        Ok(Self {
            version,
            activation,
            hard_reset: protocol.hard_reset,
            era_duration: core.as_ref().and_then(era_duration),
        })
    }

    /// A folder's name may say more than three numbers; the node passes over such a folder.
    fn is_of(&self, version: &Version) -> bool {
        let numbers = self.version.map(u64::from);
        version.pre.is_empty()
            && version.build.is_empty()
            && numbers == [version.major, version.minor, version.patch]
    }
}

/// A version as the node reads it.
fn node_version(text: &str) -> Option<[u32; 3]> {
    let mut numbers = text.split('.').map(|number| {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| number.parse().ok()).flatten()
    });
    let version = [numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(version)
}

fn activation(value: &toml::Value) -> Option<Activation> {
    if let Some(era) = value.as_integer() {
        return u64::try_from(era).ok().map(Activation::Era);
    }
    let time = value.as_str()?;
    humantime::parse_rfc3339_weak(time).ok().map(Activation::Genesis)
}

fn era_duration(core: &toml::Value) -> Option<Duration> {
    let text = core.get("era_duration")?.as_str()?;
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| !duration.is_zero())
}

/// What was read of the chain specifications, so that one is parsed again only when its file has changed: it is asked for between the end of
/// one version and the start of the next.
#[derive(Debug, Default)]
pub(crate) struct Chainspecs {
    read: Mutex<BTreeMap<PathBuf, Read>>,
}

#[derive(Debug)]
struct Read {
    look: Look,
    /// Who asked: the answer depends on it.
    version: Version,
    outcome: Result<Protocol, String>,
}

impl Chainspecs {
    /// What the file says, or why it says nothing, for the operator.
    pub(crate) fn get(&self, path: &Path, version: &Version) -> Result<Protocol, String> {
        let look = Look::at(path).ok().filter(Look::is_settled);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(look), Some(before)) = (look, read.get(path))
            && before.look == look
            && before.version == *version
        {
            return before.outcome.clone();
        }
        read.remove(path);
        let outcome = Protocol::read(path, version).map_err(|error| crate::cli::chain(&error));
        // A file that changed meanwhile has another look the next time.
        if let Some(look) = look {
            let entry = Read {
                look,
                version: version.clone(),
                outcome: outcome.clone(),
            };
            read.insert(path.to_path_buf(), entry);
        }
        outcome
    }

    /// Forgets the files that are not among these.
    pub(crate) fn keep(&self, wanted: impl Fn(&Path) -> bool) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.retain(|path, _| wanted(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const GOOD: &str = "# Chäinspec\n[protocol]\nversion = '2.0.0'\nhard_reset = true\nactivation_point = 100\nmore = []\n[core]\nx = 1\n";

    fn read(bytes: &[u8], version: &str) -> Result<Protocol, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chainspec.toml");
        fs::write(&path, bytes).unwrap();
        Protocol::read(&path, &Version::parse(version).unwrap()).map_err(|error| crate::cli::chain(&error))
    }

    #[test]
    fn the_protocol_table_is_read_and_nothing_else_has_to_make_sense() {
        let protocol = read(GOOD.as_bytes(), "2.0.0").unwrap();
        assert_eq!(
            (protocol.activation, protocol.hard_reset),
            (Activation::Era(100), true)
        );
        let genesis = GOOD.replace("100", "'2021-03-31T15:00:00Z'");
        let protocol = read(genesis.as_bytes(), "2.0.0").unwrap();
        let genesis = SystemTime::UNIX_EPOCH + Duration::from_secs(1_617_202_800);
        assert_eq!(protocol.activation, Activation::Genesis(genesis));
        assert_eq!(protocol.activation.era(), None);
        assert_eq!(protocol.era_duration, None);
        for (value, expected) in [
            ("'120min'", Some(7200)),
            ("'41seconds'", Some(41)),
            ("'soon'", None),
            ("7", None),
        ] {
            let text = GOOD.replace("x = 1", &format!("era_duration = {value}"));
            let found = read(text.as_bytes(), "2.0.0").unwrap().era_duration;
            assert_eq!(found, expected.map(Duration::from_secs), "{value}");
        }
        // The node reads leading zeros.
        read(GOOD.replace("2.0.0", "02.0.0").as_bytes(), "2.0.0").unwrap();
    }

    #[test]
    fn casper_w41_damage_of_any_kind_is_a_problem_in_words() {
        let text = |from: &str, to: &str| GOOD.replace(from, to).into_bytes();
        for (bytes, because) in [
            (Vec::new(), "missing field `protocol`"),
            (text("[protocol]", "[protocols]"), "missing field `protocol`"),
            (text("hard_reset = true\n", ""), "missing field `hard_reset`"),
            (text("version = '2.0.0'\n", ""), "missing field `version`"),
            (
                text("activation_point = 100\n", ""),
                "missing field `activation_point`",
            ),
            (text("true", "'yes'"), "boolean"),
            (text("100", "-1"), "expected the number of an era"),
            (text("100", "1.5"), "expected the number of an era"),
            (text("100", "'tomorrow'"), "expected the number of an era"),
            (
                text("100", "2021-03-31T15:00:00Z"),
                "expected the number of an era",
            ),
            (text("2.0.0", "2.0"), "expected three numbers"),
            (text("2.0.0", "2.0.0.0"), "expected three numbers"),
            (text("2.0.0", "2.0.0-rc1"), "expected three numbers"),
            (text("2.0.0", "2.+0.0"), "expected three numbers"),
            (text("2.0.0", "2.0.4294967296"), "expected three numbers"),
            (text("2.0.0", "2.0.1"), "as its folder is named, found 2.0.1"),
            (text("= 1\n", "= \n"), "TOML parse error"),
            (vec![b'#'; 5 << 20], "at most 4194304 bytes"),
        ] {
            let error = read(&bytes, "2.0.0").unwrap_err();
            assert!(error.contains(because), "{because}: {error}");
            assert!(error.contains("chainspec.toml"), "{error}");
        }
        // Every cut, also one through a character of more than one byte.
        for end in 0..GOOD.len() - 30 {
            let error = read(&GOOD.as_bytes()[..end], "2.0.0").unwrap_err();
            assert_eq!(error.contains("UTF-8"), end == 5, "{end}: {error}");
        }
        let missing = Protocol::read(Path::new("/nowhere/chainspec.toml"), &Version::new(2, 0, 0));
        assert!(crate::cli::chain(&missing.unwrap_err()).contains("No such file"));
    }

    #[test]
    fn casper_w18_a_folder_that_the_node_passes_over_agrees_with_no_specification() {
        for folder in ["2.0.0-rc.1", "2.0.0+b1", "4294967296.0.0"] {
            assert!(read(GOOD.as_bytes(), folder).is_err(), "{folder}");
        }
    }

    #[test]
    fn a_file_is_parsed_again_when_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chainspec.toml");
        let chainspecs = Chainspecs::default();
        let version = Version::new(2, 0, 0);
        let era = || {
            chainspecs
                .get(&path, &version)
                .map(|protocol| protocol.activation.era())
        };
        assert!(era().is_err());
        for (text, expected) in [("100", 100), ("1000", 1000), ("2000", 2000)] {
            // Renamed over: another inode, whatever the clock's resolution.
            fs::write(dir.path().join("part"), GOOD.replace("100", text)).unwrap();
            fs::rename(dir.path().join("part"), &path).unwrap();
            for _ in 0..2 {
                assert_eq!(era(), Ok(Some(expected)));
            }
        }
        assert!(chainspecs.get(&path, &Version::new(2, 0, 1)).is_err());
        chainspecs.keep(|_| false);
        assert!(chainspecs.read.lock().unwrap().is_empty());
        fs::remove_file(&path).unwrap();
        assert!(era().is_err());
    }
}
