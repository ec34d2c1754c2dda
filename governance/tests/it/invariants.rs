//! What holds after every step of every history.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::LazyLock;

use governance::{
    Choice, Event, Height, Parameters, Phase, ProposalId, PublicKey, State, ValidatorId, check,
};

use crate::fixture::{key, version};
use crate::model::{About, Key, Model, Numbers, Told};

/// What does not hold.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

/// What the events alone say.
#[derive(Default)]
pub(crate) struct Story {
    phases: BTreeMap<ProposalId, Phase>,
    ballots: BTreeMap<(ProposalId, ValidatorId), Choice>,
}

static PUBLIC: LazyLock<Vec<PublicKey>> =
    LazyLock::new(|| (0..=255).map(|seed| PublicKey::from(&key(seed))).collect());
static SEEDS: LazyLock<BTreeMap<PublicKey, Key>> =
    LazyLock::new(|| PUBLIC.iter().copied().zip(0..=255).collect());
static ENTERED: LazyLock<BTreeMap<ValidatorId, Key>> =
    LazyLock::new(|| PUBLIC.iter().map(ValidatorId::at_entry).zip(0..=255).collect());

/// The public key of this number.
pub(crate) fn public(seed: Key) -> PublicKey {
    PUBLIC[usize::from(seed)]
}

/// The validator that entered with the key of this number.
pub(crate) fn id_of(who: Key) -> ValidatorId {
    ValidatorId::at_entry(&public(who))
}

pub(crate) fn same<T: PartialEq + Debug>(what: &str, first: &T, second: &T) -> Result<(), Failure> {
    if first == second {
        return Ok(());
    }
    Err(Failure(format!("{what}: differ\n  {first:?}\n  {second:?}")))
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure(what())) }
}

pub(crate) fn nothing_is_violated(state: &State) -> Result<(), Failure> {
    same(
        "what check::violations finds",
        &check::violations(state),
        &Vec::new(),
    )
}

pub(crate) fn the_model_agrees(state: &State, model: &Model) -> Result<(), Failure> {
    same("height", &state.height(), &Height(model.height))?;
    same(
        "version",
        state.version(),
        &version(&format!("1.{}.0", model.minor)),
    )?;
    same(
        "plan",
        &state.plan().map(|proposal| proposal.id),
        &model.plan().map(|entry| entry.id),
    )?;
    same("parameters", &numbers(state.parameters()), &model.numbers)?;
    same(
        "executed changes",
        &state.executed_changes(),
        &model.changes_executed,
    )?;
    the_set_agrees(state, model)?;
    for who in 1..=20 {
        let account = state.account(&id_of(who)).copied().unwrap_or_default();
        let expected = model.account(who);
        same(
            &format!("sequence of v{who}"),
            &account.next_sequence,
            &expected.sequence,
        )?;
        same(
            &format!("next_sequence of v{who}"),
            &state.next_sequence(&id_of(who)),
            &expected.sequence,
        )?;
        same(
            &format!("report sequence of v{who}"),
            &account.next_report_sequence,
            &expected.reports,
        )?;
        same(
            &format!("reporter of v{who}"),
            &account.reporter,
            &expected.reporter.map(public),
        )?;
    }
    let live: Vec<ProposalId> = state.live_proposals().map(|proposal| proposal.id).collect();
    let ended: Vec<ProposalId> = state.ended_proposals().map(|proposal| proposal.id).collect();
    let mut expected: Vec<_> = model
        .proposals
        .iter()
        .filter(|entry| !entry.has_ended())
        .collect();
    expected.sort_by_key(|entry| (entry.submitted, entry.id));
    same(
        "live proposals",
        &live,
        &expected.iter().map(|entry| entry.id).collect(),
    )?;
    same(
        "number of proposals",
        &(live.len() + ended.len()),
        &model.proposals.len(),
    )?;
    model
        .proposals
        .iter()
        .try_for_each(|entry| a_proposal_agrees(state, entry))
}

fn the_set_agrees(state: &State, model: &Model) -> Result<(), Failure> {
    let mut expected: Vec<_> = model
        .validators
        .iter()
        .map(|validator| {
            let name = format!("validator-{}", validator.name);
            (
                id_of(validator.entered_with),
                name,
                public(validator.key),
                public(validator.block_key),
                validator.power,
            )
        })
        .collect();
    expected.sort();
    let found: Vec<_> = state
        .validators()
        .iter()
        .map(|validator| {
            let (id, name) = (validator.id, validator.name.clone());
            (
                id,
                name,
                validator.governance_key,
                validator.consensus_key,
                validator.power.0,
            )
        })
        .collect();
    same("validators", &found, &expected)?;
    same(
        "total power",
        &u128::from(state.validators().total_power().0),
        &model.total(),
    )?;
    for (id, _, key, block_key, _) in expected {
        let by_key = |key: &PublicKey| {
            state
                .validators()
                .by_governance_key(key)
                .map(|validator| validator.id)
        };
        same("validator by governance key", &by_key(&key), &Some(id))?;
        same("validator by consensus key", &by_key(&block_key), &None)?;
    }
    Ok(())
}

fn a_proposal_agrees(state: &State, entry: &crate::model::Entry) -> Result<(), Failure> {
    let Some(proposal) = state.proposal(&entry.id) else {
        return Err(Failure(format!("there is no proposal {}", entry.id)));
    };
    let name = proposal.name();
    let same_height =
        |what: &str, found: Height, expected: u64| same(&format!("{name}: {what}"), &found.0, &expected);
    same(&format!("{name}: phase"), &proposal.phase, &entry.phase)?;
    same(
        &format!("{name}: end"),
        &proposal.ended_height.map(|height| height.0),
        &entry.ended,
    )?;
    same_height("submitted", proposal.submitted_height, entry.submitted)?;
    same_height("votes close", proposal.votes_close_height, entry.closes)?;
    same(
        &format!("{name}: proposer"),
        &proposal.proposer,
        &id_of(entry.proposer),
    )?;
    same(
        &format!("{name}: H"),
        &proposal.subject.height().map(|height| height.0),
        &entry.height(),
    )?;
    let is_upgrade = matches!(entry.about, About::Upgrade { .. });
    same(
        &format!("{name}: is an upgrade"),
        &proposal.upgrade().is_some(),
        &is_upgrade,
    )?;
    let tally = proposal.tally;
    let counted = (tally.approving.0, tally.rejecting.0, tally.total.0);
    same(&format!("{name}: tally"), &counted, &entry.counted)?;
    if entry.has_ended() {
        return ensure(state.ballots(&entry.id, None).is_none(), || {
            format!("{name}: ended, with ballots")
        });
    }
    let Some(ballots) = state.ballots(&entry.id, None) else {
        return Err(Failure(format!("{name}: live, without ballots")));
    };
    let found: Vec<_> = ballots.map(|(voter, ballot)| (*voter, ballot.choice)).collect();
    let mut expected: Vec<_> = entry
        .votes
        .iter()
        .map(|(who, choice)| (id_of(*who), *choice))
        .collect();
    expected.sort();
    same(&format!("{name}: ballots"), &found, &expected)?;
    let reports = state.reports(&entry.id, None).into_iter().flatten();
    let found: Vec<_> = reports
        .map(|(validator, report)| (*validator, report.readiness))
        .collect();
    let mut expected: Vec<_> = entry
        .reports
        .iter()
        .map(|(who, readiness)| (id_of(*who), *readiness))
        .collect();
    expected.sort();
    same(&format!("{name}: reports"), &found, &expected)
}

pub(crate) fn the_events_tell_the_story(state: &State, story: &Story) -> Result<(), Failure> {
    for proposal in state.live_proposals() {
        let name = proposal.name();
        same(
            &format!("{name}: phase by events"),
            &story.phases.get(&proposal.id),
            &Some(&proposal.phase),
        )?;
        let told = story
            .ballots
            .range((proposal.id, ValidatorId([0; 20]))..=(proposal.id, ValidatorId([255; 20])));
        let told: Vec<_> = told.map(|((_, voter), choice)| (*voter, *choice)).collect();
        let ballots = state.ballots(&proposal.id, None).into_iter().flatten();
        let kept: Vec<_> = ballots.map(|(voter, ballot)| (*voter, ballot.choice)).collect();
        same(&format!("{name}: ballots by events"), &told, &kept)?;
        // Paging through them gives the same list.
        let mut paged = Vec::new();
        let mut after = None;
        while let Some((voter, ballot)) = state
            .ballots(&proposal.id, after.as_ref())
            .and_then(|mut rest| rest.next())
        {
            paged.push((*voter, ballot.choice));
            after = Some(*voter);
        }
        same(&format!("{name}: ballots by pages"), &paged, &kept)?;
    }
    for proposal in state.ended_proposals() {
        let phase = story.phases.get(&proposal.id);
        same(
            &format!("{}: phase by events", proposal.name()),
            &phase,
            &Some(&proposal.phase),
        )?;
    }
    Ok(())
}

fn numbers(parameters: &Parameters) -> Numbers {
    Numbers {
        min_lead: parameters.min_lead_blocks,
        lock_in: parameters.lock_in_blocks,
        part: (parameters.threshold_numerator, parameters.threshold_denominator),
    }
}

/// An event in the model's words.
pub(crate) fn told(event: &Event) -> Result<Told, Failure> {
    let who = |id: &ValidatorId| {
        let known = ENTERED.get(id).copied();
        known.ok_or_else(|| Failure(format!("an event names validator {id}, who never was one")))
    };
    let minor = |version: &governance::ReleaseVersion| {
        let text = version.to_string();
        text.split('.')
            .nth(1)
            .and_then(|minor| minor.parse().ok())
            .unwrap_or(u64::MAX)
    };
    Ok(match event {
        Event::ProposalSubmitted {
            proposal_id,
            proposer,
        } => Told::Submitted(*proposal_id, who(proposer)?),
        Event::VoteCast {
            proposal_id,
            validator_id,
            choice,
        } => Told::Cast(*proposal_id, who(validator_id)?, *choice),
        Event::VoteWithdrawn {
            proposal_id,
            validator_id,
        } => Told::Withdrawn(*proposal_id, who(validator_id)?),
        Event::ApprovalMoved {
            validator_id,
            from,
            to,
        } => Told::Moved(who(validator_id)?, *from, *to),
        Event::ProposalPhaseChanged {
            proposal_id,
            from,
            to,
        } => Told::Became(*proposal_id, *from, *to),
        Event::BallotLapsed {
            proposal_id,
            validator_id,
        } => Told::Lapsed(*proposal_id, who(validator_id)?),
        Event::ValidatorsChanged {
            proposal_id,
            validators,
            total_power,
        } => Told::NewSet(*proposal_id, *validators, total_power.0),
        Event::ParametersChanged {
            proposal_id,
            parameters,
        } => Told::NewNumbers(*proposal_id, numbers(parameters)),
        Event::ChangeDropped {
            proposal_id, code, ..
        } => Told::Dropped(*proposal_id, code.clone()),
        Event::ReporterAuthorized { validator_id, key } => {
            Told::Reporter(who(validator_id)?, key.and_then(|key| SEEDS.get(&key).copied()))
        }
        Event::ReadinessReported {
            proposal_id,
            validator_id,
            readiness,
        } => Told::Ready(*proposal_id, who(validator_id)?, *readiness),
        Event::UpgradeHalted {
            proposal_id,
            height,
            version,
        } => Told::Halted(*proposal_id, height.0, minor(version)),
        Event::UpgradeActivated {
            proposal_id,
            from,
            to,
        } => Told::Activated(*proposal_id, minor(from), minor(to)),
        Event::TransactionRejected { .. } => {
            return Err(Failure("the state never reports its own rejections".to_owned()));
        }
    })
}

impl Story {
    pub(crate) fn read(&mut self, events: &[Event]) -> Result<(), Failure> {
        for event in events {
            match event {
                Event::ProposalSubmitted { proposal_id, .. } => {
                    same(
                        "a phase before the submission",
                        &self.phases.insert(*proposal_id, Phase::Voting),
                        &None,
                    )?;
                }
                Event::VoteCast {
                    proposal_id,
                    validator_id,
                    choice,
                } => {
                    self.ballots.insert((*proposal_id, *validator_id), *choice);
                }
                Event::VoteWithdrawn {
                    proposal_id,
                    validator_id,
                }
                | Event::BallotLapsed {
                    proposal_id,
                    validator_id,
                } => {
                    let gone = self.ballots.remove(&(*proposal_id, *validator_id));
                    ensure(gone.is_some(), || {
                        format!("a vote of {validator_id} goes that was not there")
                    })?;
                }
                Event::ApprovalMoved {
                    validator_id,
                    from,
                    to,
                } => {
                    let gone = self.ballots.remove(&(*from, *validator_id));
                    same("the vote that moves", &gone, &Some(Choice::Approve))?;
                    let come = self.ballots.get(&(*to, *validator_id)).copied();
                    same("the vote that has moved", &come, &Some(Choice::Approve))?;
                }
                Event::ProposalPhaseChanged {
                    proposal_id,
                    from,
                    to,
                } => {
                    ensure(from.may_become(*to), || format!("{from} never becomes {to}"))?;
                    same(
                        "the phase before",
                        &self.phases.insert(*proposal_id, *to),
                        &Some(*from),
                    )?;
                }
                Event::UpgradeHalted { proposal_id, .. } => {
                    same(
                        "what halts",
                        &self.phases.get(proposal_id),
                        &Some(&Phase::LockedIn),
                    )?;
                }
                Event::UpgradeActivated { from, to, .. } => {
                    ensure(from < to, || format!("{from} is followed by {to}"))?
                }
                Event::ChangeDropped { proposal_id, .. } => {
                    same(
                        "what is dropped",
                        &self.phases.get(proposal_id),
                        &Some(&Phase::LockedIn),
                    )?;
                }
                Event::ValidatorsChanged { .. }
                | Event::ParametersChanged { .. }
                | Event::ReporterAuthorized { .. }
                | Event::ReadinessReported { .. }
                | Event::TransactionRejected { .. } => {}
            }
        }
        Ok(())
    }
}
