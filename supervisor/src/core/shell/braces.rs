//! Braces of a word, as shells expand them before all else: `{~/a,b}/x` is `~/a/x` and `b/x`. Pure.

/// The deepest nesting.
const DEPTH_MAX: usize = 8;

/// The texts that a text stands for, itself where it has no braces; none where they are more than `most`. A range of
/// letters or numbers is one text with `*` in its place.
pub fn expanded(text: &str, most: usize) -> Option<Vec<String>> {
    expand(text, most, 0)
}

fn expand(text: &str, most: usize, depth: usize) -> Option<Vec<String>> {
    let mut made = vec![String::new()];
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let (before, group) = rest.split_at(start);
        let Some((inner, after)) = group_of(group) else {
            append(&mut made, &[format!("{before}{{")]);
            rest = group.get(1..).unwrap_or_default();
            continue;
        };
        let mut choices = Vec::new();
        for choice in inner {
            if depth >= DEPTH_MAX {
                return None;
            }
            choices
                .extend(expand(choice, most, depth + 1)?.into_iter().map(|text| format!("{before}{text}")));
        }
        if made.len() * choices.len() > most {
            return None;
        }
        append(&mut made, &choices);
        rest = after;
    }
    append(&mut made, &[rest.to_owned()]);
    Some(made)
}

fn append(made: &mut Vec<String>, choices: &[String]) {
    *made =
        made.iter().flat_map(|text| choices.iter().map(move |choice| format!("{text}{choice}"))).collect();
}

/// The choices between a brace and the one that closes it, and what follows; none where it stands for itself.
fn group_of(text: &str) -> Option<(Vec<&str>, &str)> {
    let (mut depth, mut from, mut choices) = (0, 1, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 1 => depth -= 1,
            ',' if depth == 1 => {
                choices.push(text.get(from..at)?);
                from = at + 1;
            }
            '}' => {
                choices.push(text.get(from..at)?);
                let after = text.get(at + 1..)?;
                return match choices.as_slice() {
                    [one] => is_range(one).then(|| (vec!["*"], after)),
                    _ => Some((choices, after)),
                };
            }
            _ => {}
        }
    }
    None
}

fn is_range(text: &str) -> bool {
    let ends: Vec<&str> = text.split("..").collect();
    let is_number = |end: &&str| {
        let digits = end.strip_prefix('-').unwrap_or(end);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_letter = |end: &&str| end.len() == 1;
    matches!(ends.len(), 2 | 3) && (ends.iter().all(is_number) || ends.iter().take(2).all(is_letter))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn braces_are_expanded_as_bash_does() {
        for (text, expected) in [
            ("a", &["a"][..]),
            ("a{b,c}d", &["abd", "acd"]),
            ("{~/.ssh,x}/id", &["~/.ssh/id", "x/id"]),
            ("/h{/x,/.ssh}/id", &["/h/x/id", "/h/.ssh/id"]),
            ("{a,b}{c,d}", &["ac", "ad", "bc", "bd"]),
            ("{a,{b,c}d,}", &["a", "bd", "cd", ""]),
            ("{a}{b{c,d}}", &["{a}{bc}", "{a}{bd}"]),
            ("a{b,c", &["a{b,c"]),
            ("{{a,b}", &["{a", "{b"]),
            ("f{1..9}.{a..c..2}", &["f*.*"]),
            ("{../a}", &["{../a}"]),
        ] {
            assert_eq!(expanded(text, 16).unwrap(), expected, "{text}");
        }
        assert_eq!(expanded("{a,b}{a,b}{a,b}{a,b}{a,b}", 16), None);
        assert_eq!(expanded(&"{a,".repeat(4000), 16).unwrap().len(), 1);
        assert_eq!(expanded(&format!("{}{}", "{a,".repeat(40), "}".repeat(40)), 64), None);
    }
}
