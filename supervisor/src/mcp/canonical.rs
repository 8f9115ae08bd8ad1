//! The canonical form of JSON values, for digests: members sorted by name, no spacing, one spelling for each string.
//!
//! Numbers keep their spelling: a digest that an approval is bound to must not be shared by two arguments that a
//! server could read differently, and reading a number into binary floating point would do just that. Must not
//! accept an object that has a name twice: servers differ in which one they take.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::wire::{WireError, fold, quote, string};

/// Deeper values are refused; no real tool takes such arguments.
const DEPTH_MAX: usize = 64;

/// SHA-256 over the canonical form of `text`, which must be valid JSON.
pub(super) fn digest(text: &str) -> Result<[u8; 32], WireError> {
    Ok(Sha256::digest(canonical(text)?.as_bytes()).into())
}

/// The canonical form of `text`.
pub(super) fn canonical(text: &str) -> Result<String, WireError> {
    // One check of the whole syntax lets the walk below trust every byte.
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| WireError::Syntax(error.to_string()))?;
    let mut walk = Walk { text: raw.get(), at: 0 };
    let mut out = String::with_capacity(text.len());
    walk.value(&mut out, 0)?;
    Ok(out)
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Walk<'a> {
    fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or(b' ')
    }

    /// Whether the next byte was `byte`, which is then consumed.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, out: &mut String, depth: usize) -> Result<(), WireError> {
        if depth > DEPTH_MAX {
            return Err(WireError::Syntax(format!("nested deeper than {DEPTH_MAX} levels")));
        }
        match self.peek() {
            b'{' => self.object(out, depth),
            b'[' => self.array(out, depth),
            b'"' => {
                let raw = self.literal();
                // A lone surrogate has no other spelling than its escape.
                match string(raw) {
                    Some(text) => out.push_str(&quote(&text)),
                    None => out.push_str(raw),
                }
                Ok(())
            }
            _ => {
                out.push_str(self.word());
                Ok(())
            }
        }
    }

    fn object(&mut self, out: &mut String, depth: usize) -> Result<(), WireError> {
        self.at += 1;
        let mut members: BTreeMap<String, (String, String)> = BTreeMap::new();
        while !self.take(b'}') && self.at < self.text.len() {
            self.peek();
            let raw = self.literal();
            let key = string(raw).ok_or_else(|| WireError::Syntax("a name that is not Unicode".into()))?;
            self.take(b':');
            let mut value = String::new();
            self.value(&mut value, depth + 1)?;
            self.take(b',');
            if members.insert(fold(&key), (key.clone().into_owned(), value)).is_some() {
                return Err(WireError::Ambiguous(key.into_owned()));
            }
        }
        let mut sorted: Vec<_> = members.into_values().collect();
        sorted.sort();
        for (index, (key, value)) in sorted.iter().enumerate() {
            let comma = if index == 0 { '{' } else { ',' };
            // Writing to a String cannot fail.
            let _ = write!(out, "{comma}{}:{value}", quote(key));
        }
        out.push_str(if sorted.is_empty() { "{}" } else { "}" });
        Ok(())
    }

    fn array(&mut self, out: &mut String, depth: usize) -> Result<(), WireError> {
        self.at += 1;
        out.push('[');
        let mut first = true;
        while !self.take(b']') && self.at < self.text.len() {
            if !first {
                out.push(',');
            }
            first = false;
            self.value(out, depth + 1)?;
            self.take(b',');
        }
        out.push(']');
        Ok(())
    }

    /// The string literal that begins here, quotes included.
    fn literal(&mut self) -> &'a str {
        let start = self.at;
        let bytes = self.text.as_bytes();
        self.at += 1;
        while let Some(byte) = bytes.get(self.at) {
            self.at += if *byte == b'\\' { 2 } else { 1 };
            if *byte == b'"' {
                break;
            }
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// The number, `true`, `false` or `null` that begins here.
    fn word(&mut self) -> &'a str {
        let start = self.at;
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(|byte| !b",]} \t\r\n".contains(byte)) {
            self.at += 1;
        }
        self.text.get(start..self.at).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spacing_order_and_escapes_do_not_count_and_numbers_keep_their_spelling() {
        let text = " { \"b\" : [ 1.0 , -0, 1E3 ,{}, [] ] ,\n\"a\":\"\\u0041\\/\u{e9}\", \"c\": null }";
        assert_eq!(canonical(text).unwrap(), "{\"a\":\"A/\u{e9}\",\"b\":[1.0,-0,1E3,{},[]],\"c\":null}");
    }

    #[test]
    fn what_two_servers_could_read_differently_is_refused() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"x":[{"a":1,"\u0061":2}]}"#, r#"{"path":1,"Path":2}"#] {
            assert!(matches!(canonical(text), Err(WireError::Ambiguous(_))), "{text}");
        }
        assert!(matches!(canonical(&"[".repeat(100)), Err(WireError::Syntax(_))));
        let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
        assert!(matches!(canonical(&deep), Err(WireError::Syntax(_))));
        assert!(canonical(r#"{"\ud800":1}"#).is_err());
        assert_eq!(canonical(r#"["\ud800"]"#).unwrap(), r#"["\ud800"]"#);
    }

    #[test]
    fn numbers_that_differ_only_beyond_binary_precision_differ_in_digest() {
        assert_ne!(digest("9007199254740993.0").unwrap(), digest("9007199254740992.0").unwrap());
        assert_eq!(digest("{ }").unwrap(), digest("{}").unwrap());
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map("[a-z\"\\\\ ]{0,4}", inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_canonical_form_means_the_same_and_is_its_own_canonical_form(value in json()) {
            let pretty = canonical(&serde_json::to_string_pretty(&value).unwrap()).unwrap();
            prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&pretty).unwrap(), &value);
            prop_assert_eq!(&canonical(&pretty).unwrap(), &pretty);
            prop_assert_eq!(&canonical(&value.to_string()).unwrap(), &pretty);
        }

        #[test]
        fn no_text_makes_it_loop_or_overrun(text in ".{0,64}") {
            let _ = canonical(&text);
        }
    }
}
