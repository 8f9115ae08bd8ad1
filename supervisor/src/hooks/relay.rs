//! Stands in the place of a headless agent that tells what it used in what it prints, a JSON object a line, and by no
//! hook: hands on what its user wanted to see, and tells the daemon the rest.
//!
//! Invariants: no turn goes by in silence, one that ends without a count is told too; an agent that calls a tool while
//! the daemon has not heard its hooks is killed; nothing but the last line and the model's name goes to the daemon. Must
//! not know an agent by name: the adapter reads what is told.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read as _};
use std::time::Duration;

use serde_json::{Value, json};

use super::command::{Door, HookCommandError};
use crate::core::run::OVER_BUDGET;
use crate::sys::env::Env;
use crate::sys::piped::Piped;

/// The longest line that is looked into, in bytes; longer ones are only handed on.
const LINE_MAX: u64 = 16 * 1024 * 1024;
/// The daemon answers these at once.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is to be relayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Whose output it is.
    pub adapter: String,
    /// What the user wants to see.
    pub format: Format,
    /// The model that the user named; empty if none.
    pub model: String,
    /// The program.
    pub program: String,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// What a user wants to see of an agent's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The last answer.
    Text,
    /// The last line.
    Json,
    /// Everything.
    Lines,
}

/// Why the agent's own end does not count.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The program cannot be run.
    #[error("`{0}` cannot be run: {1}")]
    Program(String, io::Error),
    /// The daemon did not take what was told.
    #[error("what it used could not be told: {0}")]
    Untold(#[from] HookCommandError),
    /// It called a tool, and nobody had heard its hooks.
    #[error("it was killed, because its hooks do not work: {0}")]
    Unheard(HookCommandError),
    /// Its budget is used up.
    #[error("{0}")]
    OverBudget(String),
    /// The run may not go on.
    #[error("{0}")]
    Refused(String),
}

/// Runs the program to its end; its exit code. What the user is to see goes to `print`.
///
/// # Errors
/// When it cannot be run, may not go on, or what it used cannot be told.
pub fn run(spec: &Spec, env: &Env, print: &mut dyn FnMut(&[u8])) -> Result<u8, RelayError> {
    let door = Door::find(&spec.adapter, env)?;
    let failed = |error| RelayError::Program(spec.program.clone(), error);
    let mut agent = Piped::start(&spec.program, &spec.args).map_err(failed)?;
    agent.outlive().map_err(failed)?;
    let mut told = Told { door: &door, model: spec.model.clone(), acts: false, result: None };
    let read = told.read(spec.format, &mut BufReader::new(agent.output()), print);
    if let Err(error) = read {
        // Whatever it still does nobody would see.
        agent.kill().map_err(failed)?;
        return Err(error);
    }
    let code = agent.wait().map_err(failed)?;
    told.end()?;
    Ok(code)
}

struct Told<'d> {
    door: &'d Door<'d>,
    model: String,
    acts: bool,
    result: Option<Value>,
}

impl Told<'_> {
    fn read(
        &mut self,
        format: Format,
        output: &mut impl BufRead,
        print: &mut dyn FnMut(&[u8]),
    ) -> Result<(), RelayError> {
        let mut is_whole = true;
        loop {
            let mut line = Vec::new();
            let read = output.take(LINE_MAX).read_until(b'\n', &mut line);
            let read = read.map_err(|error| RelayError::Program("its output".to_owned(), error))?;
            if read == 0 {
                return Ok(());
            }
            if format == Format::Lines {
                print(&line);
            }
            let ends = line.ends_with(b"\n") || (read as u64) < LINE_MAX;
            if is_whole
                && ends
                && let Ok(value) = serde_json::from_slice::<Value>(&line)
            {
                let is_result = value.get("type").and_then(Value::as_str) == Some("result");
                self.hear(value)?;
                if is_result {
                    self.show(format, &line, print);
                }
            }
            is_whole = ends;
        }
    }

    fn hear(&mut self, line: Value) -> Result<(), RelayError> {
        let of = |field| line.get(field).and_then(Value::as_str).unwrap_or_default();
        match of("type") {
            "system" if self.model.is_empty() => of("model").clone_into(&mut self.model),
            "tool_call" if !self.acts => {
                self.acts = true;
                self.tell(&json!({ "hook_event_name": "relay/acting" })).map_err(RelayError::Unheard)?;
            }
            "result" => self.result = Some(line),
            _ => {}
        }
        Ok(())
    }

    /// The last line, or the answer in it.
    fn show(&self, format: Format, line: &[u8], print: &mut dyn FnMut(&[u8])) {
        match format {
            Format::Lines => {}
            Format::Json => print(line),
            Format::Text => {
                let answer = self.result.as_ref().and_then(|result| result.get("result"));
                print(format!("{}\n", answer.and_then(Value::as_str).unwrap_or_default()).as_bytes());
            }
        }
    }

    fn end(&self) -> Result<(), RelayError> {
        let ended = json!({ "hook_event_name": "relay/result", "model": self.model, "result": self.result });
        let more = self.tell(&ended)?;
        let more: Value = serde_json::from_slice(&more).unwrap_or_default();
        if more.get("continue") != Some(&Value::Bool(false)) {
            return Ok(());
        }
        let why = more.get("user_message").and_then(Value::as_str).unwrap_or_default();
        let why = why.strip_prefix("agentsup: ").unwrap_or(why).to_owned();
        Err(if why.starts_with(OVER_BUDGET) { RelayError::OverBudget(why) } else { RelayError::Refused(why) })
    }

    fn tell(&self, message: &Value) -> Result<Vec<u8>, HookCommandError> {
        self.door.post(message.to_string().as_bytes(), TIMEOUT)
    }
}
