//! The operating system's keyring: the secret service on Linux, the keychain on macOS. Entries are of the service
//! `agentsup`, one per name.
//!
//! A locked keyring may ask its user and never answer, so every call runs on a thread of its own and is waited for a
//! bounded time; a thread that hangs is left alone, and only a few may hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use keyring_core::{CredentialStore, Entry, Error};
use zeroize::Zeroizing;

use super::{Secret, SecretError};

/// How long a keyring may take.
pub const KEYRING_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 5 });

/// The most calls that may be under way, hanging ones included.
const MAX_CALLS: usize = 4;

/// What our entries are filed under.
const OWNER: &str = "agentsup";

pub(super) fn load(name: &str) -> Result<Secret, SecretError> {
    let bytes = bounded(name, |entry| entry.get_secret().map(Zeroizing::new))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::Encoding(name.to_owned()))?;
    Ok(Secret::new(text.to_owned()))
}

pub(super) fn store(name: &str, secret: Secret) -> Result<(), SecretError> {
    bounded(name, move |entry| entry.set_secret(secret.reveal().as_bytes()))
}

pub(super) fn remove(name: &str) -> Result<bool, SecretError> {
    match bounded(name, Entry::delete_credential) {
        Ok(()) => Ok(true),
        Err(SecretError::KeyringMissing(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Counts a call as long as it is under way.
struct Slot;

static CALLS: AtomicUsize = AtomicUsize::new(0);

impl Slot {
    fn take() -> Option<Self> {
        let next = |calls: usize| (calls < MAX_CALLS).then_some(calls + 1);
        CALLS.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok().map(|_| Self)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        CALLS.fetch_sub(1, Ordering::AcqRel);
    }
}

fn bounded<T: Send + 'static>(
    name: &str,
    call: impl FnOnce(&Entry) -> Result<T, Error> + Send + 'static,
) -> Result<T, SecretError> {
    let timeout_ms = u64::try_from(KEYRING_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    let silent = || SecretError::KeyringSilent(timeout_ms);
    let slot = Slot::take().ok_or_else(silent)?;
    let (reply, answer) = sync_channel(1);
    let owned = name.to_owned();
    let work = move || {
        let result = entry(&owned).and_then(|entry| call(&entry));
        drop(slot);
        let _ = reply.send(result);
    };
    let spawned = thread::Builder::new().name("keyring".into()).spawn(work);
    spawned.map_err(|error| SecretError::KeyringUnusable(error.to_string()))?;
    let result = answer.recv_timeout(KEYRING_TIMEOUT).map_err(|_| silent())?;
    result.map_err(|error| match error {
        Error::NoEntry => SecretError::KeyringMissing(name.to_owned()),
        Error::BadEncoding(_) => SecretError::Encoding(name.to_owned()),
        other => SecretError::KeyringUnusable(explain(&other)),
    })
}

fn entry(name: &str) -> Result<Entry, Error> {
    open()?.build(OWNER, name, None)
}

#[cfg(target_os = "linux")]
fn open() -> Result<Arc<CredentialStore>, Error> {
    zbus_secret_service_keyring_store::Store::new().map(|store| store as Arc<CredentialStore>)
}

#[cfg(target_os = "macos")]
fn open() -> Result<Arc<CredentialStore>, Error> {
    apple_native_keyring_store::keychain::Store::new().map(|store| store as Arc<CredentialStore>)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn open() -> Result<Arc<CredentialStore>, Error> {
    Err(Error::NotSupportedByStore("no keyring is known on this system".into()))
}

/// The error without what it may carry of the secret itself.
fn explain(error: &Error) -> String {
    match error {
        Error::PlatformFailure(source) => format!("none is running here ({source})"),
        Error::NoStorageAccess(_) => "it is locked, or there is no default keyring".into(),
        Error::Ambiguous(entries) => format!("it has {} entries of that name", entries.len()),
        Error::TooLong(attribute, limit) => format!("`{attribute}` is longer than {limit}"),
        Error::NotSupportedByStore(what) => what.clone(),
        _ => "it answered with something unexpected".into(),
    }
}
