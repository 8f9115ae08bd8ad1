//! What a manifest may say here: every field known, everything that agentsup would not do refused with its line.
//!
//! The core takes what it does not know in many places and leaves it to its host; a host that ignored it would not do
//! what the manifest says. So what is not done is not accepted.

use agent_control_specification_core::InterventionPoint;

use super::super::tree::{Faults, Field, Fields};

/// Agents wait an hour for their hooks at most.
const TIMEOUT_MAX_S: u64 = 45 * 60;

/// Checks one document; gives its parents as they are written.
pub(super) fn check(document: &Field<'_>, faults: &mut Faults<'_>) -> Vec<String> {
    let Some(mut root) = document.fields(faults) else { return Vec::new() };
    root.require("agent_control_specification_version", faults).and_then(|field| field.text(faults));
    root.take("metadata", faults);
    let extends = root.take("extends", faults).map(|field| parents(&field, faults)).unwrap_or_default();
    for (key, check) in [("policies", policy as Check), ("intervention_points", point), ("tools", tool)] {
        let Some(fields) = root.take(key, faults).and_then(|field| field.fields(faults)) else { continue };
        for (name, _, field) in fields.named() {
            check(name, &field, faults);
        }
    }
    if let Some(fields) = root.take("annotators", faults).and_then(|field| field.fields(faults)) {
        for (_, _, field) in fields.named() {
            field.fault(faults, "agentsup asks no classifier, model or endpoint while it decides");
        }
    }
    if let Some(fields) = root.take("approval", faults).and_then(|field| field.fields(faults)) {
        approval(fields, faults);
    }
    root.done(faults);
    extends
}

type Check = fn(&str, &Field<'_>, &mut Faults<'_>);

fn parents(field: &Field<'_>, faults: &mut Faults<'_>) -> Vec<String> {
    let mut parents = Vec::new();
    for item in field.list(faults).unwrap_or_default() {
        match item.plain_text() {
            Some(path) if !path.contains("://") => parents.push(path.to_owned()),
            _ => item.fault_with_hint(
                faults,
                "agentsup fetches no manifest from a URL",
                "keep a copy beside the manifest, where it can be reviewed, and name its path",
            ),
        }
    }
    parents
}

fn policy(_: &str, field: &Field<'_>, faults: &mut Faults<'_>) {
    let Some(mut fields) = field.fields(faults) else { return };
    let kind = fields.require("type", faults);
    match kind.as_ref().and_then(|kind| kind.text(faults)) {
        Some("cedar") => {
            for key in ["policy_set", "policy_path", "entities_path", "schema_path"] {
                fields.take(key, faults).and_then(|field| field.text(faults));
            }
            if let Some(query) = fields.take("query", faults) {
                query.fault(
                    faults,
                    "agentsup asks Cedar as the specification does by default, and not otherwise",
                );
            }
            fields.done(faults);
        }
        Some("rego") => {
            for key in ["query", "bundle"] {
                fields.take(key, faults).and_then(|field| field.text(faults));
            }
            fields.take("data", faults);
            fields.take("data_paths", faults);
            if let Some(url) = fields.take("bundle_url", faults) {
                url.fault(faults, "agentsup fetches no bundle: keep it beside the manifest, as `bundle`");
            }
            fields.done(faults);
        }
        Some(other) => {
            if let Some(kind) = &kind {
                kind.fault(
                    faults,
                    format!("policies of type `{other}` are not evaluated here (cedar, rego)"),
                );
            }
        }
        None => {}
    }
}

fn point(name: &str, field: &Field<'_>, faults: &mut Faults<'_>) {
    if name.parse::<InterventionPoint>().is_err() {
        return field.fault(faults, format!("`{name}` is not an intervention point"));
    }
    let Some(mut fields) = field.fields(faults) else { return };
    fields.require("policy_target", faults).and_then(|field| field.text(faults));
    fields.take("policy_target_kind", faults).and_then(|field| field.text(faults));
    fields.take("tool_name_from", faults).and_then(|field| field.text(faults));
    if let Some(given) = fields.take("annotations", faults).and_then(|field| field.fields(faults)) {
        for (_, _, field) in given.named() {
            field.fault(faults, "agentsup asks no annotator while it decides");
        }
    }
    if let Some(mut policy) = fields.require("policy", faults).and_then(|field| field.fields(faults)) {
        policy.require("id", faults).and_then(|field| field.text(faults));
        policy.take("query", faults).and_then(|field| field.text(faults));
        policy.done(faults);
    }
    fields.done(faults);
}

fn tool(_: &str, field: &Field<'_>, faults: &mut Faults<'_>) {
    field.fields(faults);
}

/// Whoever answers here is a person at agentsup, in time or not at all.
fn approval(mut fields: Fields<'_>, faults: &mut Faults<'_>) {
    let asked = fields.take("default_resolver", faults);
    if let Some(timeout) = fields.take("timeout_seconds", faults)
        && timeout.integer(faults).is_some_and(|seconds| !(1..=TIMEOUT_MAX_S).contains(&seconds))
    {
        timeout.fault(faults, format!("is not from 1 to {TIMEOUT_MAX_S}, as long as agents wait"));
    }
    if let Some(field) = fields.take("on_timeout", faults)
        && !field.is_text("deny")
    {
        field.fault(faults, "where nobody answers in time, agentsup denies (`deny`)");
    }
    for key in ["fatigue_threshold", "fatigue_window_seconds"] {
        if let Some(field) = fields.take(key, faults) {
            field.fault(faults, "agentsup bounds by itself how often people are asked");
        }
    }
    let resolvers = fields.take("resolvers", faults).and_then(|field| field.fields(faults));
    let mut names = Vec::new();
    for (name, _, field) in resolvers.into_iter().flat_map(Fields::named) {
        names.push(name);
        let Some(mut resolver) = field.fields(faults) else { continue };
        if let Some(kind) = resolver.require("type", faults)
            && !kind.is_text("agentsup")
        {
            kind.fault(faults, "who answers here is a person at agentsup (`agentsup`)");
        }
        resolver.done(faults);
    }
    if let Some(asked) = asked
        && let Some(name) = asked.text(faults)
        && !names.contains(&name)
    {
        asked.fault(faults, format!("no resolver `{name}` is declared"));
    }
    fields.done(faults);
}
