//! A node that does nothing, for `benches/swap.rs`: it appends `start PID NANOSECONDS` to a file as its first act and `exit PID
//! NANOSECONDS` as its last, by the system's monotonic clock.
//!
//! `run LOG wait` ends on SIGTERM, `run LOG once` at once. As a Cosmos application it announces the next upgrade first, writes
//! `ready PID NANOSECONDS`, and then either ends (`leave`) or stays until it is killed (`stay`).

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
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
    let program = std::env::current_exe()?;
    let folder = program
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let version = folder.and_then(|name| name.strip_prefix('v')).unwrap_or("1.0.0");
    writeln!(io::stdout(), "{{\"version\":\"{version}\"}}")
}

fn run(log: &Path, what: &str, began: i64) -> io::Result<()> {
    let mut log = OpenOptions::new().append(true).create(true).open(log)?;
    let pid = std::process::id();
    // One write each: two programs may append.
    let mut say = |word: &str, at: i64| log.write_all(format!("{word} {pid} {at}\n").as_bytes());
    say("start", began)?;
    match what {
        "wait" => {
            let mut wanted = SigSet::empty();
            wanted.add(Signal::SIGTERM);
            wanted.thread_block()?;
            wanted.wait()?;
        }
        "leave" | "stay" => {
            announce_next()?;
            say("ready", now())?;
            if what == "stay" {
                std::thread::sleep(Duration::from_secs(60));
            }
        }
        _ => {}
    }
    say("exit", now())
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
