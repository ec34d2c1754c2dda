//! What is seen of a host from outside: its state file, what its nodes did, its journal, visor's status.

use std::fs;
use std::time::Instant;

use proto::pb::visor::v1 as pb;
use serde_json::Value;
use visor::home::Home;
use visor::journal::Journal;
use visor::lock::NodeLock;
use visor_planner::Record;

use super::scene::{Host, STATE};
use crate::scene::{PATIENCE, ask, status, wait_for};

impl Host {
    /// The launcher's state file, which must be readable at every moment.
    pub(crate) fn state(&self) -> toml::Table {
        let text = fs::read_to_string(self.config().join(STATE)).unwrap();
        let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}: {text:?}"));
        let infos: Vec<&toml::Table> = match table["mode"].as_str().unwrap() {
            "RunNodeAsValidator" => vec![&table],
            "MigrateData" => vec![
                table["old_info"].as_table().unwrap(),
                table["new_info"].as_table().unwrap(),
            ],
            other => panic!("{other} in {text}"),
        };
        for info in infos {
            for key in ["version", "binary_path", "config_path"] {
                assert!(info[key].is_str(), "{key} in {text}");
            }
        }
        table
    }

    /// The version that the state file says runs as a validator; nothing while it says something else.
    pub(crate) fn validator(&self) -> Option<String> {
        let state = self.state();
        (state["mode"].as_str() == Some("RunNodeAsValidator"))
            .then(|| state["version"].as_str().unwrap().to_owned())
    }

    /// What the nodes did. A line that is cut off is that of a node that was killed while it wrote it.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.node().join("log")).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The events of one kind.
    pub(crate) fn events_of(&self, kind: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["event"] == kind);
        events
    }

    /// What was started, in order: a version, or `>` and the version that is migrated to.
    pub(crate) fn starts(&self) -> Vec<String> {
        let starts = self.events_of("start");
        starts
            .iter()
            .map(|start| {
                let mark = if start["mode"] == "migrate-data" { ">" } else { "" };
                format!("{mark}{}", start["version"].as_str().unwrap())
            })
            .collect()
    }

    /// Waits until something was started so often, in the terms of [`Self::starts`].
    pub(crate) fn wait_start(&self, what: &str, times: usize) -> Value {
        wait_for(&format!("{times} starts of {what}"), || {
            let starts = self.starts();
            let place = starts
                .iter()
                .enumerate()
                .filter(|(_, start)| *start == what)
                .nth(times - 1)?
                .0;
            self.events_of("start").get(place).cloned()
        })
    }

    /// Waits until the node of this version makes eras.
    pub(crate) fn wait_validating(&self, version: &str) {
        wait_for(&format!("eras of {version}"), || {
            let by = fs::read_to_string(self.node().join("written-by")).unwrap_or_default();
            (by == version).then_some(())
        });
        let era = self.era();
        wait_for(&format!("another era of {version}"), || {
            (self.era() > era).then_some(())
        });
    }

    pub(crate) fn era(&self) -> u64 {
        fs::read_to_string(self.node().join("era")).map_or(0, |text| text.trim().parse().unwrap())
    }

    pub(crate) fn last_pid(&self) -> i32 {
        let starts = self.events_of("start");
        i32::try_from(starts.last().unwrap()["pid"].as_i64().unwrap()).unwrap()
    }

    /// What must be true of every host at every moment: never two nodes, none before its activation, none after a newer one, each after
    /// the one before it, and a state file that can be read.
    pub(crate) fn assert_sound(&self) {
        let events = self.events();
        let mut last = 0;
        for event in &events {
            let kind = event["event"].as_str().unwrap();
            assert!(!matches!(kind, "double" | "early" | "old"), "{events:#?}");
            if matches!(kind, "start" | "exit") {
                let at = event["us"].as_i64().unwrap();
                assert!(at >= last, "{event} before {last}: {events:#?}");
                last = at;
            }
        }
        self.state();
        if Home::at(self.own()).journal().exists() {
            self.records();
        }
    }

    /// The journal, which must read clean.
    pub(crate) fn records(&self) -> Vec<Record> {
        Journal::read(&Home::at(self.own()).journal())
            .unwrap()
            .into_iter()
            .map(|entry| entry.record)
            .collect()
    }

    pub(crate) fn assert_no_node(&self) {
        let lock = NodeLock::new(Home::at(self.own()).node_lock());
        assert!(lock.prove_gone().unwrap().is_some(), "{:?}", lock.holders());
    }

    /// The status of the running visor; nothing when none answers.
    pub(crate) fn ask(&self) -> Option<pb::Status> {
        ask(&self.own())
    }

    /// `visor status --json`, and its exit code.
    pub(crate) fn status(&self) -> (Option<i32>, Value) {
        status(&self.own())
    }

    /// Waits until the running visor's status satisfies the condition.
    pub(crate) fn wait_status(&self, what: &str, condition: impl Fn(&pb::Status) -> bool) -> pb::Status {
        let began = Instant::now();
        let mut last = None;
        while began.elapsed() < PATIENCE {
            let status = self.ask();
            if status.as_ref().is_some_and(&condition) {
                return status.unwrap();
            }
            last = status.or(last);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!(
            "waited {PATIENCE:?} for: {what}; last {last:#?}; {:#?}",
            self.events()
        );
    }
}
