//! `[registry]` of `config.toml`: the git repository that agents, budgets and policies come from, and what files on this
//! machine may still say beside it.
//!
//! Where there is one, it is the authority: a file on this machine can tighten what it says and never adds to it, unless
//! the configuration lets the user's own agents in by name.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::tree::{Faults, Fields};
use super::units;

/// The namespace of a user's own agents. A registry cannot declare it, so that no file here takes the place of its own.
pub const PERSONAL: &str = "personal";

/// Where manifests come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The repository's address.
    pub git: String,
    /// What is on it is in force.
    pub branch: String,
    /// The directory of the manifests, from the root of the repository; empty for the root itself.
    pub path: PathBuf,
    /// How often it is asked for news, in milliseconds.
    pub every_ms: u64,
    /// What files on this machine may say beside it.
    pub local: Local,
}

/// What files on this machine may say beside a registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Local {
    /// Policies of the user's own layer, which can only tighten.
    #[default]
    Policies,
    /// Those, and agents and budgets of the namespace `personal`, under all policies of the registry.
    Personal,
}

const BRANCH: &str = "main";
/// Five minutes.
const EVERY_MS: u64 = 5 * 60 * 1000;
/// The host has other users.
const EVERY_MIN_MS: u64 = 30 * 1000;
/// The longest address and the longest name of a branch, in bytes.
const MAX_LENGTH: usize = 1024;

/// Reads the section. None if it has problems.
pub(super) fn read(mut fields: Fields<'_>, faults: &mut Faults<'_>) -> Option<Source> {
    let git = fields.require("git", faults).and_then(|field| field.map(faults, address));
    let branch = fields.take("branch", faults).map(|field| field.map(faults, branch_name));
    let path = fields.take("path", faults).map(|field| field.map(faults, directory));
    let every_ms = fields.take("every", faults).map(|field| field.map(faults, every));
    let words = [("policies", Local::Policies), ("personal", Local::Personal)];
    let local = fields.take("local", faults).map(|field| field.word(faults, &words));
    fields.done(faults);
    Some(Source {
        git: git?,
        branch: branch.unwrap_or_else(|| Some(BRANCH.to_owned()))?,
        path: path.unwrap_or_else(|| Some(PathBuf::new()))?,
        every_ms: every_ms.unwrap_or(Some(EVERY_MS))?,
        local: local.unwrap_or_else(|| Some(Local::default()))?,
    })
}

fn every(text: &str) -> Result<u64, String> {
    match units::duration_ms(text)? {
        every if every >= EVERY_MIN_MS => Ok(every),
        _ => Err(format!("`{text}` is more often than a registry is asked (at least 30s)")),
    }
}

/// An address that git takes, whose other end proves who it is: nobody between it and us may say who is an agent.
fn address(text: &str) -> Result<String, String> {
    let known = "https://…, ssh://…, user@host:path, file:///… or an absolute path";
    // What was written is not repeated where it may hold a secret.
    let shown = if text.contains(['@', '?', '#']) { String::new() } else { format!("`{text}` ") };
    let wrong = || format!("{shown}is not the address of a git repository ({known})");
    let odd = |letter: char| letter.is_control() || letter.is_whitespace();
    if text.len() > MAX_LENGTH || text.starts_with('-') || text.chars().any(odd) && !is_local(text) {
        return Err(wrong());
    }
    if is_local(text) {
        return if text.chars().any(char::is_control) { Err(wrong()) } else { Ok(text.to_owned()) };
    }
    if !text.contains("://") {
        return if is_ssh_short(text) { Ok(text.to_owned()) } else { Err(wrong()) };
    }
    let url = Url::parse(text).map_err(|_| wrong())?;
    if url.password().is_some() || (url.scheme() != "ssh" && !url.username().is_empty()) {
        return Err("holds a user name or password; git's own credential helper keeps those".into());
    }
    let host = url.host_str().filter(|host| !host.starts_with('-'));
    if url.query().is_some() || url.fragment().is_some() || host.is_none() {
        return Err(wrong());
    }
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" | "ssh" => Ok(text.to_owned()),
        "http" if is_here => Ok(text.to_owned()),
        "http" => Err(format!("{shown}is not encrypted, so that anybody on the way could register agents")),
        _ => Err(wrong()),
    }
}

fn is_local(text: &str) -> bool {
    text.starts_with('/') || text.starts_with("file:///")
}

/// `user@host:path`: a colon before any slash, and no second one beside it, which would name a program. An `@` behind it
/// comes from an address with a password.
fn is_ssh_short(text: &str) -> bool {
    let Some((host, path)) = text.split_once(':') else { return false };
    let name = host.rsplit('@').next().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@[]".contains(&byte);
    !name.is_empty()
        && !name.starts_with('-')
        && host.bytes().all(plain)
        && !path.is_empty()
        && !path.starts_with(':')
        && !path.contains('@')
}

/// As git checks the name of a ref.
fn branch_name(text: &str) -> Result<String, String> {
    let odd = |letter: char| letter.is_control() || " ~^:?*[\\".contains(letter);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let good = text.len() <= MAX_LENGTH
        && !text.chars().any(odd)
        && !text.starts_with('-')
        && !text.ends_with('.')
        && text != "@"
        && ["..", "@{"].iter().all(|bad| !text.contains(bad))
        && text.split('/').all(part);
    if good { Ok(text.to_owned()) } else { Err(format!("`{text}` is not the name of a branch")) }
}

fn directory(text: &str) -> Result<PathBuf, String> {
    let mut path = PathBuf::new();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            _ => return Err(format!("`{text}` is not a directory below the root of the repository")),
        }
    }
    let odd = text.chars().any(|letter| letter.is_control() || letter == '\\');
    if odd { Err(format!("`{text}` is not a plain path")) } else { Ok(path) }
}

impl Source {
    /// Whether the set is the same one, however often it is fetched and whatever else may be said.
    pub fn is_same_place(&self, other: &Self) -> bool {
        (&self.git, &self.branch, &self.path) == (&other.git, &other.branch, &other.path)
    }

    /// Whether agents of a namespace are declared on this machine and not in the registry.
    pub fn is_left_to_machine(&self, namespace: &str) -> bool {
        self.local == Local::Personal && namespace == PERSONAL
    }

    /// A file as it is named in problems and answers, so that it can be found again: `teams/a/b.yaml@1a2b3c4d5e6f`.
    pub fn shown(&self, below: &Path, commit: &str) -> PathBuf {
        PathBuf::from(format!("{}@{}", self.path.join(below).display(), short(commit)))
    }

    /// Where the forge opens a review of a branch, if its address says which forge it is.
    pub fn review_link(&self, branch: &str) -> Option<String> {
        let (host, repository) = self.forge()?;
        let (branch, onto) = (escaped(branch), escaped(&self.branch));
        let is = |name: &str| host == format!("{name}.com") || host.starts_with(&format!("{name}."));
        if is("github") {
            Some(format!("https://{host}/{repository}/compare/{onto}...{branch}?expand=1"))
        } else if is("gitlab") {
            Some(format!(
                "https://{host}/{repository}/-/merge_requests/new?merge_request%5Bsource_branch%5D={branch}\
                 &merge_request%5Btarget_branch%5D={onto}"
            ))
        } else if host == "bitbucket.org" {
            Some(format!("https://{host}/{repository}/pull-requests/new?source={branch}&dest={onto}"))
        } else {
            None
        }
    }

    /// The host, and the repository's path there without `.git`.
    fn forge(&self) -> Option<(String, String)> {
        let (host, path) = match Url::parse(&self.git) {
            Ok(url) if matches!(url.scheme(), "https" | "ssh") => {
                (url.host_str()?.to_owned(), url.path().trim_start_matches('/').to_owned())
            }
            _ if is_local(&self.git) => return None,
            _ => {
                let (host, path) = self.git.split_once(':')?;
                (host.rsplit('@').next()?.to_owned(), path.trim_start_matches('/').to_owned())
            }
        };
        let repository = path.trim_end_matches('/').trim_end_matches(".git");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte);
        (repository.contains('/') && repository.bytes().all(plain)).then(|| (host, repository.to_owned()))
    }
}

/// A commit as people read it.
pub fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// As it stands in an address.
fn escaped(branch: &str) -> String {
    let one = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    branch.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_address_is_one_that_git_takes_and_that_nobody_can_pretend_to_be() {
        for good in [
            "https://example.invalid/platform/agents.git",
            "ssh://git@example.invalid:2222/platform/agents",
            "git@example.invalid:platform/agents.git",
            "example.invalid:agents",
            "/srv/git/my agents.git",
            "file:///srv/git/agents",
            "http://127.0.0.1:8080/agents",
            "http://localhost/agents",
        ] {
            assert_eq!(address(good).unwrap(), good);
        }
        for bad in [
            "",
            "agents.git",
            "../agents",
            "-oProxyCommand=x:y",
            "--upload-pack=x",
            "ext::sh -c true",
            "ext::true",
            "host::path",
            "git://example.invalid/agents",
            "http://example.invalid/agents",
            "http://127.0.0.1.example.invalid/agents",
            "https://example.invalid/a b",
            "https://example.invalid/agents?x",
            "ssh://-oProxyCommand=x/y",
            "a\nb:c",
            "/srv/\nx",
            "-host:path",
        ] {
            assert!(address(bad).is_err(), "{bad:?}");
        }
        for secret in [
            "https://alice:hunter2@example.invalid/a",
            "https://hunter2@example.invalid/a",
            "alice:hunter2@example.invalid/a",
            "alice:hunter2@example.invalid:a",
            "http:/alice:hunter2@example.invalid/a",
            "https://alice:hunter2@example .invalid/a",
            "file://alice:hunter2@example.invalid/a",
            "git://alice:hunter2@example.invalid/a",
            "-alice:hunter2@example.invalid/a",
            "https://example.invalid/a?token=hunter2",
            "https://example.invalid/a#hunter2",
            "http://example.invalid/alice:hunter2@a",
            "/srv/\nalice:hunter2@a",
        ] {
            let said = address(secret).unwrap_err();
            assert!(!said.contains("hunter2"), "{secret}: {said}");
        }
    }

    #[test]
    fn a_branch_has_a_name_that_git_takes() {
        for good in ["main", "release/1.0", "a@b", "grün"] {
            assert_eq!(branch_name(good).unwrap(), good);
        }
        for bad in [
            "", "-x", "a..b", "a b", "a:b", "/a", "a/", "a//b", ".a", "a.lock", "a/.b", "a.", "@", "a@{1}",
            "a\tb",
        ] {
            assert!(branch_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_directory_stays_below_the_root() {
        for (text, path) in [(".", ""), ("./a/b/", "a/b"), ("a", "a")] {
            assert_eq!(directory(text).unwrap(), Path::new(path));
        }
        for bad in ["/a", "..", "a/../b", "a\\b", "a\nb"] {
            assert!(directory(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_review_is_opened_where_the_forge_is_known() {
        let link = |git: &str| {
            let (git, branch, path) = (git.to_owned(), "main".to_owned(), PathBuf::new());
            let source = Source { git, branch, path, every_ms: 1, local: Local::Policies };
            source.review_link("register/a b-c")
        };
        let github = "https://github.com/org/agents/compare/main...register/a%20b-c?expand=1";
        for address in [
            "https://github.com/org/agents.git",
            "git@github.com:org/agents.git",
            "ssh://git@github.com/org/agents/",
        ] {
            assert_eq!(link(address).as_deref(), Some(github));
        }
        assert_eq!(
            link("git@gitlab.example.com:group/sub/agents.git").unwrap(),
            "https://gitlab.example.com/group/sub/agents/-/merge_requests/new?\
             merge_request%5Bsource_branch%5D=register/a%20b-c&merge_request%5Btarget_branch%5D=main"
        );
        assert_eq!(
            link("https://bitbucket.org/org/agents.git").unwrap(),
            "https://bitbucket.org/org/agents/pull-requests/new?source=register/a%20b-c&dest=main"
        );
        for unknown in [
            "/srv/github.com/a/b",
            "https://example.invalid/a/b",
            "github.com:agents",
            "https://notgithub.com/a/b",
        ] {
            assert_eq!(link(unknown), None, "{unknown}");
        }
    }
}
