//! Patterns of label rules, made once when the rules are loaded: `*` and `?`, and for paths `**` between slashes.
//!
//! Matching takes a time bounded by the product of both lengths; nothing is allocated for it.

/// The longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 512;

/// A pattern over a name: `*` stands for any characters, `?` for exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NameGlob(String, Case);

/// Whether `A` is `a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// It is not.
    Matters,
    /// It is: so it is with hosts and models, and with files on some file systems.
    Ignored,
}

impl NameGlob {
    /// Reads a pattern.
    pub(super) fn new(text: &str, case: Case) -> Result<Self, String> {
        check(text)?;
        Ok(Self(text.to_owned(), case))
    }

    /// One for a single name, which may hold what patterns do not know.
    pub(super) fn exactly(name: String) -> Self {
        Self(name, Case::Ignored)
    }

    /// What it is written with.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Whether the whole name matches.
    pub(super) fn matches(&self, name: &str) -> bool {
        wild(&self.0, name, self.1)
    }
}

/// A pattern over two names with a slash or another sign between them, each matched for itself, so that no name can
/// pass for the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PairGlob(NameGlob, NameGlob);

impl PairGlob {
    /// Reads a pattern that has the sign in it; the first one counts.
    pub(super) fn new(text: &str, sign: char, case: Case) -> Result<Self, String> {
        check(text)?;
        match text.split_once(sign) {
            Some((first, second)) if !first.is_empty() && !second.is_empty() => {
                Ok(Self(NameGlob::new(first, case)?, NameGlob::new(second, case)?))
            }
            _ => Err(format!("is not two names with `{sign}` between them")),
        }
    }

    /// What its names are written with.
    pub(super) fn texts(&self) -> [&str; 2] {
        [self.0.text(), self.1.text()]
    }

    /// Whether both names match.
    pub(super) fn matches(&self, first: &str, second: &str) -> bool {
        self.0.matches(first) && self.1.matches(second)
    }
}

/// A pattern over a path: `*` and `?` within a name, `**` for any number of names, none included. Case does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathGlob {
    is_absolute: bool,
    names: Vec<String>,
}

/// The names of a path, as patterns know them.
pub(super) fn names(path: &str) -> Vec<&str> {
    path.split('/').filter(|name| !name.is_empty()).collect()
}

impl PathGlob {
    /// Reads a pattern: from the root if it begins with a slash, else from wherever it is matched from.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        check(text)?;
        let (is_absolute, rest) = text.strip_prefix('/').map_or((false, text), |rest| (true, rest));
        let names: Vec<String> = rest.split('/').map(str::to_owned).collect();
        for name in &names {
            if name.is_empty() {
                return Err(
                    "has an empty name between slashes (`dir/**` is a directory and all below)".into()
                );
            }
            if name == "." || name == ".." {
                return Err(format!("`{name}` is no name: paths are resolved before they are looked at"));
            }
            if name != "**" && name.contains("**") {
                return Err("`**` stands between slashes, and nothing else there".into());
            }
        }
        Ok(Self { is_absolute, names })
    }

    /// Whether it begins at the root.
    pub(super) const fn is_absolute(&self) -> bool {
        self.is_absolute
    }

    /// What its names are written with.
    pub(super) fn texts(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// Whether the whole path of these names matches. Where it begins is the caller's to know.
    pub(super) fn matches(&self, names: &[&str]) -> bool {
        let (mut p, mut t) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while t < names.len() {
            match self.names.get(p).map(String::as_str) {
                Some("**") => {
                    retry = Some((p, t));
                    p += 1;
                    continue;
                }
                Some(pattern) if wild(pattern, names[t], Case::Ignored) => {
                    p += 1;
                    t += 1;
                    continue;
                }
                _ => {}
            }
            let Some((star, from)) = retry else { return false };
            retry = Some((star, from + 1));
            p = star + 1;
            t = from + 1;
        }
        self.names[p..].iter().all(|rest| rest == "**")
    }
}

fn check(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("an empty pattern matches nothing".into());
    }
    if text.len() > MAX_PATTERN_BYTES {
        return Err(format!("is longer than {MAX_PATTERN_BYTES} bytes"));
    }
    if text.contains(['[', ']', '{', '}', '\\', '!']) || text.chars().any(char::is_control) {
        return Err("patterns know `*` and `?` only".into());
    }
    Ok(())
}

/// Both are walked once; a mismatch goes back to the last `*` and lets it take one character more.
fn wild(glob: &str, text: &str, case: Case) -> bool {
    let is_same =
        |a: char, b: char| a == b || (case == Case::Ignored && a.to_lowercase().eq(b.to_lowercase()));
    let (mut g, mut t) = (glob.chars(), text.chars());
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let before = t.clone();
        let Some(have) = t.next() else { return g.all(|rest| rest == '*') };
        match g.next() {
            Some('*') => {
                retry = Some((g.clone(), before.clone()));
                t = before;
                continue;
            }
            Some(want) if want == '?' || is_same(want, have) => continue,
            _ => {}
        }
        let Some((after, mut from)) = retry.take() else { return false };
        from.next();
        (g, t) = (after.clone(), from.clone());
        retry = Some((after, from));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::super::super::scope;
    use super::*;

    #[test]
    fn stars_stay_within_a_name_and_two_do_not() {
        for (glob, path, expected) in [
            ("src/payments/**", "src/payments", true),
            ("src/payments/**", "src/payments/a/b.rs", true),
            ("src/payments/**", "src/payments2/a", false),
            ("src/payments/**", "x/src/payments/a", false),
            ("**/*.pem", "key.pem", true),
            ("**/*.pem", "a/b/key.pem", true),
            ("**/*.pem", "a/b/key.pem/c", false),
            ("src/*.rs", "src/a.rs", true),
            ("src/*.rs", "src/a/b.rs", false),
            ("src/?.rs", "src/é.rs", true),
            ("a/**/b/**/c", "a/b/x/b/c", true),
            ("a/**/b/**/c", "a/x/c", false),
            ("**", "", true),
            ("/etc/**", "/etc/hosts", true),
            ("Src/**", "src/Ä", true),
        ] {
            let glob = PathGlob::new(glob).unwrap();
            assert_eq!(glob.matches(&names(path)), expected, "{glob:?} {path}");
        }
        for (bad, told) in [
            ("", "empty pattern"),
            ("src/", "empty name"),
            ("a//b", "empty name"),
            ("../x", "resolved"),
            ("./x", "resolved"),
            ("a**b/c", "between slashes"),
            ("{a,b}", "`*` and `?` only"),
        ] {
            assert!(PathGlob::new(bad).unwrap_err().contains(told), "{bad}");
        }
        assert!(PathGlob::new(&"a".repeat(513)).is_err());
    }

    #[test]
    fn a_name_cannot_pass_for_its_neighbour() {
        let glob = PairGlob::new("azure-eu/*", '/', Case::Ignored).unwrap();
        assert!(glob.matches("Azure-eu", "gpt-5"));
        assert!(!PairGlob::new("github/Get", '/', Case::Matters).unwrap().matches("github", "get"));
        assert!(!glob.matches("openai", "azure-eu/gpt-5"));
        for bad in ["gpt-5", "/x", "x/"] {
            let told = PairGlob::new(bad, '/', Case::Ignored).unwrap_err();
            assert_eq!(told, "is not two names with `/` between them", "{bad}");
        }
    }

    /// Plain and slow, to compare with.
    fn slowly(pattern: &[&str], names: &[&str]) -> bool {
        match (pattern.split_first(), names.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), None) => slowly(rest, names),
            (Some((&"**", rest)), Some((_, fewer))) => slowly(rest, names) || slowly(pattern, fewer),
            (Some((one, rest)), Some((name, fewer))) => wild(one, name, Case::Ignored) && slowly(rest, fewer),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn names_match_as_in_scopes(glob in "[ab*?]{1,8}", text in "[abc]{0,10}") {
            prop_assert_eq!(NameGlob::new(&glob, Case::Matters).unwrap().matches(&text), scope::matches(&glob, &text));
        }

        #[test]
        fn paths_match_as_defined(
            pattern in proptest::collection::vec("(a|b|\\*|\\*\\*|a\\*)", 1..6),
            path in proptest::collection::vec("(a|b|ab)", 0..7),
        ) {
            let glob = PathGlob::new(&pattern.join("/")).unwrap();
            let pattern: Vec<&str> = pattern.iter().map(String::as_str).collect();
            let names: Vec<&str> = path.iter().map(String::as_str).collect();
            prop_assert_eq!(glob.matches(&names), slowly(&pattern, &names));
        }
    }
}
