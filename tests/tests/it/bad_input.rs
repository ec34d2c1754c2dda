//! What a user can get wrong: each mistake has its own message that says what was expected, what was found, where, and what
//! to do, and changes nothing. One network serves all of them, because none of them may disturb it.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::{Cluster, ClusterOptions, HostView, Wallet};
use governance::{Action, Choice, Height, SigningKey, Transaction};
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::governance_service_client::GovernanceServiceClient;
use tonic::{Code, Status};

use crate::story::{arch, binaries, network, propose_and_approve, run, stop, turn, wait, wallet};

/// Runs a wallet command that must be refused: exit 1 or 2, and every one of `words` on standard error.
async fn refused(wallet: &Wallet, args: &[&str], code: i32, words: &[&str]) {
    let output = wallet.try_run(args).await.expect("the wallet runs");
    let said = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.code, Some(code), "wallet {args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "wallet {args:?} should say `{word}`: {said}");
    }
}

async fn submit(cluster: &Cluster, signed: &governance::SignedTransaction) -> Result<(), Status> {
    let mut client = GovernanceServiceClient::connect(cluster.hosts()[0].rpc_url())
        .await
        .expect("the node answers");
    let request = pb::SubmitTransactionRequest {
        transaction: Some(signed.into()),
    };
    client.submit_transaction(request).await.map(|_| ())
}

fn rejection_code(status: &Status) -> &str {
    status
        .metadata()
        .get("rejection-code")
        .and_then(|code| code.to_str().ok())
        .unwrap_or("")
}

#[tokio::test]
async fn every_mistake_has_its_own_message_and_changes_nothing() {
    let _turn = turn().await;
    let mut cluster = network(ClusterOptions {
        validators: 2,
        ..ClusterOptions::default()
    })
    .await;
    proposals(&cluster).await;
    transactions(&cluster).await;
    homes_and_files(&mut cluster).await;
    // Nothing of it has disturbed the network.
    let tip = cluster
        .observer()
        .views()
        .iter()
        .map(HostView::height)
        .max()
        .expect("hosts");
    let views = wait(&cluster, "two more blocks", |views| {
        views.iter().all(|view| view.height() >= tip + 2)
    })
    .await;
    assert!(
        views
            .iter()
            .all(|view| view.visor.as_ref().is_some_and(|status| status.restarts == 0))
    );
    stop(cluster).await;
}

async fn proposals(cluster: &Cluster) {
    let desk = wallet(cluster, 0);
    let node = binaries()
        .await
        .new_node
        .to_str()
        .expect("a readable path")
        .to_owned();
    let here = format!("linux/{}={node}", arch());
    let propose = |version: &'static str, height: &'static str, artifact: String| {
        let desk = desk.clone();
        async move {
            desk.try_run(&[
                "propose",
                "--version",
                version,
                "--height",
                height,
                "--artifact",
                &artifact,
            ])
            .await
            .expect("it runs")
        }
    };
    for (version, height, artifact, words) in [
        ("1.1.0", "1", here.clone(), ["GOV-02", "1"]),
        ("0.9.0", "100000", here.clone(), ["GOV-03", "1.0.0"]),
        ("1.0.0", "100000", here.clone(), ["GOV-03", "1.0.0"]),
        ("one", "100000", here.clone(), ["one", "1.2.3"]),
        ("1.1.0", "100000", "linux=/bin/true".to_owned(), ["linux", "/"]),
        (
            "1.1.0",
            "100000",
            format!("linux/{}=/no/such/file", arch()),
            ["/no/such/file", "No such file"],
        ),
    ] {
        let output = propose(version, height, artifact.clone()).await;
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(
            matches!(output.code, Some(1 | 2)),
            "{version} {height} {artifact}: {said}"
        );
        for word in words {
            assert!(
                said.contains(word),
                "propose {version} at {height} with {artifact} should say `{word}`: {said}"
            );
        }
    }
    // A vote on what nobody proposed, a withdrawal of a vote that was not cast, a key that is no validator's.
    refused(&desk, &["vote", "approve", "v9.9.9@7"], 1, &["v9.9.9@7"]).await;
    let stranger = Command::new(&binaries().await.wallet)
        .arg("--home")
        .arg(cluster.root().join("stranger"))
        .args(["keys", "create", "stranger"])
        .output()
        .expect("the wallet runs");
    assert!(stranger.status.success(), "{stranger:?}");
    let (code, _, said) = run(Command::new(&binaries().await.wallet)
        .arg("--home")
        .arg(cluster.root().join("stranger"))
        .args(["--node", &cluster.hosts()[0].rpc_url(), "--yes"])
        .args([
            "propose",
            "--version",
            "1.1.0",
            "--height",
            "100000",
            "--artifact",
            &here,
        ]))
    .await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("GOV-01"), "{said}");
    assert_eq!(
        desk.run(&["proposals", "--all"]).await.expect("proposals")["proposals"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
    refused(
        &desk.pinned_to("another-chain"),
        &["proposals"],
        1,
        &["another-chain", cluster.chain_id()],
    )
    .await;
}

async fn transactions(cluster: &Cluster) {
    // A proposal that will never be reached, to vote on.
    let node = binaries()
        .await
        .new_node
        .to_str()
        .expect("a readable path")
        .to_owned();
    let (_, id) = propose_and_approve(cluster, &node, 90_000, 1).await;
    let key = SigningKey::from_bytes(&[7; 32]);
    let vote = |chain: &str, sequence: u64, key: &SigningKey| {
        Transaction {
            chain_id: chain.parse().expect("a chain id"),
            sequence,
            last_valid_height: Height(80_000),
            action: Action::Vote {
                proposal: id.parse().expect("an id"),
                choice: Choice::Approve,
            },
        }
        .sign(key)
    };
    let stranger = submit(cluster, &vote(cluster.chain_id(), 0, &key))
        .await
        .expect_err("a stranger's vote");
    assert_eq!(
        rejection_code(&stranger).split('.').next(),
        Some("GOV-01"),
        "{stranger:?}"
    );

    let member = SigningKey::from_bytes(&secret(cluster));
    let foreign = submit(cluster, &vote("another-chain", 0, &member))
        .await
        .expect_err("a foreign chain's vote");
    assert!(rejection_code(&foreign).starts_with("GOV-13"), "{foreign:?}");
    assert!(
        foreign.message().contains("another-chain") && foreign.message().contains(cluster.chain_id()),
        "{foreign:?}"
    );
    let gap = submit(cluster, &vote(cluster.chain_id(), 500, &member))
        .await
        .expect_err("a sequence number of the future");
    assert!(rejection_code(&gap).starts_with("GOV-13"), "{gap:?}");
    let mut forged = vote(cluster.chain_id(), 0, &member);
    forged.transaction.last_valid_height = Height(79_999);
    let forged = submit(cluster, &forged).await.expect_err("a changed transaction");
    assert!(rejection_code(&forged).starts_with("GOV-13"), "{forged:?}");
    assert_ne!(rejection_code(&forged), rejection_code(&foreign));

    let first = vote(cluster.chain_id(), 0, &member);
    submit(cluster, &first).await.expect("a valid vote");
    let again = submit(cluster, &first).await.expect_err("the same vote again");
    assert!(
        again.code() == Code::AlreadyExists || rejection_code(&again).starts_with("GOV-13"),
        "{again:?}"
    );
    let committed = wallet(cluster, 0);
    wait(cluster, "the vote in a block", |views| {
        views[0].blocks.values().any(|block| {
            block
                .events
                .iter()
                .any(|event| matches!(event.event, Some(pb::event::Event::VoteCast(_))))
        })
    })
    .await;
    let replay = submit(cluster, &first).await.expect_err("a replay from a block");
    assert!(
        replay.code() == Code::AlreadyExists || rejection_code(&replay).starts_with("GOV-13"),
        "{replay:?}"
    );
    // Withdrawn by both, so that it cannot move the network.
    wallet(cluster, 1)
        .run(&["withdraw", &id, "--wait"])
        .await
        .expect("validator-1 withdraws");
    committed
        .run(&["withdraw", &id, "--wait"])
        .await
        .expect("validator-0 withdraws");
}

/// The secret of validator 1, as its owner's own tool would read it.
fn secret(cluster: &Cluster) -> [u8; 32] {
    let path = cluster.root().join("wallets/keys/validator-1.json");
    let key: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(path).expect("the key file")).expect("JSON");
    let hex = key["secret_key"].as_str().expect("a secret").as_bytes();
    std::array::from_fn(|index| {
        let digits = std::str::from_utf8(&hex[2 * index..2 * index + 2]).expect("digits");
        u8::from_str_radix(digits, 16).expect("hexadecimal")
    })
}

async fn homes_and_files(cluster: &mut Cluster) {
    let visor = &binaries().await.visor;
    let node = &binaries().await.old_node;
    let home = cluster.hosts()[0].visor_home();
    let pid = cluster.hosts()[0].visor_pid().expect("a visor runs").to_string();
    expect(
        visor,
        &["run", "--home"],
        &home,
        5,
        &[home.to_str().expect("readable"), &pid],
    )
    .await;

    let empty = cluster.root().join("empty");
    fs::create_dir_all(&empty).expect("an empty directory");
    expect(
        visor,
        &["run", "--home"],
        &empty,
        3,
        &["visor init", empty.to_str().expect("readable")],
    )
    .await;
    expect(
        node,
        &["start", "--home"],
        &empty,
        3,
        &["governance init", empty.to_str().expect("readable")],
    )
    .await;
    assert_eq!(
        fs::read_dir(&empty).expect("it").count(),
        0,
        "nothing was written"
    );
    expect(
        node,
        &["init", "--home"],
        &cluster.hosts()[0].node_home(),
        3,
        &["already"],
    )
    .await;

    let spare = cluster.root().join("spare-visor");
    let (code, _, said) = run(Command::new(visor)
        .args(["init", "--home"])
        .arg(&spare)
        .arg("--binary")
        .arg(node)
        .args(["--", "start"]))
    .await;
    assert_eq!(code, Some(0), "{said}");
    let config = spare.join("config.toml");
    let text = fs::read_to_string(&config).expect("config.toml");
    fs::write(&config, format!("wrong_key = 1\n{text}")).expect("write");
    expect(
        visor,
        &["run", "--home"],
        &spare,
        3,
        &["wrong_key", config.to_str().expect("readable")],
    )
    .await;

    let spare_node = cluster.root().join("spare-node");
    let (code, _, said) = run(Command::new(node).args(["init", "--home"]).arg(&spare_node)).await;
    assert_eq!(code, Some(0), "{said}");
    let config = spare_node.join("config.toml");
    let text = fs::read_to_string(&config).expect("config.toml");
    fs::copy(
        cluster.hosts()[0].node_home().join("genesis.json"),
        spare_node.join("genesis.json"),
    )
    .expect("genesis.json");
    fs::write(&config, format!("wrong_key = 1\n{text}")).expect("write");
    expect(
        node,
        &["start", "--home"],
        &spare_node,
        3,
        &["wrong_key", config.to_str().expect("readable")],
    )
    .await;

    // A socket path that the kernel cannot hold.
    let deep = cluster.root().join("d".repeat(120));
    let (code, _, said) = run(Command::new(visor)
        .args(["init", "--home"])
        .arg(&deep)
        .arg("--binary")
        .arg(node)
        .args(["--", "start"]))
    .await;
    let said = if code == Some(0) {
        let (code, _, said) = run(Command::new(visor).args(["run", "--home"]).arg(&deep)).await;
        assert_eq!(code, Some(3), "{said}");
        said
    } else {
        said
    };
    assert!(said.contains("107"), "it names the limit: {said}");
}

async fn expect(program: &Path, args: &[&str], home: &Path, code: i32, words: &[&str]) {
    let (exit, stdout, stderr) = run(Command::new(program).args(args).arg(home)).await;
    assert_eq!(exit, Some(code), "{args:?}: {stdout}{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{args:?} should say `{word}`: {stderr}");
    }
}
