//! `wallet propose-parameters`

use std::str::FromStr;

use clap::Args;
use governance::{Height, Parameters, ParametersChange, Rejection, Subject};

use crate::cli::Context;
use crate::command::{judge, proposing};
use crate::command_error::CommandError;
use crate::sending::{self, SendArgs};

/// Propose other parameters, and approve that
///
/// What is not named stays as it is on the chain now; the proposal holds all of them, and the question before signing shows
/// them. Needs a node.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct ProposeParametersArgs {
    /// How many blocks ahead a height must be proposed
    #[arg(long, group = "what", value_name = "BLOCKS")]
    min_lead_blocks: Option<u64>,
    /// How many blocks before the height the outcome is latched; at least 2
    #[arg(long, group = "what", value_name = "BLOCKS")]
    lock_in_blocks: Option<u64>,
    /// The fraction of the power that approval must exceed, for example 3/4; at least 2/3
    #[arg(long, group = "what", value_name = "N/D")]
    threshold: Option<Threshold>,
    /// The last block under the old parameters
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    height: u64,
    /// A text for the people who vote
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    send: SendArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Threshold {
    numerator: u64,
    denominator: u64,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        text.split_once('/')
            .and_then(|(numerator, denominator)| {
                Some(Self {
                    numerator: number(numerator)?,
                    denominator: number(denominator)?,
                })
            })
            .ok_or_else(|| "expected a fraction like 2/3 or 3/4".to_owned())
    }
}

pub(crate) async fn run(args: ProposeParametersArgs, context: &Context) -> Result<(), CommandError> {
    let (mut client, author) = sending::begin(context).await?;
    let status = client.status();
    let height = Height(args.height);
    let now = status.parameters;
    let parameters = Parameters {
        min_lead_blocks: args.min_lead_blocks.unwrap_or(now.min_lead_blocks),
        lock_in_blocks: args.lock_in_blocks.unwrap_or(now.lock_in_blocks),
        threshold_numerator: args
            .threshold
            .map_or(now.threshold_numerator, |new| new.numerator),
        threshold_denominator: args
            .threshold
            .map_or(now.threshold_denominator, |new| new.denominator),
    };
    let change = ParametersChange {
        height,
        parameters,
        description: args.description,
    };
    let judged = judge::running(status)
        .and_then(|()| judge::height(height, status))
        .and_then(|()| change.validate())
        .and_then(|()| {
            let what = "every parameter".to_owned();
            if parameters == now {
                Err(Rejection::NothingChanges { what })
            } else {
                Ok(())
            }
        });
    judged.map_err(|rejection| CommandError::from(&rejection))?;
    let subject = Subject::Parameters(change);
    proposing::propose(&subject, Vec::new(), &author, &mut client, &args.send, context).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_a_fraction() {
        let threshold: Threshold = "3/4".parse().expect("a fraction");
        assert_eq!((threshold.numerator, threshold.denominator), (3, 4));
        for text in ["", "3", "3/", "/4", "-3/4", "0.75", "3/4/5", "3:4"] {
            assert!(text.parse::<Threshold>().is_err(), "{text}");
        }
    }
}
