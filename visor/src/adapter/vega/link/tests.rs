use std::sync::Mutex;

use futures_util::stream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use visor_planner::{Height, Standing};

use super::*;
use crate::adapter::Translated;
use crate::adapter::vega::test_core::{Core, Question, Reply};
use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(60);
const RUN: u64 = 7;
const NOTHING: &str = r#"{"VegaReleaseTag":"","UpgradeBlockHeight":0}"#;
const NEXT: &str = r#"{"VegaReleaseTag":"v1.1.0","UpgradeBlockHeight":1000}"#;
const DISTANT: &str = r#"{"VegaReleaseTag":"v1.1.0","UpgradeBlockHeight":100000}"#;
const SELF: &str = r#"{"VegaReleaseTag":"v1.0.0","UpgradeBlockHeight":500}"#;

/// Every quantity in a small: 50 ms where an operator's limits count in 2 s.
const QUICK: Timing = Timing {
    retry: Duration::from_millis(50),
    unknown: Duration::from_millis(300),
    silent: Duration::from_secs(3600),
};

const ANSWER: Limits = Limits {
    connect: Duration::from_secs(1),
    answer: Duration::from_secs(1),
};

/// How a core is followed in a test.
struct Setting {
    timing: Timing,
    first: bool,
    /// First and restart.
    retries: (u32, u32),
    after_halt: Option<u64>,
    /// The height of the store, once a second; 0: nobody knows.
    store: Arc<Mutex<u64>>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            timing: Timing {
                unknown: QUICK.unknown,
                ..Timing::default()
            },
            first: true,
            retries: (1_000, 1_000),
            after_halt: None,
            store: Arc::default(),
        }
    }
}

struct Followed {
    events: mpsc::Receiver<(u64, LinkEvent)>,
    _link: Link,
}

fn follow(core: &Core, setting: Setting) -> Followed {
    let (sender, events) = mpsc::channel(16);
    let to = LinkTo {
        version: "v1.0.0".to_owned(),
        after_halt: setting.after_halt.map(Height),
        first: setting.first,
        run: RUN,
        events: sender,
        config: Config::default(),
    };
    let rpc = AdminRpc::new(core.socket.clone(), "/rpc".to_owned(), ANSWER);
    let store = setting.store;
    let heights = stream::unfold(true, move |is_first| {
        let store = Arc::clone(&store);
        async move {
            loop {
                if !is_first {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                let height = *store.lock().unwrap();
                if height > 0 {
                    return Some((height, false));
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let retries = Retries::default();
    retries.set(setting.retries.0, setting.retries.1);
    let follower = Follower::new(to, rpc, Box::pin(heights), retries, setting.timing);
    Followed {
        events,
        _link: Link::spawn(follower.follow()),
    }
}

impl Followed {
    async fn event(&mut self) -> LinkEvent {
        let (run, event) = timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap();
        assert_eq!(run, RUN);
        event
    }

    async fn report(&mut self) -> NodeReport {
        let event = self.event().await;
        let LinkEvent::Reported(Translated { report, .. }) = event else {
            panic!("expected a report, found {event:?}");
        };
        report
    }

    async fn lost(&mut self) {
        let event = self.event().await;
        assert!(matches!(event, LinkEvent::Lost), "{event:?}");
    }

    async fn nonsense(&mut self) -> String {
        let event = self.event().await;
        let LinkEvent::Nonsense(text) = event else {
            panic!("expected nonsense, found {event:?}");
        };
        text
    }

    async fn unresponsive(&mut self) -> String {
        let event = self.event().await;
        let LinkEvent::Unresponsive(text) = event else {
            panic!("expected silence, found {event:?}");
        };
        text
    }

    fn is_silent(&mut self) -> bool {
        self.events.try_recv().is_err()
    }
}

/// Times from one question to the next, ascending.
fn gaps(questions: &[Question]) -> Vec<Duration> {
    let mut gaps: Vec<_> = questions.windows(2).map(|two| two[1].at - two[0].at).collect();
    gaps.sort_unstable();
    gaps
}

fn median(gaps: &[Duration]) -> Duration {
    gaps[gaps.len() / 2]
}

#[tokio::test]
async fn a_run_is_told_from_the_first_answer_to_the_halt_and_nothing_is_told_twice() {
    let core = Core::start();
    core.answer(Reply::status(NOTHING, false));
    let mut link = follow(&core, Setting::default());
    let first = link.report().await;
    assert_eq!((first.version.0.as_str(), first.height), ("v1.0.0", Height(0)));
    assert!(first.upgrades.is_empty() && first.halt.is_none());
    core.answer(Reply::status(NEXT, false));
    let scheduled = link.report().await;
    assert_eq!(scheduled.upgrades[0].standing, Standing::Approved);
    assert_eq!(scheduled.upgrades[0].plan.id.0, "v1.1.0@1000");
    assert_eq!(scheduled.halt, None);
    // Votes are withdrawn, and given again.
    core.answer(Reply::status(NOTHING, false));
    assert_eq!(link.report().await, first);
    core.answer(Reply::status(NEXT, false));
    assert_eq!(link.report().await, scheduled);
    core.asked(core.questions().len() + 20).await;
    assert!(link.is_silent());
    core.answer(Reply::status(NEXT, true));
    let halted = link.report().await;
    assert_eq!(halted.height, Height(1_000));
    assert_eq!(halted.halt.as_ref(), Some(&halted.upgrades[0].plan));
    core.asked(core.questions().len() + 2).await;
    assert!(link.is_silent());
}

#[tokio::test]
async fn w_35_far_from_any_height_there_is_no_more_than_one_question_per_second() {
    let core = Core::start();
    core.answer(Reply::status(NOTHING, false));
    let _link = follow(&core, Setting::default());
    let questions = core.asked(4).await;
    let shortest = gaps(&questions)[0];
    assert!(shortest >= Duration::from_millis(990), "{shortest:?}");
    // An upgrade that is far away changes nothing.
    let core = Core::start();
    core.answer(Reply::status(DISTANT, false));
    let setting = Setting::default();
    let store = Arc::clone(&setting.store);
    *store.lock().unwrap() = 5;
    let mut link = follow(&core, setting);
    // At the first answer the height may not be known yet.
    while link.report().await.height != Height(5) {}
    let before = core.questions().len();
    let questions = core.asked(before + 5).await;
    let shortest = gaps(&questions[before + 1..])[0];
    assert!(shortest >= Duration::from_millis(990), "{shortest:?}");
}

#[tokio::test]
async fn w_35_near_the_height_ready_is_an_event_within_50_ms() {
    let core = Core::start();
    core.answer(Reply::status(NEXT, false));
    let setting = Setting::default();
    let store = Arc::clone(&setting.store);
    *store.lock().unwrap() = 5;
    let mut link = follow(&core, setting);
    while link.report().await.height != Height(5) {}
    *store.lock().unwrap() = 999;
    while link.report().await.height != Height(999) {}
    let before = core.questions().len();
    let questions = core.asked(before + 50).await;
    let usual = median(&gaps(&questions[before..]));
    assert!(usual <= Duration::from_millis(30), "{usual:?}");
    // The least of several, because other processes take their share of this machine's time.
    let mut delays = Vec::new();
    for _ in 0..10 {
        core.answer(Reply::status(NEXT, true));
        let ready = Instant::now();
        while link.report().await.halt.is_none() {}
        delays.push(ready.elapsed());
        core.answer(Reply::status(NEXT, false));
        while link.report().await.halt.is_some() {}
    }
    delays.sort_unstable();
    assert!(delays[0] <= Duration::from_millis(50), "{delays:?}");
}

#[tokio::test]
async fn w_35_without_heights_an_accepted_release_is_near() {
    let core = Core::start();
    core.answer(Reply::status(NEXT, false));
    let _link = follow(&core, Setting::default());
    let questions = core.asked(60).await;
    let usual = median(&gaps(&questions));
    assert!(usual <= Duration::from_millis(30), "{usual:?}");
}

#[tokio::test]
async fn w_35_after_an_upgrade_the_first_block_is_waited_for_closely() {
    let core = Core::start();
    core.answer(Reply::status("null", false));
    let setting = Setting {
        after_halt: Some(500),
        ..Setting::default()
    };
    *setting.store.lock().unwrap() = 501;
    let mut link = follow(&core, setting);
    core.asked(5).await;
    core.answer(Reply::status(SELF, false));
    let restored = link.report().await;
    assert_eq!((restored.height, restored.upgrades.len()), (Height(500), 0));
    let before = core.questions().len();
    let questions = core.asked(before + 50).await;
    let usual = median(&gaps(&questions[before..]));
    assert!(usual <= Duration::from_millis(30), "{usual:?}");
    core.answer(Reply::status(NOTHING, false));
    assert_eq!(link.report().await.height, Height(501));
    let before = core.questions().len();
    let questions = core.asked(before + 3).await;
    assert!(gaps(&questions[before..])[0] >= Duration::from_millis(990));
}

#[tokio::test]
async fn the_socket_is_waited_for_and_a_core_that_starts_is_found_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut core = Core::stopped(dir.path().join("vega.sock"));
    core.answer(Reply::status(NOTHING, false));
    let mut link = follow(&core, Setting::default());
    // Long enough for the delays to have grown.
    while timeout(Duration::from_secs(2), link.events.recv()).await.is_ok() {}
    core.restart();
    link.report().await;
}

#[tokio::test]
async fn a_core_that_goes_is_told_once_and_one_that_comes_back_is_told_whole() {
    let mut core = Core::start();
    core.answer(Reply::status(NEXT, false));
    let mut link = follow(&core, Setting::default());
    let before = link.report().await;
    core.stop();
    link.lost().await;
    core.restart();
    assert_eq!(link.report().await, before);
    // A core that is exchanged between two questions was never missed.
    core.answer(Reply::status(NOTHING, false));
    link.report().await;
    core.restart();
    core.asked(core.questions().len() + 2).await;
    assert!(link.is_silent());
}

#[tokio::test]
async fn a_restored_core_that_knows_nothing_yet_makes_no_upgrade_vanish() {
    let core = Core::start();
    core.answer(Reply::status("null", false));
    let timing = Timing {
        unknown: PATIENCE,
        ..Timing::default()
    };
    let mut link = follow(
        &core,
        Setting {
            timing,
            ..Setting::default()
        },
    );
    core.asked(2).await;
    core.answer(Reply::status(NEXT, false));
    assert_eq!(link.report().await.upgrades.len(), 1);
    // A chain that has made no block is told in the end.
    let core = Core::start();
    core.answer(Reply::status("null", false));
    let mut link = follow(&core, Setting::default());
    assert_eq!(link.report().await.upgrades.len(), 0);
}

#[tokio::test]
async fn w_35_a_core_that_knows_nothing_yet_may_be_right_before_a_height() {
    let core = Core::start();
    core.answer(Reply::status("null", false));
    let timing = Timing {
        unknown: PATIENCE,
        ..Timing::default()
    };
    let setting = Setting {
        timing,
        ..Setting::default()
    };
    let mut link = follow(&core, setting);
    let usual = median(&gaps(&core.asked(50).await));
    assert!(usual <= Duration::from_millis(30), "{usual:?}");
    // Its first block says that nothing is to come.
    core.answer(Reply::status(NOTHING, false));
    link.report().await;
    let before = core.questions().len();
    let questions = core.asked(before + 3).await;
    assert!(gaps(&questions[before..])[0] >= Duration::from_millis(990));
    // One that goes on knowing nothing is not asked so for ever.
    let core = Core::start();
    core.answer(Reply::status("null", false));
    let mut link = follow(&core, Setting::default());
    link.report().await;
    let before = core.questions().len();
    let questions = core.asked(before + 3).await;
    assert!(gaps(&questions[before..])[0] >= Duration::from_millis(990));
}

#[tokio::test]
async fn w_29_a_first_connection_may_take_as_long_as_the_operator_says() {
    let dir = tempfile::tempdir().unwrap();
    let core = Core::stopped(dir.path().join("vega.sock"));
    for (first, retries, allowed) in [(true, (9, 1), 10), (false, (1, 9), 10), (true, (0, 9), 1)] {
        let began = Instant::now();
        let setting = Setting {
            timing: QUICK,
            first,
            retries,
            ..Setting::default()
        };
        let mut link = follow(&core, setting);
        let text = link.unresponsive().await;
        let took = began.elapsed();
        assert!(took >= QUICK.retry * allowed, "{first} {retries:?}: {took:?}");
        assert!(
            text.contains("no answer for") && text.contains(&format!("{} retries", allowed - 1)),
            "{text}"
        );
        assert!(
            text.contains("vega.sock") && text.contains("No such file"),
            "{text}"
        );
        // It is told again after as long again, for as long as nothing is done about it.
        link.unresponsive().await;
        assert!(began.elapsed() >= QUICK.retry * allowed * 2);
    }
}

#[tokio::test]
async fn w_29_a_core_that_has_answered_is_not_given_the_time_of_a_first_connection() {
    let core = Core::start();
    core.answer(Reply::status(NOTHING, false));
    let setting = Setting {
        timing: QUICK,
        retries: (1_000_000, 30),
        ..Setting::default()
    };
    let mut link = follow(&core, setting);
    link.report().await;
    let began = Instant::now();
    core.answer(Reply::Silent);
    link.lost().await;
    link.unresponsive().await;
    assert!(began.elapsed() < PATIENCE);
}

#[tokio::test]
async fn w_29_a_socket_that_nobody_answers_at_is_told_long_before_the_core_is_given_up() {
    let core = Core::start();
    core.answer(Reply::Silent);
    let setting = Setting {
        timing: Timing {
            retry: Duration::from_secs(3600),
            silent: Duration::from_millis(50),
            ..QUICK
        },
        retries: (1000, 1000),
        ..Setting::default()
    };
    let mut link = follow(&core, setting);
    let event = link.event().await;
    let LinkEvent::Silent(text) = event else {
        panic!("expected to be told, found {event:?}");
    };
    assert!(
        text.contains("[vega.rpc]") && text.contains("said nothing"),
        "{text}"
    );
    // Once, until it has answered.
    core.asked(core.questions().len() + 2).await;
    assert!(link.is_silent());
    core.answer(Reply::status(NEXT, false));
    link.report().await;
}

#[tokio::test]
async fn w_32_a_core_that_hangs_holds_nothing_up_and_is_believed_again_when_it_answers() {
    let core = Core::start();
    core.answer(Reply::Silent);
    let setting = Setting {
        timing: QUICK,
        retries: (3, 3),
        ..Setting::default()
    };
    let mut link = follow(&core, setting);
    let text = link.unresponsive().await;
    assert!(text.contains("said nothing"), "{text}");
    core.answer(Reply::status(NEXT, false));
    while !matches!(link.event().await, LinkEvent::Reported(_)) {}
}

#[tokio::test]
async fn failures_in_a_row_count_and_one_good_answer_ends_the_row() {
    let core = Core::start();
    core.answer(Reply::status(NOTHING, false));
    let setting = Setting {
        timing: Timing {
            retry: Duration::from_secs(1),
            ..QUICK
        },
        retries: (2, 2),
        ..Setting::default()
    };
    let mut link = follow(&core, setting);
    link.report().await;
    for _ in 0..3 {
        core.answer(Reply::text("500 Internal Server Error", "no"));
        link.lost().await;
        core.answer(Reply::status(NOTHING, false));
        link.report().await;
    }
    core.answer(Reply::text("500 Internal Server Error", "no"));
    link.lost().await;
    let text = link.unresponsive().await;
    assert!(
        text.contains("no answer for 3s (2 retries of 1s are allowed)"),
        "{text}"
    );
}

#[tokio::test]
async fn a_core_that_is_ready_for_nothing_is_told_and_never_called_unresponsive() {
    let core = Core::start();
    core.answer(Reply::status(NOTHING, false));
    let setting = Setting {
        timing: Timing {
            retry: Duration::from_secs(2),
            ..QUICK
        },
        retries: (0, 0),
        ..Setting::default()
    };
    let mut link = follow(&core, setting);
    link.report().await;
    core.answer(Reply::status("null", true));
    assert!(link.nonsense().await.contains("AcceptedReleaseInfo is null"));
    // Longer than any failure would be tolerated.
    core.asked(core.questions().len() + 4).await;
    assert!(link.is_silent());
    core.answer(Reply::status(NEXT, true));
    assert!(link.report().await.halt.is_some());
}

#[tokio::test]
async fn w_53_a_release_that_is_no_version_is_told_once_and_the_core_runs_on() {
    let core = Core::start();
    let hostile = r#"{"VegaReleaseTag":"../../etc","UpgradeBlockHeight":1000}"#;
    core.answer(Reply::status(hostile, false));
    let mut link = follow(&core, Setting::default());
    assert!(link.nonsense().await.contains("../../etc"));
    assert!(link.report().await.upgrades.is_empty());
    core.asked(core.questions().len() + 2).await;
    assert!(link.is_silent());
}
