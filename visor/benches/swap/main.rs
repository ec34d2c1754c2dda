//! What stands between an old version's exit and the new one's first instruction: `cargo bench -p visor --bench swap`.
//!
//! The same node that does nothing is exchanged again and again: by a bare loop of fork, exec and wait; by visor with its journal on
//! the disk, which is told by node.v1 as a real node tells it; by visor in the place of Vega's visor and of Casper's launcher; and by the
//! programs that visor replaces, where their paths are in COSMOVISOR, VEGAVISOR and CASPER_NODE_LAUNCHER. The node takes the system's
//! monotonic clock as its first act and as its last. Everything in one run, so that the ratios mean something.

mod native;
mod peer;
mod timeline;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Parser;

use crate::timeline::{Row, gaps, milliseconds};

#[derive(Debug, Parser)]
struct Options {
    /// Exchanges by the bare loop, and by visor
    #[arg(long, default_value_t = 1_000)]
    swaps: usize,
    /// Exchanges by a peer whose node ends by itself
    #[arg(long, default_value_t = 300)]
    peer_swaps: usize,
    /// Exchanges by a peer that waits before it acts
    #[arg(long, default_value_t = 25)]
    slow_swaps: usize,
    /// Exchanges on hosts of Casper's launcher
    #[arg(long, default_value_t = 100)]
    casper_swaps: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
fn main() -> Result<()> {
    let options = Options::parse();
    // On the disk of the build, because a journal in memory would cost nothing.
    let dir = tempfile::Builder::new()
        .prefix("swap")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let node = PathBuf::from(env!("CARGO_BIN_EXE_idle-node"));
    let bare = peer::bare(&dir.path().join("bare.log"), &node, options.swaps)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let ours = runtime.block_on(native::ours(&dir.path().join("v"), &node, options.swaps))?;
    let mut rows = vec![
        Row::new(
            "fork, exec and wait in a bare loop: exit to first instruction",
            bare,
        ),
        Row::new("visor: exit to first instruction", ours.exit_to_start),
        Row::new("visor: ready reported to first instruction", ours.ready_to_start),
    ];
    // The table is told also when one of them fails, and then the failure.
    let mut failures = Vec::new();
    for others in [vega, casper, cosmos] {
        others(dir.path(), &node, &options, &mut rows).unwrap_or_else(|error| failures.push(error));
    }
    let unit = rows[0].at(0.5);
    println!("| what | swaps | median | p99 | longest | median in bare loops |");
    println!("|---|---|---|---|---|---|");
    for row in &rows {
        println!(
            "| {} | {} | {} | {} | {} | {:.2} |",
            row.what,
            row.times.len(),
            milliseconds(row.at(0.5)),
            milliseconds(row.at(0.99)),
            milliseconds(row.at(1.0)),
            row.at(0.5) as f64 / unit as f64,
        );
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// Visor, and what it replaces where that is there, each under the name that it is called by.
fn vega(dir: &Path, node: &Path, options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    let ours = dir.join("vegavisor");
    peer::link(Path::new(env!("CARGO_BIN_EXE_visor")), &ours)?;
    let swaps = options.slow_swaps;
    rows.push(Row::new(
        "visor as vegavisor: exit to first instruction",
        peer::vegavisor(&dir.join("vega-ours"), &ours, node, swaps)?,
    ));
    if let Some(program) = std::env::var_os("VEGAVISOR") {
        rows.push(Row::new(
            "Vega Visor: exit to first instruction",
            peer::vegavisor(&dir.join("vega-peer"), program.as_ref(), node, swaps)?,
        ));
    }
    Ok(())
}

fn casper(dir: &Path, node: &Path, options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    let ours = dir.join("casper-node-launcher");
    peer::link(Path::new(env!("CARGO_BIN_EXE_visor")), &ours)?;
    let swaps = options.casper_swaps;
    rows.push(Row::new(
        "fork, exec and wait in a bare loop, migrate-data between the nodes: exit to first instruction",
        peer::bare_with_migration(&dir.join("bare-twice.log"), node, options.swaps)?,
    ));
    rows.push(Row::new(
        "the same bare loop, each node ended after half a second: exit to first instruction",
        peer::bare_with_rest_and_migration(&dir.join("bare-rested.log"), node, swaps)?,
    ));
    rows.push(Row::new(
        "visor as casper-node-launcher, migrate-data between the nodes: exit to first instruction",
        peer::casper_launcher(&dir.join("casper-ours"), &ours, node, swaps)?,
    ));
    if let Some(program) = std::env::var_os("CASPER_NODE_LAUNCHER") {
        rows.push(Row::new(
            "casper-node-launcher, migrate-data between the nodes: exit to first instruction",
            peer::casper_launcher(&dir.join("casper-peer"), program.as_ref(), node, swaps)?,
        ));
    }
    Ok(())
}

fn cosmos(dir: &Path, node: &Path, options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    let Some(peer) = std::env::var_os("COSMOVISOR") else {
        return Ok(());
    };
    let run = |what: &str, swaps| peer::cosmovisor(&dir.join(what), peer.as_ref(), node, what, swaps);
    rows.push(Row::new(
        "cosmovisor, the node ends by itself, no backup: exit to first instruction",
        gaps(&run("leave", options.peer_swaps)?, "exit"),
    ));
    rows.push(Row::new(
        "cosmovisor, the node stays until it is killed: upgrade announced to first instruction",
        gaps(&run("stay", options.slow_swaps)?, "ready"),
    ));
    Ok(())
}
