//! `governance start`: the node with everything that it serves.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use governance::{BlockRefusal, PublicKey, ReleaseVersion};
use rustix::fs::Mode;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::CommandError;
use crate::config::Config;
use crate::engine::{ApplicationError, EngineError};
use crate::home::Home;
use crate::node::{Node, NodeOptions, StartError};
use crate::store::StoreError;
use crate::{exit_code, http, keys, logging, rpc, visor_link};

/// Connections are closed with the process; nobody needs to wait for a slow client.
const SHUTDOWN: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(super) struct StartArguments {
    /// Folder of the node, made by `governance init`
    #[arg(long)]
    home: PathBuf,
}

pub(super) fn run(arguments: &StartArguments, release: &ReleaseVersion) -> Result<(), CommandError> {
    // Whatever this process creates is its user's alone, sockets included, from the moment it is there.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let home = Home::new(&arguments.home);
    home.check_initialised().map_err(CommandError::config)?;
    let config = Config::read(&home.config(), home.root()).map_err(CommandError::config)?;
    logging::start(&config.log).map_err(CommandError::config)?;
    let options = NodeOptions {
        moniker: config.moniker.clone(),
        data: home.data(),
        genesis: home.genesis().map_err(CommandError::config)?,
        release: release.clone(),
        consensus_key: keys::read(&home.key("consensus")).map_err(CommandError::config)?,
        network_key: keys::read(&home.key("network")).map_err(CommandError::config)?,
        listen: config.p2p.listen,
        peers: config.peers(&home.config()).map_err(CommandError::config)?,
        consensus: config.consensus.options(),
        mempool: config.mempool.limits(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(&config, options));
    runtime.shutdown_timeout(SHUTDOWN);
    ended
}

async fn serve(config: &Config, options: NodeOptions) -> Result<(), CommandError> {
    // Before anything else, so that a stop that comes early is a stop and no kill.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let votes = PublicKey(options.consensus_key.verifying_key().to_bytes());
    let node = Node::open(options).map_err(start_error)?;
    let handle = node.handle();
    // Everything is bound before anybody is told that this node is there.
    let rpc = bind("[rpc] listen", config.rpc.listen).await?;
    let http = bind("[http] listen", config.http.listen).await?;
    let link = visor_link::bind(&config.visor.socket)
        .await
        .map_err(CommandError::config)?;
    // The visor first: how soon it is answered is how long an upgrade took.
    tokio::spawn(visor_link::serve(link, handle.clone()));
    let moniker = config.moniker.clone();
    tokio::spawn(rpc::serve(rpc, handle.clone(), moniker.clone()));
    tokio::spawn(http::serve(http, handle.clone(), moniker));
    let snapshot = handle.snapshot();
    tracing::info!(
        chain.id = %snapshot.state.chain_id(),
        node.version = %handle.release(),
        block.height = %snapshot.height,
        p2p.address = %config.p2p.listen,
        rpc.address = %config.rpc.listen,
        http.address = %config.http.listen,
        "node started"
    );
    if !snapshot
        .state
        .validators()
        .iter()
        .any(|validator| validator.consensus_key == votes)
    {
        tracing::info!(
            "this node's consensus key is in no validator set: it follows the chain without voting"
        );
    }
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
            _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
        }
    };
    let ended = node.run(stop).await;
    // A socket without a listener would only make the next visor wait.
    let _ = std::fs::remove_file(&config.visor.socket);
    ended.map_err(|error| {
        let code = match &error {
            EngineError::Application(ApplicationError::Store(error)) => store_code(error),
            EngineError::Log => exit_code::DISK,
            EngineError::Application(
                ApplicationError::Refused(_)
                | ApplicationError::Diverged { .. }
                | ApplicationError::NothingExecuted,
            )
            | EngineError::Start { .. }
            | EngineError::Stopped { .. }
            | EngineError::UnknownBlock { .. } => exit_code::FAILED,
        };
        CommandError::new(code, error)
    })
}

async fn bind(key: &'static str, address: std::net::SocketAddr) -> Result<TcpListener, CommandError> {
    TcpListener::bind(address).await.map_err(|error| {
        CommandError::config(format!(
            "cannot listen on {address}: {error}; choose another address for {key} in config.toml"
        ))
    })
}

fn start_error(error: StartError) -> CommandError {
    let code = match &error {
        StartError::Version(BlockRefusal::NewerVersionRequired { .. }) => exit_code::NEWER_VERSION_REQUIRED,
        StartError::Version(BlockRefusal::OlderVersionRequired { .. }) => exit_code::OLDER_VERSION_REQUIRED,
        StartError::Version(
            BlockRefusal::UnexpectedHeight { .. }
            | BlockRefusal::BlockOpen { .. }
            | BlockRefusal::HeightExhausted { .. },
        ) => exit_code::FAILED,
        StartError::Store(error) => store_code(error),
        StartError::SignedHeight(_) => exit_code::DISK,
        StartError::Listen { .. } => exit_code::CONFIG,
    };
    CommandError::new(code, error)
}

/// What a service manager should know about a store that cannot be used.
pub(super) const fn store_code(error: &StoreError) -> u8 {
    match error {
        // The store is whole; the genesis is not the one it was made from.
        StoreError::ForeignChain { .. } | StoreError::Genesis(_) => exit_code::CONFIG,
        StoreError::Disk { .. } => exit_code::DISK,
        StoreError::Open { .. }
        | StoreError::InUse { .. }
        | StoreError::Access { .. }
        | StoreError::OlderSchema { .. }
        | StoreError::NewerSchema { .. }
        | StoreError::Damaged { .. } => exit_code::STORE,
    }
}
