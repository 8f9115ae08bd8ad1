//! Reading `config.toml`: strict, every problem with its place. What is absent keeps its default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use url::Url;

use crate::core::breaker::Limits;
use crate::core::money::NanoUsd;
use crate::core::problem::Problem;
use crate::sys::secrets::SecretRef;

use super::config::{
    Ceiling, Config, LIST_PRICE_BP, LongOverride, McpServerConfig, PriceOverride, ProviderConfig, Reconcile,
    Setting, Switch, WIRES,
};
use super::data_rules;
use super::source;
use super::syntax;
use super::tree::{At, Faults, Field, Fields};
use super::units;

/// Reads the text of `config.toml`. The problems go to `found`; with any of them the result must not be used.
pub(super) fn read(file: &Path, text: &str, found: &mut Vec<Problem>) -> Config {
    let mut config = Config::default();
    let mut faults = Faults::new(file, found);
    let faults = &mut faults;
    let Some(node) = syntax::toml(text, faults) else { return config };
    let Some(mut root) = Field::document(&node).fields(faults) else { return config };
    if let Some(fields) = root.take("providers", faults).and_then(|field| field.fields(faults)) {
        for (name, at, field) in fields.named() {
            provider(name, at, &field, &mut config, faults);
        }
    }
    if let Some(fields) = root.take("prices", faults).and_then(|field| field.fields(faults)) {
        config.prices = prices(fields, faults);
    }
    if let Some(mut mcp) = root.take("mcp", faults).and_then(|field| field.fields(faults)) {
        if let Some(fields) = mcp.take("servers", faults).and_then(|field| field.fields(faults)) {
            for (name, at, field) in fields.named() {
                check_name(name, at, &field, faults);
                let server = field.fields(faults).and_then(|fields| mcp_server(fields, faults));
                config.mcp_servers.extend(server.map(|server| (name.to_owned(), server)));
            }
        }
        mcp.done(faults);
    }
    if let Some(mut approvals) = root.take("approvals", faults).and_then(|field| field.fields(faults)) {
        let timeout =
            approvals.take("timeout", faults).and_then(|field| field.map(faults, approval_timeout_ms));
        config.approval_timeout_ms = timeout.unwrap_or(config.approval_timeout_ms);
        approvals.done(faults);
    }
    if let Some(mut audit) = root.take("audit", faults).and_then(|field| field.fields(faults)) {
        if let Some(field) = audit.take("facts", faults) {
            config.facts_kept_ms =
                if field.is_text("off") { None } else { field.map(faults, units::days_ms) };
        }
        audit.done(faults);
    }
    if let Some(mut acs) = root.take("acs", faults).and_then(|field| field.fields(faults)) {
        let manifest = acs.require("manifest", faults).and_then(|field| field.text(faults));
        config.acs_manifest = manifest.map(PathBuf::from);
        acs.done(faults);
    }
    if let Some(mut policy) = root.take("policy", faults).and_then(|field| field.fields(faults)) {
        let pack = policy.take("pack", faults).and_then(|field| field.parse(faults));
        config.policy_pack = pack.unwrap_or_default();
        policy.done(faults);
    }
    if let Some(mut notifications) = root.take("notifications", faults).and_then(|field| field.fields(faults))
    {
        let words = [("on", Switch::On), ("off", Switch::Off)];
        let desktop = notifications.take("desktop", faults).and_then(|field| field.word(faults, &words));
        config.desktop_notifications = desktop.unwrap_or_default();
        notifications.done(faults);
    }
    if let Some(fields) = root.take("data", faults).and_then(|field| field.fields(faults)) {
        data_rules::read(fields, &mut config, faults);
    }
    if let Some(fields) = root.take("breakers", faults).and_then(|field| field.fields(faults)) {
        breakers(fields, &mut config.breakers, faults);
    }
    if let Some(fields) = root.take("registry", faults).and_then(|field| field.fields(faults)) {
        config.registry = source::read(fields, faults);
    }
    root.done(faults);
    config
}

fn provider(name: &str, at: At, field: &Field<'_>, config: &mut Config, faults: &mut Faults<'_>) {
    check_name(name, at, field, faults);
    let Some(mut fields) = field.fields(faults) else { return };
    let known = config.providers.get(name).cloned();
    let base_url = match &known {
        Some(_) => fields.take("base_url", faults),
        None => fields.require("base_url", faults),
    };
    let base_url = base_url.and_then(|field| field.map(faults, http_url));
    let key = fields.take("key", faults).map(|field| match field.text(faults) {
        Some("none") => None,
        _ => secret(&field, faults),
    });
    let multiplier = fields.take("multiplier", faults).and_then(|field| multiplier_bp(&field, faults));
    // A provider that is known has its own wire; of any other it must be said.
    let wire = match &known {
        Some(_) => None,
        None => fields.require("wire", faults).and_then(|field| field.map(faults, wire)),
    };
    let manner = fields.take("reconcile", faults).and_then(|field| field.map(faults, reconcile));
    let max_price = fields.take("max_price", faults).and_then(|field| field.map(faults, ceiling));
    fields.done(faults);
    let base_url = base_url.or_else(|| known.as_ref().map(|known| known.base_url.clone()));
    let key = key.unwrap_or_else(|| Some(SecretRef::Keyring(name.to_owned())));
    if let Some(base_url) = base_url {
        let multiplier_bp = multiplier.unwrap_or(LIST_PRICE_BP);
        config.providers.insert(
            name.to_owned(),
            ProviderConfig { base_url, key, multiplier_bp, wire, reconcile: manner, max_price },
        );
    }
}

/// Limits that are left out keep their default; `"off"` switches one off.
fn breakers(mut fields: Fields<'_>, limits: &mut Limits, faults: &mut Faults<'_>) {
    if let Some(field) = fields.take("spend_per_minute", faults) {
        limits.spend_per_minute = if field.is_text("off") { None } else { field.parse(faults) };
    }
    let counts = [
        ("calls_per_minute", &mut limits.calls_per_minute),
        ("failures_in_a_row", &mut limits.failures_in_a_row),
        ("refusals_per_minute", &mut limits.refusals_per_minute),
        ("times_usual", &mut limits.times_usual),
    ];
    for (name, limit) in counts {
        if let Some(field) = fields.take(name, faults) {
            *limit = if field.is_text("off") { None } else { field.integer(faults) };
        }
    }
    fields.done(faults);
}

/// Ten times the list price.
const MULTIPLIER_MAX_BP: u32 = 100_000;

fn multiplier_bp(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<u32> {
    let given = field.integer(faults)?;
    let fits = u32::try_from(given).ok().filter(|bp| (1..=MULTIPLIER_MAX_BP).contains(bp));
    if fits.is_none() {
        let hint = "in basis points of the list price: 8500 is 85 %";
        let message = format!("`{given}` is not a multiplier (1 to {MULTIPLIER_MAX_BP})");
        field.fault_with_hint(faults, &message, hint);
    }
    fits
}

fn wire(text: &str) -> Result<String, String> {
    if WIRES.contains(&text) {
        return Ok(text.to_owned());
    }
    let known = WIRES.map(|wire| format!("`{wire}`")).join(", ");
    Err(format!("`{text}` is not a wire that can be metered ({known})"))
}

fn reconcile(text: &str) -> Result<Reconcile, String> {
    match text {
        "openrouter" => Ok(Reconcile::OpenRouter),
        _ => Err(format!("`{text}` is no manner of asking what a call was billed (`openrouter`)")),
    }
}

fn ceiling(text: &str) -> Result<Ceiling, String> {
    match text {
        "openrouter" => Ok(Ceiling::OpenRouter),
        _ => {
            Err(format!("`{text}` is no manner of telling the price that may not be exceeded (`openrouter`)"))
        }
    }
}

/// Where a secret is. What was written is not repeated in the error: it may be the secret itself.
fn secret(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<SecretRef> {
    let reference = field.text(faults)?.parse().ok();
    if reference.is_none() {
        let hint = "write \"env:NAME\", or \"keyring:name\" and run `agentsup key set name`";
        field.fault_with_hint(faults, "does not say where the secret is", hint);
    }
    reference
}

/// Agents wait an hour for their hooks at most, and some run the tool when they give up.
const APPROVAL_TIMEOUT_MAX_MS: u64 = 45 * 60 * 1000;

fn approval_timeout_ms(text: &str) -> Result<u64, String> {
    match units::duration_ms(text)? {
        timeout if timeout <= APPROVAL_TIMEOUT_MAX_MS => Ok(timeout),
        _ => Err(format!("`{text}` is longer than agents wait for an answer (at most 45m)")),
    }
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("`{text}` is not an http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{text}` has a query or a fragment"));
    }
    Ok(url)
}

/// Reads the text of `prices.toml`: list prices, in the form of `[prices]`.
pub(super) fn read_prices(
    file: &Path,
    text: &str,
    found: &mut Vec<Problem>,
) -> BTreeMap<String, PriceOverride> {
    let mut faults = Faults::new(file, found);
    let faults = &mut faults;
    let node = syntax::toml(text, faults);
    node.and_then(|node| Field::document(&node).fields(faults).map(|fields| prices(fields, faults)))
        .unwrap_or_default()
}

fn prices(fields: Fields<'_>, faults: &mut Faults<'_>) -> BTreeMap<String, PriceOverride> {
    let mut prices = BTreeMap::new();
    for (model, _, field) in fields.named() {
        let price = field.fields(faults).and_then(|fields| price(fields, faults));
        prices.extend(price.map(|price| (model.to_owned(), price)));
    }
    prices
}

fn price(mut fields: Fields<'_>, faults: &mut Faults<'_>) -> Option<PriceOverride> {
    let before = faults.count();
    let input = required_amount(&mut fields, "input", faults);
    let output = required_amount(&mut fields, "output", faults);
    let cache_write_5m = fields.take("cache_write_5m", faults).and_then(|field| amount(&field, faults));
    let cache_write_1h = fields.take("cache_write_1h", faults).and_then(|field| amount(&field, faults));
    let cache_read = fields.take("cache_read", faults).and_then(|field| amount(&field, faults));
    let max_output = fields.take("max_output", faults).and_then(|field| field.integer(faults));
    let context = fields.take("context", faults).and_then(|field| field.integer(faults));
    let long_field = fields.take("long", faults);
    let long = long_field.as_ref().and_then(|field| long(field.fields(faults)?, faults));
    fields.done(faults);
    if faults.count() > before {
        return None;
    }
    let price = PriceOverride {
        input: input?,
        output: output?,
        cache_write_5m,
        cache_write_1h,
        cache_read,
        max_output,
        context,
        long,
    };
    if let (Some(field), Some(long)) = (&long_field, &long)
        && is_cheaper(long, &price)
    {
        field.fault(faults, "is cheaper than a short prompt, so that a longer one would break its bound");
        return None;
    }
    Some(price)
}

fn long(mut fields: Fields<'_>, faults: &mut Faults<'_>) -> Option<LongOverride> {
    let above = fields.require("above", faults).and_then(|field| field.integer(faults));
    let mut required = |key| required_amount(&mut fields, key, faults);
    let (input, output) = (required("input"), required("output"));
    let (write_5m, write_1h) = (required("cache_write_5m"), required("cache_write_1h"));
    let read = required("cache_read");
    fields.done(faults);
    Some(LongOverride {
        above: above?,
        input: input?,
        output: output?,
        cache_write_5m: write_5m?,
        cache_write_1h: write_1h?,
        cache_read: read?,
    })
}

fn is_cheaper(long: &LongOverride, price: &PriceOverride) -> bool {
    let less = |long: NanoUsd, short: Option<NanoUsd>| short.is_some_and(|short| long < short);
    long.input < price.input
        || long.output < price.output
        || less(long.cache_write_5m, price.cache_write_5m)
        || less(long.cache_write_1h, price.cache_write_1h)
        || less(long.cache_read, price.cache_read)
}

fn required_amount(fields: &mut Fields<'_>, key: &'static str, faults: &mut Faults<'_>) -> Option<NanoUsd> {
    fields.require(key, faults).and_then(|field| amount(&field, faults))
}

fn amount(field: &Field<'_>, faults: &mut Faults<'_>) -> Option<NanoUsd> {
    let nano = field.integer(faults)?;
    i64::try_from(nano).ok().and_then(|nano| NanoUsd::new(nano).ok())
}

fn mcp_server(mut fields: Fields<'_>, faults: &mut Faults<'_>) -> Option<McpServerConfig> {
    let server = match (fields.has("command"), fields.has("url")) {
        (true, false) => {
            let command = fields.take("command", faults)?.list(faults)?;
            let words: Vec<String> =
                command.iter().filter_map(|word| word.text(faults)).map(str::to_owned).collect();
            let env = settings(fields.take("env", faults), faults);
            let cwd = fields.take("cwd", faults).and_then(|field| field.map(faults, absolute));
            (words.len() == command.len()).then_some(McpServerConfig::Stdio { command: words, env, cwd })
        }
        (false, true) => {
            let url = fields.take("url", faults).and_then(|field| field.map(faults, http_url));
            let headers = settings(fields.take("headers", faults), faults);
            url.map(|url| McpServerConfig::Http { url, headers })
        }
        _ => {
            let message = "needs either `command` (a program) or `url` (streamable HTTP)";
            faults.add(fields.at(), fields.path(), message, None);
            return None;
        }
    };
    fields.done(faults);
    server
}

fn settings(field: Option<Field<'_>>, faults: &mut Faults<'_>) -> BTreeMap<String, Setting> {
    let Some(fields) = field.and_then(|field| field.fields(faults)) else { return BTreeMap::new() };
    let mut settings = BTreeMap::new();
    for (name, _, field) in fields.named() {
        let Some(text) = field.text(faults) else { continue };
        if text.starts_with("env:") || text.starts_with("keyring:") {
            settings.extend(secret(&field, faults).map(|place| (name.to_owned(), Setting::Secret(place))));
        } else {
            settings.insert(name.to_owned(), Setting::Plain(text.to_owned()));
        }
    }
    settings
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(format!("`{text}` is not an absolute path")) }
}

/// Names of providers and servers become parts of paths and tool names.
fn check_name(name: &str, at: At, field: &Field<'_>, faults: &mut Faults<'_>) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) || name.contains("__") {
        let message = format!("`{name}` is not a name (letters, digits, `-`, and single `_`)");
        faults.add(at, field.path(), message, None);
    }
}

#[cfg(test)]
mod tests;
