//! GOV-02 to GOV-05 and GOV-14: what may be proposed.

use governance::{
    Action, Choice, Height, MAX_ARTIFACT_BYTES, MAX_ARTIFACTS, MAX_DESCRIPTION_BYTES, MAX_ENDED_PROPOSALS,
    MAX_LEAD_BLOCKS, MAX_LIVE_PROPOSALS, MAX_LIVE_PROPOSALS_PER_PROPOSER, MAX_TRANSACTION_BYTES,
    MAX_URL_BYTES, Phase, Rejection, Upgrade,
};

use crate::fixture::{Chain, MIN_LEAD, artifact, code, id_of, phase_change, upgrade, version};

#[track_caller]
fn proposing(upgrade: &Upgrade) -> Result<(), &'static str> {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    chain.open(3);
    chain
        .send(0, Action::ProposeUpgrade(upgrade.clone()))
        .map(|_| ())
        .map_err(|rejection| rejection.code())
}

#[test]
fn gov_02_the_height_keeps_the_minimum_lead() {
    for (height, expected) in [
        (0, Err("GOV-02")),
        (2, Err("GOV-02")),
        (3, Err("GOV-02")),
        (3 + MIN_LEAD - 1, Err("GOV-02")),
        (3 + MIN_LEAD, Ok(())),
        (3 + MAX_LEAD_BLOCKS, Ok(())),
        (3 + MAX_LEAD_BLOCKS + 1, Err("GOV-02.far")),
        (u64::MAX - 1, Err("GOV-02.far")),
        (u64::MAX, Err("GOV-02.far")),
    ] {
        assert_eq!(proposing(&upgrade("1.1.0", height)), expected, "height {height}");
    }
}

#[test]
fn gov_02_the_text_names_the_earliest_height() {
    let mut chain = Chain::new(&[1]);
    let rejection = chain
        .send(0, Action::ProposeUpgrade(upgrade("1.1.0", 5)))
        .unwrap_err();
    assert_eq!(
        rejection,
        Rejection::HeightTooSoon {
            found: Height(5),
            block: Height(1),
            earliest: Height(1 + MIN_LEAD)
        }
    );
    assert_eq!(
        rejection.to_string(),
        "height 5 is too near: at block 1 the earliest is 11; propose a later height"
    );
}

#[test]
fn gov_03_the_version_rises_by_semver_precedence() {
    for (to, expected) in [
        ("1.0.0", Err("GOV-03")),
        ("0.9.9", Err("GOV-03")),
        ("1.0.0-rc.1", Err("GOV-03")),
        ("1.0.1-rc.1", Ok(())),
        ("v1.0.1", Ok(())),
        ("1.10.0", Ok(())),
        ("2.0.0", Ok(())),
        ("18446744073709551615.0.0", Ok(())),
    ] {
        assert_eq!(proposing(&upgrade(to, 20)), expected, "version {to}");
    }
}

#[test]
fn gov_03_only_release_versions_are_versions() {
    for text in [
        "",
        "v",
        "1",
        "1.1",
        "1.1.0.0",
        "01.1.0",
        "1.1.0 ",
        "vv1.1.0",
        "V1.1.0",
        "1.1.x",
        "18446744073709551616.0.0",
    ] {
        let error = text.parse::<governance::ReleaseVersion>().unwrap_err();
        assert!(
            error.to_string().contains("no semantic version"),
            "{text}: {error}"
        );
        assert_eq!(Rejection::from(error).code(), "GOV-03.format");
    }
    let build = "1.1.0+amd64".parse::<governance::ReleaseVersion>().unwrap_err();
    assert!(build.to_string().contains("leave out the '+'"), "{build}");
    let long = format!("1.1.0-{}", "a".repeat(60))
        .parse::<governance::ReleaseVersion>()
        .unwrap_err();
    assert!(long.to_string().contains("at most 64 bytes"), "{long}");
    assert_eq!(version("v1.2.0-rc.1").to_string(), "1.2.0-rc.1");
}

#[test]
fn gov_04_the_id_covers_every_field_and_the_chain() {
    let base = upgrade("1.1.0", 20);
    let mut variants = vec![base.clone()];
    let mut vary = |change: &dyn Fn(&mut Upgrade)| {
        let mut variant = base.clone();
        change(&mut variant);
        variants.push(variant);
    };
    vary(&|upgrade| upgrade.version = version("1.1.1"));
    vary(&|upgrade| upgrade.height = Height(21));
    vary(&|upgrade| upgrade.description.push('x'));
    vary(&|upgrade| upgrade.artifacts[0].url.push('x'));
    vary(&|upgrade| upgrade.artifacts[0].size += 1);
    vary(&|upgrade| upgrade.artifacts[0].sha256.0[31] ^= 1);
    vary(&|upgrade| upgrade.artifacts[0].platform = "linux/arm64".parse().unwrap());
    vary(&|upgrade| upgrade.artifacts.push(artifact("linux/arm64")));
    let mut ids: Vec<_> = variants.iter().map(id_of).collect();
    ids.push(governance::Subject::Upgrade(base).id(&"test-2".parse().unwrap()));
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn gov_04_the_same_content_is_proposed_once() {
    let mut chain = Chain::new(&[1, 1, 1, 1]);
    let content = upgrade("1.1.0", 20);
    let proposal = chain.propose(0, &content);
    let rejection = chain
        .send(1, Action::ProposeUpgrade(content.clone()))
        .unwrap_err();
    assert_eq!(rejection, Rejection::AlreadyProposed { proposal });
    assert_eq!(rejection.code(), "GOV-04");

    // The human form is the same, the content is not.
    let mut other = content.clone();
    other.artifacts[0].sha256.0[0] ^= 1;
    let other = chain.propose(1, &other);
    assert_eq!(
        chain.state.proposal(&other).unwrap().name(),
        chain.state.proposal(&proposal).unwrap().name()
    );

    for sender in [2, 3] {
        chain.vote(sender, proposal, Choice::Reject).unwrap();
    }
    assert_eq!(chain.phase(proposal), Phase::Rejected);
    let rejection = chain.send(1, Action::ProposeUpgrade(content)).unwrap_err();
    assert_eq!(
        rejection,
        Rejection::AlreadyEnded {
            proposal,
            phase: Phase::Rejected
        }
    );
    assert_eq!(rejection.code(), "GOV-04.ended");
}

#[test]
fn gov_05_proposing_approves() {
    let mut chain = Chain::new(&[3, 1, 1]);
    let proposal = chain.propose(0, &upgrade("1.1.0", 20));
    let ballot = chain.ballot(proposal, 0).unwrap();
    assert_eq!((ballot.choice, ballot.height), (Choice::Approve, Height(1)));
    assert_eq!(chain.tally(proposal).approving.0, 3);
}

#[test]
fn gov_05_proposing_alone_can_be_enough() {
    let mut chain = Chain::new(&[3, 1]);
    let content = upgrade("1.1.0", 20);
    let events = chain.send(0, Action::ProposeUpgrade(content.clone())).unwrap();
    let id = id_of(&content);
    assert_eq!(
        events.last(),
        Some(&phase_change(id, Phase::Voting, Phase::Approved))
    );
}

#[test]
fn gov_14_artifacts_are_counted_ordered_and_unique() {
    let with = |platforms: &[&str]| {
        let mut upgrade = upgrade("1.1.0", 20);
        upgrade.artifacts = platforms.iter().map(|platform| artifact(platform)).collect();
        upgrade
    };
    assert_eq!(proposing(&with(&[])), Err("GOV-14.artifact-count"));
    assert_eq!(proposing(&with(&["linux/amd64", "linux/arm64"])), Ok(()));
    assert_eq!(
        proposing(&with(&["linux/arm64", "linux/amd64"])),
        Err("GOV-14.artifact-order")
    );
    assert_eq!(
        proposing(&with(&["linux/amd64", "linux/amd64"])),
        Err("GOV-14.platform-twice")
    );
    let many: Vec<String> = (10..=10 + MAX_ARTIFACTS)
        .map(|index| format!("os{index}/amd64"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(proposing(&with(&many)), Err("GOV-14.artifact-count"));
    assert_eq!(proposing(&with(&many[1..])), Ok(()));
    // The constructor orders.
    let unordered = with(&["linux/arm64", "linux/amd64"]);
    let ordered = Upgrade::new(
        unordered.version,
        unordered.height,
        unordered.artifacts,
        String::new(),
    )
    .unwrap();
    assert_eq!(ordered, with(&["linux/amd64", "linux/arm64"]));
}

#[test]
fn gov_14_addresses_and_sizes_are_limited() {
    let long = |length: usize| format!("https://{}", "a".repeat(length - 8));
    for (url, expected) in [
        ("https://example.org/a", Ok(())),
        ("http://example.org/a", Ok(())),
        ("file:///opt/a", Ok(())),
        ("", Err("GOV-14.artifact-url")),
        ("https://", Err("GOV-14.artifact-url")),
        ("ftp://example.org/a", Err("GOV-14.artifact-url")),
        ("HTTPS://example.org/a", Err("GOV-14.artifact-url")),
        ("/opt/a", Err("GOV-14.artifact-url")),
        ("https://example.org/a b", Err("GOV-14.artifact-url")),
        ("https://example.org/\u{1b}[31m", Err("GOV-14.artifact-url")),
        ("https://exämple.org/a", Err("GOV-14.artifact-url")),
        (&long(MAX_URL_BYTES), Ok(())),
        (&long(MAX_URL_BYTES + 1), Err("GOV-14.artifact-url")),
    ] {
        let mut upgrade = upgrade("1.1.0", 20);
        upgrade.artifacts[0].url = url.to_owned();
        assert_eq!(proposing(&upgrade), expected, "{url:?}");
    }
    for (size, expected) in [
        (0, Err("GOV-14.artifact-size")),
        (1, Ok(())),
        (MAX_ARTIFACT_BYTES, Ok(())),
        (MAX_ARTIFACT_BYTES + 1, Err("GOV-14.artifact-size")),
    ] {
        let mut upgrade = upgrade("1.1.0", 20);
        upgrade.artifacts[0].size = size;
        assert_eq!(proposing(&upgrade), expected, "{size}");
    }
}

#[test]
fn gov_14_descriptions_are_limited() {
    let long = "a".repeat(MAX_DESCRIPTION_BYTES);
    for (description, expected) in [
        ("Fixes\tthe\nclock ⏰", Ok(())),
        (&*long, Ok(())),
        (&*format!("{long}a"), Err("GOV-14.description-size")),
        ("\u{1b}]0;title\u{7}", Err("GOV-14.description-text")),
        ("carriage\rreturn", Err("GOV-14.description-text")),
        ("\u{0}", Err("GOV-14.description-text")),
    ] {
        let mut upgrade = upgrade("1.1.0", 20);
        upgrade.description = description.to_owned();
        assert_eq!(proposing(&upgrade), expected, "{description:?}");
    }
}

/// The largest legal upgrade.
fn largest() -> Upgrade {
    let mut upgrade = upgrade(&format!("1.1.0-{}", "a".repeat(58)), 20);
    upgrade.description = "d".repeat(MAX_DESCRIPTION_BYTES);
    upgrade.artifacts = (10..10 + MAX_ARTIFACTS)
        .map(|index| {
            let mut artifact = artifact(&format!("os{index}/{}", "b".repeat(27)));
            artifact.url = format!("https://{}", "a".repeat(MAX_URL_BYTES - 8));
            artifact
        })
        .collect();
    upgrade
}

#[test]
fn gov_14_the_largest_legal_upgrade_fits_a_transaction() {
    let mut chain = Chain::new(&[1]);
    let signed = chain.sign(0, Action::ProposeUpgrade(largest()));
    let size = signed.to_canonical().len();
    assert!(
        (MAX_TRANSACTION_BYTES / 2..MAX_TRANSACTION_BYTES).contains(&size),
        "{size} bytes"
    );
    chain.deliver(&signed).unwrap();
}

#[test]
fn gov_14_a_larger_transaction_is_refused_before_its_signature_is_looked_at() {
    let chain = Chain::new(&[1]);
    let mut upgrade = largest();
    upgrade.description = "d".repeat(MAX_TRANSACTION_BYTES);
    let mut signed = chain.sign(0, Action::ProposeUpgrade(upgrade));
    signed.signature.0[0] ^= 1;
    assert_eq!(
        code(signed.verify(chain.state.chain_id())),
        "GOV-14.transaction-size"
    );
}

#[test]
fn gov_14_live_proposals_are_limited_per_proposer_and_in_total() {
    let validators = MAX_LIVE_PROPOSALS / MAX_LIVE_PROPOSALS_PER_PROPOSER;
    let mut chain = Chain::new(&vec![1; validators + 1]);
    let proposal = |sender: usize, index: usize| {
        let mut upgrade = upgrade("1.1.0", 20);
        upgrade.description = format!("{sender}-{index}");
        upgrade
    };
    for sender in 0..validators {
        for index in 0..MAX_LIVE_PROPOSALS_PER_PROPOSER {
            chain.propose(sender, &proposal(sender, index));
        }
        if sender == 0 {
            assert_eq!(
                code(chain.send(0, Action::ProposeUpgrade(proposal(0, 99)))),
                "GOV-14.live-of-proposer"
            );
        }
    }
    assert_eq!(
        code(chain.send(validators, Action::ProposeUpgrade(proposal(validators, 0)))),
        "GOV-14.live"
    );
    // A place becomes free when one ends: the others reject it.
    let ended = id_of(&proposal(0, 0));
    for sender in 1..=validators / 3 + 1 {
        chain.vote(sender, ended, Choice::Reject).unwrap();
    }
    assert_eq!(chain.phase(ended), Phase::Rejected);
    chain.propose(validators, &proposal(validators, 0));
}

#[test]
fn gov_14_the_history_forgets_the_oldest() {
    let mut chain = Chain::new(&[1, 1]);
    let mut ids = Vec::new();
    for index in 0..=MAX_ENDED_PROPOSALS {
        let mut content = upgrade("1.1.0", 20);
        content.description = index.to_string();
        let id = chain.propose(0, &content);
        chain.vote(1, id, Choice::Reject).unwrap();
        ids.push(id);
    }
    let ended: Vec<_> = chain
        .state
        .ended_proposals()
        .map(|proposal| proposal.id)
        .collect();
    assert_eq!(ended, ids[1..]);
    assert_eq!(code(chain.vote(1, ids[0], Choice::Approve)), "GOV-06.unknown");
    assert_eq!(code(chain.vote(1, ids[1], Choice::Approve)), "GOV-06.ended");
}
