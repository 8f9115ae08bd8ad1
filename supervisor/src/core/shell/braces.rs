//! Braces of a word, as shells expand them before all else: `{~/a,b}/x` is `~/a/x` and `b/x`. Pure.
//!
//! Words come in as patterns: their text, with a backslash before what is quoted and would mean something, and before each
//! backslash. So `{'}',a}` is `{\\},a}`, which is `}` and `a`. Quotes around nothing are a backslash and a zero.
//!
//! It is done as bash does it: a brace closes a group only behind a comma or `..` of the group's own (`x{},a}` is `x}` and
//! `xa`), and a group that has commas within others only loses its braces (`{../a{,b}}` is `../a` and `../ab`).

/// The deepest nesting, braces that nothing closes included: so much of a text is read again for each of its braces.
const DEPTH_MAX: usize = 8;
/// The most braces that may open a group: for each the rest of the text is looked through.
const BRACES_MAX: usize = 512;
/// The longest text that is looked at: each of what it stands for may be as long.
const BYTES_MAX: usize = 16 * 1024;
/// The most bytes that all of it together may have.
const MADE_MAX: usize = 1024 * 1024;

/// What means something to braces, unless it is quoted.
const SIGNS: [char; 5] = ['{', '}', ',', '.', '\\'];

/// The texts that a pattern stands for, its own where it has no braces; none where they are more than `most`, or where it
/// is too long or too deep. A range of letters or numbers is one text with `*` in its place.
pub fn expanded(pattern: &str, most: usize) -> Option<Vec<String>> {
    let opened = unquoted(pattern).filter(|(_, letter)| *letter == '{').take(BRACES_MAX + 1).count();
    if pattern.len() > BYTES_MAX || opened > BRACES_MAX {
        return None;
    }
    let made = expand(pattern, most, 0, Beginning::Unsure)?;
    Some(made.iter().map(|pattern| text(pattern)).collect())
}

/// The text of a pattern.
pub fn text(pattern: &str) -> String {
    let mut letters = pattern.chars();
    let mut text = String::with_capacity(pattern.len());
    while let Some(letter) = letters.next() {
        let mut quoted = || letters.next().filter(|letter| *letter != '\0');
        text.extend(if letter == '\\' { quoted() } else { Some(letter) });
    }
    text
}

/// The pattern of a text that is quoted, so that it stands for itself.
pub(super) fn quoted(text: &str) -> String {
    if text.is_empty() {
        return "\\\0".to_owned();
    }
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

/// What a text that begins with `{}` may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    Unsure,
    Group,
}

fn expand(text: &str, most: usize, depth: usize, begins: Beginning) -> Option<Vec<String>> {
    let mut made = vec![String::new()];
    let mut rest = text;
    while let Some((start, _)) = unquoted(rest).find(|(_, letter)| *letter == '{') {
        let (before, group) = rest.split_at(start);
        made = all(made, &[before.to_owned()], most)?;
        let is_first = made.iter().all(String::is_empty) && before.is_empty();
        let is_sure = is_first && begins == Beginning::Group;
        let opened = group;
        let Some(group) = group_of(group)? else {
            append(&mut made, &["{".to_owned()]);
            rest = rest.get(start + 1..).unwrap_or_default();
            continue;
        };
        if depth >= DEPTH_MAX {
            return None;
        }
        // At the beginning, and behind a blank, `{}` opens nothing, which is not known once its quotes are gone.
        let may_open = before.is_empty() || before.ends_with(char::is_whitespace);
        if opened.starts_with("{}") && may_open && !is_sure {
            let mut tails = expand(opened, most, depth, Beginning::Group)?;
            let rest = expand(opened.get(1..)?, most, depth, Beginning::Unsure)?;
            tails.extend(rest.iter().map(|rest| format!("{{{rest}")));
            return all(made, &tails, most);
        }
        let (mut choices, mut bytes) = (Vec::new(), 0);
        for choice in &group.choices {
            let more = expand(choice, most, depth + 1, Beginning::Unsure)?;
            bytes += more.iter().map(String::len).sum::<usize>();
            choices.extend(more);
            // Now, not when all of them are there: each of many may have many.
            if made.len() * choices.len() > most || made.len() * bytes > MADE_MAX {
                return None;
            }
        }
        if group.may_be_itself {
            let within = expand(group.within, most, depth + 1, Beginning::Unsure)?;
            choices.extend(within.iter().map(|within| format!("{{{within}}}")));
        }
        made = all(made, &choices, most)?;
        rest = group.after;
    }
    all(made, &[rest.to_owned()], most)
}

/// Each of the beginnings with each of the choices; none where they are more than `most`, or too long.
fn all(mut made: Vec<String>, choices: &[String], most: usize) -> Option<Vec<String>> {
    let bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    if made.len() * choices.len() > most
        || bytes(&made) * choices.len() + made.len() * bytes(choices) > MADE_MAX
    {
        return None;
    }
    append(&mut made, choices);
    Some(made)
}

fn append(made: &mut Vec<String>, choices: &[String]) {
    if let [one] = choices {
        return made.iter_mut().for_each(|text| text.push_str(one));
    }
    *made =
        made.iter().flat_map(|text| choices.iter().map(move |choice| format!("{text}{choice}"))).collect();
}

/// A group in braces.
struct Group<'t> {
    /// What is between them.
    within: &'t str,
    /// What it stands for.
    choices: Vec<&'t str>,
    /// Whether it may stand for itself as well.
    may_be_itself: bool,
    /// What follows it.
    after: &'t str,
}

/// The group that a brace opens, or that it stands for itself; none where braces are too deep in it.
fn group_of(text: &str) -> Option<Option<Group<'_>>> {
    let (mut depth, mut from, mut choices, mut has_parts) = (0, 1, Vec::new(), false);
    for (at, letter) in unquoted(text).skip(1) {
        match letter {
            '}' if depth > 0 => depth -= 1,
            '}' if has_parts => {
                choices.push(text.get(from..at)?);
                return Some(Some(group(text.get(1..at)?, choices, text.get(at + 1..)?)));
            }
            '{' if depth > DEPTH_MAX => return None,
            '{' => depth += 1,
            ',' if depth == 0 => {
                choices.push(text.get(from..at)?);
                (from, has_parts) = (at + 1, true);
            }
            '.' if depth == 0 => {
                let next = text.get(at + 1..)?.strip_prefix('.');
                has_parts |= next.is_some_and(|next| !next.starts_with('}'));
            }
            _ => {}
        }
    }
    Some(None)
}

fn group<'t>(within: &'t str, parts: Vec<&'t str>, after: &'t str) -> Group<'t> {
    let has_inner = unquoted(within).any(|(_, letter)| letter == ',');
    let (choices, may_be_itself) = match parts.as_slice() {
        [_] if has_inner => (parts, false),
        // A comma in quotes takes the braces away, one behind a backslash does not.
        [_] if within.contains(',') => (parts, true),
        [one] if is_range(one) => (vec!["*"], false),
        [_] => (Vec::new(), true),
        _ => (parts, false),
    };
    Group { within, choices, may_be_itself, after }
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
            ("x{},.ssh}", &["x}", "x.ssh"]),
            ("{x},.ssh}", &["x}", ".ssh"]),
            ("{},.ssh}", &["}", ".ssh", "{},.ssh}"]),
            ("{}{},a}", &["}{}", "a", "{}}", "{}a"]),
            ("\\\0{},a}", &["}", "a"]),
            ("{../a{,x}}", &["../a", "../ax"]),
            (r"{../a\,}", &["../a,", "{../a,}"]),
            ("{1..2},x}", &["*,x}"]),
            ("{a..b.c},x}{d,e}", &["{a..b.c},x}d", "{a..b.c},x}e"]),
            ("{..},.ssh}", &["..}", ".ssh"]),
            ("{.\\\0.x},.ssh}", &["..x}", ".ssh"]),
            ("{a,{b},c", &["{a,{b},c"]),
        ] {
            assert_eq!(expanded(text, 16).unwrap(), expected, "{text}");
        }
        assert_eq!(expanded("{a,b}{a,b}{a,b}{a,b}{a,b}", 16), None);
        assert_eq!(expanded(&"{a,".repeat(4), 16).unwrap(), ["{a,{a,{a,{a,"]);
        // Nothing takes long, however it is written.
        assert_eq!(expanded(&"{a,".repeat(4000), 16), None);
        assert_eq!(expanded(&"{a}".repeat(500), 16).unwrap(), ["{a}".repeat(500)]);
        assert_eq!(expanded(&"{a}".repeat(600), 16), None);
        assert_eq!(expanded(&"a".repeat(BYTES_MAX + 1), 16), None);
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
