//! Braces of a word, as shells expand them before all else: `{~/a,b}/x` is `~/a/x` and `b/x`. Pure.

/// The deepest nesting, braces that nothing closes included: so much of a text is read again for each of its braces.
const DEPTH_MAX: usize = 8;
/// The longest text that is looked at: each of what it stands for may be as long.
const BYTES_MAX: usize = 16 * 1024;
/// The most bytes that all of it together may have.
const MADE_MAX: usize = 1024 * 1024;

/// The texts that a text stands for, itself where it has no braces; none where they are more than `most`, or where the
/// text is too long or too deep. A range of letters or numbers is one text with `*` in its place.
pub fn expanded(text: &str, most: usize) -> Option<Vec<String>> {
    if text.len() > BYTES_MAX {
        return None;
    }
    expand(text, most, 0)
}

fn expand(text: &str, most: usize, depth: usize) -> Option<Vec<String>> {
    let mut made = vec![String::new()];
    let mut rest = text;
    while let Some(start) = rest.find('{') {
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
    for (at, letter) in text.char_indices() {
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
