//! Which release a program is, by its own word, and for how long that word holds.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::process::{ProbeError, run_to_end};

/// A real answer has some 100 bytes.
const MAX_OUTPUT: u64 = 64 << 10;
/// Two programs of each version that a host ever has at once.
const MAX_KNOWN: usize = 64;
/// Another process that was being forked while the file was written may hold it open for a moment.
const BUSY_RETRIES: u32 = 200;
const BUSY_DELAY: Duration = Duration::from_millis(10);

/// What programs have said of themselves; one for the whole adapter.
///
/// A program is known by its inode, size and time of change, so that it keeps its name when its folder is renamed, and loses it
/// when anything else is put in its place.
#[derive(Debug, Clone, Default)]
pub(in crate::adapter::vega) struct Versions {
    known: Arc<Mutex<BTreeMap<(u64, u64), Known>>>,
}

#[derive(Debug)]
struct Known {
    size: u64,
    changed: (i64, i64),
    version: String,
}

/// Why a program is not the version that it should be.
#[derive(Debug, thiserror::Error)]
pub(in crate::adapter::vega) enum VersionCheckError {
    /// It cannot be looked at.
    #[error("check the version of {program}", program = program.display())]
    Look {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It gives no answer.
    #[error("ask {program} for its version (version --output json)", program = program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: ProbeError,
    },
    /// Its answer is none.
    #[error(
        "ask {program} for its version (version --output json): expected {{\"version\":\"...\",\"hash\":\"...\"}}, found {found:?}",
        program = program.display()
    )]
    Answer {
        /// The program.
        program: PathBuf,
        /// The beginning of what it said.
        found: String,
    },
    /// It is another.
    #[error(
        "use {program}: expected a program of version {expected}, found one of {found}; put the right one in its place",
        program = program.display()
    )]
    Other {
        /// The program.
        program: PathBuf,
        /// The tag, byte for byte.
        expected: String,
        /// What it says that it is.
        found: String,
    },
}

impl Versions {
    /// Whether the file has already said that it is this version, and has not changed since.
    pub(in crate::adapter::vega) fn is(&self, program: &Path, tag: &str) -> bool {
        self.of(Seen::of(program)).is_some_and(|version| version == tag)
    }

    /// Makes sure that a program is just this version, `v` included: by what is known of the file, else by asking it.
    ///
    /// # Errors
    /// When it is another, or gives no answer in time.
    pub(in crate::adapter::vega) async fn check(
        &self,
        program: &Path,
        tag: &str,
        limit: Duration,
    ) -> Result<(), VersionCheckError> {
        let look = || {
            fs::metadata(program).map_err(|source| VersionCheckError::Look {
                program: program.to_path_buf(),
                source,
            })
        };
        let before = Seen(Some(stamp(&look()?)));
        let version = match self.of(before) {
            Some(version) => version,
            None => {
                let version = ask(program, limit).await?;
                self.learn(program, before, &version);
                version
            }
        };
        if version == tag {
            return Ok(());
        }
        Err(VersionCheckError::Other {
            program: program.to_path_buf(),
            expected: tag.to_owned(),
            found: version,
        })
    }

    /// Keeps what a program has said that was asked by somebody else; `seen` is from before the question. What was replaced
    /// meanwhile is not known.
    pub(in crate::adapter::vega) fn learn(&self, program: &Path, seen: Seen, version: &str) {
        let (Some((inode, size, changed)), Seen(now)) = (seen.0, Seen::of(program)) else {
            return;
        };
        if seen.0 != now {
            return;
        }
        let mut known = self.lock();
        // Far more than a host has: what is forgotten is asked again.
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(
            inode,
            Known {
                size,
                changed,
                version: version.to_owned(),
            },
        );
    }

    fn of(&self, seen: Seen) -> Option<String> {
        let (inode, size, changed) = seen.0?;
        let known = self.lock();
        let found = known.get(&inode)?;
        (found.size == size && found.changed == changed).then(|| found.version.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(u64, u64), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file as it was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::adapter::vega) struct Seen(Option<Stamp>);

impl Seen {
    /// Now.
    pub(in crate::adapter::vega) fn of(program: &Path) -> Self {
        Self(fs::metadata(program).ok().as_ref().map(stamp))
    }
}

/// Device and inode, size, time of change.
type Stamp = ((u64, u64), u64, (i64, i64));

fn stamp(file: &Metadata) -> Stamp {
    (
        (file.dev(), file.ino()),
        file.size(),
        (file.mtime(), file.mtime_nsec()),
    )
}

async fn ask(program: &Path, limit: Duration) -> Result<String, VersionCheckError> {
    let mut attempt = 0;
    let ended = loop {
        match run_to_end(program, &["version", "--output", "json"], limit, MAX_OUTPUT).await {
            Err(ProbeError::Io { source })
                if source.kind() == io::ErrorKind::ExecutableFileBusy && attempt < BUSY_RETRIES =>
            {
                attempt += 1;
                tokio::time::sleep(BUSY_DELAY).await;
            }
            ended => break ended,
        }
    };
    let failed = |source| VersionCheckError::Run {
        program: program.to_path_buf(),
        source,
    };
    let ended = ended.map_err(failed)?;
    if !ended.status.success() {
        return Err(failed(ProbeError::Failed {
            status: ended.status.to_string(),
        }));
    }
    let answer: Option<Value> = super::segment::json_with(&ended.stdout, "version");
    match answer.as_ref().and_then(|answer| answer["version"].as_str()) {
        Some(version) => Ok(version.to_owned()),
        None => Err(VersionCheckError::Answer {
            program: program.to_path_buf(),
            found: super::segment::beginning(&ended.stdout),
        }),
    }
}
