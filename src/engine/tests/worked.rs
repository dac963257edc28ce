//! Cases worked by hand.

use super::model::Cut;
use super::run::{Options, run};
use super::*;

const MINUTE: i64 = 60 * SECOND;
/// 2020-04-15T08:00:00Z
const EIGHT: i64 = 1_586_937_600 * SECOND;

/// One partition, all records in one epoch, the log's end behind them. Times in minutes from `base`.
fn outcome(call: &str, base: i64, bound: i64, records: &[(i64, i64)]) -> Outcome {
    let mut seen = None;
    let mut batch = Vec::new();
    for (offset, &(minute, number)) in (0..).zip(records) {
        let time = base + minute * MINUTE;
        batch.push(Record { partition: 0, offset, time, seen, key: 0, number, double: 0.0 });
        seen = seen.max(Some(time));
    }
    let plan = plan(call, bound * MINUTE, 0);
    let steps = vec![Step { batches: vec![batch], watermark: EventTime::MAX }];
    // The model isn't asked here.
    let cut = Cut::Months;
    let case = Case { plan, cut, bound: bound * MINUTE, allowed: 0, steps, publish: PublishRange::ALL };
    run(&case, &Options { workers: 2, restarts: 0.0, frozen: 0.0 }, &mut StdRng::seed_from_u64(0))
}

/// Start and end of each window in minutes from `base`, and the sum of its numbers; in order of their ends.
fn sums(outcome: &Outcome, base: i64) -> Vec<(i64, i64, i64)> {
    let minute = |time: i64| (time - base) / MINUTE;
    let rows = outcome.rows.iter();
    let mut sums: Vec<(i64, i64, i64)> =
        rows.map(|(&(start, end, _), (_, values))| (minute(start), minute(end), values.1)).collect();
    sums.sort_by_key(|&(_, end, _)| end);
    sums
}

/// The bids of Flink's page on windowing table-valued functions: minutes after eight, and the price.
const BIDS: [(i64, i64); 6] = [(5, 4), (7, 2), (9, 5), (11, 3), (13, 1), (17, 6)];

#[test]
fn the_examples_of_flinks_documentation_give_its_rows() {
    let of = |call: &str| sums(&outcome(call, EIGHT, 0, &BIDS), EIGHT);
    assert_eq!(of("TUMBLE(s, t, INTERVAL '10 minutes')"), [(0, 10, 11), (10, 20, 10)]);
    assert_eq!(
        of("HOP(s, t, INTERVAL '5 minutes', INTERVAL '10 minutes')"),
        [(0, 10, 11), (5, 15, 15), (10, 20, 10), (15, 25, 6)]
    );
    assert_eq!(
        of("TABLE(CUMULATE(TABLE s, DESCRIPTOR(t), INTERVAL '2' MINUTES, INTERVAL '10' MINUTES))"),
        [(0, 6, 4), (0, 8, 6), (0, 10, 11), (10, 12, 3), (10, 14, 4), (10, 16, 4), (10, 18, 10), (10, 20, 10)]
    );
}

#[test]
fn a_late_record_counts_in_the_longer_windows_that_are_open() {
    // Windows of 10, 20 and 30 minutes. The record of minute 12 makes the first one end, so that of minute 3 is late for
    // it and counts in the others; that of minute 31 ends all, so that of minute 29 is late for the last too.
    let records = [(5, 1), (12, 10), (3, 100), (31, 1_000), (29, 10_000)];
    let outcome = outcome("CUMULATE(s, t, INTERVAL '10 minutes', INTERVAL '30 minutes')", 0, 0, &records);
    let expected = [(0, 10, 1), (0, 20, 111), (0, 30, 111), (30, 40, 1_000), (30, 50, 1_000), (30, 60, 1_000)];
    assert_eq!(sums(&outcome, 0), expected);
    // Windows that begin together have one start, so the late table names them by their ends.
    let late = |windows, windows_late, end: i64| ("late".to_owned(), windows, windows_late, end * MINUTE, end * MINUTE);
    assert_eq!(outcome.late, BTreeMap::from([((0, 2), late(3, 1, 10)), ((0, 4), late(1, 1, 30))]));
    assert_eq!((outcome.accepted, outcome.late_for_all), (4, 1));
}

#[test]
fn a_late_record_of_a_hop_reaches_no_window_that_has_ended_for_its_partition() {
    // [0, 10) has ended when minute 4 comes, [5, 15) hasn't, though the job closes neither before the end.
    let outcome = outcome(
        "HOP(s, t, INTERVAL '5 minutes', INTERVAL '10 minutes')",
        0,
        2,
        &[(6, 1), (12, 10), (9, 100), (4, 1_000)],
    );
    assert_eq!(sums(&outcome, 0), [(0, 10, 1), (5, 15, 111), (10, 20, 10)]);
    let late = |windows, windows_late, first, last| ("late".to_owned(), windows, windows_late, first, last);
    let minutes = |minute: i64| minute * MINUTE;
    let expected = [((0, 2), late(2, 1, 0, 0)), ((0, 3), late(2, 2, minutes(-5), 0))];
    assert_eq!(outcome.late, BTreeMap::from(expected));
    assert_eq!((outcome.accepted, outcome.late_for_all), (3, 1));
}

#[test]
fn between_windows_that_leave_gaps_records_are_accepted_and_count_nowhere() {
    let records = [(0, 1), (3, 10), (4, 100), (9, 1_000), (10, 10_000), (5, 100_000)];
    let outcome = outcome("HOP(s, t, INTERVAL '10 minutes', INTERVAL '4 minutes')", 0, 0, &records);
    assert_eq!(sums(&outcome, 0), [(0, 4, 11), (10, 14, 10_000)]);
    assert_eq!((outcome.accepted, outcome.late_for_all, outcome.late.len()), (6, 0, 0));
}

#[test]
fn offsets_count_modulo_the_period_negative_ones_too() {
    let of = |call: &str| sums(&outcome(call, 0, 100, &[(0, 1), (4, 10)]), 0);
    let expected = [(-8, 2, 1), (-3, 7, 11), (2, 12, 10)];
    assert_eq!(of("HOP(s, t, INTERVAL '5 minutes', INTERVAL '10 minutes', INTERVAL '-3 minutes')"), expected);
    assert_eq!(of("HOP(s, t, INTERVAL '5 minutes', INTERVAL '10 minutes', INTERVAL '52 minutes')"), expected);
    let expected = [(-3, 2, 1), (-3, 7, 11)];
    assert_eq!(of("CUMULATE(s, t, INTERVAL '5 minutes', INTERVAL '10 minutes', INTERVAL '-3 minutes')"), expected);
    assert_eq!(of("CUMULATE(s, t, INTERVAL '5 minutes', INTERVAL '10 minutes', INTERVAL '17 minutes')"), expected);
}

#[test]
fn the_days_on_which_clocks_are_set_have_23_and_25_hours() {
    let day = 24 * 60;
    // One record an hour for four days, from the midnight of UTC before the clocks are set.
    let of = |first_day: i64| {
        let base = first_day * DAY;
        let records: Vec<(i64, i64)> = (0..4 * 24).map(|hour| (hour * 60, 1)).collect();
        sums(&outcome("TUMBLE(s, t, INTERVAL '1 day', TIME ZONE 'Europe/Berlin')", base, 0, &records), base)
    };
    // 2024-03-30 is day 19,812: its records from 23:00 UTC on belong to the 31st, which has 23 hours.
    let spring = of(19_812);
    assert_eq!(spring[1], (day - 60, 2 * day - 120, 23));
    assert_eq!(spring[2], (2 * day - 120, 3 * day - 120, 24));
    // 2024-10-26 is day 20,022.
    let autumn = of(20_022);
    assert_eq!(autumn[1], (day - 120, 2 * day - 60, 25));
    assert_eq!(autumn[2], (2 * day - 60, 3 * day - 60, 24));
}
