//! A visor that replaces itself while its unit runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use visor::lock::{LockError, VisorLock};

use crate::scene::{Host, wait_for};

struct Program {
    child: Child,
    log: PathBuf,
    program: PathBuf,
}

impl Program {
    /// Started from a file of its own, so that it can be replaced.
    fn start(host: &Host) -> Self {
        let program = host.home().join("program");
        fs::copy(env!("CARGO_BIN_EXE_re-executed"), &program).unwrap();
        let log = host.home().join("log");
        let child = Command::new(&program)
            .arg(host.home())
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log, program }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn lines(&self, count: usize) -> Vec<String> {
        wait_for(&format!("{count} lines"), || {
            let text = fs::read_to_string(&self.log).unwrap();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            (lines.len() >= count && text.ends_with('\n')).then_some(lines)
        })
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn vis_04_three_re_executions_keep_the_node_and_its_exit_status() {
    let mut host = Host::new();
    host.companions(&[("data", "before_node", "")]);
    let mut program = Program::start(&host);
    let node = program.lines(1)[0].strip_prefix("started ").unwrap().to_owned();
    host.wait_line("ready data");
    wait_for("a block", || (host.height() > 0).then_some(()));
    let before = program.descriptors();
    for round in 1..=3 {
        // A release that replaces the running program, as a package manager does it.
        let part = program.program.with_extension("part");
        fs::copy(env!("CARGO_BIN_EXE_re-executed"), &part).unwrap();
        fs::rename(&part, &program.program).unwrap();
        program.signal(Signal::USR1);
        assert_eq!(program.lines(round + 1)[round], format!("adopted {node}"));
        // No second visor has slipped in, and none can.
        let second = VisorLock::acquire(&host.home().join("visor.lock"));
        assert!(matches!(second, Err(LockError::Held { .. })));
        assert_eq!(program.descriptors(), before, "a descriptor was inherited");
    }
    assert_eq!(host.starts().len(), 1);
    let height = host.height();
    host.behave(json!({ "exit_at_height": height + 2, "exit_code": 7 }));
    assert_eq!(program.lines(5)[4], "exit Some(7) None");
    assert!(!Path::new(&format!("/proc/{node}")).exists(), "a zombie is left");
    assert_eq!(program.child.wait().unwrap().code(), Some(0));
    host.assert_no_node();
    VisorLock::acquire(&host.home().join("visor.lock")).unwrap();
}

#[test]
fn vis_04_a_re_execution_without_a_program_changes_nothing() {
    let host = Host::new();
    let program = Program::start(&host);
    let node = program.lines(1)[0].strip_prefix("started ").unwrap().to_owned();
    fs::remove_file(&program.program).unwrap();
    program.signal(Signal::USR1);
    let failed = &program.lines(2)[1];
    assert!(
        failed.contains("expected the new program there, found no file"),
        "{failed}"
    );
    fs::write(&program.program, "no program").unwrap();
    program.signal(Signal::USR1);
    assert!(program.lines(3)[2].starts_with("failed execute "));
    let second = VisorLock::acquire(&host.home().join("visor.lock"));
    assert!(matches!(second, Err(LockError::Held { .. })));
    assert!(Path::new(&format!("/proc/{node}/exe")).exists());
    program.signal(Signal::TERM);
    assert_eq!(program.lines(4)[3], "exit Some(0) None");
}
