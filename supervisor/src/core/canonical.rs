//! Canonical JSON (RFC 8785, for values without fractions): the bytes that digests and the audit log are made of.
//!
//! Keys are sorted here, so that no feature of the JSON library can change a digest.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A value that has no canonical form.
#[derive(Debug, thiserror::Error)]
#[error("the value has no canonical JSON form: {0}")]
pub struct CanonicalError(#[from] serde_json::Error);

/// The canonical bytes of a serialisable value.
///
/// # Errors
/// When the value cannot be written as JSON at all (a map with keys that are not text).
pub fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value)?;
    let mut bytes = Vec::with_capacity(256);
    write(&value, &mut bytes)?;
    Ok(bytes)
}

/// SHA-256 over the canonical bytes.
///
/// # Errors
/// As [`to_bytes`].
pub fn digest<T: Serialize>(value: &T) -> Result<[u8; 32], CanonicalError> {
    Ok(Sha256::digest(to_bytes(value)?).into())
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // RFC 8785 sorts by UTF-16 code units, which differs from the order of Rust strings beyond the BMP.
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| match a.is_ascii() && b.is_ascii() {
                true => a.cmp(b),
                false => a.encode_utf16().cmp(b.encode_utf16()),
            });
            out.push(b'{');
            for (index, (key, item)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                write(item, out)?;
            }
            out.push(b'}');
        }
        scalar => serde_json::to_writer(out, scalar)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_and_space_is_gone() {
        let value = json!({"b": [1, {"z": null, "a": "\u{7f}\n\u{1}é"}], "a": true, "ｚ": 1, "😀": 2});
        let text = String::from_utf8(to_bytes(&value).unwrap()).unwrap();
        // The emoji's first UTF-16 unit (0xd83d) sorts before U+FF5A.
        assert_eq!(text, "{\"a\":true,\"b\":[1,{\"a\":\"\u{7f}\\n\\u0001é\",\"z\":null}],\"😀\":2,\"ｚ\":1}");
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_keys() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":2}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{ "b": 2, "a": 1 }"#).unwrap();
        assert_eq!(digest(&one).unwrap(), digest(&two).unwrap());
    }
}
