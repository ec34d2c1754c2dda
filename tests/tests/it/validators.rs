//! The validator set changes while the network runs, and consensus follows at the very height that was voted on.

use std::fs;
use std::process::Command;

use e2e::{HostView, Member, NEW_VERSION, Network, NetworkOptions};
use proto::pb::governance::v1::event::Event;

use crate::nodes::{PACE, assert_sound, clients, equivocation_reports, goes_on, network, stop, wait};
use crate::story::{LIMIT, arch, binaries, run, turn};

/// Power of each validator of the genesis: 4 × 10. An entering or leaving one moves less than a third of what there is.
const POWER: u64 = 10;
/// From a proposal to its height: enough for the votes, whatever else the machine does.
const AHEAD: u64 = 40;

#[tokio::test]
async fn validators_enter_change_rotate_and_leave_and_the_new_set_upgrades() {
    let _turn = turn().await;
    let members = (0..4)
        .map(|index| Member {
            name: format!("validator-{index}"),
            power: POWER,
            governance_key: None,
            hosted: true,
        })
        .collect();
    let mut options = NetworkOptions::of(members).with_block_interval(PACE);
    options.followers = 1;
    let mut network = network(&options).await;
    expect_powers(&network, &[(0, 10), (1, 10), (2, 10), (3, 10)]).await;

    // A fifth, whose node has followed from the beginning.
    let governance_key = network.create_key("validator-4").await.expect("a key");
    let consensus_key = network.nodes()[4].consensus_key().to_owned();
    let add = format!(
        "name=validator-4,governance-key={governance_key},consensus-key={consensus_key},power={POWER}"
    );
    change(&network, &["--add", &add], &[0, 1, 2], 5).await;
    expect_powers(&network, &[(0, 10), (1, 10), (2, 10), (3, 10), (4, 10)]).await;
    // 40 of 50 without node 3: more than two thirds need the new one.
    needed(&mut network, 3, "the chain goes on by the new validator's votes").await;

    change(&network, &["--set-power", "validator-1=13"], &[0, 1, 2, 4], 5).await;
    expect_powers(&network, &[(0, 10), (1, 13), (2, 10), (3, 10), (4, 10)]).await;

    // A consensus key is replaced: its host restarts with the new one as soon as the old one is worth nothing.
    let rotated = network.new_consensus_key(2).await.expect("a key");
    let rotation = format!("validator-2,consensus-key={rotated}");
    change(&network, &["--rotate", &rotation], &[0, 1, 3, 4], 5).await;
    let stopped = network.node(2).expect("a node").stop().await;
    assert!(stopped.expect("it stops").success());
    network.install_consensus_key(2).expect("its new key");
    network.node(2).expect("a node").start().expect("it starts");
    goes_on(&network, 2).await;
    let now = clients(&network)[0].validators().await.expect("validators");
    assert_eq!(hex(&now["validator-2"].consensus_key), rotated);
    // 43 of 53 without node 3, 33 without node 2 as well: more than two thirds need the rotated key.
    needed(&mut network, 3, "the chain goes on by the rotated key's votes").await;

    change(&network, &["--remove", "validator-3"], &[0, 1, 2, 4], 4).await;
    let members = [(0, 10), (1, 13), (2, 10), (4, 10)];
    expect_powers(&network, &members).await;
    goes_on(&network, 2).await;

    upgrade(&mut network).await;
    for node in network.nodes() {
        assert_eq!(
            equivocation_reports(node),
            Vec::<String>::new(),
            "{}",
            node.name()
        );
    }
    assert_sound(&network).await;
    stop(network).await;
}

/// Proposes a change as validator 0, lets the others approve it, and waits until it is in force on every node: at its height,
/// and at no other.
async fn change(network: &Network, what: &[&str], approving: &[usize], validators: u64) {
    let height = network.observer().tip() + AHEAD;
    let text = height.to_string();
    let mut words = vec!["propose-validators"];
    words.extend(what);
    words.extend(["--height", &text, "--wait"]);
    let proposed = network
        .wallet("validator-0", 0)
        .expect("a wallet")
        .run(&words)
        .await
        .expect("the change is proposed");
    let id = proposed["proposal_id"].as_str().expect("an id").to_owned();
    approve(network, &id, approving).await;
    wait(network, "the height of the change", |views| {
        views.iter().all(|view| view.height() > height)
    })
    .await;
    for view in network.observer().views() {
        let changed: Vec<u64> = view
            .blocks
            .values()
            .filter(|block| {
                block.events.iter().any(|event| match &event.event {
                    Some(Event::ValidatorsChanged(changed)) => {
                        hex(&changed.proposal_id) == id && changed.validators == validators
                    }
                    _ => false,
                })
            })
            .map(|block| block.height)
            .collect();
        assert_eq!(changed, [height], "{what:?} on {}", view.name);
    }
}

async fn approve(network: &Network, id: &str, approving: &[usize]) {
    // Each wallet asks its own node, and the proposer's was the first to know.
    goes_on(network, 1).await;
    for index in approving.iter().filter(|index| **index != 0) {
        network
            .wallet(&format!("validator-{index}"), *index)
            .expect("a wallet")
            .run(&["vote", "approve", id, "--wait"])
            .await
            .unwrap_or_else(|error| panic!("validator-{index} approves: {error:#}"));
    }
}

/// Every node names these validators with these powers.
async fn expect_powers(network: &Network, expected: &[(usize, u64)]) {
    for (node, client) in network.nodes().iter().zip(clients(network)) {
        let powers: Vec<(String, u64)> = client
            .validators()
            .await
            .expect("validators")
            .into_values()
            .map(|validator| (validator.name, validator.power))
            .collect();
        let expected: Vec<(String, u64)> = expected
            .iter()
            .map(|(index, power)| (format!("validator-{index}"), *power))
            .collect();
        assert_eq!(powers, expected, "{}", node.name());
    }
}

/// Stops a node for some blocks: the others decide them without it, so each of them is counted.
async fn needed(network: &mut Network, stopped: usize, what: &str) {
    let ended = network.node(stopped).expect("a node").stop().await;
    assert!(ended.expect("it stops").success());
    let wanted = network.observer().tip() + 4;
    wait(network, what, |views| {
        views
            .iter()
            .enumerate()
            .all(|(index, view)| index == stopped || view.height() >= wanted)
    })
    .await;
    network
        .node(stopped)
        .expect("a node")
        .start()
        .expect("it starts again");
    wait(network, "it catches up", |views| {
        views[stopped].height() >= wanted
    })
    .await;
}

/// The validator that entered proposes an upgrade, the new set accepts it, its certificate is verified from the genesis file
/// alone, and the new release goes on with the new set.
async fn upgrade(network: &mut Network) {
    let new_node = binaries().await.new_node.clone();
    let height = network.observer().tip() + AHEAD;
    let artifact = format!("linux/{}={}", arch(), new_node.display());
    let proposed = network
        .wallet("validator-4", 4)
        .expect("a wallet")
        .run(&[
            "propose",
            "--version",
            NEW_VERSION,
            "--height",
            &height.to_string(),
            "--artifact",
            &artifact,
            "--wait",
        ])
        .await
        .expect("the new validator proposes");
    let id = proposed["proposal_id"].as_str().expect("an id").to_owned();
    // Who has left has no vote.
    let left = network
        .wallet("validator-3", 3)
        .expect("a wallet")
        .try_run(&["vote", "approve", &id])
        .await
        .expect("the wallet runs");
    assert_eq!(left.code, Some(1), "{}", left.stderr);
    assert!(
        format!("{}{}", left.stdout, left.stderr).contains("GOV-01"),
        "{}",
        left.stderr
    );
    approve(network, &id, &[1, 2]).await;
    wait(network, "the last block of the old release", |views| {
        views.iter().all(|view| view.height() == height)
    })
    .await;

    // Two nodes give the same bytes, and they prove the upgrade with no node at all.
    let files = [0, 3].map(|node| network.root().join(format!("certificate-{node}")));
    for (node, file) in [0, 3].into_iter().zip(&files) {
        network
            .wallet("validator-0", node)
            .expect("a wallet")
            .run(&[
                "certificate",
                &id,
                "--output",
                file.to_str().expect("a readable path"),
            ])
            .await
            .expect("the certificate is saved");
    }
    let bytes = fs::read(&files[0]).expect("a certificate");
    assert_eq!(bytes, fs::read(&files[1]).expect("a certificate"));
    let (code, stdout, stderr) = verify(network, &files[0]).await;
    assert_eq!(code, Some(0), "{stderr}");
    let proven: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(proven["proposal_id"], id.as_str(), "{stdout}");
    // 13 + 10 + 10 of 43: the tally is of the new set, and four changes lie between it and the genesis.
    let said = proven.to_string();
    assert!(said.contains("33") && said.contains("43"), "{said}");
    for place in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        fs::write(&files[1], flipped).expect("a flipped certificate");
        let (code, _, stderr) = verify(network, &files[1]).await;
        assert_eq!(code, Some(5), "byte {place}: {stderr}");
    }

    // The new release, with the set that has been voted together.
    for index in 0..5 {
        let node = network.node(index).expect("a node");
        let ended = node.stop().await.expect("the old release stops");
        assert!(ended.success(), "{ended}\n{}", node.log_tail(20));
        node.run_release(&new_node);
        node.start().expect("the new release starts");
    }
    wait(network, "blocks of the new release", |views| {
        views
            .iter()
            .all(|view| view.height() >= height + 3 && HostView::version(view) == NEW_VERSION)
    })
    .await;
}

/// `wallet verify` with the genesis file, far from any node.
async fn verify(network: &Network, certificate: &std::path::Path) -> (Option<i32>, String, String) {
    tokio::time::timeout(
        LIMIT,
        run(Command::new(&binaries().await.wallet)
            .args(["--node", "http://127.0.0.1:9", "--json", "verify", "--genesis"])
            .arg(network.genesis())
            .arg(certificate)),
    )
    .await
    .expect("it ends")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
