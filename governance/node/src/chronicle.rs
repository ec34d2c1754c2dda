//! The chain's own state beside governance: a hash chain over every executed block.
//!
//! It stands for what a real chain executes. Each release may execute something else than the one before, so each
//! carries the migrations of its predecessors in one table, by the version that introduced them. A block executed by
//! the wrong release gives another head, and with it another state root, at that very height.

use governance::{ChainId, Digest, Height, ReleaseVersion, encoding};
use serde::{Deserialize, Serialize};

/// What the first head covers.
const SEED_TAG: &[u8] = b"visor/chronicle/seed\0";
/// What a head of schema 1 covers.
const ENTRY_1_TAG: &[u8] = b"visor/chronicle/entry/1\0";
/// What the first head of schema 2 covers.
const SEED_2_TAG: &[u8] = b"visor/chronicle/seed/2\0";
/// What a head of schema 2 covers.
const ENTRY_2_TAG: &[u8] = b"visor/chronicle/entry/2\0";
/// What the chain's state root covers.
const CHAIN_TAG: &[u8] = b"visor/chain\0";

/// How a block enters the chronicle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Schema {
    /// The previous head, the height and the block's id.
    One,
    /// The same, the version that executed the block and the number of its transactions.
    Two,
}

/// The hash chain's head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chronicle {
    schema: Schema,
    head: Digest,
}

/// An executed block, as the chronicle records it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The block.
    pub height: Height,
    /// Its id.
    pub block: Digest,
    /// The version that executed it.
    pub version: &'a ReleaseVersion,
    /// How many transactions stood in it.
    pub transactions: u64,
}

/// From which version on a schema is in force, and what becomes of a chronicle at that version's first block.
struct Migration {
    since: ReleaseVersion,
    schema: Schema,
    migrate: fn(&Chronicle) -> Chronicle,
}

/// Every migration, oldest first. A version runs those that its chronicle has not seen, at its first block.
const MIGRATIONS: [Migration; 1] = [Migration {
    since: ReleaseVersion::new(1, 1, 0),
    schema: Schema::Two,
    migrate: |old| Chronicle {
        schema: Schema::Two,
        head: tagged(SEED_2_TAG, &old.head),
    },
}];

impl Chronicle {
    /// The chronicle before the first block.
    pub fn genesis(chain_id: &ChainId) -> Self {
        Self {
            schema: Schema::One,
            head: tagged(SEED_TAG, chain_id),
        }
    }

    /// How blocks enter it now.
    pub const fn schema(&self) -> Schema {
        self.schema
    }

    /// The hash over everything recorded.
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// The chronicle with one more block, after the migrations that its version brings.
    #[must_use]
    pub fn record(&self, entry: &Entry<'_>) -> Self {
        let mut chronicle = self.clone();
        for migration in &MIGRATIONS {
            if chronicle.schema < migration.schema && *entry.version >= migration.since {
                chronicle = (migration.migrate)(&chronicle);
            }
        }
        chronicle.head = match chronicle.schema {
            Schema::One => tagged(ENTRY_1_TAG, &(chronicle.head, entry.height, entry.block)),
            Schema::Two => tagged(
                ENTRY_2_TAG,
                &(
                    chronicle.head,
                    entry.height,
                    entry.block,
                    entry.version,
                    entry.transactions,
                ),
            ),
        };
        chronicle
    }

    /// The chain's state root: governance and chronicle together.
    pub fn chain_root(&self, governance: &Digest) -> Digest {
        tagged(CHAIN_TAG, &(governance, self))
    }
}

fn tagged<T: Serialize>(tag: &[u8], value: &T) -> Digest {
    let mut bytes = tag.to_vec();
    bytes.extend_from_slice(&encoding::to_canonical(value));
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> ChainId {
        "chronicle-test".parse().unwrap()
    }

    fn entry(height: u64, version: &ReleaseVersion) -> Entry<'_> {
        Entry {
            height: Height(height),
            block: Digest([7; 32]),
            version,
            transactions: 3,
        }
    }

    /// The same with nothing but SHA-256 and bytes written out by hand: big-endian integers, strings by length.
    #[test]
    fn heads_are_the_hashes_that_the_layout_says() {
        let (old, new) = (ReleaseVersion::new(1, 0, 0), ReleaseVersion::new(1, 1, 0));
        let genesis = Chronicle::genesis(&chain());
        let mut bytes = b"visor/chronicle/seed\0".to_vec();
        bytes.extend_from_slice(&14u64.to_be_bytes());
        bytes.extend_from_slice(b"chronicle-test");
        assert_eq!(genesis.head(), Digest::of(&bytes));

        let first = genesis.record(&entry(1, &old));
        let mut bytes = b"visor/chronicle/entry/1\0".to_vec();
        bytes.extend_from_slice(&genesis.head().0);
        bytes.extend_from_slice(&1u64.to_be_bytes());
        bytes.extend_from_slice(&[7; 32]);
        assert_eq!(first.head(), Digest::of(&bytes));
        assert_eq!(first.schema(), Schema::One);

        let second = first.record(&entry(2, &new));
        let mut bytes = b"visor/chronicle/seed/2\0".to_vec();
        bytes.extend_from_slice(&first.head().0);
        let seed = Digest::of(&bytes);
        let mut bytes = b"visor/chronicle/entry/2\0".to_vec();
        bytes.extend_from_slice(&seed.0);
        bytes.extend_from_slice(&2u64.to_be_bytes());
        bytes.extend_from_slice(&[7; 32]);
        bytes.extend_from_slice(&5u64.to_be_bytes());
        bytes.extend_from_slice(b"1.1.0");
        bytes.extend_from_slice(&3u64.to_be_bytes());
        assert_eq!(second.head(), Digest::of(&bytes));
        assert_eq!(second.schema(), Schema::Two);
    }

    #[test]
    fn the_wrong_version_at_any_height_gives_another_root() {
        let (old, new) = (ReleaseVersion::new(1, 0, 0), ReleaseVersion::new(1, 1, 0));
        let state = Digest([1; 32]);
        let mut honest = Chronicle::genesis(&chain());
        for height in 1..=6 {
            let right = if height <= 3 { &old } else { &new };
            let wrong = if height <= 3 { &new } else { &old };
            let next = honest.record(&entry(height, right));
            assert_ne!(
                next.chain_root(&state),
                honest.record(&entry(height, wrong)).chain_root(&state)
            );
            honest = next;
        }
        assert_eq!(honest.schema(), Schema::Two);
    }

    #[test]
    fn a_migration_runs_once() {
        let new = ReleaseVersion::new(1, 1, 0);
        let first = Chronicle::genesis(&chain()).record(&entry(1, &new));
        let second = first.record(&entry(2, &new));
        let by_hand = tagged(
            ENTRY_2_TAG,
            &(first.head(), Height(2), Digest([7; 32]), &new, 3u64),
        );
        assert_eq!(second.head(), by_hand);
    }
}
