use std::time::Duration;

use super::*;
use crate::adapter::vega::test_core::{Core, Reply};

const QUICK: Limits = Limits {
    connect: Duration::from_secs(5),
    answer: Duration::from_millis(200),
};

fn rpc(core: &Core) -> AdminRpc {
    AdminRpc::new(core.socket.clone(), "/rpc".to_owned(), QUICK)
}

fn release(tag: &str, height: u64) -> AcceptedRelease {
    AcceptedRelease::Release {
        tag: tag.to_owned(),
        height,
    }
}

/// The whole of a reply to the question `$id`.
fn reply(result: &str) -> Reply {
    Reply::json(&format!(r#"{{"result":{result},"error":null,"id":$id}}"#))
}

fn status(info: &str, ready: bool) -> Reply {
    reply(&format!(
        r#"{{"AcceptedReleaseInfo":{info},"ReadyToUpgrade":{ready}}}"#
    ))
}

#[tokio::test]
async fn every_phase_of_a_core_is_understood() {
    let core = Core::start();
    let mut rpc = rpc(&core);
    let scheduled = r#"{"VegaReleaseTag":"v0.80.0","UpgradeBlockHeight":12432200}"#;
    let in_other_case = r#"{"result":{"acceptedreleaseinfo":{"vegareleasetag":"v0.80.0","UPGRADEBLOCKHEIGHT":5},"readytoupgrade":true},"Error":null,"ID":$id}"#;
    for (answer, accepted, ready) in [
        (status("null", false), AcceptedRelease::Unknown, false),
        (
            status(r#"{"VegaReleaseTag":"","UpgradeBlockHeight":0}"#, false),
            AcceptedRelease::None,
            false,
        ),
        (status("{}", false), AcceptedRelease::None, false),
        (status(scheduled, false), release("v0.80.0", 12_432_200), false),
        (status(scheduled, true), release("v0.80.0", 12_432_200), true),
        (
            status(
                r#"{"VegaReleaseTag":"v0.80.0-rc.1+b.7","UpgradeBlockHeight":18446744073709551615}"#,
                true,
            ),
            release("v0.80.0-rc.1+b.7", u64::MAX),
            true,
        ),
        (reply("{}"), AcceptedRelease::Unknown, false),
        (
            reply(r#"{"ReadyToUpgrade":null,"Other":[1],"AcceptedReleaseInfo":{"More":{}}}"#),
            AcceptedRelease::None,
            false,
        ),
        (Reply::json(in_other_case), release("v0.80.0", 5), true),
        // Go reads the first value and leaves the rest.
        (
            Reply::json("{\"result\":{},\"id\":$id}\n{\"more\":1} and more"),
            AcceptedRelease::Unknown,
            false,
        ),
    ] {
        let shown = format!("{answer:?}");
        core.answer(answer);
        let found = rpc.upgrade_status().await;
        assert_eq!(found.unwrap(), UpgradeStatus { accepted, ready }, "{shown}");
    }
    assert_eq!(core.connections(), 1, "the connection is kept");
}

#[tokio::test]
async fn the_question_is_the_one_that_vega_visor_asks() {
    let core = Core::start();
    core.answer(status("null", false));
    let mut rpc = rpc(&core);
    rpc.upgrade_status().await.unwrap();
    rpc.upgrade_status().await.unwrap();
    let questions = core.questions();
    let question = &questions[1];
    assert_eq!(question.line, "POST /rpc HTTP/1.1");
    assert!(question.headers.contains("content-type: application/json"));
    assert!(question.headers.contains("host: unix"));
    assert_eq!(
        question.body,
        r#"{"method":"protocolupgrade.UpgradeStatus","params":[null],"id":2}"#
    );
}

#[tokio::test]
async fn every_odd_answer_is_an_error_that_says_what_was_wrong() {
    let core = Core::start();
    let json = Reply::json;
    let field = |field: &str, value: &str| reply(&format!(r#"{{"{field}":{value}}}"#));
    let info = |field: &str, value: &str| status(&format!(r#"{{"{field}":{value}}}"#), false);
    for (answer, because) in [
        (
            Reply::text("400 Bad Request", "rpc: can't find method"),
            "found 400: \"rpc: can't find method\"",
        ),
        (
            Reply::text("404 Not Found", "404 page not found\n"),
            "found 404: \"404 page not found\"",
        ),
        (
            Reply::text("405 Method Not Allowed", "rpc: POST method required"),
            "found 405",
        ),
        (Reply::text("415 Unsupported Media Type", ""), "found 415: \"\""),
        (Reply::text("500 Internal Server Error", "no"), "found 500"),
        (Reply::text("204 No Content", ""), "found 204"),
        (Reply::text("302 Found", ""), "found 302"),
        // A question whose id is null is answered so.
        (json(""), "expected JSON, found nothing"),
        (
            json("upgrade? never heard"),
            "expected JSON, found \"upgrade? never heard\"",
        ),
        (json("{\"result\":{\"Rea"), "expected JSON"),
        (json("[]"), "expected the answer to be an object, found []"),
        (json("null"), "expected the answer to be an object, found null"),
        (
            json(r#"{"result":null,"error":"rpc: out of order","id":$id}"#),
            "the error \"rpc: out of order\"",
        ),
        (json(r#"{"result":{},"error":{"code":1},"id":$id}"#), "the error"),
        (
            json(r#"{"result":null,"error":null,"id":$id}"#),
            "expected result to be an object, found null",
        ),
        (
            json(r#"{"error":null,"id":$id}"#),
            "expected result to be an object, found null",
        ),
        (
            json(r#"{"result":"ready","error":null,"id":$id}"#),
            "expected result to be an object, found \"ready\"",
        ),
        (
            json(r#"{"result":{},"error":null,"id":7777}"#),
            "of the question, found 7777",
        ),
        (
            json(r#"{"result":{},"error":null,"id":"$id"}"#),
            "of the question, found \"",
        ),
        (
            json(r#"{"result":{},"error":null,"id":null}"#),
            "of the question, found null",
        ),
        (
            json(r#"{"result":{},"error":null}"#),
            "of the question, found null",
        ),
        (
            json(r#"{"result":{},"error":null,"id":-1}"#),
            "of the question, found -1",
        ),
        (
            field("ReadyToUpgrade", "\"true\""),
            "expected ReadyToUpgrade to be true or false, found \"true\"",
        ),
        (field("ReadyToUpgrade", "1"), "expected ReadyToUpgrade"),
        (
            field("AcceptedReleaseInfo", "\"v0.80.0\""),
            "expected AcceptedReleaseInfo to be an object or null",
        ),
        (field("AcceptedReleaseInfo", "[]"), "expected AcceptedReleaseInfo"),
        (
            info("VegaReleaseTag", "80"),
            "expected VegaReleaseTag to be a string, found 80",
        ),
        (
            info("UpgradeBlockHeight", "\"5\""),
            "expected UpgradeBlockHeight to be a whole number of 64 bits, found \"5\"",
        ),
        (info("UpgradeBlockHeight", "-5"), "found -5"),
        (info("UpgradeBlockHeight", "5.5"), "found 5.5"),
        (
            info("UpgradeBlockHeight", "18446744073709551616"),
            "expected UpgradeBlockHeight",
        ),
        (
            Reply::Raw("SSH-2.0-OpenSSH_9.6\r\n".to_owned()),
            "exchange HTTP messages",
        ),
        (
            Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"resu".to_owned()),
            "exchange HTTP messages",
        ),
        (
            Reply::Raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n".to_owned()),
            "exchange HTTP messages",
        ),
        (Reply::Closes, "exchange HTTP messages"),
        (Reply::Endless, "expected at most 65536 bytes, found more"),
        (Reply::EndlessHead, "exchange HTTP messages"),
    ] {
        let shown = format!("{answer:?}");
        core.answer(answer);
        let error = rpc(&core).upgrade_status().await.unwrap_err();
        let text = crate::cli::chain(&error);
        assert!(text.contains(because), "{shown}: {text}");
        assert!(!error.is_of_a_live_core(), "{shown}");
        assert!(text.len() < 600, "{text}");
    }
}

#[tokio::test]
async fn ready_for_nothing_is_an_error_of_a_core_that_lives() {
    let core = Core::start();
    for info in [
        "null",
        "{}",
        r#"{"VegaReleaseTag":"","UpgradeBlockHeight":0}"#,
        r#"{"VegaReleaseTag":"","UpgradeBlockHeight":7}"#,
        r#"{"VegaReleaseTag":"v0.80.0","UpgradeBlockHeight":0}"#,
        r#"{"VegaReleaseTag":"0.80.0","UpgradeBlockHeight":7}"#,
    ] {
        core.answer(status(info, true));
        let error = rpc(&core).upgrade_status().await.unwrap_err();
        assert!(error.is_of_a_live_core(), "{info}");
        assert!(error.to_string().contains("ready to upgrade"), "{info}: {error}");
    }
}

#[tokio::test]
async fn w_53_a_tag_that_is_no_strict_version_goes_nowhere() {
    let core = Core::start();
    let mut rpc = rpc(&core);
    for tag in [
        "0.80.0",
        "V0.80.0",
        "v0.80",
        "v00.80.0",
        "../v0.80.0",
        "v0.80.0/../../etc",
        "v0.80.0\\u0000",
        "v0.80.0 ",
        "v0.80.0-a/b",
        "genesis",
        "current",
    ] {
        core.answer(status(
            &format!(r#"{{"VegaReleaseTag":"{tag}","UpgradeBlockHeight":7}}"#),
            false,
        ));
        let found = rpc.upgrade_status().await.unwrap();
        assert!(matches!(found.accepted, AcceptedRelease::Unusable(_)), "{tag}");
    }
}

#[tokio::test]
async fn w_32_a_core_that_says_nothing_is_given_up_and_asked_anew() {
    let core = Core::start();
    let mut rpc = rpc(&core);
    core.answer(Reply::Silent);
    let error = rpc.upgrade_status().await.unwrap_err();
    assert!(matches!(error, RpcError::Silent { .. }), "{error}");
    // It says the head, and then nothing.
    core.answer(Reply::HeadAndSilent);
    let error = rpc.upgrade_status().await.unwrap_err();
    assert!(matches!(error, RpcError::Silent { .. }), "{error}");
    core.answer(status("null", false));
    rpc.upgrade_status().await.unwrap();
    assert_eq!(core.connections(), 3);
}

#[tokio::test]
async fn w_32_a_core_that_takes_no_connection_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("vega.sock");
    // Whoever connects blockingly would wait for ever.
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) = timeout(QUICK.answer, UnixStream::connect(&socket)).await {
        queue.push(stream);
        assert!(queue.len() < 100);
    }
    let error = AdminRpc::new(socket, "/rpc".to_owned(), QUICK)
        .upgrade_status()
        .await;
    let error = error.unwrap_err();
    assert!(
        matches!(
            error,
            RpcError::NotListening { .. } | RpcError::SlowConnect { .. }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_core_that_was_started_again_is_found_without_an_error() {
    let mut core = Core::start();
    core.answer(status("null", false));
    let mut rpc = rpc(&core);
    rpc.upgrade_status().await.unwrap();
    core.restart();
    rpc.upgrade_status().await.unwrap();
    core.answer(Reply::LastOfConnection(r#"{"result":{},"id":$id}"#.to_owned()));
    for _ in 0..5 {
        rpc.upgrade_status().await.unwrap();
    }
}

#[tokio::test]
async fn nobody_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("vega.sock");
    let mut rpc = AdminRpc::new(socket.clone(), "/rpc".to_owned(), QUICK);
    let error = rpc.upgrade_status().await.unwrap_err();
    assert!(error.is_absence() && error.is_usual());
    assert!(error.to_string().contains("vega.sock"), "{error}");
    // A file that the core before left behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(rpc.upgrade_status().await.unwrap_err().is_absence());
}

#[tokio::test]
async fn w_53_a_socket_of_somebody_else_is_not_believed() {
    let core = Core::start();
    core.answer(status("null", false));
    let stranger = 54_321;
    let mut strict = AdminRpc {
        trusted: [stranger, stranger],
        ..rpc(&core)
    };
    let error = strict.upgrade_status().await.unwrap_err();
    assert!(matches!(error, RpcError::Owner { .. }), "{error}");
    assert_eq!(core.questions().len(), 0, "it was told nothing");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&core.socket, Some(stranger), None).unwrap();
        let error = rpc(&core).upgrade_status().await.unwrap_err();
        assert!(
            matches!(error, RpcError::Owner { found, .. } if found == stranger),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_path_that_is_none_is_refused_before_anything_is_sent() {
    let core = Core::start();
    for path in ["", "rpc", "/r pc", "http://unix/rpc"] {
        let mut rpc = AdminRpc::new(core.socket.clone(), path.to_owned(), QUICK);
        let error = rpc.upgrade_status().await.unwrap_err();
        assert!(matches!(error, RpcError::Path { .. }), "{path}: {error}");
    }
    assert_eq!(core.questions().len(), 0);
}
