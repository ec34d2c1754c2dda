//! A chain that exists only here: what a reporter asks of it, and nothing more.

use std::collections::BTreeMap;
use std::net::SocketAddr;
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
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};

const CHAIN: &str = "report-1";
const VALIDATOR: ValidatorId = ValidatorId([9; 20]);
const HEIGHT: u64 = 40;
/// The proposal that the fake node announces.
pub(crate) const PROPOSAL: ProposalId = ProposalId([0xab; 32]);

pub(crate) fn reporter_key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

/// What the chain knows, and what it was asked.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) chain: &'static str,
    pub(crate) authorised: Option<PublicKey>,
    pub(crate) is_live: bool,
    /// What is admitted stays out of blocks.
    pub(crate) holds: bool,
    pub(crate) sequence: u64,
    pub(crate) waiting: BTreeMap<TransactionId, SignedTransaction>,
    pub(crate) committed: Vec<SignedTransaction>,
    pub(crate) submissions: usize,
    pub(crate) questions: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Chain(Arc<Mutex<Ledger>>);

/// The chain's node, until it is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Chain {
    pub(crate) fn new() -> Self {
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

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// Port 0: any that is free.
    pub(crate) fn serve(&self, port: u16) -> Served {
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

    pub(crate) fn reports(&self) -> Vec<(ProposalId, Readiness, u64)> {
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
    pub(crate) fn commit_waiting(&mut self) {
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
