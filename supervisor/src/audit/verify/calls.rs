//! Each call by itself: the corrections of its amount, and its row of usage against reservation and record.

use super::{Corrections, Log, Told};
use crate::core::record::EventEntry;
use crate::core::usage::Usage;
use crate::store::corrections::{self, Entered};
use crate::store::ledger::Booked;
use crate::store::usage::{self, Noted};
use crate::store::{Connection, StoreError};

/// What is found, and where.
type Found = (u64, String);

/// What a record says of a correction; what it does not say is nothing the ledger could have.
pub(super) fn entered(record: String, event: &EventEntry) -> Entered {
    let fact = |name: &str| event.facts.get(name);
    let number = |name: &str| fact(name).and_then(|text| text.parse().ok()).unwrap_or(-1);
    let class = |name: &str| fact(name).and_then(|text| text.parse().ok());
    let usage = || {
        Some(Usage {
            input_tokens: class("input_tokens")?,
            cache_write_5m_tokens: class("cache_write_5m_tokens")?,
            cache_write_1h_tokens: class("cache_write_1h_tokens")?,
            cache_read_tokens: class("cache_read_tokens")?,
            output_tokens: class("output_tokens")?,
        })
    };
    Entered {
        record,
        reservation: fact("reservation").cloned().unwrap_or_default(),
        nano_usd: (number("old_nano_usd"), number("new_nano_usd")),
        tokens: (number("old_tokens"), number("new_tokens")),
        usage: usage(),
    }
}

/// What a call comes to after its corrections, each of which begins where the one before it ended.
pub(super) fn last(told: &Told, corrections: &[(u64, Entered)]) -> Result<(Option<i64>, Option<i64>), Found> {
    let (mut nano_usd, mut tokens) = (told.posted, told.tokens);
    for (seq, entered) in corrections {
        let follows =
            nano_usd == Some(entered.nano_usd.0) && tokens.is_none_or(|tokens| tokens == entered.tokens.0);
        if !follows {
            return Err((*seq, "it corrects another amount than the call had".to_owned()));
        }
        (nano_usd, tokens) = (Some(entered.nano_usd.1), Some(entered.tokens.1));
    }
    Ok((nano_usd, tokens))
}

impl Log {
    /// The corrections that log and ledger tell alike, or the first that they do not.
    pub(super) fn corrections(
        &self,
        connection: &Connection,
    ) -> Result<Result<Corrections, Found>, StoreError> {
        let mut told = self.corrected.clone();
        let (mut same, mut wrong) = (Corrections::new(), Vec::new());
        for entered in corrections::list(connection)? {
            match told.remove(&entered.record) {
                Some((seq, said)) if said == entered => {
                    same.entry(entered.reservation.clone()).or_default().push((seq, entered));
                }
                Some((seq, _)) => wrong.push((seq, "the ledger has another correction for it".to_owned())),
                None => {
                    let record = &entered.record;
                    let what =
                        format!("the ledger has a correction by `{record}`, which the log does not have");
                    wrong.push((self.seq + 1, what));
                }
            }
        }
        let lost = told.values().map(|(seq, _)| (*seq, "the ledger does not have the correction".to_owned()));
        if let Some(first) = wrong.into_iter().chain(lost).min() {
            return Ok(Err(first));
        }
        same.values_mut().for_each(|entered| entered.sort_by_key(|(seq, _)| *seq));
        Ok(Ok(same))
    }

    /// The first call whose row of usage is not what reservation, corrections and record say.
    pub(super) fn misnoted(
        &self,
        connection: &Connection,
        booked: &[Booked],
        corrections: &Corrections,
    ) -> Result<Option<Found>, StoreError> {
        let mut noted = usage::noted(connection)?;
        let mut wrong = Vec::new();
        for row in booked {
            let Some(told) = self.money.get(&row.record) else { continue };
            let corrected = corrections.get(&row.id).map_or(&[] as &[_], Vec::as_slice);
            let is_same = matches(row, told, corrected, noted.remove(&row.id).as_ref());
            wrong.extend(is_same.err().map(|what| (told.seq, what.to_owned())));
        }
        if !noted.is_empty() {
            wrong.push((
                self.seq + 1,
                "the usage of a call is noted that the ledger does not have".to_owned(),
            ));
        }
        Ok(wrong.into_iter().min())
    }
}

fn matches(
    row: &Booked,
    told: &Told,
    corrected: &[(u64, Entered)],
    noted: Option<&Noted>,
) -> Result<(), &'static str> {
    let is_billed = row.reserved_nano_usd > 0 || row.reserved_tokens > 0;
    let noted = match noted {
        None if row.is_void || !is_billed => return Ok(()),
        None => return Err("its usage is not noted"),
        Some(_) if row.is_void => return Err("its usage is noted although nothing was billed"),
        Some(noted) => noted,
    };
    let is_named = noted.model == told.model && noted.model == row.model && noted.provider == told.provider;
    if !is_named || told.prices.as_ref().is_some_and(|prices| *prices != noted.prices) {
        return Err("its usage is noted for another model, provider or price");
    }
    let state = match row.posted_nano_usd {
        None => "open",
        Some(_) if corrected.is_empty() && told.assumed => "assumed",
        Some(_) => "counted",
    };
    let (cost, tokens) = match row.posted_nano_usd {
        None => (row.reserved_nano_usd, row.reserved_tokens),
        Some(posted) => (posted, row.posted_tokens),
    };
    let is_whole = i64::try_from(noted.usage.total()) == Ok(tokens);
    if noted.state != state || noted.cost_nano_usd != cost || !is_whole {
        return Err("its usage is noted with other amounts");
    }
    let stated = corrected.iter().rev().find_map(|(_, entered)| entered.usage);
    match stated.or(told.usage) {
        Some(usage) if usage != noted.usage => Err("its usage is noted with other kinds of tokens"),
        _ => Ok(()),
    }
}
