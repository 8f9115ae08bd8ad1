//! Braces of a word, as shells expand them before all else: `{~/a,b}/x` is `~/a/x` and `b/x`. Pure.
//!
//! Words come in as patterns: their text, with a backslash before what is quoted and would mean something, and before each
//! backslash. So `{'}',a}` is `{\\},a}`, which is `}` and `a`.

/// The deepest nesting, braces that nothing closes included: so much of a text is read again for each of its braces.
const DEPTH_MAX: usize = 8;
/// The longest text that is looked at: each of what it stands for may be as long.
const BYTES_MAX: usize = 16 * 1024;
/// The most bytes that all of it together may have.
const MADE_MAX: usize = 1024 * 1024;

/// What means something to braces, unless it is quoted.
const SIGNS: [char; 5] = ['{', '}', ',', '.', '\\'];

/// The texts that a pattern stands for, its own where it has no braces; none where they are more than `most`, or where it
/// is too long or too deep. A range of letters or numbers is one text with `*` in its place.
pub fn expanded(pattern: &str, most: usize) -> Option<Vec<String>> {
    if pattern.len() > BYTES_MAX {
        return None;
    }
    let made = expand(pattern, most, 0)?;
    Some(made.iter().map(|pattern| text(pattern)).collect())
}

/// The text of a pattern.
pub fn text(pattern: &str) -> String {
    let mut letters = pattern.chars();
    let mut text = String::with_capacity(pattern.len());
    while let Some(letter) = letters.next() {
        text.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    text
}

/// The pattern of a text that is quoted, so that it stands for itself.
pub(super) fn quoted(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        pattern.extend(SIGNS.contains(&letter).then_some('\\'));
        pattern.push(letter);
    }
    pattern
}

/// The letters of a pattern that are not quoted, each with its place.
fn unquoted(pattern: &str) -> impl Iterator<Item = (usize, char)> {
    let mut letters = pattern.char_indices();
    std::iter::from_fn(move || {
        loop {
            match letters.next()? {
                (_, '\\') => drop(letters.next()),
                found => return Some(found),
            }
        }
    })
}

fn expand(text: &str, most: usize, depth: usize) -> Option<Vec<String>> {
    let mut made = vec![String::new()];
    let mut rest = text;
    while let Some((start, _)) = unquoted(rest).find(|(_, letter)| *letter == '{') {
        let (before, group) = rest.split_at(start);
        append(&mut made, &[before.to_owned()]);
        let Some((inner, after)) = group_of(group)? else {
            append(&mut made, &["{".to_owned()]);
            rest = group.get(1..).unwrap_or_default();
            continue;
        };
        if depth >= DEPTH_MAX {
            return None;
        }
        let (mut choices, mut bytes) = (Vec::new(), 0);
        for choice in inner {
            let more = expand(choice, most, depth + 1)?;
            bytes += more.iter().map(String::len).sum::<usize>();
            choices.extend(more);
            // Now, not when all of them are there: each of many may have many.
            if made.len() * choices.len() > most || made.len() * bytes > MADE_MAX {
                return None;
            }
        }
        if made.iter().map(String::len).sum::<usize>() * choices.len() > MADE_MAX {
            return None;
        }
        append(&mut made, &choices);
        rest = after;
    }
    append(&mut made, &[rest.to_owned()]);
    Some(made)
}

fn append(made: &mut Vec<String>, choices: &[String]) {
    if let [one] = choices {
        return made.iter_mut().for_each(|text| text.push_str(one));
    }
    *made =
        made.iter().flat_map(|text| choices.iter().map(move |choice| format!("{text}{choice}"))).collect();
}

/// The choices of a group, and what follows it.
type Group<'t> = (Vec<&'t str>, &'t str);

/// The group that a brace opens, or that it stands for itself; none where braces are too deep in it.
fn group_of(text: &str) -> Option<Option<Group<'_>>> {
    let (mut depth, mut from, mut choices) = (0, 1, Vec::new());
    for (at, letter) in unquoted(text) {
        match letter {
            '{' if depth > DEPTH_MAX => return None,
            '{' => depth += 1,
            '}' if depth > 1 => depth -= 1,
            ',' if depth == 1 => {
                choices.push(text.get(from..at)?);
                from = at + 1;
            }
            '}' => {
                choices.push(text.get(from..at)?);
                let after = text.get(at + 1..)?;
                return Some(match choices.as_slice() {
                    [one] => is_range(one).then(|| (vec!["*"], after)),
                    _ => Some((choices, after)),
                });
            }
            _ => {}
        }
    }
    Some(None)
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
            (r"{\},.ssh}", &["}", ".ssh"]),
            (r"{a\,,.git}", &["a,", ".git"]),
            (r"{\{a,b}", &["{a", "b"]),
            (r"\{a,b}", &["{a,b}"]),
            (r"{a,b\}", &["{a,b}"]),
            (r"{1\.\.3}\\", &[r"{1..3}\"]),
            ("{}{a,b}", &["{}a", "{}b"]),
            ("{a,{b},c", &["{a,{b},c"]),
        ] {
            assert_eq!(expanded(text, 16).unwrap(), expected, "{text}");
        }
        assert_eq!(expanded("{a,b}{a,b}{a,b}{a,b}{a,b}", 16), None);
        assert_eq!(expanded(&"{a,".repeat(4), 16).unwrap(), ["{a,{a,{a,{a,"]);
        // Nothing takes long, however it is written.
        assert_eq!(expanded(&"{a,".repeat(4000), 16), None);
        assert_eq!(expanded(&"{a}".repeat(5000), 16).unwrap(), ["{a}".repeat(5000)]);
        assert_eq!(expanded(&"{a}".repeat(6000), 16), None);
        assert_eq!(expanded(&format!("{}{}", "{a,".repeat(40), "}".repeat(40)), 64), None);
        // And nothing takes much room: what stands before a choice is not copied until the choices are counted.
        assert_eq!(expanded(&format!("{}{{{}}}", "x".repeat(8000), "a,".repeat(4000)), 1024), None);
        assert_eq!(expanded(&format!("{}{{{}}}", "x".repeat(8000), "a,".repeat(1000)), 1024), None);
        assert_eq!(
            expanded(&format!("{{{}}}", format!("{},", "x".repeat(1000)).repeat(16)), 1024)
                .map(|made| made.len()),
            Some(17)
        );
    }
}
