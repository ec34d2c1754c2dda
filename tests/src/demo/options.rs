//! What the demo can be asked for.

use std::path::PathBuf;

use clap::Parser;

/// Fewest blocks between a proposal and its height on the demo's chain: votes must fit in between.
pub(crate) const MIN_LEAD_BLOCKS: u64 = 8;
/// Blocks before the height at which the demo's chain latches the outcome.
pub(crate) const LOCK_IN_BLOCKS: u64 = 3;

/// Upgrades a real network of validators on this machine, from the proposal to the fifth block of the new version.
#[derive(Debug, Clone, Parser)]
#[command(name = "demo")]
pub struct DemoOptions {
    /// How many validators, one host each, with equal voting power.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub validators: u16,

    /// How many validators approve, the proposer included; default: just enough.
    #[arg(long)]
    pub approvals: Option<u16>,

    /// Blocks from the proposal to the upgrade height.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(MIN_LEAD_BLOCKS + 2..=100_000))]
    pub blocks_ahead: u64,

    /// Directory for all files, kept afterwards; default: a temporary directory that is removed.
    #[arg(long)]
    pub home: Option<PathBuf>,

    /// Print one JSON object on standard output, everything else on standard error.
    #[arg(long)]
    pub json: bool,

    /// Use the programs as they were built last: for tests, which have built them and would only wait for other builds.
    #[arg(long, hide = true)]
    pub no_build: bool,
}

impl DemoOptions {
    /// How many validators approve.
    #[must_use]
    pub fn approvals(&self) -> u16 {
        // The least K with 3 K > 2 N.
        self.approvals.unwrap_or(self.validators * 2 / 3 + 1)
    }

    /// Whether these approvals exceed 2/3 of the power.
    #[must_use]
    pub fn upgrade_expected(&self) -> bool {
        3 * u32::from(self.approvals()) > 2 * u32::from(self.validators)
    }

    /// Checks what one option says against another.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn check(&self) -> Result<(), String> {
        if (1..=self.validators).contains(&self.approvals()) {
            Ok(())
        } else {
            Err(format!(
                "--approvals must be between 1 (proposing counts as approving) and --validators ({}), but is {}",
                self.validators,
                self.approvals()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DemoOptions;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn command_line_is_consistent() {
        DemoOptions::command().debug_assert();
    }

    #[test]
    fn default_approvals_are_the_fewest_that_exceed_two_thirds() {
        for validators in 1..=32_u16 {
            let options = DemoOptions::parse_from(["demo", "--validators", &validators.to_string()]);
            assert!(options.upgrade_expected(), "{validators}");
            let fewer = DemoOptions {
                approvals: Some(options.approvals() - 1),
                ..options
            };
            assert!(!fewer.upgrade_expected(), "{validators}");
        }
    }

    #[test]
    fn exactly_two_thirds_is_not_enough() {
        let options = DemoOptions::parse_from(["demo", "--validators", "6", "--approvals", "4"]);
        assert!(!options.upgrade_expected());
    }

    #[test]
    fn more_approvals_than_validators_are_refused() {
        let options = DemoOptions::parse_from(["demo", "--validators", "4", "--approvals", "5"]);
        assert!(options.check().is_err());
        let nobody = DemoOptions::parse_from(["demo", "--approvals", "0"]);
        assert!(nobody.check().is_err());
    }
}
