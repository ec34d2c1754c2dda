//! A network of nodes without visors, for what happens to nodes alone.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use governance::{PublicKey, SigningKey};
use tempfile::TempDir;

use crate::address::Loopback;
use crate::binaries::Binaries;
use crate::layout::{GenesisFile, MadeHome, create_key, edit_toml, init_node, temporary_root};
use crate::node::Node;
use crate::observe::{HostView, Observer};
use crate::wallet::Wallet;

/// A validator of the genesis.
#[derive(Debug, Clone)]
pub struct Member {
    /// For people; also the name of its key in the wallets' folder, if it is there.
    pub name: String,
    /// Its weight.
    pub power: u64,
    /// Signs proposals and votes; hexadecimal. Absent: the wallet creates it when the network is laid out.
    pub governance_key: Option<String>,
    /// Whether it has a node. Without one its consensus key is nobody's.
    pub hosted: bool,
}

/// What kind of network is wanted.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Who validates block 1. Nodes are numbered in the order of those that have one.
    pub members: Vec<Member>,
    /// Nodes that are no validators, after the others.
    pub followers: usize,
    /// Fewest blocks between a proposal and its height.
    pub min_lead_blocks: u64,
    /// Blocks before the height at which the outcome is latched.
    pub lock_in_blocks: u64,
    /// Keys set in every node's `config.toml`: section, key, value.
    pub node_config: Vec<(String, String, toml::Value)>,
}

impl NetworkOptions {
    /// A network of these members.
    #[must_use]
    pub fn of(members: Vec<Member>) -> Self {
        Self {
            members,
            followers: 0,
            min_lead_blocks: 8,
            lock_in_blocks: 3,
            node_config: Vec::new(),
        }
    }

    /// The same with another pace: heights begin so far apart.
    #[must_use]
    pub fn with_block_interval(mut self, interval: Duration) -> Self {
        let text = format!("{}ms", interval.as_millis());
        self.node_config
            .push(("consensus".to_owned(), "block_interval".to_owned(), text.into()));
        self
    }
}

/// So many validators with a node each and equal power, and their governance keys.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn equal_members(count: usize) -> Result<(Vec<Member>, Vec<SigningKey>)> {
    let mut members = Vec::new();
    let mut keys = Vec::new();
    for index in 0..count {
        let key = random_key()?;
        members.push(Member {
            name: format!("validator-{index}"),
            power: 1,
            governance_key: Some(PublicKey::from(&key).to_string()),
            hosted: true,
        });
        keys.push(key);
    }
    Ok((members, keys))
}

/// A key that nobody else has.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn random_key() -> Result<SigningKey> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).context("draw a key")?;
    Ok(SigningKey::from_bytes(&secret))
}

/// Node processes on a loopback address of their own.
#[derive(Debug)]
pub struct Network {
    nodes: Vec<Node>,
    chain_id: String,
    binaries: Binaries,
    loopback: Loopback,
    node_config: Vec<(String, String, toml::Value)>,
    observer: Arc<Observer>,
    /// Removed with everything in it when the network goes.
    root: TempDir,
}

impl Network {
    /// Lays out the nodes: keys, genesis, configuration. Starts nothing.
    ///
    /// # Errors
    /// When a command fails; its own words are in the error.
    pub async fn lay_out(binaries: &Binaries, options: &NetworkOptions) -> Result<Self> {
        let root = temporary_root()?;
        let loopback = Loopback::unique()?;
        let mut network = Self {
            nodes: Vec::new(),
            chain_id: format!("visor-net-{}", std::process::id()),
            binaries: binaries.clone(),
            loopback,
            node_config: options.node_config.clone(),
            observer: Arc::new(Observer::of_nodes(Vec::new())),
            root,
        };
        let mut validators = Vec::new();
        for member in &options.members {
            let governance_key = match &member.governance_key {
                Some(key) => key.clone(),
                None => create_key(&binaries.wallet, &network.wallets(), &member.name).await?,
            };
            let consensus_key = if member.hosted {
                network.make_home().await?
            } else {
                PublicKey::from(&random_key()?).to_string()
            };
            validators.push(format!(
                "{}:{}:{governance_key}:{consensus_key}",
                member.name, member.power
            ));
        }
        for _ in 0..options.followers {
            network.make_home().await?;
        }
        let genesis = GenesisFile {
            chain_id: &network.chain_id,
            min_lead_blocks: options.min_lead_blocks,
            lock_in_blocks: options.lock_in_blocks,
            validators: &validators,
        };
        genesis.write(&binaries.old_node, &network.genesis()).await?;
        network.give_addresses()?;
        for index in 0..network.nodes.len() {
            network.configure(index)?;
        }
        let seen = network
            .nodes
            .iter()
            .map(|node| (node.name.clone(), node.rpc_url()))
            .collect();
        network.observer = Arc::new(Observer::of_nodes(seen));
        Ok(network)
    }

    /// Starts every node.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(Node::start)
    }

    /// Stops every node that runs.
    ///
    /// # Errors
    /// When one had to be killed, or ended with another exit code than 0; all are gone in any case.
    pub async fn stop(&mut self) -> Result<()> {
        let mut problem = Ok(());
        for node in self.nodes.iter_mut().filter(|node| node.process.is_some()) {
            let stopped = match node.stop().await {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(anyhow::anyhow!(
                    "{} ended with {status}\n{}",
                    node.name,
                    node.log_tail(30)
                )),
                Err(error) => Err(error),
            };
            if problem.is_ok() {
                problem = stopped;
            }
        }
        problem
    }

    /// The nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node with this index.
    ///
    /// # Errors
    /// When there are fewer nodes.
    pub fn node(&mut self, index: usize) -> Result<&mut Node> {
        self.nodes
            .get_mut(index)
            .with_context(|| format!("no node {index}"))
    }

    /// What is seen of the nodes from outside. A node's twin is not watched.
    #[must_use]
    pub fn observer(&self) -> Arc<Observer> {
        Arc::clone(&self.observer)
    }

    /// The chain's id.
    #[must_use]
    pub fn chain_id(&self) -> &str {
        &self.chain_id
    }

    /// The file that all nodes share.
    #[must_use]
    pub fn genesis(&self) -> PathBuf {
        self.root.path().join("genesis.json")
    }

    /// Directory with all files of the network.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The wallet with this key, talking to this node.
    ///
    /// # Errors
    /// When there are fewer nodes.
    pub fn wallet(&self, key: &str, node: usize) -> Result<Wallet> {
        let node = self.nodes.get(node).with_context(|| format!("no node {node}"))?;
        Ok(Wallet {
            binary: self.binaries.wallet.clone(),
            home: self.wallets(),
            key: key.to_owned(),
            node: node.rpc_url(),
            chain_id: self.chain_id.clone(),
        })
    }

    /// Creates a key in the wallets' folder and returns the public key.
    ///
    /// # Errors
    /// When the wallet fails.
    pub async fn create_key(&self, name: &str) -> Result<String> {
        create_key(&self.binaries.wallet, &self.wallets(), name).await
    }

    /// Makes a consensus key for a node that has one already, and returns its public half. The node uses it once
    /// [`Network::install_consensus_key`] has put it in the old one's place.
    ///
    /// # Errors
    /// When the node's own command fails.
    pub async fn new_consensus_key(&self, index: usize) -> Result<String> {
        let made = init_node(&self.binaries.old_node, &self.next_key(index), "spare").await?;
        Ok(made.consensus_key)
    }

    /// Puts the key of [`Network::new_consensus_key`] into a node's home.
    ///
    /// # Errors
    /// When the node runs, or there is no such key.
    pub fn install_consensus_key(&mut self, index: usize) -> Result<()> {
        let key = self.next_key(index).join("keys/consensus.json");
        let node = self.node(index)?;
        if node.process.is_some() {
            bail!("{} runs; it reads its key at the start", node.name);
        }
        fs::copy(&key, node.home.join("keys/consensus.json"))
            .with_context(|| format!("copy {}", key.display()))?;
        Ok(())
    }

    /// A second node with a copy of this one's home, keys and data, under ports and a network key of its own: what an
    /// operator does who must not. Not started.
    ///
    /// # Errors
    /// When the original runs, or its home cannot be copied.
    pub async fn twin(&self, index: usize) -> Result<Node> {
        let original = self
            .nodes
            .get(index)
            .with_context(|| format!("no node {index}"))?;
        if original.process.is_some() {
            bail!("{} runs; its store cannot be copied", original.name);
        }
        let name = format!("{}-twin", original.name);
        let home = self.root.path().join(&name);
        // Made first, for a network key of its own.
        let made = init_node(&self.binaries.old_node, &home, &name).await?;
        for file in [
            "genesis.json",
            "config.toml",
            "keys/consensus.json",
            "data/chain.redb",
            "data/consensus.wal",
        ] {
            let target = home.join(file);
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
            }
            fs::copy(original.home.join(file), &target)
                .with_context(|| format!("copy {file} of {}", original.name))?;
        }
        // Those of a node that is stopped look free.
        let ports = loop {
            let ports = self.loopback.free_ports(3)?;
            let is_taken = |port: &SocketAddr| {
                let mut nodes = self.nodes.iter();
                nodes.any(|node| [node.p2p, node.rpc, node.http].contains(port))
            };
            if !ports.iter().any(is_taken) {
                break ports;
            }
        };
        let [p2p, rpc, http] = ports.as_slice() else {
            bail!("three ports per node")
        };
        set_addresses(&home, *p2p, *rpc, *http)?;
        Ok(Node {
            log: self.root.path().join(format!("{name}.log")),
            name,
            home,
            binary: original.binary.clone(),
            p2p: *p2p,
            rpc: *rpc,
            http: *http,
            made: MadeHome {
                consensus_key: original.made.consensus_key.clone(),
                ..made
            },
            launcher: Vec::new(),
            process: None,
        })
    }

    /// Lets one node, `beside`, know the twin alone, and all others the original alone. Whom the others keep of two that speak for one
    /// validator is else decided anew in each network. To be called while the twin, the original and `beside` are stopped.
    ///
    /// # Errors
    /// When a configuration cannot be changed.
    pub fn part(&self, twin: &Node, original: usize, beside: usize) -> Result<()> {
        let peer = |node: &Node| toml::Value::from(format!("{}@{}", node.made.peer_id, node.p2p));
        let all_but = |left_out: &[usize]| -> Vec<toml::Value> {
            let kept = self.nodes.iter().enumerate();
            kept.filter(|(index, _)| !left_out.contains(index))
                .map(|(_, node)| peer(node))
                .collect()
        };
        let node = |index: usize| self.nodes.get(index).with_context(|| format!("no node {index}"));
        let mut beside_twin = all_but(&[original, beside]);
        beside_twin.push(peer(twin));
        for (node, peers) in [
            (twin, vec![peer(node(beside)?)]),
            (node(original)?, all_but(&[original, beside])),
            (node(beside)?, beside_twin),
        ] {
            edit_toml(&node.home.join("config.toml"), |set| {
                set("p2p", "peers", peers.into());
            })?;
        }
        Ok(())
    }

    /// Waits until the nodes look as wanted.
    ///
    /// # Errors
    /// When they do not within `limit`; the error says what was seen instead, with the end of every log.
    pub async fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        condition: impl FnMut(&[HostView]) -> bool,
    ) -> Result<()> {
        match self.observer.wait_until(what, limit, condition).await {
            Ok(_) => Ok(()),
            Err(error) => bail!("{error:#}\n{}", self.log_tails(25)),
        }
    }

    /// The last log lines of every node, for error messages.
    #[must_use]
    pub fn log_tails(&self, lines: usize) -> String {
        self.nodes
            .iter()
            .map(|node| format!("  {}:\n{}", node.name, node.log_tail(lines)))
            .collect()
    }

    fn next_key(&self, index: usize) -> PathBuf {
        self.root.path().join(format!("next-key-{index}"))
    }

    fn wallets(&self) -> PathBuf {
        self.root.path().join("wallets")
    }

    /// Makes the next node's home and returns its consensus key. Its addresses are given later, all at a time.
    async fn make_home(&mut self) -> Result<String> {
        let name = format!("node-{}", self.nodes.len());
        let home = self.root.path().join(&name);
        let made = init_node(&self.binaries.old_node, &home, &name).await?;
        let consensus_key = made.consensus_key.clone();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        self.nodes.push(Node {
            log: self.root.path().join(format!("{name}.log")),
            name,
            home,
            binary: self.binaries.old_node.clone(),
            p2p: nowhere,
            rpc: nowhere,
            http: nowhere,
            made,
            launcher: Vec::new(),
            process: None,
        });
        Ok(consensus_key)
    }

    fn give_addresses(&mut self) -> Result<()> {
        let ports = self.loopback.free_ports(self.nodes.len() * 3)?;
        for (node, addresses) in self.nodes.iter_mut().zip(ports.chunks(3)) {
            let [p2p, rpc, http] = addresses else {
                bail!("three ports per node")
            };
            (node.p2p, node.rpc, node.http) = (*p2p, *rpc, *http);
        }
        Ok(())
    }

    fn configure(&self, index: usize) -> Result<()> {
        let node = self
            .nodes
            .get(index)
            .with_context(|| format!("no node {index}"))?;
        fs::copy(self.genesis(), node.home.join("genesis.json")).context("copy genesis.json")?;
        let others: Vec<toml::Value> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .map(|(_, other)| format!("{}@{}", other.made.peer_id, other.p2p).into())
            .collect();
        set_addresses(&node.home, node.p2p, node.rpc, node.http)?;
        edit_toml(&node.home.join("config.toml"), |set| {
            set("p2p", "peers", others.into());
            for (section, key, value) in &self.node_config {
                set(section, key, value.clone());
            }
        })
    }
}

fn set_addresses(home: &Path, p2p: SocketAddr, rpc: SocketAddr, http: SocketAddr) -> Result<()> {
    edit_toml(&home.join("config.toml"), |set| {
        set("p2p", "listen", p2p.to_string().into());
        set("rpc", "listen", rpc.to_string().into());
        set("http", "listen", http.to_string().into());
    })
}
