//! Prices that a router may not exceed: it chooses who serves a call, and says so only in its answer.
//!
//! Invariant: what is put into the body is never above the price that the call's bound was made with, and never above
//! what the body asks for itself.

use std::fmt::Write as _;

use super::prices::Price;
use super::scan;
use super::splice::Splice;
use crate::core::money::NanoUsd;
use crate::registry::Ceiling;

/// What makes a router keep to the price of a call with so long a prompt; none where the body cannot say so.
pub(super) fn splices(
    ceiling: Ceiling,
    body: &[u8],
    price: &Price,
    input_tokens: u64,
) -> Option<Vec<Splice>> {
    let Ceiling::OpenRouter = ceiling;
    let (input, output) = price.ceiling(input_tokens);
    let given = member(body, "provider").filter(|value| *value != b"null");
    let asked = given.and_then(|provider| member(provider, "max_price")).filter(|value| *value != b"null");
    let at_most = |name: &str, ours: NanoUsd| match asked.and_then(|asked| member(asked, name)) {
        Some(theirs) => below(theirs, ours).then(|| String::from_utf8_lossy(theirs).into_owned()),
        None => Some(per_million(ours)),
    };
    let of = |name, ours| at_most(name, ours).unwrap_or_else(|| per_million(ours));
    let max_price =
        format!(r#"{{"prompt":{},"completion":{}}}"#, of("prompt", input), of("completion", output));
    let splice = match given {
        Some(provider) if provider.starts_with(b"{") => Splice::set(body, provider, "max_price", &max_price),
        Some(_) => None,
        None => Splice::set(body, body, "provider", &format!(r#"{{"max_price":{max_price}}}"#)),
    };
    Some(vec![splice?])
}

fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    scan::members(object).into_iter().find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
}

/// Whether a price that the body asks for, in dollars a million tokens, is at most this.
fn below(theirs: &[u8], ours: NanoUsd) -> bool {
    let theirs = std::str::from_utf8(theirs).ok().and_then(NanoUsd::from_usd_number);
    theirs.is_some_and(|theirs| theirs <= ours.times(1_000_000))
}

/// A price of one token as dollars a million.
fn per_million(price: NanoUsd) -> String {
    let nano = price.nano();
    let mut text = (nano / 1000).to_string();
    if nano % 1000 != 0 {
        // Writing to a string does not fail.
        let _ = write!(text, ".{:03}", nano % 1000);
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::gateway::{prices, splice};
    use crate::registry::{Config, PriceOverride};

    fn capped(body: &str) -> Option<String> {
        let nano = |amount| NanoUsd::new(amount).unwrap();
        let price = PriceOverride { input: nano(250), output: nano(2000), ..PriceOverride::default() };
        let config = Config { prices: [("own/model".to_owned(), price)].into(), ..Config::default() };
        let price = prices::price("router", "own/model", &config).unwrap();
        let splices = splices(Ceiling::OpenRouter, body.as_bytes(), &price, 10)?;
        let capped = splice::apply(Bytes::copy_from_slice(body.as_bytes()), &splices);
        Some(String::from_utf8(capped.to_vec()).unwrap())
    }

    #[test]
    fn a_router_may_not_exceed_the_price_of_the_bound() {
        for (body, expected) in [
            (r#"{ "a":1.0 }"#, r#"{"provider":{"max_price":{"prompt":0.250,"completion":2}}, "a":1.0 }"#),
            (r#"{"provider":null}"#, r#"{"provider":{"max_price":{"prompt":0.250,"completion":2}}}"#),
            (
                r#"{"provider":{"order":["x"]}}"#,
                r#"{"provider":{"max_price":{"prompt":0.250,"completion":2},"order":["x"]}}"#,
            ),
            // what is asked for stays where it is less
            (
                r#"{"provider":{"max_price":{"prompt":0.2,"completion":5,"image":1}}}"#,
                r#"{"provider":{"max_price":{"prompt":0.2,"completion":2}}}"#,
            ),
            (
                r#"{"provider":{"max_price":{"prompt":"0.1","completion":2e0}}}"#,
                r#"{"provider":{"max_price":{"prompt":0.250,"completion":2e0}}}"#,
            ),
        ] {
            assert_eq!(capped(body).as_deref(), Some(expected));
        }
        assert_eq!(capped(r#"{"provider":"x"}"#), None);
    }
}
