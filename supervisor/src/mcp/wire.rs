//! JSON-RPC as text: which bytes of a message are which member, and how to exchange some of them.
//!
//! Owns: the borrowed view of an object, the envelope of a message, splicing. Invariant: what is not exchanged stays
//! byte for byte as it came, unknown members, order, spacing and number spelling included. A member that two readers
//! could understand differently (twice there, or there in another case, which Go's decoder takes for the same) is
//! refused where we act upon it. Must not: build a message out of typed parts of somebody else's message.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Why a text is not a message that we pass on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// Not JSON, or not a JSON object.
    #[error("not a JSON object: {0}")]
    Syntax(String),
    /// Several messages in one array.
    #[error("batches are not supported; send one message per request")]
    Batch,
    /// Two readers could see different values.
    #[error("ambiguous member `{0}`: present twice or in another case")]
    Ambiguous(String),
    /// Not JSON-RPC 2.0.
    #[error("not a JSON-RPC 2.0 message: {0}")]
    Shape(&'static str),
}

/// A JSON object, its members borrowed from the text in their order.
pub(super) struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Object<'a> {
    /// Reads one object; the members' values stay text.
    pub(super) fn parse(text: &'a str) -> Result<Self, WireError> {
        let members: Members<'a> =
            serde_json::from_str(text).map_err(|error| WireError::Syntax(error.to_string()))?;
        Ok(Self { members: members.0 })
    }

    /// The text of a member's value; the first if it is there twice.
    pub(super) fn member(&self, key: &str) -> Option<&'a str> {
        self.members.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// A member that is a string.
    pub(super) fn string(&self, key: &str) -> Option<Cow<'a, str>> {
        self.member(key).and_then(string)
    }

    /// Every member.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// Refuses members that another reader could take for one of `keys`.
    pub(super) fn require_clear(&self, keys: &[&str]) -> Result<(), WireError> {
        for key in keys {
            let folded = fold(key);
            let mut alike = self.members.iter().filter(|(name, _)| fold(name) == folded);
            match (alike.next(), alike.next()) {
                (None, _) => {}
                (Some((name, _)), None) if name == key => {}
                (Some(_), _) => return Err(WireError::Ambiguous((*key).to_owned())),
            }
        }
        Ok(())
    }
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((key, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    members.push((key.0, value.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Walk)
    }
}

#[derive(Deserialize, Serialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The value of a JSON string literal.
pub(super) fn string(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.starts_with('"') {
        return None;
    }
    serde_json::from_str::<Text<'_>>(raw).ok().map(|text| text.0)
}

/// The elements of a JSON array, as text.
pub(super) fn elements(raw: &str) -> Result<Vec<&str>, WireError> {
    let list: Vec<&RawValue> =
        serde_json::from_str(raw).map_err(|error| WireError::Syntax(error.to_string()))?;
    Ok(list.into_iter().map(RawValue::get).collect())
}

/// A text as a JSON string literal.
pub(super) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// One spelling for all that a case-insensitive reader takes for the same name; covers the two letters outside ASCII
/// that fold into it.
pub(super) fn fold(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// The envelope of one message.
pub(super) struct Message<'a> {
    /// The whole text.
    pub(super) text: &'a str,
    /// The id as it is spelt.
    pub(super) id: Option<&'a str>,
    /// Set on requests and notifications.
    pub(super) method: Option<Cow<'a, str>>,
    /// The parameters' text.
    pub(super) params: Option<&'a str>,
    /// A response's result.
    pub(super) result: Option<&'a str>,
    /// A response's error.
    pub(super) error: Option<&'a str>,
}

impl<'a> Message<'a> {
    /// Reads the envelope of one message.
    pub(super) fn parse(text: &'a str) -> Result<Self, WireError> {
        if text.trim_start().starts_with('[') {
            return Err(WireError::Batch);
        }
        let object = Object::parse(text)?;
        object.require_clear(&["jsonrpc", "id", "method", "params", "result", "error"])?;
        if object.string("jsonrpc").as_deref() != Some("2.0") {
            return Err(WireError::Shape("`jsonrpc` is not \"2.0\""));
        }
        let id = object.member("id");
        let method = match object.member("method") {
            Some(raw) => Some(string(raw).ok_or(WireError::Shape("`method` is not a string"))?),
            None => None,
        };
        let (result, error) = (object.member("result"), object.member("error"));
        if method.is_none() && result.is_none() && error.is_none() {
            return Err(WireError::Shape("neither a request nor a response"));
        }
        // An error response to something unreadable may carry a null id; a request may not.
        let is_fine = |raw: &str| is_id(raw) || (method.is_none() && raw == "null");
        if !id.is_none_or(is_fine) {
            return Err(WireError::Shape("`id` is neither a string nor a number"));
        }
        Ok(Self { text, id, method, params: object.member("params"), result, error })
    }

    /// The message with some of its bytes exchanged.
    pub(super) fn splice(&self, edits: &[Edit<'_>]) -> String {
        splice(self.text, edits)
    }
}

fn is_id(raw: &str) -> bool {
    raw.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

/// Put `with` where `what`, a part of the text, stands.
pub(super) struct Edit<'a> {
    /// Borrowed from the text.
    pub(super) what: &'a str,
    /// What comes in its place.
    pub(super) with: &'a str,
}

/// `text` with every edit made. Parts that do not lie in `text`, or overlap, are left alone.
pub(super) fn splice(text: &str, edits: &[Edit<'_>]) -> String {
    let mut spans: Vec<(Range<usize>, &str)> =
        edits.iter().filter_map(|edit| Some((span(text, edit.what)?, edit.with))).collect();
    spans.sort_by_key(|(range, _)| range.start);
    let added: usize = edits.iter().map(|edit| edit.with.len()).sum();
    let mut out = String::with_capacity(text.len() + added);
    let mut at = 0;
    for (range, with) in spans {
        if let Some(kept) = text.get(at..range.start) {
            out.push_str(kept);
            out.push_str(with);
            at = range.end;
        }
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

fn span(text: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= text.len()).then_some(start..end)
}

/// The message on one line, as stdio servers read it. A raw line break in JSON can only be spacing.
pub(super) fn one_line(mut text: String) -> String {
    if text.contains(['\n', '\r']) {
        text = text.replace(['\n', '\r'], " ");
    }
    text
}

/// A response with a result that is already JSON.
pub(super) fn response(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// A response with an error; `id` is `null` where the request's is unknown.
pub(super) fn error(id: &str, code: i32, message: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{}}}}}"#, quote(message))
}

/// A tool result that tells the model why the tool did not run.
pub(super) fn tool_error(id: &str, text: &str) -> String {
    response(id, &format!(r#"{{"content":[{{"type":"text","text":{}}}],"isError":true}}"#, quote(text)))
}

/// JSON-RPC's code for text that is not JSON.
pub(super) const PARSE_ERROR: i32 = -32700;
/// JSON-RPC's code for something that is no request.
pub(super) const INVALID_REQUEST: i32 = -32600;
/// JSON-RPC's code for a method that is not served.
pub(super) const METHOD_NOT_FOUND: i32 = -32601;
/// JSON-RPC's code for unusable parameters.
pub(super) const INVALID_PARAMS: i32 = -32602;

#[cfg(test)]
mod tests;
