//! The event stream: one message per committed block, from any height, without gap or repeat.

use governance::Height;
use proto::pb::governance::v1 as pb;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::BlockStream;
use crate::handle::NodeHandle;
use crate::store::BlockRecord;

/// Blocks that are read ahead of a client. One that reads slower makes the reading wait, not the memory grow.
const AHEAD: usize = 16;

/// `permit` is held until the client has gone.
pub(super) fn stream(
    node: &NodeHandle,
    request: pb::StreamEventsRequest,
    permit: OwnedSemaphorePermit,
) -> Result<BlockStream, Status> {
    let tip = node.snapshot().height;
    let from = match request.from_height {
        0 => tip
            .next()
            .ok_or_else(|| Status::out_of_range("there is no next block"))?,
        height => Height(height),
    };
    let (sender, receiver) = mpsc::channel(AHEAD);
    let node = node.clone();
    tokio::spawn(async move {
        follow(node, from, sender).await;
        drop(permit);
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

async fn follow(node: NodeHandle, mut next: Height, sender: mpsc::Sender<Result<pb::BlockEvents, Status>>) {
    let mut snapshots = node.subscribe();
    loop {
        // Marked before the store is read: a block that comes in between wakes the wait below.
        let tip = snapshots.borrow_and_update().height;
        while next <= tip {
            let message = match node.block(next) {
                Ok(Some(record)) => Ok(block(&record)),
                Ok(None) => Err(Status::out_of_range(format!(
                    "from_height: expected a block that this node has stored, found {next}, the last one is {tip}; ask \
                     from a later height, or another node"
                ))),
                Err(error) => Err(Status::internal(crate::cli::chain(&error))),
            };
            let failed = message.is_err();
            if sender.send(message).await.is_err() || failed {
                return;
            }
            let Some(following) = next.next() else { return };
            next = following;
        }
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}

fn block(record: &BlockRecord) -> pb::BlockEvents {
    pb::BlockEvents {
        height: record.height.0,
        state_root: record.state_root.0.to_vec(),
        version: record.version.to_string(),
        committed_at_unix_ms: record.committed_at_unix_ms,
        events: record.events.iter().map(pb::Event::from).collect(),
    }
}
