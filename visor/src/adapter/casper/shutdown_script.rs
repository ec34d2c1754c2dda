//! The script that an operator has laid down for the moment when the node asks to be stopped for good (exit code 103).
//!
//! Run once, after the node and everything that it started are gone and the journal says so. It gets visor's environment, working
//! directory, input and output. What it returns is what visor returns, so that a service manager acts on it.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::exit_code;
use crate::program::NOT_INHERITED;

/// What visor ends with when a signal ended the script.
const ENDED_BY_SIGNAL: u8 = 254;
/// Between SIGTERM and SIGKILL of a script that has used up its time.
const GRACE: Duration = Duration::from_secs(10);

/// Runs it to its end, and says what visor is to end with.
///
/// None there, or a link to nothing: 0. One that cannot be run is also 0, and told loudly: the node asked to stay stopped, and any other
/// code would make a service manager start it again (W20).
pub(crate) fn run(script: &Path, limit: Option<Duration>) -> u8 {
    match fs::metadata(script) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::info!(script.path = %script.display(), "the node asked to be stopped for good; there is no shutdown script");
            return exit_code::SUCCESS;
        }
        Err(error) => return unusable(script, &error),
    }
    tracing::info!(script.path = %script.display(), "the node asked to be stopped for good; running the shutdown script");
    match attend(script, limit) {
        Ok(status) => {
            let code = code(status);
            tracing::info!(script.status = %status, exit.code = code, "the shutdown script has ended");
            code
        }
        Err(error) => unusable(script, &error),
    }
}

fn unusable(script: &Path, error: &io::Error) -> u8 {
    tracing::error!(
        script.path = %script.display(),
        %error,
        "the shutdown script cannot be run: expected an executable file whose first line names its interpreter. The node stays stopped"
    );
    exit_code::SUCCESS
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().map(u8::try_from);
    match code {
        Some(Ok(code)) => code,
        Some(Err(_)) | None => ENDED_BY_SIGNAL,
    }
}

/// Everything that visor is told meanwhile is the script's to answer.
fn attend(script: &Path, limit: Option<Duration>) -> io::Result<ExitStatus> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut passed_on = PassedOn::new()?;
        let mut ended = signal(SignalKind::child())?;
        let mut child = command(script).spawn()?;
        let pid = Pid::from_child(&child);
        let mut due = limit.map(|limit| Instant::now() + limit);
        let mut told = false;
        loop {
            // Looked at before each wait, and the news of an end cannot be missed: it was listened for before the start.
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            tokio::select! {
                _ = ended.recv() => {}
                signal = passed_on.next() => {
                    tracing::info!(script.signal = ?signal, "received a signal; passing it on to the shutdown script");
                    // Not reaped yet, so that its group is no other's.
                    let _ = kill_process_group(pid, signal);
                }
                () = reached(due) => {
                    let signal = if told { Signal::KILL } else { Signal::TERM };
                    tracing::error!(script.signal = ?signal, "the shutdown script has used up its time; ending it");
                    let _ = kill_process_group(pid, signal);
                    due = (!told).then(|| Instant::now() + GRACE);
                    told = true;
                }
            }
        }
    })
}

/// In a group of its own, so that it can be ended with all that it starts.
fn command(script: &Path) -> Command {
    let mut command = Command::new(script);
    command.process_group(0);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    if io::stdin().is_terminal() {
        // A group in the background that reads a terminal is stopped for ever.
        command.stdin(Stdio::null());
    }
    command
}

async fn reached(due: Option<Instant>) {
    match due {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The signals that a script may want to know of.
struct PassedOn {
    terminate: Signals,
    interrupt: Signals,
    quit: Signals,
    hangup: Signals,
}

impl PassedOn {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    use super::*;

    fn script(dir: &Path, text: &str, mode: u32) -> PathBuf {
        let path = dir.join("script");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Another test's fork may hold the file open for writing for a moment, which is an error that no operator meets.
    fn run_written(path: &Path, limit: Option<Duration>, expected: u8) {
        let began = std::time::Instant::now();
        while run(path, limit) != expected {
            assert!(began.elapsed() < Duration::from_secs(20), "never {expected}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn casper_2_9_its_exit_code_is_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        for expected in [7, 255, 1] {
            let path = script(dir.path(), &format!("#!/bin/sh\nexit {expected}\n"), 0o755);
            run_written(&path, None, expected);
        }
    }

    #[test]
    fn casper_2_9_a_script_that_a_signal_ends_is_254() {
        let dir = tempfile::tempdir().unwrap();
        let path = script(dir.path(), "#!/bin/sh\nkill -9 $$\n", 0o755);
        run_written(&path, None, ENDED_BY_SIGNAL);
    }

    #[test]
    fn casper_2_9_none_and_a_dangling_link_are_no_script() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("script");
        assert_eq!(run(&path, None), 0);
        symlink("nowhere", &path).unwrap();
        assert_eq!(run(&path, None), 0);
    }

    #[test]
    fn casper_w20_one_that_cannot_be_run_leaves_the_node_stopped() {
        let dir = tempfile::tempdir().unwrap();
        for (text, mode) in [
            ("#!/bin/sh\nexit 3\n", 0o644),
            ("#!/no/such/shell\nexit 3\n", 0o755),
            ("\u{1}", 0o755),
        ] {
            assert_eq!(run(&script(dir.path(), text, mode), None), 0, "{text:?} {mode:o}");
        }
        assert_eq!(run(dir.path(), None), 0, "a folder");
        fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(run(&dir.path().join("file").join("script"), None), 0);
    }

    #[test]
    fn casper_w14_one_that_uses_up_its_time_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = script(dir.path(), "#!/bin/sh\nsleep 60\n", 0o755);
        let began = std::time::Instant::now();
        run_written(&path, Some(Duration::from_millis(50)), ENDED_BY_SIGNAL);
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
