//! A network of hosts, laid out with the same commands that an operator types.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::address::Loopback;
use crate::binaries::Binaries;
use crate::host::Host;
use crate::layout::{GenesisFile, create_key, edit_toml, init_node, temporary_root};
use crate::observe::Observer;
use crate::process::run_ok;
use crate::wallet::Wallet;

/// What kind of network is wanted.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many validators, one host each, with equal power.
    pub validators: usize,
    /// Where the files go; a temporary directory, removed at the end, when absent.
    pub home: Option<PathBuf>,
    /// Fewest blocks between a proposal and its height.
    pub min_lead_blocks: u64,
    /// Blocks before the height at which the outcome is latched.
    pub lock_in_blocks: u64,
    /// Keys set in every visor's `config.toml`: section, key, value.
    pub visor_config: Vec<(String, String, toml::Value)>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            validators: 4,
            home: None,
            min_lead_blocks: 8,
            lock_in_blocks: 3,
            visor_config: Vec::new(),
        }
    }
}

/// A network of real processes on a loopback address of its own.
#[derive(Debug)]
pub struct Cluster {
    hosts: Vec<Host>,
    chain_id: String,
    binaries: Binaries,
    root: PathBuf,
    observer: Arc<Observer>,
    /// Removes the files when the cluster goes; absent when the caller keeps them.
    _temporary: Option<TempDir>,
}

impl Cluster {
    /// Lays out the hosts: keys, genesis, configuration, homes. Starts nothing.
    ///
    /// # Errors
    /// When a command fails; its own words are in the error.
    pub async fn lay_out(binaries: &Binaries, options: &ClusterOptions) -> Result<Self> {
        let (root, temporary) = match &options.home {
            Some(home) => {
                fs::create_dir_all(home).with_context(|| format!("create {}", home.display()))?;
                (
                    home.canonicalize()
                        .with_context(|| format!("find {}", home.display()))?,
                    None,
                )
            }
            None => {
                let dir = temporary_root()?;
                (dir.path().to_path_buf(), Some(dir))
            }
        };
        let loopback = Loopback::unique()?;
        let chain_id = format!("visor-demo-{}", std::process::id());
        let ports = loopback.free_ports(options.validators * 3)?;
        let mut layouts = Vec::new();
        let mut genesis_validators = Vec::new();
        for (index, addresses) in ports.chunks(3).enumerate() {
            let [p2p, rpc, http] = addresses else {
                anyhow::bail!("three ports per host")
            };
            let name = format!("host-{index}");
            let host = Host {
                root: root.join(&name),
                name,
                visor_binary: binaries.visor.clone(),
                rpc: *rpc,
                http: *http,
                visor_env: Vec::new(),
                visor: None,
            };
            let governance_key =
                create_key(&binaries.wallet, &root.join("wallets"), &key_name(index)).await?;
            let made = init_node(&binaries.old_node, &host.node_home(), host.name()).await?;
            genesis_validators.push(format!(
                "{}:1:{governance_key}:{}",
                key_name(index),
                made.consensus_key
            ));
            layouts.push((host, *p2p, made.peer_id));
        }

        let genesis = root.join("genesis.json");
        let file = GenesisFile {
            chain_id: &chain_id,
            min_lead_blocks: options.min_lead_blocks,
            lock_in_blocks: options.lock_in_blocks,
            validators: &genesis_validators,
        };
        file.write(&binaries.old_node, &genesis).await?;
        let peers: Vec<String> = layouts
            .iter()
            .map(|(_, p2p, peer_id)| format!("{peer_id}@{p2p}"))
            .collect();
        for (index, (host, p2p, _)) in layouts.iter().enumerate() {
            let node_home = host.node_home();
            fs::copy(&genesis, node_home.join("genesis.json")).context("copy genesis.json")?;
            let others: Vec<toml::Value> = peers
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, peer)| peer.clone().into())
                .collect();
            edit_toml(&node_home.join("config.toml"), |set| {
                set("p2p", "listen", p2p.to_string().into());
                set("p2p", "peers", others.into());
                set("rpc", "listen", host.rpc.to_string().into());
                set("http", "listen", host.http.to_string().into());
            })?;
            let mut init = Command::new(&binaries.visor);
            init.args(["init", "--home"])
                .arg(host.visor_home())
                .arg("--binary")
                .arg(&binaries.old_node)
                .arg("--socket")
                .arg(node_home.join("visor-link.sock"))
                .args(["--", "start", "--home"])
                .arg(&node_home);
            run_ok(init).await?;
            edit_toml(&host.visor_home().join("config.toml"), |set| {
                for (section, key, value) in &options.visor_config {
                    set(section, key, value.clone());
                }
            })?;
        }
        let hosts: Vec<Host> = layouts.into_iter().map(|(host, _, _)| host).collect();
        let observer = Arc::new(Observer::new(&hosts));
        Ok(Self {
            hosts,
            chain_id,
            binaries: binaries.clone(),
            root,
            observer,
            _temporary: temporary,
        })
    }

    /// Starts every visor.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(&mut self) -> Result<()> {
        self.hosts.iter_mut().try_for_each(Host::start_visor)
    }

    /// Asks every visor to stop, then waits for each.
    ///
    /// # Errors
    /// When one had to be killed or left a node behind; all are gone in any case.
    pub async fn stop(&mut self) -> Result<()> {
        for host in &self.hosts {
            host.request_stop();
        }
        let mut first_problem = Ok(());
        for host in &mut self.hosts {
            let stopped = host.stop().await;
            if first_problem.is_ok() {
                first_problem = stopped;
            }
        }
        first_problem
    }

    /// The hosts, in order.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host with this index.
    ///
    /// # Errors
    /// When there are fewer hosts.
    pub fn host(&mut self, index: usize) -> Result<&mut Host> {
        self.hosts
            .get_mut(index)
            .with_context(|| format!("no host {index}"))
    }

    /// What is seen of the hosts from outside.
    #[must_use]
    pub fn observer(&self) -> Arc<Observer> {
        Arc::clone(&self.observer)
    }

    /// The chain's id.
    #[must_use]
    pub fn chain_id(&self) -> &str {
        &self.chain_id
    }

    /// Directory with all files of the network.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The wallet of the validator with this index, talking to its own host's node.
    ///
    /// # Errors
    /// When there are fewer hosts.
    pub fn wallet(&self, index: usize) -> Result<Wallet> {
        let host = self
            .hosts
            .get(index)
            .with_context(|| format!("no host {index}"))?;
        Ok(Wallet {
            binary: self.binaries.wallet.clone(),
            home: self.root.join("wallets"),
            key: key_name(index),
            node: host.rpc_url(),
            chain_id: self.chain_id.clone(),
        })
    }

    /// The last log lines of every host, for error messages.
    #[must_use]
    pub fn log_tails(&self, lines: usize) -> String {
        self.hosts
            .iter()
            .map(|host| format!("  {}:\n{}", host.name(), host.log_tail(lines)))
            .collect()
    }
}

fn key_name(index: usize) -> String {
    format!("validator-{index}")
}
