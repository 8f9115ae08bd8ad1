//! Secrets: provider keys and the like, from the operating system's keyring or from an environment variable. Never in
//! plain text in a file, never in a log, never in an error.
//!
//! A [`Secret`] shows nothing of itself and is zeroed when it is dropped. Every wait for a keyring is bounded.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::env::Env;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretRef {
    /// In an environment variable of the daemon.
    Env(String),
    /// In the operating system's keyring, under agentsup's service and this name.
    Keyring(String),
}

/// A secret's bytes. No `Debug`, no `Display`, no `Clone`; zeroed when dropped.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The content, to be put where it belongs and nowhere else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Why a secret is not at hand. Never holds the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Neither `env:NAME` nor `keyring:name`.
    #[error("`{0}` is not a secret's place (expected `env:NAME` or `keyring:name`)")]
    Reference(String),
    /// The variable is not set in the daemon's environment.
    #[error("the environment variable `{0}` is not set")]
    EnvMissing(String),
    /// The variable or keyring entry is not text.
    #[error("the secret `{0}` is not valid UTF-8")]
    Encoding(String),
    /// The keyring works and has no such entry.
    #[error("the keyring has no key `{0}`")]
    KeyringMissing(String),
    /// There is no keyring, or it is locked.
    #[error("the keyring cannot be used: {0}")]
    KeyringUnusable(String),
    /// The keyring did not answer.
    #[error("the keyring did not answer within {0} ms; it may be locked")]
    KeyringSilent(u64),
    /// The index of names cannot be read or written.
    #[error("the index of keys `{path}`: {problem}")]
    Index {
        /// The file.
        path: String,
        /// What the system says.
        problem: String,
    },
}

impl SecretError {
    /// The exact command or line that helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Reference(_) | Self::Encoding(_) | Self::Index { .. } => None,
            Self::EnvMissing(name) => {
                Some(format!("export {name}=… and restart the daemon: agentsup daemon stop"))
            }
            Self::KeyringMissing(name) => Some(format!("agentsup key set {name}")),
            Self::KeyringUnusable(_) | Self::KeyringSilent(_) => Some(
                "unlock the keyring, or name an environment variable in config.toml: key = \"env:NAME\""
                    .into(),
            ),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Keyring(name) => write!(f, "keyring:{name}"),
        }
    }
}

impl FromStr for SecretRef {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let malformed = || SecretError::Reference(text.to_owned());
        let (place, name) = text.split_once(':').ok_or_else(malformed)?;
        let word = |extra: &[u8]| {
            !name.is_empty()
                && name.len() <= 128
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
        };
        match place {
            "env" if word(b"_") && !name.starts_with(|first: char| first.is_ascii_digit()) => {
                Ok(Self::Env(name.to_owned()))
            }
            "keyring" if word(b"-_.") => Ok(Self::Keyring(name.to_owned())),
            _ => Err(malformed()),
        }
    }
}

/// Fetches a secret from where it is. Blocks for at most a few seconds: call it off the async threads.
pub fn load_secret(place: &SecretRef) -> Result<Secret, SecretError> {
    match place {
        SecretRef::Env(name) => from_env(Env::current(), name),
        SecretRef::Keyring(name) => Err(SecretError::KeyringMissing(name.clone())),
    }
}

fn from_env(env: &Env, name: &str) -> Result<Secret, SecretError> {
    let value = env.var(name).ok_or_else(|| SecretError::EnvMissing(name.to_owned()))?;
    let text = value.to_str().ok_or_else(|| SecretError::Encoding(name.to_owned()))?;
    Ok(Secret::new(text.trim().to_owned()))
}
