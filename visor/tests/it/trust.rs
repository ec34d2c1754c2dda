//! VIS-12: with a pinned genesis an upgrade counts only with a certificate, whatever the node says.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use governance::{
    Action, Artifact, CertificateChain, Choice, Digest, Genesis, GenesisValidator, Height, Parameters, Power,
    ReleaseVersion, SigningKey, State, Subject, Transaction, Upgrade,
};
use serde_json::{Value, json};

use crate::scene::{Host, NEW, OLD, wait_for};

const CHAIN: &str = "trust-1";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// Four validators with the seeds from `first` on.
fn genesis(chain: &str, first: u8) -> Genesis {
    let validator = |seed: u8| GenesisValidator {
        name: format!("validator-{seed}"),
        governance_key: (&key(seed)).into(),
        consensus_key: (&key(seed + 100)).into(),
        power: Power(1),
    };
    Genesis {
        chain_id: chain.parse().unwrap(),
        initial_version: ReleaseVersion::new(1, 0, 0),
        parameters: Parameters {
            min_lead_blocks: 3,
            lock_in_blocks: 2,
            threshold_numerator: 2,
            threshold_denominator: 3,
        },
        validators: (first..first + 4).map(validator).collect(),
    }
}

/// The certificate that the chain of `genesis` gives an upgrade which three of four approve.
fn certify(genesis: &Genesis, first: u8, upgrade: &Upgrade) -> Vec<u8> {
    let mut state = State::from_genesis(genesis).unwrap();
    state
        .begin_block(Height(1), &ReleaseVersion::new(1, 0, 0))
        .unwrap();
    let proposal = Subject::Upgrade(upgrade.clone()).id(&genesis.chain_id);
    let actions = [
        Action::ProposeUpgrade(upgrade.clone()),
        Action::Vote {
            proposal,
            choice: Choice::Approve,
        },
        Action::Vote {
            proposal,
            choice: Choice::Approve,
        },
    ];
    for (seed, action) in (first..).zip(actions) {
        let transaction = Transaction {
            chain_id: genesis.chain_id.clone(),
            sequence: 0,
            last_valid_height: Height(9),
            action,
        };
        let verified = transaction.sign(&key(seed)).verify(&genesis.chain_id).unwrap();
        state.apply(&verified).unwrap();
    }
    drop(state.end_block());
    let certificate = state.certificate(&proposal).unwrap();
    CertificateChain::new([], certificate).to_bytes()
}

/// A host whose operator has pinned the genesis, and that genesis.
fn pinned_host() -> (Host, Genesis) {
    let host = Host::new();
    let genesis = genesis(CHAIN, 1);
    let path = host.home().join("pinned.json");
    fs::write(path, serde_json::to_vec(&genesis).unwrap()).unwrap();
    host.configure(&[("governance", "genesis", "pinned.json".into())]);
    (host, genesis)
}

/// The upgrade to `NEW` at `height` with the artifact as it is on disk.
fn upgrade(host: &Host, height: u64) -> Upgrade {
    let path = host.binary(NEW);
    let bytes = fs::read(&path).unwrap();
    Upgrade {
        version: NEW.parse().unwrap(),
        height: Height(height),
        artifacts: vec![Artifact {
            platform: visor::staging::host_platform().parse().unwrap(),
            url: format!("file://{}", path.display()),
            size: bytes.len() as u64,
            sha256: Digest::of(&bytes),
        }],
        description: String::new(),
    }
}

/// The node announces it, in this phase and with these certificates.
fn announce(host: &mut Host, upgrade: &Upgrade, phase: &str, certificate: Option<&[u8]>) -> String {
    let id = Subject::Upgrade(upgrade.clone())
        .id(&CHAIN.parse().unwrap())
        .to_string();
    let artifact = &upgrade.artifacts[0];
    let certificates = match certificate {
        Some(bytes) => json!({ &id: hex::encode(bytes) }),
        None => json!({}),
    };
    host.behave(json!({
        "upgrade": {
            "id": id,
            "version": upgrade.version.to_string(),
            "height": upgrade.height.0,
            "platform": artifact.platform.to_string(),
            "url": artifact.url,
            "size": artifact.size,
            "sha256": artifact.sha256.to_string(),
            "phase": phase,
        },
        "certificates": certificates,
    }));
    id
}

fn refusal(status: &Value) -> Option<String> {
    let problems = status["problems"].as_array()?;
    let texts = problems.iter().filter_map(Value::as_str);
    texts
        .into_iter()
        .find(|text| text.contains("is not believed"))
        .map(str::to_owned)
}

#[test]
fn vis_12_a_proven_upgrade_is_carried_out() {
    let (mut host, genesis) = pinned_host();
    let visor = host.start();
    let status = host.wait_status("the node", |status| status["node_connected"] == true);
    assert_eq!(status["pinned_chain"], CHAIN);
    // What is still voted on is no accepted plan: nothing is fetched for it, and nobody is alarmed.
    let voted_on = upgrade(&host, host.height() + 10_000);
    announce(&mut host, &voted_on, "voting", None);
    let seen = host.height() + 5;
    wait_for("some reports", || (host.height() >= seen).then_some(()));
    let (_, status) = host.status();
    assert_eq!(status["upgrade"], Value::Null, "{status}");
    assert_eq!(status["problems"], json!([]));
    let upgrade = upgrade(&host, host.height() + 40);
    announce(
        &mut host,
        &upgrade,
        "approved",
        Some(&certify(&genesis, 1, &upgrade)),
    );
    let status = host.wait_status("the upgrade", |status| {
        status["last_upgrade"]["to"] == NEW && status["node_connected"] == true
    });
    assert_eq!(status["problems"], json!([]));
    assert_eq!(host.starts(), [OLD, NEW]);
    assert!(!visor.log().contains("ERROR"), "{}", visor.log());
}

#[test]
fn vis_12_an_upgrade_without_a_certificate_is_refused_until_it_has_one() {
    let (mut host, genesis) = pinned_host();
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let upgrade = upgrade(&host, host.height() + 40);
    let id = announce(&mut host, &upgrade, "locked_in", None);
    let status = host.wait_status("the refusal", |status| refusal(status).is_some());
    let text = refusal(&status).unwrap();
    assert!(
        text.contains(NEW) && text.contains("gives no certificate for it: it has none"),
        "{text}"
    );
    assert_eq!(status["upgrade"], Value::Null, "{status}");
    wait_for("the halt", || (host.height() >= upgrade.height.0).then_some(()));
    // Halted or not: nothing is fetched, stopped or switched.
    let status = host.wait_status("the refused halt", |status| {
        status["node_height"].as_u64() >= Some(upgrade.height.0) && refusal(status).is_some()
    });
    assert_eq!(status["phase"], "running");
    assert_eq!(host.current(), "genesis");
    assert!(!host.home().join(format!("v{NEW}")).exists());
    let doctor = Command::new(env!("CARGO_BIN_EXE_visor"))
        .args(["doctor", "--home"])
        .arg(host.home())
        .output()
        .unwrap();
    let text = String::from_utf8(doctor.stdout).unwrap();
    assert_eq!(doctor.status.code(), Some(10), "{text}");
    assert!(
        text.contains(&format!("upgrade.certificate  proposal {id}")),
        "{text}"
    );
    let log = visor.log();
    assert!(
        log.contains("ERROR") && log.contains("is not proven; it is not carried out") && log.contains(&id),
        "{log}"
    );
    announce(
        &mut host,
        &upgrade,
        "locked_in",
        Some(&certify(&genesis, 1, &upgrade)),
    );
    host.wait_status("the upgrade", |status| {
        status["last_upgrade"]["to"] == NEW && status["node_connected"] == true && refusal(status).is_none()
    });
}

#[test]
fn vis_12_a_certificate_for_something_else_proves_nothing() {
    let (mut host, genesis_file) = pinned_host();
    let _visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    // The chain would stand still at the height, and this is no story of an upgrade.
    let upgrade = upgrade(&host, host.height() + 10_000);
    let good = certify(&genesis_file, 1, &upgrade);
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let mut other = upgrade.clone();
    other.height = Height(upgrade.height.0 + 1);
    let cases = [
        (flipped, "checksum"),
        (b"nonsense".to_vec(), "this is no certificate"),
        (certify(&genesis_file, 1, &other), "is for proposal"),
        (certify(&genesis("other-1", 1), 1, &upgrade), "of chain other-1"),
        (
            certify(&genesis(CHAIN, 11), 11, &upgrade),
            "governance key of no validator",
        ),
    ];
    for (certificate, reason) in cases {
        announce(&mut host, &upgrade, "locked_in", Some(&certificate));
        let status = host.wait_status(reason, |status| {
            refusal(status).is_some_and(|text| text.contains(reason))
        });
        assert_eq!(status["upgrade"], Value::Null, "{status}");
    }
    // The right certificate, and other bytes than it was given for.
    let mut swapped = upgrade.clone();
    swapped.artifacts[0].sha256 = Digest::of(b"something else");
    let id = announce(&mut host, &upgrade, "locked_in", Some(&good));
    host.wait_status("the proven upgrade", |status| {
        status["upgrade"]["proposal_id"] == id
    });
    host.behave(json!({ "upgrade": {
        "id": id,
        "version": NEW,
        "height": upgrade.height.0,
        "platform": visor::staging::host_platform(),
        "url": upgrade.artifacts[0].url,
        "size": upgrade.artifacts[0].size,
        "sha256": swapped.artifacts[0].sha256.to_string(),
        "phase": "locked_in",
    }}));
    let status = host.wait_status("the refusal", |status| refusal(status).is_some());
    let text = refusal(&status).unwrap();
    assert!(
        text.contains("proves other artifacts than the node says"),
        "{text}"
    );
}

#[test]
fn a_pin_that_cannot_be_used_stops_visor_before_anything_begins() {
    let (host, _) = pinned_host();
    for (content, parts) in [
        (None, &["governance.genesis", "pinned.json", "No such file"][..]),
        (
            Some("{}"),
            &["pinned.json", "expected the genesis.json", "chain_id"],
        ),
    ] {
        let path = host.home().join("pinned.json");
        match content {
            None => fs::remove_file(&path).unwrap(),
            Some(text) => fs::write(&path, text).unwrap(),
        }
        let output = host.command().output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(host.starts().is_empty(), "no node was started");
    }
}

fn verify(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_visor"))
        .arg("verify")
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn visor_verifies_a_certificate_without_home_and_node() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let chain = genesis(CHAIN, 1);
    let upgrade = Upgrade {
        version: NEW.parse().unwrap(),
        height: Height(100),
        artifacts: vec![Artifact {
            platform: "linux/amd64".parse().unwrap(),
            url: "https://example.org/governance".to_owned(),
            size: 7,
            sha256: Digest::of(b"the new"),
        }],
        description: "what\u{202e}s new".to_owned(),
    };
    let good = certify(&chain, 1, &upgrade);
    let pinned = file("genesis.json", &serde_json::to_vec(&chain).unwrap());
    let pinned = pinned.to_str().unwrap();
    let certificate = file("certificate", &good);
    let certificate = certificate.to_str().unwrap();

    let output = verify(&["--genesis", pinned, certificate]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "proven         v1.1.0@100 was accepted\n",
        "chain          trust-1\n",
        "artifact       linux/amd64  https://example.org/governance\n",
        &format!("7 bytes, sha256 {}\n", Digest::of(b"the new")),
        "text           what\\u{202e}s new\n",
        "approved       by 3 validators with power 3 of 4 (more than 2/3 is needed)\n",
        "votes          close in block 98\n",
        "since genesis  no change of validators or parameters",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let output = verify(&["--json", "--genesis", pinned, certificate]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["schema"], 1);
    assert_eq!(object["kind"], "upgrade");
    assert_eq!(object["version"], NEW);
    assert_eq!(object["tally"]["approving"], 3);
    assert_eq!(
        object["artifacts"][0]["sha256"],
        Digest::of(b"the new").to_string()
    );

    let refused = |arguments: &[&str], code: i32, part: &str| {
        let output = verify(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(part), "{part:?} in {text}");
        assert!(output.stdout.is_empty());
    };
    for at in (0..good.len()).step_by(29).chain([good.len() - 1]) {
        let mut bad = good.clone();
        bad[at] ^= 4;
        let bad = file("bad", &bad);
        refused(
            &["--genesis", pinned, bad.to_str().unwrap()],
            8,
            "failed to verify",
        );
    }
    let strangers = file(
        "strangers.json",
        &serde_json::to_vec(&genesis(CHAIN, 11)).unwrap(),
    );
    let strangers = strangers.to_str().unwrap();
    refused(
        &["--genesis", strangers, certificate],
        8,
        "governance key of no validator",
    );
    refused(
        &["--genesis", certificate, certificate],
        3,
        "expected the genesis.json",
    );
    refused(&["--genesis", pinned, "/no/such/file"], 1, "/no/such/file");
    refused(&[certificate], 2, "--genesis");
}
