//! What is different between two configurations, for the log, and when it takes effect.

use serde_json::Value;

use super::Config;

/// What visor uses when it begins and cannot exchange while it runs: the trust that plans were believed with, what it
/// listens on, whom it reports to, and its log.
const AT_START: [&str; 6] = [
    "governance.genesis",
    "http.listen",
    "log.format",
    "log.level",
    "reporter.key",
    "reporter.node",
];

/// One key with another value than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Sections and key, with dots.
    pub key: String,
    /// Its value before, without secrets.
    pub from: String,
    /// Its value now, without secrets.
    pub to: String,
}

impl Change {
    /// Whether it takes effect only when visor is started the next time. Everything else does at once, or with the next use of what it is
    /// about: the next retry, stop, staging, backup, hook or start of the node.
    #[must_use]
    pub fn needs_restart(&self) -> bool {
        AT_START.contains(&self.key.as_str())
    }
}

impl Config {
    /// What is different in `new`, in the order of the keys.
    #[must_use]
    pub fn diff(&self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        // Nothing but text, numbers and lists: there is nothing in it that JSON cannot say.
        let value = |config: &Self| serde_json::to_value(config).unwrap_or_default();
        compare("", &value(self), &value(new), &mut changes);
        let webhook = "notify.webhook";
        let told = changes.iter().any(|change| change.key == webhook);
        if self.notify.webhook != new.notify.webhook && !told {
            // Only what is not shown is different.
            changes.push(Change {
                key: webhook.to_owned(),
                from: format!("{:?}", self.notify.webhook),
                to: format!("{:?} (another path, query or user)", new.notify.webhook),
            });
        }
        changes
    }
}

fn compare(key: &str, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    if let (Value::Object(old), Value::Object(new)) = (old, new) {
        for (name, value) in old {
            let key = if key.is_empty() {
                name.clone()
            } else {
                format!("{key}.{name}")
            };
            compare(&key, value, new.get(name).unwrap_or(&Value::Null), changes);
        }
    } else if old != new {
        changes.push(Change {
            key: key.to_owned(),
            from: old.to_string(),
            to: new.to_string(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{TEMPLATE, parse};
    use super::*;

    fn config(text: &str) -> Config {
        parse(Path::new("f"), text).unwrap()
    }

    #[test]
    fn vis_13_every_changed_key_is_named_with_both_values() {
        let old = config("[hooks.before_stop]\ncommand = [\"/a\"]\n[http]\nlisten = \"127.0.0.1:9300\"");
        let new = config("[restart]\nmax_delay = \"2m\"\n[hooks.before_stop]\ncommand = [\"/a\", \"b\"]");
        let changes: Vec<String> = old
            .diff(&new)
            .into_iter()
            .map(|change| format!("{}: {} -> {}", change.key, change.from, change.to))
            .collect();
        assert_eq!(
            changes,
            [
                "hooks.before_stop.command: [\"/a\"] -> [\"/a\",\"b\"]",
                "http.listen: \"127.0.0.1:9300\" -> \"\"",
                "restart.max_delay: \"1m\" -> \"2m\"",
            ]
        );
        assert_eq!(new.diff(&new), []);
    }

    #[test]
    fn vis_13_a_webhook_is_shown_without_its_secrets() {
        let with = |path: &str| config(&format!("[notify]\nwebhook = \"https://u:p@example.org/{path}\""));
        let (old, new) = (with("SECRET?a"), with("SECRET?b"));
        for changes in [old.diff(&new), Config::default().diff(&new)] {
            assert_eq!(changes.len(), 1, "{changes:?}");
            assert_eq!(changes[0].key, "notify.webhook");
            let shown = format!("{changes:?}");
            assert!(shown.contains("https://example.org/…"), "{shown}");
            assert!(!shown.contains("SECRET") && !shown.contains("u:p"), "{shown}");
        }
    }

    #[test]
    fn vis_13_the_written_file_says_which_keys_need_a_restart() {
        let (mut section, mut comment) = (String::new(), String::new());
        let mut seen = 0;
        for line in TEMPLATE.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').to_owned();
                comment.clear();
            } else if let Some(text) = line.strip_prefix('#') {
                comment.push_str(text);
            } else if let Some((key, _)) = line.split_once(" = ") {
                let change = Change {
                    key: format!("{section}.{key}"),
                    from: String::new(),
                    to: String::new(),
                };
                let said = comment.contains("Takes effect when visor is started the next time.");
                assert_eq!(said, change.needs_restart(), "{}", change.key);
                seen += usize::from(said);
                comment.clear();
            }
        }
        assert_eq!(seen, AT_START.len());
    }
}
