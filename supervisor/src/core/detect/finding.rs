//! What can be found in a text, and where. A finding never holds the text that it is about.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What a finding is, in order of weight: of two in the same place the first is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The private half of a key pair, in PEM.
    PrivateKey,
    /// An access key of Amazon Web Services, either half.
    AwsKey,
    /// A token of GitHub, of whatever prefix.
    GithubToken,
    /// A token of GitLab, of whatever prefix.
    GitlabToken,
    /// A token or a webhook of Slack.
    SlackToken,
    /// An API key, client secret or access token of Google.
    GoogleKey,
    /// A key of Anthropic.
    AnthropicKey,
    /// A key of OpenAI.
    OpenaiKey,
    /// A key or webhook secret of Stripe.
    StripeKey,
    /// A token of npm.
    NpmToken,
    /// A token of PyPI.
    PypiToken,
    /// A key of anybody else whose keys are known by their form.
    VendorKey,
    /// A signed JSON Web Token.
    Jwt,
    /// A password in an address.
    ConnectionString,
    /// A value that is assigned to a name such as `password` or `token`.
    Credential,
    /// A bank account with the right check digits.
    Iban,
    /// A payment card with an issuer's number and the right check digit.
    Card,
    /// A person's number at a state, with the right check digits where it has any.
    NationalId,
    /// A telephone number.
    Phone,
    /// An e-mail address.
    Email,
}

/// What kinds are told apart by where no rule names one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Whoever has it can act as somebody else.
    Secret,
    /// It is about a person.
    Personal,
}

impl Kind {
    /// Every kind, in order of weight.
    pub const ALL: [Self; 20] = [
        Self::PrivateKey,
        Self::AwsKey,
        Self::GithubToken,
        Self::GitlabToken,
        Self::SlackToken,
        Self::GoogleKey,
        Self::AnthropicKey,
        Self::OpenaiKey,
        Self::StripeKey,
        Self::NpmToken,
        Self::PypiToken,
        Self::VendorKey,
        Self::Jwt,
        Self::ConnectionString,
        Self::Credential,
        Self::Iban,
        Self::Card,
        Self::NationalId,
        Self::Phone,
        Self::Email,
    ];

    /// As rules and records name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrivateKey => "private-key",
            Self::AwsKey => "aws-key",
            Self::GithubToken => "github-token",
            Self::GitlabToken => "gitlab-token",
            Self::SlackToken => "slack-token",
            Self::GoogleKey => "google-key",
            Self::AnthropicKey => "anthropic-key",
            Self::OpenaiKey => "openai-key",
            Self::StripeKey => "stripe-key",
            Self::NpmToken => "npm-token",
            Self::PypiToken => "pypi-token",
            Self::VendorKey => "vendor-key",
            Self::Jwt => "jwt",
            Self::ConnectionString => "connection-string",
            Self::Credential => "credential",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::NationalId => "national-id",
            Self::Phone => "phone",
            Self::Email => "email",
        }
    }

    /// Its class.
    pub const fn class(self) -> Class {
        match self {
            Self::Iban | Self::Card | Self::NationalId | Self::Phone | Self::Email => Class::Personal,
            _ => Class::Secret,
        }
    }
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// By its surroundings and its entropy.
    Likely,
    /// By its form, which nothing else has, or by its check digits.
    Certain,
}

/// Something found. Has no text, so that it can be shown and logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Which bytes of the text hold it, encoded as they stand.
    pub range: Range<usize>,
    /// How sure it is.
    pub confidence: Confidence,
}

impl Finding {
    pub(super) const fn certain(kind: Kind, range: Range<usize>) -> Self {
        Self { kind, range, confidence: Confidence::Certain }
    }

    pub(super) const fn likely(kind: Kind, range: Range<usize>) -> Self {
        Self { kind, range, confidence: Confidence::Likely }
    }

    pub(super) const fn overlaps(&self, other: &Self) -> bool {
        self.range.start < other.range.end && other.range.start < self.range.end
    }
}
