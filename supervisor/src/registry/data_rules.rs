//! Reading `[data]` of `config.toml`: what data may leave for where, and what is to be thought of what comes back.

use crate::core::data::{Rules, Treatment, class_name};
use crate::core::detect::{Class, Kind};
use crate::core::label::Labels;

use super::config::Config;
use super::tree::{Faults, Fields};

const WORDS: [(&str, Treatment); 4] = [
    ("allow", Treatment::Allow),
    ("redact", Treatment::Redact),
    ("ask", Treatment::Ask),
    ("block", Treatment::Block),
];

/// Reads the rules into the configuration, whose MCP servers are known already. What is absent keeps its default.
pub(super) fn read(mut data: Fields<'_>, config: &mut Config, faults: &mut Faults<'_>) {
    let families =
        [("mcp", &mut config.data.mcp), ("web", &mut config.data.web), ("shell", &mut config.data.shell)];
    for (name, into) in families {
        if let Some(fields) = data.take(name, faults).and_then(|field| field.fields(faults)) {
            let rules = rules(fields, faults);
            into.classes.extend(rules.classes);
            into.kinds.extend(rules.kinds);
            into.results = rules.results.or(into.results);
        }
    }
    if let Some(mut files) = data.take("files", faults).and_then(|field| field.fields(faults)) {
        config.data.file_results = results(&mut files, faults).unwrap_or(config.data.file_results);
        files.done(faults);
    }
    if let Some(servers) = data.take("servers", faults).and_then(|field| field.fields(faults)) {
        for (name, _, field) in servers.named() {
            if !config.mcp_servers.contains_key(name) {
                field.fault_with_hint(faults, "is no MCP server of this configuration", "see [mcp.servers]");
            }
            if let Some(fields) = field.fields(faults) {
                config.data.servers.insert(name.to_owned(), rules(fields, faults));
            }
        }
    }
    let model = data.take("model", faults).and_then(|field| field.fields(faults));
    if let Some(fields) = model {
        let rules = of_models(fields, faults);
        config.data.model.classes.extend(rules.classes);
        config.data.model.kinds.extend(rules.kinds);
    }
    if let Some(providers) = data.take("providers", faults).and_then(|field| field.fields(faults)) {
        for (name, _, field) in providers.named() {
            if !config.providers.contains_key(name) {
                field.fault_with_hint(faults, "is no provider of this configuration", "see [providers]");
            }
            if let Some(fields) = field.fields(faults) {
                config.data.providers.insert(name.to_owned(), of_models(fields, faults));
            }
        }
    }
    data.done(faults);
}

fn rules(mut fields: Fields<'_>, faults: &mut Faults<'_>) -> Rules {
    let results = results(&mut fields, faults);
    Rules { results, ..of_models(fields, faults) }
}

/// What models answer is no result of theirs to be labelled.
fn of_models(mut fields: Fields<'_>, faults: &mut Faults<'_>) -> Rules {
    let mut rules = Rules::default();
    for class in [Class::Secret, Class::Personal] {
        let said = fields.take(class_name(class), faults).and_then(|field| field.word(faults, &WORDS));
        rules.classes.extend(said.map(|treatment| (class, treatment)));
    }
    for kind in Kind::ALL {
        let said = fields.take(kind.name(), faults).and_then(|field| field.word(faults, &WORDS));
        rules.kinds.extend(said.map(|treatment| (kind, treatment)));
    }
    fields.done(faults);
    rules
}

/// One label, or a list of them.
fn results(fields: &mut Fields<'_>, faults: &mut Faults<'_>) -> Option<Labels> {
    let field = fields.take("results", faults)?;
    if !field.is_list() {
        return field.parse(faults);
    }
    let labels = field.each(faults, |item, faults| item.parse::<Labels>(faults))?;
    Some(labels.into_iter().fold(Labels::NONE, Labels::with))
}
