//! Rego policies of a manifest: compiled once, run in this process by an interpreter that has no way out of it.
//!
//! Invariants: no built-in that reaches the network, the clock, chance or the environment is compiled in; those whose
//! work or size grows without a bound with what an agent sends are refused; an evaluation ends within [`LIMIT`].

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use regorus::utils::limits::{self, LimitError};
use regorus::{CompiledPolicy, Engine, Value};

use super::fault::{Fault, Source};

/// As long as one evaluation may take.
const LIMIT: Duration = Duration::from_millis(100);
/// After so many steps the time is looked at.
const STEPS: NonZeroU32 = NonZeroU32::new(64).unwrap();

/// Built-in functions that are not for deciding about what an agent sends, and why.
const REFUSED: [(&str, &str); 11] = [
    ("http.send", "nothing is fetched to decide"),
    ("opa.runtime", "the environment is not the policies' business"),
    ("time.now_ns", "the snapshot has the time in `envelope.timestamp`"),
    ("rand.intn", "a decision is not left to chance"),
    ("uuid.rfc4122", "a decision is not left to chance"),
    ("test.sleep", "decisions do not wait"),
    ("numbers.range", "its size could be what an agent sends"),
    ("bits.lsh", "its size could be what an agent sends"),
    ("net.cidr_expand", "its size could be what an agent sends"),
    ("graph.reachable_paths", "its size could be what an agent sends"),
    ("yaml.unmarshal", "it is not there"),
];

/// A rule that can be asked.
pub(super) struct Rego(CompiledPolicy);

impl Rego {
    /// Compiles modules and data for one rule, `data.<package>.<rule>`.
    pub(super) fn load(modules: &[Source], data: &[Data], query: &str) -> Result<Self, Vec<Fault>> {
        let faults: Vec<Fault> = modules.iter().flat_map(refused).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        // The interpreter has no time limit of its own unless the process has one.
        limits::set_fallback_execution_timer_config(Some(limits::ExecutionTimerConfig {
            limit: LIMIT,
            check_interval: STEPS,
        }));
        let compile = AssertUnwindSafe(|| compile(modules, data, query));
        let compiled = catch_unwind(compile).unwrap_or_else(|_| Err(Fault::whole("cannot be compiled")));
        compiled.map(Self).map_err(|fault| vec![fault])
    }

    /// The verdict about a policy input, which is JSON. An error is for the log: it names places and never values.
    pub(super) fn evaluate(&self, input: &str) -> Result<serde_json::Value, String> {
        let input = Value::from_json_str(input).map_err(|_| "what is to be judged cannot be read")?;
        let value =
            self.0.eval_with_input(input).map_err(|error| match error.downcast_ref::<LimitError>() {
                Some(limit) => limit.to_string(),
                None => format!("{} cannot be evaluated", place(&error.to_string()).unwrap_or("the rule")),
            })?;
        if value == Value::Undefined {
            return Err("the rule has no value".to_owned());
        }
        let text = value.to_json_str().map_err(|_| "the rule's value cannot be written")?;
        serde_json::from_str(&text).map_err(|_| "the rule's value is not JSON".to_owned())
    }
}

/// A document of data, and where it lies below `data`.
pub(super) struct Data {
    pub(super) at: Vec<String>,
    pub(super) source: Source,
}

fn compile(modules: &[Source], data: &[Data], query: &str) -> Result<CompiledPolicy, Fault> {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    for module in modules {
        let added = engine.add_policy(module.file.display().to_string(), module.text.clone());
        added.map_err(|error| at(module, &error.to_string()))?;
    }
    for Data { at: path, source } in data {
        let fault = |message: String| Fault { file: Some(source.file.clone()), line: 1, message };
        let value: serde_json::Value =
            serde_json::from_str(&source.text).map_err(|error| fault(error.to_string()))?;
        let whole = path.iter().rev().fold(value, |value, name| serde_json::json!({ name.as_str(): value }));
        let whole = Value::from_json_str(&whole.to_string()).map_err(|error| fault(error.to_string()))?;
        engine.add_data(whole).map_err(|error| fault(message(&error.to_string())))?;
    }
    let compiled = engine.compile_with_entrypoint(&query.into());
    compiled.map_err(|error| {
        let text = error.to_string();
        match modules.iter().find(|module| text.contains(&*module.file.to_string_lossy())) {
            Some(module) => at(module, &text),
            None => {
                Fault { file: None::<PathBuf>, line: 0, message: format!("`{query}`: {}", message(&text)) }
            }
        }
    })
}

/// Uses of what is refused. Words are enough to see them: an author has no reason to hide one from himself.
fn refused(module: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (line, text) in (1_u32..).zip(module.text.lines()) {
        let code = text.split(" #").next().filter(|code| !code.trim_start().starts_with('#'));
        let names = |(name, _): &&(&str, &str)| code.is_some_and(|code| code.contains(name));
        for (name, why) in REFUSED.iter().filter(names) {
            let message = format!("`{name}` is not offered: {why}");
            faults.push(Fault { file: Some(module.file.clone()), line, message });
        }
    }
    faults
}

/// The interpreter tells place, line and message in one text: `--> file:line:column … error: message`.
fn at(module: &Source, text: &str) -> Fault {
    let line = place(text).and_then(|place| place.rsplit(':').nth(1)?.parse().ok()).unwrap_or(1);
    Fault { file: Some(module.file.clone()), line, message: message(text) }
}

fn place(text: &str) -> Option<&str> {
    text.split_once("--> ").and_then(|(_, rest)| rest.lines().next())
}

fn message(text: &str) -> String {
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}
