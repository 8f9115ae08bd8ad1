//! Changes to a request body that leave every other byte as it is: a provider's prompt cache goes by bytes, and nobody
//! else's JSON is written anew here.
//!
//! Invariant: a splice touches one value, or adds one member; what it is given is JSON that was read already.

use std::ops::Range;

use bytes::Bytes;

use super::scan;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Splice {
    /// What goes; empty where something is only added.
    at: Range<usize>,
    /// What comes in its place.
    with: String,
}

impl Splice {
    /// Gives a member of `object` this value, whether it has the member or not. `object` is a part of `body`; none if
    /// it is not, or is no object.
    pub(super) fn set(body: &[u8], object: &[u8], name: &str, value: &str) -> Option<Self> {
        let start = offset(body, object)?;
        let member = scan::members(object).into_iter().find(|(found, _)| *found == name.as_bytes());
        if let Some((_, old)) = member {
            let from = offset(body, old)?;
            return Some(Self { at: from..from + old.len(), with: value.to_owned() });
        }
        let open = start + object.iter().position(|byte| *byte == b'{')? + 1;
        let comma = if scan::members(object).is_empty() { "" } else { "," };
        Some(Self { at: open..open, with: format!("\"{name}\":{value}{comma}") })
    }
}

/// The body with all changes, which must not overlap.
pub(super) fn apply(body: Bytes, splices: &[Splice]) -> Bytes {
    if splices.is_empty() {
        return body;
    }
    let mut ordered: Vec<&Splice> = splices.iter().collect();
    ordered.sort_by_key(|splice| splice.at.start);
    let more: usize = splices.iter().map(|splice| splice.with.len()).sum();
    let mut changed = Vec::with_capacity(body.len() + more);
    let mut done = 0;
    for splice in ordered {
        changed.extend_from_slice(body.get(done..splice.at.start).unwrap_or_default());
        changed.extend_from_slice(splice.with.as_bytes());
        done = splice.at.end.max(done);
    }
    changed.extend_from_slice(body.get(done..).unwrap_or_default());
    changed.into()
}

/// Where in `whole` a part of it begins.
fn offset(whole: &[u8], part: &[u8]) -> Option<usize> {
    let offset = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    (offset.checked_add(part.len())? <= whole.len()).then_some(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(body: &str, name: &str, value: &str) -> String {
        let splice = Splice::set(body.as_bytes(), body.as_bytes(), name, value).unwrap();
        String::from_utf8(apply(Bytes::copy_from_slice(body.as_bytes()), &[splice]).to_vec()).unwrap()
    }

    #[test]
    fn one_member_changes_and_no_other_byte() {
        assert_eq!(set(r#" { "a" : 1 }"#, "b", "[2]"), r#" {"b":[2], "a" : 1 }"#);
        assert_eq!(set(r#"{ "a" : 1 , "b":{"a":1}}"#, "a", "null"), r#"{ "a" : null , "b":{"a":1}}"#);
        assert_eq!(set("{ }", "a", "1"), r#"{"a":1 }"#);
        assert_eq!(
            set(r#" {"a":[{"n":1}], "n" : 12 ,"b":1.0}"#, "n", "7"),
            r#" {"a":[{"n":1}], "n" : 7 ,"b":1.0}"#
        );
        assert_eq!(set(r#"{"n":null}"#, "n", "7"), r#"{"n":7}"#);
        assert_eq!(set(r#"{"a":"x\"}"}"#, "a", "1"), r#"{"a":1}"#);
    }

    #[test]
    fn several_changes_go_together() {
        let body = r#"{"a":{"x":false},"b":2}"#.as_bytes();
        let inner = &body[5..16];
        let splices = [
            Splice::set(body, body, "b", "3").unwrap(),
            Splice::set(body, body, "c", "4").unwrap(),
            Splice::set(body, inner, "x", "true").unwrap(),
            Splice::set(body, inner, "y", "0").unwrap(),
        ];
        let whole = apply(Bytes::copy_from_slice(body), &splices);
        assert_eq!(whole, &br#"{"c":4,"a":{"y":0,"x":true},"b":3}"#[..]);
        assert_eq!(apply(Bytes::from_static(b"as it is"), &[]), "as it is");
    }

    #[test]
    fn what_is_no_part_of_the_body_is_not_changed() {
        assert_eq!(Splice::set(b"{}", b"{}".to_vec().as_slice(), "a", "1"), None);
        assert_eq!(Splice::set(b"[]", b"[]", "a", "1"), None);
    }
}
