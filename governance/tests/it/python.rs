//! Another language signs a vote from the README's layout alone.

use std::path::Path;
use std::process::Command;

use governance::{Choice, SignedTransaction};

use crate::fixture::{Chain, governance_key, upgrade, validator_id};

fn script(secret: &str, chain_id: &str, sequence: u64, proposal: &str, choice: &str) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sign_vote.py");
    let output = Command::new("python3")
        .arg(script)
        .args([secret, chain_id, &sequence.to_string(), "100", proposal, choice])
        .output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIPPED: there is no python3 on this machine");
            return None;
        }
        output => output.unwrap(),
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[test]
fn python_signs_votes_that_count() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    for (index, sequence, choice) in [
        (1, 0, Choice::Approve),
        (2, 0, Choice::Reject),
        (2, 1, Choice::Approve),
    ] {
        let secret = hex::encode(governance_key(index).to_bytes());
        let word = choice.to_string();
        let Some(digits) = script(&secret, "test-1", sequence, &proposal.to_string(), &word) else {
            return;
        };
        let signed = SignedTransaction::from_canonical(&hex::decode(digits).unwrap()).unwrap();
        signed.verify(chain.state.chain_id()).unwrap();
        chain.deliver(&signed).unwrap();
        assert_eq!(chain.ballot(proposal, index).unwrap().choice, choice);
        assert_eq!(chain.state.next_sequence(&validator_id(index)), sequence + 1);
        // Signing is deterministic: the very same bytes.
        let here = signed.transaction.clone().sign(&governance_key(index));
        assert_eq!(here, signed);
    }
}

#[test]
fn python_says_how_it_is_used() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sign_vote.py");
    for arguments in [
        &["01"][..],
        &["01", "test-1", "0", "100", "02", "approve"],
        &["", "", "", "", "", "maybe"],
    ] {
        match Command::new("python3").arg(&script).args(arguments).output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return println!("SKIPPED: there is no python3 on this machine");
            }
            output => assert_eq!(output.unwrap().status.code(), Some(1), "{arguments:?}"),
        }
    }
}
