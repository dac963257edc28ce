//! Panes and aggregates together: the same rows give the same bits, however they are batched, split over panes, frozen,
//! restored and merged; and those of a slow, obvious model.

mod model;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray};
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_common::ScalarValue;
use datafusion_expr::EmitTo;
use datafusion_physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{PhysicalExpr, PhysicalSortExpr};
use proptest::prelude::*;

use super::{Aggregation, Frozen, Pane, PaneError};
use crate::functions::aggregates;

/// One row of the tests' stream. `position` is unique: the canonical order's end.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    key: Option<u8>,
    double: Option<f64>,
    float: Option<f32>,
    int: Option<i64>,
    /// Of DECIMAL(38, 2).
    decimal: Option<i128>,
    text: Option<String>,
    flag: Option<bool>,
    wanted: Option<bool>,
    time: i64,
    weight: Option<f64>,
    position: i64,
}

const KEY: usize = 0;
const DOUBLE: usize = 1;
const FLOAT: usize = 2;
const INT: usize = 3;
const DECIMAL: usize = 4;
const TEXT: usize = 5;
const FLAG: usize = 6;
const WANTED: usize = 7;
const TIME: usize = 8;
const WEIGHT: usize = 9;
const POSITION: usize = 10;

fn schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("key", DataType::Utf8),
        field("double", DataType::Float64),
        field("float", DataType::Float32),
        field("int", DataType::Int64),
        field("decimal", DataType::Decimal128(38, 2)),
        field("text", DataType::Utf8),
        field("flag", DataType::Boolean),
        field("wanted", DataType::Boolean),
        field("time", DataType::Int64),
        field("weight", DataType::Float64),
        field("position", DataType::Int64),
    ]))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let decimals: Decimal128Array = rows.iter().map(|row| row.decimal).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.key.map(|key| format!("k{key}"))).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.double).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.float).collect::<arrow::array::Float32Array>()),
        Arc::new(rows.iter().map(|row| row.int).collect::<Int64Array>()),
        Arc::new(decimals.with_precision_and_scale(38, 2).expect("the type's limits")),
        Arc::new(rows.iter().map(|row| row.text.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.flag).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| row.wanted).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| Some(row.time)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.weight).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| Some(row.position)).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(schema(), columns).expect("the columns fit the schema")
}

/// An aggregate of the tests, as the planner would hand it over.
#[derive(Clone, Debug)]
struct Call {
    function: &'static str,
    argument: usize,
    distinct: bool,
    ignore_nulls: bool,
    filtered: bool,
    order: Vec<(usize, SortOptions)>,
}

impl Call {
    fn of(function: &'static str, argument: usize) -> Call {
        Call { function, argument, distinct: false, ignore_nulls: false, filtered: false, order: Vec::new() }
    }

    fn distinct(self) -> Call {
        Call { distinct: true, ..self }
    }

    fn filtered(self) -> Call {
        Call { filtered: true, ..self }
    }

    fn ignore_nulls(self) -> Call {
        Call { ignore_nulls: true, ..self }
    }

    fn ordered(self, column: usize, descending: bool) -> Call {
        let options = SortOptions { descending, nulls_first: descending };
        Call { order: vec![(column, options), (POSITION, SortOptions::default())], ..self }
    }

    fn name(&self) -> String {
        format!("{self:?}")
    }

    fn expression(&self) -> Arc<AggregateFunctionExpr> {
        let column =
            |index: usize| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new(schema().field(index).name(), index)) };
        let known = aggregates();
        let udf = known
            .iter()
            .find(|udf| udf.name() == self.function || udf.aliases().iter().any(|alias| alias == self.function));
        let order =
            self.order.iter().map(|(index, options)| PhysicalSortExpr { expr: column(*index), options: *options });
        let built = AggregateExprBuilder::new(Arc::clone(udf.expect("a known aggregate")), vec![column(self.argument)])
            .schema(schema())
            .alias(self.name())
            .order_by(order.collect())
            .with_distinct(self.distinct)
            .with_ignore_nulls(self.ignore_nulls)
            .build();
        Arc::new(built.expect("the argument fits"))
    }
}

fn calls() -> Vec<Call> {
    let mut calls = vec![
        Call::of("count", POSITION),
        Call::of("count", TEXT),
        Call::of("count", TEXT).filtered(),
        Call::of("bool_and", FLAG),
        Call::of("bool_or", FLAG).filtered(),
        Call::of("sum", DOUBLE).distinct(),
        Call::of("stddev_samp", INT_AS_DOUBLE),
        Call::of("first_value", TEXT).ordered(TIME, false),
        Call::of("last_value", TEXT).ordered(TIME, false),
        Call::of("last_value", TEXT).ordered(TIME, false).ignore_nulls(),
        Call::of("first_value", DOUBLE).ordered(WEIGHT, true).filtered(),
        Call::of("last_value", DECIMAL).ordered(WEIGHT, false),
        Call::of("first_value", FLAG).ordered(WEIGHT, false).ignore_nulls(),
    ];
    for column in [DOUBLE, FLOAT, INT, DECIMAL, TEXT, FLAG] {
        for function in ["min", "max"] {
            calls.push(Call::of(function, column));
            calls.push(Call::of(function, column).filtered());
        }
        calls.push(Call::of("count", column).distinct());
        calls.push(Call::of("count", column).distinct().filtered());
    }
    for column in [DOUBLE, INT, DECIMAL] {
        for function in ["sum", "avg"] {
            calls.push(Call::of(function, column));
            calls.push(Call::of(function, column).filtered());
        }
    }
    for function in ["stddev", "stddev_pop", "var", "var_pop"] {
        calls.push(Call::of(function, DOUBLE));
    }
    calls
}

/// A column of doubles without infinities and NaN.
const INT_AS_DOUBLE: usize = WEIGHT;

fn aggregation(keys: &[usize], calls: &[Call]) -> Arc<Aggregation> {
    let keys = Arc::new(schema().project(keys).expect("columns of the schema"));
    let functions = calls.iter().map(Call::expression).collect();
    Arc::new(Aggregation::new(keys, functions).expect("states with a layout"))
}

fn update(pane: &mut Pane, keys: &[usize], calls: &[Call], rows: &[Row]) -> Result<(), PaneError> {
    let batch = batch(rows);
    let column = |index: &usize| Arc::clone(batch.column(*index));
    let keys: Vec<ArrayRef> = keys.iter().map(column).collect();
    let arguments = |call: &Call| {
        std::iter::once(&call.argument).chain(call.order.iter().map(|(index, _)| index)).map(column).collect()
    };
    let arguments: Vec<Vec<ArrayRef>> = calls.iter().map(arguments).collect();
    let filters: Vec<Option<BooleanArray>> =
        calls.iter().map(|call| call.filtered.then(|| batch.column(WANTED).as_boolean().clone())).collect();
    pane.update(&keys, &arguments, &filters)
}

/// Rows in an order of their own.
fn sorted(rows: &RecordBatch) -> RecordBatch {
    let columns: Vec<SortColumn> =
        rows.columns().iter().take(1).map(|values| SortColumn { values: Arc::clone(values), options: None }).collect();
    take_record_batch(rows, &lexsort_to_indices(&columns, None).expect("sortable")).expect("indices of its rows")
}

fn special() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        f64::MAX,
        f64::MIN,
        5e-324,
        1e300,
        -1e-300,
    ])
}

fn plain() -> impl Strategy<Value = f64> {
    prop_oneof![4 => -1e6..1e6, 1 => prop::sample::select(vec![0.0, -0.0, 1.0, 1e300, -1e300, 1e-300, 5e-324])]
}

prop_compose! {
    fn row()(
        key in prop::option::weighted(0.8, 0u8..4),
        double in prop::option::weighted(0.8, prop_oneof![30 => plain(), 1 => special()]),
        float in prop::option::weighted(0.8, prop_oneof![plain(), special()]),
        int in prop::option::weighted(0.8, prop_oneof![-5i64..5, -(1i64 << 57)..1i64 << 57]),
        decimal in prop::option::weighted(0.8, -(10i128.pow(31))..10i128.pow(31)),
        text in prop::option::weighted(0.7, "[a-c]{0,2}"),
        flag in prop::option::weighted(0.8, any::<bool>()),
        wanted in prop::option::weighted(0.9, any::<bool>()),
        time in -2i64..2,
        weight in prop::option::weighted(0.9, prop_oneof![10 => plain(), 1 => special()]),
    ) -> Row {
        let float = float.map(|float| float as f32);
        Row { key, double, float, int, decimal, text, flag, wanted, time, weight, position: 0 }
    }
}

fn rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec(row(), 1..most).prop_map(|mut rows| {
        for (position, row) in (0..).zip(&mut rows) {
            row.position = position;
        }
        rows
    })
}

/// What happens to a run of rows in a test: which of three panes takes it, and what is done to that pane then.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Freeze,
    /// Frozen, then its deltas go into another pane in reverse, as if from a checkpoint.
    Restore,
    Evaluate,
}

fn chunks() -> impl Strategy<Value = Vec<(usize, usize, Then)>> {
    let then = prop::sample::select(vec![Then::Nothing, Then::Freeze, Then::Restore, Then::Evaluate]);
    prop::collection::vec((1usize..12, 0usize..3, then), 1..14)
}

/// A pane with all that it ever gave a checkpoint.
struct Stored {
    pane: Pane,
    deltas: Vec<RecordBatch>,
}

impl Stored {
    fn new(aggregation: &Arc<Aggregation>) -> Stored {
        Stored { pane: Pane::new(aggregation).expect("known functions"), deltas: Vec::new() }
    }

    fn freeze(&mut self) {
        match self.pane.freeze().expect("a state") {
            Frozen::Nothing => {}
            Frozen::Delta(delta) => self.deltas.push(delta),
            Frozen::Whole(whole) => self.deltas = vec![whole],
        }
    }
}

/// Spreads the rows over panes as the chunks say, and merges all in the end.
fn roundabout(
    aggregation: &Arc<Aggregation>,
    calls: &[Call],
    rows: &[Row],
    chunks: &[(usize, usize, Then)],
) -> RecordBatch {
    let mut panes = [Stored::new(aggregation), Stored::new(aggregation), Stored::new(aggregation)];
    let mut rest = rows;
    for &(count, index, then) in chunks.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, behind) = rest.split_at(count.min(rest.len()));
        rest = behind;
        let stored = &mut panes[index];
        update(&mut stored.pane, &[KEY], calls, chunk).expect("rows of the schema");
        match then {
            Then::Nothing => {}
            Then::Freeze => stored.freeze(),
            Then::Evaluate => {
                stored.pane.evaluate().expect("no overflow");
            }
            Then::Restore => {
                stored.freeze();
                let mut restored = Pane::new(aggregation).expect("known functions");
                for delta in stored.deltas.iter().rev() {
                    restored.restore(delta.clone()).expect("the same layout");
                }
                stored.pane = restored;
            }
        }
    }
    let mut whole = Pane::new(aggregation).expect("known functions");
    for mut stored in panes {
        stored.freeze();
        for delta in stored.deltas {
            whole.restore(delta).expect("the same layout");
        }
    }
    sorted(&whole.close().expect("no overflow"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn batches_order_and_partial_states_leave_no_trace(
        (rows, shuffled) in rows(80).prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
        chunks in chunks(),
    ) {
        let calls = calls();
        let aggregation = aggregation(&[KEY], &calls);
        let mut pane = Pane::new(&aggregation).expect("known functions");
        update(&mut pane, &[KEY], &calls, &rows).expect("rows of the schema");
        let evaluated = sorted(&pane.evaluate().expect("no overflow"));
        let closed = sorted(&pane.close().expect("no overflow"));
        prop_assert_eq!(&evaluated, &closed);
        let other = roundabout(&aggregation, &calls, &shuffled, &chunks);
        for (index, field) in closed.schema().fields().iter().enumerate() {
            prop_assert_eq!(closed.column(index), other.column(index), "{}", field.name());
        }
        model::compare(&calls, &rows, &closed)?;
    }

    #[test]
    fn a_single_accumulator_agrees_with_the_groups(rows in rows(40), cut in 0usize..40) {
        let calls: Vec<Call> = calls().into_iter().filter(|call| !call.filtered).collect();
        let aggregation = aggregation(&[], &calls);
        let mut pane = Pane::new(&aggregation).expect("known functions");
        update(&mut pane, &[], &calls, &rows).expect("rows of the schema");
        let closed = pane.close().expect("no overflow");
        prop_assert_eq!(closed.num_rows(), 1);
        let parts = rows.split_at(cut.min(rows.len()));
        for (index, call) in calls.iter().enumerate() {
            let mut single = call.expression().create_accumulator().expect("known");
            for part in [parts.0, parts.1] {
                let batch = batch(part);
                let indices = std::iter::once(call.argument).chain(call.order.iter().map(|(column, _)| *column));
                let columns: Vec<ArrayRef> = indices.map(|column| Arc::clone(batch.column(column))).collect();
                single.update_batch(&columns).expect("rows of the schema");
                single.evaluate().expect("a result");
            }
            let result = single.evaluate().expect("a result").to_array_of_size(1).expect("a scalar");
            // DataFusion's own single min and max over other types are not ours to compare bit by bit.
            prop_assert_eq!(&result, closed.column(index), "{}", call.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// DataFusion asks for the first groups alone where its input is sorted, as above a window.
    #[test]
    fn groups_may_be_taken_out_a_few_at_a_time(rows in rows(40), first in 0usize..=4) {
        // As a key set numbers groups: every group has a row.
        let mut rows = rows;
        rows.splice(0..0, (0..4).map(|key| Row { key: Some(key), text: Some("x".to_owned()), ..blank(-4) }));
        let groups: Vec<usize> = rows.iter().map(|row| usize::from(row.key.unwrap_or(0))).collect();
        let batch = batch(&rows);
        for call in calls() {
            let indices = std::iter::once(call.argument).chain(call.order.iter().map(|(column, _)| *column));
            let columns: Vec<ArrayRef> = indices.map(|column| Arc::clone(batch.column(column))).collect();
            let filled = || {
                let mut accumulator = call.expression().create_groups_accumulator().expect("known");
                accumulator.update_batch(&columns, &groups, None, 4).expect("rows of the schema");
                accumulator
            };
            let whole = filled().evaluate(EmitTo::All).expect("no overflow");
            let mut accumulator = filled();
            let mut merged = call.expression().create_groups_accumulator().expect("known");
            if first > 0 {
                let state = accumulator.state(EmitTo::First(first)).expect("a state");
                merged.merge_batch(&state, &(0..first).collect::<Vec<_>>(), None, first).expect("a state");
            }
            let rest = accumulator.evaluate(EmitTo::All).expect("no overflow");
            prop_assert_eq!(&rest, &whole.slice(first, 4 - first), "{}", call.name());
            let taken = merged.evaluate(EmitTo::All).expect("no overflow");
            prop_assert_eq!(&taken, &whole.slice(0, first), "{}", call.name());
        }
    }
}

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

fn blank(position: i64) -> Row {
    Row {
        key: None,
        double: None,
        float: None,
        int: None,
        decimal: None,
        text: None,
        flag: None,
        wanted: None,
        time: 0,
        weight: None,
        position,
    }
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
    assert!(matches!(pane.freeze().expect("nothing"), Frozen::Nothing));
    let mut kinds = String::new();
    for position in 0..20 {
        update(&mut pane, &[KEY], &calls, &[Row { key: Some(1), ..blank(position) }]).expect("rows");
        kinds.push(match pane.freeze().expect("a state") {
            Frozen::Nothing => '-',
            Frozen::Delta(_) => 'd',
            Frozen::Whole(_) => 'W',
        });
        assert!(matches!(pane.freeze().expect("nothing new"), Frozen::Nothing));
        assert!(pane.groups() <= 8);
    }
    assert_eq!(kinds, "WdddddddWdddddddWddd");
    assert_eq!(pane.close().expect("counts").column(1).as_primitive::<Int64Type>().values(), &[20]);
}

#[test]
fn keys_that_come_again_are_not_held_nine_times() {
    let calls = [Call::of("count", POSITION)];
    let aggregation = aggregation(&[INT], &calls);
    let mut pane = Pane::new(&aggregation).expect("known functions");
    let rows: Vec<Row> = (0..5_000).map(|position| Row { int: Some(position), ..blank(position) }).collect();
    for _ in 0..20 {
        update(&mut pane, &[INT], &calls, &rows).expect("rows");
        pane.freeze().expect("a state");
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
    let Frozen::Whole(delta) = pane.freeze().expect("a state") else { panic!("the first is the whole") };
    let mut other = Pane::new(&aggregation(&[KEY], &sums)).expect("known functions");
    let error = other.restore(delta).expect_err("another layout").to_string();
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
