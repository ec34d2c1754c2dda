//! The governance node this wallet talks to: typed questions and answers.
//!
//! The node is not trusted with what is signed: a proposal counts only when its id is the hash of its content on this
//! chain (GOV-04) and it is the one that was asked for.

use std::time::Duration;

use governance::{
    ChainId, Halt, Height, Parameters, Proposal, ProposalId, ReleaseVersion, SignedTransaction,
    TransactionId, Validator,
};
use proto::InvalidMessage;
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_transaction_response::Outcome as PbOutcome;
use proto::pb::governance::v1::governance_service_client::GovernanceServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// A node on another continent answers in less; longer, a person thinks that the wallet hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// One long poll: short enough for a proxy in between not to cut it.
const LONG_POLL: Duration = Duration::from_secs(10);
/// The most proposals with the most votes that a chain may have are far smaller.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Blocks over which the interval is averaged: enough to even out a slow proposer.
const INTERVAL_BLOCKS: u64 = 20;
/// The estimate is a courtesy: nobody waits for it.
const INTERVAL_PATIENCE: Duration = Duration::from_secs(2);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("{url:?} is no address of a node: expected http://HOST:PORT")]
    Url { url: String },
    #[error("no node answers at {url}")]
    Unreachable {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the node at {url} does not answer within {} s", PATIENCE.as_secs())]
    Silent { url: String },
    #[error("what answers at {url} is no governance node: {message}")]
    NotANode { url: String, message: String },
    #[error("the node at {url} is on chain {found}, but --chain-id says {expected}")]
    ForeignChain {
        url: String,
        expected: ChainId,
        found: ChainId,
    },
    #[error("the node at {url} gives an answer that this wallet does not understand")]
    Answer { url: String, source: InvalidMessage },
    #[error("rejected ({code}): {message}")]
    Rejected { code: String, message: String },
    #[error("no proposal for {name:?}: {message}")]
    NotFound { name: String, message: String },
    #[error("asked for {asked:?}, the node at {url} answers with another proposal or a false id: {found}")]
    Deceived {
        url: String,
        asked: String,
        found: ProposalId,
    },
    #[error("the node at {url} has no room for more transactions: {message}")]
    Busy { url: String, message: String },
    #[error("the node at {url} refuses: {message}")]
    Refused { url: String, message: String },
}

/// Where the chain and the node stand.
#[derive(Clone, Debug)]
pub(crate) struct NodeStatus {
    pub(crate) chain_id: ChainId,
    /// Of the node's binary.
    pub(crate) version: ReleaseVersion,
    pub(crate) height: Height,
    pub(crate) state_root: String,
    /// The version that must execute the next block.
    pub(crate) next_block_version: ReleaseVersion,
    pub(crate) halt: Option<Halt>,
    pub(crate) next_upgrade: Option<(Height, ReleaseVersion)>,
    pub(crate) parameters: Parameters,
    pub(crate) peers: u32,
    pub(crate) mempool_transactions: u32,
    pub(crate) moniker: String,
}

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

    pub(crate) async fn validators(&mut self) -> Result<Vec<(Validator, u64)>, ClientError> {
        let request = patient(pb::ListValidatorsRequest {}, PATIENCE);
        let answer = self.service.list_validators(request).await;
        let answer = answer.map_err(|status| failure(&self.url, status))?.into_inner();
        let convert = |validator| <(Validator, u64)>::try_from(validator).map_err(self.not_understood());
        answer.validators.into_iter().map(convert).collect()
    }

    pub(crate) async fn proposals(&mut self, include_ended: bool) -> Result<Vec<Proposal>, ClientError> {
        let request = patient(pb::ListProposalsRequest { include_ended }, PATIENCE);
        let answer = self.service.list_proposals(request).await;
        let answer = answer.map_err(|status| failure(&self.url, status))?.into_inner();
        let convert = |proposal| self.genuine(proposal, "the list of proposals");
        answer.proposals.into_iter().map(convert).collect()
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

    /// What became of a transaction; waits up to `wait` for it to be final, in one or several polls.
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
            let outcome = self.poll_outcome(id, poll).await?;
            let is_final = !matches!(outcome, Outcome::Unknown | Outcome::Pending);
            if is_final || left <= poll {
                return Ok(outcome);
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
        .map_err(|status| failure(url, status))?
        .into_inner();
    NodeStatus::try_from(answer).map_err(|message| ClientError::NotANode {
        url: url.to_owned(),
        message,
    })
}

impl TryFrom<pb::GetStatusResponse> for NodeStatus {
    type Error = String;

    fn try_from(answer: pb::GetStatusResponse) -> Result<Self, String> {
        let version = |text: &str| text.parse().map_err(|error| format!("{error}"));
        let next_upgrade = match answer.next_upgrade {
            Some(next) => Some((Height(next.height), version(&next.version)?)),
            None => None,
        };
        Ok(Self {
            chain_id: answer.chain_id.parse().map_err(|error| format!("{error}"))?,
            version: version(&answer.version)?,
            height: Height(answer.height),
            state_root: hex::encode(answer.state_root),
            next_block_version: version(&answer.next_block_version)?,
            halt: answer
                .halt
                .map(Halt::try_from)
                .transpose()
                .map_err(|error| error.to_string())?,
            next_upgrade,
            parameters: answer.parameters.ok_or("its status has no parameters")?.into(),
            peers: answer.peers,
            mempool_transactions: answer.mempool_transactions,
            moniker: answer.moniker,
        })
    }
}

/// A request that fails on this side too when the time is up.
fn patient<T>(message: T, patience: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(patience);
    request
}

fn rejection_code(status: &Status) -> Option<String> {
    let code = status.metadata().get("rejection-code")?.to_str().ok()?;
    Some(code.to_owned())
}

fn failure(url: &str, status: Status) -> ClientError {
    let url = url.to_owned();
    let message = status.message().to_owned();
    if let Some(code) = rejection_code(&status) {
        return ClientError::Rejected { code, message };
    }
    match status.code() {
        Code::Unavailable => ClientError::Unreachable {
            url,
            source: status.into(),
        },
        Code::DeadlineExceeded | Code::Cancelled => ClientError::Silent { url },
        Code::Unimplemented => ClientError::NotANode { url, message },
        Code::ResourceExhausted => ClientError::Busy { url, message },
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => ClientError::Refused { url, message },
    }
}

/// Whether `proposal` is what `name` names.
fn is_meant(proposal: &Proposal, name: &str) -> bool {
    if name.contains('@') {
        let full = proposal.name();
        full == name || full.strip_prefix('v') == Some(name)
    } else {
        proposal.id.to_string().starts_with(&name.to_ascii_lowercase())
    }
}
