//! Any value of each domain type, also such as the state machine would refuse.

use governance::{
    Account, Action, Artifact, Ballot, ChainId, Choice, Digest, Event, GenesisValidator, Halt, Height,
    Parameters, ParametersChange, Phase, Platform, Power, Proposal, ProposalId, PublicKey, Readiness,
    ReadinessReport, ReleaseVersion, Signature, SignedTransaction, Subject, Tally, Transaction,
    TransactionId, Upgrade, Validator, ValidatorChange, ValidatorId, ValidatorsChange,
};
use proptest::array::{uniform20, uniform32};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(crate) fn height() -> impl Strategy<Value = Height> {
    any::<u64>().prop_map(Height)
}

pub(crate) fn proposal_id() -> impl Strategy<Value = ProposalId> {
    uniform32(any::<u8>()).prop_map(ProposalId)
}

pub(crate) fn validator_id() -> impl Strategy<Value = ValidatorId> {
    uniform20(any::<u8>()).prop_map(ValidatorId)
}

fn digest() -> impl Strategy<Value = Digest> {
    uniform32(any::<u8>()).prop_map(Digest)
}

fn power() -> impl Strategy<Value = Power> {
    any::<u64>().prop_map(Power)
}

fn signature() -> impl Strategy<Value = Signature> {
    vec(any::<u8>(), 64).prop_map(|bytes| Signature(bytes.try_into().expect("64 bytes")))
}

fn public_key() -> impl Strategy<Value = PublicKey> {
    uniform32(any::<u8>()).prop_map(PublicKey)
}

pub(crate) fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![Just(Choice::Approve), Just(Choice::Reject)]
}

pub(crate) fn readiness() -> impl Strategy<Value = Readiness> {
    prop_oneof![Just(Readiness::Staged), Just(Readiness::Verified)]
}

pub(crate) fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Voting),
        Just(Phase::Approved),
        Just(Phase::LockedIn),
        Just(Phase::Executed),
        Just(Phase::Rejected),
        Just(Phase::Expired),
        Just(Phase::Superseded),
        Just(Phase::Cancelled),
    ]
}

pub(crate) fn version() -> impl Strategy<Value = ReleaseVersion> {
    "(0|[1-9][0-9]{0,5})\\.(0|[1-9][0-9]{0,5})\\.(0|[1-9][0-9]{0,5})(-(rc|beta|x-1)(\\.(0|[1-9][0-9]{0,3}))?)?"
        .prop_map(|text| text.parse().expect("a version"))
}

pub(crate) fn artifact() -> impl Strategy<Value = Artifact> {
    let platform =
        "[a-z0-9_]{1,15}/[a-z0-9_]{1,16}".prop_map(|text| text.parse::<Platform>().expect("a platform"));
    (platform, any::<String>(), any::<u64>(), uniform32(any::<u8>())).prop_map(
        |(platform, url, size, sha256)| Artifact {
            platform,
            url,
            size,
            sha256: Digest(sha256),
        },
    )
}

pub(crate) fn upgrade() -> impl Strategy<Value = Upgrade> {
    (version(), height(), vec(artifact(), 0..4), any::<String>()).prop_map(
        |(version, height, artifacts, description)| Upgrade {
            version,
            height,
            artifacts,
            description,
        },
    )
}

pub(crate) fn validator_change() -> impl Strategy<Value = ValidatorChange> {
    let add = (any::<String>(), public_key(), public_key(), power()).prop_map(
        |(name, governance_key, consensus_key, power)| {
            ValidatorChange::Add(GenesisValidator {
                name,
                governance_key,
                consensus_key,
                power,
            })
        },
    );
    let rotate = (validator_id(), option::of(public_key()), option::of(public_key())).prop_map(
        |(validator, governance_key, consensus_key)| ValidatorChange::RotateKeys {
            validator,
            governance_key,
            consensus_key,
        },
    );
    prop_oneof![
        add,
        validator_id().prop_map(|validator| ValidatorChange::Remove { validator }),
        (validator_id(), power())
            .prop_map(|(validator, power)| ValidatorChange::SetPower { validator, power }),
        rotate,
    ]
}

pub(crate) fn validators_change() -> impl Strategy<Value = ValidatorsChange> {
    (height(), vec(validator_change(), 0..4), any::<String>()).prop_map(|(height, changes, description)| {
        ValidatorsChange {
            height,
            changes,
            description,
        }
    })
}

pub(crate) fn parameters_change() -> impl Strategy<Value = ParametersChange> {
    (height(), parameters(), any::<String>()).prop_map(|(height, parameters, description)| ParametersChange {
        height,
        parameters,
        description,
    })
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        upgrade().prop_map(Action::ProposeUpgrade),
        proposal_id().prop_map(|target| Action::ProposeCancel { target }),
        (proposal_id(), choice()).prop_map(|(proposal, choice)| Action::Vote { proposal, choice }),
        proposal_id().prop_map(|proposal| Action::Withdraw { proposal }),
        validators_change().prop_map(Action::ProposeValidators),
        parameters_change().prop_map(Action::ProposeParameters),
        option::of(public_key()).prop_map(|key| Action::AuthorizeReporter { key }),
        (validator_id(), proposal_id(), readiness()).prop_map(|(validator, proposal, readiness)| {
            Action::ReportReadiness {
                validator,
                proposal,
                readiness,
            }
        }),
    ]
}

pub(crate) fn transaction() -> impl Strategy<Value = Transaction> {
    let chain_id = "[a-zA-Z0-9._-]{1,50}".prop_map(|text| text.parse::<ChainId>().expect("a chain id"));
    (chain_id, any::<u64>(), height(), action()).prop_map(
        |(chain_id, sequence, last_valid_height, action)| Transaction {
            chain_id,
            sequence,
            last_valid_height,
            action,
        },
    )
}

pub(crate) fn signed_transaction() -> impl Strategy<Value = SignedTransaction> {
    (transaction(), public_key(), signature()).prop_map(|(transaction, public_key, signature)| {
        SignedTransaction {
            transaction,
            public_key,
            signature,
        }
    })
}

pub(crate) fn tally() -> impl Strategy<Value = Tally> {
    any::<(u64, u64, u64, u64, u64)>().prop_map(|(approving, rejecting, total, numerator, denominator)| {
        Tally {
            approving: Power(approving),
            rejecting: Power(rejecting),
            total: Power(total),
            threshold_numerator: numerator,
            threshold_denominator: denominator,
        }
    })
}

pub(crate) fn ballot() -> impl Strategy<Value = Ballot> {
    let signed = (public_key(), any::<u64>(), height(), signature());
    (choice(), height(), any::<bool>(), signed).prop_map(
        |(choice, height, by_proposing, (public_key, sequence, last_valid_height, signature))| Ballot {
            choice,
            height,
            by_proposing,
            public_key,
            sequence,
            last_valid_height,
            signature,
        },
    )
}

pub(crate) fn report() -> impl Strategy<Value = ReadinessReport> {
    (readiness(), height()).prop_map(|(readiness, height)| ReadinessReport { readiness, height })
}

pub(crate) fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        upgrade().prop_map(Subject::Upgrade),
        proposal_id().prop_map(|target| Subject::Cancel { target }),
        validators_change().prop_map(Subject::Validators),
        parameters_change().prop_map(Subject::Parameters),
    ]
}

pub(crate) fn proposal() -> impl Strategy<Value = Proposal> {
    let ended = (phase(), 1..=u64::MAX).prop_map(|(phase, height)| {
        let ended_height = (!phase.is_live()).then_some(Height(height));
        (phase, ended_height)
    });
    (
        proposal_id(),
        subject(),
        validator_id(),
        height(),
        height(),
        ended,
        tally(),
        (digest(), digest()),
    )
        .prop_map(
            |(id, subject, proposer, submitted_height, votes_close_height, ended, tally, roots)| Proposal {
                id,
                subject,
                proposer,
                submitted_height,
                votes_close_height,
                phase: ended.0,
                ended_height: ended.1,
                tally,
                ballots_root: roots.0,
                reports_root: roots.1,
            },
        )
}

pub(crate) fn validator() -> impl Strategy<Value = Validator> {
    (
        validator_id(),
        any::<String>(),
        public_key(),
        public_key(),
        any::<u64>(),
    )
        .prop_map(|(id, name, governance_key, consensus_key, power)| Validator {
            id,
            name,
            governance_key,
            consensus_key,
            power: Power(power),
        })
}

pub(crate) fn account() -> impl Strategy<Value = Account> {
    (
        any::<u64>(),
        option::of(public_key()),
        any::<u64>(),
        option::of(proposal_id()),
    )
        .prop_map(
            |(next_sequence, reporter, next_report_sequence, approves)| Account {
                next_sequence,
                reporter,
                next_report_sequence,
                approves,
            },
        )
}

pub(crate) fn parameters() -> impl Strategy<Value = Parameters> {
    any::<(u64, u64, u64, u64)>().prop_map(
        |(min_lead_blocks, lock_in_blocks, threshold_numerator, threshold_denominator)| Parameters {
            min_lead_blocks,
            lock_in_blocks,
            threshold_numerator,
            threshold_denominator,
        },
    )
}

pub(crate) fn halt() -> impl Strategy<Value = Halt> {
    (height(), proposal_id(), version()).prop_map(|(height, proposal, version)| Halt {
        height,
        proposal,
        version,
    })
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    let transaction_id = uniform32(any::<u8>()).prop_map(TransactionId);
    prop_oneof![
        (proposal_id(), validator_id()).prop_map(|(proposal_id, proposer)| Event::ProposalSubmitted {
            proposal_id,
            proposer
        }),
        (proposal_id(), validator_id(), choice()).prop_map(|(proposal_id, validator_id, choice)| {
            Event::VoteCast {
                proposal_id,
                validator_id,
                choice,
            }
        }),
        (proposal_id(), validator_id()).prop_map(|(proposal_id, validator_id)| Event::VoteWithdrawn {
            proposal_id,
            validator_id
        }),
        (validator_id(), proposal_id(), proposal_id()).prop_map(|(validator_id, from, to)| {
            Event::ApprovalMoved {
                validator_id,
                from,
                to,
            }
        }),
        (proposal_id(), phase(), phase()).prop_map(|(proposal_id, from, to)| {
            Event::ProposalPhaseChanged {
                proposal_id,
                from,
                to,
            }
        }),
        change_event(),
        (proposal_id(), height(), version()).prop_map(|(proposal_id, height, version)| {
            Event::UpgradeHalted {
                proposal_id,
                height,
                version,
            }
        }),
        (proposal_id(), version(), version()).prop_map(|(proposal_id, from, to)| Event::UpgradeActivated {
            proposal_id,
            from,
            to
        }),
        (transaction_id, any::<String>(), any::<String>()).prop_map(|(transaction_id, code, message)| {
            Event::TransactionRejected {
                transaction_id,
                code,
                message,
            }
        }),
    ]
}

/// Events of changes and reports.
fn change_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (proposal_id(), validator_id()).prop_map(|(proposal_id, validator_id)| Event::BallotLapsed {
            proposal_id,
            validator_id
        }),
        (proposal_id(), any::<u64>(), power()).prop_map(|(proposal_id, validators, total_power)| {
            Event::ValidatorsChanged {
                proposal_id,
                validators,
                total_power,
            }
        }),
        (proposal_id(), parameters()).prop_map(|(proposal_id, parameters)| Event::ParametersChanged {
            proposal_id,
            parameters
        }),
        (proposal_id(), any::<String>(), any::<String>()).prop_map(|(proposal_id, code, message)| {
            Event::ChangeDropped {
                proposal_id,
                code,
                message,
            }
        }),
        (validator_id(), option::of(public_key()))
            .prop_map(|(validator_id, key)| Event::ReporterAuthorized { validator_id, key }),
        (proposal_id(), validator_id(), readiness()).prop_map(|(proposal_id, validator_id, readiness)| {
            Event::ReadinessReported {
                proposal_id,
                validator_id,
                readiness,
            }
        }),
    ]
}
