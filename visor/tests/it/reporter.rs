//! GOV-16: a real visor reports readiness to a chain that exists only here.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::Stream;
use governance::{
    Action, ProposalId, PublicKey, Readiness, Rejection, SignedTransaction, SigningKey, TransactionId,
    ValidatorId,
};
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_transaction_response::Outcome;
use proto::pb::governance::v1::governance_service_server::{GovernanceService, GovernanceServiceServer};
use serde_json::{Value, json};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};

use crate::scene::{Host, wait_for};

const CHAIN: &str = "report-1";
const VALIDATOR: ValidatorId = ValidatorId([9; 20]);
const HEIGHT: u64 = 40;
/// The proposal that the fake node announces.
const PROPOSAL: ProposalId = ProposalId([0xab; 32]);
const LOGGED: &str = "a readiness report is not on the chain";

fn reporter_key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

/// What the chain knows, and what it was asked.
#[derive(Debug)]
struct Ledger {
    chain: &'static str,
    authorised: Option<PublicKey>,
    is_live: bool,
    /// What is admitted stays out of blocks.
    holds: bool,
    sequence: u64,
    waiting: BTreeMap<TransactionId, SignedTransaction>,
    committed: Vec<SignedTransaction>,
    submissions: usize,
    questions: usize,
}

#[derive(Clone, Debug)]
struct Chain(Arc<Mutex<Ledger>>);

/// The chain's node, until it is dropped.
struct Served {
    address: SocketAddr,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Chain {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Ledger {
            chain: CHAIN,
            authorised: Some(PublicKey::from(&reporter_key())),
            is_live: true,
            holds: false,
            sequence: 7,
            waiting: BTreeMap::new(),
            committed: Vec::new(),
            submissions: 0,
            questions: 0,
        })))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// Port 0: any that is free.
    fn serve(&self, port: u16) -> Served {
        let service = GovernanceServiceServer::new(self.clone());
        let (told, address) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                let served = tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(TcpListenerStream::new(listener));
                tokio::select! {
                    served = served => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Served {
            address: address.recv().unwrap(),
            _stop: stop,
        }
    }

    fn reports(&self) -> Vec<(ProposalId, Readiness, u64)> {
        let of = |signed: &SignedTransaction| {
            let transaction = &signed.transaction;
            let Action::ReportReadiness {
                proposal, readiness, ..
            } = transaction.action
            else {
                panic!("no report: {signed:?}");
            };
            (proposal, readiness, transaction.sequence)
        };
        self.with(|ledger| ledger.committed.iter().map(of).collect())
    }
}

impl Ledger {
    fn commit_waiting(&mut self) {
        for signed in std::mem::take(&mut self.waiting).into_values() {
            self.sequence += 1;
            self.committed.push(signed);
        }
    }

    fn judge(&self, signed: &SignedTransaction) -> Result<(), Rejection> {
        let transaction = &signed.transaction;
        signed.verify(&self.chain.parse().unwrap())?;
        let Action::ReportReadiness { validator, .. } = transaction.action else {
            panic!("no report: {transaction:?}");
        };
        assert_eq!(validator, VALIDATOR);
        assert_eq!(transaction.last_valid_height.0, HEIGHT + 100);
        if self.authorised != Some(signed.public_key) {
            return Err(Rejection::NotTheReporter {
                public_key: signed.public_key,
                validator,
            });
        }
        let expected = self.sequence + self.waiting.len() as u64;
        let found = transaction.sequence;
        if found < expected {
            return Err(Rejection::Replayed { expected, found });
        }
        if found > expected {
            return Err(Rejection::SequenceGap { expected, found });
        }
        if !self.is_live {
            return Err(Rejection::NothingToReport { proposal: PROPOSAL });
        }
        Ok(())
    }
}

fn refused(rejection: &Rejection) -> Status {
    let mut status = Status::new(Code::FailedPrecondition, rejection.to_string());
    let code = MetadataValue::from_static(rejection.code());
    status.metadata_mut().insert("rejection-code", code);
    status
}

fn not_asked<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("a reporter has no need of this"))
}

#[tonic::async_trait]
impl GovernanceService for Chain {
    async fn get_status(
        &self,
        _: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        Ok(Response::new(self.with(|ledger| {
            ledger.questions += 1;
            pb::GetStatusResponse {
                chain_id: ledger.chain.to_owned(),
                height: HEIGHT,
                ..pb::GetStatusResponse::default()
            }
        })))
    }

    async fn get_validator(
        &self,
        request: Request<pb::GetValidatorRequest>,
    ) -> Result<Response<pb::GetValidatorResponse>, Status> {
        use pb::get_validator_request::Key;
        let found = self.with(|ledger| {
            let key = ledger.authorised.map(|key| key.0.to_vec());
            let met = match request.into_inner().key.unwrap() {
                Key::ReporterKey(asked) => Some(asked) == key,
                Key::Id(id) => id == VALIDATOR.0,
                Key::GovernanceKey(_) | Key::Name(_) => false,
            };
            met.then(|| pb::Validator {
                id: VALIDATOR.0.to_vec(),
                name: "one".to_owned(),
                governance_key: vec![1; 32],
                consensus_key: vec![2; 32],
                power: 1,
                next_sequence: 3,
                reporter_key: key,
                next_report_sequence: ledger.sequence,
                approves: None,
            })
        });
        match found {
            Some(validator) => Ok(Response::new(pb::GetValidatorResponse {
                height: HEIGHT,
                validator: Some(validator),
            })),
            None => Err(Status::not_found("there is no such validator")),
        }
    }

    async fn list_reports(
        &self,
        request: Request<pb::ListReportsRequest>,
    ) -> Result<Response<pb::ListReportsResponse>, Status> {
        assert_eq!(request.into_inner().validator_id, Some(VALIDATOR.0.to_vec()));
        let report = pb::ReadinessReport {
            validator_id: VALIDATOR.0.to_vec(),
            readiness: pb::Readiness::Verified.into(),
            height: HEIGHT,
            validator: None,
        };
        let reports = if self.reports().is_empty() {
            vec![]
        } else {
            vec![report]
        };
        Ok(Response::new(pb::ListReportsResponse {
            height: HEIGHT,
            reports,
            next_page_token: Vec::new(),
        }))
    }

    async fn submit_transaction(
        &self,
        request: Request<pb::SubmitTransactionRequest>,
    ) -> Result<Response<pb::SubmitTransactionResponse>, Status> {
        let signed = SignedTransaction::try_from(request.into_inner().transaction.unwrap()).unwrap();
        let id = signed.id();
        self.with(|ledger| {
            ledger.submissions += 1;
            ledger.judge(&signed).map_err(|rejection| refused(&rejection))?;
            ledger.waiting.insert(id, signed);
            if !ledger.holds {
                ledger.commit_waiting();
            }
            Ok(Response::new(pb::SubmitTransactionResponse {
                transaction_id: id.0.to_vec(),
            }))
        })
    }

    /// Answers at once, whatever the patience of the client.
    async fn get_transaction(
        &self,
        request: Request<pb::GetTransactionRequest>,
    ) -> Result<Response<pb::GetTransactionResponse>, Status> {
        let id = TransactionId(request.into_inner().transaction_id.try_into().unwrap());
        let outcome = self.with(|ledger| {
            if ledger.waiting.contains_key(&id) {
                Outcome::Pending(pb::TransactionPending {})
            } else if ledger.committed.iter().any(|signed| signed.id() == id) {
                Outcome::Committed(pb::TransactionCommitted {
                    height: HEIGHT,
                    rejection: None,
                })
            } else {
                Outcome::Unknown(pb::TransactionUnknown {})
            }
        });
        Ok(Response::new(pb::GetTransactionResponse {
            outcome: Some(outcome),
        }))
    }

    async fn list_proposals(
        &self,
        _: Request<pb::ListProposalsRequest>,
    ) -> Result<Response<pb::ListProposalsResponse>, Status> {
        not_asked()
    }

    async fn get_proposal(
        &self,
        _: Request<pb::GetProposalRequest>,
    ) -> Result<Response<pb::GetProposalResponse>, Status> {
        not_asked()
    }

    async fn get_plan(
        &self,
        _: Request<pb::GetPlanRequest>,
    ) -> Result<Response<pb::GetPlanResponse>, Status> {
        not_asked()
    }

    async fn list_ballots(
        &self,
        _: Request<pb::ListBallotsRequest>,
    ) -> Result<Response<pb::ListBallotsResponse>, Status> {
        not_asked()
    }

    async fn get_certificate(
        &self,
        _: Request<pb::GetCertificateRequest>,
    ) -> Result<Response<pb::GetCertificateResponse>, Status> {
        not_asked()
    }

    async fn list_validators(
        &self,
        _: Request<pb::ListValidatorsRequest>,
    ) -> Result<Response<pb::ListValidatorsResponse>, Status> {
        not_asked()
    }

    type StreamEventsStream = Pin<Box<dyn Stream<Item = Result<pb::BlockEvents, Status>> + Send>>;

    async fn stream_events(
        &self,
        _: Request<pb::StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        not_asked()
    }
}

/// A home whose visor reports to `port`, with an upgrade far away that will be staged.
fn reporting_host(port: u16) -> Host {
    let host = Host::new();
    let key = reporter_key();
    let path = host.home().join("reporter.json");
    let content = json!({
        "schema": 1,
        "name": "host",
        "public_key": PublicKey::from(&key).to_string(),
        "secret_key": hex::encode(key.to_bytes()),
    });
    fs::write(&path, content.to_string()).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    host.configure(&[
        ("reporter", "key", "reporter.json".into()),
        ("reporter", "node", format!("http://127.0.0.1:{port}").into()),
    ]);
    host
}

fn problem(status: &Value) -> Option<String> {
    let problems = status["problems"].as_array()?;
    problems
        .iter()
        .filter_map(Value::as_str)
        .find(|text| text.contains("is not reported"))
        .map(str::to_owned)
}

fn wait_height(host: &Host, blocks: u64) {
    let wanted = host.height() + blocks;
    wait_for("some blocks", || (host.height() >= wanted).then_some(()));
}

#[test]
fn gov_16_a_staged_upgrade_is_reported_once_also_by_the_next_visor() {
    let chain = Chain::new();
    let served = chain.serve(0);
    let mut host = reporting_host(served.address.port());
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    wait_height(&host, 3);
    // With nothing staged nobody is asked.
    assert_eq!(chain.with(|ledger| ledger.questions), 0);
    host.announce(10_000);
    wait_for("the report", || (!chain.reports().is_empty()).then_some(()));
    wait_for("the log line", || {
        visor.log().contains("the chain has the report").then_some(())
    });
    let asked = chain.with(|ledger| ledger.questions);
    // The status changes with every block; the report is done.
    wait_height(&host, 20);
    assert_eq!(chain.with(|ledger| ledger.questions), asked);
    visor.kill();

    let visor = host.start();
    wait_for("the second visor to look", || {
        visor.log().contains("report.already=true").then_some(())
    });
    assert_eq!(chain.reports(), [(PROPOSAL, Readiness::Verified, 7)]);
    assert_eq!(chain.with(|ledger| ledger.submissions), 1);
    let (_, status) = host.status();
    assert_eq!(status["problems"], json!([]));
}

#[test]
fn gov_16_a_report_that_waits_for_a_block_is_not_sent_again() {
    let chain = Chain::new();
    chain.with(|ledger| ledger.holds = true);
    let served = chain.serve(0);
    let mut host = reporting_host(served.address.port());
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    host.announce(10_000);
    // It looks again and again, and sends once.
    wait_for("three looks", || {
        chain.with(|ledger| ledger.questions >= 4).then_some(())
    });
    assert_eq!(
        chain.with(|ledger| (ledger.submissions, ledger.waiting.len())),
        (1, 1)
    );
    visor.kill();
    // The next visor knows nothing of it, and the chain refuses a second one of the same number.
    let visor = host.start();
    let status = host.wait_status("the problem", |status| problem(status).is_some());
    assert!(problem(&status).unwrap().contains("GOV-13.replay"), "{status}");
    chain.with(|ledger| {
        assert_eq!(ledger.waiting.len(), 1);
        ledger.holds = false;
        ledger.commit_waiting();
    });
    host.wait_status("the end of the problem", |status| problem(status).is_none());
    assert_eq!(chain.reports(), [(PROPOSAL, Readiness::Verified, 7)]);
    assert!(visor.log().contains("the chain has the report"));
}

#[test]
fn gov_16_a_node_that_is_away_is_found_when_it_is_back() {
    let chain = Chain::new();
    // A port that was free a moment ago.
    let port = chain.serve(0).address.port();
    let mut host = reporting_host(port);
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    host.announce(10_000);
    let status = host.wait_status("the problem", |status| problem(status).is_some());
    assert!(
        problem(&status)
            .unwrap()
            .contains("no node answers at http://127.0.0.1"),
        "{status}"
    );
    let _served = chain.serve(port);
    host.wait_status("the end of the problem", |status| problem(status).is_none());
    assert_eq!(chain.reports().len(), 1);
    assert_eq!(visor.log().matches(LOGGED).count(), 1, "{}", visor.log());
}

#[test]
fn gov_16_a_refusal_is_shown_with_its_code_until_it_is_over() {
    let chain = Chain::new();
    chain.with(|ledger| ledger.authorised = None);
    let served = chain.serve(0);
    let mut host = reporting_host(served.address.port());
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    host.announce(10_000);
    let status = host.wait_status("the refusal", |status| problem(status).is_some());
    let text = problem(&status).unwrap();
    let key = PublicKey::from(&reporter_key()).to_string();
    for part in ["1.1.0", "rejected (GOV-16)", "wallet authorize-reporter", &key] {
        assert!(text.contains(part), "{part} in {text}");
    }
    wait_for("another attempt", || {
        chain.with(|ledger| ledger.questions >= 3).then_some(())
    });
    assert_eq!(visor.log().matches(LOGGED).count(), 1, "{}", visor.log());
    assert!(
        visor.log().contains("rejection.code=\"GOV-16\""),
        "{}",
        visor.log()
    );

    chain.with(|ledger| {
        ledger.authorised = Some(PublicKey::from(&reporter_key()));
        ledger.is_live = false;
    });
    host.wait_status("the other refusal", |status| {
        problem(status).is_some_and(|text| text.contains("rejected (GOV-16.proposal)"))
    });
    // The upgrade is gone: nothing is left to report, and nobody is alarmed.
    host.behave(json!({ "upgrade": null }));
    host.wait_status("no problem", |status| status["problems"] == json!([]));
    let asked = chain.with(|ledger| ledger.questions);
    wait_height(&host, 20);
    assert_eq!(chain.with(|ledger| ledger.questions), asked);
    assert!(chain.reports().is_empty());
}

#[test]
fn a_reporter_that_cannot_be_used_stops_visor_before_anything_begins() {
    let host = reporting_host(1);
    let key = host.home().join("reporter.json");
    let refused = |parts: &[&str]| {
        let output = host.command().output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(host.starts().is_empty() && !host.home().join("journal").exists());
    };
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    refused(&["reporter.key", "config.toml", "0644", "chmod 600"]);
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "{}").unwrap();
    refused(&["reporter.json", "expected a key file of the wallet"]);
    fs::remove_file(&key).unwrap();
    refused(&["reporter.json", "No such file"]);
    host.configure(&[("reporter", "node", "127.0.0.1:9090".into())]);
    refused(&["reporter.node", "http://"]);
}
