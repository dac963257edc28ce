//! Replay fidelity: random streams and random jobs give the rows of the model, live and from history, to the bit, however
//! they are read.

mod case;
mod drawn;
mod faces;
mod layers;
mod memory;
mod message;
mod processes;
mod random;
mod revised;
mod revisions;
mod sql;

use std::collections::{BTreeMap, BTreeSet};

pub use case::{Case, Names, STEADY_START};
pub use faces::{catalog, runtime, table_rows};
pub use processes::Deployed;
pub use random::Random;

use layers::Layers;

use crate::model::{self, Cut, Value, Verdict};

/// Names for job files that are only looked at.
const SHOWN: Names<'_> = Names { topic: "topic", namespace: "ns", result: "result", history: Some("history") };

/// Seeds of a test: its own, or those that `KAPPA_REPLAY_SEED` and `KAPPA_REPLAY_CASES` choose.
fn seeds(first: u64, count: u64) -> std::ops::Range<u64> {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let first = number("KAPPA_REPLAY_SEED", first);
    first..first + number("KAPPA_REPLAY_CASES", count)
}

/// What a run of the program left behind.
#[derive(Debug)]
pub struct Observed {
    /// Rows of the result table.
    pub rows: Vec<Vec<Value>>,
    /// Positions in the late table.
    pub late: Vec<(i32, i64)>,
    /// Positions in the rejects table, and those that history keeps although they are beyond MAX FUTURE.
    pub rejected: Vec<(i32, i64)>,
    /// Accepted records by the snapshot summaries, where the run wrote them.
    pub accepted: Option<i64>,
}

impl Case {
    /// Panics with the seed and all differences when a run that drained the log left anything else than the model says.
    #[track_caller]
    pub fn check(&self, face: &str, observed: &Observed) {
        let seed = self.seed;
        let judged = model::judge(&self.log(), &self.stream, &self.query);
        let mut differences = match self.layers {
            Some(layers) => layers.differences(self, &judged, &observed.rows),
            None => {
                let expected = model::results(&judged, &self.stream, &self.query, i64::MAX);
                model::differences(&expected, &observed.rows, self.key_columns())
            }
        };
        let positions = |wanted: fn(Verdict) -> bool| -> BTreeSet<(i32, i64)> {
            let chosen = judged.iter().filter(|record| wanted(record.verdict));
            chosen.map(|record| (record.partition, record.offset)).collect()
        };
        let late = judged.iter().filter(|record| record.is_in_late_table());
        let late = late.map(|record| (record.partition, record.offset)).collect();
        differences.extend(compare_positions("late", &late, &observed.late));
        differences.extend(compare_positions("rejected", &positions(Verdict::is_rejected), &observed.rejected));
        let accepted = i64::try_from(positions(Verdict::is_accepted).len()).expect("is small");
        if observed.accepted.is_some_and(|observed| observed != accepted) {
            differences.push(format!("accepted {:?}, not {accepted}", observed.accepted));
        }
        let (more, sql) = (differences.len(), self.sql(&SHOWN));
        differences.truncate(20);
        assert!(differences.is_empty(), "seed {seed}, {face}: {more} differences\n{}\n{sql}", differences.join("\n"));
    }
}

impl Case {
    /// Days since the epoch, from and to, around all windows that hold records, by what tells them; none without one.
    pub fn days(&self) -> Option<(i64, i64)> {
        let judged = model::judge(&self.log(), &self.stream, &self.query);
        let windows = judged.iter().flat_map(|record| record.windows.iter().chain(&record.late_for));
        // Windows over windows go by the ends of these.
        let by_end = self.by_end || matches!(self.layers, Some(Layers::Above));
        let instants = windows.map(|(start, end)| if by_end { end } else { start });
        let days: Vec<i64> = instants.map(|instant| instant.div_euclid(24 * model::HOUR)).collect();
        Some((days.iter().min()? - 1, days.iter().max()? + 2))
    }

    /// [`Case::days`] as the command line takes them.
    pub fn range(&self) -> Option<(String, String)> {
        let (first, last) = self.days()?;
        let text = |days: i64| {
            let instant = chrono::DateTime::from_timestamp_micros(days * 24 * model::HOUR);
            instant.expect("is a year of four digits").format("%Y-%m-%d").to_string()
        };
        Some((text(first), text(last)))
    }
}

/// Every position once, and none too many.
fn compare_positions(what: &str, expected: &BTreeSet<(i32, i64)>, actual: &[(i32, i64)]) -> Vec<String> {
    let found: BTreeSet<(i32, i64)> = actual.iter().copied().collect();
    let mut lines: Vec<String> = Vec::new();
    lines.extend(expected.difference(&found).map(|position| format!("not {what}: {position:?}")));
    lines.extend(found.difference(expected).map(|position| format!("wrongly {what}: {position:?}")));
    if found.len() != actual.len() {
        lines.push(format!("{what}: {} rows for {} records", actual.len(), found.len()));
    }
    lines
}

#[test]
fn a_seed_gives_the_same_case_every_time() {
    let (one, two) = (Case::generate(7), Case::generate(7));
    assert_eq!(one.sql(&SHOWN), two.sql(&SHOWN));
    assert_eq!(one.kafka_messages(), two.kafka_messages());
    assert_ne!(one.kafka_messages(), Case::generate(8).kafka_messages());
}

#[test]
fn every_case_has_late_records_and_together_they_have_everything() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..faces::CASES {
        let case = Case::generate(seed);
        let judged = model::judge(&case.log(), &case.stream, &case.query);
        assert!(judged.iter().any(model::Judged::is_in_late_table), "seed {seed}");
        let what = |is: bool, name: &'static str| is.then_some(name);
        for record in &judged {
            let some = record.is_in_late_table() && !record.windows.is_empty();
            let said = match record.verdict {
                Verdict::Late(_) => "late",
                Verdict::Future => "future",
                Verdict::Broken | Verdict::Null => "rejected",
                Verdict::Dropped => "dropped",
                Verdict::Counted(start) if start < 0 => "counted before 1970",
                Verdict::Counted(_) => "counted",
            };
            for name in [Some(said), what(some, "late for some"), record.reason].into_iter().flatten() {
                *counts.entry(name).or_default() += 1;
            }
        }
        let slide = match case.query.cut {
            Cut::Hop { slide } if slide > case.query.size => " with gaps",
            Cut::Hop { slide } if case.query.size % slide != 0 => " of an odd slide",
            _ => "",
        };
        let cut = format!("{:?}", case.query.cut);
        let cut = cut.split(' ').next().expect("it has a name");
        let functions = case.query.aggregates.iter().map(|aggregate| format!("{:?}", aggregate.function));
        let functions = functions.filter(|_| case.layers.is_none());
        let layers = case.layers.map(|layers| format!("{layers:?}").split('(').next().expect("a name").to_owned());
        let strategy = match (&case.stream.when, case.stream.bound) {
            (Some(_), _) => "punctuated",
            (None, 0) => "no bound",
            _ => "bounded",
        };
        let above_data = (case.query.cut.is_by_data() && case.layers.is_some()).then(|| format!("layers above {cut}"));
        let revised = (case.query.allowed > 0).then(|| format!("{cut} revised"));
        let several = [format!("{cut}{slide}"), strategy.to_owned()];
        for name in several.into_iter().chain(functions).chain(layers).chain(above_data).chain(revised) {
            *kinds.entry(name).or_default() += 1;
        }
    }
    assert_eq!(counts.len(), 9, "{counts:#?}");
    assert!(counts.values().all(|count| *count > 100), "{counts:#?}");
    // Windows of 9 kinds and two more of a hop, strategies, aggregates, layers, three kinds below them that the data makes; and what is revised.
    let revised = kinds.extract_if(.., |kind, _| kind.ends_with(" revised")).count();
    assert_eq!(revised, 8, "all kinds but COUNT_WINDOW");
    assert_eq!(kinds.len(), 11 + 3 + drawn::functions().len() + 14 + 3, "{kinds:#?}");
    assert!(kinds.values().all(|count| *count >= 3), "{kinds:#?}");
}

#[test]
fn good_messages_parse_to_their_fields_and_broken_ones_do_not() {
    for seed in 0..50 {
        for message in Case::generate(seed).partitions.into_iter().flatten() {
            let parsed =
                message.raw.as_deref().map(serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>);
            if let model::Body::Fields(fields) = message.body {
                let parsed = parsed.expect("has a value").expect("is an object");
                for (name, value) in fields {
                    let found = parsed.get(&name).filter(|found| !found.is_null());
                    assert_eq!(found.is_none(), value.is_null(), "{name} in {parsed:?}");
                }
            }
        }
    }
}
