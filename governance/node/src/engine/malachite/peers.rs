//! Who is connected.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arc_malachitebft_app_channel::NetworkRequest;
use governance::{PublicKey, ReleaseVersion};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::context::{Validator, Validators};

/// How often the network is asked while a node waits for its peers.
const POLL: Duration = Duration::from_millis(10);

/// The engine's network, as far as it can be asked.
#[derive(Clone)]
pub(crate) struct Peers {
    requests: mpsc::Sender<NetworkRequest>,
}

/// A connected node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// What it calls itself, after its version.
    pub(crate) moniker: String,
    /// The version that it says it runs; nothing is decided from it but how long to wait.
    pub(crate) version: Option<ReleaseVersion>,
    /// The consensus key that it has proved to hold.
    pub(crate) key: Option<PublicKey>,
}

/// Who must be connected before consensus starts.
#[derive(Clone, Debug)]
pub(crate) struct Quorum {
    pub(crate) validators: Validators,
    /// This node's key; it counts itself.
    pub(crate) own: PublicKey,
    /// Only nodes of this version count: those of the old one, halted beside us, decide nothing any more.
    pub(crate) version: ReleaseVersion,
}

/// The name under which a node shows itself to its peers: version and moniker, in the alphabet that the network keeps.
pub(crate) fn announce(version: &ReleaseVersion, moniker: &str) -> String {
    format!("{version}{VERSION_END}{moniker}")
}

/// Ends the version in an announced name; no version contains it.
const VERSION_END: char = '_';

impl Peers {
    pub(crate) const fn new(requests: mpsc::Sender<NetworkRequest>) -> Self {
        Self { requests }
    }

    /// The connected nodes by peer id. `None` when the network does not answer.
    pub(crate) async fn connected(&self) -> Option<BTreeMap<String, Peer>> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(NetworkRequest::DumpState(reply)).await.ok()?;
        let dump = answer.await.ok()??;
        let peer = |name: &str, key: Option<&Vec<u8>>| {
            let (version, moniker) = name.split_once(VERSION_END).unwrap_or(("", name));
            Peer {
                moniker: moniker.to_owned(),
                version: version.parse().ok(),
                key: key
                    .and_then(|key| <[u8; 32]>::try_from(key.as_slice()).ok())
                    .map(PublicKey),
            }
        };
        let peers = dump.peers.iter();
        Some(
            peers
                .map(|(id, info)| {
                    (
                        id.to_base58(),
                        peer(&info.moniker, info.consensus_public_key.as_ref()),
                    )
                })
                .collect(),
        )
    }

    /// Waits until more than two thirds of the power are connected and run this version, or until the time is up.
    /// A first proposal that is sent to nobody costs the whole network a propose timeout.
    pub(crate) async fn wait_for(&self, quorum: &Quorum, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(connected) = self.connected().await
                && quorum.is_reached(connected.values())
            {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Quorum {
    fn is_reached<'a>(&self, connected: impl Iterator<Item = &'a Peer>) -> bool {
        let same_version = connected.filter(|peer| peer.version.as_ref() == Some(&self.version));
        let present: BTreeSet<PublicKey> = same_version
            .filter_map(|peer| peer.key)
            .chain([self.own])
            .collect();
        let of_present = |validator: &&Validator| present.contains(&validator.key);
        let powers = self.validators.as_slice().iter().filter(of_present);
        let power: u128 = powers.map(|validator| u128::from(validator.power)).sum();
        3 * power > 2 * u128::from(self.validators.total())
    }
}

#[cfg(test)]
mod tests {
    use governance::{Power, ValidatorId, ValidatorSet};

    use super::*;

    fn peer(number: u8, version: &str) -> Peer {
        Peer {
            moniker: String::new(),
            version: version.parse().ok(),
            key: Some(PublicKey([number; 32])),
        }
    }

    #[test]
    fn only_nodes_of_the_same_version_count() {
        let validators = (1..=4).map(|number| governance::Validator {
            id: ValidatorId([number; 20]),
            name: number.to_string(),
            governance_key: PublicKey([number + 100; 32]),
            consensus_key: PublicKey([number; 32]),
            power: Power(1),
        });
        let quorum = Quorum {
            validators: Validators::new(&ValidatorSet::new(validators.collect()).unwrap()),
            own: PublicKey([1; 32]),
            version: ReleaseVersion::new(1, 1, 0),
        };
        let reached = |peers: &[Peer]| quorum.is_reached(peers.iter());
        assert!(reached(&[peer(2, "1.1.0"), peer(3, "1.1.0")]));
        assert!(!reached(&[peer(2, "1.1.0")]), "half is not enough");
        assert!(!reached(&[peer(2, "1.1.0"), peer(3, "1.0.0"), peer(4, "1.0.0")]));
        assert!(
            !reached(&[peer(2, "1.1.0"), peer(2, "1.1.0"), peer(9, "1.1.0")]),
            "nobody counts twice"
        );
        assert!(!reached(&[peer(2, "1.1.0"), peer(3, "no version")]));
    }
}
