//! `kappa run`: its arguments, and what they mean together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::arguments::{OutputArgs, job_path, workers};
use super::connect::open_project;
use super::exit::{Exit, Failure};
use super::moving::MovingArgs;
use super::progress::{ProgressMode, make_room};
use super::signal::stop_token;
use super::start::{StartArgument, StartChoice, Until, UntilArgument, resolve_time, topics};
use super::terminal::Terminal;
use super::time::TimeArgument;
use super::watch::Watch;
use super::{connect, job, output};
use crate::config::Project;
use crate::event::EventTime;
use crate::job::Plan;
use crate::live;
use crate::start::Vouched;

/// Runs a job live: from its newest checkpoint, until it is stopped
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Runs a job live.\n\n\
        It goes on from its newest checkpoint; without one it begins at --start. With a checkpoint --start is ignored \
        with a note, so the same command line serves the first start and every later one. SIGINT or SIGTERM stops it \
        after a last checkpoint; a second one stops it at once, which loses nothing either. If files of that \
        checkpoint are damaged or gone, it goes on from the one before and publishes again what was published since. Exits \
        1 if a restart may help, 5 if a person has to act first.",
    after_long_help = "Examples:\n  \
        kappa run jobs/page_hits.sql                             all of the topic, then live\n  \
        kappa run jobs/page_hits.sql --start 2026-11-21          windows from that day on\n  \
        kappa run jobs/page_hits.sql --start now-7d --until end  catch up, then exit\n  \
        kappa run jobs/flight_delays.sql --drain                 a log that has ended: publish all of it\n  \
        kappa run jobs/page_hits.sql --upgrade                   the job file was changed"
)]
pub struct RunArgs {
    /// The job's SQL file, such as jobs/page_hits.sql
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: PathBuf,
    /// Where to begin without a checkpoint: earliest, latest, a time (the first window that is published), a CSV file of
    /// lines topic,partition,offset, or history (behind what backfills have published) [default: earliest]
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
    /// Don't wait while another process runs the job: take over from it at once, before --upgrade and --savepoint too,
    /// which else refuse; it stops with exit 5
    #[arg(long)]
    pub take_over: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub moving: MovingArgs,
    /// Worker threads, 1 to 256 [default: run.workers of kappa.toml, which is the number of cores unless set]
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
    /// Don't wait while another process runs the job.
    pub take_over: bool,
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
        Ok(RunOptions { start, until, drain: self.drain, vouched, take_over: self.take_over, workers })
    }

    /// Runs the job and says what it did.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let project = open_project(&self.job, terminal)?;
        let plan = Arc::new(job::load(&self.job, terminal.colour)?);
        let clock = connect::clock();
        let options = self.options(&project, clock.now(), terminal)?;
        let was_said = options.start.is_some();
        let options = live_options(&project, &plan, options)?;
        let mode = ProgressMode::choose(terminal, self.output.json);
        let report = connect::runtime()?.block_on(async {
            let shown = Watch::open(&project, &plan.name, vec![plan.name.clone()], &clock, (terminal, mode)).await?;
            let setup = live::Setup {
                catalog: connect::catalog(&project).await?,
                checkpoints: connect::checkpoints(&project, &plan.name)?,
                logs: connect::logs(&project, &plan.name),
                clock: clock.clone(),
            };
            self.moving.perform(&plan, &self.job, &setup, &options, terminal).await?;
            let stop = stop_token(*terminal)?;
            let options = live::RunOptions { listens: shown.address(), ..options };
            live::run(&plan, &setup, &options, &stop, &|standing| shown.put(0, standing)).await.map_err(Failure::from)
        });
        make_room();
        let report = report?;
        if report.resumed && was_said {
            terminal.note("--start was ignored: the job went on from its newest checkpoint");
        }
        match self.output.json {
            true => terminal.json(&RunDocument::new(&plan, &report))?,
            false => terminal.data(&summary(&plan, &report))?,
        }
        Ok(Exit::Done)
    }
}

fn live_options(project: &Project, plan: &Plan, options: RunOptions) -> Result<live::RunOptions, Failure> {
    let start = options.start.unwrap_or(StartChoice::Earliest).for_topics(&topics(&plan.streams))?;
    Ok(live::RunOptions {
        workers: options.workers,
        checkpoint_interval: project.run.checkpoint_interval_run(),
        start,
        vouched: options.vouched,
        until: match options.until {
            None => live::Until::Forever,
            Some(Until::End) => live::Until::End,
            Some(Until::Time(time)) => live::Until::Time(time),
        },
        drain: options.drain,
        take_over: options.take_over,
        listens: None,
        epoch_rows: live::EPOCH_ROWS,
        rejects_max_millionths: project.run.rejects_max.millionths(),
        memory_max: connect::memory_max(project),
        fail_point: None,
    })
}

/// What a run has done, as `--json` shows it.
#[derive(Debug, Serialize)]
struct RunDocument<'a> {
    job: &'a str,
    resumed: bool,
    finished: bool,
    watermark: Option<String>,
    checkpoints: u64,
    taken: &'a BTreeMap<String, u64>,
    rejected: &'a BTreeMap<String, u64>,
    rows: &'a BTreeMap<String, u64>,
    late: &'a BTreeMap<String, u64>,
}

impl<'a> RunDocument<'a> {
    fn new(plan: &'a Plan, report: &'a live::RunReport) -> RunDocument<'a> {
        RunDocument {
            job: &plan.name,
            resumed: report.resumed,
            finished: report.finished,
            watermark: output::time(report.watermark),
            checkpoints: report.checkpoints,
            taken: &report.taken,
            rejected: &report.rejected,
            rows: &report.rows,
            late: &report.late,
        }
    }
}

/// What a run has done, in lines.
fn summary(plan: &Plan, report: &live::RunReport) -> String {
    if report.finished && report.checkpoints == 0 {
        return format!(
            "{} is finished: its log was drained, and every window is published; nothing was done\n",
            plan.name
        );
    }
    let mut text = String::new();
    for stream in &plan.streams {
        let of = |counts: &BTreeMap<String, u64>| counts.get(&stream.name).copied().unwrap_or(0);
        let taken = output::count(of(&report.taken), "record", "records");
        text += &format!("{}: {taken} taken, {} rejected\n", stream.name, output::number(of(&report.rejected)));
    }
    for insert in &plan.inserts {
        let table = insert.table.to_string();
        let of = |counts: &BTreeMap<String, u64>| counts.get(&table).copied().unwrap_or(0);
        let rows = output::count(of(&report.rows), "row", "rows");
        let late = output::count(of(&report.late), "record", "records");
        text += &format!("{table}: {rows} published, {late} late\n");
    }
    text += &match (report.finished, report.watermark) {
        (true, _) => "finished: every window is closed and published\n".to_owned(),
        (false, EventTime::MIN) => "stopped after a checkpoint; no watermark yet\n".to_owned(),
        (false, watermark) => format!("stopped after a checkpoint; watermark {watermark}\n"),
    };
    text
}
