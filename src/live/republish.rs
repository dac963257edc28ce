//! Publishing again what is published already: which old rows the windows of a checkpoint replace.
//! Invariant: the old rows of a window go in the commit that brings its new ones, or that says that it is empty now; until
//! then they stay. What is left of the range never grows. Pure.

use crate::checkpoints::{InsertProgress, RepublishRange};
use crate::event::EventTime;
use crate::iceberg::RowCut;
use crate::job::Insert;

/// The old rows that a checkpoint at `watermark` replaces: those of all windows of the range that it publishes, of
/// empty ones too. Moves the range on.
pub(super) fn advance(insert: &Insert, progress: &mut InsertProgress, watermark: EventTime) -> Option<RowCut> {
    let RepublishRange { from, to } = progress.republish?;
    let reached = insert.published_below(watermark).min(to);
    if reached <= from {
        return None;
    }
    progress.republish = (reached < to).then_some(RepublishRange { from: reached, to });
    let column = &insert.partitions[insert.range.partition].column;
    Some(RowCut::of_times(column, from, reached))
}
