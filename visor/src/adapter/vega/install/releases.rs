//! The releases of a repository, in the shape of GitHub's API.
//!
//! Every listing is read page by page to its end (W-49), and every answer, number of pages and wait has a limit. The token is sent to the
//! configured address and nowhere else, and never shown.

mod error;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LINK, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;

pub use self::error::ReleaseError;
pub(super) use self::error::listed;
use crate::adapter::vega::config::{AutoInstall, Secret};

/// Releases or assets on one page: the most that GitHub gives.
const PER_PAGE: usize = 100;
/// GitHub lists at most 1000 assets of a release, and the newest releases first.
const MAX_PAGES: u32 = 20;
/// The longest answer, bytes: 100 releases with some dozens of assets each are about 5 MB.
const MAX_ANSWER: usize = 32 << 20;
/// The longest digest file, bytes: one line per asset.
const MAX_DIGESTS: usize = 1 << 20;
/// How long one answer may take as a whole.
const PATIENCE: Duration = Duration::from_secs(60);
/// A server that says nothing of when to come back is asked again after so long.
const DEFAULT_PAUSE: Duration = Duration::from_secs(60);
/// GitHub's limit is renewed within the hour; a server that wants more is not obeyed.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// One release.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Release {
    /// Names it in addresses.
    pub(super) id: u64,
    /// What operators and proposals call it.
    pub(super) tag_name: String,
}

/// One file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Asset {
    /// Names it in addresses.
    pub(super) id: u64,
    /// The file's name.
    pub(super) name: String,
    /// Bytes.
    pub(super) size: Option<u64>,
    /// `uploaded` when it is whole.
    pub(super) state: Option<String>,
    /// Changes with its content.
    pub(super) updated_at: Option<String>,
    /// `sha256:` and hexadecimal digits, where the server knows it.
    pub(super) digest: Option<String>,
}

/// The API of one repository.
#[derive(Debug)]
pub(super) struct Releases<'a> {
    client: Client,
    settings: &'a AutoInstall,
    token: Option<&'a Secret>,
    /// For messages: without user and password.
    server: String,
}

impl<'a> Releases<'a> {
    pub(super) fn new(client: Client, settings: &'a AutoInstall, token: Option<&'a Secret>) -> Self {
        Self {
            client,
            settings,
            token,
            server: settings.base_url.to_string(),
        }
    }

    /// The release with exactly this tag.
    pub(super) async fn find(&self, tag: &str) -> Result<Release, ReleaseError> {
        let path = format!("{}/tags/{}", self.releases(), escaped(tag));
        let found = self.get(&path).await?;
        if let Some(answer) = found {
            let release: Release = self.parse(&path, &answer.body)?;
            // A server that answers with a redirect to its latest release must not choose the version.
            if release.tag_name == tag {
                return Ok(release);
            }
        }
        // Drafts, and servers that know no tags, only have the listing.
        let mut tags = Vec::new();
        let listing = format!("{}?", self.releases());
        let found = self
            .pages(&listing, |release: Release| {
                if release.tag_name == tag {
                    return Some(release);
                }
                tags.push(release.tag_name);
                None
            })
            .await?;
        match found {
            Pages::Found(release) => Ok(release),
            Pages::End => Err(ReleaseError::NoRelease {
                server: self.server.clone(),
                repository: self.repository(),
                tag: tag.to_owned(),
                found: tags,
            }),
            Pages::Missing => Err(ReleaseError::NoRepository {
                server: self.server.clone(),
                repository: self.repository(),
            }),
        }
    }

    /// Every file of a release.
    pub(super) async fn assets(&self, release: &Release) -> Result<Vec<Asset>, ReleaseError> {
        let mut assets = Vec::new();
        let listing = format!("{}/{}/assets?", self.releases(), release.id);
        let pages = self
            .pages(&listing, |asset: Asset| {
                assets.push(asset);
                None::<()>
            })
            .await?;
        match pages {
            Pages::Found(()) | Pages::End => Ok(assets),
            Pages::Missing => Err(self.status(&listing, StatusCode::NOT_FOUND, "")),
        }
    }

    /// The content of a small file of a release.
    pub(super) async fn text(&self, asset: &Asset) -> Result<String, ReleaseError> {
        let path = self.asset_path(asset);
        let request = self.request(&path, "application/octet-stream");
        let answer = self.answer(&path, request, MAX_DIGESTS).await?;
        match answer {
            Some(answer) => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
            None => Err(self.status(&path, StatusCode::NOT_FOUND, "")),
        }
    }

    /// A request for the content of a file, and how to name it in messages.
    pub(super) fn content(&self, asset: &Asset) -> (RequestBuilder, String) {
        let path = self.asset_path(asset);
        let request = self.request(&path, "application/octet-stream");
        (request, format!("{} ({path} at {})", asset.name, self.server))
    }

    /// Why a request for a file's content was refused.
    pub(super) async fn refusal(&self, asset: &Asset, response: Response) -> ReleaseError {
        let path = self.asset_path(asset);
        let status = response.status();
        let headers = response.headers().clone();
        let body = self.body(&path, response, MAX_DIGESTS).await.unwrap_or_default();
        self.refused(&path, status, &headers, &body)
    }

    fn asset_path(&self, asset: &Asset) -> String {
        format!("{}/assets/{}", self.releases(), asset.id)
    }

    fn releases(&self) -> String {
        let AutoInstall {
            repository_owner,
            repository,
            ..
        } = self.settings;
        format!(
            "/repos/{}/{}/releases",
            escaped(repository_owner),
            escaped(repository)
        )
    }

    fn repository(&self) -> String {
        format!("{}/{}", self.settings.repository_owner, self.settings.repository)
    }

    /// Goes through a listing until `take` has what it wants.
    async fn pages<T: for<'de> Deserialize<'de>, F>(
        &self,
        listing: &str,
        mut take: impl FnMut(T) -> Option<F>,
    ) -> Result<Pages<F>, ReleaseError> {
        let mut before = Vec::new();
        for page in 1..=MAX_PAGES {
            let path = format!("{listing}per_page={PER_PAGE}&page={page}");
            let Some(answer) = self.get(&path).await? else {
                return Ok(if page == 1 { Pages::Missing } else { Pages::End });
            };
            let entries: Vec<T> = self.parse(&path, &answer.body)?;
            // A server of plain files gives the same page for every number.
            if entries.is_empty() || answer.body == before {
                return Ok(Pages::End);
            }
            let full = entries.len() >= PER_PAGE;
            if let Some(found) = entries.into_iter().find_map(&mut take) {
                return Ok(Pages::Found(found));
            }
            // GitHub names the next page; a server that names none, and whose page is not full, has no other.
            if !answer.more.unwrap_or(full) {
                return Ok(Pages::End);
            }
            before = answer.body;
        }
        Ok(Pages::End)
    }

    async fn get(&self, path: &str) -> Result<Option<Answer>, ReleaseError> {
        let request = self.request(path, "application/vnd.github+json");
        self.answer(path, request, MAX_ANSWER).await
    }

    fn request(&self, path: &str, accept: &'static str) -> RequestBuilder {
        let address = format!("{}{path}", self.settings.base_url.reveal());
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
        if let Some(token) = self.token
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        self.client.get(address).headers(headers)
    }

    /// The answer to a request; nothing when there is no such thing.
    async fn answer(
        &self,
        path: &str,
        request: RequestBuilder,
        limit: usize,
    ) -> Result<Option<Answer>, ReleaseError> {
        let whole = async {
            let response = request.send().await.map_err(|error| self.http(path, error))?;
            let status = response.status();
            let headers = response.headers().clone();
            let body = self.body(path, response, limit).await?;
            Ok((status, headers, body))
        };
        let (status, headers, body) =
            tokio::time::timeout(PATIENCE, whole)
                .await
                .map_err(|_| ReleaseError::TooSlow {
                    server: self.server.clone(),
                    path: path.to_owned(),
                })??;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(self.refused(path, status, &headers, &body));
        }
        let links = headers.get(LINK).and_then(|links| links.to_str().ok());
        Ok(Some(Answer {
            more: links.map(|links| links.contains("rel=\"next\"")),
            body,
        }))
    }

    async fn body(&self, path: &str, mut response: Response, limit: usize) -> Result<Vec<u8>, ReleaseError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.http(path, error))? {
            if body.len() + chunk.len() > limit {
                return Err(ReleaseError::TooLong {
                    server: self.server.clone(),
                    path: path.to_owned(),
                    limit,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn refused(&self, path: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ReleaseError {
        let message = message_of(body);
        let number = |name: &str| -> Option<u64> { headers.get(name)?.to_str().ok()?.trim().parse().ok() };
        let is_limit = status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::FORBIDDEN
                && (number("x-ratelimit-remaining") == Some(0)
                    || headers.contains_key(RETRY_AFTER)
                    || message.to_lowercase().contains("rate limit"));
        if is_limit {
            let until_reset = || {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
                Some(number("x-ratelimit-reset")?.saturating_sub(now.as_secs()) + 1)
            };
            let seconds = number("retry-after").or_else(until_reset);
            let seconds = seconds.unwrap_or(DEFAULT_PAUSE.as_secs());
            return ReleaseError::RateLimited {
                server: self.server.clone(),
                path: path.to_owned(),
                message,
                seconds: seconds.min(MAX_PAUSE.as_secs()),
            };
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return ReleaseError::NotAllowed {
                server: self.server.clone(),
                path: path.to_owned(),
                status: status.as_u16(),
                message,
                hint: match self.token {
                    Some(_) => {
                        "It does not accept the token; set one that may read the repository (autoInstall.token or \
                         autoInstall.tokenFile)"
                    }
                    None => {
                        "Set a token that may read the repository (autoInstall.token or autoInstall.tokenFile)"
                    }
                },
            };
        }
        self.status(path, status, &message)
    }

    fn status(&self, path: &str, status: StatusCode, message: &str) -> ReleaseError {
        ReleaseError::Status {
            server: self.server.clone(),
            path: path.to_owned(),
            status: status.as_u16(),
            message: message.to_owned(),
        }
    }

    /// Without the address: after a redirect it may hold a key of its own.
    fn http(&self, path: &str, error: reqwest::Error) -> ReleaseError {
        ReleaseError::Http {
            server: self.server.clone(),
            path: path.to_owned(),
            source: error.without_url(),
        }
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self, path: &str, body: &[u8]) -> Result<T, ReleaseError> {
        serde_json::from_slice(body).map_err(|source| ReleaseError::Shape {
            server: self.server.clone(),
            path: path.to_owned(),
            found: String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned(),
            source,
        })
    }
}

/// What a listing led to.
enum Pages<F> {
    Found(F),
    End,
    Missing,
}

struct Answer {
    /// Whether there is another page, where the server says so.
    more: Option<bool>,
    body: Vec<u8>,
}

/// A server's own words: those of GitHub's `message`, else how its answer begins, on one line.
fn message_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    const SHOWN: usize = 200;
    let words = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.message,
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned(),
    };
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line
        .chars()
        .filter(|found| !found.is_control())
        .take(SHOWN)
        .collect();
    if line.is_empty() {
        "without a word".to_owned()
    } else {
        line
    }
}

/// A name as a part of an address.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_servers_words_on_one_line() {
        for (body, message) in [
            (
                r#"{"message":"API rate limit exceeded","documentation_url":"x"}"#,
                "API rate limit exceeded",
            ),
            ("<html>\n  <body>Bad\u{7} Gateway", "<html> <body>Bad Gateway"),
            ("", "without a word"),
        ] {
            assert_eq!(message_of(body.as_bytes()), message);
        }
        assert_eq!(message_of("x".repeat(5000).as_bytes()).len(), 200);
    }

    #[test]
    fn a_name_never_changes_an_address() {
        assert_eq!(
            escaped("v0.80.0-rc.1+b/../?x=1#"),
            "v0.80.0-rc.1%2Bb%2F..%2F%3Fx%3D1%23"
        );
    }
}
