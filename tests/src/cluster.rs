//! A network of hosts, laid out with the same commands that an operator types.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::address::Loopback;
use crate::binaries::{Binaries, OLD_VERSION};
use crate::host::Host;
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
                let dir = tempfile::Builder::new()
                    .prefix("visor-e2e-")
                    .tempdir()
                    .context("create a temporary directory")?;
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
            let governance_key = create_key(binaries, &root, &key_name(index)).await?;
            let init = json(
                &run_ok(command(
                    &binaries.old_node,
                    &["init", "--moniker", host.name(), "--output", "json", "--home"],
                    &host.node_home(),
                ))
                .await?
                .stdout,
            )?;
            let consensus_key = text(&init, "consensus_key")?;
            genesis_validators.push(format!("{}:1:{governance_key}:{consensus_key}", key_name(index)));
            layouts.push((host, *p2p, text(&init, "peer_id")?));
        }

        let genesis = root.join("genesis.json");
        write_genesis(binaries, &genesis, &chain_id, options, &genesis_validators).await?;
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

async fn create_key(binaries: &Binaries, root: &Path, name: &str) -> Result<String> {
    let mut create = Command::new(&binaries.wallet);
    create
        .arg("--home")
        .arg(root.join("wallets"))
        .args(["--json", "keys", "create", name]);
    text(&json(&run_ok(create).await?.stdout)?, "public_key")
}

async fn write_genesis(
    binaries: &Binaries,
    path: &Path,
    chain_id: &str,
    options: &ClusterOptions,
    validators: &[String],
) -> Result<()> {
    let mut genesis = Command::new(&binaries.old_node);
    genesis
        .args([
            "genesis",
            "--chain-id",
            chain_id,
            "--initial-version",
            OLD_VERSION,
        ])
        .args(["--min-lead-blocks", &options.min_lead_blocks.to_string()])
        .args(["--lock-in-blocks", &options.lock_in_blocks.to_string()])
        .arg("--output-file")
        .arg(path);
    for validator in validators {
        genesis.args(["--validator", validator]);
    }
    run_ok(genesis).await?;
    Ok(())
}

fn command(binary: &Path, args: &[&str], last: &Path) -> Command {
    let mut command = Command::new(binary);
    command.args(args).arg(last);
    command
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))
}

fn text(object: &Value, key: &str) -> Result<String> {
    Ok(object
        .get(key)
        .and_then(Value::as_str)
        .with_context(|| format!("no text `{key}` in {object}"))?
        .to_owned())
}

/// Sets keys of a TOML file. An empty section is the top level.
fn edit_toml(path: &Path, edit: impl FnOnce(&mut dyn FnMut(&str, &str, toml::Value))) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let mut table: toml::Table = text
        .parse()
        .with_context(|| format!("parse {}", path.display()))?;
    edit(&mut |section, key, value| {
        if section.is_empty() {
            table.insert(key.to_owned(), value);
        } else if let Some(inner) = table
            .entry(section)
            .or_insert_with(|| toml::Table::new().into())
            .as_table_mut()
        {
            inner.insert(key.to_owned(), value);
        }
    });
    fs::write(path, table.to_string()).with_context(|| format!("write {}", path.display()))
}
