//! A node that does nothing, for `benches/swap.rs`: it appends `start PID NANOSECONDS` to a file as its first act and `exit PID
//! NANOSECONDS` as its last, by the system's monotonic clock.
//!
//! `run LOG wait` ends on SIGTERM, `run LOG once` at once. As a Cosmos application it announces the next upgrade first, writes
//! `ready PID NANOSECONDS`, and then either ends (`leave`) or stays until it is killed (`stay`). As a core of Vega (`run LOG vega SOCKET`) it
//! tells its admin RPC at once that it is ready for the next version, and kills itself on SIGTERM. As a node of Casper (`validator`, with the
//! log in IDLE_NODE_LOG) it ends on SIGTERM, and its `migrate-data` at once.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use rustix::time::{ClockId, clock_gettime};

/// What a program answers that knows nothing of `pre-upgrade`.
const UNKNOWN: u8 = 1;

fn main() -> ExitCode {
    let began = now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["version", ..] => version(),
        ["run", log, what] => run(Path::new(log), what, began),
        // What follows is Vega's, such as the height of the snapshot.
        ["run", log, "vega", socket, ..] => run_core(Path::new(log), Path::new(socket), began),
        ["validator", _config] => match std::env::var_os("IDLE_NODE_LOG") {
            Some(log) => run(Path::new(&log), "wait", began),
            None => return ExitCode::from(UNKNOWN),
        },
        ["migrate-data", ..] => Ok(()),
        _ => return ExitCode::from(UNKNOWN),
    };
    // A Cosmos application dies by a panic at its height, and cosmovisor looks for an upgrade only after a failure.
    let fails = arguments.last() == Some(&"leave");
    if done.is_ok() && !fails {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    }
}

fn now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// The folder names the version.
fn version() -> io::Result<()> {
    let number = number()?.0;
    writeln!(io::stdout(), "{{\"version\":\"v1.0.{number}\"}}")
}

/// Counts the versions before this one; and whether there is one after it, in a folder beside.
fn number() -> io::Result<(u64, bool)> {
    let program = std::env::current_exe()?;
    let folder = program.parent().ok_or(io::ErrorKind::NotFound)?;
    let name = folder.file_name().and_then(|name| name.to_str());
    let number = name
        .and_then(|name| name.strip_prefix("v1.0.")?.parse().ok())
        .unwrap_or(0);
    let next = folder.with_file_name(format!("v1.0.{}", number + 1));
    Ok((number, next.exists()))
}

/// Until SIGTERM; whatever came before counts too.
fn wait() -> io::Result<()> {
    Ok(terminate().wait().map(drop)?)
}

fn terminate() -> SigSet {
    let mut wanted = SigSet::empty();
    wanted.add(Signal::SIGTERM);
    wanted
}

fn run(log: &Path, what: &str, began: i64) -> io::Result<()> {
    let mut log = OpenOptions::new().append(true).create(true).open(log)?;
    let pid = std::process::id();
    // One write each: two programs may append.
    let mut say = |word: &str, at: i64| log.write_all(format!("{word} {pid} {at}\n").as_bytes());
    terminate().thread_block()?;
    say("start", began)?;
    match what {
        "wait" => wait()?,
        "leave" | "stay" => {
            announce_next()?;
            say("ready", now())?;
            if what == "stay" {
                thread::sleep(Duration::from_secs(60));
            }
        }
        _ => {}
    }
    say("exit", now())
}

/// A core whose last block is executed as soon as it begins. When it is told to stop it kills itself, as the real one does.
fn run_core(log: &Path, socket: &Path, began: i64) -> io::Result<()> {
    let mut log = OpenOptions::new().append(true).create(true).open(log)?;
    let pid = rustix::process::getpid();
    let mut say =
        |word: &str, at: i64| log.write_all(format!("{word} {} {at}\n", pid.as_raw_nonzero()).as_bytes());
    terminate().thread_block()?;
    say("start", began)?;
    // What its predecessor has left; the real one leaves it too.
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket)?;
    let (number, is_followed) = number()?;
    let release = if is_followed {
        let (next, height) = (number + 1, 10 * (number + 1));
        format!("{{\"VegaReleaseTag\":\"v1.0.{next}\",\"UpgradeBlockHeight\":{height}}}")
    } else {
        "{\"VegaReleaseTag\":\"\",\"UpgradeBlockHeight\":0}".to_owned()
    };
    let status = format!("{{\"AcceptedReleaseInfo\":{release},\"ReadyToUpgrade\":{is_followed}}}");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let status = status.clone();
            // A client that goes away ends its thread.
            thread::spawn(move || answer(&stream, &status));
        }
    });
    wait()?;
    say("exit", now())?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    Ok(())
}

/// Answers every call on a connection, whatever it asks.
fn answer(stream: &UnixStream, status: &str) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let call: serde_json::Value = serde_json::from_slice(&body).map_err(io::Error::other)?;
        let reply = format!("{{\"result\":{status},\"error\":null,\"id\":{}}}\n", call["id"]);
        let mut stream = stream;
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\r\n{reply}",
            reply.len()
        )?;
    }
}

/// What the Cosmos SDK's upgrade module does at its height. The folder names how many there were; the last one announces nothing.
fn announce_next() -> io::Result<()> {
    let home = std::env::var_os("DAEMON_HOME").ok_or(io::ErrorKind::NotFound)?;
    let home = Path::new(&home);
    let program = std::env::current_exe()?;
    let name = program
        .ancestors()
        .nth(2)
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let number: u64 = name
        .and_then(|name| name.strip_prefix('v')?.parse().ok())
        .unwrap_or(0);
    let next = format!("v{}", number + 1);
    if !home.join("cosmovisor/upgrades").join(&next).exists() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let height = number + 10;
    let info = format!("{{\"name\":\"{next}\",\"height\":{height},\"info\":\"\"}}");
    fs::write(home.join("data/upgrade-info.json"), info)
}
