//! What is settled before the daemon begins: that a state file names the version to run.

use std::fmt;
use std::time::SystemTime;

use visor_planner::{Observed, Record, Timestamp, recover};

use super::error::CasperError;
use super::first_start;
use super::host::parse;
use super::layout::{Installed, startable};
use super::state::State;
use super::{CONVENTIONS, Casper};
use crate::adapter::AdapterError;
use crate::config::Config;
use crate::home::Home;
use crate::journal::Journal;

impl Casper {
    /// Writes the state file of a host that has none, and whose journal names no version either: the first start. To be called before the
    /// daemon, when no version is forced.
    ///
    /// # Errors
    /// When the state file cannot be used (it is never replaced then), or nothing could be started.
    pub(crate) fn settle(&self) -> Result<(), AdapterError> {
        let state = &self.host.state;
        if let Some(found) = state.read()? {
            tracing::info!(state.path = %state.path().display(), state.says = %Said(&found), "read the state file");
            return Ok(());
        }
        if let Some(version) = self.told_by_journal()? {
            tracing::warn!(
                state.path = %state.path().display(),
                node.version = %version,
                "the state file is gone; the journal names the version that ran last, which counts"
            );
            return Ok(());
        }
        let version = self.first()?;
        tracing::info!(node.version = %version, "first start: the highest complete version whose era may have come");
        state.write(&State::Run(self.host.settings.info(&version)))?;
        Ok(())
    }

    /// Makes an installed version the one to run, durably, and forgets a migration that was under way. It is the operator's word: no
    /// migration follows.
    ///
    /// # Errors
    /// When it is not complete in both roots, or the state file cannot be written.
    pub(crate) fn force(&self, version: &str) -> Result<(), AdapterError> {
        let version = parse(version)?;
        let info = self.host.settings.info(&version);
        startable(&info).map_err(|problem| CasperError::NotStartable { version, problem })?;
        Ok(self.host.state.write(&State::Run(info))?)
    }

    /// What the journal says runs here; nothing when it names no version.
    pub(super) fn told_by_journal(&self) -> Result<Option<String>, CasperError> {
        let home = Home::at(self.host.settings.own_folder());
        let entries = Journal::read_if_any(&home.journal())?;
        let records: Vec<Record> = entries.into_iter().map(|entry| entry.record).collect();
        let nothing = Observed {
            current: None,
            node: None,
            staged: Vec::new(),
            migrating: None,
            seed: 0,
        };
        // Which timers it would set does not matter here.
        let config = Config::default().planner(CONVENTIONS);
        let told = recover(config, Timestamp(0), &records, nothing);
        Ok(told.ok().map(|(planner, _)| planner.status().current.0))
    }

    pub(super) fn first(&self) -> Result<semver::Version, CasperError> {
        let settings = &self.host.settings;
        let installed = settings.survey(&self.host.chainspecs)?;
        let chosen = first_start::choose(&installed, SystemTime::now());
        chosen.map(|found| found.version.clone()).ok_or_else(|| {
            let problem = |found: &Installed| format!("; {}: {}", found.version, found.problem());
            CasperError::Nothing {
                bin_root: settings.bin_root.clone(),
                config_root: settings.config_root.clone(),
                problems: installed.iter().map(problem).collect(),
            }
        })
    }
}

/// A state, for the log.
struct Said<'a>(&'a State);

impl fmt::Display for Said<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            State::Run(info) => write!(formatter, "run {}", info.version),
            State::Migrate { old, new } => {
                write!(formatter, "migrate from {} to {}", old.version, new.version)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use visor_planner as planner;

    use super::*;
    use crate::adapter::casper::layout::tests::Host as Files;
    use crate::adapter::casper::tests::{current, open, run_state, state, write};
    use crate::adapter::{Adapter as _, Current, Start};
    use crate::cli::chain;

    /// Journals these records.
    fn journal(files: &Files, records: &[Record]) {
        let home = Home::at(files.settings.own_folder());
        let mut opened = Journal::open(&home.journal()).unwrap();
        for record in records {
            opened.journal.append(record, 0).unwrap();
        }
    }

    fn started(version: &str) -> Record {
        Record::NodeStarted {
            version: planner::Version(version.to_owned()),
            process: planner::Process { pid: 1 },
            at: Timestamp(1),
        }
    }

    #[test]
    fn a_first_start_writes_the_state_file_and_a_later_one_leaves_it() {
        let files = Files::with(&[("1.9.0", 0), ("1.10.0", 10)]);
        let casper = open(&files);
        assert_eq!(current(&casper).as_deref(), Some("1.10.0"));
        assert_eq!(state(&files), "", "looking writes nothing");
        casper.settle().unwrap();
        assert_eq!(state(&files), run_state(&files, "1.10.0"));
        files.config("2.0.0");
        files.binary("2.0.0");
        open(&files).settle().unwrap();
        assert_eq!(current(&casper).as_deref(), Some("1.10.0"));
    }

    #[test]
    fn casper_w4_a_lost_state_file_never_means_the_highest_version() {
        let files = Files::with(&[("1.0.0", 0), ("2.0.0", 100)]);
        let casper = open(&files);
        journal(&files, &[started("1.0.0")]);
        // The planner takes the journal's word, and has the file written.
        casper.settle().unwrap();
        assert_eq!(casper.current().unwrap(), Current::default());
        assert_eq!(casper.told_by_journal().unwrap().as_deref(), Some("1.0.0"));
        casper.prepare_switch("1.0.0").unwrap().switch().unwrap();
        casper.sync_switch().unwrap();
        assert_eq!(state(&files), run_state(&files, "1.0.0"));
    }

    #[test]
    fn casper_w3_a_state_file_that_says_nothing_is_refused_and_nothing_is_run() {
        let files = Files::with(&[("1.0.0", 0)]);
        let casper = open(&files);
        let start = Start {
            version: "1.0.0".to_owned(),
            after_halt: None,
            unseen_halt: None,
        };
        for text in ["", "mode = 'RunNodeAsVali"] {
            write(&files, text);
            assert!(chain(&casper.settle().unwrap_err()).contains("--force-version"));
            assert!(casper.current().is_err());
            assert!(casper.launch(&start, &[], &Config::default()).is_err());
            assert_eq!(state(&files), text);
        }
        casper.force("1.0.0").unwrap();
        assert_eq!(state(&files), run_state(&files, "1.0.0"));
    }

    #[test]
    fn casper_w1_a_half_staged_version_blocks_neither_a_start_nor_a_forced_one() {
        let files = Files::with(&[("1.0.0", 0), ("1.1.0", 10)]);
        files.config("2.0.0");
        let casper = open(&files);
        casper.settle().unwrap();
        assert_eq!(casper.versions(), ["1.0.0", "1.1.0"]);
        assert_eq!(current(&casper).as_deref(), Some("1.1.0"));
        casper.force("1.0.0").unwrap();
        assert_eq!(current(&casper).as_deref(), Some("1.0.0"));
        for (version, because) in [
            ("2.0.0", "casper-node is missing"),
            ("3.0.0", "casper-node is missing"),
            ("1_0_0", "expected a version such as"),
        ] {
            let error = chain(&casper.force(version).unwrap_err());
            assert!(error.contains(because), "{error}");
            assert_eq!(current(&casper).as_deref(), Some("1.0.0"));
        }
        // Nothing at all is an error that names what is there.
        let empty = Files::new();
        empty.config("1.0.0");
        let error = chain(&open(&empty).settle().unwrap_err());
        assert!(error.contains("found none; 1.0.0: its binary"), "{error}");
        fs::remove_dir(&empty.settings.bin_root).unwrap();
        assert!(chain(&Casper::open(empty.settings.clone()).unwrap_err()).contains("CASPER_BIN_DIR"));
    }
}
