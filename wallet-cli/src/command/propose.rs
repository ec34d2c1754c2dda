//! `wallet propose`

use std::path::PathBuf;

use clap::Args;
use governance::{
    Action, Artifact, Height, MAX_LEAD_BLOCKS, Proposal, Rejection, ReleaseVersion, Subject, Upgrade,
};

use crate::artifact::{self, ArtifactArgument, ArtifactArguments, PublishedUrl, Source};
use crate::cli::Context;
use crate::client::Client;
use crate::command::sent::{self, About};
use crate::command_error::{CommandError, Kind};
use crate::measure;
use crate::node_status::NodeStatus;
use crate::sending::{self, Author, SendArgs};
use crate::text;

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
    let subject = Subject::Upgrade(upgrade.clone());
    let about = About {
        proposal_id: subject.id(client.chain_id()),
        name: text::subject_name(&subject),
        choice: None,
    };
    let proposals = client.proposals(false).await?;
    if proposals.iter().any(|proposal| proposal.id == about.proposal_id) {
        return Err(CommandError::from(&Rejection::AlreadyProposed {
            proposal: about.proposal_id,
        }));
    }
    confirm(&subject, &about, &proposals, &author, &mut client, context).await?;
    let sent = author
        .send(Action::ProposeUpgrade(upgrade), &mut client, &args.send, context)
        .await?;
    sent::print(&sent, about, &mut client, context).await
}

async fn confirm(
    subject: &Subject,
    about: &About,
    proposals: &[Proposal],
    author: &Author,
    client: &mut Client,
    context: &Context,
) -> Result<(), CommandError> {
    let interval = context.block_interval(client).await;
    let mut lines = vec![
        ("propose", about.name.clone()),
        ("id", about.proposal_id.to_string()),
    ];
    lines.extend(text::subject(subject, client.status().height.0, interval));
    if local_files(subject) {
        lines.push((
            "note",
            "every host looks for a file:// address on its own disk".to_owned(),
        ));
    }
    for proposal in proposals.iter().filter(|proposal| proposal.name() == about.name) {
        lines.push((
            "note",
            format!(
                "another proposal has this name and other content: {}",
                proposal.id
            ),
        ));
    }
    for name in sent::approvals_that_move(proposals, author.validator.id, about.proposal_id) {
        lines.push(("note", format!("your approval of {name} moves to this proposal")));
    }
    context.ui.confirm(&author.introduction(client), &lines)
}

fn local_files(subject: &Subject) -> bool {
    match subject {
        Subject::Upgrade(upgrade) => upgrade
            .artifacts
            .iter()
            .any(|artifact| artifact.url.starts_with("file://")),
        Subject::Cancel { .. } => false,
    }
}

/// GOV-02 and GOV-03 as the next block would judge them: refused here, nothing is downloaded, signed or sent.
fn check(version: &ReleaseVersion, height: Height, status: &NodeStatus) -> Result<(), Rejection> {
    if let Some(halt) = &status.halt {
        return Err(Rejection::Halted {
            height: halt.height,
            version: halt.version.clone(),
        });
    }
    if *version <= status.next_block_version {
        return Err(Rejection::VersionNotNewer {
            found: version.clone(),
            running: status.next_block_version.clone(),
        });
    }
    let block = Height(status.height.0.saturating_add(1));
    let too_far = Rejection::HeightTooFar { found: height, block };
    match block.checked_add(status.parameters.min_lead_blocks) {
        Some(earliest) if height < earliest => Err(Rejection::HeightTooSoon {
            found: height,
            block,
            earliest,
        }),
        Some(_) if height.0.saturating_sub(block.0) > MAX_LEAD_BLOCKS => Err(too_far),
        Some(_) => Ok(()),
        None => Err(too_far),
    }
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
