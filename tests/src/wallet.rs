//! One validator's desk: the real `wallet` binary with its key.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process::{CommandOutput, run, run_ok};

/// A validator's wallet, bound to one node and one chain.
#[derive(Debug, Clone)]
pub struct Wallet {
    pub(crate) binary: PathBuf,
    pub(crate) home: PathBuf,
    pub(crate) key: String,
    pub(crate) node: String,
    pub(crate) chain_id: String,
}

impl Wallet {
    /// The same wallet, pinned to another chain.
    #[must_use]
    pub fn pinned_to(mut self, chain_id: &str) -> Self {
        chain_id.clone_into(&mut self.chain_id);
        self
    }

    /// Runs `wallet --json --yes ARGS`, whatever its exit code.
    ///
    /// # Errors
    /// When the binary cannot be run.
    pub async fn try_run(&self, args: &[&str]) -> Result<CommandOutput> {
        run(self.command(args)).await
    }

    /// Runs `wallet --json --yes ARGS` and returns the object it prints.
    ///
    /// # Errors
    /// When it does not exit 0, or prints something else.
    pub async fn run(&self, args: &[&str]) -> Result<Value> {
        let output = run_ok(self.command(args)).await?;
        serde_json::from_str(&output.stdout)
            .with_context(|| format!("wallet {args:?} printed no JSON: {}", output.stdout))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("--home")
            .arg(&self.home)
            .args([
                "--key",
                &self.key,
                "--node",
                &self.node,
                "--chain-id",
                &self.chain_id,
                "--json",
                "--yes",
            ])
            .args(args)
            .env_remove("WALLET_HOME")
            .env_remove("WALLET_NODE")
            .env_remove("WALLET_KEY");
        command
    }
}
