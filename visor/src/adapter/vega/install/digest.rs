//! What is known of an asset's SHA-256 beforehand: said by the operator, by the releases API, or by a file of the release.

/// A SHA-256 that an asset must have, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) sha256: [u8; 32],
    pub(super) by: String,
}

/// Why a statement of a SHA-256 is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// It is none.
    #[error("read the SHA-256 of {asset} in {by}: expected 64 hexadecimal digits, found {found:?}")]
    Unreadable {
        /// Of what.
        asset: String,
        /// Who says it.
        by: String,
        /// What stands there.
        found: String,
    },
    /// The bytes are others.
    #[error(
        "accept {asset}: expected SHA-256 {expected} as {by} says, found {found}. It was thrown away and is downloaded anew; when this \
         repeats, the release is not what it should be"
    )]
    Other {
        /// Of what.
        asset: String,
        /// Who says it.
        by: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
}

/// The names under which a release lists the SHA-256 of its files, in lower case.
const LISTINGS: [&str; 6] = [
    "sha256sums",
    "sha256sums.txt",
    "sha256sum",
    "sha256sum.txt",
    "checksums.txt",
    "checksums.sha256",
];

/// Whether a file of a release may state an asset's SHA-256.
pub(super) fn states(file: &str, asset: &str) -> bool {
    file.strip_prefix(asset)
        .is_some_and(|rest| matches!(rest, ".sha256" | ".sha256sum" | ".sha256.txt"))
        || LISTINGS.contains(&file.to_lowercase().as_str())
}

/// The SHA-256 that the API names, as `sha256:` and digits. Of any other kind it is of no use here.
pub(super) fn of_api(text: &str, asset: &str) -> Result<Option<Expected>, DigestError> {
    let by = "the releases API";
    match text.split_once(':') {
        Some(("sha256", digits)) => expected(digits, asset, by).map(Some),
        _ => Ok(None),
    }
}

/// The SHA-256 of an asset by a file of the release: the digits alone, or lines as `sha256sum` writes them (`digits  name`, also with `*`
/// before the name, or `SHA256 (name) = digits`). Nothing when a listing does not name the asset.
pub(super) fn of_file(text: &str, file: &str, asset: &str) -> Result<Option<Expected>, DigestError> {
    let by = format!("{file} of the release");
    let is_own = file.starts_with(asset);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    for line in &lines {
        let (digits, name) = match line
            .strip_prefix("SHA256 (")
            .and_then(|rest| rest.split_once(") = "))
        {
            Some((name, digits)) => (digits, name),
            None => line.split_once(char::is_whitespace).unwrap_or((line, "")),
        };
        let name = name.trim().trim_start_matches('*');
        let name = name.rsplit('/').next().unwrap_or(name);
        if name == asset || (is_own && name.is_empty()) {
            return expected(digits, asset, &by).map(Some);
        }
    }
    match lines.as_slice() {
        // It is of this asset by its own name, whatever name stands in it.
        [line] if is_own => {
            let digits = line.split_whitespace().next().unwrap_or(line);
            expected(digits, asset, &by).map(Some)
        }
        _ if is_own => Err(unreadable(lines.first().unwrap_or(&""), asset, &by)),
        _ => Ok(None),
    }
}

/// Compares with all that is known.
pub(super) fn check(found: &[u8; 32], known: &[Expected], asset: &str) -> Result<(), DigestError> {
    match known.iter().find(|expected| expected.sha256 != *found) {
        Some(expected) => Err(DigestError::Other {
            asset: asset.to_owned(),
            by: expected.by.clone(),
            expected: hex::encode(expected.sha256),
            found: hex::encode(found),
        }),
        None => Ok(()),
    }
}

fn expected(digits: &str, asset: &str, by: &str) -> Result<Expected, DigestError> {
    let mut sha256 = [0; 32];
    match hex::decode_to_slice(digits.trim(), &mut sha256) {
        Ok(()) => Ok(Expected {
            sha256,
            by: by.to_owned(),
        }),
        Err(_) => Err(unreadable(digits, asset, by)),
    }
}

fn unreadable(found: &str, asset: &str, by: &str) -> DigestError {
    DigestError::Unreadable {
        asset: asset.to_owned(),
        by: by.to_owned(),
        found: found.chars().take(80).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_states_a_digest_in_every_usual_form() {
        let digits = "ab".repeat(32);
        let other = "cd".repeat(32);
        for (file, text, found) in [
            ("vega.zip.sha256", digits.clone(), true),
            ("vega.zip.sha256", format!("{}\n", digits.to_uppercase()), true),
            ("vega.zip.sha256", format!("{digits}  vega.zip\n"), true),
            ("vega.zip.sha256", format!("{digits} *./dist/vega.zip"), true),
            // Made elsewhere under another name, and of one file only.
            ("vega.zip.sha256", format!("{digits}  build.zip"), true),
            (
                "vega.zip.sha256sum",
                format!("SHA256 (vega.zip) = {digits}"),
                true,
            ),
            (
                "SHA256SUMS",
                format!("{other}  other.zip\n{digits}  vega.zip\n"),
                true,
            ),
            (
                "sha256sums.txt",
                format!("{other}  vega.zip.old\n\n{other} x vega.zip"),
                false,
            ),
            ("sha256sums", other.clone(), false),
            ("sha256sums", String::new(), false),
        ] {
            let expected = of_file(&text, file, "vega.zip").unwrap();
            assert_eq!(expected.is_some(), found, "{file}: {text}");
            assert!(expected.is_none_or(|expected| expected.sha256 == [0xab; 32]));
            assert!(states(file, "vega.zip"));
        }
        for file in [
            "vega.zip",
            "vega.zip.sig",
            "vega.zip.sha512",
            "other.zip.sha256",
            "sums",
        ] {
            assert!(!states(file, "vega.zip"), "{file}");
        }
    }

    #[test]
    fn a_statement_that_says_nothing_is_refused_and_not_passed_over() {
        for text in ["", "<html>Not found</html>", "abcd  vega.zip", "a b\nc d\n"] {
            let error = of_file(text, "vega.zip.sha256", "vega.zip")
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("64 hexadecimal digits") && error.contains("vega.zip.sha256"),
                "{error}"
            );
        }
        assert!(of_file("xyz  vega.zip", "SHA256SUMS", "vega.zip").is_err());
        assert!(of_api("sha256:12", "vega.zip").is_err());
        assert_eq!(of_api("sha512:12", "vega.zip"), Ok(None));
        let api = of_api(&format!("sha256:{}", "ab".repeat(32)), "vega.zip")
            .unwrap()
            .unwrap();
        assert!(check(&[0xab; 32], std::slice::from_ref(&api), "vega.zip").is_ok());
        let error = check(&[0xcd; 32], &[api], "vega.zip").unwrap_err().to_string();
        assert!(error.contains("the releases API says") && error.contains("abab") && error.contains("cdcd"));
    }
}
