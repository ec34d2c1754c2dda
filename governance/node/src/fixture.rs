//! A small chain for unit tests.

use governance::{
    Action, Artifact, ChainId, Digest, Genesis, GenesisValidator, Height, Parameters, Power, PublicKey,
    ReleaseVersion, SignedTransaction, SigningKey, State, Transaction, Upgrade,
};

pub(crate) const OLD: ReleaseVersion = ReleaseVersion::new(1, 0, 0);
pub(crate) const NEW: ReleaseVersion = ReleaseVersion::new(1, 1, 0);

pub(crate) fn chain_id() -> ChainId {
    "unit-test".parse().unwrap()
}

pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number + 1; 32])
}

/// Four validators with power 1.
pub(crate) fn genesis() -> Genesis {
    Genesis {
        chain_id: chain_id(),
        initial_version: OLD,
        parameters: Parameters {
            min_lead_blocks: 4,
            lock_in_blocks: 2,
            threshold_numerator: 2,
            threshold_denominator: 3,
        },
        validators: (0..4)
            .map(|number| GenesisValidator {
                name: format!("validator-{number}"),
                governance_key: PublicKey::from(&key(number)),
                consensus_key: PublicKey::from(&key(number + 100)),
                power: Power(1),
            })
            .collect(),
    }
}

pub(crate) fn state() -> State {
    State::from_genesis(&genesis()).unwrap()
}

/// An upgrade to `NEW`; every number gives another one.
pub(crate) fn upgrade(number: u64) -> Upgrade {
    Upgrade {
        version: NEW,
        height: Height(1_000 + number),
        artifacts: vec![Artifact {
            platform: "linux/amd64".parse().unwrap(),
            url: "https://example.org/governance".to_owned(),
            size: 1,
            sha256: Digest([1; 32]),
        }],
        description: String::new(),
    }
}

/// A proposal of validator `sender`, valid up to block 100.
pub(crate) fn propose(sender: u8, sequence: u64, number: u64) -> SignedTransaction {
    sign(
        sender,
        sequence,
        Height(100),
        Action::ProposeUpgrade(upgrade(number)),
    )
}

pub(crate) fn sign(
    sender: u8,
    sequence: u64,
    last_valid_height: Height,
    action: Action,
) -> SignedTransaction {
    Transaction {
        chain_id: chain_id(),
        sequence,
        last_valid_height,
        action,
    }
    .sign(&key(sender))
}
