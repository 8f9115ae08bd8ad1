//! Anchors: what the provider has counted for a run's earlier prompts, so that the next prompt, which mostly repeats
//! them, is bounded tightly: the exact count of the earlier prompt plus one token for each byte that it did not have.
//!
//! Invariants: an anchor serves only the run, model, settings and feature headers it was measured under; a part counts
//! as repeated as often as the earlier prompt had it; a cache mark may move, and its bytes are counted as new. What a
//! provider leaves out once it is stale (thinking) counts as repeated only if nothing that made it stale is gone: where
//! the new prompt has all of the earlier one, in its order. Memory is bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::call::{self, Call};
use super::scan::{Content, Token, Tokens};
use crate::core::ids::RunId;

use http::HeaderMap;

/// Anchors kept for all runs together, and how many of a run's latest are tried.
const KEPT: usize = 256;
const TRIED: usize = 8;

type Digest = [u8; 32];

/// A prompt taken apart into what can be recognised again.
#[derive(Debug, Clone)]
pub(super) struct Prompt {
    key: Digest,
    parts: Vec<Part>,
    settings: Content,
    marks: u64,
}

/// One part of a prompt.
#[derive(Debug, Clone, Copy)]
struct Part {
    digest: Digest,
    bytes: u64,
    content: Content,
}

/// The size of what an earlier prompt did not have, beside that prompt's exact count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anchored {
    /// Tokens of the earlier prompt.
    pub(super) counted: u64,
    /// Bytes that are new.
    pub(super) bytes: u64,
    /// What is new besides text.
    pub(super) content: Content,
}

impl Anchored {
    /// A prompt that was counted as a whole.
    pub(super) fn counted(tokens: u64) -> Self {
        Self { counted: tokens, bytes: 0, content: Content::default() }
    }
}

impl Prompt {
    /// Takes a call's prompt apart.
    pub(super) fn of(run: RunId, provider: &str, call: &Call<'_>, headers: &HeaderMap) -> Self {
        let mut key = Sha256::new();
        for text in [run.to_string().as_bytes(), provider.as_bytes(), call.model.as_bytes()] {
            feed(&mut key, b'k', text);
        }
        for (name, value) in headers.iter().filter(|(name, _)| switches_features(name.as_str())) {
            feed(&mut key, b'h', name.as_str().as_bytes());
            feed(&mut key, b'h', value.as_bytes());
        }
        let mut settings = Content::default();
        for (name, value) in &call.settings {
            feed(&mut key, b'k', name);
            feed_value(&mut key, value);
            settings.add(value, call.kinds);
        }
        let mut marks = 0;
        let mut part = |part: &call::Part<'_>| {
            let json = part.json;
            let mut digest = Sha256::new();
            marks += feed_value(&mut digest, json);
            let mut content = Content { opaque: part.is_reference, ..Content::default() };
            content.add(json, call.kinds);
            Part { digest: digest.finalize().into(), bytes: json.len() as u64 + 1, content }
        };
        let parts = call.parts.iter().map(&mut part).collect();
        Self { key: key.finalize().into(), parts, settings, marks }
    }

    /// What all of it holds besides text.
    pub(super) fn content(&self) -> Content {
        self.parts.iter().fold(self.settings, |sum, part| sum.with(part.content))
    }
}

/// Whether a header may change how a prompt is counted.
fn switches_features(header: &str) -> bool {
    header.ends_with("-beta") || header.ends_with("-version")
}

fn feed(hash: &mut Sha256, tag: u8, text: &[u8]) {
    hash.update([tag]);
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

/// Feeds a value without its cache marks, and answers how many bytes those had.
fn feed_value(hash: &mut Sha256, json: &[u8]) -> u64 {
    let mut tokens = Tokens::of(json);
    let mut marks = 0;
    while let Some(token) = tokens.next() {
        match token {
            Token::Key(b"cache_control") => marks += tokens.value().len() as u64,
            Token::Key(name) => feed(hash, b'k', name),
            Token::Text(text) => feed(hash, b't', text),
            Token::Scalar(scalar) => feed(hash, b's', scalar),
            Token::Open(bracket) | Token::Close(bracket) => hash.update([bracket]),
        }
    }
    marks
}

struct Anchor {
    key: Digest,
    parts: Vec<Digest>,
    times: HashMap<Digest, u32>,
    counted: u64,
}

/// The anchors of all runs, latest first.
#[derive(Default)]
pub(super) struct Anchors {
    known: Mutex<VecDeque<Anchor>>,
}

impl Anchors {
    /// Keeps what the provider counted for a prompt.
    pub(super) fn remember(&self, prompt: &Prompt, counted: u64) {
        let parts: Vec<Digest> = prompt.parts.iter().map(|part| part.digest).collect();
        let mut times = HashMap::with_capacity(parts.len());
        for part in &parts {
            *times.entry(*part).or_insert(0) += 1;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.push_front(Anchor { key: prompt.key, parts, times, counted });
        known.truncate(KEPT);
    }

    /// The tightest measure of a prompt by an earlier one of the same run, model and settings.
    pub(super) fn measure(&self, prompt: &Prompt) -> Option<Anchored> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let same = known.iter().filter(|anchor| anchor.key == prompt.key).take(TRIED);
        same.map(|anchor| anchor.measure(prompt)).min_by_key(|anchored| {
            (
                anchored.content.opaque,
                anchored.content.images,
                anchored.content.references,
                anchored.counted.saturating_add(anchored.bytes),
            )
        })
    }
}

impl Anchor {
    fn measure(&self, prompt: &Prompt) -> Anchored {
        let mut left = self.times.clone();
        let mut measured =
            Anchored { counted: self.counted, bytes: prompt.marks, content: Content::default() };
        let all_is_left = self.is_all_in(prompt);
        for part in &prompt.parts {
            match left.get_mut(&part.digest) {
                Some(times) if *times > 0 && (all_is_left || !part.content.fleeting) => *times -= 1,
                _ => {
                    measured.bytes = measured.bytes.saturating_add(part.bytes);
                    measured.content = measured.content.with(part.content);
                }
            }
        }
        measured
    }

    /// Whether the prompt has every part of the earlier one, in its order.
    fn is_all_in(&self, prompt: &Prompt) -> bool {
        let mut now = prompt.parts.iter();
        self.parts.iter().all(|before| now.any(|part| part.digest == *before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::scan::Kinds;

    const KINDS: Kinds = Kinds {
        images: &["image"],
        image_tokens: 1000,
        references: &["tool_reference"],
        fleeting: &["thinking"],
        opaque: &["document"],
        ..Kinds::TEXT
    };

    fn run(seed: u8) -> RunId {
        RunId::from_parts(1, [seed; 10])
    }

    fn call<'a>(parts: &[&'a str], settings: &[(&'a str, &'a str)]) -> Call<'a> {
        Call {
            parts: parts.iter().map(|part| call::Part::of(part.as_bytes())).collect(),
            settings: settings.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect(),
            ..Call::of("m".into(), KINDS)
        }
    }

    fn prompt(parts: &[&str]) -> Prompt {
        of(run(1), "p", &call(parts, &[]))
    }

    fn of(run: RunId, provider: &str, call: &Call<'_>) -> Prompt {
        Prompt::of(run, provider, call, &HeaderMap::new())
    }

    fn measured(before: &[&str], now: &[&str]) -> Option<(u64, u64, u64)> {
        let anchors = Anchors::default();
        anchors.remember(&prompt(before), 1000);
        anchors.measure(&prompt(now)).map(|a| (a.counted, a.bytes, a.content.images))
    }

    #[test]
    fn only_what_is_new_counts_by_the_byte() {
        assert_eq!(measured(&[r#""a""#, r#""b""#], &[r#""a""#, r#""b""#]), Some((1000, 0, 0)));
        assert_eq!(measured(&[r#""a""#], &[r#""a""#, r#""new""#]), Some((1000, 6, 0)));
        assert_eq!(measured(&[r#""a""#, r#""b""#], &[r#""b""#]), Some((1000, 0, 0)));
        // as often as the earlier prompt had it, and no more
        assert_eq!(measured(&[r#""a""#], &[r#""a""#, r#""a""#, r#""a""#]), Some((1000, 8, 0)));
        assert_eq!(
            measured(&[r#"{"type":"image"}"#], &[r#"{"type":"image"}"#, r#"{"type": "image"}"#]),
            Some((1000, 18, 1))
        );
    }

    #[test]
    fn a_cache_mark_may_move_but_its_bytes_count() {
        let marked = r#"{"text":"a","cache_control":{"type":"ephemeral"}}"#;
        assert_eq!(measured(&[r#"{"text":"a"}"#], &[marked]), Some((1000, 20, 0)));
        let stuffed = format!(r#"{{"text":"a","cache_control":"{}"}}"#, "x".repeat(5000));
        assert_eq!(measured(&[marked], &[&stuffed]), Some((1000, 5002, 0)));
    }

    #[test]
    fn an_anchor_serves_only_its_run_model_and_settings() {
        let anchors = Anchors::default();
        anchors.remember(&prompt(&["1"]), 10);
        assert!(anchors.measure(&prompt(&["1"])).is_some());
        assert!(anchors.measure(&of(run(2), "p", &call(&["1"], &[]))).is_none());
        assert!(anchors.measure(&of(run(1), "q", &call(&["1"], &[]))).is_none());
        assert!(anchors.measure(&of(run(1), "p", &call(&["1"], &[("thinking", "{}")]))).is_none());
        let with = |name: &'static str| {
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), "1".parse().unwrap())]);
            anchors.measure(&Prompt::of(run(1), "p", &call(&["1"], &[]), &headers)).is_some()
        };
        assert!(with("x-request-id"));
        assert!(!with("anthropic-beta"));
    }

    /// A provider leaves an earlier turn's thinking out; a prompt that goes back to that turn has it again.
    #[test]
    fn thinking_is_not_repeated_once_something_is_gone() {
        let thinking = format!(r#"{{"type":"thinking","signature":"{}"}}"#, "x".repeat(5000));
        let (thinking, bytes) = (thinking.as_str(), thinking.len() as u64 + 1);
        let (question, result) = (r#""question""#, r#""result""#);
        // added to, in whatever place: stale things stay stale
        assert_eq!(
            measured(&[thinking, result, question], &[thinking, result, question, "1"]),
            Some((1000, 2, 0))
        );
        assert_eq!(measured(&[thinking, question, "1"], &["2", thinking, question, "1"]), Some((1000, 2, 0)));
        // rewound, and reordered
        assert_eq!(measured(&[thinking, result, question], &[thinking, result]), Some((1000, bytes, 0)));
        assert_eq!(measured(&[thinking, question], &[question, thinking]), Some((1000, bytes, 0)));
    }

    #[test]
    fn the_tightest_of_the_latest_is_taken_and_memory_is_bounded() {
        let anchors = Anchors::default();
        anchors.remember(&prompt(&["1", "2"]), 10);
        anchors.remember(&prompt(&["1"]), 50);
        let measured = anchors.measure(&prompt(&["1", "2"])).unwrap();
        assert_eq!((measured.counted, measured.bytes), (10, 0));
        for _ in 0..2 * KEPT {
            anchors.remember(&prompt(&["1"]), 10);
        }
        assert_eq!(anchors.known.lock().unwrap().len(), KEPT);
    }

    #[test]
    fn bytes_are_split_unambiguously() {
        let digest = |json: &str| prompt(&[json]).parts[0].digest;
        assert_ne!(digest(r#"["a","b"]"#), digest(r#"["ab"]"#));
        assert_ne!(digest("[1,2]"), digest("[12]"));
        assert_ne!(digest(r#"["1"]"#), digest("[1]"));
        assert_eq!(digest(r#"{ "a" : [ 1 ] }"#), digest(r#"{"a":[1]}"#));
    }
}
