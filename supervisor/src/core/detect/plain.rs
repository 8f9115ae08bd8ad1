//! One look over a text as it stands: every sign that something could begin with, found at once, and what is there.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::assigned::{self, NAMES};
use super::finding::{Finding, Kind};
use super::formats::FORMATS;
use super::{numbers, personal};

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Everything.
    Whole,
    /// Only what is known by its form: in text that was put together here, neighbours mean nothing.
    Forms,
}

/// What a sign announces.
enum Sign {
    Format(usize),
    Jwt,
    PrivateKey,
    Connection,
    Authorization,
    Name,
    Email,
    Phone,
}

/// So many findings of one kind are told of one text.
const PER_KIND: usize = 64;

/// The signs beside those of [`FORMATS`] and [`NAMES`].
const OTHERS: [&str; 7] = ["eyJ", "-----BEGIN ", "://", "bearer ", "basic ", "@", "+"];

/// All of them in one machine; without it (it cannot fail to be built from constants) nothing is said to be known.
static SIGNS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let formats = FORMATS.iter().map(|format| format.prefix);
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(AhoCorasickKind::DFA))
        .build(formats.chain(OTHERS).chain(NAMES))
        .ok()
});

fn sign(index: usize) -> Sign {
    match index.checked_sub(FORMATS.len()) {
        None => Sign::Format(index),
        Some(0) => Sign::Jwt,
        Some(1) => Sign::PrivateKey,
        Some(2) => Sign::Connection,
        Some(3 | 4) => Sign::Authorization,
        Some(5) => Sign::Email,
        Some(6) => Sign::Phone,
        Some(_) => Sign::Name,
    }
}

/// Adds what is in `text`. Answers of which kinds there is more than was added; none if it could not be looked at.
pub(super) fn find(text: &[u8], depth: Depth, found: &mut Vec<Finding>) -> Option<Vec<Kind>> {
    let signs = SIGNS.as_ref()?;
    let mut counts = [0_usize; Kind::ALL.len()];
    let mut add = |finding: Option<Finding>| {
        let Some(finding) = finding else { return };
        let count = &mut counts[finding.kind as usize];
        *count += 1;
        if *count <= PER_KIND {
            found.push(finding);
        }
    };
    for hit in signs.find_overlapping_iter(text) {
        let (start, end) = (hit.start(), hit.end());
        let sign = sign(hit.pattern().as_usize());
        let is_form = matches!(sign, Sign::Format(_) | Sign::Jwt | Sign::PrivateKey);
        if depth == Depth::Forms && !is_form {
            continue;
        }
        add(match sign {
            Sign::Format(index) => FORMATS.get(index).and_then(|format| format.find(text, start)),
            Sign::Jwt => assigned::jwt(text, start),
            Sign::PrivateKey => assigned::private_key(text, start),
            Sign::Connection => assigned::connection(text, start),
            Sign::Authorization => assigned::authorization(text, end),
            Sign::Name => assigned::value(text, start..end),
            Sign::Email => personal::email(text, start),
            Sign::Phone => personal::phone(text, start),
        });
    }
    if depth == Depth::Whole {
        digits(text, &mut add);
    }
    Some(Kind::ALL.into_iter().filter(|kind| counts[*kind as usize] > PER_KIND).collect())
}

/// Everything that has a digit in it where a word begins.
fn digits(text: &[u8], add: &mut impl FnMut(Option<Finding>)) {
    let mut at = 0;
    while let Some(offset) = text.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)) {
        let start = at + offset;
        // Two letters before the first digit begin an account, six a tax code.
        if let Some(before) = start.checked_sub(2) {
            add(numbers::iban(text, before));
        }
        if let Some(before) = start.checked_sub(6) {
            add(numbers::italian(text, before));
        }
        let open = start - usize::from(start.checked_sub(1).and_then(|at| text.get(at)) == Some(&b'('));
        add(personal::national_phone(text, open));
        let (number, end) = numbers::run(text, start);
        add(number);
        at = end;
    }
}
