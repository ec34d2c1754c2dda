//! Notifications to real servers and real programs, that fail in every way.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use visor::config::{EventKind, Notify, WebAddress};
use visor::notify::{Event, Facts, Notifier};

use crate::scene::{Host, NEW, OLD, wait_for};
use crate::webhook::{Reply, Server, in_turn, status, text};

/// Delays of milliseconds.
fn settings(url: &str) -> Notify {
    Notify {
        webhook: WebAddress::from(url.to_owned()),
        timeout: Duration::from_secs(20),
        retry_initial: Duration::from_millis(5),
        retry_max: Duration::from_millis(20),
        ..Notify::default()
    }
}

fn notifier(settings: &Notify, home: &Path) -> Notifier {
    let facts = Facts {
        host: "h".to_owned(),
        home: home.to_path_buf(),
    };
    Notifier::new(settings, facts)
}

fn event(name: &str) -> Event {
    Event::new(EventKind::Halted, name.to_owned())
}

fn flush(notifier: &Notifier, limit: Duration) -> Duration {
    let began = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(notifier.flush(limit));
    began.elapsed()
}

#[test]
fn a_webhook_that_fails_is_tried_again_in_order() {
    let server = Server::new(in_turn(vec![
        status("500 Internal Server Error"),
        status("503 Service Unavailable"),
        status("408 Request Timeout"),
        Reply::Close,
        status("429 Too Many Requests"),
    ]));
    let home = tempfile::tempdir().unwrap();
    let mut notifier = notifier(&settings(&server.url()), home.path());
    for name in ["one", "two", "three"] {
        notifier.send(event(name));
    }
    let seen = server.wait(8);
    assert_eq!(
        server.messages(),
        [
            "h: one", "h: one", "h: one", "h: one", "h: one", "h: one", "h: two", "h: three"
        ]
    );
    assert_eq!(seen[0].line, "POST /SECRET?token=SECRET HTTP/1.1");
    let ids: Vec<String> = seen.iter().map(|request| text(&request.body["id"])).collect();
    assert_eq!(ids[0], ids[5], "the same event has the same id");
    assert!(ids[5] != ids[6] && ids[6] != ids[7]);
    assert!(flush(&notifier, Duration::from_secs(20)) < Duration::from_secs(10));
    // Awake again after its thread has ended.
    notifier.send(event("four"));
    assert_eq!(server.wait(9)[8].body["message"], "h: four");
}

#[test]
fn a_server_that_names_a_time_is_left_alone_until_then() {
    let server = Server::new(in_turn(vec![Reply::Status(
        "429 Too Many Requests",
        "retry-after: 1\r\n".to_owned(),
    )]));
    let home = tempfile::tempdir().unwrap();
    let mut notifier = notifier(&settings(&server.url()), home.path());
    notifier.send(event("one"));
    let seen = server.wait(2);
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(1));
}

#[test]
fn a_webhook_that_refuses_is_not_asked_again() {
    let server = Server::new(in_turn(vec![status("404 Not Found"), status("400 Bad Request")]));
    let home = tempfile::tempdir().unwrap();
    let mut notifier = notifier(&settings(&server.url()), home.path());
    for name in ["one", "two", "three"] {
        notifier.send(event(name));
    }
    server.wait(3);
    flush(&notifier, Duration::from_secs(20));
    assert_eq!(server.messages(), ["h: one", "h: two", "h: three"]);
}

#[test]
fn a_webhook_that_hangs_or_never_recovers_is_given_up() {
    let server = Server::new(|request| {
        if request.body["message"] == "h: one" {
            Reply::Hang
        } else {
            status("200 OK")
        }
    });
    let home = tempfile::tempdir().unwrap();
    let settings = Notify {
        timeout: Duration::from_millis(100),
        max_attempts: 3,
        ..settings(&server.url())
    };
    let mut notifier = notifier(&settings, home.path());
    notifier.send(event("one"));
    notifier.send(event("two"));
    server.wait(4);
    assert_eq!(server.messages(), ["h: one", "h: one", "h: one", "h: two"]);
}

#[test]
fn a_redirection_is_followed_only_with_its_body_and_within_its_scheme() {
    let other = Server::new(|_| status("200 OK"));
    let (to_other, to_tls) = (
        format!("location: http://{}/other\r\n", other.address),
        format!("location: https://{}/other\r\n", other.address),
    );
    let server = Server::new(in_turn(vec![
        Reply::Status("307 Temporary Redirect", to_other.clone()),
        Reply::Status("302 Found", to_other),
        Reply::Status("308 Permanent Redirect", to_tls),
    ]));
    let home = tempfile::tempdir().unwrap();
    let mut notifier = notifier(&settings(&server.url()), home.path());
    for name in ["one", "two", "three", "four"] {
        notifier.send(event(name));
    }
    server.wait(4);
    flush(&notifier, Duration::from_secs(20));
    assert_eq!(server.messages(), ["h: one", "h: two", "h: three", "h: four"]);
    assert_eq!(other.messages(), ["h: one"]);
    assert_eq!(other.seen()[0].line, "POST /other HTTP/1.1");
}

#[test]
fn a_full_queue_gives_up_the_oldest_and_never_delays() {
    let answering = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&answering);
    let server = Server::new(move |_| {
        if answers.load(Ordering::SeqCst) {
            status("200 OK")
        } else {
            status("500 Internal Server Error")
        }
    });
    let home = tempfile::tempdir().unwrap();
    let settings = Notify {
        max_attempts: u32::MAX,
        ..settings(&server.url())
    };
    let mut notifier = notifier(&settings, home.path());
    let began = Instant::now();
    for number in 0..200 {
        notifier.send(event(&number.to_string()));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let failed = server.wait(1).len();
    answering.store(true, Ordering::SeqCst);
    flush(&notifier, Duration::from_secs(20));
    let mut delivered = server.messages().split_off(failed);
    delivered.dedup();
    let last: Vec<String> = (136..200).map(|number| format!("h: {number}")).collect();
    assert!(delivered.ends_with(&last), "{delivered:?}");
    assert!(delivered.len() <= last.len() + 2, "{delivered:?}");
}

#[test]
fn a_command_gets_the_event_on_its_input_until_it_exits_with_0() {
    let home = tempfile::tempdir().unwrap();
    let script = "cat >> events; test -e failed || { touch failed; exit 1; }";
    let settings = Notify {
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
        ..settings("")
    };
    let mut notifier = notifier(&settings, home.path());
    notifier.send(event("one").version("1.1.0").height(7));
    notifier.send(event("two"));
    let lines = wait_for("three lines", || {
        let text = fs::read_to_string(home.path().join("events")).ok()?;
        let lines: Vec<Value> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .ok()?;
        (lines.len() == 3).then_some(lines)
    });
    assert_eq!(lines[0], lines[1], "tried again");
    assert_eq!(
        (
            &lines[0]["schema"],
            &lines[0]["event"],
            &lines[0]["version"],
            &lines[0]["height"]
        ),
        (&json!(1), &json!("halted"), &json!("1.1.0"), &json!(7))
    );
    assert_eq!(lines[0]["home"], home.path().to_str().unwrap());
    assert_eq!(lines[2]["message"], "h: two");
}

#[test]
fn only_the_events_that_are_wanted_are_told() {
    let server = Server::new(|_| status("200 OK"));
    let home = tempfile::tempdir().unwrap();
    let settings = Notify {
        events: [EventKind::Failed].into(),
        ..settings(&server.url())
    };
    let mut notifier = notifier(&settings, home.path());
    notifier.send(event("unwanted"));
    notifier.send(Event::new(EventKind::Failed, "wanted".to_owned()));
    server.wait(1);
    flush(&notifier, Duration::from_secs(20));
    assert_eq!(server.messages(), ["h: wanted"]);
}

#[test]
fn the_same_trouble_is_told_once_until_it_is_over() {
    let server = Server::new(|_| status("200 OK"));
    let home = tempfile::tempdir().unwrap();
    let mut notifier = notifier(&settings(&server.url()), home.path());
    let trouble = |reason: &str| Event::new(EventKind::StagingFailed, reason.to_owned()).reason(reason);
    for reason in ["a", "a", "b", "b"] {
        notifier.send(trouble(reason));
    }
    notifier.send(Event::new(EventKind::Staged, "staged".to_owned()));
    notifier.send(trouble("b"));
    server.wait(4);
    flush(&notifier, Duration::from_secs(20));
    assert_eq!(server.messages(), ["h: a", "h: b", "h: staged", "h: b"]);
}

#[test]
fn an_end_of_visor_hurries_but_does_not_wait_for_ever() {
    let server = Server::new(in_turn(vec![status("500 Internal Server Error")]));
    let home = tempfile::tempdir().unwrap();
    let patient = Notify {
        retry_initial: Duration::from_secs(600),
        retry_max: Duration::from_secs(600),
        ..settings(&server.url())
    };
    let mut hurried = notifier(&patient, home.path());
    hurried.send(event("one"));
    server.wait(1);
    assert!(flush(&hurried, Duration::from_secs(60)) < Duration::from_secs(30));
    assert_eq!(server.messages(), ["h: one", "h: one"]);

    // Both channels hang: the time is up, and the program is ended with it.
    let silent = Server::new(|_| Reply::Hang);
    let settings = Notify {
        command: vec![
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            "echo $$ > pid; exec sleep 60".to_owned(),
        ],
        timeout: Duration::from_secs(60),
        ..settings(&silent.url())
    };
    let mut notifier = notifier(&settings, home.path());
    notifier.send(event("one"));
    let pid = wait_for("the program", || {
        let text = fs::read_to_string(home.path().join("pid")).ok()?;
        let whole = text.ends_with('\n');
        rustix::process::Pid::from_raw(whole.then(|| text.trim().parse().ok())??)
    });
    silent.wait(1);
    let took = flush(&notifier, Duration::from_millis(300));
    assert!(took < Duration::from_secs(5), "{took:?}");
    wait_for("the program's end", || {
        visor::lock::Holder::read(pid).is_none().then_some(())
    });
}

#[test]
fn new_settings_hold_for_what_is_waiting() {
    let broken = Server::new(|_| status("500 Internal Server Error"));
    let good = Server::new(|_| status("200 OK"));
    let home = tempfile::tempdir().unwrap();
    let slow = Notify {
        retry_initial: Duration::from_secs(600),
        retry_max: Duration::from_secs(600),
        ..settings(&broken.url())
    };
    let mut notifier = notifier(&slow, home.path());
    notifier.send(event("one"));
    broken.wait(1);
    notifier.configure(&settings(&good.url()));
    assert_eq!(good.wait(1)[0].body["message"], "h: one");
}

/// The threads of a process that deliver notifications.
fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("notify"))
        .count()
}

fn configure(host: &Host, server: &Server) {
    host.configure(&[
        ("notify", "webhook", server.url().into()),
        ("notify", "retry_initial", "10ms".into()),
        ("notify", "retry_max", "50ms".into()),
    ]);
}

/// Announces an upgrade and lets the chain reach it only once it is staged, so that a slow machine sees the same order.
fn announce_in_peace(host: &mut Host) -> u64 {
    host.behave(json!({ "paused": true }));
    let height = host.announce(10);
    host.wait_status("staged", |status| status["upgrade"]["staged"] == true);
    host.behave(json!({ "paused": false }));
    height
}

#[test]
fn every_event_of_an_upgrade_is_told_in_order() {
    let mut host = Host::new();
    let server = Server::new(in_turn(vec![Reply::Close, status("502 Bad Gateway")]));
    configure(&host, &server);
    let script = "cat >> \"$VISOR_HOME/events\"";
    let command = ["/bin/sh", "-c", script].map(toml::Value::from).to_vec();
    host.configure(&[("notify", "command", toml::Value::Array(command))]);
    let visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    let height = announce_in_peace(&mut host);
    host.wait_status("the upgrade", |status| status["last_upgrade"]["to"] == NEW);
    let lines = wait_for("every event", || {
        let text = fs::read_to_string(host.home().join("events")).ok()?;
        text.contains("\"upgraded\"").then_some(text)
    });
    let told: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<String> = told.iter().map(|event| text(&event["event"])).collect();
    assert_eq!(kinds, ["proposal_seen", "staged", "halted", "upgraded"]);
    for event in &told {
        assert_eq!(event["schema"], 1);
        assert_eq!(event["proposal_id"], "ab".repeat(32), "{event}");
        assert_eq!(event["version"], NEW, "{event}");
        assert_eq!(event["height"], height, "{event}");
        assert_eq!(event["home"], host.home().to_str().unwrap());
        assert!(event["unix_ms"].as_u64().unwrap() > 1_700_000_000_000);
        assert!(!text(&event["message"]).contains('\n'));
    }
    assert_eq!((&told[3]["from"], &told[3]["to"]), (&json!(OLD), &json!(NEW)));
    // The webhook has heard the same, after its two failures.
    let heard: Vec<Value> = server
        .wait(6)
        .into_iter()
        .skip(2)
        .map(|request| request.body)
        .collect();
    assert_eq!(heard, told);
    wait_for("no thread", || (threads(visor.pid()) == 0).then_some(()));
    let log = visor.log();
    assert!(log.contains("it is tried again"), "{log}");
    assert!(!log.contains("SECRET"), "{log}");
}

#[test]
fn the_last_words_of_a_visor_that_gives_up_are_delivered() {
    let mut host = Host::new();
    let server = Server::new(|_| status("200 OK"));
    configure(&host, &server);
    host.behave(json!({ "exit_at_start": [NEW], "exit_code": 3 }));
    host.configure(&[("start_after_upgrade", "max_retries", 2.into())]);
    let mut visor = host.start();
    host.wait_status("the node", |status| status["node_connected"] == true);
    announce_in_peace(&mut host);
    assert_eq!(visor.wait_exit().code(), Some(6));
    let told: Vec<Value> = server.seen().into_iter().map(|request| request.body).collect();
    let kinds: Vec<String> = told.iter().map(|event| text(&event["event"])).collect();
    assert_eq!(
        kinds,
        [
            "proposal_seen",
            "staged",
            "halted",
            "retrying",
            "retrying",
            "failed"
        ]
    );
    assert_eq!((&told[4]["retry"], &told[4]["of"]), (&json!(2), &json!(2)));
    assert!(
        text(&told[5]["reason"]).contains("exited with code 3"),
        "{}",
        told[5]
    );
    assert_eq!(told[5]["version"], NEW);
}
