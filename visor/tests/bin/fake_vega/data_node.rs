//! The data node: it gets the core's blocks, and publishes them in segments.

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{UnixListener, UnixStream};

use crate::LONGEST_LIFE;
use crate::behaviour::{Behaviour, Segments};
use crate::chain::numbers;
use crate::world::{World, put};

/// The exit code of one that cannot go on.
const FAILED: u8 = 1;

pub(crate) async fn live(world: &World) -> Result<u8> {
    if let Some(code) = world.behaviour()?.data_exit_at_start.get(&world.version) {
        return Ok(*code);
    }
    let mut height = restore(world)?;
    world.log(&format!("loaded {height} {}", world.version))?;
    let _ = fs::remove_file(world.events());
    let listener = UnixListener::bind(world.events())?;
    loop {
        let (stream, _) = listener.accept().await?;
        if let Some(code) = follow(world, &mut BufStream::new(stream), &mut height).await? {
            return Ok(code);
        }
        world.log("core-gone")?;
    }
}

/// After an end that was not orderly everything above the newest segment is lost, if there is one.
fn restore(world: &World) -> Result<u64> {
    let clean = world.home.join("clean");
    let height = if clean.exists() {
        height(world)
    } else {
        newest(world).unwrap_or_else(|| height(world))
    };
    let _ = fs::remove_file(clean);
    put(&world.home.join("height"), &height.to_string())?;
    Ok(height)
}

pub(crate) fn end_cleanly(world: &World) -> Result<()> {
    put(&world.home.join("clean"), "")
}

fn height(world: &World) -> u64 {
    numbers(&world.home.join("height")).first().copied().unwrap_or(0)
}

fn newest(world: &World) -> Option<u64> {
    numbers(&world.home.join("segments")).last().copied()
}

fn publish(world: &World, to: u64) -> Result<()> {
    let path = world.home.join("segments");
    let mut heights = numbers(&path);
    if heights.last().is_none_or(|last| *last < to) {
        heights.push(to);
    }
    let lines: Vec<String> = heights.iter().map(u64::to_string).collect();
    put(&path, &lines.join("\n"))
}

/// Until the core closes; then nothing, else the code to exit with.
async fn follow(world: &World, stream: &mut BufStream<UnixStream>, height: &mut u64) -> Result<Option<u8>> {
    let mut looks_for_its_first = true;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return Ok(None);
        }
        let (word, number) = line.trim().split_once(' ').context("a word and a number")?;
        let number: u64 = number.parse()?;
        let behaviour = world.behaviour()?;
        match word {
            "begin" if number > *height + 1 => {
                world.log(&format!("gap: the core begins at {number}, the last is {height}"))?;
                return Ok(Some(FAILED));
            }
            "begin" => {}
            "sync" => {
                stream.write_all(format!("ready {number}\n").as_bytes()).await?;
                stream.flush().await?;
            }
            "upgrade" if looks_for_its_first => world.log("upgrade-ignored")?,
            "upgrade" => {
                publish(world, *height)?;
                if !behaviour.data_never_ready {
                    world.log(&format!("ready {height} {}", world.version))?;
                    stream.write_all(format!("ready {height}\n").as_bytes()).await?;
                    stream.flush().await?;
                }
            }
            _ => {
                if number == *height + 1 {
                    looks_for_its_first = false;
                    *height = number;
                    if let Some(code) = block(world, &behaviour, number)? {
                        return Ok(Some(code));
                    }
                }
            }
        }
    }
}

fn block(world: &World, behaviour: &Behaviour, height: u64) -> Result<Option<u8>> {
    put(&world.home.join("height"), &height.to_string())?;
    let to = height.saturating_sub(behaviour.segment_lag);
    if to > 0 && to.is_multiple_of(behaviour.interval()) {
        publish(world, to)?;
    }
    let highest = world.home.join("highest");
    let is_new = numbers(&highest).first().is_none_or(|seen| *seen < height);
    if is_new {
        put(&highest, &height.to_string())?;
    }
    Ok(behaviour.exit_at(world.role, height).filter(|_| is_new))
}

pub(crate) fn print_latest_segment(world: &World) -> Result<ExitCode> {
    let mut output = io::stdout();
    let none = || -> Result<ExitCode> {
        writeln!(
            io::stdout(),
            "{}",
            json!({ "error": "no history segments found" })
        )?;
        Ok(ExitCode::FAILURE)
    };
    match (world.behaviour()?.segments, newest(world)) {
        (Segments::None, _) | (Segments::Answers, None) => return none(),
        (Segments::Fails, _) => {
            writeln!(io::stderr(), "the database is locked")?;
            return Ok(ExitCode::FAILURE);
        }
        (Segments::Garbage, _) => writeln!(output, "to be done")?,
        (Segments::Hangs, _) => std::thread::sleep(LONGEST_LIFE),
        (Segments::Answers, Some(to)) => {
            let segment =
                json!({ "from_height": 1, "to_height": to, "history_segment_id": format!("Qm{to}") });
            writeln!(output, "{}", json!({ "LatestSegment": segment }))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
