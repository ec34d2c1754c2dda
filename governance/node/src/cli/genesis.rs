//! `governance genesis`.

use std::path::PathBuf;

use clap::Args;
use governance::{ChainId, Genesis, GenesisValidator, Parameters, Power, ReleaseVersion, State};

use super::{CommandError, print};
use crate::exit_code;
use crate::home::write_new;

#[derive(Debug, Args)]
pub(super) struct GenesisArguments {
    /// Names the chain: no transaction of another chain is worth anything on it
    #[arg(long)]
    chain_id: ChainId,
    /// The version that executes the first block
    #[arg(long)]
    initial_version: ReleaseVersion,
    /// NAME:POWER:GOVERNANCE_KEY:CONSENSUS_KEY, once per validator; keys in hexadecimal, from `wallet keys show` and `governance init`
    #[arg(long = "validator", required = true, value_parser = validator)]
    validators: Vec<GenesisValidator>,
    /// Fewest blocks between a proposal and its height; the default is an hour of blocks of half a second
    #[arg(long, default_value_t = 7_200)]
    min_lead_blocks: u64,
    /// Blocks before the height at which the outcome is latched; the default is five minutes of blocks of half a second
    #[arg(long, default_value_t = 600)]
    lock_in_blocks: u64,
    /// Fraction of the power that approvals must exceed: at least 2/3
    #[arg(long, default_value = "2/3", value_parser = fraction)]
    threshold: (u64, u64),
    /// Where to write it; standard output when absent
    #[arg(long)]
    output_file: Option<PathBuf>,
}

fn validator(text: &str) -> Result<GenesisValidator, String> {
    let expected = || format!("expected NAME:POWER:GOVERNANCE_KEY:CONSENSUS_KEY, found `{text}`");
    let mut parts = text.rsplitn(4, ':');
    let consensus_key = parts.next().ok_or_else(expected)?;
    let governance_key = parts.next().ok_or_else(expected)?;
    let power = parts.next().ok_or_else(expected)?;
    let name = parts.next().ok_or_else(expected)?;
    Ok(GenesisValidator {
        name: name.to_owned(),
        governance_key: governance_key
            .parse()
            .map_err(|error| format!("governance key: {error}"))?,
        consensus_key: consensus_key
            .parse()
            .map_err(|error| format!("consensus key: {error}"))?,
        power: Power(
            power
                .parse()
                .map_err(|error| format!("power `{power}`: {error}"))?,
        ),
    })
}

fn fraction(text: &str) -> Result<(u64, u64), String> {
    let expected = || format!("expected a fraction such as 2/3, found `{text}`");
    let (numerator, denominator) = text.split_once('/').ok_or_else(expected)?;
    Ok((
        numerator.parse().map_err(|_| expected())?,
        denominator.parse().map_err(|_| expected())?,
    ))
}

pub(super) fn run(arguments: &GenesisArguments) -> Result<(), CommandError> {
    let (threshold_numerator, threshold_denominator) = arguments.threshold;
    let genesis = Genesis {
        chain_id: arguments.chain_id.clone(),
        initial_version: arguments.initial_version.clone(),
        parameters: Parameters {
            min_lead_blocks: arguments.min_lead_blocks,
            lock_in_blocks: arguments.lock_in_blocks,
            threshold_numerator,
            threshold_denominator,
        },
        validators: arguments.validators.clone(),
    };
    State::from_genesis(&genesis).map_err(CommandError::config)?;
    let text = serde_json::to_string_pretty(&genesis)
        .map_err(|error| CommandError::new(exit_code::FAILED, error))?;
    match &arguments.output_file {
        Some(path) => write_new(path, format!("{text}\n").as_bytes(), 0o644).map_err(CommandError::config),
        None => print(&text),
    }
}
