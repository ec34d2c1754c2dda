//! `governance export`.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::Args;

use super::start::store_code;
use super::{CommandError, tell};
use crate::exit_code;
use crate::home::{Home, write_new};
use crate::node::STORE_FILE;
use crate::snapshot_file;
use crate::store::{Loaded, Store, StoreError};

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// Home of the node; it must not run
    #[arg(long)]
    home: PathBuf,
    /// File to write, which must not exist; without it the snapshot goes to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &ExportArguments) -> Result<(), CommandError> {
    let home = Home::new(&arguments.home);
    home.check_initialised().map_err(CommandError::config)?;
    let genesis = home.genesis().map_err(CommandError::config)?;
    let path = home.data().join(STORE_FILE);
    if !path.exists() {
        return Err(CommandError::config(format!(
            "{} has no chain store: there is a state to export when the node has run",
            home.root().display()
        )));
    }
    if arguments.output.is_none() && io::stdout().is_terminal() {
        return Err(CommandError::new(
            exit_code::USAGE,
            "a snapshot is nothing to read: name a file with --output, or redirect standard output",
        ));
    }
    let failed = |error: StoreError| CommandError::new(store_code(&error), error);
    let (store, loaded) = Store::open(&path, &genesis).map_err(failed)?;
    let Loaded { state, chronicle } = loaded;
    let live: Vec<_> = state.live_proposals().map(|proposal| proposal.id).collect();
    let archive = store.archive(&live).map_err(failed)?;
    let after = state.height().next().unwrap_or(state.height());
    let changes = store.changes_below(after).map_err(failed)?;
    let bytes = snapshot_file::to_bytes(&state, &chronicle, &archive, &changes);
    match &arguments.output {
        Some(path) => write_new(path, &bytes, 0o644).map_err(CommandError::config)?,
        None => {
            let mut output = io::stdout().lock();
            output.write_all(&bytes).and_then(|()| output.flush())?;
        }
    }
    tell(&format!(
        "Exported the state after block {} with state root {}, {} bytes.",
        state.height(),
        chronicle.chain_root(&state.state_root()),
        bytes.len()
    ));
    Ok(())
}
