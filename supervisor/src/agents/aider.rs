//! Aider. Facts tried with 0.86.2.
//!
//! It has no hooks, no tools and no MCP: it edits files and commits by itself, and runs commands that it suggests once its
//! user says yes (headless never). So what is enforced are its models and its budget, and what it did is seen in its branch.
//!
//! Settings, variables and model definitions are read from its home directory and from the repository, where `.env` beats
//! its environment: a repository that brings any is refused, and its home directory is a private one that links to
//! everything else in the user's. A list of prices is there already, so that it fetches none. Its map of the repository
//! would leave a cache in the worktree, so there is none unless `--map-tokens` is given.
//!
//! Refusals: it asks again after a 402 and after a 429, with pauses that double from 0.25 s to 32 s, whatever
//! `retry-after` says (nine requests in 64 s); after a 400 it stops at once, the words within a line of its library. Its exit
//! code is 0 in any case.

use super::models::{self, Choice, Wire};
use super::{
    Adapter, AdapterError, GaugeStyle, Ground, Prepared, PrivateFile, Program, Streams, brought, home_links,
};
use crate::core::billing::Payers;
use crate::core::reach::{self, Reach, absent, enforced, neither, observed};
use crate::core::refusal::{Form, RefusalStyle};
use crate::core::run::HookDuty;

pub(super) const ADAPTER: Adapter = Adapter {
    name: "aider",
    summary: "Aider, whose edits and commands are not asked about",
    program: Some(Program {
        binary: "aider",
        minimum: "0.86.2",
        tested: Some("0.86.2"),
        install: "python3 -m pip install aider-chat",
        runtime: None,
    }),
    provider: None,
    refusal: RefusalStyle { terminal: Form::BadRequestJson, transient: Form::Again { after_s: 20 } },
    hooks: HookDuty::None,
    gauge: GaugeStyle::None,
    payers: Payers::Keys,
    telemetry: None,
    login: None,
    wire: None,
    own: &[],
    obeyed: &[],
    reach: Reach {
        read: neither("it has no hooks: it sends what it was given, or what it asked its user for"),
        edit: observed("it edits and commits by itself, in its worktree; `agentsup diff` shows it"),
        shell: neither("commands that it suggests run once its user says yes in its terminal; headless none"),
        web: neither("addresses in what its user says are fetched"),
        mcp: absent("it has none"),
        models: reach::GATEWAY,
        nested: neither("its shell is not asked about"),
        repository: enforced("a repository with `.env` or settings for it is refused"),
        ask_headless: absent("nothing of it is asked about"),
        ask_terminal: absent("nothing of it is asked about"),
        results: observed("its commits are in the run's branch"),
    },
    prepare,
};

/// Used unless the manifest or the user names another.
const MODELS: &[&str] = &["claude-sonnet-5", "gpt-6.1-sol"];
/// A call's worst case is reserved; more would lock small budgets out at the first call.
const MAX_OUTPUT_TOKENS: u32 = 32_000;

/// What of a home directory it obeys: a run has its own.
const MASKED: &[&str] =
    &[".aider", ".aider.conf.yml", ".aider.model.metadata.json", ".aider.model.settings.yml", ".env"];
/// What a repository may not bring: any option, any variable, or where models are.
const SETTINGS: &[&str] =
    &[".aider.conf.yml", ".aider.model.metadata.json", ".aider.model.settings.yml", ".env"];

/// Its parser takes the beginnings of these, too.
const RESERVED: &[&str] = &[
    "--analytics",
    "--analytics-log",
    "--analytics-posthog-host",
    "--anthropic-api-key",
    "--api-key",
    "--browser",
    "--check-update",
    "--config",
    "--env-file",
    "--gui",
    "--install-main-branch",
    "--just-check-update",
    "--load",
    "--model-metadata-file",
    "--model-settings-file",
    "--no-verify-ssl",
    "--notifications-command",
    "--openai-api-base",
    "--openai-api-key",
    "--openai-api-type",
    "--set-env",
    "--update",
    "--upgrade",
];

fn prepare(ground: &Ground<'_>) -> Result<Prepared, AdapterError> {
    refuse_reserved(ground.args)?;
    if let Some(settings) = brought(ground, SETTINGS) {
        return Err(AdapterError::RepositoryEnvironment(settings.to_string_lossy().into_owned()));
    }
    let (model, rest) = models::take_model(ground.args, &["--model"]);
    let choice = models::choose(ground, model.as_deref(), MODELS)?;
    let kind = if choice.wire == Wire::Anthropic { "anthropic" } else { "openai" };
    let model = format!("{kind}/{}", choice.model);
    let path = |name: &str| ground.dir.join(name).to_string_lossy().into_owned();
    let mut args: Vec<String> = ["--model", "--weak-model", "--editor-model"]
        .into_iter()
        .flat_map(|option| [option.to_owned(), model.clone()])
        .collect();
    let quiet = [
        "--analytics-disable",
        "--disable-playwright",
        "--no-check-update",
        "--no-gitignore",
        "--no-show-model-warnings",
        "--no-show-release-notes",
        "--map-tokens=0",
    ];
    args.extend(quiet.map(str::to_owned));
    for (option, file) in [
        ("--chat-history-file", "aider.history.md"),
        ("--input-history-file", "aider.input"),
        ("--model-settings-file", "aider.models.yml"),
    ] {
        args.extend([option.to_owned(), path(file)]);
    }
    if ground.streams == Streams::Pipes {
        // Nobody is there to be asked for the files that it wants to change.
        args.push("--yes-always".to_owned());
    }
    args.extend(rest);
    Ok(Prepared {
        program: "aider".to_owned(),
        args,
        env: environment(ground, &choice),
        files: vec![
            file("aider.models.yml", limits(&choice)),
            // What is not empty and of today it takes for the list of prices.
            file("home/.aider/caches/model_prices_and_context_window.json", r#"{"agentsup":{}}"#.to_owned()),
        ],
        links: home_links(ground, MASKED),
        ..Prepared::default()
    })
}

fn file(path: &str, content: String) -> PrivateFile {
    PrivateFile { path: path.into(), content }
}

/// Options of their own, with which reserved ones begin.
const WHOLE: &[&str] = &["--model", "--notifications"];

/// The beginning of an option says already which it is.
fn refuse_reserved(args: &[String]) -> Result<(), AdapterError> {
    for arg in args.iter().take_while(|arg| *arg != "--") {
        let name = arg.split_once('=').map_or(arg.as_str(), |(name, _)| name);
        let is_beginning =
            |reserved: &&&str| name.len() > 2 && reserved.starts_with(name) && !WHOLE.contains(&name);
        let found = RESERVED.iter().find(is_beginning);
        if let Some(found) = found.or_else(|| (name == "-c" || arg.starts_with("-c")).then_some(&"--config"))
        {
            return Err(AdapterError::ReservedArgument((*found).to_owned()));
        }
    }
    Ok(())
}

/// A limit of the answer where its client would ask for the model's own; OpenAI's newest models take no such member.
fn limits(choice: &Choice) -> String {
    match choice.wire {
        Wire::Anthropic => {
            format!("- name: aider/extra_params\n  extra_params:\n    max_tokens: {MAX_OUTPUT_TOKENS}\n")
        }
        Wire::OpenAi | Wire::Compatible => "[]\n".to_owned(),
    }
}

fn environment(ground: &Ground<'_>, choice: &Choice) -> Vec<(String, String)> {
    // Its other models (`--weak-model`, `/model`) may be of the other wire: no key without an address of ours.
    let (anthropic, openai) = match choice.wire {
        Wire::Anthropic => (choice.endpoint.as_str(), "openai"),
        Wire::OpenAi | Wire::Compatible => ("anthropic", choice.endpoint.as_str()),
    };
    [
        ("ANTHROPIC_API_BASE", format!("{}/llm/{anthropic}", ground.origin)),
        ("OPENAI_API_BASE", format!("{}/llm/{openai}/v1", ground.origin)),
        ("ANTHROPIC_API_KEY", ground.token.to_owned()),
        ("OPENAI_API_KEY", ground.token.to_owned()),
        ("HOME", ground.dir.join("home").to_string_lossy().into_owned()),
        // Its library would fetch a list of prices, too.
        ("LITELLM_LOCAL_MODEL_COST_MAP", "True".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::tests::ground;

    #[test]
    fn a_repository_that_brings_settings_or_variables_is_refused() {
        for name in SETTINGS {
            let dir = tempfile::tempdir().unwrap();
            let worktree = dir.path();
            std::fs::create_dir(worktree.join("sub")).unwrap();
            let cwd = worktree.join("sub");
            let prepared = || prepare(&Ground { worktree, cwd: &cwd, ..ground(&[]) });
            assert!(prepared().is_ok());
            std::fs::write(worktree.join(name), "").unwrap();
            assert_eq!(prepared(), Err(AdapterError::RepositoryEnvironment((*name).to_owned())));
        }
    }

    #[test]
    fn what_would_lead_past_the_gateway_cannot_be_said() {
        for text in [
            "--set-env OPENAI_API_BASE=http://x",
            "--se A=b",
            "--openai-api-b http://x",
            "--env-file=x",
            "-c x",
            "-cx",
            "--conf x",
            "--api-key openai=x",
            "--upg",
        ] {
            let args: Vec<String> = text.split(' ').map(str::to_owned).collect();
            assert!(matches!(prepare(&ground(&args)), Err(AdapterError::ReservedArgument(_))), "{text}");
        }
        for text in [
            "--message x",
            "--model m",
            "--msg x",
            "--yes-always",
            "--no-auto-commits a.rs",
            "--edit-format diff",
        ] {
            let args: Vec<String> = text.split(' ').map(str::to_owned).collect();
            assert!(prepare(&ground(&args)).is_ok(), "{text}");
        }
    }

    #[test]
    fn the_model_decides_where_it_is_asked() {
        let of = |text: &str| {
            let args: Vec<String> = text.split(' ').map(str::to_owned).collect();
            let prepared = prepare(&ground(&args)).unwrap();
            for key in prepared.env.iter().filter_map(|(name, _)| name.strip_suffix("_API_KEY")) {
                let base = format!("{key}_API_BASE");
                let door = prepared.env.iter().find(|(name, _)| *name == base);
                assert!(
                    door.is_some_and(|(_, door)| door.starts_with("http://127.0.0.1:4100/llm/")),
                    "{base}"
                );
            }
            prepared.args[1].clone()
        };
        assert_eq!(of("--message x"), "anthropic/claude-sonnet-5");
        assert_eq!(of("--model=gpt-5 --weak-model claude-haiku-4-5"), "openai/gpt-5");
    }
}
