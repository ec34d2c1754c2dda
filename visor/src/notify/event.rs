//! What an operator is told: one JSON object per event, a versioned contract.

use serde::Serialize;

use crate::config::EventKind;

/// Grows when a field changes its meaning or goes; new fields may come at any time.
pub const SCHEMA: u32 = 1;

/// Longer reasons are cut: an event is for a chat or a pager, the log has the rest. Characters.
const MAX_REASON: usize = 1000;

/// One event. What does not apply is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The version that it is about.
    pub version: Option<String>,
    /// H of the upgrade that it is about.
    pub height: Option<u64>,
    /// The upgrade's id.
    pub proposal_id: Option<String>,
    /// The version before.
    pub from: Option<String>,
    /// The version after.
    pub to: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Which retry.
    pub retry: Option<u32>,
    /// Of how many.
    pub of: Option<u32>,
    /// When it follows, milliseconds.
    pub after_ms: Option<u64>,
    /// Whether the upgrade can be carried out at once.
    pub staged: Option<bool>,
    /// For people, without the host's name.
    pub message: String,
}

impl Event {
    /// An event with nothing but its message.
    #[must_use]
    pub fn new(kind: EventKind, message: String) -> Self {
        Self {
            kind,
            version: None,
            height: None,
            proposal_id: None,
            from: None,
            to: None,
            reason: None,
            retry: None,
            of: None,
            after_ms: None,
            staged: None,
            message: one_line(&message),
        }
    }

    /// With the version that it is about.
    #[must_use]
    pub fn version(mut self, version: impl ToString) -> Self {
        self.version = Some(version.to_string());
        self
    }

    /// With H.
    #[must_use]
    pub fn height(mut self, height: u64) -> Self {
        self.height = Some(height);
        self
    }

    /// With both versions of an upgrade.
    #[must_use]
    pub fn versions(mut self, from: impl ToString, to: impl ToString) -> Self {
        (self.from, self.to) = (Some(from.to_string()), Some(to.to_string()));
        self
    }

    /// With a reason.
    #[must_use]
    pub fn reason(mut self, reason: &str) -> Self {
        self.reason = Some(one_line(reason));
        self
    }

    /// With what comes next.
    #[must_use]
    pub fn retry(mut self, retry: u32, of: u32, after_ms: u64) -> Self {
        (self.retry, self.of, self.after_ms) = (Some(retry), Some(of), Some(after_ms));
        self
    }

    /// With whether it can be carried out.
    #[must_use]
    pub fn staged(mut self, staged: bool) -> Self {
        self.staged = Some(staged);
        self
    }

    /// Fills in the upgrade's id and height, when the event is about that version and does not name them itself.
    #[must_use]
    pub fn about(mut self, id: &str, version: &str, height: u64) -> Self {
        let about = self.version.as_deref().or(self.to.as_deref());
        if about == Some(version) {
            self.proposal_id.get_or_insert_with(|| id.to_owned());
            self.height.get_or_insert(height);
        }
        self
    }
}

fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(MAX_REASON)
        .collect();
    if text.chars().nth(MAX_REASON).is_some() {
        line.push('…');
    }
    line
}

/// The host that tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its name.
    pub host: String,
    /// Visor's home on it.
    pub home: std::path::PathBuf,
}

/// As it is sent. The order of the fields is the order of the text.
#[derive(Serialize)]
struct Sent<'a> {
    schema: u32,
    id: &'a str,
    event: EventKind,
    unix_ms: u64,
    host: &'a str,
    home: String,
    visor_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proposal_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    staged: Option<bool>,
    message: String,
}

/// One line of JSON.
pub(super) fn encode(event: &Event, facts: &Facts, id: &str, unix_ms: u64) -> String {
    let sent = Sent {
        schema: SCHEMA,
        id,
        event: event.kind,
        unix_ms,
        host: &facts.host,
        home: facts.home.display().to_string(),
        visor_version: env!("CARGO_PKG_VERSION"),
        version: event.version.as_deref(),
        height: event.height,
        proposal_id: event.proposal_id.as_deref(),
        from: event.from.as_deref(),
        to: event.to.as_deref(),
        reason: event.reason.as_deref(),
        retry: event.retry,
        of: event.of,
        after_ms: event.after_ms,
        staged: event.staged,
        message: format!("{}: {}", facts.host, event.message),
    };
    // Text, numbers and no maps: there is nothing in it that JSON cannot say.
    serde_json::to_string(&sent).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            host: "validator-1".to_owned(),
            home: "/srv/visor".into(),
        }
    }

    #[test]
    fn an_event_is_one_line_with_what_applies_and_nothing_else() {
        let event = Event::new(EventKind::StagingFailed, "staging 1.1.0 failed".to_owned())
            .version("1.1.0")
            .reason("line one\nline two")
            .about("abcd", "1.1.0", 100);
        assert_eq!(
            encode(&event, &facts(), "7-1", 1),
            format!(
                "{{\"schema\":1,\"id\":\"7-1\",\"event\":\"staging_failed\",\"unix_ms\":1,\"host\":\"validator-1\",\"home\":\"/srv/visor\",\
                 \"visor_version\":\"{}\",\"version\":\"1.1.0\",\"height\":100,\"proposal_id\":\"abcd\",\"reason\":\"line one line two\",\
                 \"message\":\"validator-1: staging 1.1.0 failed\"}}",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn an_event_about_another_version_gets_no_id() {
        let event = Event::new(EventKind::Upgraded, String::new())
            .versions("1.0.0", "1.1.0")
            .about("abcd", "1.2.0", 100);
        assert_eq!((event.proposal_id, event.height), (None, None));
    }

    #[test]
    fn a_long_reason_is_cut() {
        let event = Event::new(EventKind::Failed, String::new()).reason(&"ü".repeat(5000));
        assert_eq!(event.reason.unwrap().chars().count(), MAX_REASON + 1);
    }
}
