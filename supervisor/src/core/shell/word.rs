//! Words of a command line: the text they stand for, as far as it is known before the line runs.

use std::iter::Peekable;
use std::str::Chars;

use brush_parser::ParserOptions;
use brush_parser::ast;
use brush_parser::word::{self, Parameter, ParameterExpr, TildeExpr, WordPiece, WordPieceWithSource};

use super::braces;
use super::variables::{ARGUMENTS, Piece};
use crate::core::place::may_choose;

/// A word, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Its text without quotes; a home directory stays written as `~` or `$HOME`.
    pub(super) text: String,
    /// The same as a pattern of [`braces`].
    pub(super) pattern: String,
    /// What it is made of.
    pub(super) pieces: Vec<Piece>,
    /// Whether the text is all of it.
    pub(super) is_known: bool,
    /// Whether it could become other words, or other text, by the files that there are.
    pub(super) is_pattern: bool,
    /// Command lines that run to make it.
    pub(super) lines: Vec<String>,
}

/// Stands among the lines for one that cannot be read.
pub(super) const HIDDEN: &str = "\0";

/// Variables of which is known what they say.
const PLACES: [(&str, &str); 4] =
    [("HOME", "$HOME"), ("AGENTSUP_HOME", "$AGENTSUP_HOME"), ("PWD", "$PWD"), ("OLDPWD", "$OLDPWD")];

/// Reads a word.
pub(super) fn read(word: &ast::Word) -> Read {
    let mut read = Read { is_known: true, ..Read::default() };
    let options = ParserOptions::default();
    let pieces = std::panic::catch_unwind(|| word::parse(&word.value, &options));
    match pieces {
        Ok(Ok(pieces)) => read.read(&pieces, Quotes::None),
        _ => read.is_known = false,
    }
    read
}

/// Reads the text of a here-document.
pub(super) fn read_document(document: &ast::IoHereDocument) -> Read {
    let mut read = Read { is_known: true, ..Read::default() };
    if !document.requires_expansion {
        read.text.clone_from(&document.doc.value);
        return read;
    }
    let options = ParserOptions::default();
    let pieces = std::panic::catch_unwind(|| word::parse_heredoc(&document.doc.value, &options));
    match pieces {
        Ok(Ok(pieces)) => read.read(&pieces, Quotes::Some),
        _ => read.is_known = false,
    }
    read
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    None,
    Some,
}

impl Read {
    fn read(&mut self, pieces: &[WordPieceWithSource], quotes: Quotes) {
        for piece in pieces {
            self.piece(&piece.piece, quotes);
        }
    }

    fn push(&mut self, text: &str, quotes: Quotes) {
        let pattern = match quotes {
            Quotes::None => text.replace('\\', "\\\\"),
            Quotes::Some => braces::quoted(text),
        };
        self.text.push_str(text);
        self.pattern.push_str(&pattern);
        match self.pieces.last_mut() {
            Some(Piece::Text(before)) => before.push_str(&pattern),
            _ => self.pieces.push(Piece::Text(pattern)),
        }
    }

    fn place(&mut self, name: &'static str, written: &'static str) {
        self.text.push_str(written);
        self.pattern.push_str(written);
        self.pieces.push(Piece::Place(name, written));
    }

    fn unknown(&mut self, piece: Piece) {
        self.is_known = false;
        self.pieces.push(piece);
    }

    fn piece(&mut self, piece: &WordPiece, quotes: Quotes) {
        match piece {
            WordPiece::Text(text) => {
                let is_wild = || text.contains(['*', '?', '[', '{']) || may_choose(text);
                self.is_pattern |= quotes == Quotes::None && is_wild();
                self.push(text, quotes);
            }
            WordPiece::SingleQuotedText(text) => self.push(text, Quotes::Some),
            WordPiece::AnsiCQuotedText(text) => match ansi_c(text) {
                Some(text) => self.push(&text, Quotes::Some),
                None => self.unknown(Piece::Unknown),
            },
            WordPiece::DoubleQuotedSequence(pieces) | WordPiece::GettextDoubleQuotedSequence(pieces) => {
                if pieces.is_empty() {
                    self.push("", Quotes::Some);
                }
                self.read(pieces, Quotes::Some);
            }
            WordPiece::TildeExpansion(TildeExpr::Home) => self.place("HOME", "~"),
            WordPiece::TildeExpansion(TildeExpr::UserHome(user)) => self.push(&format!("~{user}"), quotes),
            WordPiece::TildeExpansion(TildeExpr::WorkingDir) => self.push("~+", quotes),
            WordPiece::TildeExpansion(_) => self.push("~-", quotes),
            WordPiece::ParameterExpansion(parameter) => self.parameter(parameter, quotes),
            WordPiece::CommandSubstitution(line) => self.substitution(line.clone()),
            WordPiece::BackquotedCommandSubstitution(line) => self.substitution(unescaped(line)),
            WordPiece::EscapeSequence(text) => {
                let text = text.strip_prefix('\\').unwrap_or(text).trim_start_matches('\n');
                // A line that goes on leaves nothing behind.
                self.push(text, if text.is_empty() { Quotes::None } else { Quotes::Some });
            }
            // Arithmetic can hold substitutions: `$(( $(rm x) ))`.
            WordPiece::ArithmeticExpression(expression) => {
                self.unknown(Piece::Unknown);
                self.hidden(&expression.value);
            }
        }
    }

    fn substitution(&mut self, line: String) {
        self.unknown(Piece::Unknown);
        self.lines.push(line);
    }

    fn parameter(&mut self, expression: &ParameterExpr, quotes: Quotes) {
        if let ParameterExpr::Parameter { parameter: Parameter::Named(name), indirect: false } = expression
            && let Some((name, written)) = PLACES.iter().find(|(place, _)| place == name)
        {
            return self.place(name, written);
        }
        self.unknown(piece_of(expression, quotes));
        // `${x:-$(rm y)}`: words within words, told apart no further.
        self.hidden(&format!("{expression:?}"));
    }

    /// Text within which something could run that is not read.
    fn hidden(&mut self, text: &str) {
        if text.contains("$(") || text.contains('`') {
            self.lines.push(HIDDEN.to_owned());
        }
    }
}

fn piece_of(expression: &ParameterExpr, quotes: Quotes) -> Piece {
    match expression {
        ParameterExpr::Parameter { parameter, indirect: false } => {
            let name = match parameter {
                Parameter::Named(name)
                | Parameter::NamedWithIndex { name, .. }
                | Parameter::NamedWithAllIndices { name, .. } => name.as_str(),
                Parameter::Positional(_) | Parameter::Special(_) => ARGUMENTS,
            };
            let of = if quotes == Quotes::None { Piece::Words } else { Piece::Variable };
            of(name.to_owned())
        }
        ParameterExpr::UseDefaultValues { default_value: Some(text), .. }
        | ParameterExpr::AssignDefaultValues { default_value: Some(text), .. }
        | ParameterExpr::UseAlternativeValue { alternative_value: Some(text), .. } => {
            Piece::Computed(vec![text.replace(['"', '\'', '\\'], "")])
        }
        _ => Piece::Computed(Vec::new()),
    }
}

/// What stands between `$'` and `'`, with its escapes resolved; none where one is not known, or makes no text.
fn ansi_c(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        let plain = match number(&mut letters, 8, 3) {
            // A byte of a longer letter is no text by itself, and after a zero the shell stops reading.
            Some(found) => Some(found).filter(char::is_ascii),
            None => match letters.next()? {
                'x' => number(&mut letters, 16, 2).filter(char::is_ascii),
                'u' => number(&mut letters, 16, 4),
                'U' => number(&mut letters, 16, 8),
                'n' => Some('\n'),
                't' => Some('\t'),
                'r' => Some('\r'),
                'a' => Some('\x07'),
                'b' => Some('\x08'),
                'e' | 'E' => Some('\x1b'),
                'f' => Some('\x0c'),
                'v' => Some('\x0b'),
                quoted @ ('\\' | '\'' | '"' | '?') => Some(quoted),
                _ => None,
            },
        };
        out.push(plain.filter(|letter| *letter != '\0')?);
    }
    Some(out)
}

/// The letter whose number comes next, in so many digits at most.
fn number(letters: &mut Peekable<Chars<'_>>, radix: u32, most: usize) -> Option<char> {
    let mut digits = String::new();
    while digits.len() < most
        && let Some(digit) = letters.next_if(|letter| letter.is_digit(radix))
    {
        digits.push(digit);
    }
    u32::from_str_radix(&digits, radix).ok().and_then(char::from_u32)
}

/// A line between back quotes escapes back quotes, dollars and itself.
fn unescaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let escapes = letter == '\\' && letters.peek().is_some_and(|next| "`$\\".contains(*next));
        if !escapes {
            text.push(letter);
        } else if let Some(next) = letters.next() {
            text.push(next);
        }
    }
    text
}
