//! A walk over JSON text that `serde_json` has already accepted: what the gateway must see of a request's content
//! (images, files, cache marks) without building a tree of it and without touching a byte.
//!
//! Invariant: what cannot be read for certain counts as the worst. A key or kind written with escapes is not resolved
//! but taken for a file, so that no spelling makes a request look smaller than it is.

use memchr::memchr2;

/// One token. Strings are raw: without their quotes, escapes unresolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `{` or `[`.
    Open(u8),
    /// `}` or `]`.
    Close(u8),
    /// A member's name.
    Key(&'a [u8]),
    /// A string value.
    Text(&'a [u8]),
    /// A number, `true`, `false` or `null`.
    Scalar(&'a [u8]),
}

/// The tokens of one JSON value, which must be valid: of anything else, the walk only promises to end.
#[derive(Clone)]
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub(super) fn of(json: &'a [u8]) -> Self {
        Self { rest: json }
    }

    fn skip(&mut self, skipped: &[u8]) {
        let length = self.rest.iter().take_while(|byte| skipped.contains(byte)).count();
        self.rest = &self.rest[length..];
    }

    /// Consumes the next value whole and answers its text.
    pub(super) fn value(&mut self) -> &'a [u8] {
        self.skip(b" \t\r\n,:");
        let whole = self.rest;
        let mut depth = 0_usize;
        for token in self.by_ref() {
            match token {
                Token::Open(_) => depth += 1,
                Token::Close(_) => depth = depth.saturating_sub(1),
                Token::Key(_) => continue,
                Token::Text(_) | Token::Scalar(_) => {}
            }
            if depth == 0 {
                break;
            }
        }
        whole[..whole.len() - self.rest.len()].trim_ascii_end()
    }

    /// The string after its opening quote; its closing quote is consumed.
    fn string(&mut self) -> &'a [u8] {
        let whole = self.rest;
        let mut end = 0;
        while let Some(found) = memchr2(b'"', b'\\', &whole[end..]) {
            end += found;
            if whole[end] == b'"' {
                self.rest = &whole[end + 1..];
                return &whole[..end];
            }
            end = (end + 2).min(whole.len());
        }
        self.rest = &[];
        whole
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip(b" \t\r\n,:");
        let (&first, rest) = self.rest.split_first()?;
        match first {
            b'{' | b'[' => {
                self.rest = rest;
                Some(Token::Open(first))
            }
            b'}' | b']' => {
                self.rest = rest;
                Some(Token::Close(first))
            }
            b'"' => {
                self.rest = rest;
                let string = self.string();
                self.skip(b" \t\r\n");
                Some(if self.rest.first() == Some(&b':') { Token::Key(string) } else { Token::Text(string) })
            }
            _ => {
                let length = self.rest.iter().take_while(|byte| !b" \t\r\n,:{}[]\"".contains(byte)).count();
                let (scalar, rest) = self.rest.split_at(length.max(1));
                self.rest = rest;
                Some(Token::Scalar(scalar))
            }
        }
    }
}

/// The members of an object: raw names and the text of their values. Empty for anything else.
pub(super) fn members(json: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut tokens = Tokens::of(json);
    let mut found = Vec::new();
    if tokens.next() == Some(Token::Open(b'{')) {
        while let Some(Token::Key(name)) = tokens.next() {
            found.push((name, tokens.value()));
        }
    }
    found
}

/// The object with this member at its top set to a number, every other byte as it is. `None` if it is no object.
pub(super) fn with_number(json: &[u8], name: &str, number: u64) -> Option<Vec<u8>> {
    let number = number.to_string();
    let value =
        members(json).into_iter().find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value);
    let (range, with) = match value {
        Some(value) => {
            let start = value.as_ptr().addr().checked_sub(json.as_ptr().addr())?;
            (start..start + value.len(), number)
        }
        None => {
            let after = memchr::memchr(b'{', json)? + 1;
            let rest = json.get(after..)?.trim_ascii_start();
            let comma = if rest.starts_with(b"}") { "" } else { "," };
            (after..after, format!("\"{name}\":{number}{comma}"))
        }
    };
    Some([json.get(..range.start)?, with.as_bytes(), json.get(range.end..)?].concat())
}

/// The text of an array's elements; anything else is its own only element.
pub(super) fn elements(json: &[u8]) -> Vec<&[u8]> {
    let mut tokens = Tokens::of(json);
    if tokens.next() != Some(Token::Open(b'[')) {
        return vec![json];
    }
    let mut found = Vec::new();
    while !matches!(tokens.clone().next(), None | Some(Token::Close(_))) {
        found.push(tokens.value());
    }
    found
}

/// The `"type"` of an object whose first members are short, as events write it.
pub(super) fn kind(json: &[u8]) -> Option<&[u8]> {
    let mut tokens = Tokens::of(json);
    if tokens.next() != Some(Token::Open(b'{')) || tokens.next() != Some(Token::Key(b"type")) {
        return None;
    }
    match tokens.next() {
        Some(Token::Text(kind)) => Some(kind),
        _ => None,
    }
}

/// Whether a request asks for its prompt to be written to a cache, which costs more than plain input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CacheWrites {
    /// No.
    #[default]
    None,
    /// For minutes.
    Short,
    /// For an hour or more.
    Long,
}

/// What a request's content holds besides text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Images, each with a size limit of its own.
    pub(super) images: u64,
    /// Mentions of a tool that put its whole definition into the prompt.
    pub(super) references: u64,
    /// Something that the provider leaves out of the prompt once later content has made it stale.
    pub(super) fleeting: bool,
    /// Something whose tokens have nothing to do with its bytes: a file, a document, a reference.
    pub(super) opaque: bool,
    /// Cache marks.
    pub(super) cache: CacheWrites,
}

/// The kinds (`"type"`) of content that are not text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kinds {
    /// Kinds that hold one image.
    pub(super) images: &'static [&'static str],
    /// The most tokens that one image is counted as.
    pub(super) image_tokens: u64,
    /// Kinds that stand for a tool's definition.
    pub(super) references: &'static [&'static str],
    /// Kinds that are left out of later prompts: the model's thinking.
    pub(super) fleeting: &'static [&'static str],
    /// Kinds that hold, or refer to, something of unknown size.
    pub(super) opaque: &'static [&'static str],
}

impl Content {
    /// Both together.
    #[must_use]
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            images: self.images.saturating_add(other.images),
            references: self.references.saturating_add(other.references),
            fleeting: self.fleeting || other.fleeting,
            opaque: self.opaque || other.opaque,
            cache: self.cache.max(other.cache),
        }
    }

    /// Adds what one more JSON value holds.
    pub(super) fn add(&mut self, json: &[u8], kinds: Kinds) {
        let named = |names: &[&str], text: &[u8]| names.iter().any(|name| name.as_bytes() == text);
        let mut key: &[u8] = b"";
        for token in Tokens::of(json) {
            match token {
                Token::Key(name) => {
                    key = name;
                    if name.contains(&b'\\') {
                        self.opaque = true;
                        self.cache = CacheWrites::Long;
                    } else if name == b"cache_control" {
                        self.cache = self.cache.max(CacheWrites::Short);
                    }
                    continue;
                }
                Token::Text(text) if key == b"type" => {
                    self.images += u64::from(named(kinds.images, text));
                    self.references += u64::from(named(kinds.references, text));
                    self.fleeting |= named(kinds.fleeting, text);
                    self.opaque |= named(kinds.opaque, text) || text.contains(&b'\\');
                }
                Token::Text(text) if key == b"ttl" && text != b"5m" && self.cache != CacheWrites::None => {
                    self.cache = CacheWrites::Long;
                }
                _ => {}
            }
            key = b"";
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const KINDS: Kinds = Kinds {
        images: &["image"],
        image_tokens: 1000,
        references: &["tool_reference"],
        fleeting: &["thinking"],
        opaque: &["document"],
    };

    fn content(value: &Value) -> Content {
        let mut content = Content::default();
        content.add(value.to_string().as_bytes(), KINDS);
        content
    }

    #[test]
    fn a_number_is_set_and_nothing_else_changes() {
        let set =
            |json: &str| with_number(json.as_bytes(), "n", 7).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(
            set(r#" {"a":[{"n":1}], "n" : 12 ,"b":1.0}"#).unwrap(),
            r#" {"a":[{"n":1}], "n" : 7 ,"b":1.0}"#
        );
        assert_eq!(set(r#"{"a":1}"#).unwrap(), r#"{"n":7,"a":1}"#);
        assert_eq!(set(r#"{"n":null}"#).unwrap(), r#"{"n":7}"#);
        assert_eq!(set("{ }").unwrap(), r#"{"n":7 }"#);
        assert_eq!(set("[]"), None);
    }

    #[test]
    fn the_walk_tells_keys_from_texts() {
        let tokens: Vec<_> = Tokens::of(br#" {"a" : [1, -2.5e3,true],"b\"c":"d:\\"} "#).collect();
        assert_eq!(
            tokens,
            [
                Token::Open(b'{'),
                Token::Key(b"a"),
                Token::Open(b'['),
                Token::Scalar(b"1"),
                Token::Scalar(b"-2.5e3"),
                Token::Scalar(b"true"),
                Token::Close(b']'),
                Token::Key(br#"b\"c"#),
                Token::Text(br"d:\\"),
                Token::Close(b'}'),
            ]
        );
    }

    #[test]
    fn content_that_is_not_text_is_seen_at_any_depth() {
        let nested = json!([{"type": "tool_result", "content": [{"type": "image"}, {"type": "image"}]}]);
        assert_eq!(content(&nested), Content { images: 2, ..Content::default() });
        assert!(content(&json!({"content": [{"type": "document"}]})).opaque);
        assert!(content(&json!({"content": [{"type": "thinking"}]})).fleeting);
        assert_eq!(content(&json!([{"type": "tool_reference"}, {"type": "tool_reference"}])).references, 2);
        assert_eq!(content(&json!({"text": "\"type\": \"image\""})), Content::default());
        assert_eq!(content(&json!({"type": {"enum": ["image"]}})), Content::default());
    }

    #[test]
    fn a_spelling_with_escapes_counts_as_the_worst() {
        for text in [r#"{"ty\u0070e":"image"}"#, r#"{"type":"imag\u0065"}"#] {
            let mut content = Content::default();
            content.add(text.as_bytes(), KINDS);
            assert!(content.opaque, "{text}");
        }
    }

    #[test]
    fn cache_marks_are_told_apart() {
        let mark = |ttl: Value| content(&json!({"cache_control": {"type": "ephemeral", "ttl": ttl}})).cache;
        assert_eq!(content(&json!({"text": "cache_control"})).cache, CacheWrites::None);
        assert_eq!(content(&json!({"cache_control": {"type": "ephemeral"}})).cache, CacheWrites::Short);
        assert_eq!(mark(json!("5m")), CacheWrites::Short);
        assert_eq!(mark(json!("1h")), CacheWrites::Long);
    }

    #[test]
    fn members_and_elements_are_the_texts_of_their_values() {
        let json = br#" {"a" : [1,{"b":2}] ,"c":"d" , "e":-1e5,"f":{}} "#;
        let found: Vec<(&[u8], &[u8])> =
            vec![(b"a", br#"[1,{"b":2}]"#), (b"c", br#""d""#), (b"e", b"-1e5"), (b"f", b"{}")];
        assert_eq!(members(json), found);
        let parts: Vec<&[u8]> = vec![b"1", br#"{"b":2}"#, b"[]", br#""x""#];
        assert_eq!(elements(br#"[1, {"b":2},[] ,"x" ]"#), parts);
        assert_eq!(elements(br#""text""#), [br#""text""#]);
        assert_eq!(elements(b"[ ]"), [b""; 0]);
        assert_eq!(members(b"[1]"), []);
    }

    #[test]
    fn the_kind_is_what_stands_first() {
        assert_eq!(kind(br#"{"type":"ping"}"#), Some(b"ping".as_slice()));
        assert_eq!(kind(br#"{"a":1,"type":"ping"}"#), None);
        assert_eq!(kind(b"[DONE]"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Tokens::of(&bytes).count() <= bytes.len());
        }
    }
}
