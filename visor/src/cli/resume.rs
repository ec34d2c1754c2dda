//! `visor resume`: upgrades are carried out again.

use proto::pb::visor::v1::Resume;
use proto::pb::visor::v1::order_request::Order;

use super::CommandError;
use super::client::{OrderArguments, order};

pub(super) fn resume(arguments: &OrderArguments) -> Result<u8, CommandError> {
    let ordered = Order::Resume(Resume {});
    order(arguments, "resume", "resume upgrades".to_owned(), ordered)
}
