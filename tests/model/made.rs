//! Windows that the data makes, from the definitions: what was accepted, key by key, in canonical order.

use std::collections::BTreeMap;

use super::judge::{Judged, Verdict};
use super::results::grouped;
use super::{Cut, Query, Value};

/// Start, end and reason of a window, and which records it holds.
struct Made {
    start: i64,
    end: i64,
    reason: Option<&'static str>,
    records: Vec<usize>,
}

/// Puts the records that are to be counted into the windows that they make. Until then each counts at its own time.
pub(super) fn place(judged: &mut [Judged], query: &Query) {
    let mut by_key: BTreeMap<Vec<Value>, Vec<(i64, usize)>> = BTreeMap::new();
    for (index, record) in judged.iter().enumerate() {
        if let Verdict::Counted(time) = record.verdict {
            let key = query.partition_by.iter().map(|column| grouped(&record.fields, column)).collect();
            by_key.entry(key).or_default().push((time, index));
        }
    }
    for records in by_key.values_mut() {
        // The log is walked by partition and offset, so indices are in the order of positions.
        records.sort_unstable();
        let windows = match query.cut {
            Cut::Session => sessions(records, query.size),
            Cut::Counting { count } => counted(records, count, query.size),
            Cut::Sliding => sliding(records, query.size),
            _ => unreachable!("other windows have fixed ends"),
        };
        for (ordinal, Made { start, end, reason, records }) in windows.into_iter().enumerate() {
            for index in records {
                let record = &mut judged[index];
                record.windows.push((start, end));
                record.reason = reason;
                record.ordinal = if reason.is_some() { ordinal } else { 0 };
                record.verdict = Verdict::Counted(record.windows[0].0);
            }
        }
    }
}

fn sessions(records: &[(i64, usize)], gap: i64) -> Vec<Made> {
    let mut windows: Vec<Made> = Vec::new();
    for &(time, index) in records {
        match windows.last_mut().filter(|window| time < window.end) {
            Some(window) => {
                window.end = time + gap;
                window.records.push(index);
            }
            None => windows.push(Made { start: time, end: time + gap, reason: None, records: vec![index] }),
        }
    }
    windows
}

fn counted(records: &[(i64, usize)], count: usize, timeout: i64) -> Vec<Made> {
    let mut windows: Vec<Made> = Vec::new();
    for &(time, index) in records {
        let open = windows.last_mut().filter(|window| window.reason == Some("timeout") && time < window.end);
        match open {
            Some(window) => window.records.push(index),
            None => {
                let (end, records) = (time + timeout, vec![index]);
                windows.push(Made { start: time, end, reason: Some("timeout"), records });
            }
        }
        let window = windows.last_mut().expect("the record is in it");
        if window.records.len() == count {
            (window.end, window.reason) = (time + 1, Some("full"));
        }
    }
    windows
}

fn sliding(records: &[(i64, usize)], size: i64) -> Vec<Made> {
    let mut times: Vec<i64> = records.iter().map(|record| record.0).collect();
    times.dedup();
    let window = |last: i64| {
        let inside = records.iter().filter(|(time, _)| *time > last - size && *time <= last);
        Made { start: last - size + 1, end: last + 1, reason: None, records: inside.map(|record| record.1).collect() }
    };
    times.into_iter().map(window).collect()
}
