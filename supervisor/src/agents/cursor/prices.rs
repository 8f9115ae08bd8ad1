//! Where the list price of a model stands that Cursor names in its own way.
//!
//! Invariant: only what changes no price is taken off a name. What then is in no list counts as the dearest model that is
//! known, so a name that is not understood makes a turn dearer and never cheaper.

use serde_json::Value;

/// How hard a model thinks costs tokens, and each of them the same. `fast` and `max` may cost more, so they stay.
const EFFORTS: &[&str] = &["-thinking", "-minimal", "-low", "-medium", "-high", "-xhigh"];
/// Parameters of a model that say the same.
const EFFORT_PARAMETERS: &[&str] = &["effort", "reasoning", "reasoning_effort", "thinking"];
/// Models of Claude, whose version Cursor puts first or writes with a dot.
const CLAUDE: &[&str] = &["fable", "haiku", "mythos", "opus", "sonnet"];

/// The names under which a vendor lists the model.
pub(super) fn listed_as(model: &str, parameters: Option<&Value>) -> Vec<String> {
    if parameters.and_then(Value::as_array).into_iter().flatten().any(may_cost_more) {
        return Vec::new();
    }
    let plain = model.to_ascii_lowercase().replace(' ', "-");
    let mut name = plain.as_str();
    while let Some(shorter) = EFFORTS.iter().find_map(|end| name.strip_suffix(end)) {
        name = shorter;
    }
    std::iter::once(name.to_owned()).chain(of_claude(name)).collect()
}

fn may_cost_more(parameter: &Value) -> bool {
    let of = |field| parameter.get(field).and_then(Value::as_str).unwrap_or_default();
    !EFFORT_PARAMETERS.contains(&of("id")) && of("value") != "false"
}

/// `claude-4.6-opus` and `opus-4.6` are `claude-opus-4-6`.
fn of_claude(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.strip_prefix("claude-").unwrap_or(name).split('-').collect();
    let family = parts.iter().find(|part| CLAUDE.contains(part))?;
    let version: Vec<&str> = parts.iter().filter(|part| *part != family).copied().collect();
    let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    version.iter().all(is_number).then(|| format!("claude-{family}-{}", version.join("-").replace('.', "-")))
}
