//! The same text as others would read it: escapes undone, pieces put together, encodings decoded.
//!
//! Invariant: a view is at most as long as what it was made of, and each of its ranges leads back to the bytes of the
//! source that it was made of, escape sequences whole.

use std::ops::Range;

/// A text made of another one.
pub(super) struct View {
    pub(super) bytes: Vec<u8>,
    map: Map,
}

enum Map {
    /// All of it comes from this range, inseparably.
    Whole(Range<usize>),
    /// Piece by piece, in order.
    Pieces(Vec<Piece>),
}

/// From `out` of the view on, the bytes are those from `at` of the source on; or, of a unit, made of so many there.
#[derive(Clone, Copy)]
struct Piece {
    out: usize,
    at: usize,
    unit: usize,
}

impl View {
    /// The range of the source that a range of the view was made of.
    pub(super) fn source(&self, range: &Range<usize>) -> Range<usize> {
        match &self.map {
            Map::Whole(whole) => whole.clone(),
            Map::Pieces(pieces) => {
                let piece = |out: usize| {
                    let index = pieces.partition_point(|piece| piece.out <= out).saturating_sub(1);
                    pieces.get(index).copied().unwrap_or(Piece { out: 0, at: 0, unit: 0 })
                };
                let (first, last) = (piece(range.start), piece(range.end.saturating_sub(1)));
                let start = if first.unit > 0 { first.at } else { first.at + (range.start - first.out) };
                let end = if last.unit > 0 { last.at + last.unit } else { last.at + (range.end - last.out) };
                start..end
            }
        }
    }
}

/// Puts a view together.
struct Making<'a> {
    source: &'a [u8],
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    /// Up to where the source was taken.
    taken: usize,
}

impl<'a> Making<'a> {
    fn of(source: &'a [u8]) -> Self {
        Self { source, bytes: Vec::new(), pieces: Vec::new(), taken: 0 }
    }

    /// Takes what is before `at` as it is, and this in place of the next `unit` bytes.
    fn put(&mut self, at: usize, unit: usize, with: &[u8]) {
        self.keep(at);
        if !with.is_empty() {
            self.pieces.push(Piece { out: self.bytes.len(), at, unit });
            self.bytes.extend_from_slice(with);
        }
        self.taken = at + unit;
    }

    fn keep(&mut self, to: usize) {
        if let Some(kept) = self.source.get(self.taken..to).filter(|kept| !kept.is_empty()) {
            self.pieces.push(Piece { out: self.bytes.len(), at: self.taken, unit: 0 });
            self.bytes.extend_from_slice(kept);
        }
    }

    /// None if it is the source.
    fn done(mut self) -> Option<View> {
        if self.taken == 0 {
            return None;
        }
        self.keep(self.source.len());
        Some(View { bytes: self.bytes, map: Map::Pieces(self.pieces) })
    }
}

/// The text of JSON with the escapes of its strings undone, and nothing else.
pub(super) fn json(source: &[u8]) -> Option<View> {
    let mut making = Making::of(source);
    let mut at = 0;
    while let Some(offset) = source.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        at += offset;
        let (unit, character) = backslash(source.get(at..).unwrap_or_default()).unwrap_or((1, Some('\\')));
        let mut buffer = [0; 4];
        making.put(
            at,
            unit,
            character.map_or(&[][..], |character| character.encode_utf8(&mut buffer).as_bytes()),
        );
        at += unit;
    }
    making.done()
}

/// The text with every escape undone that programs and addresses know, invisible characters left out and wide ones narrow.
pub(super) fn unescaped(source: &[u8]) -> Option<View> {
    let mut making = Making::of(source);
    let mut at = 0;
    while let Some(byte) = source.get(at) {
        let rest = source.get(at..).unwrap_or_default();
        let unit = match byte {
            b'\\' => backslash(rest),
            b'%' => hex(rest, 1, 2).map(|byte| (3, char::from_u32(byte).filter(char::is_ascii))),
            0xC2..=0xF4 => wide(rest),
            _ => None,
        };
        let Some((unit, character)) = unit else {
            at += 1;
            continue;
        };
        let mut buffer = [0; 4];
        making.put(
            at,
            unit,
            character.map_or(&[][..], |character| character.encode_utf8(&mut buffer).as_bytes()),
        );
        at += unit;
    }
    making.done()
}

/// How long the escape is that `rest` begins with, and what it stands for; no character if for nothing.
fn backslash(rest: &[u8]) -> Option<(usize, Option<char>)> {
    let simple = |character| Some((2, Some(character)));
    match rest.get(1)? {
        b'n' => simple('\n'),
        b'r' => simple('\r'),
        b't' => simple('\t'),
        b'b' | b'f' | b'v' | b'0' => simple(' '),
        sign @ (b'"' | b'\'' | b'`' | b'/' | b'\\') => simple(char::from(*sign)),
        b'\n' => Some((2, None)),
        b'x' => Some((4, char::from_u32(hex(rest, 2, 2)?))),
        b'u' if rest.get(2) == Some(&b'{') => {
            let digits = rest.iter().skip(3).take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
            let is_closed = rest.get(3 + digits) == Some(&b'}');
            is_closed.then_some(())?;
            Some((4 + digits, char::from_u32(hex(rest, 3, digits)?)))
        }
        b'u' => {
            let unit = hex(rest, 2, 4)?;
            // Half of a pair stands for nothing that a key is made of.
            Some((6, char::from_u32(unit)))
        }
        _ => None,
    }
}

fn hex(rest: &[u8], from: usize, digits: usize) -> Option<u32> {
    let text = std::str::from_utf8(rest.get(from..from + digits)?).ok()?;
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(text, 16).ok())?
}

/// Characters outside ASCII that are seen as nothing, or as one of ASCII's.
fn wide(rest: &[u8]) -> Option<(usize, Option<char>)> {
    let length = match rest.first()? {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        _ => 4,
    };
    let character = std::str::from_utf8(rest.get(..length)?).ok()?.chars().next()?;
    match u32::from(character) {
        0xAD
        | 0x180E
        | 0x200B..=0x200F
        | 0x2060..=0x2064
        | 0xFEFF
        | 0xFE00..=0xFE0F
        | 0xE_0000..=0xE_01EF => Some((length, None)),
        code @ 0xFF01..=0xFF5E => Some((length, char::from_u32(code - 0xFF01 + 0x21))),
        _ => None,
    }
}

/// The text with its neighbouring string literals put together: `"a" + "b"`, `"a", "b"`, `'a''b'`.
pub(super) fn joined(source: &[u8]) -> Option<View> {
    let mut making = Making::of(source);
    let mut at = 0;
    while let Some(offset) = source.get(at..).and_then(|rest| memchr::memchr3(b'"', b'\'', b'`', rest)) {
        at += offset;
        match gap(source.get(at..).unwrap_or_default()) {
            Some(unit) => {
                making.put(at, unit, &[]);
                at += unit;
            }
            None => at += 1,
        }
    }
    making.done()
}

/// How long what stands between two literals is, if `rest` begins with one's end and goes on with another.
fn gap(rest: &[u8]) -> Option<usize> {
    let space = |from: usize| {
        let rest = rest.get(from..).unwrap_or_default();
        from + rest.iter().take(40).take_while(|byte| byte.is_ascii_whitespace() || **byte == b'\\').count()
    };
    let mut at = space(1);
    let signs = rest.get(at..)?;
    let sign = ["||", "..", "++", "<>", "<<", "+", ".", "&", ",", "~"]
        .iter()
        .find(|sign| signs.starts_with(sign.as_bytes()));
    at = space(at + sign.map_or(0, |sign| sign.len()));
    // A literal may say what it is: `b"…"`, `f'…'`.
    if at > 1 && matches!(rest.get(at), Some(b'b' | b'f' | b'r' | b'u' | b'$' | b'@')) {
        at += 1;
    }
    matches!(rest.get(at), Some(b'"' | b'\'' | b'`')).then_some(at + 1)
}

/// The shortest runs that are decoded: the shortest key has twenty bytes, a card's number thirteen.
const BASE64_MIN: usize = 18;
const HEX_MIN: usize = 26;
/// Runs that may be more than the encoded text are tried at every alignment if they are no longer.
const ALIGNED_MAX: usize = 600;
/// The shortest line of an encoding that is broken into lines.
const LINE_MIN: usize = 60;

/// What a byte can be a part of.
const BASE64: u8 = 1;
const SPACED_HEX: u8 = 2;
const CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte: u8 = 0;
    loop {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_') {
            table[byte as usize] |= BASE64;
        }
        if byte.is_ascii_hexdigit() || matches!(byte, b' ' | b':' | b'\n') {
            table[byte as usize] |= SPACED_HEX;
        }
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    table
};

const fn is_of(class: u8, byte: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

/// Where the next run of a class begins that has at least so many bytes. Most text is passed over without a look: where
/// a run were too short, it ends at the last byte that does not belong to it.
fn next_run(source: &[u8], from: usize, class: u8, least: usize) -> Option<usize> {
    let mut at = from;
    // Up to here all is known to belong.
    let mut known = at;
    while let Some(stretch) = source.get(at..at + least) {
        let unknown = stretch.get(known - at..).unwrap_or_default();
        match unknown.iter().rposition(|byte| !is_of(class, *byte)) {
            None => return Some(at),
            Some(last) => {
                let next = known + last + 1;
                (at, known) = (next, (at + least).max(next));
            }
        }
    }
    None
}

/// Everything in it that is base64 or hexadecimal of a text. `is_cut` if it may begin in the middle of a run.
pub(super) fn decoded(source: &[u8], is_cut: bool, mut each: impl FnMut(View)) {
    let mut at = 0;
    // Most words are shorter.
    while let Some(start) = next_run(source, at, BASE64, BASE64_MIN) {
        let end = run_end(source, start);
        let run = source.get(start..end).unwrap_or_default();
        at = end + 1;
        let alignments = if run.len() <= ALIGNED_MAX || (is_cut && start == 0) { 4 } else { 1 };
        if hex_in(run, start, &mut each) {
            continue;
        }
        // What is encoded has letters in both cases; most words have not.
        let is_mixed = run.iter().any(u8::is_ascii_uppercase) && run.iter().any(u8::is_ascii_lowercase);
        for skipped in (0..alignments).filter(|_| is_mixed) {
            if let Some(bytes) = from_base64(run.get(skipped..).unwrap_or_default()) {
                each(View { bytes, map: Map::Whole(start..end) });
                break;
            }
        }
    }
    spaced_hex(source, &mut each);
}

/// Hands over what in a run is hexadecimal of a text, if something is.
fn hex_in(run: &[u8], start: usize, each: &mut impl FnMut(View)) -> bool {
    let mut is_any = false;
    let mut at = start;
    for part in run.split(|byte| !byte.is_ascii_hexdigit() && !byte.is_ascii_whitespace()) {
        if part.len() >= HEX_MIN {
            let bytes = from_hex(part);
            if is_text(&bytes) {
                is_any = true;
                each(View { bytes, map: Map::Whole(at..at + part.len()) });
            }
        }
        at += part.len() + 1;
    }
    is_any
}

const fn is_base64(byte: u8) -> bool {
    is_of(BASE64, byte)
}

/// Where the run that begins at `start` ends, line breaks between long lines included.
fn run_end(source: &[u8], start: usize) -> usize {
    let mut line = start;
    loop {
        let rest = source.get(line..).unwrap_or_default();
        let end = line + rest.iter().take_while(|byte| is_base64(**byte)).count();
        let breaks = source
            .get(end..)
            .unwrap_or_default()
            .iter()
            .take(2)
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        let goes_on = source.get(end + breaks).is_some_and(|byte| is_base64(*byte));
        if end - line < LINE_MIN || breaks == 0 || !goes_on {
            return end;
        }
        line = end + breaks;
    }
}

/// The text that it is of, if it is of one. Both alphabets, line breaks passed over; a rest that makes no byte is left
/// out.
fn from_base64(run: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(run.len() * 3 / 4 + 1);
    let (mut held, mut bits, mut odd) = (0_u32, 0_u32, 0_usize);
    for byte in run {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => continue,
        };
        held = (held << 6 | u32::from(value)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            let byte = (held >> bits & 0xFF) as u8;
            odd += usize::from(is_odd(byte));
            // More than the whole of it may have: most of what is no text shows at its beginning.
            if odd * 10 > run.len() {
                return None;
            }
            bytes.push(byte);
        }
    }
    is_text(&bytes).then_some(bytes)
}

fn from_hex(run: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> =
        run.iter().filter_map(|byte| char::from(*byte).to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Pairs of hexadecimal digits with one sign between them: `41 4b 49`, `41:4b:49`.
fn spaced_hex(source: &[u8], each: &mut impl FnMut(View)) {
    let mut from = 0;
    while let Some(start) = next_run(source, from, SPACED_HEX, HEX_MIN + 1) {
        let rest = source.get(start..).unwrap_or_default();
        let length = rest.iter().position(|byte| !is_of(SPACED_HEX, *byte)).unwrap_or(rest.len());
        pairs(rest.get(..length).unwrap_or_default(), start, each);
        from = start + length;
    }
}

/// As [`spaced_hex`], in a run of digits and signs that begins at `start`.
fn pairs(run: &[u8], start: usize, each: &mut impl FnMut(View)) {
    let is_pair = |at: usize| run.get(at..at + 2).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
    let is_sign = |at: usize| matches!(run.get(at), Some(b' ' | b':' | b'\n'));
    let mut at = 0;
    while at + HEX_MIN < run.len() {
        let mut end = at;
        while is_pair(end) && is_sign(end + 2) {
            end += 3;
        }
        let end = if is_pair(end) { end + 2 } else { end };
        if end > at + HEX_MIN {
            let bytes = from_hex(run.get(at..end).unwrap_or_default());
            if is_text(&bytes) {
                each(View { bytes, map: Map::Whole(start + at..start + end) });
            }
        }
        at = end.max(at + 1);
    }
}

const fn is_odd(byte: u8) -> bool {
    !byte.is_ascii_graphic() && !byte.is_ascii_whitespace()
}

/// Whether nearly all of it can be read.
fn is_text(bytes: &[u8]) -> bool {
    let odd = bytes.iter().filter(|byte| is_odd(**byte)).count();
    bytes.len() >= 12 && odd * 10 <= bytes.len()
}
