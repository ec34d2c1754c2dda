//! The text of a key file. Secrets pass through here in memory that is zeroed afterwards, and are never formatted.

use std::borrow::Cow;

use governance::{PublicKey, SigningKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The only format so far.
const SCHEMA: u32 = 1;
/// A key file has about 250 bytes; whatever is much longer is another file.
pub(crate) const MAX_KEY_FILE_BYTES: u64 = 4096;
const SECRET_BYTES: usize = 32;

/// Why a text is no key. What it says is never shown: it may be a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error(
        "expected a JSON object with schema, name, public_key and secret_key; line {line}, column {column} differs"
    )]
    Json { line: usize, column: usize },
    #[error("expected schema {SCHEMA}, found {found}: a newer wallet wrote it")]
    Schema { found: u32 },
    #[error("`secret_key`: expected 64 hexadecimal digits (an ed25519 seed of 32 bytes)")]
    Secret,
    #[error("`public_key` does not belong to `secret_key`: the file is damaged")]
    Mismatch,
    #[error(
        "the file holds the key {found:?}, its name says {expected:?}: rename the file or correct `name`"
    )]
    Name { expected: String, found: String },
    #[error("expected 64 hexadecimal digits (an ed25519 seed of 32 bytes), or a key file of this wallet")]
    NoKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile<'a> {
    schema: u32,
    #[serde(borrow)]
    name: Cow<'a, str>,
    public_key: PublicKey,
    /// Borrowed from the caller's zeroed memory: no copy is left behind.
    secret_key: &'a str,
}

/// The content of the file for `key`.
pub(crate) fn format(name: &str, key: &SigningKey) -> Zeroizing<Vec<u8>> {
    let mut digits = Zeroizing::new([0_u8; 2 * SECRET_BYTES]);
    let secret = Zeroizing::new(key.to_bytes());
    hex::encode_to_slice(secret.as_slice(), digits.as_mut_slice())
        .expect("64 digits hold the hexadecimal form of 32 bytes");
    let file = KeyFile {
        schema: SCHEMA,
        name: name.into(),
        public_key: key.into(),
        secret_key: std::str::from_utf8(digits.as_slice()).expect("hexadecimal digits are ASCII"),
    };
    // Large enough from the start: growing would leave copies of the secret behind.
    let mut content = Zeroizing::new(Vec::with_capacity(1024));
    serde_json::to_writer_pretty(&mut *content, &file).expect("strings and numbers serialize into memory");
    content.push(b'\n');
    content
}

/// The key in the file that belongs to `name`.
pub(crate) fn parse(name: &str, content: &[u8]) -> Result<SigningKey, KeyFileError> {
    let (found, key) = parse_json(content)?;
    if found != name {
        return Err(KeyFileError::Name {
            expected: name.to_owned(),
            found: found.chars().take(80).collect(),
        });
    }
    Ok(key)
}

/// A key from outside: a seed in hexadecimal digits, or a key file under any name.
pub(crate) fn parse_import(content: &[u8]) -> Result<SigningKey, KeyFileError> {
    let text = content.trim_ascii();
    if text.first() == Some(&b'{') {
        parse_json(text).map(|(_, key)| key)
    } else {
        parse_secret(text).ok_or(KeyFileError::NoKey)
    }
}

fn parse_json(content: &[u8]) -> Result<(String, SigningKey), KeyFileError> {
    // serde_json's own words could repeat the secret.
    let file: KeyFile<'_> = serde_json::from_slice(content).map_err(|error| KeyFileError::Json {
        line: error.line(),
        column: error.column(),
    })?;
    if file.schema != SCHEMA {
        return Err(KeyFileError::Schema { found: file.schema });
    }
    let key = parse_secret(file.secret_key.as_bytes()).ok_or(KeyFileError::Secret)?;
    if PublicKey::from(&key) != file.public_key {
        return Err(KeyFileError::Mismatch);
    }
    Ok((file.name.into_owned(), key))
}

fn parse_secret(digits: &[u8]) -> Option<SigningKey> {
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    hex::decode_to_slice(digits, secret.as_mut_slice()).ok()?;
    Some(SigningKey::from_bytes(&secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "0707070707070707070707070707070707070707070707070707070707070707";

    fn text(key: &SigningKey) -> String {
        String::from_utf8(format("alice", key).to_vec()).expect("JSON is text")
    }

    #[test]
    fn a_key_survives_its_file() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let content = format("alice", &key);
        assert!(parse("alice", &content).is_ok_and(|read| read == key));
        assert!(parse_import(&content).is_ok_and(|read| read == key));
        assert!(content.capacity() >= content.len() && content.len() < 1024);
    }

    #[test]
    fn the_format_is_a_contract() {
        let key = SigningKey::from_bytes(&[7; 32]);
        assert_eq!(
            text(&key),
            format!(
                "{{\n  \"schema\": 1,\n  \"name\": \"alice\",\n  \"public_key\": \"{}\",\n  \"secret_key\": \"{SEED}\"\n}}\n",
                PublicKey::from(&key)
            )
        );
    }

    #[test]
    fn seeds_are_imported_with_space_around_them_and_in_both_cases() {
        for text in [
            SEED.to_owned(),
            format!("{SEED}\n"),
            format!("  {SEED}\r\n"),
            "aB".repeat(32),
        ] {
            assert!(parse_import(text.as_bytes()).is_ok(), "{text}");
        }
        let short = &SEED[1..];
        let long = format!("{SEED}07");
        let prefixed = format!("0x{SEED}");
        let words = "zz".repeat(32);
        for text in ["", "\n", short, &long, &prefixed, &words] {
            assert!(
                matches!(parse_import(text.as_bytes()), Err(KeyFileError::NoKey)),
                "{text}"
            );
        }
    }

    #[test]
    fn bad_files_say_why_and_never_repeat_the_secret() {
        let good = text(&SigningKey::from_bytes(&[7; 32]));
        let other = PublicKey::from(&SigningKey::from_bytes(&[8; 32])).to_string();
        let own = PublicKey::from(&SigningKey::from_bytes(&[7; 32])).to_string();
        let cases = [
            (good.replace("alice", "bob"), "its name says \"alice\""),
            (good.replace("\"schema\": 1", "\"schema\": 2"), "found 2"),
            (good.replace(&own, &other), "damaged"),
            (good.replace(SEED, &SEED[2..]), "64 hexadecimal digits"),
            (good.replace("secret_key", "seed"), "line 5"),
            (good.replace("\"schema\"", "\"extra\": 0, \"schema\""), "line 2"),
            (good.replace(&format!("\"{SEED}\""), SEED), "line 5"),
            (good[..good.len() - 20].to_owned(), "JSON"),
            (String::new(), "JSON"),
        ];
        for (content, expected) in cases {
            let error = parse("alice", content.as_bytes())
                .expect_err("the file is refused")
                .to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("0707070707"), "{error}");
        }
    }
}
