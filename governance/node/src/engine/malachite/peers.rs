//! Who is connected.

use std::collections::BTreeMap;
use std::time::Duration;

use arc_malachitebft_app_channel::NetworkRequest;
use governance::PublicKey;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::context::Validators;

/// How often the network is asked while a node waits for its peers.
const POLL: Duration = Duration::from_millis(10);

/// The engine's network, as far as it can be asked.
#[derive(Clone)]
pub(crate) struct Peers {
    requests: mpsc::Sender<NetworkRequest>,
}

impl Peers {
    pub(crate) const fn new(requests: mpsc::Sender<NetworkRequest>) -> Self {
        Self { requests }
    }

    /// The connected nodes, each with the consensus key that it has proved to hold, if it has. `None` when the network
    /// does not answer.
    pub(crate) async fn connected(&self) -> Option<BTreeMap<String, Option<PublicKey>>> {
        let dump = NetworkRequest::dump_state(&self.requests).await.ok()??;
        let key = |key: &Vec<u8>| <[u8; 32]>::try_from(key.as_slice()).ok().map(PublicKey);
        let peers = dump.peers.iter();
        Some(
            peers
                .map(|(id, peer)| (id.to_base58(), peer.consensus_public_key.as_ref().and_then(key)))
                .collect(),
        )
    }

    /// Waits until more than two thirds of the power, this node's included, are connected, or until the time is up.
    /// A first proposal that is sent to nobody costs the whole network a propose timeout.
    pub(crate) async fn wait_for_quorum(
        &self,
        validators: &Validators,
        own: PublicKey,
        timeout: Duration,
    ) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(connected) = self.connected().await {
                let keys: Vec<PublicKey> = connected.into_values().flatten().chain([own]).collect();
                let power: u128 = validators
                    .as_slice()
                    .iter()
                    .filter(|validator| keys.contains(&validator.key))
                    .map(|validator| u128::from(validator.power))
                    .sum();
                if 3 * power > 2 * u128::from(validators.total()) {
                    return true;
                }
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
