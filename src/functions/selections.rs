//! `min`, `max`, `first_value`, `last_value`, `count`: which accumulator serves which type. What DataFusion has already,
//! and gives the same in any order, is its own.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion_common::{Result, not_impl_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};
use datafusion_functions_aggregate::count::count_udaf;
use datafusion_functions_aggregate::min_max::{max_udaf, min_udaf};

use super::distinct::{CountDistinct, distinct_fields};
use super::extremes::FloatExtreme;
use super::ranked::{Nulls, Pick, Ranked};
use super::single::Single;

/// `min(x)` and `max(x)` over all types that have an order.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Extreme {
    pick: Pick,
    signature: Signature,
}

impl Extreme {
    pub(super) fn new(pick: Pick) -> Extreme {
        Extreme { pick, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn stock(&self) -> Arc<AggregateUDF> {
        match self.pick {
            Pick::First => min_udaf(),
            Pick::Last => max_udaf(),
        }
    }

    /// Types that the stock accumulators serve, column by column.
    fn is_stock(data_type: &DataType) -> bool {
        match data_type {
            DataType::Float32 | DataType::Float64 | DataType::Float16 | DataType::Interval(_) => false,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
            other => other.is_primitive(),
        }
    }
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &'static str {
        match self.pick {
            Pick::First => "min",
            Pick::Last => "max",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.stock().coerce_types(arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.stock().return_type(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let data_type = args.return_type().clone();
        let is_ranked = !Extreme::is_stock(&data_type) && !matches!(data_type, DataType::Float32 | DataType::Float64);
        let mut fields = vec![Arc::new(Field::new(format!("{}[value]", args.name), data_type, true))];
        if is_ranked {
            fields.push(Arc::new(Field::new(format!("{}[is_set]", args.name), DataType::Boolean, true)));
        }
        Ok(fields)
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match args.return_type() {
            DataType::Float32 => Ok(Box::new(FloatExtreme::<Float32Type>::new(self.pick))),
            DataType::Float64 => Ok(Box::new(FloatExtreme::<Float64Type>::new(self.pick))),
            other if Extreme::is_stock(other) => self.stock().create_groups_accumulator(args),
            other => Ok(Box::new(Ranked::new(self.pick, Nulls::Ignore, other, Vec::new())?)),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if Extreme::is_stock(args.return_type()) {
            return self.stock().accumulator(args);
        }
        Single::over(self.create_groups_accumulator(args.clone())?, &args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// `first_value(x ORDER BY …)` and `last_value(x ORDER BY …)`; nulls are respected unless IGNORE NULLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EndValue {
    pick: Pick,
    signature: Signature,
}

impl EndValue {
    pub(super) fn new(pick: Pick) -> EndValue {
        EndValue { pick, signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for EndValue {
    fn name(&self) -> &'static str {
        match self.pick {
            Pick::First => "first_value",
            Pick::Last => "last_value",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, data_type: &DataType| {
            Arc::new(Field::new(format!("{}[{name}]", args.name), data_type.clone(), true))
        };
        let mut fields = vec![field("value", args.return_type())];
        fields.extend(args.ordering_fields.iter().map(|order| field(order.name(), order.data_type())));
        fields.push(field("is_set", &DataType::Boolean));
        Ok(fields)
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let nulls = if args.ignore_nulls { Nulls::Ignore } else { Nulls::Respect };
        let order = args.order_bys.iter().map(|order| Ok((order.expr.data_type(args.schema)?, order.options)));
        let order = order.collect::<Result<Vec<_>>>()?;
        Ok(Box::new(Ranked::new(self.pick, nulls, args.return_type(), order)?))
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
        true
    }
}

/// `count(*)`, `count(x)`, `count(x, y)` (rows in which none is null) and the exact `count(DISTINCT x)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Count {
    signature: Signature,
}

impl Count {
    pub(super) fn new() -> Count {
        Count { signature: count_udaf().signature().clone() }
    }
}

impl AggregateUDFImpl for Count {
    fn name(&self) -> &'static str {
        "count"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _data_type: &DataType) -> Result<datafusion_common::ScalarValue> {
        Ok(datafusion_common::ScalarValue::Int64(Some(0)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if !args.is_distinct {
            return count_udaf().state_fields(args);
        }
        if args.input_fields.len() > 1 {
            return not_impl_err!("count(DISTINCT …) takes one argument; count a struct of the columns instead");
        }
        Ok(distinct_fields(&args))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        args.is_distinct || count_udaf().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if args.is_distinct { CountDistinct::over(&args) } else { count_udaf().create_groups_accumulator(args) }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct { Single::over(CountDistinct::over(&args)?, &args) } else { count_udaf().accumulator(args) }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct { self.accumulator(args) } else { count_udaf().create_sliding_accumulator(args) }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}
