//! The environment, read once. The only reader of environment variables; everything else asks here.
//!
//! A variable that is set to nothing counts as not set.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::OnceLock;

/// Variables that programs inherit which the daemon starts, beside those that begin with `LC_`. Keys, agents' sockets and
/// whatever redirects a program's loader stay outside; a server that needs one is given it by its configuration.
const FOR_CHILDREN: &[&str] = &[
    "HOME",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "NODE_EXTRA_CA_CERTS",
    "PATH",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];

/// The environment of this process as it was at the first look.
#[derive(Clone, Default)]
pub struct Env {
    vars: BTreeMap<OsString, OsString>,
}

/// Names only: values may be secrets.
impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.vars.keys()).finish()
    }
}

impl Env {
    /// The environment of this process.
    pub fn current() -> &'static Self {
        static CURRENT: OnceLock<Env> = OnceLock::new();
        CURRENT.get_or_init(|| Self::of(std::env::vars_os()))
    }

    /// An environment of given variables, for tests and for one that a client sent.
    pub fn of<K: Into<OsString>, V: Into<OsString>>(vars: impl IntoIterator<Item = (K, V)>) -> Self {
        let vars = vars.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self { vars: vars.filter(|(_, value): &(OsString, OsString)| !value.is_empty()).collect() }
    }

    /// A variable's value.
    pub fn var(&self, name: &str) -> Option<&OsStr> {
        self.vars.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// A variable's value, if it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.var(name)?.to_str()
    }

    /// A variable that holds an absolute path; others are ignored, as the XDG specification asks.
    pub fn dir(&self, name: &str) -> Option<PathBuf> {
        self.var(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// All variables, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.vars.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// What a program that the daemon starts may see: the daemon's own environment holds keys.
    pub fn for_children(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.iter().filter(|(name, _)| {
            name.to_str().is_some_and(|name| FOR_CHILDREN.contains(&name) || name.starts_with("LC_"))
        })
    }

    /// The user's home directory: `HOME`, else what the user database says.
    pub fn home_dir(&self) -> Option<PathBuf> {
        self.dir("HOME").or_else(|| passwd().map(|user| user.dir))
    }

    /// The user's login name: what the user database says, else `USER`.
    pub fn user_name(&self) -> Option<String> {
        passwd().map(|user| user.name).or_else(|| self.text("USER").map(str::to_owned))
    }

    /// Where temporary files go: `TMPDIR`, else `/tmp`.
    pub fn temp_dir(&self) -> PathBuf {
        self.dir("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"))
    }
}

/// The program's arguments, without its own name.
pub fn arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}

/// The directory that the user is in.
///
/// # Errors
/// When it is gone.
pub fn working_directory() -> std::io::Result<PathBuf> {
    std::env::current_dir()
}

fn passwd() -> Option<nix::unistd::User> {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_no_variable() {
        let env = Env::of([("A", ""), ("B", "b"), ("REL", "x/y"), ("ABS", "/x")]);
        assert_eq!((env.text("A"), env.text("B"), env.text("C")), (None, Some("b"), None));
        assert_eq!((env.dir("REL"), env.dir("ABS")), (None, Some("/x".into())));
    }

    #[test]
    fn debug_shows_no_values() {
        let env = Env::of([("TOKEN", "hunter2")]);
        assert_eq!(format!("{env:?}"), r#"{"TOKEN"}"#);
    }
}
