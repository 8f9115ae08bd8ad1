//! Reading list prices out of the form in which models.dev publishes them: `{ provider: { models: { name: { cost, limit
//! } } } }`, in USD per million tokens. Its data are under the MIT licence; nothing of them is fetched here.
//!
//! Invariants: no floating point; what cannot be told exactly in nano-USD per token is rounded up; what the input does
//! not know (an hour's cache writes, long prompts, a larger window) never makes a price lower than what is known; a
//! model that is given away has no price here, because a mistake would open every budget.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{LongRates, Price, Rates, list_price, listed};
use crate::core::money::NanoUsd;

/// The providers whose own prices are taken; others sell the same models under the same names at prices of their own.
const PROVIDERS: [&str; 3] = ["anthropic", "google", "openai"];

/// The text is not what models.dev publishes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not the form of models.dev's `api.json`: {0}")]
pub struct ImportError(String);

#[derive(Deserialize)]
struct Provider {
    models: BTreeMap<String, Model>,
}

#[derive(Deserialize)]
struct Model {
    cost: Option<Amounts>,
    limit: Option<Limit>,
    #[serde(default)]
    tool_call: bool,
}

#[derive(Deserialize)]
struct Limit {
    context: Option<u64>,
    output: Option<u64>,
}

/// Amounts by name, and whatever else is told beside them.
type Amounts = BTreeMap<String, Box<RawValue>>;

#[derive(Deserialize)]
struct TierOf {
    #[serde(rename = "type")]
    kind: Option<String>,
    size: u64,
}

/// The prices that the text tells, by model: of models that use tools, or that have a price already.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, Price>, ImportError> {
    let bad = |error: &serde_json::Error| ImportError(error.to_string());
    let document: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(text).map_err(|error| bad(&error))?;
    let mut found = BTreeMap::new();
    for name in PROVIDERS {
        let Some(provider) = document.get(name) else { continue };
        let provider: Provider = serde_json::from_str(provider.get()).map_err(|error| bad(&error))?;
        for (model, entry) in provider.models {
            let known = listed(&model);
            if !entry.tool_call && known.is_none() {
                continue;
            }
            found.extend(price(name, &entry, known).map(|price| (model, price)));
        }
    }
    if found.is_empty() {
        return Err(ImportError(format!("it has no prices of {}", PROVIDERS.join(", "))));
    }
    Ok(found)
}

fn price(provider: &str, entry: &Model, known: Option<&Price>) -> Option<Price> {
    let cost = entry.cost.as_ref()?;
    let rates = rates(provider, cost)?;
    let limit = |of: fn(&Limit) -> Option<u64>, known: Option<u64>| {
        entry.limit.as_ref().and_then(of).filter(|limit| *limit > 0).max(known)
    };
    Some(Price {
        rates,
        long: long(provider, cost)
            .or_else(|| known.and_then(|known| known.long))
            .map(|long| LongRates { rates: dearest(&long.rates, &rates), ..long }),
        max_output: limit(|limit| limit.output, known.and_then(Price::max_output)),
        context: limit(|limit| limit.context, known.and_then(Price::context)),
        multiplier_bp: list_price(),
    })
}

fn rates(provider: &str, cost: &Amounts) -> Option<Rates> {
    let amount = |key: &str| cost.get(key).and_then(|raw| nano_per_token(raw.get()));
    let (input, output) = (amount("input")?, amount("output")?);
    if input == NanoUsd::ZERO || output == NanoUsd::ZERO {
        return None;
    }
    let write = amount("cache_write");
    // models.dev tells one price of writing only.
    let long_write = match (provider, write) {
        ("anthropic", _) => input.scaled_up(2, 1),
        (_, Some(write)) => write.scaled_up(2, 1),
        (_, None) => input,
    };
    // Nobody sells writing to a cache for less than input; where it is told, it is a slip.
    let cache_write_5m = write.unwrap_or(input).max(input);
    Some(Rates {
        input,
        output,
        cache_write_5m,
        cache_write_1h: long_write.max(cache_write_5m),
        cache_read: amount("cache_read").unwrap_or(input),
    })
}

fn long(provider: &str, cost: &Amounts) -> Option<LongRates> {
    let tiers: Vec<Amounts> = serde_json::from_str(cost.get("tiers")?.get()).ok()?;
    let of = |amounts: &Amounts| {
        let tier: TierOf = serde_json::from_str(amounts.get("tier")?.get()).ok()?;
        let is_context = tier.kind.as_deref().is_none_or(|kind| kind == "context");
        let rates = rates(provider, amounts)?;
        is_context.then_some(LongRates { above: tier.size, rates })
    };
    let mut tiers = tiers.iter().filter_map(of);
    let first = tiers.next()?;
    // There is room for one: the earliest bound with the dearest rates.
    Some(tiers.fold(first, |one, other| LongRates {
        above: one.above.min(other.above),
        rates: dearest(&one.rates, &other.rates),
    }))
}

fn dearest(a: &Rates, b: &Rates) -> Rates {
    Rates {
        input: a.input.max(b.input),
        output: a.output.max(b.output),
        cache_write_5m: a.cache_write_5m.max(b.cache_write_5m),
        cache_write_1h: a.cache_write_1h.max(b.cache_write_1h),
        cache_read: a.cache_read.max(b.cache_read),
    }
}

/// From a JSON number of USD per million tokens, rounded up; none if it is no such number, or absurd.
fn nano_per_token(number: &str) -> Option<NanoUsd> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = [whole, decimals].concat();
    if digits.is_empty() || digits.len() > 30 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u128 = digits.parse().ok()?;
    // One USD per million tokens is 1000 nano-USD per token.
    let shift = exponent.checked_add(3)?.checked_sub(i32::try_from(decimals.len()).ok()?)?;
    let power = 10_u128.checked_pow(shift.unsigned_abs())?;
    let nano = if shift >= 0 { value.checked_mul(power)? } else { value.div_ceil(power) };
    NanoUsd::new(i64::try_from(nano).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nano(amount: i64) -> NanoUsd {
        NanoUsd::new(amount).unwrap()
    }

    #[test]
    fn dollars_per_million_become_integers_rounded_up() {
        for (text, expected) in [
            ("3", Some(3000)),
            ("0.075", Some(75)),
            ("0.0375", Some(38)),
            ("5e-2", Some(50)),
            ("1.5E1", Some(15_000)),
            ("0.0000001", Some(1)),
            ("0", Some(0)),
            ("-1", None),
            ("\"3\"", None),
            ("1e40", None),
            ("1e-99", None),
        ] {
            assert_eq!(nano_per_token(text), expected.map(nano), "{text}");
        }
    }

    #[test]
    fn what_the_input_does_not_know_never_makes_a_price_lower() {
        let text = r#"{
          "anthropic": {"id": "anthropic", "models": {
            "claude-sonnet-4-5": {"cost": {"input": 4, "output": 15, "cache_read": 0.3, "cache_write": 5},
                                  "limit": {"context": 200000, "output": 64000}},
            "claude-next": {"tool_call": true, "cost": {"input": 3, "output": 15},
                            "limit": {"context": 200000, "output": 64000}},
            "claude-slip": {"tool_call": true, "cost": {"input": 3, "output": 15, "cache_write": 0.3}},
            "claude-free": {"tool_call": true, "cost": {"input": 0, "output": 0}},
            "claude-paint": {"cost": {"input": 3, "output": 15}}}},
          "google": {"models": {"gemini-2.5-pro": {"tool_call": true, "cost": {"input": 1.25, "output": 10,
            "tiers": [{"tier": {"size": 200000}, "input": 2.5, "output": 15}]}}}},
          "reseller": {"models": {"claude-opus-5": {"tool_call": true, "cost": {"input": 1, "output": 1}}}}}"#;
        let found = read(text).unwrap();
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["claude-next", "claude-slip", "claude-sonnet-4-5", "gemini-2.5-pro"]);
        assert_eq!(found["claude-slip"].rates.cache_write_5m, nano(3000));
        let sonnet = &found["claude-sonnet-4-5"];
        assert_eq!((sonnet.rates.input, sonnet.rates.cache_write_1h), (nano(4000), nano(8000)));
        // The table has a larger window and dearer long prompts.
        assert_eq!(sonnet.context, Some(1_000_000));
        let long = sonnet.long.unwrap();
        assert_eq!(
            (long.above, long.rates.input, long.rates.cache_write_1h),
            (200_000, nano(6000), nano(12_000))
        );
        let gemini = &found["gemini-2.5-pro"];
        let long = gemini.long.unwrap();
        assert_eq!(
            (long.above, long.rates.output, long.rates.cache_read),
            (200_000, nano(15_000), nano(2500))
        );
    }

    #[test]
    fn what_is_not_that_form_is_refused() {
        for text in ["", "[]", "{}", "{\"openai\": 3}", "{\"reseller\": {\"models\": {}}}"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
