//! The program `wallet`.

use std::process::ExitCode;

fn main() -> ExitCode {
    wallet_cli::run()
}
