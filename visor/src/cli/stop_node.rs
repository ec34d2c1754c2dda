//! `visor stop-node`: the node and its companions stop, and stay so until `visor start-node`.

use proto::pb::visor::v1::StopNode;
use proto::pb::visor::v1::order_request::Order;

use super::CommandError;
use super::client::{OrderArguments, order};

pub(super) fn stop_node(arguments: &OrderArguments) -> Result<u8, CommandError> {
    let ordered = Order::StopNode(StopNode {});
    order(arguments, "stop-node", "stop the node".to_owned(), ordered)
}
