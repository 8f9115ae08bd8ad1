//! Secrets: provider keys and the like, from the operating system's keyring or from an environment variable. Never in
//! plain text in a file, never in a log, never in an error.
//!
//! A [`Secret`] shows nothing of itself and is zeroed when it is dropped. Every wait for a keyring is bounded, and what
//! it said is kept for a minute at most.

mod kept;
mod keyring;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::core::error::{Code, Failure};

use super::env::Env;
use super::paths::Home;

use kept::Kept;
pub use keyring::KEYRING_TIMEOUT;

/// What this process's keyring said; there is one keyring, so there is one of these.
static KEPT: Kept = Kept::new();

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
    /// Not a name for a key.
    #[error("`{0}` is not a key's name (letters, digits, `-`, `_` and `.`)")]
    Name(String),
    /// Nothing that could be a key.
    #[error("the key is empty, too long, or has control characters")]
    Unsuitable,
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
    #[error("no keyring can be used: {0}")]
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
            Self::Reference(_)
            | Self::Name(_)
            | Self::Unsuitable
            | Self::Encoding(_)
            | Self::Index { .. } => None,
            Self::EnvMissing(name) => {
                Some(format!("export {name}=… and restart the daemon: agentsup daemon stop"))
            }
            Self::KeyringMissing(name) => Some(format!("agentsup key set {name}")),
            Self::KeyringUnusable(_) | Self::KeyringSilent(_) => Some(
                "unlock the keyring, or name a variable in config.toml, such as: \
                 [providers.anthropic] key = \"env:ANTHROPIC_API_KEY\""
                    .into(),
            ),
        }
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        let code = match &error {
            SecretError::Reference(_) | SecretError::Name(_) | SecretError::Unsuitable => Code::Usage,
            SecretError::EnvMissing(_) | SecretError::Encoding(_) | SecretError::KeyringMissing(_) => {
                Code::ConfigInvalid
            }
            SecretError::KeyringUnusable(_) | SecretError::KeyringSilent(_) => Code::Conflict,
            SecretError::Index { .. } => Code::Internal,
        };
        Self { code, message: error.to_string(), hint: error.hint() }
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

/// Fetches a secret from where it is. Blocks for a keyring, which may take [`KEYRING_TIMEOUT`]: call it off the async
/// threads, or first see whether it is at hand.
pub fn load_secret(place: &SecretRef) -> Result<Arc<Secret>, SecretError> {
    match place {
        SecretRef::Env(name) => from_env(Env::current(), name).map(Arc::new),
        SecretRef::Keyring(name) => KEPT.load(name, || keyring::load(name)),
    }
}

/// What [`load_secret`] would answer, if it would not have to ask the keyring for it. Does not block.
pub fn secret_at_hand(place: &SecretRef) -> Option<Result<Arc<Secret>, SecretError>> {
    match place {
        SecretRef::Env(name) => Some(from_env(Env::current(), name).map(Arc::new)),
        SecretRef::Keyring(name) => KEPT.at_hand(name),
    }
}

/// Puts a secret into the keyring and its name into the home's index. Blocks as [`load_secret`] does.
pub fn set_secret(home: &Home, name: &str, secret: Secret) -> Result<(), SecretError> {
    let name = keyring_name(name)?;
    let text = secret.reveal();
    if text.is_empty() || text.len() > MAX_SECRET_BYTES || text.chars().any(char::is_control) {
        return Err(SecretError::Unsuitable);
    }
    let stored = keyring::store(&name, secret);
    KEPT.forget(&name);
    stored?;
    let mut names = list_secrets(home)?;
    names.insert(name);
    write_index(home, &names)
}

/// Takes a secret out of the keyring and its name out of the index. `false` if there was none.
pub fn remove_secret(home: &Home, name: &str) -> Result<bool, SecretError> {
    let name = keyring_name(name)?;
    let removed = keyring::remove(&name);
    KEPT.forget(&name);
    let removed = removed?;
    let mut names = list_secrets(home)?;
    if names.remove(&name) {
        write_index(home, &names)?;
    }
    Ok(removed)
}

/// Names of the secrets that were put into the keyring from this home. The keyring is not asked.
pub fn list_secrets(home: &Home) -> Result<BTreeSet<String>, SecretError> {
    let path = home.key_index();
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| index_error(&path, &error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(index_error(&path, &error)),
    }
}

/// Longest secret that is stored, in bytes.
const MAX_SECRET_BYTES: usize = 16 * 1024;

fn from_env(env: &Env, name: &str) -> Result<Secret, SecretError> {
    let value = env.var(name).ok_or_else(|| SecretError::EnvMissing(name.to_owned()))?;
    let text = value.to_str().ok_or_else(|| SecretError::Encoding(name.to_owned()))?;
    Ok(Secret::new(text.trim().to_owned()))
}

fn keyring_name(name: &str) -> Result<String, SecretError> {
    match format!("keyring:{name}").parse() {
        Ok(SecretRef::Keyring(name)) => Ok(name),
        _ => Err(SecretError::Name(name.to_owned())),
    }
}

/// Replaces the index whole, so that a crash leaves the old or the new one.
fn write_index(home: &Home, names: &BTreeSet<String>) -> Result<(), SecretError> {
    let path = home.key_index();
    let beside = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(names)?)?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    };
    write().map_err(|error| index_error(&path, &error))
}

fn index_error(path: &Path, problem: &dyn fmt::Display) -> SecretError {
    SecretError::Index { path: path.display().to_string(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests;
