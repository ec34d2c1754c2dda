//! Bytes that never change: another language produces them from the README's layout alone.

use governance::encoding::to_canonical;
use governance::{Action, Choice, Height, ProposalId, PublicKey, State, Transaction, ValidatorId};

use crate::fixture::{Chain, cancel_id, genesis, governance_key, id_of, upgrade};

const PROPOSAL: &str = "19ccd851d22d2bf75f83054f2fb1cb62aa3e7a387f432a67d7f324a785374a1e";
/// Chain id, sequence and last valid height, with which every vector begins.
const HEADER: &str = "0000000000000006746573742d3100000000000000070000000000000064";

/// The hexadecimal digits of `bytes`; the README shows the same ones.
#[track_caller]
fn assert_golden(what: &str, bytes: impl AsRef<[u8]>, expected: &str) {
    assert_eq!(hex::encode(bytes), expected, "{what}");
    assert!(
        include_str!("../../README.md").contains(expected),
        "README.md lacks {what}"
    );
}

#[track_caller]
fn assert_transaction(action: Action, body: &str, signature: &str, id: &str) {
    let chain_id = "test-1".parse().unwrap();
    let transaction = Transaction {
        chain_id,
        sequence: 7,
        last_valid_height: Height(100),
        action,
    };
    let canonical = to_canonical(&transaction);
    assert_golden("transaction", &canonical, &format!("{HEADER}{body}"));
    assert_eq!(
        transaction.sign_bytes(),
        [b"visor/governance/v1/transaction\0".as_slice(), &canonical].concat()
    );
    let signed = transaction.sign(&governance_key(0));
    assert_golden("signature", signed.signature, signature);
    assert_golden("transaction id", signed.id(), id);
    let parts = [&canonical, signed.public_key.as_ref(), signed.signature.as_ref()].concat();
    assert_eq!(signed.to_canonical(), parts);
}

fn proposal() -> ProposalId {
    PROPOSAL.parse().unwrap()
}

#[test]
fn golden_keys_and_ids() {
    let key = PublicKey::from(&governance_key(0));
    assert_golden(
        "public key",
        key,
        "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
    );
    assert_golden(
        "validator id",
        ValidatorId::at_entry(&key),
        "34750f98bd59fcfc946da45aaabe933be154a4b5",
    );
    assert_golden("proposal id", id_of(&upgrade("1.1.0", 20)), PROPOSAL);
    let cancel = "8ea157d4f649d7cfb61dcd65578d40bd9de8917b8ef46266d7b12045498e4eec";
    assert_golden("cancel id", cancel_id(proposal()), cancel);
}

#[test]
fn golden_propose_upgrade() {
    assert_transaction(
        Action::ProposeUpgrade(upgrade("1.1.0", 20)),
        "000000000000000000000005312e312e3000000000000000140000000000000001000000000000000b6c696e75782f616d643634000000000000001f68747470733a2f2f6578616d706c652e6f72672f6c696e75782f616d64363400000000000003e8baf0239e48ff4c47ebac3ba02b5cf1506b69cd5a0c0d0c825a53ba65976fb9420000000000000000",
        "5dfc254ead8342efa45e7b1208b07d006ae023d2d0839a43a6e4e52961b88b2a271fe7e72fda05a46fdc2c9b8831f899993c81513807fb570f48b21c93a5f70e",
        "5380ab612534124e61cf678dced05560e558e2e96393aaecfebab37f1afe0bdd",
    );
}

#[test]
fn golden_propose_cancel() {
    assert_transaction(
        Action::ProposeCancel { target: proposal() },
        &format!("00000001{PROPOSAL}"),
        "06b8f0f59bcd671850e23ca2c125a4f5373d2aec61ee4da2e4642cad80585df4bdb1b51df52fe033ae729a3dbd95ee8976fee2a89c6f104fb93996d3b7ebf509",
        "3e1627f95176359e31e67bb3cec9f7d35d6c3ac88568f5fad1c374766d4c63ec",
    );
}

#[test]
fn golden_vote() {
    assert_transaction(
        Action::Vote {
            proposal: proposal(),
            choice: Choice::Approve,
        },
        &format!("00000002{PROPOSAL}00000000"),
        "97f8466f31d22c86c47b311e25512492898a1e338b9d8484da82adb673658ba67d4f0264c628a136ac28b92199832f8cd6f5bcfcd3a251048c3ed0601bd29b0e",
        "2fda82a5f1583824b0e6b0af242b3fd1f6f36d2c4681f00e59dda1887ffe5518",
    );
    assert_transaction(
        Action::Vote {
            proposal: proposal(),
            choice: Choice::Reject,
        },
        &format!("00000002{PROPOSAL}00000001"),
        "c1caacec5d3b5551440f6b3b92878623972e72dbd2f8248943dfb41357ae27d1906dcc0647a79dad9758004762a220079a99648de62989c8f02b4b008ae13606",
        "f47045032dd1b49fa731bffef7d944f8994fccc8f5b4bf6bd1304569687f1029",
    );
}

#[test]
fn golden_withdraw() {
    assert_transaction(
        Action::Withdraw { proposal: proposal() },
        &format!("00000003{PROPOSAL}"),
        "9ba20f2704a664be00266085cd18d02b310530c91c7247917081408117ca79bfb0f4c109ccd2c5ed1c61eb0d4b2fbc8d10c046fa0b9ded115c8eaad3cd985202",
        "c6b0db75b487d89dbb608cff2be84b57985a7ef598a605aa3a8917901c1f300c",
    );
}

#[test]
fn golden_state_before_block_1() {
    let state = State::from_genesis(&genesis(&[1])).unwrap();
    assert_golden(
        "state root",
        state.state_root(),
        "ee85ed1281098de4f479bc694d70653d540571f8e98a007e9ab8da7cce0d3323",
    );
}

#[test]
fn golden_state_root_of_a_small_history() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    chain.vote(1, proposal, Choice::Approve).unwrap();
    chain.open(2);
    chain.vote(3, proposal, Choice::Reject).unwrap();
    let _ = chain.end();
    assert_golden(
        "state root",
        chain.state.state_root(),
        "cbc48b56ec7cf65129b1ef09f522897c8d40d4a070365ae6637a53f6f20182f8",
    );
}
