//! Amounts as people write them: `50.00 USD` or `5000000 tokens`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::money::{MoneyError, NanoUsd};

/// An amount of a budget, in the budget's own unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Amount {
    /// Money.
    Money(NanoUsd),
    /// Tokens of any kind.
    Tokens(u64),
}

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not money.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// Not money, and perhaps tokens were meant.
    #[error("{0}; a number of tokens is written `5000000 tokens`")]
    MoneyOrTokens(MoneyError),
    /// Not tokens.
    #[error("`{0}` is not a number of tokens")]
    Tokens(String),
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let Some(number) = text.strip_suffix(" tokens") else {
            return text.parse().map(Self::Money).map_err(|error| {
                if text.contains("token") {
                    AmountError::MoneyOrTokens(error)
                } else {
                    AmountError::Money(error)
                }
            });
        };
        let number = number.trim();
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        // What the ledger can hold.
        let tokens =
            number.parse::<i64>().ok().filter(|_| digits).and_then(|tokens| u64::try_from(tokens).ok());
        tokens.map(Self::Tokens).ok_or_else(|| AmountError::Tokens(text.to_owned()))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Money(money) => money.fmt(f),
            Self::Tokens(tokens) => write!(f, "{tokens} tokens"),
        }
    }
}

impl TryFrom<String> for Amount {
    type Error = AmountError;

    fn try_from(text: String) -> Result<Self, AmountError> {
        text.parse()
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_as_it_is_read() {
        for text in ["50.00 USD", "0.000000001 USD", "0 tokens", "5000000 tokens"] {
            let amount: Amount = text.parse().unwrap();
            assert_eq!(amount.to_string(), text);
            assert_eq!(serde_json::to_string(&amount).unwrap(), format!("{text:?}"));
        }
        for (text, error) in [
            ("5", "`5` is not an amount (expected a decimal with a currency, such as `50.00 USD`)"),
            (
                "5 token",
                "`5 token` has a currency other than USD; a number of tokens is written `5000000 tokens`",
            ),
            ("-5 tokens", "`-5 tokens` is not a number of tokens"),
            ("9223372036854775808 tokens", "`9223372036854775808 tokens` is not a number of tokens"),
        ] {
            assert_eq!(text.parse::<Amount>().unwrap_err().to_string(), error);
        }
    }
}
