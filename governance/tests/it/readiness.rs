//! GOV-16: reporter keys and readiness reports. They are shown, and move nothing.

use governance::{
    Action, Choice, Event, Height, Phase, ProposalId, PublicKey, Readiness, ReadinessReport, Rejection,
};

use crate::fixture::{
    Chain, add, cancel_id, code, governance_key, key, remove, rotate, set_change, upgrade, validator_id,
};

fn public(seed: u8) -> PublicKey {
    PublicKey::from(&key(seed))
}

/// A chain of six with a live upgrade, whose validators 0 and 1 let the keys 200 and 201 report.
fn reporting() -> (Chain, ProposalId) {
    let mut chain = Chain::new(&[1; 6]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 40));
    for (index, seed) in [(0, 200), (1, 201)] {
        let events = chain
            .send(
                index,
                Action::AuthorizeReporter {
                    key: Some(public(seed)),
                },
            )
            .unwrap();
        let validator_id = validator_id(index);
        assert_eq!(
            events,
            [Event::ReporterAuthorized {
                validator_id,
                key: Some(public(seed))
            }]
        );
    }
    (chain, proposal)
}

fn report_of(chain: &Chain, proposal: ProposalId, index: usize) -> Option<ReadinessReport> {
    let mut reports = chain.state.reports(&proposal, None).unwrap();
    reports
        .find(|(validator, _)| **validator == validator_id(index))
        .map(|(_, report)| *report)
}

#[test]
fn gov_16_a_report_is_shown_and_replaces_the_earlier_one() {
    let (mut chain, proposal_id) = reporting();
    assert_eq!(report_of(&chain, proposal_id, 0), None);
    for (block, readiness) in [
        (2, Readiness::Staged),
        (3, Readiness::Verified),
        (4, Readiness::Staged),
    ] {
        chain.open(block);
        let events = chain.report(200, 0, proposal_id, readiness).unwrap();
        let validator_id = validator_id(0);
        assert_eq!(
            events,
            [Event::ReadinessReported {
                proposal_id,
                validator_id,
                readiness
            }]
        );
        let height = Height(block);
        assert_eq!(
            report_of(&chain, proposal_id, 0),
            Some(ReadinessReport { readiness, height })
        );
    }
    let account = chain.state.account(&validator_id(0)).unwrap();
    assert_eq!((account.next_report_sequence, account.next_sequence), (3, 2));
    // In order of validators, page by page.
    chain.report(201, 1, proposal_id, Readiness::Staged).unwrap();
    let ids = |after| -> Vec<_> {
        chain
            .state
            .reports(&proposal_id, after)
            .unwrap()
            .map(|(validator, _)| *validator)
            .collect()
    };
    let mut all = vec![validator_id(0), validator_id(1)];
    all.sort();
    assert_eq!(ids(None), all);
    assert_eq!(ids(Some(&all[0])), all[1..]);
    assert_eq!(ids(Some(&all[1])), []);
}

#[test]
fn gov_16_reports_never_change_a_tally_or_a_phase() {
    let (mut chain, proposal) = reporting();
    let before = (chain.tally(proposal), chain.phase(proposal));
    for readiness in [Readiness::Staged, Readiness::Verified] {
        chain.report(200, 0, proposal, readiness).unwrap();
        chain.report(201, 1, proposal, readiness).unwrap();
        assert_eq!((chain.tally(proposal), chain.phase(proposal)), before);
    }
    // Nobody votes against it by reporting nothing, and nobody is late.
    chain.approve(&[1, 2, 3, 4], proposal);
    let _ = chain.close(36);
    assert_eq!(chain.phase(proposal), Phase::LockedIn);
    chain.begin().unwrap();
    chain.report(200, 0, proposal, Readiness::Verified).unwrap();
    let _ = chain.close(40);
    assert!(chain.state.halt().is_some());
}

#[test]
fn gov_16_only_the_authorised_key_reports() {
    let (mut chain, proposal) = reporting();
    for (reporter, validator) in [(201, 0), (200, 1), (200, 2), (99, 0), (200, 50)] {
        let rejection = chain
            .report(reporter, validator, proposal, Readiness::Staged)
            .unwrap_err();
        assert_eq!(
            rejection,
            Rejection::NotTheReporter {
                public_key: public(reporter),
                validator: validator_id(validator)
            }
        );
        assert_eq!(rejection.code(), "GOV-16");
    }
    // Not the governance key, and not the consensus key either.
    for seed in [1, 101] {
        assert_eq!(code(chain.report(seed, 0, proposal, Readiness::Staged)), "GOV-16");
    }
}

#[test]
fn gov_16_the_reporter_key_does_nothing_else() {
    let (mut chain, proposal) = reporting();
    for action in [
        Action::Vote {
            proposal,
            choice: Choice::Approve,
        },
        Action::Withdraw { proposal },
        Action::ProposeUpgrade(upgrade("1.2.0", 40)),
        Action::AuthorizeReporter {
            key: Some(public(202)),
        },
        set_change(40, &[add(20, 1)]).to_action(),
    ] {
        let transaction = chain.transaction(50, action);
        assert_eq!(code(chain.deliver(&transaction.sign(&key(200)))), "GOV-01");
    }
}

#[test]
fn gov_16_another_key_replaces_the_first_and_none_ends_it() {
    let (mut chain, proposal) = reporting();
    chain.report(200, 0, proposal, Readiness::Staged).unwrap();
    chain
        .send(
            0,
            Action::AuthorizeReporter {
                key: Some(public(210)),
            },
        )
        .unwrap();
    assert_eq!(code(chain.report(200, 0, proposal, Readiness::Staged)), "GOV-16");
    // The numbers go on: they count the validator's reports.
    assert_eq!(
        chain
            .state
            .account(&validator_id(0))
            .unwrap()
            .next_report_sequence,
        1
    );
    chain.report(210, 0, proposal, Readiness::Verified).unwrap();
    chain.send(0, Action::AuthorizeReporter { key: None }).unwrap();
    assert_eq!(code(chain.report(210, 0, proposal, Readiness::Staged)), "GOV-16");
    assert!(
        report_of(&chain, proposal, 0).is_some(),
        "what was reported stays"
    );
    // The key of the first may report for another validator, and one key for several.
    chain
        .send(
            2,
            Action::AuthorizeReporter {
                key: Some(public(200)),
            },
        )
        .unwrap();
    chain
        .send(
            3,
            Action::AuthorizeReporter {
                key: Some(public(200)),
            },
        )
        .unwrap();
    chain.report(200, 2, proposal, Readiness::Staged).unwrap();
    chain.report(200, 3, proposal, Readiness::Staged).unwrap();
}

#[test]
fn gov_16_a_key_with_another_role_does_not_report() {
    let (mut chain, _) = reporting();
    let mut no_point = PublicKey([0; 32]);
    no_point.0[0] = 2;
    for key in [
        public(1),
        public(2),
        public(101),
        public(102),
        PublicKey([0; 32]),
        no_point,
    ] {
        let rejection = chain
            .send(0, Action::AuthorizeReporter { key: Some(key) })
            .unwrap_err();
        assert_eq!(rejection, Rejection::ReporterKey { key });
        assert_eq!(rejection.code(), "GOV-16.key");
    }
    assert_eq!(
        code(chain.send(50, Action::AuthorizeReporter { key: None })),
        "GOV-01"
    );
}

#[test]
fn gov_16_proposal_only_live_upgrades_are_reported_on() {
    let (mut chain, proposal) = reporting();
    let change = chain.submit(0, &set_change(40, &[add(20, 1)]));
    let ended = chain.propose(2, &upgrade("1.2.0", 30));
    for sender in [3, 4] {
        chain.vote(sender, ended, Choice::Reject).unwrap();
    }
    assert_eq!(chain.phase(ended), Phase::Rejected);
    for wrong in [ProposalId([9; 32]), change, ended] {
        let rejection = chain.report(200, 0, wrong, Readiness::Staged).unwrap_err();
        assert_eq!(rejection, Rejection::NothingToReport { proposal: wrong });
        assert_eq!(rejection.code(), "GOV-16.proposal");
    }
    chain.approve(&[1, 2, 3, 4], proposal);
    let _ = chain.close(36);
    chain.begin().unwrap();
    chain.send(0, Action::ProposeCancel { target: proposal }).unwrap();
    let cancel = cancel_id(proposal);
    assert_eq!(
        code(chain.report(200, 0, cancel, Readiness::Staged)),
        "GOV-16.proposal"
    );
}

#[test]
fn gov_16_a_report_is_judged_in_this_order() {
    let (mut chain, proposal) = reporting();
    chain.open(5);
    let report = |validator: usize, proposal: ProposalId| Action::ReportReadiness {
        validator: validator_id(validator),
        proposal,
        readiness: Readiness::Staged,
    };
    let mut transaction = chain.transaction(0, report(5, ProposalId([9; 32])));
    (transaction.sequence, transaction.last_valid_height) = (7, Height(4));
    for expected in [
        "GOV-13.expired",
        "GOV-16",
        "GOV-13.gap",
        "GOV-16.proposal",
        "ok",
        "GOV-13.replay",
    ] {
        let delivered = chain.deliver(&transaction.clone().sign(&key(200)));
        assert_eq!(
            delivered.err().map_or("ok", |rejection| rejection.code()),
            expected
        );
        match expected {
            "GOV-13.expired" => transaction.last_valid_height = Height(5),
            "GOV-16" => transaction.action = report(0, ProposalId([9; 32])),
            "GOV-13.gap" => transaction.sequence = 0,
            "GOV-16.proposal" => transaction.action = report(0, proposal),
            _other => {}
        }
    }
}

#[test]
fn gov_16_a_known_sender_is_told_cheaply() {
    let (chain, proposal) = reporting();
    let report = |validator: usize, seed: u8| {
        let action = Action::ReportReadiness {
            validator: validator_id(validator),
            proposal,
            readiness: Readiness::Staged,
        };
        chain.transaction(0, action).sign(&key(seed))
    };
    let vote = |seed: u8| {
        let action = Action::Vote {
            proposal,
            choice: Choice::Approve,
        };
        chain.transaction(0, action).sign(&key(seed))
    };
    for (signed, expected) in [
        (report(0, 200), true),
        (report(0, 201), false),
        (report(5, 200), false),
        (report(50, 200), false),
        (report(0, 1), false),
        (vote(1), true),
        (vote(101), false),
        (vote(200), false),
        (vote(99), false),
    ] {
        assert_eq!(chain.state.knows_sender(&signed), expected);
    }
}

#[test]
fn gov_16_a_validator_that_leaves_takes_its_reporter_along() {
    let (mut chain, proposal) = reporting();
    chain.report(201, 1, proposal, Readiness::Staged).unwrap();
    chain.lock_in(&set_change(20, &[remove(1)]));
    chain.open(20);
    chain.report(201, 1, proposal, Readiness::Staged).unwrap();
    chain.open(21);
    assert_eq!(code(chain.report(201, 1, proposal, Readiness::Staged)), "GOV-16");
    chain.lock_in(&set_change(31, &[add(1, 1)]));
    let _ = chain.close(31);
    chain.begin().unwrap();
    assert_eq!(
        code(chain.report(201, 1, proposal, Readiness::Staged)),
        "GOV-16",
        "also when it comes back"
    );
    chain
        .send(
            1,
            Action::AuthorizeReporter {
                key: Some(public(201)),
            },
        )
        .unwrap();
    chain.report(201, 1, proposal, Readiness::Verified).unwrap();
    assert_eq!(
        chain
            .state
            .account(&validator_id(1))
            .unwrap()
            .next_report_sequence,
        3
    );
}

#[test]
fn gov_16_a_rotated_governance_key_keeps_its_reporter() {
    let (mut chain, proposal) = reporting();
    chain.lock_in(&set_change(20, &[rotate(1, Some(90), Some(91))]));
    chain.open(21);
    chain.report(201, 1, proposal, Readiness::Staged).unwrap();
    let revoke = chain.transaction(1, Action::AuthorizeReporter { key: None });
    assert_eq!(
        code(chain.deliver(&revoke.clone().sign(&governance_key(1)))),
        "GOV-01"
    );
    chain.deliver(&revoke.sign(&key(90))).unwrap();
    assert_eq!(code(chain.report(201, 1, proposal, Readiness::Staged)), "GOV-16");
}
