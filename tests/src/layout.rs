//! What every network is laid out with: the node's and the wallet's own commands, and edits of their configuration.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::binaries::OLD_VERSION;
use crate::process::run_ok;

/// What `governance init` says about the home that it has made.
#[derive(Debug, Clone)]
pub(crate) struct MadeHome {
    /// Signs blocks; hexadecimal.
    pub(crate) consensus_key: String,
    /// By which other nodes know it.
    pub(crate) peer_id: String,
}

/// What goes into `genesis.json`.
#[derive(Debug)]
pub(crate) struct GenesisFile<'a> {
    pub(crate) chain_id: &'a str,
    pub(crate) min_lead_blocks: u64,
    pub(crate) lock_in_blocks: u64,
    /// `NAME:POWER:GOVERNANCE_KEY:CONSENSUS_KEY` each.
    pub(crate) validators: &'a [String],
}

impl GenesisFile<'_> {
    /// Writes it with `governance genesis`.
    pub(crate) async fn write(&self, node: &Path, path: &Path) -> Result<()> {
        let mut genesis = Command::new(node);
        genesis
            .args(["genesis", "--chain-id", self.chain_id])
            .args(["--initial-version", OLD_VERSION])
            .args(["--min-lead-blocks", &self.min_lead_blocks.to_string()])
            .args(["--lock-in-blocks", &self.lock_in_blocks.to_string()])
            .arg("--output-file")
            .arg(path);
        for validator in self.validators {
            genesis.args(["--validator", validator]);
        }
        run_ok(genesis).await?;
        Ok(())
    }
}

/// A directory that goes when the returned value goes.
pub(crate) fn temporary_root() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("visor-e2e-")
        .tempdir()
        .context("create a temporary directory")
}

/// Makes a node's home.
pub(crate) async fn init_node(node: &Path, home: &Path, moniker: &str) -> Result<MadeHome> {
    let mut init = Command::new(node);
    init.args(["init", "--moniker", moniker, "--output", "json", "--home"])
        .arg(home);
    let said = json(&run_ok(init).await?.stdout)?;
    Ok(MadeHome {
        consensus_key: text(&said, "consensus_key")?,
        peer_id: text(&said, "peer_id")?,
    })
}

/// Creates a key of the wallet in `home` and returns the public key.
pub(crate) async fn create_key(wallet: &Path, home: &Path, name: &str) -> Result<String> {
    let mut create = Command::new(wallet);
    create
        .arg("--home")
        .arg(home)
        .args(["--json", "keys", "create", name]);
    text(&json(&run_ok(create).await?.stdout)?, "public_key")
}

/// Sets keys of a TOML file. An empty section is the top level.
pub(crate) fn edit_toml(
    path: &Path,
    edit: impl FnOnce(&mut dyn FnMut(&str, &str, toml::Value)),
) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let mut table: toml::Table = text
        .parse()
        .with_context(|| format!("parse {}", path.display()))?;
    edit(&mut |section, key, value| {
        if section.is_empty() {
            table.insert(key.to_owned(), value);
        } else if let Some(inner) = table
            .entry(section)
            .or_insert_with(|| toml::Table::new().into())
            .as_table_mut()
        {
            inner.insert(key.to_owned(), value);
        }
    });
    fs::write(path, table.to_string()).with_context(|| format!("write {}", path.display()))
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))
}

fn text(object: &Value, key: &str) -> Result<String> {
    Ok(object
        .get(key)
        .and_then(Value::as_str)
        .with_context(|| format!("no text `{key}` in {object}"))?
        .to_owned())
}
