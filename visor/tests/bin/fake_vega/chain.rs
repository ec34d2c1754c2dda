//! What a core keeps on its disk: the height of its block store, its snapshots, and the upgrades that it has halted for. The halt
//! itself is not among it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::world::{World, put};

/// As many as Vega keeps by default.
const SNAPSHOTS: usize = 10;

#[derive(Debug)]
pub(crate) struct Chain {
    folder: PathBuf,
}

impl Chain {
    pub(crate) fn of(world: &World) -> Result<Self> {
        let folder = world.home.join("state");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// The highest block that is stored; it may not have been executed.
    pub(crate) fn store(&self) -> u64 {
        numbers(&self.folder.join("store")).first().copied().unwrap_or(0)
    }

    pub(crate) fn set_store(&self, height: u64) -> Result<()> {
        put(&self.folder.join("store"), &height.to_string())
    }

    /// Heights of the snapshots, in ascending order.
    pub(crate) fn snapshots(&self) -> Vec<u64> {
        numbers(&self.folder.join("snapshots"))
    }

    pub(crate) fn add_snapshot(&self, height: u64) -> Result<()> {
        let mut heights = self.snapshots();
        heights.retain(|found| *found != height);
        heights.push(height);
        heights.sort_unstable();
        let first = heights.len().saturating_sub(SNAPSHOTS);
        self.write_snapshots(&heights[first..])
    }

    /// Loading an older snapshot throws away what is newer.
    pub(crate) fn discard_above(&self, height: u64) -> Result<()> {
        let mut heights = self.snapshots();
        heights.retain(|found| *found <= height);
        self.write_snapshots(&heights)
    }

    fn write_snapshots(&self, heights: &[u64]) -> Result<()> {
        let lines: Vec<String> = heights.iter().map(u64::to_string).collect();
        put(&self.folder.join("snapshots"), &lines.join("\n"))
    }

    /// The upgrades that any version has halted for, `(height, tag)`.
    pub(crate) fn upgrades(&self) -> Vec<(u64, String)> {
        let text = fs::read_to_string(self.folder.join("upgrades")).unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let (height, tag) = line.split_once(' ')?;
                Some((height.parse().ok()?, tag.to_owned()))
            })
            .collect()
    }

    pub(crate) fn add_upgrade(&self, height: u64, tag: &str) -> Result<()> {
        let mut upgrades = self.upgrades();
        upgrades.retain(|(found, _)| *found != height);
        upgrades.push((height, tag.to_owned()));
        let lines: Vec<String> = upgrades
            .iter()
            .map(|(height, tag)| format!("{height} {tag}"))
            .collect();
        put(&self.folder.join("upgrades"), &lines.join("\n"))
    }
}

/// A file of numbers, one in a line; empty when it is not there.
pub(crate) fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}
