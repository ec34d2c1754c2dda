//! A vote that another language has signed, from the documented byte layout alone, counts on a real node.

use std::path::Path;

use e2e::{carry_through, wavering};
use governance::{Action, Choice, SignedTransaction};
use tokio::process::Command;

use crate::nodes::{clients, stop, validators};
use crate::story::{LIMIT, turn};

#[tokio::test]
async fn a_vote_signed_by_python_is_accepted_by_a_node() {
    let _turn = turn().await;
    let (network, desks) = validators(1).await;
    let clients = clients(&network);
    let desk = &desks[0];
    let proposal = desk
        .propose_far_upgrade(&clients, LIMIT)
        .await
        .expect("the proposal is in a block");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../governance/tests/sign_vote.py");
    let output = Command::new("python3")
        .arg(script)
        .args([&hex::encode(desk.key().to_bytes()), network.chain_id()])
        .args([
            &desk.next_sequence().to_string(),
            "1000",
            &proposal.to_string(),
            "approve",
        ])
        .output()
        .await;
    match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIPPED: there is no python3 on this machine");
        }
        output => {
            let output = output.expect("the script runs");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let digits = String::from_utf8(output.stdout).expect("hexadecimal digits");
            let bytes = hex::decode(digits.trim()).expect("hexadecimal digits");
            let signed = SignedTransaction::from_canonical(&bytes).expect("a canonical transaction");
            let choice = Choice::Approve;
            assert_eq!(signed.transaction.action, Action::Vote { proposal, choice });
            let done = carry_through(&signed, &clients, 0, LIMIT)
                .await
                .expect("an answer");
            assert!(!done.rejected, "it is in block {} and counts", done.height);
            // The node has counted it: the next number is the next one.
            desk.continue_at(desk.next_sequence() + 1);
            let next = desk.sign(wavering(proposal, 0, false));
            let done = carry_through(&next, &clients, 0, LIMIT).await.expect("an answer");
            assert!(!done.rejected);
        }
    }
    stop(network).await;
}
