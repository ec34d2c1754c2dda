//! The end of a command that failed: an exit code, and the chain of reasons.

use std::error::Error;
use std::fmt::{self, Write as _};

use crate::adapter::AdapterError;
use crate::config::ConfigError;
use crate::exit_code;
use crate::home::HomeError;
use crate::journal::JournalError;
use crate::lock::LockError;
use crate::swap::SwapError;

/// A failed command.
#[derive(Debug)]
pub struct CommandError {
    code: u8,
    source: Box<dyn Error + Send + Sync>,
}

impl CommandError {
    /// An error with its exit code.
    pub fn new(code: u8, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            code,
            source: source.into(),
        }
    }

    /// What the program ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(formatter)
    }
}

impl Error for CommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::new(exit_code::CONFIG, error)
    }
}

impl From<HomeError> for CommandError {
    fn from(error: HomeError) -> Self {
        Self::new(exit_code::CONFIG, error)
    }
}

impl From<AdapterError> for CommandError {
    fn from(error: AdapterError) -> Self {
        Self::new(exit_code::CONFIG, error)
    }
}

impl From<SwapError> for CommandError {
    fn from(error: SwapError) -> Self {
        Self::new(exit_code::CONFIG, error)
    }
}

impl From<JournalError> for CommandError {
    fn from(error: JournalError) -> Self {
        Self::new(exit_code::JOURNAL, error)
    }
}

impl From<LockError> for CommandError {
    fn from(error: LockError) -> Self {
        let code = match error {
            LockError::Held { .. } => exit_code::HELD,
            LockError::Io { .. } => exit_code::FAILED,
        };
        Self::new(code, error)
    }
}

/// An error and its causes on one line. The only place where chains are put together.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
