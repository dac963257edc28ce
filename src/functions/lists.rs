//! `array_agg(x)`, `string_agg(x, separator)` and `nth_value(x, n)`: what is made of a group's rows in their order. Without
//! ORDER BY that is the canonical one; with one, ties fall by it: the planner adds its columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, StringArray, StringBuilder, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, exec_err, not_impl_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::coercion;
use super::collected::{Collected, Keep, Taken, offsets};
use super::ranked::Nulls;
use super::single::Single;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Making {
    /// `array_agg`: all values; NULL for no rows. Nulls are respected unless IGNORE NULLS.
    Array,
    /// `string_agg`: all texts, with a separator between them; NULL for none. Nulls are left out.
    Text,
    /// `nth_value`: the value in that place, from the end if it is negative; NULL if there are fewer. Nulls are respected
    /// unless IGNORE NULLS.
    Nth,
}

/// One of the functions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ListFunction {
    making: Making,
    signature: Signature,
}

impl ListFunction {
    pub(super) fn new(making: Making) -> ListFunction {
        ListFunction { making, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn output(&self, args: &AccumulatorArgs) -> Result<Output> {
        Ok(match self.making {
            Making::Array => Output::Array,
            Making::Text => match coercion::constant(args, 1) {
                Some(ScalarValue::Utf8(separator)) => Output::Text { separator: separator.unwrap_or_default() },
                _ => return plan_err!("the separator of string_agg is a constant TEXT: the same for all rows"),
            },
            Making::Nth => match coercion::constant(args, 1) {
                Some(ScalarValue::Int64(Some(place))) if place != 0 && place.unsigned_abs() <= PLACES_MAX => {
                    Output::Nth { place }
                }
                _ => {
                    return plan_err!(
                        "the place in nth_value is a constant: 1 for the first value, -1 for the last, at most {PLACES_MAX}"
                    );
                }
            },
        })
    }
}

/// Places that `nth_value` counts: so many rows of each group are kept.
const PLACES_MAX: u64 = 10_000;

impl AggregateUDFImpl for ListFunction {
    fn name(&self) -> &'static str {
        match self.making {
            Making::Array => "array_agg",
            Making::Text => "string_agg",
            Making::Nth => "nth_value",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.making, arg_types) {
            (Making::Array, [value]) => Ok(vec![value.clone()]),
            (Making::Array, _) => plan_err!("array_agg takes one argument, not {}", arg_types.len()),
            (Making::Text, [value, separator]) => {
                if let Some(other) = [value, separator].into_iter().find(|argument| !is_text(argument)) {
                    return plan_err!("string_agg needs TEXT, not {other}");
                }
                Ok(vec![DataType::Utf8; 2])
            }
            (Making::Text, _) => plan_err!("string_agg takes a text and a separator, as in string_agg(x, ', ')"),
            (Making::Nth, [value, place]) if place.is_integer() => Ok(vec![value.clone(), DataType::Int64]),
            (Making::Nth, _) => plan_err!("nth_value takes a value and a place, as in nth_value(x, 2)"),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(match self.making {
            Making::Array => DataType::List(element(&arg_types[0])),
            Making::Text => DataType::Utf8,
            Making::Nth => arg_types[0].clone(),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let list = |name: &str, data_type: &DataType| {
            let list = DataType::new_list(data_type.clone(), true);
            Arc::new(Field::new(format!("{}[{name}]", args.name), list, true))
        };
        let mut fields = vec![list("values", args.input_fields[0].data_type())];
        fields.extend(args.ordering_fields.iter().map(|order| list(order.name(), order.data_type())));
        Ok(fields)
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let output = self.output(&args)?;
        let keep = match (&output, args.is_distinct) {
            (Output::Array | Output::Text { .. }, false) => Keep::All,
            (Output::Array | Output::Text { .. }, true) => Keep::Distinct,
            (Output::Nth { .. }, true) => return not_impl_err!("nth_value(DISTINCT …)"),
            (Output::Nth { place: place @ 1.. }, false) => Keep::First(place.unsigned_abs() as usize),
            (Output::Nth { place }, false) => Keep::Last(place.unsigned_abs() as usize),
        };
        let ignores = args.ignore_nulls || self.making == Making::Text;
        let nulls = if ignores { Nulls::Ignore } else { Nulls::Respect };
        let order = args.order_bys.iter().map(|order| Ok((order.expr.data_type(args.schema)?, order.options)));
        let order = order.collect::<Result<Vec<_>>>()?;
        let rows = Collected::new(keep, nulls, args.expr_fields[0].data_type(), order)?;
        Ok(Box::new(Lists { arguments: args.expr_fields.len(), output, rows }))
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Single::over(self.create_groups_accumulator(args.clone())?, &args)
    }

    /// Insensitive is what it is, but DataFusion then doesn't pass the order columns.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Beneficial
    }

    fn with_beneficial_ordering(self: Arc<Self>, _is_ordered: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.making != Making::Text
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

/// The items of an array, as columns of streams have them.
fn element(data_type: &DataType) -> FieldRef {
    Arc::new(Field::new("element", data_type.clone(), true))
}

/// What becomes of a group's rows.
#[derive(Clone, Debug)]
enum Output {
    Array,
    Text { separator: String },
    Nth { place: i64 },
}

impl Output {
    fn results(&self, taken: Taken) -> Result<ArrayRef> {
        let values = &taken.columns[0];
        match self {
            Output::Array => {
                let nulls = NullBuffer::from_iter(taken.lengths.iter().map(|length| *length > 0));
                let (item, offsets) = (element(values.data_type()), offsets(&taken.lengths)?);
                Ok(Arc::new(ListArray::try_new(item, offsets, Arc::clone(values), Some(nulls))?))
            }
            Output::Text { separator } => texts(values.as_string(), &taken.lengths, separator),
            Output::Nth { place } => {
                let mut end = 0;
                let indices = taken.lengths.iter().map(|&length| {
                    end += length;
                    let steps = place.unsigned_abs() as usize;
                    let index = if *place > 0 { end - length + steps - 1 } else { end.wrapping_sub(steps) };
                    (steps <= length).then(|| u32::try_from(index).expect("a pane holds fewer than 2^32 rows"))
                });
                Ok(take(values, &indices.collect::<UInt32Array>(), None)?)
            }
        }
    }
}

fn texts(values: &StringArray, lengths: &[usize], separator: &str) -> Result<ArrayRef> {
    let bytes = values.values().len() + values.len() * separator.len();
    if bytes > i32::MAX as usize {
        return exec_err!("the texts that string_agg makes of one window are longer than 2 GiB together");
    }
    let mut texts = StringBuilder::with_capacity(lengths.len(), bytes);
    let mut text = String::new();
    let mut start = 0;
    for &length in lengths {
        text.clear();
        for row in start..start + length {
            if row > start {
                text.push_str(separator);
            }
            text.push_str(values.value(row));
        }
        start += length;
        texts.append_option((length > 0).then_some(&text));
    }
    Ok(Arc::new(texts.finish()))
}

/// The rows of each group, on their way to a list, a text or one value.
struct Lists {
    /// Arguments before the order columns.
    arguments: usize,
    output: Output,
    rows: Collected,
}

impl GroupsAccumulator for Lists {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.rows.update(&values[0], &values[self.arguments..], group_indices, opt_filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let taken = self.rows.take(super::doubles::emitted(emit_to, self.rows.groups()))?;
        self.output.results(taken)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.rows.take(super::doubles::emitted(emit_to, self.rows.groups()))?.into_lists()
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        _opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let lists: Vec<&ListArray> = values.iter().map(|column| column.as_list()).collect();
        self.rows.merge(&lists, group_indices, total_num_groups)
    }

    fn size(&self) -> usize {
        self.rows.bytes()
    }
}
