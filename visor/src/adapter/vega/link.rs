//! Follows one run of a core: waits for its admin socket by inotify, then asks it, rarely far from any height and often near one.
//!
//! One task, which ends with the link. It decides nothing: what it sees becomes events in the planner's words. No wait in it is without
//! a limit, so a core that hangs is told as such and holds nothing up (W-32).

mod pace;
#[cfg(test)]
mod tests;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use visor_planner::NodeReport;

use self::view::View;
use super::height::{self, Progress};
use super::rpc::{AcceptedRelease, AdminRpc, Limits, RpcError, UpgradeStatus};
use crate::adapter::appearance::Appearance;
use crate::adapter::{Link, LinkEvent, LinkTo};
use crate::reconnect::Delays;

/// Shorter than anything an operator notices, longer than a failed connect costs.
const FIRST_DELAY: Duration = Duration::from_millis(2);
/// For a core whose socket inotify cannot tell of.
const LONGEST_DELAY: Duration = Duration::from_millis(500);
/// Heights alone are not told more often; a little less than the time from one to the next.
const HEIGHTS: Duration = Duration::from_millis(900);
/// No more than this is counted as silence between two looks at the clock: visor itself may have been stopped meanwhile.
const LONGEST_SILENCE: Duration = Duration::from_secs(12);

/// Where a core is found.
#[derive(Debug, Clone)]
pub(super) struct Followed {
    /// Its admin socket.
    pub(super) socket: PathBuf,
    /// The path behind it.
    pub(super) http_path: String,
    /// What it was started with: they say where its configuration lies, and that says where CometBFT listens.
    pub(super) core_arguments: Vec<String>,
}

/// So many failed questions in a row are tolerated, each counting for two seconds; a change counts at once for a core that is followed.
#[derive(Debug, Clone, Default)]
pub(super) struct Retries(Arc<(AtomicU32, AtomicU32)>);

impl Retries {
    /// `maxNumberOfFirstConnectionRetries` and `maxNumberOfRestartConnectionRetries`.
    pub(super) fn set(&self, first: u32, restart: u32) {
        self.0.0.store(first, Ordering::Relaxed);
        self.0.1.store(restart, Ordering::Relaxed);
    }

    fn first(&self) -> u32 {
        self.0.0.load(Ordering::Relaxed)
    }

    fn restart(&self) -> u32 {
        self.0.1.load(Ordering::Relaxed)
    }
}

/// How long the link waits.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// The time between two questions of Vega Visor, in which the operator's limits count.
    retry: Duration,
    /// A core that has restored no snapshot yet knows of no upgrade; that is no reason to forget one. A chain that has made no
    /// block is told after this.
    unknown: Duration,
    /// A core whose socket nobody answers at is told after this: the operator's limits may be days, and the path may be wrong.
    silent: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            retry: Duration::from_secs(2),
            unknown: Duration::from_secs(30),
            silent: Duration::from_secs(30),
        }
    }
}

/// Begins to follow.
pub(super) fn open(to: LinkTo, followed: Followed, retries: Retries) -> Link {
    let rpc = AdminRpc::new(followed.socket, followed.http_path, Limits::default());
    let is_near = Arc::new(AtomicBool::new(false));
    let heights = height::heights(followed.core_arguments, Arc::clone(&is_near));
    let (under_way, settled) = watch::channel(false);
    let follower = Follower {
        is_near,
        under_way,
        ..Follower::new(to, rpc, heights, retries, Timing::default())
    };
    Link::spawn_asking(settled, follower.follow())
}

/// Whether nothing differs but the height, and that is not the one at which the old version ends.
fn is_only_higher(told: &NodeReport, now: &NodeReport) -> bool {
    let mut same = told.clone();
    same.height = now.height;
    let is_at_halt = now
        .upgrades
        .iter()
        .any(|upgrade| now.height >= upgrade.plan.height);
    same == *now && !is_at_halt
}

/// The daemon does not listen any more.
#[derive(Debug)]
struct Closed;

struct Follower {
    to: LinkTo,
    rpc: AdminRpc,
    heights: BoxStream<'static, u64>,
    /// For whoever makes the heights.
    is_near: Arc<AtomicBool>,
    /// A question has been asked, and what came of it has not been told.
    under_way: watch::Sender<bool>,
    retries: Retries,
    timing: Timing,
    view: View,
    progress: Progress,
    /// The last good answer, until a question fails.
    status: Option<UpgradeStatus>,
    /// What was told of it, and when.
    told: Option<(NodeReport, Instant)>,
    /// The last nonsense that was told.
    nonsense: Option<String>,
    /// The last failure that was told.
    failure: Option<String>,
    has_answered: bool,
    /// When it answered for the first time and knew nothing.
    unknown_since: Option<Instant>,
    /// Without a good answer, as far as it is counted.
    silence: Duration,
    is_silence_told: bool,
    /// Until when it is counted.
    counted: Instant,
    delays: Delays,
}

impl Follower {
    fn new(
        to: LinkTo,
        rpc: AdminRpc,
        heights: BoxStream<'static, u64>,
        retries: Retries,
        timing: Timing,
    ) -> Self {
        Self {
            timing,
            view: View::new(to.version.clone(), to.after_halt),
            to,
            rpc,
            heights,
            is_near: Arc::default(),
            under_way: watch::Sender::new(false),
            retries,
            progress: Progress::default(),
            status: None,
            told: None,
            nonsense: None,
            failure: None,
            has_answered: false,
            unknown_since: None,
            silence: Duration::ZERO,
            is_silence_told: false,
            counted: Instant::now(),
            delays: Delays::new(FIRST_DELAY, LONGEST_DELAY),
        }
    }

    async fn follow(mut self) {
        // Only the daemon ends it.
        let Err(Closed) = self.ask_for_ever().await;
    }

    async fn ask_for_ever(&mut self) -> Result<std::convert::Infallible, Closed> {
        loop {
            // Watching begins before the attempt, so that no creation is missed in between.
            let appearance = self
                .status
                .is_none()
                .then(|| Appearance::watch(self.rpc.socket()));
            let asked = Instant::now();
            self.under_way.send_replace(true);
            let answer = self.ask().await;
            let is_absent = matches!(&answer, Err(error) if error.is_absence());
            match answer {
                Ok(status) => self.answered(status).await?,
                Err(error) => self.failed(&error).await?,
            }
            self.under_way.send_replace(false);
            self.count_silence().await?;
            if is_absent {
                let again = Instant::now() + self.delays.next_delay();
                let appeared = async {
                    match &appearance {
                        Some(appearance) => appearance.happened().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = appeared => self.delays.reset(),
                    () = sleep_until(again.min(self.deadline())) => {}
                }
            } else {
                self.wait(asked).await?;
            }
        }
    }

    /// One question, for no longer than the operator allows; heights that come meanwhile are taken in.
    async fn ask(&mut self) -> Result<UpgradeStatus, RpcError> {
        let limit = self.deadline().duration_since(Instant::now());
        let mut late = std::pin::pin!(sleep(limit));
        let is_followed = self.status.is_some();
        let mut question = std::pin::pin!(self.rpc.upgrade_status());
        loop {
            tokio::select! {
                biased;
                answer = &mut question => return answer,
                () = &mut late => return Err(RpcError::Silent { limit }),
                Some(height) = self.heights.next(), if is_followed => {
                    self.progress.observe(height, Instant::now());
                }
            }
        }
    }

    /// Waits until the next question is due.
    async fn wait(&mut self, asked: Instant) -> Result<(), Closed> {
        loop {
            let due = (asked + self.interval()).min(self.deadline());
            tokio::select! {
                biased;
                () = sleep_until(due) => return Ok(()),
                Some(height) = self.heights.next(), if self.status.is_some() => {
                    self.progress.observe(height, Instant::now());
                    self.tell().await?;
                }
            }
        }
    }

    fn interval(&self) -> Duration {
        let plan = self
            .status
            .as_ref()
            .and_then(|status| self.view.announced(status));
        let is_ready = self.status.as_ref().is_some_and(|status| status.ready);
        let interval = pace::interval(
            plan.as_ref(),
            is_ready,
            self.view.awaits_first_block() || self.has_just_begun(),
            &self.progress,
            Instant::now(),
        );
        self.is_near.store(interval == pace::NEAR, Ordering::Relaxed);
        interval
    }

    /// It has executed no block, so that it knows of no upgrade, and may still stand right before the height of one.
    fn has_just_begun(&self) -> bool {
        let knows_nothing = self
            .status
            .as_ref()
            .is_some_and(|status| status.accepted == AcceptedRelease::Unknown);
        let since = self.unknown_since.filter(|_| knows_nothing);
        since.is_some_and(|since| since.elapsed() < self.timing.unknown)
    }

    async fn answered(&mut self, status: UpgradeStatus) -> Result<(), Closed> {
        self.lives();
        self.failure = None;
        match self.view.nonsense(&status) {
            Some(nonsense) => self.tell_nonsense(nonsense).await?,
            None => self.nonsense = None,
        }
        self.status = Some(status);
        self.tell().await
    }

    async fn failed(&mut self, error: &RpcError) -> Result<(), Closed> {
        let text = crate::cli::chain(error);
        if error.is_of_a_live_core() {
            self.lives();
            return self.tell_nonsense(text).await;
        }
        if self.failure.as_ref() != Some(&text) {
            if error.is_usual() {
                tracing::debug!(node.problem = %text, "the core does not listen");
            } else {
                tracing::warn!(node.problem = %text, "the core's admin RPC gives no answer that can be used");
            }
            self.failure = Some(text);
        }
        self.status = None;
        self.unknown_since = None;
        if self.told.take().is_some() {
            self.send(LinkEvent::Lost).await?;
        }
        Ok(())
    }

    /// It has answered.
    fn lives(&mut self) {
        self.has_answered = true;
        self.silence = Duration::ZERO;
        self.is_silence_told = false;
        self.counted = Instant::now();
        self.delays.reset();
    }

    /// Tells what is known when it differs from what was told.
    async fn tell(&mut self) -> Result<(), Closed> {
        let Some(status) = &self.status else {
            return Ok(());
        };
        if status.accepted == AcceptedRelease::Unknown && self.told.is_none() {
            let since = *self.unknown_since.get_or_insert_with(Instant::now);
            if since.elapsed() < self.timing.unknown {
                return Ok(());
            }
        }
        let awaited = self.view.awaits_first_block();
        let translated = self.view.translate(status, self.progress.height());
        let has_begun = awaited && !self.view.awaits_first_block();
        if let Some((told, at)) = &self.told
            && (*told == translated.report
                || !has_begun && is_only_higher(told, &translated.report) && at.elapsed() < HEIGHTS)
        {
            return Ok(());
        }
        self.told = Some((translated.report.clone(), Instant::now()));
        self.send(LinkEvent::Reported(translated)).await
    }

    async fn tell_nonsense(&mut self, text: String) -> Result<(), Closed> {
        if self.nonsense.as_ref() == Some(&text) {
            return Ok(());
        }
        self.nonsense = Some(text.clone());
        self.send(LinkEvent::Nonsense(text)).await
    }

    /// How long the core may be silent (W-29): as long as the operator says for a first connection, or for one after a failure.
    /// One that has answered is expected to go on: for it the shorter of the two holds.
    fn patience(&self) -> Duration {
        self.timing
            .retry
            .saturating_mul(self.retries_allowed().saturating_add(1))
    }

    fn retries_allowed(&self) -> u32 {
        let (first, restart) = (self.retries.first(), self.retries.restart());
        match (self.to.first, self.has_answered) {
            (true, false) => first,
            (true, true) => first.min(restart),
            (false, _) => restart,
        }
    }

    fn deadline(&self) -> Instant {
        self.counted + self.patience().saturating_sub(self.silence)
    }

    async fn count_silence(&mut self) -> Result<(), Closed> {
        if self.status.is_some() {
            return Ok(());
        }
        let now = Instant::now();
        self.silence += (now - self.counted).min(LONGEST_SILENCE);
        self.counted = now;
        let patience = self.patience();
        let last = self.failure.as_deref().unwrap_or_default();
        if self.silence < patience {
            if self.is_silence_told || self.silence < self.timing.silent {
                return Ok(());
            }
            self.is_silence_told = true;
            let what = format!(
                "nobody answers at the admin RPC {}, which `[vega.rpc]` in the run configuration names; the node is left as it is for {patience:?}; \
                 the last attempt: failed to {last}",
                self.rpc.socket().display()
            );
            return self.send(LinkEvent::Silent(what)).await;
        }
        // Told again after as long again.
        self.silence = Duration::ZERO;
        let reason = format!(
            "the admin RPC at {} has given no answer for {patience:?} ({} retries of {:?} are allowed); the last attempt: failed to {last}",
            self.rpc.socket().display(),
            self.retries_allowed(),
            self.timing.retry,
        );
        self.send(LinkEvent::Unresponsive(reason)).await
    }

    async fn send(&mut self, event: LinkEvent) -> Result<(), Closed> {
        let sent = self.to.events.send((self.to.run, event)).await;
        sent.map_err(|_| Closed)
    }
}
