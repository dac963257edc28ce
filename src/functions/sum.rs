//! `sum` and `avg`: which accumulator serves which type.

use std::sync::Arc;

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL128_MAX_SCALE, DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type,
    i256,
};
use datafusion_common::{Result, internal_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{Accumulator, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature, Volatility};

use super::coercion;
use super::distinct::{DistinctThen, distinct_fields};
use super::doubles::{DoubleAverage, DoubleSum, sum_fields};
use super::single::Single;
use super::totals::{NARROW_DIGITS_MAX, Output, Total, Totals};

/// `sum(x)`: BIGINT of integers, DECIMAL(min(38, p + 10), s) of DECIMAL(p, s), DOUBLE of floats. Exact: integers and
/// decimals fail only if the result doesn't fit, doubles are rounded once.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Sum {
    signature: Signature,
}

impl Sum {
    pub(super) fn new() -> Sum {
        Sum { signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn plain(args: &AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let argument = args.expr_fields[0].data_type();
        Ok(match (argument, args.return_type()) {
            (DataType::Int64, _) => Box::new(Totals::<Int64Type, i128>::new(Output::BigInt)),
            (DataType::UInt64, _) => Box::new(Totals::<UInt64Type, i128>::new(Output::BigInt)),
            (DataType::Float64, _) => Box::<DoubleSum>::default(),
            (DataType::Decimal128(digits, _), &DataType::Decimal128(precision, scale)) => {
                decimal(*digits, Output::Decimal { precision, scale })
            }
            (other, _) => return internal_err!("sum({other}) was not coerced"),
        })
    }
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![coercion::number("sum", arg_types)?])
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(match coercion::number("sum", arg_types)? {
            DataType::UInt64 => DataType::Int64,
            DataType::Decimal128(precision, scale) => {
                DataType::Decimal128(DECIMAL128_MAX_PRECISION.min(precision + 10), scale)
            }
            other => other,
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct {
            return Ok(distinct_fields(&args));
        }
        Ok(match args.input_fields[0].data_type() {
            DataType::Float64 => sum_fields(args.name),
            argument => vec![total_field(&args, argument)],
        })
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let plain = Sum::plain(&args)?;
        if args.is_distinct { DistinctThen::over(&args, plain) } else { Ok(plain) }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let plain = Sum::plain(&args)?;
        let groups = if args.is_distinct { DistinctThen::over(&args, plain)? } else { plain };
        Single::over(groups, &args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// `avg(x)`, also `mean`: DOUBLE of integers (the exact sum, rounded, by the count) and of floats;
/// DECIMAL(min(38, p + 4), min(38, s + 4)) of DECIMAL(p, s), rounded half away from zero.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Average {
    signature: Signature,
    aliases: Vec<String>,
}

impl Average {
    pub(super) fn new() -> Average {
        Average { signature: Signature::user_defined(Volatility::Immutable), aliases: vec!["mean".to_owned()] }
    }

    fn plain(args: &AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let argument = args.expr_fields[0].data_type();
        Ok(match (argument, args.return_type()) {
            (DataType::Int64, _) => Box::new(Totals::<Int64Type, i128>::new(Output::DoubleAverage)),
            (DataType::UInt64, _) => Box::new(Totals::<UInt64Type, i128>::new(Output::DoubleAverage)),
            (DataType::Float64, _) => Box::<DoubleAverage>::default(),
            (DataType::Decimal128(digits, from), &DataType::Decimal128(precision, scale)) => {
                let more_digits = (scale - from).cast_unsigned();
                decimal(*digits, Output::DecimalAverage { precision, scale, more_digits })
            }
            (other, _) => return internal_err!("avg({other}) was not coerced"),
        })
    }
}

impl AggregateUDFImpl for Average {
    fn name(&self) -> &'static str {
        "avg"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![coercion::number("avg", arg_types)?])
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        average_type("avg", arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct {
            return Ok(distinct_fields(&args));
        }
        let mut fields = match args.input_fields[0].data_type() {
            DataType::Float64 => sum_fields(args.name),
            argument => vec![total_field(&args, argument)],
        };
        fields.push(Arc::new(Field::new(format!("{}[count]", args.name), DataType::Int64, true)));
        Ok(fields)
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let plain = Average::plain(&args)?;
        if args.is_distinct { DistinctThen::over(&args, plain) } else { Ok(plain) }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let plain = Average::plain(&args)?;
        let groups = if args.is_distinct { DistinctThen::over(&args, plain)? } else { plain };
        Single::over(groups, &args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// The type of averages: four more digits for a DECIMAL, else DOUBLE.
pub(super) fn average_type(function: &str, argument_types: &[DataType]) -> Result<DataType> {
    Ok(match coercion::number(function, argument_types)? {
        DataType::Decimal128(precision, scale) => {
            DataType::Decimal128(DECIMAL128_MAX_PRECISION.min(precision + 4), DECIMAL128_MAX_SCALE.min(scale + 4))
        }
        _ => DataType::Float64,
    })
}

fn decimal(digits: u8, output: Output) -> Box<dyn GroupsAccumulator> {
    if digits <= NARROW_DIGITS_MAX {
        Box::new(Totals::<Decimal128Type, i128>::new(output))
    } else {
        Box::new(Totals::<Decimal128Type, i256>::new(output))
    }
}

fn total_field(args: &StateFieldsArgs, argument: &DataType) -> FieldRef {
    let data_type = match argument {
        DataType::Decimal128(digits, _) if *digits > NARROW_DIGITS_MAX => <i256 as Total>::STATE,
        _ => <i128 as Total>::STATE,
    };
    Arc::new(Field::new(format!("{}[sum]", args.name), data_type, true))
}
