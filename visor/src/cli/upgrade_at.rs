//! `visor upgrade-at`: an upgrade of the operator's own, for chains without governance.

use proto::pb::visor::v1::UpgradeAt;
use proto::pb::visor::v1::order_request::Order;

use super::client::{OrderArguments, order};
use super::{CommandError, version_argument};
use crate::adapter::vega;
use crate::exit_code;
use crate::home::Home;

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

/// Nothing would stop the old version at the height.
#[derive(Debug, thiserror::Error)]
#[error(
    "upgrade to {version} at height {height}: a Vega core halts only for an upgrade that its chain has accepted, and stopped by anybody else it \
     has executed blocks of its own beyond the height. Vote for it with `vega protocol_upgrade_proposal`. Nothing was changed"
)]
struct NotOnVega {
    version: String,
    height: u64,
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
    let home = Home::open(&common.home.home)?;
    if vega::is_vega_home(&home) {
        let version = version.clone();
        return Err(CommandError::new(
            exit_code::REFUSED,
            NotOnVega {
                version,
                height: *height,
            },
        ));
    }
    order(
        common,
        "upgrade-at",
        format!("upgrade to {version} at height {height}"),
        ordered,
    )
}
