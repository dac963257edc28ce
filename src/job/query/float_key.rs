//! Floats as group keys and in comparisons: -0.0 is 0.0, and every NaN is the one NaN, greatest of all, also inside arrays
//! and structs. Without it the bits decide: keys that look alike would be two groups, and `x = 0` would miss -0.0.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use arrow::datatypes::DataType;
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::functions::one_zero_one_nan;

/// Whether values of the type hold floats.
pub(super) fn has_float(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 => true,
        DataType::List(item) => has_float(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_float(field.data_type())),
        _ => false,
    }
}

/// Name of the function.
pub(super) const FLOAT_KEY: &str = "float_key";

/// `value` with one zero and one NaN; it keeps its type.
pub(super) fn float_key(value: Expr) -> Expr {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(FloatKey { signature }))
    });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&FUNCTION), vec![value]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FloatKey {
    signature: Signature,
}

impl ScalarUDFImpl for FloatKey {
    fn name(&self) -> &str {
        FLOAT_KEY
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match &args.args[0] {
            ColumnarValue::Array(values) => ColumnarValue::Array(normalised(values)),
            ColumnarValue::Scalar(value) => {
                ColumnarValue::Scalar(ScalarValue::try_from_array(&normalised(&value.to_array()?), 0)?)
            }
        })
    }
}

fn normalised(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::List(item) if has_float(item.data_type()) => {
            let list: &ListArray = values.as_list();
            let items = normalised(list.values());
            Arc::new(ListArray::new(Arc::clone(item), list.offsets().clone(), items, list.nulls().cloned()))
        }
        DataType::Struct(fields) if has_float(values.data_type()) => {
            let columns = values.as_struct().columns().iter().map(normalised).collect();
            Arc::new(StructArray::new(fields.clone(), columns, values.nulls().cloned()))
        }
        _ => one_zero_one_nan(values),
    }
}
