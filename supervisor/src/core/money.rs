//! Money as integers: nano-USD. There is no floating point anywhere near an amount; every conversion that cannot be
//! exact rounds against the spender.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Nano-USD in one US dollar.
pub const NANO_PER_USD: i64 = 1_000_000_000;

/// A non-negative amount in nano-USD (1 USD = 1 000 000 000; the largest amount is about 9.2 billion USD).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct NanoUsd(i64);

/// Why a text or number is not an amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a decimal with a currency.
    #[error("`{0}` is not an amount (expected a decimal with a currency, such as `50.00 USD`)")]
    Malformed(String),
    /// A currency that has no price table.
    #[error("`{0}` has a currency other than USD")]
    Currency(String),
    /// More than nine decimals, or too large.
    #[error("`{0}` cannot be held exactly in nano-USD")]
    Inexact(String),
    /// Below zero.
    #[error("`{0}` nano-USD is below zero")]
    Negative(i64),
}

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount; sums saturate here, which no cap admits.
    pub const MAX: Self = Self(i64::MAX);

    /// From a count of nano-USD.
    pub fn new(nano: i64) -> Result<Self, MoneyError> {
        if nano < 0 { Err(MoneyError::Negative(nano)) } else { Ok(Self(nano)) }
    }

    /// The count of nano-USD, never negative.
    pub const fn nano(self) -> i64 {
        self.0
    }

    /// The sum, at most [`NanoUsd::MAX`].
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, at least zero.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        let difference = self.0.saturating_sub(other.0);
        Self(if difference < 0 { 0 } else { difference })
    }

    /// This price per token times a number of tokens, at most [`NanoUsd::MAX`].
    #[must_use]
    pub fn times(self, tokens: u64) -> Self {
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
        Self(self.0.saturating_mul(tokens))
    }

    /// This amount times `numerator / denominator`, rounded up; a zero denominator gives [`NanoUsd::MAX`].
    #[must_use]
    pub fn scaled_up(self, numerator: u32, denominator: u32) -> Self {
        if denominator == 0 {
            return Self::MAX;
        }
        let product = i128::from(self.0) * i128::from(numerator);
        let denominator = i128::from(denominator);
        let rounded = (product + denominator - 1) / denominator;
        Self(i64::try_from(rounded).unwrap_or(i64::MAX))
    }

    /// This amount times `numerator / denominator`, rounded down; a zero denominator gives zero.
    #[must_use]
    pub fn scaled_down(self, numerator: u32, denominator: u32) -> Self {
        let product = i128::from(self.0) * i128::from(numerator);
        let whole = product.checked_div(i128::from(denominator)).unwrap_or(0);
        Self(i64::try_from(whole).unwrap_or(i64::MAX))
    }
}

impl NanoUsd {
    /// From a JSON number of US dollars (`0.00123`, `1.2e-5`), rounded up. None for what is no such number, or is below
    /// zero; what is too large is [`NanoUsd::MAX`].
    pub fn from_usd_number(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole, decimals].concat();
        if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let exponent: i64 = exponent.parse().ok()?;
        // How many of the digits stand before the point, counted in nano-USD.
        let point = i64::try_from(whole.len()).ok()?.saturating_add(exponent).saturating_add(9);
        let mut nano: i64 = 0;
        let mut rest = false;
        for (place, byte) in (0_i64..).zip(digits.bytes()) {
            let digit = i64::from(byte - b'0');
            if place < point {
                nano = nano.saturating_mul(10).saturating_add(digit);
            } else {
                rest |= digit > 0;
            }
        }
        let missing = point.saturating_sub(i64::try_from(digits.len()).ok()?).clamp(0, 19);
        for _ in 0..missing {
            nano = nano.saturating_mul(10);
        }
        Some(Self(nano.saturating_add(i64::from(rest))))
    }
}

impl TryFrom<i64> for NanoUsd {
    type Error = MoneyError;

    fn try_from(nano: i64) -> Result<Self, MoneyError> {
        Self::new(nano)
    }
}

impl From<NanoUsd> for i64 {
    fn from(amount: NanoUsd) -> Self {
        amount.0
    }
}

/// `12.40 USD`: at least two decimals, more only where the amount has them.
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:09}", self.0 % NANO_PER_USD);
        let trimmed = decimals.trim_end_matches('0');
        let shown = if trimmed.len() < 2 { &decimals[..2] } else { trimmed };
        write!(f, "{}.{shown} USD", self.0 / NANO_PER_USD)
    }
}

impl FromStr for NanoUsd {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let malformed = || MoneyError::Malformed(text.to_owned());
        let (number, currency) = text.trim().split_once(' ').ok_or_else(malformed)?;
        if currency.trim() != "USD" {
            return Err(MoneyError::Currency(text.to_owned()));
        }
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(decimals) || number.ends_with('.') {
            return Err(malformed());
        }
        let inexact = || MoneyError::Inexact(text.to_owned());
        if decimals.len() > 9 {
            return Err(inexact());
        }
        let nano: i64 = format!("{decimals:0<9}").parse().map_err(|_| inexact())?;
        whole
            .parse::<i64>()
            .ok()
            .and_then(|usd| usd.checked_mul(NANO_PER_USD))
            .and_then(|usd| usd.checked_add(nano))
            .map(Self)
            .ok_or_else(inexact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_dollars_is_rounded_up() {
        for (text, nano) in [
            ("0", Some(0)),
            ("0.00014", Some(140_000)),
            ("1.5", Some(1_500_000_000)),
            ("12", Some(12_000_000_000)),
            ("1.2e-05", Some(12_000)),
            ("1E2", Some(100_000_000_000)),
            ("0.0000000001", Some(1)),
            ("0.0000000010", Some(1)),
            ("1e-300", Some(1)),
            ("0e999999", Some(0)),
            ("1e300", Some(i64::MAX)),
            ("1e99999999999999999999", None),
            ("-1", None),
            ("", None),
            (".5", None),
            ("null", None),
            ("\"1\"", None),
        ] {
            assert_eq!(NanoUsd::from_usd_number(text).map(NanoUsd::nano), nano, "{text}");
        }
    }

    #[test]
    fn parses_and_prints_decimals() {
        for (text, nano, shown) in [
            ("50.00 USD", 50_000_000_000, "50.00 USD"),
            ("0.000000001 USD", 1, "0.000000001 USD"),
            ("7 USD", 7_000_000_000, "7.00 USD"),
            ("12.345 USD", 12_345_000_000, "12.345 USD"),
        ] {
            let amount: NanoUsd = text.parse().unwrap();
            assert_eq!((amount.nano(), amount.to_string().as_str()), (nano, shown), "{text}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_hold_exactly() {
        for (text, error) in [
            ("50", MoneyError::Malformed("50".into())),
            ("5. USD", MoneyError::Malformed("5. USD".into())),
            ("-1 USD", MoneyError::Malformed("-1 USD".into())),
            ("1e3 USD", MoneyError::Malformed("1e3 USD".into())),
            ("1 EUR", MoneyError::Currency("1 EUR".into())),
            ("0.0000000001 USD", MoneyError::Inexact("0.0000000001 USD".into())),
            ("99999999999 USD", MoneyError::Inexact("99999999999 USD".into())),
        ] {
            assert_eq!(text.parse::<NanoUsd>(), Err(error));
        }
        assert_eq!(NanoUsd::new(-1), Err(MoneyError::Negative(-1)));
    }

    #[test]
    fn arithmetic_saturates_against_the_spender() {
        assert_eq!(NanoUsd::MAX.plus(NanoUsd(1)), NanoUsd::MAX);
        assert_eq!(NanoUsd(3).minus(NanoUsd(5)), NanoUsd::ZERO);
        assert_eq!(NanoUsd(3000).times(u64::MAX), NanoUsd::MAX);
        assert_eq!(NanoUsd(101).scaled_up(125, 100), NanoUsd(127));
        assert_eq!(NanoUsd(1).scaled_up(1, 0), NanoUsd::MAX);
    }
}
