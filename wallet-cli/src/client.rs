//! The governance node this wallet talks to: typed questions and answers.
//!
//! The node is not trusted with what is signed: a proposal counts only when its id is the hash of its content on this
//! chain (GOV-04) and it is the one that was asked for.

mod lists;
mod wanted;

use std::time::Duration;

use governance::{
    Account, ChainId, Height, MAX_CERTIFICATE_BYTES, Proposal, ProposalId, SignedTransaction, TransactionId,
    Validator,
};
use proto::InvalidMessage;
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_transaction_response::Outcome as PbOutcome;
use proto::pb::governance::v1::governance_service_client::GovernanceServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

pub(crate) use self::lists::{ListedBallot, ListedReport};
pub(crate) use self::wanted::Wanted;
use crate::client_error::{ClientError, PATIENCE, failure, rejection_code};
use crate::node_status::NodeStatus;

/// One long poll: short enough for a proxy in between not to cut it.
const LONG_POLL: Duration = Duration::from_secs(10);
/// The largest answer is a certificate.
const MAX_ANSWER_BYTES: usize = MAX_CERTIFICATE_BYTES + 1024;
/// As the chain's own look-up.
const MIN_ID_DIGITS: usize = 8;
/// Blocks over which the interval is averaged: enough to even out a slow proposer.
const INTERVAL_BLOCKS: u64 = 20;
/// The estimate is a courtesy: nobody waits for it.
const INTERVAL_PATIENCE: Duration = Duration::from_secs(2);

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Unknown,
    Pending,
    Committed {
        height: Height,
    },
    /// In a block, where it changed nothing.
    Rejected {
        height: Height,
        code: String,
        message: String,
    },
    /// Left the mempool without a block.
    Dropped {
        code: String,
        message: String,
    },
}

/// The node's answer to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submitted {
    Admitted,
    AlreadyKnown,
}

/// A connection to one node of one chain.
pub(crate) struct Client {
    service: GovernanceServiceClient<Channel>,
    url: String,
    status: NodeStatus,
}

impl Client {
    /// Connects, and refuses a node of another chain than `pin`.
    pub(crate) async fn connect(url: &str, pin: Option<&ChainId>) -> Result<Self, ClientError> {
        let malformed = || ClientError::Url { url: url.to_owned() };
        if !url.starts_with("http://") {
            return Err(malformed());
        }
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| malformed())?;
        let channel = endpoint
            .connect_timeout(PATIENCE)
            .connect()
            .await
            .map_err(|source| ClientError::Unreachable {
                url: url.to_owned(),
                source: source.into(),
            })?;
        let mut service = GovernanceServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        let status = status(&mut service, url).await?;
        match pin {
            Some(pin) if *pin != status.chain_id => Err(ClientError::ForeignChain {
                url: url.to_owned(),
                expected: pin.clone(),
                found: status.chain_id,
            }),
            Some(_) | None => Ok(Self {
                service,
                url: url.to_owned(),
                status,
            }),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) const fn chain_id(&self) -> &ChainId {
        &self.status.chain_id
    }

    /// As it was when last asked.
    pub(crate) const fn status(&self) -> &NodeStatus {
        &self.status
    }

    /// Asks again. A node that changes its chain meanwhile is refused.
    pub(crate) async fn refresh(&mut self) -> Result<(), ClientError> {
        let now = status(&mut self.service, &self.url).await?;
        if now.chain_id != self.status.chain_id {
            return Err(ClientError::ForeignChain {
                url: self.url.clone(),
                expected: self.status.chain_id.clone(),
                found: now.chain_id,
            });
        }
        self.status = now;
        Ok(())
    }

    /// The active validator with this id, key or name; `None` when there is none.
    pub(crate) async fn validator(
        &mut self,
        wanted: &Wanted,
    ) -> Result<Option<(Validator, Account)>, ClientError> {
        let request = pb::GetValidatorRequest {
            key: Some(wanted.into()),
        };
        let answer = match self.service.get_validator(patient(request, PATIENCE)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::NotFound => return Ok(None),
            Err(status) => return Err(failure(&self.url, status)),
        };
        let Some(message) = answer.validator else {
            return Ok(None);
        };
        let found = <(Validator, Account)>::try_from(message).map_err(self.not_understood())?;
        if wanted.is_met(&found) {
            Ok(Some(found))
        } else {
            Err(ClientError::OtherValidator {
                url: self.url.clone(),
                asked: wanted.to_string(),
                found: found.0.id,
            })
        }
    }

    /// The proposal that a person means: an id, at least eight of its first digits, or a name like `v1.2.0@12345`.
    pub(crate) async fn proposal(&mut self, name: &str) -> Result<Proposal, ClientError> {
        let key = pb::get_proposal_request::Key::Name(name.to_owned());
        let request = patient(pb::GetProposalRequest { key: Some(key) }, PATIENCE);
        let answer = self.service.get_proposal(request).await.map_err(|status| {
            if matches!(
                status.code(),
                Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition
            ) {
                ClientError::NotFound {
                    name: name.to_owned(),
                    message: status.message().to_owned(),
                }
            } else {
                failure(&self.url, status)
            }
        })?;
        let proposal = answer
            .into_inner()
            .proposal
            .ok_or_else(|| ClientError::NotFound {
                name: name.to_owned(),
                message: "the node answers with nothing".to_owned(),
            })?;
        let proposal = self.genuine(proposal, name)?;
        if is_meant(&proposal, name) {
            Ok(proposal)
        } else {
            Err(self.deceived(name, proposal.id))
        }
    }

    pub(crate) async fn plan(&mut self) -> Result<Option<Proposal>, ClientError> {
        let request = patient(pb::GetPlanRequest {}, PATIENCE);
        let answer = self.service.get_plan(request).await;
        let answer = answer.map_err(|status| failure(&self.url, status))?.into_inner();
        answer.plan.map(|plan| self.genuine(plan, "the plan")).transpose()
    }

    /// The certificate of a proposal, as its bytes. Whether it proves anything is for [`governance::CertificateChain`] to say.
    pub(crate) async fn certificate(&mut self, proposal: ProposalId) -> Result<Vec<u8>, ClientError> {
        let key = pb::get_certificate_request::Key::Id(proposal.0.to_vec());
        let request = patient(pb::GetCertificateRequest { key: Some(key) }, PATIENCE);
        let answer = self.service.get_certificate(request).await;
        let answer = answer.map_err(|status| failure(&self.url, status))?.into_inner();
        Ok(answer.certificate)
    }

    pub(crate) async fn submit(&mut self, signed: &SignedTransaction) -> Result<Submitted, ClientError> {
        let request = pb::SubmitTransactionRequest {
            transaction: Some(signed.into()),
        };
        match self.service.submit_transaction(patient(request, PATIENCE)).await {
            Ok(_) => Ok(Submitted::Admitted),
            Err(status) if status.code() == Code::AlreadyExists && rejection_code(&status).is_none() => {
                Ok(Submitted::AlreadyKnown)
            }
            Err(status) => Err(failure(&self.url, status)),
        }
    }

    /// What became of a transaction; waits up to `wait` for it to be final, in one or several polls. A node that goes away
    /// meanwhile, for example because its version changes, may come back.
    pub(crate) async fn outcome(
        &mut self,
        id: TransactionId,
        wait: Duration,
    ) -> Result<Outcome, ClientError> {
        let deadline = tokio::time::Instant::now().checked_add(wait);
        loop {
            let left = deadline.map_or(LONG_POLL, |deadline| {
                deadline.saturating_duration_since(tokio::time::Instant::now())
            });
            let poll = left.min(LONG_POLL);
            let asked = tokio::time::Instant::now();
            let outcome = self.poll_outcome(id, poll).await;
            let is_final = match &outcome {
                Ok(outcome) => !matches!(outcome, Outcome::Unknown | Outcome::Pending),
                Err(error) => !matches!(
                    error,
                    ClientError::Unreachable { .. } | ClientError::Silent { .. }
                ),
            };
            if is_final || left <= poll {
                return outcome;
            }
            // A node that answers "not yet" at once must not be asked in a tight loop.
            let pause = Duration::from_millis(200).saturating_sub(asked.elapsed());
            tokio::time::sleep(pause).await;
        }
    }

    /// The mean time between the last blocks, as this node saw them; `None` when it cannot be told quickly.
    pub(crate) async fn block_interval(&mut self) -> Option<Duration> {
        let last = self.status.height.0;
        let first = last.saturating_sub(INTERVAL_BLOCKS).max(1);
        let blocks = u32::try_from(last.checked_sub(first)?)
            .ok()
            .filter(|blocks| *blocks > 0)?;
        let times = async {
            let request = pb::StreamEventsRequest { from_height: first };
            let mut stream = self.service.stream_events(request).await.ok()?.into_inner();
            let mut began = None;
            while let Some(block) = stream.message().await.ok()? {
                let began = *began.get_or_insert(block.committed_at_unix_ms);
                if block.height >= last {
                    return block.committed_at_unix_ms.checked_sub(began);
                }
            }
            None
        };
        let elapsed = tokio::time::timeout(INTERVAL_PATIENCE, times).await.ok()??;
        Some(Duration::from_millis(elapsed) / blocks)
    }

    async fn poll_outcome(&mut self, id: TransactionId, wait: Duration) -> Result<Outcome, ClientError> {
        let request = pb::GetTransactionRequest {
            transaction_id: id.0.to_vec(),
            wait_milliseconds: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        };
        let request = patient(request, wait.saturating_add(PATIENCE));
        let answer = self.service.get_transaction(request).await;
        let answer = answer.map_err(|status| failure(&self.url, status))?.into_inner();
        Ok(match answer.outcome {
            None | Some(PbOutcome::Unknown(_)) => Outcome::Unknown,
            Some(PbOutcome::Pending(_)) => Outcome::Pending,
            Some(PbOutcome::Committed(committed)) => {
                let height = Height(committed.height);
                match committed.rejection {
                    None => Outcome::Committed { height },
                    Some(pb::Rejection { code, message }) => Outcome::Rejected {
                        height,
                        code,
                        message,
                    },
                }
            }
            Some(PbOutcome::Dropped(dropped)) => {
                let pb::Rejection { code, message } = dropped.rejection.unwrap_or_default();
                Outcome::Dropped { code, message }
            }
        })
    }

    fn genuine(&self, message: pb::Proposal, asked: &str) -> Result<Proposal, ClientError> {
        let proposal = Proposal::try_from(message).map_err(self.not_understood())?;
        if proposal.subject.id(self.chain_id()) == proposal.id {
            Ok(proposal)
        } else {
            Err(self.deceived(asked, proposal.id))
        }
    }

    fn deceived(&self, asked: &str, found: ProposalId) -> ClientError {
        ClientError::Deceived {
            url: self.url.clone(),
            asked: asked.to_owned(),
            found,
        }
    }

    fn not_understood(&self) -> impl Fn(InvalidMessage) -> ClientError {
        let url = self.url.clone();
        move |source| ClientError::Answer {
            url: url.clone(),
            source,
        }
    }
}

async fn status(
    service: &mut GovernanceServiceClient<Channel>,
    url: &str,
) -> Result<NodeStatus, ClientError> {
    let answer = service
        .get_status(patient(pb::GetStatusRequest {}, PATIENCE))
        .await
        .map_err(|status| {
            let error = failure(url, status);
            // What a server says that speaks HTTP/2, but not this protocol.
            if let ClientError::Refused { url, message } = error {
                ClientError::NotANode { url, message }
            } else {
                error
            }
        })?
        .into_inner();
    NodeStatus::try_from(answer).map_err(|message| ClientError::NotANode {
        url: url.to_owned(),
        message,
    })
}

/// A request that fails on this side too when the time is up.
fn patient<T>(message: T, patience: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(patience);
    request
}

/// Whether `proposal` is what `name` names. Fewer than eight digits name nothing: a node could choose among too many.
fn is_meant(proposal: &Proposal, name: &str) -> bool {
    if name.contains('@') {
        let full = proposal.name();
        full == name || full.strip_prefix('v') == Some(name)
    } else {
        name.len() >= MIN_ID_DIGITS && proposal.id.to_string().starts_with(&name.to_ascii_lowercase())
    }
}
