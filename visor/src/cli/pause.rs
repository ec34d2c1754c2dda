//! `visor pause`: no upgrade begins until `visor resume`.

use proto::pb::visor::v1::Pause;
use proto::pb::visor::v1::order_request::Order;

use super::CommandError;
use super::client::{OrderArguments, order};

pub(super) fn pause(arguments: &OrderArguments) -> Result<u8, CommandError> {
    let ordered = Order::Pause(Pause {});
    order(arguments, "pause", "pause upgrades".to_owned(), ordered)
}
