//! `--upgrade` and `--savepoint` of `kappa run`: the job first goes on somewhere else, then runs on from there.

use std::ops::Range;
use std::path::Path;

use clap::Args;

use super::exit::Failure;
use super::output;
use super::terminal::Terminal;
use crate::checkpoints::{Gaps, SavepointName};
use crate::event::{EventTime, TableName};
use crate::job::Plan;
use crate::live::{RunOptions, Setup};
use crate::reposition::{Destination, Moving, Repositioning, Upgrade, backfill_for, execute, upgrade};

/// Whether a run first goes somewhere else.
#[derive(Args, Clone, Debug, Default)]
pub struct MovingArgs {
    /// The job has changed: start the new version at the edge below which the old one's windows can't change any more. With
    /// an unchanged job it does nothing
    #[arg(long)]
    pub upgrade: bool,
    /// Go back to a savepoint first, each time that this is given: windows published since are published again
    #[arg(long, value_name = "NAME", conflicts_with_all = ["upgrade", "start"])]
    pub savepoint: Option<SavepointName>,
}

impl MovingArgs {
    /// Does it, and says what was done. `path` is the job file as the user names it.
    pub async fn perform(
        &self,
        plan: &Plan,
        path: &Path,
        setup: &Setup,
        options: &RunOptions,
        terminal: &Terminal,
    ) -> Result<(), Failure> {
        let (catalog, checkpoints, clock) = (&setup.catalog, &setup.checkpoints, &setup.clock);
        let moving = Moving { plan, catalog, checkpoints, clock, take_over: options.take_over };
        if let Some(name) = &self.savepoint {
            let savepoint = checkpoints.savepoint(name).await.map_err(Failure::from)?;
            let done = execute(&moving, &Destination::Savepoint(Box::new(savepoint))).await.map_err(Failure::from)?;
            terminal.note(&format!("{} goes on from savepoint {name}", plan.name));
            republished(&done.moves).iter().for_each(|line| terminal.note(line));
            if let Some(kept) = &done.savepoint {
                let undo = format!("undo with: kappa run {} --savepoint {kept}", path.display());
                terminal.note(&format!("savepoint {kept} keeps how it stood; {undo}"));
            }
        }
        if self.upgrade {
            match upgrade(&moving, &setup.logs, options.vouched).await.map_err(Failure::from)? {
                Upgrade::NotBegun => terminal.note("there is no checkpoint yet, so there is nothing to upgrade"),
                Upgrade::UpToDate => terminal.note("the newest checkpoint is of this version: nothing to upgrade"),
                Upgrade::Done(upgraded) => {
                    let first = first_window(upgraded.done.moves.first_window);
                    if plan.inserts.iter().any(|insert| !insert.window.is_without_end()) {
                        terminal.note(&format!("the new version of {} publishes {first}", plan.name));
                    }
                    for insert in plan.inserts.iter().filter(|insert| insert.window.is_without_end()) {
                        let table = &insert.table;
                        terminal.note(&format!("{table} goes on behind the last record that the old version has read"));
                    }
                    republished(&upgraded.done.moves).iter().for_each(|line| terminal.note(line));
                    if let Some(kept) = &upgraded.done.savepoint {
                        terminal.note(&format!("savepoint {kept} keeps how the old version stood"));
                    }
                    if let Some(older) = upgraded.backfill {
                        terminal.note(&backfill(plan, path, &older));
                    }
                }
            }
        }
        Ok(())
    }
}

fn first_window(first: EventTime) -> String {
    match first {
        EventTime::MIN => "all windows".to_owned(),
        first => format!("windows from {first} on"),
    }
}

/// What is published again, a line a result.
pub fn republished(moves: &Repositioning) -> Vec<String> {
    let lines = moves.inserts.iter().filter_map(|insert| {
        let again = insert.republish?;
        let partitions = output::count(insert.partitions.len(), "partition", "partitions");
        Some(format!(
            "{} publishes {} again ({partitions} with rows); the old rows stay until then",
            insert.table,
            output::range(&(again.from..again.to))
        ))
    });
    lines.collect()
}

/// Windows that nobody publishes, a line a range, and the backfill for them; nothing, if there are none. `job` is the job and
/// its file as the user names it, if it is known.
pub fn unpublished<'a>(
    job: Option<(&Plan, &Path)>,
    gaps: impl Iterator<Item = (&'a TableName, &'a Gaps)> + Clone,
) -> Vec<String> {
    let ranges = gaps.clone().flat_map(|(table, gaps)| gaps.iter().map(move |gap| (table, gap)));
    let mut lines: Vec<String> =
        ranges.map(|(table, gap)| format!("nobody publishes windows of {table} {}", output::range(gap))).collect();
    let Some((plan, path)) = job.filter(|_| !lines.is_empty()) else { return lines };
    let without_history = plan.streams.iter().find(|stream| stream.history.is_none());
    lines.push(match (without_history, backfill_for(plan, gaps.map(|(_, gaps)| gaps))) {
        (Some(stream), _) => format!("stream {} has no HISTORY FROM to backfill them from", stream.name),
        (None, Some(range)) => {
            let (path, from, to) = (path.display(), range.start, range.end);
            format!("backfill them with: kappa backfill run {path} --from {from} --to {to}")
        }
        (None, None) => "they lie in one partition: backfill it when the job has sealed it".to_owned(),
    });
    lines
}

fn backfill(plan: &Plan, path: &Path, range: &Range<EventTime>) -> String {
    let what = match plan.inserts.iter().any(|insert| !insert.window.is_without_end()) {
        true => "windows of",
        false => "rows of",
    };
    let windows = format!("{what} {} are still the old version's", output::range(range));
    match plan.streams.iter().find(|stream| stream.history.is_none()) {
        Some(stream) => {
            format!("{windows}, and stay so: stream {} has no HISTORY FROM to recompute them from", stream.name)
        }
        None => format!(
            "{windows}; bring them over with `kappa backfill run {} --from {} --to {}`",
            path.display(),
            range.start,
            range.end
        ),
    }
}
