//! The keys that detach, found in what the user types without holding anything else up.
//!
//! The default is Ctrl-\ followed by `d`: no agent uses Ctrl-\, which a terminal in line mode takes for "quit". Typed
//! twice, the first key reaches the agent once. Terminals that report keys in longer forms (kitty's protocol, xterm's
//! `modifyOtherKeys`) are understood; pasted text never detaches.
//!
//! While something waits for the user, `a` instead of the last of the keys opens it.

use std::str::FromStr;

/// Nobody remembers more.
const KEYS_MAX: usize = 8;

const PASTE_BEGIN: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";

/// Why a text names no detach keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no detach keys (as in `ctrl-\\,d` or `ctrl-p,ctrl-q`)")]
pub struct KeysError {
    text: String,
}

/// A sequence of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<Key>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    character: char,
    control: Control,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    No,
    Yes,
}

impl Default for DetachKeys {
    fn default() -> Self {
        Self(vec![
            Key { character: '\\', control: Control::Yes },
            Key { character: 'd', control: Control::No },
        ])
    }
}

impl FromStr for DetachKeys {
    type Err = KeysError;

    /// Keys separated by commas; each a character or `ctrl-` and a character.
    fn from_str(text: &str) -> Result<Self, KeysError> {
        let key = |word: &str| {
            let (control, name) = match word.strip_prefix("ctrl-") {
                Some(name) => (Control::Yes, name),
                None => (Control::No, word),
            };
            let mut characters = name.chars();
            let (Some(character), None) = (characters.next(), characters.next()) else {
                return None;
            };
            let fits = match control {
                Control::Yes => matches!(character, 'a'..='z' | '@' | '[' | '\\' | ']' | '^' | '_'),
                Control::No => character.is_ascii_graphic(),
            };
            fits.then_some(Key { character, control })
        };
        let keys: Option<Vec<Key>> = text.split(',').map(key).collect();
        keys.filter(|keys| keys.len() <= KEYS_MAX)
            .map(Self)
            .ok_or_else(|| KeysError { text: text.to_owned() })
    }
}

/// What opens what waits, instead of the last key.
const ANSWER: Key = Key { character: 'a', control: Control::No };

impl DetachKeys {
    /// The keys that open what waits, as people read them; none if the detach keys leave no room for others.
    pub(super) fn answer_keys(&self) -> Option<String> {
        let (last, before) = self.0.split_last()?;
        if before.is_empty() || *last == ANSWER {
            return None;
        }
        let names = before.iter().chain([&ANSWER]).map(|key| match key.control {
            Control::Yes => format!("Ctrl-{}", key.character),
            Control::No => key.character.to_string(),
        });
        Some(names.collect::<Vec<_>>().join(" "))
    }
}

/// What the user has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detaching {
    No,
    Yes,
    /// Not to leave, but to answer what waits.
    Answer,
}

/// Takes the detach keys out of what is typed.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    keys: &'a [Key],
    matched: usize,
    held: Vec<u8>,
    pasting: bool,
    /// Whether there is something to answer.
    pub(super) answers: bool,
}

/// One thing typed: its bytes and, if it is one, the key.
struct Typed {
    length: usize,
    key: Option<Key>,
    released: bool,
}

impl<'a> Filter<'a> {
    pub(super) fn new(keys: &'a DetachKeys) -> Self {
        Self { keys: &keys.0, matched: 0, held: Vec::new(), pasting: false, answers: false }
    }

    /// What is to be forwarded of `bytes` and of what was held back before.
    pub(super) fn push(&mut self, bytes: &[u8]) -> (Vec<u8>, Detaching) {
        let mut forward = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let typed = if self.pasting { pasted(rest) } else { first(rest) };
            let (now, later) = rest.split_at(typed.length);
            rest = later;
            match now {
                PASTE_BEGIN => self.pasting = true,
                PASTE_END => self.pasting = false,
                _ => {}
            }
            if typed.released && self.matched > 0 {
                self.held.extend_from_slice(now);
            } else if typed.key.is_some() && typed.key == self.keys.get(self.matched).copied() {
                self.held.extend_from_slice(now);
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.held.clear();
                    self.matched = 0;
                    return (forward, Detaching::Yes);
                }
            } else if self.answers
                && self.matched > 0
                && self.matched + 1 == self.keys.len()
                && typed.key == Some(ANSWER)
            {
                self.held.clear();
                self.matched = 0;
                return (forward, Detaching::Answer);
            } else {
                let again = self.matched > 0 && typed.key == self.keys.first().copied();
                forward.append(&mut self.held);
                self.matched = 0;
                if !again {
                    forward.extend_from_slice(now);
                }
            }
        }
        (forward, Detaching::No)
    }
}

/// In a paste only its end matters.
fn pasted(bytes: &[u8]) -> Typed {
    let length = if bytes.starts_with(PASTE_END) {
        PASTE_END.len()
    } else {
        memchr::memchr(0x1b, &bytes[1..]).map_or(bytes.len(), |at| at + 1)
    };
    Typed { length, key: None, released: false }
}

fn first(bytes: &[u8]) -> Typed {
    if let Some(body) = bytes.strip_prefix(b"\x1b[")
        && let Some(end) = body.iter().position(|byte| (0x40..=0x7e).contains(byte))
    {
        let (key, released) = long_form(&body[..end], body[end]);
        return Typed { length: 2 + end + 1, key, released };
    }
    let key = match bytes[0] {
        byte @ 0x00..=0x1f => {
            Some(Key { character: char::from(byte + 0x40).to_ascii_lowercase(), control: Control::Yes })
        }
        byte @ 0x21..=0x7e => Some(Key { character: char::from(byte), control: Control::No }),
        _ => None,
    };
    Typed { length: 1, key, released: false }
}

/// `code:…;modifiers:event;… u` (kitty) and `27;modifiers;code ~` (xterm).
fn long_form(body: &[u8], last: u8) -> (Option<Key>, bool) {
    let fields: Vec<Vec<Option<u32>>> = body
        .split(|byte| *byte == b';')
        .map(|field| field.split(|byte| *byte == b':').map(number).collect())
        .collect();
    let at =
        |field: usize, part: usize| fields.get(field).and_then(|field| field.get(part)).copied().flatten();
    let (code, modifiers, event) = match last {
        b'u' => (at(0, 0), at(1, 0), at(1, 1)),
        b'~' if at(0, 0) == Some(27) => (at(2, 0), at(1, 0), None),
        _ => return (None, false),
    };
    // Beyond shift, alt, control, super, hyper and meta there are only the locks, which do not count.
    let control = match modifiers.unwrap_or(1).saturating_sub(1) & 0b11_1111 {
        0 => Control::No,
        0b100 => Control::Yes,
        _ => return (None, event == Some(3)),
    };
    let character = code.and_then(char::from_u32);
    let key = character.map(|character| Key { character, control });
    match event {
        Some(3) => (None, true),
        _ => (key, false),
    }
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(pieces: &[&[u8]]) -> (Vec<u8>, Detaching) {
        let keys = DetachKeys::default();
        let mut filter = Filter::new(&keys);
        let mut forwarded = Vec::new();
        for piece in pieces {
            let (forward, detaching) = filter.push(piece);
            forwarded.extend(forward);
            if detaching != Detaching::No {
                return (forwarded, detaching);
            }
        }
        (forwarded, Detaching::No)
    }

    #[test]
    fn the_sequence_detaches_in_every_form_a_terminal_reports_it() {
        for form in [
            &b"ab\x1cd"[..],
            b"ab\x1b[92;5ud",
            b"ab\x1b[92;5u\x1b[92;5:3u\x1b[100u",
            b"ab\x1b[92;69:1u\x1b[100;65:1u",
            b"ab\x1b[27;5;92~d",
        ] {
            assert_eq!(typed(&[form]), (b"ab".to_vec(), Detaching::Yes), "{form:?}");
        }
        assert_eq!(typed(&[b"x\x1c", b"dy"]), (b"x".to_vec(), Detaching::Yes));
    }

    #[test]
    fn a_first_key_without_the_second_reaches_the_agent() {
        assert_eq!(typed(&[b"\x1c", b"x"]), (b"\x1cx".to_vec(), Detaching::No));
        assert_eq!(typed(&[b"\x1b[92;5u", b"\x1b[92;5:3u", b"x"]).0, b"\x1b[92;5u\x1b[92;5:3ux");
    }

    #[test]
    fn the_first_key_twice_reaches_the_agent_once() {
        assert_eq!(typed(&[b"\x1c\x1cd"]), (b"\x1cd".to_vec(), Detaching::No));
    }

    #[test]
    fn the_answer_key_is_one_only_while_something_waits() {
        assert_eq!(typed(&[b"x\x1ca"]), (b"x\x1ca".to_vec(), Detaching::No));
        let keys = DetachKeys::default();
        let mut filter = Filter::new(&keys);
        filter.answers = true;
        assert_eq!(filter.push(b"x\x1ca"), (b"x".to_vec(), Detaching::Answer));
        assert_eq!(filter.push(b"a\x1b[92;5u\x1b[97u"), (b"a".to_vec(), Detaching::Answer));
        assert_eq!(filter.push(b"\x1b[200~\x1ca\x1b[201~").1, Detaching::No);
        assert_eq!(filter.push(b"\x1cd"), (Vec::new(), Detaching::Yes));
        let names = |keys: &str| keys.parse::<DetachKeys>().unwrap().answer_keys();
        assert_eq!(names("ctrl-\\,d").as_deref(), Some("Ctrl-\\ a"));
        assert_eq!(names("ctrl-p,ctrl-q").as_deref(), Some("Ctrl-p a"));
        assert_eq!((names("ctrl-q"), names("ctrl-b,a")), (None, None));
    }

    #[test]
    fn pasted_keys_do_not_detach() {
        let paste = b"\x1b[200~a\x1cd\x1b[31m\x1b[201~";
        assert_eq!(typed(&[paste]), (paste.to_vec(), Detaching::No));
        assert_eq!(typed(&[paste, b"\x1cd"]), (paste.to_vec(), Detaching::Yes));
    }

    #[test]
    fn other_keys_can_be_named_and_nonsense_is_refused() {
        assert_eq!("ctrl-\\,d".parse(), Ok(DetachKeys::default()));
        let docker: DetachKeys = "ctrl-p,ctrl-q".parse().unwrap();
        let mut filter = Filter::new(&docker);
        assert_eq!(filter.push(b"q\x10\x11"), (b"q".to_vec(), Detaching::Yes));
        for text in ["", "ctrl-", "ctrl-ä", "ab", "a,,b", "a,b,c,d,e,f,g,h,i"] {
            assert_eq!(text.parse::<DetachKeys>(), Err(KeysError { text: text.to_owned() }));
        }
    }

    proptest! {
        #[test]
        fn whatever_does_not_detach_passes_untouched(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter(
                "not the first key", |byte| *byte != 0x1c), 0..20), 0..20),
        ) {
            let keys = DetachKeys::default();
            let mut filter = Filter::new(&keys);
            let mut forwarded = Vec::new();
            for piece in &pieces {
                let (forward, detaching) = filter.push(piece);
                prop_assert_eq!(detaching, Detaching::No);
                forwarded.extend(forward);
            }
            prop_assert_eq!(forwarded, pieces.concat());
        }
    }
}
