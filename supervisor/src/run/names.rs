//! What runs, branches and worktrees may be called.

use std::path::Path;

use crate::core::error::{Code, Failure};

/// What a branch may be called after.
pub(super) fn require_label(name: &str) -> Result<String, Failure> {
    let fits = (1..=40).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        && !name.starts_with('-');
    if fits {
        return Ok(name.to_owned());
    }
    Err(Failure::new(Code::Usage, format!("`{name}` is not a name for a run"))
        .hint("letters, digits, `-` and `_`, at most 40"))
}

/// The repository's name, cut down to what every tool takes in a path.
pub(super) fn directory_name(checkout: &Path) -> String {
    let name = checkout.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain: String = name
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' })
        .take(40)
        .collect();
    let plain = plain.trim_matches(['-', '.']);
    if plain.is_empty() { "repository".to_owned() } else { plain.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worktree_is_named_after_its_repository_without_surprises() {
        for (checkout, name) in [
            ("/src/shop", "shop"),
            ("/src/my shop\nnew", "my-shop-new"),
            ("/src/.hidden", "hidden"),
            ("/src/日本", "repository"),
            ("/", "repository"),
        ] {
            assert_eq!(directory_name(Path::new(checkout)), name, "{checkout}");
        }
        assert_eq!(directory_name(Path::new(&format!("/{}", "x".repeat(300)))).len(), 40);
    }

    #[test]
    fn a_label_is_a_plain_word() {
        assert_eq!(require_label("fix-login_2").unwrap(), "fix-login_2");
        for bad in ["", "-x", "a b", "a/b", "a..b", "é", &"x".repeat(41)] {
            assert_eq!(require_label(bad).unwrap_err().code, Code::Usage, "{bad}");
        }
    }
}
