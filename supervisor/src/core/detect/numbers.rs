//! Numbers with check digits: bank accounts, payment cards, persons' numbers at their states.

use super::finding::{Finding, Kind};
use super::formats::is_glued;

/// Cards that payment providers print in their documentation.
const TEST_CARDS: [&[u8]; 18] = [
    b"4111111111111111",
    b"4242424242424242",
    b"4012888888881881",
    b"4000056655665556",
    b"4222222222222",
    b"5555555555554444",
    b"5105105105105100",
    b"2223003122003222",
    b"5200828282828210",
    b"378282246310005",
    b"371449635398431",
    b"378734493671000",
    b"6011111111111117",
    b"6011000990139424",
    b"30569309025904",
    b"38520000023237",
    b"3530111333300000",
    b"3566002020360505",
];
/// Accounts that banks and standards print.
const TEST_IBANS: [&str; 6] = [
    "DE89370400440532013000",
    "GB82WEST12345698765432",
    "GB29NWBK60161331926819",
    "FR1420041010050500013M02606",
    "NL91ABNA0417164300",
    "ES9121000418450200051332",
];
/// How long each country's account numbers are.
const IBAN_LENGTHS: [(&str, usize); 40] = [
    ("AD", 24),
    ("AE", 23),
    ("AT", 20),
    ("BE", 16),
    ("BG", 22),
    ("BR", 29),
    ("CH", 21),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("EE", 20),
    ("ES", 24),
    ("FI", 18),
    ("FR", 27),
    ("GB", 22),
    ("GI", 23),
    ("GR", 27),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IS", 26),
    ("IT", 27),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("MC", 27),
    ("MT", 31),
    ("NL", 18),
    ("NO", 15),
    ("PL", 28),
    ("PT", 25),
    ("RO", 24),
    ("SA", 24),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("TR", 26),
];

/// The account whose country begins at `at`.
pub(super) fn iban(text: &[u8], at: usize) -> Option<Finding> {
    let head = text.get(at..at + 4)?;
    let is_head =
        head.get(..2)?.iter().all(u8::is_ascii_uppercase) && head.get(2..)?.iter().all(u8::is_ascii_digit);
    if !is_head || is_glued(text, at) {
        return None;
    }
    let length =
        IBAN_LENGTHS.iter().find(|(country, _)| country.as_bytes() == head.get(..2).unwrap_or_default())?.1;
    let (account, end) = gather(text, at, length, |byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())?;
    let rest = account.get(4..)?.iter().chain(account.get(..4)?);
    let remainder = rest.fold(0_u32, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        _ => (sum * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    let is_printed = TEST_IBANS.iter().any(|test| test.as_bytes() == account);
    (remainder == 1 && !is_printed).then(|| Finding::certain(Kind::Iban, at..end))
}

/// So many characters from `at` on, single spaces between them left out, and where they end. None if there are others, or
/// one more.
fn gather(text: &[u8], at: usize, count: usize, is_one: impl Fn(u8) -> bool) -> Option<(Vec<u8>, usize)> {
    let mut found = Vec::with_capacity(count);
    let mut end = at;
    while found.len() < count {
        let byte = *text.get(end)?;
        match byte {
            b' ' if text.get(end.checked_sub(1)?) != Some(&b' ') => {}
            _ if is_one(byte) => found.push(byte),
            _ => return None,
        }
        end += 1;
    }
    (!text.get(end).is_some_and(u8::is_ascii_alphanumeric)).then_some((found, end))
}

/// What a run of digits, set apart by single separators or not, is; it begins at `at`. Also where to look on: what is
/// nothing as a whole may have something in it.
pub(super) fn run(text: &[u8], at: usize) -> (Option<Finding>, usize) {
    let rest = text.get(at..).unwrap_or_default();
    let spelt = rest.iter().take(40).take_while(|byte| byte.is_ascii_digit() || b" -.".contains(byte));
    if spelt.filter(|byte| byte.is_ascii_digit()).count() < 8 {
        return (None, at + rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
    }
    let (mut digits, mut groups, mut ends) = (Vec::with_capacity(24), vec![0_usize], Vec::with_capacity(8));
    let (mut end, mut separator) = (at, None);
    while let Some(byte) = text.get(end).filter(|_| digits.len() < 24) {
        match byte {
            b'0'..=b'9' => {
                digits.push(*byte);
                if let Some(last) = groups.last_mut() {
                    *last += 1;
                }
            }
            b' ' | b'-' | b'.'
                if separator.is_none_or(|used| used == *byte || *byte == b'-')
                    && next_is_digit(text, end) =>
            {
                separator = separator.or(Some(*byte));
                groups.push(0);
                ends.push(end);
            }
            _ => break,
        }
        end += 1;
    }
    ends.push(end);
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    let is_rest = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-.#$".contains(byte));
    for count in [groups.len(), 4, 3, 1].into_iter().filter(|count| !is_rest && *count <= groups.len()) {
        let (Some(groups), Some(end)) = (groups.get(..count), ends.get(count - 1).copied()) else { continue };
        let digits = digits.get(..groups.iter().sum()).unwrap_or_default();
        let number = Number { digits, groups, separator };
        let kind = if goes_on(text, end) { None } else { number.kind(text, at) };
        if let Some(kind) = kind {
            return (Some(Finding::certain(kind, at..end)), end);
        }
        if let Some(end) = number.spanish_end(text, at, end) {
            return (Some(Finding::certain(Kind::NationalId, at..end)), end);
        }
    }
    // As the kernel of a long run of digits none is looked for.
    let next = ends.first().copied().unwrap_or(end);
    (
        None,
        next + text.get(next..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count(),
    )
}

/// Whether what ends before `end` is the beginning of a longer word.
fn goes_on(text: &[u8], end: usize) -> bool {
    let next = |at: usize| text.get(at).is_some_and(u8::is_ascii_alphanumeric);
    next(end) || text.get(end) == Some(&b'_') || (matches!(text.get(end), Some(b'-' | b'.')) && next(end + 1))
}

fn next_is_digit(text: &[u8], at: usize) -> bool {
    text.get(at + 1).is_some_and(u8::is_ascii_digit)
}

struct Number<'a> {
    digits: &'a [u8],
    groups: &'a [usize],
    separator: Option<u8>,
}

impl Number<'_> {
    fn kind(&self, text: &[u8], at: usize) -> Option<Kind> {
        if self.is_card() {
            return Some(Kind::Card);
        }
        let is_person =
            self.is_american(text, at) || self.is_brazilian() || self.is_french() || self.is_polish(text, at);
        is_person.then_some(Kind::NationalId)
    }

    /// Issuers' ranges with their lengths, in one piece or grouped as on a card, and the check digit.
    fn is_card(&self) -> bool {
        let head = |count: usize| self.digits.get(..count).map_or(0, number);
        let length = self.digits.len();
        let is_issued = match length {
            13 | 16 | 19 if head(1) == 4 => true,
            16 => {
                (51..=55).contains(&head(2))
                    || (2221..=2720).contains(&head(4))
                    || head(4) == 6011
                    || head(2) == 65
                    || (644..=649).contains(&head(3))
                    || (3528..=3589).contains(&head(4))
            }
            15 => matches!(head(2), 34 | 37),
            14 => matches!(head(2), 36 | 38) || (300..=305).contains(&head(3)),
            _ => false,
        };
        let is_grouped = matches!(self.groups, [_] | [4, 4, 4, 4] | [4, 6, 5] | [4, 6, 4]);
        is_issued
            && is_grouped
            && self.separator != Some(b'.')
            && luhn(self.digits)
            && !TEST_CARDS.contains(&self.digits)
            // A number of few different digits was typed, not issued.
            && distinct(self.digits) > 3
    }

    /// The United States' has no check digit, so the text must say that it is one.
    fn is_american(&self, text: &[u8], at: usize) -> bool {
        let (area, group, serial) = (self.part(0, 3), self.part(3, 5), self.part(5, 9));
        let is_issued = area != 0 && area != 666 && area < 900 && group != 0 && serial != 0;
        self.groups == [3, 2, 4]
            && self.separator == Some(b'-')
            && is_issued
            && is_said(text, at, &["ssn", "social"])
    }

    /// Brazil's CPF, in its usual spelling: two check digits.
    fn is_brazilian(&self) -> bool {
        let check = |count: usize| {
            let digits = self.digits.get(..count).unwrap_or_default();
            let sum: u32 = digits
                .iter()
                .zip((2..=count as u32 + 1).rev())
                .map(|(digit, weight)| value(*digit) * weight)
                .sum();
            (sum * 10 % 11) % 10
        };
        self.groups == [3, 3, 3, 2]
            && self.separator == Some(b'.')
            && distinct(self.digits) > 1
            && check(9) == self.part(9, 10)
            && check(10) == self.part(10, 11)
    }

    /// France's, grouped: a remainder by 97.
    fn is_french(&self) -> bool {
        let body = self.digits.get(..13).unwrap_or_default().iter();
        let remainder = body.fold(0_u32, |sum, digit| (sum * 10 + value(*digit)) % 97);
        self.groups == [1, 2, 2, 2, 3, 3, 2]
            && matches!(self.part(0, 1), 1 | 2)
            && (1..=12).contains(&self.part(3, 5))
            && 97 - remainder == self.part(13, 15)
    }

    /// Poland's: one check digit and a date, so the text must say that it is one.
    fn is_polish(&self, text: &[u8], at: usize) -> bool {
        let weights = [1, 3, 7, 9, 1, 3, 7, 9, 1, 3];
        let sum: u32 = self.digits.iter().zip(weights).map(|(digit, weight)| value(*digit) * weight).sum();
        self.digits.len() == 11
            && self.groups.len() == 1
            && (10 - sum % 10) % 10 == self.part(10, 11)
            && is_said(text, at, &["pesel"])
    }

    /// Spain's: eight digits and a letter that follows from them. Answers where it ends.
    fn spanish_end(&self, text: &[u8], at: usize, end: usize) -> Option<usize> {
        let letter = text.get(end).copied()?;
        let is_whole = self.digits.len() == 8 && self.groups.len() == 1 && !goes_on(text, end + 1);
        let expected = b"TRWAGMYFPDXBNJZSQVHLCKE".get(number(self.digits) as usize % 23).copied()?;
        (is_whole && letter == expected && is_said(text, at, &["dni", "nif", "nie"])).then_some(end + 1)
    }

    fn part(&self, from: usize, to: usize) -> u32 {
        self.digits.get(from..to).map_or(0, number)
    }
}

/// Whether one of the words stands shortly before.
fn is_said(text: &[u8], at: usize, words: &[&str]) -> bool {
    let near = text.get(at.saturating_sub(32)..at).unwrap_or_default().to_ascii_lowercase();
    words.iter().any(|word| memchr::memmem::find(&near, word.as_bytes()).is_some())
}

/// Italy's tax code at `at`: letters and digits in their places, and a check letter.
pub(super) fn italian(text: &[u8], at: usize) -> Option<Finding> {
    const ODD: [u32; 36] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12,
        14, 16, 10, 22, 25, 24, 23,
    ];
    let code = text.get(at..at + 16)?;
    let shape = b"AAAAAA99A99A999A";
    let fits = code.iter().zip(shape).all(|(byte, kind)| match kind {
        b'A' => byte.is_ascii_uppercase(),
        _ => byte.is_ascii_digit(),
    });
    if !fits || is_glued(text, at) || text.get(at + 16).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let rank = |byte: u8| if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' + 10 };
    let sum: u32 = code
        .iter()
        .take(15)
        .enumerate()
        .map(|(index, byte)| match (index % 2, *byte) {
            (0, byte) => ODD.get(usize::from(rank(byte))).copied().unwrap_or(0),
            (_, byte) if byte.is_ascii_digit() => u32::from(byte - b'0'),
            (_, byte) => u32::from(byte - b'A'),
        })
        .sum();
    let is_right = code.last().is_some_and(|letter| u32::from(letter - b'A') == sum % 26);
    is_right.then(|| Finding::certain(Kind::NationalId, at..at + 16))
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, value(*digit)) {
            (0, digit) => digit,
            (_, digit) => digit * 2 - if digit > 4 { 9 } else { 0 },
        })
        .sum();
    sum.is_multiple_of(10)
}

fn value(digit: u8) -> u32 {
    u32::from(digit.saturating_sub(b'0'))
}

/// The value of at most nine digits.
fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |sum: u32, digit| sum.saturating_mul(10).saturating_add(value(*digit)))
}

fn distinct(digits: &[u8]) -> u32 {
    digits.iter().fold(0_u16, |seen, digit| seen | 1 << value(*digit).min(15)).count_ones()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All but the last digit of each.
    const CARDS: [&str; 4] = ["453276942381037", "37144963539841", "222340003122003", "601160009901394"];

    #[test]
    fn of_ten_last_digits_one_makes_a_card() {
        for card in CARDS {
            let found: Vec<String> = (0..10)
                .map(|digit| format!("{card}{digit}"))
                .filter(|card| run(card.as_bytes(), 0).0.is_some_and(|found| found.kind == Kind::Card))
                .collect();
            // By hand: every second digit from the right doubled, the digits of all summed.
            let sum: u32 = card
                .bytes()
                .rev()
                .enumerate()
                .map(|(index, byte)| (u32::from(byte - b'0'), index % 2 == 0))
                .map(|(digit, is_doubled)| if is_doubled { digit * 2 / 10 + digit * 2 % 10 } else { digit })
                .sum();
            assert_eq!(found, [format!("{card}{}", (10 - sum % 10) % 10)], "{card}");
        }
    }

    #[test]
    fn the_check_digit_is_that_of_luhn() {
        let of = |digits: &str| luhn(digits.as_bytes());
        // The example of the standard's annex, and its neighbours.
        assert_eq!(
            ["79927398713", "79927398710", "79927398714", "97927398713", "18", "81"].map(of),
            [true, false, false, false, true, false]
        );
    }
}
