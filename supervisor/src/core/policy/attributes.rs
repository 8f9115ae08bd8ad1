//! Which attributes a policy's conditions look at, and which texts they compare them with.

use std::collections::BTreeSet;

use cedar_policy::Policy;
use serde_json::Value;

use super::super::canonical;

const CONTEXT: &str = "context";

/// An attribute that a condition names: `context.place`, `principal.purpose`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attribute {
    /// `principal`, `resource` or `context`.
    pub(super) of: String,
    /// Its name.
    pub(super) name: String,
}

/// The attributes of a context that somebody looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    all: bool,
    values: BTreeSet<String>,
    /// Those of which it may matter that they are there.
    presences: BTreeSet<String>,
}

impl Needs {
    /// Each of them.
    pub(super) const ALL: Self = Self { all: true, values: BTreeSet::new(), presences: BTreeSet::new() };

    /// Whether the value of an attribute is needed.
    pub(super) fn value(&self, name: &str) -> bool {
        self.all || self.values.contains(name)
    }

    /// Whether it matters that an attribute is there.
    pub(super) fn presence(&self, name: &str) -> bool {
        self.value(name) || self.presences.contains(name)
    }

    /// And those that somebody else looks at.
    pub(super) fn add(&mut self, others: &Self) {
        self.all |= others.all;
        self.values.extend(others.values.iter().cloned());
        self.presences.extend(others.presences.iter().cloned());
    }
}

/// What a policy's conditions look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Looks {
    /// In the order of the text, each once.
    pub(super) at: Vec<Attribute>,
    /// Those of the context.
    pub(super) needs: Needs,
    /// Purposes that they name, wildcards left out.
    pub(super) purposes: Vec<String>,
    /// SHA-256 over whom the policy names and its conditions, however they are written.
    pub(super) digest: [u8; 32],
}

impl Looks {
    /// Those of a policy.
    pub(super) fn of(policy: &Policy) -> Result<Self, String> {
        let mut text = policy.to_json().map_err(|error| error.to_string())?;
        if let Some(text) = text.as_object_mut() {
            text.remove("annotations");
        }
        let digest = canonical::digest(&text).map_err(|error| error.to_string())?;
        let mut looks = Self { digest, ..Self::default() };
        if let Some(conditions) = text.get("conditions") {
            looks.walk(conditions);
            // A context that stands for itself is looked at as a whole.
            looks.needs.all = uses_of_context(conditions) > attributes_of_context(conditions);
        }
        Ok(looks)
    }

    /// Attributes stand in `{".": {"left": {"Var": "context"}, "attr": "path"}}` and `{"has": {…}}`, comparisons in
    /// `{"like": {"left": …, "pattern": […]}}` and `{"==": {"left": …, "right": {"Value": …}}}`.
    fn walk(&mut self, value: &Value) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.walk(value)),
            Value::Object(map) => {
                for (name, inner) in map {
                    match name.as_str() {
                        "." | "has" => self.attribute(inner, name == "has"),
                        "like" if is_purpose(inner.get("left")) => {
                            self.purpose(literals(inner.get("pattern")))
                        }
                        "==" => {
                            let sides = [("left", "right"), ("right", "left")];
                            let compared = sides.iter().find(|(side, _)| is_purpose(inner.get(side)));
                            let text =
                                compared.and_then(|(_, other)| inner.get(other)?.get("Value")?.as_str());
                            self.purpose(text.map(str::to_owned));
                        }
                        _ => {}
                    }
                    self.walk(inner);
                }
            }
            _ => {}
        }
    }

    fn attribute(&mut self, inner: &Value, only_asks: bool) {
        let of = inner.get("left").and_then(|left| left.get("Var")).and_then(Value::as_str);
        let name = inner.get("attr").and_then(Value::as_str);
        let (Some(of), Some(name)) = (of, name) else { return };
        if of == CONTEXT {
            let Needs { values, presences, .. } = &mut self.needs;
            if only_asks { presences } else { values }.insert(name.to_owned());
        }
        let attribute = Attribute { of: of.to_owned(), name: name.to_owned() };
        if !self.at.contains(&attribute) {
            self.at.push(attribute);
        }
    }

    fn purpose(&mut self, text: Option<String>) {
        if let Some(text) = text.filter(|text| !text.is_empty() && !self.purposes.contains(text)) {
            self.purposes.push(text);
        }
    }
}

/// How often the context is named, for whatever reason.
fn uses_of_context(value: &Value) -> usize {
    match value {
        Value::Array(values) => values.iter().map(uses_of_context).sum(),
        Value::Object(map) => {
            let own = map.get("Var").and_then(Value::as_str) == Some(CONTEXT);
            usize::from(own) + map.values().map(uses_of_context).sum::<usize>()
        }
        _ => 0,
    }
}

/// How often it is named to get at an attribute of it.
fn attributes_of_context(value: &Value) -> usize {
    let is_context = |inner: &Value| {
        inner.get("attr").is_some_and(Value::is_string)
            && inner.get("left").and_then(|left| left.get("Var")).and_then(Value::as_str) == Some(CONTEXT)
    };
    match value {
        Value::Array(values) => values.iter().map(attributes_of_context).sum(),
        Value::Object(map) => {
            let own =
                map.iter().filter(|(name, inner)| [".", "has"].contains(&name.as_str()) && is_context(inner));
            own.count() + map.values().map(attributes_of_context).sum::<usize>()
        }
        _ => 0,
    }
}

fn is_purpose(side: Option<&Value>) -> bool {
    let attr = side.and_then(|side| side.get(".")?.get("attr"));
    attr.and_then(Value::as_str) == Some("purpose")
}

/// The texts of a pattern, one after the other.
fn literals(pattern: Option<&Value>) -> Option<String> {
    let parts = pattern?.as_array()?.iter();
    Some(parts.filter_map(|part| part.get("Literal")?.as_str()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn attributes_and_purposes_are_found_wherever_they_stand() {
        let text = r#"forbid (principal, action, resource)
            when { context has path && context.path like "*/x" && !(principal.purpose like "*deploy*") }
            unless { principal.purpose == "Release" || resource.name == context.path || 3 < context.hour };"#;
        let looks = Looks::of(&Policy::parse(None, text).unwrap()).unwrap();
        let at: Vec<String> = looks.at.iter().map(|one| format!("{}.{}", one.of, one.name)).collect();
        assert_eq!(at, ["context.path", "principal.purpose", "resource.name", "context.hour"]);
        assert_eq!(looks.purposes, ["deploy", "Release"]);
        let needs = |name: &str| (looks.needs.value(name), looks.needs.presence(name));
        assert_eq!(["path", "hour"].map(needs), [(true, true); 2]);
        assert_eq!(["place", "name"].map(needs), [(false, false); 2]);
        let plain = |text: &str| Looks::of(&Policy::parse(None, text).unwrap()).unwrap();
        // Not by its attributes: then nothing may be left out.
        for whole in
            ["context == {}", "[context].isEmpty()", "{ a: context }.a has path", "context has hour.x"]
        {
            let text =
                format!("forbid (principal, action, resource) when {{ context has hour && {whole} }};");
            assert!(plain(&text).needs.value("place"), "{whole}");
        }
        let one = plain("permit (principal, action, resource);");
        assert!(!one.needs.presence("hour"));
        let asks = plain(
            "forbid (principal, action, resource) when { context has words && context has verb && context.verb == \"x\" };",
        );
        assert!(!asks.needs.value("words") && asks.needs.presence("words") && asks.needs.value("verb"));
        assert_eq!((&one.at[..], &one.purposes[..]), (&[][..], &[][..]));
        assert_eq!(plain("// why\n@id(\"x\")\npermit(principal,action,resource);"), one);
        assert_ne!(plain("forbid (principal, action, resource);").digest, one.digest);
    }
}
