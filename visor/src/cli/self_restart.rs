//! `visor self-restart`: visor becomes the program that lies at its path now; the node runs on.

use proto::pb::visor::v1::SelfRestart;
use proto::pb::visor::v1::order_request::Order;

use super::CommandError;
use super::client::{OrderArguments, order};

pub(super) fn self_restart(arguments: &OrderArguments) -> Result<u8, CommandError> {
    let ordered = Order::SelfRestart(SelfRestart {});
    order(arguments, "self-restart", "restart visor".to_owned(), ordered)
}
