//! A message that is no domain value says which field, what was expected and what was found.

use governance::{
    Account, Ballot, Event, Phase, Proposal, SignedTransaction, Validator, ValidatorChange, ValidatorId,
};
use proto::InvalidMessage;
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::event::Event as PbEvent;
use proto::pb::governance::v1::transaction::Action as PbAction;
use proto::pb::governance::v1::validator_change::Change as PbChange;

fn vote(proposal_id: Vec<u8>, choice: i32) -> PbAction {
    PbAction::Vote(pb::Vote { proposal_id, choice })
}

fn signed(action: Option<PbAction>) -> pb::SignedTransaction {
    pb::SignedTransaction {
        transaction: Some(pb::Transaction {
            chain_id: "test-1".to_owned(),
            sequence: 0,
            last_valid_height: 9,
            action,
        }),
        public_key: vec![1; 32],
        signature: vec![2; 64],
    }
}

fn upgrade() -> pb::Upgrade {
    pb::Upgrade {
        version: "1.1.0".to_owned(),
        height: 30,
        artifacts: vec![
            pb::Artifact {
                platform: "linux/amd64".to_owned(),
                url: "https://example.org/a".to_owned(),
                size: 1,
                sha256: vec![3; 32],
            };
            2
        ],
        description: String::new(),
    }
}

fn proposal() -> pb::Proposal {
    pb::Proposal {
        id: vec![4; 32],
        subject: Some(pb::proposal::Subject::Upgrade(upgrade())),
        proposer: vec![5; 20],
        submitted_height: 2,
        votes_close_height: 20,
        phase: pb::ProposalPhase::Voting.into(),
        ended_height: 0,
        tally: Some(pb::Tally {
            approving: 1,
            rejecting: 0,
            total: "4".to_owned(),
            threshold_numerator: 2,
            threshold_denominator: 3,
        }),
        ballots_root: vec![6; 32],
        reports_root: vec![7; 32],
    }
}

fn ballot() -> pb::Ballot {
    pb::Ballot {
        validator_id: vec![5; 20],
        choice: pb::Choice::Approve.into(),
        height: 2,
        by_proposing: true,
        public_key: vec![1; 32],
        sequence: 0,
        last_valid_height: 9,
        signature: vec![2; 64],
        validator: None,
    }
}

fn validator() -> pb::Validator {
    pb::Validator {
        id: vec![5; 20],
        governance_key: vec![1; 32],
        consensus_key: vec![2; 32],
        ..pb::Validator::default()
    }
}

fn rotation(governance_key: Option<Vec<u8>>) -> pb::ValidatorChange {
    pb::ValidatorChange {
        change: Some(PbChange::RotateKeys(pb::RotateKeys {
            validator_id: vec![5; 20],
            governance_key,
            consensus_key: None,
        })),
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, InvalidMessage>, expected: &str) {
    assert_eq!(result.expect_err("the message is invalid").to_string(), expected);
}

fn signed_with(change: impl FnOnce(&mut pb::SignedTransaction)) -> Result<SignedTransaction, InvalidMessage> {
    let mut message = signed(Some(vote(vec![7; 32], 1)));
    change(&mut message);
    message.try_into()
}

fn proposed_with(change: impl FnOnce(&mut pb::Upgrade)) -> Result<SignedTransaction, InvalidMessage> {
    let mut upgrade = upgrade();
    change(&mut upgrade);
    signed(Some(PbAction::ProposeUpgrade(pb::ProposeUpgrade {
        upgrade: Some(upgrade),
    })))
    .try_into()
}

fn proposal_with(change: impl FnOnce(&mut pb::Proposal)) -> Result<Proposal, InvalidMessage> {
    let mut message = proposal();
    change(&mut message);
    message.try_into()
}

fn ballot_with(change: impl FnOnce(&mut pb::Ballot)) -> Result<(ValidatorId, Ballot), InvalidMessage> {
    let mut message = ballot();
    change(&mut message);
    message.try_into()
}

fn validator_with(change: impl FnOnce(&mut pb::Validator)) -> Result<(Validator, Account), InvalidMessage> {
    let mut message = validator();
    change(&mut message);
    message.try_into()
}

#[test]
fn the_unchanged_messages_are_valid() {
    signed_with(|_| {}).expect("a vote");
    proposed_with(|_| {}).expect("a proposal to be made");
    proposal_with(|_| {}).expect("a proposal");
    ballot_with(|_| {}).expect("a ballot");
    validator_with(|_| {}).expect("a validator");
    ValidatorChange::try_from(rotation(None)).expect("a rotation");
}

#[test]
fn missing_fields() {
    assert_refused(
        signed_with(|message| message.transaction = None),
        "field `transaction`: expected a message, found nothing",
    );
    assert_refused(
        SignedTransaction::try_from(signed(None)),
        "field `transaction.action`: expected one of the actions, found nothing",
    );
    assert_refused(
        SignedTransaction::try_from(signed(Some(PbAction::ProposeUpgrade(pb::ProposeUpgrade {
            upgrade: None,
        })))),
        "field `transaction.propose_upgrade.upgrade`: expected a message, found nothing",
    );
    assert_refused(
        proposal_with(|message| message.tally = None),
        "field `tally`: expected a message, found nothing",
    );
    assert_refused(
        proposal_with(|message| message.subject = None),
        "field `subject`: expected one of the subjects, found nothing",
    );
    let change = pb::ValidatorsChange {
        changes: vec![rotation(None), pb::ValidatorChange { change: None }],
        ..pb::ValidatorsChange::default()
    };
    let propose = |change| {
        signed(Some(PbAction::ProposeValidators(pb::ProposeValidators {
            change,
        })))
    };
    assert_refused(
        SignedTransaction::try_from(propose(Some(change))),
        "field `transaction.propose_validators.change.changes[1].change`: expected one of the changes, found nothing",
    );
    assert_refused(
        SignedTransaction::try_from(propose(None)),
        "field `transaction.propose_validators.change`: expected a message, found nothing",
    );
    assert_refused(
        proposal_with(|message| {
            message.subject = Some(pb::proposal::Subject::Parameters(pb::ParametersChange::default()));
        }),
        "field `parameters.parameters`: expected a message, found nothing",
    );
    assert_refused(
        Event::try_from(pb::Event { event: None }),
        "field `event`: expected one of the events, found nothing",
    );
    let event = PbEvent::TransactionRejected(pb::TransactionRejected {
        transaction_id: vec![1; 32],
        rejection: None,
    });
    assert_refused(
        Event::try_from(pb::Event { event: Some(event) }),
        "field `transaction_rejected.rejection`: expected a message, found nothing",
    );
}

#[test]
fn wrong_lengths() {
    assert_refused(
        signed_with(|message| message.public_key.truncate(31)),
        "field `public_key`: expected 32 bytes, found 31 bytes",
    );
    assert_refused(
        signed_with(|message| message.signature.push(0)),
        "field `signature`: expected 64 bytes, found 65 bytes",
    );
    assert_refused(
        SignedTransaction::try_from(signed(Some(vote(vec![], 1)))),
        "field `transaction.vote.proposal_id`: expected 32 bytes, found 0 bytes",
    );
    assert_refused(
        proposed_with(|upgrade| upgrade.artifacts[1].sha256.clear()),
        "field `transaction.propose_upgrade.upgrade.artifacts[1].sha256`: expected 32 bytes, found 0 bytes",
    );
    assert_refused(
        proposal_with(|message| message.ballots_root.clear()),
        "field `ballots_root`: expected 32 bytes, found 0 bytes",
    );
    assert_refused(
        ballot_with(|message| message.validator_id.push(1)),
        "field `validator_id`: expected 20 bytes, found 21 bytes",
    );
    assert_refused(
        ballot_with(|message| message.signature.truncate(63)),
        "field `signature`: expected 64 bytes, found 63 bytes",
    );
    assert_refused(
        <(Validator, Account)>::try_from(pb::Validator::default()),
        "field `id`: expected 20 bytes, found 0 bytes",
    );
    // Nothing at all is "none"; empty bytes are not.
    assert_refused(
        validator_with(|message| message.reporter_key = Some(vec![])),
        "field `reporter_key`: expected 32 bytes, found 0 bytes",
    );
    assert_refused(
        ValidatorChange::try_from(rotation(Some(vec![]))),
        "field `rotate_keys.governance_key`: expected 32 bytes, found 0 bytes",
    );
    let authorize = |key| PbAction::AuthorizeReporter(pb::AuthorizeReporter { key });
    assert_refused(
        SignedTransaction::try_from(signed(Some(authorize(Some(vec![1; 33]))))),
        "field `transaction.authorize_reporter.key`: expected 32 bytes, found 33 bytes",
    );
    SignedTransaction::try_from(signed(Some(authorize(None)))).expect("nobody reports");
}

#[test]
fn unknown_numbers_of_enumerations() {
    for number in [0, 3, -1, i32::MAX] {
        assert_refused(
            SignedTransaction::try_from(signed(Some(vote(vec![7; 32], number)))),
            &format!(
                "field `transaction.vote.choice`: expected a specified value of Choice, found number {number}"
            ),
        );
    }
    for number in [0, 3, -1] {
        let report = PbAction::ReportReadiness(pb::ReportReadiness {
            validator_id: vec![5; 20],
            proposal_id: vec![4; 32],
            readiness: number,
        });
        assert_refused(
            SignedTransaction::try_from(signed(Some(report))),
            &format!(
                "field `transaction.report_readiness.readiness`: expected a specified value of Readiness, found number {number}"
            ),
        );
    }
    for number in [0, 9, -1] {
        assert_refused(
            proposal_with(|message| message.phase = number),
            &format!("field `phase`: expected a specified value of ProposalPhase, found number {number}"),
        );
    }
    assert!(Phase::try_from(pb::ProposalPhase::Unspecified).is_err());
}

#[test]
fn texts_that_are_no_value() {
    assert_refused(
        signed_with(|message| {
            message
                .transaction
                .as_mut()
                .expect("it is there")
                .chain_id
                .clear();
        }),
        "field `transaction.chain_id`: expected 1 to 50 of the characters a-z, A-Z, 0-9, '-', '_' and '.', found \"\"",
    );
    assert_refused(
        proposed_with(|upgrade| "linux".clone_into(&mut upgrade.artifacts[0].platform)),
        "field `transaction.propose_upgrade.upgrade.artifacts[0].platform`: expected os/arch in lower case, for example linux/amd64, found \"linux\"",
    );
    for version in ["", "1.1", "v1.1.0", "1.1.0+build", "01.1.0", "1.1.0 "] {
        let error =
            proposed_with(|upgrade| version.clone_into(&mut upgrade.version)).expect_err("no version");
        assert_eq!(error.code(), "GOV-03.format");
        assert_eq!(error.field(), "transaction.propose_upgrade.upgrade.version");
        assert!(
            error.to_string().ends_with(&format!("found {version:?}")),
            "{error}"
        );
    }
    for total in ["", "-1", "+4", "04", "18446744073709551616", "4 "] {
        let error = proposal_with(|message| {
            total.clone_into(&mut message.tally.as_mut().expect("it is there").total);
        })
        .expect_err("no total");
        assert_eq!(error.field(), "tally.total");
        assert_eq!(error.code(), "GOV-14.format");
    }
}

#[test]
fn what_contradicts_itself() {
    assert_refused(
        proposal_with(|message| message.ended_height = 3),
        "field `ended_height`: expected 0, because the proposal is live, found 3",
    );
    assert_refused(
        proposal_with(|message| message.phase = pb::ProposalPhase::Expired.into()),
        "field `ended_height`: expected the height at which the proposal ended, found 0",
    );
}

#[test]
fn a_long_text_is_not_repeated() {
    let error = proposed_with(|upgrade| upgrade.version = "9".repeat(1_000_000)).expect_err("it is too long");
    assert!(error.to_string().len() < 400, "{error}");
}
