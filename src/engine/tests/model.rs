//! The plainest answer: for each record, each window.

use std::collections::BTreeMap;

use super::{Case, DAY, Group, Outcome, Record, SECOND, Values};

/// How a case cuts time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    Hop {
        slide: i64,
        size: i64,
        offset: i64,
    },
    Cumulate {
        step: i64,
        size: i64,
        offset: i64,
    },
    /// Days of Europe/Berlin in spring 2024.
    Berlin,
    /// Months from 2023 on, UTC.
    Months,
}

impl Cut {
    /// All windows that may hold records of the tests, in order of their ends.
    pub(super) fn windows(&self) -> Vec<(i64, i64)> {
        let mut windows = Vec::new();
        match *self {
            Cut::Hop { slide, size, offset } => {
                let first = (-400 * SECOND - size - offset) / slide - 1;
                let starts =
                    (first..).map(|number| number * slide + offset).take_while(|&start| start < 1_000 * SECOND);
                windows.extend(starts.map(|start| (start, start + size)));
            }
            Cut::Cumulate { step, size, offset } => {
                let first = (-400 * SECOND - offset) / size - 1;
                let starts = (first..).map(|number| number * size + offset).take_while(|&start| start < 1_000 * SECOND);
                windows
                    .extend(starts.flat_map(|start| (1..=size / step).map(move |count| (start, start + count * step))));
            }
            Cut::Berlin => {
                // Clocks went forward on the 31st of March, day 19,813: midnight is at 23:00 UTC until then, behind it
                // at 22:00.
                let midnight = |day: i64| day * DAY - if day <= 19_813 { 3_600 } else { 7_200 } * SECOND;
                windows.extend((19_600..20_020).map(|day| (midnight(day), midnight(day + 1))));
            }
            Cut::Months => {
                // 2023 begins with day 19,358.
                let lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
                let mut day = 19_358;
                for year in 0..12 {
                    for (month, length) in lengths.into_iter().enumerate() {
                        let length = length + i64::from(year % 4 == 1 && month == 1);
                        windows.push((day * DAY, (day + length) * DAY));
                        day += length;
                    }
                }
            }
        }
        windows
    }
}

/// What a published range goes by, and what the late table names a window by.
pub(super) fn mark_and_name(cut: Cut, (start, end): (i64, i64)) -> (i64, i64) {
    match cut {
        Cut::Cumulate { size, .. } => (end - size, end),
        _ => (start, start),
    }
}

pub(super) fn model(case: &Case) -> Outcome {
    let windows = case.cut.windows();
    let mut outcome = Outcome::default();
    let mut groups: BTreeMap<Group, Vec<&Record>> = BTreeMap::new();
    let mut closed_below = i64::MIN;
    let published = |window: (i64, i64)| {
        let (mark, _) = mark_and_name(case.cut, window);
        case.publish.from.0 <= mark && mark < case.publish.to.0
    };
    for step in &case.steps {
        for record in step.batches.iter().flatten() {
            let holding: Vec<(i64, i64)> =
                windows.iter().copied().filter(|&(start, end)| start <= record.time && record.time < end).collect();
            let is_late = |end: i64| record.seen.is_some_and(|seen| end + case.allowed <= seen - case.bound);
            let is_closed = |end: i64| closed_below != i64::MIN && end.saturating_add(case.allowed) <= closed_below;
            let refused: Vec<(i64, i64)> =
                holding.iter().copied().filter(|&(_, end)| is_late(end) || is_closed(end)).collect();
            let is_seen = holding.iter().any(|&window| published(window));
            if is_seen && refused.len() == holding.len() {
                outcome.late_for_all += 1;
            } else {
                outcome.accepted += 1;
            }
            if refused.iter().any(|&window| published(window)) {
                let behind = refused.iter().any(|&(_, end)| !is_late(end));
                let reason = if behind { "behind_watermark" } else { "late" };
                let name = |window: (i64, i64)| mark_and_name(case.cut, window).1;
                let (first, last) = (name(refused[0]), name(refused[refused.len() - 1]));
                let late = (reason.to_owned(), holding.len() as i32, refused.len() as i32, first, last);
                outcome.late.insert((record.partition, record.offset), late);
            }
            for (start, end) in holding.into_iter().filter(|window| !refused.contains(window)) {
                if published((start, end)) {
                    groups.entry((start, end, record.key)).or_default().push(record);
                }
            }
        }
        closed_below = step.watermark.0;
    }
    for (group, mut records) in groups {
        let closes = |watermark: i64| group.1.saturating_add(case.allowed) <= watermark;
        let Some(step) = case.steps.iter().position(|step| closes(step.watermark.0)) else { continue };
        records.sort_by_key(|record| (record.time, record.partition, record.offset));
        let sum = records.iter().map(|record| record.number).sum();
        let last = records.last().expect("a group has records").number;
        let values: Values = (records.len() as i64, sum, last, 0);
        outcome.rows.insert(group, (step, values));
    }
    outcome
}
