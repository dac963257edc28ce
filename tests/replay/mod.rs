//! Replay fidelity: random streams and random jobs give the rows of the model, live and from history, to the bit, however
//! they are read.

mod case;
mod faces;
mod layers;
mod memory;
mod message;
mod processes;
mod random;
mod revisions;

use std::collections::BTreeSet;

pub use case::{Case, Names, STEADY_START};
pub use faces::{catalog, runtime, table_rows};
pub use processes::Deployed;
pub use random::Random;

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
        let expected = model::results(&judged, &self.stream, &self.query, i64::MAX);
        let mut differences = model::differences(&expected, &observed.rows, self.key_columns());
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
        let instants = windows.map(|(start, end)| if self.is_told_by_end() { end } else { start });
        let days: Vec<i64> = instants.map(|instant| instant.div_euclid(24 * model::HOUR)).collect();
        Some((days.iter().min()? - 1, days.iter().max()? + 2))
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
fn two_hundred_cases_contain_everything_that_is_claimed() {
    let (mut late, mut rejected, mut future, mut counted, mut dropped, mut before_1970) = (0, 0, 0, 0, 0, 0);
    let mut late_for_some = 0;
    let mut cuts = BTreeSet::new();
    for seed in 0..200 {
        let case = Case::generate(seed);
        cuts.insert(match case.query.cut {
            Cut::Tumble => "tumble",
            Cut::Hop { slide } if slide > case.query.size => "hop with gaps",
            Cut::Hop { slide } if case.query.size % slide == 0 => "hop",
            Cut::Hop { .. } => "hop of an odd slide",
            Cut::Cumulate { .. } => "cumulate",
            Cut::Months { .. } => "months",
            Cut::BerlinDays => "days of a time zone",
        });
        for record in model::judge(&case.log(), &case.stream, &case.query) {
            late_for_some += usize::from(record.is_in_late_table() && !record.windows.is_empty());
            match record.verdict {
                Verdict::Late(_) => late += 1,
                Verdict::Future => future += 1,
                Verdict::Broken | Verdict::Null => rejected += 1,
                Verdict::Dropped => dropped += 1,
                Verdict::Counted(start) => {
                    counted += 1;
                    before_1970 += usize::from(start < 0);
                }
            }
        }
    }
    let least = [late, late_for_some, rejected, future, counted, dropped, before_1970].into_iter().min();
    assert!(least > Some(100), "{late} {late_for_some} {rejected} {future} {counted} {dropped} {before_1970}");
    assert_eq!(cuts.len(), 7, "{cuts:?}");
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
