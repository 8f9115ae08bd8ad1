//! One contract over every adapter.

use std::sync::LazyLock;

use super::*;

static ANY_MODEL: LazyLock<Vec<String>> = LazyLock::new(|| vec!["*".to_owned()]);

pub(super) static NOTHING: BTreeMap<String, String> = BTreeMap::new();

pub(super) fn ground(args: &[String]) -> Ground<'_> {
    Ground {
        dir: Path::new("/run-dir"),
        worktree: Path::new("/worktree"),
        cwd: Path::new("/worktree"),
        origin: "http://127.0.0.1:4100",
        token: "ast_secret",
        own_program: Path::new("/opt/agentsup"),
        home: Some(Path::new("/user")),
        inherited: &NOTHING,
        billing: Billing::Keys,
        version: Some("1.0.0"),
        streams: Streams::Terminal,
        args,
        models: &ANY_MODEL,
        endpoints: &[],
    }
}

#[test]
fn every_file_of_the_directory_is_in_the_list() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/agents");
    let mut files: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| !["mod", "models", "tests", "wire"].contains(&name.as_str()))
        .collect();
    files.sort();
    let names: Vec<&str> = ADAPTERS.iter().map(|adapter| adapter.name).collect();
    assert_eq!(files, names);
}

#[test]
fn every_adapter_launches_privately_and_within_its_directory() {
    let args = vec!["prog".to_owned()];
    for adapter in ADAPTERS {
        let prepared = (adapter.prepare)(&ground(&args)).unwrap();
        assert!(!prepared.program.is_empty(), "{}", adapter.name);
        for file in &prepared.files {
            let inside = file.path.is_relative()
                && file.path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
            assert!(inside, "{}: {}", adapter.name, file.path.display());
        }
        for arg in &prepared.args {
            assert!(!arg.contains("ast_secret"), "{}: the token is visible in `ps`: {arg}", adapter.name);
        }
        if adapter.hooks == HookDuty::Required {
            assert!(adapter.wire.is_some(), "{} has a duty that nothing can fulfil", adapter.name);
        }
        if let Some(program) = adapter.program {
            let tested = program.tested.unwrap_or(program.minimum);
            assert!(is_at_least(tested, program.minimum), "{}", adapter.name);
        }
    }
}

/// What was measured with the real programs, in the comment of each file.
#[test]
fn every_adapter_is_refused_as_its_program_understands() {
    let style = |adapter: &&Adapter| {
        format!("{}: {:?}, passing {:?}", adapter.name, adapter.refusal.terminal, adapter.refusal.transient)
    };
    // One that never comes to the gateway cannot be refused there.
    let refusable = ADAPTERS.iter().copied().filter(|adapter| adapter.payers.permit(Billing::Keys));
    let styles: Vec<String> = refusable.map(|adapter| style(&adapter)).collect();
    insta::assert_snapshot!(styles.join("\n"), @r"
    aider: BadRequestJson, passing Again { after_s: 20 }
    claude: PaymentRequiredJson, passing Again { after_s: 20 }
    codex: BadRequestText, passing FailedStream { after_s: 20 }
    command: PaymentRequiredJson, passing Again { after_s: 20 }
    copilot: PaymentRequiredJson, passing Again { after_s: 20 }
    demo: PaymentRequiredJson, passing Again { after_s: 20 }
    gemini: PaymentRequiredJson, passing Again { after_s: 20 }
    opencode: PaymentRequiredJson, passing Again { after_s: 20 }
    qwen: PaymentRequiredJson, passing PaymentRequiredJson
    ");
}

#[test]
fn a_run_on_a_subscription_is_told_of_no_gateway_and_gets_nothing_that_looks_like_a_key() {
    let ground = Ground { billing: Billing::Subscription, ..ground(&[]) };
    for adapter in ADAPTERS.iter().filter(|adapter| adapter.payers.permit(Billing::Subscription)) {
        assert!(adapter.telemetry.is_some(), "{}: nobody would know what it costs", adapter.name);
        let prepared = (adapter.prepare)(&ground).unwrap();
        assert_eq!(prepared.login.is_some(), adapter.login.is_some(), "{}", adapter.name);
        for arg in &prepared.args {
            let told = arg.contains("ast_secret") || arg.contains("/llm");
            assert!(!told, "{}: {arg}", adapter.name);
        }
        let env = contract_env(&ground, "run_1").into_iter().chain(prepared.env);
        for (name, value) in env {
            let of_a_model = ["_BASE_URL", "_AUTH_TOKEN", "_API_KEY"].iter().any(|end| name.ends_with(end));
            assert!(!of_a_model && !value.contains("/llm"), "{}: {name}={value}", adapter.name);
        }
    }
}

#[test]
fn the_contract_holds_no_provider_key() {
    let env = contract_env(&ground(&[]), "run_1");
    let find = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!(find("ANTHROPIC_BASE_URL"), Some("http://127.0.0.1:4100/llm/anthropic"));
    assert_eq!(find("AGENTSUP_MCP_URL"), Some("http://127.0.0.1:4100/mcp"));
    for name in ["ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY", "GEMINI_API_KEY", "AGENTSUP_RUN_TOKEN"] {
        assert_eq!(find(name), Some("ast_secret"), "{name}");
    }
}

#[test]
fn versions_are_compared_by_number() {
    assert!(is_at_least("2.1.330 (Claude Code)", "2.1.295"));
    assert!(is_at_least("codex-cli 0.169.0", "0.169.0"));
    assert!(!is_at_least("2.1.197 (Claude Code)", "2.1.295"));
    assert!(!is_at_least("no version", "0.0.1"));
}

#[test]
fn settings_are_looked_for_from_where_the_agent_starts_up_to_the_top() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path();
    std::fs::create_dir_all(top.join("a/b")).unwrap();
    let cwd = top.join("a/b");
    let ground = Ground { worktree: top, cwd: &cwd, ..ground(&[]) };
    assert_eq!(brought(&ground, &[".x"]), None);
    std::os::unix::fs::symlink("/nowhere", top.join("a/.x")).unwrap();
    assert_eq!(brought(&ground, &[".x"]), Some("a/.x".into()));
    assert_eq!(brought(&Ground { cwd: top, ..ground }, &[".x"]), None, "not below where it starts");
}

#[test]
fn instructions_that_lead_out_of_the_repository_are_refused() {
    let outer = tempfile::tempdir().unwrap();
    let top = outer.path().join("worktree");
    std::fs::create_dir_all(top.join("sub/rules/more")).unwrap();
    std::fs::write(outer.path().join("key"), "secret").unwrap();
    let cwd = top.join("sub");
    let ground = Ground { worktree: &top, cwd: &cwd, ..ground(&[]) };
    let refused = |paths: &[&str]| refuse_links_out(&ground, paths).err();
    std::fs::write(top.join("A.md"), "a").unwrap();
    std::os::unix::fs::symlink("../A.md", top.join("sub/B.md")).unwrap();
    assert_eq!(refused(&["A.md", "B.md", "rules"]), None, "a link within is nobody else's");
    std::os::unix::fs::symlink("../../../../key", top.join("sub/rules/more/x.md")).unwrap();
    let named = |name: &str| Some(AdapterError::RepositoryLink(name.into()));
    assert_eq!(refused(&["rules"]), named("sub/rules/more/x.md"));
    std::os::unix::fs::symlink("../key", top.join("C.md")).unwrap();
    assert_eq!(refused(&["C.md"]), named("C.md"));
}

#[test]
fn what_the_adapter_sets_cannot_be_set_again() {
    let args = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let reserved = ["--settings"];
    assert_eq!(
        refuse_reserved(&args("-p x --settings=y"), &reserved),
        Err(AdapterError::ReservedArgument("--settings".into()))
    );
    assert_eq!(refuse_reserved(&args("-p x -- --settings"), &reserved), Ok(()));
    let short = Err(AdapterError::ReservedArgument("-s".into()));
    assert_eq!(refuse_reserved(&args("-sfull x"), &["-s"]), short);
    assert_eq!(refuse_reserved(&args("--search -p"), &["-s"]), Ok(()));
}

/// What a person says with a no is for the model, on every wire.
#[test]
fn a_denial_has_its_reason_on_every_wire() {
    let reason = "agentsup denied `Bash`: use the staging database (rec_1)";
    let mut wires = 0;
    for adapter in ADAPTERS {
        let Some(wire) = adapter.wire else { continue };
        let answer = (wire.answer)(&wire::HookAnswer::Deny { reason });
        let texts = texts_of(&answer);
        assert!(texts.contains(&reason), "{}: {answer}", adapter.name);
        wires += 1;
    }
    assert!(wires >= 7, "only {wires}");
}

fn texts_of(value: &serde_json::Value) -> Vec<&str> {
    match value {
        serde_json::Value::String(text) => vec![text],
        serde_json::Value::Array(items) => items.iter().flat_map(texts_of).collect(),
        serde_json::Value::Object(members) => members.values().flat_map(texts_of).collect(),
        _ => Vec::new(),
    }
}

/// What the table says follows from what the adapter does, where that can be seen.
#[test]
fn what_an_adapter_says_of_its_reach_is_what_it_has() {
    use crate::core::reach::Grade::{ByPayer, Enforced, Observed};
    for adapter in ADAPTERS {
        let name = adapter.name;
        let Reach { read, edit, shell, web, models, mcp, ask_headless, results, .. } = adapter.reach;
        if adapter.wire.is_none() {
            for own in [read, edit, shell, web] {
                assert_ne!(own.grade, Enforced, "{name} has no hooks, so nothing of its own is decided");
            }
            assert_ne!(
                results.grade, Enforced,
                "{name} has no hooks, so nothing tells how its own tools end"
            );
        }
        let expected =
            match (adapter.payers.permit(Billing::Keys), adapter.payers.permit(Billing::Subscription)) {
                (true, true) => ByPayer,
                (true, false) => Enforced,
                (false, _) => Observed,
            };
        assert_eq!(models.grade, expected, "{name}: who pays says which way its model calls go");
        assert_eq!(
            ask_headless.grade == Enforced,
            shell.grade == Enforced || mcp.grade == Enforced,
            "{name}"
        );
        for (column, _, held) in adapter.reach.cells() {
            let is_line = !held.how.is_empty() && held.how.len() <= 200 && !held.how.contains('\n');
            assert!(is_line && !held.how.ends_with('.'), "{name} {column}: {}", held.how);
        }
    }
}

/// People read it before they have the program.
#[test]
fn the_readme_has_the_table_as_it_is() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    for adapter in ADAPTERS {
        let words = adapter.reach.cells().map(|(_, _, held)| held.grade.word());
        let row = format!("| `{}` | {} |", adapter.name, words.join(" | "));
        assert!(readme.lines().any(|line| line == row), "README.md has no row `{row}`");
    }
}
