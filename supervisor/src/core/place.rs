//! Where a path lies, seen from a run. Pure: paths come in with symlinks and `..` already resolved
//! ([`crate::sys::files`] does so), and so do the directories that give places their meaning.
//!
//! Of the directories that hold a path the deepest decides, so a worktree inside agentsup's own home is a worktree,
//! and keys inside the temporary directory are keys. Letters are compared without case: on some file systems
//! `.SSH` is `.ssh`, and where it is not, being strict costs nothing.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use super::action::Place;

/// What of a user's home directory holds credentials.
pub const SECRETS_AT_HOME: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".oci",
    ".kube",
    ".docker/config.json",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".s3cfg",
    ".boto",
    ".git-credentials",
    ".vault-token",
    ".password-store",
    ".terraform.d/credentials.tfrc.json",
    ".config/glab-cli",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".config/gcloud",
    ".config/gh",
    ".config/git/credentials",
    ".config/github-copilot",
    ".config/hub",
    ".config/op",
    ".config/rclone",
    ".config/sops",
    ".config/doctl",
    ".config/google-chrome",
    ".config/chromium",
    ".mozilla",
    ".local/share/keyrings",
    ".local/share/opencode/auth.json",
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".config/Cursor/User/globalStorage",
    ".config/cursor",
    ".cursor/auth.json",
    ".cursor/cli-config.json",
    ".cursor/sdk/auth.json",
    ".gemini/oauth_creds.json",
    ".qwen/oauth_creds.json",
    "Library/Keychains",
    "Library/Cookies",
    "Library/Application Support/Cursor/User/globalStorage",
    "Library/Application Support/Google/Chrome",
    "Library/Application Support/Firefox",
];

/// What of the system holds credentials.
pub const SECRETS_OF_SYSTEM: &[&str] = &["/etc/shadow", "/etc/gshadow", "/etc/sudoers"];

/// The directories that give a run's places their meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grounds {
    roots: Vec<(Vec<String>, Place)>,
}

impl Grounds {
    /// The same with a directory or file of a known place. It must be absolute and resolved.
    #[must_use]
    pub fn with(mut self, root: &Path, place: Place) -> Self {
        self.roots.push((words(root), place));
        self
    }

    /// The same with several.
    #[must_use]
    pub fn with_all(self, roots: &[PathBuf], place: Place) -> Self {
        roots.iter().fold(self, |places, root| places.with(root, place))
    }

    /// Whether a pattern of a shell could stand for something in a secret place: `~/.s*h/id`. It must be absolute, and
    /// resolved as far as it is no pattern, with its braces expanded.
    #[must_use]
    pub fn may_mean_secret(&self, pattern: &Path) -> bool {
        self.may_mean(pattern, Place::Secret)
    }

    /// The same for git's metadata: `.g?t/config`.
    #[must_use]
    pub fn may_mean_git(&self, pattern: &Path) -> bool {
        let by_name = words(pattern).iter().any(|name| is_pattern(name) && may_mean(name, ".git"));
        by_name || self.may_mean(pattern, Place::GitMetadata)
    }

    fn may_mean(&self, pattern: &Path, wanted: Place) -> bool {
        let pattern = words(pattern);
        let Some(first) = pattern.iter().position(|name| is_pattern(name)) else { return false };
        let wanted = self.roots.iter().filter(|(_, place)| *place == wanted);
        wanted.map(|(root, _)| root).any(|root| {
            // Where the pattern begins below it, the place of its beginning has said so already.
            pattern.len() >= root.len()
                && first < root.len()
                && root.iter().zip(&pattern).all(|(name, pattern)| may_mean(pattern, name))
        })
    }

    fn place(&self, path: &Path) -> Place {
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return Place::Outside;
        }
        let words = words(path);
        let holds = |root: &&(Vec<String>, Place)| words.starts_with(&root.0);
        let deepest = |is_git: bool| {
            let kind = self.roots.iter().filter(move |(_, place)| (*place == Place::GitMetadata) == is_git);
            kind.filter(holds).max_by_key(|(root, place)| (root.len(), strictness(*place)))
        };
        let place = deepest(false).map_or(Place::Outside, |(_, place)| *place);
        if place == Place::Secret || is_process_secret(&words) {
            return Place::Secret;
        }
        // Which directories are git's an agent can write into its `.git`, so that counts only where it is stricter.
        let git =
            deepest(true).filter(|(git, _)| deepest(false).is_none_or(|(other, _)| git.len() >= other.len()));
        if git.is_some() || words.iter().any(|word| word == ".git") { Place::GitMetadata } else { place }
    }
}

/// Where a path lies. It must be absolute and resolved, without `..` and symlinks; any other lies outside.
pub fn place(path: &Path, grounds: &Grounds) -> Place {
    grounds.place(path)
}

/// What makes a word a pattern.
pub const WILD: [char; 4] = ['*', '?', '[', '{'];

fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '[']) || may_choose(name)
}

/// Whether a text has alternatives in it, as bash knows them with `extglob`: `.@(ssh|aws)`.
pub fn may_choose(text: &str) -> bool {
    ["@(", "+(", "!(", "?(", "*("].iter().any(|sign| text.contains(sign))
}

/// A pattern with a `?` in place of each set of letters, or with a `*` in place of all of them and what is between, where it
/// is not certain where they end.
fn without_sets(pattern: &str) -> Cow<'_, str> {
    let Some((before, sets)) = pattern.split_once('[') else { return Cow::Borrowed(pattern) };
    let pieces: Vec<_> = sets.split('[').map(|set| set.split_once(']')).collect();
    let certain = |piece: &Option<(&str, &str)>| {
        piece.is_some_and(|(set, rest)| !matches!(set, "" | "!" | "^") && !rest.contains(']'))
    };
    if !before.contains(']') && pieces.iter().all(certain) {
        let rests = pieces.iter().flatten().map(|(_, rest)| *rest);
        return Cow::Owned(std::iter::once(before).chain(rests).collect::<Vec<_>>().join("?"));
    }
    let after = sets.rsplit_once(']').map_or("", |(_, after)| after);
    Cow::Owned(format!("{before}*{after}"))
}

/// Whether a name's pattern could mean this name. Alternatives may mean anything.
fn may_mean(pattern: &str, name: &str) -> bool {
    if may_choose(pattern) {
        return true;
    }
    // Shells leave names that begin with a dot out unless the pattern has one.
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let letters: Vec<char> = without_sets(pattern).chars().collect();
    let name: Vec<char> = name.chars().collect();
    // Row by row: which beginnings of the name the pattern so far could mean.
    let mut reached: Vec<bool> = (0..=name.len()).map(|length| length == 0).collect();
    for letter in letters {
        let step = |length: usize, before: &[bool], now: &[bool]| match letter {
            '*' => before[length] || (length > 0 && now[length - 1]),
            _ => length > 0 && before[length - 1] && (letter == '?' || letter == name[length - 1]),
        };
        let before = reached.clone();
        for length in 0..=name.len() {
            reached[length] = step(length, &before, &reached);
        }
    }
    reached.last().copied().unwrap_or_default()
}

/// Where two directories of different places are the same, the stricter counts.
const fn strictness(place: Place) -> u8 {
    match place {
        Place::Secret => 4,
        Place::GitMetadata => 3,
        Place::Outside => 2,
        Place::Scratch => 1,
        Place::Worktree => 0,
    }
}

/// Environment and memory of processes, which may hold keys.
fn is_process_secret(words: &[String]) -> bool {
    words.first().is_some_and(|word| word == "proc")
        && words.iter().any(|word| word == "environ" || word == "mem")
}

/// A path's names in lower case, without the characters that some file systems ignore in names.
fn words(path: &Path) -> Vec<String> {
    let word = |part: Component<'_>| match part {
        Component::Normal(name) => Some(folded(&name.to_string_lossy())),
        _ => None,
    };
    path.components().filter_map(word).collect()
}

/// A name as file systems without case know it.
pub fn folded(name: &str) -> String {
    let ignored = |letter: &char| matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let letters = name.chars().filter(|letter| !ignored(letter));
    // By way of capitals: `ſ` is `s`, too.
    letters.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grounds() -> Grounds {
        Grounds::default()
            .with(Path::new("/tmp"), Place::Scratch)
            .with(Path::new("/u/.agentsup"), Place::Secret)
            .with(Path::new("/u/.agentsup/worktrees/1"), Place::Worktree)
            .with(Path::new("/tmp/repo"), Place::Outside)
            .with(Path::new("/srv/bare.git"), Place::GitMetadata)
            .with_all(&["/u/.ssh", "/u/.docker/config.json", "/etc/shadow"].map(PathBuf::from), Place::Secret)
    }

    #[test]
    fn the_deepest_directory_decides() {
        let grounds = grounds();
        for (path, expected) in [
            ("/u/.agentsup/worktrees/1", Place::Worktree),
            ("/u/.agentsup/worktrees/1/src/a b\nc", Place::Worktree),
            ("/u/.agentsup/worktrees/10/a", Place::Secret),
            ("/u/.agentsup/config.toml", Place::Secret),
            ("/u/.agentsupper", Place::Outside),
            ("/tmp/x", Place::Scratch),
            ("/tmp/repo/x", Place::Outside),
            ("/u/.ssh/id_ed25519", Place::Secret),
            ("/u/.SSH/id_ed25519", Place::Secret),
            ("/u/.\u{17f}\u{17f}h/id_ed25519", Place::Secret),
            ("/u/.docker/config.json", Place::Secret),
            ("/u/.docker/other", Place::Outside),
            ("/etc/passwd", Place::Outside),
            ("/etc/shadow", Place::Secret),
            ("/", Place::Outside),
            ("/proc/123/environ", Place::Secret),
            ("/proc/123/task/124/mem", Place::Secret),
            ("/proc/cpuinfo", Place::Outside),
            ("/srv/bare.git/hooks/pre-commit", Place::GitMetadata),
        ] {
            assert_eq!(place(Path::new(path), &grounds), expected, "{path:?}");
        }
    }

    #[test]
    fn a_git_directory_that_an_agent_names_makes_no_secret_readable() {
        let grounds = grounds().with(Path::new("/u/.ssh/id_ed25519"), Place::GitMetadata);
        assert_eq!(place(Path::new("/u/.ssh/id_ed25519"), &grounds), Place::Secret);
        let grounds = grounds.with(Path::new("/"), Place::GitMetadata);
        assert_eq!(place(Path::new("/u/.agentsup/worktrees/1/a"), &grounds), Place::Worktree);
        assert_eq!(place(Path::new("/etc/passwd"), &grounds), Place::GitMetadata);
    }

    #[test]
    fn a_pattern_means_all_that_it_could() {
        let grounds = grounds();
        for (pattern, expected) in [
            ("/u/.s*/id", true),
            ("/u/.ss?/id", true),
            ("/u/.[a-z]sh/id", true),
            ("/u/.[]s]sh/id", true),
            ("/u/.[[:alpha:]]sh/id", true),
            ("/u/.[!x]sh/id", true),
            ("/u/.@(ssh|x)/id", true),
            ("/u/.s[s]h/id", true),
            ("/u/.[s][s]?/id", true),
            ("/u/.[!]a]sh/id", true),
            ("/u/.ss[h/id", true),
            ("/u/.[s]s/id", false),
            ("/u/.x[s]h/id", false),
            ("/u/.[[:alpha:]]x/id", false),
            ("/u/[ab]/id", false),
            ("/*/.ssh/id", true),
            ("/u/.*", true),
            ("/etc/sha*w", true),
            ("/u/*", false),
            ("/u/.x*/id", false),
            ("/u/.ss??/id", false),
            ("/etc/*.conf", false),
            ("/u/.agentsup/worktrees/1/src/*.rs", false),
            ("/u/.agentsup/worktrees/1/{a,b}.rs", false),
        ] {
            assert_eq!(grounds.may_mean_secret(Path::new(pattern)), expected, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_may_mean_gits_metadata() {
        let grounds = grounds();
        for (pattern, expected) in [
            ("/u/.agentsup/worktrees/1/.g?t/config", true),
            ("/u/.agentsup/worktrees/1/.[g]it/config", true),
            ("/tmp/repo/*/.GI*/config", true),
            ("/srv/bare.g*/hooks/x", true),
            ("/tmp/repo/.git/config", false),
            ("/tmp/repo/.items[0].name", false),
            ("/tmp/repo/.[0]", false),
            ("/tmp/repo/.[].name", false),
            ("/tmp/repo/.g[[:alpha:]]t/config", true),
            ("/tmp/repo/.[!]]it/config", true),
            ("/u/.agentsup/worktrees/1/*/config", false),
            ("/u/.agentsup/worktrees/1/app/[slug]/x", false),
            ("/u/.agentsup/worktrees/1/{\"a\":\"b/c\"}", false),
        ] {
            assert_eq!(grounds.may_mean_git(Path::new(pattern)), expected, "{pattern}");
        }
    }

    #[test]
    fn git_metadata_is_known_by_its_name_wherever_it_is() {
        let grounds = grounds();
        for path in [
            "/u/.agentsup/worktrees/1/.git",
            "/u/.agentsup/worktrees/1/sub/.git/hooks/pre-commit",
            "/u/.agentsup/worktrees/1/.GIT/config",
            "/u/.agentsup/worktrees/1/.g\u{200c}it/config",
            "/tmp/other/.git/config",
            "/repo/.git/config",
        ] {
            assert_eq!(place(Path::new(path), &grounds), Place::GitMetadata, "{path:?}");
        }
        for path in ["/u/.agentsup/worktrees/1/.gitignore", "/u/.agentsup/worktrees/1/x.git/a"] {
            assert_eq!(place(Path::new(path), &grounds), Place::Worktree, "{path:?}");
        }
    }

    #[test]
    fn what_is_not_resolved_lies_outside() {
        let grounds = grounds();
        for path in ["src/a", "", "/u/.agentsup/worktrees/1/../2/a"] {
            assert_eq!(place(Path::new(path), &grounds), Place::Outside, "{path:?}");
        }
    }
}
