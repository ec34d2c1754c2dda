//! GOV-14: whatever arrives, decoding and conversion end in a value or an error.

use governance::{
    Account, Ballot, Event, Halt, ParametersChange, Phase, Proposal, ProposalId, ReadinessReport,
    SignedTransaction, Upgrade, Validator, ValidatorChange, ValidatorId, ValidatorsChange,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;
use proto::pb::governance::v1 as pb;
use proto::pb::node::v1 as node;

use crate::arbitrary;

/// Decodes and converts as every message type that has a conversion which can fail.
fn convert_as_everything(bytes: &[u8]) {
    fn one<M: Message + Default, T: TryFrom<M>>(bytes: &[u8]) {
        if let Ok(message) = M::decode(bytes) {
            drop(T::try_from(message).ok());
        }
    }
    one::<pb::SignedTransaction, SignedTransaction>(bytes);
    one::<pb::Upgrade, Upgrade>(bytes);
    one::<pb::Proposal, Proposal>(bytes);
    one::<pb::Ballot, (ValidatorId, Ballot)>(bytes);
    one::<pb::ReadinessReport, (ValidatorId, ReadinessReport)>(bytes);
    one::<pb::Validator, (Validator, Account)>(bytes);
    one::<pb::ValidatorsChange, ValidatorsChange>(bytes);
    one::<pb::ValidatorChange, ValidatorChange>(bytes);
    one::<pb::ParametersChange, ParametersChange>(bytes);
    one::<pb::Halt, Halt>(bytes);
    one::<pb::Event, Event>(bytes);
    one::<node::AnnouncedUpgrade, (ProposalId, Upgrade, Phase)>(bytes);
}

proptest! {
    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..512)) {
        convert_as_everything(&bytes);
    }

    /// Random bytes seldom get past the first tag: valid ones with a few changes get deep.
    #[test]
    fn almost_valid_bytes(
        signed in arbitrary::signed_transaction(),
        proposal in arbitrary::proposal(),
        event in arbitrary::event(),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
        length in any::<Index>(),
    ) {
        for mut bytes in [
            pb::SignedTransaction::from(&signed).encode_to_vec(),
            pb::Proposal::from(&proposal).encode_to_vec(),
            pb::Event::from(&event).encode_to_vec(),
        ] {
            for (index, byte) in &changes {
                let index = index.index(bytes.len());
                bytes[index] = *byte;
            }
            convert_as_everything(&bytes);
            bytes.truncate(length.index(bytes.len()));
            convert_as_everything(&bytes);
        }
    }
}
