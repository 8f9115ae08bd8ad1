//! What is about a person and is known by a sign in the text: e-mail addresses and telephone numbers.

use super::finding::{Finding, Kind};
use super::formats::is_glued;

/// The longest parts of an address before and after its sign.
const LOCAL_MAX: usize = 64;
const DOMAIN_MAX: usize = 253;

/// Domains that belong to nobody, and addresses of machines.
const NOBODYS: [&str; 9] = [
    "example.com",
    "example.org",
    "example.net",
    ".example",
    ".test",
    ".invalid",
    ".localhost",
    ".local",
    "users.noreply.github.com",
];
const MACHINES: [&str; 8] =
    ["git", "noreply", "no-reply", "donotreply", "do-not-reply", "hg", "svn", "mailer-daemon"];
/// Endings of files and units, of which `name@2x.png` and `getty@tty1.service` are made.
const NO_DOMAINS: [&str; 40] = [
    "png", "jpg", "jpeg", "gif", "svg", "webp", "avif", "ico", "js", "mjs", "cjs", "ts", "tsx", "jsx", "css",
    "scss", "html", "json", "yaml", "yml", "toml", "xml", "md", "txt", "rs", "py", "go", "java", "kt", "rb",
    "php", "sh", "service", "socket", "timer", "target", "slice", "mount", "lock", "map",
];

/// The address whose `@` is at `at`.
pub(super) fn email(text: &[u8], at: usize) -> Option<Finding> {
    let is_local = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    let before = text.get(..at)?.iter().rev().take(LOCAL_MAX + 1).take_while(|byte| is_local(byte)).count();
    let is_domain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let after = text.get(at + 1..)?.iter().take(DOMAIN_MAX).take_while(|byte| is_domain(byte)).count();
    let local = text.get(at - before..at)?;
    let mut domain = text.get(at + 1..at + 1 + after)?;
    while let Some((b'.' | b'-', rest)) = domain.split_last() {
        domain = rest;
    }
    let skipped = local.iter().take_while(|byte| !byte.is_ascii_alphanumeric()).count();
    let local = local.get(skipped..)?;
    if local.is_empty() || local.len() > LOCAL_MAX || local.ends_with(b".") {
        return None;
    }
    // What goes on after the host is the address of something else: `git@host:path`, `user@host/path`.
    let end = at + 1 + domain.len();
    if matches!(text.get(end), Some(b'/'))
        || (text.get(end) == Some(&b':') && (is_word(text.get(end + 1)) || text.get(end + 1) == Some(&b'/')))
    {
        return None;
    }
    let domain = std::str::from_utf8(domain).ok()?.to_ascii_lowercase();
    let local = std::str::from_utf8(local).ok()?.to_ascii_lowercase();
    let (name, top) = domain.rsplit_once('.')?;
    let is_top = (2..=24).contains(&top.len()) && top.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_real = is_top
        && !name.split('.').any(str::is_empty)
        && !NO_DOMAINS.contains(&top)
        && !NOBODYS.iter().any(|nobody| domain.ends_with(nobody))
        && !MACHINES.contains(&local.as_str());
    is_real.then(|| Finding::likely(Kind::Email, at - local.len()..end))
}

fn is_word(byte: Option<&u8>) -> bool {
    byte.is_some_and(u8::is_ascii_alphanumeric)
}

/// The country codes that are dialled, one to three digits.
const COUNTRIES: [&str; 62] = [
    "1", "7", "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47",
    "48", "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66",
    "81", "82", "84", "86", "90", "91", "92", "93", "94", "95", "98", "212", "213", "216", "234", "254",
    "351", "352", "353", "358", "370", "380", "420", "421", "852", "971", "972",
];

/// The international number whose `+` is at `at`.
pub(super) fn phone(text: &[u8], at: usize) -> Option<Finding> {
    let before = at.checked_sub(1).and_then(|at| text.get(at));
    if is_glued(text, at) || matches!(before, Some(b'+' | b')' | b'_')) {
        return None;
    }
    let rest = text.get(at + 1..)?;
    let number = spelt(rest)?;
    let digits: Vec<u8> = rest.get(..number)?.iter().copied().filter(u8::is_ascii_digit).collect();
    // In one piece at the beginning of a line it is what a patch adds.
    let is_added = number == digits.len() && before == Some(&b'\n');
    let known = COUNTRIES.iter().any(|code| digits.starts_with(code.as_bytes()));
    // Sums and offsets have fewer digits, and none to set them apart.
    let is_number = (9..=15).contains(&digits.len()) && known && !is_added && !is_word(rest.get(number));
    is_number.then(|| Finding::likely(Kind::Phone, at..at + 1 + number))
}

/// How many bytes of `rest` a number with single separators takes.
fn spelt(rest: &[u8]) -> Option<usize> {
    let mut end = 0;
    let mut gap = 0;
    for (index, byte) in rest.iter().take(24).enumerate() {
        match byte {
            b'0'..=b'9' => {
                end = index + 1;
                gap = 0;
            }
            b' ' | b'-' | b'.' | b'(' | b')' | b'/' if gap < 2 && index > 0 => gap += 1,
            _ => break,
        }
    }
    (end > 0).then_some(end)
}

/// The national number in the American manner at `at`, a digit or a parenthesis, where the text says that it is one.
pub(super) fn national_phone(text: &[u8], at: usize) -> Option<Finding> {
    let rest = text.get(at..)?;
    if !matches!(rest.get(3), Some(b'-' | b'.')) && rest.get(4) != Some(&b')') {
        return None;
    }
    let shape: Vec<u8> =
        rest.iter().take(14).map(|byte| if byte.is_ascii_digit() { b'9' } else { *byte }).collect();
    let shapes: [&[u8]; 4] = [b"(999) 999-9999", b"999-999-9999", b"999.999.9999", b"(999)999-9999"];
    let length = shapes.iter().find(|known| shape.starts_with(known))?.len();
    let digits: Vec<u8> = rest.get(..length)?.iter().copied().filter(u8::is_ascii_digit).collect();
    let begins = |at: usize| matches!(digits.get(at), Some(b'2'..=b'9'));
    // 555-01xx belongs to nobody.
    let is_fiction = digits.get(3..8) == Some(b"55501");
    if is_glued(text, at) || is_word(rest.get(length)) || !begins(0) || !begins(3) || is_fiction {
        return None;
    }
    let near = text.get(at.saturating_sub(24)..at)?.to_ascii_lowercase();
    let said = ["phone", "tel", "mobile", "cell", "call", "fax", "sms"];
    let is_said = said.iter().any(|word| memchr::memmem::find(&near, word.as_bytes()).is_some());
    is_said.then(|| Finding::likely(Kind::Phone, at..at + length))
}
