//! `CORRECT_CLOCK(occurred_at, sent_at, received_at)`: [`ClockReadings::corrected`] over columns. NULL if one of the three is
//! NULL, as the time can't be corrected then, or if no TIMESTAMP holds the result.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::event::{EventTime, TIMESTAMP_ZONE, timestamp_type};
use crate::time::ClockReadings;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CorrectClock {
    signature: Signature,
}

impl CorrectClock {
    pub(super) fn new() -> CorrectClock {
        CorrectClock { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for CorrectClock {
    fn name(&self) -> &'static str {
        "correct_clock"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        if arg_types.len() != 3 {
            return plan_err!(
                "correct_clock takes three times: when it happened, when it was sent, when it was received"
            );
        }
        let is_time = |argument: &&DataType| matches!(argument, DataType::Timestamp(..) | DataType::Null);
        if let Some(other) = arg_types.iter().find(|argument| !is_time(argument)) {
            return plan_err!("correct_clock needs TIMESTAMPs, not {other}");
        }
        Ok(vec![timestamp_type(); 3])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(timestamp_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let are_constant = args.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if are_constant { 1 } else { args.number_rows };
        let columns = args.args.iter().map(|argument| argument.to_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let corrected: ArrayRef = Arc::new(corrected(&columns));
        if are_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&corrected, 0)?));
        }
        Ok(ColumnarValue::Array(corrected))
    }
}

fn corrected(columns: &[ArrayRef]) -> TimestampMicrosecondArray {
    let column = |index: usize| columns[index].as_primitive::<TimestampMicrosecondType>();
    let (occurred, sent, received) = (column(0), column(1), column(2));
    let times = occurred.iter().zip(sent).zip(received).map(|((occurred, sent), received)| {
        let readings =
            ClockReadings { occurred: EventTime(occurred?), sent: EventTime(sent?), received: EventTime(received?) };
        readings.corrected().map(|time| time.0)
    });
    times.collect::<TimestampMicrosecondArray>().with_timezone(TIMESTAMP_ZONE)
}
