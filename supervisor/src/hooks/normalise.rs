//! Tool calls as hooks report them, made into actions: paths resolved and placed, hosts lower-cased, arguments digested.

use std::path::{Path, PathBuf};

use crate::agents::wire::ToolCall;
use crate::core::action::{Facts, PathFact, Place, ToolAction, ToolSource};
use crate::core::canonical;
use crate::core::manifest::BuiltinClass;
use crate::core::place::{Grounds, place};
use crate::core::run::Run;
use crate::sys::files::resolve;
pub use crate::sys::grounds::Homes;

/// Words of a command line that are looked at; a longer line counts as naming a secret.
const WORDS: usize = 4096;

/// Why a call cannot be made into an action; it is denied.
#[derive(Debug, thiserror::Error)]
pub(super) enum NormaliseError {
    /// A path that leads nowhere.
    #[error("the path `{0}` cannot be resolved")]
    Path(String),
    /// Arguments without canonical form.
    #[error(transparent)]
    Arguments(#[from] canonical::CanonicalError),
}

/// Makes the action. Without a class the tool is a foreign server's, which no manifest's scope holds.
pub(super) fn normalise(
    homes: &Homes,
    run: &Run,
    call: ToolCall,
    class: Option<BuiltinClass>,
) -> Result<ToolAction, NormaliseError> {
    let grounds = homes.grounds(run);
    let dir = call.cwd.as_deref().map_or(run.worktree.as_path(), Path::new);
    let mut facts = Facts { command: call.command.clone(), ..Facts::default() };
    for path in &call.paths {
        let resolved = resolve(Path::new(path), dir).ok_or_else(|| NormaliseError::Path(path.clone()))?;
        facts.paths.push(PathFact { place: place(&resolved, &grounds), path: resolved });
    }
    if let Some(command) = &call.command {
        facts.paths.extend(secrets_named(command, dir, homes, &grounds));
    }
    facts.hosts = call.urls.iter().filter_map(|address| host(address)).collect();
    let source = match class {
        Some(class) => ToolSource::Builtin(class),
        // The name has the server in it: `mcp__<server>__<tool>`.
        None => ToolSource::Mcp("foreign".to_owned()),
    };
    let args_digest = canonical::digest(&call.args)?;
    Ok(ToolAction { source, tool: call.tool, args_digest, facts, call_id: call.call_id })
}

fn host(address: &str) -> Option<String> {
    let host = url::Url::parse(address).ok()?.host_str()?.trim_end_matches('.').to_ascii_lowercase();
    Some(host)
}

/// Secrets that a command line names. Only words are looked at, so this hinders accidents; what holds against intent
/// is that a run's own credential is worth nothing elsewhere, and the sandbox.
fn secrets_named(command: &str, dir: &Path, homes: &Homes, grounds: &Grounds) -> Vec<PathFact> {
    let separators = |c: char| c.is_whitespace() || "'\"`;|&<>(){}=,:".contains(c);
    let mut found = Vec::new();
    for (index, word) in command.split(separators).filter(|word| word.contains(['/', '~', '.'])).enumerate() {
        if index == WORDS {
            found.push(PathFact { path: dir.to_owned(), place: Place::Secret });
            break;
        }
        let Some(path) = resolve(&expand(word, homes), dir) else { continue };
        if place(&path, grounds) == Place::Secret {
            found.push(PathFact { path, place: Place::Secret });
        }
    }
    found
}

fn expand(word: &str, homes: &Homes) -> PathBuf {
    let rest = ["~", "$HOME", "${HOME}", "$AGENTSUP_HOME"].into_iter().find_map(|name| {
        let rest = word.strip_prefix(name)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| (name, rest.trim_start_matches('/')))
    });
    match (rest, &homes.home, homes.own.first()) {
        (Some(("$AGENTSUP_HOME", rest)), _, Some(own)) => own.join(rest),
        (Some((_, rest)), Some(home), _) => home.join(rest),
        _ => PathBuf::from(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::wire::ToolKind;
    use crate::core::manifest::Environment;
    use crate::core::run::{HookDuty, RefusalStyle};
    use serde_json::json;

    fn homes() -> Homes {
        Homes { home: Some("/h".into()), own: vec!["/h/agentsup".into()], temporary: "/tmp".into() }
    }

    fn run() -> Run {
        Run {
            id: "run_019aaaac260077078707070707070707".parse().unwrap(),
            agent: "agent/a@t".parse().unwrap(),
            owner: "user:alice".parse().unwrap(),
            environment: Environment::Dev,
            adapter: "claude".into(),
            repository: "/h/repo".into(),
            worktree: "/h/agentsup/worktrees/w".into(),
            branch: "b".into(),
            base: "0".into(),
            onto: None,
            dir: "/h/agentsup/runs/r".into(),
            refusal: RefusalStyle::BadRequestJson,
            hooks: HookDuty::Required,
            started_at_ms: 0,
        }
    }

    fn call(paths: &[&str], command: Option<&str>) -> ToolCall {
        ToolCall {
            tool: "Tool".into(),
            class: ToolKind::Builtin(BuiltinClass::Shell),
            call_id: None,
            cwd: None,
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            urls: vec!["https://Example.COM./x".into(), "not a url".into()],
            command: command.map(str::to_owned),
            args: json!({ "a": 1 }),
        }
    }

    fn places(paths: &[&str], command: Option<&str>) -> Vec<(String, Place)> {
        let action = normalise(&homes(), &run(), call(paths, command), Some(BuiltinClass::Shell)).unwrap();
        action.facts.paths.into_iter().map(|fact| (fact.path.display().to_string(), fact.place)).collect()
    }

    #[test]
    fn relative_paths_are_the_worktrees() {
        assert_eq!(
            places(&["src/x", "../../state/agentsup.db", "/h/repo/.git/hooks/x"], None),
            [
                ("/h/agentsup/worktrees/w/src/x".into(), Place::Worktree),
                ("/h/agentsup/state/agentsup.db".into(), Place::Secret),
                ("/h/repo/.git/hooks/x".into(), Place::GitMetadata),
            ]
        );
    }

    #[test]
    fn a_command_that_names_a_secret_tells() {
        for command in
            ["cat ~/.ssh/id_rsa", "tar c $HOME/.aws>x", "cp '/h/.ssh/config' .", "x=../../config.toml cat"]
        {
            let found = places(&[], Some(command));
            assert_eq!(found.len(), 1, "{command}: {found:?}");
            assert_eq!(found[0].1, Place::Secret, "{command}");
        }
        assert_eq!(places(&[], Some("cargo test && git commit -m 'a/b'")), []);
    }

    #[test]
    fn hosts_are_lower_case_and_arguments_digested() {
        let action = normalise(&homes(), &run(), call(&[], None), None).unwrap();
        assert_eq!(action.facts.hosts, ["example.com"]);
        assert_eq!(action.source, ToolSource::Mcp("foreign".into()));
        assert_eq!(action.args_digest, canonical::digest(&json!({ "a": 1 })).unwrap());
    }
}
