//! What a host is doing, in one word.

/// One word for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The node runs; no upgrade is known.
    Running,
    /// The node runs; an upgrade is being staged.
    Staging,
    /// The node runs; the next upgrade is ready.
    Staged,
    /// The node has halted; the old version is being stopped, or nothing is staged yet.
    Halting,
    /// `current` is being moved.
    Swapping,
    /// A node has been started and has not reported.
    Starting,
    /// The new version reports and has not executed a block.
    Probation,
    /// The node failed and waits for its next start.
    Retrying,
    /// Visor has given up.
    Failed,
    /// Visor stops the node and itself.
    Stopping,
}
