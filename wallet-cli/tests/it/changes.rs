//! Changes of the validator set and of the parameters (GOV-12): proposed with flags or from a file, voted on, in force.

use governance::{Phase, PublicKey, Subject, ValidatorChange, ValidatorId};
use serde_json::json;

use crate::chain::{Chain, public_key, validator_id};
use crate::wallet::{Run, Wallet, object, path};

fn addition(seed: u8, power: u64) -> String {
    format!(
        "name=validator-{seed},governance-key={},consensus-key={},power={power}",
        public_key(seed),
        public_key(seed + 100)
    )
}

#[tokio::test]
async fn a_validator_enters_and_votes() {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let sent = wallet
        .json(&["propose-validators", "--add", &addition(5, 1), "--height", "20"])
        .await
        .object();
    assert_eq!(sent["name"], "validators@20");
    chain.advance(1);
    let proposal = chain.proposal("validators@20");
    assert_eq!(sent["proposal_id"], proposal.id.to_string());

    let run = Wallet::with_key(&chain.url, 2)
        .await
        .yes(&["vote", "approve", "validators@20"])
        .await;
    for expected in [
        "height    20 is the last block of the old set (in 17 blocks",
        "add       validator-5, power 1",
        &format!("id {}", validator_id(5)),
        &format!("governance key {}", public_key(5)),
        &format!("consensus key {}", public_key(105)),
    ] {
        assert!(run.stderr.contains(expected), "{expected} should be in {run:?}");
    }
    run.ok();
    chain.approve([3], proposal.id);
    let shown = wallet.json(&["proposal", "validators@20"]).await.object();
    let shown = &shown["proposal"];
    assert_eq!(shown["kind"], "validators");
    assert_eq!(shown["effect_height"], 20);
    assert_eq!(shown["upgrade_height"], json!(null));
    assert_eq!(shown["changes"][0]["add"]["name"], "validator-5");
    assert_eq!(shown["reports"], json!([]));
    chain.advance_to(21);
    let status = wallet.json(&["status"]).await.object();
    assert_eq!(
        (
            &status["validators"],
            &status["total_power"],
            &status["executed_changes"]
        ),
        (&json!(5), &json!(5), &json!(1))
    );

    let newcomer = Wallet::with_key(&chain.url, 5).await;
    newcomer
        .yes(&["propose-validators", "--remove", "validator-1", "--height", "40"])
        .await
        .ok();
    chain.advance(1);
    assert_eq!(chain.proposal("validators@40").proposer, validator_id(5));
}

#[tokio::test]
async fn validators_are_named_by_id_by_name_and_by_digits() {
    let chain = Chain::with_validators(10).await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let (id, digits) = (validator_id(2).to_string(), validator_id(3).to_string());
    let rotation = format!("{},consensus-key={}", &digits[..8], public_key(33));
    let run = wallet
        .yes(&[
            "propose-validators",
            "--set-power",
            "validator-4=2",
            "--set-power",
            &format!("{id}=2"),
            "--rotate",
            &rotation,
            "--height",
            "30",
            "--description",
            "spring cleaning",
        ])
        .await;
    assert!(
        run.stderr
            .contains("from 10 validators with power 10 to 10 with power 12; it moves power 3"),
        "{run:?}"
    );
    run.ok();
    // The order of the flags does not matter: it would be the same proposal.
    let again = wallet
        .yes(&[
            "propose-validators",
            "--rotate",
            &rotation,
            "--set-power",
            &format!("{id}=2"),
            "--set-power",
            "validator-4=2",
            "--height",
            "30",
            "--description",
            "spring cleaning",
        ])
        .await;
    chain.advance(1);
    assert_eq!(chain.proposals().len(), 1, "{again:?}");
    let Subject::Validators(change) = &chain.proposals()[0].subject else {
        panic!("a change")
    };
    assert_eq!(change.description, "spring cleaning");
    assert!(change.changes.is_sorted_by_key(ValidatorChange::validator));
    assert!(change.changes.contains(&ValidatorChange::RotateKeys {
        validator: validator_id(3),
        governance_key: None,
        consensus_key: Some(public_key(33)),
    }));

    for (who, words) in [
        (
            "nobody",
            &["there is no validator nobody", "wallet validators"][..],
        ),
        ("Validator-4", &["there is no validator Validator-4"]),
        (&id[..7], &["there is no validator"]),
    ] {
        wallet
            .yes(&["propose-validators", "--remove", who, "--height", "30"])
            .await
            .fails(1, words);
    }
}

#[tokio::test]
async fn a_change_comes_from_a_file() {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let change = json!({
        "height": 25,
        "changes": [{"set_power": {"validator": validator_id(2).to_string(), "power": 2}}],
        "description": "from a file",
    });
    let file = wallet.write("change.json", change.to_string().as_bytes());
    let sent = wallet
        .json(&[
            "propose-validators",
            "--file",
            path(&file),
            "--wait-timeout",
            "1s",
        ])
        .await;
    // --wait-timeout without --wait is no command line.
    sent.fails(2, &["--wait"]);
    let sent = wallet
        .json(&["propose-validators", "--file", path(&file)])
        .await
        .object();
    assert_eq!(sent["name"], "validators@25");
    chain.advance(1);
    let shown = wallet.json(&["proposal", "validators@25"]).await.object();
    assert_eq!(shown["proposal"]["changes"], change["changes"]);
    assert_eq!(shown["proposal"]["description"], "from a file");

    let bad = wallet.write("bad.json", b"{\"height\": 25, \"changes\": []}");
    wallet
        .yes(&["propose-validators", "--file", path(&bad)])
        .await
        .fails(2, &[path(&bad), "missing field `description`", "README"]);
    wallet
        .yes(&["propose-validators", "--file", "missing"])
        .await
        .fails(2, &["failed to open missing"]);
}

async fn refused(wallet: &Wallet, args: &[&str]) -> Run {
    wallet.json(&[&["propose-validators"], args].concat()).await
}

#[tokio::test]
async fn gov_12_a_change_that_breaks_a_rule_is_refused_with_its_code() {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let unknown = ValidatorId([9; 20]).to_string();
    let twice = addition(2, 1);
    for (args, code) in [
        (&["--set-power", "validator-2=9", "--height", "30"][..], "GOV-12"),
        (
            &[
                "--remove",
                "validator-2",
                "--remove",
                "validator-3",
                "--height",
                "30",
            ],
            "GOV-12",
        ),
        (&["--remove", &unknown, "--height", "30"], "GOV-12.unknown"),
        (
            &[
                "--remove",
                "validator-2",
                "--set-power",
                "validator-2=2",
                "--height",
                "30",
            ],
            "GOV-12.twice",
        ),
        (
            &["--set-power", "validator-2=1", "--height", "30"],
            "GOV-12.nothing",
        ),
        (&["--add", &twice, "--height", "30"], "GOV-12.set"),
        (&["--remove", "validator-2", "--height", "3"], "GOV-02"),
        (
            &["--remove", "validator-2", "--height", "18446744073709551615"],
            "GOV-02.far",
        ),
    ] {
        let run = refused(&wallet, args).await.fails(1, &["rejected (GOV-"]);
        assert_eq!(object(&run.stdout)["error"]["code"], code, "{args:?}");
    }
    for args in [
        &["--height", "30"][..],
        &["--remove", "validator-2"],
        &["--file", "x", "--remove", "validator-2"],
        &["--file", "x", "--height", "30"],
        &["--add", "name=a", "--height", "30"],
    ] {
        refused(&wallet, args).await.fails(2, &[]);
    }
    assert_eq!(chain.pending(), 0);
}

#[tokio::test]
async fn parameters_that_are_not_named_stay() {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let run = wallet
        .yes(&["propose-parameters", "--threshold", "3/4", "--height", "20"])
        .await;
    for expected in [
        "propose    parameters@20",
        "min lead   6 blocks (as now)",
        "lock-in    3 blocks (as now)",
        "threshold  3/4 (now 2/3)",
    ] {
        assert!(run.stderr.contains(expected), "{expected} should be in {run:?}");
    }
    run.ok();
    chain.advance(1);
    let proposal = chain.proposal("parameters@20");
    chain.approve([2, 3], proposal.id);
    chain.advance_to(21);
    assert_eq!(chain.state(|state| *state.parameters()).threshold_numerator, 3);
    let status = wallet.json(&["status"]).await.object();
    assert_eq!(
        status["parameters"],
        json!({"min_lead_blocks": 6, "lock_in_blocks": 3, "threshold_numerator": 3, "threshold_denominator": 4})
    );
    let shown = wallet
        .json(&["proposal", &proposal.id.to_string()])
        .await
        .object();
    assert_eq!(shown["proposal"]["phase"], "executed");
    assert_eq!(shown["proposal"]["parameters"], status["parameters"]);
    assert_eq!(shown["proposal"]["ballots"].as_array().map(Vec::len), Some(3));

    for (args, code) in [
        (&["--threshold", "1/2"][..], "GOV-12.parameters"),
        (&["--lock-in-blocks", "1"], "GOV-12.parameters"),
        (&["--min-lead-blocks", "2"], "GOV-12.parameters"),
        (&["--threshold", "3/4"], "GOV-12.nothing"),
    ] {
        let args = [&["propose-parameters", "--height", "60"], args].concat();
        let run = wallet.json(&args).await.fails(1, &["wallet"]);
        assert_eq!(object(&run.stdout)["error"]["code"], code, "{args:?}");
    }
    wallet
        .yes(&["propose-parameters", "--height", "60"])
        .await
        .fails(2, &[]);
    wallet
        .yes(&["propose-parameters", "--threshold", "75%", "--height", "60"])
        .await
        .fails(2, &["a fraction like 2/3"]);
}

#[tokio::test]
async fn gov_11_a_locked_in_change_is_cancelled() {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    wallet
        .yes(&[
            "propose-validators",
            "--set-power",
            "validator-4=2",
            "--height",
            "20",
        ])
        .await
        .ok();
    chain.advance(1);
    let change = chain.proposal("validators@20");
    chain.approve([2, 3], change.id);
    wallet
        .yes(&["propose-cancel", "validators@20"])
        .await
        .fails(1, &["rejected (GOV-11)"]);
    chain.advance_to(17);
    assert_eq!(chain.proposal("validators@20").phase, Phase::LockedIn);
    let run = wallet.yes(&["propose-cancel", "validators@20"]).await;
    assert!(run.stderr.contains("to stop this change"), "{run:?}");
    run.ok();
    chain.advance(1);
    let cancel = format!("cancel@{}", &change.id.to_string()[..16]);
    chain.approve([2, 3], chain.proposal(&cancel).id);
    chain.advance_to(21);
    assert_eq!(chain.state(|state| state.executed_changes()), 0);
    assert_eq!(chain.state(|state| state.validators().total_power().0), 4);
    let all = wallet.run(&["proposals", "--all"]).await.ok();
    assert!(
        all.contains("validators@20") && all.contains("cancelled"),
        "{all}"
    );
}

#[tokio::test]
async fn after_a_rotation_only_the_new_key_signs() {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let new: PublicKey = public_key(41);
    wallet
        .yes(&[
            "propose-validators",
            "--rotate",
            &format!("validator-1,governance-key={new}"),
            "--height",
            "20",
        ])
        .await
        .ok();
    chain.advance(1);
    chain.approve([2, 3], chain.proposal("validators@20").id);
    chain.advance_to(21);
    let args = [
        "propose-validators",
        "--set-power",
        "validator-2=2",
        "--height",
        "50",
    ];
    wallet.yes(&args).await.fails(1, &["rejected (GOV-01)"]);
    // The sequence goes on where the old key left off.
    Wallet::with_key(&chain.url, 41).await.yes(&args).await.ok();
    chain.advance(1);
    assert_eq!(chain.proposal("validators@50").proposer, validator_id(1));
}
