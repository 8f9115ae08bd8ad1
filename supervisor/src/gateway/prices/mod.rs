//! What models cost: one embedded table of integers (`table.toml`, which names its sources and their date), overridden
//! and extended by `[prices]` in the configuration. Newer list prices are in `prices.toml`, which stands for the table's rows.
//!
//! Invariants: amounts are nano-USD per token; a model that is in neither has no price, so it cannot be called; an
//! override replaces the table's prices as a whole, never a part of them; a provider's `multiplier` is applied to what
//! the table says and not to overrides, and to whole costs, so that it is rounded once. Whatever changes a price changes
//! its version, which every call's row in the ledger keeps.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::core::canonical;
use crate::core::money::NanoUsd;
use crate::core::usage::Usage;
use crate::registry::{Config, LIST_PRICE_BP, PriceOverride};

use super::scan::CacheWrites;

mod import;
mod table;

pub use import::ImportError;
pub use table::{Amounts, PriceChange, PriceList, PriceSource, PriceView, diff, list};

const TABLE: &str = include_str!("table.toml");

/// The dearest known multiples of plain input, for overrides that do not say: 5/4 for minutes, 2 for an hour.
const WRITE_5M: (u32, u32) = (5, 4);
const WRITE_1H: (u32, u32) = (2, 1);

/// What one token costs, by what happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rates {
    pub(super) input: NanoUsd,
    pub(super) output: NanoUsd,
    pub(super) cache_write_5m: NanoUsd,
    pub(super) cache_write_1h: NanoUsd,
    pub(super) cache_read: NanoUsd,
}

impl Rates {
    fn cost(&self, usage: &Usage) -> NanoUsd {
        self.input
            .times(usage.input_tokens)
            .plus(self.cache_write_5m.times(usage.cache_write_5m_tokens))
            .plus(self.cache_write_1h.times(usage.cache_write_1h_tokens))
            .plus(self.cache_read.times(usage.cache_read_tokens))
            .plus(self.output.times(usage.output_tokens))
    }

    /// The most that one token of the prompt can cost.
    fn dearest_input(&self, writes: CacheWrites) -> NanoUsd {
        let plain = self.input.max(self.cache_read);
        match writes {
            CacheWrites::None => plain,
            CacheWrites::Short => plain.max(self.cache_write_5m),
            CacheWrites::Long => plain.max(self.cache_write_5m).max(self.cache_write_1h),
        }
    }
}

/// The rates of a whole request whose prompt is long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LongRates {
    /// The prompt, cached tokens included, must exceed this.
    pub(super) above: u64,
    #[serde(flatten)]
    pub(super) rates: Rates,
}

/// A model's prices and limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Price {
    #[serde(flatten)]
    rates: Rates,
    long: Option<LongRates>,
    max_output: Option<u64>,
    context: Option<u64>,
    /// What the provider takes of these, in basis points.
    #[serde(skip_deserializing, default = "list_price")]
    multiplier_bp: u32,
}

const fn list_price() -> u32 {
    LIST_PRICE_BP
}

impl Price {
    /// What this usage is billed.
    pub(super) fn cost(&self, usage: &Usage) -> NanoUsd {
        let prompt = usage.total().saturating_sub(usage.output_tokens);
        self.billed(self.rates(prompt).cost(usage))
    }

    fn billed(&self, listed: NanoUsd) -> NanoUsd {
        listed.scaled_up(self.multiplier_bp, LIST_PRICE_BP)
    }

    /// The most that a prompt and an answer of at most so many tokens can be billed.
    pub(super) fn worst(&self, input_tokens: u64, output_tokens: u64, writes: CacheWrites) -> NanoUsd {
        let rates = self.rates(input_tokens);
        let input = rates.dearest_input(writes).times(input_tokens);
        self.billed(input.plus(rates.output.times(output_tokens)))
    }

    /// What one token less of the answer to such a prompt takes off [`Price::worst`], at least.
    pub(super) fn output_rate(&self, input_tokens: u64) -> NanoUsd {
        self.rates(input_tokens).output.scaled_down(self.multiplier_bp, LIST_PRICE_BP)
    }

    /// What a token of the prompt and one of the answer may be billed, with a prompt of so many tokens.
    pub(super) fn ceiling(&self, input_tokens: u64) -> (NanoUsd, NanoUsd) {
        let rates = self.rates(input_tokens);
        let billed = |rate: NanoUsd| rate.scaled_down(self.multiplier_bp, LIST_PRICE_BP);
        (billed(rates.input), billed(rates.output))
    }

    /// The most tokens the model puts out in one call, if that is known.
    pub(super) const fn max_output(&self) -> Option<u64> {
        self.max_output
    }

    /// The most tokens the model accepts, if that is known.
    pub(super) const fn context(&self) -> Option<u64> {
        self.context
    }

    const fn rates(&self, prompt_tokens: u64) -> &Rates {
        match &self.long {
            Some(long) if prompt_tokens > long.above => &long.rates,
            _ => &self.rates,
        }
    }
}

static PRICES: LazyLock<BTreeMap<String, Price>> = LazyLock::new(|| {
    // A test parses the table; should it ever not parse, there are no prices, and nothing can be spent.
    toml::from_str(TABLE).unwrap_or_else(|error| {
        tracing::error!(%error, "the embedded price table cannot be read");
        BTreeMap::new()
    })
});

/// The version of the table: a digest of what it says.
static VERSION: LazyLock<String> = LazyLock::new(|| digest(&*PRICES, 12));

fn digest(value: &impl Serialize, digits: usize) -> String {
    // Integers and strings always have a canonical form.
    let digest = canonical::digest(value).map(hex::encode).unwrap_or_default();
    digest.chars().take(digits).collect()
}

/// What a provider takes for a model: from the configuration if it is there, else from the table.
pub(super) fn price(provider: &str, model: &str, config: &Config) -> Option<Price> {
    if let Some(given) = config.prices.get(model) {
        return Some(overridden(given, listed(model)));
    }
    let multiplier_bp = config.providers.get(provider).map_or(LIST_PRICE_BP, |known| known.multiplier_bp);
    let price = newer(model, config).or_else(|| listed(model).copied())?;
    Some(Price { multiplier_bp, ..price })
}

/// The dearest model of the table and what it costs: no less is taken for one that nobody knows.
pub(super) fn dearest() -> Option<(String, Price)> {
    let (model, price) = PRICES.iter().max_by_key(|(_, price)| (price.rates.output, price.rates.input))?;
    Some((model.clone(), *price))
}

/// A list price that is newer than the table.
fn newer(model: &str, config: &Config) -> Option<Price> {
    let given = |model: &str| config.list_prices.get(model);
    let given = given(model).or_else(|| given(undated(model)?))?;
    Some(overridden(given, listed(model)))
}

/// The version of a price: that of the table, and what makes the price another than the table's.
pub(super) fn version(price: &Price, model: &str) -> String {
    if listed(model) == Some(price) { VERSION.clone() } else { format!("{}+{}", *VERSION, digest(price, 8)) }
}

/// The version of the price in force; none if the model has none.
pub fn version_in_force(provider: &str, model: &str, config: &Config) -> Option<String> {
    Some(version(&price(provider, model, config)?, model))
}

fn listed(model: &str) -> Option<&'static Price> {
    PRICES.get(model).or_else(|| PRICES.get(undated(model)?))
}

fn overridden(given: &PriceOverride, listed: Option<&Price>) -> Price {
    let times = |(numerator, denominator)| given.input.scaled_up(numerator, denominator);
    Price {
        rates: Rates {
            input: given.input,
            output: given.output,
            cache_write_5m: given.cache_write_5m.unwrap_or_else(|| times(WRITE_5M)),
            cache_write_1h: given.cache_write_1h.unwrap_or_else(|| times(WRITE_1H)),
            cache_read: given.cache_read.unwrap_or(given.input),
        },
        long: given.long.map(|long| LongRates {
            above: long.above,
            rates: Rates {
                input: long.input,
                output: long.output,
                cache_write_5m: long.cache_write_5m,
                cache_write_1h: long.cache_write_1h,
                cache_read: long.cache_read,
            },
        }),
        max_output: given.max_output.or_else(|| listed.and_then(Price::max_output)),
        context: given.context.or_else(|| listed.and_then(Price::context)),
        multiplier_bp: LIST_PRICE_BP,
    }
}

/// The name without `-20250929`, `-2026-09-29` or `-latest`; none if it has no such end.
fn undated(model: &str) -> Option<&str> {
    let before = |shape: &str| {
        let (name, end) = model.split_at_checked(model.len().checked_sub(shape.len())?)?;
        let fits = |(byte, like): (u8, u8)| if like == b'0' { byte.is_ascii_digit() } else { byte == like };
        end.bytes().zip(shape.bytes()).all(fits).then_some(name)
    };
    ["-00000000", "-0000-00-00", "-latest"].into_iter().find_map(before)
}

/// The lines of configuration that give a model a price.
pub(super) fn lines_to_add(model: &str) -> String {
    format!(
        "add to config.toml, in nano-USD per token: [prices.\"{}\"] input = … output = … max_output = …",
        model.escape_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nano(amount: i64) -> NanoUsd {
        NanoUsd::new(amount).unwrap()
    }

    fn known(model: &str) -> Price {
        price("anthropic", model, &Config::default()).unwrap()
    }

    #[test]
    fn every_listed_price_is_whole_and_plausible() {
        let table: BTreeMap<String, Price> = toml::from_str(TABLE).unwrap();
        assert!(table.len() > 40, "{}", table.len());
        for (model, price) in &table {
            let rates = price.rates;
            assert!(rates.input > NanoUsd::ZERO && rates.output > rates.input, "{model}");
            assert!(rates.cache_read > NanoUsd::ZERO && rates.cache_read <= rates.input, "{model}");
            assert!(rates.input <= rates.cache_write_5m, "{model}");
            assert!(rates.cache_write_5m <= rates.cache_write_1h, "{model}");
            let (output, context) = (price.max_output.unwrap(), price.context.unwrap());
            assert!(output > 0 && output < context, "{model}");
            if let Some(LongRates { above, rates: long }) = price.long {
                assert!(above < context, "{model}");
                // else a longer prompt could be cheaper than its bound
                assert!(long.input >= rates.input && long.output >= rates.output, "{model}");
                assert!(long.cache_write_5m >= rates.cache_write_5m, "{model}");
                assert!(long.cache_write_1h >= rates.cache_write_1h, "{model}");
                assert!(long.cache_read >= rates.cache_read && long.cache_read <= long.input, "{model}");
            }
        }
    }

    #[test]
    fn a_dated_name_has_the_price_of_its_model() {
        for (name, model) in [
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("claude-opus-4-20250514", "claude-opus-4"),
            ("claude-3-5-haiku-latest", "claude-3-5-haiku"),
            ("gpt-6.1-sol-2026-09-29", "gpt-6.1-sol"),
            ("gpt-5-mini-2025-08-07", "gpt-5-mini"),
            ("gpt-5.5-2026-04-23", "gpt-5.5"),
        ] {
            assert_eq!(undated(name), Some(model));
            assert_eq!(known(name), known(model));
        }
        for name in ["claude-opus-4-8", "gpt-5", "gpt-4.1", "", "20250929", "o3-1234", "-", "ä-20250929x"] {
            assert_eq!(undated(name), None, "{name}");
        }
    }

    #[test]
    fn an_unknown_model_has_no_price() {
        for name in ["claude-opus-9", "gpt-6.1-sol-preview", "claude-opus-4-8-20260101-x", ""] {
            assert_eq!(price("anthropic", name, &Config::default()), None, "{name}");
        }
        assert_eq!(
            lines_to_add("my-model"),
            "add to config.toml, in nano-USD per token: [prices.\"my-model\"] input = … output = … max_output = …"
        );
    }

    #[test]
    fn usage_is_priced_part_by_part() {
        let usage = Usage {
            input_tokens: 3,
            cache_write_5m_tokens: 10,
            cache_write_1h_tokens: 100,
            cache_read_tokens: 1000,
            output_tokens: 7,
        };
        let expected = 3 * 4000 + 10 * 5000 + 100 * 8000 + 1000 * 200 + 7 * 20_000;
        assert_eq!(known("claude-opus-5-5").cost(&usage), nano(expected));
    }

    #[test]
    fn a_long_prompt_is_dearer_as_a_whole() {
        let haiku = known("claude-haiku-5-5");
        let usage = |cache_read_tokens| Usage { cache_read_tokens, output_tokens: 10, ..Usage::default() };
        assert_eq!(haiku.cost(&usage(100_000)), nano(100_000 * 10 + 10 * 500));
        assert_eq!(haiku.cost(&usage(100_001)), nano(100_001 * 50 + 10 * 2500));
        assert_eq!(haiku.worst(100_000, 10, CacheWrites::None), nano(100_000 * 100 + 10 * 500));
        assert_eq!(haiku.worst(100_001, 10, CacheWrites::Long), nano(100_001 * 1000 + 10 * 2500));
    }

    #[test]
    fn an_override_replaces_what_is_listed() {
        let given = PriceOverride { input: nano(10), output: nano(20), ..PriceOverride::default() };
        let mut config = Config {
            prices: [("claude-haiku-5-5".to_owned(), given), ("mine".to_owned(), given)].into(),
            ..Config::default()
        };
        config.providers.get_mut("anthropic").unwrap().multiplier_bp = 5000;
        let rates = Rates {
            input: nano(10),
            output: nano(20),
            cache_write_5m: nano(13),
            cache_write_1h: nano(20),
            cache_read: nano(10),
        };
        let mine = Price { rates, long: None, max_output: None, context: None, multiplier_bp: 10_000 };
        assert_eq!(price("anthropic", "mine", &config), Some(mine));
        let limits = Price { max_output: Some(128_000), context: Some(1_000_000), ..mine };
        assert_eq!(price("anthropic", "claude-haiku-5-5", &config), Some(limits));
    }

    #[test]
    fn a_negotiated_rate_is_taken_of_whole_costs_and_rounded_up() {
        let mut config = Config::default();
        config.providers.get_mut("anthropic").unwrap().multiplier_bp = 8_333;
        let price = |provider| price(provider, "claude-haiku-5-5", &config).unwrap();
        let usage = Usage { cache_read_tokens: 3, output_tokens: 1, ..Usage::default() };
        // 3 * 10 + 500 = 530 at list price; 441.649 of it
        assert_eq!(price("anthropic").cost(&usage), nano(442));
        assert_eq!(price("anthropic").worst(3, 1, CacheWrites::None), nano(667));
        assert_eq!(price("openai").cost(&usage), nano(530));
    }

    #[test]
    fn whatever_changes_a_price_changes_its_version() {
        let model = "claude-haiku-5-5";
        let of = |config: &Config| version(&price("anthropic", model, config).unwrap(), model);
        let listed = of(&Config::default());
        assert_eq!(listed, *VERSION);
        assert_eq!((listed.len(), listed.bytes().all(|byte| byte.is_ascii_hexdigit())), (12, true));
        let mut negotiated = Config::default();
        negotiated.providers.get_mut("anthropic").unwrap().multiplier_bp = 9_000;
        let given = |input| PriceOverride { input: nano(input), output: nano(2), ..PriceOverride::default() };
        let config =
            |input| Config { prices: [(model.to_owned(), given(input))].into(), ..Config::default() };
        let versions = [of(&negotiated), of(&config(1)), of(&config(2)), listed.clone()];
        for (index, version) in versions.iter().enumerate() {
            assert!(version.starts_with(&listed), "{version}");
            assert_eq!(versions.iter().position(|other| other == version), Some(index), "{version}");
        }
    }
}
