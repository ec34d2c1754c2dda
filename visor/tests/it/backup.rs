//! Backups by the orders that the daemon gives, and on small file systems of their own.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;
use visor::backup::{Job, Order, Outcome, Plan, check_space};

/// Far more than any of these take.
const LIMIT: Duration = Duration::from_secs(60);

struct Desk {
    root: TempDir,
    plan: Plan,
    orders: mpsc::Sender<Outcome>,
    outcomes: mpsc::Receiver<Outcome>,
}

impl Desk {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::create_dir_all(data.join("sub")).unwrap();
        for number in 0..20 {
            fs::write(data.join(format!("sub/{number}")), vec![number; 40_000]).unwrap();
        }
        let (orders, outcomes) = mpsc::channel(4);
        Self {
            plan: Plan {
                name: "v1.0.0@120-1a2b3c4d".to_owned(),
                sources: vec![data],
                folder: root.path().join("backups"),
                keep: 2,
                reserve: 0,
            },
            root,
            orders,
            outcomes,
        }
    }

    fn begin(&self, order: Order) -> Job {
        Job::begin(order, self.orders.clone()).unwrap()
    }

    async fn outcome(&mut self) -> Outcome {
        let told = tokio::time::timeout(LIMIT, self.outcomes.recv()).await;
        told.expect("an outcome in time").unwrap()
    }

    async fn passes(&mut self, order: Order) -> (u64, u64) {
        let _job = self.begin(order);
        match self.outcome().await {
            Outcome::Passed { bytes, copied, .. } => (bytes, copied),
            Outcome::Failed { reason, .. } => panic!("{reason}"),
        }
    }

    async fn fails(&mut self, order: Order) -> String {
        let _job = self.begin(order);
        match self.outcome().await {
            Outcome::Failed { reason, .. } => reason,
            Outcome::Passed { order, .. } => panic!("{order:?} passed"),
        }
    }
}

/// Everything in a folder but the times, by path.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
            }
            let bytes = if path.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

/// A file system of its own, in a mount namespace of its own: it goes with the process that holds it.
struct SmallDisk {
    holder: Child,
    path: PathBuf,
}

impl SmallDisk {
    /// `None` where that is not permitted.
    fn mount(at: &Path, options: &str) -> Option<Self> {
        const SCRIPT: &str = "mount -t tmpfs -o \"$2\" tmpfs \"$1\" && echo mounted && exec sleep 3600";
        fs::create_dir_all(at).unwrap();
        let as_root = rustix::process::geteuid().is_root();
        let mut holder = Command::new("unshare")
            .args(if as_root {
                ["-m"].as_slice()
            } else {
                &["-U", "-r", "-m"]
            })
            .args(["sh", "-c", SCRIPT, "sh"])
            .arg(at)
            .arg(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let said = BufReader::new(holder.stdout.take()?).read_line(&mut line);
        let disk = Self {
            path: PathBuf::from(format!("/proc/{}/root{}", holder.id(), at.display())),
            holder,
        };
        if said.is_err() || line != "mounted\n" {
            eprintln!("skipped: no private mounts are permitted here");
            return None;
        }
        Some(disk)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

#[tokio::test]
async fn two_passes_and_a_restore_by_order() {
    let mut desk = Desk::new();
    let plan = desk.plan.clone();
    let data = plan.sources[0].clone();
    assert!(check_space(&plan).unwrap().free > 0);
    assert!(!plan.folder.exists(), "looking changes nothing");
    let (bytes, copied) = desk.passes(Order::FirstPass(plan.clone())).await;
    assert_eq!((bytes, copied), (800_000, 800_000));
    fs::write(data.join("sub/3"), "changed").unwrap();
    let before = contents(&data);
    let (bytes, _) = desk.passes(Order::SecondPass(plan.clone())).await;
    assert_eq!(bytes, 760_007);
    fs::remove_dir_all(data.join("sub")).unwrap();
    fs::write(data.join("later"), "by the new version").unwrap();
    let (bytes, copied) = desk.passes(Order::Restore(plan.clone())).await;
    assert_eq!((bytes, copied), (760_007, 760_007));
    assert_eq!(contents(&data), before);
    let aside = desk.root.path().join("data.before-rollback-1");
    assert_eq!(fs::read(aside.join("later")).unwrap(), b"by the new version");
}

#[tokio::test]
async fn a_second_pass_in_the_place_of_the_first_ends_it() {
    let mut desk = Desk::new();
    let huge = desk.plan.sources[0].join("huge");
    // Hashing this takes minutes.
    File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    let mut job = desk.begin(Order::FirstPass(desk.plan.clone()));
    let begun = desk.plan.folder.join(&desk.plan.name).join("data/0/huge");
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !begun.exists() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the first pass has not begun"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fs::remove_file(&huge).unwrap();
    job = {
        let second = desk.begin(Order::SecondPass(desk.plan.clone()));
        drop(job);
        second
    };
    let outcome = desk.outcome().await;
    assert!(
        matches!(
            &outcome,
            Outcome::Passed {
                order: Order::SecondPass(_),
                bytes: 800_000,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert!(!begun.exists());
    drop(job);
}

#[tokio::test]
async fn too_little_room_is_refused_with_the_numbers() {
    let mut desk = Desk::new();
    desk.plan.reserve = u64::MAX / 2;
    let said = check_space(&desk.plan).unwrap_err().to_string();
    let plan = desk.plan.clone();
    for said in [
        said,
        desk.fails(Order::FirstPass(plan.clone())).await,
        desk.fails(Order::SecondPass(plan)).await,
    ] {
        for part in [
            "expected",
            "bytes free for the backup",
            &(u64::MAX / 2).to_string(),
            "found",
            "Make room",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_keeps_what_was_copied_and_other_backups() {
    let mut desk = Desk::new();
    // Room for the bytes, but not for so many files: what a look at the free bytes does not show.
    let Some(disk) = SmallDisk::mount(&desk.root.path().join("disk"), "size=64m,nr_inodes=60") else {
        return;
    };
    desk.plan.folder = disk.path.join("backups");
    let mut earlier = desk.plan.clone();
    earlier.name = "earlier".to_owned();
    desk.passes(Order::SecondPass(earlier.clone())).await;
    let kept = contents(&earlier.folder.join("earlier"));
    for number in 0..20 {
        File::create(disk.path.join(format!("filler-{number}"))).unwrap();
    }
    for order in [
        Order::FirstPass(desk.plan.clone()),
        Order::SecondPass(desk.plan.clone()),
    ] {
        let said = desk.fails(order).await;
        for part in [
            "backups/v1.0.0@120-1a2b3c4d/data/0",
            "expected room",
            "full",
            "No space left on device",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(contents(&earlier.folder.join("earlier")), kept);
        assert!(desk.plan.folder.join(&desk.plan.name).join("data/0/sub").exists());
    }
    for number in 0..20 {
        fs::remove_file(disk.path.join(format!("filler-{number}"))).unwrap();
    }
    let before = contents(&desk.plan.sources[0]);
    desk.passes(Order::SecondPass(desk.plan.clone())).await;
    fs::write(desk.plan.sources[0].join("sub/1"), "damaged").unwrap();
    desk.passes(Order::Restore(desk.plan.clone())).await;
    assert_eq!(contents(&desk.plan.sources[0]), before);
}

#[tokio::test]
async fn a_restore_without_room_changes_nothing() {
    let mut desk = Desk::new();
    let Some(disk) = SmallDisk::mount(&desk.root.path().join("disk"), "size=3m") else {
        return;
    };
    let data = disk.path.join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("large"), vec![1; 2 << 20]).unwrap();
    desk.plan.sources = vec![data.clone()];
    desk.passes(Order::SecondPass(desk.plan.clone())).await;
    fs::write(data.join("large"), vec![2; 2 << 20]).unwrap();
    let before = contents(&disk.path);
    let said = desk.fails(Order::Restore(desk.plan.clone())).await;
    for part in [
        "bytes free for the data to restore",
        "2097152",
        "found",
        "Make room",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(contents(&disk.path), before);
}

#[tokio::test]
async fn a_source_that_is_a_mount_point_is_restored_inside() {
    let mut desk = Desk::new();
    let Some(disk) = SmallDisk::mount(&desk.root.path().join("disk"), "size=16m,mode=0751") else {
        return;
    };
    let data = disk.path.clone();
    fs::create_dir(data.join("sub")).unwrap();
    fs::write(data.join("sub/file"), "old").unwrap();
    fs::create_dir(data.join("lost+found")).unwrap();
    fs::write(data.join("lost+found/inode"), "the system's").unwrap();
    desk.plan.sources = vec![data.clone()];
    desk.passes(Order::SecondPass(desk.plan.clone())).await;
    assert!(
        !desk
            .plan
            .folder
            .join(&desk.plan.name)
            .join("data/0/lost+found")
            .exists()
    );
    for round in 1..3 {
        fs::write(data.join("sub/file"), format!("new {round}")).unwrap();
        desk.passes(Order::Restore(desk.plan.clone())).await;
        assert_eq!(fs::read(data.join("sub/file")).unwrap(), b"old");
        assert_eq!(fs::read(data.join("lost+found/inode")).unwrap(), b"the system's");
        let aside = data.join(format!(".visor-before-rollback-{round}/sub/file"));
        assert_eq!(fs::read_to_string(aside).unwrap(), format!("new {round}"));
        assert!(!data.join(".visor-restoring").exists());
        let (_, copied) = desk.passes(Order::Restore(desk.plan.clone())).await;
        assert_eq!(copied, 0, "it is restored");
    }
    // What was moved aside is not backed up with the rest.
    desk.plan.name = "next".to_owned();
    let (bytes, _) = desk.passes(Order::SecondPass(desk.plan.clone())).await;
    assert_eq!(bytes, 3);
}

#[tokio::test]
async fn a_mount_point_inside_a_source_is_refused_by_name() {
    let mut desk = Desk::new();
    let Some(disk) = SmallDisk::mount(&desk.root.path().join("node/data"), "size=1m") else {
        return;
    };
    let node = disk.path.parent().unwrap().to_path_buf();
    desk.plan.sources = vec![node];
    let said = check_space(&desk.plan).unwrap_err().to_string();
    for said in [said, desk.fails(Order::SecondPass(desk.plan.clone())).await] {
        assert!(
            said.contains("another file system is mounted") && said.contains("node/data"),
            "{said}"
        );
    }
}
