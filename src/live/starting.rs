//! Where a job begins that has no checkpoint: what its logs say, put together for all its streams and INSERTs.
//! Writes nothing, so that a reset can show it first.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{RunError, Setup};
use crate::event::{EventTime, LiveFace, Stream};
use crate::handing::{self, Feed};
use crate::job::{Insert, Plan};
use crate::sources::{Logs, ask};
use crate::start::{Begin, LogFacts, LogNature, Start, StartError, Vouched, admit, begin, hand_over};
use crate::windows::ByData;

/// Where a job begins.
#[derive(Clone, Debug, Default)]
pub struct Starting {
    /// For each stream, where its partitions are taken up.
    pub streams: Vec<Begin>,
    /// For each stream, what its log said.
    pub facts: Vec<BTreeMap<i32, LogFacts>>,
    /// For each stream, the part of its history that comes before the log.
    pub feeds: Vec<Option<Feed>>,
    /// For each INSERT, the start of the first window that it publishes.
    pub first_windows: Vec<EventTime>,
}

/// Works out where a job begins.
///
/// # Errors
/// When a log doesn't answer, or the job can't begin there; the message says what to do.
pub async fn starting(plan: &Arc<Plan>, setup: &Setup, start: &Start, vouched: Vouched) -> Result<Starting, RunError> {
    let wanted = match start {
        Start::History => handing::edges(plan, &setup.catalog).await?,
        start => wanted(plan, start),
    };
    let mut starting = Starting::default();
    for (index, stream) in plan.streams.iter().enumerate() {
        let inserts = || plan.inserts.iter().zip(&wanted).filter(|(insert, _)| insert.reads(index));
        let reach = inserts().map(|(insert, _)| insert.reach()).max().unwrap_or_default();
        let first = inserts().map(|(_, &first)| first).min().unwrap_or(EventTime::MIN);
        let answers = ask(&setup.logs, stream, of_stream(stream, start, first), reach).await?;
        admitted(stream, answers.nature)?;
        let asked = answers.asked(stream, vouched, setup.clock.now());
        let (begun, feed) = match &answers.start {
            Start::History => {
                let (facts, feed) = handing::facts(stream, &setup.catalog, first, reach).await?;
                let begun = hand_over(&asked, &facts)?;
                let feed = begun.from_history.then_some(feed);
                (begun, feed)
            }
            _ => (begin(&asked)?, None),
        };
        starting.streams.push(begun);
        starting.feeds.push(feed);
        starting.facts.push(answers.facts);
    }
    let whole = plan.inserts.iter().map(|insert| insert.first_whole(|stream| starting.streams[stream].whole_from));
    // Who allows cut-off windows wants all that there are.
    let any = vouched.allow_partial && *start != Start::History;
    let first = wanted.iter().zip(whole).map(|(&wanted, whole)| if any { whole } else { wanted.max(whole) });
    starting.first_windows = first.collect();
    for (insert, _) in plan.inserts.iter().zip(&starting.first_windows).filter(|(_, first)| **first > EventTime::MIN) {
        // Of sessions it shows which windows above hold one that is cut off; of count windows each key would tell it anew.
        if let Some(window @ ByData::Counting(_)) = insert.begins_anywhere() {
            return Err(cuts_inner(insert, window).into());
        }
    }
    Ok(starting)
}

/// Looks at the logs of all streams as they are kept: refuses what results can't be repeated from, and warns.
///
/// # Errors
/// When a log doesn't answer, or is compacted and that isn't accepted.
pub(super) async fn check_logs(plan: &Plan, logs: &Arc<dyn Logs>) -> Result<(), RunError> {
    for stream in &plan.streams {
        let (logs, asked) = (logs.clone(), stream.clone());
        let nature = tokio::task::spawn_blocking(move || logs.nature(&asked)).await;
        admitted(stream, nature.expect("asking a log doesn't panic")?)?;
    }
    Ok(())
}

/// Why windows that hold windows of the data can't be begun with at a time.
fn cuts_inner(insert: &Insert, window: &ByData) -> StartError {
    StartError::CutsInnerWindows { table: insert.table.clone(), window: window.name() }
}

/// Refuses a log, or warns of it.
fn admitted(stream: &Stream, nature: LogNature) -> Result<(), StartError> {
    if let Some(advice) = admit(stream, nature)? {
        tracing::warn!("{}", advice.text);
    }
    Ok(())
}

/// For each INSERT, the start of the first window that is wanted.
fn wanted(plan: &Plan, start: &Start) -> Vec<EventTime> {
    let first = |insert: &Insert| match start {
        Start::Time(time) => insert.window.first_mark(*time),
        Start::Edge(edge) => insert.first_mark(*edge),
        Start::Earliest | Start::Offsets(_) | Start::History => EventTime::MIN,
    };
    plan.inserts.iter().map(first).collect()
}

/// The same start for one stream, whose first window starts at `first`.
fn of_stream(stream: &Stream, start: &Start, first: EventTime) -> Start {
    match (&stream.live, start) {
        // A file is always read whole.
        (LiveFace::File { .. }, _) => Start::Earliest,
        (_, Start::Time(_) | Start::Edge(_)) => Start::Time(first),
        (_, start) => start.clone(),
    }
}
