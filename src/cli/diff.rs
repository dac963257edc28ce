//! `kappa diff`: its arguments, and what they mean together.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{OutputArgs, job_path};
use super::exit::Failure;
use super::range::{Range, RangeArgs};
use super::terminal::Terminal;
use crate::event::EventTime;

/// Recomputes a range and compares it with what is published
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Recomputes a range from history and compares it with what is published.\n\n\
        Shows rows that are missing, extra or changed, and why: late, behind_watermark, or another version of the job. \
        Writes nothing. Exits 0 if there are no such rows, 4 if there are some.",
    after_long_help = "Examples:\n  \
        kappa diff jobs/page_hits.sql --from 2026-11-01 --to 2026-11-08\n  \
        kappa diff jobs/page_hits.sql --from now-1d --to now-1h --json"
)]
pub struct DiffArgs {
    /// The job file
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub range: RangeArgs,
    /// Treat the end of history as the end of the log: windows that are still open there are whole
    #[arg(long)]
    pub drain: bool,
    /// How many differing rows to show; all are counted
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// What a comparison is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiffOptions {
    /// The range of the result's time partition column.
    pub range: Range,
    /// The end of history is the end of the log.
    pub drain: bool,
    /// Differing rows to show.
    pub limit: usize,
}

impl DiffArgs {
    /// What the arguments mean together if it is `now` now.
    pub fn options(&self, now: EventTime, terminal: &Terminal) -> Result<DiffOptions, Failure> {
        Ok(DiffOptions { range: self.range.resolve(now, terminal)?, drain: self.drain, limit: self.limit })
    }
}
