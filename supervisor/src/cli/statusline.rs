//! `agentsup statusline`: one line of figures for an agent's status line, from within its run.
//!
//! It is started after every message, so it must cost nothing: with no arguments it is not part of the parsed command
//! line. It knows the run's token and nothing else; the daemon's socket is closed to it. Whatever goes wrong, the agent's
//! screen is left alone: what cannot be shown is an empty line.

use std::io::{self, Read as _};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;

use super::output;
use crate::api::answers::figures::RunFigures;
use crate::core::billing::Billing;
use crate::core::error::{Code, Failure};
use crate::sys::clock;
use crate::sys::env::Env;
use crate::sys::post::fetch;

/// The verb.
pub(super) const VERB: &str = "statusline";

/// An agent does not wait long for it.
const TIMEOUT: Duration = Duration::from_secs(2);
/// What an agent says about its session, in bytes at most.
const SESSION_MAX: u64 = 1024 * 1024;

/// Print a run's figures on one line, from within the run
///
/// For an agent's status line: what the run spent, what is left of the budget that will be empty first, how fast it goes
/// when it is empty at that rate, and which budgets have crossed their alert threshold. Reads what Claude Code says about its session on standard input. `agentsup run
/// claude` sets it up by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agentsup run command -- agentsup statusline
  echo '{\"model\":{\"display_name\":\"Opus\"}}' | agentsup statusline")]
pub(super) struct Args {}

/// What is read of a session.
#[derive(Debug, Default, Deserialize)]
struct Session {
    #[serde(default)]
    model: Model,
}

#[derive(Debug, Default, Deserialize)]
struct Model {
    #[serde(default)]
    display_name: Option<String>,
}

/// Prints the line. Outside a run there is none.
pub(super) fn perform() -> ExitCode {
    match line(Env::current()) {
        Ok(line) => {
            output::line(line);
            ExitCode::SUCCESS
        }
        Err(failure) => output::fail(&failure),
    }
}

fn line(env: &Env) -> Result<String, Failure> {
    let var = |name: &str| {
        env.text(name).ok_or_else(|| {
            Failure::new(Code::Usage, format!("`{name}` is not set: this is not inside a run"))
                .hint("agentsup run command -- agentsup statusline")
        })
    };
    let (mcp_url, token) = (var("AGENTSUP_MCP_URL")?, var("AGENTSUP_RUN_TOKEN")?);
    let origin = mcp_url.strip_suffix("/mcp").unwrap_or(mcp_url);
    let unreachable = |why: String| Failure::new(Code::DaemonUnreachable, why);
    let answer = fetch(&format!("{origin}/figures"), token, TIMEOUT)
        .map_err(|error| unreachable(format!("no figures: {error}")))?;
    if answer.status != 200 {
        return Err(unreachable(format!("no figures: status {}", answer.status)));
    }
    let figures = serde_json::from_slice(&answer.body).map_err(|error| Failure::internal(&error))?;
    Ok(shown(&session(), &figures, clock::now_ms()))
}

/// A terminal says nothing by itself, and what is not understood is not needed.
fn session() -> Session {
    let mut text = Vec::new();
    if output::is_terminal() || io::stdin().take(SESSION_MAX).read_to_end(&mut text).is_err() {
        return Session::default();
    }
    serde_json::from_slice(&text).unwrap_or_default()
}

fn shown(session: &Session, figures: &RunFigures, now_ms: i64) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(session.model.display_name.clone());
    let equivalent = match figures.billing {
        Billing::Keys => "",
        Billing::Subscription => " at list price, not enforced",
    };
    parts.push(format!("{} spent{equivalent}", output::cents(figures.usage.cost_nano_usd)));
    if let Some(budget) = &figures.budget {
        let (left, rate) = match (budget.left_tokens, budget.burn_tokens_per_hour) {
            (Some(left), Some(rate)) => {
                (format!("{} tokens", output::tokens(left)), (rate > 0).then(|| output::tokens(rate)))
            }
            _ => {
                let rate = budget.burn_nano_usd_per_hour.filter(|rate| *rate > 0);
                (output::cents(budget.left_nano_usd.unwrap_or(0)), rate.map(output::cents))
            }
        };
        parts.push(format!("{left} left"));
        parts.extend(rate.map(|rate| format!("{rate}/h")));
        parts.extend(budget.runs_out_at_ms.map(|at| format!("empty by {}", clock::shown(at, now_ms))));
    }
    if !figures.alerted.is_empty() {
        parts.push(format!("alert: {}", figures.alerted.join(" ")));
    }
    output::printable(&parts.join(" · "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn figures(budget: &str) -> RunFigures {
        serde_json::from_str(&format!(
            r#"{{"run":"run_{}","usage":{{"key":"","calls":4,"assumed_calls":0,"assumed_nano_usd":0,"input_tokens":1,
            "cache_write_5m_tokens":0,"cache_write_1h_tokens":0,"cache_read_tokens":0,"output_tokens":1,
            "cache_read_percent":0,"cost_nano_usd":1234567890}},"budget":{budget}}}"#,
            "0".repeat(32)
        ))
        .unwrap()
    }

    fn budget(amounts: &str) -> String {
        format!(
            r#"{{"budget":"t/p","period_id":"total","period_ends_at_ms":null,"left_tokens":null,
            "burn_tokens_per_hour":null,"runs_out_at_ms":null,{amounts}}}"#
        )
    }

    #[test]
    fn the_line_says_what_there_is() {
        let none = Session::default();
        assert_eq!(shown(&none, &figures("null"), 0), "$1.23 spent");
        let money = figures(&budget(r#""left_nano_usd":48770000000,"burn_nano_usd_per_hour":3100000000"#));
        let opus: Session =
            serde_json::from_str(r#"{"model":{"id":"x","display_name":"Opus\u001b"},"a":1}"#).unwrap();
        assert_eq!(shown(&opus, &money, 0), "Opus\u{fffd} · $1.23 spent · $48.77 left · $3.10/h");
        let mut near = figures("null");
        near.alerted = vec!["team/purse".into()];
        assert_eq!(shown(&none, &near, 0), "$1.23 spent · alert: team/purse");
        let subscribed = RunFigures { billing: Billing::Subscription, ..figures("null") };
        assert_eq!(shown(&none, &subscribed, 0), "$1.23 spent at list price, not enforced");
        let idle = figures(&budget(r#""left_nano_usd":5000000,"burn_nano_usd_per_hour":0"#));
        assert_eq!(shown(&none, &idle, 0), "$1.23 spent · $0.01 left");
    }

    #[test]
    fn outside_a_run_there_is_no_line() {
        let failure = line(&Env::of::<&str, &str>([])).unwrap_err();
        assert_eq!(failure.message, "`AGENTSUP_MCP_URL` is not set: this is not inside a run");
    }
}
