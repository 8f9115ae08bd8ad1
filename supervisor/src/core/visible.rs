//! Text of others as a person may be shown it: what a terminal or a reader's eye would not see stands there in words.

/// Characters that move, hide or reorder what is around them: controls, zero widths, directions, tags, variants.
pub const fn is_hidden(letter: char) -> bool {
    matches!(
        letter,
        '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// The text with what is hidden in it as `<U+202E>`; line ends and tabs stay.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_hidden(letter) && !matches!(letter, '\n' | '\t') {
            out.push_str(&format!("<U+{:04X}>", u32::from(letter)));
        } else {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_eye_would_not_see_stands_in_words() {
        assert_eq!(visible("rm\t-r\n\u{1b}[2K\r\u{202e}x\u{200b}\u{e0041}"), {
            "rm\t-r\n<U+001B>[2K<U+000D><U+202E>x<U+200B><U+E0041>"
        });
        assert_eq!(visible("Grüße, 世界 ✓ 😀"), "Grüße, 世界 ✓ 😀");
    }
}
