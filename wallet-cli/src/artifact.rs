//! `--artifact PLATFORM=SOURCE[,PLATFORM=SOURCE...]` and `--artifact-url PLATFORM=URL`.
//!
//! A platform contains neither `=` nor `,`, and a comma begins another artifact only where a platform and `=` follow it.
//! So every path and address can be given: only a path that itself contains `,os/arch=` must be renamed.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use governance::Platform;

/// One artifact as it is named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArtifactArgument {
    pub(crate) platform: Platform,
    pub(crate) source: Source,
}

/// Where this wallet gets the bytes that it measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    Url(String),
}

/// One or more artifacts in one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArtifactArguments(pub(crate) Vec<ArtifactArgument>);

/// Another address for the hosts than the one that this wallet measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublishedUrl {
    pub(crate) platform: Platform,
    pub(crate) url: String,
}

/// Why an argument names no artifact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArtifactError {
    #[error("{found:?}: expected PLATFORM=PATH_OR_URL, for example linux/amd64=./governance")]
    Form { found: String },
    #[error("{found:?} is no platform: expected os/arch in lower case, for example linux/amd64")]
    Platform { found: String },
    #[error("{platform}: a path or an address is missing after '='")]
    Empty { platform: Platform },
    #[error("{found:?}: expected a path, or an address that begins with https://, http:// or file://")]
    Scheme { found: String },
    #[error("{found:?}: a file:// address must hold an absolute path, for example file:///srv/governance")]
    Relative { found: String },
    #[error(
        "{}: an address has no place for spaces and for characters outside ASCII: copy the file to a plain path, or publish another address with --artifact-url",
        path.display()
    )]
    Unprintable { path: PathBuf },
}

impl FromStr for ArtifactArguments {
    type Err = ArtifactError;

    fn from_str(text: &str) -> Result<Self, ArtifactError> {
        split(text).map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for ArtifactArgument {
    type Err = ArtifactError;

    fn from_str(text: &str) -> Result<Self, ArtifactError> {
        let (platform, source) = platform_and(text)?;
        Ok(Self {
            platform,
            source: source.parse()?,
        })
    }
}

impl FromStr for Source {
    type Err = ArtifactError;

    fn from_str(text: &str) -> Result<Self, ArtifactError> {
        if let Some(path) = text.strip_prefix("file://") {
            if !path.starts_with('/') {
                return Err(ArtifactError::Relative {
                    found: text.to_owned(),
                });
            }
            return Ok(Self::File(path.into()));
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Self::Url(text.to_owned()));
        }
        if text.contains("://") {
            return Err(ArtifactError::Scheme {
                found: text.to_owned(),
            });
        }
        Ok(Self::File(text.into()))
    }
}

impl FromStr for PublishedUrl {
    type Err = ArtifactError;

    fn from_str(text: &str) -> Result<Self, ArtifactError> {
        let (platform, url) = platform_and(text)?;
        if ["https://", "http://", "file:///"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            Ok(Self {
                platform,
                url: url.to_owned(),
            })
        } else {
            Err(ArtifactError::Scheme {
                found: url.to_owned(),
            })
        }
    }
}

/// The address by which hosts find a file of this machine: the path as it is, without any escapes.
pub(crate) fn file_url(path: &Path) -> Result<String, ArtifactError> {
    let plain = path
        .to_str()
        .filter(|path| path.bytes().all(|byte| byte.is_ascii_graphic()));
    match plain {
        Some(path) => Ok(format!("file://{path}")),
        None => Err(ArtifactError::Unprintable {
            path: path.to_owned(),
        }),
    }
}

fn platform_and(text: &str) -> Result<(Platform, &str), ArtifactError> {
    let Some((platform, rest)) = text.split_once('=') else {
        return Err(ArtifactError::Form {
            found: text.to_owned(),
        });
    };
    let platform: Platform = platform.parse().map_err(|_| ArtifactError::Platform {
        found: platform.to_owned(),
    })?;
    if rest.is_empty() {
        return Err(ArtifactError::Empty { platform });
    }
    Ok((platform, rest))
}

/// Splits at the commas after which another artifact begins.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        let border = current
            .match_indices(',')
            .map(|(index, _)| index)
            .find(|index| begins_artifact(current.get(index + 1..).unwrap_or_default()));
        let (first, others) = match border {
            Some(index) => (current.get(..index)?, current.get(index + 1..)),
            None => (current, None),
        };
        rest = others;
        Some(first)
    })
}

fn begins_artifact(text: &str) -> bool {
    text.split_once('=')
        .is_some_and(|(platform, _)| platform.parse::<Platform>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        let arguments: ArtifactArguments = text.parse().expect("artifacts");
        arguments
            .0
            .into_iter()
            .map(|argument| {
                let source = match argument.source {
                    Source::File(path) => format!("file {}", path.display()),
                    Source::Url(url) => format!("url {url}"),
                };
                (argument.platform.to_string(), source)
            })
            .collect()
    }

    #[test]
    fn artifacts_are_read() {
        for (text, expected) in [
            ("linux/amd64=node", vec![("linux/amd64", "file node")]),
            ("linux/amd64=./a=b", vec![("linux/amd64", "file ./a=b")]),
            ("linux/amd64=/a,b/c", vec![("linux/amd64", "file /a,b/c")]),
            ("linux/amd64=/a,b=c", vec![("linux/amd64", "file /a,b=c")]),
            ("linux/amd64=/a,", vec![("linux/amd64", "file /a,")]),
            (
                "linux/amd64=file:///srv/node",
                vec![("linux/amd64", "file /srv/node")],
            ),
            ("linux/amd64=file:///a%20b", vec![("linux/amd64", "file /a%20b")]),
            (
                "linux/amd64=https://example.org/a?x=1,2&y=/z",
                vec![("linux/amd64", "url https://example.org/a?x=1,2&y=/z")],
            ),
            (
                "linux/amd64=a,linux/arm64=http://h/b,darwin/arm64=c,d",
                vec![
                    ("linux/amd64", "file a"),
                    ("linux/arm64", "url http://h/b"),
                    ("darwin/arm64", "file c,d"),
                ],
            ),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(platform, source)| (platform.to_owned(), source.to_owned()))
                .collect();
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_artifact_says_what_was_expected() {
        for (text, expected) in [
            ("", "expected PLATFORM=PATH_OR_URL"),
            ("node", "expected PLATFORM=PATH_OR_URL"),
            ("linux=/bin/true", "\"linux\" is no platform: expected os/arch"),
            ("Linux/amd64=/bin/true", "is no platform"),
            (" linux/amd64=/bin/true", "is no platform"),
            ("linux/amd64=", "missing after '='"),
            (
                "linux/amd64=a,linux/arm64=",
                "linux/arm64: a path or an address is missing",
            ),
            ("linux/amd64=ftp://h/a", "begins with https://"),
            ("linux/amd64=file://a/b", "absolute path"),
            ("linux/amd64=file://", "absolute path"),
        ] {
            let error = text
                .parse::<ArtifactArguments>()
                .expect_err("it is refused")
                .to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn published_addresses_are_addresses() {
        let published: PublishedUrl = "linux/amd64=https://h/a=b".parse().expect("an address");
        assert_eq!(published.url, "https://h/a=b");
        for text in [
            "linux/amd64=/path",
            "linux/amd64=file://x",
            "linux=https://h/a",
            "https://h/a",
        ] {
            assert!(text.parse::<PublishedUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_plain_paths_become_addresses() {
        assert_eq!(
            file_url(Path::new("/srv/a=b,c%20")),
            Ok("file:///srv/a=b,c%20".to_owned())
        );
        for path in ["/srv/a b", "/srv/ä", "/srv/a\n"] {
            assert!(file_url(Path::new(path)).is_err(), "{path:?}");
        }
    }
}
