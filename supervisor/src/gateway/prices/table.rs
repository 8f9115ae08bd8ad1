//! The prices in force as people and other files see them: listed, compared with others, written down.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ImportError, PRICES, Price, Rates, VERSION, import, listed, newer, price, version};
use crate::registry::{Config, LIST_PRICE_BP};

/// The most models that a file may tell of.
const MODELS_MAX: usize = 10_000;

/// All prices in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceList {
    /// The version of the built-in table.
    pub version: String,
    /// What every amount is in.
    pub unit: String,
    /// By provider, what it takes of list prices, in basis points; only those that do not take all of it.
    pub multipliers_bp: BTreeMap<String, u32>,
    /// In order of name.
    pub models: Vec<PriceView>,
}

/// Where a price comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PriceSource {
    /// The built-in table.
    Table,
    /// `prices.toml`: list prices newer than the table.
    Refreshed,
    /// `[prices]` in `config.toml`.
    Config,
}

/// A model's price, in nano-USD per token, before a provider's multiplier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceView {
    /// The model.
    pub model: String,
    /// Where it comes from.
    pub source: PriceSource,
    /// The version that calls at this price are kept with.
    pub version: String,
    /// What it is.
    #[serde(flatten)]
    pub amounts: Amounts,
}

/// Nano-USD per token, and limits in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Input.
    pub input: i64,
    /// Output.
    pub output: i64,
    /// Input written to the five-minute cache.
    pub cache_write_5m: i64,
    /// Input written to the one-hour cache.
    pub cache_write_1h: i64,
    /// Input read from a cache.
    pub cache_read: i64,
    /// The most that the model puts out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_output: Option<u64>,
    /// The most that it takes in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub context: Option<u64>,
    /// What a request with a long prompt costs as a whole.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub long: Option<LongAmounts>,
}

/// Nano-USD per token of a request whose prompt is long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongAmounts {
    /// The prompt has more tokens than this.
    pub above: u64,
    /// Input.
    pub input: i64,
    /// Output.
    pub output: i64,
    /// Input written to the five-minute cache.
    pub cache_write_5m: i64,
    /// Input written to the one-hour cache.
    pub cache_write_1h: i64,
    /// Input read from a cache.
    pub cache_read: i64,
}

/// A price that a file tells otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceChange {
    /// The model.
    pub model: String,
    /// What is in force; none for a model without a price.
    pub before: Option<Amounts>,
    /// What the file says.
    pub after: Amounts,
}

impl From<&Price> for Amounts {
    fn from(price: &Price) -> Self {
        let Rates { input, output, cache_write_5m, cache_write_1h, cache_read } = price.rates;
        Self {
            input: input.nano(),
            output: output.nano(),
            cache_write_5m: cache_write_5m.nano(),
            cache_write_1h: cache_write_1h.nano(),
            cache_read: cache_read.nano(),
            max_output: price.max_output,
            context: price.context,
            long: price.long.map(|long| LongAmounts {
                above: long.above,
                input: long.rates.input.nano(),
                output: long.rates.output.nano(),
                cache_write_5m: long.rates.cache_write_5m.nano(),
                cache_write_1h: long.rates.cache_write_1h.nano(),
                cache_read: long.rates.cache_read.nano(),
            }),
        }
    }
}

impl Amounts {
    /// The row of a table that says this.
    pub fn row(&self, model: &str) -> String {
        let five = |input: i64, output: i64, write_5m: i64, write_1h: i64, read: i64| {
            format!(
                "input = {input}, output = {output}, cache_write_5m = {write_5m}, cache_write_1h = {write_1h}, \
                 cache_read = {read}"
            )
        };
        let limit = |name: &str, limit: Option<u64>| {
            limit.map_or_else(String::new, |limit| format!(", {name} = {limit}"))
        };
        let long = self.long.map_or_else(String::new, |long| {
            let rates =
                five(long.input, long.output, long.cache_write_5m, long.cache_write_1h, long.cache_read);
            format!(", long = {{ above = {}, {rates} }}", long.above)
        });
        format!(
            "{} = {{ {}{}{}{long} }}",
            toml::Value::String(model.to_owned()),
            five(self.input, self.output, self.cache_write_5m, self.cache_write_1h, self.cache_read),
            limit("max_output", self.max_output),
            limit("context", self.context),
        )
    }
}

/// All prices in force.
pub fn list(config: &Config) -> PriceList {
    let mut names: Vec<&String> =
        PRICES.keys().chain(config.prices.keys()).chain(config.list_prices.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let view = |model: &String| {
        let source = if config.prices.contains_key(model) {
            PriceSource::Config
        } else if config.list_prices.contains_key(model) {
            PriceSource::Refreshed
        } else {
            PriceSource::Table
        };
        let price = price("", model, config)?;
        let version = version(&price, model);
        Some(PriceView { model: model.clone(), source, version, amounts: Amounts::from(&price) })
    };
    let multipliers = config.providers.iter().map(|(name, provider)| (name.clone(), provider.multiplier_bp));
    PriceList {
        version: VERSION.clone(),
        unit: "nano-USD per token".to_owned(),
        multipliers_bp: multipliers.filter(|(_, bp)| *bp != LIST_PRICE_BP).collect(),
        models: names.into_iter().filter_map(view).collect(),
    }
}

/// What a file in models.dev's form tells otherwise than the list prices in force, in order of name.
pub fn diff(text: &str, config: &Config) -> Result<Vec<PriceChange>, ImportError> {
    let found = import::read(text)?;
    let changes = found.iter().take(MODELS_MAX).filter_map(|(model, after)| {
        let before = newer(model, config).or_else(|| listed(model).copied());
        (before.as_ref() != Some(after)).then(|| PriceChange {
            model: model.clone(),
            before: before.as_ref().map(Amounts::from),
            after: Amounts::from(after),
        })
    });
    Ok(changes.collect())
}

impl PriceChange {
    /// Whether anything gets cheaper: what a person should look at twice.
    pub fn is_cheaper(&self) -> bool {
        let rates = |of: &Amounts| [of.input, of.output, of.cache_write_5m, of.cache_write_1h, of.cache_read];
        self.before
            .is_some_and(|before| rates(&before).iter().zip(rates(&self.after)).any(|(old, new)| new < *old))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::money::NanoUsd;

    fn nano(amount: i64) -> NanoUsd {
        NanoUsd::new(amount).unwrap()
    }

    #[test]
    fn the_table_as_it_is_listed_is_the_table() {
        let list = list(&Config::default());
        let text: Vec<String> = list.models.iter().map(|view| view.amounts.row(&view.model)).collect();
        let again: BTreeMap<String, Price> = toml::from_str(&text.join("\n")).unwrap();
        assert_eq!(again, *PRICES);
        assert!(
            list.models.iter().all(|view| view.version == list.version && view.source == PriceSource::Table)
        );
    }

    #[test]
    fn a_file_is_compared_with_the_list_prices_in_force() {
        let text = r#"{"anthropic": {"models": {
          "claude-opus-5": {"cost": {"input": 5, "output": 25, "cache_read": 0.5, "cache_write": 6.25}},
          "claude-haiku-4-5": {"cost": {"input": 1, "output": 4, "cache_read": 0.1, "cache_write": 1.25}},
          "claude-next-20270101": {"tool_call": true, "cost": {"input": 1, "output": 2}}}}}"#;
        let mut config = Config::default();
        // What was negotiated or set by hand is no list price.
        config.providers.get_mut("anthropic").unwrap().multiplier_bp = 1;
        let changes = diff(text, &config).unwrap();
        let shown: Vec<(&str, bool, bool)> = changes
            .iter()
            .map(|change| (change.model.as_str(), change.before.is_some(), change.is_cheaper()))
            .collect();
        assert_eq!(shown, [("claude-haiku-4-5", true, true), ("claude-next-20270101", false, false)]);
        assert_eq!(changes[0].after.output, nano(4000).nano());
    }
}
