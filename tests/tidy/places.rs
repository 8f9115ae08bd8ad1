//! What may be done in one place only.

use super::{paths, source::Source};

/// Words that may stand in the product's code below `inside`, but only in `only_in`.
struct Place {
    words: &'static [&'static str],
    inside: &'static [&'static str],
    only_in: &'static [&'static str],
    why: &'static str,
}

const OURS: &[&str] = &["supervisor/src/", "worktree/src/", "src-tauri/src/"];
const SYS: &str = "supervisor/src/sys/";
const MONEY: &[&str] = &[
    "supervisor/src/core/",
    "supervisor/src/store/",
    "supervisor/src/gateway/",
    "supervisor/src/gate.rs",
    "supervisor/src/gate/",
];

const GATE: &[&str] = &["supervisor/src/gate.rs", "supervisor/src/gate/"];

const PLACES: &[Place] = &[
    Place {
        words: &["process::Command", "Command::new", "posix_spawn", "fork", "CommandBuilder"],
        inside: OURS,
        // The keeper owns the terminal and starts the agent in it; the worktree library has one git runner.
        only_in: &[SYS, "supervisor/src/run/keeper/", "worktree/src/git.rs"],
        why: "processes are started in `sys`",
    },
    Place {
        words: &["SystemTime::now", "Timestamp::now", "Zoned::now", "Utc::now", "Local::now"],
        inside: OURS,
        only_in: &[SYS],
        why: "the wall clock is read in `sys::clock`",
    },
    Place {
        words: &["Instant::now"],
        inside: &[
            "supervisor/src/core/",
            "supervisor/src/store/",
            "supervisor/src/gate.rs",
            "supervisor/src/audit/",
        ],
        only_in: &[],
        why: "times come in as values here",
    },
    Place {
        words: &["getrandom::", "rand::", "OsRng"],
        inside: OURS,
        only_in: &[SYS],
        why: "randomness comes from `sys::ids`",
    },
    Place {
        words: &["keyring_core::", "zbus_secret_service_keyring_store::", "apple_native_keyring_store::"],
        inside: OURS,
        only_in: &[SYS],
        why: "secrets are read in `sys`",
    },
    Place {
        words: &["TcpListener::bind", "TcpStream::connect", "UnixListener::bind", "UnixStream::connect"],
        inside: OURS,
        only_in: &[SYS],
        why: "sockets are opened in `sys`",
    },
    Place {
        words: &["println!", "eprintln!", "print!", "eprint!", "stdout()", "stderr()"],
        inside: OURS,
        // A missing function of WebKitGTK ends the process from where nothing can be returned.
        only_in: &["supervisor/src/cli/output.rs", "src-tauri/src/webkit.rs"],
        why: "only `cli/output.rs` prints",
    },
    Place {
        words: &["rusqlite::"],
        inside: OURS,
        only_in: &["supervisor/src/store/"],
        why: "SQL is spoken in `store`",
    },
    Place {
        words: &["tauri::"],
        inside: OURS,
        only_in: &["src-tauri/src/"],
        why: "only the binary knows the window",
    },
    Place {
        words: &["unbounded_channel", "mpsc::unbounded", "mpsc::channel()", "thread::sleep", "time::sleep("],
        inside: OURS,
        only_in: &[],
        why: "every queue is bounded, and nothing waits by sleeping",
    },
    Place {
        words: &[
            "tokio::",
            "rusqlite::",
            "std::fs",
            "std::net",
            "std::process",
            "std::env",
            "std::thread",
            "hyper::",
        ],
        inside: &["supervisor/src/core/"],
        only_in: &[],
        why: "`core` is pure",
    },
    Place {
        words: &["tokio::", "agentsup_supervisor::"],
        inside: &["worktree/src/"],
        only_in: &[],
        why: "`worktree` is synchronous and knows nothing of agents",
    },
    Place { words: &["f32", "f64"], inside: MONEY, only_in: &[], why: "money is counted in integers" },
];

/// Every word that stands outside its place.
pub(crate) fn violations(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for place in PLACES {
        for source in sources.iter().filter(|source| !source.is_test() && is_in(source, place.inside)) {
            if is_in(source, place.only_in) {
                continue;
            }
            for word in place.words {
                let here = occurrences(&source.code, word);
                found
                    .extend(here.map(|offset| source.violation(offset, &format!("`{word}`: {}", place.why))));
            }
        }
    }
    found.sort();
    found
}

/// Uses of `std::env`, however it is imported. `env!` is the compiler's and read when the program is built.
pub(crate) fn environment_read_elsewhere(sources: &[Source]) -> Vec<String> {
    let outside =
        sources.iter().filter(|source| is_in(source, OURS) && !source.is_in(SYS) && !source.is_test());
    let paths = outside
        .flat_map(|source| paths::below(source, "std", &[]).into_iter().map(move |path| (source, path)));
    let uses = paths.filter(|(_, named)| named.path.first().is_some_and(|module| module == "env"));
    uses.map(|(source, named)| source.violation(named.offset, "the environment is read in `sys`")).collect()
}

/// `Permit { … }` outside the gate. Its private fields hold this too; the rule keeps them private.
pub(crate) fn permits_made_elsewhere(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.is_in("supervisor/src/") && !source.is_test()) {
        if is_in(source, GATE) {
            let open = source.code.split_once("pub struct Permit {").map(|(_, rest)| rest);
            let body = open.and_then(|rest| rest.split_once('}')).map(|(body, _)| body).unwrap_or_default();
            if body.contains("pub") {
                found.push(source.violation(0, "a permit's fields are private"));
            }
            continue;
        }
        for offset in occurrences(&source.code, "Permit") {
            let before = source.code[..offset].trim_end();
            let made = source.code[offset + "Permit".len()..].trim_start().starts_with('{');
            if made && !["->", "impl", "for", "struct", "enum"].iter().any(|word| before.ends_with(word)) {
                found.push(source.violation(offset, "permits are made in `gate`"));
            }
        }
    }
    found
}

/// Imports of the window framework's interface outside the one file that owns them.
pub(crate) fn hosts_known_elsewhere(sources: &[Source]) -> Vec<String> {
    let outside = sources.iter().filter(|source| !source.is_in("ui/src/host.ts"));
    let uses =
        outside.flat_map(|source| source.text.match_indices("@tauri-apps").map(move |(at, _)| (source, at)));
    uses.map(|(source, at)| source.violation(at, "only `host.ts` knows the window's host")).collect()
}

fn is_in(source: &Source, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| source.is_in(prefix))
}

/// Where `word` stands as a whole word.
fn occurrences<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(offset, _)| offset).filter(move |&offset| {
        let after = &code[offset + word.len()..];
        let goes_on = word.ends_with(part) && after.starts_with(part);
        !goes_on && !code[..offset].ends_with(part)
    })
}

#[test]
fn a_word_outside_its_place_is_caught() {
    let text = "// Command::new\nfn a() { std::process::Command::new(\"sh\") }\n#[cfg(test)]\nmod tests { Command::new }";
    let source = Source::made_up("supervisor/src/run/launch.rs", text);
    let expected = [
        "supervisor/src/run/launch.rs:2: `Command::new`: processes are started in `sys`",
        "supervisor/src/run/launch.rs:2: `process::Command`: processes are started in `sys`",
    ];
    assert_eq!(violations(&[source]), expected);
    assert_eq!(violations(&[Source::made_up("supervisor/src/sys/spawn.rs", text)]), [""; 0]);
}

#[test]
fn every_place_catches_each_of_its_words() {
    for place in PLACES {
        for word in place.words {
            let path = match place.inside[0] {
                directory if directory.ends_with('/') => format!("{directory}made_up.rs"),
                file => file.into(),
            };
            let source = Source::made_up(&path, &format!("fn a() {{ {word} ; }}"));
            let expected = format!("{path}:1: `{word}`: {}", place.why);
            assert!(violations(&[source]).contains(&expected), "{expected}");
        }
    }
}

#[test]
fn the_environment_read_elsewhere_is_caught() {
    let text = "use std::{fs, env};\nfn a() { std::env::var(b) }\nfn b() { crate::sys::env::args() }";
    let why = "the environment is read in `sys`";
    let expected =
        [format!("supervisor/src/cli/run.rs:1: {why}"), format!("supervisor/src/cli/run.rs:2: {why}")];
    assert_eq!(environment_read_elsewhere(&[Source::made_up("supervisor/src/cli/run.rs", text)]), expected);
}

#[test]
fn a_permit_made_elsewhere_is_caught() {
    let text = "fn a() -> Permit {\n  Permit { run }\n}\nimpl Drop for Permit {}";
    let source = Source::made_up("supervisor/src/gateway/server.rs", text);
    let expected = ["supervisor/src/gateway/server.rs:2: permits are made in `gate`"];
    assert_eq!(permits_made_elsewhere(&[source]), expected);
    let open = Source::made_up("supervisor/src/gate/permit.rs", "pub struct Permit {\n  pub run: RunId,\n}");
    assert_eq!(
        permits_made_elsewhere(&[open]),
        ["supervisor/src/gate/permit.rs:1: a permit's fields are private"]
    );
}

#[test]
fn a_host_known_elsewhere_is_caught() {
    let source = Source::made_up("ui/src/runs.tsx", "import { invoke } from \"@tauri-apps/api/core\";");
    assert_eq!(
        hosts_known_elsewhere(&[source]),
        ["ui/src/runs.tsx:1: only `host.ts` knows the window's host"]
    );
}
