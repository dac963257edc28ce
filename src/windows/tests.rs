//! Panes and aggregates together: the same rows give the same bits, however they are batched, split over panes, frozen,
//! restored and merged; and those of a slow, obvious model.

mod asked;
mod cases;
mod collected;
mod made;
mod memory;
mod model;
mod open;
mod overlapping;
mod pairs;
mod revised;
mod roundabout;
mod tables;
mod written;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray};
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_common::ScalarValue;
use datafusion_expr::EmitTo;
use datafusion_physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion_physical_expr::expressions::{Column, Literal};
use datafusion_physical_expr::{PhysicalExpr, PhysicalSortExpr};
use proptest::prelude::*;

use super::{Aggregation, Deferred, Frozen, Pane, PaneError};
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

/// The second argument of an aggregate.
#[derive(Clone, Debug)]
enum Second {
    Column(usize),
    Constant(ScalarValue),
}

/// An aggregate of the tests, as the planner would hand it over.
#[derive(Clone, Debug)]
struct Call {
    function: &'static str,
    argument: usize,
    second: Option<Second>,
    distinct: bool,
    ignore_nulls: bool,
    filtered: bool,
    order: Vec<(usize, SortOptions)>,
}

impl Call {
    fn of(function: &'static str, argument: usize) -> Call {
        Call {
            function,
            argument,
            second: None,
            distinct: false,
            ignore_nulls: false,
            filtered: false,
            order: Vec::new(),
        }
    }

    fn with(self, column: usize) -> Call {
        Call { second: Some(Second::Column(column)), ..self }
    }

    fn constant(self, value: impl Into<ScalarValue>) -> Call {
        Call { second: Some(Second::Constant(value.into())), ..self }
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

    /// What the aggregate is given: its arguments, then its order columns.
    fn columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        let column = |index: usize| Arc::clone(batch.column(index));
        let second = self.second.iter().map(|second| match second {
            Second::Column(index) => column(*index),
            Second::Constant(value) => value.to_array_of_size(batch.num_rows()).expect("a constant"),
        });
        let order = self.order.iter().map(|(index, _)| column(*index));
        std::iter::once(column(self.argument)).chain(second).chain(order).collect()
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
        let mut arguments = vec![column(self.argument)];
        arguments.extend(self.second.iter().map(|second| match second {
            Second::Column(index) => column(*index),
            Second::Constant(value) => Arc::new(Literal::new(value.clone())),
        }));
        let built = AggregateExprBuilder::new(Arc::clone(udf.expect("a known aggregate")), arguments)
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
        Call::of("array_agg", TEXT).ordered(TIME, false),
        Call::of("array_agg", TEXT).ordered(WEIGHT, true).ignore_nulls().filtered(),
        Call::of("array_agg", TEXT).ordered(TIME, false).distinct(),
        Call::of("array_agg", DOUBLE).ordered(WEIGHT, true),
        Call::of("string_agg", TEXT).constant(", ").ordered(TIME, true),
        Call::of("string_agg", TEXT).constant("-").ordered(TIME, false).distinct().filtered(),
        Call::of("nth_value", TEXT).constant(2_i64).ordered(TIME, false),
        Call::of("nth_value", DECIMAL).constant(-3_i64).ordered(WEIGHT, true).ignore_nulls(),
        Call::of("percentile_cont", DOUBLE).constant(0.3),
        Call::of("percentile_cont", DOUBLE).constant(1.0).distinct().filtered(),
        Call::of("bit_xor", INT),
        Call::of("bit_and", INT).filtered(),
        Call::of("bit_or", INT),
    ];
    for column in [DOUBLE, INT, DECIMAL] {
        calls.push(Call::of("median", column));
        calls.push(Call::of("median", column).distinct().filtered());
    }
    for share in [0.0, 0.5, 0.9, 1.0] {
        calls.push(Call::of("approx_quantile", DOUBLE).constant(share));
    }
    calls.push(Call::of("approx_quantile", WEIGHT).constant(0.25).filtered());
    for function in PAIRS {
        calls.push(Call::of(function, INT_AS_DOUBLE).with(DOUBLE));
        calls.push(Call::of(function, DOUBLE).with(INT_AS_DOUBLE).filtered());
    }
    for column in [DOUBLE, FLOAT, INT, DECIMAL, TEXT, FLAG] {
        for function in ["min", "max"] {
            calls.push(Call::of(function, column));
            calls.push(Call::of(function, column).filtered());
        }
        calls.push(Call::of("count", column).distinct());
        calls.push(Call::of("approx_distinct", column));
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

/// Aggregates over pairs: y, then x.
const PAIRS: [&str; 12] = [
    "covar_samp",
    "covar_pop",
    "corr",
    "regr_slope",
    "regr_intercept",
    "regr_r2",
    "regr_count",
    "regr_avgx",
    "regr_avgy",
    "regr_sxx",
    "regr_syy",
    "regr_sxy",
];

/// A column of doubles without infinities and NaN.
const INT_AS_DOUBLE: usize = WEIGHT;

fn aggregation(keys: &[usize], calls: &[Call]) -> Arc<Aggregation> {
    let keys = Arc::new(schema().project(keys).expect("columns of the schema"));
    let functions = calls.iter().map(Call::expression).collect();
    Arc::new(Aggregation::new(keys, functions).expect("states with a layout"))
}

fn update(pane: &mut Pane, keys: &[usize], calls: &[Call], rows: &[Row]) -> Result<(), PaneError> {
    let batch = batch(rows);
    let keys: Vec<ArrayRef> = keys.iter().map(|index| Arc::clone(batch.column(*index))).collect();
    let arguments: Vec<Vec<ArrayRef>> = calls.iter().map(|call| call.columns(&batch)).collect();
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
