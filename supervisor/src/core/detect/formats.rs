//! Keys that are known by their form: a prefix of their issuer and a random body. One row each.
//!
//! The forms are what the issuers document, or what their keys have looked like. A longer run than a row allows for is
//! still found, or a byte too many would hide a key.

use super::entropy::is_random;
use super::finding::{Finding, Kind};

/// One issuer's form of key.
pub(super) struct Format {
    kind: Kind,
    /// What it begins with, in this case.
    pub(super) prefix: &'static str,
    alphabet: Alphabet,
    /// The fewest and the most bytes after the prefix.
    length: (usize, usize),
    /// What the body has in it as well; may be empty.
    mark: &'static str,
}

/// Which bytes a body is made of.
#[derive(Clone, Copy)]
enum Alphabet {
    /// Letters and digits.
    Base62,
    /// Letters, digits, `-` and `_`.
    Url,
    /// As `Url`, and dots between its parts.
    Dotted,
    /// Lower-case hexadecimal digits.
    Hex,
    /// Upper-case letters and digits.
    Upper,
    /// Of standard base64, slashes included.
    Base64,
}

impl Alphabet {
    const fn has(self, byte: u8) -> bool {
        match self {
            Self::Base62 => byte.is_ascii_alphanumeric(),
            Self::Url => byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_',
            Self::Dotted => byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || byte == b'.',
            Self::Hex => byte.is_ascii_digit() || (byte >= b'a' && byte <= b'f'),
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Base64 => byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/' || byte == b'=',
        }
    }
}

const fn row(kind: Kind, prefix: &'static str, alphabet: Alphabet, least: usize, most: usize) -> Format {
    Format { kind, prefix, alphabet, length: (least, most), mark: "" }
}

use Alphabet::{Base62, Base64, Dotted, Hex, Upper, Url};

/// Every form.
pub(super) const FORMATS: &[Format] = &[
    row(Kind::AwsKey, "AKIA", Upper, 16, 16),
    row(Kind::AwsKey, "ASIA", Upper, 16, 16),
    row(Kind::AwsKey, "ABIA", Upper, 16, 16),
    row(Kind::AwsKey, "ACCA", Upper, 16, 16),
    row(Kind::GithubToken, "ghp_", Base62, 36, 255),
    row(Kind::GithubToken, "gho_", Base62, 36, 255),
    row(Kind::GithubToken, "ghu_", Dotted, 36, 600),
    row(Kind::GithubToken, "ghs_", Dotted, 36, 600),
    row(Kind::GithubToken, "ghr_", Base62, 36, 255),
    row(Kind::GithubToken, "github_pat_", Url, 60, 255),
    row(Kind::GitlabToken, "glpat-", Dotted, 20, 300),
    row(Kind::GitlabToken, "gldt-", Dotted, 20, 300),
    row(Kind::GitlabToken, "glrt-", Dotted, 20, 300),
    row(Kind::GitlabToken, "glrtr-", Dotted, 20, 300),
    row(Kind::GitlabToken, "glcbt-", Dotted, 20, 300),
    row(Kind::GitlabToken, "glptt-", Url, 40, 300),
    row(Kind::GitlabToken, "glft-", Url, 20, 300),
    row(Kind::GitlabToken, "glimt-", Url, 20, 300),
    row(Kind::GitlabToken, "glagent-", Url, 40, 300),
    row(Kind::GitlabToken, "gloas-", Url, 40, 300),
    row(Kind::GitlabToken, "glsoat-", Url, 20, 300),
    row(Kind::GitlabToken, "glffct-", Url, 20, 300),
    row(Kind::SlackToken, "xoxb-", Url, 20, 255),
    row(Kind::SlackToken, "xoxp-", Url, 20, 255),
    row(Kind::SlackToken, "xoxa-", Url, 20, 255),
    row(Kind::SlackToken, "xoxr-", Url, 20, 255),
    row(Kind::SlackToken, "xoxs-", Url, 20, 255),
    row(Kind::SlackToken, "xoxo-", Url, 20, 255),
    row(Kind::SlackToken, "xoxc-", Url, 20, 255),
    row(Kind::SlackToken, "xoxd-", Url, 20, 255),
    row(Kind::SlackToken, "xoxe-", Url, 20, 400),
    row(Kind::SlackToken, "xoxe.xox", Url, 20, 400),
    row(Kind::SlackToken, "xapp-", Url, 40, 255),
    row(Kind::SlackToken, "hooks.slack.com/services/T", Base64, 30, 100),
    row(Kind::GoogleKey, "AIza", Url, 35, 35),
    row(Kind::GoogleKey, "GOCSPX-", Url, 28, 28),
    row(Kind::GoogleKey, "ya29.", Dotted, 40, 1024),
    row(Kind::AnthropicKey, "sk-ant-", Url, 60, 255),
    row(Kind::OpenaiKey, "sk-proj-", Url, 40, 255),
    row(Kind::OpenaiKey, "sk-svcacct-", Url, 40, 255),
    row(Kind::OpenaiKey, "sk-admin-", Url, 40, 255),
    Format { kind: Kind::OpenaiKey, prefix: "sk-", alphabet: Url, length: (40, 255), mark: "T3BlbkFJ" },
    row(Kind::VendorKey, "sk-or-v1-", Hex, 64, 64),
    row(Kind::VendorKey, "sk-", Base62, 32, 64),
    row(Kind::StripeKey, "sk_live_", Base62, 16, 247),
    row(Kind::StripeKey, "rk_live_", Base62, 16, 247),
    row(Kind::StripeKey, "sk_test_", Base62, 16, 247),
    row(Kind::StripeKey, "rk_test_", Base62, 16, 247),
    row(Kind::StripeKey, "whsec_", Base64, 32, 100),
    row(Kind::NpmToken, "npm_", Base62, 36, 100),
    row(Kind::PypiToken, "pypi-AgE", Url, 60, 400),
    row(Kind::VendorKey, "SG.", Dotted, 60, 80),
    row(Kind::VendorKey, "hf_", Base62, 34, 40),
    row(Kind::VendorKey, "dckr_pat_", Url, 27, 40),
    row(Kind::VendorKey, "dop_v1_", Hex, 64, 64),
    row(Kind::VendorKey, "doo_v1_", Hex, 64, 64),
    row(Kind::VendorKey, "shpat_", Hex, 32, 40),
    row(Kind::VendorKey, "hvs.", Url, 90, 200),
    row(Kind::VendorKey, "lin_api_", Base62, 40, 48),
    row(Kind::VendorKey, "gsk_", Base62, 48, 60),
    row(Kind::VendorKey, "xai-", Base62, 70, 90),
    row(Kind::VendorKey, "pplx-", Base62, 40, 64),
    row(Kind::VendorKey, "glsa_", Url, 40, 48),
    row(Kind::VendorKey, "PMAK-", Url, 59, 64),
    row(Kind::VendorKey, "rubygems_", Hex, 48, 48),
    row(Kind::VendorKey, "ATATT3", Url, 100, 255),
    row(Kind::VendorKey, "AGE-SECRET-KEY-1", Upper, 58, 58),
    row(Kind::VendorKey, "AccountKey=", Base64, 86, 88),
    // A run's own token: it is worth something to whoever reaches this machine's gateway.
    row(Kind::VendorKey, "ast_", Url, 43, 43),
];

impl Format {
    /// The key whose prefix begins at `at`, if there is one.
    pub(super) fn find(&self, text: &[u8], at: usize) -> Option<Finding> {
        let start = at + self.prefix.len();
        if text.get(at..start)? != self.prefix.as_bytes() || is_glued(text, at) {
            return None;
        }
        let (least, most) = self.length;
        let body = text.get(start..)?.iter().take(most).take_while(|byte| self.alphabet.has(**byte)).count();
        let body = text.get(start..start + body)?;
        let has_mark = self.mark.is_empty() || memchr::memmem::find(body, self.mark.as_bytes()).is_some();
        let is_key = body.len() >= least && has_mark && is_random(body);
        is_key.then(|| Finding::certain(self.kind, at..start + body.len()))
    }
}

/// Whether what begins at `at` is the rest of a longer word.
pub(super) fn is_glued(text: &[u8], at: usize) -> bool {
    at.checked_sub(1).and_then(|before| text.get(before)).is_some_and(u8::is_ascii_alphanumeric)
}
