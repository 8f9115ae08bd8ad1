//! A walk over JSON text that `serde_json` has already accepted: what the gateway must see of a request's content
//! (images, files, cache marks) without building a tree of it and without touching a byte.
//!
//! Invariant: what cannot be read for certain counts as the worst. A key or kind written with escapes is not resolved
//! but taken for a file, so that no spelling makes a request look smaller than it is.

use std::borrow::Cow;

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
    /// Something that is billed at a rate of its own.
    pub(super) unpriced: Option<&'static str>,
    /// Cache marks.
    pub(super) cache: CacheWrites,
}

/// The kinds of content that are not text. A name that ends in `*` stands for all that begin like it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kinds {
    /// Members that say of what kind an object is.
    pub(super) tags: &'static [&'static str],
    /// Kinds that hold one image.
    pub(super) images: &'static [&'static str],
    /// The most tokens that one image is counted as.
    pub(super) image_tokens: u64,
    /// Kinds that stand for a tool's definition.
    pub(super) references: &'static [&'static str],
    /// Kinds that are left out of later prompts: the model's thinking.
    pub(super) fleeting: &'static [&'static str],
    /// Members that only what is left out of later prompts has.
    pub(super) fleeting_members: &'static [&'static str],
    /// Kinds that hold, or refer to, something of unknown size; what is an image is none of them.
    pub(super) opaque: &'static [&'static str],
    /// Kinds that are billed at a rate of their own, which no table has.
    pub(super) unpriced: &'static [&'static str],
    /// Members whose text names something that is.
    pub(super) unpriced_members: &'static [&'static str],
}

impl Kinds {
    /// Where everything is text.
    pub(super) const TEXT: Self = Self {
        tags: &["type"],
        images: &[],
        image_tokens: 0,
        references: &[],
        fleeting: &[],
        fleeting_members: &[],
        opaque: &[],
        unpriced: &[],
        unpriced_members: &[],
    };

    /// The kind by this text, spelled with escapes or not, that has no price.
    fn unpriced(&self, text: &[u8]) -> Option<&'static str> {
        if self.unpriced.is_empty() {
            return None;
        }
        let text = unescaped(text);
        self.unpriced.iter().find(|name| is(name, &text)).copied()
    }
}

/// Whether a text is what `name` stands for.
fn is(name: &str, text: &[u8]) -> bool {
    match name.strip_suffix('*') {
        Some(beginning) => text.starts_with(beginning.as_bytes()),
        None => name.as_bytes() == text,
    }
}

fn is_one_of(names: &[&str], text: &[u8]) -> bool {
    names.iter().any(|name| is(name, text))
}

/// The text that a raw string stands for.
fn unescaped(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map_or(Cow::Borrowed(raw), |text| Cow::Owned(text.into_bytes()))
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
            unpriced: self.unpriced.or(other.unpriced),
            cache: self.cache.max(other.cache),
        }
    }

    /// Adds what one more JSON value holds.
    pub(super) fn add(&mut self, json: &[u8], kinds: Kinds) {
        let mut key: Cow<'_, [u8]> = Cow::Borrowed(b"");
        for token in Tokens::of(json) {
            match token {
                Token::Key(name) => {
                    key = unescaped(name);
                    if name.contains(&b'\\') {
                        self.opaque = true;
                        self.cache = CacheWrites::Long;
                    } else if name == b"cache_control" {
                        self.cache = self.cache.max(CacheWrites::Short);
                    }
                    self.fleeting |= is_one_of(kinds.fleeting_members, &key);
                    continue;
                }
                Token::Text(_) if is_one_of(kinds.unpriced_members, &key) => {
                    let mut names = kinds.unpriced_members.iter();
                    self.unpriced = self.unpriced.or_else(|| names.find(|name| is(name, &key)).copied());
                }
                Token::Text(text) if is_one_of(kinds.tags, &key) => {
                    let is_image = is_one_of(kinds.images, text);
                    self.images += u64::from(is_image);
                    self.references += u64::from(is_one_of(kinds.references, text));
                    self.fleeting |= is_one_of(kinds.fleeting, text);
                    self.opaque |= (is_one_of(kinds.opaque, text) && !is_image) || text.contains(&b'\\');
                    self.unpriced = self.unpriced.or_else(|| kinds.unpriced(text));
                }
                Token::Text(text) if &*key == b"ttl" && text != b"5m" && self.cache != CacheWrites::None => {
                    self.cache = CacheWrites::Long;
                }
                _ => {}
            }
            key = Cow::Borrowed(b"");
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
        ..Kinds::TEXT
    };

    fn content(value: &Value) -> Content {
        let mut content = Content::default();
        content.add(value.to_string().as_bytes(), KINDS);
        content
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
    fn what_has_a_rate_of_its_own_is_seen_however_it_is_spelled() {
        const MEDIA: Kinds = Kinds {
            tags: &["mimeType", "mime_type"],
            images: &["image/*"],
            opaque: &["*"],
            unpriced: &["audio/*"],
            fleeting_members: &["thoughtSignature"],
            ..Kinds::TEXT
        };
        let content = |text: &str| {
            let mut content = Content::default();
            content.add(text.as_bytes(), MEDIA);
            content
        };
        for text in [
            r#"{"mimeType":"audio/wav"}"#,
            r#"{"a":[{"mime_type":"audio\/wav"}]}"#,
            r#"{"mime\u0054ype":"audi\u006f/wav"}"#,
        ] {
            assert_eq!(content(text).unpriced, Some("audio/*"), "{text}");
        }
        let image = content(r#"{"mimeType":"image/png","data":"aGk="}"#);
        assert_eq!(image, Content { images: 1, ..Content::default() });
        assert_eq!(content(r#"{"mimeType":"x/y"}"#), Content { opaque: true, ..Content::default() });
        assert_eq!(content(r#"{"thoughtSignature":"x"}"#), Content { fleeting: true, ..Content::default() });
        assert_eq!(content(r#"{"mimeType":{"type":"audio/wav"}}"#), Content::default());
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
