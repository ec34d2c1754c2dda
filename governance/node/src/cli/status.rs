//! `governance status`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use proto::pb::governance::v1::governance_service_client::GovernanceServiceClient;
use proto::pb::governance::v1::{GetStatusRequest, GetStatusResponse};
use tonic::transport::Endpoint;

use super::{CommandError, Output, chain, print};
use crate::config::Config;
use crate::exit_code;
use crate::home::Home;

/// A node on the same network answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["home", "node"]))]
pub(super) struct StatusArguments {
    /// Home of the node to ask
    #[arg(long)]
    home: Option<PathBuf>,
    /// Address of the node to ask, for example http://127.0.0.1:26657
    #[arg(long)]
    node: Option<String>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

pub(super) fn run(arguments: &StatusArguments) -> Result<(), CommandError> {
    let url = match (&arguments.node, &arguments.home) {
        (Some(url), _) => url.clone(),
        (None, Some(home)) => {
            let home = Home::new(home);
            home.check_initialised().map_err(CommandError::config)?;
            let config = Config::read(&home.config(), home.root()).map_err(CommandError::config)?;
            format!("http://{}", config.rpc.listen)
        }
        (None, None) => return Err(CommandError::new(exit_code::USAGE, "expected --home or --node")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let status = runtime.block_on(ask(&url))?;
    match arguments.output {
        Output::Json => print(&json(&status).to_string()),
        Output::Human => print(&human(&status)),
    }
}

async fn ask(url: &str) -> Result<GetStatusResponse, CommandError> {
    let unreachable = |error: &(dyn std::error::Error + 'static)| {
        let error = chain(error);
        CommandError::new(
            exit_code::UNREACHABLE,
            format!(
                "no node answers at {url}: {error}; start it with `governance start`, or name another one with --node"
            ),
        )
    };
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|_| {
            CommandError::new(
                exit_code::USAGE,
                format!("expected an address such as http://127.0.0.1:26657, found `{url}`"),
            )
        })?
        .connect_timeout(PATIENCE)
        .timeout(PATIENCE);
    let channel = endpoint.connect().await.map_err(|error| unreachable(&error))?;
    let answer = GovernanceServiceClient::new(channel)
        .get_status(GetStatusRequest {})
        .await;
    Ok(answer.map_err(|error| unreachable(&error))?.into_inner())
}

fn json(status: &GetStatusResponse) -> serde_json::Value {
    serde_json::json!({
        "schema": 1,
        "chain_id": status.chain_id,
        "moniker": status.moniker,
        "version": status.version,
        "height": status.height,
        "state_root": hex::encode(&status.state_root),
        "next_block_version": status.next_block_version,
        "halt": status.halt.as_ref().map(|halt| serde_json::json!({
            "height": halt.height, "version": halt.version, "proposal_id": hex::encode(&halt.proposal_id),
        })),
        "next_upgrade": status.next_upgrade.as_ref().map(|next| serde_json::json!({
            "height": next.height, "version": next.version,
        })),
        "peers": status.peers,
        "mempool_transactions": status.mempool_transactions,
    })
}

fn human(status: &GetStatusResponse) -> String {
    let next = match (&status.halt, &status.next_upgrade) {
        (Some(halt), _) => format!(
            "halted at height {}, waiting for version {}",
            halt.height, halt.version
        ),
        (None, Some(next)) => format!(
            "version {} after height {} ({} blocks to go)",
            next.version,
            next.height,
            next.height.saturating_sub(status.height)
        ),
        (None, None) => "none".to_owned(),
    };
    format!(
        "chain         {}\nnode          {} (version {})\nheight        {}\nstate root    {}\nnext upgrade  {next}\npeers         {}\nmempool       {} transactions",
        status.chain_id,
        status.moniker,
        status.version,
        status.height,
        hex::encode(&status.state_root),
        status.peers,
        status.mempool_transactions
    )
}
