//! Who is connected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_malachitebft_app_channel::NetworkRequest;
use governance::ReleaseVersion;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::context::Address;
use super::validators::{Validator, Validators};

/// How often connected peers are counted.
const PEER_INTERVAL: Duration = Duration::from_secs(1);
/// A network that does not answer for this long has died.
const NETWORK_SILENCE: u32 = 10;
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
    /// The validator that it says it is; likewise.
    pub(crate) address: Option<Address>,
}

/// Who must be connected before consensus starts.
#[derive(Clone, Debug)]
pub(crate) struct Quorum {
    pub(crate) validators: Validators,
    /// This node; it counts itself.
    pub(crate) own: Address,
    /// Only nodes of this version count: those of the old one, halted beside us, decide nothing any more.
    pub(crate) version: ReleaseVersion,
}

/// The name under which a node shows itself to its peers: version, validator address and moniker, in the alphabet that
/// the network keeps.
///
/// The engine's own proof of who is a validator comes later, and not at all to a node that has just begun to listen.
pub(crate) fn announce(version: &ReleaseVersion, address: Address, moniker: &str) -> String {
    format!("{version}{SEPARATOR}{address}{SEPARATOR}{moniker}")
}

/// Stands in no version and in no address.
const SEPARATOR: char = '_';

impl Peer {
    fn parse(name: &str) -> Self {
        let mut fields = name.splitn(3, SEPARATOR);
        let version = fields.next().and_then(|version| version.parse().ok());
        let address = fields.next().and_then(|address| address.parse().ok());
        Self {
            moniker: fields.next().unwrap_or(name).to_owned(),
            version,
            address,
        }
    }
}

impl Peers {
    pub(crate) const fn new(requests: mpsc::Sender<NetworkRequest>) -> Self {
        Self { requests }
    }

    /// The connected nodes by peer id. `None` when the network does not answer.
    pub(crate) async fn connected(&self) -> Option<BTreeMap<String, Peer>> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(NetworkRequest::DumpState(reply)).await.ok()?;
        let dump = answer.await.ok()??;
        let peers = dump.peers.iter();
        Some(
            peers
                .map(|(id, info)| (id.to_base58(), Peer::parse(&info.moniker)))
                .collect(),
        )
    }

    /// Waits until more than two thirds of the power are connected and run this version, or until the time is up.
    /// A first proposal that is sent to nobody costs the whole network a propose timeout.
    pub(crate) async fn wait_for(&self, quorum: &Quorum, timeout: Duration) -> bool {
        if quorum.is_reached(std::iter::empty()) {
            return true;
        }
        let deadline = Instant::now() + timeout;
        // Seen twice: a peer is known a moment before it is known what it listens to.
        let mut seen = 0;
        while seen < 2 {
            if Instant::now() >= deadline {
                return false;
            }
            match self.connected().await {
                Some(connected) if quorum.is_reached(connected.values()) => seen += 1,
                Some(_) | None => seen = 0,
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }
}

impl Quorum {
    fn is_reached<'a>(&self, connected: impl Iterator<Item = &'a Peer>) -> bool {
        let same_version = connected.filter(|peer| peer.version.as_ref() == Some(&self.version));
        let present: BTreeSet<Address> = same_version
            .filter_map(|peer| peer.address)
            .chain([self.own])
            .collect();
        let of_present = |validator: &&Validator| present.contains(&validator.address);
        let powers = self.validators.as_slice().iter().filter(of_present);
        let power: u128 = powers.map(|validator| u128::from(validator.power)).sum();
        3 * power > 2 * u128::from(self.validators.total())
    }
}

/// Counts connected peers for the operator and tells who comes and goes. Notices a network that has died without a word.
pub(crate) async fn watch_peers(peers: Peers, count: Arc<AtomicU32>, died: mpsc::Sender<()>) {
    let mut known: BTreeMap<String, Peer> = BTreeMap::new();
    let mut silent = 0u32;
    let mut tick = tokio::time::interval(PEER_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while silent < NETWORK_SILENCE {
        tick.tick().await;
        let Some(connected) = peers.connected().await else {
            silent = silent.saturating_add(1);
            continue;
        };
        silent = 0;
        for (id, peer) in connected.iter().filter(|(id, _)| !known.contains_key(*id)) {
            let version = peer.version.as_ref().map(ToString::to_string);
            tracing::info!(peer.id = %id, peer.moniker = %peer.moniker, peer.version = version, "peer connected");
        }
        for (id, peer) in known.iter().filter(|(id, _)| !connected.contains_key(*id)) {
            tracing::info!(peer.id = %id, peer.moniker = %peer.moniker, "peer lost");
        }
        count.store(
            u32::try_from(connected.len()).unwrap_or(u32::MAX),
            Ordering::Relaxed,
        );
        known = connected;
    }
    // The receiver has gone only when the loop has ended.
    let _ = died.send(()).await;
}

#[cfg(test)]
mod tests {
    use governance::{Power, PublicKey, ValidatorId, ValidatorSet};

    use super::*;
    use crate::fixture::key;

    fn address(number: u8) -> Address {
        Address::of(&PublicKey::from(&key(number)))
    }

    fn peer(number: u8, version: &ReleaseVersion) -> Peer {
        Peer::parse(&announce(version, address(number), "host_with-a.name"))
    }

    #[test]
    fn a_peer_says_who_it_is() {
        let version = "1.2.0-rc.1".parse().unwrap();
        let found = peer(7, &version);
        let expected = Peer {
            moniker: "host_with-a.name".to_owned(),
            version: Some(version),
            address: Some(address(7)),
        };
        assert_eq!(found, expected);
        for name in ["", "unknown", "_", "__", "1.0.0_zz_host", "1.0_00_host"] {
            let stranger = Peer::parse(name);
            assert!(
                stranger.version.is_none() || stranger.address.is_none(),
                "{name:?}"
            );
        }
    }

    #[test]
    fn only_nodes_of_the_same_version_count() {
        let validators = (1..=4).map(|number| governance::Validator {
            id: ValidatorId([number; 20]),
            name: number.to_string(),
            governance_key: PublicKey::from(&key(number + 100)),
            consensus_key: PublicKey::from(&key(number)),
            power: Power(1),
        });
        let (old, new) = (ReleaseVersion::new(1, 0, 0), ReleaseVersion::new(1, 1, 0));
        let quorum = Quorum {
            validators: Validators::new(&ValidatorSet::new(validators.collect()).unwrap()),
            own: address(1),
            version: new.clone(),
        };
        let reached = |peers: &[Peer]| quorum.is_reached(peers.iter());
        assert!(reached(&[peer(2, &new), peer(3, &new)]));
        assert!(!reached(&[peer(2, &new)]), "half is not enough");
        assert!(!reached(&[peer(2, &new), peer(3, &old), peer(4, &old)]));
        assert!(
            !reached(&[peer(2, &new), peer(2, &new), peer(9, &new)]),
            "nobody counts twice"
        );
        assert!(!reached(&[peer(2, &new), Peer::parse("host-3")]));
    }
}
