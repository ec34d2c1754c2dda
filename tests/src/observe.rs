//! What is seen of a network from outside: every node's block stream and every visor's status stream.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hyper_util::rt::TokioIo;
use proto::pb::governance::v1::governance_service_client::GovernanceServiceClient;
use proto::pb::governance::v1::{BlockEvents, StreamEventsRequest};
use proto::pb::visor::v1 as visor_pb;
use proto::pb::visor::v1::visor_service_client::VisorServiceClient;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::host::Host;

/// Pause before a dropped stream is opened again. Nodes and visors come back within this order of time.
const RECONNECT: Duration = Duration::from_millis(20);

/// What has been seen of one host.
#[derive(Debug, Clone, Default)]
pub struct HostView {
    /// `host-0`, `host-1`, and so on.
    pub name: String,
    /// Every block that its node has reported, by height.
    pub blocks: BTreeMap<u64, BlockEvents>,
    /// The visor's newest status.
    pub visor: Option<visor_pb::Status>,
    /// Every phase that the visor has shown, in order, repeats folded.
    pub phases: Vec<visor_pb::Phase>,
}

impl HostView {
    /// Height of the newest block seen; 0 before the first.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.blocks.last_key_value().map_or(0, |(height, _)| *height)
    }

    /// The version that executed the newest block seen.
    #[must_use]
    pub fn version(&self) -> &str {
        self.blocks
            .last_key_value()
            .map_or("", |(_, block)| block.version.as_str())
    }

    /// The visor's phase, once seen.
    #[must_use]
    pub fn phase(&self) -> visor_pb::Phase {
        self.visor
            .as_ref()
            .map_or(visor_pb::Phase::Unspecified, visor_pb::Status::phase)
    }
}

/// Watches every host of a cluster for as long as it lives.
#[derive(Debug)]
pub struct Observer {
    views: watch::Receiver<Vec<HostView>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Observer {
    /// Begins to watch. Must be called within a tokio runtime.
    pub(crate) fn new(hosts: &[Host]) -> Self {
        let nodes = hosts
            .iter()
            .map(|host| (host.name().to_owned(), host.rpc_url()))
            .collect();
        let (mut observer, sender) = Self::follow(nodes);
        for (index, host) in hosts.iter().enumerate() {
            observer.tasks.push(tokio::spawn(follow_visor(
                host.visor_home().join("visor.sock"),
                index,
                sender.clone(),
            )));
        }
        observer
    }

    /// Begins to watch nodes that have no visor: name and gRPC address of each. Must be called within a tokio runtime.
    pub(crate) fn of_nodes(nodes: Vec<(String, String)>) -> Self {
        Self::follow(nodes).0
    }

    fn follow(nodes: Vec<(String, String)>) -> (Self, watch::Sender<Vec<HostView>>) {
        let start = nodes
            .iter()
            .map(|(name, _)| HostView {
                name: name.clone(),
                ..HostView::default()
            })
            .collect();
        let (sender, views) = watch::channel::<Vec<HostView>>(start);
        let tasks = nodes
            .into_iter()
            .enumerate()
            .map(|(index, (_, url))| tokio::spawn(follow_blocks(url, index, sender.clone())))
            .collect();
        (Self { views, tasks }, sender)
    }

    /// What has been seen so far.
    #[must_use]
    pub fn views(&self) -> Vec<HostView> {
        self.views.borrow().clone()
    }

    /// Height of the newest block seen of the node with this index.
    #[must_use]
    pub fn height(&self, index: usize) -> u64 {
        self.views.borrow().get(index).map_or(0, HostView::height)
    }

    /// Height of the newest block seen anywhere.
    #[must_use]
    pub fn tip(&self) -> u64 {
        self.views
            .borrow()
            .iter()
            .map(HostView::height)
            .max()
            .unwrap_or(0)
    }

    /// A receiver that wakes at every change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Vec<HostView>> {
        self.views.clone()
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    /// When it does not within `limit`; the error says what was seen instead.
    pub async fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&[HostView]) -> bool,
    ) -> Result<Vec<HostView>> {
        let mut views = self.views.clone();
        let waited = tokio::time::timeout(limit, views.wait_for(|seen| condition(seen))).await;
        match waited {
            Ok(seen) => Ok(seen.context("the observer has stopped")?.clone()),
            Err(_) => bail!(
                "not within {limit:?}: {what}; seen instead:\n{}",
                describe(&self.views())
            ),
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// One line per host.
fn describe(views: &[HostView]) -> String {
    views
        .iter()
        .map(|view| {
            let problems = view
                .visor
                .as_ref()
                .map(|status| status.problems.join("; "))
                .unwrap_or_default();
            format!(
                "  {}: height {}, executing {}, visor {} ({problems})\n",
                view.name,
                view.height(),
                view.version(),
                view.phase().as_str_name(),
            )
        })
        .collect()
}

fn change(views: &watch::Sender<Vec<HostView>>, index: usize, edit: impl FnOnce(&mut HostView)) {
    views.send_modify(|all| {
        if let Some(view) = all.get_mut(index) {
            edit(view);
        }
    });
}

async fn follow_blocks(url: String, index: usize, views: watch::Sender<Vec<HostView>>) {
    loop {
        // The stream ends whenever the node is stopped; whatever the reason, the next block wanted is known.
        drop(read_blocks(&url, index, &views).await);
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn read_blocks(url: &str, index: usize, views: &watch::Sender<Vec<HostView>>) -> Result<()> {
    let mut client = GovernanceServiceClient::connect(url.to_owned()).await?;
    let from_height = views.borrow().get(index).map_or(1, |view| view.height() + 1);
    let mut stream = client
        .stream_events(StreamEventsRequest { from_height })
        .await?
        .into_inner();
    while let Some(block) = stream.message().await? {
        change(views, index, |view| {
            view.blocks.insert(block.height, block);
        });
    }
    Ok(())
}

async fn follow_visor(socket: PathBuf, index: usize, views: watch::Sender<Vec<HostView>>) {
    loop {
        drop(read_visor(&socket, index, &views).await);
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn read_visor(socket: &Path, index: usize, views: &watch::Sender<Vec<HostView>>) -> Result<()> {
    let mut client = VisorServiceClient::new(connect_unix(socket).await?);
    let mut stream = client
        .watch_status(visor_pb::WatchStatusRequest {})
        .await?
        .into_inner();
    while let Some(status) = stream.message().await? {
        change(views, index, |view| {
            if view.phases.last() != Some(&status.phase()) {
                view.phases.push(status.phase());
            }
            view.visor = Some(status);
        });
    }
    Ok(())
}

async fn connect_unix(socket: &Path) -> Result<Channel> {
    let socket = socket.to_path_buf();
    // The address is not used; the connector knows the path.
    let channel = Endpoint::from_static("http://visor.invalid")
        .connect_with_connector(service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await?;
    Ok(channel)
}
