//! What the tests want of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;

use crate::world::Role;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Behaviour {
    /// Milliseconds between blocks; 10 when 0.
    block_ms: u64,
    /// The chain stands still.
    paused: bool,
    /// Versions that make no blocks.
    stall: Vec<String>,
    pub(crate) upgrades: Vec<Upgrade>,
    /// The core sends its blocks to a data node, and needs it.
    pub(crate) with_data_node: bool,
    /// A core whose data node is gone waits for its end. The real one panics.
    pub(crate) survives_data_node: bool,
    /// Blocks between snapshots, and between the data node's segments; 10 when 0.
    snapshot_every: u64,
    /// A segment is published so many blocks after its last.
    pub(crate) segment_lag: u64,
    /// Versions of the core that never open their socket.
    pub(crate) hang_in_start: Vec<String>,
    /// Versions of the core that exit at start, with their code.
    pub(crate) exit_at_start: BTreeMap<String, u8>,
    /// The same of the data node.
    pub(crate) data_exit_at_start: BTreeMap<String, u8>,
    /// Processes that exit when they have a new block of this height.
    exits: Vec<Exit>,
    ignore_sigterm: Vec<Role>,
    /// How long an orderly end takes.
    slow_end_ms: BTreeMap<Role, u64>,
    /// Roles that start a helper in a session of its own, which ignores SIGTERM.
    pub(crate) helpers: Vec<Role>,
    pub(crate) rpc: Rpc,
    /// Every question that the admin RPC is asked stands in the log.
    pub(crate) log_questions: bool,
    /// The release that the admin RPC shows in the place of the accepted one.
    pub(crate) shown_tag: Option<String>,
    pub(crate) tendermint: Tendermint,
    pub(crate) crash_at_halt: CrashAtHalt,
    /// The data node never says that it is ready for an upgrade.
    pub(crate) data_never_ready: bool,
    pub(crate) segments: Segments,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upgrade {
    pub(crate) tag: String,
    pub(crate) height: u64,
    /// The first block in which it has enough votes.
    #[serde(default)]
    pub(crate) from: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exit {
    role: Role,
    height: u64,
    code: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rpc {
    #[default]
    Answers,
    /// Accepts, reads, and never says a word.
    Silent,
    /// Says what is no JSON.
    Garbage,
    /// Ends each connection at once.
    Closes,
    /// An HTTP error.
    Refuses,
    /// An error in JSON-RPC's words.
    Fails,
    NoResult,
    /// Answers with another id than it was asked with.
    OtherId,
    /// Ready, but no word of which release.
    ReadyForNothing,
    /// An answer that does not end.
    Endless,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tendermint {
    #[default]
    Answers,
    Silent,
    Garbage,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CrashAtHalt {
    #[default]
    Never,
    /// Before the data node is told of it, and the admin RPC says a word.
    BeforeReady,
    /// When the data node is ready for it, before the admin RPC says a word.
    Unseen,
    /// As soon as somebody has been told.
    WhenSeen,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Segments {
    #[default]
    Answers,
    None,
    Fails,
    Garbage,
    Hangs,
}

impl Behaviour {
    pub(crate) fn read(world: &Path) -> Result<Self> {
        match fs::read(world.join("behaviour.json")) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) const fn block(&self) -> Duration {
        Duration::from_millis(if self.block_ms == 0 { 10 } else { self.block_ms })
    }

    pub(crate) const fn interval(&self) -> u64 {
        if self.snapshot_every == 0 {
            10
        } else {
            self.snapshot_every
        }
    }

    pub(crate) fn stands_still(&self, version: &str) -> bool {
        self.paused || self.stall.iter().any(|stalled| stalled == version)
    }

    /// The upgrade that has enough votes in this block: of several the earliest.
    pub(crate) fn accepted(&self, block: u64) -> Option<&Upgrade> {
        let live = |upgrade: &&Upgrade| upgrade.from <= block && upgrade.height >= block;
        self.upgrades
            .iter()
            .filter(live)
            .min_by_key(|upgrade| upgrade.height)
    }

    pub(crate) fn exit_at(&self, role: Role, height: u64) -> Option<u8> {
        let exit = self
            .exits
            .iter()
            .find(|exit| exit.role == role && exit.height == height)?;
        Some(exit.code)
    }

    pub(crate) fn ignores_sigterm(&self, role: Role) -> bool {
        self.ignore_sigterm.contains(&role)
    }

    pub(crate) fn end_takes(&self, role: Role) -> Duration {
        Duration::from_millis(self.slow_end_ms.get(&role).copied().unwrap_or(0))
    }
}
