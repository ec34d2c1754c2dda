//! Questions and orders to the visor of a home, over its socket.

use std::time::Duration;

use proto::pb::visor::v1::order_request::Order;
use proto::pb::visor::v1::{GetStatusRequest, OrderRequest, Status};
use serde_json::json;
use tonic::Code;

use super::text::harmless;
use super::{CommandError, HomeArgument, complain, print};
use crate::adapter;
use crate::exit_code;
use crate::home::Home;
use crate::rpc;

/// A visor answers from a snapshot, at once; this is for a machine under load.
const ANSWER: Duration = Duration::from_secs(5);
/// An order answers once it is durable: some milliseconds, on a disk under load some seconds.
const ORDER: Duration = Duration::from_secs(30);

/// What every order has.
#[derive(clap::Args)]
pub(super) struct OrderArguments {
    #[command(flatten)]
    pub(super) home: HomeArgument,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// An order that was not carried out.
#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error("{what}: no visor answers at {socket}. Orders go to the visor that runs; start one with {command}", socket = home.socket().display(), command = run_command(home))]
    NoVisor { what: String, home: Home },
    #[error("{what}: {reason}")]
    Refused { what: String, reason: String },
    #[error(
        "{what}: the visor that runs does not know this order ({reason}). It may be older than this program: restart it"
    )]
    Unknown { what: String, reason: String },
    #[error("{what}: the visor answered {code}: {reason}")]
    Failed {
        what: String,
        code: Code,
        reason: String,
    },
    #[error("{what}: no answer within {ORDER:?}. Whether it was taken shows in `visor history`")]
    Silent { what: String },
}

/// The status of the visor that runs; nothing when none answers.
pub(super) fn ask(home: &Home) -> Result<Option<Status>, CommandError> {
    let asked = async {
        let mut client = rpc::connect(&home.socket()).await.ok()?;
        Some(client.get_status(GetStatusRequest {}).await.ok()?.into_inner())
    };
    let answer = super::run::runtime()?.block_on(async { tokio::time::timeout(ANSWER, asked).await });
    Ok(answer.ok().flatten())
}

/// Gives one order, prints what came of it and returns the exit code. `name` is its name in JSON, `what` stands after
/// "failed to".
pub(super) fn order(
    arguments: &OrderArguments,
    name: &str,
    what: String,
    order: Order,
) -> Result<u8, CommandError> {
    let home = Home::open(&arguments.home.home)?;
    match give(&home, what, order) {
        Ok(message) => {
            print(&if arguments.json {
                to_json(name, true, &message).to_string()
            } else {
                harmless(&message)
            })?;
            Ok(exit_code::SUCCESS)
        }
        Err(error) => {
            if arguments.json {
                print(&to_json(name, false, &super::chain(&error)).to_string())?;
            }
            Err(error)
        }
    }
}

/// Gives one order to the visor of this home; returns what it says.
pub(super) fn give(home: &Home, what: String, order: Order) -> Result<String, CommandError> {
    let unreachable = |what| {
        let home = home.clone();
        CommandError::new(exit_code::UNREACHABLE, OrderError::NoVisor { what, home })
    };
    let runtime = super::run::runtime()?;
    runtime.block_on(async {
        let connected = tokio::time::timeout(ANSWER, rpc::connect(&home.socket())).await;
        let Ok(Ok(mut client)) = connected else {
            return Err(unreachable(what));
        };
        let request = OrderRequest { order: Some(order) };
        match tokio::time::timeout(ORDER, client.order(request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().message),
            Ok(Err(status)) => Err(refusal(what, &status)),
            Err(_) => Err(CommandError::new(exit_code::FAILED, OrderError::Silent { what })),
        }
    })
}

fn refusal(what: String, status: &tonic::Status) -> CommandError {
    let reason = harmless(status.message());
    // The codes are gRPC's, and there are seventeen; only these are the contract.
    if matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument) {
        CommandError::new(exit_code::REFUSED, OrderError::Refused { what, reason })
    } else if status.code() == Code::Unimplemented {
        CommandError::new(exit_code::FAILED, OrderError::Unknown { what, reason })
    } else if status.code() == Code::Unavailable {
        let code = status.code();
        CommandError::new(exit_code::UNREACHABLE, OrderError::Failed { what, code, reason })
    } else {
        let code = status.code();
        CommandError::new(exit_code::FAILED, OrderError::Failed { what, code, reason })
    }
}

/// The versioned contract with scripts, for every order.
pub(super) fn to_json(name: &str, accepted: bool, message: &str) -> serde_json::Value {
    json!({ "schema": 1, "order": name, "accepted": accepted, "message": message })
}

/// Says that what follows is not what a running visor knows.
pub(super) fn tell_offline(home: &Home) {
    complain(&format!(
        "visor: no visor answers at {}. This is what the journal last knew; start one with {}",
        home.socket().display(),
        run_command(home)
    ));
}

/// How the visor of a home is started.
pub(super) fn run_command(home: &Home) -> String {
    if adapter::of_home(home).name() == "casper" {
        return "`casper-node-launcher` or `visor run --casper`, as its service does".to_owned();
    }
    format!("`visor run --home {}`", home.root().display())
}
