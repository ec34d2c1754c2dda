//! `visor skip`: the upgrade of a height is not carried out, or is after all.

use proto::pb::visor::v1::order_request::Order;
use proto::pb::visor::v1::{Skip, Unskip};

use super::CommandError;
use super::client::{OrderArguments, order};

#[derive(clap::Args)]
pub(super) struct SkipArguments {
    #[command(flatten)]
    order: OrderArguments,
    /// The upgrade's height: the last block of the running version
    #[arg(value_name = "HEIGHT")]
    height: u64,
    /// Carry it out after all; also after a rollback
    #[arg(long)]
    undo: bool,
}

pub(super) fn skip(arguments: &SkipArguments) -> Result<u8, CommandError> {
    let height = arguments.height;
    let (name, what, ordered) = if arguments.undo {
        (
            "unskip",
            format!("undo the skip of height {height}"),
            Order::Unskip(Unskip { height }),
        )
    } else {
        (
            "skip",
            format!("skip height {height}"),
            Order::Skip(Skip { height }),
        )
    };
    order(&arguments.order, name, what, ordered)
}
