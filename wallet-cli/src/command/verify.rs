//! `wallet verify`

use std::path::{Path, PathBuf};

use clap::Args;
use governance::{CertificateChain, CertificateError, Genesis, MAX_CERTIFICATE_BYTES, Subject};

use crate::cli::Context;
use crate::command_error::{CommandError, Kind};
use crate::describe::{self, Surroundings};
use crate::document::{Document, ProvenDocument};
use crate::input::{self, InputError};
use crate::text;

/// A genesis with a hundred thousand validators has some 40 MB.
const MAX_GENESIS_BYTES: u64 = 64 << 20;

/// Verify a certificate with nothing but the chain's genesis file
///
/// Exits with 5 and the reason when it does not prove what it says. Works offline.
#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The genesis file that you trust: whoever could change it could prove anything
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// The certificate that `wallet certificate` wrote; `-` for standard input
    #[arg(value_name = "FILE")]
    certificate: PathBuf,
}

pub(crate) fn run(args: &VerifyArgs, context: &Context) -> Result<(), CommandError> {
    let genesis = genesis(&args.genesis)?;
    if let Some(pin) = &context.chain_id
        && *pin != genesis.chain_id
    {
        let message = format!(
            "{} is the genesis of chain {}, but --chain-id says {pin}",
            args.genesis.display(),
            genesis.chain_id
        );
        return Err(CommandError::new(Kind::Config, message).with_hint("name the genesis of that chain"));
    }
    let limit = MAX_CERTIFICATE_BYTES as u64;
    let bytes = input::read(&args.certificate, limit).map_err(|error| match error {
        InputError::Io { .. } => CommandError::new(Kind::Failed, error),
        InputError::TooLarge { .. } => CommandError::new(Kind::Unproven, error),
    })?;
    let unproven = |error| match error {
        CertificateError::Genesis(_) => CommandError::new(Kind::Config, error),
        CertificateError::NoCertificate
        | CertificateError::Checksum { .. }
        | CertificateError::Encoding(_)
        | CertificateError::In { .. } => CommandError::new(Kind::Unproven, error),
    };
    let chain = CertificateChain::from_bytes(&bytes).map_err(unproven)?;
    let proven = chain.verify(&genesis).map_err(unproven)?;

    let subject = &chain.certificate.subject;
    if context.ui.is_json() {
        let document = ProvenDocument::new(&genesis.chain_id, subject, &proven, chain.changes.len());
        return context.ui.document(&Document::new(document));
    }
    let tally = &proven.tally;
    let mut lines = vec![
        ("proven", format!("{} was accepted", subject.name())),
        ("chain", genesis.chain_id.to_string()),
        ("id", proven.proposal.to_string()),
    ];
    lines.extend(describe::subject(subject, &Surroundings::default()));
    lines.push((
        "approved",
        format!(
            "by {} with power {} of {} (more than {}/{} is needed)",
            count(proven.approvals, "validator"),
            tally.approving,
            tally.total,
            tally.threshold_numerator,
            tally.threshold_denominator
        ),
    ));
    lines.push((
        "votes",
        match subject {
            Subject::Cancel { .. } => format!("counted in block {}", proven.votes_close_height),
            Subject::Upgrade(_) | Subject::Validators(_) | Subject::Parameters(_) => {
                format!("close in block {}", proven.votes_close_height)
            }
        },
    ));
    lines.push(("since genesis", bridged(chain.changes.len())));
    context.ui.print(&text::pairs(&lines))
}

/// `1 validator`, `2 validators`.
fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn bridged(changes: usize) -> String {
    match changes {
        0 => "no change of validators or parameters".to_owned(),
        1 => "1 change of validators or parameters, proven too".to_owned(),
        _ => format!("{changes} changes of validators or parameters, each proven too"),
    }
}

fn genesis(path: &Path) -> Result<Genesis, CommandError> {
    let content =
        input::read(path, MAX_GENESIS_BYTES).map_err(|error| CommandError::new(Kind::Config, error))?;
    serde_json::from_slice(&content).map_err(|source| {
        let path = path.to_owned();
        CommandError::new(Kind::Config, GenesisError { path, source })
            .with_hint("name the genesis.json with which the chain began")
    })
}

#[derive(Debug, thiserror::Error)]
#[error("{} is no genesis", path.display())]
struct GenesisError {
    path: PathBuf,
    source: serde_json::Error,
}
