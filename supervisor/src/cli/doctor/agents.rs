//! `agentsup doctor --agents`: what of each agent is enforced, what is only observed, and what neither.

use std::process::ExitCode;

use super::super::Outcome;
use super::super::output::{self, Cell, Format, Tone, cell};
use super::program;
use crate::api::doctor::{self, ProgramState, ReachView};
use crate::core::reach::Grade;

/// What the words of the table mean.
const LEGEND: &str = "yes: not without the gate's yes · seen: only observed · no: neither · -: it has none";

/// How much of an explanation stands on one line: with its label and word a hundred columns.
const LINE: usize = 58;

pub(super) fn perform(name: Option<&str>, format: Format) -> Outcome {
    let agents = doctor::reach(name)?;
    match (format, name, agents.as_slice()) {
        (Format::Json, _, _) => output::json(&agents),
        (Format::Text, Some(_), [agent]) => explain(agent),
        (Format::Text, _, _) => {
            let (columns, rows) = table(&agents);
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            output::table(&columns, &rows, "no adapters");
            output::narrate(LEGEND);
            output::hint("agentsup doctor --agents NAME says by what, and why not");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(agents: &[ReachView]) -> (Vec<String>, Vec<Vec<Cell>>) {
    let parts =
        agents.first().into_iter().flat_map(|agent| agent.reach.iter().map(|part| part.of.to_uppercase()));
    let columns = ["AGENT", "CLIENT"].map(str::to_owned).into_iter().chain(parts).collect();
    let row = |agent: &ReachView| {
        let grades = agent.reach.iter().map(|part| cell(part.grade.word()).tone(tone(part.grade)));
        [cell(&agent.name).tone(Tone::Strong), client(agent)].into_iter().chain(grades).collect()
    };
    (columns, agents.iter().map(row).collect())
}

fn client(agent: &ReachView) -> Cell {
    let tone = match agent.program.as_ref().map(|found| found.state) {
        Some(ProgramState::Usable) => Tone::Good,
        Some(ProgramState::Untested) => Tone::Warning,
        Some(ProgramState::TooOld | ProgramState::OldRuntime) => Tone::Bad,
        Some(ProgramState::Missing) | None => Tone::Faint,
    };
    cell(&agent.client).tone(tone)
}

fn tone(grade: Grade) -> Tone {
    match grade {
        Grade::Enforced => Tone::Good,
        Grade::ByPayer | Grade::Observed => Tone::Warning,
        Grade::Neither => Tone::Bad,
        Grade::Absent => Tone::Faint,
    }
}

/// The long form: a line for each cell, broken where the terminal ends.
fn explain(agent: &ReachView) {
    let mut facts = vec![("agent", cell(&agent.summary).tone(Tone::Strong))];
    if let Some(found) = &agent.program {
        facts.push(("client", program(found)));
        facts.push(("at least", cell(&found.minimum)));
    }
    for part in &agent.reach {
        let mut label = part.title.as_str();
        let mut word = part.grade.word();
        for line in broken(&part.how) {
            facts.push((label, cell(format_args!("{word:<8}  {line}")).tone(tone(part.grade))));
            (label, word) = ("", "");
        }
    }
    output::facts(&facts);
    output::narrate(LEGEND);
}

/// A sentence in lines that fit beside their labels.
fn broken(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut().filter(|line| line.len() + 1 + word.len() <= LINE) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::ADAPTERS;

    /// A table that does not fit is no table. Programs are not asked here: the longest that can be said of one counts.
    #[test]
    fn the_table_fits_a_hundred_columns_whatever_is_found() {
        let cells: Vec<_> = ADAPTERS.iter().map(|adapter| adapter.reach.cells()).collect();
        let name = ADAPTERS.iter().map(|adapter| adapter.name.len()).max().unwrap_or_default();
        let client = "99.999.9999 untested".len();
        let widest = |index: usize| {
            let words = cells.iter().map(|row| row[index].2.grade.word().len());
            words.chain([cells[0][index].0.len()]).max().unwrap_or_default()
        };
        let parts: usize = (0..cells[0].len()).map(|index| 2 + widest(index)).sum();
        let width = name + 2 + client + parts;
        assert!(width <= 100, "{width} columns");
        let label = cells[0].iter().map(|(_, title, _)| title.len()).max().unwrap_or_default();
        let long =
            cells.iter().flatten().flat_map(|(_, _, held)| broken(held.how)).map(|line| line.len()).max();
        assert!(label + 2 + 8 + 2 + long.unwrap_or_default() <= 100, "{label} and {long:?} columns");
        assert_eq!(broken("as it was").join(" "), "as it was");
    }
}
