//! Notifications: what happens on this host, told to a webhook and to a program of the operator.
//!
//! Never delays and never fails the loop: [`Notifier::send`] puts an event into a queue, and a thread per channel that lives only
//! while its queue holds something delivers them in order, each again with growing delays until it is delivered, refused or given up.
//! An event may arrive twice (its `id` tells), and is lost when visor dies before it is delivered: the journal is the record, not this.

mod attempt;
mod event;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use self::attempt::Attempt;
pub use self::event::{Event, Facts, SCHEMA};
use crate::cli::chain;
use crate::config::{EventKind, Notify};
use crate::program::{Program, run};
use crate::reconnect::Delays;

/// Events that may wait in one channel. A whole upgrade tells some ten, so this is several upgrades' worth while nobody answers, and
/// less than 200 KiB.
const QUEUE: usize = 64;
/// The same trouble is told again after this: staging fails every minute while an address is down.
const SAME_TROUBLE: Duration = Duration::from_secs(3600);
/// Between attempts while visor waits to end.
const HURRIED_DELAY: Duration = Duration::from_millis(200);
/// For a thread to end its program when visor's time is up.
const LAST_STEPS: Duration = Duration::from_millis(500);

/// Tells the operator. Dropping it ends what is under way; [`Self::flush`] first.
#[derive(Debug)]
pub struct Notifier {
    facts: Facts,
    /// Makes the ids of two runs of visor differ.
    began_ms: u64,
    count: u64,
    /// The last trouble of each kind, and when it was told.
    troubles: BTreeMap<EventKind, (Event, Instant)>,
    channels: [Arc<Channel>; 2],
}

impl Facts {
    /// The name of this host, and the home.
    #[must_use]
    pub fn of_this_host(home: &Path) -> Self {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            host: name.trim().to_owned(),
            home: home.to_path_buf(),
        }
    }
}

impl Notifier {
    /// Without a thread until something is sent.
    #[must_use]
    pub fn new(settings: &Notify, facts: Facts) -> Self {
        let channel = |kind| Arc::new(Channel::new(kind, settings.clone(), facts.home.clone()));
        Self {
            began_ms: unix_ms(),
            count: 0,
            troubles: BTreeMap::new(),
            channels: [channel(Kind::Webhook), channel(Kind::Command)],
            facts,
        }
    }

    /// Takes new settings over, also for what is waiting; a channel that is taken away loses it.
    pub fn configure(&mut self, settings: &Notify) {
        for channel in &self.channels {
            channel.configure(settings);
        }
    }

    /// Tells an event on every channel that wants it. Returns at once.
    pub fn send(&mut self, event: Event) {
        if self.is_same_trouble(&event) {
            return;
        }
        self.count += 1;
        let id = format!("{}-{}", self.began_ms, self.count);
        let body: Arc<str> = event::encode(&event, &self.facts, &id, unix_ms()).into();
        for channel in &self.channels {
            Channel::push(channel, event.kind, self.count, &body);
        }
    }

    fn is_same_trouble(&mut self, event: &Event) -> bool {
        match event.kind {
            EventKind::StagingFailed | EventKind::Failed => {}
            EventKind::Staged => {
                // Whatever was wrong is over: the next time it is news.
                self.troubles.remove(&EventKind::StagingFailed);
                return false;
            }
            EventKind::ProposalSeen
            | EventKind::Halted
            | EventKind::Upgraded
            | EventKind::Retrying
            | EventKind::RolledBack => return false,
        }
        let now = Instant::now();
        let same = self
            .troubles
            .get(&event.kind)
            .is_some_and(|(last, at)| last == event && now.saturating_duration_since(*at) < SAME_TROUBLE);
        if !same {
            self.troubles.insert(event.kind, (event.clone(), now));
        }
        same
    }

    /// Gives what is waiting up to `limit` to be delivered, when visor is about to end. Returns at once when nothing waits.
    pub async fn flush(&self, limit: Duration) {
        for channel in &self.channels {
            channel.pace.send_modify(|pace| pace.hurried = true);
        }
        let all = async {
            for channel in &self.channels {
                channel.until_idle().await;
            }
        };
        if timeout(limit, all).await.is_ok() {
            return;
        }
        for channel in &self.channels {
            channel.pace.send_modify(|pace| pace.ended = true);
            let left = channel.state().queue.len();
            if left > 0 {
                tracing::warn!(
                    notify.channel = channel.kind.name(),
                    notify.lost = left,
                    "notifications could not be delivered before visor ends"
                );
            }
            let _ = timeout(LAST_STEPS, channel.until_idle()).await;
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        for channel in &self.channels {
            channel.pace.send_modify(|pace| pace.ended = true);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Webhook,
    Command,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Command => "command",
        }
    }

    /// Who is told, without a secret.
    fn receiver(self, settings: &Notify) -> String {
        match self {
            Self::Webhook => settings.webhook.to_string(),
            Self::Command => settings.command.first().cloned().unwrap_or_default(),
        }
    }

    fn is_configured(self, settings: &Notify) -> bool {
        match self {
            Self::Webhook => !settings.webhook.is_empty(),
            Self::Command => !settings.command.is_empty(),
        }
    }
}

/// How the thread of a channel waits.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    /// Visor waits to end.
    hurried: bool,
    /// Nobody waits any more.
    ended: bool,
}

/// One way to the operator.
#[derive(Debug)]
struct Channel {
    kind: Kind,
    home: std::path::PathBuf,
    /// Held for moments only, by the loop and by the thread.
    state: Mutex<State>,
    pace: watch::Sender<Pace>,
    /// Whether the thread lives.
    busy: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    settings: Notify,
    queue: VecDeque<Queued>,
    running: bool,
    /// Since something was delivered: given up, refused, or pushed out.
    lost: u64,
}

#[derive(Debug, Clone)]
struct Queued {
    number: u64,
    body: Arc<str>,
}

impl Channel {
    fn new(kind: Kind, settings: Notify, home: std::path::PathBuf) -> Self {
        Self {
            kind,
            home,
            state: Mutex::new(State {
                settings,
                queue: VecDeque::new(),
                running: false,
                lost: 0,
            }),
            pace: watch::Sender::new(Pace::default()),
            busy: watch::Sender::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole at any moment, whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn configure(&self, settings: &Notify) {
        let mut state = self.state();
        state.settings = settings.clone();
        if !self.kind.is_configured(settings) {
            state.queue.clear();
        }
        drop(state);
        // A new address is tried at once.
        self.pace.send_modify(|_| {});
    }

    fn push(self: &Arc<Self>, event: EventKind, number: u64, body: &Arc<str>) {
        let mut state = self.state();
        let wanted = state.settings.events.is_empty() || state.settings.events.contains(&event);
        if !wanted || !self.kind.is_configured(&state.settings) {
            return;
        }
        if state.queue.len() >= QUEUE {
            // The oldest, which is the one that is being retried: what happens now matters more.
            state.queue.pop_front();
            state.lost += 1;
            tracing::warn!(
                notify.channel = self.kind.name(),
                notify.lost = state.lost,
                "too many notifications wait; the oldest is given up"
            );
        }
        state.queue.push_back(Queued {
            number,
            body: Arc::clone(body),
        });
        if state.running {
            return;
        }
        let channel = Arc::clone(self);
        let begun = thread::Builder::new()
            .name(format!("notify-{}", self.kind.name()))
            .spawn(move || channel.work());
        match begun {
            Ok(_) => {
                state.running = true;
                self.busy.send_replace(true);
            }
            Err(error) => {
                // The next event tries again.
                tracing::warn!(notify.channel = self.kind.name(), %error, "no thread to deliver notifications");
            }
        }
    }

    async fn until_idle(&self) {
        // The sender lives as long as this.
        let _ = self.busy.subscribe().wait_for(|busy| !busy).await;
    }

    /// The thread: until the queue is empty, or nobody waits any more.
    fn work(&self) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                runtime.block_on(async {
                    let mut pace = self.pace.subscribe();
                    let ended = self.pace.subscribe();
                    let mut client = None;
                    while let Some(queued) = self.next() {
                        self.deliver(&queued, &mut client, &mut pace, &ended).await;
                    }
                });
                // A name lookup may still run; nobody waits for it.
                runtime.shutdown_timeout(Duration::ZERO);
            }
            Err(error) => {
                let mut state = self.state();
                state.running = false;
                tracing::warn!(notify.channel = self.kind.name(), %error, "no runtime to deliver notifications");
            }
        }
        // Under the lock, so that a thread begun in this moment is not called idle.
        let state = self.state();
        self.busy.send_replace(state.running);
    }

    /// The oldest event; nothing: the thread ends, and nobody else may believe that it lives.
    fn next(&self) -> Option<Queued> {
        let mut state = self.state();
        let next = state.queue.front().cloned();
        if next.is_none() || self.pace.borrow().ended {
            state.running = false;
            return None;
        }
        next
    }

    /// The settings of this moment, while the event is still the oldest.
    fn settings_for(&self, number: u64) -> Option<Notify> {
        let state = self.state();
        let oldest = state.queue.front().is_some_and(|front| front.number == number);
        (oldest && !self.pace.borrow().ended).then(|| state.settings.clone())
    }

    /// The event needs no further attempt.
    fn done(&self, number: u64, lost: bool) -> u64 {
        let mut state = self.state();
        if state.queue.front().is_some_and(|front| front.number == number) {
            state.queue.pop_front();
        }
        state.lost = if lost { state.lost + 1 } else { 0 };
        state.lost
    }

    async fn deliver(
        &self,
        queued: &Queued,
        client: &mut Option<reqwest::Client>,
        pace: &mut watch::Receiver<Pace>,
        ended: &watch::Receiver<Pace>,
    ) {
        let channel = self.kind.name();
        let mut delays: Option<Delays> = None;
        let mut attempts = 0;
        loop {
            // What changes from here on is worth another attempt, also when it changes during this one.
            let hurried = pace.borrow_and_update().hurried;
            let Some(settings) = self.settings_for(queued.number) else {
                return;
            };
            attempts += 1;
            let reason = match self.attempt(queued, &settings, client, ended).await {
                Attempt::Delivered => {
                    tracing::debug!(
                        notify.channel = channel,
                        notify.attempts = attempts,
                        "a notification is delivered"
                    );
                    self.done(queued.number, false);
                    return;
                }
                Attempt::Failed { reason, after } if attempts < settings.max_attempts => {
                    if attempts == 1 {
                        tracing::info!(notify.channel = channel, notify.problem = %reason, "a notification is not delivered; it is tried again");
                    }
                    let delay = delays
                        .get_or_insert_with(|| Delays::new(settings.retry_initial, settings.retry_max))
                        .next_delay();
                    let delay = after.map_or(delay, |after| after.max(delay));
                    tokio::select! {
                        () = sleep(if hurried { delay.min(HURRIED_DELAY) } else { delay }) => {}
                        _ = pace.changed() => {}
                    }
                    continue;
                }
                Attempt::Failed { reason, .. } | Attempt::Refused { reason } => reason,
            };
            if self.pace.borrow().ended {
                return;
            }
            let lost = self.done(queued.number, true);
            if lost == 1 {
                tracing::warn!(
                    notify.channel = channel,
                    notify.to = %self.kind.receiver(&settings),
                    notify.attempts = attempts,
                    notify.problem = %reason,
                    "a notification could not be delivered and is given up; the next that is lost is told at level debug until one is delivered"
                );
            } else {
                tracing::debug!(notify.channel = channel, notify.lost = lost, notify.problem = %reason, "a notification is given up");
            }
            return;
        }
    }

    async fn attempt(
        &self,
        queued: &Queued,
        settings: &Notify,
        client: &mut Option<reqwest::Client>,
        ended: &watch::Receiver<Pace>,
    ) -> Attempt {
        let mut ended = ended.clone();
        let ended = async {
            // The sender lives as long as this.
            let _ = ended.wait_for(|pace| pace.ended).await;
        };
        match self.kind {
            Kind::Webhook => {
                let client = match client {
                    Some(client) => client,
                    None => match attempt::client() {
                        Ok(built) => client.insert(built),
                        Err(error) => {
                            return Attempt::Failed {
                                reason: chain(&error),
                                after: None,
                            };
                        }
                    },
                };
                tokio::select! {
                    () = ended => Attempt::Failed { reason: "visor ends".to_owned(), after: None },
                    answer = attempt::post(client, &settings.webhook, &queued.body, settings.timeout) => answer,
                }
            }
            Kind::Command => {
                let program = Program {
                    name: "notify",
                    command: settings.command.clone(),
                    environment: vec![("VISOR_HOME", Some(self.home.clone().into_os_string()))],
                    directory: self.home.clone(),
                    input: format!("{}\n", queued.body).into_bytes(),
                    limit: settings.timeout,
                    lock: None,
                };
                match run(&program, ended).await {
                    Ok(()) => Attempt::Delivered,
                    Err(error) => Attempt::Failed {
                        reason: chain(&error),
                        after: None,
                    },
                }
            }
        }
    }
}

fn unix_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
