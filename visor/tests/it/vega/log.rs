//! What the core and the data node did, from the log that both of them write.

use std::fs;
use std::path::{Path, PathBuf};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Core,
    DataNode,
}

impl Role {
    pub(crate) const BOTH: [Self; 2] = [Self::Core, Self::DataNode];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::DataNode => "data",
        }
    }
}

/// A line that a process wrote as its first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    /// Its place in the log.
    pub(crate) line: usize,
    pub(crate) pid: i32,
    pub(crate) version: String,
    /// The height of the snapshot that its command line names.
    pub(crate) load: Option<u64>,
    pub(crate) monotonic_us: i64,
    pub(crate) unix_ms: u64,
}

/// The log as it is now.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) lines: Vec<String>,
}

impl Log {
    pub(crate) fn read(world: &Path) -> Self {
        let path: PathBuf = world.join("log");
        let text = fs::read_to_string(path).unwrap_or_default();
        Self {
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    /// The rests of one role's lines that begin with a word, and their places.
    pub(crate) fn said(&self, role: Role, word: &str) -> Vec<(usize, &str)> {
        let begin = format!("{} {word}", role.word());
        self.lines
            .iter()
            .enumerate()
            .filter_map(|(place, line)| Some((place, line.strip_prefix(&begin)?.trim_start())))
            .collect()
    }

    pub(crate) fn starts(&self, role: Role) -> Vec<Start> {
        self.said(role, "start ")
            .into_iter()
            .map(|(line, rest)| {
                let words: Vec<&str> = rest.split(' ').collect();
                Start {
                    line,
                    pid: words[0].parse().unwrap(),
                    version: words[1].to_owned(),
                    load: words[3].parse().ok(),
                    monotonic_us: words[4].parse().unwrap(),
                    unix_ms: words[5].parse().unwrap(),
                }
            })
            .collect()
    }

    /// Versions of the core in the order of its starts.
    pub(crate) fn versions(&self) -> Vec<String> {
        self.starts(Role::Core)
            .into_iter()
            .map(|start| start.version)
            .collect()
    }

    /// With what the processes of a role ended that wrote it: an exit code, or `killed`.
    pub(crate) fn ends(&self, role: Role) -> Vec<&str> {
        self.said(role, "end ")
            .into_iter()
            .map(|(_, rest)| rest.split(' ').nth(1).unwrap())
            .collect()
    }

    /// Never two nodes (VIS-03), and never a version on the wrong side of an upgrade's height.
    pub(crate) fn assert_sane(&self) {
        let wrong = |line: &&String| {
            ["DOUBLE", " past ", " early ", "no-snapshot", "gap:"]
                .iter()
                .any(|word| line.contains(word))
        };
        let found: Vec<&String> = self.lines.iter().filter(wrong).collect();
        assert!(found.is_empty(), "{found:#?} in {:#?}", self.lines);
    }
}
