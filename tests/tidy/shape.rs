//! What every file must look like: short, introduced, well named, and listed where it is one of many.

use super::source::Source;

const LINES: usize = 500;

/// Words that name nothing, and where the outside world's own use of them may be repeated.
const WORDS: &[(&str, &[&str])] = &[
    ("manager", &[]),
    ("service", &[]),
    ("helper", &[]),
    ("util", &[]),
    ("processor", &[]),
    ("job", &[]),
    ("task", &[]),
];

/// What comes before a name that somebody chose.
const DEFINES: &[&str] = &[
    "fn",
    "struct",
    "enum",
    "union",
    "trait",
    "type",
    "mod",
    "const",
    "static",
    "let",
    "mut",
    "macro_rules!",
];

/// Directories of which every file is one entry: the directory, the file that lists them, files that are no entry.
const REGISTRIES: &[(&str, &str, &[&str])] = &[
    ("supervisor/src/agents/", "supervisor/src/agents/mod.rs", &["models", "wire"]),
    ("supervisor/src/gateway/providers/", "supervisor/src/gateway/providers/mod.rs", &[]),
    ("supervisor/src/catalog/", "supervisor/src/catalog/mod.rs", &[]),
];

/// Files of more than 500 lines.
pub(crate) fn long_files(sources: &[Source]) -> Vec<String> {
    let lengths = sources.iter().map(|source| (source, source.text.lines().count()));
    let long = lengths.filter(|&(_, lines)| lines > LINES);
    long.map(|(source, lines)| format!("{}:{lines}: at most {LINES} lines a file", source.path)).collect()
}

/// Modules that do not begin by saying what they own. A sibling file of unit tests needs no introduction.
pub(crate) fn undocumented_modules(sources: &[Source]) -> Vec<String> {
    let modules = sources.iter().filter(|source| source.is_in("tests/") || !source.is_test());
    let silent = modules.filter(|source| !source.text.starts_with("//! "));
    silent.map(|source| source.violation(0, "a module begins with `//!` and what it owns")).collect()
}

/// Definitions and files whose name has one of [`WORDS`] in it.
pub(crate) fn empty_words(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let file = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        found.extend(
            empty_word(file, source).map(|word| source.violation(0, &format!("`{word}` in a file name"))),
        );
        let mut offset = 0;
        let mut previous = "";
        for token in source.code.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_' && c != '!') {
            let name = token.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '_' && c != '!');
            if DEFINES.contains(&previous)
                && let Some(word) = empty_word(name, source)
            {
                found.push(source.violation(offset, &format!("`{word}` in the name `{name}`")));
            }
            if !name.is_empty() {
                previous = name;
            }
            offset += token.len();
        }
    }
    found
}

fn empty_word(name: &str, source: &Source) -> Option<&'static str> {
    let parts = words_of(name);
    let banned = WORDS.iter().filter(|(_, places)| !places.iter().any(|place| source.is_in(place)));
    let mut words = banned.map(|&(word, _)| word);
    words.find(|word| parts.iter().any(|part| part.strip_suffix('s').unwrap_or(part) == *word))
}

/// `RunManagers` and `run_managers` are both `run` and `managers`.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            words.push(String::new());
        }
        if c != '_'
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    if name.chars().all(|c| !c.is_lowercase()) {
        return name.to_lowercase().split('_').map(str::to_owned).collect();
    }
    words
}

/// `#[allow(…)]` and `#[expect(…)]` without a reason.
pub(crate) fn silenced_without_reason(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for start in ["#[allow(", "#[expect(", "#![allow(", "#![expect("] {
            // Not `code`: the attribute of a test module is blanked out there, and its reason everywhere.
            let starts = source.text.match_indices(start).filter(|&(at, _)| {
                source.text[..at]
                    .lines()
                    .next_back()
                    .is_none_or(|line| line.trim().is_empty() || source.text[..at].ends_with('\n'))
            });
            for (offset, _) in starts {
                let attribute = source.text[offset..].split(")]").next().unwrap_or_default();
                if !attribute.contains("reason = ") {
                    found.push(source.violation(offset, "a silenced lint says why: `reason = \"…\"`"));
                }
            }
        }
    }
    found
}

/// Files of a registry's directory that its list does not name.
pub(crate) fn unlisted_files(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for (directory, list, others) in REGISTRIES {
        let Some(list) = sources.iter().find(|source| source.path == *list) else { continue };
        let listing = |line: &&str| !line.trim_start().trim_start_matches("pub ").starts_with("use ");
        let listed: String = list.code.lines().filter(listing).collect();
        for source in sources.iter().filter(|source| source.is_in(directory)) {
            let name = source.path[directory.len()..].trim_end_matches(".rs").trim_end_matches("/mod");
            if name.contains('/') || ["mod", "tests"].contains(&name) || others.contains(&name) {
                continue;
            }
            if !listed.contains(&format!("{name}::")) {
                found.push(source.violation(0, &format!("`{}` does not list it", list.path)));
            }
        }
    }
    found
}

#[test]
fn a_long_file_is_caught() {
    assert_eq!(long_files(&[Source::made_up("a.rs", &"x\n".repeat(500))]), [""; 0]);
    assert_eq!(
        long_files(&[Source::made_up("a.rs", &"x\n".repeat(501))]),
        ["a.rs:501: at most 500 lines a file"]
    );
}

#[test]
fn a_silent_module_is_caught() {
    let silent = Source::made_up("supervisor/src/a.rs", "use b;\n//! late");
    assert_eq!(
        undocumented_modules(&[silent]),
        ["supervisor/src/a.rs:1: a module begins with `//!` and what it owns"]
    );
    assert_eq!(undocumented_modules(&[Source::made_up("supervisor/src/a/tests.rs", "use b;")]), [""; 0]);
}

#[test]
fn an_empty_word_is_caught() {
    let text = "use tokio_util::x;\nstruct RunManager;\nfn to_utils() { tokio::task::spawn(a) }\nconst MAX_JOBS: u8 = 1;\nlet mut service = 1;";
    let found = empty_words(&[Source::made_up("supervisor/src/path_helper.rs", text)]);
    let expected = [
        "supervisor/src/path_helper.rs:1: `helper` in a file name",
        "supervisor/src/path_helper.rs:2: `manager` in the name `RunManager`",
        "supervisor/src/path_helper.rs:3: `util` in the name `to_utils`",
        "supervisor/src/path_helper.rs:4: `job` in the name `MAX_JOBS`",
        "supervisor/src/path_helper.rs:5: `service` in the name `service`",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_lint_silenced_without_reason_is_caught() {
    let text = "#[allow(dead_code)]\nfn a() {}\n#[expect(dead_code, reason = \"b\")]\nfn b() {}";
    let expected = ["a.rs:1: a silenced lint says why: `reason = \"…\"`"];
    assert_eq!(silenced_without_reason(&[Source::made_up("a.rs", text)]), expected);
}

#[test]
fn an_unlisted_file_is_caught() {
    let list = Source::made_up(
        "supervisor/src/agents/mod.rs",
        "mod claude;\nmod codex;\nuse codex::X;\nconst ALL: &[A] = &[claude::AGENT];",
    );
    let claude = Source::made_up("supervisor/src/agents/claude.rs", "");
    let codex = Source::made_up("supervisor/src/agents/codex.rs", "");
    let expected = ["supervisor/src/agents/codex.rs:1: `supervisor/src/agents/mod.rs` does not list it"];
    assert_eq!(unlisted_files(&[list, claude, codex]), expected);
}
