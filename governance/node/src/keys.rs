//! The node's own keys: one signs blocks, one authenticates connections. Governance keys are the wallet's.

use std::path::Path;

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::home::{HomeError, read_secret, write_new};

/// The file's form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    schema: u32,
    public_key: String,
    secret_key: String,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] HomeError),
    /// The file holds no key.
    #[error("{} holds no key: expected JSON with schema 1, public_key and secret_key in hexadecimal", path.display())]
    Form {
        /// The file.
        path: std::path::PathBuf,
    },
    /// No random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// The key at `path`, made when there is none: an `init` that was interrupted goes on with the keys that it has made.
///
/// # Errors
/// When there is one that cannot be used, or none can be written.
pub(crate) fn read_or_create(path: &Path) -> Result<SigningKey, KeyError> {
    if path.exists() { read(path) } else { create(path) }
}

/// Makes a key and writes it to `path` with mode 0600, unless there is one.
///
/// # Errors
/// When the file exists or cannot be written.
fn create(path: &Path) -> Result<SigningKey, KeyError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(KeyError::Random)?;
    let key = SigningKey::from_bytes(&secret);
    let file = KeyFile {
        schema: 1,
        public_key: hex::encode(key.verifying_key().to_bytes()),
        secret_key: hex::encode(key.to_bytes()),
    };
    let text = serde_json::to_string_pretty(&file).map_err(|_| KeyError::Form {
        path: path.to_path_buf(),
    })?;
    write_new(path, format!("{text}\n").as_bytes(), 0o600)?;
    Ok(key)
}

/// Reads a key that only its owner may read.
///
/// # Errors
/// When others may read it, or it holds no key.
pub(crate) fn read(path: &Path) -> Result<SigningKey, KeyError> {
    let text = read_secret(path)?;
    let malformed = || KeyError::Form {
        path: path.to_path_buf(),
    };
    let file: KeyFile = serde_json::from_str(&text).map_err(|_| malformed())?;
    let mut secret = [0; 32];
    hex::decode_to_slice(&file.secret_key, &mut secret).map_err(|_| malformed())?;
    let key = SigningKey::from_bytes(&secret);
    if file.schema != 1 || hex::encode(key.verifying_key().to_bytes()) != file.public_key {
        return Err(malformed());
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::{create, read, read_or_create};

    #[test]
    fn a_key_is_private_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("consensus.json");
        let key = create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap(), key);
        create(&path).unwrap_err();
        assert_eq!(read_or_create(&path).unwrap(), key);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_key_file_with_a_changed_byte_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("consensus.json");
        create(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let start = text.find("secret_key").unwrap() + "secret_key\": \"".len();
        let digit = if &text[start..=start] == "0" { "1" } else { "0" };
        fs::write(&path, format!("{}{digit}{}", &text[..start], &text[start + 1..])).unwrap();
        read(&path).unwrap_err();
    }
}
