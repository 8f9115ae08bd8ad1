//! What mattered to a decision: the attributes that each policy which applied looked at, with the values that they had.
//! For people; asks the policies once more.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Authorizer, Context, Entities, EntityUid, Request};

use super::super::action::Action;
use super::super::decision::Decision;
use super::super::manifest::Agent;
use super::super::run::Run;
use super::super::scope;
use super::attributes::Attribute;
use super::labels::View;
use super::own::Own;
use super::{Circumstances, Loaded, Meta, PolicySet, Question};

/// The longest value that is told, in characters.
const VALUE_MAX: usize = 200;

/// An attribute that a policy looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// `place`, `principal.purpose`.
    pub name: String,
    /// What it was, as policies write it; none where it was not there.
    pub value: Option<String>,
}

impl PolicySet {
    /// What each policy that applies looks at, by the policy's name. Empty where nothing can be asked.
    pub fn looked(
        &self,
        own: &Own,
        agent: &Agent,
        run: &Run,
        action: &Action,
        now: &Circumstances,
    ) -> BTreeMap<String, Vec<Looked>> {
        let mut found = BTreeMap::new();
        let Some(loaded) = &self.0 else { return found };
        let reasons = scope::check(agent, run, action);
        let in_scope = reasons.iter().all(|reason| reason.decision == Decision::Allow);
        let question = Question { agent, run, action, now, in_scope };
        // Whoever decides has told of what goes wrong here.
        let _told = ask_all(loaded, own, &question, &mut found);
        found
    }

    /// Purposes that policies name.
    pub fn purposes(&self) -> BTreeSet<&str> {
        let all = self.0.iter().flat_map(|loaded| loaded.policies.values());
        all.flat_map(|meta| &meta.looks.purposes).map(String::as_str).collect()
    }
}

type Found = BTreeMap<String, Vec<Looked>>;

fn ask_all(loaded: &Loaded, own: &Own, question: &Question<'_>, found: &mut Found) -> Result<(), String> {
    let team = question.agent.reference.namespace();
    for view in loaded.labels.views(team) {
        ask(loaded, question, &view, found)?;
    }
    match own.set().and_then(|own| own.0.as_deref()) {
        Some(own) => ask(own, question, &loaded.labels.below(team), found),
        None => Ok(()),
    }
}

fn ask(loaded: &Loaded, question: &Question<'_>, view: &View<'_>, found: &mut Found) -> Result<(), String> {
    let team = question.agent.reference.namespace();
    let (slice, pair) = loaded.pair(question, view)?;
    for request in &loaded.requests(question, view, (slice, &pair))? {
        let response = Authorizer::new().is_authorized(request, &pair.policies.set, &pair.entities);
        let applying = response.diagnostics().reason().filter_map(|id| loaded.policies.get(id));
        for meta in applying.filter(|meta| meta.concerns(team) && view.is_of(meta.layer)) {
            if !found.contains_key(&meta.source) {
                let values =
                    attributes(meta).iter().map(|one| looked(one, request, &pair.entities)).collect();
                found.insert(meta.source.clone(), values);
            }
        }
    }
    Ok(())
}

/// What a policy looks at; where something lies says little without what it is.
fn attributes(meta: &Meta) -> Vec<Attribute> {
    let mut at = meta.looks.at.clone();
    let path = Attribute { of: "context".to_owned(), name: "path".to_owned() };
    if at.iter().any(|one| ["place", "places", "labels"].contains(&one.name.as_str())) && !at.contains(&path)
    {
        at.push(path);
    }
    at
}

fn looked(attribute: &Attribute, request: &Request, entities: &Entities) -> Looked {
    let Attribute { of, name } = attribute;
    let of_entity = |uid: Option<&EntityUid>| entities.get(uid?)?.attr(name)?.ok();
    let (shown, value) = match of.as_str() {
        "context" => (name.clone(), request.context().and_then(|context: &Context| context.get(name))),
        "principal" => (format!("{of}.{name}"), of_entity(request.principal())),
        _ => (format!("{of}.{name}"), of_entity(request.resource())),
    };
    let value = value.map(|value| {
        let text = value.to_string();
        match text.char_indices().nth(VALUE_MAX) {
            Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
            None => text,
        }
    });
    Looked { name: shown, value }
}
