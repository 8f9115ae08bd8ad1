//! Which attributes a policy's conditions look at, and which texts they compare them with.

use cedar_policy::Policy;
use serde_json::Value;

use super::super::canonical;

/// An attribute that a condition names: `context.place`, `principal.purpose`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attribute {
    /// `principal`, `resource` or `context`.
    pub(super) of: String,
    /// Its name.
    pub(super) name: String,
}

/// What a policy's conditions look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Looks {
    /// In the order of the text, each once.
    pub(super) at: Vec<Attribute>,
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
                        "." | "has" => self.attribute(inner),
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

    fn attribute(&mut self, inner: &Value) {
        let of = inner.get("left").and_then(|left| left.get("Var")).and_then(Value::as_str);
        let name = inner.get("attr").and_then(Value::as_str);
        let (Some(of), Some(name)) = (of, name) else { return };
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
        let plain = |text: &str| Looks::of(&Policy::parse(None, text).unwrap()).unwrap();
        let one = plain("permit (principal, action, resource);");
        assert_eq!((&one.at[..], &one.purposes[..]), (&[][..], &[][..]));
        assert_eq!(plain("// why\n@id(\"x\")\npermit(principal,action,resource);"), one);
        assert_ne!(plain("forbid (principal, action, resource);").digest, one.digest);
    }
}
