//! Single cases: overflow, zeros and NaN as keys, deltas, layouts.

use super::*;

#[test]
fn a_variance_keeps_its_digits_beside_a_large_offset() {
    let calls = [Call::of("var_samp", DOUBLE), Call::of("stddev", DOUBLE)];
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut rows: Vec<Row> =
        (0..10_000).map(|position| Row { double: Some(1e9 + uniform()), ..blank(position) }).collect();
    let aggregation = aggregation(&[], &calls);
    let mut results = Vec::new();
    for _ in 0..2 {
        let mut pane = Pane::new(&aggregation).expect("known functions");
        for chunk in rows.chunks(777) {
            update(&mut pane, &[], &calls, chunk).expect("rows of the schema");
            pane.freeze().expect("a state");
        }
        results.push(pane.close().expect("a variance"));
        rows.reverse();
        rows.rotate_left(1234);
    }
    assert_eq!(results[0], results[1]);
    let variance = results[0].column(0).as_primitive::<Float64Type>().value(0);
    assert!((0.08..0.085).contains(&variance), "{variance}");
    // Less the offset, which is exact, the values have the same variance.
    for row in &mut rows {
        row.double = row.double.map(|double| double - 1e9);
    }
    let mut pane = Pane::new(&aggregation).expect("known functions");
    update(&mut pane, &[], &calls, &rows).expect("rows of the schema");
    assert_eq!(pane.close().expect("a variance"), results[0]);
    let deviation = results[0].column(1).as_primitive::<Float64Type>().value(0);
    assert!((deviation * deviation - variance).abs() < 1e-15, "{deviation}");
}

#[test]
fn a_sum_beyond_bigint_names_aggregate_and_key() {
    let calls = [Call::of("sum", INT)];
    let aggregation = aggregation(&[KEY], &calls);
    let row = |key, int, position| Row { key: Some(key), int: Some(int), ..blank(position) };
    let mut pane = Pane::new(&aggregation).expect("known functions");
    // In between it is beyond BIGINT, in the end it is not.
    let rows = [row(1, i64::MAX, 0), row(1, i64::MAX, 1), row(1, i64::MIN, 2), row(2, i64::MIN, 3)];
    update(&mut pane, &[KEY], &calls, &rows).expect("rows of the schema");
    let sums = sorted(&pane.evaluate().expect("sums inside BIGINT"));
    assert_eq!(sums.column(1).as_primitive::<Int64Type>().values(), &[i64::MAX - 1, i64::MIN]);
    update(&mut pane, &[KEY], &calls, &[row(2, -1, 4)]).expect("rows of the schema");
    let error = pane.close().expect_err("beyond BIGINT");
    assert!(matches!(&error, PaneError::Overflow { key, .. } if key == "key = k2"), "{error}");
    assert!(
        error
            .to_string()
            .ends_with("overflows its type for key = k2; cast its argument to a wider DECIMAL or to DOUBLE")
    );
}

#[test]
fn a_decimal_sum_overflows_only_in_the_end() {
    let calls = [Call::of("sum", DECIMAL), Call::of("avg", DECIMAL)];
    let most = 10_i128.pow(38) - 1;
    let row = |decimal, position| Row { decimal: Some(decimal), ..blank(position) };
    let aggregation_of = |calls: &[Call]| aggregation(&[], calls);
    let mut pane = Pane::new(&aggregation_of(&calls[..1])).expect("known functions");
    update(&mut pane, &[], &calls[..1], &[row(most, 0), row(most, 1), row(-most, 2)]).expect("rows of the schema");
    let sum = pane.evaluate().expect("a sum of 38 digits");
    assert_eq!(ScalarValue::try_from_array(sum.column(0), 0).expect("one"), ScalarValue::Decimal128(Some(most), 38, 2));
    update(&mut pane, &[], &calls[..1], &[row(1, 3)]).expect("rows of the schema");
    let error = pane.close().expect_err("39 digits");
    assert!(matches!(error, PaneError::Overflow { key, .. } if key == "all rows"));
    // Averages round half away from zero, at four more digits.
    let mut pane = Pane::new(&aggregation_of(&calls[1..])).expect("known functions");
    update(&mut pane, &[], &calls[1..], &[row(-1, 0), row(-1, 1), row(0, 2)]).expect("rows of the schema");
    let average = pane.close().expect("an average");
    assert_eq!(
        ScalarValue::try_from_array(average.column(0), 0).expect("one"),
        ScalarValue::Decimal128(Some(-6667), 38, 6)
    );
}

#[test]
fn both_zeros_are_one_key_and_all_nan_another() {
    let calls = [Call::of("count", POSITION)];
    for keys in [vec![DOUBLE], vec![DOUBLE, TEXT]] {
        let aggregation = aggregation(&keys, &calls);
        let mut pane = Pane::new(&aggregation).expect("known functions");
        let doubles = [0.0, -0.0, f64::NAN, -f64::NAN, 1.0];
        for (position, double) in (0..).zip(doubles) {
            update(&mut pane, &keys, &calls, &[Row { double: Some(double), ..blank(position) }]).expect("rows");
            pane.freeze().expect("a state");
        }
        update(&mut pane, &keys, &calls, &[blank(5)]).expect("rows");
        let closed = pane.close().expect("counts");
        let mut counts: Vec<i64> =
            closed.columns().last().expect("counts").as_primitive::<Int64Type>().values().to_vec();
        counts.sort_unstable();
        assert_eq!(counts, [1, 1, 2, 2]);
    }
}

#[test]
fn deltas_are_merged_before_they_are_many() {
    let calls = [Call::of("count", POSITION)];
    let aggregation = aggregation(&[KEY], &calls);
    let mut pane = Pane::new(&aggregation).expect("known functions");
    assert!(pane.freeze().expect("nothing").is_none());
    let mut covers = Vec::new();
    for position in 0..40 {
        update(&mut pane, &[KEY], &calls, &[Row { key: Some(1), ..blank(position) }]).expect("rows");
        let frozen = pane.freeze().expect("a state").expect("a row came");
        assert_eq!(frozen.states.get().expect("a count").num_rows(), 1);
        covers.push(frozen.covers);
        assert!(pane.freeze().expect("nothing new").is_none());
        assert!(pane.groups() <= 17);
    }
    let merged: Vec<_> = covers.into_iter().filter(|covers| covers.end - covers.start > 1).collect();
    assert_eq!(merged, [0..16, 16..32]);
    assert_eq!(pane.close().expect("counts").column(1).as_primitive::<Int64Type>().values(), &[40]);
}

#[test]
fn what_one_percent_of_the_keys_change_is_about_what_a_checkpoint_writes() {
    let calls = [Call::of("count", POSITION)];
    let aggregation = aggregation(&[INT], &calls);
    let mut pane = Pane::new(&aggregation).expect("known functions");
    let row = |key: i64| Row { int: Some(key), ..blank(key) };
    let all: Vec<Row> = (0..20_000).map(row).collect();
    update(&mut pane, &[INT], &calls, &all).expect("rows");
    pane.freeze().expect("a state");
    let mut written = Vec::new();
    for round in 0..64 {
        let some: Vec<Row> = (0..200).map(|number| row((round * 7_919 + number * 97) % 20_000)).collect();
        update(&mut pane, &[INT], &calls, &some).expect("rows");
        let frozen = pane.freeze().expect("a state").expect("rows came");
        written.push(frozen.states.get().expect("counts").num_rows());
    }
    let most_often = written.iter().filter(|rows| **rows == 200).count();
    assert_eq!(most_often, 60, "all but one in sixteen write what changed");
    assert!(written.iter().sum::<usize>() <= 64 * 2 * 200, "{written:?}");
    let closed = pane.close().expect("counts");
    let counts = closed.column(1).as_primitive::<Int64Type>();
    assert_eq!((closed.num_rows(), counts.values().iter().sum::<i64>()), (20_000, 20_000 + 64 * 200));
}

#[test]
fn keys_that_come_again_are_not_held_again_and_again() {
    let calls = [Call::of("count", POSITION)];
    let aggregation = aggregation(&[INT], &calls);
    let mut pane = Pane::new(&aggregation).expect("known functions");
    let rows: Vec<Row> = (0..5_000).map(|position| Row { int: Some(position), ..blank(position) }).collect();
    for _ in 0..20 {
        update(&mut pane, &[INT], &calls, &rows).expect("rows");
        // As the writer of a checkpoint does.
        pane.freeze().expect("a state").expect("rows came").states.get().expect("counts");
        assert!(pane.groups() <= 10_000, "{}", pane.groups());
    }
    let closed = pane.close().expect("counts");
    assert_eq!(closed.num_rows(), 5_000);
    assert!(closed.column(1).as_primitive::<Int64Type>().values().iter().all(|&count| count == 20));
}

#[test]
fn a_pane_can_be_emptied_and_filled_again_with_several_keys() {
    // The multi-column group set must not look into what it has emitted.
    let calls = [Call::of("sum", INT)];
    let keys = [KEY, TEXT, TIME];
    let aggregation = aggregation(&keys, &calls);
    let mut pane = Pane::new(&aggregation).expect("known functions");
    for round in 0..12 {
        let row = |position: i64| Row {
            key: Some((position % 5) as u8),
            text: Some(format!("t{}", position % 7)),
            int: Some(1),
            ..blank(position)
        };
        let rows: Vec<Row> = (0..500).map(|position| row(position + round)).collect();
        update(&mut pane, &keys, &calls, &rows).expect("rows");
        pane.freeze().expect("a state");
    }
    let closed = pane.close().expect("sums");
    assert_eq!(closed.num_rows(), 35);
    assert_eq!(closed.column(3).as_primitive::<Int64Type>().values().iter().sum::<i64>(), 6_000);
}

#[test]
fn state_of_another_layout_is_refused() {
    let (counts, sums) = ([Call::of("count", POSITION)], [Call::of("sum", DECIMAL)]);
    let mut pane = Pane::new(&aggregation(&[KEY], &counts)).expect("known functions");
    update(&mut pane, &[KEY], &counts, &[blank(0)]).expect("rows");
    let frozen = pane.freeze().expect("a state").expect("a row came");
    let mut other = Pane::new(&aggregation(&[KEY], &sums)).expect("known functions");
    let error = other.merge(&frozen.states.get().expect("a count")).expect_err("another layout").to_string();
    assert_eq!(
        error,
        "state of another layout: expected k0 Utf8, a0_0 Decimal256(76, 0), found k0 Utf8, a0_0 Int64; it belongs to \
         another version of the job"
    );
}

#[test]
fn a_pane_without_rows_closes_to_nothing() {
    let calls = [Call::of("count", POSITION)];
    for keys in [&[][..], &[KEY][..]] {
        let pane = Pane::new(&aggregation(keys, &calls)).expect("known functions");
        assert!(pane.is_empty());
        assert_eq!(pane.close().expect("nothing").num_rows(), 0);
    }
}

#[test]
fn rows_that_stay_by_themselves_are_all_there() {
    let columns = Arc::new(schema().project(&[KEY, INT]).expect("columns of the schema"));
    let aggregation = Arc::new(Aggregation::of_rows(Arc::clone(&columns)));
    let row = |key, int| Row { key: Some(key), int: Some(int), ..blank(0) };
    let mut pane = Pane::new(&aggregation).expect("no functions");
    update(&mut pane, &[KEY, INT], &[], &[row(1, 5), row(1, 5)]).expect("rows");
    let first = pane.freeze().expect("a state").expect("rows came");
    assert_eq!((first.states.get().expect("rows").num_rows(), pane.groups(), first.covers), (2, 2, 0..1));
    assert!(!pane.is_empty());
    update(&mut pane, &[KEY, INT], &[], &[row(2, 7)]).expect("rows");
    update(&mut pane, &[KEY, INT], &[], &[row(1, 5)]).expect("rows");
    assert_eq!(pane.groups(), 4);
    let closed = pane.close().expect("rows");
    assert_eq!(closed.schema(), columns);
    let mut ints = closed.column(1).as_primitive::<Int64Type>().values().to_vec();
    ints.sort_unstable();
    assert_eq!(ints, [5, 5, 5, 7]);
}

#[test]
fn a_batch_without_rows_is_no_group() {
    let calls = [Call::of("count", POSITION)];
    for keys in [&[][..], &[KEY][..]] {
        let mut pane = Pane::new(&aggregation(keys, &calls)).expect("known functions");
        update(&mut pane, keys, &calls, &[]).expect("no rows");
        assert!(pane.is_empty());
        assert_eq!(pane.close().expect("nothing").num_rows(), 0);
    }
}
