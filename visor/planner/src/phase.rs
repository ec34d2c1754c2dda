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
    /// The second pass of the backup runs, or waits to be tried again.
    BackingUp,
    /// The operator's program before the start runs, or waits to be run again; or the new version migrates the data.
    Migrating,
    /// A node has been started and has not reported.
    Starting,
    /// The new version reports and has not executed a block.
    Probation,
    /// The node failed and waits for its next start.
    Retrying,
    /// The previous version and its data are being restored.
    RollingBack,
    /// They are back; the upgrade's height is skipped.
    RolledBack,
    /// The operator keeps the node stopped.
    Held,
    /// Visor has given up.
    Failed,
    /// Visor stops the node and itself.
    Stopping,
}
