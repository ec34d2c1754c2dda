//! `governance init`.

use std::path::PathBuf;

use clap::Args;

use super::{CommandError, Output, print};
use crate::config::{MONIKER, TEMPLATE, is_moniker};
use crate::home::{Home, write_new};
use crate::{keys, peer_id};

#[derive(Debug, Args)]
pub(super) struct InitArguments {
    /// Folder of the node; made when absent, refused when it is a home already
    #[arg(long)]
    home: PathBuf,
    /// Names this node to its peers and in its status
    #[arg(long, default_value = "node", value_parser = moniker)]
    moniker: String,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

fn moniker(text: &str) -> Result<String, String> {
    if is_moniker(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected {MONIKER}"))
    }
}

pub(super) fn run(arguments: &InitArguments) -> Result<(), CommandError> {
    let home = Home::new(&arguments.home);
    home.create().map_err(CommandError::config)?;
    let consensus = keys::read_or_create(&home.key("consensus")).map_err(CommandError::config)?;
    let network = keys::read_or_create(&home.key("network")).map_err(CommandError::config)?;
    // The configuration last: it is what makes the folder a home.
    let config = TEMPLATE.replacen(
        "moniker = \"node\"",
        &format!("moniker = \"{}\"", arguments.moniker),
        1,
    );
    write_new(&home.config(), config.as_bytes(), 0o600).map_err(CommandError::config)?;
    let consensus_key = hex::encode(consensus.verifying_key().to_bytes());
    let peer_id = peer_id(&network);
    match arguments.output {
        Output::Json => print(
            &serde_json::json!({"schema": 1, "home": home.root(), "consensus_key": consensus_key, "peer_id": peer_id})
                .to_string(),
        ),
        Output::Human => print(&format!(
            "Made the home of node `{}` in {}.\n  consensus key  {consensus_key}\n  peer id        {peer_id}\n\
             Next: put the chain's genesis.json there, set [p2p] peers in config.toml, then `governance start --home {}`.",
            arguments.moniker,
            home.root().display(),
            home.root().display()
        )),
    }
}
