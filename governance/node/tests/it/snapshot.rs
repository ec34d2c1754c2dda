//! `governance export` and `governance import` between real nodes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use governance::{Account, Action, Choice, Height, RowKey, State, Subject, encoding};
use governance_node::engine::{ApplicationError, EngineError};
use governance_node::snapshot_file::SnapshotFile;
use governance_node::{exit_code, snapshot_file};
use tempfile::TempDir;

use crate::network::{Network, OLD, chain_id, upgrade};
use crate::single::{refused, run};

/// A home with this genesis; `data`, when given, is the data folder that it uses.
fn home(folder: &Path, name: &str, network: &Network, data: Option<&Path>) -> String {
    let path = folder.join(name);
    let text = path.to_str().unwrap().to_owned();
    assert!(run(&["init", "--home", &text]).status.success());
    let genesis = serde_json::to_string(&network.genesis).unwrap();
    fs::write(path.join("genesis.json"), genesis).unwrap();
    if let Some(data) = data {
        fs::remove_dir(path.join("data")).unwrap();
        symlink(data, path.join("data")).unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_node_goes_on_from_a_snapshot() {
    let mut network = Network::with_observers(4, 2);
    network.options.block_interval = std::time::Duration::from_millis(200);
    for host in 0..4 {
        network.start(host, OLD).unwrap();
    }
    network.wait_for_block(1).await;
    // Something live, something ended, and a change of the set.
    let live = Subject::Upgrade(upgrade(1_000)).id(&chain_id());
    network.commit(0, 0, Action::ProposeUpgrade(upgrade(1_000))).await;
    network.commit(3, 0, Action::ProposeUpgrade(upgrade(2_000))).await;
    let ended = Subject::Upgrade(upgrade(2_000)).id(&chain_id());
    for voter in [1, 2] {
        let vote = Action::Vote {
            proposal: ended,
            choice: Choice::Reject,
        };
        network.commit(voter, 0, vote).await;
    }
    let power = governance::ValidatorChange::SetPower {
        validator: governance::ValidatorId::at_entry(&governance::PublicKey::from(
            &crate::network::governance_key(1),
        )),
        power: governance::Power(2),
    };
    let (change, _) = network.change_validators(0, &[0, 1, 2], vec![power]).await;
    network.advance(0, 2).await;

    let dir = TempDir::new().unwrap();
    let old = home(dir.path(), "old", &network, Some(network.folder(3)));
    let file = dir.path().join("state.snapshot");
    let file = file.to_str().unwrap();
    refused(
        &["export", "--home", &old, "--output", file],
        exit_code::STORE,
        &["in use", "only one node"],
    );
    network.stop(3).await;
    let exported = run(&["export", "--home", &old, "--output", file]);
    assert!(exported.status.success(), "{exported:?}");
    refused(
        &["export", "--home", &old, "--output", file],
        exit_code::CONFIG,
        &["state.snapshot", "exists"],
    );
    let piped = run(&["export", "--home", &old]);
    assert_eq!(piped.stdout, fs::read(file).unwrap());
    network.start(3, OLD).unwrap();

    // Refused, and nothing written: a damaged one, one of another chain, none at all.
    let new = home(dir.path(), "new", &network, None);
    let bad = dir.path().join("bad.snapshot");
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bad, &bytes).unwrap();
    let bad = bad.to_str().unwrap();
    refused(
        &["import", "--home", &new, bad],
        exit_code::FAILED,
        &["checksum", "nothing has been written"],
    );
    refused(
        &["import", "--home", &new, &format!("{new}/config.toml")],
        exit_code::FAILED,
        &["no snapshot"],
    );
    refused(
        &["import", "--home", &new, "/nowhere"],
        exit_code::FAILED,
        &["/nowhere", "No such file"],
    );
    let mut other = network.genesis.clone();
    other.validators[0].power = governance::Power(2);
    let genesis = Path::new(&new).join("genesis.json");
    let text = fs::read(&genesis).unwrap();
    fs::write(&genesis, serde_json::to_string(&other).unwrap()).unwrap();
    refused(
        &["import", "--home", &new, file],
        exit_code::FAILED,
        &["genesis.json", "validators"],
    );
    fs::write(&genesis, text).unwrap();
    let data = Path::new(&new).join("data");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);

    let imported = run(&["import", "--home", &new, file]);
    assert!(imported.status.success(), "{imported:?}");
    let said = String::from_utf8(imported.stdout).unwrap();
    refused(
        &["import", "--home", &new, file],
        exit_code::CONFIG,
        &["chain.redb", "never started"],
    );

    // The same state, and on it goes.
    fs::copy(data.join("chain.redb"), network.folder(4).join("chain.redb")).unwrap();
    let first = network.start(4, OLD).unwrap().snapshot();
    let source = network.handle(0).block(first.height).unwrap().unwrap();
    assert_eq!(first.state_root, source.state_root);
    assert!(
        said.contains(&first.state_root.to_string()) && said.contains(&first.height.to_string()),
        "{said}"
    );
    let handle = network.handle(4).clone();
    assert_eq!(
        handle.block(first.height).unwrap(),
        None,
        "blocks up to the snapshot are not there"
    );
    let height = network.handle(0).snapshot().height.0 + 3;
    network.wait_for_block(height).await;
    let snapshot = handle.snapshot();
    let states = [&snapshot.state, &network.handle(0).snapshot().state];
    for proposal in [live, ended, change] {
        let ballots = |host: usize| {
            let handle = network.handle(host);
            handle.ballots(&handle.snapshot(), &proposal, None, 10).unwrap()
        };
        assert_eq!(ballots(4), ballots(0));
        assert!(states.iter().all(|state| state.proposal(&proposal).is_some()));
    }
    let chain = handle.certificate(&snapshot, &change).unwrap().unwrap();
    assert_eq!(chain.verify(&network.genesis).unwrap().proposal, change);
    assert!(snapshot.height > first.height && first.height > Height(10));

    // Rows, root and checksum of a forged one fit, and it changes nothing that certificates prove: the next block tells.
    let original = fs::read(file).unwrap();
    let honest = SnapshotFile::from_bytes(&original).unwrap();
    let mut rows = honest.verify(&network.genesis).unwrap().rows();
    let row = rows
        .iter_mut()
        .find(|row| matches!(row.key, RowKey::Account(_)))
        .unwrap();
    let mut account: Account = encoding::from_canonical(&row.value, 1_000).unwrap();
    account.next_sequence += 1;
    row.value = encoding::to_canonical(&account);
    let archive: Vec<_> = honest
        .archive()
        .iter()
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect();
    let forged = snapshot_file::to_bytes(
        &State::from_rows(rows).unwrap(),
        &honest.header().chronicle,
        &archive,
        honest.changes(),
    );
    let file = dir.path().join("forged.snapshot");
    fs::write(&file, forged).unwrap();
    let fooled = home(dir.path(), "fooled", &network, Some(network.folder(5)));
    let imported = run(&["import", "--home", &fooled, file.to_str().unwrap()]);
    assert!(imported.status.success(), "{imported:?}");
    network.start(5, OLD).unwrap();
    let stopped = network.ended(5).await;
    assert!(
        matches!(
            stopped,
            Err(EngineError::Application(ApplicationError::Diverged { .. }))
        ),
        "{stopped:?}"
    );

    // And it is a source of snapshots itself: halted at one height, two nodes write the same bytes, wherever they began.
    drop(handle);
    let (_, height) = network.approve_upgrade().await;
    network.wait_for_block(height).await;
    network.stop_all().await;
    let [here, there] = [0, 4].map(|host| {
        let home = home(
            dir.path(),
            &format!("stopped-{host}"),
            &network,
            Some(network.folder(host)),
        );
        run(&["export", "--home", &home]).stdout
    });
    assert_eq!(
        SnapshotFile::from_bytes(&here).unwrap().header().height,
        Height(height)
    );
    assert!(here == there);
}
