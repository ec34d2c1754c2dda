//! The journal as the daemon writes it: at once, or behind what it does next.
//!
//! Where the home itself says what is to run, the records of a start stand behind it, and a node that ends within milliseconds (a migration)
//! must not wait for the disk before it is answered. Invariants: records are written in the order in which they were given, whichever way;
//! after a failure nothing more is written.

use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::mpsc;

use crate::journal::Journal;

/// What writes one record, and makes durable what has to be durable before it. Why it failed, in words.
pub(super) type Write = Box<dyn FnOnce(&mut Journal) -> Result<(), String> + Send>;

enum Work {
    Write(Write),
    /// Answered when everything before it is done.
    Tell(SyncSender<()>),
}

struct Shared {
    journal: Journal,
    failed: Option<String>,
}

impl Shared {
    fn write(&mut self, write: Write) -> Result<(), String> {
        if let Some(reason) = &self.failed {
            return Err(reason.clone());
        }
        let written = write(&mut self.journal);
        self.failed = written.clone().err();
        written
    }
}

/// Owns the open journal.
pub(super) struct Recorder {
    shared: Arc<Mutex<Shared>>,
    /// Begun when it is first needed: most chain systems never do.
    thread: Option<Sender<Work>>,
    /// Something may still be to be written.
    behind: bool,
    failures: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

impl Recorder {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                journal,
                failed: None,
            })),
            thread: None,
            behind: false,
            failures: mpsc::channel(1),
        }
    }

    /// Returns when it is written, and all before it.
    ///
    /// # Errors
    /// Why it, or anything before it, could not be written.
    pub(super) fn write(&mut self, write: Write) -> Result<(), String> {
        self.settle()?;
        lock(&self.shared).write(write)
    }

    /// Returns at once; a failure is told by [`Self::failed`] and by whatever is written next.
    pub(super) fn write_behind(&mut self, write: Write) -> Result<(), String> {
        if self.thread.is_none() {
            self.thread = begin(Arc::clone(&self.shared), self.failures.0.clone());
        }
        match &self.thread {
            Some(thread) => {
                self.behind = true;
                thread
                    .send(Work::Write(write))
                    .map_err(|_| "the thread that writes the journal has ended".to_owned())
            }
            // Without a thread it takes longer, and is as good.
            None => self.write(write),
        }
    }

    /// Returns when everything is written.
    ///
    /// # Errors
    /// Why something could not be written.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.behind)
            && let Some(thread) = &self.thread
        {
            let (tell, told) = sync_channel(1);
            // Both fail only when the thread is gone, and with it what was to be written.
            let told = thread.send(Work::Tell(tell)).is_ok() && told.recv().is_ok();
            if !told {
                return Err("the thread that writes the journal has ended".to_owned());
            }
        }
        lock(&self.shared).failed.clone().map_or(Ok(()), Err)
    }

    /// Why something behind could not be written; never when all is. May be cancelled.
    pub(super) async fn failed(&mut self) -> String {
        match self.failures.1.recv().await {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // A failure was told before, or nobody is left to be told.
        let _ = self.settle();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn begin(shared: Arc<Mutex<Shared>>, failures: mpsc::Sender<String>) -> Option<Sender<Work>> {
    let (sender, works) = channel();
    let writing = thread::Builder::new().name("journal".to_owned()).spawn(move || {
        for work in works {
            match work {
                Work::Write(write) => {
                    if let Err(reason) = lock(&shared).write(write) {
                        // The first one is enough.
                        let _ = failures.try_send(reason);
                    }
                }
                Work::Tell(tell) => {
                    let _ = tell.send(());
                }
            }
        }
    });
    writing.ok().map(|_| sender)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use visor_planner::{Record, Timestamp, Version};

    use super::*;

    fn record(version: &str) -> Record {
        Record::Forced {
            version: Version(version.to_owned()),
            at: Timestamp(0),
        }
    }

    fn forced(version: &str) -> Write {
        let record = record(version);
        Box::new(move |journal| {
            let written = journal.append(&record, 0);
            written.map(drop).map_err(|error| error.to_string())
        })
    }

    fn fails() -> Write {
        Box::new(|_| Err("no".to_owned()))
    }

    fn assert_written(path: &Path, versions: &[&str]) {
        let entries = Journal::read(path).unwrap();
        let records: Vec<Record> = entries.into_iter().map(|entry| entry.record).collect();
        let expected: Vec<Record> = versions.iter().map(|version| record(version)).collect();
        assert_eq!(records, expected);
    }

    #[test]
    fn what_is_written_at_once_stands_behind_all_that_was_given_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut recorder = Recorder::new(Journal::open(&path).unwrap().journal);
        recorder.write(forced("1")).unwrap();
        let (held, release) = sync_channel(0);
        recorder
            .write_behind(Box::new(move |_| {
                release
                    .recv()
                    .map_err(|error: std::sync::mpsc::RecvError| error.to_string())
            }))
            .unwrap();
        recorder.write_behind(forced("2")).unwrap();
        recorder.write_behind(forced("3")).unwrap();
        // Nobody has waited.
        assert_written(&path, &["1"]);
        held.send(()).unwrap();
        recorder.write(forced("4")).unwrap();
        assert_written(&path, &["1", "2", "3", "4"]);
        recorder.write_behind(forced("5")).unwrap();
        drop(recorder);
        assert_written(&path, &["1", "2", "3", "4", "5"]);
    }

    #[tokio::test]
    async fn after_a_failure_nothing_more_is_written_and_everybody_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut recorder = Recorder::new(Journal::open(&path).unwrap().journal);
        recorder.write_behind(forced("1")).unwrap();
        recorder.write_behind(fails()).unwrap();
        recorder.write_behind(forced("2")).unwrap();
        assert_eq!(recorder.failed().await, "no");
        assert_eq!(recorder.settle(), Err("no".to_owned()));
        assert_eq!(recorder.write(forced("3")), Err("no".to_owned()));
        assert_written(&path, &["1"]);
    }
}
