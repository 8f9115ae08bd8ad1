//! What can happen, and how often.

use proptest::prelude::*;
use proptest::sample::Index;

use super::RUNS;
use crate::gate::Direction;

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Runs ask at once, each for a call of which so many percent of the bound are billed.
    Calls(Vec<(usize, i64, i64)>),
    /// Calls that are under way end at once.
    End { which: Vec<Index>, fate: Fate },
    /// Everything that was ever closed is closed again.
    Again,
    /// A run is killed, and another one is started.
    Kill { run: usize },
    /// The daemon is killed, whatever is under way, and the next one opens the file.
    Crash,
    /// The clock goes on, or is set.
    Clock { hours: i64 },
    /// A person says that it is right.
    Accept,
    /// A clock that was ahead by so much is put right, and a person says so.
    Right { hours: i64 },
    /// Somebody changes a budget.
    Adjust { which: usize, direction: Direction, amount: i64 },
    /// The provider states what a call came to that nobody counted, and then something else.
    State { which: Index },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// The provider tells the usage.
    Told,
    /// The client hangs up, and the flow says that nobody knows.
    HungUp,
    /// The answer breaks off after its prompt was counted.
    Cut,
    /// The flow drops the permit.
    Dropped,
    /// The provider refuses, if it has not billed anything.
    Refused,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        4 => Just(Fate::Told), 1 => Just(Fate::HungUp), 1 => Just(Fate::Cut), 1 => Just(Fate::Dropped),
        1 => Just(Fate::Refused)
    ];
    let direction = prop_oneof![Just(Direction::Raise), Just(Direction::Lower)];
    let call = (0..RUNS, 1_i64..60, prop_oneof![2 => 0_i64..=100, 1 => Just(0), 1 => Just(100)]);
    let step = prop_oneof![
        10 => proptest::collection::vec(call, 1..16).prop_map(Step::Calls),
        8 => (proptest::collection::vec(any::<Index>(), 1..8), fate)
            .prop_map(|(which, fate)| Step::End { which, fate }),
        1 => Just(Step::Again),
        1 => (0..RUNS).prop_map(|run| Step::Kill { run }),
        1 => Just(Step::Crash),
        2 => prop_oneof![4 => 1_i64..40, 1 => 300_i64..900, 2 => -900_i64..0].prop_map(|hours| Step::Clock { hours }),
        1 => Just(Step::Accept),
        1 => (0_usize..3, direction, 1_i64..60)
            .prop_map(|(which, direction, amount)| Step::Adjust { which, direction, amount }),
        3 => any::<Index>().prop_map(|which| Step::State { which }),
    ];
    let steps = prop_oneof![9 => step.prop_map(|step| vec![step]), 1 => detour()];
    proptest::collection::vec(steps, 1..40).prop_map(|steps| steps.concat())
}

/// Calls while the clock is right, ahead, and right again.
fn detour() -> impl Strategy<Value = Vec<Step>> {
    let calls = || proptest::collection::vec((0..RUNS, 5_i64..60, 80_i64..=100), 6..16);
    let which = || proptest::collection::vec(any::<Index>(), 16);
    let spree = (calls(), which())
        .prop_map(|(calls, which)| vec![Step::Calls(calls), Step::End { which, fate: Fate::Told }]);
    (proptest::collection::vec(spree, 3), 20_i64..1000).prop_map(|(sprees, hours)| {
        let [before, ahead, after] = <[Vec<Step>; 3]>::try_from(sprees).unwrap_or_default();
        [before, vec![Step::Clock { hours }], ahead, vec![Step::Right { hours }], after].concat()
    })
}
