//! The driver between an engine that is these tests and a chain that only counts.

use std::collections::BTreeMap;

use arc_malachitebft_app_channel::app::engine::host::SyncedValueOutcome;
use arc_malachitebft_app_channel::app::types::core::{CommitCertificate, Validity, VoteExtensions};
use governance::{Power, PublicKey, SigningKey, Validator, ValidatorId, ValidatorSet};
use tokio::sync::oneshot;

use super::*;
use crate::engine::malachite::proposer;
use crate::engine::{ApplicationError, BlockFault, DecidedBlock};
use crate::fixture::{OLD, chain_id, genesis, key, propose};

/// A chain of empty rules: the state root is the id of the last block, and it halts where it is told.
struct Ledger {
    info: Info,
    halt_at: u64,
    executed: Option<Info>,
    heard: Vec<SignedTransaction>,
    /// The set that decides the heights after a block.
    changes: BTreeMap<u64, ValidatorSet>,
}

impl Ledger {
    fn new(halt_at: u64) -> Self {
        let info = Info {
            height: Height::ZERO,
            state_root: Digest([0; 32]),
            validators: genesis().validator_set().unwrap(),
            halted: false,
        };
        Self {
            info,
            halt_at,
            executed: None,
            heard: Vec::new(),
            changes: BTreeMap::new(),
        }
    }
}

impl Application for Ledger {
    fn info(&self) -> Info {
        self.info.clone()
    }

    fn check_transaction(&mut self, transaction: SignedTransaction) -> Hearing {
        if transaction.verify(&chain_id()).is_err() {
            return Hearing::Forged;
        }
        self.heard.push(transaction);
        Hearing::Admitted
    }

    fn pending_transactions(&self, _bytes: usize) -> Vec<SignedTransaction> {
        self.heard.clone()
    }

    fn propose_block(&mut self) -> Block {
        block(self.info.height.0 + 1, self.info.state_root, self.heard.clone())
    }

    fn validate_block(&mut self, block: &Block) -> Result<(), BlockFault> {
        let expected = self.info.state_root;
        if block.parent_state_root == expected {
            Ok(())
        } else {
            Err(BlockFault::ParentStateRoot {
                expected,
                found: block.parent_state_root,
            })
        }
    }

    fn execute_block(&mut self, block: &Block) -> Result<Digest, ApplicationError> {
        let halted = block.height.0 >= self.halt_at;
        self.executed = Some(Info {
            height: block.height,
            state_root: block.id(),
            halted,
            validators: self
                .changes
                .get(&block.height.0)
                .unwrap_or(&self.info.validators)
                .clone(),
        });
        Ok(block.id())
    }

    fn commit(&mut self, _certificate: Vec<u8>) -> Result<Info, ApplicationError> {
        self.info = self.executed.take().ok_or(ApplicationError::NothingExecuted)?;
        Ok(self.info.clone())
    }

    fn earliest_block(&self) -> Result<Height, ApplicationError> {
        Ok(Height(1))
    }

    fn decided_blocks(&self, _: Height, _: Height, _: usize) -> Result<Vec<DecidedBlock>, ApplicationError> {
        Ok(Vec::new())
    }
}

struct Fixture {
    driver: Driver<Ledger>,
    published: mpsc::Receiver<NetworkMsg<Context>>,
}

/// Validator 0's node on a chain that halts at `halt_at`.
fn fixture(halt_at: u64) -> Fixture {
    let (_, consensus) = mpsc::channel(1);
    let (network, published) = mpsc::channel(16);
    let (requests, _) = mpsc::channel(1);
    let (net_requests, _) = mpsc::channel(1);
    let (_, gossip) = mpsc::channel(1);
    let channels = Channels {
        consensus,
        network,
        events: arc_malachitebft_app_channel::app::events::TxEvent::new(),
        requests,
        net_requests,
    };
    let setup = Setup {
        release: OLD,
        signer: signer(0),
        verifier: ConsensusVerifier::new(chain_id()),
        codec: WireCodec::default(),
        options: ConsensusOptions::default(),
    };
    let ports = Ports {
        gossip,
        peers: Arc::new(AtomicU32::new(0)),
        equivocations: Arc::new(AtomicU64::new(0)),
    };
    Fixture {
        driver: Driver::new(Ledger::new(halt_at), ports, channels, setup),
        published,
    }
}

fn consensus_key(number: u8) -> SigningKey {
    key(number + 100)
}

fn signer(number: u8) -> ConsensusSigner {
    ConsensusSigner::new(consensus_key(number), chain_id())
}

fn block(height: u64, parent_state_root: Digest, transactions: Vec<SignedTransaction>) -> Block {
    Block {
        height: Height(height),
        parent_state_root,
        transactions,
    }
}

/// The number of the validator whose turn it is.
fn turn(driver: &Driver<Ledger>, height: u64, round: u32) -> u8 {
    let address = proposer::select(&driver.validators, ChainHeight(height), Round::new(round)).address;
    (0..4)
        .find(|number| Address::of(&PublicKey::from(&consensus_key(*number))) == address)
        .unwrap()
}

/// The part of `block` for a round, as validator `number` would send it.
fn part(number: u8, round: u32, block: Block) -> Part {
    let signer = signer(number);
    let signature = signer.sign_block(block.height.into(), round, &block.id());
    Part::Block(ProposedBlock {
        round: Round::new(round),
        valid_round: Round::Nil,
        proposer: Address::of(&signer.public_key()),
        block: Arc::new(block),
        signature,
    })
}

/// The same from the one whose turn it is.
fn honest(driver: &Driver<Ledger>, round: u32, block: Block) -> Part {
    part(turn(driver, block.height.0, round), round, block)
}

async fn ask<T>(driver: &mut Driver<Ledger>, message: impl FnOnce(Reply<T>) -> AppMsg<Context>) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    driver.handle(message(reply)).await.unwrap();
    // What the driver has not answered now, it never does.
    let mut answer = answer;
    answer.try_recv().ok()
}

async fn receive(driver: &mut Driver<Ledger>, part: Part) -> Option<ProposedValue<Context>> {
    let stream = StreamMessage::new(StreamId::new(vec![0].into()), 0, StreamContent::Data(part));
    let from = "12D3KooWShxfkSkGLrfMoX9HvcmZKH4CGRXAxzWkURqxV2m8nxFp"
        .parse()
        .unwrap();
    let message = |reply| AppMsg::ReceivedProposalPart {
        from,
        published_by: None,
        part: stream,
        reply,
    };
    ask(driver, message).await.unwrap()
}

async fn start_round(driver: &mut Driver<Ledger>, height: u64, round: u32) -> Vec<ProposedValue<Context>> {
    let message = |reply_value| AppMsg::StartedRound {
        height: ChainHeight(height),
        round: Round::new(round),
        proposer: Address([0; 20]),
        role: arc_malachitebft_app_channel::app::consensus::Role::Validator,
        reply_value,
    };
    ask(driver, message).await.unwrap()
}

async fn decide(driver: &mut Driver<Ledger>, height: u64, id: Digest) -> Result<(), EngineError> {
    let (reply, _answer) = oneshot::channel();
    let certificate = CommitCertificate::new(ChainHeight(height), Round::new(0), id, Vec::new());
    driver
        .handle(AppMsg::Decided {
            certificate,
            extensions: VoteExtensions::default(),
            reply,
        })
        .await
}

async fn finalize(driver: &mut Driver<Ledger>, height: u64) -> Option<Next<Context>> {
    let message = |reply| AppMsg::Finalized {
        certificate: CommitCertificate::new(ChainHeight(height), Round::new(0), Digest([0; 32]), Vec::new()),
        extensions: VoteExtensions::default(),
        evidence: arc_malachitebft_app_channel::app::types::MisbehaviorEvidence {
            proposals: Default::default(),
            votes: Default::default(),
        },
        reply,
    };
    ask(driver, message).await
}

async fn get_value(
    driver: &mut Driver<Ledger>,
    height: u64,
    round: u32,
) -> Option<LocallyProposedValue<Context>> {
    let message = |reply| AppMsg::GetValue {
        height: ChainHeight(height),
        round: Round::new(round),
        timeout: Duration::from_secs(1),
        reply,
    };
    ask(driver, message).await
}

async fn sync(driver: &mut Driver<Ledger>, height: u64, bytes: Vec<u8>) -> SyncedValueOutcome<Context> {
    let message = |reply| AppMsg::ProcessSyncedValue {
        height: ChainHeight(height),
        round: Round::new(0),
        proposer: Address([0; 20]),
        value_bytes: bytes.into(),
        reply,
    };
    ask(driver, message).await.unwrap()
}

#[tokio::test]
async fn a_block_counts_once_and_only_from_the_one_whose_turn_it_is() {
    let Fixture {
        mut driver,
        published: _published,
    } = fixture(u64::MAX);
    let good = block(1, Digest([0; 32]), Vec::new());
    let proposer = turn(&driver, 1, 0);
    let other = (proposer + 1) % 4;
    assert!(
        receive(&mut driver, part(other, 0, good.clone())).await.is_none(),
        "not its turn"
    );
    let Part::Block(mut stolen) = part(other, 0, good.clone()) else {
        unreachable!()
    };
    stolen.proposer = Address::of(&signer(proposer).public_key());
    assert!(
        receive(&mut driver, Part::Block(stolen)).await.is_none(),
        "signed by another"
    );
    let Part::Block(mut moved) = part(proposer, 4, good.clone()) else {
        unreachable!()
    };
    moved.round = Round::new(0);
    assert!(
        receive(&mut driver, Part::Block(moved)).await.is_none(),
        "signed for another round"
    );

    let value = receive(&mut driver, part(proposer, 0, good.clone()))
        .await
        .unwrap();
    assert_eq!((value.value.id, value.validity), (good.id(), Validity::Valid));
    assert!(
        receive(&mut driver, part(proposer, 0, good)).await.is_none(),
        "known"
    );
    let diverged = block(1, Digest([9; 32]), Vec::new());
    let value = receive(&mut driver, part(proposer, 0, diverged)).await.unwrap();
    assert_eq!(value.validity, Validity::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_comes_too_early_waits_for_its_parent() {
    let Fixture {
        mut driver,
        published: _published,
    } = fixture(u64::MAX);
    assert!(start_round(&mut driver, 1, 0).await.is_empty());
    let first = block(1, Digest([0; 32]), Vec::new());
    let second = block(2, first.id(), Vec::new());
    let (early, due) = (
        honest(&driver, 0, second.clone()),
        honest(&driver, 0, first.clone()),
    );
    assert!(receive(&mut driver, early).await.is_none());
    assert!(receive(&mut driver, due).await.is_some());
    decide(&mut driver, 1, first.id()).await.unwrap();
    let values = start_round(&mut driver, 2, 0).await;
    assert_eq!(
        values.iter().map(|value| value.value.id).collect::<Vec<_>>(),
        [second.id()]
    );
    assert_eq!(values[0].validity, Validity::Valid);
    decide(&mut driver, 2, second.id()).await.unwrap();
    assert_eq!(driver.info.height, Height(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_blocks_that_are_here_are_committed_and_each_once() {
    let Fixture {
        mut driver,
        published: _published,
    } = fixture(u64::MAX);
    let first = block(1, Digest([0; 32]), Vec::new());
    let refused = decide(&mut driver, 1, first.id()).await;
    assert!(
        matches!(refused, Err(EngineError::UnknownBlock { height: Height(1), block }) if block == first.id())
    );
    let Some(Next::Start(height, _)) = finalize(&mut driver, 0).await else {
        panic!("the chain goes on")
    };
    assert_eq!(height, ChainHeight(1));

    let value = sync(&mut driver, 1, first.to_canonical()).await;
    assert!(matches!(value, SyncedValueOutcome::Verdict(value) if value.validity == Validity::Valid));
    decide(&mut driver, 1, first.id()).await.unwrap();
    decide(&mut driver, 1, first.id()).await.unwrap();
    assert_eq!(driver.info.height, Height(1));
    let Some(Next::Start(height, _)) = finalize(&mut driver, 1).await else {
        panic!("the chain goes on")
    };
    assert_eq!(height, ChainHeight(2));
}

#[tokio::test]
async fn what_a_peer_serves_must_be_the_block_of_its_height() {
    let Fixture {
        mut driver,
        published: _published,
    } = fixture(u64::MAX);
    for bytes in [
        Vec::new(),
        vec![0xff; 40],
        block(2, Digest([0; 32]), Vec::new()).to_canonical(),
    ] {
        assert!(matches!(
            sync(&mut driver, 1, bytes).await,
            SyncedValueOutcome::PeerFault
        ));
    }
    let later = block(2, Digest([0; 32]), Vec::new()).to_canonical();
    assert!(matches!(
        sync(&mut driver, 2, later).await,
        SyncedValueOutcome::LocalTransientError
    ));
}

#[tokio::test]
async fn asked_again_a_proposer_says_the_same() {
    let Fixture {
        mut driver,
        mut published,
    } = fixture(u64::MAX);
    let first = get_value(&mut driver, 1, 0).await.unwrap();
    driver.application.heard.push(propose(0, 0, 1));
    let again = get_value(&mut driver, 1, 0).await.unwrap();
    assert_eq!(first.value.id, again.value.id);
    let later = get_value(&mut driver, 1, 1).await.unwrap();
    assert_ne!(
        first.value.id, later.value.id,
        "another round may say something else"
    );
    for expected in [(0, first.value.id), (0, first.value.id), (1, later.value.id)] {
        let NetworkMsg::PublishProposalPart(message) = published.try_recv().unwrap();
        let StreamContent::Data(Part::Block(sent)) = message.content else {
            panic!("a block is sent")
        };
        assert_eq!((sent.round.as_u32().unwrap(), sent.block.id()), expected);
    }
    assert!(
        get_value(&mut driver, 2, 0).await.is_none(),
        "not the next height"
    );
}

/// A fifth validator enters with block 1. At the heights after it the turns are others.
fn five() -> ValidatorSet {
    let mut validators: Vec<Validator> = genesis().validator_set().unwrap().iter().cloned().collect();
    validators.push(Validator {
        id: ValidatorId::at_entry(&PublicKey::from(&key(4))),
        name: "validator-4".to_owned(),
        governance_key: PublicKey::from(&key(4)),
        consensus_key: PublicKey::from(&consensus_key(4)),
        power: Power(3),
    });
    ValidatorSet::new(validators).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gov_12_the_set_changes_exactly_with_the_next_height() {
    use arc_malachitebft_app_channel::app::types::core::ValidatorSet as _;

    let Fixture {
        mut driver,
        published: _published,
    } = fixture(u64::MAX);
    driver.application.changes.insert(1, five());
    let number_of = |set: &Validators, round: u32| {
        let address = proposer::select(set, ChainHeight(2), Round::new(round)).address;
        (0..5)
            .find(|number| Address::of(&PublicKey::from(&consensus_key(*number))) == address)
            .unwrap()
    };
    // A round in which the new one proposes, where the old set would have had another one.
    let (before, after) = (driver.validators.clone(), Validators::new(&five()));
    let round = (0..5).find(|round| number_of(&after, *round) == 4).unwrap();
    let old = number_of(&before, round);

    assert!(start_round(&mut driver, 1, 0).await.is_empty());
    let first = block(1, Digest([0; 32]), Vec::new());
    let second = block(2, first.id(), Vec::new());
    let other = block(2, first.id(), vec![propose(0, 0, 1)]);
    for early in [part(old, round, other), part(4, round, second.clone())] {
        assert!(
            receive(&mut driver, early).await.is_none(),
            "too early to be judged"
        );
    }
    let due = honest(&driver, 0, first.clone());
    assert!(receive(&mut driver, due).await.is_some());
    decide(&mut driver, 1, first.id()).await.unwrap();
    let Some(Next::Start(height, params)) = finalize(&mut driver, 1).await else {
        panic!("the chain goes on")
    };
    assert_eq!((height, params.validator_set.count()), (ChainHeight(2), 5));
    assert_eq!(params.validator_set.total_voting_power(), 7);
    let values = start_round(&mut driver, 2, 0).await;
    assert_eq!(
        values.iter().map(|value| value.value.id).collect::<Vec<_>>(),
        [second.id()],
        "judged by the new set: the part of the old set's proposer is none"
    );
    assert!(
        receive(&mut driver, part(old, round, second)).await.is_none(),
        "not its turn any more"
    );

    // And back: the one that has left has no turn.
    driver
        .application
        .changes
        .insert(2, genesis().validator_set().unwrap());
    decide(&mut driver, 2, values[0].value.id).await.unwrap();
    assert_eq!(driver.validators, before);
}

#[tokio::test]
async fn contradicting_votes_are_counted() {
    use arc_malachitebft_app_channel::app::types::MisbehaviorEvidence;
    use arc_malachitebft_app_channel::app::types::core::{NilOrVal, SignedMessage, VoteType};
    use governance::Signature;

    use super::super::context::Vote;

    let Fixture {
        mut driver,
        published: _published,
    } = fixture(u64::MAX);
    let vote = |value: u8| {
        let vote = Vote {
            kind: VoteType::Precommit,
            height: ChainHeight(1),
            round: Round::new(0),
            value: NilOrVal::Val(Digest([value; 32])),
            address: Address([1; 20]),
        };
        SignedMessage::new(vote, Signature([0; 64]))
    };
    let mut evidence = MisbehaviorEvidence {
        proposals: Default::default(),
        votes: Default::default(),
    };
    evidence.votes.add(vote(1), vote(2));
    evidence.votes.add(vote(1), vote(3));
    let message = |reply| AppMsg::Finalized {
        certificate: CommitCertificate::new(ChainHeight(0), Round::new(0), Digest([0; 32]), Vec::new()),
        extensions: VoteExtensions::default(),
        evidence,
        reply,
    };
    assert!(ask(&mut driver, message).await.is_some());
    assert_eq!(driver.equivocations.load(Ordering::Relaxed), 2);
}

/// A block that two thirds have signed for stands on another state than ours: it is decided, and executing it tells.
#[tokio::test]
async fn a_synced_block_on_another_state_is_no_reason_to_wait_for_ever() {
    let Fixture {
        mut driver,
        published: _published,
    } = fixture(u64::MAX);
    let foreign = block(1, Digest([9; 32]), Vec::new());
    let value = sync(&mut driver, 1, foreign.to_canonical()).await;
    assert!(matches!(value, SyncedValueOutcome::Verdict(value) if value.validity == Validity::Valid));
}

#[tokio::test]
async fn who_passes_on_what_nobody_signed_is_not_heard_for_a_while() {
    let Fixture {
        mut driver,
        published: _published,
    } = fixture(u64::MAX);
    let mut forged = propose(0, 0, 1);
    forged.signature.0[0] ^= 1;
    receive(
        &mut driver,
        Part::Transactions(vec![propose(1, 0, 2), forged, propose(2, 0, 3)]),
    )
    .await;
    receive(&mut driver, Part::Transactions(vec![propose(3, 0, 4)])).await;
    assert_eq!(driver.application.heard, [propose(1, 0, 2)]);
}

/// What the write-ahead log holds is said again after a restart, by its proposer too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_holds_is_known_after_a_restart() {
    use arc_malachitebft_app_channel::app::types::codec::Codec as _;

    let before = fixture(u64::MAX);
    let logged = Arc::new(block(1, Digest([0; 32]), vec![propose(0, 0, 1)]));
    let value = ProposedValue {
        height: ChainHeight(1),
        round: Round::new(0),
        valid_round: Round::Nil,
        proposer: before.driver.address,
        value: Candidate::new(Arc::clone(&logged)),
        validity: Validity::Valid,
    };
    let bytes = WireCodec::default().encode(&value).unwrap();

    let Fixture {
        mut driver,
        published: _published,
    } = fixture(u64::MAX);
    let _: ProposedValue<Context> = driver.codec.decode(bytes).unwrap();
    assert!(
        start_round(&mut driver, 1, 0).await.is_empty(),
        "the log replays it by itself"
    );
    assert_eq!(get_value(&mut driver, 1, 0).await.unwrap().value.id, logged.id());
    decide(&mut driver, 1, logged.id()).await.unwrap();
    assert_eq!(driver.info.state_root, logged.id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_last_block_of_a_version_nothing_follows() {
    let Fixture {
        mut driver,
        mut published,
    } = fixture(1);
    let last = block(1, Digest([0; 32]), Vec::new());
    let due = honest(&driver, 0, last.clone());
    assert!(receive(&mut driver, due).await.is_some());
    decide(&mut driver, 1, last.id()).await.unwrap();
    assert!(
        finalize(&mut driver, 1).await.is_none(),
        "no further height is started"
    );
    assert!(
        driver.halted.is_some(),
        "and the engine is left waiting, not told that the question was dropped"
    );

    let next = block(2, last.id(), Vec::new());
    let due = honest(&driver, 0, next.clone());
    assert!(receive(&mut driver, due).await.is_none());
    assert!(get_value(&mut driver, 2, 0).await.is_none());
    assert!(matches!(
        sync(&mut driver, 2, next.to_canonical()).await,
        SyncedValueOutcome::LocalTransientError
    ));
    assert!(
        receive(&mut driver, Part::Transactions(vec![propose(0, 0, 1)]))
            .await
            .is_none()
    );
    assert!(driver.application.heard.is_empty());
    driver.tell_again().await;
    assert!(published.try_recv().is_err());
    assert_eq!(driver.info.height, Height(1));
}

#[tokio::test]
async fn gossip_is_heard_and_told_again() {
    let Fixture {
        mut driver,
        mut published,
    } = fixture(u64::MAX);
    assert!(
        receive(&mut driver, Part::Transactions(vec![propose(0, 0, 1)]))
            .await
            .is_none()
    );
    assert_eq!(driver.application.heard, [propose(0, 0, 1)]);
    let flood = vec![propose(1, 0, 2); MAX_BLOCK_TRANSACTIONS + 5];
    receive(&mut driver, Part::Transactions(flood)).await;
    assert_eq!(driver.application.heard.len(), 1 + MAX_BLOCK_TRANSACTIONS);
    driver.application.heard.truncate(1);
    driver.tell_again().await;
    let NetworkMsg::PublishProposalPart(message) = published.try_recv().unwrap();
    assert_eq!(
        message.content,
        StreamContent::Data(Part::Transactions(vec![propose(0, 0, 1)]))
    );
}
