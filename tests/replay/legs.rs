//! Queries that read several windows, or windows of queries, over random logs: live in pieces and as a backfill they give what
//! a plain reading of the model's windows gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use kappa::job::{Plan, compile};

use super::faces::{in_pieces, run_plan_backfill, run_plan_live, runtime};
use super::{Case, Names, Observed, Random, seeds};
use crate::model::{self, HOUR, Value};

/// Cases of the suite.
const CASES: u64 = 24;

const MINUTE: i64 = HOUR / 60;

/// What is asked of the windows of a case.
#[derive(Clone, Copy, Debug)]
enum Asked {
    /// Each record beside the number of records of its window, by a join of two readings of the stream.
    Joined,
    /// The records that have no other in their window, by an anti join.
    Alone,
    /// Each record twice, by UNION ALL below the window.
    Doubled,
    /// Windows of so many minutes over the windows.
    Above(i64),
}

const ALL: [Asked; 5] = [Asked::Joined, Asked::Alone, Asked::Doubled, Asked::Above(7), Asked::Above(24 * 60)];

const WINDOW: &str = "window_start, window_end";

impl Asked {
    /// The job of `case` with another query.
    fn plan(self, case: &Case) -> Arc<Plan> {
        let names = Names { topic: "topic", namespace: "ns", result: "result", history: Some("history") };
        let sql = case.sql(&names);
        let (head, query) = sql.split_once("\nSELECT ").expect("a case has a SELECT");
        let (from, tail) =
            query.split_once("\nFROM ").expect("and a FROM").1.split_once("\nLATE INTO ").expect("a tail");
        let (table, _) = from.split_once("\nGROUP BY ").expect("and a GROUP BY");
        let counts = format!("SELECT {WINDOW}, window_time, count(*) AS n FROM {table} GROUP BY {WINDOW}, window_time");
        let records = format!("SELECT {WINDOW}, _partition AS p, _offset AS o FROM {table}");
        let same = "r.window_start = c.window_start AND r.window_end = c.window_end";
        let query = match self {
            Asked::Joined => {
                format!(
                    "SELECT r.window_start, r.window_end, r.p, r.o, c.n FROM ({records}) AS r JOIN ({counts}) AS c ON {same}"
                )
            }
            Asked::Alone => format!(
                "SELECT r.window_start, r.window_end, r.p, r.o, 1 AS n FROM ({records}) AS r
                 LEFT ANTI JOIN ({records}) AS c ON {same} AND (r.p <> c.p OR r.o <> c.o)"
            ),
            Asked::Doubled => {
                let twice = table.replacen("(s, t,", "((SELECT * FROM s UNION ALL SELECT * FROM s), t,", 1);
                assert_ne!(twice, table, "a window begins with its stream and its time");
                format!("SELECT {WINDOW}, count(*) AS n FROM {twice} GROUP BY {WINDOW}")
            }
            Asked::Above(minutes) => format!(
                "SELECT {WINDOW}, count(*) AS windows, sum(n) AS n
                 FROM TUMBLE(({counts}), window_time, INTERVAL '{minutes} minutes') GROUP BY {WINDOW}"
            ),
        };
        let sql = format!("{head}\n{query}\nLATE INTO {tail}");
        Arc::new(compile("case", &sql).unwrap_or_else(|errors| panic!("seed {}: {errors:?}\n{sql}", case.seed)))
    }

    /// The rows that the table must hold, sorted.
    fn expected(self, case: &Case) -> Vec<Vec<Value>> {
        let mut windows: BTreeMap<(i64, i64), Vec<[Value; 2]>> = BTreeMap::new();
        for record in model::judge(&case.log(), &case.stream, &case.query) {
            for &window in &record.windows {
                let position = [Value::Integer(record.partition.into()), Value::Integer(record.offset)];
                windows.entry(window).or_default().push(position);
            }
        }
        let mut above: BTreeMap<(i64, i64), [i64; 2]> = BTreeMap::new();
        let mut rows = Vec::new();
        for (window, records) in windows {
            let n = i64::try_from(records.len()).expect("is small");
            let row = |values: &[Value]| edges(window).into_iter().chain(values.iter().cloned()).collect::<Vec<_>>();
            match self {
                Asked::Alone if n > 1 => {}
                Asked::Joined | Asked::Alone => {
                    let of =
                        |[partition, offset]: &[Value; 2]| row(&[partition.clone(), offset.clone(), Value::Integer(n)]);
                    rows.extend(records.iter().map(of));
                }
                Asked::Doubled => rows.push(row(&[Value::Integer(2 * n)])),
                Asked::Above(minutes) => {
                    let size = minutes * MINUTE;
                    let start = (window.1 - 1).div_euclid(size) * size;
                    let counts = above.entry((start, start + size)).or_default();
                    *counts = [counts[0] + 1, counts[1] + n];
                }
            }
        }
        rows.extend(
            above.into_iter().map(|(window, counts)| {
                edges(window).into_iter().chain(counts.map(Value::Integer)).collect::<Vec<_>>()
            }),
        );
        rows.sort();
        rows
    }

    #[track_caller]
    fn check(self, case: &Case, face: &str, observed: Observed, expected: &[Vec<Value>]) {
        let mut rows = observed.rows;
        rows.sort();
        assert_eq!(rows.len(), expected.len(), "seed {}, {self:?}, {face}", case.seed);
        for (row, expected) in rows.iter().zip(expected) {
            assert_eq!(row, expected, "seed {}, {self:?}, {face}", case.seed);
        }
    }
}

fn edges((start, end): (i64, i64)) -> [Value; 2] {
    [Value::Timestamp(start), Value::Timestamp(end)]
}

#[test]
fn queries_over_several_windows_give_the_same_rows_live_and_in_a_backfill() {
    let runtime = runtime();
    for seed in seeds(0, CASES) {
        let mut case = Case::generate(seed);
        let asked = ALL[usize::try_from(seed).expect("is small") % ALL.len()];
        if matches!(asked, Asked::Above(_)) {
            // Windows over windowed results take none.
            case.query.allowed = 0;
        }
        let plan = asked.plan(&case);
        let expected = asked.expected(&case);
        let mut random = Random::new(seed ^ 0x1e65);
        let reading = in_pieces(&mut random);
        let live = runtime.block_on(run_plan_live(&plan, &case, reading, &mut random));
        // However often a record is read, it is late once.
        let judged = model::judge(&case.log(), &case.stream, &case.query);
        let late = judged.iter().filter(|record| record.is_in_late_table()).count();
        assert_eq!(live.late.len(), late, "seed {seed}, {asked:?}");
        asked.check(&case, &format!("live, {reading:?}"), live, &expected);
        let reading = in_pieces(&mut random);
        if let Some(backfilled) = runtime.block_on(run_plan_backfill(&plan, &case, reading, &mut random)) {
            let (first, last) = case.days().expect("it was backfilled");
            let days = first * 24 * HOUR..last * 24 * HOUR;
            let column = usize::from(case.is_told_by_end());
            let is_inside = |row: &&Vec<Value>| matches!(row[column], Value::Timestamp(at) if days.contains(&at));
            let expected: Vec<Vec<Value>> = expected.iter().filter(is_inside).cloned().collect();
            asked.check(&case, &format!("backfill, {reading:?}"), backfilled, &expected);
        }
    }
}
