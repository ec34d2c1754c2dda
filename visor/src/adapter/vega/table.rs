//! TOML as Vega Visor reads it: a key that is written exactly so counts, else one that differs in upper and lower case only; what nobody
//! knows is passed over and remembered by its name; a value of the wrong kind is refused with its line.
//!
//! No error ever shows a value that was not asked for: one of these files may hold a token.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::ConfigError;

/// A file of the operator is some kilobytes; one that is larger is something else.
const MAX_FILE: u64 = 1 << 20;

/// The text of a file.
pub(super) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_path_buf(),
        source,
    };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_FILE {
        return Err(ConfigError::Invalid {
            path: path.to_path_buf(),
            message: format!("expected a file of at most {MAX_FILE} bytes, found one of {size}"),
        });
    }
    fs::read_to_string(path).map_err(unreadable)
}

/// A file that is being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

/// One table of it, of which each asked key is taken off.
#[derive(Debug)]
pub(super) struct Table<'a> {
    source: Source<'a>,
    /// Sections, each with a dot behind it.
    prefix: String,
    entries: BTreeMap<String, Spanned<DeValue<'a>>>,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds of TOML values are not ours, and of each key only one is right"
)]
impl<'a> Table<'a> {
    /// Reads a whole file.
    ///
    /// # Errors
    /// When it is no TOML.
    pub(super) fn parse(path: &'a Path, text: &'a str) -> Result<Self, ConfigError> {
        let source = Source { path, text };
        // A mark that some editors put in front.
        let content = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = Source {
            text: content,
            ..source
        };
        match DeTable::parse(content) {
            Ok(table) => Ok(Self::of(source, String::new(), table.into_inner())),
            Err(error) => Err(source.refuse(error.span(), error.message())),
        }
    }

    fn of(source: Source<'a>, prefix: String, table: DeTable<'a>) -> Self {
        let entries = table.into_iter();
        Self {
            source,
            prefix,
            entries: entries
                .map(|(key, value)| (key.into_inner().into_owned(), value))
                .collect(),
        }
    }

    /// Whether there is something of this name.
    pub(super) fn has(&self, key: &str) -> bool {
        self.name_of(key).is_some()
    }

    /// The line of what has this name, counted from 1.
    pub(super) fn line_of(&self, key: &str) -> Option<usize> {
        let value = self.entries.get(&self.name_of(key)?)?;
        Some(self.source.line(value.span().start))
    }

    fn name_of(&self, key: &str) -> Option<String> {
        if self.entries.contains_key(key) {
            return Some(key.to_owned());
        }
        let lower = key.to_lowercase();
        self.entries
            .keys()
            .find(|name| name.to_lowercase() == lower)
            .cloned()
    }

    fn take(&mut self, key: &str) -> Option<Spanned<DeValue<'a>>> {
        let name = self.name_of(key)?;
        self.entries.remove(&name)
    }

    /// Takes a table; an empty one when it is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn table(&mut self, key: &str) -> Result<Self, ConfigError> {
        Ok(self.table_if_any(key)?.unwrap_or_else(|| Self {
            source: self.source,
            prefix: format!("{}{key}.", self.prefix),
            entries: BTreeMap::new(),
        }))
    }

    /// Takes a table, if it is there.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn table_if_any(&mut self, key: &str) -> Result<Option<Self>, ConfigError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => {
                let prefix = format!("{}{key}.", self.prefix);
                Ok(Some(Self::of(self.source, prefix, table)))
            }
            other => Err(self.wrong(key, span, "a table", &other)),
        }
    }

    /// Takes a text, if it is there.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let span = value.span();
        match value.into_inner() {
            DeValue::String(text) => Ok(Some(text.into_owned())),
            other => Err(self.wrong(key, span, "a text in quotes", &other)),
        }
    }

    /// Takes a text and what it means.
    ///
    /// # Errors
    /// When it is no text, or `meaning` says what it expects instead.
    pub(super) fn meant<T>(
        &mut self,
        key: &str,
        meaning: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Result<Option<T>, ConfigError> {
        self.meant_shown(key, meaning, |text| format!("{text:?}"))
    }

    /// The same, for a text that errors show in another form.
    ///
    /// # Errors
    /// When it is no text, or `meaning` says what it expects instead.
    pub(super) fn meant_shown<T>(
        &mut self,
        key: &str,
        meaning: impl Fn(&str) -> Result<T, &'static str>,
        shown: impl Fn(&str) -> String,
    ) -> Result<Option<T>, ConfigError> {
        let span = self
            .name_of(key)
            .and_then(|name| self.entries.get(&name).map(Spanned::span));
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        meaning(&text).map(Some).map_err(|expected| {
            let key = format!("{}{key}", self.prefix);
            let found = shown(&text);
            self.source
                .refuse(span, &format!("{key}: expected {expected}, found {found}"))
        })
    }

    /// Takes a list of texts; an empty one when it is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn texts(&mut self, key: &str) -> Result<Vec<String>, ConfigError> {
        let Some(value) = self.take(key) else {
            return Ok(Vec::new());
        };
        let span = value.span();
        let values = match value.into_inner() {
            DeValue::Array(values) => values,
            other => return Err(self.wrong(key, span, "a list of texts", &other)),
        };
        let texts = values.into_iter().map(|value| {
            let span = value.span();
            match value.into_inner() {
                DeValue::String(text) => Ok(text.into_owned()),
                other => Err(self.wrong(key, span, "a list of texts", &other)),
            }
        });
        texts.collect()
    }

    /// Takes a switch, if it is there.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn switch(&mut self, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let span = value.span();
        match value.into_inner() {
            DeValue::Boolean(on) => Ok(Some(on)),
            other => Err(self.wrong(key, span, "true or false", &other)),
        }
    }

    /// Takes a whole number that is not negative, if it is there. One that is too large for any use becomes the largest.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn count(&mut self, key: &str) -> Result<Option<u32>, ConfigError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let span = value.span();
        let expected = "a whole number that is not negative";
        match value.get_ref() {
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) if number >= 0 => Ok(Some(u32::try_from(number).unwrap_or(u32::MAX))),
                Ok(_) | Err(_) => {
                    let key = format!("{}{key}", self.prefix);
                    let problem = format!("{key}: expected {expected}, found {number}");
                    Err(self.source.refuse(Some(span), &problem))
                }
            },
            other => Err(self.wrong(key, span, expected, other)),
        }
    }

    /// Takes all that is left as texts by name.
    ///
    /// # Errors
    /// When one of them is something else, or means nothing.
    pub(super) fn all_meant<T>(
        mut self,
        meaning: impl Fn(&str, &str) -> Result<T, &'static str>,
    ) -> Result<BTreeMap<String, T>, ConfigError> {
        let keys: Vec<String> = self.entries.keys().cloned().collect();
        let mut all = BTreeMap::new();
        for key in keys {
            if let Some(value) = self.meant(&key, |text| meaning(&key, text))? {
                all.insert(key, value);
            }
        }
        Ok(all)
    }

    /// Names what nobody asked for.
    pub(super) fn end(self, unknown: &mut BTreeSet<String>) {
        let prefix = self.prefix;
        unknown.extend(self.entries.into_keys().map(|key| format!("{prefix}{key}")));
    }

    fn wrong(&self, key: &str, span: Range<usize>, expected: &str, found: &DeValue<'_>) -> ConfigError {
        let found = match found {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "a switch",
            DeValue::Datetime(_) => "a time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let key = format!("{}{key}", self.prefix);
        let problem = format!("{key}: expected {expected}, found {found}");
        self.source.refuse(Some(span), &problem)
    }
}

impl Source<'_> {
    fn line(&self, start: usize) -> usize {
        let before = self.text.get(..start).unwrap_or_default();
        before.matches('\n').count() + 1
    }

    fn refuse(&self, span: Option<Range<usize>>, problem: &str) -> ConfigError {
        let line = span.map(|span| self.line(span.start));
        ConfigError::Invalid {
            path: PathBuf::from(self.path),
            message: match line {
                Some(line) => format!("line {line}: {problem}"),
                None => problem.to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table<'_> {
        Table::parse(Path::new("f.toml"), text).unwrap()
    }

    #[test]
    fn a_key_is_matched_exactly_or_else_without_regard_to_case() {
        let mut exact = table("Name = \"other\"\nname = \"this\"\nNAME = \"third\"");
        assert_eq!(exact.text("name").unwrap().as_deref(), Some("this"));
        let mut unknown = BTreeSet::new();
        exact.end(&mut unknown);
        assert_eq!(unknown.into_iter().collect::<Vec<_>>(), ["NAME", "Name"]);

        let mut loose = table("[DATA_node.Binary]\nPATH = \"x\"");
        let mut data_node = loose.table("data_node").unwrap();
        let mut binary = data_node.table("binary").unwrap();
        assert_eq!(binary.text("path").unwrap().as_deref(), Some("x"));
        assert_eq!(binary.text("path").unwrap(), None);
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_with_line_and_key_and_without_the_value() {
        let refused = |text: &str, read: fn(&mut Table<'_>) -> Result<(), ConfigError>| {
            let mut table = table(text);
            read(&mut table).unwrap_err().to_string()
        };
        for (error, parts) in [
            (
                refused("\n\nkey = 1", |table| table.text("key").map(drop)),
                ["line 3: key: expected a text in quotes", "found a whole number"],
            ),
            (
                refused("key = \"SECRET\"", |table| table.count("key").map(drop)),
                [
                    "line 1: key: expected a whole number that is not negative",
                    "found a text",
                ],
            ),
            (
                refused("a = 1\nkey = -5", |table| table.count("key").map(drop)),
                [
                    "line 2: key: expected a whole number that is not negative",
                    "found -5",
                ],
            ),
            (
                refused("key = 1.5", |table| table.count("key").map(drop)),
                ["line 1: key", "found a number with a point"],
            ),
            (
                refused("key = [\"a\",\n1]", |table| table.texts("key").map(drop)),
                ["line 2: key: expected a list of texts", "found a whole number"],
            ),
            (
                refused("key = \"yes\"", |table| table.switch("key").map(drop)),
                ["line 1: key: expected true or false", "found a text"],
            ),
            (
                refused("[[key]]", |table| table.table("key").map(drop)),
                ["key: expected a table", "found a list"],
            ),
        ] {
            for part in parts {
                assert!(error.contains(part), "{part} in {error}");
            }
            assert!(!error.contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_line_and_without_its_words() {
        let text = "a = 1\ntoken = \"SECRET\nb = 2";
        let error = Table::parse(Path::new("f.toml"), text).unwrap_err().to_string();
        assert!(error.contains("f.toml: line 2"), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
    }

    #[test]
    fn a_number_may_be_written_in_every_way_and_is_never_too_large() {
        for (text, value) in [
            ("0x10", 16),
            ("0b11", 3),
            ("0o17", 15),
            ("1_000", 1000),
            ("+7", 7),
            ("9223372036854775807", u32::MAX),
        ] {
            let text = format!("key = {text}");
            assert_eq!(table(&text).count("key").unwrap(), Some(value), "{text}");
        }
    }
}
