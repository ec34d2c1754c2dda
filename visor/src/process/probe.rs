//! One-shot programs with an answer: a version probe.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::time::timeout;

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
    use tokio::io::AsyncReadExt as _;
    let failed = |source| ProbeError::Io { source };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut output = Vec::new();
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
    let read = async {
        stdout.take(max_output + 1).read_to_end(&mut output).await?;
        child.wait().await
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
