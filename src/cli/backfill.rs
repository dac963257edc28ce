//! `kappa backfill plan` and `kappa backfill run`: their arguments, and what they mean together.

mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::arguments::{OutputArgs, job_path, workers};
use super::connect::open_project;
use super::exit::{Exit, Failure};
use super::progress::{ProgressMode, make_room};
use super::range::{Range, RangeArgs};
use super::terminal::Terminal;
use super::{connect, job};
use crate::backfill::{self, BackfillError};
use crate::config::Project;
use crate::event::EventTime;
use crate::iceberg::Catalog;
use crate::job::Plan;
use crate::recompute::{Requested, Scope};

/// Recomputes a range of time from history
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Recomputes a range of time from history and replaces the result's partitions in it.\n\n\
        The same job file that runs live is read, so the rows are those that the live run would have published. \
        `plan` shows what `run` would do and writes nothing.",
    after_long_help = "Examples:\n  \
        kappa backfill plan jobs/page_hits.sql --from 2026-11-01 --to 2026-11-08\n  \
        kappa backfill run jobs/page_hits.sql --from 2026-11-01 --to 2026-11-08"
)]
pub struct BackfillArgs {
    /// What to do
    #[command(subcommand)]
    pub command: BackfillCommand,
}

/// What to do with a range.
#[derive(Subcommand, Clone, Debug)]
pub enum BackfillCommand {
    /// Shows everything a backfill would do; writes nothing
    #[command(
        long_about = "Shows everything a backfill would do; writes nothing.\n\n\
            That is: partitions with their current and expected rows, files and bytes to read, late records, conflicts, and \
            about how long it takes. Exits 0 if `run` would do it, 4 if it would be refused.",
        after_long_help = "Examples:\n  \
            kappa backfill plan jobs/page_hits.sql --from 2026-11-01 --to 2026-11-08\n  \
            kappa backfill plan jobs/page_hits.sql --from now-7d --to now-1d --widen --json"
    )]
    Plan(BackfillRangeArgs),
    /// Recomputes the range and replaces its partitions, all at once
    #[command(
        long_about = "Recomputes the range and replaces its partitions, all at once.\n\n\
            It reads history and replaces every result partition in the range in one snapshot: readers see the old rows or \
            the new ones, never a mixture. Partitions for which no rows come out are emptied. A backfill that was stopped has \
            published nothing: give the command again. Exits 4 if it is refused.",
        after_long_help = "Examples:\n  \
            kappa backfill run jobs/page_hits.sql --from 2026-11-01 --to 2026-11-08\n  \
            kappa backfill run jobs/page_hits.sql --from 2026-11-20 --to 2026-11-22 --drain"
    )]
    Run(BackfillRangeArgs),
}

/// A job and a range of its result.
#[derive(Args, Clone, Debug)]
pub struct BackfillRangeArgs {
    /// The job's SQL file, such as jobs/page_hits.sql
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub range: RangeArgs,
    /// Leave out records that were late, or count them
    #[arg(long, value_name = "POLICY", default_value = "exact")]
    pub late: Late,
    /// Treat the end of history as the end of the log: windows that are still open there are whole
    #[arg(long)]
    pub drain: bool,
    /// Grow the range to the edges of the result's partitions, instead of refusing one that cuts them
    #[arg(long)]
    pub widen: bool,
    /// Worker threads, 1 to 256 [default: run.workers of kappa.toml, which is the number of cores unless set]
    #[arg(long, value_name = "N", value_parser = workers())]
    pub workers: Option<u16>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// What a backfill does with records that were late.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// They stay out: the same rows as live
    Exact,
    /// They are counted too
    Include,
}

/// What a backfill is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackfillOptions {
    /// The range of the result's time partition column.
    pub range: Range,
    /// Whether late records count.
    pub late: Late,
    /// The end of history is the end of the log.
    pub drain: bool,
    /// Grow the range to the edges of the result's partitions.
    pub widen: bool,
    /// Worker threads, 1 to 256.
    pub workers: usize,
}

impl BackfillRangeArgs {
    /// What the arguments mean together if it is `now` now.
    pub fn options(&self, project: &Project, now: EventTime, terminal: &Terminal) -> Result<BackfillOptions, Failure> {
        let range = self.range.resolve(now, terminal)?;
        let workers = self.workers.map_or(project.run.workers, usize::from);
        Ok(BackfillOptions { range, late: self.late, drain: self.drain, widen: self.widen, workers })
    }
}

impl BackfillArgs {
    /// Plans or runs a backfill, and says what it would do or has done.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        match &self.command {
            BackfillCommand::Plan(arguments) => arguments.plan(terminal),
            BackfillCommand::Run(arguments) => arguments.run(terminal),
        }
    }
}

impl BackfillRangeArgs {
    fn plan(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let Worked { job, done: planned, elapsed, workers } = self
            .with_catalog(terminal, async |job, catalog, options, watch| {
                backfill::plan(job, catalog, options, watch).await
            })?;
        match self.output.json {
            true => terminal.json(&report::PlanDocument::new(&job, &planned))?,
            false => terminal.data(&report::plan_text(&job, &planned, self.late, workers, elapsed))?,
        }
        if planned.conflicts.is_empty() {
            terminal.note("nothing was written; `kappa backfill run` with the same arguments does it");
            return Ok(Exit::Done);
        }
        let conflicts: Vec<String> = planned.conflicts.iter().map(ToString::to_string).collect();
        Err(Failure::Unsafe(conflicts.join("\nrefused: ")))
    }

    fn run(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let Worked { job, done, elapsed, .. } = self.with_catalog(terminal, async |job, catalog, options, watch| {
            backfill::run(job, catalog, options, watch).await
        })?;
        match self.output.json {
            true => terminal.json(&report::RunDocument::new(&job, &done))?,
            false => terminal.data(&report::run_text(&done, self.late, elapsed))?,
        }
        terminal.note("`kappa diff` with the same range compares what is published with history");
        Ok(Exit::Done)
    }

    /// Loads job and project, opens the catalog, and shows progress while `work` goes on.
    fn with_catalog<T>(
        &self,
        terminal: &Terminal,
        work: impl AsyncFnOnce(
            &Arc<Plan>,
            &Catalog,
            &backfill::BackfillOptions,
            &(dyn Fn(&Scope, u64) + Sync),
        ) -> Result<T, BackfillError>,
    ) -> Result<Worked<T>, Failure> {
        let project = open_project(&self.job, terminal)?;
        let plan = Arc::new(job::load(&self.job, terminal.colour)?);
        let clock = connect::clock();
        let options = self.options(&project, clock.now(), terminal)?;
        let driver = backfill::BackfillOptions {
            requested: options.requested(),
            include_late: options.late == Late::Include,
            workers: options.workers,
            memory_max: connect::memory_max(&project),
        };
        let watch = connect::range_watch(clock.clone(), ProgressMode::choose(terminal, self.output.json));
        let started = clock.elapsed();
        let done = connect::runtime()?.block_on(async {
            let catalog = connect::catalog(&project).await?;
            work(&plan, &catalog, &driver, &watch).await.map_err(Failure::from)
        });
        make_room();
        Ok(Worked { job: plan, done: done?, elapsed: clock.elapsed() - started, workers: options.workers })
    }
}

/// What a driver has made of a job.
struct Worked<T> {
    job: Arc<Plan>,
    done: T,
    elapsed: Duration,
    workers: usize,
}

impl BackfillOptions {
    /// What is asked of the drivers.
    pub fn requested(&self) -> Requested {
        Requested { range: self.range.from..self.range.to, widen: self.widen, drain: self.drain }
    }
}
