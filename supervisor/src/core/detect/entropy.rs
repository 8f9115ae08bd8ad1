//! How random a text looks, in integers: entropy, and what gives away a text that somebody only made up.

/// The longest text that is looked at, in bytes; a random one shows within it.
const LOOKED_AT: usize = 256;
/// One bit, in the unit of [`LOG2`].
const BIT: u32 = 1024;
/// Binary logarithms of 1 to 256, in 1024ths; nothing at 0.
const LOG2: [u32; LOOKED_AT + 1] = {
    let mut table = [0; LOOKED_AT + 1];
    let mut n = 1;
    while n <= LOOKED_AT {
        table[n] = log2(n as u32);
        n += 1;
    }
    table
};

const fn log2(n: u32) -> u32 {
    let whole = 31 - n.leading_zeros();
    // Squaring a number between one and two shows the next digit of its logarithm.
    let mut rest = (n as u64) << (31 - whole);
    let mut found = whole * BIT;
    let mut digit = BIT / 2;
    while digit > 0 {
        rest = (rest * rest) >> 31;
        if rest >= 1 << 32 {
            rest >>= 1;
            found += digit;
        }
        digit /= 2;
    }
    found
}

/// The entropy of a text by how often it has each byte, in bits for the whole of it.
pub(super) fn bits(text: &[u8]) -> u32 {
    let text = text.get(..LOOKED_AT).unwrap_or(text);
    let mut counts = [0_u32; 256];
    for byte in text {
        counts[usize::from(*byte)] += 1;
    }
    let weighed = |count: u32| count * LOG2.get(count as usize).copied().unwrap_or(0);
    let whole = weighed(u32::try_from(text.len()).unwrap_or(u32::MAX).min(LOOKED_AT as u32));
    let parts: u32 = counts.into_iter().map(weighed).sum();
    whole.saturating_sub(parts) / BIT
}

/// Whether a key's body could be drawn at random: not one character again and again, not the alphabet, no word that
/// stands for a key.
pub(super) fn is_random(body: &[u8]) -> bool {
    let looked_at = body.len().min(LOOKED_AT) as u32;
    // Two and a half bits a byte: less than sixteen random hexadecimal digits have, more than any filler.
    bits(body) * 10 >= looked_at * 25 && !is_made_up(body)
}

/// Words of which a value is that only stands for a secret.
const STAND_INS: [&str; 12] = [
    "example",
    "placeholder",
    "your",
    "changeme",
    "change_me",
    "dummy",
    "redacted",
    "xxxx",
    "****",
    "....",
    "abcdef",
    "12345678",
];

/// Whether a value only stands for a secret.
pub(super) fn is_made_up(value: &[u8]) -> bool {
    let value = value.get(..LOOKED_AT).unwrap_or(value);
    let lower = value.to_ascii_lowercase();
    // Long random texts have any short word some time.
    let short = lower.get(..64).unwrap_or(&lower);
    if STAND_INS.iter().any(|word| memchr::memmem::find(short, word.as_bytes()).is_some()) {
        return true;
    }
    let steps = value.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 1).count();
    steps * 2 > value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_that_of_shannon() {
        assert_eq!([bits(b""), bits(b"aaaaaaaa"), bits(b"abababab"), bits(b"abcdefgh")], [0, 0, 8, 24]);
        assert_eq!((log2(1), log2(2), log2(3), log2(256)), (0, 1024, 1623, 8192));
    }

    #[test]
    fn what_stands_for_a_key_is_not_random() {
        for made_up in [
            "xxxxxxxxxxxxxxxx",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "IOSFODNN7EXAMPLE",
            "0000000000111111",
        ] {
            assert!(!is_random(made_up.as_bytes()), "{made_up}");
        }
        assert!(is_random(b"q7Xv2LmZ0pRtYw9K"));
    }

    #[test]
    fn two_and_a_half_bits_a_byte_are_enough_and_two_are_not() {
        let shown = |body: &str| (bits(body.as_bytes()), is_random(body.as_bytes()));
        assert_eq!(shown(&"q7Xv".repeat(6)), (48, false));
        assert_eq!(shown(&"q7XvL".repeat(6)), (69, false));
        assert_eq!(shown(&"q7XvLm".repeat(6)), (93, true));
        // Beyond what is looked at, a body neither gains nor loses.
        assert_eq!(
            [is_random("q7Xv".repeat(99).as_bytes()), is_random("q7XvLm".repeat(99).as_bytes())],
            [false, true]
        );
    }
}
