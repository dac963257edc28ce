//! `kappa archive`: its arguments, and what they mean together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::arguments::{OutputArgs, job_path};
use super::connect::open_project;
use super::exit::{Exit, Failure};
use super::progress::{ProgressMode, make_room};
use super::signal::stop_token;
use super::start::{StartArgument, StartChoice, topics};
use super::terminal::Terminal;
use super::watch::Watch;
use super::{connect, job, output};
use crate::archive;
use crate::config::Project;
use crate::event::{EventTime, Stream};
use crate::iceberg::Catalog;
use crate::standing::Standing;
use crate::start::Start;
use crate::store::Place;
use crate::time::clock::Clock;

/// Copies a job's topics into their Iceberg history, exactly once
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Copies the live face of a job's streams into their history tables, exactly once.\n\n\
        History is what backfill and diff read. It is one table a stream, whatever job it was started from, and goes on \
        where it stopped. Records that can't be read go to <history>_rejects with their bytes. SIGINT or SIGTERM stops it \
        after a last checkpoint; a second one stops it at once, which loses nothing either. Exits 1 if a restart may help, 5 \
        if a person has to act first.",
    after_long_help = "Examples:\n  \
        kappa archive jobs/page_hits.sql                        all streams of the job, until stopped\n  \
        kappa archive jobs/page_hits.sql --until end            up to now, then exit\n  \
        kappa archive jobs/page_hits.sql --stream web_requests  one of them\n  \
        kappa archive jobs/page_hits.sql --evolve               after columns were added to the stream\n  \
        kappa archive jobs/page_hits.sql --rejects              after it takes what was rejected"
)]
pub struct ArchiveArgs {
    /// The job's SQL file, such as jobs/page_hits.sql
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: PathBuf,
    /// Copy this stream of the job only [default: all that have a history]
    #[arg(long, value_name = "STREAM")]
    pub stream: Option<String>,
    /// Where to begin a history that isn't there yet: earliest, latest, a time, or a CSV file of lines
    /// topic,partition,offset [default: earliest]
    #[arg(long, value_name = "START")]
    pub start: Option<StartArgument>,
    /// Where to stop: `end`, the end of the log as it stands now
    #[arg(long, value_name = "END", value_parser = ["end"])]
    pub until: Option<String>,
    /// Don't wait while another process archives the history: take over from it at once; it stops with exit 5
    #[arg(long)]
    pub take_over: bool,
    /// Widen a history that was archived under a narrower declaration: new columns that may be null, wider types, keep_rest
    #[arg(long)]
    pub evolve: bool,
    /// Decode rejected messages again, under the declaration as it is now: those that it takes go into history, then exit
    #[arg(long, conflicts_with_all = ["start", "until", "evolve"])]
    pub rejects: bool,
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
    /// Don't wait while another process archives the history.
    pub take_over: bool,
    /// Widen histories to their streams' declarations.
    pub evolve: bool,
}

impl ArchiveArgs {
    /// What the arguments mean together if it is `now` now.
    pub fn options(&self, now: EventTime, terminal: &Terminal) -> Result<ArchiveOptions, Failure> {
        let start = self.start.as_ref().map(|start| start.resolve(now, terminal)).transpose()?;
        let (stream, until_end, take_over) = (self.stream.clone(), self.until.is_some(), self.take_over);
        Ok(ArchiveOptions { stream, start, until_end, take_over, evolve: self.evolve })
    }

    /// Archives the job's streams, all at once, and says what was done.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let project = open_project(&self.job, terminal)?;
        let file = job::JobFile::read(&self.job).map_err(|error| Failure::Invalid(error.render(terminal.colour)))?;
        let streams = file.streams().map_err(|error| Failure::Invalid(error.render(terminal.colour)))?;
        let clock = connect::clock();
        let options = self.options(clock.now(), terminal)?;
        let streams = chosen(streams, options.stream.as_deref())?;
        if self.rejects {
            return self.decode_rejects(&project, &streams, &clock, terminal);
        }
        let was_said = options.start.is_some();
        let driver_options = driver_options(&project, &options, &streams)?;
        let mode = ProgressMode::choose(terminal, self.output.json);
        let owners = streams.iter().filter_map(|stream| stream.history.as_ref()).map(archive::owner).collect();
        let job = self.job.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let reports = connect::runtime()?.block_on(async {
            let catalog = connect::catalog(&project).await?;
            let shown = Watch::open(&project, &job, owners, &clock, (terminal, mode)).await?;
            let state = connect::state(&project)?;
            let stop = stop_token(*terminal)?;
            let archived = streams.iter().enumerate().map(|(driver, stream)| {
                let setup = setup(&project, stream, (&catalog, &state), &clock);
                let options = archive::ArchiveOptions { listens: shown.address(), ..driver_options.clone() };
                let (stop, shown) = (stop.clone(), &shown);
                async move {
                    let watch = |standing: &Standing| shown.put(driver, standing);
                    let ended = archive::archive(stream, &setup, &options, &stop, &watch).await;
                    match &ended {
                        Ok(_) => shown.end(driver),
                        // The others stop in order, too: one process archives all of them or none.
                        Err(_) => stop.cancel(),
                    }
                    ended.map_err(Failure::from)
                }
            });
            futures::future::join_all(archived).await.into_iter().collect::<Result<Vec<_>, Failure>>()
        });
        make_room();
        let reports = reports?;
        if was_said && reports.iter().any(|report| report.resumed) {
            terminal.note("--start was ignored: the history goes on from its newest checkpoint");
        }
        match self.output.json {
            true => terminal.json(&documents(&streams, &reports))?,
            false => terminal.data(&summary(&streams, &reports))?,
        }
        Ok(Exit::Done)
    }
}

impl ArchiveArgs {
    /// Decodes the rejects of each stream again, and says what became of them.
    fn decode_rejects(
        &self,
        project: &Project,
        streams: &[Arc<Stream>],
        clock: &Arc<dyn Clock>,
        terminal: &Terminal,
    ) -> Result<Exit, Failure> {
        let reports = connect::runtime()?.block_on(async {
            let (catalog, state) = (connect::catalog(project).await?, connect::state(project)?);
            let mut reports = Vec::with_capacity(streams.len());
            for stream in streams {
                let setup = setup(project, stream, (&catalog, &state), clock);
                reports.push(archive::decode_rejects(stream, &setup).await?);
            }
            Ok::<_, Failure>(reports)
        })?;
        match self.output.json {
            true => terminal.json(&rejects_documents(streams, &reports))?,
            false => terminal.data(&rejects_summary(streams, &reports))?,
        }
        Ok(Exit::Done)
    }
}

/// What the archiver of a stream works with.
fn setup(
    project: &Project,
    stream: &Stream,
    (catalog, state): (&Catalog, &Place),
    clock: &Arc<dyn Clock>,
) -> archive::Setup {
    // Without a history nothing is read: that is refused first.
    let owner = stream.history.as_ref().map(archive::owner).unwrap_or_default();
    archive::Setup {
        catalog: catalog.clone(),
        state: state.clone(),
        logs: connect::logs(project, &owner),
        clock: clock.clone(),
    }
}

/// What became of rejects, in lines.
fn rejects_summary(streams: &[Arc<Stream>], reports: &[archive::RejectsReport]) -> String {
    let mut text = String::new();
    for (stream, report) in streams.iter().zip(reports) {
        let history = history_name(stream);
        let before: u64 = report.before.values().sum();
        let after: u64 = report.after.values().sum();
        let taken = output::count(before - after, "record", "records");
        text += &format!("{history}_rejects: {}", output::count(before, "record", "records"));
        text += &match (before, &report.times) {
            (0, _) => ", nothing to decode\n".to_owned(),
            (_, None) => ", none can be read now\n".to_owned(),
            (_, Some((least, greatest))) => {
                format!(", {taken} can be read now and went to {history}: event times {least} to {greatest}\n")
            }
        };
        for (reason, count) in &report.before {
            let left = report.after.get(reason).copied().unwrap_or_default();
            text += &format!("  {reason}: {} before, {} left\n", output::number(*count), output::number(left));
        }
        if report.incomplete > 0 {
            let incomplete = output::count(report.incomplete, "record", "records");
            text +=
                &format!("  kept without a key or header that the stream takes now, so not decoded: {incomplete}\n");
        }
        if report.times.is_some() {
            text +=
                "  windows of these times change: `kappa diff` shows them, `kappa backfill run` publishes them anew\n";
        }
    }
    text
}

/// What became of rejects, as `--json` shows it.
#[derive(Serialize)]
struct RejectsDocument {
    stream: String,
    table: String,
    before: BTreeMap<String, u64>,
    after: BTreeMap<String, u64>,
    incomplete: u64,
    from: Option<String>,
    to: Option<String>,
}

fn rejects_documents(streams: &[Arc<Stream>], reports: &[archive::RejectsReport]) -> Vec<RejectsDocument> {
    let documents = streams.iter().zip(reports).map(|(stream, report)| RejectsDocument {
        stream: report.stream.clone(),
        table: format!("{}_rejects", history_name(stream)),
        before: report.before.clone(),
        after: report.after.clone(),
        incomplete: report.incomplete,
        from: report.times.and_then(|(least, _)| output::time(least)),
        to: report.times.and_then(|(_, greatest)| output::time(greatest)),
    });
    documents.collect()
}

/// The streams to archive: the one that was named, or all that have a history.
fn chosen(streams: Vec<Arc<Stream>>, name: Option<&str>) -> Result<Vec<Arc<Stream>>, Failure> {
    let names: Vec<String> = streams.iter().map(|stream| stream.name.clone()).collect();
    let chosen: Vec<Arc<Stream>> = match name {
        Some(name) => streams.into_iter().filter(|stream| stream.name == name).collect(),
        None => streams.into_iter().filter(|stream| stream.history.is_some()).collect(),
    };
    match (chosen.is_empty(), name) {
        (false, _) => Ok(chosen),
        (true, Some(name)) => {
            Err(Failure::Usage(format!("the job has no stream `{name}`; it has {}", names.join(", "))))
        }
        (true, None) => Err(Failure::invalid(
            "no stream of the job has a HISTORY FROM clause, so there is nowhere to archive to; add HISTORY FROM ICEBERG \
             'namespace.table' to its CREATE STREAM",
        )),
    }
}

fn driver_options(
    project: &Project,
    options: &ArchiveOptions,
    streams: &[Arc<Stream>],
) -> Result<archive::ArchiveOptions, Failure> {
    let start = match &options.start {
        None => Start::Earliest,
        Some(StartChoice::History) => {
            let message =
                "an archive can't start from history: it is what writes history; start at earliest or at a time";
            return Err(Failure::Usage(message.to_owned()));
        }
        Some(start) => start.for_topics(&topics(streams))?,
    };
    Ok(archive::ArchiveOptions {
        lanes: project.run.workers,
        checkpoint_interval: project.run.checkpoint_interval_archive(),
        start,
        until_end: options.until_end,
        take_over: options.take_over,
        listens: None,
        evolve: options.evolve,
        memory_max: connect::memory_max(project),
    })
}

/// What archivers have done, in lines.
fn summary(streams: &[Arc<Stream>], reports: &[archive::ArchiveReport]) -> String {
    let mut text = String::new();
    for (stream, report) in streams.iter().zip(reports) {
        let history = history_name(stream);
        let rows = output::count(report.rows, "row", "rows");
        for change in &report.evolved {
            text += &format!("{history}: {change}\n");
        }
        text += &match (report.taken, report.resumed) {
            (0, true) => format!("{history}: nothing new"),
            _ => format!("{history}: {rows} added"),
        };
        if report.rejected > 0 {
            let rejected = output::count(report.rejected, "record", "records");
            text += &format!(", {rejected} rejected to {history}_rejects");
        }
        text += &match report.watermark {
            EventTime::MIN => "; no watermark yet\n".to_owned(),
            watermark => format!("; watermark {watermark}\n"),
        };
    }
    text
}

fn history_name(stream: &Stream) -> String {
    stream.history.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// What one archiver has done, as `--json` shows it.
#[derive(Serialize)]
struct Document {
    stream: String,
    table: String,
    resumed: bool,
    evolved: Vec<String>,
    taken: u64,
    rows: u64,
    rejected: u64,
    checkpoints: u64,
    watermark: Option<String>,
}

fn documents(streams: &[Arc<Stream>], reports: &[archive::ArchiveReport]) -> Vec<Document> {
    let documents = streams.iter().zip(reports).map(|(stream, report)| Document {
        stream: report.stream.clone(),
        table: history_name(stream),
        resumed: report.resumed,
        evolved: report.evolved.clone(),
        taken: report.taken,
        rows: report.rows,
        rejected: report.rejected,
        checkpoints: report.checkpoints,
        watermark: output::time(report.watermark),
    });
    documents.collect()
}
