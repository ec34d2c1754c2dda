//! Bytes that never change: another language produces them from the README's layout alone.

use governance::encoding::to_canonical;
use governance::{
    Action, Choice, Digest, Height, Parameters, ProposalId, PublicKey, Readiness, RowKey, State, Transaction,
    ValidatorId,
};

use crate::fixture::{
    Chain, add, cancel_id, genesis, governance_key, id_of, key, parameter_change, parameters, remove, rotate,
    set_change, set_power, upgrade, validator_id,
};
use crate::root::{state_bytes, state_root};

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
fn golden_propose_validators() {
    let changes = [
        add(4, 3),
        remove(1),
        set_power(2, 7),
        rotate(3, Some(90), None),
        rotate(0, None, Some(91)),
    ];
    assert_transaction(
        set_change(20, &changes).to_action(),
        "000000040000000000000014000000000000000500000000000000000000000b76616c696461746f722d346e7a1cdd29b0b78fd13af4c5598feff4ef2a97166e3ca6f2e4fbfccd80505bf1e34d3a01b6112e1429ead61668405f4ef4be4f8853abee5079d28ac6c13ffdd00000000000000003000000016a3803d5f059902a1c6dafbc9ba4729212f7caac00000002b62e867fa2f33afe62d5d6b1642e1621d5433078000000000000000700000003c5b940ed3f65c391965de8295fc5d25f474fa57b010d7550754e0800a5d237eef5826035766b9b3e5a15868a940ab289958788e3b0000000000334750f98bd59fcfc946da45aaabe933be154a4b500016b734a8eff246fe734b38d4046c148eee5f04fe87b3a0a423955a77956de066b0000000000000000",
        "7614d9a4a84b0bad29a1ae25bcaec5876c3d393961925fcffa5b9239d9c400dad3b968f9d377d0edc11d6dab87dd1cc8ce1b9da2f957a77dd3b44ffebd2cf707",
        "57637bab1d44c44c3e3f7dd568ae29942101874a01384f90baaa00aad6182bb5",
    );
}

#[test]
fn golden_propose_parameters() {
    let stricter = Parameters {
        min_lead_blocks: 12,
        threshold_numerator: 3,
        threshold_denominator: 4,
        ..parameters()
    };
    assert_transaction(
        parameter_change(20, stricter).to_action(),
        "000000050000000000000014000000000000000c0000000000000004000000000000000300000000000000040000000000000000",
        "c5113e24eee40ccf9c6fb36c58741103b50200bac882a283285925f84ac23a3b50e0fddc19355ff13eb31fc7482758ed16639931b133bb9e3901b83dacdcf008",
        "4bbd7cedfad4e159347d3eb8619134b619a6ef1e6b1b16110d43061619e533a6",
    );
}

#[test]
fn golden_authorize_reporter() {
    let key = PublicKey::from(&key(200));
    assert_transaction(
        Action::AuthorizeReporter { key: Some(key) },
        "000000060197ffc883c80bee7237ef95d9b9b703d4ad63e60a21e605867682b75b8b3f4303",
        "c45d2e970cdd8bcb6c345175ac04be6ed411df67254afed6b53a61e6b008732653b214a035de6a148a85c747ab2d9b7b7979608ca6be419ee3518e2b2a52a505",
        "e7df3ff232494eee541b1ce596ea42df4b4b3a47c5e65f3d817bba1187814f1a",
    );
    assert_transaction(
        Action::AuthorizeReporter { key: None },
        "0000000600",
        "e8bccde640d67962f69cc1cd909c912d4f929bd5c72859d9f5a5a3d8cf53d6aa7b591cfe21e5ff14a87ce3121b772b902ce9ea1bea19fc111cc387c5a6304c0f",
        "2f4b947033e8cd867e3f8847c8fc411a7922b607fc11566768c633b6da0fa29d",
    );
}

#[test]
fn golden_report_readiness() {
    for (readiness, index, signature, id) in [
        (
            Readiness::Staged,
            "00000000",
            "556b877298830b33b4cca7cc2550a071f3d345d1e0f5d9e4cb02e9657ac8ac1820bd53675c94c26280e1bb4e6e3abdb9a6d0495dc8d63a5d664aeee2b4555307",
            "6043fef0e711c99c20f8cc6def910019b35f65caa23978fb6565dcf34f4531d4",
        ),
        (
            Readiness::Verified,
            "00000001",
            "84395769534bc926e689670afab6374d364e938dc91b79ee7a4c6511b2c9af9a9654657990407aaaea02b2a953e8377e178bc3bc4d63ef00e00fc66c3181bc09",
            "3921556aae0c5e665a1a308c1d2b65025c507acf3bb61fa6f07cbc172d78875b",
        ),
    ] {
        let report = Action::ReportReadiness {
            validator: validator_id(0),
            proposal: proposal(),
            readiness,
        };
        let body = format!("00000007{}{PROPOSAL}{index}", validator_id(0));
        assert_transaction(report, &body, signature, id);
    }
}

#[test]
fn golden_state_before_block_1() {
    let state = State::from_genesis(&genesis(&[1])).unwrap();
    assert_golden(
        "hashed bytes",
        state_bytes(&state),
        "7669736f722f676f7665726e616e63652f76312f7374617465000000000000000006746573742d3100000000000000000000000000000005312e302e30000000000000000a00000000000000040000000000000002000000000000000300000000000000004a0b98e4df885553f6d2a3bcad2fb06f627531c099b55654735774d1b968db440000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    );
    assert_golden(
        "state root",
        state.state_root(),
        "156adf8455e6266e3f923de2f82ae1cd141b39e116537734f553b8dea0956ef3",
    );
}

/// Ballots, a report, an ended proposal, an executed change.
#[test]
fn golden_state_root_of_a_small_history() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let release = chain.propose(0, &upgrade("1.1.0", 30));
    chain.vote(1, release, Choice::Approve).unwrap();
    chain.vote(2, release, Choice::Reject).unwrap();
    let _ = chain.end();
    assert_golden(
        "state root after block 1",
        chain.state.state_root(),
        "3c8202ca07c68e4c311b73ba9d70ee0a4c71c00dedbcc6d672774269891fbcb3",
    );
    chain.begin().unwrap();
    let reporter = PublicKey::from(&key(200));
    chain
        .send(0, Action::AuthorizeReporter { key: Some(reporter) })
        .unwrap();
    chain.report(200, 0, release, Readiness::Verified).unwrap();
    let change = chain.submit(1, &set_change(20, &[add(4, 1)]));
    chain.approve(&[2, 3], change);
    let _ = chain.end();
    assert_golden(
        "state root after block 2",
        chain.state.state_root(),
        "7581ff70530fa2bc20f694695a99ca1a946826597cb62041787f960265347227",
    );
    let _ = chain.close(20);
    assert_golden(
        "state root after block 20",
        chain.state.state_root(),
        "f169a70b72dc77f13e8b8719b2728ef8ac426f66ec0babe9d2cbd72a96078f98",
    );
    assert_eq!(state_root(&chain.state), chain.state.state_root());
    let proof = chain.proof(change).to_bytes();
    assert_golden(
        "certificate",
        Digest::of(&proof),
        "2f72c071b39b1d3a19bfe202ae8f2800ac919a35370281da60bd382be31c56f4",
    );
}

/// Keys of rows, one of every kind.
#[test]
fn golden_row_keys() {
    let (validator, proposal) = (ValidatorId([0xaa; 20]), ProposalId([0xbb; 32]));
    let (a, b) = ("aa".repeat(20), "bb".repeat(32));
    for (key, expected) in [
        (RowKey::Header, "00000000".to_owned()),
        (RowKey::Validator(validator), format!("00000001{a}")),
        (RowKey::Account(validator), format!("00000002{a}")),
        (RowKey::Live(proposal), format!("00000003{b}")),
        (RowKey::Ballot(proposal, validator), format!("00000004{b}{a}")),
        (RowKey::Report(proposal, validator), format!("00000005{b}{a}")),
        (RowKey::Ended(258), "000000060000000000000102".to_owned()),
    ] {
        assert_eq!(hex::encode(key.to_bytes()), expected);
    }
}
