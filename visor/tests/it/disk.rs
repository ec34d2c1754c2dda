//! A home on a disk of its own, and file systems that refuse: in mount namespaces, where nobody else sees them.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::scene::Host;

/// `unshare` with a mount namespace of its own.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if rustix::process::geteuid().is_root() {
        command.arg("-m");
    } else {
        command.args(["-U", "-r", "-m"]);
    }
    command
}

/// A small disk under a host's home. It goes with the process that holds it.
pub(crate) struct SmallDisk {
    holder: Child,
    home: PathBuf,
}

impl SmallDisk {
    /// Moves the home onto a disk of so many MiB. Nothing where that is not permitted.
    pub(crate) fn mount(host: &mut Host, mebibytes: u32) -> Option<Self> {
        const SCRIPT: &str = "cp -a \"$1\" \"$2\" && mount -t tmpfs -o size=$3m tmpfs \"$1\" && cp -a \"$2/.\" \"$1\" \
                              && echo mounted && exec sleep 3600";
        let home = host.home();
        let mut holder = unshare()
            .args(["sh", "-c", SCRIPT, "sh"])
            .arg(&home)
            .arg(host.root().join("aside"))
            .arg(mebibytes.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .ok()?;
        let mut line = String::new();
        let said = BufReader::new(holder.stdout.take()?).read_line(&mut line);
        let seen = PathBuf::from(format!("/proc/{}/root{}", holder.id(), home.display()));
        let disk = Self {
            holder,
            home: seen.clone(),
        };
        if said.is_err() || line != "mounted\n" {
            return None;
        }
        host.look_at(seen);
        Some(disk)
    }

    /// A command that runs where the disk is seen.
    pub(crate) fn enter(&self, command: &Command) -> Command {
        let mut entered = Command::new("nsenter");
        entered.args(["-t", &self.holder.id().to_string(), "-m"]);
        if !rustix::process::geteuid().is_root() {
            entered.args(["-U", "--preserve-credentials"]);
        }
        entered.arg(command.get_program()).args(command.get_args());
        entered
    }

    /// Leaves so many bytes free.
    pub(crate) fn fill(&self, but: u64) {
        let path = self.home.join("filler");
        let mut file = File::create(&path).unwrap();
        for size in [64 * 1024, 1024, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
        let length = file.metadata().unwrap().len();
        file.set_len(length - but).unwrap();
    }

    pub(crate) fn free(&self) {
        fs::remove_file(self.home.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A command that sees `folder` on a read-only file system. Nothing where that is not permitted.
pub(crate) fn read_only(folder: &Path, command: &Command) -> Option<Command> {
    const SCRIPT: &str =
        "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && shift && exec \"$@\"";
    let enclosed = |program: &Command| {
        let mut enclosed = unshare();
        enclosed
            .args(["sh", "-c", SCRIPT, "sh"])
            .arg(folder)
            .arg(program.get_program())
            .args(program.get_args())
            .stdin(Stdio::null());
        enclosed
    };
    let permitted = enclosed(&Command::new("true"))
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    permitted.then(|| enclosed(command))
}

/// A command whose writes beyond the limit on file sizes fail, as on a full disk, instead of ending it.
pub(crate) fn survives_the_limit(command: &Command) -> Command {
    let mut wrapped = Command::new("sh");
    wrapped
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    wrapped
}
