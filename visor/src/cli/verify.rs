//! `visor verify`: what a certificate proves, with nothing but the genesis.

use std::fmt::Write as _;
use std::path::PathBuf;

use governance::{Subject, ValidatorChange};
use serde_json::{Value, json};

use super::text::harmless;
use super::{CommandError, print};
use crate::certificate::{Pin, Proof, read_certificate};
use crate::exit_code;

#[derive(clap::Args)]
pub(super) struct VerifyArguments {
    /// The genesis file that you trust
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// The certificate; `-` for standard input
    #[arg(value_name = "FILE")]
    certificate: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn verify(arguments: &VerifyArguments) -> Result<u8, CommandError> {
    let pin = Pin::read(&arguments.genesis).map_err(|error| CommandError::new(exit_code::CONFIG, error))?;
    let bytes = read_certificate(&arguments.certificate)
        .map_err(|error| CommandError::new(exit_code::FAILED, error))?;
    let proof = pin.verify(&bytes).map_err(|source| {
        let path = arguments.certificate.clone();
        CommandError::new(exit_code::UNPROVEN, Unproven { path, source })
    })?;
    let chain = pin.chain_id().to_string();
    print(&if arguments.json {
        to_json(&chain, &proof).to_string()
    } else {
        to_text(&chain, &proof)
    })?;
    Ok(exit_code::SUCCESS)
}

/// The certificate is not believed.
#[derive(Debug, thiserror::Error)]
#[error("verify {path}", path = path.display())]
struct Unproven {
    path: PathBuf,
    #[source]
    source: governance::CertificateError,
}

/// The versioned contract with scripts, with the names that `wallet verify --json` gives them.
fn to_json(chain: &str, proof: &Proof) -> Value {
    let proven = &proof.proven;
    let mut value = json!({
        "schema": 1,
        "chain_id": chain,
        "proposal_id": proven.proposal,
        "name": proof.subject.name(),
        "effect_height": proof.subject.height(),
        "description": Value::Null,
        "version": Value::Null,
        "upgrade_height": Value::Null,
        "artifacts": [],
        "target": Value::Null,
        "changes": [],
        "parameters": Value::Null,
        "votes_close_height": proven.votes_close_height,
        "approvals": proven.approvals,
        "tally": {
            "approving": proven.tally.approving,
            "rejecting": proven.tally.rejecting,
            "total": proven.tally.total,
            "needed": proven.tally.needed(),
            "threshold_numerator": proven.tally.threshold_numerator,
            "threshold_denominator": proven.tally.threshold_denominator,
        },
        "changes_since_genesis": proof.changes,
    });
    let mut set = |key: &str, found: Value| {
        if let Some(object) = value.as_object_mut() {
            object.insert(key.to_owned(), found);
        }
    };
    match &proof.subject {
        Subject::Upgrade(upgrade) => {
            set("kind", json!("upgrade"));
            set("description", json!(upgrade.description));
            set("version", json!(upgrade.version));
            set("upgrade_height", json!(upgrade.height));
            set("artifacts", json!(upgrade.artifacts));
        }
        Subject::Cancel { target } => {
            set("kind", json!("cancel"));
            set("target", json!(target));
        }
        Subject::Validators(change) => {
            set("kind", json!("validators"));
            set("description", json!(change.description));
            set("changes", json!(change.changes));
        }
        Subject::Parameters(change) => {
            set("kind", json!("parameters"));
            set("description", json!(change.description));
            set("parameters", json!(change.parameters));
        }
    }
    value
}

fn to_text(chain: &str, proof: &Proof) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<15}{value}");
    };
    line("proven", format!("{} was accepted", proof.subject.name()));
    line("chain", chain.to_owned());
    line("id", proof.proven.proposal.to_string());
    let description = match &proof.subject {
        Subject::Upgrade(upgrade) => {
            line("version", upgrade.version.to_string());
            line(
                "height",
                format!("{} is the last block of the old version", upgrade.height),
            );
            for artifact in &upgrade.artifacts {
                line("artifact", format!("{}  {}", artifact.platform, artifact.url));
                line("", format!("{} bytes, sha256 {}", artifact.size, artifact.sha256));
            }
            upgrade.description.as_str()
        }
        Subject::Cancel { target } => {
            line("stops", target.to_string());
            ""
        }
        Subject::Validators(change) => {
            line(
                "height",
                format!("{} is the last block of the old set", change.height),
            );
            for change in &change.changes {
                line("change", validator_change(change));
            }
            change.description.as_str()
        }
        Subject::Parameters(change) => {
            let parameters = &change.parameters;
            line(
                "height",
                format!("{} is the last block under the old parameters", change.height),
            );
            line("min lead", format!("{} blocks", parameters.min_lead_blocks));
            line("lock-in", format!("{} blocks", parameters.lock_in_blocks));
            line(
                "threshold",
                format!(
                    "{}/{}",
                    parameters.threshold_numerator, parameters.threshold_denominator
                ),
            );
            change.description.as_str()
        }
    };
    for (index, part) in description.lines().enumerate() {
        line(if index == 0 { "text" } else { "" }, harmless(part));
    }
    let tally = &proof.proven.tally;
    let signers = match proof.proven.approvals {
        1 => "1 validator".to_owned(),
        several => format!("{several} validators"),
    };
    line(
        "approved",
        format!(
            "by {} with power {} of {} (more than {}/{} is needed)",
            signers, tally.approving, tally.total, tally.threshold_numerator, tally.threshold_denominator
        ),
    );
    line(
        "votes",
        format!("close in block {}", proof.proven.votes_close_height),
    );
    line(
        "since genesis",
        match proof.changes {
            0 => "no change of validators or parameters".to_owned(),
            1 => "1 change of validators or parameters, proven too".to_owned(),
            changes => format!("{changes} changes of validators or parameters, each proven too"),
        },
    );
    text.truncate(text.trim_end().len());
    text
}

fn validator_change(change: &ValidatorChange) -> String {
    let id = change.validator();
    match change {
        ValidatorChange::Add(validator) => format!(
            "add {} ({id}), power {}, governance key {}, consensus key {}",
            harmless(&validator.name),
            validator.power,
            validator.governance_key,
            validator.consensus_key
        ),
        ValidatorChange::Remove { .. } => format!("remove {id}"),
        ValidatorChange::SetPower { power, .. } => format!("power of {id} to {power}"),
        ValidatorChange::RotateKeys {
            governance_key,
            consensus_key,
            ..
        } => {
            let key = |key: &Option<governance::PublicKey>| {
                key.map_or_else(|| "as before".to_owned(), |key| key.to_string())
            };
            format!(
                "keys of {id}: governance key {}, consensus key {}",
                key(governance_key),
                key(consensus_key)
            )
        }
    }
}
