//! The demo's course: lay out, start, propose, vote, watch, sum up, stop.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use proto::pb::governance::v1::governance_service_client::GovernanceServiceClient;
use proto::pb::governance::v1::{GetProposalRequest, ProposalPhase, get_proposal_request};
use serde_json::Value;
use tokio::task::JoinSet;

use super::options::{DemoOptions, LOCK_IN_BLOCKS, MIN_LEAD_BLOCKS};
use super::scene::{Scene, Tally};
use super::summary::{HostSummary, Outcome, Summary};
use super::view::View;
use crate::binaries::{Binaries, NEW_VERSION, OLD_VERSION};
use crate::cluster::{Cluster, ClusterOptions};
use crate::host::Usage;
use crate::observe::HostView;

/// Blocks past H that must be final on every host.
const BLOCKS_AFTER: u64 = 5;
/// A fresh network has this long for its first blocks.
const FIRST_BLOCKS_LIMIT: Duration = Duration::from_secs(60);
/// Waiting for the end is bounded by this for every block still to come, far above the interval of a healthy network.
const LIMIT_PER_BLOCK: Duration = Duration::from_secs(3);

/// Runs the whole demo and stops everything it started, however it ends.
///
/// # Errors
/// When the outcome is not the one that the votes imply, hosts disagree on a state root, or a part fails.
pub async fn run(options: &DemoOptions, view: &mut View) -> Result<Summary> {
    let binaries = if options.no_build {
        Binaries::built()?
    } else {
        view.line("building the node twice (1.0.0 and 1.1.0), the visor and the wallet; the first time takes minutes");
        tokio::task::spawn_blocking(Binaries::build)
            .await
            .context("build")??
    };
    let cluster_options = ClusterOptions {
        validators: options.validators.into(),
        home: options.home.clone(),
        min_lead_blocks: MIN_LEAD_BLOCKS,
        lock_in_blocks: LOCK_IN_BLOCKS,
        visor_config: Vec::new(),
    };
    let mut cluster = Cluster::lay_out(&binaries, &cluster_options).await?;
    view.line(&format!(
        "chain {}: {} hosts laid out in {}",
        cluster.chain_id(),
        options.validators,
        cluster.root().display()
    ));
    let told = tokio::select! {
        told = tell(options, &binaries, &mut cluster, view) => told.map_err(|error| error.context(logs(&cluster))),
        interrupted = interrupt() => interrupted,
    };
    view.finish();
    let stopped = cluster.stop().await;
    let summary = told?;
    stopped?;
    Ok(summary)
}

/// Ends with an error when the user asks to stop.
async fn interrupt() -> Result<Summary> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        asked = tokio::signal::ctrl_c() => asked.context("listen for Ctrl-C")?,
        _ = terminate.recv() => {}
    }
    bail!("interrupted")
}

fn logs(cluster: &Cluster) -> String {
    format!(
        "the demo failed; the last lines of each host:\n{}",
        cluster.log_tails(15)
    )
}

async fn tell(
    options: &DemoOptions,
    binaries: &Binaries,
    cluster: &mut Cluster,
    view: &mut View,
) -> Result<Summary> {
    cluster.start()?;
    let observer = cluster.observer();
    let views = observer
        .wait_until("two blocks on every host", FIRST_BLOCKS_LIMIT, |views| {
            views.iter().all(|view| view.height() >= 2)
        })
        .await?;
    let complete_at = max_height(&views);
    view.show(Scene::of(&views, 0, None));

    let upgrade_height = complete_at + options.blocks_ahead;
    let (proposal_id, proposed_at) = propose(cluster, binaries, upgrade_height, view).await?;
    // Each wallet asks its own node, and the proposer's was the first to know.
    observer
        .wait_until("the proposal on every host", FIRST_BLOCKS_LIMIT, |views| {
            views.iter().all(|view| view.height() >= proposed_at)
        })
        .await?;
    let mut votes = JoinSet::new();
    for index in 1..usize::from(options.approvals()) {
        let wallet = cluster.wallet(index)?;
        let id = proposal_id.clone();
        votes.spawn(async move { wallet.run(&["vote", "approve", &id, "--wait"]).await });
    }

    let end = upgrade_height + BLOCKS_AFTER;
    let limit = LIMIT_PER_BLOCK * u32::try_from(end - complete_at).unwrap_or(u32::MAX) + FIRST_BLOCKS_LIMIT;
    let upgraded = options.upgrade_expected();
    let wanted = if upgraded { NEW_VERSION } else { OLD_VERSION };
    let watched = tokio::time::timeout(limit, watch(cluster, &proposal_id, upgrade_height, end, view)).await;
    // A vote that was refused explains a wrong end better than the end does.
    while let Some(vote) = votes.join_next().await {
        vote.context("vote")??;
    }
    let tally = watched.with_context(|| {
        format!(
            "height {end} was not final on every host within {limit:?}; seen: {:?}",
            heights(&observer.views())
        )
    })??;

    // The last statuses of the visors follow the last blocks.
    let views = observer
        .wait_until(
            "every host on the version that the votes imply, its visor at rest",
            FIRST_BLOCKS_LIMIT,
            |views| {
                views.iter().all(|view| {
                    view.version() == wanted
                        && view
                            .visor
                            .as_ref()
                            .is_some_and(|status| !upgraded || status.last_upgrade.is_some())
                })
            },
        )
        .await?;
    check_versions(&views, upgrade_height, end, wanted)?;
    check_roots(&views, end)?;
    let expected_phase = if upgraded {
        ProposalPhase::Executed
    } else {
        ProposalPhase::Expired
    };
    ensure!(
        tally.phase == phase_word(expected_phase),
        "the proposal should have ended as {}, but is {}",
        phase_word(expected_phase),
        tally.phase
    );

    let commits = first_commits(&views);
    let interval = |height: u64| {
        commits
            .get(&(height + 1))
            .zip(commits.get(&height))
            .map(|(next, this)| next.saturating_sub(*this))
    };
    let mut others: Vec<u64> = (complete_at..end)
        .filter(|height| *height != upgrade_height)
        .filter_map(interval)
        .collect();
    others.sort_unstable();
    Ok(Summary {
        schema: 1,
        outcome: if upgraded {
            Outcome::Upgraded
        } else {
            Outcome::Expired
        },
        chain_id: cluster.chain_id().to_owned(),
        from: OLD_VERSION.to_owned(),
        to: NEW_VERSION.to_owned(),
        upgrade_height,
        proposal_id,
        approving_power: tally.approving,
        total_power: tally.total,
        hosts: views
            .iter()
            .zip(cluster.hosts())
            .map(|(view, host)| host_summary(view, upgrade_height, host.visor_usage().unwrap_or_default()))
            .collect(),
        network_gap_ms: interval(upgrade_height).context("no commit times around the upgrade height")?,
        median_block_interval_ms: others
            .get(others.len() / 2)
            .copied()
            .context("no block intervals")?,
    })
}

/// The proposal's id, and the block that it is in.
async fn propose(
    cluster: &Cluster,
    binaries: &Binaries,
    height: u64,
    view: &mut View,
) -> Result<(String, u64)> {
    let artifact = format!("{}={}", platform(), binaries.new_node.display());
    let height = height.to_string();
    let proposed = cluster
        .wallet(0)?
        .run(&[
            "propose",
            "--version",
            NEW_VERSION,
            "--height",
            &height,
            "--artifact",
            &artifact,
            "--wait",
        ])
        .await?;
    let text = |key: &str| {
        proposed
            .get(key)
            .and_then(Value::as_str)
            .with_context(|| format!("no `{key}` in {proposed}"))
    };
    let id = text("proposal_id")?.to_owned();
    let block = proposed
        .get("committed_height")
        .and_then(Value::as_u64)
        .with_context(|| format!("no `committed_height` in {proposed}"))?;
    view.line(&format!(
        "validator-0 proposes {} ({id}) in block {block}",
        text("name")?
    ));
    Ok((id, block))
}

/// This machine, in the words of artifacts.
fn platform() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{arch}", std::env::consts::OS)
}

/// Shows every change until `end` is final on every host; returns the proposal's last tally.
async fn watch(
    cluster: &Cluster,
    proposal_id: &str,
    upgrade_height: u64,
    end: u64,
    view: &mut View,
) -> Result<Tally> {
    let observer = cluster.observer();
    let mut changes = observer.subscribe();
    let mut tally = None;
    let mut asked_at = 0;
    loop {
        let views = changes.borrow_and_update().clone();
        let height = max_height(&views);
        let done = views.iter().all(|view| view.height() >= end);
        if height > asked_at || done {
            // A node that is being swapped does not answer; the others do.
            if let Some(seen) = ask_tally(cluster, proposal_id).await {
                tally = Some(seen);
                asked_at = height;
            }
        }
        view.show(Scene::of(&views, upgrade_height, tally.clone()));
        if done {
            return tally.context("no node told the proposal's tally");
        }
        changes.changed().await.context("the observer has stopped")?;
    }
}

async fn ask_tally(cluster: &Cluster, proposal_id: &str) -> Option<Tally> {
    for host in cluster.hosts() {
        let Ok(mut client) = GovernanceServiceClient::connect(host.rpc_url()).await else {
            continue;
        };
        let request = GetProposalRequest {
            key: Some(get_proposal_request::Key::Name(proposal_id.to_owned())),
        };
        let Some(proposal) = client
            .get_proposal(request)
            .await
            .ok()
            .and_then(|answer| answer.into_inner().proposal)
        else {
            continue;
        };
        let phase = phase_word(proposal.phase());
        let tally = proposal.tally?;
        return Some(Tally {
            approving: tally.approving,
            total: tally.total.parse().ok()?,
            phase,
        });
    }
    None
}

fn phase_word(phase: ProposalPhase) -> String {
    phase
        .as_str_name()
        .trim_start_matches("PROPOSAL_PHASE_")
        .to_owned()
}

fn max_height(views: &[HostView]) -> u64 {
    views.iter().map(HostView::height).max().unwrap_or(0)
}

fn heights(views: &[HostView]) -> Vec<u64> {
    views.iter().map(HostView::height).collect()
}

/// Every block up to H by the old version, every one after it by the wanted one.
fn check_versions(views: &[HostView], upgrade_height: u64, end: u64, wanted: &str) -> Result<()> {
    for view in views {
        for height in 1..=end {
            let block = view
                .blocks
                .get(&height)
                .with_context(|| format!("{} did not report block {height}", view.name))?;
            let expected = if height <= upgrade_height {
                OLD_VERSION
            } else {
                wanted
            };
            ensure!(
                block.version == expected,
                "{} executed block {height} with {}, expected {expected}",
                view.name,
                block.version
            );
        }
    }
    Ok(())
}

fn check_roots(views: &[HostView], end: u64) -> Result<()> {
    for height in 1..=end {
        let roots: BTreeMap<&[u8], &str> = views
            .iter()
            .filter_map(|view| {
                Some((
                    view.blocks.get(&height)?.state_root.as_slice(),
                    view.name.as_str(),
                ))
            })
            .collect();
        ensure!(
            roots.len() == 1,
            "the hosts disagree on the state root of block {height}: {roots:02x?}"
        );
    }
    Ok(())
}

/// When each block was first committed by any host, milliseconds since 1970.
fn first_commits(views: &[HostView]) -> BTreeMap<u64, u64> {
    let mut first = BTreeMap::new();
    for block in views.iter().flat_map(|view| view.blocks.values()) {
        let time = first.entry(block.height).or_insert(block.committed_at_unix_ms);
        *time = block.committed_at_unix_ms.min(*time);
    }
    first
}

fn host_summary(view: &HostView, upgrade_height: u64, visor: Usage) -> HostSummary {
    let last = view
        .visor
        .as_ref()
        .and_then(|status| status.last_upgrade.as_ref());
    let restarts = view.visor.as_ref().map_or(0, |status| status.restarts);
    let root = view
        .blocks
        .get(&(upgrade_height + 1))
        .map(|block| block.state_root.as_slice())
        .unwrap_or_default();
    HostSummary {
        name: view.name.clone(),
        version: view.version().to_owned(),
        node_down_ms: last.map(|upgrade| upgrade.node_down_ms),
        exit_to_exec_us: last.map(|upgrade| upgrade.exit_to_exec_us),
        restarts: last.map_or(restarts, |upgrade| upgrade.restarts.max(restarts)),
        height: view.height(),
        state_root_at_upgrade: root.iter().map(|byte| format!("{byte:02x}")).collect(),
        visor_resident_kib: visor.resident_kib,
        visor_cpu_ms: visor.cpu_ms,
    }
}
