//! The wallet under test, with a home of its own and nothing of this machine's environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Wallet {
    folder: TempDir,
    /// Put before the command.
    pub(crate) global: Vec<String>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Wallet {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            global: Vec::new(),
        }
    }

    /// A wallet that talks to `node` and holds the key with this seed.
    pub(crate) async fn with_key(node: &str, seed: u8) -> Self {
        let mut wallet = Self::new();
        wallet.global = vec!["--node".to_owned(), node.to_owned()];
        let file = wallet.write("seed", format!("{seed:02x}").repeat(32).as_bytes());
        wallet
            .run(&["keys", "import", "me", "--file", path(&file)])
            .await
            .ok();
        wallet
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("wallet")
    }

    /// A file beside the home.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("write a file");
        path.canonicalize().expect("it exists")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wallet"));
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path())
            .arg("--home")
            .arg(self.home())
            .args(&self.global)
            .args(args)
            .stdin(Stdio::null());
        command
    }

    #[must_use]
    pub(crate) async fn run(&self, args: &[&str]) -> Run {
        finish(self.command(args)).await
    }

    /// `--json --yes`.
    #[must_use]
    pub(crate) async fn json(&self, args: &[&str]) -> Run {
        let args = [&["--json", "--yes"], args].concat();
        self.run(&args).await
    }

    /// `--yes`, for a person.
    #[must_use]
    pub(crate) async fn yes(&self, args: &[&str]) -> Run {
        let args = [&["--yes"], args].concat();
        self.run(&args).await
    }
}

#[must_use]
pub(crate) async fn finish(command: Command) -> Run {
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .expect("the wallet runs");
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

impl Run {
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// The one object of a run that succeeded.
    #[track_caller]
    pub(crate) fn object(self) -> Value {
        object(&self.ok())
    }

    /// Fails with this code, and says each of `words` on standard error.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` should be in {self:?}");
        }
        self
    }
}

#[track_caller]
pub(crate) fn object(stdout: &str) -> Value {
    let value: Value = serde_json::from_str(stdout).expect("one object");
    assert_eq!(value["schema"], 1, "{value}");
    assert!(
        stdout.ends_with("}\n") && stdout.lines().count() == 1,
        "{stdout:?}"
    );
    value
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("a readable path")
}
