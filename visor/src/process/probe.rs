//! One-shot programs with an answer: a version probe.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use crate::program::NOT_INHERITED;

/// A killed process ends at once, unless it waits for a disk.
const KILLED: Duration = Duration::from_secs(1);

/// Runs a program to its end with a time limit and an output limit, and returns its standard output.
///
/// # Errors
/// When it cannot be started, fails, takes too long or says too much; the text says which.
pub async fn run_probe(
    program: &Path,
    arguments: &[&str],
    limit: Duration,
    max_output: u64,
) -> Result<Vec<u8>, ProbeError> {
    let ended = run_to_end(program, arguments, limit, max_output).await?;
    if !ended.status.success() {
        return Err(ProbeError::Failed {
            status: ended.status.to_string(),
        });
    }
    Ok(ended.stdout)
}

/// A program that has ended, whatever came of it.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: Vec<u8>,
    /// Its standard error.
    pub(crate) stderr: Vec<u8>,
}

/// Runs a program to its end with a time limit and a limit for each of its outputs. A program that has not ended then, or whose end is
/// not waited for any more, is killed with all that it has started.
///
/// # Errors
/// When it cannot be started, takes too long or says too much; the text says which.
pub(crate) async fn run_to_end<A: AsRef<OsStr>>(
    program: &Path,
    arguments: &[A],
    limit: Duration,
    max_output: u64,
) -> Result<Ended, ProbeError> {
    let failed = |source| ProbeError::Io { source };
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(failed)?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut group = Group(id.and_then(Pid::from_raw));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let run = async {
        let (stdout, stderr) = tokio::try_join!(read(stdout, max_output), read(stderr, max_output))?;
        let status = child.wait().await.map_err(failed)?;
        Ok(Ended {
            status,
            stdout,
            stderr,
        })
    };
    let ended = timeout(limit, run)
        .await
        .unwrap_or(Err(ProbeError::TooSlow { limit }));
    match &ended {
        Ok(_) => group.0 = None,
        Err(_) => {
            drop(group);
            // Whatever it held is free when the caller goes on; a kill takes effect at once.
            let _ = timeout(KILLED, child.wait()).await;
        }
    }
    ended
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, max_output: u64) -> Result<Vec<u8>, ProbeError> {
    let mut output = Vec::new();
    let Some(pipe) = pipe else { return Ok(output) };
    pipe.take(max_output + 1)
        .read_to_end(&mut output)
        .await
        .map_err(|source| ProbeError::Io { source })?;
    if output.len() as u64 > max_output {
        return Err(ProbeError::TooMuchOutput { limit: max_output });
    }
    Ok(output)
}

/// The process group of a program that runs; killed when this is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

/// Why a probe gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It could not be run.
    #[error("it cannot be run")]
    Io {
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("it ended with {status}")]
    Failed {
        /// How.
        status: String,
    },
    /// It did not end in time.
    #[error("it did not end within {limit:?}")]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
    /// It wrote more than any answer has.
    #[error("it wrote more than {limit} bytes")]
    TooMuchOutput {
        /// The limit.
        limit: u64,
    },
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::lock::Holder;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_a_slow_probe_has_started_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let arguments = ["-c", script.as_str()];
        let probe = run_probe(Path::new("/bin/sh"), &arguments, PATIENCE, 10);
        let mut probe = Box::pin(probe);
        let began = Instant::now();
        let helper = loop {
            let waited = timeout(Duration::from_millis(5), &mut probe).await;
            assert!(waited.is_err() && began.elapsed() < PATIENCE);
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some(pid) = text.strip_suffix('\n').and_then(|pid| pid.parse().ok()) {
                break Pid::from_raw(pid).unwrap();
            }
        };
        assert!(Holder::read(helper).is_some());
        // Nobody waits for the answer any more.
        drop(probe);
        while Holder::read(helper).is_some() {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn an_answer_is_bounded_in_time_and_length() {
        let ask = |script: &'static str, limit: Duration| async move {
            run_probe(Path::new("/bin/sh"), &["-c", script], limit, 4).await
        };
        assert_eq!(ask("printf 1234", PATIENCE).await.unwrap(), b"1234");
        for (script, limit, part) in [
            ("printf 12345", PATIENCE, "more than 4 bytes"),
            ("yes", PATIENCE, "more than 4 bytes"),
            ("exit 3", PATIENCE, "exit status: 3"),
            (
                "exec sleep 600",
                Duration::from_millis(20),
                "did not end within 20ms",
            ),
        ] {
            let error = ask(script, limit).await.unwrap_err().to_string();
            assert!(error.contains(part), "{script}: {error}");
        }
    }
}
