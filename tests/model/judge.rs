//! What becomes of every record: rejected, late or accepted.

use std::collections::BTreeMap;

use super::{Body, Log, Query, Stream, Value, made};

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
    /// Start and end of the windows that count it.
    pub windows: Vec<(i64, i64)>,
    /// `window_reason` of the window that counts it, where windows have one.
    pub reason: Option<&'static str>,
    /// Which of the count windows of its key counts it: several can begin and end at once.
    pub ordinal: usize,
    /// Start and end of the windows that it is late for; where the data makes windows, the microsecond of its time.
    pub late_for: Vec<(i64, i64)>,
}

impl Judged {
    /// Whether the late table has it: it is late for a window, though another may count it.
    pub fn is_in_late_table(&self) -> bool {
        !self.late_for.is_empty()
    }
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
    /// Late for all its windows, of which the first starts here.
    Late(i64),
    /// Accepted, but dropped by WHERE, or in no window.
    Dropped,
    /// Accepted; the first window that counts it starts here.
    Counted(i64),
}

impl Verdict {
    /// Whether it is rejected.
    pub fn is_rejected(self) -> bool {
        matches!(self, Verdict::Broken | Verdict::Null | Verdict::Future)
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
            let (mut windows, mut late_for) = (Vec::new(), Vec::new());
            let verdict = match (&record.body, reject(&fields, record.timestamp, stream)) {
                (Body::Broken, _) => Verdict::Broken,
                (_, Some(rejected)) => rejected,
                _ => {
                    let time = event_time(&fields, stream);
                    if moves_seen(&fields, stream) {
                        seen = Some(seen.map_or(time, |seen| seen.max(time)));
                    }
                    if is_dropped(&fields, query) {
                        Verdict::Dropped
                    } else {
                        let limit = seen_before.map(|seen| seen - stream.bound);
                        let is_late = |end: i64| limit.is_some_and(|limit| end + query.allowed <= limit);
                        (late_for, windows) = query.windows(time).into_iter().partition(|&(_, end)| is_late(end));
                        if query.cut.is_by_data() && limit.is_some_and(|limit| time + query.allowed < limit) {
                            late_for.push((time, time + 1));
                        }
                        match (windows.first(), late_for.first()) {
                            (Some(&(start, _)), _) => Verdict::Counted(start),
                            (None, None) if query.cut.is_by_data() => Verdict::Counted(time),
                            (None, Some(&(start, _))) => Verdict::Late(start),
                            (None, None) => Verdict::Dropped,
                        }
                    }
                }
            };
            judged.push(Judged {
                partition: *partition,
                offset: record.offset,
                fields,
                seen: seen_before,
                verdict,
                windows,
                reason: None,
                ordinal: 0,
                late_for,
            });
        }
    }
    if query.cut.is_by_data() {
        made::place(&mut judged, query);
    }
    judged
}

/// Whether a record, which isn't rejected, is a marker; without WHEN every one is.
fn moves_seen(fields: &BTreeMap<String, Value>, stream: &Stream) -> bool {
    stream.when.as_ref().is_none_or(|when| when.holds(fields) == Some(true))
}

fn reject(fields: &BTreeMap<String, Value>, timestamp: Option<i64>, stream: &Stream) -> Option<Verdict> {
    let missing = |column: &String| fields.get(column).is_none_or(Value::is_null);
    if stream.required.iter().any(missing) {
        return Some(Verdict::Null);
    }
    let limit = timestamp? + stream.max_future?;
    (event_time(fields, stream) > limit).then_some(Verdict::Future)
}

/// WHERE goes first: what it drops is late for nothing.
fn is_dropped(fields: &BTreeMap<String, Value>, query: &Query) -> bool {
    query.filter.as_ref().is_some_and(|filter| filter.holds(fields) != Some(true))
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
            if reject(fields, record.timestamp, stream).is_none() && moves_seen(fields, stream) {
                let time = event_time(fields, stream);
                greatest = Some(greatest.map_or(time, |greatest| greatest.max(time)));
            }
        }
        let partition = greatest? - stream.bound;
        least = Some(least.map_or(partition, |least: i64| least.min(partition)));
    }
    least
}
