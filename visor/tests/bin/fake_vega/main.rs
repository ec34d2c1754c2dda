//! A Vega core and its data node for visor's tests, in one program that misbehaves as the world's `behaviour.json` says (read again
//! before every block and every answer).
//!
//! It is the data node when its own file is called `data-node` or its first argument is `datanode`, else the core. The world is the
//! folder that holds its `--home`; everything that all its processes did stands in the world's file `log`, one line each, beginning
//! with `core` or `data`:
//!
//! - `start PID VERSION HEIGHT LOAD MONOTONIC_US UNIX_MS` before it takes its lock (HEIGHT: of its block store; LOAD: the snapshot that
//!   the command line names, or `-`), `end PID CODE MONOTONIC_US` while it still holds it;
//! - `loaded HEIGHT VERSION`, `halted HEIGHT VERSION`, `ready HEIGHT VERSION`;
//! - `past H VERSION HEIGHT`: a version that is not the upgrade's executes a block above H, since the halt was only in the memory of
//!   the process that came to it; `early H VERSION HEIGHT`: the new version executes a block at or below H;
//! - `DOUBLE ...`: another node of this home is alive, or a helper of one, or a process of another version beside it.
//!
//! Its version is what stands after the last `FAKE-VERSION:` at the very end of its own file; `hangs` as a second word there makes
//! `version` hang.

mod behaviour;
mod chain;
mod core;
mod data_node;
#[path = "../fake.rs"]
mod fake;
mod http;
mod rpc;
mod world;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::fake::trailer;
use crate::world::{Role, World};

/// Nothing of a test waits for longer; what nobody ends must not outlive the tests.
pub(crate) const LONGEST_LIFE: Duration = Duration::from_secs(300);

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut rest: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let named_data_node = std::env::args().next().is_some_and(|name| {
        Path::new(&name)
            .file_name()
            .is_some_and(|name| name == "data-node")
    });
    let subcommand = rest.first() == Some(&"datanode");
    if subcommand {
        rest.remove(0);
    }
    let role = if named_data_node || subcommand {
        Role::DataNode
    } else {
        Role::Core
    };
    match rest[..] {
        ["version", "--output", "json"] => print_version(),
        ["start" | "node", ref flags @ ..] => run(World::of(role, home(flags)?, version()?)?, flags),
        ["network-history", "latest-history-segment", ref flags @ ..] if role == Role::DataNode => {
            data_node::print_latest_segment(&World::of(role, home(flags)?, version()?)?)
        }
        ["tools", "snapshot", ref flags @ ..] if role == Role::Core => {
            core::print_snapshots(&World::of(role, home(flags)?, version()?)?)
        }
        ["helper", home] => world::helper(Path::new(home)),
        _ => bail!("unknown arguments {arguments:?}"),
    }
}

fn run(world: World, flags: &[&str]) -> Result<ExitCode> {
    let load = match flag(flags, "--snapshot.load-from-block-height") {
        Some(text) => Some(text.parse::<i64>().context("the height of the snapshot")?),
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let height = chain::Chain::of(&world)?.store();
    let Some(_alive) = world.begin(height, load)? else {
        return Ok(ExitCode::from(world::DOUBLE));
    };
    let code = runtime.block_on(async {
        let life = async {
            match world.role {
                Role::Core => core::live(&world, load).await,
                Role::DataNode => data_node::live(&world).await,
            }
        };
        tokio::select! {
            code = life => code,
            code = world.terminated() => code,
            () = tokio::time::sleep(LONGEST_LIFE) => Ok(0),
        }
    })?;
    world.end(&code.to_string())?;
    Ok(ExitCode::from(code))
}

/// The value of `--name value` or `--name=value`; the last one counts.
fn flag<'a>(flags: &[&'a str], name: &str) -> Option<&'a str> {
    let mut found = None;
    for (index, word) in flags.iter().enumerate() {
        if let Some(rest) = word.strip_prefix(name) {
            if let Some(value) = rest.strip_prefix('=') {
                found = Some(value);
            } else if rest.is_empty() {
                found = flags.get(index + 1).copied();
            }
        }
    }
    found
}

fn home<'a>(flags: &[&'a str]) -> Result<&'a Path> {
    flag(flags, "--home").map(Path::new).context("--home is missing")
}

fn version() -> Result<String> {
    Ok(trailer()?
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}

fn print_version() -> Result<ExitCode> {
    if trailer()?.split_whitespace().nth(1) == Some("hangs") {
        std::thread::sleep(LONGEST_LIFE);
    }
    writeln!(
        io::stdout(),
        "{}",
        serde_json::json!({ "version": version()?, "hash": "0".repeat(40) })
    )?;
    Ok(ExitCode::SUCCESS)
}
