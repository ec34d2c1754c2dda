//! `wallet certificate`

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use governance::{CertificateChain, Phase};

use crate::cli::Context;
use crate::command_error::{CommandError, Kind};
use crate::document::{CertificateDocument, Document};
use crate::durable_file;

/// Save the certificate of an accepted proposal
///
/// The certificate holds the proposal and the signatures that carried it. With the chain's genesis file anybody verifies it, with
/// no node at all: `wallet verify`. It goes to standard output, or to a file. Needs a node.
#[derive(Args)]
pub(crate) struct CertificateArgs {
    /// The proposal: its id, at least 8 of the id's first digits, or its name like v1.2.0@12345 or validators@12345
    #[arg(value_name = "ID")]
    proposal: String,
    /// Write it into this new file instead of to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) async fn run(args: CertificateArgs, context: &Context) -> Result<(), CommandError> {
    if args.output.is_none() {
        let problem = if context.ui.is_json() {
            Some("--json prints an object on standard output, where the certificate would go")
        } else if io::stdout().is_terminal() {
            Some("a certificate is binary, and standard output is a terminal")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(CommandError::new(Kind::Usage, problem)
                .with_hint("write it into a file with --output FILE, or with > FILE"));
        }
    }
    let mut client = context.connect().await?;
    let proposal = client.proposal(&args.proposal).await?;
    let bytes = client.certificate(proposal.id).await?;
    // Whether the signatures hold is `wallet verify`'s: it takes a genesis that the node has no hand in.
    let distrust = |error| {
        CommandError::new(Kind::Failed, error)
            .with_hint("do not trust this node; ask another one with --node")
    };
    let found = CertificateChain::from_bytes(&bytes)
        .map_err(|error| distrust(Box::<dyn std::error::Error + Send + Sync>::from(error)))?;
    let certified = found.certificate.proposal();
    if certified != proposal.id || found.certificate.chain_id != *client.chain_id() {
        let message = format!(
            "asked for the certificate of {}, the node answers with that of {certified} on chain {}",
            proposal.id, found.certificate.chain_id
        );
        return Err(distrust(message.into()));
    }
    if proposal.phase == Phase::Approved {
        context.ui.note(&format!(
            "Votes on it count until block {}: until then it may still fail.",
            proposal.votes_close_height
        ));
    }
    let Some(path) = args.output else {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&bytes)?;
        return Ok(stdout.flush()?);
    };
    write(&path, &bytes)?;
    if context.ui.is_json() {
        return context.ui.document(&Document::new(CertificateDocument {
            chain_id: client.chain_id().to_string(),
            proposal_id: proposal.id,
            name: proposal.name(),
            phase: proposal.phase,
            bytes: bytes.len(),
            file: path.display().to_string(),
        }));
    }
    context.ui.note(&format!(
        "Wrote the certificate of {} ({} bytes) to {}.",
        proposal.name(),
        bytes.len(),
        path.display()
    ));
    Ok(())
}

/// A certificate is for others: they may read it.
fn write(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    let failed = |source| {
        let path = path.to_owned();
        CommandError::new(Kind::Failed, OutputError { path, source })
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Some(name) = path.file_name() else {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    };
    durable_file::create(directory.unwrap_or(Path::new(".")), name, bytes, 0o644).map_err(|error| {
        let taken = error.kind() == io::ErrorKind::AlreadyExists;
        let error = failed(error);
        if taken {
            error.with_hint("name a file that does not exist yet: the wallet overwrites none")
        } else {
            error
        }
    })
}

#[derive(Debug, thiserror::Error)]
#[error("failed to write {}", path.display())]
struct OutputError {
    path: PathBuf,
    source: io::Error,
}
