//! Turns what is not product code into spaces: comments, literals, test items. Bytes and lines keep their places.

/// Rust without comments and without what stands between quotes.
pub(crate) fn rust(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + skipped(bytes, at);
        if end == at {
            at += 1;
        } else {
            blank(&mut code, at, end);
            at = end;
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// The same code without the items under `#[cfg(test)]`.
pub(crate) fn tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = code.as_bytes().to_vec();
    let mut from = 0;
    while let Some(found) = code.get(from..).and_then(|rest| rest.find(MARK)) {
        let start = from + found;
        let end = start + MARK.len() + item_length(&code.as_bytes()[start + MARK.len()..]);
        blank(&mut kept, start, end);
        from = end;
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// How long the item is that begins here: to its `;`, or to the brace that closes its first one.
fn item_length(code: &[u8]) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The length of the comment or literal that begins at `at`, 0 if none does.
fn skipped(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let after_identifier = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest),
        [b'r', b'"' | b'#', ..] if !after_identifier => raw_string(&rest[1..]).map_or(0, |length| length + 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !after_identifier => {
            raw_string(&rest[2..]).map_or(0, |length| length + 2)
        }
        [b'\'', b'\\', ..] => 3 + rest.iter().skip(3).position(|&byte| byte == b'\'').unwrap_or(0) + 1,
        [b'\'', ..] => character(rest),
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// From after the `r`; `None` for a raw identifier.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(hashes) != Some(&b'"') {
        return None;
    }
    let end = [b"\"".as_slice(), &rest[..hashes]].concat();
    let body = &rest[hashes + 1..];
    let length = body.windows(end.len()).position(|window| window == end).unwrap_or(body.len());
    Some((hashes + 1 + length + end.len()).min(rest.len()))
}

/// A character between quotes, or 0 for a lifetime.
fn character(rest: &[u8]) -> usize {
    let width = match rest.get(1) {
        Some(0xf0..) => 4,
        Some(0xe0..) => 3,
        Some(0xc0..) => 2,
        _ => 1,
    };
    if rest.get(1 + width) == Some(&b'\'') { 2 + width } else { 0 }
}

fn blank(code: &mut [u8], start: usize, end: usize) {
    let end = end.min(code.len());
    for byte in &mut code[start..end] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

#[test]
fn comments_and_literals_become_spaces() {
    let text = "a // b\nc /* d /* e */ f */ g \"h\\\"i\" j r#\"k\"l\"# m 'n' o '\\'' p 'life q b\"r\" 'é' s";
    let code = rust(text);
    assert_eq!(code.len(), text.len());
    let left: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(left, ["a", "c", "g", "j", "m", "o", "p", "'life", "q", "b", "s"]);
}

#[test]
fn tests_become_spaces() {
    let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\nfn c() {}\n#[cfg(test)]\nmod tests;\nfn d() {}";
    let left: Vec<&str> =
        code.lines().zip(tests(code).leak().lines()).filter_map(|(a, b)| (a == b).then_some(a)).collect();
    assert_eq!(left, ["fn a() {}", "fn c() {}", "fn d() {}"]);
}
