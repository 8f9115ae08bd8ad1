//! `config.toml` in force: providers, prices, MCP servers, timeouts. The types; reading them is in `load`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use url::Url;

use crate::core::breaker::Limits;
use crate::core::data::DataRules;
use crate::core::money::NanoUsd;
use crate::core::policy::Pack;
use crate::sys::secrets::SecretRef;

use super::source::Source;

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// LLM providers by name. `anthropic`, `openai` and `gemini` are always there.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Prices that override or extend the built-in table, by exact model name.
    pub prices: BTreeMap<String, PriceOverride>,
    /// List prices that are newer than the built-in table, from `prices.toml`.
    pub list_prices: BTreeMap<String, PriceOverride>,
    /// MCP servers by name.
    pub mcp_servers: BTreeMap<String, McpServerConfig>,
    /// What data may leave for where.
    pub data: DataRules,
    /// From where on a run is suspended.
    pub breakers: Limits,
    /// Whether people are told of alerts on their desktop.
    pub desktop_notifications: Switch,
    /// A manifest of the Agent Control Specification that is asked besides; relative to the configuration's directory.
    pub acs_manifest: Option<PathBuf>,
    /// What agents may do unless somebody says otherwise.
    pub policy_pack: Pack,
    /// How long an `Ask` waits for a person, in milliseconds.
    pub approval_timeout_ms: u64,
    /// How long what a decision was about is kept beside its record, in milliseconds; none where it is not.
    pub facts_kept_ms: Option<i64>,
    /// The git repository that agents, budgets and policies come from.
    pub registry: Option<Source>,
}

/// On or off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Switch {
    /// As if nothing were said.
    #[default]
    On,
    /// Not at all.
    Off,
}

/// One LLM provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Where its API begins; `http` or `https`, without a query.
    pub base_url: Url,
    /// Its key; none for a model that takes none, such as one on this machine.
    pub key: Option<SecretRef>,
    /// What it takes of list prices, in basis points: a negotiated rate. It does not touch `[prices]`.
    pub multiplier_bp: u32,
    /// Whose wire it speaks, one of [`WIRES`]; none for a provider that has its own.
    pub wire: Option<String>,
    /// How it is asked afterwards what a call was billed that nobody counted; none if it is not.
    pub reconcile: Option<Reconcile>,
    /// How it is told the price that it may not exceed; none if it has one price for a model.
    pub max_price: Option<Ceiling>,
}

/// In whose manner a router is told what a call may be billed at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceiling {
    /// `provider.max_price` in the body, in dollars a million tokens.
    OpenRouter,
}

/// In whose manner a provider answers what a call was billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconcile {
    /// `GET /generation?id=`, below its base URL.
    OpenRouter,
}

/// The multiplier of whoever negotiated nothing.
pub const LIST_PRICE_BP: u32 = 10_000;

/// The wires that an endpoint of another name may speak, each by the provider it comes from.
pub const WIRES: [&str; 3] = ["anthropic", "gemini", "openai"];

/// Prices of a model, per token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PriceOverride {
    /// Input that is neither read from nor written to a cache.
    pub input: NanoUsd,
    /// Output.
    pub output: NanoUsd,
    /// Input written to the five-minute cache; absent: the dearest multiple of `input` that is known.
    pub cache_write_5m: Option<NanoUsd>,
    /// Input written to the one-hour cache; absent: likewise.
    pub cache_write_1h: Option<NanoUsd>,
    /// Input read from a cache; absent: as `input`.
    pub cache_read: Option<NanoUsd>,
    /// The most tokens the model can put out in one call.
    pub max_output: Option<u64>,
    /// The most tokens the model accepts.
    pub context: Option<u64>,
    /// What a request with a long prompt costs as a whole; absent: the same.
    pub long: Option<LongOverride>,
}

/// Prices of a whole request whose prompt is long, per token. None is below that of a short one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongOverride {
    /// The prompt, cached tokens included, must exceed this.
    pub above: u64,
    /// Input that is neither read from nor written to a cache.
    pub input: NanoUsd,
    /// Output.
    pub output: NanoUsd,
    /// Input written to the five-minute cache.
    pub cache_write_5m: NanoUsd,
    /// Input written to the one-hour cache.
    pub cache_write_1h: NanoUsd,
    /// Input read from a cache.
    pub cache_read: NanoUsd,
}

/// One MCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpServerConfig {
    /// A program that speaks over its standard streams.
    Stdio {
        /// The program and its arguments; never empty.
        command: Vec<String>,
        /// Variables added to its environment.
        env: BTreeMap<String, Setting>,
        /// Its working directory.
        cwd: Option<PathBuf>,
    },
    /// Streamable HTTP.
    Http {
        /// The endpoint.
        url: Url,
        /// Headers added to every request.
        headers: BTreeMap<String, Setting>,
    },
}

/// A value that may be a secret's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// As written.
    Plain(String),
    /// `env:…` or `keyring:…`.
    Secret(SecretRef),
}

/// The providers that are there without configuration: name and base URL.
const KNOWN_PROVIDERS: [(&str, &str); 3] = [
    ("anthropic", "https://api.anthropic.com"),
    ("openai", "https://api.openai.com/v1"),
    ("gemini", "https://generativelanguage.googleapis.com"),
];

/// Five minutes.
const APPROVAL_TIMEOUT_MS: u64 = 300_000;

/// Thirty days.
const FACTS_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;

impl Default for Config {
    fn default() -> Self {
        let known = KNOWN_PROVIDERS.into_iter().filter_map(|(name, url)| {
            let provider = ProviderConfig {
                base_url: Url::parse(url).ok()?,
                key: Some(SecretRef::Keyring(name.to_owned())),
                multiplier_bp: LIST_PRICE_BP,
                wire: None,
                reconcile: None,
                max_price: None,
            };
            Some((name.to_owned(), provider))
        });
        Self {
            providers: known.collect(),
            prices: BTreeMap::new(),
            list_prices: BTreeMap::new(),
            mcp_servers: BTreeMap::new(),
            data: DataRules::default(),
            breakers: Limits::default(),
            desktop_notifications: Switch::default(),
            acs_manifest: None,
            policy_pack: Pack::default(),
            approval_timeout_ms: APPROVAL_TIMEOUT_MS,
            facts_kept_ms: Some(FACTS_KEPT_MS),
            registry: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_the_known_providers_take_their_key_from_the_keyring() {
        let config = Config::default();
        let shown: Vec<String> = config
            .providers
            .iter()
            .map(|(name, provider)| {
                format!("{name} {} {}", provider.base_url, provider.key.as_ref().unwrap())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "anthropic https://api.anthropic.com/ keyring:anthropic",
                "gemini https://generativelanguage.googleapis.com/ keyring:gemini",
                "openai https://api.openai.com/v1 keyring:openai",
            ]
        );
    }
}
