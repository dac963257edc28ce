//! What becomes of every record: rejected, late or accepted.

use std::collections::BTreeMap;

use super::{Body, Log, Query, Stream, Value};

/// A record of the log with what is decided about it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Where it stands.
    pub partition: i32,
    /// Where it stands.
    pub offset: i64,
    /// Its fields; none if it is broken.
    pub fields: BTreeMap<String, Value>,
    /// The greatest event time before it in its partition, rejected records aside.
    pub seen: Option<i64>,
    /// What is decided.
    pub verdict: Verdict,
}

/// What becomes of a record, for one INSERT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Not readable as declared.
    Broken,
    /// Null in a NOT NULL column.
    Null,
    /// Event time beyond MAX FUTURE.
    Future,
    /// Late for its window, which starts here.
    Late(i64),
    /// Accepted, but dropped by WHERE.
    Dropped,
    /// Accepted into the window that starts here.
    Counted(i64),
}

impl Verdict {
    /// Whether it is rejected.
    pub fn is_rejected(self) -> bool {
        matches!(self, Verdict::Broken | Verdict::Null | Verdict::Future)
    }

    /// Whether it is late.
    pub fn is_late(self) -> bool {
        matches!(self, Verdict::Late(_))
    }

    /// Whether it is accepted.
    pub fn is_accepted(self) -> bool {
        matches!(self, Verdict::Dropped | Verdict::Counted(_))
    }
}

/// Judges every record of a log, by partition and offset.
pub fn judge(log: &Log, stream: &Stream, query: &Query) -> Vec<Judged> {
    let mut judged = Vec::new();
    for (partition, records) in log {
        let mut seen: Option<i64> = None;
        for record in records {
            let seen_before = seen;
            let fields = match &record.body {
                Body::Broken => BTreeMap::new(),
                Body::Fields(fields) => fields.clone(),
            };
            let verdict = match (&record.body, reject(&fields, record.timestamp, stream)) {
                (Body::Broken, _) => Verdict::Broken,
                (_, Some(rejected)) => rejected,
                _ => {
                    let time = event_time(&fields, stream);
                    seen = Some(seen.map_or(time, |seen| seen.max(time)));
                    place(&fields, time, seen_before, stream, query)
                }
            };
            judged.push(Judged { partition: *partition, offset: record.offset, fields, seen: seen_before, verdict });
        }
    }
    judged
}

fn reject(fields: &BTreeMap<String, Value>, timestamp: Option<i64>, stream: &Stream) -> Option<Verdict> {
    let missing = |column: &String| fields.get(column).is_none_or(Value::is_null);
    if stream.required.iter().any(missing) {
        return Some(Verdict::Null);
    }
    let limit = timestamp? + stream.max_future?;
    (event_time(fields, stream) > limit).then_some(Verdict::Future)
}

/// WHERE goes first; then the window is too old, or takes the record.
fn place(fields: &BTreeMap<String, Value>, time: i64, seen: Option<i64>, stream: &Stream, query: &Query) -> Verdict {
    if query.filter.as_ref().is_some_and(|filter| filter.holds(fields) != Some(true)) {
        return Verdict::Dropped;
    }
    let start = query.window_start(time);
    let end = start + query.size;
    match seen {
        Some(seen) if end + query.allowed <= seen - stream.bound => Verdict::Late(start),
        _ => Verdict::Counted(start),
    }
}

fn event_time(fields: &BTreeMap<String, Value>, stream: &Stream) -> i64 {
    match fields.get(&stream.event_time) {
        Some(Value::Timestamp(time)) => *time,
        other => panic!("{other:?} is no event time: the watermark column is a NOT NULL TIMESTAMP"),
    }
}

/// The job's watermark when the whole log is read: the minimum over partitions. None while a partition has shown nothing.
pub fn watermark(log: &Log, stream: &Stream) -> Option<i64> {
    let mut least = None;
    for records in log.values() {
        let mut greatest: Option<i64> = None;
        for record in records {
            let Body::Fields(fields) = &record.body else { continue };
            if reject(fields, record.timestamp, stream).is_none() {
                let time = event_time(fields, stream);
                greatest = Some(greatest.map_or(time, |greatest| greatest.max(time)));
            }
        }
        let partition = greatest? - stream.bound;
        least = Some(least.map_or(partition, |least: i64| least.min(partition)));
    }
    least
}
