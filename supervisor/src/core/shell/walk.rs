//! From the parser's tree to parts: every command of every block, wherever it stands.

use brush_parser::ast::{
    AndOr, AndOrList, Assignment, AssignmentName, AssignmentValue, Command, CommandPrefixOrSuffixItem,
    CompoundCommand, CompoundList, ExtendedTestExpr, IoFileRedirectKind, IoFileRedirectTarget, IoRedirect,
    Pipeline, RedirectList, SimpleCommand, Word,
};

use super::variables::{ARGUMENTS, Made, Piece, assigned};
use super::word::{self, Read};
use super::{Call, Found, Part, braces, wrappers};

/// The most values that one word of a loop or of an array may have.
const VALUES_MAX: usize = 1024;

/// What a variable is set to: a text as it stands, one more behind what it has, or each of what a word becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sets {
    Text,
    More,
    Words,
}

/// What a redirect does with its file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Write,
}

impl Found {
    pub(super) fn list(&mut self, list: &CompoundList, depth: usize) {
        for item in &list.0 {
            self.and_or(&item.0, depth);
        }
    }

    fn and_or(&mut self, list: &AndOrList, depth: usize) {
        self.pipeline(&list.first, depth);
        for more in &list.additional {
            let (AndOr::And(pipeline) | AndOr::Or(pipeline)) = more;
            self.pipeline(pipeline, depth);
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, depth: usize) {
        // The commands of a pipe are in shells of their own, and one that is to fail leads nowhere.
        let leads = self.leads;
        self.leads &= pipeline.seq.len() == 1 && !pipeline.bang;
        self.begins &= pipeline.seq.len() == 1;
        for command in &pipeline.seq {
            self.command(command, depth);
        }
        self.leads = leads;
    }

    fn command(&mut self, command: &Command, depth: usize) {
        let (leads, begins) = (std::mem::take(&mut self.leads), std::mem::take(&mut self.begins));
        match command {
            Command::Simple(simple) => {
                let begins = begins && is_bare(simple);
                self.simple(simple, depth, Part { leads, begins, ..Part::default() });
            }
            Command::Compound(compound, redirects) => {
                // First: the shell opens them before anything within changes its directory.
                self.redirects_alone(redirects.as_ref(), depth);
                self.compound(compound, depth);
            }
            Command::Function(function) => {
                self.functions.insert(function.fname.value.clone());
                self.redirects_alone(function.body.1.as_ref(), depth);
                self.compound(&function.body.0, depth);
            }
            Command::ExtendedTest(test, redirects) => {
                self.test(&test.expr, depth);
                self.redirects_alone(redirects.as_ref(), depth);
            }
        }
        self.leads = leads;
    }

    fn compound(&mut self, compound: &CompoundCommand, depth: usize) {
        match compound {
            CompoundCommand::BraceGroup(group) => self.list(&group.list, depth),
            CompoundCommand::Subshell(subshell) => self.list(&subshell.list, depth),
            CompoundCommand::ForClause(clause) => {
                for value in clause.values.iter().flatten() {
                    let read = word::read(value);
                    self.inside(&read, depth);
                    self.set(&clause.variable_name, &read.pieces, Sets::Words);
                }
                self.list(&clause.body.list, depth);
            }
            CompoundCommand::CaseClause(clause) => {
                self.inside(&word::read(&clause.value), depth);
                for case in &clause.cases {
                    case.patterns.iter().for_each(|pattern| self.inside(&word::read(pattern), depth));
                    case.cmd.iter().for_each(|list| self.list(list, depth));
                }
            }
            CompoundCommand::IfClause(clause) => {
                self.list(&clause.condition, depth);
                self.list(&clause.then, depth);
                for other in clause.elses.iter().flatten() {
                    other.condition.iter().for_each(|list| self.list(list, depth));
                    self.list(&other.body, depth);
                }
            }
            CompoundCommand::WhileClause(clause) | CompoundCommand::UntilClause(clause) => {
                self.list(&clause.0, depth);
                self.list(&clause.1.list, depth);
            }
            CompoundCommand::Coprocess(coprocess) => self.command(&coprocess.body, depth),
            CompoundCommand::ArithmeticForClause(clause) => {
                let parts = [&clause.initializer, &clause.condition, &clause.updater];
                parts.into_iter().flatten().for_each(|expression| self.arithmetic(&expression.value));
                self.list(&clause.body.list, depth);
            }
            CompoundCommand::Arithmetic(arithmetic) => self.arithmetic(&arithmetic.expr.value),
        }
    }

    /// Arithmetic runs what stands in it between `$(` and `)`, and in the index of an array.
    fn arithmetic(&mut self, text: &str) {
        if text.contains(['$', '`', '[']) {
            self.opaque();
        }
    }

    fn test(&mut self, expression: &ExtendedTestExpr, depth: usize) {
        match expression {
            ExtendedTestExpr::And(a, b) | ExtendedTestExpr::Or(a, b) => {
                self.test(a, depth);
                self.test(b, depth);
            }
            ExtendedTestExpr::Not(inner) | ExtendedTestExpr::Parenthesized(inner) => self.test(inner, depth),
            ExtendedTestExpr::UnaryTest(_, operand) => self.inside(&word::read(operand), depth),
            ExtendedTestExpr::BinaryTest(_, left, right) => {
                self.inside(&word::read(left), depth);
                self.inside(&word::read(right), depth);
            }
        }
    }

    /// What runs to make a word.
    fn inside(&mut self, read: &Read, depth: usize) {
        for line in &read.lines {
            match line.as_str() {
                word::HIDDEN => self.opaque(),
                line => self.line(line, depth + 1),
            }
        }
    }

    fn simple(&mut self, simple: &SimpleCommand, depth: usize, mut part: Part) {
        // A function may have any name.
        part.leads &= self.functions.is_empty();
        let mut call = Call { part, ..Call::default() };
        for item in simple.prefix.iter().flat_map(|prefix| &prefix.0) {
            self.item(item, &mut call, depth);
        }
        if let Some(name) = &simple.word_or_name {
            self.word(name, &mut call, depth);
        }
        for item in simple.suffix.iter().flat_map(|suffix| &suffix.0) {
            self.item(item, &mut call, depth);
        }
        wrappers::unwrap(self, call, depth);
    }

    fn item(&mut self, item: &CommandPrefixOrSuffixItem, call: &mut Call, depth: usize) {
        match item {
            CommandPrefixOrSuffixItem::Word(word) => self.word(word, call, depth),
            CommandPrefixOrSuffixItem::IoRedirect(redirect) => self.redirect(redirect, call, depth),
            CommandPrefixOrSuffixItem::ProcessSubstitution(_, subshell) => {
                self.list(&subshell.list, depth);
                call.words.push(None);
            }
            // After the program's name it is a word like any other.
            CommandPrefixOrSuffixItem::AssignmentWord(assignment, word) if !call.words.is_empty() => {
                if let AssignmentValue::Array(_) = &assignment.value {
                    self.assignment(assignment, &mut Call::default(), depth);
                }
                self.word(word, call, depth);
            }
            CommandPrefixOrSuffixItem::AssignmentWord(assignment, _) => {
                self.assignment(assignment, call, depth);
            }
        }
    }

    fn assignment(&mut self, assignment: &Assignment, call: &mut Call, depth: usize) {
        let (AssignmentName::VariableName(name) | AssignmentName::ArrayElementName(name, _)) =
            &assignment.name;
        let (values, sets): (Vec<&Word>, _) = match &assignment.value {
            AssignmentValue::Scalar(word) if assignment.append => (vec![word], Sets::More),
            AssignmentValue::Scalar(word) => (vec![word], Sets::Text),
            AssignmentValue::Array(words) => (words.iter().map(|(_, word)| word).collect(), Sets::Words),
        };
        for value in values {
            let read = word::read(value);
            self.inside(&read, depth);
            let made = self.set(name, &read.pieces, sets);
            // Where the repository is changes nothing in it.
            call.part.writes.extend(made.iter().filter(|_| name != "GIT_DIR").cloned());
            call.part.values.extend(made);
        }
        call.part.assigns.push(name.clone());
    }

    /// Sets a variable to what a word may be, which is told.
    fn set(&mut self, name: &str, pieces: &[Piece], sets: Sets) -> Vec<String> {
        let Made { mut likely, possible } = self.made(pieces);
        likely.extend(possible);
        for pattern in &likely {
            let values = match sets {
                Sets::Words => braces::expanded(pattern, VALUES_MAX),
                Sets::Text | Sets::More => Some(vec![braces::text(pattern)]),
            };
            let all_set = values.is_some_and(|values| {
                values.into_iter().all(|value| match sets {
                    Sets::More => self.variables.append(name, &value).is_some(),
                    Sets::Text | Sets::Words => self.variables.set(name, value).is_some(),
                })
            });
            if !all_set {
                self.opaque();
                break;
            }
        }
        likely
    }

    /// What a word may be; what is too much to tell could be anything.
    fn made(&mut self, pieces: &[Piece]) -> Made {
        self.variables.made(pieces).unwrap_or_else(|| {
            self.opaque();
            Made::default()
        })
    }

    fn word(&mut self, word: &Word, call: &mut Call, depth: usize) {
        let read = word::read(word);
        self.inside(&read, depth);
        // A pattern stands for the files that there are: as a file's name it is one of them, as a program's unknown.
        let is_name = call.words.is_empty();
        // By itself a bracket is a program: `[ -f x ]`.
        let is_pattern = read.is_pattern && read.text != "[";
        call.part.dynamic |= !read.is_known || is_pattern;
        if let Some((name, value)) = assigned(&read.pieces).filter(|_| !is_name) {
            self.set(&name, &value, Sets::Words);
        }
        let name = call.words.first().and_then(|name| name.as_deref());
        if name.is_some_and(|name| self.takes_arguments(name)) {
            self.set(ARGUMENTS, &read.pieces, Sets::Words);
        }
        if !read.is_known || self.variables.change(&read.pieces) {
            let Made { likely, possible } = self.made(&read.pieces);
            call.made.extend(likely.iter().chain(&possible).cloned());
            call.part.likely.extend(likely);
            call.part.values.extend(possible);
        }
        call.part.patterns.extend((read.is_known && is_pattern && !is_name).then_some(read.pattern));
        call.words.push((read.is_known && !(is_name && is_pattern)).then_some(read.text));
    }

    /// Whether the words behind a name are what `$1` and the like stand for somewhere in the line.
    fn takes_arguments(&self, name: &str) -> bool {
        name == "set" || self.functions.contains(name) || wrappers::is_shell(name)
    }

    fn redirects_alone(&mut self, redirects: Option<&RedirectList>, depth: usize) {
        let mut call = Call::default();
        for redirect in redirects.iter().flat_map(|list| &list.0) {
            self.redirect(redirect, &mut call, depth);
        }
        if !call.part.redirects.is_empty() || call.part.dynamic {
            self.push(call.part);
        }
    }

    fn redirect(&mut self, redirect: &IoRedirect, call: &mut Call, depth: usize) {
        match redirect {
            IoRedirect::File(
                _,
                kind,
                IoFileRedirectTarget::Filename(word) | IoFileRedirectTarget::Duplicate(word),
            ) => {
                let reads = matches!(kind, IoFileRedirectKind::Read | IoFileRedirectKind::DuplicateInput);
                self.file(word, if reads { Use::Read } else { Use::Write }, call, depth);
            }
            IoRedirect::OutputAndError(word, _) => self.file(word, Use::Write, call, depth),
            IoRedirect::File(_, _, IoFileRedirectTarget::ProcessSubstitution(_, subshell)) => {
                self.list(&subshell.list, depth);
            }
            IoRedirect::File(_, _, IoFileRedirectTarget::Fd(_)) => {}
            IoRedirect::HereDocument(_, document) => {
                let read = word::read_document(document);
                self.inside(&read, depth);
                call.input = Some(read.is_known.then_some(read.text));
            }
            IoRedirect::HereString(_, word) => {
                let read = word::read(word);
                self.inside(&read, depth);
                call.input = Some(read.is_known.then_some(read.text));
            }
        }
    }

    fn file(&mut self, word: &Word, used: Use, call: &mut Call, depth: usize) {
        let read = word::read(word);
        self.inside(&read, depth);
        // `2>&1` is no file.
        let is_number = read.text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        call.part.dynamic |= !read.is_known || read.is_pattern;
        if !read.is_known || self.variables.change(&read.pieces) {
            let Made { likely, possible } = self.made(&read.pieces);
            if used == Use::Write {
                call.part.writes.extend(likely.iter().chain(&possible).cloned());
            }
            call.part.likely.extend(likely);
            call.part.values.extend(possible);
        }
        if read.is_known && !is_number {
            call.part.patterns.extend(read.is_pattern.then_some(read.pattern));
            call.part.writes.extend((used == Use::Write).then(|| read.text.clone()));
            call.part.redirects.push(read.text);
        }
    }
}

/// Whether a command is a name and one word, so that nothing about it fails but what it does.
fn is_bare(simple: &SimpleCommand) -> bool {
    let suffix = simple.suffix.as_ref().map_or(&[][..], |suffix| suffix.0.as_slice());
    simple.prefix.is_none() && matches!(suffix, [CommandPrefixOrSuffixItem::Word(_)])
}
