//! Reading documents of the Agent Governance Toolkit (`governance.toolkit/v1`), with the line of everything that cannot
//! be taken over: the toolkit itself drops unknown fields, parents that it is not told of, and conditions that it cannot
//! read, without a word.

use std::collections::BTreeMap;
use std::path::Path;

use crate::core::agt::{Condition, DEFAULT, Otherwise, Rule, Says, Toolkit};
use crate::core::principal::AgentRef;
use crate::core::problem::Problem;

use super::syntax;
use super::tree::{Faults, Field, Fields};

const API_VERSION: &str = "governance.toolkit/v1";

/// A document that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// What it says.
    pub toolkit: Toolkit,
    /// What was left out although it is well-formed.
    pub notes: Vec<String>,
}

/// Reads the one document of a file; `agents` are those that it is to be about instead of its own.
///
/// # Errors
/// Everything that is wrong with it or cannot be said here.
pub fn read(file: &Path, text: &str, agents: &[AgentRef]) -> Result<Read, Vec<Problem>> {
    let mut found = Vec::new();
    let mut faults = Faults::new(file, &mut found);
    let nodes = syntax::yaml(text, &mut faults);
    let read = match nodes.as_slice() {
        [node] => document(&Field::document(node), agents, &mut faults),
        [] => None,
        [_, second, ..] => {
            Field::document(second)
                .fault(&mut faults, "is a second document, which the toolkit does not read");
            None
        }
    };
    match read {
        Some(read) if found.is_empty() => Ok(read),
        _ => {
            found.sort();
            Err(found)
        }
    }
}

fn document(field: &Field<'_>, agents: &[AgentRef], faults: &mut Faults<'_>) -> Option<Read> {
    let mut root = field.fields(faults)?;
    if let Some(version) = root.require("apiVersion", faults)
        && version.text(faults).is_some_and(|text| text != API_VERSION)
    {
        version.fault(faults, format!("is not `{API_VERSION}`"));
    }
    let name = root.require("name", faults).and_then(|field| named(&field, faults));
    for key in ["version", "description", "created_at", "updated_at"] {
        let _ = root.take(key, faults);
    }
    if let Some(scope) = root.take("scope", faults) {
        let _ = scope.word(faults, &[("global", ()), ("tenant", ()), ("agent", ())]);
    }
    if let Some(parents) = root.take("extends", faults) {
        parents.fault_with_hint(faults, "is not followed", "write the rules of its parents into this file");
    }
    let whom = whom(&mut root, agents, faults);
    let words = [("allow", Otherwise::Allow), ("deny", Otherwise::Deny)];
    let otherwise = match root.take("default_action", faults) {
        Some(field) => field.word(faults, &words)?,
        None => Otherwise::Deny,
    };
    let mut notes = Vec::new();
    let rules = root.take("rules", faults).and_then(|field| rules(&field, otherwise, &mut notes, faults));
    root.done(faults);
    let toolkit = Toolkit { name: name?, agents: whom, otherwise, rules: rules.unwrap_or_default() };
    Some(Read { toolkit, notes })
}

/// A name of which an `@id` can be made.
fn named(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<String> {
    field.map(faults, |text| {
        let has_letters = text.chars().any(|char| char.is_ascii_alphanumeric());
        has_letters.then(|| text.to_owned()).ok_or_else(|| "has no letter or digit".to_owned())
    })
}

/// The agents that it is about; nobody's name means everybody, as for `govern()`.
fn whom(root: &mut Fields<'_>, given: &[AgentRef], faults: &mut Faults<'_>) -> Vec<AgentRef> {
    let mut named = Vec::new();
    let one = root.take("agent", faults);
    let list = root.take("agents", faults);
    if !given.is_empty() {
        return given.to_vec();
    }
    let items = list.and_then(|field| field.list(faults)).unwrap_or_default();
    if items.iter().any(|item| item.is_text("*")) {
        return Vec::new();
    }
    for field in one.into_iter().chain(items) {
        let Some(text) = field.text(faults) else { continue };
        match text.parse() {
            Ok(agent) => named.push(agent),
            Err(_) => field.fault_with_hint(
                faults,
                format!("`{text}` is no agent of yours"),
                "say whom it is about: --agent agent/NAME@TEAM",
            ),
        }
    }
    named
}

fn rules(
    field: &Field<'_>,
    otherwise: Otherwise,
    notes: &mut Vec<String>,
    faults: &mut Faults<'_>,
) -> Option<Vec<Rule>> {
    let mut ids = BTreeMap::new();
    let mut rules = Vec::new();
    for item in field.list(faults)? {
        let mut fields = item.fields(faults)?;
        let at = fields.at();
        let before = faults.count();
        let rule = rule(&mut fields, faults);
        let is_on = fields.take("enabled", faults).is_none_or(|field| {
            let words = [("true", true), ("false", false)];
            field.word(faults, &words).unwrap_or(true)
        });
        fields.done(faults);
        let Some(rule) = rule.filter(|_| faults.count() == before) else { continue };
        if !is_on {
            notes.push(format!("rule `{}` (line {}) is switched off and left out", rule.name, at.line));
            continue;
        }
        // Different names can become one `@id`.
        let id: String = rule.name.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
        if id == DEFAULT && otherwise == Otherwise::Deny {
            let message = "is the name of the policy that stands for `default_action`".to_owned();
            faults.add(at, &format!("{}.name", item.path()), message, None);
        }
        if let Some(line) = ids.insert(id, at.line) {
            let message = format!("has the same name as the rule in line {line}, or nearly so");
            faults.add(at, &format!("{}.name", item.path()), message, None);
        }
        rules.push(rule);
    }
    Some(rules)
}

fn rule(fields: &mut Fields<'_>, faults: &mut Faults<'_>) -> Option<Rule> {
    let name = fields.require("name", faults).and_then(|field| named(&field, faults));
    let description =
        fields.take("description", faults).and_then(|field| field.text(faults)).map(str::to_owned);
    if let Some(stage) = fields.take("stage", faults)
        && !stage.is_text("pre_tool")
    {
        stage.fault_with_hint(faults, "is not `pre_tool`", "policies here decide before a tool is called");
    }
    let condition = fields.require("condition", faults).and_then(|field| condition(&field, faults));
    let says = match fields.take("action", faults) {
        Some(field) => says(&field, faults),
        None => Some(Says::Deny),
    };
    if let Some(limit) = fields.take("limit", faults) {
        let hint = "budgets and `[breakers]` in config.toml bound how often";
        limit.fault_with_hint(faults, "cannot be said by a policy, which counts nothing", hint);
    }
    if let Some(approvers) = fields.take("approvers", faults) {
        let hint = "leave it out: whoever started the run answers";
        approvers.fault_with_hint(faults, "would not be kept to", hint);
    }
    let priority = match fields.take("priority", faults) {
        Some(field) => field.parse(faults)?,
        None => 0,
    };
    Some(Rule { name: name?, description, condition: condition?, says: says?, priority })
}

fn condition(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<Condition> {
    match Condition::parse(field.text(faults)?) {
        Ok(condition) => Some(condition),
        Err(unread) => {
            field.fault_with_hint(faults, unread.message, unread.hint);
            None
        }
    }
}

fn says(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<Says> {
    if field.is_text("warn") || field.is_text("log") {
        // PolicyDecision.allowed is true for `allow` alone.
        let hint = "write `allow` (everything is on the record here) or `deny`";
        field.fault_with_hint(faults, "sounds like leave, but `govern()` denies it", hint);
        return None;
    }
    let words = [("allow", Says::Allow), ("deny", Says::Deny), ("require_approval", Says::Ask)];
    field.word(faults, &words)
}

#[cfg(test)]
mod tests;
