//! Round trips, lies and limits.

use arc_malachitebft_app_channel::app::types::core::{NilOrVal, VoteType};
use governance::encoding::EncodingError;
use governance::{Digest, Signature};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::engine::Block;
use crate::engine::malachite::context::{Address, ChainHeight, Proposal, ProposedBlock, Vote};
use crate::engine::malachite::wire::{WireRoundCertificate, WireRoundSignature, WireVote, to_nil, vote_type};
use crate::fixture::{genesis, propose};

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn address() -> impl Strategy<Value = Address> {
    any::<[u8; 20]>().prop_map(Address)
}

fn signature() -> impl Strategy<Value = Signature> {
    (any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(one, other)| {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&one);
        bytes[32..].copy_from_slice(&other);
        Signature(bytes)
    })
}

fn height() -> impl Strategy<Value = ChainHeight> {
    any::<u64>().prop_map(ChainHeight)
}

fn round() -> impl Strategy<Value = Round> {
    any::<u32>().prop_map(Round::new)
}

fn optional_round() -> impl Strategy<Value = Round> {
    any::<Option<u32>>().prop_map(any_round)
}

fn nil_or_value() -> impl Strategy<Value = NilOrVal<Digest>> {
    proptest::option::of(digest()).prop_map(to_nil)
}

fn block() -> impl Strategy<Value = Arc<Block>> {
    (any::<u64>(), digest(), vec(any::<u8>(), 0..4)).prop_map(|(height, parent_state_root, numbers)| {
        let transactions = numbers
            .into_iter()
            .map(|number| propose(number % 4, 0, u64::from(number)))
            .collect();
        Arc::new(Block {
            height: governance::Height(height),
            parent_state_root,
            transactions,
        })
    })
}

fn vote() -> impl Strategy<Value = SignedMessage<GovernanceContext, Vote>> {
    (
        any::<bool>(),
        height(),
        round(),
        nil_or_value(),
        address(),
        signature(),
    )
        .prop_map(|(precommit, height, round, value, address, signature)| {
            SignedMessage::new(
                Vote {
                    kind: vote_type(precommit),
                    height,
                    round,
                    value,
                    address,
                },
                signature,
            )
        })
}

fn proposal() -> impl Strategy<Value = SignedMessage<GovernanceContext, Proposal>> {
    (
        height(),
        round(),
        digest(),
        optional_round(),
        address(),
        signature(),
    )
        .prop_map(|(height, round, id, pol_round, address, signature)| {
            let value = Candidate { id, block: None };
            SignedMessage::new(
                Proposal {
                    height,
                    round,
                    value,
                    pol_round,
                    address,
                },
                signature,
            )
        })
}

fn commit() -> impl Strategy<Value = ExtendedCommitCertificate<GovernanceContext>> {
    (
        height(),
        any::<u32>(),
        digest(),
        vec((address(), signature()), 0..8),
    )
        .prop_map(|(height, round, value, signatures)| {
            WireCommit {
                height,
                round,
                value,
                signatures,
            }
            .into()
        })
}

fn liveness() -> impl Strategy<Value = LivenessMsg<GovernanceContext>> {
    let polka = (
        height(),
        any::<u32>(),
        digest(),
        vec((address(), signature()), 0..8),
    )
        .prop_map(|(height, round, value, signatures)| {
            LivenessMsg::PolkaCertificate(
                WirePolka {
                    height,
                    round,
                    value,
                    signatures,
                }
                .into(),
            )
        });
    let one = (
        any::<bool>(),
        proptest::option::of(digest()),
        address(),
        signature(),
    )
        .prop_map(|(precommit, value, address, signature)| WireRoundSignature {
            precommit,
            value,
            address,
            signature,
        });
    let skip = (height(), any::<u32>(), any::<bool>(), vec(one, 0..8)).prop_map(
        |(height, round, skip, signatures)| {
            LivenessMsg::SkipRoundCertificate(
                WireRoundCertificate {
                    height,
                    round,
                    skip,
                    signatures,
                }
                .into(),
            )
        },
    );
    prop_oneof![vote().prop_map(LivenessMsg::Vote), polka, skip]
}

fn part() -> impl Strategy<Value = Part> {
    let transactions = vec(any::<u8>(), 0..4).prop_map(|numbers| {
        numbers
            .into_iter()
            .map(|number| propose(number % 4, 0, u64::from(number)))
            .collect()
    });
    let proposed = (round(), optional_round(), address(), block(), signature()).prop_map(
        |(round, valid_round, proposer, block, signature)| {
            Part::Block(ProposedBlock {
                round,
                valid_round,
                proposer,
                block,
                signature,
            })
        },
    );
    prop_oneof![proposed, transactions.prop_map(Part::Transactions)]
}

fn proposed_value() -> impl Strategy<Value = ProposedValue<GovernanceContext>> {
    (
        height(),
        round(),
        optional_round(),
        address(),
        block(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(height, round, valid_round, proposer, block, with_block, valid)| {
                let id = block.id();
                ProposedValue {
                    height,
                    round,
                    valid_round,
                    proposer,
                    value: Candidate {
                        id,
                        block: with_block.then_some(block),
                    },
                    validity: Validity::from_bool(valid),
                }
            },
        )
}

/// Decodes to the same value, and its bytes are the only ones that do: longer and shorter ones are refused.
fn round_trip<T: PartialEq + std::fmt::Debug>(value: &T)
where
    WireCodec: Codec<T, Error = WireError>,
{
    let codec = WireCodec::default();
    let bytes: Bytes = codec.encode(value).unwrap();
    assert_eq!(&codec.decode(bytes.clone()).unwrap(), value);
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(Codec::<T>::decode(&codec, longer.into()).is_err());
    assert!(Codec::<T>::decode(&codec, bytes.slice(..bytes.len() - 1)).is_err());
}

fn decode_everything(bytes: &Bytes) {
    let codec = WireCodec::default();
    let _: Result<Part, _> = codec.decode(bytes.clone());
    let _: Result<StreamMessage<Part>, _> = codec.decode(bytes.clone());
    let _: Result<SignedConsensusMsg<GovernanceContext>, _> = codec.decode(bytes.clone());
    let _: Result<LivenessMsg<GovernanceContext>, _> = codec.decode(bytes.clone());
    let _: Result<PolkaCertificate<GovernanceContext>, _> = codec.decode(bytes.clone());
    let _: Result<ProposedValue<GovernanceContext>, _> = codec.decode(bytes.clone());
    let _: Result<Status<GovernanceContext>, _> = codec.decode(bytes.clone());
    let _: Result<Request<GovernanceContext>, _> = codec.decode(bytes.clone());
    let _: Result<Response<GovernanceContext>, _> = codec.decode(bytes.clone());
    let _: Result<ValidatorProof<GovernanceContext>, _> = codec.decode(bytes.clone());
    let _ = decode_certificate(bytes);
    let _ = Block::from_canonical(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn votes_and_proposals_round_trip(vote in vote(), proposal in proposal()) {
        round_trip(&SignedConsensusMsg::Vote(vote));
        round_trip(&SignedConsensusMsg::Proposal(proposal));
    }

    #[test]
    fn liveness_messages_round_trip(message in liveness()) {
        round_trip(&message);
    }

    #[test]
    fn parts_round_trip(part in part(), stream in vec(any::<u8>(), 0..16), sequence in any::<u64>(), fin in any::<bool>()) {
        round_trip(&part);
        let content = if fin { StreamContent::Fin } else { StreamContent::Data(part) };
        round_trip(&StreamMessage::new(StreamId::new(stream.into()), sequence, content));
    }

    #[test]
    fn proposed_values_round_trip_with_their_block(value in proposed_value()) {
        round_trip(&value);
        let codec = WireCodec::default();
        let decoded: ProposedValue<GovernanceContext> = codec.decode(codec.encode(&value).unwrap()).unwrap();
        prop_assert_eq!(&decoded.value.block, &value.value.block);
        prop_assert_eq!(codec.recovered().len(), 1);
        prop_assert!(codec.recovered().is_empty());
    }

    #[test]
    fn sync_messages_round_trip(
        commits in vec((vec(any::<u8>(), 0..64), commit()), 0..4),
        first in height(),
        last in height(),
    ) {
        for (_, commit) in &commits {
            let stored = encode_certificate(commit).unwrap();
            prop_assert_eq!(&decode_certificate(&stored).unwrap(), commit);
        }
        let values = commits.into_iter().map(|(bytes, commit)| RawDecidedValue::new(bytes.into(), commit));
        let response = Response::ValueResponse(ValueResponse::new(first, values.collect()));
        let codec = WireCodec::default();
        prop_assert_eq!(codec.encoded_len(&response).unwrap(), codec.encode(&response).unwrap().len());
        round_trip(&response);
        round_trip(&Request::ValueRequest(ValueRequest::new(first..=last)));
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in vec(any::<u8>(), 0..512)) {
        decode_everything(&bytes.into());
    }

    /// Real messages with one byte changed: lengths and variants that lie.
    #[test]
    fn damaged_messages_are_refused_without_a_panic(part in part(), place in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut bytes = Codec::<Part>::encode(&WireCodec::default(), &part).unwrap().to_vec();
        *place.get_mut(&mut bytes) ^= with;
        decode_everything(&bytes.into());
    }
}

#[test]
fn a_block_under_another_id_is_refused() {
    let block = Block {
        height: governance::Height(1),
        parent_state_root: Digest([0; 32]),
        transactions: Vec::new(),
    };
    let wire = WireProposedValue {
        height: ChainHeight(1),
        round: 0,
        valid_round: None,
        proposer: Address([0; 20]),
        id: Digest([9; 32]),
        block: Some(block),
        valid: true,
    };
    let decoded: Result<ProposedValue<GovernanceContext>, _> = WireCodec::default().decode(encode(&wire));
    assert!(matches!(decoded, Err(WireError::BlockId)));
}

#[test]
fn a_message_without_its_round_is_not_sent() {
    let vote = Vote {
        kind: VoteType::Prevote,
        height: ChainHeight(1),
        round: Round::Nil,
        value: NilOrVal::Nil,
        address: Address([0; 20]),
    };
    assert!(matches!(WireVote::try_from(&vote), Err(WireError::NoRound)));
}

#[test]
fn more_bytes_than_a_message_can_need_are_refused_unread() {
    let bytes = Bytes::from(vec![0; MAX_VOTE_BYTES + 1]);
    let decoded: Result<SignedConsensusMsg<GovernanceContext>, _> = WireCodec::default().decode(bytes);
    assert!(matches!(
        decoded,
        Err(WireError::Encoding(EncodingError::TooLong { .. }))
    ));
}

/// A proof of decision made here is accepted by the engine's own check, and only for its chain.
#[tokio::test]
async fn a_commit_certificate_is_verified_for_its_chain_only() {
    use arc_malachitebft_app_channel::app::types::core::{ThresholdParams, VoteExtensionPolicy};
    use arc_malachitebft_app_channel::{Signer as _, VerifierExt as _};

    use crate::engine::malachite::signing::{ConsensusSigner, ConsensusVerifier};
    use crate::engine::malachite::validators::Validators;
    use crate::fixture::{chain_id, key};

    let set = Validators::new(&genesis().validator_set().unwrap());
    let mut commits = Vec::new();
    for number in 0..3 {
        let signer = ConsensusSigner::new(key(number + 100), chain_id());
        let vote = Vote {
            kind: VoteType::Precommit,
            height: ChainHeight(5),
            round: Round::new(0),
            value: NilOrVal::Val(Digest([1; 32])),
            address: Address::of(&signer.public_key()),
        };
        commits.push(signer.sign_vote(vote).await.unwrap());
    }
    let certificate =
        ExtendedCommitCertificate::from_votes(ChainHeight(5), Round::new(0), Digest([1; 32]), commits);
    let stored = encode_certificate(&certificate).unwrap();
    let certificate = decode_certificate(&stored).unwrap();
    for (chain, accepted) in [(chain_id(), true), ("other-chain".parse().unwrap(), false)] {
        let verdict = ConsensusVerifier::new(chain)
            .verify_extended_commit_certificate(
                &GovernanceContext,
                &certificate,
                &set,
                ThresholdParams::default(),
                VoteExtensionPolicy::Disabled,
            )
            .await;
        assert_eq!(verdict.is_ok(), accepted, "{verdict:?}");
    }
    let mut two = certificate.clone();
    two.commit_signatures.pop();
    let verdict = ConsensusVerifier::new(chain_id())
        .verify_extended_commit_certificate(
            &GovernanceContext,
            &two,
            &set,
            ThresholdParams::default(),
            VoteExtensionPolicy::Disabled,
        )
        .await;
    assert!(verdict.is_err(), "half of the power decides nothing");
}
