//! Why the releases do not say where a version is.

use std::time::Duration;

use super::PATIENCE;

/// Why the releases do not say where the version is.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The client could not be made, which the TLS settings of this host decide.
    #[error("prepare requests to {server}")]
    Client {
        /// The server.
        server: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// The server could not be reached, or broke off.
    #[error("ask {server} for {path}")]
    Http {
        /// The server.
        server: String,
        /// What was asked for.
        path: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// The whole answer took too long.
    #[error("ask {server} for {path}: no whole answer within {PATIENCE:?}")]
    TooSlow {
        /// The server.
        server: String,
        /// What was asked for.
        path: String,
    },
    /// The server wants to know who asks.
    #[error("ask {server} for {path}: the server answered {status} ({message}). {hint}")]
    NotAllowed {
        /// The server.
        server: String,
        /// What was asked for.
        path: String,
        /// Its answer.
        status: u16,
        /// Its words.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// The server has been asked too often.
    #[error(
        "ask {server} for {path}: the server's rate limit is reached ({message}). It is asked again in {seconds} s; a token raises the \
         limit (autoInstall.token or autoInstall.tokenFile)"
    )]
    RateLimited {
        /// The server.
        server: String,
        /// What was asked for.
        path: String,
        /// Its words.
        message: String,
        /// Until then it is left alone.
        seconds: u64,
    },
    /// Another refusal.
    #[error("ask {server} for {path}: expected an answer 200, found {status} ({message})")]
    Status {
        /// The server.
        server: String,
        /// What was asked for.
        path: String,
        /// Its answer.
        status: u16,
        /// Its words.
        message: String,
    },
    /// More than any answer has.
    #[error("ask {server} for {path}: expected an answer of at most {limit} bytes, found more")]
    TooLong {
        /// The server.
        server: String,
        /// What was asked for.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// Not GitHub's shape.
    #[error(
        "ask {server} for {path}: expected JSON in the shape of GitHub's releases API, found {found:?} (autoInstall.baseUrl)"
    )]
    Shape {
        /// The server.
        server: String,
        /// What was asked for.
        path: String,
        /// How it begins.
        found: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such repository, or it is not shown to everybody.
    #[error(
        "find {repository} at {server}: no such repository. Check autoInstall.repositoryOwner, autoInstall.repository and \
         autoInstall.baseUrl; a private repository needs a token that may read it"
    )]
    NoRepository {
        /// The server.
        server: String,
        /// Owner and name.
        repository: String,
    },
    /// The repository does not have that release.
    #[error(
        "find release {tag} of {repository} at {server}: expected a release with exactly this tag, found {}. Once it is published, \
         installation goes on by itself",
        listed(found)
    )]
    NoRelease {
        /// The server.
        server: String,
        /// Owner and name.
        repository: String,
        /// The wanted tag.
        tag: String,
        /// The newest tags.
        found: Vec<String>,
    },
}

impl ReleaseError {
    /// How long the server is to be left alone.
    pub(in super::super) fn pause(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { seconds, .. } => Some(Duration::from_secs(*seconds)),
            Self::Client { .. }
            | Self::Http { .. }
            | Self::TooSlow { .. }
            | Self::NotAllowed { .. }
            | Self::Status { .. }
            | Self::TooLong { .. }
            | Self::Shape { .. }
            | Self::NoRepository { .. }
            | Self::NoRelease { .. } => None,
        }
    }
}

/// The first few of them, for a message.
pub(in super::super) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = format!("and {} more", names.len().saturating_sub(SHOWN));
    if names.len() > SHOWN {
        text.push(&more);
    }
    if text.is_empty() {
        return "none at all".to_owned();
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut() {
        let names = |count: u32| -> Vec<String> { (0..count).map(|number| format!("v{number}")).collect() };
        assert_eq!(listed(&names(0)), "none at all");
        assert_eq!(listed(&names(2)), "v0, v1");
        assert!(listed(&names(14)).ends_with("v11, and 2 more"));
    }
}
