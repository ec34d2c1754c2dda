//! The node that reports go to, over `governance.v1`: one connection, made for a report and closed after it.
//!
//! The node is asked before anything is sent: what the chain has already is never sent again, also not by a visor that was
//! started anew.

use std::time::Duration;

use governance::{
    Account, Action, ChainId, Height, ProposalId, PublicKey, Readiness, ReadinessReport, Rejection,
    SigningKey, Transaction, TransactionId, Validator, ValidatorId,
};
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_transaction_response::Outcome;
use proto::pb::governance::v1::governance_service_client::GovernanceServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// A node on another continent answers in less.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a report that was sent is waited for before it counts as one that waits.
const BLOCK_PATIENCE: Duration = Duration::from_secs(10);
/// For how many blocks a report stays valid, as the wallet's transactions.
const VALID_FOR: u64 = 100;

/// What this host reports: staging ends only when the artifact has the proposal's size and digest, runs here, and says that it is
/// the proposed version.
const READINESS: Readiness = Readiness::Verified;

/// Why a report is not on the chain yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    #[error("no node answers at {url}")]
    Unreachable {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the node at {url} does not answer within {} s", PATIENCE.as_secs())]
    Silent { url: String },
    #[error("the node at {url} has no room for it: {message}")]
    Busy { url: String, message: String },
    #[error("transaction {id} is in no block yet")]
    Waiting { id: TransactionId },
    #[error("an earlier report of this key is in no block yet ({code})")]
    Behind { code: String },
    #[error("the chain has halted for an upgrade ({code})")]
    Halted { code: String },
    #[error("rejected ({code}): {message}")]
    Rejected { code: String, message: String },
    #[error(
        "rejected (GOV-16): no active validator has authorised key {key}: run `wallet authorize-reporter {key}`"
    )]
    NotAuthorised { key: PublicKey },
    #[error(
        "expected a node of the pinned chain {expected} at {url}, found one of {found}: correct reporter.node"
    )]
    ForeignChain {
        url: String,
        expected: String,
        found: ChainId,
    },
    #[error("expected a governance node at {url}, found something else: {message}; correct reporter.node")]
    NotANode { url: String, message: String },
}

impl ReportError {
    /// The rule's stable code, when it was a rule that refused.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Behind { code } | Self::Halted { code } | Self::Rejected { code, .. } => Some(code),
            Self::NotAuthorised { .. } => Some("GOV-16"),
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Busy { .. }
            | Self::Waiting { .. }
            | Self::ForeignChain { .. }
            | Self::NotANode { .. } => None,
        }
    }

    /// Whether it needs nobody at first: nodes restart, and blocks take their time.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Busy { .. }
            | Self::Waiting { .. }
            | Self::Behind { .. }
            | Self::Halted { .. } => true,
            Self::Rejected { .. }
            | Self::NotAuthorised { .. }
            | Self::ForeignChain { .. }
            | Self::NotANode { .. } => false,
        }
    }
}

/// A report that the chain has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OnChain {
    pub(super) validator: String,
    /// The block that included it.
    pub(super) height: Height,
    /// It was there before anything was sent.
    pub(super) already: bool,
}

/// A connection to the node, and who reports over it.
pub(super) struct Node {
    service: GovernanceServiceClient<Channel>,
    url: String,
    chain_id: ChainId,
    validator: Validator,
}

impl Node {
    /// Connects and finds the validator that has authorised `key`. An empty `pinned` allows every chain.
    pub(super) async fn connect(
        endpoint: &Endpoint,
        key: PublicKey,
        pinned: &str,
    ) -> Result<Self, ReportError> {
        let url = endpoint.uri().to_string();
        let channel = endpoint
            .clone()
            .connect_timeout(PATIENCE)
            .connect()
            .await
            .map_err(|source| ReportError::Unreachable {
                url: url.clone(),
                source: source.into(),
            })?;
        let mut service = GovernanceServiceClient::new(channel);
        let status = status(&mut service, &url).await?;
        let chain_id: ChainId = status.chain_id.parse().map_err(senseless(&url))?;
        if !pinned.is_empty() && chain_id.as_str() != pinned {
            return Err(ReportError::ForeignChain {
                url,
                expected: pinned.to_owned(),
                found: chain_id,
            });
        }
        let wanted = pb::get_validator_request::Key::ReporterKey(key.0.to_vec());
        let (validator, account) = validator(&mut service, &url, wanted)
            .await?
            .ok_or(ReportError::NotAuthorised { key })?;
        if account.reporter != Some(key) {
            return Err(ReportError::NotANode {
                url,
                message: "it names a validator that has not authorised the key".to_owned(),
            });
        }
        Ok(Self {
            service,
            url,
            chain_id,
            validator,
        })
    }

    /// Makes sure that the chain has this host's report. `sent` is an earlier attempt whose end is not known; the present one is
    /// left in it.
    pub(super) async fn report(
        &mut self,
        proposal: ProposalId,
        key: &SigningKey,
        sent: &mut Option<TransactionId>,
    ) -> Result<OnChain, ReportError> {
        if let Some(height) = self.reported(proposal).await? {
            return Ok(OnChain {
                validator: self.validator.name.clone(),
                height,
                already: sent.is_none(),
            });
        }
        let id = match *sent {
            // It may still come: a second one would be a second report.
            Some(id) if self.is_pending(id).await? => id,
            Some(_) | None => {
                let id = self.submit(proposal, key).await?;
                *sent = Some(id);
                id
            }
        };
        match self.outcome(id, BLOCK_PATIENCE).await? {
            Some(Outcome::Committed(committed)) => match committed.rejection {
                None => Ok(OnChain {
                    validator: self.validator.name.clone(),
                    height: Height(committed.height),
                    already: false,
                }),
                Some(rejection) => {
                    *sent = None;
                    Err(rejected(rejection.code, rejection.message))
                }
            },
            Some(Outcome::Dropped(dropped)) => {
                *sent = None;
                let rejection = dropped.rejection.unwrap_or_default();
                Err(rejected(rejection.code, rejection.message))
            }
            Some(Outcome::Unknown(_) | Outcome::Pending(_)) | None => Err(ReportError::Waiting { id }),
        }
    }

    /// The block with the same report, when the chain has it.
    async fn reported(&mut self, proposal: ProposalId) -> Result<Option<Height>, ReportError> {
        let request = pb::ListReportsRequest {
            proposal_id: proposal.0.to_vec(),
            page_size: 1,
            page_token: Vec::new(),
            validator_id: Some(self.validator.id.0.to_vec()),
        };
        let answer = match self.service.list_reports(patient(request, PATIENCE)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::NotFound => {
                let refusal = Rejection::NothingToReport { proposal };
                return Err(rejected(refusal.code().to_owned(), refusal.to_string()));
            }
            Err(status) => return Err(failure(&self.url, &status)),
        };
        for message in answer.reports {
            let (validator, report) =
                <(ValidatorId, ReadinessReport)>::try_from(message).map_err(senseless(&self.url))?;
            if validator == self.validator.id && report.readiness >= READINESS {
                return Ok(Some(report.height));
            }
        }
        Ok(None)
    }

    /// Height and sequence number are asked for at the last moment.
    async fn submit(&mut self, proposal: ProposalId, key: &SigningKey) -> Result<TransactionId, ReportError> {
        let height = status(&mut self.service, &self.url).await?.height;
        let wanted = pb::get_validator_request::Key::Id(self.validator.id.0.to_vec());
        let (_, account) =
            validator(&mut self.service, &self.url, wanted)
                .await?
                .ok_or(ReportError::NotAuthorised {
                    key: PublicKey::from(key),
                })?;
        let transaction = Transaction {
            chain_id: self.chain_id.clone(),
            sequence: account.next_report_sequence,
            last_valid_height: Height(height.saturating_add(VALID_FOR)),
            action: Action::ReportReadiness {
                validator: self.validator.id,
                proposal,
                readiness: READINESS,
            },
        };
        let signed = transaction.sign(key);
        let request = pb::SubmitTransactionRequest {
            transaction: Some((&signed).into()),
        };
        match self.service.submit_transaction(patient(request, PATIENCE)).await {
            Ok(_) => Ok(signed.id()),
            Err(status) if status.code() == Code::AlreadyExists && rejection_code(&status).is_none() => {
                Ok(signed.id())
            }
            Err(status) => Err(failure(&self.url, &status)),
        }
    }

    async fn is_pending(&mut self, id: TransactionId) -> Result<bool, ReportError> {
        match self.outcome(id, Duration::ZERO).await? {
            Some(Outcome::Pending(_) | Outcome::Committed(_)) => Ok(true),
            Some(Outcome::Unknown(_) | Outcome::Dropped(_)) | None => Ok(false),
        }
    }

    async fn outcome(&mut self, id: TransactionId, wait: Duration) -> Result<Option<Outcome>, ReportError> {
        let request = pb::GetTransactionRequest {
            transaction_id: id.0.to_vec(),
            wait_milliseconds: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        };
        let request = patient(request, wait.saturating_add(PATIENCE));
        let answer = self.service.get_transaction(request).await;
        Ok(answer
            .map_err(|status| failure(&self.url, &status))?
            .into_inner()
            .outcome)
    }
}

async fn status(
    service: &mut GovernanceServiceClient<Channel>,
    url: &str,
) -> Result<pb::GetStatusResponse, ReportError> {
    let answer = service
        .get_status(patient(pb::GetStatusRequest {}, PATIENCE))
        .await;
    Ok(answer.map_err(|status| failure(url, &status))?.into_inner())
}

async fn validator(
    service: &mut GovernanceServiceClient<Channel>,
    url: &str,
    wanted: pb::get_validator_request::Key,
) -> Result<Option<(Validator, Account)>, ReportError> {
    let request = pb::GetValidatorRequest { key: Some(wanted) };
    let answer = match service.get_validator(patient(request, PATIENCE)).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == Code::NotFound => return Ok(None),
        Err(status) => return Err(failure(url, &status)),
    };
    let found = answer.validator.map(<(Validator, Account)>::try_from).transpose();
    found.map_err(senseless(url))
}

/// A request that fails on this side too when the time is up.
fn patient<T>(message: T, patience: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(patience);
    request
}

fn senseless<E: std::fmt::Display>(url: &str) -> impl Fn(E) -> ReportError {
    let url = url.to_owned();
    move |error| ReportError::NotANode {
        url: url.clone(),
        message: error.to_string(),
    }
}

fn rejection_code(status: &Status) -> Option<String> {
    let code = status.metadata().get("rejection-code")?.to_str().ok()?;
    Some(code.to_owned())
}

fn rejected(code: String, message: String) -> ReportError {
    match code.as_str() {
        "GOV-13.replay" | "GOV-13.gap" => ReportError::Behind { code },
        "GOV-09.halted" => ReportError::Halted { code },
        _ => ReportError::Rejected { code, message },
    }
}

fn failure(url: &str, status: &Status) -> ReportError {
    let url = url.to_owned();
    let message = status.message().to_owned();
    if let Some(code) = rejection_code(status) {
        return rejected(code, message);
    }
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => ReportError::Silent { url },
        Code::ResourceExhausted => ReportError::Busy { url, message },
        Code::Unavailable | Code::Unknown | Code::Internal | Code::Aborted | Code::DataLoss => {
            ReportError::Unreachable {
                url,
                source: message.into(),
            }
        }
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => ReportError::NotANode { url, message },
    }
}
