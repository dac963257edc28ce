//! The one error of an aggregate that is the data's fault: a result that its type can't hold.

use datafusion_common::DataFusionError;

/// The result of one group doesn't fit its type. Accumulators know groups by number only; whoever holds the keys
/// ([`crate::windows::Pane`]) turns the number into a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the result of group {group} does not fit its type; cast the argument to a wider DECIMAL or to DOUBLE")]
pub struct ResultOverflow {
    /// Index of the group in the order of the emitted keys.
    pub group: usize,
}

impl ResultOverflow {
    /// The overflow behind an error of DataFusion, through any number of contexts; `None` for every other error.
    pub fn find(error: &DataFusionError) -> Option<ResultOverflow> {
        match error.find_root() {
            DataFusionError::External(source) => source.downcast_ref::<ResultOverflow>().copied(),
            _ => None,
        }
    }
}

impl From<ResultOverflow> for DataFusionError {
    fn from(overflow: ResultOverflow) -> DataFusionError {
        DataFusionError::External(Box::new(overflow))
    }
}
