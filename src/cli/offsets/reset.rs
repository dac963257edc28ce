//! `kappa offsets reset`: its arguments, and what it shows.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::ways::{Selection, WayArgs, chosen};
use crate::cli::arguments::{OutputArgs, job_path};
use crate::cli::connect::open_project;
use crate::cli::exit::{Exit, Failure};
use crate::cli::moving::{republished, unpublished};
use crate::cli::start::resolve_time;
use crate::cli::terminal::Terminal;
use crate::cli::time::TimeArgument;
use crate::cli::{connect, job, output};
use crate::event::{EventTime, LiveFace};
use crate::job::Plan;
use crate::offsets::reset::{Target, Wanted, target};
use crate::reposition::{self, Destination, Moving, Positions, Repositioned, Repositioning};
use crate::start::Vouched;

/// Arguments of `kappa offsets reset`.
#[derive(Args, Clone, Debug)]
pub struct OffsetsResetArgs {
    /// The job's SQL file, such as jobs/page_hits.sql
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub way: WayArgs,
    /// Move these topics or partitions only, as topic or topic:0,2; may be repeated
    #[arg(long, value_name = "TOPIC")]
    pub topic: Vec<Selection>,
    /// State that nothing below the new positions belongs to a window from this time on
    #[arg(long, value_name = "TIME")]
    pub whole_from: Option<TimeArgument>,
    /// Publish the first windows too, which the new positions may have cut off
    #[arg(long, conflicts_with = "whole_from")]
    pub allow_partial: bool,
    /// Do it; without this, nothing is changed
    #[arg(long)]
    pub execute: bool,
    /// Write the new positions to a CSV file, for --from-file and `kappa run --start FILE.csv`
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// What was worked out, and perhaps done.
struct Outcome<'a> {
    arguments: &'a OffsetsResetArgs,
    plan: &'a Plan,
    wanted: &'a Wanted,
    moves: &'a Repositioning,
    done: Option<&'a Repositioned>,
}

impl Outcome<'_> {
    fn text(&self) -> String {
        let (plan, moves) = (self.plan, self.moves);
        let what = if self.done.is_some() { "was reset" } else { "would be reset; nothing was changed" };
        let mut text = format!("job {} {what}\n{}", plan.name, self.positions());
        let dropped = moves.dropped;
        if dropped.windows > 0 {
            text += &format!(
                "state dropped: {} ({}, {})\n",
                output::count(dropped.windows, "open window", "open windows"),
                output::count(dropped.rows, "row", "rows"),
                output::bytes(dropped.bytes)
            );
        }
        for insert in &moves.inserts {
            let first = output::time(insert.from).unwrap_or_else(|| "the beginning".to_owned());
            text += &format!("{}: first whole window {first}\n", insert.table);
            if insert.late > 0 {
                let late = output::count(insert.late, "late record is", "late records are");
                text += &format!("{}: {late} judged again\n", insert.table);
            }
        }
        for line in republished(moves) {
            text += &format!("{line}\n");
        }
        let gaps = moves.inserts.iter().map(|insert| (&insert.table, &insert.gaps));
        for line in unpublished(Some((plan, &self.arguments.job)), gaps) {
            text += &format!("{line}\n");
        }
        text += &match self.done {
            None => format!("do it with: {}\n", self.again("--execute")),
            Some(done) => match &done.savepoint {
                Some(name) => format!(
                    "savepoint {name} keeps how it stood; undo with: kappa run {} --savepoint {name}\n",
                    self.arguments.job.display()
                ),
                None => "the job had no checkpoint, so there is nothing to go back to\n".to_owned(),
            },
        };
        text
    }

    fn positions(&self) -> output::Table {
        let mut table = output::Table::new(&[
            output::Column::Text("stream"),
            output::Column::Number("partition"),
            output::Column::Number("position"),
            output::Column::Number("new position"),
            output::Column::Number("difference"),
        ]);
        for (stream, partitions) in &self.moves.streams {
            for (partition, (old, new)) in partitions {
                table.row([
                    stream.clone(),
                    partition.to_string(),
                    old.map_or("-".to_owned(), |old| output::number(old.0)),
                    output::number(new.0),
                    old.map_or("-".to_owned(), |old| output::number(new.0 - old.0)),
                ]);
            }
        }
        table
    }

    /// The command line that means the same, with `last` behind it.
    fn again(&self, last: &str) -> String {
        let arguments = self.arguments;
        let mut line =
            format!("kappa offsets reset {} {}", arguments.job.display(), arguments.way.again(&self.wanted.way));
        for selection in &arguments.topic {
            line += &format!(" --topic {selection}");
        }
        if let Some(time) = self.wanted.vouched.whole_from {
            line += &format!(" --whole-from {time}");
        }
        if arguments.allow_partial {
            line += " --allow-partial";
        }
        format!("{line} {last}")
    }

    fn document(&self) -> Document<'_> {
        let streams = self.moves.streams.iter().flat_map(|(stream, partitions)| {
            partitions.iter().map(move |(&partition, (old, new))| PartitionDocument {
                stream,
                partition,
                position: old.map(|old| old.0),
                new_position: new.0,
            })
        });
        let results = self.moves.inserts.iter().map(|insert| ResultDocument {
            table: insert.table.to_string(),
            first_window: output::time(insert.from),
            publishes_again: insert.republish.map(|range| RangeDocument::new(range.from, range.to)),
            partitions: insert.partitions.len(),
            nobody_publishes: insert.gaps.iter().map(|gap| RangeDocument::new(gap.start, gap.end)).collect(),
            late_judged_again: insert.late,
        });
        Document {
            job: &self.plan.name,
            executed: self.done.is_some(),
            savepoint: self.done.and_then(|done| done.savepoint.as_ref()).map(ToString::to_string),
            checkpoint: self.done.map(|done| done.checkpoint.to_string()),
            partitions: streams.collect(),
            dropped_windows: self.moves.dropped.windows,
            dropped_rows: self.moves.dropped.rows,
            results: results.collect(),
            backfill: self.moves.backfill(self.plan).map(|range| RangeDocument::new(range.start, range.end)),
        }
    }
}

/// A reset, as `--json` shows it.
#[derive(Serialize)]
struct Document<'a> {
    job: &'a str,
    executed: bool,
    savepoint: Option<String>,
    checkpoint: Option<String>,
    partitions: Vec<PartitionDocument<'a>>,
    dropped_windows: usize,
    dropped_rows: u64,
    results: Vec<ResultDocument>,
    backfill: Option<RangeDocument>,
}

#[derive(Serialize)]
struct PartitionDocument<'a> {
    stream: &'a str,
    partition: i32,
    position: Option<i64>,
    new_position: i64,
}

#[derive(Serialize)]
struct ResultDocument {
    table: String,
    first_window: Option<String>,
    publishes_again: Option<RangeDocument>,
    partitions: usize,
    nobody_publishes: Vec<RangeDocument>,
    late_judged_again: u64,
}

#[derive(Serialize)]
struct RangeDocument {
    from: Option<String>,
    to: Option<String>,
}

impl RangeDocument {
    fn new(from: EventTime, to: EventTime) -> RangeDocument {
        RangeDocument { from: output::time(from), to: output::time(to) }
    }
}

impl OffsetsResetArgs {
    /// Works out what the reset does, does it if that is wanted, and shows it.
    pub(super) fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let project = open_project(&self.job, terminal)?;
        let plan = Arc::new(job::load(&self.job, terminal.colour)?);
        let clock = connect::clock();
        let now = clock.now();
        let whole_from = self.whole_from.as_ref().map(|time| resolve_time(time, now, terminal));
        let wanted = Wanted {
            way: self.way.resolve(now, terminal)?,
            chosen: chosen(&self.topic),
            vouched: Vouched { whole_from, allow_partial: self.allow_partial },
        };
        let checkpoints = connect::checkpoints(&project, &plan.name)?;
        let logs = connect::logs(&project, &plan.name);
        let (target, moves, done) = connect::runtime()?.block_on(async {
            let catalog = connect::catalog(&project).await?;
            let (catalog, checkpoints) = (&catalog, &checkpoints);
            let moving = Moving { plan: &plan, catalog, checkpoints, clock: &clock, take_over: false };
            let target = target(&plan, checkpoints, &logs, &wanted, now).await?;
            let tables = plan.inserts.iter().map(|insert| insert.table.clone());
            let destination = Destination::Reset(Positions {
                streams: target.streams.clone(),
                topics: target.topics.clone(),
                first_windows: tables.zip(target.first_windows.iter().copied()).collect(),
                ..Positions::default()
            });
            if !self.execute {
                return Ok((target, reposition::plan(&moving, &destination).await?, None));
            }
            let done = reposition::execute(&moving, &destination).await?;
            Ok::<_, Failure>((target, done.moves.clone(), Some(done)))
        })?;
        for note in &target.notes {
            terminal.note(note);
        }
        if let Some(file) = &self.export {
            export(&plan, &target, file)?;
            terminal.note(&format!("the new positions are in {}", file.display()));
        }
        let outcome = Outcome { arguments: self, plan: &plan, wanted: &wanted, moves: &moves, done: done.as_ref() };
        match self.output.json {
            true => terminal.json(&outcome.document())?,
            false => terminal.data(&outcome.text())?,
        }
        Ok(Exit::Done)
    }
}

fn export(plan: &Plan, target: &Target, file: &Path) -> Result<(), Failure> {
    let mut text = String::new();
    for stream in &plan.streams {
        let LiveFace::Kafka { topic, .. } = &stream.live else { continue };
        for (partition, offset) in target.streams.get(&stream.name).into_iter().flatten() {
            let _infallible = writeln!(text, "{topic},{partition},{}", offset.0);
        }
    }
    std::fs::write(file, text).map_err(|error| Failure::Usage(format!("{} can't be written: {error}", file.display())))
}
