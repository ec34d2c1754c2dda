//! HTTP for people's tools and monitors.
//!
//! `/status` keeps Casper's form of `next_upgrade`: an object with `activation_point` and `protocol_version`, or null.

use axum::extract::State as Shared;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::handle::NodeHandle;
use crate::listener::{ConnectionLimits, CountedListener};

/// Connections: monitors and boards, each with one or two.
const CONNECTIONS: ConnectionLimits = ConnectionLimits {
    total: 128,
    per_address: 64,
};

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener, node: NodeHandle, moniker: String) {
    let routes = Router::new()
        .route("/status", get(status))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state((node, moniker));
    if let Err(error) = axum::serve(CountedListener::new(listener, CONNECTIONS), routes).await {
        tracing::error!(%error, "HTTP ended");
    }
}

async fn status(Shared((node, moniker)): Shared<(NodeHandle, String)>) -> Json<Value> {
    let snapshot = node.snapshot();
    let state = &snapshot.state;
    let upgrade = state.plan().and_then(|proposal| proposal.upgrade());
    Json(json!({
        "chain_id": state.chain_id().as_str(),
        "moniker": moniker,
        "version": node.release().to_string(),
        "height": snapshot.height.0,
        "state_root": snapshot.state_root.to_string(),
        "halted": node.halt_at(&snapshot).is_some(),
        "next_upgrade": upgrade.map(|upgrade| json!({
            "activation_point": upgrade.height.0,
            "protocol_version": upgrade.version.to_string(),
        })),
        "peers": node.peers(),
        "mempool_transactions": node.mempool_len(),
        "equivocations": node.equivocations(),
    }))
}
