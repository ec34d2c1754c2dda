//! The run configuration of a version that was installed: that of the version before it with another name and another binary, or one that
//! the operator has written for it (W-52).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::run_config::FILE_NAME;

/// Why there is no run configuration for the new version.
#[derive(Debug, thiserror::Error)]
pub enum DeriveError {
    /// The file cannot be read.
    #[error("read {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It is no TOML.
    #[error("read {path}: {message}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// It lacks what the new one needs.
    #[error("derive the new version's run configuration from {path}: expected {expected}, found none", path = path.display())]
    Lacking {
        /// The file.
        path: PathBuf,
        /// What is missing.
        expected: &'static str,
    },
}

/// The operator's own file for one release, in the home.
pub(super) fn override_of(home: &Path, tag: &str) -> PathBuf {
    home.join(format!("run-config.{tag}.toml"))
}

/// The text of the new version's file: the operator's own for this release word for word, else one made from that of the version in
/// `current`, in which everything that is not named here stays as it is.
pub(super) fn text_for(home: &Path, current: &Path, tag: &str, binary: &str) -> Result<String, DeriveError> {
    let own = override_of(home, tag);
    match fs::read_to_string(&own) {
        Ok(text) => return Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(DeriveError::Unreadable { path: own, source }),
    }
    let path = current.join(FILE_NAME);
    match fs::read_to_string(&path) {
        Ok(text) => derived(&path, &text, tag, binary),
        Err(source) => Err(DeriveError::Unreadable { path, source }),
    }
}

fn derived(path: &Path, text: &str, tag: &str, binary: &str) -> Result<String, DeriveError> {
    let invalid = |message: String| DeriveError::Invalid {
        path: path.to_path_buf(),
        message,
    };
    let lacking = |expected| DeriveError::Lacking {
        path: path.to_path_buf(),
        expected,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| invalid(error.message().to_owned()))?;
    set(&mut table, "name", tag.into());
    let vega = section(&mut table, "vega")
        .and_then(|vega| section(vega, "binary"))
        .ok_or_else(|| lacking("a table [vega.binary]"))?;
    set(vega, "path", binary.into());
    if let Some(data_node) = section(&mut table, "data_node") {
        let data_node = section(data_node, "binary").ok_or_else(|| lacking("a table [data_node.binary]"))?;
        set(data_node, "path", binary.into());
        let arguments = match value(data_node, "args") {
            Some(Value::Array(arguments)) => std::mem::take(arguments),
            _ => Vec::new(),
        };
        set(data_node, "args", Value::Array(for_one_binary(arguments)));
    }
    toml::to_string(&table).map_err(|error| invalid(error.to_string()))
}

/// A release is one binary, whose data node is a command of its own: `start ..` of a data node's binary is `datanode start ..` here.
fn for_one_binary(arguments: Vec<Value>) -> Vec<Value> {
    let first = arguments.first().and_then(Value::as_str);
    match first {
        Some("datanode") => arguments,
        // A flag is kept: there was no command in front of it.
        Some(flag) if flag.starts_with('-') => with_command(arguments),
        Some(_) => with_command(arguments.into_iter().skip(1)),
        None => with_command(arguments),
    }
}

fn with_command(rest: impl IntoIterator<Item = Value>) -> Vec<Value> {
    ["datanode", "start"]
        .into_iter()
        .map(Value::from)
        .chain(rest)
        .collect()
}

/// A key as Vega Visor finds it: written exactly so, else without regard to case.
fn key_of(table: &Table, key: &str) -> Option<String> {
    if table.contains_key(key) {
        return Some(key.to_owned());
    }
    let lower = key.to_lowercase();
    table.keys().find(|name| name.to_lowercase() == lower).cloned()
}

fn value<'a>(table: &'a mut Table, key: &str) -> Option<&'a mut Value> {
    let key = key_of(table, key)?;
    table.get_mut(&key)
}

fn section<'a>(table: &'a mut Table, key: &str) -> Option<&'a mut Table> {
    value(table, key)?.as_table_mut()
}

fn set(table: &mut Table, key: &str, value: Value) {
    let key = key_of(table, key).unwrap_or_else(|| key.to_owned());
    table.insert(key, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derive(text: &str) -> Table {
        let text = derived(Path::new("f"), text, "v0.80.0", "vega").unwrap();
        text.parse().unwrap()
    }

    #[test]
    fn w_52_the_new_file_is_the_old_one_with_another_name_and_binary() {
        let table = derive(
            r#"
            name = "v0.79.0"
            other = [1, { a = "b" }]
            [vega.binary]
            path = "/opt/vega-0.79"
            args = ["start", "--home", "/a b"]
            [vega.rpc]
            socketPath = "/tmp/vega.sock"
            httpPath = "/rpc"
            "#,
        );
        let expected: Table = r#"
            name = "v0.80.0"
            other = [1, { a = "b" }]
            [vega.binary]
            path = "vega"
            args = ["start", "--home", "/a b"]
            [vega.rpc]
            socketPath = "/tmp/vega.sock"
            httpPath = "/rpc"
            "#
        .parse()
        .unwrap();
        assert_eq!(table, expected);
    }

    #[test]
    fn the_data_node_becomes_a_command_of_the_one_binary() {
        for (old, new) in [
            (
                r#"["start", "--home=/d"]"#,
                r#"["datanode", "start", "--home=/d"]"#,
            ),
            (
                r#"["datanode", "start", "--home=/d"]"#,
                r#"["datanode", "start", "--home=/d"]"#,
            ),
            (r#"["datanode", "node"]"#, r#"["datanode", "node"]"#),
            (r#"["--home", "/d"]"#, r#"["datanode", "start", "--home", "/d"]"#),
            ("[]", r#"["datanode", "start"]"#),
        ] {
            let table = derive(&format!(
                "[VEGA.binary]\nPath = \"x\"\n[data_node.binary]\npath = \"dn\"\nargs = {old}\n"
            ));
            let data_node = &table["data_node"]["binary"];
            let expected: Table = format!("args = {new}").parse().unwrap();
            assert_eq!(data_node["args"], expected["args"], "{old}");
            assert_eq!(data_node["path"].as_str(), Some("vega"));
            // Keys are found as the original finds them, and none is doubled.
            assert_eq!(table["VEGA"]["binary"]["Path"].as_str(), Some("vega"));
            assert!(!table.contains_key("vega"));
        }
    }

    #[test]
    fn a_file_that_lacks_the_binary_is_refused() {
        for (text, problem) in [
            ("name = \"x\"", "[vega.binary]"),
            ("[vega]\nbinary = 1", "[vega.binary]"),
            ("[vega.binary]\npath = \"x\"\n[data_node]\n", "[data_node.binary]"),
            ("[vega", "f"),
        ] {
            let error = derived(Path::new("f"), text, "v0.80.0", "vega")
                .unwrap_err()
                .to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn w_52_an_override_for_the_release_is_taken_word_for_word() {
        let dir = tempfile::tempdir().unwrap();
        let text = "# mine\nname = \"any\"\n";
        fs::write(override_of(dir.path(), "v0.80.0"), text).unwrap();
        let found = |tag| text_for(dir.path(), &dir.path().join("genesis"), tag, "vega");
        assert_eq!(found("v0.80.0").unwrap(), text);
        let error = found("v0.81.0").unwrap_err();
        assert!(error.to_string().contains("genesis/run-config.toml"), "{error}");
    }
}
