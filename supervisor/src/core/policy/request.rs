//! From plain values to Cedar's: names, entities, requests.

use std::collections::HashMap;
use std::str::FromStr as _;

use cedar_policy::{
    Context, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression, Schema,
};

use super::asked::{Kind, Name, Thing, Value, Values};

/// The kinds of things, as Cedar names them.
pub(super) struct Types {
    agent: EntityTypeName,
    team: EntityTypeName,
    role: EntityTypeName,
    adapter: EntityTypeName,
    provider: EntityTypeName,
    model: EntityTypeName,
    server: EntityTypeName,
    tool: EntityTypeName,
    class: EntityTypeName,
    host: EntityTypeName,
}

impl Types {
    pub(super) fn new() -> Result<Self, String> {
        let kind = |name: &str| EntityTypeName::from_str(name).map_err(|error| error.to_string());
        Ok(Self {
            agent: kind("Agent")?,
            team: kind("Team")?,
            role: kind("Role")?,
            adapter: kind("Adapter")?,
            provider: kind("Provider")?,
            model: kind("Model")?,
            server: kind("Server")?,
            tool: kind("Tool")?,
            class: kind("ToolClass")?,
            host: kind("Host")?,
        })
    }

    const fn of(&self, kind: Kind) -> &EntityTypeName {
        match kind {
            Kind::Agent => &self.agent,
            Kind::Team => &self.team,
            Kind::Role => &self.role,
            Kind::Adapter => &self.adapter,
            Kind::Provider => &self.provider,
            Kind::Model => &self.model,
            Kind::Server => &self.server,
            Kind::Tool => &self.tool,
            Kind::Class => &self.class,
            Kind::Host => &self.host,
        }
    }

    fn uid(&self, (kind, id): &Name) -> EntityUid {
        EntityUid::from_type_name_and_id(self.of(*kind).clone(), EntityId::new(id))
    }

    /// A thing, and the names of all that it is in, its own first.
    pub(super) fn entity(&self, thing: &Thing) -> Result<(Entity, Vec<EntityUid>), String> {
        let uid = self.uid(&thing.name);
        let is_in: Vec<EntityUid> = thing.is_in.iter().map(|name| self.uid(name)).collect();
        let attributes: HashMap<_, _> = pairs(&thing.attributes).collect();
        let entity = Entity::new(uid.clone(), attributes, is_in.iter().cloned().collect())
            .map_err(|error| error.to_string())?;
        Ok((entity, std::iter::once(uid).chain(is_in).collect()))
    }
}

/// Who wants to do what to what, when this is the case. Whoever leaves out what nobody looks at has no schema to give.
pub(super) fn request(
    (principal, action, resource): (&EntityUid, &EntityUid, &EntityUid),
    values: &Values,
    schema: Option<&Schema>,
) -> Result<Request, String> {
    let context = Context::from_pairs(pairs(values)).map_err(|error| error.to_string())?;
    Request::new(principal.clone(), action.clone(), resource.clone(), context, schema)
        .map_err(|error| error.to_string())
}

fn pairs(values: &Values) -> impl Iterator<Item = (String, RestrictedExpression)> {
    values.iter().map(|(name, value)| ((*name).to_owned(), expression(value)))
}

fn expression(value: &Value) -> RestrictedExpression {
    match value {
        Value::Text(text) => RestrictedExpression::new_string(text.clone()),
        Value::Set(texts) => {
            RestrictedExpression::new_set(texts.iter().cloned().map(RestrictedExpression::new_string))
        }
        Value::Truth(truth) => RestrictedExpression::new_bool(*truth),
        Value::Number(number) => RestrictedExpression::new_long(*number),
        Value::Present => RestrictedExpression::new_bool(true),
    }
}
