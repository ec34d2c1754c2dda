//! The loop between the engine and the application: one message after the other.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_malachitebft_app_channel::app::consensus::VoteExtensionError;
use arc_malachitebft_app_channel::app::engine::host::{HeightParams, Next};
use arc_malachitebft_app_channel::app::streaming::{StreamContent, StreamId, StreamMessage};
use arc_malachitebft_app_channel::app::types::core::Round;
use arc_malachitebft_app_channel::app::types::sync::RawDecidedValue;
use arc_malachitebft_app_channel::app::types::{LocallyProposedValue, ProposedValue};
use arc_malachitebft_app_channel::{AppMsg, Channels, NetworkMsg, Reply};
use governance::{Digest, Height, ReleaseVersion, SignedTransaction};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::codec::{self, MAX_GOSSIP_BYTES, MAX_SYNC_BYTES, WireCodec};
use super::configuration::ConsensusOptions;
use super::context::{Address, Candidate, ChainHeight, GovernanceContext, Part, ProposedBlock};
use super::evidence;
use super::forgers::Forgers;
use super::peers::{Peers, Quorum, watch_peers};
use super::proposals::Proposals;
use super::signing::{ConsensusSigner, ConsensusVerifier};
use super::validators::Validators;
use crate::engine::{Application, Block, EngineError, Hearing, Info, MAX_BLOCK_TRANSACTIONS, Ports};

mod blocks;
#[cfg(test)]
mod tests;

/// How often transactions that wait are told again, for those who missed them.
const GOSSIP_INTERVAL: Duration = Duration::from_secs(1);
type Context = GovernanceContext;

/// See the module.
pub(crate) struct Driver<A> {
    application: A,
    info: Info,
    validators: Validators,
    messages: mpsc::Receiver<AppMsg<Context>>,
    network: mpsc::Sender<NetworkMsg<Context>>,
    /// Keeps the engine's request task alive.
    _requests: mpsc::Sender<arc_malachitebft_app_channel::ConsensusRequest<Context>>,
    peers: Peers,
    peer_count: Arc<AtomicU32>,
    equivocations: Arc<AtomicU64>,
    gossip: mpsc::Receiver<SignedTransaction>,
    signer: ConsensusSigner,
    verifier: ConsensusVerifier,
    address: Address,
    release: ReleaseVersion,
    codec: WireCodec,
    options: ConsensusOptions,
    proposals: Proposals,
    forgers: Forgers,
    next_stream: u64,
    /// The engine's question what to do after the last block of this version. It is never answered.
    halted: Option<Reply<Next<Context>>>,
}

/// What the driver is told about its node.
pub(crate) struct Setup {
    pub(crate) release: ReleaseVersion,
    pub(crate) signer: ConsensusSigner,
    pub(crate) verifier: ConsensusVerifier,
    /// The one that the engine's parts use, not another: it hands over what the write-ahead log holds.
    pub(crate) codec: WireCodec,
    pub(crate) options: ConsensusOptions,
}

impl<A: Application> Driver<A> {
    pub(crate) fn new(application: A, ports: Ports, channels: Channels<Context>, setup: Setup) -> Self {
        let info = application.info();
        let Channels {
            consensus,
            network,
            events: _,
            requests,
            net_requests,
        } = channels;
        let Setup {
            release,
            signer,
            verifier,
            codec,
            options,
        } = setup;
        Self {
            validators: Validators::new(&info.validators),
            application,
            info,
            messages: consensus,
            network,
            _requests: requests,
            peers: Peers::new(net_requests),
            peer_count: ports.peers,
            equivocations: ports.equivocations,
            gossip: ports.gossip,
            address: Address::of(&signer.public_key()),
            release,
            signer,
            verifier,
            codec,
            options,
            proposals: Proposals::default(),
            forgers: Forgers::default(),
            next_stream: 0,
            halted: None,
        }
    }

    /// Serves the engine until `stop` is ready or something fails.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()> + Send) -> Result<(), EngineError> {
        let mut stop = std::pin::pin!(stop);
        let mut again = tokio::time::interval(GOSSIP_INTERVAL);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (died, mut network_died) = mpsc::channel::<()>(1);
        let watch = tokio::spawn(watch_peers(
            self.peers.clone(),
            Arc::clone(&self.peer_count),
            died,
        ));
        let outcome = loop {
            tokio::select! {
                () = &mut stop => break Ok(()),
                message = self.messages.recv() => match message {
                    Some(message) => {
                        if let Err(error) = self.handle(message).await {
                            break Err(error);
                        }
                    }
                    None => break Err(stopped("one of its parts has failed; its own log lines say which")),
                },
                () = self.signer.failed() => break Err(EngineError::Log),
                _ = network_died.recv() => break Err(stopped("its network does not answer")),
                Some(transaction) = self.gossip.recv() => self.tell(transaction).await,
                _ = again.tick() => self.tell_again().await,
            }
        };
        watch.abort();
        outcome
    }

    async fn handle(&mut self, message: AppMsg<Context>) -> Result<(), EngineError> {
        match message {
            AppMsg::ConsensusReady { reply } => self.start(reply),
            AppMsg::StartedRound {
                height,
                round,
                proposer,
                role,
                reply_value,
            } => {
                tracing::debug!(
                    block.height = height.0, consensus.round = round.as_i64(), consensus.proposer = %proposer,
                    consensus.role = ?role, "round started"
                );
                answer(reply_value, self.started_round(height, round));
            }
            AppMsg::GetValue {
                height,
                round,
                timeout: _,
                reply,
            } => self.propose(height, round, reply).await,
            AppMsg::ExtendVote { reply, .. } => answer(reply, None),
            AppMsg::VerifyVoteExtensions {
                extensions, reply, ..
            } => {
                let refused = |(address, ())| (address, Err(VoteExtensionError::InvalidVoteExtension));
                answer(reply, extensions.into_iter().map(refused).collect());
            }
            AppMsg::RestreamProposal {
                height,
                round,
                valid_round,
                address: _,
                value_id,
            } => {
                self.restream(height, round, valid_round, value_id).await;
            }
            AppMsg::GetHistoryMinHeight { reply } => {
                answer(reply, self.application.earliest_block()?.into());
            }
            AppMsg::ReceivedProposalPart {
                from,
                published_by,
                part,
                reply,
            } => {
                let StreamContent::Data(part) = part.content else {
                    answer(reply, None);
                    return Ok(());
                };
                match part {
                    Part::Block(proposed) => answer(reply, self.received_block(proposed)),
                    Part::Transactions(transactions) => {
                        answer(reply, None);
                        // The author, whose signature the network has checked; the neighbour may only have passed it on.
                        let author = published_by.unwrap_or(from);
                        self.received_transactions(transactions, &author.to_base58());
                    }
                }
            }
            AppMsg::Decided {
                certificate,
                extensions,
                reply,
            } => {
                self.decided(certificate, extensions)?;
                answer(reply, ());
            }
            AppMsg::Finalized {
                certificate,
                extensions: _,
                evidence,
                reply,
            } => {
                let found = evidence::report(certificate.height, &evidence);
                self.equivocations.fetch_add(found, Ordering::Relaxed);
                self.finalized(certificate.height, reply);
            }
            AppMsg::GetDecidedValues { range, reply } => {
                answer(
                    reply,
                    self.decided_values((*range.start()).into(), (*range.end()).into())?,
                );
            }
            AppMsg::ProcessSyncedValue {
                height,
                round,
                proposer,
                value_bytes,
                reply,
            } => {
                answer(reply, self.synced(height, round, proposer, &value_bytes));
            }
        }
        Ok(())
    }

    /// The first height, as soon as enough peers are there to decide it.
    fn start(&mut self, reply: Reply<(ChainHeight, HeightParams<Context>)>) {
        let next = self.next_height();
        let params = self.params();
        let (peers, timeout) = (self.peers.clone(), self.options.connect_timeout);
        let quorum = Quorum {
            validators: self.validators.clone(),
            own: self.address,
            version: self.release.clone(),
        };
        tokio::spawn(async move {
            let connected = peers.wait_for(&quorum, timeout).await;
            tracing::info!(
                block.height = next.0,
                consensus.quorum_connected = connected,
                "consensus starts"
            );
            answer(reply, (next, params));
        });
    }

    /// Values for consensus that were waiting for this height.
    fn started_round(&mut self, height: ChainHeight, round: Round) -> Vec<ProposedValue<Context>> {
        self.proposals.enter(height);
        self.proposals.enter_round(round.as_u32().unwrap_or_default());
        let waiting = self.proposals.waiting_for(height);
        // What the write-ahead log held: judged before the restart, and by the log itself.
        for value in self.codec.recovered() {
            let (Some(block), Some(round)) = (value.value.block, value.round.as_u32()) else {
                continue;
            };
            if value.height != height {
                continue;
            }
            if value.proposer == self.address {
                self.proposals.keep_own(round, value.value.id, block);
            } else {
                self.proposals.keep(round, value.value.id, block);
            }
        }
        waiting
            .into_iter()
            .filter_map(|proposed| self.judge(proposed))
            .collect()
    }

    /// This node's turn: a block, sent around and handed to consensus.
    async fn propose(
        &mut self,
        height: ChainHeight,
        round: Round,
        reply: Reply<LocallyProposedValue<Context>>,
    ) {
        let Some(number) = round.as_u32() else { return };
        if height != self.next_height() || self.info.halted {
            tracing::warn!(
                block.height = height.0,
                "asked to propose a block that is not the next one"
            );
            return;
        }
        self.proposals.enter(height);
        let block = match self.proposals.own(number) {
            Some(block) => block,
            None => Arc::new(self.application.propose_block()),
        };
        let candidate = Candidate::new(Arc::clone(&block));
        self.proposals.keep_own(number, candidate.id, Arc::clone(&block));
        tracing::debug!(
            block.height = height.0, block.id = %candidate.id, block.transactions = block.transactions.len(),
            consensus.round = number, "proposing"
        );
        self.publish_block(block, candidate.id, number, Round::Nil).await;
        answer(reply, LocallyProposedValue::new(height, round, candidate));
    }

    /// A block from an earlier round that this node proposes again: those who missed it need it.
    async fn restream(&mut self, height: ChainHeight, round: Round, valid_round: Round, id: Digest) {
        let (Some(number), Some(block)) = (round.as_u32(), self.proposals.get(&id)) else {
            tracing::warn!(block.height = height.0, block.id = %id, "asked to send a block again that is not known");
            return;
        };
        self.publish_block(block, id, number, valid_round).await;
    }

    async fn publish_block(&mut self, block: Arc<Block>, id: Digest, round: u32, valid_round: Round) {
        if let Err(error) = self.signer.mark(block.height.into()).await {
            // The loop sees it too, and ends the node.
            tracing::error!(block.height = block.height.0, error = %crate::cli::chain(&error), "nothing is signed");
            return;
        }
        let signature = self.signer.sign_block(block.height.into(), round, &id);
        let part = Part::Block(ProposedBlock {
            round: Round::new(round),
            valid_round,
            proposer: self.address,
            block,
            signature,
        });
        self.publish(part).await;
    }

    /// The height is over. After the last block of this version nothing follows.
    fn finalized(&mut self, height: ChainHeight, reply: Reply<Next<Context>>) {
        if self.info.halted {
            tracing::info!(block.height = height.0, "halted: no further height is started");
            self.halted = Some(reply);
            return;
        }
        answer(reply, Next::Start(self.next_height(), self.params()));
    }

    fn decided_values(
        &self,
        first: Height,
        last: Height,
    ) -> Result<Vec<RawDecidedValue<Context>>, EngineError> {
        let blocks = self.application.decided_blocks(first, last, MAX_SYNC_BYTES / 2)?;
        let mut values = Vec::with_capacity(blocks.len());
        for decided in blocks {
            match codec::decode_certificate(&decided.certificate) {
                Ok(certificate) => values.push(RawDecidedValue::new(decided.block.into(), certificate)),
                Err(error) => {
                    tracing::error!(block.height = decided.height.0, error = %error, "a stored certificate cannot be read");
                    break;
                }
            }
        }
        Ok(values)
    }

    /// Transactions that another node has told us. New ones are not passed on: gossip has carried them to everybody
    /// already, and what a node misses is told again by all who hold it.
    fn received_transactions(&mut self, transactions: Vec<SignedTransaction>, from: &str) {
        if self.info.halted {
            return;
        }
        if self.forgers.is_ignored(from, Instant::now()) {
            return;
        }
        // Nobody has more to tell at once than fits a block.
        for transaction in transactions.into_iter().take(MAX_BLOCK_TRANSACTIONS) {
            let id = transaction.id();
            match self.application.check_transaction(transaction) {
                Hearing::Admitted => {
                    tracing::debug!(transaction.id = %id, peer.id = from, "transaction received");
                }
                Hearing::Useless => {}
                Hearing::Forged => {
                    tracing::warn!(
                        transaction.id = %id, peer.id = from,
                        "a node passes on transactions that nobody has signed: its transactions are ignored for a while"
                    );
                    self.forgers.ignore(from, Instant::now());
                    return;
                }
            }
        }
    }

    async fn tell(&mut self, transaction: SignedTransaction) {
        self.publish(Part::Transactions(vec![transaction])).await;
    }

    async fn tell_again(&mut self) {
        let waiting = self.application.pending_transactions(MAX_GOSSIP_BYTES);
        if !waiting.is_empty() && !self.info.halted {
            self.publish(Part::Transactions(waiting)).await;
        }
    }

    async fn publish(&mut self, part: Part) {
        let stream = StreamId::new(self.next_stream.to_be_bytes().to_vec().into());
        self.next_stream = self.next_stream.wrapping_add(1);
        let message = StreamMessage::new(stream, 0, StreamContent::Data(part));
        // The engine's network has ended when this fails; then `messages` ends too, and says so.
        let _ = self.network.send(NetworkMsg::PublishProposalPart(message)).await;
    }

    fn next_height(&self) -> ChainHeight {
        ChainHeight(self.info.height.0.saturating_add(1))
    }

    fn params(&self) -> HeightParams<Context> {
        HeightParams::new(
            self.validators.clone(),
            self.options.timeouts(),
            Some(self.options.block_interval),
        )
    }
}

/// Answers the engine. One that no longer waits has stopped, which shows elsewhere.
fn answer<T>(reply: Reply<T>, value: T) {
    let _ = reply.send(value);
}

fn stopped(reason: &str) -> EngineError {
    EngineError::Stopped {
        reason: reason.to_owned(),
    }
}
