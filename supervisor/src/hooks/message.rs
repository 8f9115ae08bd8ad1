//! Reading what hooks post.

use std::borrow::Cow;

use serde_json::Value;

/// A message. Clients that cut long texts can cut a character in half: what is left of it is read as unknown.
pub(super) fn read(body: &[u8]) -> Option<Value> {
    match serde_json::from_slice(body) {
        Ok(message) => Some(message),
        Err(_) => serde_json::from_slice(&mended(body)).ok(),
    }
}

/// The text with halves of surrogate pairs replaced.
fn mended(text: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Vec<u8> = Vec::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        at += found;
        let step = match unit(text, at) {
            Some(0xD800..=0xDBFF) if matches!(unit(text, at + 6), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => {
                out.extend_from_slice(text.get(copied..at).unwrap_or_default());
                out.extend_from_slice(b"\\ufffd");
                copied = at + 6;
                6
            }
            _ => 2,
        };
        at += step;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(text.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

/// What an escape of the form `\uXXXX` at this place stands for.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn half_a_character_is_no_reason_to_read_nothing() {
        for (text, expected) in [
            (r#""a\ud83d""#, "a\u{fffd}"),
            (r#""\ude00b""#, "\u{fffd}b"),
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""\ud83d\ud83d\ude00\ud83d x""#, "\u{fffd}\u{1f600}\u{fffd} x"),
            (r#""\\ud83d \ud83d""#, "\\ud83d \u{fffd}"),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text}");
        }
        for text in ["", "{", r#""\ud83""#, r#""\"#, r#"{"a":1} b"#] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
