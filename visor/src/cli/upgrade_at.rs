//! `visor upgrade-at`: an upgrade of the operator's own, for chains without governance.

use proto::pb::visor::v1::UpgradeAt;
use proto::pb::visor::v1::order_request::Order;

use super::client::{OrderArguments, order};
use super::{CommandError, version_argument};

#[derive(clap::Args)]
pub(super) struct UpgradeAtArguments {
    #[command(flatten)]
    order: OrderArguments,
    /// The last block of the running version
    #[arg(value_name = "HEIGHT")]
    height: u64,
    /// The version that goes on, for example 1.2.0; `visor stage VERSION --binary PATH` puts it in place
    #[arg(value_name = "VERSION", value_parser = version_argument)]
    version: String,
}

pub(super) fn upgrade_at(arguments: &UpgradeAtArguments) -> Result<u8, CommandError> {
    let UpgradeAtArguments {
        order: common,
        height,
        version,
    } = arguments;
    let ordered = Order::UpgradeAt(UpgradeAt {
        height: *height,
        version: version.clone(),
    });
    order(
        common,
        "upgrade-at",
        format!("upgrade to {version} at height {height}"),
        ordered,
    )
}
