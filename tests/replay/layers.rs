//! Queries of several layers over random logs: live in pieces and as a backfill they give what a plain reading of the model's
//! windows gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use kappa::job::{Plan, compile};

use super::faces::{in_pieces, run_plan_backfill, run_plan_live, runtime};
use super::{Case, Names, Observed, Random, seeds};
use crate::model::{self, Value};

/// Cases of the suite.
const CASES: u64 = 24;

/// What is asked of the windows of a case.
#[derive(Clone, Copy, Debug)]
enum Layers {
    /// Records by themselves.
    Rows,
    /// The greatest group of each window, by ROW_NUMBER.
    Greatest,
    /// The greatest group of each window, by ORDER BY and LIMIT.
    First,
    /// A second aggregate over the groups of a window.
    Again,
}

const ALL: [Layers; 4] = [Layers::Rows, Layers::Greatest, Layers::First, Layers::Again];

impl Layers {
    /// The job of `case` with another query.
    fn plan(self, case: &Case) -> Arc<Plan> {
        let names = Names { topic: "topic", namespace: "ns", result: "result", history: Some("history") };
        let sql = case.sql(&names);
        let (head, query) = sql.split_once("\nSELECT ").expect("a case has a SELECT");
        let (from, tail) =
            query.split_once("\nFROM ").expect("and a FROM").1.split_once("\nLATE INTO ").expect("a tail");
        let (table, group) = from.split_once("\nGROUP BY ").expect("and a GROUP BY");
        let groups = format!("SELECT {group}, count(*) AS n FROM {table} GROUP BY {group}");
        let window = "window_start, window_end";
        let query = match self {
            Layers::Rows => format!("SELECT {window}, _partition AS p, _offset AS o, t FROM {table}"),
            Layers::Greatest => format!(
                "SELECT {window}, n FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY {window} ORDER BY n DESC) AS place
                 FROM ({groups})) WHERE place = 1"
            ),
            Layers::First => format!("SELECT {window}, n FROM ({groups}) ORDER BY n DESC LIMIT 1"),
            Layers::Again => format!(
                "WITH g AS ({groups}) SELECT {window}, count(*) AS groups, sum(n) AS records, max(n) AS most
                 FROM g GROUP BY {window}"
            ),
        };
        let sql = format!("{head}\n{query}\nLATE INTO {tail}");
        Arc::new(compile("case", &sql).unwrap_or_else(|errors| panic!("seed {}: {errors:?}\n{sql}", case.seed)))
    }

    /// The rows that the table must hold, sorted.
    fn expected(self, case: &Case) -> Vec<Vec<Value>> {
        let mut groups: BTreeMap<((i64, i64), Vec<Value>), i64> = BTreeMap::new();
        let mut rows = Vec::new();
        for record in model::judge(&case.log(), &case.stream, &case.query) {
            for &(start, end) in &record.windows {
                let key = case.query.keys.iter().map(|key| model::grouped(&record.fields, key)).collect();
                *groups.entry(((start, end), key)).or_default() += 1;
                let position = [Value::Integer(record.partition.into()), Value::Integer(record.offset)];
                let edges = [Value::Timestamp(start), Value::Timestamp(end)];
                rows.push(edges.into_iter().chain(position).chain([record.fields["t"].clone()]).collect());
            }
        }
        let mut windows: BTreeMap<(i64, i64), Vec<i64>> = BTreeMap::new();
        for ((window, _), n) in groups {
            windows.entry(window).or_default().push(n);
        }
        let window = |((start, end), groups): ((i64, i64), Vec<i64>)| {
            let most = groups.iter().copied().max().expect("a window has a group");
            let numbers = match self {
                Layers::Again => {
                    vec![i64::try_from(groups.len()).expect("is small"), groups.iter().sum(), most]
                }
                _ => vec![most],
            };
            let edges = [Value::Timestamp(start), Value::Timestamp(end)];
            edges.into_iter().chain(numbers.into_iter().map(Value::Integer)).collect()
        };
        if !matches!(self, Layers::Rows) {
            rows = windows.into_iter().map(window).collect();
        }
        rows.sort();
        rows
    }

    #[track_caller]
    fn check(self, case: &Case, face: &str, observed: Observed) {
        let mut rows = observed.rows;
        rows.sort();
        let expected = self.expected(case);
        assert_eq!(rows.len(), expected.len(), "seed {}, {self:?}, {face}", case.seed);
        for (row, expected) in rows.iter().zip(&expected) {
            assert_eq!(row, expected, "seed {}, {self:?}, {face}", case.seed);
        }
    }
}

#[test]
fn queries_of_several_layers_give_the_same_rows_live_and_in_a_backfill() {
    let runtime = runtime();
    for seed in seeds(0, CASES) {
        let case = Case::generate(seed);
        let layers = ALL[usize::try_from(seed).expect("is small") % ALL.len()];
        let plan = layers.plan(&case);
        let mut random = Random::new(seed ^ 0x1a7e);
        let reading = in_pieces(&mut random);
        let live = runtime.block_on(run_plan_live(&plan, &case, reading, &mut random));
        layers.check(&case, &format!("live, {reading:?}"), live);
        let reading = in_pieces(&mut random);
        if let Some(backfilled) = runtime.block_on(run_plan_backfill(&plan, &case, reading, &mut random)) {
            layers.check(&case, &format!("backfill, {reading:?}"), backfilled);
        }
    }
}
