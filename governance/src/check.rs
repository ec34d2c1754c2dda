//! What is true of every state. Run after every step in tests, and by whoever loads a state from elsewhere.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use crate::bytes::ValidatorId;
use crate::proposal::{Phase, Proposal, Subject};
use crate::state::{Live, MAX_ENDED_PROPOSALS, MAX_LIVE_PROPOSALS, MAX_LIVE_PROPOSALS_PER_PROPOSER, State};
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
    for (id, live) in &state.live {
        let proposal = &live.proposal;
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
        check_live(state, live, &mut claim);
        check_ballots(state, live, &mut claim);
    }
    for proposal in state.history.iter() {
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
    let live = state.live.values().map(|live| &live.proposal);
    for proposal in live.chain(state.history.iter()) {
        let mut claim = |rule, holds, text| found.claim(rule, holds, &proposal.id.to_string(), text);
        check_any(state, proposal, &mut claim);
    }
    found.0
}

fn check_state(state: &State, found: &mut Findings) {
    let mut claim = |rule, holds, text| found.claim(rule, holds, "state", text);
    let counted = || {
        let live = state.live.values().map(|live| &live.proposal);
        live.filter(|proposal| proposal.subject.height().is_some())
    };
    claim(
        "GOV-07",
        state.parameters.validate().is_ok(),
        "the parameters are illegal",
    );
    claim(
        "GOV-14",
        counted().count() <= MAX_LIVE_PROPOSALS,
        "too many live proposals",
    );
    claim(
        "GOV-14",
        state.history.iter().len() <= MAX_ENDED_PROPOSALS,
        "too many ended proposals",
    );
    let mut per_proposer = BTreeMap::<ValidatorId, usize>::new();
    for proposal in counted() {
        let count = per_proposer.entry(proposal.proposer).or_default();
        *count = count.saturating_add(1);
    }
    let fair = per_proposer
        .values()
        .all(|count| *count <= MAX_LIVE_PROPOSALS_PER_PROPOSER);
    claim("GOV-14", fair, "a validator has too many live proposals");
    let approved = state.accounts.iter().all(|(id, account)| {
        let live = account.approves.and_then(|proposal| state.live.get(&proposal));
        live.filter(|live| live.proposal.phase.is_open())
            .is_none_or(|live| {
                let ballot = live.ballots.get(id);
                ballot.is_some_and(|ballot| ballot.choice == Choice::Approve)
                    && live.proposal.upgrade().is_some()
            })
    });
    claim(
        "GOV-06",
        approved,
        "an account approves an open upgrade without a ballot that says so",
    );
    let ended: BTreeSet<_> = state.history.iter().map(|proposal| proposal.id).collect();
    claim(
        "GOV-04",
        ended.len() == state.history.iter().len(),
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

fn check_live(state: &State, live: &Live, claim: &mut impl FnMut(&'static str, bool, &'static str)) {
    let proposal = &live.proposal;
    if let Some(upgrade) = proposal.upgrade() {
        claim(
            "GOV-03",
            upgrade.version > state.version,
            "a live upgrade does not rise above the running version",
        );
    }
    if let Some(height) = proposal.subject.height() {
        claim(
            "GOV-09",
            height >= state.height,
            "its height has passed and it has not ended",
        );
        let carried_out = proposal.upgrade().is_none() && !state.block_is_open && height == state.height;
        claim(
            "GOV-12",
            !carried_out,
            "its height is over and it has not been carried out",
        );
    }
    if let Subject::Cancel { target } = &proposal.subject {
        let locked_in = state
            .live
            .get(target)
            .is_some_and(|target| target.proposal.phase == Phase::LockedIn);
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
        let choices = || live.ballots.iter().map(|(id, ballot)| (id, ballot.choice));
        let count = Tally::count(choices(), &state.validators, &state.parameters);
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

/// GOV-06, GOV-12: each ballot counts once, is of its time, and belongs to a validator with that key.
fn check_ballots(state: &State, live: &Live, claim: &mut impl FnMut(&'static str, bool, &'static str)) {
    let proposal = &live.proposal;
    let in_time = |height| height >= proposal.submitted_height && height <= state.height;
    let times = live.ballots.iter().all(|(_, ballot)| in_time(ballot.height));
    claim("GOV-06", times, "a ballot from no block of its time");
    let times = live.reports.iter().all(|(_, report)| in_time(report.height));
    claim("GOV-16", times, "a report from no block of its time");
    let upgrade = proposal.upgrade().is_some();
    claim(
        "GOV-16",
        upgrade || live.reports.len() == 0,
        "reports on something that is no upgrade",
    );
    if !proposal.phase.is_open() {
        return;
    }
    let keys = live.ballots.iter().all(|(id, ballot)| {
        let validator = state.validators.get(id);
        validator.is_some_and(|validator| validator.governance_key == ballot.public_key)
    });
    claim(
        "GOV-12",
        keys,
        "a ballot counts that no key of the set has signed",
    );
    let once = !upgrade
        || live.ballots.iter().all(|(id, ballot)| {
            let approves = state.accounts.get(id).and_then(|account| account.approves);
            (ballot.choice == Choice::Approve) == (approves == Some(proposal.id))
        });
    claim(
        "GOV-06",
        once,
        "an approval that its validator's account does not know",
    );
}

fn check_any(state: &State, proposal: &Proposal, claim: &mut impl FnMut(&'static str, bool, &'static str)) {
    claim(
        "GOV-04",
        proposal.id == proposal.subject.id(&state.chain_id),
        "the id is not the content's hash",
    );
    claim(
        "GOV-14",
        proposal.subject.validate().is_ok(),
        "the content is illegal",
    );
    claim(
        "GOV-02",
        proposal.submitted_height <= state.height,
        "submitted in the future",
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
