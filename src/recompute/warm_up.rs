//! Warm-up by data: how far before a range its windows may begin stands in no calendar where the data makes them. So a range
//! is tried with more and more history before it, until no window of it may be cut off.
//!
//! Invariant: what comes out doesn't depend on how far back was read: windows are given only where it is known that they are
//! whole.

use std::sync::Arc;

use super::Scope;
use super::pass::Pass;
use super::run::{RecomputeError, RecomputeOptions};
use crate::engine::EpochOutput;
use crate::event::{EventTime, Micros};
use crate::job::{Insert, Plan};
use crate::memory::{Kept, Pressure};
use crate::sources::HistoryOptions;
use crate::windows::{ByData, Window};

/// How much further back each try goes than the one before: a few tries reach any distance, and the last costs most.
const FURTHER: i64 = 8;

/// How a try ended.
#[derive(Debug, thiserror::Error)]
enum Tried {
    /// Nothing that was open before the range is open any more: the rest of it says nothing new.
    #[error("nothing from before the range is open")]
    Enough,
}

/// The scope with as little history before the range as windows need, of the streams that are read together (`reads`, each with
/// how it is); as it is where all is needed, or none.
pub(super) async fn warmed_up<E: std::error::Error + 'static>(
    plan: &Arc<Plan>,
    scope: &Scope,
    reads: &[(usize, HistoryOptions)],
    options: RecomputeOptions,
) -> Result<Scope, RecomputeError<E>> {
    let is_read = |insert: &Insert| reads.iter().any(|(stream, _)| insert.reads(*stream));
    let inserts: Vec<&Insert> = plan.inserts.iter().filter(|insert| is_read(insert)).collect();
    // The streams of windows that may begin any time before the range.
    let streams = reads.iter().map(|(stream, _)| *stream);
    let endless: Vec<usize> = streams.filter(|&stream| scope.histories[stream].times.start == EventTime::MIN).collect();
    let files = endless.iter().flat_map(|&stream| &scope.histories[stream].files);
    let beginning = files.map(|file| file.lower.unwrap_or(EventTime::MIN)).min();
    let reach = inserts.iter().map(|insert| insert.reach()).max().unwrap_or_default();
    let (Some(beginning), true) = (beginning, reach > Micros(0)) else {
        return Ok(scope.clone());
    };
    // Windows of fixed length over the same streams need what they need.
    let windows = plan.inserts.iter().zip(&scope.windows).filter(|(insert, _)| is_read(insert));
    let starts = windows.map(|(insert, &windows)| insert.times_of(windows).start);
    let others = starts.filter(|&start| start != EventTime::MIN).min().unwrap_or(EventTime::MAX);
    let ends_early = inserts.iter().all(|insert| matches!(insert.window, Window::ByData(ByData::Session(_))));
    let mut back = Micros(reach.0.saturating_mul(2));
    loop {
        let from = scope.range.start.minus(back).min(others);
        if from <= beginning {
            return Ok(scope.clone());
        }
        let mut tried = scope.clone();
        for &stream in &endless {
            let history = &mut tried.histories[stream];
            history.times.start = from;
            history.complete_from = history.complete_from.max(from);
        }
        let read = |(stream, read): &(usize, HistoryOptions)| {
            (*stream, HistoryOptions { range: tried.histories[*stream].times.clone(), ..read.clone() })
        };
        let RecomputeOptions { workers, memory_max, .. } = options;
        let reads = reads.iter().map(read).collect();
        let pass = Pass { plan, scope: &tried, reads, workers, memory_max, closing: true, drain: true };
        let mut take = async |output: EpochOutput, _: Pressure| -> Result<Kept, RecomputeError<Tried>> {
            let is_before = |insert: &&Insert| {
                let place = plan.inserts.iter().position(|other| std::ptr::eq(other, *insert));
                let open = place.and_then(|place| output.inserts[place].open.opens_from);
                open.is_none_or(|from| from < scope.range.start)
            };
            let is_enough = ends_early && output.watermark >= scope.range.start && !inserts.iter().any(is_before);
            if is_enough { Err(RecomputeError::Taken(Tried::Enough)) } else { Ok(Kept::default()) }
        };
        match pass.run(&mut |records| records, &mut take).await {
            Ok(()) | Err(RecomputeError::Taken(Tried::Enough)) => return Ok(tried),
            Err(RecomputeError::CutOff { .. }) => back = Micros(back.0.saturating_mul(FURTHER)),
            Err(RecomputeError::Iceberg(error)) => return Err(error.into()),
            Err(RecomputeError::Engine(error)) => return Err(error.into()),
            Err(RecomputeError::Memory(error)) => return Err(error.into()),
            Err(RecomputeError::StillOpen { .. }) => {
                unreachable!("a try takes the end of history for the end of the log")
            }
        }
    }
}
