//! L3: grouping decoded columns with DataFusion's own parts, one set of groups and accumulators a minute.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_expr::{AggregateUDF, EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate::{average::avg_udaf, count::count_udaf, sum::sum_udaf};
use datafusion_physical_expr::aggregate::AggregateExprBuilder;
use datafusion_physical_expr::expressions::col;
use datafusion_physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion_physical_plan::aggregates::order::GroupOrdering;

use crate::decode::BATCH_ROWS;
use crate::events::Event;
use crate::usage::{Cost, Stopwatch};

const MINUTE_MS: i64 = 60_000;
/// An event that comes this long after the end of a minute closes it.
const BOUND_MS: i64 = 5_000;

/// The columns of some events.
struct Columns {
    times: Vec<i64>,
    keys: ArrayRef,
    values: ArrayRef,
}

impl Columns {
    fn new(numbers: std::ops::Range<u64>, count: u64) -> Columns {
        let events: Vec<Event> = numbers.map(|number| Event::new(number, count)).collect();
        Columns {
            times: events.iter().map(|event| event.ts).collect(),
            keys: Arc::new(StringArray::from_iter_values(events.iter().map(Event::key_text))),
            values: Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.value as i64))),
        }
    }

    fn rows(&self, rows: Vec<u32>) -> Columns {
        let rows = UInt32Array::from(rows);
        let column = |column: &ArrayRef| take(column, &rows, None).expect("row numbers are in range");
        Columns { times: Vec::new(), keys: column(&self.keys), values: column(&self.values) }
    }
}

/// One minute.
struct Minute {
    keys: Box<dyn GroupValues>,
    accumulators: [Box<dyn GroupsAccumulator>; 3],
    numbers: Vec<usize>,
}

impl Minute {
    fn new() -> Minute {
        let keys = Arc::new(Schema::new(vec![Field::new("key", DataType::Utf8, false)]));
        let integers = Arc::new(Schema::new(vec![Field::new("value", DataType::Int64, true)]));
        let floats = Arc::new(Schema::new(vec![Field::new("value", DataType::Float64, true)]));
        Minute {
            keys: new_group_values(keys, &GroupOrdering::None).expect("text groups"),
            accumulators: [
                accumulator(count_udaf(), &integers),
                accumulator(sum_udaf(), &integers),
                // As DataFusion's own plans do: the average of integers is that of doubles.
                accumulator(avg_udaf(), &floats),
            ],
            numbers: Vec::new(),
        }
    }

    fn add(&mut self, columns: &Columns) {
        self.keys.intern(std::slice::from_ref(&columns.keys), &mut self.numbers).expect("text groups");
        let floats = cast(&columns.values, &DataType::Float64).expect("integers become doubles");
        let arguments = [&columns.values, &columns.values, &floats];
        for (accumulator, argument) in self.accumulators.iter_mut().zip(arguments) {
            accumulator
                .update_batch(std::slice::from_ref(argument), &self.numbers, None, self.keys.len())
                .expect("sums fit");
        }
    }

    fn close(mut self) -> (usize, i64, f64) {
        let keys = self.keys.emit(EmitTo::All).expect("all groups can be emitted");
        let [counts, _, means] = self
            .accumulators
            .each_mut()
            .map(|accumulator| accumulator.evaluate(EmitTo::All).expect("all groups can be emitted"));
        let counts = counts.as_any().downcast_ref::<Int64Array>().expect("a count is an integer");
        let means = means.as_any().downcast_ref::<Float64Array>().expect("a mean is a double");
        (keys[0].len(), counts.values().iter().sum(), means.value(0))
    }
}

fn accumulator(function: Arc<AggregateUDF>, schema: &SchemaRef) -> Box<dyn GroupsAccumulator> {
    let argument = col("value", schema).expect("the column is there");
    let built = AggregateExprBuilder::new(function, vec![argument]).schema(schema.clone()).alias("result").build();
    let built = built.expect("the function takes the column");
    assert!(built.groups_accumulator_supported(), "stock functions group");
    built.create_groups_accumulator().expect("stock functions group")
}

/// Groups `count` events; making their columns isn't measured.
pub fn measure(count: u64) -> Cost {
    let mut minutes: BTreeMap<i64, Minute> = BTreeMap::new();
    let mut cost = Cost::default();
    let (mut groups, mut counted) = (0, 0);
    for start in (0..count).step_by(BATCH_ROWS) {
        let columns = Columns::new(start..count.min(start + BATCH_ROWS as u64), count);
        let stopwatch = Stopwatch::start();
        add(&mut minutes, &columns);
        let newest = columns.times.iter().copied().max().expect("a batch has rows");
        let is_last = start + BATCH_ROWS as u64 >= count;
        while let Some(first) = minutes.first_entry()
            && (is_last || (first.key() + 1) * MINUTE_MS + BOUND_MS <= newest)
        {
            let (keys, rows, _) = std::hint::black_box(first.remove().close());
            groups += keys;
            counted += rows;
        }
        let piece = stopwatch.stop();
        cost.cpu += piece.cpu;
        cost.wall += piece.wall;
    }
    assert!(groups > 0, "there are groups");
    assert_eq!(counted, count as i64, "every event is in a group");
    cost
}

fn add(minutes: &mut BTreeMap<i64, Minute>, columns: &Columns) {
    let of = |time: &i64| time.div_euclid(MINUTE_MS);
    let first = columns.times.iter().map(of).min().expect("a batch has rows");
    if columns.times.iter().all(|time| of(time) == first) {
        return minutes.entry(first).or_insert_with(Minute::new).add(columns);
    }
    let mut parts: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for (row, time) in (0..).zip(&columns.times) {
        parts.entry(of(time)).or_default().push(row);
    }
    for (minute, rows) in parts {
        minutes.entry(minute).or_insert_with(Minute::new).add(&columns.rows(rows));
    }
}
