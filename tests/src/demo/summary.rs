//! What the demo reports at its end.

use std::fmt;

use serde::Serialize;

/// How the proposal ended on every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every host executes the new version.
    Upgraded,
    /// The votes did not exceed 2/3; every host still executes the old version, past the height.
    Expired,
}

/// The demo's result: schema 1 of `cargo demo -- --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Version of this object's form.
    pub schema: u32,
    /// How the proposal ended.
    pub outcome: Outcome,
    /// The chain's id.
    pub chain_id: String,
    /// Version before.
    pub from: String,
    /// Version proposed.
    pub to: String,
    /// H, the last block of the old version.
    pub upgrade_height: u64,
    /// Hexadecimal.
    pub proposal_id: String,
    /// Voting power that approved.
    pub approving_power: u64,
    /// All voting power.
    pub total_power: u64,
    /// Every host.
    pub hosts: Vec<HostSummary>,
    /// From the first commit of block H anywhere to the first commit of block H + 1 anywhere, milliseconds.
    pub network_gap_ms: u64,
    /// Median of the same measure over the other blocks since the network was complete, milliseconds.
    pub median_block_interval_ms: u64,
}

/// One host's part of the result.
#[derive(Debug, Clone, Serialize)]
pub struct HostSummary {
    /// `host-0`, `host-1`, and so on.
    pub name: String,
    /// The version that executed its newest block.
    pub version: String,
    /// Old process gone to first report of the new process, milliseconds; null when nothing was swapped.
    pub node_down_ms: Option<u64>,
    /// The visor's own share: exit seen to exec of the new binary done, microseconds; null when nothing was swapped.
    pub exit_to_exec_us: Option<u64>,
    /// Automatic restarts.
    pub restarts: u32,
    /// Its newest block.
    pub height: u64,
    /// State root after block H + 1, hexadecimal.
    pub state_root_at_upgrade: String,
    /// Resident memory of its visor at the end, KiB.
    pub visor_resident_kib: u64,
    /// Processor time that its visor has used in all, milliseconds.
    pub visor_cpu_ms: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.outcome {
            Outcome::Upgraded => format!(
                "upgraded {} -> {} at height {}",
                self.from, self.to, self.upgrade_height
            ),
            Outcome::Expired => {
                format!(
                    "proposal {} expired; the chain went on past height {} with {}",
                    self.to, self.upgrade_height, self.from
                )
            }
        };
        writeln!(
            f,
            "{what}: {} of {} voting power approved",
            self.approving_power, self.total_power
        )?;
        writeln!(
            f,
            "{:<9} {:<8} {:>6} {:>8} {:>12} {:>13}  state root at H+1",
            "host", "version", "height", "restarts", "node down", "exit to exec"
        )?;
        for host in &self.hosts {
            let down = host
                .node_down_ms
                .map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
            let exec = host
                .exit_to_exec_us
                .map_or_else(|| "-".to_owned(), |us| format!("{us} us"));
            let root: String = host.state_root_at_upgrade.chars().take(16).collect();
            writeln!(
                f,
                "{:<9} {:<8} {:>6} {:>8} {:>12} {:>13}  {root}",
                host.name, host.version, host.height, host.restarts, down, exec
            )?;
        }
        write!(
            f,
            "network gap at H: {} ms; median block interval: {} ms",
            self.network_gap_ms, self.median_block_interval_ms
        )
    }
}
