//! The environment of an agent: which variables of the user's shell it inherits. Everything else stays outside,
//! above all provider keys, agent sockets and whatever redirects a program's loader or git.

use std::collections::BTreeMap;

/// Variables that are inherited by name.
const INHERITED: &[&str] = &[
    // Where the user's own login of Claude Code is; a run that is paid by keys gets a private one instead.
    "CLAUDE_CONFIG_DIR",
    // And that of Codex, likewise.
    "CODEX_HOME",
    "COLORFGBG",
    "COLORTERM",
    "COLUMNS",
    "EDITOR",
    "FORCE_COLOR",
    "HOME",
    "LANG",
    "LANGUAGE",
    "LINES",
    "LOGNAME",
    "NODE_EXTRA_CA_CERTS",
    "NO_COLOR",
    "PAGER",
    "PATH",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TEMP",
    "TERM",
    "TERM_PROGRAM",
    "TERM_PROGRAM_VERSION",
    "TMP",
    "TMPDIR",
    "TZ",
    "USER",
    "VISUAL",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];

/// The longest value that is inherited, in bytes.
const VALUE_LIMIT: usize = 32 * 1024;

/// Whether an agent inherits the variable.
pub fn is_inherited(name: &str) -> bool {
    INHERITED.binary_search(&name).is_ok() || name.starts_with("LC_")
}

/// The part of an environment that an agent inherits.
pub fn inherited(variables: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    variables
        .into_iter()
        .filter(|(name, value)| is_inherited(name) && value.len() <= VALUE_LIMIT && !value.contains('\0'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(INHERITED.is_sorted());
    }

    #[test]
    fn keys_and_redirections_stay_outside() {
        let outside = [
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_BASE_URL",
            "OPENAI_API_KEY",
            "GEMINI_API_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "GITHUB_TOKEN",
            "SSH_AUTH_SOCK",
            "LD_PRELOAD",
            "GIT_DIR",
            "NODE_OPTIONS",
            "HTTPS_PROXY",
            "AGENTSUP_HOME",
            "DBUS_SESSION_BUS_ADDRESS",
        ];
        let variables = outside.iter().map(|name| ((*name).to_owned(), "x".to_owned()));
        assert_eq!(inherited(variables), BTreeMap::new());
    }

    #[test]
    fn what_a_terminal_needs_is_inherited() {
        let variables =
            ["PATH", "HOME", "TERM", "LANG", "LC_ALL", "COLORTERM", "TZ", "SHELL", "USER", "LOGNAME"];
        let given: Vec<_> = variables.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        assert_eq!(inherited(given.clone()), given.into_iter().collect());
        assert_eq!(inherited([("PATH".to_owned(), "a\0b".to_owned())]), BTreeMap::new());
    }
}
