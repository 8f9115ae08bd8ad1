//! Secrets without a form of their own, known by what stands before them: a name such as `password`, an address with a
//! user, an authorisation header, the first line of a private key.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::entropy::{bits, is_made_up, is_random};
use super::finding::{Finding, Kind};
use super::formats::is_glued;

/// Ends of names whose values are secrets, in lower case.
pub(super) const NAMES: [&str; 29] = [
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "_pass",
    "_pwd",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "accesskey",
    "access_key",
    "access-key",
    "privatekey",
    "private_key",
    "authkey",
    "auth_key",
    "secretkey",
    "secret_key",
    "secret-key",
    "private-key",
    "auth-key",
    "signing_key",
    "encryption_key",
    "account_key",
    "credential",
    "credentials",
];
/// The longest value that is looked at, in bytes.
const VALUE_MAX: usize = 512;

/// The value that is given to the name which ends at `name.end`.
pub(super) fn value(text: &[u8], name: Range<usize>) -> Option<Finding> {
    let range = assigned(text, name.end, is_option(text, name.start))?;
    let value = text.get(range.clone())?;
    let is_bare = !matches!(text.get(range.end), Some(b'"' | b'\'' | b'`' | b'<'))
        || !matches!(text.get(range.start.checked_sub(1)?), Some(b'"' | b'\'' | b'`' | b'>'));
    let named = text.get(name.start.saturating_sub(24)..name.end)?.to_ascii_lowercase();
    if !is_secret(value, is_bare) || (named.ends_with(b"token") && is_uuid(value)) {
        return None;
    }
    let is_aws = value.len() == 40 && memchr::memmem::find(&named, b"aws").is_some();
    let kind = if is_aws { Kind::AwsKey } else { Kind::Credential };
    Some(Finding::likely(kind, range))
}

/// Whether the name is an option of a command, whose value comes after a space.
fn is_option(text: &[u8], start: usize) -> bool {
    let word = text.get(start.saturating_sub(24)..start).unwrap_or_default();
    let back = word.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    text.get(start - back..start).is_some_and(|word| word.starts_with(b"--"))
}

/// Where the value is that stands after a name.
fn assigned(text: &[u8], after: usize, is_option: bool) -> Option<Range<usize>> {
    let at = skip(text, after, b"\"'`]\\)", 4);
    let at = skip(text, at, b" \t", 8);
    let separator = text.get(at).copied()?;
    let mut start = match separator {
        b'=' | b':' | b'>' => {
            let at = skip(text, at, b":=>", 3);
            skip(text, at, b" \t", 8)
        }
        _ if is_option && at > after => at,
        _ => return None,
    };
    // A type between the name and the value: `password: str = "…"`.
    if separator == b':' && text.get(start).is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'&') {
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"&_<>'?".contains(byte);
        let named = text.get(start..)?.iter().take(40).take_while(|byte| word(byte)).count();
        let equals = skip(text, start + named, b" \t", 4);
        if text.get(equals) == Some(&b'=') && equals > start + named {
            start = skip(text, equals + 1, b" \t", 4);
        }
    }
    if matches!(text.get(start), Some(b'\\')) && matches!(text.get(start + 1), Some(b'"' | b'\'')) {
        start += 1;
    }
    let quote = text.get(start).copied().filter(|byte| b"\"'`".contains(byte));
    let start = start + usize::from(quote.is_some());
    let rest = text.get(start..)?;
    let ends = |byte: u8| match quote {
        Some(quote) => byte == quote || byte == b'\n',
        None => byte.is_ascii_whitespace() || b"\"'`,;)<>&|}]".contains(&byte),
    };
    let length = rest.iter().take(VALUE_MAX).take_while(|byte| !ends(**byte)).count();
    let is_closed = quote.is_none_or(|quote| rest.get(length) == Some(&quote));
    (length < VALUE_MAX && is_closed).then_some(start..start + length)
}

fn skip(text: &[u8], at: usize, what: &[u8], most: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take(most).take_while(|byte| what.contains(byte)).count()
}

/// Whether a value could be a secret, not a word, a place where one is, or something that a program evaluates.
fn is_secret(value: &[u8], is_bare: bool) -> bool {
    let has = |test: fn(&u8) -> bool| value.iter().any(test);
    let is_plain = value.iter().all(u8::is_ascii_graphic);
    if value.len() < 8 || !is_plain || !has(u8::is_ascii_digit) || !has(u8::is_ascii_alphabetic) {
        return false;
    }
    let is_evaluated = b"${<*%[(".iter().any(|sign| value.first() == Some(sign))
        || memchr::memmem::find(value, b"${").is_some()
        || memchr::memmem::find(value, b"{{").is_some()
        || memchr::memmem::find(value, b"$(").is_some()
        || (is_bare && value.iter().any(|byte| b"()[]{}$".contains(byte)));
    let is_place =
        value.starts_with(b"/") || value.starts_with(b"./") || memchr::memmem::find(value, b"://").is_some();
    // Members of something: `request.headers.token2`.
    let is_member = is_bare && value.contains(&b'.') && bits(value) < 4 * value.len() as u32;
    if is_evaluated || is_place || is_member || is_words(value) || is_made_up(value) {
        return false;
    }
    // Eight different bytes have twenty-four bits.
    bits(value) >= 22
}

/// Words and small numbers, set apart by signs: `user-token-1`, `v1.2.3`, `secretName`.
fn is_words(value: &[u8]) -> bool {
    let parts: Vec<&[u8]> =
        value.split(|byte| !byte.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let is_word = |part: &&[u8]| {
        let digits = part.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let letters = part.get(..part.len() - digits).unwrap_or_default();
        let most = if parts.len() > 1 { 4 } else { 1 };
        let cases =
            letters.windows(2).filter(|pair| pair[0].is_ascii_lowercase() != pair[1].is_ascii_lowercase());
        digits <= most
            && letters.iter().all(u8::is_ascii_alphabetic)
            && cases.count() * 3 <= letters.len().max(3)
    };
    parts.iter().all(is_word)
}

fn is_uuid(value: &[u8]) -> bool {
    let groups: Vec<usize> = value.split(|byte| *byte == b'-').map(<[u8]>::len).collect();
    groups == [8, 4, 4, 4, 12] && value.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-')
}

/// Passwords that everybody has on a machine of their own.
const WEAK: [&str; 24] = [
    "password",
    "passwd",
    "pass",
    "pwd",
    "secret",
    "postgres",
    "root",
    "admin",
    "user",
    "username",
    "guest",
    "test",
    "mysql",
    "redis",
    "mongo",
    "minioadmin",
    "changeme",
    "example",
    "token",
    "foo",
    "bar",
    "dev",
    "local",
    "xxx",
];

/// The password in the address whose `://` is at `at`.
pub(super) fn connection(text: &[u8], at: usize) -> Option<Finding> {
    let scheme = text
        .get(..at)?
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
        .count();
    let rest = text.get(at + 3..)?;
    let is_part = |byte: &u8| byte.is_ascii_graphic() && !b"/@\"'`<>\\ ".contains(byte);
    let user = rest.iter().take(128).take_while(|byte| is_part(byte) && **byte != b':').count();
    if scheme < 2 || rest.get(user) != Some(&b':') {
        return None;
    }
    let start = user + 1;
    let length = rest.get(start..)?.iter().take(VALUE_MAX).take_while(|byte| is_part(byte)).count();
    let password = rest.get(start..start + length)?;
    let host = rest.get(start + length + 1).copied().unwrap_or(b' ');
    let is_address =
        rest.get(start + length) == Some(&b'@') && (host.is_ascii_alphanumeric() || host == b'[');
    let lower = String::from_utf8_lossy(password).to_ascii_lowercase();
    let is_weak = WEAK.iter().any(|weak| *weak == lower) || password == rest.get(..user)?;
    let is_evaluated = password.iter().any(|byte| b"${}*[]()".contains(byte)) && bits(password) < 32
        || memchr::memmem::find(password, b"${").is_some()
        || password.starts_with(b"$")
        || password.starts_with(b"{");
    let is_port = password.iter().all(u8::is_ascii_digit) && password.len() < 6;
    let is_secret =
        is_address && length >= 4 && !is_weak && !is_evaluated && !is_port && !is_made_up(password);
    let start = at + 3 + start;
    is_secret.then(|| Finding::likely(Kind::ConnectionString, start..start + length))
}

/// The credential of an authorisation header, after `Bearer ` or `Basic `, which end at `at`.
pub(super) fn authorization(text: &[u8], at: usize) -> Option<Finding> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let rest = text.get(at..)?;
    let length = rest.iter().take(4096).take_while(|byte| is_part(byte)).count();
    let credential = rest.get(..length)?;
    let pair = STANDARD.decode(credential).ok().filter(|pair| pair.iter().all(u8::is_ascii_graphic));
    let is_pair = pair.is_some_and(|pair| {
        pair.iter().position(|byte| *byte == b':').is_some_and(|colon| pair.len() > colon + 4)
    });
    let is_token = length >= 20
        && credential.iter().any(u8::is_ascii_digit)
        && !is_words(credential)
        && is_random(credential);
    (is_pair || is_token).then(|| Finding::likely(Kind::Credential, at..at + length))
}

/// The signed token whose header begins at `at`.
pub(super) fn jwt(text: &[u8], at: usize) -> Option<Finding> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let part = |from: usize| {
        let length = text.get(from..)?.iter().take(8192).take_while(|byte| is_part(**byte)).count();
        text.get(from..from + length)
    };
    let header = part(at)?;
    let payload_at = at + header.len() + 1;
    let payload = part(payload_at)?;
    let signature_at = payload_at + payload.len() + 1;
    let signature = part(signature_at)?;
    let dots = [text.get(payload_at - 1), text.get(signature_at - 1)];
    if is_glued(text, at) || dots != [Some(&b'.'); 2] || payload.len() < 10 || signature.len() < 20 {
        return None;
    }
    let decoded = URL_SAFE_NO_PAD.decode(header).ok()?;
    let is_header = memchr::memmem::find(&decoded, b"\"alg\"").is_some();
    is_header.then(|| Finding::certain(Kind::Jwt, at..signature_at + signature.len()))
}

/// The longest private key that is followed to its end, in bytes.
const KEY_MAX: usize = 16 * 1024;

/// The private key whose `-----BEGIN ` is at `at`.
pub(super) fn private_key(text: &[u8], at: usize) -> Option<Finding> {
    let label_at = at + b"-----BEGIN ".len();
    let rest = text.get(label_at..)?;
    let label = rest.iter().take(40).take_while(|byte| byte.is_ascii_uppercase() || **byte == b' ').count();
    let named = rest.get(..label)?;
    if !named.ends_with(b"PRIVATE KEY") && !named.ends_with(b"PRIVATE KEY BLOCK") {
        return None;
    }
    let body_at = label_at + label + 5;
    let body = text.get(body_at..)?;
    let body = body.get(..KEY_MAX).unwrap_or(body);
    let end = memchr::memmem::find(body, b"-----END ");
    let inside = body.get(..end.unwrap_or(body.len()))?;
    let drawn: Vec<u8> = inside
        .iter()
        .copied()
        .filter(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte))
        .take(256)
        .collect();
    // Where there is no end, so much as looks like a key's lines.
    let length = match end {
        Some(end) => {
            let tail = body.get(end + 9..).unwrap_or_default();
            end + 9
                + tail
                    .iter()
                    .take(48)
                    .take_while(|byte| byte.is_ascii_uppercase() || b" -".contains(byte))
                    .count()
        }
        None => body
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=\\\r\n \"".contains(byte))
            .count(),
    };
    let is_key = drawn.len() >= 40 && bits(&drawn) * 10 >= 35 * drawn.len() as u32;
    is_key.then(|| Finding::certain(Kind::PrivateKey, at..body_at + length))
}
