//! Publishing again what is published already: which old rows the windows of a checkpoint replace.
//! Invariant: the old rows of a window go in the commit that brings its new ones, or that says that it is empty now; until
//! then they stay. What is left of the range never grows. Pure.

use std::collections::BTreeMap;

use crate::checkpoints::{InsertProgress, RepublishRange, StreamProgress};
use crate::event::{EventTime, Micros, ResumeOffset};
use crate::iceberg::{OffsetCut, RowCut};
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

/// The published rows of the window with this mark.
pub(super) fn window(insert: &Insert, mark: EventTime) -> RowCut {
    let column = &insert.partitions[insert.range.partition].column;
    let at = insert.range_from(mark);
    RowCut::of_times(column, at, at.plus(Micros(1)))
}

/// Whether a stream, taken so far, is past all records that were taken before.
pub(super) fn is_through(left: Option<&BTreeMap<i32, ResumeOffset>>, now: &StreamProgress) -> bool {
    let is_past = |(partition, end): (&i32, &ResumeOffset)| now.get(partition).is_some_and(|at| at.next_offset >= *end);
    left.is_none_or(|left| left.iter().all(is_past))
}

/// The records of a stream that a checkpoint has taken, from where the one before `stood` to `now`, and that were taken
/// before: by partition. `left` is up to where they were, as in [`crate::checkpoints::Manifest::reread`]; partitions that are
/// through are taken out of it.
pub(super) fn read_again(
    left: &mut BTreeMap<i32, ResumeOffset>,
    stood: &StreamProgress,
    now: &StreamProgress,
) -> BTreeMap<i32, OffsetCut> {
    let next = |progress: &StreamProgress, partition| progress.get(&partition).map(|at| at.next_offset);
    let mut again = BTreeMap::new();
    left.retain(|&partition, &mut end| {
        let from = next(stood, partition).unwrap_or(ResumeOffset(0));
        let to = next(now, partition).unwrap_or(from);
        if from < to.min(end) {
            again.insert(partition, OffsetCut { from, to: to.min(end) });
        }
        to < end
    });
    again
}
