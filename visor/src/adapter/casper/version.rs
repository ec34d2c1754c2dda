//! Which versions lie in a root: the launcher's rule for names and order, and the cases in which it finds what it then cannot use.
//!
//! A version is semver 2 with 64-bit numbers, its folder's name is the version with `_` for every dot. The order is that of the crate
//! `semver`, which the launcher uses too: numeric, a pre-release below its release, build metadata above none.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use semver::Version;

/// No version is above this one, so it never is the next.
const NEVER_NEXT: Version = Version::new(u64::MAX, u64::MAX, u64::MAX);
/// No version is below this one, so it never is the previous.
const NEVER_PREVIOUS: Version = Version::new(0, 0, 0);

/// What lies in one root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Discovered {
    /// The versions whose folder has their name.
    pub(crate) versions: BTreeSet<Version>,
    /// Entries whose name means a version that would be looked for under another name, and is not there (W18).
    pub(crate) misnamed: BTreeMap<Version, String>,
}

/// The name of a version's folder in both roots.
pub(crate) fn folder_name(version: &Version) -> String {
    version.to_string().replace('.', "_")
}

/// The version that a folder's name means.
pub(crate) fn of_folder(name: &OsStr) -> Option<Version> {
    Version::parse(&name.to_str()?.replace('_', ".")).ok()
}

/// Looks through a root. Everything that is no version's folder is passed over: both roots hold other things as well.
///
/// # Errors
/// When the root cannot be read.
pub(crate) fn discover(root: &Path) -> io::Result<Discovered> {
    let mut discovered = Discovered::default();
    let mut misnamed = BTreeMap::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(version) = of_folder(&name) else {
            tracing::debug!(entry.path = %entry.path().display(), "passed over: the name is no version");
            continue;
        };
        // A link to a folder is one.
        if !entry.path().is_dir() {
            tracing::debug!(entry.path = %entry.path().display(), "passed over: it is named for a version and no folder");
            continue;
        }
        if name == *folder_name(&version) {
            discovered.versions.insert(version);
        } else {
            tracing::debug!(entry.path = %entry.path().display(), "passed over: the version is looked for under another name");
            misnamed.insert(version, name.to_string_lossy().into_owned());
        }
    }
    misnamed.retain(|version, _| !discovered.versions.contains(version));
    discovered.misnamed = misnamed;
    Ok(discovered)
}

/// The smallest version above another, of those that [`discover`] would find. It stands between an exit and the start that follows it, and
/// a host has collected versions for years: only what comes into question is looked at.
///
/// # Errors
/// When the root cannot be read.
pub(crate) fn next_in(root: &Path, current: &Version) -> io::Result<Option<Version>> {
    let mut above = Vec::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        let version = of_folder(&name).filter(|version| version > current && *version < NEVER_NEXT);
        above.extend(version.filter(|version| name == *folder_name(version)));
    }
    above.sort_unstable();
    // A link to a folder is one.
    let is_there = |version: &Version| root.join(folder_name(version)).is_dir();
    Ok(above.into_iter().find(is_there))
}

/// The largest version below another.
pub(crate) fn previous<'a>(
    versions: impl IntoIterator<Item = &'a Version>,
    current: &Version,
) -> Option<&'a Version> {
    versions
        .into_iter()
        .filter(|version| *version < current && **version > NEVER_PREVIOUS)
        .max()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn a_name_is_read_as_the_launcher_reads_it() {
        for (name, expected) in [
            ("1_0_0", Some("1.0.0")),
            ("1.0.0", Some("1.0.0")),
            ("1_0.0", Some("1.0.0")),
            ("1_0_0-rc_1", Some("1.0.0-rc.1")),
            ("1_0_0+b1", Some("1.0.0+b1")),
            ("1_10_0", Some("1.10.0")),
            ("0_0_0", Some("0.0.0")),
            ("18446744073709551615_0_0", Some("18446744073709551615.0.0")),
            ("18446744073709551616_0_0", None),
            ("3_0_0_0", None),
            ("3_A", None),
            ("3_0", None),
            ("01_1_0", None),
            ("1_0_0-01", None),
            ("v1_0_0", None),
            (" 1_0_0", None),
            ("", None),
            ("current", None),
            ("network_configs", None),
            ("casper-visor", None),
            ("casper-node-launcher-state.toml", None),
            ("casper-node-launcher-state.toml.part", None),
        ] {
            let found = of_folder(OsStr::new(name)).map(|version| version.to_string());
            assert_eq!(found.as_deref(), expected, "{name:?}");
        }
        assert_eq!(of_folder(OsStr::from_bytes(b"1_0_\xff")), None);
        for (version, name) in [("1.10.0", "1_10_0"), ("1.0.0-rc.1+b.2", "1_0_0-rc_1+b_2")] {
            assert_eq!(folder_name(&self::version(version)), name);
        }
    }

    #[test]
    fn the_order_is_that_of_the_launcher() {
        let ascending = [
            "0.0.0",
            "0.0.1",
            "1.0.0-alpha",
            "1.0.0-rc.1",
            "1.0.0-rc.2",
            "1.0.0-rc.10",
            "1.0.0",
            "1.0.0+b1",
            "1.0.0+b2",
            "1.0.1",
            "1.9.0",
            "1.10.0",
            "2.0.0",
            "18446744073709551615.18446744073709551615.18446744073709551615",
        ]
        .map(version);
        for pair in ascending.windows(2) {
            assert!(pair[0] < pair[1], "{} < {}", pair[0], pair[1]);
        }
        let root = tempfile::tempdir().unwrap();
        for version in &ascending {
            fs::create_dir(root.path().join(folder_name(version))).unwrap();
        }
        let next = |current: &str| {
            let next = next_in(root.path(), &version(current)).unwrap();
            next.map(|version| version.to_string())
        };
        let previous = |current: &str| previous(&ascending, &version(current)).map(Version::to_string);
        assert_eq!(next("1.0.0").as_deref(), Some("1.0.0+b1"));
        assert_eq!(next("1.9.0").as_deref(), Some("1.10.0"));
        assert_eq!(next("1.2.3").as_deref(), Some("1.9.0"));
        assert_eq!(next("2.0.0"), None, "the highest triple is nobody's next");
        assert_eq!(previous("1.10.0").as_deref(), Some("1.9.0"));
        assert_eq!(previous("1.5.0").as_deref(), Some("1.0.1"));
        assert_eq!(previous("1.0.0").as_deref(), Some("1.0.0-rc.10"));
        assert_eq!(previous("0.0.1"), None, "0.0.0 is nobody's previous");
    }

    #[test]
    fn casper_w18_only_folders_with_the_versions_own_name_count() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for name in [
            "1_0_0",
            "1.0.0",
            "2.0.0",
            "1_5_0-rc_1",
            "network_configs",
            "casper-visor",
        ] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("3_0_0"), "a file").unwrap();
        symlink("1_0_0", path("4_0_0")).unwrap();
        symlink("nowhere", path("5_0_0")).unwrap();
        fs::create_dir(root.path().join(OsStr::from_bytes(b"6_0_\xff"))).unwrap();
        let found = discover(root.path()).unwrap();
        let versions: Vec<String> = found.versions.iter().map(Version::to_string).collect();
        assert_eq!(versions, ["1.0.0", "1.5.0-rc.1", "4.0.0"]);
        let misnamed: Vec<_> = found.misnamed.into_iter().collect();
        assert_eq!(misnamed, [(version("2.0.0"), "2.0.0".to_owned())]);
        assert!(discover(&path("nowhere")).is_err());
        // The next one is sought by the same rule.
        let mut current = version("0.0.0");
        for expected in found.versions {
            current = next_in(root.path(), &current).unwrap().unwrap();
            assert_eq!(current, expected);
        }
        assert_eq!(next_in(root.path(), &current).unwrap(), None);
        assert!(next_in(&path("nowhere"), &current).is_err());
    }
}
