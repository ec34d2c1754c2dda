//! Transactions of every malformed kind, each with the reason for which it must be refused.

use e2e::{Desk, Random};
use governance::{
    Action, Artifact, Choice, Digest, GenesisValidator, Height, Parameters, ParametersChange, Power,
    ProposalId, PublicKey, Readiness, Signature, SignedTransaction, Upgrade, ValidatorChange, ValidatorId,
    ValidatorsChange,
};
use prost::Message as _;
use proto::pb::governance::v1 as pb;

/// The order of ed25519's group, little-endian: added to a signature's second half it gives a second form of the same number.
const GROUP_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Requests that hold a signed transaction of the right form, and which nobody may accept. `desk` is a validator's, `proposal` is live.
pub(crate) fn requests(desk: &Desk, proposal: ProposalId) -> Vec<(String, pb::SubmitTransactionRequest)> {
    let valid: pb::SignedTransaction = (&vote(desk, proposal)).into();
    let mut cases = vec![
        (
            "no transaction".to_owned(),
            pb::SubmitTransactionRequest { transaction: None },
        ),
        (
            "nothing in it".to_owned(),
            request(pb::SignedTransaction::default()),
        ),
    ];
    let mut edit = |name: &str, change: &dyn Fn(&mut pb::SignedTransaction)| {
        let mut changed = valid.clone();
        change(&mut changed);
        cases.push((name.to_owned(), request(changed)));
    };
    for length in [0, 1, 31, 33, 64, 10_000] {
        edit(&format!("key of {length} bytes"), &|signed| {
            signed.public_key = vec![7; length];
        });
        edit(&format!("signature of {length} bytes"), &|signed| {
            signed.signature = vec![7; if length == 64 { 65 } else { length }];
        });
    }
    let mut one = vec![0; 32];
    one[0] = 1;
    let mut above = vec![0xff; 32];
    above[0] = 0xee;
    above[31] = 0x7f;
    for (name, key) in [
        ("the point of order 4", vec![0; 32]),
        ("the neutral point", one),
        ("a point with its coordinate above the field", above),
        ("no point", vec![0xff; 32]),
    ] {
        edit(&format!("key: {name}"), &|signed| {
            signed.public_key.clone_from(&key)
        });
    }
    edit("signature of zeros", &|signed| signed.signature = vec![0; 64]);
    edit("signature of ones", &|signed| signed.signature = vec![0xff; 64]);
    edit("signature in its second form", &|signed| {
        add_group_order(&mut signed.signature[32..]);
    });
    for byte in [0, 31, 32, 63] {
        edit(&format!("signature with byte {byte} changed"), &|signed| {
            signed.signature[byte] ^= 1;
        });
    }
    let mut transaction = |name: &str, change: &dyn Fn(&mut pb::Transaction)| {
        edit(name, &|signed| {
            change(signed.transaction.as_mut().expect("a transaction"));
        });
    };
    transaction("no chain", &|inner| inner.chain_id.clear());
    transaction("another chain", &|inner| inner.chain_id.push('x'));
    transaction("a chain id of 100 KiB", &|inner| {
        inner.chain_id = "c".repeat(100 * 1024)
    });
    transaction("a chain id with a line break", &|inner| inner.chain_id.push('\n'));
    transaction("a sequence number that was not signed", &|inner| {
        inner.sequence += 1
    });
    transaction("a last height that was not signed", &|inner| {
        inner.last_valid_height -= 1
    });
    transaction("no action", &|inner| inner.action = None);
    for (name, action) in broken_actions() {
        transaction(&name, &|inner| inner.action = Some(action.clone()));
    }
    for (name, signed) in well_signed(desk, proposal) {
        cases.push((format!("well signed: {name}"), request((&signed).into())));
    }
    cases
}

/// A vote that the next block would accept.
pub(crate) fn vote(desk: &Desk, proposal: ProposalId) -> SignedTransaction {
    let choice = Choice::Approve;
    desk.sign_at(desk.next_sequence(), Action::Vote { proposal, choice })
}

/// Bytes in place of a request: cut, random, changed, and of fields that nobody knows.
pub(crate) fn byte_strings(desk: &Desk, proposal: ProposalId, random: &mut Random) -> Vec<(String, Vec<u8>)> {
    let whole = request((&vote(desk, proposal)).into()).encode_to_vec();
    let mut cases: Vec<(String, Vec<u8>)> = (0..whole.len())
        .map(|length| (format!("cut to {length} bytes"), whole[..length].to_vec()))
        .collect();
    for case in 0..100 {
        let length = random.index(400);
        cases.push((format!("random bytes {case}"), random.bytes(length)));
        let mut changed = whole.clone();
        let place = random.index(changed.len());
        changed[place] ^= 1 << random.below(8);
        cases.push((format!("bit of byte {place} changed"), changed));
    }
    // Field 1, length 2^64 - 1; a group that never ends; nested far deeper than any message.
    let mut endless = vec![0x0a];
    endless.extend([0xff; 9]);
    endless.push(1);
    cases.push(("a length of 2^64 - 1".to_owned(), endless));
    cases.push(("100,000 groups begun".to_owned(), vec![0x0b; 100_000]));
    cases.push((
        "an action of the future".to_owned(),
        vec![0x0a, 4, 0x0a, 2, 0xa2, 0x06],
    ));
    cases.push(("300 KiB".to_owned(), vec![0; 300 * 1024]));
    cases.push(("8 MiB".to_owned(), vec![0; 8 * 1024 * 1024]));
    cases
}

fn request(signed: pb::SignedTransaction) -> pb::SubmitTransactionRequest {
    pb::SubmitTransactionRequest {
        transaction: Some(signed),
    }
}

fn add_group_order(scalar: &mut [u8]) {
    let mut carry = 0_u16;
    for (byte, add) in scalar.iter_mut().zip(GROUP_ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = (sum & 0xff).try_into().expect("a byte");
        carry = sum >> 8;
    }
}

/// Actions that have no meaning; the signature does not matter any more.
fn broken_actions() -> Vec<(String, pb::transaction::Action)> {
    use pb::transaction::Action as Broken;
    let mut cases = Vec::new();
    for choice in [0, 3, 99, -1, i32::MAX, i32::MIN] {
        cases.push((
            format!("choice {choice}"),
            Broken::Vote(pb::Vote {
                proposal_id: vec![1; 32],
                choice,
            }),
        ));
    }
    for length in [0, 31, 33, 100_000] {
        let proposal_id = vec![1; length];
        cases.push((
            format!("withdrawal with an id of {length} bytes"),
            Broken::Withdraw(pb::Withdraw {
                proposal_id: proposal_id.clone(),
            }),
        ));
        cases.push((
            format!("cancel with a target of {length} bytes"),
            Broken::ProposeCancel(pb::ProposeCancel { target: proposal_id }),
        ));
    }
    let artifact = pb::Artifact {
        platform: "linux/amd64".to_owned(),
        url: "https://example.org/x".to_owned(),
        size: 1,
        sha256: vec![1; 32],
    };
    let upgrade = pb::Upgrade {
        version: "9.1.0".to_owned(),
        height: 400_000,
        artifacts: vec![artifact],
        description: String::new(),
    };
    cases.push((
        "no upgrade".to_owned(),
        Broken::ProposeUpgrade(pb::ProposeUpgrade { upgrade: None }),
    ));
    let mut edit = |name: String, change: &dyn Fn(&mut pb::Upgrade)| {
        let mut changed = upgrade.clone();
        change(&mut changed);
        cases.push((
            name,
            Broken::ProposeUpgrade(pb::ProposeUpgrade {
                upgrade: Some(changed),
            }),
        ));
    };
    for version in [
        "",
        "v",
        "1",
        "1.2",
        "1.2.3.4",
        "01.2.3",
        "1.2.3+build",
        "1.2.-3",
        "٣.1.0",
        "1.2.3\n",
    ] {
        edit(format!("version {version:?}"), &|upgrade| {
            version.clone_into(&mut upgrade.version)
        });
    }
    edit("version of 60,000 digits".to_owned(), &|upgrade| {
        upgrade.version = format!("{}.0.0", "9".repeat(60_000));
    });
    for platform in [
        "",
        "linux",
        "/",
        "linux/",
        "linux/amd64/v1/x",
        "LINUX/AMD64",
        "linux/amd 64",
    ] {
        edit(format!("platform {platform:?}"), &|upgrade| {
            platform.clone_into(&mut upgrade.artifacts[0].platform);
        });
    }
    edit("digest of 31 bytes".to_owned(), &|upgrade| {
        upgrade.artifacts[0].sha256.truncate(31);
    });
    edit("2,000 artifacts".to_owned(), &|upgrade| {
        upgrade.artifacts = vec![upgrade.artifacts[0].clone(); 2_000];
    });
    cases.push((
        "no change of validators".to_owned(),
        Broken::ProposeValidators(pb::ProposeValidators { change: None }),
    ));
    cases.push((
        "a change of one validator that says nothing".to_owned(),
        Broken::ProposeValidators(pb::ProposeValidators {
            change: Some(pb::ValidatorsChange {
                height: 400_000,
                changes: vec![pb::ValidatorChange::default(); 3],
                description: String::new(),
            }),
        }),
    ));
    cases.push((
        "no change of parameters".to_owned(),
        Broken::ProposeParameters(pb::ProposeParameters { change: None }),
    ));
    cases.push((
        "a reporter key of 5 bytes".to_owned(),
        Broken::AuthorizeReporter(pb::AuthorizeReporter {
            key: Some(vec![1; 5]),
        }),
    ));
    cases.push((
        "readiness 77".to_owned(),
        Broken::ReportReadiness(pb::ReportReadiness {
            validator_id: vec![1; 20],
            proposal_id: vec![1; 32],
            readiness: 77,
        }),
    ));
    cases
}

/// Transactions with a good signature of a validator and its next sequence number, which a rule refuses all the same.
fn well_signed(desk: &Desk, proposal: ProposalId) -> Vec<(String, SignedTransaction)> {
    let next = desk.next_sequence();
    let approve = Action::Vote {
        proposal,
        choice: Choice::Approve,
    };
    let mut cases = vec![
        (
            "sequence number of the future".to_owned(),
            desk.sign_at(next + 500, approve.clone()),
        ),
        (
            "the last sequence number".to_owned(),
            desk.sign_at(u64::MAX, approve.clone()),
        ),
        ("a signature of nobody".to_owned(), {
            let mut forged = desk.sign_at(next, approve);
            forged.signature = Signature([1; 64]);
            forged
        }),
    ];
    if next > 0 {
        let old = Action::Withdraw { proposal };
        cases.push((
            "a sequence number used before".to_owned(),
            desk.sign_at(next - 1, old),
        ));
    }
    let late = {
        let mut transaction = desk.sign_at(next, Action::Withdraw { proposal }).transaction;
        transaction.last_valid_height = Height(0);
        transaction.sign(desk.key())
    };
    cases.push(("too late".to_owned(), late));
    for (name, action) in illegal_actions() {
        cases.push((name, desk.sign_at(next, action)));
    }
    cases
}

fn illegal_actions() -> Vec<(String, Action)> {
    let unknown = ProposalId([9; 32]);
    let mut cases = vec![
        (
            "a vote on nothing".to_owned(),
            Action::Vote {
                proposal: unknown,
                choice: Choice::Reject,
            },
        ),
        (
            "a withdrawal from nothing".to_owned(),
            Action::Withdraw { proposal: unknown },
        ),
        (
            "a cancel of nothing".to_owned(),
            Action::ProposeCancel { target: unknown },
        ),
        (
            "a report of somebody's host".to_owned(),
            Action::ReportReadiness {
                validator: ValidatorId([3; 20]),
                proposal: unknown,
                readiness: Readiness::Verified,
            },
        ),
    ];
    let artifact = |platform: &str| Artifact {
        platform: platform.parse().expect("a platform"),
        url: "https://example.org/x".to_owned(),
        size: 1,
        sha256: Digest([1; 32]),
    };
    let upgrade = Upgrade {
        version: "9.1.0".parse().expect("a version"),
        height: Height(400_000),
        artifacts: vec![artifact("linux/amd64"), artifact("linux/arm64")],
        description: String::new(),
    };
    let mut edit = |name: &str, change: &dyn Fn(&mut Upgrade)| {
        let mut changed = upgrade.clone();
        change(&mut changed);
        cases.push((name.to_owned(), Action::ProposeUpgrade(changed)));
    };
    edit("the running version", &|upgrade| {
        upgrade.version = "1.0.0".parse().expect("a version")
    });
    edit("a height of the past", &|upgrade| upgrade.height = Height(0));
    edit("the last height of all", &|upgrade| {
        upgrade.height = Height(u64::MAX)
    });
    edit("no artifact", &|upgrade| upgrade.artifacts.clear());
    edit("artifacts out of order", &|upgrade| upgrade.artifacts.reverse());
    edit("a platform twice", &|upgrade| {
        upgrade.artifacts[1] = upgrade.artifacts[0].clone()
    });
    edit("17 artifacts", &|upgrade| {
        upgrade.artifacts = (10..27)
            .map(|number| artifact(&format!("linux/a{number}")))
            .collect();
    });
    edit("an artifact of no bytes", &|upgrade| {
        upgrade.artifacts[0].size = 0
    });
    edit("an artifact of 2^64 - 1 bytes", &|upgrade| {
        upgrade.artifacts[0].size = u64::MAX
    });
    edit("an address of another kind", &|upgrade| {
        upgrade.artifacts[0].url = "ftp://x/y".to_owned()
    });
    edit("an address of 600 bytes", &|upgrade| {
        upgrade.artifacts[0].url = format!("https://{}", "x".repeat(592));
    });
    edit("a description with an escape sequence", &|upgrade| {
        upgrade.description = "\u{1b}[2J".to_owned();
    });
    edit("a description of 3 KiB", &|upgrade| {
        upgrade.description = "d".repeat(3 * 1024)
    });
    edit("a description of 100 KiB", &|upgrade| {
        upgrade.description = "d".repeat(100 * 1024)
    });
    let change = |height, changes| {
        Action::ProposeValidators(ValidatorsChange {
            height: Height(height),
            changes,
            description: String::new(),
        })
    };
    let stranger = ValidatorId([3; 20]);
    let remove = ValidatorChange::Remove { validator: stranger };
    let add = |power| {
        ValidatorChange::Add(GenesisValidator {
            name: "new".to_owned(),
            governance_key: PublicKey([2; 32]),
            consensus_key: PublicKey([2; 32]),
            power: Power(power),
        })
    };
    cases.extend([
        ("a change of nobody".to_owned(), change(400_000, Vec::new())),
        (
            "a change of a stranger".to_owned(),
            change(400_000, vec![remove.clone()]),
        ),
        (
            "a change of somebody twice".to_owned(),
            change(400_000, vec![remove.clone(), remove.clone()]),
        ),
        ("100 changes".to_owned(), change(400_000, vec![remove; 100])),
        (
            "a validator without power and key".to_owned(),
            change(400_000, vec![add(0)]),
        ),
        (
            "a validator with all power".to_owned(),
            change(400_000, vec![add(u64::MAX)]),
        ),
        ("a change in the past".to_owned(), change(0, vec![add(1)])),
        (
            "parameters that no chain can run with".to_owned(),
            Action::ProposeParameters(ParametersChange {
                height: Height(400_000),
                parameters: Parameters {
                    min_lead_blocks: 0,
                    lock_in_blocks: u64::MAX,
                    threshold_numerator: 0,
                    threshold_denominator: 0,
                },
                description: String::new(),
            }),
        ),
    ]);
    cases
}
