//! `visor config check`: whether `visor run` would take the configuration, and what in it is not the default.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::text::harmless;
use super::{CommandError, print};
use crate::adapter::vega;
use crate::certificate::Pin;
use crate::config::{Config, ConfigError, TEMPLATE, WebAddress, parse};
use crate::exit_code;
use crate::home::Home;

#[derive(clap::Args)]
pub(super) struct ConfigArguments {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(clap::Subcommand)]
enum ConfigCommand {
    /// Check config.toml as `visor run` would, and print what is not the default; works offline
    Check(CheckArguments),
}

#[derive(clap::Args)]
struct CheckArguments {
    /// The home of visor
    #[arg(
        long,
        env = "VISOR_HOME",
        value_name = "DIR",
        required_unless_present = "file"
    )]
    home: Option<PathBuf>,
    /// A file that is not in place yet, instead of the home's config.toml
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn config(arguments: &ConfigArguments) -> Result<u8, CommandError> {
    match &arguments.command {
        ConfigCommand::Check(arguments) => check(arguments),
    }
}

/// The genesis that the file names cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("use governance.genesis of {config}", config = config.display())]
struct Genesis {
    config: PathBuf,
    #[source]
    source: crate::certificate::PinError,
}

fn check(arguments: &CheckArguments) -> Result<u8, CommandError> {
    let home = match &arguments.home {
        Some(home) => Some(Home::open(home)?),
        None => None,
    };
    let path = match (&arguments.file, &home) {
        (Some(file), _) => file.clone(),
        (None, Some(home)) => home.config(),
        // The command line demands one of the two.
        (None, None) => PathBuf::from("config.toml"),
    };
    let is_vega = match &home {
        Some(home) => vega::is_vega_home(home),
        None => vega::is_vega_config(&path),
    };
    let checked = if is_vega {
        read_vega(&path, home.as_ref())
    } else {
        read(&path, home.as_ref()).map(|changed| Checked {
            changed,
            ..Checked::default()
        })
    };
    if arguments.json {
        let problem = checked.as_ref().err().map(|error| super::chain(error));
        let changed = checked.as_ref().map_or(&[][..], |checked| &checked.changed);
        let unknown = checked.as_ref().map_or(&[][..], |checked| &checked.unknown);
        print(
            &json!({
                "schema": 1,
                "file": path.to_string_lossy(),
                "valid": problem.is_none(),
                "problem": problem,
                "changed": changed.iter().map(|change| json!({
                    "key": change.key,
                    "value": change.value,
                    "default": change.default,
                })).collect::<Vec<Value>>(),
                "unknown": unknown,
            })
            .to_string(),
        )?;
        checked?;
    } else {
        print(&to_text(&path, &checked?))?;
    }
    Ok(exit_code::SUCCESS)
}

/// What was found in a configuration that can be used.
#[derive(Default)]
struct Checked {
    changed: Vec<Change>,
    /// Keys that nobody knows: tolerated in a file of Vega's, and nowhere else.
    unknown: Vec<String>,
}

/// A key with another value than its default. Values are TOML; a key without a default has none.
struct Change {
    key: String,
    value: String,
    default: Option<String>,
}

fn read(path: &Path, home: Option<&Home>) -> Result<Vec<Change>, CommandError> {
    let config = Config::read(path)?;
    let genesis = &config.governance.genesis;
    if !genesis.as_os_str().is_empty()
        && let Some(home) = home
    {
        // Relative to the home, wherever the file lies: that is where it would be used.
        Pin::read(&home.root().join(genesis)).map_err(|source| {
            let config = path.to_path_buf();
            CommandError::new(exit_code::CONFIG, Genesis { config, source })
        })?;
    }
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_path_buf(),
        source,
    })?;
    let found: toml::Table = parse(path, &text)?;
    let default: toml::Table = parse(path, TEMPLATE)?;
    let mut changes = Vec::new();
    compare(&mut Vec::new(), &found, &default, &mut changes);
    Ok(changes)
}

/// Vega's file, and what stands in visor's own beside it.
fn read_vega(path: &Path, home: Option<&Home>) -> Result<Checked, CommandError> {
    let visor = home.map(|home| home.root().join(vega::VISOR_FILE));
    let unknown = vega::check_config(path, visor.as_deref())?;
    let default = without_case(parse(path, &vega::written_config())?);
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_path_buf(),
        source,
    })?;
    let mut changed = Vec::new();
    of_vega(&mut Vec::new(), &parse(path, &text)?, &default, &mut changed);
    if let Some(visor) = visor.filter(|visor| visor.exists()) {
        changed.extend(read(&visor, None)?);
    }
    Ok(Checked {
        changed,
        unknown: unknown.into_iter().collect(),
    })
}

/// Vega knows its keys in any case.
fn without_case(table: toml::Table) -> toml::Table {
    let lower = table.into_iter().map(|(key, value)| {
        let value = match value.as_table() {
            Some(table) => toml::Value::Table(without_case(table.clone())),
            None => value,
        };
        (key.to_lowercase(), value)
    });
    lower.collect()
}

fn of_vega(at: &mut Vec<String>, found: &toml::Table, default: &toml::Table, changes: &mut Vec<Change>) {
    for (name, value) in found {
        at.push(name.clone());
        let known = default.get(&name.to_lowercase());
        if let toml::Value::Table(found) = value {
            let empty = toml::Table::new();
            let default = known.and_then(toml::Value::as_table).unwrap_or(&empty);
            of_vega(at, found, default, changes);
        } else if known != Some(value) {
            let key = at.join(".");
            let value = match key.to_lowercase().as_str() {
                "autoinstall.token" => "\"…\"".to_owned(),
                "autoinstall.baseurl" => shown("notify.webhook", value),
                _ => value.to_string(),
            };
            changes.push(Change {
                value,
                default: known.map(ToString::to_string),
                key,
            });
        }
        at.pop();
    }
}

fn compare(at: &mut Vec<String>, found: &toml::Table, default: &toml::Table, changes: &mut Vec<Change>) {
    for (name, value) in found {
        at.push(name.clone());
        let known = default.get(name);
        if let toml::Value::Table(found) = value {
            let empty = toml::Table::new();
            let default = known.and_then(toml::Value::as_table).unwrap_or(&empty);
            compare(at, found, default, changes);
        } else if known != Some(value) && !means_the_default(at, value) {
            let key = at.join(".");
            changes.push(Change {
                value: shown(&key, value),
                default: known.map(ToString::to_string),
                key,
            });
        }
        at.pop();
    }
}

/// `300s` is not written like `5m`, and means the same.
fn means_the_default(at: &[String], value: &toml::Value) -> bool {
    let alone = at.iter().rev().fold(value.clone(), |inner, name| {
        let mut outer = toml::Table::new();
        outer.insert(name.clone(), inner);
        toml::Value::Table(outer)
    });
    alone
        .try_into::<Config>()
        .is_ok_and(|config| config == Config::default())
}

/// As it may be shown: the address of a webhook usually is its password.
fn shown(key: &str, value: &toml::Value) -> String {
    match value.as_str().filter(|_| key == "notify.webhook") {
        Some(address) => format!("{:?}", WebAddress::from(address.to_owned())),
        None => value.to_string(),
    }
}

fn to_text(path: &Path, checked: &Checked) -> String {
    let mut text = format!("{} can be used", path.display());
    if checked.changed.is_empty() {
        text.push_str("; every key has its default");
    }
    for key in &checked.unknown {
        // Writing to a string does not fail.
        let _ = write!(text, "\n{} is not known and counts for nothing", harmless(key));
    }
    for change in &checked.changed {
        // Writing to a string does not fail.
        let _ = write!(text, "\n{} = {}", change.key, harmless(&change.value));
        if let Some(default) = &change.default {
            let _ = write!(text, "    (default {default})");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_in_other_words_is_no_change_and_a_webhook_keeps_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(
            &path,
            "[restart]\nhealthy_after = \"300s\"\nmax_retries = 9\n[hooks.before_stop]\ncommand = [\"/bin/true\"]\n\
             [notify]\nwebhook = \"https://u:p@hooks.example/T0/secret?x=y\"\n",
        )
        .unwrap();
        let changes = read(&path, None).unwrap();
        let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "hooks.before_stop.command",
                "notify.webhook",
                "restart.max_retries"
            ]
        );
        assert_eq!(changes[1].value, "\"https://hooks.example/…\"");
        assert_eq!(changes[2].default.as_deref(), Some("5"));
    }
}
