//! `agentsup key`: keys of providers and MCP servers. A value comes from a hidden prompt or standard input, never from
//! the command line, where every process of the machine could read it.

use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::AsFd as _;

use super::output::{self, Answer, Cell, Tone, cell};
use super::{Outcome, ask};
use crate::api::answers::keys::{KeyState, KeyView, NameParams, SetParams};
use crate::api::ops::{KeyList, KeyRemove, KeySet, Nothing};
use crate::core::error::{Code, Failure};
use crate::sys::terminal;

/// Keep provider keys in the operating system's keyring
///
/// agentsup puts them into requests; agents never see them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Store a key, asked for without showing it or read from standard input
    #[command(after_help = "\
Examples:
  agentsup key set anthropic
  pass show anthropic | agentsup key set anthropic

The value is never given on the command line. Without a keyring, name a variable of the daemon's
environment in config.toml instead: key = \"env:ANTHROPIC_API_KEY\"")]
    Set(NameArgs),
    /// List keys that are stored or needed, without their values
    #[command(after_help = "Examples:\n  agentsup key list")]
    List(ListArgs),
    /// Remove a key
    #[command(after_help = "Examples:\n  agentsup key remove anthropic")]
    Remove(NameArgs),
}

#[derive(Debug, clap::Args)]
struct NameArgs {
    /// Its name, as config.toml has it in `keyring:NAME`; by default a provider's name
    name: String,
    #[command(flatten)]
    answer: Answer,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    answer: Answer,
}

pub(super) fn perform(args: Args) -> Outcome {
    match args.verb {
        Verb::Set(args) => set(args),
        Verb::List(args) => list(&args),
        Verb::Remove(args) => remove(args),
    }
}

fn set(args: NameArgs) -> Outcome {
    let value = read_value(&args.name)?;
    let key = ask(async |client| client.call::<KeySet>(SetParams { name: args.name, value }).await)?;
    Ok(args.answer.give(&key, |key| output::line(format_args!("`{}` is in the keyring", key.name))))
}

fn remove(args: NameArgs) -> Outcome {
    let key = ask(async |client| client.call::<KeyRemove>(NameParams { name: args.name }).await)?;
    Ok(args.answer.give(&key, |key| output::line(format_args!("`{}` is removed", key.name))))
}

/// A key is a line; anything longer than this is something else.
const VALUE_LIMIT: u64 = 64 * 1024;

fn read_value(name: &str) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::new(Code::Usage, format!("the key cannot be read: {error}"));
    let value = if io::stdin().is_terminal() {
        output::ask(format_args!("Key `{name}` (not shown):"));
        let typed = terminal::read_hidden(&io::stdin().as_fd()).map_err(failed)?;
        output::narrate("");
        typed.map(|typed| typed.to_string())
    } else {
        let mut text = String::new();
        io::stdin().lock().take(VALUE_LIMIT).read_to_string(&mut text).map_err(failed)?;
        Some(text.trim().to_owned())
    };
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| Failure::new(Code::Usage, "no key was given, nothing is stored"))
}

fn list(args: &ListArgs) -> Outcome {
    let keys = ask(async |client| client.call::<KeyList>(Nothing {}).await)?;
    Ok(args.answer.give(&keys, |keys| {
        let rows: Vec<_> = keys.iter().map(row).collect();
        output::table(&["KEY", "STATE", "USED BY"], &rows, "no keys are stored or needed");
    }))
}

fn row(key: &KeyView) -> Vec<Cell> {
    let state = match key.state {
        KeyState::Set => cell("set").tone(Tone::Good),
        KeyState::Missing => cell("missing").tone(Tone::Warning),
    };
    vec![cell(&key.place).tone(Tone::Strong), state, cell(key.used_by.join(", "))]
}
