//! How long a node is down for its backup: `cargo bench -p visor --bench backup`.
//!
//! A data directory is copied plainly (`cp -a`, and a loop of `std::fs::copy`), then by the two passes of visor with some of
//! its files rewritten in between, on the same disk in the same run. The second pass is what the node is down for.
//! `BACKUP_BENCH_MIB` (4096), `BACKUP_BENCH_FILES` (2000) and `BACKUP_BENCH_FOLDER` (the target folder) choose less, or another disk.
//! Free space of three times the size is needed.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::sync::mpsc;
use visor::backup::{Job, Order, Outcome, Plan};

/// Of a hundred files one changes.
const CHANGED_EVERY: usize = 100;
const FOLDERS: usize = 20;
/// The share of a plain copy that the second pass may take.
const LIMIT: f64 = 0.05;

#[expect(clippy::print_stdout, reason = "the lines are what the program is for")]
fn main() -> Result<()> {
    let mib = from_environment("BACKUP_BENCH_MIB", 4096)?;
    let files = from_environment("BACKUP_BENCH_FILES", 2000)?;
    let place =
        std::env::var_os("BACKUP_BENCH_FOLDER").map_or(env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let root = tempfile::tempdir_in(place)?;
    let path = |name: &str| root.path().join(name);
    let data = Data::generate(path("data"), files, (mib << 20) / files)?;
    println!("{mib} MiB in {files} files; one in {CHANGED_EVERY} is rewritten after the first pass");

    let mut rows = Vec::new();
    for (name, copy) in [
        ("cp -a", copy_by_cp as fn(&Data, &Path) -> Result<()>),
        ("std::fs::copy of each file", copy_by_std),
    ] {
        sync(root.path())?;
        let to = path("plain");
        let began = Instant::now();
        copy(&data, &to)?;
        let copied = began.elapsed();
        sync(root.path())?;
        rows.push((name, copied, began.elapsed()));
        fs::remove_dir_all(&to)?;
    }

    let plan = Plan {
        name: "bench".to_owned(),
        sources: vec![data.root.clone()],
        folder: path("backups"),
        keep: 1,
        reserve: 0,
    };
    sync(root.path())?;
    let first = carry_out(Order::FirstPass(plan.clone()))?;
    let changed = data.rewrite(CHANGED_EVERY, 1)?;
    let second = carry_out(Order::SecondPass(plan.clone()))?;
    ensure!(
        second.copied == changed,
        "{changed} bytes have changed, {} were copied",
        second.copied
    );

    // What nobody can do without: the changed files alone, plainly.
    let bare = path("bare");
    fs::create_dir(&bare)?;
    data.rewrite(CHANGED_EVERY, 2)?;
    let began = Instant::now();
    for (number, file) in data.files.iter().step_by(CHANGED_EVERY).enumerate() {
        fs::copy(file, bare.join(number.to_string()))?;
    }
    let bare_copied = began.elapsed();
    sync(root.path())?;
    let bare_synced = began.elapsed();

    let restored = carry_out(Order::Restore(plan))?;

    println!("{:<44} {:>12} {:>14}", "", "copied", "and durable");
    for (name, copied, synced) in &rows {
        println!(
            "{name:<44} {:>9.0} ms {:>11.0} ms",
            millis(*copied),
            millis(*synced)
        );
    }
    println!(
        "{:<44} {:>12} {:>11.0} ms",
        "first pass (the node runs)",
        "",
        millis(first.took)
    );
    println!(
        "{:<44} {:>12} {:>11.0} ms",
        "second pass (the node is down)",
        "",
        millis(second.took)
    );
    println!(
        "{:<44} {:>9.0} ms {:>11.0} ms",
        "the changed files alone, std::fs::copy",
        millis(bare_copied),
        millis(bare_synced)
    );
    println!(
        "{:<44} {:>12} {:>11.0} ms",
        "restore, every byte checked",
        "",
        millis(restored.took)
    );
    for (name, copied, synced) in &rows {
        println!(
            "node-down share of {name}: {:.1}% of the copy, {:.1}% of the durable copy (at most {:.0}%)",
            100.0 * second.took.as_secs_f64() / copied.as_secs_f64(),
            100.0 * second.took.as_secs_f64() / synced.as_secs_f64(),
            100.0 * LIMIT
        );
    }
    Ok(())
}

fn from_environment(name: &str, default: usize) -> Result<usize> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("read {name}")),
        Err(_) => Ok(default),
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

struct Data {
    root: PathBuf,
    files: Vec<PathBuf>,
    size: usize,
}

impl Data {
    fn generate(root: PathBuf, count: usize, size: usize) -> Result<Self> {
        let files = (0..count)
            .map(|number| root.join(format!("{:02}/{number:06}.sst", number % FOLDERS)))
            .collect();
        for folder in 0..FOLDERS {
            fs::create_dir_all(root.join(format!("{folder:02}")))?;
        }
        let data = Self { root, files, size };
        data.rewrite(1, 0)?;
        Ok(data)
    }

    /// Rewrites every so manieth file durably, as a database does. Says how many bytes these are.
    fn rewrite(&self, every: usize, round: u64) -> Result<u64> {
        let mut bytes = vec![0; self.size];
        let mut written = 0;
        for (number, path) in self.files.iter().enumerate().step_by(every) {
            let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round;
            for piece in bytes.chunks_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                piece.copy_from_slice(&state.to_le_bytes()[..piece.len()]);
            }
            let mut file = File::create(path)?;
            file.write_all(&bytes)?;
            if every > 1 {
                file.sync_all()?;
            }
            written += bytes.len() as u64;
        }
        Ok(written)
    }
}

fn copy_by_cp(data: &Data, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(&data.root).arg(to).status()?;
    ensure!(status.success(), "cp -a has failed: {status}");
    Ok(())
}

fn copy_by_std(data: &Data, to: &Path) -> Result<()> {
    for folder in 0..FOLDERS {
        fs::create_dir_all(to.join(format!("{folder:02}")))?;
    }
    for file in &data.files {
        fs::copy(file, to.join(file.strip_prefix(&data.root)?))?;
    }
    Ok(())
}

/// Makes everything on the disk of `folder` durable.
fn sync(folder: &Path) -> Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

struct Done {
    copied: u64,
    took: Duration,
}

fn carry_out(order: Order) -> Result<Done> {
    let (sender, mut outcomes) = mpsc::channel(1);
    let _job = Job::begin(order, sender)?;
    match outcomes.blocking_recv().context("an outcome")? {
        Outcome::Passed { copied, took, .. } => Ok(Done { copied, took }),
        Outcome::Failed { reason, .. } => bail!("{reason}"),
    }
}
