//! With money left nobody is refused: sixty-four runs spend what there is, whatever their calls turn out to cost.

use super::*;

/// Of a hundredth of the cap at most.
const CAP: i64 = 10_000;

/// Calls until there is no money for the next one, and answers what was spent and lost.
async fn spend(gate: Gate, live: Arc<LiveRun>, calls: Vec<(i64, i64, bool)>) -> (i64, Vec<(RecordId, i64)>) {
    let (mut spent, mut lost) = (0, Vec::new());
    for (bound, share, is_told) in calls.into_iter().cycle() {
        let (bound, billed) = (bound * UNIT, bound * UNIT * share / 100);
        let permit = match gate.decide(&live, llm(bound)).await {
            Ok(permit) => permit,
            Err(refusal) => {
                let posted = told(&refusal);
                assert!(posted + bound > CAP * UNIT, "{posted} posted, and {bound} were refused: {refusal}");
                break;
            }
        };
        spent += billed;
        tokio::task::yield_now().await;
        if is_told {
            permit.settle(settled(billed)).await.unwrap();
        } else {
            lost.push((permit.record().unwrap(), billed));
            permit.settle(Outcome::charged("hung up", Charge::Assumed)).await.unwrap();
        }
    }
    (spent, lost)
}

/// What the budget that refused had spent, as it says.
fn told(refusal: &Refusal) -> i64 {
    let amount = refusal
        .message
        .split_once(" has spent ")
        .and_then(|(_, rest)| rest.split_once(" USD of "))
        .unwrap()
        .0;
    NanoUsd::from_usd_number(amount).unwrap().nano()
}

async fn spends_it_all(calls: Vec<Vec<(i64, i64, bool)>>) {
    let mut schedule = Schedule::new([(CAP, 0), (CAP, 0), (CAP, 0)], CAP).await;
    let (cap, mut spent) = (CAP * UNIT, 0);
    // What hung up is only known once the provider states it; then there is money again.
    loop {
        let mut spending = JoinSet::new();
        for (live, calls) in schedule.runs.iter().zip(&calls) {
            spending.spawn(spend(schedule.gate.clone(), Arc::clone(live), calls.clone()));
        }
        let (mut now, mut lost) = (0, Vec::new());
        for (sum, more) in spending.join_all().await {
            now += sum;
            lost.extend(more);
        }
        spent += now;
        // Whoever was refused was so because there was no room for a hundredth of the cap, not because others held it.
        let posted = schedule.store.read(posted).await.unwrap();
        assert!(posted <= cap && posted * 100 >= cap * 98, "{posted} of {cap} posted");
        for (record, billed) in lost {
            let stated = Stated { usage: None, cost: Some(nano(billed)) };
            let by = "user:alice".to_owned();
            let statement = Statement { record, stated, source: "a.csv".into(), by };
            schedule.gate.reconcile(statement).await.unwrap();
        }
        if now == 0 {
            break;
        }
    }
    assert!(spent <= cap && spent * 100 >= cap * 97, "{spent} of {cap}");
    schedule.finish().await;
}

fn posted(connection: &Connection) -> Result<i64, StoreError> {
    let sql = "SELECT posted_nano_usd FROM accounts WHERE budget = 'team/all'";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

proptest! {
    #![proptest_config(cases(3))]

    #[test]
    fn money_that_is_left_is_spent(
        calls in proptest::collection::vec(
            proptest::collection::vec((20_i64..100, 50_i64..=100, proptest::bool::weighted(0.9)), 1..6), RUNS
        ),
    ) {
        block_on(spends_it_all(calls));
    }
}
