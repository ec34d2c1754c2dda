//! The journal as the daemon writes it: durable at once, or behind what it does next.
//!
//! Where the home itself says what is to run, the records of a start stand behind it, and a node that ends within milliseconds (a migration)
//! must not wait for the disk before it is answered. Invariants: every record is written, in order, when it is given, so that visor's own
//! death loses none; whatever needs it to be durable waits for that; after a failure nothing more is written.

use std::io;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::sync::mpsc;
use visor_planner::Record;

use crate::cli::chain;
use crate::fault;
use crate::journal::Journal;

/// Makes durable what has to be durable with a record. Why it failed, in words.
pub(super) type MakeDurable = Box<dyn FnOnce() -> Result<(), String> + Send>;

enum Work {
    MakeDurable(MakeDurable),
    /// Answered when everything before it is done.
    Tell(SyncSender<()>),
}

/// Owns the open journal.
pub(super) struct Recorder {
    journal: Journal,
    /// Begun when it is first needed: most chain systems never do.
    thread: Option<Sender<Work>>,
    /// Something may not be durable yet.
    behind: bool,
    failed: Arc<OnceLock<String>>,
    failures: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

impl Recorder {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            journal,
            thread: None,
            behind: false,
            failed: Arc::default(),
            failures: mpsc::channel(1),
        }
    }

    /// Returns when the record is durable, and before it all that stands before it.
    ///
    /// # Errors
    /// Why it, or anything before it, could not be made durable.
    pub(super) fn write(&mut self, record: &Record, unix_ms: u64, before: MakeDurable) -> Result<(), String> {
        self.settle()?;
        let written = before().and_then(|()| {
            let written = self.journal.append(record, unix_ms);
            written.map(drop).map_err(|error| chain(&error))
        });
        self.keep(written)
    }

    /// Returns when the record is written; it is made durable behind. A failure of that is told by [`Self::failed`], and by whatever is
    /// written next.
    ///
    /// # Errors
    /// Why it could not be written.
    pub(super) fn write_behind(
        &mut self,
        record: &Record,
        unix_ms: u64,
        before: MakeDurable,
    ) -> Result<(), String> {
        self.failed.get().cloned().map_or(Ok(()), Err)?;
        let handle = self.journal.handle().map_err(|error| chain(&error));
        let written = handle.and_then(|handle| {
            let written = self.journal.write(record, unix_ms);
            written.map_err(|error| chain(&error)).map(|_| handle)
        });
        let file = match written {
            Ok(file) => file,
            Err(reason) => return self.keep(Err(reason)),
        };
        let sync: MakeDurable = Box::new(move || {
            before()?;
            let synced = file.sync_data();
            fault::point("append-synced");
            synced.map_err(|error| format!("sync the journal: {error}"))
        });
        if self.thread.is_none() {
            self.thread = begin(Arc::clone(&self.failed), self.failures.0.clone()).ok();
        }
        self.behind = true;
        match &self.thread {
            Some(thread) => {
                // It ends only with its sender.
                let _ = thread.send(Work::MakeDurable(sync));
                Ok(())
            }
            // Without a thread it takes longer, and is as good.
            None => {
                let synced = sync();
                self.keep(synced)
            }
        }
    }

    /// Returns when everything that was written is durable.
    ///
    /// # Errors
    /// Why something could not be.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.behind)
            && let Some(thread) = &self.thread
        {
            let (tell, told) = sync_channel(1);
            if thread.send(Work::Tell(tell)).is_ok() {
                let _ = told.recv();
            }
        }
        self.failed.get().cloned().map_or(Ok(()), Err)
    }

    /// Why something could not be made durable behind; never when all is. May be cancelled.
    pub(super) async fn failed(&mut self) -> String {
        match self.failures.1.recv().await {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    fn keep(&self, written: Result<(), String>) -> Result<(), String> {
        if let Err(reason) = &written {
            // The first one counts.
            let _ = self.failed.set(reason.clone());
        }
        written
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // A failure was told before, or nobody is left to be told.
        let _ = self.settle();
    }
}

fn begin(failed: Arc<OnceLock<String>>, failures: mpsc::Sender<String>) -> io::Result<Sender<Work>> {
    let (sender, works) = channel();
    thread::Builder::new().name("journal".to_owned()).spawn(move || {
        for work in works {
            match work {
                Work::MakeDurable(sync) => {
                    if failed.get().is_none()
                        && let Err(reason) = sync()
                    {
                        let _ = failed.set(reason.clone());
                        // The first one is enough.
                        let _ = failures.try_send(reason);
                    }
                }
                Work::Tell(tell) => {
                    let _ = tell.send(());
                }
            }
        }
    })?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use visor_planner::{Timestamp, Version};

    use super::*;

    fn record(version: &str) -> Record {
        Record::Forced {
            version: Version(version.to_owned()),
            at: Timestamp(0),
        }
    }

    fn assert_written(path: &Path, versions: &[&str]) {
        let entries = Journal::read(path).unwrap();
        let records: Vec<Record> = entries.into_iter().map(|entry| entry.record).collect();
        let expected: Vec<Record> = versions.iter().map(|version| record(version)).collect();
        assert_eq!(records, expected);
    }

    fn nothing() -> MakeDurable {
        Box::new(|| Ok(()))
    }

    #[test]
    fn what_is_written_behind_is_there_at_once_and_durable_before_what_follows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut recorder = Recorder::new(Journal::open(&path).unwrap().journal);
        recorder.write(&record("1"), 0, nothing()).unwrap();
        let (held, release) = sync_channel::<()>(0);
        let hold: MakeDurable = Box::new(move || release.recv().map_err(|error| error.to_string()));
        recorder.write_behind(&record("2"), 0, hold).unwrap();
        recorder.write_behind(&record("3"), 0, nothing()).unwrap();
        assert_written(&path, &["1", "2", "3"]);
        let releasing = thread::spawn(move || held.send(()));
        // Never returns before the one that is held.
        recorder.write(&record("4"), 0, nothing()).unwrap();
        assert!(releasing.join().unwrap().is_ok());
        assert_written(&path, &["1", "2", "3", "4"]);
        let (told, telling) = sync_channel(1);
        let tell: MakeDurable = Box::new(move || told.send(()).map_err(|error| error.to_string()));
        recorder.write_behind(&record("5"), 0, tell).unwrap();
        drop(recorder);
        telling.try_recv().unwrap();
        assert_written(&path, &["1", "2", "3", "4", "5"]);
    }

    #[tokio::test]
    async fn after_a_failure_nothing_more_is_written_and_everybody_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut recorder = Recorder::new(Journal::open(&path).unwrap().journal);
        recorder.write_behind(&record("1"), 0, nothing()).unwrap();
        recorder
            .write_behind(&record("2"), 0, Box::new(|| Err("no".to_owned())))
            .unwrap();
        assert_eq!(recorder.failed().await, "no");
        let no = || Err("no".to_owned());
        assert_eq!(recorder.settle(), no());
        assert_eq!(recorder.write_behind(&record("3"), 0, nothing()), no());
        assert_eq!(recorder.write(&record("3"), 0, nothing()), no());
        assert_written(&path, &["1", "2"]);
    }
}
