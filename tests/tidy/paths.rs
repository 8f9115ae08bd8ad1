//! Finds which of our own modules a file names: every `crate::…`, `super::…` and use tree, as whole paths.

use super::source::Source;

/// A path below the crate's root, without `crate`, and the byte it was found at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) path: Vec<String>,
    pub(crate) offset: usize,
}

/// The module a file is, below `src`: `src/run/keeper/mod.rs` is `run::keeper`.
pub(crate) fn module(path: &str) -> Vec<String> {
    let inside = path.split_once("/src/").map_or(path, |(_, inside)| inside);
    let inside = inside.trim_end_matches(".rs").trim_end_matches("/mod");
    if matches!(inside, "lib" | "main" | "mod") {
        return Vec::new();
    }
    inside.split('/').map(str::to_owned).collect()
}

/// Every path of our own that the file's code names.
pub(crate) fn named(source: &Source) -> Vec<Named> {
    let here = module(&source.path);
    let above = here[..here.len().saturating_sub(1)].to_vec();
    let mut found = [below(source, "crate", &[]), below(source, "super", &above)].concat();
    found.sort_by_key(|named| named.offset);
    found
}

/// Every path that begins with `root`, which stands for `base`.
pub(crate) fn below(source: &Source, root: &str, base: &[String]) -> Vec<Named> {
    let mut found = Vec::new();
    for (offset, _) in source.code.match_indices(root) {
        let before = &source.code[..offset];
        let whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        let rest = source.code[offset + root.len()..].trim_start();
        if !whole || before.trim_end().ends_with("super::") || !rest.starts_with("::") {
            continue;
        }
        let mut paths = Vec::new();
        expand(rest.trim_start_matches("::"), base.to_vec(), &mut paths);
        found.extend(paths.into_iter().map(|path| Named { path, offset }));
    }
    found
}

/// Follows a path and, where it opens braces, each branch; returns what is left behind it.
fn expand<'a>(text: &'a str, mut path: Vec<String>, paths: &mut Vec<Vec<String>>) -> &'a str {
    let mut text = text.trim_start();
    loop {
        if let Some(branches) = text.strip_prefix('{') {
            text = branches;
            loop {
                text = expand(text, path.clone(), paths).trim_start();
                let Some(next) = text.strip_prefix(',') else { break };
                text = next.trim_start();
                if text.starts_with('}') {
                    break;
                }
            }
            return text.strip_prefix('}').unwrap_or(text);
        }
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        match &text[..end] {
            "super" => drop(path.pop()),
            "" | "self" => {}
            segment => path.push(segment.into()),
        }
        text = &text[end..];
        let Some(next) = text.trim_start().strip_prefix("::") else { break };
        text = next.trim_start();
    }
    if let Some(renamed) = text.trim_start().strip_prefix("as ") {
        let renamed = renamed.trim_start();
        text = &renamed[renamed.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(renamed.len())..];
    }
    paths.push(path);
    text
}

#[test]
fn every_way_of_naming_a_module_is_seen() {
    let text = "use crate::{store::{db::Db as D, self}, sys};\nuse super::super::gate;\nfn a() -> crate::core::Id { x::crate_(super::b()) }";
    let source = Source::made_up("supervisor/src/run/launch.rs", text);
    let all: Vec<String> = named(&source).into_iter().map(|named| named.path.join("::")).collect();
    assert_eq!(all, ["store::db::Db", "store", "sys", "gate", "core::Id", "run::b"]);
}
