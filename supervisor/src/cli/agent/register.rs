//! `agentsup agent register`: what must be said of an agent, as flags or asked for one by one.

use std::path::Path;

use super::super::output::{self, Answer};
use super::super::{Outcome, ask_slowly};
use crate::api::answers::agents::{RegisterParams, Registered, Terms};
use crate::api::ops::AgentRegister;
use crate::core::amount::Amount;
use crate::core::budget::instant_text;
use crate::core::error::{Code, Failure};
use crate::core::instant::instant_ms;
use crate::core::manifest::{BuiltinClass, Environment};
use crate::core::principal::Owner;
use crate::sys::clock;

/// Register an agent: its manifest and its budget
///
/// Six things must be said of an agent: what it is for, which human answers for it, which tools it may use, where it may
/// act, what it may spend in a month, and what ends it. What no flag says is asked for. The manifest is checked before
/// anything is written, and comes into force at once; where a registry in git is configured, it is pushed there on a
/// branch ready for review, and comes into force once it is merged and fetched.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup agent register reviewer@team-platform        asks for everything
  agentsup agent register reviewer@team-platform --purpose 'Review pull requests' --owner me \\
    --tools 'read,shell,github/*' --environments dev --cap '50.00 USD' --expires 2027-06-30")]
pub(super) struct Args {
    /// Its name, and its team unless that is `default`
    #[arg(value_name = "NAME[@TEAM]")]
    name: Option<String>,
    /// What it is for, in a sentence
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// The accountable human: `user:default/alice`, or `me`
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// Classes of its own tools (read, edit, shell, web, other) and `server/tool` globs of MCP, or `none`
    #[arg(long, value_name = "LIST")]
    tools: Option<String>,
    /// Where it may act: dev, staging, production
    #[arg(long, value_name = "LIST")]
    environments: Option<String>,
    /// What it may spend in a calendar month
    #[arg(long, value_name = "AMOUNT")]
    cap: Option<String>,
    /// The date or time from which it starts no runs, and those that run are stopped
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,
    /// The kinds of coding agent that it may be launched as; all if absent
    #[arg(long, value_name = "LIST")]
    adapters: Option<String>,
    /// Globs over the models that it may call
    #[arg(long, value_name = "LIST", default_value = "*")]
    models: String,
    /// Globs over the repositories that it may work on, by path or remote
    #[arg(long, value_name = "LIST", default_value = "*")]
    repositories: String,
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: Args) -> Outcome {
    let answer = args.answer.clone();
    let params = params(args)?;
    let registered = ask_slowly("registering it", async |client| client.call::<AgentRegister>(params).await)?;
    Ok(answer.give(&registered, |Registered { view: registered, proposal }| {
        if let Some(proposal) = proposal {
            output::line(format_args!("{} is proposed, owned by {}", registered.agent, registered.owner));
            return super::tell_proposal(proposal);
        }
        output::line(format_args!("{} is registered, owned by {}", registered.agent, registered.owner));
        let file = registered.file.as_deref().unwrap_or(Path::new("")).display();
        output::narrate(format_args!("written to `{file}`"));
        output::hint(format_args!("agentsup agent show {}@{}", registered.name, registered.namespace));
    }))
}

fn params(args: Args) -> Result<RegisterParams, Failure> {
    require_all(&args)?;
    let in_90_days = instant_text(clock::now_ms().saturating_add(90 * 24 * 60 * 60 * 1000));
    let date = in_90_days.split(' ').next().unwrap_or_default();
    let agent = said(args.name, "What is it called, and of which team (NAME@TEAM)?", "", named)?;
    let purpose = said(args.purpose, "What is it for?", "", sentence)?;
    let owner = said(args.owner, "Who answers for it?", "me", owner)?;
    let (builtin, mcp) = said(args.tools, "Which tools may it use (or none)?", "read,edit,shell", tools)?;
    let terms = Terms {
        purpose,
        builtin,
        mcp,
        environments: said(args.environments, "Where may it act?", "dev", environments)?,
        cap: said(args.cap, "What may it spend in a calendar month?", "20.00 USD", cap)?,
        expires: said(args.expires, "When does it end?", date, expires)?,
        adapters: args.adapters.as_deref().map(words).unwrap_or_default(),
        models: words(&args.models),
        repositories: words(&args.repositories),
    };
    Ok(RegisterParams { agent, owner, terms })
}

/// Where nobody can be asked, everything must have been said.
fn require_all(args: &Args) -> Result<(), Failure> {
    let all = [
        (&args.name, "NAME"),
        (&args.purpose, "--purpose"),
        (&args.owner, "--owner"),
        (&args.tools, "--tools"),
        (&args.environments, "--environments"),
        (&args.cap, "--cap"),
        (&args.expires, "--expires"),
    ];
    let missing: Vec<&str> = all.iter().filter(|(said, _)| said.is_none()).map(|(_, name)| *name).collect();
    if missing.is_empty() || output::is_interactive() {
        return Ok(());
    }
    let message = format!("nobody is there to be asked for {}", missing.join(", "));
    Err(Failure::new(Code::Usage, message).hint("agentsup agent register --help shows an example"))
}

/// How often a question is asked again.
const ATTEMPTS: u32 = 5;

/// What a flag says, else what the user answers; an answer that makes no sense is asked for again.
fn said<T>(
    flag: Option<String>,
    question: &str,
    usual: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Failure> {
    if let Some(text) = flag {
        return read(&text).map_err(|error| Failure::new(Code::Usage, error));
    }
    for _ in 0..ATTEMPTS {
        let usual_shown = if usual.is_empty() { String::new() } else { format!(" [{usual}]") };
        output::ask(format_args!("{question}{usual_shown}"));
        let Some(line) = output::read_answer().map_err(|error| Failure::internal(&error))? else { break };
        match read(if line.is_empty() { usual } else { &line }) {
            Ok(value) => return Ok(value),
            Err(error) => output::warn(error),
        }
    }
    Err(Failure::new(Code::Usage, "no answer, nothing is written"))
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn named(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a name is needed".to_owned()) } else { Ok(text.to_owned()) }
}

fn sentence(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("a purpose is needed".to_owned()) } else { Ok(text.to_owned()) }
}

fn owner(text: &str) -> Result<Option<Owner>, String> {
    if text == "me" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: crate::core::principal::PrincipalError| error.to_string())
}

/// Classes of built-in tools, and globs over tools of MCP servers.
fn tools(text: &str) -> Result<(Vec<BuiltinClass>, Vec<String>), String> {
    let (mut builtin, mut mcp) = (Vec::new(), Vec::new());
    if text.trim() == "none" {
        return Ok((builtin, mcp));
    }
    for word in words(text) {
        match BuiltinClass::ALL.into_iter().find(|class| class.name() == word) {
            Some(class) => builtin.push(class),
            None if word == "*" || word.contains('/') => mcp.push(word),
            None => {
                let known = BuiltinClass::ALL.map(BuiltinClass::name).join(", ");
                return Err(format!("`{word}` is neither one of {known} nor `server/tool`"));
            }
        }
    }
    if builtin.is_empty() && mcp.is_empty() {
        return Err("no tools at all are said by `none`".to_owned());
    }
    Ok((builtin, mcp))
}

fn environments(text: &str) -> Result<Vec<Environment>, String> {
    let known = [Environment::Dev, Environment::Staging, Environment::Production];
    let read = |word: &String| {
        let found = known.into_iter().find(|environment| environment.name() == word);
        found.ok_or_else(|| format!("`{word}` is not one of {}", known.map(Environment::name).join(", ")))
    };
    words(text).iter().map(read).collect()
}

fn cap(text: &str) -> Result<Amount, String> {
    text.parse().map_err(|error: crate::core::amount::AmountError| error.to_string())
}

fn expires(text: &str) -> Result<String, String> {
    instant_ms(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn tools_are_classes_and_globs_or_none_by_name() {
        let read = tools("read, shell,github/*").unwrap();
        assert_eq!(read, (vec![BuiltinClass::Read, BuiltinClass::Shell], vec!["github/*".to_owned()]));
        assert_eq!(tools("none").unwrap(), (Vec::new(), Vec::new()));
        for bad in ["", ",", "everything", "read,none"] {
            assert!(tools(bad).is_err(), "{bad:?}");
        }
    }
}
