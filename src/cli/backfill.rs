//! `kappa backfill plan` and `kappa backfill run`: their arguments, and what they mean together.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::arguments::{OutputArgs, job_path, workers};
use super::exit::Failure;
use super::range::{Range, RangeArgs};
use super::terminal::Terminal;
use crate::config::Project;
use crate::event::EventTime;

/// Recomputes a range of time from history
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Recomputes a range of time from history and replaces the result's partitions in it.\n\n\
        The same job file that runs live is read, so the rows are those that the live run would have published. \
        `plan` shows what `run` would do and writes nothing.",
    after_long_help = "Examples:\n  \
        kappa backfill plan jobs/page_hits.sql --from 2026-11-01 --to 2026-11-08\n  \
        kappa backfill run  jobs/page_hits.sql --from 2026-11-01 --to 2026-11-08"
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
        long_about = "Shows everything a backfill would do, and writes nothing: partitions with their current and \
            expected rows, files and bytes to read, late records, conflicts, and about how long it takes. \
            Exits 4 if it would be refused.",
        after_long_help = "Example:\n  kappa backfill plan jobs/page_hits.sql --from 2026-11-01 --to 2026-11-08"
    )]
    Plan(BackfillRangeArgs),
    /// Recomputes the range and replaces its partitions, all at once
    #[command(
        long_about = "Recomputes the range from history and replaces every result partition in it, all in one snapshot: \
            readers see the old rows or the new ones, never a mixture. Partitions for which no rows come out are \
            emptied. A backfill that was stopped has published nothing: give the command again.",
        after_long_help = "Examples:\n  \
            kappa backfill run jobs/page_hits.sql --from 2026-11-01 --to 2026-11-08\n  \
            kappa backfill run jobs/page_hits.sql --from 2026-11-20 --to 2026-11-22 --drain"
    )]
    Run(BackfillRangeArgs),
}

/// A job and a range of its result.
#[derive(Args, Clone, Debug)]
pub struct BackfillRangeArgs {
    /// The job file
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub range: RangeArgs,
    /// Whether late records count
    #[arg(long, value_name = "POLICY", default_value = "exact")]
    pub late: Late,
    /// Treat the end of history as the end of the log: windows that are still open there are whole
    #[arg(long)]
    pub drain: bool,
    /// Worker threads [default: `workers` in kappa.toml, else the cores]
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
    /// Worker threads, 1 to 256.
    pub workers: usize,
}

impl BackfillRangeArgs {
    /// What the arguments mean together if it is `now` now.
    pub fn options(&self, project: &Project, now: EventTime, terminal: &Terminal) -> Result<BackfillOptions, Failure> {
        let range = self.range.resolve(now, terminal)?;
        let workers = self.workers.map_or(project.run.workers, usize::from);
        Ok(BackfillOptions { range, late: self.late, drain: self.drain, workers })
    }
}
