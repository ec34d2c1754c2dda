//! The running program: what it serves, to whom, and how it stops.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use governance::{Action, Height, ProposalId, SigningKey, Transaction};
use governance_node::exit_code;
use proto::pb::governance::v1 as pb;
use proto::pb::governance::v1::get_proposal_request::Key;
use proto::pb::governance::v1::get_transaction_response::Outcome;
use proto::pb::governance::v1::governance_service_client::GovernanceServiceClient;
use proto::pb::node::v1::{NodeReport, WatchReportsRequest};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::network::upgrade;
use crate::single::{Single, edit, governance_key, public, refused, run};

type Client = GovernanceServiceClient<Channel>;

async fn http_get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn status_json(address: SocketAddr) -> serde_json::Value {
    let answer = http_get(address, "/status").await.unwrap();
    let body = answer
        .split("\r\n\r\n")
        .nth(1)
        .and_then(|body| serde_json::from_str(body).ok());
    body.unwrap_or_else(|| unreachable!("it should be JSON: {answer:?}"))
}

async fn events(client: &mut Client, from_height: u64) -> Streaming<pb::BlockEvents> {
    client
        .stream_events(pb::StreamEventsRequest { from_height })
        .await
        .unwrap()
        .into_inner()
}

async fn next(blocks: &mut Streaming<pb::BlockEvents>) -> u64 {
    blocks.message().await.unwrap().unwrap().height
}

async fn reports(single: &Single) -> Streaming<NodeReport> {
    single
        .link()
        .await
        .watch_reports(WatchReportsRequest {})
        .await
        .unwrap()
        .into_inner()
}

async fn submit(client: &mut Client, signed: &governance::SignedTransaction) -> Result<Vec<u8>, Status> {
    let request = pb::SubmitTransactionRequest {
        transaction: Some(signed.into()),
    };
    Ok(client
        .submit_transaction(request)
        .await?
        .into_inner()
        .transaction_id)
}

fn code_of(status: &Status) -> Option<&str> {
    status.metadata().get("rejection-code")?.to_str().ok()
}

fn transaction(chain: &str, sequence: u64, action: Action) -> Transaction {
    Transaction {
        chain_id: chain.parse().unwrap(),
        sequence,
        last_valid_height: Height(1_000_000),
        action,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_serves_everything_and_stops_on_request() {
    let mut single = Single::lay_out();
    single.start();
    let mut client = single.client().await;
    let mut blocks = events(&mut client, 1).await;
    for height in 1..=3 {
        assert_eq!(next(&mut blocks).await, height);
    }

    let body = status_json(single.http).await;
    assert_eq!(
        (&body["chain_id"], &body["version"], &body["moniker"]),
        (&"single-1".into(), &"1.0.0".into(), &"single".into())
    );
    assert!(
        body["next_upgrade"].is_null() && body["height"].as_u64() >= Some(3),
        "{body}"
    );
    assert_eq!((&body["halted"], &body["peers"]), (&false.into(), &0.into()));
    let healthy = http_get(single.http, "/healthz").await.unwrap();
    assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");

    let health = tonic_health::pb::health_client::HealthClient::new(single.channel().await)
        .check(tonic_health::pb::HealthCheckRequest {
            service: "governance.v1.GovernanceService".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        health.status(),
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );
    let services = reflected_services(&single).await;
    for service in ["governance.v1.GovernanceService", "grpc.health.v1.Health"] {
        assert!(services.iter().any(|name| name == service), "{services:?}");
    }

    let mode = fs::metadata(single.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut reports = reports(&single).await;
    let first = reports.message().await.unwrap().unwrap();
    let second = reports.message().await.unwrap().unwrap();
    assert!(second.height > first.height && first.halt.is_none());
    assert_eq!(
        (first.version.as_str(), first.pid),
        ("1.0.0", single.process.as_ref().unwrap().id())
    );

    let path = single.path();
    let shown = run(&["status", "--home", &path, "--output", "json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(
        (&shown["schema"], &shown["moniker"], &shown["halt"]),
        (&1.into(), &"single".into(), &serde_json::Value::Null)
    );
    let shown = run(&["status", "--node", &format!("http://{}", single.rpc)]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("single-1") && shown.contains("next upgrade  none"),
        "{shown}"
    );

    // A second node in the same home is refused while the first one lives.
    refused(
        &["start", "--home", &path],
        exit_code::STORE,
        &["chain.redb", "only one node"],
    );
    assert_eq!(single.stop(), Some(0), "{}", single.log());
    assert!(!single.socket().exists());
    refused(
        &["status", "--home", &path],
        exit_code::UNREACHABLE,
        &["no node answers", "refused", "governance start"],
    );
}

async fn reflected_services(single: &Single) -> Vec<String> {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answer = ServerReflectionClient::new(single.channel().await)
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        return Vec::new();
    };
    list.service.into_iter().map(|service| service.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_streams_resume_wait_and_follow() {
    let mut single = Single::lay_out();
    single.start();
    let mut client = single.client().await;
    // Of a block that is still to come: nothing until it comes, and nothing before it.
    let mut later = events(&mut client, 9).await;
    let mut blocks = events(&mut client, 1).await;
    for height in 1..=5 {
        assert_eq!(next(&mut blocks).await, height);
    }
    // Resumed in the middle, without gap or repeat, across the border between store and live.
    let mut resumed = events(&mut client, 3).await;
    for height in 3..=12 {
        assert_eq!(next(&mut resumed).await, height);
    }
    for height in 9..=12 {
        assert_eq!(next(&mut later).await, height);
    }
    // From the next block on.
    let mut live = events(&mut client, 0).await;
    let first = next(&mut live).await;
    assert!(first > 12, "{first}");
    assert_eq!(next(&mut live).await, first + 1);
    // Many who have stopped reading delay nobody else.
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(events(&mut client, 1).await);
    }
    for height in first + 2..first + 6 {
        assert_eq!(next(&mut live).await, height);
    }
    assert_eq!(single.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_goes_on_from_its_last_commit() {
    let mut single = Single::lay_out();
    single.start();
    let mut client = single.client().await;
    let mut blocks = events(&mut client, 1).await;
    let mut roots = Vec::new();
    for _ in 0..8 {
        roots.push(blocks.message().await.unwrap().unwrap().state_root);
    }
    let mut process = single.process.take().unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(single.socket().exists(), "a killed node leaves its socket behind");
    single.start();
    let mut client = single.client().await;
    let mut blocks = events(&mut client, 1).await;
    for root in &roots {
        assert_eq!(blocks.message().await.unwrap().unwrap().state_root, *root);
    }
    for _ in 0..5 {
        blocks.message().await.unwrap().unwrap();
    }
    assert_eq!(single.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_is_seen_from_outside_until_the_halt() {
    let mut single = Single::lay_out();
    single.start();
    let mut client = single.client().await;
    let mut reports = reports(&single).await;
    let now = reports.message().await.unwrap().unwrap().height;
    let last = now + 30;
    let signed = transaction("single-1", 0, Action::ProposeUpgrade(upgrade(last))).sign(&governance_key());
    let id = submit(&mut client, &signed).await.unwrap();
    let again = submit(&mut client, &signed).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists, "{again:?}");
    let outcome = client
        .get_transaction(pb::GetTransactionRequest {
            transaction_id: id.clone(),
            wait_milliseconds: 30_000,
        })
        .await
        .unwrap()
        .into_inner()
        .outcome;
    let Some(Outcome::Committed(committed)) = outcome else {
        unreachable!("it should be in a block: {outcome:?}");
    };
    assert_eq!(committed.rejection, None);

    // One validator of one: proposing is approving.
    let plan = client
        .get_plan(pb::GetPlanRequest {})
        .await
        .unwrap()
        .into_inner()
        .plan
        .unwrap();
    let next_upgrade = serde_json::json!({"activation_point": last, "protocol_version": "1.1.0"});
    assert_eq!(status_json(single.http).await["next_upgrade"], next_upgrade);
    let digits = hex::encode(&plan.id);
    for key in [
        Key::Id(plan.id.clone()),
        Key::Name(format!("v1.1.0@{last}")),
        Key::Name(digits[..8].to_owned()),
    ] {
        let request = pb::GetProposalRequest { key: Some(key) };
        let found = client.get_proposal(request).await.unwrap().into_inner();
        assert_eq!(found.proposal.unwrap().id, plan.id);
    }
    for (key, code) in [
        (Some(Key::Id(vec![7; 32])), Code::NotFound),
        (Some(Key::Id(vec![7; 3])), Code::InvalidArgument),
        (Some(Key::Name("v9.9.9@7".to_owned())), Code::NotFound),
        (Some(Key::Name("what?".to_owned())), Code::InvalidArgument),
        (None, Code::InvalidArgument),
    ] {
        let request = pb::GetProposalRequest { key: key.clone() };
        let refused = client.get_proposal(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{key:?}: {refused:?}");
    }

    let (mut announced, mut halt) = (None, None);
    while halt.is_none() {
        let report = reports.message().await.unwrap().unwrap();
        // Reports may be skipped, never repeated or put together from two states.
        assert_eq!(report.halt.is_some(), report.height == last, "{report:?}");
        announced = report.upgrades.into_iter().next().or(announced);
        halt = report.halt;
    }
    let halt = halt.unwrap();
    assert_eq!((halt.height, halt.version.as_str()), (last, "1.1.0"));
    assert_eq!(halt.proposal_id, plan.id);
    let announced = announced.unwrap();
    assert_eq!(announced.proposal_id, plan.id);
    assert_eq!(announced.upgrade.unwrap().artifacts.len(), 1);

    // Halted, it answers, and takes nothing more.
    let body = status_json(single.http).await;
    assert_eq!((&body["halted"], &body["height"]), (&true.into(), &last.into()));
    assert_eq!(body["next_upgrade"], next_upgrade);
    let late = transaction("single-1", 1, Action::ProposeUpgrade(upgrade(last + 100)));
    let late = submit(&mut client, &late.sign(&governance_key()))
        .await
        .unwrap_err();
    assert_eq!(
        (late.code(), code_of(&late)),
        (Code::FailedPrecondition, Some("GOV-09.halted"))
    );
    let mut blocks = events(&mut client, last).await;
    assert_eq!(next(&mut blocks).await, last);
    let shown = run(&["status", "--home", &single.path()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let expected = format!("halted at height {last}, waiting for version 1.1.0");
    assert!(shown.contains(&expected), "{shown}");

    assert_eq!(single.stop(), Some(0), "{}", single.log());
    let required = format!("block {} must be executed by the newer version 1.1.0", last + 1);
    refused(
        &["start", "--home", &single.path()],
        exit_code::NEWER_VERSION_REQUIRED,
        &[&required, "this is 1.0.0"],
    );
    assert!(!single.socket().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_peers_reports_at_once_and_stops_at_once() {
    let mut single = Single::lay_out();
    let absent = SigningKey::from_bytes(&[2; 32]);
    let absent = format!(
        "absent:1:{}:{}",
        public(&absent),
        public(&SigningKey::from_bytes(&[3; 32]))
    );
    single.write_genesis("pair-1", "1.0.0", &[&single.validator(), &absent]);
    // Waiting for its peers, it must hear a stop.
    edit(
        &single.file("config.toml"),
        "connect_timeout = \"1s\"",
        "connect_timeout = \"1h\"",
    );
    for signal in [Signal::TERM, Signal::INT] {
        single.start();
        let report = reports(&single).await.message().await.unwrap().unwrap();
        assert_eq!((report.chain_id.as_str(), report.height), ("pair-1", 0));
        assert!(report.halt.is_none() && report.upgrades.is_empty());
        assert_eq!(status_json(single.http).await["height"], 0);
        assert_eq!(single.signal(signal), Some(0), "{}", single.log());
        assert!(!single.socket().exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_no_validator_says_so() {
    let mut single = Single::lay_out();
    let (governance, consensus) = (SigningKey::from_bytes(&[2; 32]), SigningKey::from_bytes(&[3; 32]));
    let other = format!("other:1:{}:{}", public(&governance), public(&consensus));
    single.write_genesis("others-1", "1.0.0", &[&other]);
    single.start();
    assert_eq!(reports(&single).await.message().await.unwrap().unwrap().height, 0);
    assert_eq!(single.stop(), Some(0), "{}", single.log());
    assert!(
        single.log().contains("follows the chain without voting"),
        "{}",
        single.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_transactions_carry_the_code_of_the_rule() {
    let mut single = Single::lay_out();
    single.start();
    let mut client = single.client().await;
    let withdraw = || Action::Withdraw {
        proposal: ProposalId([9; 32]),
    };
    let member = governance_key();
    let stranger = SigningKey::from_bytes(&[2; 32]);
    let mut forged = transaction("single-1", 0, withdraw()).sign(&member);
    forged.transaction.sequence = 1;
    let mut older = upgrade(1_000);
    older.version = "0.9.0".parse().unwrap();
    for (signed, code) in [
        (transaction("single-1", 0, withdraw()).sign(&stranger), "GOV-01"),
        (
            transaction("single-1", 0, Action::ProposeUpgrade(upgrade(1))).sign(&member),
            "GOV-02",
        ),
        (
            transaction("single-1", 0, Action::ProposeUpgrade(older)).sign(&member),
            "GOV-03",
        ),
        (
            transaction("other-1", 0, withdraw()).sign(&member),
            "GOV-13.chain",
        ),
        (transaction("single-1", 7, withdraw()).sign(&member), "GOV-13.gap"),
        (forged, "GOV-13.signature"),
        (
            transaction("single-1", 0, withdraw()).sign(&member),
            "GOV-06.unknown",
        ),
    ] {
        let status = submit(&mut client, &signed).await.unwrap_err();
        assert_eq!(
            (status.code(), code_of(&status)),
            (Code::FailedPrecondition, Some(code)),
            "{status:?}"
        );
        assert!(!status.message().is_empty());
    }

    let empty = pb::SubmitTransactionRequest { transaction: None };
    let empty = client.submit_transaction(empty).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);
    let mut short: pb::SignedTransaction = (&transaction("single-1", 0, withdraw()).sign(&member)).into();
    short.signature.pop();
    let short = pb::SubmitTransactionRequest {
        transaction: Some(short),
    };
    let short = client.submit_transaction(short).await.unwrap_err();
    assert_eq!(
        (short.code(), code_of(&short).is_some()),
        (Code::InvalidArgument, true),
        "{short:?}"
    );
    // Larger than any request may be: refused unread, and the connection lives on.
    let mut large: pb::SignedTransaction = (&transaction("single-1", 0, withdraw()).sign(&member)).into();
    large.signature = vec![0; 300 * 1024];
    let large = pb::SubmitTransactionRequest {
        transaction: Some(large),
    };
    let large = client.submit_transaction(large).await.unwrap_err();
    assert_eq!(large.code(), Code::OutOfRange, "{large:?}");

    for (transaction_id, expected) in [
        (vec![1; 32], Ok(Some(Outcome::Unknown(pb::TransactionUnknown {})))),
        (vec![1; 5], Err(Code::InvalidArgument)),
    ] {
        let request = pb::GetTransactionRequest {
            transaction_id,
            wait_milliseconds: 0,
        };
        let answer = client.get_transaction(request).await;
        assert_eq!(
            answer
                .map(|answer| answer.into_inner().outcome)
                .map_err(|status| status.code()),
            expected
        );
    }
    assert_eq!(single.stop(), Some(0));
}
