//! Numbers for keys: equal values of some columns get one number, from 0 in the order of their first rows.
//! Invariant: -0.0 and 0.0 are one key, all NaN are one key, NULL is a key; without columns every row has number 0.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_expr::EmitTo;
use datafusion_physical_plan::aggregates::group_values::multi_group_by::GroupValuesColumn;
use datafusion_physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion_physical_plan::aggregates::order::GroupOrdering;

use super::pane::PaneError;
use crate::functions::one_zero_one_nan;

/// Keys seen so far, and their numbers.
pub(super) struct Identities {
    /// `None` without columns.
    values: Option<Box<dyn GroupValues>>,
    count: usize,
}

impl Identities {
    /// `keys` names the columns and their types.
    pub(super) fn new(keys: &SchemaRef) -> Result<Identities, PaneError> {
        let values: Option<Box<dyn GroupValues>> = match keys.fields().as_ref() {
            [] => None,
            // DataFusion's set for one column of texts takes twice the memory: its table holds the texts' places too.
            [key] if matches!(key.data_type(), DataType::Utf8 | DataType::Binary) => {
                Some(Box::new(GroupValuesColumn::<false>::try_new(SchemaRef::clone(keys)).map_err(PaneError::Keys)?))
            }
            _ => Some(new_group_values(SchemaRef::clone(keys), &GroupOrdering::None).map_err(PaneError::Keys)?),
        };
        Ok(Identities { values, count: 0 })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.size())
    }

    /// Fills `numbers` with the number of each of `rows` rows.
    pub(super) fn resolve(
        &mut self,
        keys: &[ArrayRef],
        rows: usize,
        numbers: &mut Vec<usize>,
    ) -> Result<(), PaneError> {
        match &mut self.values {
            None => {
                numbers.clear();
                numbers.resize(rows, 0);
                self.count = self.count.max(usize::from(rows > 0));
            }
            Some(values) => {
                let floats = |key: &ArrayRef| matches!(key.data_type(), DataType::Float32 | DataType::Float64);
                if keys.iter().any(floats) {
                    let keys: Vec<ArrayRef> = keys.iter().map(one_zero_one_nan).collect();
                    values.intern(&keys, numbers).map_err(PaneError::Keys)?;
                } else {
                    values.intern(keys, numbers).map_err(PaneError::Keys)?;
                }
                self.count = values.len();
            }
        }
        Ok(())
    }

    /// Takes the keys out, in the order of their numbers; there are none afterwards.
    pub(super) fn take(&mut self) -> Result<Vec<ArrayRef>, PaneError> {
        self.count = 0;
        let Some(values) = &mut self.values else { return Ok(Vec::new()) };
        let keys = values.emit(EmitTo::All).map_err(PaneError::Keys)?;
        // Without it the multi-column set keeps its hash map, whose next look-up reads beyond the emptied columns.
        values.clear_shrink(0);
        Ok(keys)
    }
}
