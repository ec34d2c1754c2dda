//! The question before signing, on a real terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::chain::Chain;
use crate::wallet::Wallet;

/// A terminal: the side of whoever looks at it, and how the side of the program is opened.
pub(crate) fn terminal() -> (OwnedFd, impl Fn() -> File) {
    let controller =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&controller).expect("it is ours");
    unlockpt(&controller).expect("it opens");
    let name = ptsname(&controller, Vec::new()).expect("it has a name");
    let open = move || {
        File::options()
            .read(true)
            .write(true)
            .open(name.to_str().expect("a readable name"))
            .expect("it opens")
    };
    (controller, open)
}

/// Runs the wallet with a terminal as its standard input and error, answers once it asks, and tells the exit code and all
/// that the terminal showed.
async fn answer(wallet: &Wallet, args: &[&str], answer: &'static str) -> (Option<i32>, String) {
    let (controller, open) = terminal();
    let mut command = wallet.command(args);
    command.stdin(open()).stderr(open()).stdout(Stdio::null());
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .expect("the wallet runs");
    let mut controller = File::from(controller);
    let reader = tokio::task::spawn_blocking(move || {
        let mut shown = Vec::new();
        let mut asked = false;
        let mut buffer = [0; 4096];
        // Reading fails once the wallet has closed its side.
        while let Ok(count @ 1..) = controller.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..count]);
            if !asked && String::from_utf8_lossy(&shown).contains("[y/N]") {
                asked = true;
                controller.write_all(answer.as_bytes()).expect("it reads");
            }
        }
        String::from_utf8_lossy(&shown).into_owned()
    });
    let status = tokio::time::timeout(Duration::from_secs(30), child.wait())
        .await
        .expect("it ends")
        .expect("it ran");
    (status.code(), reader.await.expect("it reads"))
}

#[tokio::test]
async fn nothing_is_sent_before_yes() {
    let chain = Chain::paused().await;
    let wallet = Wallet::with_key(&chain.url, 1).await;
    let binary = wallet.write("node", b"bytes");
    let artifact = format!("linux/amd64={}", binary.display());
    let propose = [
        "propose",
        "--version",
        "1.1.0",
        "--height",
        "100",
        "--artifact",
        &artifact,
    ];
    for no in ["n\n", "\n", "maybe\n", "\u{4}"] {
        let (code, shown) = answer(&wallet, &propose, no).await;
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains("nothing was signed"), "{shown}");
        assert_eq!(chain.pending(), 0, "{shown}");
    }
    let (code, shown) = answer(&wallet, &propose, "y\n").await;
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(chain.pending(), 1);
    for expected in [
        "on chain wallet-test-1 by validator-1 (power 1 of 4) with key me",
        "v1.1.0@100",
        "100 is the last block of the old version (in 98 blocks, about 49 s from now)",
        &format!("file://{}", binary.display()),
        "5 bytes, sha256 ",
    ] {
        assert!(shown.contains(expected), "{expected} should be in\n{shown}");
    }
    chain.advance(1);
    let voter = Wallet::with_key(&chain.url, 2).await;
    let (code, shown) = answer(&voter, &["vote", "approve", "v1.1.0@100"], "yes\n").await;
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("1 of 4 approve, 3 needed; 0 reject"), "{shown}");
    assert_eq!(chain.pending(), 1);
}
