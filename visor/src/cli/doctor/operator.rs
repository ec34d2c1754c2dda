//! Checks of what the operator has added: hooks, notifications, the reporter's key, addresses.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::file::not_a_program;
use super::{Findings, Patient};
use crate::cli::chain;
use crate::config::{Hook, Severity};
use crate::reporter::Reporter;

/// How long an address may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

pub(super) async fn check(patient: &Patient, findings: &mut Findings) {
    let config = patient.config();
    hook("hooks.before_stop", &config.hooks.before_stop, findings);
    hook("hooks.before_start", &config.hooks.before_start, findings);
    hook("hooks.after_success", &config.hooks.after_success, findings);
    match config.notify.command.first() {
        None => findings.skip("notify.command", "not configured"),
        Some(program) => match not_a_program(Path::new(program)) {
            None => findings.ok("notify.command", program.clone()),
            Some(reason) => findings.warn(
                "notify.command",
                format!("{program}: {reason}"),
                "repair it: nobody will be told",
            ),
        },
    }
    reporter(patient, findings);
    webhook(patient, findings).await;
    artifact(patient, findings).await;
}

fn hook(name: &'static str, hook: &Hook, findings: &mut Findings) {
    let Some(program) = hook.command.first() else {
        return findings.skip(name, "not configured");
    };
    match (not_a_program(Path::new(program)), hook.on_failure) {
        (None, _) => findings.ok(name, program.clone()),
        (Some(reason), Severity::Block) => findings.fail(
            name,
            format!("{program}: {reason}"),
            "repair it: the upgrade would wait for it",
        ),
        (Some(reason), Severity::Warn) => findings.warn(
            name,
            format!("{program}: {reason}"),
            "repair it: the upgrade would go on without",
        ),
    }
}

/// As `visor run` reads it.
fn reporter(patient: &Patient, findings: &mut Findings) {
    let section = patient.config().reporter;
    match Reporter::read(patient.home.root(), &patient.home.config(), &section) {
        Ok(None) => findings.skip("reporter.key", "not configured"),
        Ok(Some(_)) => findings.ok("reporter.key", section.key.display().to_string()),
        Err(error) => findings.fail(
            "reporter.key",
            chain(&error),
            "repair it: visor does not start with it, and the chain is not told that this host is ready",
        ),
    }
}

/// A connection and nothing more: a message would be a false alarm. The address is its own password, so only the host is shown.
async fn webhook(patient: &Patient, findings: &mut Findings) {
    let address = patient.config().notify.webhook;
    if address.is_empty() {
        return findings.skip("notify.webhook", "not configured");
    }
    if !patient.network {
        return findings.skip("notify.webhook", "not tried without --network");
    }
    let advice = "repair the address or the network: nobody will be told";
    let Some((host, port)) = host_and_port(address.reveal()) else {
        return findings.warn("notify.webhook", "the address names no host", advice);
    };
    let connected = tokio::time::timeout(ANSWER, tokio::net::TcpStream::connect((host.as_str(), port))).await;
    match connected {
        Ok(Ok(_)) => findings.ok("notify.webhook", format!("{host}:{port} accepts connections")),
        Ok(Err(error)) => findings.warn("notify.webhook", format!("{host}:{port}: {error}"), advice),
        Err(_) => findings.warn(
            "notify.webhook",
            format!("{host}:{port}: no connection within {ANSWER:?}"),
            advice,
        ),
    }
}

fn host_and_port(address: &str) -> Option<(String, u16)> {
    let url = reqwest::Url::parse(address).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    Some((host, url.port_or_known_default()?))
}

/// Whether what is still to be fetched can be had.
async fn artifact(patient: &Patient, findings: &mut Findings) {
    let wanted = patient.next().filter(|next| !next.staged);
    let Some(artifact) = wanted.and_then(|next| next.artifact.as_ref()) else {
        return findings.skip("upgrade.artifact", "nothing is to be fetched");
    };
    let advice =
        "make the file available there, or put it in place by hand with `visor stage VERSION --binary PATH`";
    let found = if let Some(path) = artifact.url.strip_prefix("file://") {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) => Err(error.to_string()),
        }
    } else if patient.network {
        head(&artifact.url).await
    } else {
        return findings.skip("upgrade.artifact", "not tried without --network");
    };
    match found {
        Err(reason) => findings.fail("upgrade.artifact", format!("{}: {reason}", artifact.url), advice),
        Ok(Some(length)) if length != artifact.size => findings.fail(
            "upgrade.artifact",
            format!(
                "{}: it has {length} bytes, the chain has accepted {}",
                artifact.url, artifact.size
            ),
            advice,
        ),
        Ok(_) => findings.ok("upgrade.artifact", artifact.url.clone()),
    }
}

/// The length that a server announces; none when it announces none.
async fn head(url: &str) -> Result<Option<u64>, String> {
    // Another part of the process may have installed the provider already; it is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .timeout(ANSWER)
        .build()
        .map_err(|error| chain(&error))?;
    let response = client.head(url).send().await.map_err(|error| chain(&error))?;
    if !response.status().is_success() {
        return Err(format!("the server answered {}", response.status()));
    }
    // Not `content_length`: that is the length of the body that came, and HEAD has none.
    let length = response.headers().get(reqwest::header::CONTENT_LENGTH);
    Ok(length.and_then(|length| length.to_str().ok()?.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_known_by_host_and_port_alone() {
        for (address, expected) in [
            ("https://hooks.example/T0/secret", Some(("hooks.example", 443))),
            ("http://user:pass@127.0.0.1:8080/x", Some(("127.0.0.1", 8080))),
            ("http://[::1]/x", Some(("::1", 80))),
            ("nonsense", None),
        ] {
            let expected = expected.map(|(host, port): (&str, u16)| (host.to_owned(), port));
            assert_eq!(host_and_port(address), expected, "{address}");
        }
    }
}
