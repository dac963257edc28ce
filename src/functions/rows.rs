//! Which rows of a batch an aggregate takes.

use arrow::array::{Array, BooleanArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};

/// Calls `take(row, group)` for each row that isn't null and passes the filter (a null filter drops the row), in order.
#[inline]
pub(super) fn for_each(
    groups: &[usize],
    nulls: Option<&NullBuffer>,
    filter: Option<&BooleanArray>,
    mut take: impl FnMut(usize, usize),
) {
    match mask(nulls, filter) {
        None => {
            for (row, &group) in groups.iter().enumerate() {
                take(row, group);
            }
        }
        Some(mask) => {
            assert_eq!(mask.len(), groups.len(), "one bit a row");
            for row in mask.set_indices() {
                take(row, groups[row]);
            }
        }
    }
}

/// The rows that count; `None`: all.
pub(super) fn mask(nulls: Option<&NullBuffer>, filter: Option<&BooleanArray>) -> Option<BooleanBuffer> {
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0).map(|nulls| nulls.inner().clone());
    let filter = filter.map(|filter| match filter.nulls() {
        Some(known) => filter.values() & known.inner(),
        None => filter.values().clone(),
    });
    match (nulls, filter) {
        (Some(nulls), Some(filter)) => Some(&nulls & &filter),
        (one, other) => one.or(other),
    }
}
