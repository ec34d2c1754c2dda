//! What has to be found out before a version starts: that both programs are of that version, at which height the data node is, and
//! whether the core has halted for an upgrade without having been seen (W-01).
//!
//! Nothing of it runs between an exit and the exec that answers it when the programs were asked at staging time (VIS-05): their
//! answer is kept for as long as the files are the same. Where core and data node are is asked only when it matters.

mod segment;
mod snapshots;
#[cfg(test)]
mod tests;
mod version;

use std::path::{Path, PathBuf};
use std::time::Duration;

use visor_planner::UpgradePlan;

use self::segment::Query;
use self::snapshots::Snapshots;
pub(super) use self::version::{Seen, Versions};
use super::args::{self, SNAPSHOT_HEIGHT};
use super::rpc::is_release_tag;
use super::run_config::RunConfig;
use crate::adapter::{BoxFuture, FoundOut, Start};

/// The data node's program opens a database to find its newest segment (W-41).
const SEGMENT: Duration = Duration::from_secs(60);
/// So does the core's, to list its snapshots.
const SNAPSHOTS: Duration = Duration::from_secs(60);

/// How long the helpers may take (W-41).
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// One program, to say its version.
    version: Duration,
    /// The data node's program, to find its newest segment.
    segment: Duration,
    /// The core's program, to list its snapshots.
    snapshots: Duration,
}

impl Limits {
    /// With the operator's limit for a program's version.
    pub(super) const fn new(version: Duration) -> Self {
        Self {
            version,
            segment: SEGMENT,
            snapshots: SNAPSHOTS,
        }
    }
}

/// What has to be found out before this start; `None`: nothing. The arguments that it finds are for [`snapshot_height`]. When it fails, the
/// start has failed.
pub(super) fn before_start(
    start: &Start,
    folder: &Path,
    run: &RunConfig,
    versions: &Versions,
    limits: Limits,
) -> Option<BoxFuture<'static, Result<FoundOut, String>>> {
    let tag = start.version.clone();
    let mut unchecked: Vec<PathBuf> = Vec::new();
    // The folder that a home begins with has no tag that its programs could be held against.
    if is_release_tag(&tag) {
        let programs = run.programs(folder).into_iter().map(|(_, program)| program);
        unchecked.extend(programs.filter(|program| !versions.is(program, &tag)));
        // One program may be both.
        unchecked.dedup();
    }
    let query = query(start, folder, run);
    let halt = unseen_halt(start, folder, run);
    if unchecked.is_empty() && query.is_none() && halt.is_none() {
        return None;
    }
    let versions = versions.clone();
    Some(Box::pin(async move {
        for program in &unchecked {
            let checked = versions.check(program, &tag, limits.version).await;
            checked.map_err(|error| crate::cli::chain(&error))?;
        }
        let newest = match query {
            Some(query) => query.newest(limits.segment).await,
            None => Ok(None),
        };
        let newest = newest.map_err(|error| crate::cli::chain(&error))?;
        if let Some((plan, snapshots)) = halt
            && has_halted(&plan, newest, &snapshots, limits.snapshots).await
        {
            return Ok(FoundOut::HasHalted);
        }
        Ok(FoundOut::Arguments(match newest {
            Some(height) => vec![SNAPSHOT_HEIGHT.to_owned(), height.to_string()],
            None => Vec::new(),
        }))
    }))
}

/// The upgrade for which the core may have halted, and whom to ask where it would begin.
fn unseen_halt(start: &Start, folder: &Path, run: &RunConfig) -> Option<(UpgradePlan, Snapshots)> {
    let plan = start.unseen_halt.clone()?;
    let pinned = args::value(&run.vega.args, SNAPSHOT_HEIGHT).and_then(|height| height.parse::<i64>().ok());
    // From below H it comes to H anew, and halts again.
    let is_below = pinned.is_some_and(|height| height > 0 && height.unsigned_abs() < plan.height.0);
    (!is_below).then(|| (plan, Snapshots::new(run.program(folder), &run.vega.args)))
}

/// Whether the core would begin at H, where it takes a snapshot at the very end of its last block: it would know nothing of its halt, and
/// run on. From below it comes to H anew and halts again; above H it has gone on before, because the chain wanted no upgrade any more.
async fn has_halted(
    plan: &UpgradePlan,
    data_node: Option<u64>,
    snapshots: &Snapshots,
    limit: Duration,
) -> bool {
    // It begins where the data node is.
    if let Some(height) = data_node {
        return height == plan.height.0;
    }
    match snapshots.newest(limit).await {
        Ok(newest) => newest == Some(plan.height.0),
        Err(error) => {
            tracing::error!(
                upgrade.version = %plan.version,
                upgrade.height = plan.height.0,
                error = %crate::cli::chain(&error),
                "nobody can say whether the core has halted for its upgrade since it was last heard; it is started as it is, and \
                 would run on past that height if it had"
            );
            false
        }
    }
}

/// The core must not begin ahead of its data node, or the pair can never meet again: so at each start that is not the first after a
/// halt, when both are at H, the data node says where it is (W-37).
fn query(start: &Start, folder: &Path, run: &RunConfig) -> Option<Query> {
    let data_node = run.data_node.as_ref()?;
    // What the operator pinned counts for every start but the upgrade's (W-55).
    let is_pinned = args::value(&run.vega.args, SNAPSHOT_HEIGHT).is_some();
    if start.after_halt.is_some() || is_pinned {
        return None;
    }
    Some(Query::new(folder.join(&data_node.path), &data_node.args))
}

/// At which snapshot the core is to begin, whatever the run configuration says; `None`: as it says, else at the newest.
///
/// H only at the first start after the halt: a core that has executed a block since loses what it has stored when it begins at H
/// again (W-03).
pub(super) fn snapshot_height(start: &Start, added: &[String]) -> Option<u64> {
    match start.after_halt {
        Some(height) => Some(height.0),
        None => args::value(added, SNAPSHOT_HEIGHT)?.parse().ok(),
    }
}
