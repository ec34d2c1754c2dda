//! Lists in pages, votes and reports of live and ended proposals, certificates: on the running program.

use governance::{
    Action, CertificateChain, Choice, Genesis, Height, ProposalId, PublicKey, Readiness, SigningKey, Subject,
    Transaction, Upgrade, ValidatorId,
};
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::governance_service_client::GovernanceServiceClient;
use proto::pb::node::v1 as pb_node;
use tonic::Code;
use tonic::transport::Channel;

use crate::network::upgrade;
use crate::single::{Single, governance_key};

type Client = GovernanceServiceClient<Channel>;

fn reporter_key() -> SigningKey {
    SigningKey::from_bytes(&[77; 32])
}

fn own_id() -> ValidatorId {
    ValidatorId::at_entry(&PublicKey::from(&governance_key()))
}

/// Submits an action and waits until it is in a block, where it must apply.
async fn commit(client: &mut Client, key: &SigningKey, sequence: u64, action: Action) {
    let transaction = Transaction {
        chain_id: "single-1".parse().unwrap(),
        sequence,
        last_valid_height: Height(1_000_000),
        action,
    };
    let request = pb::SubmitTransactionRequest {
        transaction: Some((&transaction.sign(key)).into()),
    };
    let transaction_id = client
        .submit_transaction(request)
        .await
        .unwrap()
        .into_inner()
        .transaction_id;
    let request = pb::GetTransactionRequest {
        transaction_id,
        wait_milliseconds: 30_000,
    };
    let outcome = client
        .get_transaction(request)
        .await
        .unwrap()
        .into_inner()
        .outcome;
    assert!(
        matches!(
            &outcome,
            Some(pb::get_transaction_response::Outcome::Committed(committed)) if committed.rejection.is_none()
        ),
        "{outcome:?}"
    );
}

fn far(number: u64) -> Upgrade {
    upgrade(10_000 + number)
}

fn id(upgrade: Upgrade) -> ProposalId {
    Subject::Upgrade(upgrade).id(&"single-1".parse().unwrap())
}

async fn proposals(client: &mut Client, page_size: u32, page_token: Vec<u8>) -> pb::ListProposalsResponse {
    let request = pb::ListProposalsRequest {
        include_ended: true,
        page_size,
        page_token,
    };
    client.list_proposals(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_ballots_reports_and_certificates_are_served() {
    let mut single = Single::lay_out();
    single.start();
    let mut client = single.client().await;
    let key = governance_key();
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        sequence - 1
    };
    for number in 0..3 {
        commit(&mut client, &key, next(), Action::ProposeUpgrade(far(number))).await;
    }
    let against = Action::Vote {
        proposal: id(far(0)),
        choice: Choice::Reject,
    };
    commit(&mut client, &key, next(), against).await;
    // GOV-06: the last one holds the approval, and the second one waits for votes.
    let report = |sequence, readiness| {
        let action = Action::ReportReadiness {
            validator: own_id(),
            proposal: id(far(2)),
            readiness,
        };
        (sequence, action)
    };
    let authorize = Action::AuthorizeReporter {
        key: Some(PublicKey::from(&reporter_key())),
    };
    commit(&mut client, &key, next(), authorize).await;
    for (sequence, action) in [report(0, Readiness::Staged), report(1, Readiness::Verified)] {
        commit(&mut client, &reporter_key(), sequence, action).await;
    }

    // All proposals, one by one, in the order of the whole list.
    let whole = proposals(&mut client, 0, Vec::new()).await;
    assert_eq!((whole.proposals.len(), whole.next_page_token.len()), (3, 0));
    let mut token = Vec::new();
    for expected in &whole.proposals {
        let page = proposals(&mut client, 1, token).await;
        assert_eq!(page.proposals, std::slice::from_ref(expected));
        token = page.next_page_token;
    }
    assert!(token.is_empty());
    let foreign = pb::ListProposalsRequest {
        page_token: vec![1; 20],
        ..Default::default()
    };
    let refused = client.list_proposals(foreign).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");

    // Ballots: of an ended one from the archive, of a live one from the state, of one that has none.
    for (number, expected) in [
        (0, vec![pb::Choice::Reject]),
        (1, vec![]),
        (2, vec![pb::Choice::Approve]),
    ] {
        for validator_id in [None, Some(own_id().0.to_vec())] {
            let request = pb::ListBallotsRequest {
                proposal_id: id(far(number)).0.to_vec(),
                validator_id,
                ..Default::default()
            };
            let ballots = client.list_ballots(request).await.unwrap().into_inner().ballots;
            let choices: Vec<_> = ballots.iter().map(|ballot| ballot.choice()).collect();
            assert_eq!(choices, expected);
            assert!(
                ballots
                    .iter()
                    .all(|ballot| ballot.validator.as_ref().unwrap().name == "single")
            );
        }
    }
    let nobody = pb::ListBallotsRequest {
        proposal_id: id(far(2)).0.to_vec(),
        validator_id: Some(vec![9; 20]),
        ..Default::default()
    };
    assert!(
        client
            .list_ballots(nobody)
            .await
            .unwrap()
            .into_inner()
            .ballots
            .is_empty()
    );
    let unknown = pb::ListBallotsRequest {
        proposal_id: vec![9; 32],
        ..Default::default()
    };
    assert_eq!(
        client.list_ballots(unknown).await.unwrap_err().code(),
        Code::NotFound
    );
    let request = pb::ListReportsRequest {
        proposal_id: id(far(2)).0.to_vec(),
        ..Default::default()
    };
    let reports = client.list_reports(request).await.unwrap().into_inner().reports;
    assert_eq!(reports.len(), 1, "a report replaces the one before");
    assert_eq!(reports[0].readiness(), pb::Readiness::Verified);

    validators(&mut client, &single, sequence).await;
    certificates(&mut client, &single).await;
    assert_eq!(single.stop(), Some(0), "{}", single.log());
}

async fn validators(client: &mut Client, single: &Single, next_sequence: u64) {
    use pb::get_validator_request::Key;
    let listed = client
        .list_validators(pb::ListValidatorsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((listed.validators.len(), listed.next_page_token.len()), (1, 0));
    let validator = &listed.validators[0];
    assert_eq!(
        (validator.next_sequence, validator.next_report_sequence),
        (next_sequence, 2)
    );
    assert_eq!(
        validator.consensus_key,
        hex::decode(&single.consensus_key).unwrap()
    );
    assert_eq!(validator.approves, Some(id(far(2)).0.to_vec()));
    let keys = [
        Key::Id(own_id().0.to_vec()),
        Key::GovernanceKey(validator.governance_key.clone()),
        Key::ReporterKey(PublicKey::from(&reporter_key()).0.to_vec()),
        Key::Name("single".to_owned()),
    ];
    for key in keys {
        let request = pb::GetValidatorRequest { key: Some(key) };
        let found = client.get_validator(request).await.unwrap().into_inner();
        assert_eq!(found.validator.as_ref(), Some(validator));
    }
    for (key, code) in [
        (Some(Key::Id(vec![9; 20])), Code::NotFound),
        (
            Some(Key::GovernanceKey(validator.consensus_key.clone())),
            Code::NotFound,
        ),
        (Some(Key::Name("nobody".to_owned())), Code::NotFound),
        (Some(Key::Id(vec![9; 3])), Code::InvalidArgument),
        (None, Code::InvalidArgument),
    ] {
        let refused = client
            .get_validator(pb::GetValidatorRequest { key })
            .await
            .unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
    }
    let status = client
        .get_status(pb::GetStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (status.validators, status.total_power, status.executed_changes),
        (1, 1, 0)
    );
}

async fn certificates(client: &mut Client, single: &Single) {
    use pb::get_certificate_request::Key;
    let genesis: Genesis =
        serde_json::from_slice(&std::fs::read(single.file("genesis.json")).unwrap()).unwrap();
    let name = format!("v{}@{}", far(2).version, far(2).height);
    let request = pb::GetCertificateRequest {
        key: Some(Key::Name(name)),
    };
    let bytes = client
        .get_certificate(request)
        .await
        .unwrap()
        .into_inner()
        .certificate;
    let chain = CertificateChain::from_bytes(&bytes).unwrap();
    assert_eq!(chain.verify(&genesis).unwrap().proposal, id(far(2)));
    let mut link = single.link().await;
    let request = |number| pb_node::GetCertificateRequest {
        proposal_id: id(far(number)).0.to_vec(),
    };
    let of_visor = link.get_certificate(request(2)).await.unwrap().into_inner();
    assert_eq!(of_visor.certificate, bytes);
    for number in [0, 1] {
        let refused = link.get_certificate(request(number)).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        let request = pb::GetCertificateRequest {
            key: Some(Key::Id(id(far(number)).0.to_vec())),
        };
        let refused = client.get_certificate(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    }
    let nothing = client
        .get_certificate(pb::GetCertificateRequest { key: None })
        .await;
    assert_eq!(nothing.unwrap_err().code(), Code::InvalidArgument);
}
