//! One attempt to deliver one event.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;

use crate::cli::chain;
use crate::config::WebAddress;

/// A server's wish to be left alone is respected up to this: longer, and the operator would hear of an upgrade too late.
const LONGEST_WISH: Duration = Duration::from_secs(300);
/// More hops than any real setup has.
const MAX_REDIRECTS: usize = 3;

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attempt {
    Delivered,
    /// It may succeed later; the receiver may have said how much later.
    Failed {
        reason: String,
        after: Option<Duration>,
    },
    /// It will never succeed.
    Refused {
        reason: String,
    },
}

/// Built when something is sent and dropped when nothing is left: it holds the host's certificates.
pub(super) fn client() -> Result<reqwest::Client, reqwest::Error> {
    // Another part of the process may have installed the provider already; it is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let follow = Policy::custom(|attempt| {
        // The others would turn the POST into a GET, whose success means nothing.
        let keeps_the_body = matches!(
            attempt.status(),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        let previous = attempt.previous();
        let same_scheme = previous
            .first()
            .is_some_and(|first| first.scheme() == attempt.url().scheme());
        if keeps_the_body && same_scheme && previous.len() <= MAX_REDIRECTS {
            attempt.follow()
        } else {
            attempt.stop()
        }
    });
    reqwest::Client::builder()
        .redirect(follow)
        // It would tell the next server the address.
        .referer(false)
        .build()
}

/// Posts to a webhook.
pub(super) async fn post(
    client: &reqwest::Client,
    address: &WebAddress,
    body: &str,
    limit: Duration,
) -> Attempt {
    let answer = client
        .post(address.reveal())
        .header(CONTENT_TYPE, "application/json")
        .timeout(limit)
        .body(body.to_owned())
        .send()
        .await;
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            return Attempt::Failed {
                // The address is a secret.
                reason: chain(&error.without_url()),
                after: None,
            };
        }
    };
    let status = response.status();
    let reason = format!("the server answered {status}");
    if status.is_success() {
        Attempt::Delivered
    } else if status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
    {
        let after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(LONGEST_WISH));
        Attempt::Failed { reason, after }
    } else if status.is_redirection() && response.headers().contains_key(LOCATION) {
        Attempt::Refused {
            reason: format!(
                "{reason}, a redirection that is not followed; set notify.webhook to the new address"
            ),
        }
    } else {
        Attempt::Refused { reason }
    }
}
