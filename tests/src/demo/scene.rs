//! What a person watching the demo wants to see at one moment.

use proto::pb::visor::v1::Phase;

use crate::observe::HostView;

/// One moment of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scene {
    /// Highest block seen anywhere.
    pub(crate) height: u64,
    /// H; 0 before there is a proposal.
    pub(crate) upgrade_height: u64,
    pub(crate) tally: Option<Tally>,
    pub(crate) hosts: Vec<HostScene>,
}

/// Voting power for the proposal against the line it must exceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) approving: u64,
    pub(crate) total: u64,
    /// In the contract's words, for example `LOCKED_IN`.
    pub(crate) phase: String,
}

impl Tally {
    /// The least power that exceeds 2/3.
    pub(crate) fn needed(&self) -> u64 {
        self.total * 2 / 3 + 1
    }
}

/// One host at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostScene {
    pub(crate) name: String,
    pub(crate) phase: &'static str,
    pub(crate) version: String,
    pub(crate) height: u64,
}

impl Scene {
    /// The scene that these views show.
    pub(crate) fn of(views: &[HostView], upgrade_height: u64, tally: Option<Tally>) -> Self {
        let hosts = views
            .iter()
            .map(|view| HostScene {
                name: view.name.clone(),
                phase: phase_word(view.phase()),
                version: view.version().to_owned(),
                height: view.height(),
            })
            .collect();
        Self {
            height: views.iter().map(HostView::height).max().unwrap_or(0),
            upgrade_height,
            tally,
            hosts,
        }
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Unspecified => "not seen yet",
        Phase::Running => "running",
        Phase::Staging => "staging",
        Phase::Staged => "staged",
        Phase::Halting => "halting",
        Phase::BackingUp => "backing up",
        Phase::Swapping => "swapping",
        Phase::Migrating => "migrating",
        Phase::Starting => "starting",
        Phase::Probation => "on probation",
        Phase::Retrying => "retrying",
        Phase::RollingBack => "rolling back",
        Phase::RolledBack => "rolled back",
        Phase::Held => "held",
        Phase::Failed => "failed",
        Phase::Stopping => "stopping",
    }
}
