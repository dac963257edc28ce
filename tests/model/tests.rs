//! Cases worked by hand: the model is what other tests trust.

use super::*;

const MINUTE: i64 = 60 * SECOND;

/// A record at `time` minutes with `value`.
fn at(offset: i64, time: i64, value: impl Into<Value>) -> Record {
    let fields = [("t".to_owned(), Value::Timestamp(time * MINUTE)), ("v".to_owned(), value.into())];
    Record { offset, timestamp: Some(time * MINUTE), body: Body::Fields(fields.into()) }
}

fn log(partitions: Vec<Vec<Record>>) -> Log {
    (0..).zip(partitions).collect()
}

/// Bound of `bound` minutes.
fn stream(bound: i64) -> Stream {
    Stream {
        event_time: "t".to_owned(),
        required: vec!["t".to_owned()],
        bound: bound * MINUTE,
        when: None,
        max_future: Some(HOUR),
    }
}

/// Windows of `size` minutes.
fn query(size: i64, functions: Vec<Function>) -> Query {
    let aggregates = functions.into_iter().map(|function| Aggregate { function, filter: None }).collect();
    Query {
        filter: None,
        cut: Cut::Tumble,
        size: size * MINUTE,
        offset: 0,
        allowed: 0,
        partition_by: Vec::new(),
        keys: Vec::new(),
        aggregates,
    }
}

fn column() -> String {
    "v".to_owned()
}

fn listed(which: Which, by: Option<By>) -> Function {
    Function::Listed(which, column(), by)
}

fn verdicts(judged: &[Judged]) -> Vec<Verdict> {
    judged.iter().map(|record| record.verdict).collect()
}

fn values(rows: Vec<Row>) -> Vec<Vec<Value>> {
    rows.into_iter().map(|row| row.into_iter().map(|cell| cell.value).collect()).collect()
}

#[test]
fn windows_are_half_open_and_aligned_to_the_epoch_plus_offset() {
    let mut query = query(10, Vec::new());
    let starts = |query: &Query, times: [i64; 5]| times.map(|time| query.window_start(time * MINUTE) / MINUTE);
    assert_eq!(starts(&query, [0, 9, 10, -1, -10]), [0, 0, 10, -10, -10]);
    query.offset = 3 * MINUTE;
    assert_eq!(starts(&query, [0, 2, 3, 12, 13]), [-7, -7, 3, 3, 13]);
    query.offset = -3 * MINUTE;
    assert_eq!(starts(&query, [0, 6, 7, -3, -4]), [-3, -3, 7, -3, -13]);
    query.offset = 23 * MINUTE;
    assert_eq!(query.window_start(0) / MINUTE, -7);
}

#[test]
fn a_record_is_late_when_its_window_ends_at_or_before_seen_less_the_bound() {
    // Bound 2, windows of 10. Seen 22: seen - bound = 20, so [10, 20) is late, [20, 30) is not.
    let records = vec![at(0, 22, 1), at(1, 19, 1), at(2, 20, 1), at(3, 21, 1)];
    let judged = judge(&log(vec![records]), &stream(2), &query(10, Vec::new()));
    let counted = Verdict::Counted(20 * MINUTE);
    assert_eq!(verdicts(&judged), [counted, Verdict::Late(10 * MINUTE), counted, counted]);
    assert_eq!(
        judged.iter().map(|record| record.seen).collect::<Vec<_>>(),
        [None, Some(22), Some(22), Some(22)].map(|seen| seen.map(|seen: i64| seen * MINUTE))
    );
}

#[test]
fn a_record_is_late_for_the_windows_that_have_ended_and_counts_in_the_others() {
    // Windows of 10 each 5: 17 is in [10, 20) and [15, 25). Seen 22, bound 2: the first has ended.
    let query = Query { cut: Cut::Hop { slide: 5 * MINUTE }, ..query(10, Vec::new()) };
    let judged = judge(&log(vec![vec![at(0, 22, 1), at(1, 17, 1), at(2, 13, 1)]]), &stream(2), &query);
    assert_eq!(judged[1].verdict, Verdict::Counted(15 * MINUTE));
    assert_eq!(judged[1].late_for, [(10 * MINUTE, 20 * MINUTE)]);
    assert_eq!(judged[2].verdict, Verdict::Late(5 * MINUTE));
}

#[test]
fn one_minute_less_seen_and_the_same_record_is_in_time() {
    let judged = judge(&log(vec![vec![at(0, 21, 1), at(1, 19, 1)]]), &stream(2), &query(10, Vec::new()));
    assert_eq!(judged[1].verdict, Verdict::Counted(10 * MINUTE));
}

#[test]
fn allowed_lateness_moves_the_limit() {
    let mut query = query(10, Vec::new());
    query.allowed = MINUTE;
    let late_at = |first: i64| judge(&log(vec![vec![at(0, first, 1), at(1, 19, 1)]]), &stream(2), &query)[1].verdict;
    assert_eq!(late_at(22), Verdict::Counted(10 * MINUTE));
    assert_eq!(late_at(23), Verdict::Late(10 * MINUTE));
}

#[test]
fn partitions_do_not_see_each_other() {
    let judged = judge(&log(vec![vec![at(0, 100, 1)], vec![at(0, 5, 1)]]), &stream(0), &query(10, Vec::new()));
    assert_eq!(judged[1].verdict, Verdict::Counted(0));
    assert_eq!(watermark(&log(vec![vec![at(0, 100, 1)], vec![at(0, 5, 1)]]), &stream(2)), Some(3 * MINUTE));
    assert_eq!(watermark(&log(vec![vec![at(0, 100, 1)], vec![]]), &stream(2)), None);
}

#[test]
fn rejected_records_do_not_move_seen() {
    let mut future = at(0, 90, 1);
    future.timestamp = Some(29 * MINUTE);
    let broken = Record { offset: 1, timestamp: Some(0), body: Body::Broken };
    let null = Record { offset: 2, timestamp: Some(0), body: Body::Fields([("v".to_owned(), 1.into())].into()) };
    let judged = judge(&log(vec![vec![future, broken, null, at(3, 5, 1)]]), &stream(0), &query(10, Vec::new()));
    assert_eq!(verdicts(&judged), [Verdict::Future, Verdict::Broken, Verdict::Null, Verdict::Counted(0)]);
    assert_eq!(judged[3].seen, None);
}

#[test]
fn an_event_time_exactly_max_future_ahead_is_accepted() {
    let mut record = at(0, 90, 1);
    record.timestamp = Some(30 * MINUTE);
    assert!(judge(&log(vec![vec![record.clone()]]), &stream(0), &query(10, Vec::new()))[0].verdict.is_accepted());
    record.timestamp = Some(30 * MINUTE - 1);
    assert_eq!(judge(&log(vec![vec![record.clone()]]), &stream(0), &query(10, Vec::new()))[0].verdict, Verdict::Future);
    record.timestamp = None;
    assert!(judge(&log(vec![vec![record]]), &stream(0), &query(10, Vec::new()))[0].verdict.is_accepted());
}

#[test]
fn what_where_drops_is_accepted_and_still_moves_seen() {
    let mut query = query(10, vec![Function::CountAll]);
    query.filter = Some(Condition::Compare(column(), Comparison::Equal, 1.into()));
    // The dropped record at 40 makes the next one late; a dropped record is never late itself, a null is dropped.
    let records = vec![at(0, 40, 2), at(1, 5, 1), at(2, 5, 2), at(3, 5, Value::Null), at(4, 45, 1)];
    let judged = judge(&log(vec![records]), &stream(0), &query);
    let dropped = Verdict::Dropped;
    assert_eq!(verdicts(&judged), [dropped, Verdict::Late(0), dropped, dropped, Verdict::Counted(40 * MINUTE)]);
    assert_eq!(results(&judged, &stream(0), &query, i64::MAX).len(), 1);
}

#[test]
fn a_record_of_a_new_partition_is_in_time_for_its_own_partition() {
    // W may be far ahead: its partition has seen nothing, so the record counts wherever the whole log is read.
    let log = log(vec![vec![at(0, 720, 1)], vec![at(0, 690, 1)]]);
    let judged = judge(&log, &stream(0), &query(60, Vec::new()));
    assert!(judged.iter().all(|record| record.verdict.is_accepted()));
}

#[test]
fn only_closed_windows_have_rows() {
    let judged = judge(&log(vec![vec![at(0, 5, 1), at(1, 15, 1), at(2, 25, 1)]]), &stream(0), &query(10, Vec::new()));
    let starts = |closed: i64| {
        let rows = values(results(&judged, &stream(0), &query(10, vec![Function::CountAll]), closed * MINUTE));
        rows.into_iter().map(|row| row[0].clone()).collect::<Vec<_>>()
    };
    let start = |minute: i64| Value::Timestamp(minute * MINUTE);
    assert_eq!(starts(9), []);
    assert_eq!(starts(10), [start(0)]);
    assert_eq!(starts(29), [start(0), start(10)]);
    assert_eq!(starts(30), [start(0), start(10), start(20)]);
}

#[test]
fn first_and_last_follow_time_then_partition_then_offset() {
    let functions = vec![listed(Which::First, None), listed(Which::Last, None)];
    let query = query(10, functions);
    let log =
        log(vec![vec![at(7, 5, 1), at(8, 3, 2), at(9, 3, 3)], vec![at(1, 3, 4), at(2, 5, 5), at(3, 5, Value::Null)]]);
    let rows = values(results(&judge(&log, &stream(9), &query), &stream(9), &query, i64::MAX));
    assert_eq!(rows[0][2..], [Value::Integer(2), Value::Null]);
}

#[test]
fn order_by_puts_nulls_last_and_ties_fall_to_the_canonical_order() {
    let mut first = at(0, 1, 10);
    let mut second = at(1, 2, 20);
    let mut third = at(2, 3, 30);
    for (record, order) in [(&mut first, Value::Null), (&mut second, 7.into()), (&mut third, 7.into())] {
        let Body::Fields(fields) = &mut record.body else { unreachable!("is readable") };
        fields.insert("o".to_owned(), order);
    }
    let by = Some(By::ascending("o"));
    let query = query(10, vec![listed(Which::First, by.clone()), listed(Which::Last, by)]);
    let judged = judge(&log(vec![vec![first, second, third]]), &stream(0), &query);
    let rows = values(results(&judged, &stream(0), &query, i64::MAX));
    assert_eq!(rows[0][2..], [Value::Integer(20), Value::Integer(10)]);
}

#[test]
fn aggregates_skip_nulls_and_an_empty_set_is_null_or_zero() {
    let functions = vec![
        Function::CountAll,
        Function::Count(column()),
        Function::CountDistinct(column()),
        Function::Sum(column()),
        Function::Average(column()),
        Function::Minimum(column()),
        Function::Maximum(column()),
    ];
    let query = query(10, functions);
    let of = |numbers: Vec<Value>| {
        let records = (0..).zip(numbers).map(|(offset, number)| at(offset, 1, number)).collect();
        let judged = judge(&log(vec![records]), &stream(0), &query);
        values(results(&judged, &stream(0), &query, i64::MAX)).remove(0)[2..].to_vec()
    };
    let integer = Value::Integer;
    assert_eq!(
        of(vec![3.into(), Value::Null, 4.into(), 4.into()]),
        [integer(4), integer(3), integer(2), integer(11), (11.0 / 3.0).into(), integer(3), integer(4)]
    );
    let nothing = Value::Null;
    assert_eq!(
        of(vec![Value::Null]),
        [integer(1), integer(0), integer(0), nothing.clone(), nothing.clone(), nothing.clone(), nothing]
    );
}

#[test]
fn variance_of_a_large_offset_is_not_lost() {
    let query = query(10, vec![Function::Variance(column()), Function::Deviation(column())]);
    let numbers = [1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0];
    let records = (0..).zip(numbers).map(|(offset, number)| at(offset, 1, number)).collect();
    let judged = judge(&log(vec![records]), &stream(0), &query);
    let rows = values(results(&judged, &stream(0), &query, i64::MAX));
    assert_eq!(rows[0][2..], [1.0.into(), (2.0_f64 / 3.0).sqrt().into()]);
}

#[test]
fn nulls_and_both_zeros_are_one_group_each() {
    let mut query = query(10, vec![Function::CountAll]);
    query.keys = vec![column()];
    let records = vec![at(0, 1, 0.0), at(1, 1, -0.0), at(2, 1, Value::Null), at(3, 1, Value::Null)];
    let judged = judge(&log(vec![records]), &stream(0), &query);
    let rows = values(results(&judged, &stream(0), &query, i64::MAX));
    assert_eq!(
        rows.iter().map(|row| row[2..].to_vec()).collect::<Vec<_>>(),
        [[Value::Null, 2.into()], [0.0.into(), 2.into()]]
    );
}

#[test]
fn differences_name_missing_extra_changed_and_repeated_rows() {
    let expected: Vec<Row> =
        [(1, 1.0), (2, 2.0), (3, 3.0)].map(|(key, sum)| vec![Cell::exactly(key.into()), Cell::about(sum, 1)]).to_vec();
    let row = |key: i64, sum: f64| vec![Value::Integer(key), Value::Double(sum)];
    assert_eq!(
        differences(&expected, &[row(1, 1.0 + f64::EPSILON), row(2, 2.0), row(3, 3.0)], 1),
        Vec::<String>::new()
    );
    let found = differences(&expected, &[row(2, 2.5), row(3, 3.0), row(3, 3.0), row(4, 0.0)], 1);
    let starts: Vec<&str> = found.iter().map(|line| line.split(':').next().expect("has a part")).collect();
    assert_eq!(starts, ["missing", "changed", "2 times", "extra"]);
}

#[test]
fn rows_of_one_key_are_told_apart_by_what_is_exactly_theirs() {
    let expected: Vec<Row> = [1, 0].map(|count| vec![Cell::exactly(7.into()), Cell::at_most_one_less(count)]).to_vec();
    let row = |count: i64| vec![Value::Integer(7), Value::Integer(count)];
    assert_eq!(differences(&expected, &[row(0), row(1)], 1), Vec::<String>::new());
    assert_eq!(differences(&expected, &[row(0), row(0)], 1), Vec::<String>::new());
    assert_eq!(differences(&expected, &[row(1), row(1)], 1).len(), 1);
}
