//! What somebody has taken out of a table by setting it back, as far as its metadata still say.

use crate::checkpoints::{Rollback, TableProperties};
use crate::event::EventTime;
use crate::iceberg::Table;

/// Summary entry of a snapshot: the watermark up to which its table was published then.
pub const WATERMARK: &str = "kappa.watermark";

/// The rollback of a table that `owner` writes to; `None`: there was none, or nobody can tell.
pub(super) fn rollback(table: &Table, owner: &str, properties: &TableProperties) -> Option<Rollback> {
    let snapshot = properties.snapshot.filter(|snapshot| table.left_behind(*snapshot))?;
    let kept = table.ancestors();
    Some(Rollback {
        owner: owner.to_owned(),
        snapshot,
        can_be_undone: table.summary(snapshot).is_some(),
        from: kept.iter().find_map(|snapshot| watermark(table, *snapshot)),
        to: watermark(table, snapshot),
    })
}

fn watermark(table: &Table, snapshot: i64) -> Option<EventTime> {
    let text = table.summary(snapshot)?.get(WATERMARK)?;
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    Some(EventTime(time.timestamp_micros()))
}
