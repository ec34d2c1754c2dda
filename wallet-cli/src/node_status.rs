//! Where the chain and the node stand.

use governance::{ChainId, Halt, Height, Parameters, Power, ReleaseVersion};
use proto::pb::governance::v1 as pb;

/// One answer to `GetStatus`.
#[derive(Clone, Debug)]
pub(crate) struct NodeStatus {
    pub(crate) chain_id: ChainId,
    /// Of the node's binary.
    pub(crate) version: ReleaseVersion,
    pub(crate) height: Height,
    pub(crate) state_root: String,
    /// The version that must execute the next block.
    pub(crate) next_block_version: ReleaseVersion,
    pub(crate) halt: Option<Halt>,
    pub(crate) next_upgrade: Option<(Height, ReleaseVersion)>,
    pub(crate) parameters: Parameters,
    pub(crate) peers: u32,
    pub(crate) mempool_transactions: u32,
    pub(crate) executed_changes: u64,
    pub(crate) validators: u64,
    pub(crate) total_power: Power,
    pub(crate) moniker: String,
}

impl TryFrom<pb::GetStatusResponse> for NodeStatus {
    type Error = String;

    fn try_from(answer: pb::GetStatusResponse) -> Result<Self, String> {
        let version = |text: &str| text.parse().map_err(|error| format!("{error}"));
        let next_upgrade = match answer.next_upgrade {
            Some(next) => Some((Height(next.height), version(&next.version)?)),
            None => None,
        };
        Ok(Self {
            chain_id: answer.chain_id.parse().map_err(|error| format!("{error}"))?,
            version: version(&answer.version)?,
            height: Height(answer.height),
            state_root: hex::encode(answer.state_root),
            next_block_version: version(&answer.next_block_version)?,
            halt: answer
                .halt
                .map(Halt::try_from)
                .transpose()
                .map_err(|error| error.to_string())?,
            next_upgrade,
            parameters: answer.parameters.ok_or("its status has no parameters")?.into(),
            peers: answer.peers,
            mempool_transactions: answer.mempool_transactions,
            executed_changes: answer.executed_changes,
            validators: answer.validators,
            total_power: Power(answer.total_power),
            moniker: answer.moniker,
        })
    }
}
