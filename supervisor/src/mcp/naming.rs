//! The names under which agents see the tools of all servers: `<server>_<tool>`.
//!
//! What stands for a server has no `_` (one in its name becomes `-`), so the first `_` separates and the name alone says
//! which tool of which server is meant. Names are at most 48 characters of `[A-Za-z0-9_-]`: agents put up to 15 of
//! their own in front (`mcp__agentsup__`) and models take 64. What does not fit is shortened and ends in `_` and eight
//! hexadecimal digits of a digest of both names, so the same tool always gets the same name, whatever else is there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The longest name that agents see.
pub(super) const NAME_MAX: usize = 48;
/// The longest part that stands for a server.
const PREFIX_MAX: usize = 24;

/// What stands for each of these servers in front of its tools' names; no two get the same.
pub(super) fn prefixes<'a>(servers: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
    let servers: Vec<&String> = servers.collect();
    let plain = |server: &str| server.replace('_', "-");
    let prefix = |server: &String| {
        let wanted = plain(server);
        let fits = !wanted.is_empty() && wanted.len() <= PREFIX_MAX && wanted.bytes().all(is_prefix_byte);
        let is_taken =
            *server != wanted && servers.iter().any(|other| *other != server && plain(other) == wanted);
        if fits && !is_taken { wanted } else { shortened(server) }
    };
    servers.iter().map(|server| ((*server).clone(), prefix(server))).collect()
}

fn shortened(server: &str) -> String {
    let safe = |c: char| if c.is_ascii() && is_prefix_byte(c as u8) { c } else { '-' };
    let kept: String = server.chars().take(PREFIX_MAX - 7).map(safe).collect();
    format!("{kept}-{}", hex_digest(&[server], 3))
}

/// The name under which agents see `tool` of the server that `prefix` stands for.
pub(super) fn exposed(prefix: &str, tool: &str) -> String {
    let plain = !tool.is_empty() && tool.bytes().all(|byte| is_prefix_byte(byte) || byte == b'_');
    if plain && prefix.len() + 1 + tool.len() <= NAME_MAX {
        return format!("{prefix}_{tool}");
    }
    let room = NAME_MAX - prefix.len() - 1 - 9;
    let safe = |c: char| if c.is_ascii() && (is_prefix_byte(c as u8) || c == '_') { c } else { '_' };
    let kept: String = tool.chars().take(room).map(safe).collect();
    format!("{prefix}_{kept}_{}", hex_digest(&[prefix, tool], 4))
}

/// The server's part and the tool's part of a name that an agent sent.
pub(super) fn split(name: &str) -> Option<(&str, &str)> {
    name.split_once('_').filter(|(prefix, rest)| !prefix.is_empty() && !rest.is_empty())
}

/// Whether a name looks as if it had been shortened; a tool's own name may look so too.
pub(super) fn may_be_shortened(name: &str) -> bool {
    name.rsplit_once('_').is_some_and(|(_, end)| {
        end.len() == 8 && end.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

const fn is_prefix_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn hex_digest(parts: &[&str], bytes: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(bytes).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(server: &str) -> String {
        prefixes([server.to_owned()].iter()).remove(server).unwrap()
    }

    #[test]
    fn ordinary_names_are_joined_and_come_apart_again() {
        assert_eq!(exposed(&prefix("github"), "create_issue"), "github_create_issue");
        assert_eq!(split("github_create_issue"), Some(("github", "create_issue")));
        assert_eq!(exposed(&prefix("my_docs"), "search"), "my-docs_search");
        assert_eq!((split("plain"), split("_x"), split("x_")), (None, None, None));
    }

    #[test]
    fn servers_that_would_look_alike_are_told_apart() {
        let names = ["a-b", "a_b", "c_d_e", "c_d-e", "x.y"].map(str::to_owned);
        let found = prefixes(names.iter());
        assert_eq!((found["a-b"].as_str(), &found["a_b"][..4]), ("a-b", "a-b-"));
        assert!(found["c_d_e"].len() == 12 && found["c_d-e"].len() == 12 && found["x.y"].len() == 10);
        let different: std::collections::BTreeSet<_> = found.values().collect();
        assert_eq!(different.len(), names.len());
    }

    #[test]
    fn what_does_not_fit_is_shortened_the_same_way_every_time() {
        let long = "a_tool_with_a_name_that_goes_on_and_on_and_on_without_end";
        assert_eq!(exposed("github", long), "github_a_tool_with_a_name_that_goes_on__3c2149a1");
        assert!(may_be_shortened(&exposed("github", long)) && !may_be_shortened("github_create_issue"));
        assert_ne!(exposed("github", long), exposed("github", &format!("{long}s")));
        assert_ne!(exposed("s", "read.file"), exposed("s", "read/file"));
        assert!(exposed("s", "read.file").starts_with("s_read_file_"));
    }

    proptest! {
        #[test]
        fn every_name_is_one_that_all_clients_take_and_belongs_to_its_server(
            server in ".{0,70}", tool in ".{0,140}",
        ) {
            let own = prefix(&server);
            let name = exposed(&own, &tool);
            prop_assert!(name.len() <= NAME_MAX && !name.is_empty(), "{name}");
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
            prop_assert_eq!(split(&name).map(|(head, _)| head), Some(own.as_str()));
        }

        #[test]
        fn different_tools_have_different_names(
            a in "[a-z_-]{1,60}", b in "[a-z_-]{1,60}", s in "[a-z_-]{1,8}", t in "[a-z_-]{1,8}",
        ) {
            prop_assume!((&a, &s) != (&b, &t));
            let found = prefixes([s.clone(), t.clone()].iter());
            prop_assert_ne!(exposed(&found[&s], &a), exposed(&found[&t], &b));
        }
    }
}
