//! `kappa archive`: its arguments, and what they mean together.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{OutputArgs, job_path};
use super::exit::Failure;
use super::start::{StartArgument, StartChoice};
use super::terminal::Terminal;
use crate::event::EventTime;

/// Copies a job's topics into their Iceberg history, exactly once
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Copies the live face of a job's streams into their history tables, exactly once.\n\n\
        History is what backfill and diff read. It is one table a stream, whatever job it was started from, and goes on \
        where it stopped. Records that can't be read go to <history>_rejects with their bytes.",
    after_long_help = "Examples:\n  \
        kappa archive jobs/page_hits.sql                        all streams of the job, until stopped\n  \
        kappa archive jobs/page_hits.sql --until end            up to now, then exit\n  \
        kappa archive jobs/page_hits.sql --stream web_requests  one of them"
)]
pub struct ArchiveArgs {
    /// The job file
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: PathBuf,
    /// Only this stream of the job
    #[arg(long, value_name = "STREAM")]
    pub stream: Option<String>,
    /// Where to begin a history that isn't there yet: earliest, latest, a time, or a CSV file of lines
    /// topic,partition,offset [default: earliest]
    #[arg(long, value_name = "START")]
    pub start: Option<StartArgument>,
    /// Where to stop: `end`, the end of the log as it stands now
    #[arg(long, value_name = "END", value_parser = ["end"])]
    pub until: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// What an archive is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// Only this stream; `None`: all that have a history.
    pub stream: Option<String>,
    /// Where to begin without a checkpoint; `None`: nothing was said, so earliest and no note.
    pub start: Option<StartChoice>,
    /// Stop at the end of the log as it stands at the start.
    pub until_end: bool,
}

impl ArchiveArgs {
    /// What the arguments mean together if it is `now` now.
    pub fn options(&self, now: EventTime, terminal: &Terminal) -> Result<ArchiveOptions, Failure> {
        let start = self.start.as_ref().map(|start| start.resolve(now, terminal)).transpose()?;
        Ok(ArchiveOptions { stream: self.stream.clone(), start, until_end: self.until.is_some() })
    }
}
