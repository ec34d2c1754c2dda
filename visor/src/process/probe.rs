//! One-shot programs with an answer: a version probe.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::timeout;

use crate::program::NOT_INHERITED;

/// Runs a program to its end with a time limit and an output limit, and returns its standard output. One that has not ended by then,
/// or whose answer nobody waits for any more, is killed with everything that it started in its group.
///
/// # Errors
/// When it cannot be started, fails, takes too long or says too much; the text says which.
pub async fn run_probe(
    program: &Path,
    arguments: &[&str],
    limit: Duration,
    max_output: u64,
) -> Result<Vec<u8>, ProbeError> {
    use tokio::io::AsyncReadExt as _;
    let failed = |source| ProbeError::Io { source };
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(failed)?;
    // Dropped before the child, which is reaped after that: until then the group's id cannot be another's.
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)));
    let mut output = Vec::new();
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
    let read = async {
        stdout.take(max_output + 1).read_to_end(&mut output).await?;
        let status = child.wait().await;
        group.0 = None;
        status
    };
    let status = timeout(limit, read)
        .await
        .map_err(|_| ProbeError::TooSlow { limit })?
        .map_err(failed)?;
    if output.len() as u64 > max_output {
        return Err(ProbeError::TooMuchOutput { limit: max_output });
    }
    if !status.success() {
        return Err(ProbeError::Failed {
            status: status.to_string(),
        });
    }
    Ok(output)
}

/// The group of a probe that has not ended; killed when dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
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
