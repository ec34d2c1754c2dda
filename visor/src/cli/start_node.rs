//! `visor start-node`: a node that `visor stop-node` stopped runs again.

use proto::pb::visor::v1::StartNode;
use proto::pb::visor::v1::order_request::Order;

use super::CommandError;
use super::client::{OrderArguments, order};

pub(super) fn start_node(arguments: &OrderArguments) -> Result<u8, CommandError> {
    let ordered = Order::StartNode(StartNode {});
    order(arguments, "start-node", "start the node".to_owned(), ordered)
}
