//! Texts made at run time from a seed: what must be found in each kind and wrapping, and what only looks like it. No
//! credential of anybody is in here, and none in one piece.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::super::Kind;

/// Numbers that look random and are the same in every run.
pub(super) struct Draw(u64);

impl Draw {
    pub(super) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) const fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(super) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    pub(super) fn text(&mut self, alphabet: &str, length: usize) -> String {
        let alphabet = alphabet.as_bytes();
        (0..length).map(|_| char::from(alphabet[self.below(alphabet.len())])).collect()
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 32) as u8).collect()
    }
}

pub(super) const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
pub(super) const DIGITS: &str = "0123456789";
pub(super) const HEX: &str = "0123456789abcdef";
const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE62: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// One thing of this kind, as its issuer makes it, with what must stand around it to be known.
pub(super) fn positive(kind: Kind, draw: &mut Draw) -> String {
    match kind {
        Kind::PrivateKey => {
            let label = draw.one(&["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "]);
            let body = STANDARD.encode(draw.bytes(400));
            let lines: Vec<&str> =
                body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
            format!(
                "-----BEGIN {label}PRIVATE {0}-----\n{1}\n-----END {label}PRIVATE {0}-----",
                "KEY",
                lines.join("\n")
            )
        }
        Kind::AwsKey if draw.below(2) == 0 => {
            format!("aws_secret_access_{} = {}", "key", STANDARD.encode(draw.bytes(30)))
        }
        Kind::AwsKey => format!("{}{}", draw.one(&["AKIA", "ASIA"]), draw.text(BASE32, 16)),
        Kind::GithubToken if draw.below(4) == 0 => {
            format!("github_{}_{}_{}", "pat", draw.text(BASE62, 22), draw.text(BASE62, 59))
        }
        Kind::GithubToken => format!("gh{}_{}", draw.one(&["p", "o", "u", "s", "r"]), draw.text(BASE62, 36)),
        Kind::GitlabToken => format!("gl{}-{}", draw.one(&["pat", "dt", "rt", "ft"]), draw.text(URL, 20)),
        Kind::SlackToken => {
            format!(
                "xox{}-{}-{}-{}",
                draw.one(&["b", "p"]),
                draw.text(DIGITS, 12),
                draw.text(DIGITS, 12),
                draw.text(BASE62, 24)
            )
        }
        Kind::GoogleKey if draw.below(3) == 0 => format!("GOCSPX{}{}", "-", draw.text(URL, 28)),
        Kind::GoogleKey => format!("AI{}{}", "za", draw.text(URL, 35)),
        Kind::AnthropicKey => format!("sk-{}-api03-{}AA", "ant", draw.text(URL, 93)),
        Kind::OpenaiKey if draw.below(2) == 0 => {
            format!("sk-{}{}{}", draw.text(BASE62, 20), "T3BlbkFJ", draw.text(BASE62, 20))
        }
        Kind::OpenaiKey => format!("sk-{}-{}T3BlbkFJ{}", "proj", draw.text(URL, 74), draw.text(URL, 74)),
        Kind::StripeKey => format!("{}_{}_{}", draw.one(&["sk", "rk"]), "live", draw.text(BASE62, 24)),
        Kind::NpmToken => format!("npm{}{}", "_", draw.text(BASE62, 36)),
        Kind::PypiToken => format!("pypi-{}cHlwaS5vcmc{}", "AgEI", draw.text(URL, 120)),
        Kind::VendorKey => vendor_key(draw),
        Kind::Jwt => {
            let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let claims =
                format!(r#"{{"sub":"{}","iat":{}}}"#, draw.text(LOWER, 12), draw.text("123456789", 10));
            format!("{}.{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&claims), draw.text(URL, 43))
        }
        Kind::ConnectionString => {
            let scheme =
                draw.one(&["postgres", "postgresql", "mysql", "mongodb+srv", "redis", "amqp", "https"]);
            format!(
                "{scheme}://app:{}@db-{}.internal.acme.io/main",
                draw.text(BASE62, 14),
                draw.text(LOWER, 5)
            )
        }
        Kind::Credential => credential(draw),
        Kind::Iban => iban(draw),
        Kind::Card => card(draw),
        Kind::NationalId => national_id(draw),
        Kind::Phone => phone(draw),
        Kind::Email => {
            let top = draw.one(&["de", "com", "io", "co.uk", "fr"]);
            format!("{}.{}@{}.{top}", draw.text(LOWER, 5), draw.text(LOWER, 7), draw.text(LOWER, 8))
        }
    }
}

fn vendor_key(draw: &mut Draw) -> String {
    match draw.below(4) {
        0 => format!("hf{}{}", "_", draw.text(BASE62, 34)),
        1 => format!("dop_{}_{}", "v1", draw.text(HEX, 64)),
        2 => format!("SG{}{}.{}", ".", draw.text(URL, 22), draw.text(URL, 43)),
        _ => format!("gsk{}{}", "_", draw.text(BASE62, 52)),
    }
}

fn credential(draw: &mut Draw) -> String {
    let name = draw.one(&[
        "password",
        "DB_PASSWORD",
        "api_key",
        "client_secret",
        "auth_token",
        "SECRET_KEY",
        "apiKey",
    ]);
    let value = match draw.below(3) {
        0 => draw.text(BASE62, 24),
        1 => draw.text(HEX, 32),
        _ => format!("{}{}{}", draw.text(BASE62, 8), draw.one(&["!", "#", "-"]), draw.text(BASE62, 6)),
    };
    match draw.below(6) {
        0 => format!("{name} = \"{value}\""),
        1 => format!("{name}={value}"),
        2 => format!("\"{name}\": \"{value}\""),
        3 => format!("{name}: '{value}'"),
        4 => format!("Authorization: Bearer {}", draw.text(URL, 40)),
        _ => format!("--{} {value}", name.to_lowercase().replace('_', "-")),
    }
}

fn iban(draw: &mut Draw) -> String {
    let (country, length) = [("DE", 22), ("FR", 27), ("NL", 18), ("ES", 24), ("AT", 20)][draw.below(5)];
    let account = if country == "NL" {
        format!("{}{}", draw.text("ABCDEFGHIJ", 4), draw.text(DIGITS, 10))
    } else {
        draw.text(DIGITS, length - 4)
    };
    let spelt = format!("{account}{country}00");
    let remainder = spelt.bytes().fold(0_u32, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        _ => (sum * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    let whole = format!("{country}{:02}{account}", 98 - remainder);
    grouped(draw, &whole, " ")
}

/// In fours, or in one piece.
fn grouped(draw: &mut Draw, whole: &str, separator: &str) -> String {
    if draw.below(2) == 0 {
        return whole.to_owned();
    }
    let groups: Vec<&str> =
        whole.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(separator)
}

fn card(draw: &mut Draw) -> String {
    let (head, length) =
        [("4", 16), ("51", 16), ("55", 16), ("2720", 16), ("37", 15), ("6011", 16)][draw.below(6)];
    let body = format!("{head}{}", draw.text(DIGITS, length - 1 - head.len()));
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let digit = u32::from(digit - b'0');
            if index % 2 == 1 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
        })
        .sum();
    let whole = format!("{body}{}", (10 - sum % 10) % 10);
    let separator = draw.one(&[" ", "-"]);
    if length == 16 { grouped(draw, &whole, separator) } else { whole }
}

fn national_id(draw: &mut Draw) -> String {
    match draw.below(4) {
        0 => format!(
            "SSN: {}{}-{}-{}",
            draw.one(&["1", "2", "5"]),
            draw.text("123456789", 2),
            draw.text("123456789", 2),
            draw.text("123456789", 4)
        ),
        1 => {
            let mut number = draw.text(DIGITS, 9);
            for count in [9, 10] {
                let sum: u32 = number
                    .bytes()
                    .zip((2..=count + 1).rev())
                    .map(|(digit, weight)| u32::from(digit - b'0') * weight)
                    .sum();
                let _ = write!(number, "{}", (sum * 10 % 11) % 10);
            }
            format!("{}.{}.{}-{}", &number[..3], &number[3..6], &number[6..9], &number[9..])
        }
        2 => {
            let digits = draw.text(DIGITS, 8);
            let letter = "TRWAGMYFPDXBNJZSQVHLCKE".as_bytes()[digits.parse::<usize>().unwrap() % 23];
            format!("DNI {digits}{}", char::from(letter))
        }
        _ => {
            let (sex, year, month) =
                (draw.one(&["1", "2"]), draw.text(DIGITS, 2), draw.one(&["01", "07", "12"]));
            let rest = draw.text("123456789", 8);
            let body = format!("{sex}{year}{month}{rest}");
            let key = 97 - body.parse::<u64>().unwrap() % 97;
            format!("{sex} {year} {month} {} {} {} {key:02}", &rest[..2], &rest[2..5], &rest[5..])
        }
    }
}

fn phone(draw: &mut Draw) -> String {
    match draw.below(4) {
        0 => format!("+49 {} {}", draw.one(&["30", "89", "171"]), draw.text("123456789", 8)),
        1 => format!(
            "+1 ({}) {}-{}",
            draw.one(&["415", "212"]),
            draw.one(&["234", "867"]),
            draw.text(DIGITS, 4)
        ),
        2 => format!("+44{}{}", draw.one(&["20", "79"]), draw.text("123456789", 8)),
        _ => format!(
            "phone: {}-{}-{}",
            draw.one(&["415", "212"]),
            draw.one(&["234", "867"]),
            draw.text(DIGITS, 4)
        ),
    }
}

/// How a thing is wrapped.
pub(super) const WRAPPINGS: [&str; 10] = [
    "plain",
    "json",
    "json escapes",
    "url",
    "base64",
    "base64 lines",
    "hex",
    "hex pairs",
    "split",
    "invisible",
];

/// The thing within a text, wrapped.
pub(super) fn wrapped(wrapping: &str, thing: &str, draw: &mut Draw) -> String {
    let carried = match draw.below(4) {
        0 => format!("please use {thing} for now"),
        1 => format!("# settings\n{thing}\nmode = fast\n"),
        2 => format!("see below:\n\n    {thing}\n\nand tell me"),
        _ => thing.to_owned(),
    };
    let every = |spell: &dyn Fn(u8) -> String| carried.bytes().map(spell).collect::<String>();
    match wrapping {
        "plain" => carried,
        "json" => serde_json::json!({ "text": carried, "n": 1 }).to_string(),
        "json escapes" => {
            format!("{{\"text\":\"{}\"}}", every(&|byte| format!("\\u{:04x}", u32::from(byte))))
        }
        "url" => format!(
            "https://host.acme.io/in?q={}",
            every(&|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
        ),
        "base64" => format!("data={} end", STANDARD.encode(&carried)),
        "base64 lines" => {
            let whole = STANDARD.encode(format!("{}{carried}", "some more words before it. ".repeat(3)));
            let lines: Vec<&str> =
                whole.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
            lines.join("\n")
        }
        "hex" => format!("x = 0x{}", hex::encode(&carried)),
        "hex pairs" => every(&|byte| format!("{byte:02x} ")),
        "split" => {
            let at = 3 + draw.below(thing.len() / 2);
            let sign = draw.one(&["\" + \"", "\" .\n  \"", "\", \"", "'  '", "\" || \""]);
            format!("x = \"{}{sign}{}\";", &thing[..at], &thing[at..])
        }
        "invisible" => {
            let at = 3 + draw.below(thing.len() / 2);
            format!("{}\u{200b}{}", &thing[..at], &thing[at..])
        }
        _ => unreachable!(),
    }
}
