//! Visor replaces itself by the program that lies at its path now, while the unit runs on.

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::execve;

use super::launch::environment;
use crate::lock::VisorLock;

/// How long the new program's file may be open for writing somewhere.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);

/// Executes the program at visor's path, which may have been replaced, with the same arguments and environment, in the same
/// process. Returns only when that fails; visor then goes on as it is.
///
/// The node and its companions stay children of this process, so that the next image adopts them and learns how they end. The
/// home's lock goes over to it: no other visor can slip in. All other descriptors are closed by the exec. Threads end with it:
/// whatever they were doing must be safe to begin again.
#[must_use]
pub fn re_exec(lock: &VisorLock) -> io::Error {
    let failed = match own_program() {
        Ok(program) => match lock.inheritable(|| execute(&program)) {
            Ok(never) => match never {},
            Err(error) => (program, error),
        },
        Err(error) => return error,
    };
    let (program, error) = failed;
    io::Error::new(error.kind(), format!("execute {}: {error}", program.display()))
}

/// The path of the program that runs, also after its file was replaced.
fn own_program() -> io::Result<PathBuf> {
    let path = std::fs::read_link("/proc/self/exe")?;
    let path = without_mark(path);
    if path.is_file() {
        return Ok(path);
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!(
            "execute {}: expected the new program there, found no file. Put it in place (by a rename, not by writing over the \
             old one) and order the restart again",
            path.display()
        ),
    ))
}

/// The kernel marks a path whose file was removed or replaced.
fn without_mark(path: PathBuf) -> PathBuf {
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        // A program may really be called so.
        Some(bytes) if !path.exists() => Path::new(std::ffi::OsStr::from_bytes(bytes)).to_path_buf(),
        _ => path,
    }
}

fn execute(program: &Path) -> io::Result<Infallible> {
    let arguments: Vec<CString> = std::env::args_os()
        .filter_map(|argument| CString::new(argument.into_vec()).ok())
        .collect();
    let program = CString::new(program.as_os_str().as_bytes())?;
    let environment = environment(|_| true);
    let began = Instant::now();
    loop {
        // Not std's exec: it changes signal dispositions before, and visor must be able to go on when this fails.
        match execve(&program, &arguments, &environment) {
            // Whoever wrote the new program may have started something in that moment that still holds the file open.
            Err(Errno::ETXTBSY) if began.elapsed() < BUSY_PATIENCE => sleep(Duration::from_millis(5)),
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_a_replaced_file_is_taken_off_unless_it_is_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let marked = dir.path().join("visor (deleted)");
        assert_eq!(without_mark(marked.clone()), dir.path().join("visor"));
        std::fs::write(&marked, "").unwrap();
        assert_eq!(without_mark(marked.clone()), marked);
        assert_eq!(without_mark(dir.path().join("visor")), dir.path().join("visor"));
    }
}
