//! The reporter key, as `wallet keys create` writes it. Secrets pass through here in memory that is zeroed afterwards, and are
//! never formatted.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use governance::{PublicKey, SigningKey};
use serde::Deserialize;
use zeroize::Zeroizing;

/// The only format so far.
const SCHEMA: u32 = 1;
/// A key file has about 250 bytes; whatever is much longer is another file.
const MAX_BYTES: u64 = 4096;
/// Everything but the owner's permissions.
const OTHERS: u32 = 0o077;

/// Why a file is no key to report with. Never repeats what the file holds.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system refuses.
    #[error("{operation} {path}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It is a folder, a device, or far too long.
    #[error("read {path}: expected a key file of at most {MAX_BYTES} bytes", path = path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// Other users can open it.
    #[error(
        "use {path}: expected a file that only its owner can open, found mode {mode:04o}: run `chmod 600 {path}`, and replace the key if \
         others use this host", path = path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("use {path}: expected a file of user {user}, it belongs to user {owner}", path = path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who visor is.
        user: u32,
    },
    /// It is no JSON of that form.
    #[error("read {path}: expected a key file of the wallet (schema, name, public_key, secret_key); line {line}, column {column} differs", path = path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// A newer wallet wrote it.
    #[error("read {path}: expected schema {SCHEMA}, found {found}: a newer wallet wrote it", path = path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// As it says.
        found: u32,
    },
    /// The secret is none, or another key's.
    #[error("read {path}: expected 64 hexadecimal digits as secret_key, and public_key to belong to it: the file is damaged", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile<'a> {
    schema: u32,
    /// A key may be kept under any name here.
    #[serde(borrow, rename = "name")]
    _name: Cow<'a, str>,
    public_key: PublicKey,
    /// Borrowed from memory that is zeroed: no copy is left behind.
    secret_key: &'a str,
}

/// Reads the key.
///
/// # Errors
/// When the file cannot be read, others can read it, or it holds no key; the text says what to do.
pub(super) fn read(path: &Path) -> Result<SigningKey, KeyError> {
    let failed = |operation| {
        move |source| KeyError::Io {
            operation,
            path: path.to_path_buf(),
            source,
        }
    };
    let file = File::open(path).map_err(failed("open"))?;
    // Of the opened file, not of the path: nobody can exchange it in between.
    let metadata = file.metadata().map_err(failed("examine"))?;
    if !metadata.is_file() {
        return Err(KeyError::NoFile {
            path: path.to_path_buf(),
        });
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && user != 0 {
        return Err(KeyError::Owner {
            path: path.to_path_buf(),
            owner: metadata.uid(),
            user,
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(KeyError::Open {
            path: path.to_path_buf(),
            mode,
        });
    }
    // Large enough from the start: growing would leave copies of the secret behind.
    let mut content = Zeroizing::new(Vec::with_capacity(8192));
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(failed("read"))?;
    if content.len() as u64 > MAX_BYTES {
        return Err(KeyError::NoFile {
            path: path.to_path_buf(),
        });
    }
    parse(path, &content)
}

fn parse(path: &Path, content: &[u8]) -> Result<SigningKey, KeyError> {
    let damaged = || KeyError::Damaged {
        path: path.to_path_buf(),
    };
    // serde_json's own words could repeat the secret.
    let file: KeyFile<'_> = serde_json::from_slice(content).map_err(|error| KeyError::Form {
        path: path.to_path_buf(),
        line: error.line(),
        column: error.column(),
    })?;
    if file.schema != SCHEMA {
        return Err(KeyError::Schema {
            path: path.to_path_buf(),
            found: file.schema,
        });
    }
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(file.secret_key, secret.as_mut_slice()).map_err(|_| damaged())?;
    let key = SigningKey::from_bytes(&secret);
    if PublicKey::from(&key) != file.public_key {
        return Err(damaged());
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const SEED: &str = "0707070707070707070707070707070707070707070707070707070707070707";

    fn text() -> String {
        let public = PublicKey::from(&SigningKey::from_bytes(&[7; 32]));
        format!(
            "{{\n  \"schema\": 1,\n  \"name\": \"host\",\n  \"public_key\": \"{public}\",\n  \"secret_key\": \"{SEED}\"\n}}\n"
        )
    }

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reporter.json");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_key_file_of_the_wallets_format_is_read() {
        for mode in [0o600, 0o400] {
            let (_dir, path) = written(&text(), mode);
            assert!(read(&path).is_ok_and(|key| key == SigningKey::from_bytes(&[7; 32])));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason_and_without_the_secret() {
        let other = PublicKey::from(&SigningKey::from_bytes(&[8; 32])).to_string();
        let own = PublicKey::from(&SigningKey::from_bytes(&[7; 32])).to_string();
        let cases = [
            (text().replace("\"schema\": 1", "\"schema\": 2"), "found 2"),
            (text().replace(&own, &other), "damaged"),
            (text().replace(SEED, &SEED[2..]), "damaged"),
            (text().replace("secret_key", "seed"), "line 5"),
            (text().replace("\"schema\"", "\"extra\": 0, \"schema\""), "line 2"),
            (SEED.to_owned(), "expected a key file of the wallet"),
            (String::new(), "expected a key file of the wallet"),
            ("x".repeat(5000), "at most 4096 bytes"),
        ];
        for (content, expected) in cases {
            let (_dir, path) = written(&content, 0o600);
            let error = crate::cli::chain(&read(&path).unwrap_err());
            assert!(error.contains(expected), "{expected} in {error}");
            assert!(
                error.contains("reporter.json") && !error.contains("0707070707"),
                "{error}"
            );
        }
        let (_dir, path) = written(&text(), 0o640);
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("0640") && error.contains("chmod 600"), "{error}");
        let error = read(path.parent().unwrap()).unwrap_err().to_string();
        assert!(error.contains("at most 4096 bytes"), "{error}");
        let error = crate::cli::chain(&read(&path.join("none")).unwrap_err());
        assert!(error.contains("open"), "{error}");
    }
}
