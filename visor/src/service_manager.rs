//! What systemd is told (`sd_notify`): ready, a line of status, stopping, reloading, and that the loop is alive.
//!
//! Never waits for systemd and never fails: supervision of the node goes on whatever becomes of a message. Without
//! `NOTIFY_SOCKET` nothing here runs.

use std::env;
use std::ffi::OsStr;
use std::future::pending;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use proto::pb::visor::v1::Status;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::block_rate::blocks_to_upgrade;
use crate::status::phase_name;

/// Before a message is sent again that systemd's queue had no room for.
const FULL_QUEUE: Duration = Duration::from_millis(100);
/// The longest line of status, in characters: it is one line of `systemctl status`.
const LINE: usize = 200;

/// The way to the service manager, if there is one.
#[derive(Debug, Clone)]
pub struct ServiceManager {
    socket: Option<Arc<(UnixDatagram, SocketAddr)>>,
}

impl ServiceManager {
    /// As the environment says.
    pub(crate) fn from_environment() -> Self {
        let Some(address) = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Self { socket: None };
        };
        match open(&address) {
            Ok(socket) => Self {
                socket: Some(Arc::new(socket)),
            },
            Err(error) => {
                tracing::warn!(
                    notify.socket = %address.display(),
                    error = %error,
                    "NOTIFY_SOCKET cannot be used; the service manager is told nothing"
                );
                Self { socket: None }
            }
        }
    }

    /// The watchdog, if the service manager wants to hear of one from this process.
    pub(crate) fn watchdog(&self) -> Watchdog {
        let every = self
            .socket
            .as_ref()
            .and_then(|_| sd_notify::watchdog_enabled())
            .map(|limit| limit / 2)
            .filter(|half| !half.is_zero());
        let timer = every.map(|half| {
            let mut timer = interval(half);
            // After a pause one sign of life is as good as many.
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            timer
        });
        Watchdog {
            timer,
            manager: self.clone(),
        }
    }

    /// Says that visor is ready, and from then on what it does, whenever that changes.
    pub(crate) fn follow(&self, mut status: watch::Receiver<Status>) -> Option<JoinHandle<()>> {
        self.socket.as_ref()?;
        let manager = self.clone();
        Some(tokio::spawn(async move {
            let mut line = status_line(&status.borrow_and_update());
            manager
                .deliver(&[NotifyState::Ready, NotifyState::Status(&line)])
                .await;
            while status.changed().await.is_ok() {
                let next = status_line(&status.borrow_and_update());
                if next != line {
                    line = next;
                    manager.deliver(&[NotifyState::Status(&line)]).await;
                }
            }
        }))
    }

    /// Says that visor stops, and how long that may take: the service manager must not lose its patience before.
    pub(crate) fn stopping(&self, longest: Duration) {
        let micros = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
    }

    /// Says that the configuration is being read again; [`Self::reloaded`] must follow.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(error = %error, "the monotonic clock cannot be read"),
        }
    }

    /// Says that the configuration has been read, whatever came of it.
    pub fn reloaded(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// Sends what must get there, and waits for room.
    async fn deliver(&self, states: &[NotifyState<'_>]) {
        while self
            .send(states)
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        {
            sleep(FULL_QUEUE).await;
        }
    }

    /// Sends what is no loss when it gets lost.
    fn tell(&self, states: &[NotifyState<'_>]) {
        if let Err(error) = self.send(states) {
            tracing::debug!(error = %error, "the service manager did not take a message");
        }
    }

    fn send(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        let mut message = String::new();
        for state in states {
            message.push_str(&state.to_string());
            message.push('\n');
        }
        let (socket, address) = &**socket;
        socket.send_to_addr(message.as_bytes(), address).map(drop)
    }
}

/// Tells the service manager at half its interval that the loop is alive. It does so only while the loop awaits it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    timer: Option<Interval>,
    manager: ServiceManager,
}

impl Watchdog {
    /// Nobody watches.
    #[cfg(test)]
    pub(crate) fn off() -> Self {
        Self {
            timer: None,
            manager: ServiceManager { socket: None },
        }
    }

    /// Waits until the next sign of life is due; for ever when nobody watches. May be cancelled at any time.
    pub(crate) async fn due(&mut self) {
        match &mut self.timer {
            Some(timer) => {
                timer.tick().await;
            }
            None => pending().await,
        }
    }

    /// Gives a sign of life.
    pub(crate) fn pet(&self) {
        self.manager.tell(&[NotifyState::Watchdog]);
    }
}

fn open(address: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match address.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(address)?,
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "expected an absolute path or @ and a name",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// What visor does, in one line.
fn status_line(status: &Status) -> String {
    let mut line = phase_name(status.phase()).replace('_', " ");
    if !status.current_version.is_empty() {
        line.push_str(&format!(" {}", status.current_version));
    }
    if status.node_height > 0 {
        line.push_str(&format!(" at height {}", status.node_height));
    }
    if let (Some(upgrade), Some(blocks)) = (&status.upgrade, blocks_to_upgrade(status)) {
        let staged = if upgrade.staged { "staged" } else { "not staged" };
        line.push_str(&format!(
            "; next {} at {} (in {blocks} blocks), {staged}",
            upgrade.version, upgrade.height
        ));
    }
    if status.paused {
        line.push_str("; paused");
    }
    if status.node_held {
        line.push_str("; the node is kept stopped");
    }
    match &status.problems[..] {
        [] => {}
        [problem] => line.push_str(&format!("; problem: {problem}")),
        [.., newest] => line.push_str(&format!("; {} problems: {newest}", status.problems.len())),
    }
    // One line, whatever a problem quotes.
    line.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(LINE)
        .collect()
}

#[cfg(test)]
mod tests {
    use proto::pb::visor::v1::{Phase, UpgradeStatus};

    use super::*;

    #[test]
    fn the_line_has_phase_height_and_next_upgrade_and_stays_one_line() {
        let mut status = Status {
            phase: Phase::RolledBack.into(),
            current_version: "1.0.0".to_owned(),
            node_height: 90,
            upgrade: Some(UpgradeStatus {
                version: "1.1.0".to_owned(),
                height: 100,
                ..UpgradeStatus::default()
            }),
            ..Status::default()
        };
        assert_eq!(
            status_line(&status),
            "rolled back 1.0.0 at height 90; next 1.1.0 at 100 (in 10 blocks), not staged"
        );
        status.paused = true;
        status.problems = vec!["one".to_owned(), "two\nWATCHDOG=trigger".to_owned()];
        assert_eq!(
            status_line(&status),
            "rolled back 1.0.0 at height 90; next 1.1.0 at 100 (in 10 blocks), not staged; paused; \
             2 problems: two WATCHDOG=trigger"
        );
        status.problems = vec!["long ".repeat(1_000)];
        assert_eq!(status_line(&status).chars().count(), LINE);
    }

    #[test]
    fn addresses_are_paths_or_abstract_names() {
        assert!(open(OsStr::new("/run/systemd/notify")).is_ok());
        assert!(open(OsStr::new("@abstract")).is_ok());
        for wrong in ["relative", "vsock:2:1234"] {
            assert!(open(OsStr::new(wrong)).is_err(), "{wrong}");
        }
    }
}
