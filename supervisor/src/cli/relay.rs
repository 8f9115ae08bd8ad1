//! `agentsup relay ADAPTER FORMAT MODEL PROGRAM ARGS…`: what stands in the place of a headless agent whose output says
//! what it used. Hidden, and not part of the parsed command line: only launches write it.

use std::process::ExitCode;

use super::output;
use crate::core::error::{Code, Failure};
use crate::hooks::relay::{self, Format, RelayError, Spec};
use crate::sys::env::{self, Env};

/// The verb.
pub(super) const VERB: &str = "relay";

/// Runs the agent to its end, and ends as it does unless it may not.
pub(super) fn perform() -> ExitCode {
    match spec().and_then(|spec| relay::run(&spec, Env::current(), &mut output::raw).map_err(failure)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => output::fail(&failure),
    }
}

fn spec() -> Result<Spec, Failure> {
    let mut words = env::arguments().skip(1);
    let mut word = || words.next().and_then(|word| word.into_string().ok());
    let (adapter, format, model, program) = (word(), word(), word(), word());
    let (Some(adapter), Some(format), Some(model), Some(program)) = (adapter, format, model, program) else {
        return Err(Failure::new(Code::Usage, "`relay` is used by launches"));
    };
    let format = match format.as_str() {
        "text" => Format::Text,
        "json" => Format::Json,
        "stream-json" => Format::Lines,
        other => {
            return Err(Failure::new(Code::Usage, format!("there is no output format `{other}`"))
                .hint("one of: text, json, stream-json"));
        }
    };
    Ok(Spec { adapter, format, model, program, args: words.collect() })
}

fn failure(error: RelayError) -> Failure {
    let code = match &error {
        RelayError::Program(..) => Code::Usage,
        RelayError::Untold(_) => Code::DaemonUnreachable,
        RelayError::Unheard(_) | RelayError::Refused(_) => Code::Denied,
        RelayError::OverBudget(_) => Code::Budget,
    };
    Failure::new(code, error.to_string())
}
