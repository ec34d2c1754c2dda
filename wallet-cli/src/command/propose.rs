//! `wallet propose`

use std::path::PathBuf;

use clap::Args;
use governance::{Artifact, Height, Rejection, ReleaseVersion, Subject, Upgrade};

use crate::artifact::{self, ArtifactArgument, ArtifactArguments, PublishedUrl, Source};
use crate::cli::Context;
use crate::command::{judge, proposing};
use crate::command_error::{CommandError, Kind};
use crate::measure;
use crate::node_status::NodeStatus;
use crate::sending::{self, SendArgs};

/// Propose an upgrade, and approve it
///
/// Computes size and SHA-256 of every artifact, checks what can be checked before anything is signed, and shows what will
/// be signed. Every host will run exactly the bytes measured here, or refuse. Needs a node.
#[derive(Args)]
pub(crate) struct ProposeArgs {
    /// The new version, for example 1.2.3
    #[arg(long, value_parser = version)]
    version: ReleaseVersion,
    /// The last block of the old version; the next one is executed by the new version
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    height: u64,
    /// What each platform runs: a file of this machine, or an address to download it from. May be given several times; a
    /// path is published as file:///absolute/path, which every host then looks up on its own disk
    #[arg(long = "artifact", value_name = "PLATFORM=PATH_OR_URL[,...]", required = true)]
    artifacts: Vec<ArtifactArguments>,
    /// Publish this address for a platform instead of the one given with --artifact. May be given several times; what the
    /// hosts get there must be the bytes measured here
    #[arg(long = "artifact-url", value_name = "PLATFORM=URL")]
    urls: Vec<PublishedUrl>,
    /// A text for the people who vote, for example the address of the release notes
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    send: SendArgs,
}

pub(crate) async fn run(args: ProposeArgs, context: &Context) -> Result<(), CommandError> {
    let arguments: Vec<_> = args
        .artifacts
        .into_iter()
        .flat_map(|arguments| arguments.0)
        .collect();
    check_urls(&arguments, &args.urls)?;
    let height = Height(args.height);
    let (mut client, author) = sending::begin(context).await?;
    check(&args.version, height, client.status()).map_err(|rejection| CommandError::from(&rejection))?;

    let mut artifacts = Vec::new();
    for argument in &arguments {
        artifacts.push(measured(argument, &args.urls, context).await?);
    }
    let upgrade = Upgrade::new(args.version, height, artifacts, args.description)
        .map_err(|rejection| CommandError::from(&rejection))?;
    let mut notes = Vec::new();
    if upgrade
        .artifacts
        .iter()
        .any(|artifact| artifact.url.starts_with("file://"))
    {
        notes.push((
            "note",
            "every host looks for a file:// address on its own disk".to_owned(),
        ));
    }
    let subject = Subject::Upgrade(upgrade);
    proposing::propose(&subject, notes, &author, &mut client, &args.send, context).await
}

/// GOV-03 and GOV-02: refused here, nothing is downloaded, signed or sent.
fn check(version: &ReleaseVersion, height: Height, status: &NodeStatus) -> Result<(), Rejection> {
    judge::running(status)?;
    if *version <= status.next_block_version {
        return Err(Rejection::VersionNotNewer {
            found: version.clone(),
            running: status.next_block_version.clone(),
        });
    }
    judge::height(height, status)
}

async fn measured(
    argument: &ArtifactArgument,
    urls: &[PublishedUrl],
    context: &Context,
) -> Result<Artifact, CommandError> {
    let published = urls
        .iter()
        .find(|published| published.platform == argument.platform);
    let (source, own_url) = match &argument.source {
        Source::Url(url) => (Source::Url(url.clone()), Ok(url.clone())),
        Source::File(path) => {
            let path = absolute(path.clone())?;
            let url = artifact::file_url(&path);
            (Source::File(path), url)
        }
    };
    let url = match published {
        Some(published) => published.url.clone(),
        None => own_url?,
    };
    if let Source::Url(url) = &source {
        context.ui.note(&format!("Downloading {url} to measure it."));
    }
    let measure = measure::measure(&source).await?;
    Ok(Artifact {
        platform: argument.platform.clone(),
        url,
        size: measure.size,
        sha256: measure.sha256,
    })
}

/// Without links: a link like `latest` points elsewhere when the hosts look it up. What does not exist keeps its name for
/// the message that says so.
fn absolute(path: PathBuf) -> Result<PathBuf, CommandError> {
    let absolute = path.canonicalize().or_else(|_| std::path::absolute(&path));
    absolute.map_err(|error| {
        CommandError::new(Kind::Usage, error).with_hint(format!("check the path {}", path.display()))
    })
}

fn check_urls(arguments: &[ArtifactArgument], urls: &[PublishedUrl]) -> Result<(), CommandError> {
    for (index, published) in urls.iter().enumerate() {
        let platform = &published.platform;
        if !arguments.iter().any(|argument| argument.platform == *platform) {
            let message = format!("--artifact-url names {platform}, but no --artifact does");
            return Err(CommandError::new(Kind::Usage, message));
        }
        if urls
            .iter()
            .skip(index.saturating_add(1))
            .any(|other| other.platform == *platform)
        {
            let message = format!("--artifact-url names {platform} twice");
            return Err(CommandError::new(Kind::Usage, message));
        }
    }
    Ok(())
}

fn version(text: &str) -> Result<ReleaseVersion, String> {
    text.parse()
        .map_err(|error| format!("{error}; write it like 1.2.3"))
}
