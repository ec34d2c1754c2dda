//! What an earlier visor left behind, and which of it is what.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::Instant;

use tokio::time::sleep;

use super::clear::{tell_unseen, until_next_look};
use super::member::KILL_PATIENCE;
use super::{Launch, Program, Role};
use crate::lock::{Holder, LockError, NodeLock};

/// What an earlier visor left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing: proved that no process of a unit lives.
    Nothing,
    /// Main processes of a unit, oldest first.
    Mains(Vec<Main>),
    /// Only processes that dead ones left behind.
    Leftovers,
}

/// A process that visor started itself: the node or a companion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Main {
    /// The process.
    pub holder: Holder,
    /// The file that it executes; of a script, its interpreter.
    pub program: PathBuf,
    /// Its command line.
    pub command_line: Vec<OsString>,
}

/// Looks for what an earlier visor left behind.
///
/// # Errors
/// When the lock cannot be used.
pub async fn find_running(lock: &NodeLock) -> Result<Found, LockError> {
    let ours = std::env::current_exe().ok();
    let began = Instant::now();
    let mut told = false;
    loop {
        let holders = lock.holders();
        let mains = mains(&holders);
        // A child of the dead visor between fork and exec still runs visor's program: it is about to become a process of
        // the unit.
        let unsettled = holders.iter().any(|holder| match holder.program() {
            None => true,
            program => program == ours,
        });
        if !unsettled {
            if !mains.is_empty() {
                return Ok(Found::Mains(mains));
            }
            if !holders.is_empty() {
                return Ok(Found::Leftovers);
            }
            if lock.prove_gone()?.is_some() {
                return Ok(Found::Nothing);
            }
        }
        if !told && began.elapsed() >= KILL_PATIENCE {
            tell_unseen();
            told = true;
        }
        sleep(until_next_look(began.elapsed())).await;
    }
}

/// Those among the lock's holders that visor started itself.
pub(crate) fn mains(holders: &[Holder]) -> Vec<Main> {
    let mains = holders.iter().filter(|holder| is_main(holder));
    mains
        .filter_map(|holder| {
            Some(Main {
                holder: holder.clone(),
                program: holder.program()?,
                command_line: command_line(holder)?,
            })
        })
        .collect()
}

/// Visor starts every process as the leader of a group in visor's own session, and a group leader cannot make a session of
/// its own. A helper of the node either is in the node's group, or has made a session.
fn is_main(holder: &Holder) -> bool {
    let pid = holder.pid.as_raw_nonzero().get();
    holder.group == pid && holder.session != pid
}

fn command_line(holder: &Holder) -> Option<Vec<OsString>> {
    let bytes = fs::read(format!("/proc/{}/cmdline", holder.pid.as_raw_nonzero())).ok()?;
    let text = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    Some(
        text.split(|byte| *byte == 0)
            .map(|word| OsString::from_vec(word.to_vec()))
            .collect(),
    )
}

/// The processes of a launch that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// In the order of their starts.
    pub processes: Vec<(Program, Main)>,
    /// Those that do not run.
    pub missing: Vec<Role>,
    /// How many run with the very command line of the launch.
    pub(crate) exact: usize,
}

impl Recognised {
    /// Every process of the launch runs.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// The node's process.
    #[must_use]
    pub fn node(&self) -> Option<&Main> {
        self.processes
            .iter()
            .find_map(|(program, main)| (program.role == Role::Node).then_some(main))
    }
}

/// Finds the processes of a launch among those that run: by the whole command line, then by the program alone, because the
/// arguments in the run configuration may have been edited since. The oldest wins: a node's helper may run the same program.
#[must_use]
pub fn recognise(launch: &Launch, mains: &[Main]) -> Recognised {
    let mut found: Vec<Option<&Main>> = vec![None; launch.programs.len()];
    let mut counts = [0; 2];
    for (count, by) in counts.iter_mut().zip([is_exactly, is_loosely]) {
        for (place, program) in launch.programs.iter().enumerate() {
            if found[place].is_some() {
                continue;
            }
            let free = mains.iter().filter(|main| !found.contains(&Some(main)));
            found[place] = { free }.find(|main| by(program, main));
        }
        *count = found.iter().flatten().count();
    }
    let missing = launch.programs.iter().zip(&found);
    let missing = missing.filter(|(_, main)| main.is_none());
    Recognised {
        missing: missing.map(|(program, _)| program.role.clone()).collect(),
        exact: counts[0],
        processes: launch
            .programs
            .iter()
            .zip(&found)
            .filter_map(|(program, main)| Some((program.clone(), (*main)?.clone())))
            .collect(),
    }
}

/// A script's command line begins with its interpreter.
fn is_exactly(program: &Program, main: &Main) -> bool {
    let mut expected: Vec<&OsStr> = vec![program.path.as_os_str()];
    expected.extend(program.arguments.iter().map(OsStr::new));
    let words: Vec<&OsStr> = main.command_line.iter().map(OsString::as_os_str).collect();
    words.ends_with(&expected)
}

fn is_loosely(program: &Program, main: &Main) -> bool {
    let real = fs::canonicalize(&program.path).unwrap_or_else(|_| program.path.clone());
    main.program == real
        || main.program == program.path
        || main.command_line.contains(&program.path.clone().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::Pid;

    fn holder(pid: i32, group: i32, session: i32) -> Holder {
        Holder {
            pid: Pid::from_raw(pid).unwrap(),
            group,
            session,
            start_time: 5,
        }
    }

    #[test]
    fn vis_04_the_main_process_is_known_by_its_group_and_session() {
        assert!(is_main(&holder(50, 50, 7)));
        assert!(!is_main(&holder(51, 50, 7)), "a helper in the node's group");
        assert!(
            !is_main(&holder(52, 52, 52)),
            "a helper with a session of its own"
        );
    }

    fn program(role: Role, path: &str, arguments: &[&str]) -> Program {
        Program {
            role,
            path: PathBuf::from(path),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            grace: None,
        }
    }

    fn main(pid: i32, program: &str, command_line: &[&str]) -> Main {
        Main {
            holder: holder(pid, pid, 7),
            program: PathBuf::from(program),
            command_line: command_line.iter().map(OsString::from).collect(),
        }
    }

    #[test]
    fn vis_04_processes_are_recognised_by_command_line_and_then_by_program() {
        let data = || Role::Companion("data".to_owned());
        let launch = Launch {
            programs: vec![
                program(data(), "/v/n", &["data"]),
                program(Role::Node, "/v/n", &["start"]),
                program(Role::Companion("watch".to_owned()), "/v/watch.sh", &[]),
            ],
            output: None,
            inherit_input: false,
        };
        let pids = |recognised: &Recognised| -> Vec<i32> {
            let mains = recognised.processes.iter().map(|(_, main)| main);
            mains.map(|main| main.holder.pid.as_raw_nonzero().get()).collect()
        };
        let node = main(3, "/v/n", &["/v/n", "start"]);
        let data_node = main(4, "/v/n", &["/v/n", "data"]);
        let watch = main(5, "/bin/sh", &["/bin/sh", "-e", "/v/watch.sh"]);
        let all = recognise(&launch, &[node.clone(), data_node.clone(), watch.clone()]);
        assert_eq!(
            (pids(&all), all.exact, all.is_complete()),
            (vec![4, 3, 5], 3, true)
        );

        let dead = recognise(&launch, &[data_node.clone(), watch.clone()]);
        assert_eq!(
            (pids(&dead), dead.missing.as_slice()),
            (vec![4, 5], &[Role::Node][..])
        );
        assert_eq!(dead.node(), None);

        let edited = main(3, "/v/n", &["/v/n", "start", "--old-flag"]);
        let helper = main(6, "/v/n", &["/v/n", "helper"]);
        let same = recognise(&launch, &[edited, data_node, watch, helper]);
        assert_eq!((pids(&same), same.exact), (vec![4, 3, 5], 2));
        assert!(same.is_complete());

        let other = recognise(&launch, &[main(9, "/bin/other", &["/bin/other"])]);
        assert_eq!((other.processes.len(), other.exact), (0, 0));
    }
}
