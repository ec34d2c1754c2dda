//! `visor stage`: try again now, or put a binary in place by hand.

use std::path::{Path, PathBuf};

use proto::pb::visor::v1::StageNow;
use proto::pb::visor::v1::order_request::Order;
use serde_json::{Value, json};

use super::client::{OrderArguments, ask, give, to_json};
use super::known::{Binary, Known, known};
use super::text::harmless;
use super::{CommandError, chain, print, version_argument};
use crate::adapter::{self, vega};
use crate::config::Config;
use crate::exit_code;
use crate::home::Home;
use crate::journal::Journal;
use crate::run_config::tag;
use crate::staging::{Artifact, Placed, StagingError, file_digest, measure, place};
use crate::swap;

#[derive(clap::Args)]
pub(super) struct StageArguments {
    #[command(flatten)]
    order: OrderArguments,
    /// Put a binary in place by hand as this version
    #[arg(value_name = "VERSION", requires = "binary", value_parser = version_argument)]
    version: Option<String>,
    /// The binary; it is checked and copied
    #[arg(long, value_name = "PATH", requires = "version")]
    binary: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum StageError {
    #[error("stage version {version}: {binary} is not the binary that the chain has accepted for it", binary = binary.display())]
    NotAccepted {
        version: String,
        binary: PathBuf,
        #[source]
        source: crate::staging::DigestError,
    },
    #[error(
        "stage version {version}: it is in place already as {folder}, which a second folder would replace at the next start. Nothing was changed"
    )]
    Elsewhere { version: String, folder: String },
    #[error(
        "stage version {version}: `current` leads to no version folder, whose run configuration it would get. Point it to one first"
    )]
    NoCurrent { version: String },
    #[error(
        "stage version {version}: a Vega home takes no single binaries. Make the folder {folder} with the binaries and a run-config.toml in \
         it, under another name first and renamed when it is whole; visor finds it by itself. Nothing was changed",
        folder = folder.display()
    )]
    NotOnVega { version: String, folder: PathBuf },
    #[error(
        "stage version {version}: a Casper host takes no single binaries. Put it into both folders of the launcher with the network's staging \
         tool; visor finds it by itself. Nothing was changed"
    )]
    NotOnCasper { version: String },
    #[error("stage version {version}: expected a file at {binary}, found {found}", binary = binary.display())]
    NoFile {
        version: String,
        binary: PathBuf,
        found: &'static str,
    },
}

pub(super) fn stage(arguments: &StageArguments) -> Result<u8, CommandError> {
    let home = Home::open(&arguments.order.home.home)?;
    let done = match (&arguments.version, &arguments.binary) {
        (Some(version), Some(binary)) => by_hand(&home, version, binary),
        // The command line demands both or none.
        _ => give(&home, "try staging again now".to_owned(), order()).map(|message| Done {
            message,
            ..Done::default()
        }),
    };
    let failure = done.as_ref().err().map(|error| chain(error));
    if arguments.order.json {
        print(&json_of(done.as_ref().ok(), failure.as_deref()).to_string())?;
    }
    let done = done?;
    if !arguments.order.json {
        print(&harmless(&done.message))?;
    }
    Ok(exit_code::SUCCESS)
}

fn order() -> Order {
    Order::Stage(StageNow {})
}

/// What was done.
#[derive(Default)]
struct Done {
    message: String,
    by_hand: Option<ByHand>,
}

struct ByHand {
    version: String,
    folder: PathBuf,
    created: bool,
    artifact: Artifact,
    /// The upgrade whose size and SHA-256 it has; absent when none of this version is known.
    accepted_as: Option<String>,
    visor_told: bool,
}

/// The versioned contract with scripts: the fields of every order, and what is in place now.
fn json_of(done: Option<&Done>, failure: Option<&str>) -> Value {
    let message = failure.or(done.map(|done| done.message.as_str()));
    let mut value = to_json("stage", failure.is_none(), message.unwrap_or_default());
    let by_hand = done.and_then(|done| done.by_hand.as_ref());
    let fields = [
        ("version", json!(by_hand.map(|made| &made.version))),
        ("folder", json!(by_hand.map(|made| made.folder.to_string_lossy()))),
        ("created", json!(by_hand.map(|made| made.created))),
        ("size", json!(by_hand.map(|made| made.artifact.size))),
        (
            "sha256",
            json!(by_hand.map(|made| hex::encode(made.artifact.sha256))),
        ),
        (
            "accepted_as",
            json!(by_hand.and_then(|made| made.accepted_as.as_ref())),
        ),
        ("visor_told", json!(by_hand.map(|made| made.visor_told))),
    ];
    if let Some(object) = value.as_object_mut() {
        object.extend(fields.map(|(key, value)| (key.to_owned(), value)));
    }
    value
}

fn by_hand(home: &Home, version: &str, binary: &Path) -> Result<Done, CommandError> {
    let refused = |error| CommandError::new(exit_code::REFUSED, error);
    if vega::is_vega_home(home) {
        let version = tag(version);
        let folder = vega::Vega::look(home.clone()).place_of(&version)?;
        return Err(refused(StageError::NotOnVega { version, folder }));
    }
    if adapter::of_home(home).name() == "casper" {
        let version = version.to_owned();
        return Err(refused(StageError::NotOnCasper { version }));
    }
    let config = Config::read(&home.config())?;
    let current = swap::current(home)?
        .filter(|folder| home.version_of(folder).is_some())
        .ok_or_else(|| {
            let version = version.to_owned();
            CommandError::new(exit_code::CONFIG, StageError::NoCurrent { version })
        })?;
    if let Some(folder) = home.folder_of_version(version)
        && folder != Home::folder_name(version)
    {
        let version = version.to_owned();
        return Err(refused(StageError::Elsewhere { version, folder }));
    }
    let no_file = |found| {
        refused(StageError::NoFile {
            version: version.to_owned(),
            binary: binary.to_path_buf(),
            found,
        })
    };
    match std::fs::metadata(binary) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(no_file("something else")),
        Err(_) => return Err(no_file("nothing")),
    }
    let status = ask(home)?;
    let entries = Journal::read_if_any(&home.journal())?;
    let upgrades = known(home, status.as_ref(), &entries);
    let (artifact, accepted_as) = accepted(&upgrades, version, binary)?;

    let placed = super::run::runtime()?
        .block_on(place(home, &config.staging, version, binary, &artifact, &current))
        .map_err(|error| CommandError::new(code_of(&error), error))?;
    let (folder, created) = match placed {
        Placed::Created(folder) => (folder, true),
        Placed::Found(folder) => (folder, false),
    };
    let mut message = format!(
        "version {version} is in place in {}{}",
        folder.display(),
        if created { "" } else { ", as it was before" }
    );
    message.push_str(match &accepted_as {
        Some(_) => "; it is the binary that the chain has accepted",
        None => "; no upgrade to it is known, so its bytes were compared with nothing",
    });
    let visor_told = match (
        &status,
        upgrades.iter().find(|upgrade| upgrade.version == version),
    ) {
        (None, _) => {
            message.push_str(". No visor runs; the next one finds it");
            false
        }
        // Nothing waits for it, so there is nothing to try again.
        (Some(_), None) => {
            let next = format!(
                ". It is used once an upgrade to it is announced, or ordered with `visor upgrade-at HEIGHT {version}`"
            );
            message.push_str(&next);
            false
        }
        (Some(_), Some(upgrade)) if upgrade.staged => {
            message.push_str(". The visor that runs has staged it already");
            false
        }
        (Some(_), Some(_)) => match give(home, "tell the visor that runs".to_owned(), order()) {
            Ok(_) => {
                message.push_str(". The visor that runs was told");
                true
            }
            Err(error) => {
                message.push_str(". The visor that runs was not told: failed to ");
                message.push_str(&chain(&error));
                message.push_str("; it looks again by itself");
                false
            }
        },
    };
    Ok(Done {
        message,
        by_hand: Some(ByHand {
            version: version.to_owned(),
            folder,
            created,
            artifact,
            accepted_as,
            visor_told,
        }),
    })
}

/// The bytes that the folder must have: the chain's, when it has accepted any for this version (VIS-06).
fn accepted(
    upgrades: &[Known],
    version: &str,
    binary: &Path,
) -> Result<(Artifact, Option<String>), CommandError> {
    let mut refusal = None;
    for upgrade in upgrades.iter().filter(|upgrade| upgrade.version == version) {
        let Some(artifact) = upgrade.artifact.as_ref().and_then(readable) else {
            continue;
        };
        match file_digest(binary, artifact.size, &artifact.sha256) {
            Ok(()) => return Ok((artifact, Some(upgrade.id.clone()))),
            Err(source) => {
                refusal.get_or_insert(source);
            }
        }
    }
    if let Some(source) = refusal {
        return Err(CommandError::new(
            exit_code::REFUSED,
            StageError::NotAccepted {
                version: version.to_owned(),
                binary: binary.to_path_buf(),
                source,
            },
        ));
    }
    let (size, sha256) = measure(binary).map_err(|error| CommandError::new(exit_code::FAILED, error))?;
    let url = format!("file://{}", binary.display());
    Ok((Artifact { url, size, sha256 }, None))
}

fn readable(binary: &Binary) -> Option<Artifact> {
    let mut sha256 = [0; 32];
    hex::decode_to_slice(&binary.sha256, &mut sha256).ok()?;
    Some(Artifact {
        url: binary.url.clone(),
        size: binary.size,
        sha256,
    })
}

fn code_of(error: &StagingError) -> u8 {
    match error {
        StagingError::OtherContents { .. }
        | StagingError::OtherName { .. }
        | StagingError::Version(_)
        | StagingError::TooLarge { .. }
        | StagingError::Digest(_) => exit_code::REFUSED,
        StagingError::RunConfig(_) | StagingError::Program(_) => exit_code::CONFIG,
        StagingError::Fetch(_) | StagingError::NotInPlace { .. } | StagingError::Io { .. } => {
            exit_code::FAILED
        }
    }
}
