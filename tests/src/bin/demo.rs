//! `cargo demo`: the main job in one command.
//!
//! Exit codes: 0 the outcome is the one that the votes imply and all hosts agree, 1 it is not or a part failed, 2 usage.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use e2e::demo::{DemoOptions, View, run};

#[tokio::main]
async fn main() -> ExitCode {
    let options = DemoOptions::parse();
    if let Err(problem) = options.check() {
        report(&format!("error: {problem}"));
        return ExitCode::from(2);
    }
    let mut view = View::new(options.json);
    match run(&options, &mut view).await {
        Ok(summary) => {
            let text = if options.json {
                serde_json::to_string(&summary)
            } else {
                Ok(summary.to_string())
            };
            let written = text
                .map_err(io::Error::from)
                .and_then(|text| writeln!(io::stdout(), "{text}"));
            written.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        Err(error) => {
            if options.json {
                let failed =
                    serde_json::json!({"schema": 1, "outcome": "failed", "reason": format!("{error:#}")});
                // The exit code tells as well.
                drop(writeln!(io::stdout(), "{failed}"));
            }
            report(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn report(text: &str) {
    // Without standard error there is nobody to tell; the exit code remains.
    drop(writeln!(io::stderr(), "{text}"));
}
