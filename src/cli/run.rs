//! `kappa run`: its arguments, and what they mean together.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{OutputArgs, job_path, workers};
use super::exit::Failure;
use super::start::{StartArgument, StartChoice, Until, UntilArgument, resolve_time};
use super::terminal::Terminal;
use super::time::TimeArgument;
use crate::config::Project;
use crate::event::EventTime;
use crate::start::Vouched;

/// Runs a job live: from its newest checkpoint, until it is stopped
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Runs a job live.\n\n\
        It goes on from its newest checkpoint; without one it begins at --start. With a checkpoint --start is ignored \
        with a note, so the same command line serves the first start and every later one. SIGINT or SIGTERM stops it \
        after a last checkpoint; a second one stops it at once, which loses nothing either.",
    after_long_help = "Examples:\n  \
        kappa run jobs/page_hits.sql                             all of the topic, then live\n  \
        kappa run jobs/page_hits.sql --start 2026-11-21          windows from that day on\n  \
        kappa run jobs/page_hits.sql --start now-7d --until end  catch up, then exit\n  \
        kappa run jobs/flight_delays.sql --drain                 a log that has ended: publish all of it"
)]
pub struct RunArgs {
    /// The job file
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: PathBuf,
    /// Where to begin without a checkpoint: earliest, latest, a time (the first window that is published), or a CSV file
    /// of lines topic,partition,offset [default: earliest]
    #[arg(long, value_name = "START")]
    pub start: Option<StartArgument>,
    /// Where to stop: `end` (of the log as it stands now), or a time (when all windows up to it are published)
    #[arg(long, value_name = "END")]
    pub until: Option<UntilArgument>,
    /// Treat the end of the log as its end for ever: publish all open windows, then exit; the job is finished
    #[arg(long)]
    pub drain: bool,
    /// Publish the first windows too, which the start may have cut off
    #[arg(long, conflicts_with = "whole_from")]
    pub allow_partial: bool,
    /// State that nothing below the start belongs to a window from this time on
    #[arg(long, value_name = "TIME")]
    pub whole_from: Option<TimeArgument>,
    /// Worker threads [default: `workers` in kappa.toml, else the cores]
    #[arg(long, value_name = "N", value_parser = workers())]
    pub workers: Option<u16>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// What a live run is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Where to begin without a checkpoint; `None`: nothing was said, so earliest and no note.
    pub start: Option<StartChoice>,
    /// Where to stop by itself; `None`: never.
    pub until: Option<Until>,
    /// At the end treat the log as ended; `until` is then [`Until::End`].
    pub drain: bool,
    /// What the user states about windows that the start may have cut off.
    pub vouched: Vouched,
    /// Worker threads, 1 to 256.
    pub workers: usize,
}

impl RunArgs {
    /// What the arguments mean together if it is `now` now.
    pub fn options(&self, project: &Project, now: EventTime, terminal: &Terminal) -> Result<RunOptions, Failure> {
        let start = self.start.as_ref().map(|start| start.resolve(now, terminal)).transpose()?;
        let until = match (&self.until, self.drain) {
            (Some(UntilArgument::Time(_)), true) => {
                let message = "--drain goes to the end of the log, --until TIME stops before it: leave one of them out";
                return Err(Failure::Usage(message.to_owned()));
            }
            (None, true) => Some(Until::End),
            (until, _) => until.as_ref().map(|until| until.resolve(now, terminal)),
        };
        if let (Some(StartChoice::Time(start)), Some(Until::Time(until))) = (&start, until)
            && until <= *start
        {
            return Err(Failure::Usage(format!("--until {until} isn't after --start {start}")));
        }
        let whole_from = self.whole_from.as_ref().map(|time| resolve_time(time, now, terminal));
        let workers = self.workers.map_or(project.run.workers, usize::from);
        let vouched = Vouched { whole_from, allow_partial: self.allow_partial };
        Ok(RunOptions { start, until, drain: self.drain, vouched, workers })
    }
}
