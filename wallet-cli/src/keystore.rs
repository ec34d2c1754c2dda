//! The keys of a wallet: `HOME/keys/NAME.json`, readable by their owner only.
//!
//! Never overwrites a key, never shows a secret, never uses a file that others can read.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use governance::{PublicKey, SigningKey, ValidatorId};
use zeroize::Zeroizing;

use crate::durable_file;
use crate::key_file::{self, KeyFileError, MAX_KEY_FILE_BYTES};

const SUFFIX: &str = ".json";
/// A name is part of a file name and a column in a table.
const MAX_NAME_BYTES: usize = 64;
/// Everything but the owner's permissions.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

/// The name of a key: 1 to 64 of `a-z A-Z 0-9 . _ -`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyName(String);

impl FromStr for KeyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let begins = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if begins && text.len() <= MAX_NAME_BYTES && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "expected 1 to {MAX_NAME_BYTES} of the characters a-z, A-Z, 0-9, '.', '_' and '-', beginning with a letter or digit"
            ))
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A key that can sign. No `Debug`: it holds a secret, which its memory forgets when it is dropped.
pub(crate) struct Key {
    pub(crate) name: KeyName,
    signing_key: SigningKey,
}

impl Key {
    pub(crate) fn public_key(&self) -> PublicKey {
        (&self.signing_key).into()
    }

    /// The id of a validator that enters with this key.
    pub(crate) fn validator_id(&self) -> ValidatorId {
        ValidatorId::at_entry(&self.public_key())
    }

    pub(crate) const fn signing_key(&self) -> &SigningKey {
        &self.signing_key
    }
}

/// Why a key cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeystoreError {
    #[error("failed to {what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("there is no key {name} in {}", directory.display())]
    Unknown { name: KeyName, directory: PathBuf },
    #[error("there is no key in {}", directory.display())]
    None { directory: PathBuf },
    #[error("there are several keys in {}: {}", directory.display(), names.join(", "))]
    Ambiguous { directory: PathBuf, names: Vec<String> },
    #[error("the key {name} exists already: {}", path.display())]
    Exists { name: KeyName, path: PathBuf },
    #[error("{} can be opened by others (mode {mode:04o})", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("{} can be changed by others (mode {mode:04o})", path.display())]
    Writable { path: PathBuf, mode: u32 },
    #[error("{} belongs to user {owner}, this is user {user}", path.display())]
    Owner { path: PathBuf, owner: u32, user: u32 },
    #[error("{} is no regular file of at most {MAX_KEY_FILE_BYTES} bytes", path.display())]
    NoFile { path: PathBuf },
    #[error("{} holds no usable key", path.display())]
    Content { path: PathBuf, source: KeyFileError },
    #[error("failed to get random bytes from the system")]
    Random { source: io::Error },
}

impl KeystoreError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => {
                Some("`wallet keys list` shows the keys there are; choose another with --key or --home".to_owned())
            }
            Self::None { .. } => Some(
                "create one with `wallet keys create NAME`, bring one with `wallet keys import NAME`, or choose another --home"
                    .to_owned(),
            ),
            Self::Ambiguous { .. } => Some("choose one with --key NAME or WALLET_KEY".to_owned()),
            Self::Exists { .. } => {
                Some("choose another name: the wallet never overwrites a key".to_owned())
            }
            Self::Open { path, .. } => Some(format!(
                "the secret may be known to others; if it is not, run: chmod 600 {}",
                path.display()
            )),
            Self::Writable { path, .. } => Some(format!("run: chmod 700 {}", path.display())),
            Self::Owner { path, user, .. } => Some(format!("run: chown {user} {}", path.display())),
            Self::Io { .. } | Self::NoFile { .. } | Self::Content { .. } | Self::Random { .. } => None,
        }
    }
}

/// The keys in one home.
pub(crate) struct Keystore {
    directory: PathBuf,
}

impl Keystore {
    pub(crate) fn new(home: &Path) -> Self {
        Self {
            directory: home.join("keys"),
        }
    }

    /// Where the key called `name` is kept.
    pub(crate) fn path(&self, name: &KeyName) -> PathBuf {
        self.directory.join(format!("{name}{SUFFIX}"))
    }

    /// A new key from the system's randomness.
    pub(crate) fn create(&self, name: KeyName) -> Result<Key, KeystoreError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice())
            .map_err(|error| KeystoreError::Random { source: error.into() })?;
        self.keep(name, SigningKey::from_bytes(&seed))
    }

    /// The key that `input` holds; `source` says where it comes from.
    pub(crate) fn import(
        &self,
        name: KeyName,
        input: impl io::Read,
        source: &Path,
    ) -> Result<Key, KeystoreError> {
        let content = read(input, source)?;
        let key = key_file::parse_import(&content).map_err(|error| KeystoreError::Content {
            path: source.to_owned(),
            source: error,
        })?;
        self.keep(name, key)
    }

    /// The key called `name`, or the only one.
    pub(crate) fn choose(&self, name: Option<&KeyName>) -> Result<Key, KeystoreError> {
        if let Some(name) = name {
            return self.load(name);
        }
        let names = self.names()?;
        match names.as_slice() {
            [] => Err(KeystoreError::None {
                directory: self.directory.clone(),
            }),
            [name] => self.load(name),
            several => Err(KeystoreError::Ambiguous {
                directory: self.directory.clone(),
                names: several.iter().map(KeyName::to_string).collect(),
            }),
        }
    }

    pub(crate) fn load(&self, name: &KeyName) -> Result<Key, KeystoreError> {
        let path = self.path(name);
        let file = File::open(&path).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                KeystoreError::Unknown {
                    name: name.clone(),
                    directory: self.directory.clone(),
                }
            } else {
                io_error("open", &path)(source)
            }
        })?;
        self.check_directory()?;
        // Of the opened file, not of the path: nobody can exchange it in between.
        let metadata = file.metadata().map_err(io_error("examine", &path))?;
        if !metadata.is_file() {
            return Err(KeystoreError::NoFile { path });
        }
        check_owner(&path, &metadata)?;
        let mode = metadata.mode() & 0o7777;
        if mode & OTHERS != 0 {
            return Err(KeystoreError::Open { path, mode });
        }
        let content = read(file, &path)?;
        match key_file::parse(&name.0, &content) {
            Ok(signing_key) => Ok(Key {
                name: name.clone(),
                signing_key,
            }),
            Err(source) => Err(KeystoreError::Content { path, source }),
        }
    }

    /// The names of all keys, in order. A home that does not exist yet has none.
    pub(crate) fn names(&self) -> Result<Vec<KeyName>, KeystoreError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("list", &self.directory)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error("list", &self.directory))?;
            let file_name = entry.file_name();
            let stem = file_name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            // Temporary files of a crash begin with a dot, which no name does.
            names.extend(stem.and_then(|stem| stem.parse::<KeyName>().ok()));
        }
        names.sort();
        Ok(names)
    }

    fn keep(&self, name: KeyName, signing_key: SigningKey) -> Result<Key, KeystoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(io_error("create", &self.directory))?;
        self.check_directory()?;
        let path = self.path(&name);
        let content = key_file::format(&name.0, &signing_key);
        match durable_file::create(&self.directory, format!("{name}{SUFFIX}"), &content, 0o600) {
            Ok(()) => Ok(Key { name, signing_key }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(KeystoreError::Exists { name, path })
            }
            Err(error) => Err(io_error("write", &path)(error)),
        }
    }

    /// Whoever can write the folder can exchange its keys.
    fn check_directory(&self) -> Result<(), KeystoreError> {
        let metadata = fs::metadata(&self.directory).map_err(io_error("examine", &self.directory))?;
        check_owner(&self.directory, &metadata)?;
        let mode = metadata.mode() & 0o7777;
        if mode & OTHERS_WRITE != 0 {
            return Err(KeystoreError::Writable {
                path: self.directory.clone(),
                mode,
            });
        }
        Ok(())
    }
}

fn check_owner(path: &Path, metadata: &fs::Metadata) -> Result<(), KeystoreError> {
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && user != 0 {
        return Err(KeystoreError::Owner {
            path: path.to_owned(),
            owner: metadata.uid(),
            user,
        });
    }
    Ok(())
}

/// The whole input, in memory that is zeroed afterwards.
fn read(input: impl io::Read, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    let limit = MAX_KEY_FILE_BYTES.saturating_add(1);
    // Large enough from the start: growing would leave copies of the secret behind.
    let mut content = Zeroizing::new(Vec::with_capacity(8192));
    input
        .take(limit)
        .read_to_end(&mut content)
        .map_err(io_error("read", path))?;
    if content.len() as u64 == limit {
        return Err(KeystoreError::NoFile {
            path: path.to_owned(),
        });
    }
    Ok(content)
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeystoreError {
    let path = path.to_owned();
    move |source| KeystoreError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const SEED: &[u8] = b"0909090909090909090909090909090909090909090909090909090909090909\n";

    struct Home {
        root: tempfile::TempDir,
        store: Keystore,
    }

    fn home() -> Home {
        let root = tempfile::tempdir().expect("a folder");
        let store = Keystore::new(&root.path().join("wallet"));
        Home { root, store }
    }

    fn name(text: &str) -> KeyName {
        text.parse().expect("a name")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it exists").mode() & 0o7777
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    #[track_caller]
    fn error<T>(result: Result<T, KeystoreError>) -> KeystoreError {
        result.err().expect("it is refused")
    }

    #[test]
    fn a_created_key_is_kept_for_its_owner_only() {
        let home = home();
        let key = home.store.create(name("alice")).expect("a key");
        let wallet = home.root.path().join("wallet");
        assert_eq!(mode(&wallet), 0o700);
        assert_eq!(mode(&wallet.join("keys")), 0o700);
        assert_eq!(mode(&wallet.join("keys/alice.json")), 0o600);
        let loaded = home.store.load(&name("alice")).expect("it is there");
        assert_eq!(loaded.public_key(), key.public_key());
        let files: Vec<_> = fs::read_dir(wallet.join("keys"))
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(files, ["alice.json"], "no temporary file is left");
        assert_ne!(
            home.store.create(name("bob")).expect("a key").public_key(),
            key.public_key()
        );
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let home = home();
        let key = home.store.create(name("alice")).expect("a key");
        let before = fs::read(home.store.path(&name("alice"))).expect("the file");
        assert!(matches!(
            error(home.store.create(name("alice"))),
            KeystoreError::Exists { .. }
        ));
        let imported = home.store.import(name("alice"), SEED, Path::new("stdin"));
        assert!(matches!(error(imported), KeystoreError::Exists { .. }));
        assert_eq!(
            fs::read(home.store.path(&name("alice"))).expect("the file"),
            before
        );
        assert_eq!(
            home.store.choose(None).expect("the only key").public_key(),
            key.public_key()
        );
    }

    #[test]
    fn a_seed_and_a_key_file_import_the_same_key() {
        let home = home();
        let seed = home
            .store
            .import(name("seed"), SEED, Path::new("stdin"))
            .expect("a key");
        let file = File::open(home.store.path(&name("seed"))).expect("the file");
        let copy = home
            .store
            .import(name("copy"), file, Path::new("seed.json"))
            .expect("a key");
        assert_eq!(seed.public_key(), copy.public_key());
        assert_eq!(
            home.store.load(&name("copy")).expect("it is kept").public_key(),
            seed.public_key()
        );
    }

    #[test]
    fn what_is_no_key_is_not_imported() {
        let home = home();
        for input in [&b"secret"[..], &[b'0'; 5000], &[0xff; 64]] {
            let refused = home.store.import(name("alice"), input, Path::new("stdin"));
            assert!(matches!(
                error(refused),
                KeystoreError::Content { .. } | KeystoreError::NoFile { .. }
            ));
        }
        assert!(home.store.names().expect("names").is_empty());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_helps() {
        let home = home();
        home.store.create(name("alice")).expect("a key");
        let path = home.store.path(&name("alice"));
        for wrong in [0o640, 0o604, 0o660, 0o610, 0o644] {
            chmod(&path, wrong);
            let refused = error(home.store.load(&name("alice")));
            assert!(refused.to_string().contains(&format!("{wrong:04o}")), "{refused}");
            let hint = refused.hint().expect("a hint");
            assert!(hint.contains(&format!("chmod 600 {}", path.display())), "{hint}");
        }
        for right in [0o600, 0o400] {
            chmod(&path, right);
            home.store.load(&name("alice")).expect("only the owner reads it");
        }
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let home = home();
        home.store.create(name("alice")).expect("a key");
        let keys = home.root.path().join("wallet/keys");
        chmod(&keys, 0o770);
        assert!(matches!(
            error(home.store.load(&name("alice"))),
            KeystoreError::Writable { .. }
        ));
        assert!(matches!(
            error(home.store.create(name("bob"))),
            KeystoreError::Writable { .. }
        ));
        chmod(&keys, 0o700);
        assert_eq!(home.store.names().expect("names"), [name("alice")]);
    }

    #[test]
    fn the_only_key_needs_no_name() {
        let home = home();
        assert!(matches!(
            error(home.store.choose(None)),
            KeystoreError::None { .. }
        ));
        home.store.create(name("alice")).expect("a key");
        assert_eq!(home.store.choose(None).expect("the only key").name, name("alice"));
        home.store.create(name("bob")).expect("a key");
        let refused = error(home.store.choose(None));
        assert!(refused.to_string().ends_with("alice, bob"), "{refused}");
        assert_eq!(
            home.store.choose(Some(&name("bob"))).expect("bob").name,
            name("bob")
        );
        assert!(matches!(
            error(home.store.choose(Some(&name("carol")))),
            KeystoreError::Unknown { .. }
        ));
    }

    #[test]
    fn names_are_file_names_on_every_system() {
        for good in ["a", "validator-0", "A.b_c", &"x".repeat(64)] {
            assert!(good.parse::<KeyName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "-x",
            "a/b",
            "a b",
            "ä",
            "a\n",
            &"x".repeat(65),
        ] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_folder_in_place_of_a_key_is_no_key() {
        let home = home();
        home.store.create(name("alice")).expect("a key");
        fs::create_dir(home.store.path(&name("bob"))).expect("a folder");
        assert!(matches!(
            error(home.store.load(&name("bob"))),
            KeystoreError::NoFile { .. }
        ));
    }
}
