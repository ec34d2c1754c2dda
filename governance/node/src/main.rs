//! The binary `governance`. The release version is stamped here, and only here, so that building another release
//! recompiles this file alone.

use std::io::Write as _;
use std::process::ExitCode;

/// The release that this binary is: the environment variable at build time, or the first release.
const RELEASE: &str = match option_env!("GOVERNANCE_RELEASE_VERSION") {
    Some(version) => version,
    None => "1.0.0",
};

fn main() -> ExitCode {
    match RELEASE.parse() {
        Ok(release) => governance_node::cli::main(&release),
        Err(error) => {
            // Without standard error the exit code still tells.
            let _ = writeln!(
                std::io::stderr(),
                "error: this binary was built with GOVERNANCE_RELEASE_VERSION={RELEASE:?}: {error}"
            );
            ExitCode::from(governance_node::exit_code::BUG)
        }
    }
}
