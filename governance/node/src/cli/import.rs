//! `governance import`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::start::store_code;
use super::{CommandError, print};
use crate::exit_code;
use crate::home::Home;
use crate::node::{STORE_FILE, WAL_FILE};
use crate::snapshot_file::{MAX_SNAPSHOT_BYTES, SnapshotError, SnapshotFile};
use crate::store::{Beginning, Store};

#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// Home of the new node: made by `governance init`, with the chain's genesis.json, never started
    #[arg(long)]
    home: PathBuf,
    /// What `governance export` has written
    file: PathBuf,
}

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    /// The home has been used.
    #[error(
        "{} holds {file} already: a snapshot is imported into a home that was never started; make a new one with `governance init`",
        data.display()
    )]
    Used {
        /// The data folder.
        data: PathBuf,
        /// What lies there.
        file: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is refused.
    #[error("{} is refused, nothing has been written", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SnapshotError,
    },
}

pub(super) fn run(arguments: &ImportArguments) -> Result<(), CommandError> {
    let home = Home::new(&arguments.home);
    home.check_initialised().map_err(CommandError::config)?;
    let genesis = home.genesis().map_err(CommandError::config)?;
    for file in [STORE_FILE, WAL_FILE] {
        if home.data().join(file).exists() {
            let data = home.data();
            return Err(CommandError::config(ImportError::Used { data, file }));
        }
    }
    let bytes = read(&arguments.file).map_err(|error| CommandError::new(exit_code::FAILED, error))?;
    let refused = |source| {
        let path = arguments.file.clone();
        CommandError::new(exit_code::FAILED, ImportError::Refused { path, source })
    };
    let snapshot = SnapshotFile::from_bytes(&bytes).map_err(refused)?;
    let state = snapshot.verify(&genesis).map_err(refused)?;
    let header = snapshot.header();
    let beginning = Beginning {
        state: &state,
        chronicle: &header.chronicle,
        archive: snapshot.archive(),
        changes: snapshot.changes(),
    };
    let path = home.data().join(STORE_FILE);
    let made =
        Store::create(&path, &beginning).map_err(|error| CommandError::new(store_code(&error), error))?;
    if !made {
        let (data, file) = (home.data(), STORE_FILE);
        return Err(CommandError::config(ImportError::Used { data, file }));
    }
    print(&format!(
        "Imported the state of chain {} after block {} with state root {}.\nNext: `governance start --home {}` with version {}; \
         compare the state root with that of a node you trust if you can.",
        header.chain_id,
        header.height,
        header.state_root,
        home.root().display(),
        state.next_block_version()
    ))
}

fn read(path: &Path) -> Result<Vec<u8>, ImportError> {
    let failed = |source| ImportError::Read {
        path: path.to_path_buf(),
        source,
    };
    let length = fs::metadata(path).map_err(failed)?.len();
    match usize::try_from(length) {
        Ok(length) if length <= MAX_SNAPSHOT_BYTES => fs::read(path).map_err(failed),
        Ok(_) | Err(_) => Err(ImportError::Refused {
            path: path.to_path_buf(),
            source: SnapshotError::TooLarge {
                found: usize::try_from(length).unwrap_or(usize::MAX),
            },
        }),
    }
}
