//! A visor that runs under the launcher's name.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};

use crate::scene::{Living, wait_for};

/// A running visor; killed when dropped.
pub(crate) struct Launcher {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Launcher {
    /// The place of its two outputs is `files` and an ending.
    pub(super) fn launch(mut command: Command, files: &Path) -> Self {
        let (out, err) = (files.with_extension("out"), files.with_extension("err"));
        // Appended to, as the launcher's unit does it: the node writes there too.
        let open = |path: &Path| File::options().append(true).create(true).open(path).unwrap();
        command.stdout(open(&out)).stderr(open(&err));
        Self {
            child: command.spawn().unwrap(),
            out,
            err,
        }
    }

    /// What it, the node and the script wrote to standard output.
    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    /// The same of standard error.
    pub(crate) fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    /// Both, for a failed test.
    pub(crate) fn log(&self) -> String {
        format!("{}\n{}", self.out(), self.err())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGKILL, as a crash would be.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How it has ended; nothing while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("the launcher to end", || child.try_wait().unwrap())
    }

    /// Waits until the log says this somewhere.
    pub(crate) fn wait_log(&self, text: &str) {
        wait_for(&format!("{text:?} in the log"), || {
            self.log().contains(text).then_some(())
        });
    }

    /// Stops it, and expects the code of a requested stop.
    pub(crate) fn stop(mut self) {
        self.terminate();
        let ended = self.wait_exit();
        assert_eq!(ended.code(), Some(0), "{ended}: {}", self.log());
    }
}

impl Living for Launcher {
    fn ended(&mut self) -> Option<ExitStatus> {
        self.ended()
    }

    fn terminate(&self) {
        self.terminate();
    }

    fn log(&self) -> String {
        self.log()
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The only place where a failed test can say what visor saw.
            eprintln!("{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
