//! What a group costs in memory, as jobs/README.md says, and that nothing grows with what isn't needed.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::ScalarValue;
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::{Column, Literal};
use datafusion_physical_expr::{PhysicalExpr, PhysicalSortExpr};

/// Columns of the rows: two doubles, a text, a whole number, the canonical order.
fn schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("x", DataType::Float64),
        field("y", DataType::Float64),
        field("text", DataType::Utf8),
        field("number", DataType::Int64),
        field("order", DataType::Int64),
    ]))
}

/// Numbers around 100, texts of ten letters; `distinct` different ones.
fn columns(rows: usize, distinct: usize) -> Vec<ArrayRef> {
    let number = |row: usize| (row * 7_919 % distinct) as f64;
    vec![
        Arc::new(Float64Array::from_iter_values((0..rows).map(|row| 100.0 + number(row) / distinct as f64 * 50.0))),
        Arc::new(Float64Array::from_iter_values((0..rows).map(|row| 90.0 + number(row + 1) / distinct as f64 * 50.0))),
        Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("text-{:05}", row % distinct)))),
        Arc::new(Int64Array::from_iter_values((0..rows).map(|row| (row % distinct) as i64))),
        Arc::new(Int64Array::from_iter_values((0..rows).map(|row| (row * 31 % rows) as i64))),
    ]
}

struct Call {
    function: String,
    accumulator: Box<dyn GroupsAccumulator>,
    inputs: Vec<usize>,
    constant: Option<ScalarValue>,
}

/// An aggregate over columns, with a constant behind them if there is one; `ordered`: by the last column.
fn call(function: &str, inputs: &[usize], constant: Option<ScalarValue>, ordered: bool, distinct: bool) -> Call {
    let column = |index: usize| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new(schema().field(index).name(), index)) };
    let udf = super::super::aggregates().into_iter().find(|udf| udf.name() == function).expect("a known aggregate");
    let mut arguments: Vec<_> = inputs.iter().map(|index| column(*index)).collect();
    arguments.extend(constant.iter().map(|value| Arc::new(Literal::new(value.clone())) as Arc<dyn PhysicalExpr>));
    let order =
        if ordered { vec![PhysicalSortExpr { expr: column(4), options: Default::default() }] } else { Vec::new() };
    let built = AggregateExprBuilder::new(udf, arguments)
        .schema(schema())
        .alias(function)
        .order_by(order)
        .with_distinct(distinct)
        .build()
        .expect("the arguments fit");
    let accumulator = built.create_groups_accumulator().expect("it has groups");
    Call { function: function.to_owned(), accumulator, inputs: inputs.to_vec(), constant }
}

impl Call {
    fn update(&mut self, rows: &[ArrayRef], groups: &[usize], count: usize) {
        let mut columns: Vec<ArrayRef> = self.inputs.iter().map(|index| Arc::clone(&rows[*index])).collect();
        columns.extend(self.constant.iter().map(|value| value.to_array_of_size(groups.len()).expect("a constant")));
        columns.push(Arc::clone(&rows[4]));
        self.accumulator.update_batch(&columns, groups, None, count).expect("rows of the schema");
    }
}

#[test]
fn bytes_per_group_are_as_documented() {
    const GROUPS: usize = 64;
    // Of 1,000 rows a group; the last number is what jobs/README.md says, rounded up.
    let share = || Some(ScalarValue::from(0.95));
    let cases = [
        (call("sum", &[0], None, false, false), 24),
        (call("stddev", &[0], None, false, false), 170),
        (call("covar_samp", &[1, 0], None, false, false), 200),
        (call("corr", &[1, 0], None, false, false), 400),
        (call("regr_slope", &[1, 0], None, false, false), 300),
        (call("approx_distinct", &[3], None, false, false), 8_300),
        (call("approx_quantile", &[0], share(), false, false), 500),
        (call("median", &[0], None, false, false), 8_300),
        (call("percentile_cont", &[0], share(), false, false), 8_300),
        (call("nth_value", &[3], Some(ScalarValue::from(2_i64)), true, false), 60),
        (call("array_agg", &[3], None, true, false), 21_000),
        (call("string_agg", &[2], Some(ScalarValue::from(", ")), true, false), 27_000),
    ];
    let rows = columns(GROUPS * 1_000, 1_000);
    let groups: Vec<usize> = (0..GROUPS * 1_000).map(|row| row / 1_000).collect();
    for (mut call, documented) in cases {
        for start in (0..rows[0].len()).step_by(8_000) {
            let length = 8_000.min(rows[0].len() - start);
            // As an exchange deals rows out: arrays of their own.
            let part: Vec<ArrayRef> = rows.iter().map(|column| copied(column, start, length)).collect();
            call.update(&part, &groups[start..start + length], GROUPS);
        }
        let bytes = call.accumulator.size() / GROUPS;
        let name = &call.function;
        assert!(bytes <= documented, "{name}: {bytes} bytes, and {documented} are documented");
        assert!(bytes * 3 > documented, "{name}: only {bytes} bytes, and {documented} are documented");
    }
}

fn copied(column: &ArrayRef, start: usize, length: usize) -> ArrayRef {
    arrow::compute::concat(&[column.slice(start, length).as_ref()]).expect("one array")
}

#[test]
fn rows_that_are_not_needed_are_let_go() {
    let rows = columns(8_000, 50);
    let groups: Vec<usize> = (0..8_000).map(|row| row % 10).collect();
    let cases = [
        call("nth_value", &[2], Some(ScalarValue::from(3_i64)), true, false),
        call("nth_value", &[2], Some(ScalarValue::from(-3_i64)), true, false),
        call("array_agg", &[2], None, true, true),
    ];
    for mut call in cases {
        for _ in 0..40 {
            call.update(&rows, &groups, 10);
        }
        let bytes = call.accumulator.size();
        assert!(bytes < 2_000_000, "{}: {bytes} bytes of 320,000 rows", call.function);
    }
}

#[test]
fn many_rows_in_small_batches_are_the_same_as_all_at_once() {
    let rows = columns(30_000, 500);
    let groups: Vec<usize> = (0..30_000).map(|row| row % 3).collect();
    let cases = || {
        [
            call("nth_value", &[2], Some(ScalarValue::from(40_i64)), true, false),
            call("nth_value", &[2], Some(ScalarValue::from(-40_i64)), true, false),
            call("array_agg", &[2], None, true, true),
            call("array_agg", &[2], None, true, false),
            call("string_agg", &[2], Some(ScalarValue::from(",")), true, true),
        ]
    };
    for (mut whole, mut parts) in cases().into_iter().zip(cases()) {
        whole.update(&rows, &groups, 3);
        let mut start = 0;
        for length in [1, 5_000, 1, 700, 9_000, 3, 12_000, 295, 3_000] {
            let part: Vec<ArrayRef> = rows.iter().map(|column| column.slice(start, length)).collect();
            parts.update(&part, &groups[start..start + length], 3);
            start += length;
        }
        assert_eq!(start, 30_000);
        let state = parts.accumulator.state(EmitTo::All).expect("a state");
        let again = whole.accumulator.state(EmitTo::All).expect("a state");
        assert_eq!(state, again, "equal rows have equal states");
        assert_eq!(state[0].as_list::<i32>().len(), 3);
        whole.accumulator.merge_batch(&again, &[0, 1, 2], None, 3).expect("a state");
        parts
            .accumulator
            .merge_batch(&state.iter().map(|column| column.slice(0, 1)).collect::<Vec<_>>(), &[0], None, 3)
            .expect("a state");
        parts
            .accumulator
            .merge_batch(&state.iter().map(|column| column.slice(1, 2)).collect::<Vec<_>>(), &[1, 2], None, 3)
            .expect("a state");
        let (whole, parts) = (whole.accumulator.evaluate(EmitTo::All), parts.accumulator.evaluate(EmitTo::All));
        assert_eq!(&whole.expect("results"), &parts.expect("results"));
    }
}
