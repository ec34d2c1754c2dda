//! Reporter keys and reports (GOV-16): authorised with the governance key, signed with the reporter key, shown, never counted.

use governance::{Action, Readiness};
use serde_json::json;

use crate::chain::{Chain, public_key, validator_id};
use crate::wallet::{Wallet, object};

const REPORTER: u8 = 50;

async fn chain_with_an_upgrade() -> (Chain, Wallet) {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    wallet
        .yes(&[
            "propose",
            "--version",
            "1.1.0",
            "--height",
            "50",
            "--artifact",
            "linux/amd64=/bin/true",
        ])
        .await
        .ok();
    chain.advance(1);
    (chain, wallet)
}

#[tokio::test]
async fn a_host_reports_with_a_key_that_its_validator_has_authorised() {
    let (chain, wallet) = chain_with_an_upgrade().await;
    let host = Wallet::with_key(&chain.url, REPORTER).await;
    host.yes(&["report", "v1.1.0@50", "staged"]).await.fails(
        1,
        &[
            "no active validator has authorised the key me",
            "authorize-reporter",
        ],
    );

    let key = public_key(REPORTER).to_string();
    let sent = wallet.json(&["authorize-reporter", &key]).await.object();
    assert_eq!(sent["reporter_key"], key);
    assert_eq!(sent["validator_id"], validator_id(1).to_string());
    assert_eq!(sent["committed_height"], json!(null));
    chain.advance(1);
    let listed = wallet.json(&["validators"]).await.object();
    let own = listed["validators"].as_array().expect("a list").iter();
    let own = own
        .clone()
        .find(|one| one["name"] == "validator-1")
        .expect("it is there");
    assert_eq!(own["reporter_key"], key);
    assert_eq!(own["next_report_sequence"], 0);

    for (readiness, sequence) in [("staged", 1), ("verified", 2), ("verified", 3)] {
        let sent = host.json(&["report", "v1.1.0@50", readiness]).await.object();
        assert_eq!(sent["name"], "v1.1.0@50");
        assert_eq!(sent["readiness"], readiness);
        chain.advance(1);
        let account = chain.state(|state| *state.account(&validator_id(1)).expect("an account"));
        assert_eq!(
            account.next_report_sequence, sequence,
            "reports are counted by themselves"
        );
    }
    let shown = wallet.json(&["proposal", "v1.1.0@50"]).await.object();
    let shown = &shown["proposal"];
    assert_eq!(shown["tally"]["approving"], 1, "a report counts nothing");
    assert_eq!(shown["reports"].as_array().map(Vec::len), Some(1));
    assert_eq!(shown["reports"][0]["readiness"], "verified");
    assert_eq!(shown["reports"][0]["name"], "validator-1");
    let shown = wallet.run(&["proposal", "v1.1.0@50"]).await.ok();
    for expected in [
        "hosts     power 1 of 4 has verified it, 0 more has staged it\n",
        "validator-1      1  approve      3  verified\n",
    ] {
        assert!(shown.contains(expected), "{expected:?} should be in\n{shown}");
    }
}

#[tokio::test]
async fn a_key_of_this_home_is_authorised_by_its_name_and_revoked() {
    let (chain, wallet) = chain_with_an_upgrade().await;
    wallet.run(&["keys", "create", "reporter"]).await.ok();
    let run = wallet
        .yes(&["--key", "me", "authorize-reporter", "reporter"])
        .await;
    assert!(run.stderr.contains("so far    none"), "{run:?}");
    run.ok();
    chain.advance(1);
    let report = ["--key", "reporter", "report", "v1.1.0@50", "staged"];
    wallet.yes(&report).await.ok();
    chain.advance(1);
    assert_eq!(
        chain.state(|state| state
            .reports(&state.live_proposals().next().expect("it is live").id, None)
            .expect("it is live")
            .count()),
        1
    );

    let sent = wallet
        .json(&["--key", "me", "authorize-reporter", "--revoke"])
        .await
        .object();
    assert_eq!(sent["reporter_key"], json!(null));
    chain.advance(1);
    wallet
        .yes(&report)
        .await
        .fails(1, &["no active validator has authorised"]);
    let named = [&report[..], &["--validator", "validator-1"]].concat();
    wallet.yes(&named).await.fails(1, &["rejected (GOV-16)"]);
    wallet
        .yes(&["--key", "me", "authorize-reporter"])
        .await
        .fails(2, &["KEY"]);
    wallet
        .yes(&["--key", "me", "authorize-reporter", "reporter", "--revoke"])
        .await
        .fails(2, &["--revoke"]);
    wallet
        .yes(&["--key", "me", "authorize-reporter", "no such key"])
        .await
        .fails(2, &["neither a public key", "nor a key's name"]);
    wallet
        .yes(&["--key", "me", "authorize-reporter", "nobody"])
        .await
        .fails(3, &["there is no key nobody"]);
}

#[tokio::test]
async fn gov_16_what_is_no_report_is_refused_with_its_code() {
    let (chain, wallet) = chain_with_an_upgrade().await;
    for key in [public_key(1), public_key(101), public_key(2)] {
        let run = wallet.json(&["authorize-reporter", &key.to_string()]).await;
        let run = run.fails(1, &["rejected (GOV-16.key)"]);
        assert_eq!(object(&run.stdout)["error"]["code"], "GOV-16.key");
    }
    assert_eq!(chain.pending(), 0);

    let host = Wallet::with_key(&chain.url, REPORTER).await;
    let key = Some(public_key(REPORTER));
    chain.act(1, Action::AuthorizeReporter { key });
    chain.advance(1);
    host.yes(&["report", "v1.1.0@50", "staged", "--validator", "validator-2"])
        .await
        .fails(1, &["rejected (GOV-16)", "is not the reporter key"]);
    host.yes(&["report", "v1.1.0@50", "staged", "--validator", "nobody"])
        .await
        .fails(1, &["there is no validator nobody"]);
    // It reports, and nothing else.
    host.yes(&["vote", "approve", "v1.1.0@50"])
        .await
        .fails(1, &["rejected (GOV-01)"]);
    wallet
        .yes(&["propose-parameters", "--threshold", "3/4", "--height", "40"])
        .await
        .ok();
    chain.advance(1);
    host.yes(&["report", "parameters@40", "verified"])
        .await
        .fails(1, &["rejected (GOV-16.proposal)", "wallet proposals"]);
    host.yes(&["report", "v1.1.0@50", "ready"])
        .await
        .fails(2, &["staged", "verified"]);
}

#[tokio::test]
async fn a_host_of_several_validators_names_one() {
    let (chain, _) = chain_with_an_upgrade().await;
    let host = Wallet::with_key(&chain.url, REPORTER).await;
    let key = Some(public_key(REPORTER));
    for seed in [1, 2] {
        chain.act(seed, Action::AuthorizeReporter { key });
    }
    chain.advance(1);
    for name in ["validator-1", "validator-2"] {
        host.yes(&["report", "v1.1.0@50", "verified", "--validator", name])
            .await
            .ok();
    }
    chain.advance(1);
    let id = chain.proposal("v1.1.0@50").id;
    let reports = chain.state(|state| {
        let reports = state.reports(&id, None).expect("it is live");
        reports
            .map(|(id, report)| (*id, report.readiness))
            .collect::<Vec<_>>()
    });
    let mut expected = vec![
        (validator_id(1), Readiness::Verified),
        (validator_id(2), Readiness::Verified),
    ];
    expected.sort();
    assert_eq!(reports, expected);
}
