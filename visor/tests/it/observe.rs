//! What others see of a visor: metrics and health over HTTP, and what the service manager is told.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::scene::{Host, NEW, OLD, Visor, wait_for};

/// Where visor says that it listens.
fn address(visor: &Visor) -> String {
    wait_for("the HTTP address", || {
        let log = visor.log();
        let (_, rest) = log.split_once("http.address=")?;
        Some(rest.split_whitespace().next().unwrap().to_owned())
    })
}

/// The whole answer; nothing when there is none within the time.
fn ask(address: &str, path: &str, patience: Duration) -> Option<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: visor\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn get(address: &str, path: &str) -> String {
    ask(address, path, Duration::from_secs(30)).unwrap()
}

fn sample(page: &str, name: &str) -> Option<f64> {
    let line = page
        .lines()
        .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    Some(line.rsplit(' ').next().unwrap().parse().unwrap())
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Stops the process, and waits until it is.
fn freeze(pid: u32) {
    signal(pid, Signal::STOP);
    wait_for("the process to stop", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T').then_some(())
    });
}

fn host() -> Host {
    let host = Host::new();
    host.configure(&[("http", "listen", "127.0.0.1:0".into())]);
    host
}

#[test]
fn metrics_health_and_readiness_tell_an_upgrade() {
    let mut host = host();
    let visor = host.start();
    let address = address(&visor);
    wait_for("readiness", || {
        get(&address, "/readyz")
            .ends_with("\r\n\r\nready\n")
            .then_some(())
    });
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
    let page = wait_for("the pace of the chain", || {
        let page = get(&address, "/metrics");
        sample(&page, "visor_block_interval_seconds")
            .is_some()
            .then_some(page)
    });
    assert!(page.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
    assert_eq!(sample(&page, "visor_node_up"), Some(1.0));
    assert_eq!(sample(&page, "visor_phase{phase=\"running\"}"), Some(1.0));
    assert_eq!(sample(&page, "visor_upgrade_height"), None);

    // An upgrade that cannot be staged: not ready, and the reason.
    host.hide_artifact(true);
    let height = host.announce(1_000_000);
    wait_for("the reason", || {
        let answer = get(&address, "/readyz");
        let reason = format!("{NEW} for height {height} is not staged: ");
        (answer.starts_with("HTTP/1.1 503 ") && answer.contains(&reason)).then_some(())
    });
    let page = get(&address, "/metrics");
    assert_eq!(sample(&page, "visor_upgrade_staged"), Some(0.0));
    let (_, status) = host.status();
    let shown = status["seconds_to_upgrade"].as_f64().unwrap();
    // A million blocks of about 20 ms: hours.
    assert!(shown > 3_600.0, "{shown}");

    host.hide_artifact(false);
    host.announce(60);
    let page = wait_for("the upgrade", || {
        let page = get(&address, "/metrics");
        (sample(&page, "visor_last_upgrade_height").is_some()
            && sample(&page, "visor_node_connected") == Some(1.0))
        .then_some(page)
    });
    assert!(page.contains(&format!(
        "visor_last_upgrade_info{{from=\"{OLD}\",to=\"{NEW}\"}} 1\n"
    )));
    assert!(sample(&page, "visor_last_upgrade_exit_to_exec_seconds").unwrap() > 0.0);
    assert!(page.contains(&format!("visor_current_info{{version=\"{NEW}\"}} 1\n")));
}

#[test]
fn a_visor_that_does_not_run_gives_no_health() {
    let mut host = host();
    let visor = host.start();
    let address = address(&visor);
    assert!(get(&address, "/healthz").ends_with("alive\n"));
    freeze(visor.pid());
    assert_eq!(ask(&address, "/healthz", Duration::from_millis(300)), None);
    signal(visor.pid(), Signal::CONT);
    assert!(get(&address, "/healthz").ends_with("alive\n"));
}

#[test]
fn an_address_that_is_taken_ends_visor_before_anything_is_begun() {
    let host = Host::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    host.configure(&[("http", "listen", address.clone().into())]);
    let output = host.command().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    for part in [&address, "http.listen", "in use", "config.toml"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!host.home().join("journal").exists());
    assert!(host.node_log().is_empty());
}

/// What a visor tells the service manager.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn new(host: &Host) -> Self {
        let socket = UnixDatagram::bind(host.node_home().join("notify")).unwrap();
        Self { socket }
    }

    fn next(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// The next message with these words in it.
    fn wait(&self, words: &str) -> String {
        wait_for(words, || {
            self.next(Duration::from_secs(30))
                .filter(|message| message.contains(words))
        })
    }

    fn drain(&self) {
        while self.next(Duration::from_millis(1)).is_some() {}
    }
}

#[test]
fn the_service_manager_hears_ready_status_and_stopping() {
    let mut host = Host::new();
    let manager = Manager::new(&host);
    let mut visor = host.start_with(|command| {
        command.env("NOTIFY_SOCKET", host_socket(&manager));
    });
    let first = manager.next(Duration::from_secs(30)).unwrap();
    assert!(first.starts_with("READY=1\nSTATUS="), "{first}");
    // Ready means that the node was started and the socket answers.
    let (code, status) = host.status();
    assert_eq!(code, Some(0));
    let node = status["node"]["pid"].as_u64().unwrap();
    manager.wait("STATUS=running 1.0.0 at height ");
    host.announce(1_000_000);
    manager.wait(&format!("next {NEW} at "));
    let environment = std::fs::read_to_string(format!("/proc/{node}/environ")).unwrap();
    assert!(!environment.contains("NOTIFY_SOCKET"), "it is visor's alone");
    visor.terminate();
    let stopping = manager.wait("STOPPING=1");
    // Twice the grace of 2 s and half a minute.
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=34000000\n"), "{stopping}");
    assert_eq!(visor.wait_exit().code(), Some(0));
}

fn host_socket(manager: &Manager) -> std::path::PathBuf {
    manager
        .socket
        .local_addr()
        .unwrap()
        .as_pathname()
        .unwrap()
        .to_owned()
}

#[test]
fn the_watchdog_is_petted_by_a_loop_that_runs_and_by_nothing_else() {
    let mut host = Host::new();
    host.behave(json!({ "paused": true }));
    let manager = Manager::new(&host);
    let visor = host.start_with(|command| {
        command
            .env("NOTIFY_SOCKET", host_socket(&manager))
            .env("WATCHDOG_USEC", "200000");
    });
    for _ in 0..5 {
        manager.wait("WATCHDOG=1\n");
    }
    freeze(visor.pid());
    manager.drain();
    assert_eq!(
        manager.next(Duration::from_secs(1)),
        None,
        "ten signs of life were due"
    );
    signal(visor.pid(), Signal::CONT);
    manager.wait("WATCHDOG=1\n");
}

#[test]
fn a_watchdog_of_another_process_is_not_petted() {
    let mut host = Host::new();
    host.behave(json!({ "paused": true }));
    let manager = Manager::new(&host);
    let visor = host.start_with(|command| {
        command
            .env("NOTIFY_SOCKET", host_socket(&manager))
            .env("WATCHDOG_USEC", "1000")
            .env("WATCHDOG_PID", "1");
    });
    manager.wait("READY=1");
    host.wait_status("the node", |status| status["node_connected"] == true);
    visor.terminate();
    loop {
        let message = manager.next(Duration::from_secs(30)).unwrap();
        assert!(!message.contains("WATCHDOG"), "{message}");
        if message.contains("STOPPING=1") {
            break;
        }
    }
}

/// How often the kernel took all threads of a process on or off a processor.
fn switches(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let counts = tasks.flat_map(|task| {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        lines
            .map(|line| line.rsplit('\t').next().unwrap().parse::<u64>().unwrap())
            .collect::<Vec<_>>()
    });
    counts.sum()
}

/// With everything on that can be on. A process that sleeps has no switches, however loaded the machine is: a load only delays what it
/// has to do. So zero is demanded, of one whole interval; those before may hold what is left to do after the start (a connection that ends).
/// A timer of any period up to an interval would show in each of them.
#[test]
fn an_idle_visor_never_wakes_up() {
    const INTERVAL: Duration = Duration::from_secs(3);
    let mut host = host();
    host.behave(json!({ "paused": true, "block_ms": 3_600_000 }));
    let hook: toml::Value = toml::Value::Array(vec!["/bin/true".into()]);
    host.configure(&[
        ("notify", "webhook", "http://127.0.0.1:9/".into()),
        ("notify", "command", hook),
        (
            "backup",
            "paths",
            toml::Value::Array(vec![host.node_home().to_str().unwrap().into()]),
        ),
    ]);
    let manager = Manager::new(&host);
    let visor = host.start_with(|command| {
        command.env("NOTIFY_SOCKET", host_socket(&manager));
    });
    let address = address(&visor);
    host.wait_status("the node", |status| status["node_connected"] == true);
    assert!(get(&address, "/healthz").ends_with("alive\n"));
    let mut seen = Vec::new();
    wait_for("an interval without a wake-up", || {
        let before = switches(visor.pid());
        std::thread::sleep(INTERVAL);
        seen.push(switches(visor.pid()) - before);
        assert!(seen.len() < 9, "woken up {seen:?} times in {INTERVAL:?} each");
        (seen.last() == Some(&0)).then_some(())
    });
}
