//! What is true of every state. Run after every step in tests, and by whoever loads a state from elsewhere.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use crate::bytes::ValidatorId;
use crate::proposal::{Phase, Proposal, Subject};
use crate::state::{MAX_ENDED_PROPOSALS, MAX_LIVE_PROPOSALS, MAX_LIVE_PROPOSALS_PER_PROPOSER, State};
use crate::tally::{Outcome, Tally};
use crate::vote::Choice;

/// Something that is never true of a state which grew by the rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {proposal}: {text}")]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// The proposal's id, or "state".
    pub proposal: String,
    /// What is wrong.
    pub text: &'static str,
}

/// Everything that is wrong with `state`; empty for every state that the rules can produce.
#[must_use]
pub fn violations(state: &State) -> Vec<Violation> {
    let mut found = Findings(Vec::new());
    check_state(state, &mut found);
    for (id, proposal) in &state.live {
        let mut claim = |rule, holds, text| found.claim(rule, holds, &proposal.id.to_string(), text);
        claim(
            "GOV-04",
            *id == proposal.id,
            "a live proposal is filed under another id",
        );
        claim(
            "GOV-10",
            proposal.phase.is_live(),
            "a live proposal has an ended phase",
        );
        claim(
            "GOV-10",
            proposal.ended_height.is_none(),
            "a live proposal has an end",
        );
        check_live(state, proposal, &mut claim);
    }
    for proposal in &state.ended {
        let mut claim = |rule, holds, text| found.claim(rule, holds, &proposal.id.to_string(), text);
        claim(
            "GOV-10",
            !proposal.phase.is_live(),
            "an ended proposal has a live phase",
        );
        let ended_in_time = proposal.ended_height.is_some_and(|height| height <= state.height);
        claim(
            "GOV-10",
            ended_in_time,
            "an ended proposal ends in the future or never",
        );
        claim(
            "GOV-04",
            !state.live.contains_key(&proposal.id),
            "a proposal is both live and ended",
        );
    }
    for proposal in state.live.values().chain(&state.ended) {
        let mut claim = |rule, holds, text| found.claim(rule, holds, &proposal.id.to_string(), text);
        check_any(state, proposal, &mut claim);
    }
    found.0
}

fn check_state(state: &State, found: &mut Findings) {
    let mut claim = |rule, holds, text| found.claim(rule, holds, "state", text);
    let upgrades = || {
        state
            .live
            .values()
            .filter(|proposal| proposal.upgrade().is_some())
    };
    claim(
        "GOV-07",
        state.parameters.validate().is_ok(),
        "the parameters are illegal",
    );
    claim(
        "GOV-14",
        upgrades().count() <= MAX_LIVE_PROPOSALS,
        "too many live proposals",
    );
    claim(
        "GOV-14",
        state.ended.len() <= MAX_ENDED_PROPOSALS,
        "too many ended proposals",
    );
    let mut per_proposer = BTreeMap::<ValidatorId, usize>::new();
    for proposal in upgrades() {
        let count = per_proposer.entry(proposal.proposer).or_default();
        *count = count.saturating_add(1);
    }
    let fair = per_proposer
        .values()
        .all(|count| *count <= MAX_LIVE_PROPOSALS_PER_PROPOSER);
    claim("GOV-14", fair, "a validator has too many live proposals");
    let mut approvers = BTreeSet::new();
    let approves_once = upgrades()
        .filter(|proposal| proposal.phase.is_open())
        .all(|proposal| {
            let approving = proposal
                .ballots
                .iter()
                .filter(|(_, ballot)| ballot.choice == Choice::Approve);
            let mut fresh = true;
            for (voter, _) in approving {
                fresh &= approvers.insert(*voter);
            }
            fresh
        });
    claim("GOV-06", approves_once, "a validator approves two open upgrades");
    let ended: BTreeSet<_> = state.ended.iter().map(|proposal| proposal.id).collect();
    claim(
        "GOV-04",
        ended.len() == state.ended.len(),
        "a proposal has ended twice",
    );
    let halted_at = state.halt().map(|halt| halt.height);
    claim(
        "GOV-09",
        halted_at.is_none_or(|height| height == state.height),
        "the halt is at another height",
    );
    let newer = *state.next_block_version() > state.version;
    claim(
        "GOV-03",
        halted_at.is_some() == newer,
        "the next block's version does not fit the halt",
    );
}

fn check_live(state: &State, proposal: &Proposal, claim: &mut impl FnMut(&'static str, bool, &'static str)) {
    if let Some(upgrade) = proposal.upgrade() {
        claim(
            "GOV-03",
            upgrade.version > state.version,
            "a live upgrade does not rise above the running version",
        );
        claim(
            "GOV-09",
            upgrade.height >= state.height,
            "a live upgrade's height has passed",
        );
    }
    if let Subject::Cancel { target } = &proposal.subject {
        let locked_in = state
            .live
            .get(target)
            .is_some_and(|target| target.phase == Phase::LockedIn);
        claim("GOV-11", locked_in, "a live cancel has no locked-in target");
        claim(
            "GOV-11",
            proposal.phase != Phase::LockedIn,
            "a cancel is locked in instead of carried out",
        );
    }
    if proposal.phase.is_open() {
        let closes_later = proposal.votes_close_height > state.height
            || (state.block_is_open && proposal.votes_close_height == state.height);
        claim("GOV-10", closes_later, "votes count after the latch");
        let count = Tally::count(&proposal.ballots, &state.validators, &state.parameters);
        claim("GOV-07", proposal.tally == count, "the tally is not the recount");
        let meant = match count.outcome() {
            Outcome::Approved => Some(Phase::Approved),
            Outcome::Open => Some(Phase::Voting),
            Outcome::Impossible => None,
        };
        claim(
            "GOV-08",
            meant == Some(proposal.phase),
            "the phase is not what the tally means",
        );
    } else {
        claim(
            "GOV-10",
            proposal.votes_close_height <= state.height,
            "latched before its time",
        );
        claim(
            "GOV-07",
            proposal.tally.outcome() == Outcome::Approved,
            "locked in without approval",
        );
    }
}

fn check_any(state: &State, proposal: &Proposal, claim: &mut impl FnMut(&'static str, bool, &'static str)) {
    claim(
        "GOV-04",
        proposal.id == proposal.subject.id(&state.chain_id),
        "the id is not the content's hash",
    );
    claim(
        "GOV-14",
        proposal
            .upgrade()
            .is_none_or(|upgrade| upgrade.validate().is_ok()),
        "the content is illegal",
    );
    claim(
        "GOV-02",
        proposal.submitted_height <= state.height,
        "submitted in the future",
    );
    let in_time = |height| height >= proposal.submitted_height && height <= state.height;
    claim(
        "GOV-06",
        proposal.ballots.values().all(|ballot| in_time(ballot.height)),
        "a ballot from no block of its time",
    );
    let weighed =
        u128::from(proposal.tally.approving.0).saturating_add(u128::from(proposal.tally.rejecting.0));
    claim(
        "GOV-07",
        weighed <= u128::from(proposal.tally.total.0),
        "more power voted than exists",
    );
}

struct Findings(Vec<Violation>);

impl Findings {
    fn claim(&mut self, rule: &'static str, holds: bool, proposal: &str, text: &'static str) {
        if !holds {
            self.0.push(Violation {
                rule,
                proposal: proposal.into(),
                text,
            });
        }
    }
}
