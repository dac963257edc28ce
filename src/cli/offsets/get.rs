//! `kappa offsets get`: its arguments, and what they mean together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::archive;
use crate::checkpoints::CheckpointStore;
use crate::cli::arguments::{OutputArgs, job_path};
use crate::cli::connect::open_project;
use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::Terminal;
use crate::cli::{connect, job, output};
use crate::event::{EventTime, LiveFace, Micros, Stream, TableName};
use crate::iceberg::Catalog;
use crate::job::{Declaration, Log};
use crate::offsets::{self, Offsets, PartitionOffsets};
use crate::sources::group_of;

/// Whose positions to show.
#[derive(Args, Clone, Debug)]
#[group(id = "whose", required = true, multiple = false)]
pub struct OffsetsGetTarget {
    /// The job's SQL file, such as jobs/page_hits.sql
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: Option<PathBuf>,
    /// The history table of an archive, as namespace.table
    #[arg(long, value_name = "TABLE", value_parser = table_name)]
    pub archive: Option<TableName>,
}

/// Arguments of `kappa offsets get`.
#[derive(Args, Clone, Debug)]
pub struct OffsetsGetArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub target: OffsetsGetTarget,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// Whose positions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OffsetsOf {
    /// Those of a live job.
    Job(PathBuf),
    /// Those of the archive that writes a history table.
    Archive(TableName),
}

impl OffsetsGetArgs {
    /// Whose positions are meant.
    pub fn of(&self) -> OffsetsOf {
        match (&self.target.job, &self.target.archive) {
            (Some(job), _) => OffsetsOf::Job(job.clone()),
            (None, Some(table)) => OffsetsOf::Archive(table.clone()),
            (None, None) => unreachable!("the command line needs one of them"),
        }
    }
}

impl OffsetsGetArgs {
    pub(super) fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let clock = connect::clock();
        let (shown, found) = match self.of() {
            OffsetsOf::Job(path) => {
                let project = open_project(&path, terminal)?;
                let plan = job::load(&path, terminal.colour)?;
                let store = connect::checkpoints(&project, &plan.name)?;
                let logs = connect::logs(&project, &plan.name);
                let found = connect::runtime()?.block_on(offsets::get(&store, &logs, &plan.streams));
                let shown = Shown { title: format!("job {}", plan.name), group: group(&plan.name, &plan.streams) };
                (shown, found.map_err(Failure::from)?)
            }
            OffsetsOf::Archive(table) => {
                let project = open_project(Path::new("."), terminal)?;
                let owner = archive::owner(&table);
                let store = connect::checkpoints(&project, &owner)?;
                let found = connect::runtime()?.block_on(async {
                    let catalog = connect::catalog(&project).await?;
                    let streams = [Arc::new(archived_stream(&catalog, &store, &table).await?)];
                    let logs = connect::logs(&project, &owner);
                    let found = offsets::get(&store, &logs, &streams).await.map_err(Failure::from)?;
                    Ok::<_, Failure>((group(&owner, &streams), found))
                });
                let (group, found) = found?;
                (Shown { title: format!("archive {table}"), group }, found)
            }
        };
        match self.output.json {
            true => terminal.json(&Document::new(&shown, &found, clock.now()))?,
            false => terminal.data(&text(&shown, &found, clock.now()))?,
        }
        Ok(Exit::Done)
    }
}

/// Whose positions are shown.
struct Shown {
    title: String,
    /// The consumer group that they are committed to, for lag tools; `None`: all logs are files.
    group: Option<String>,
}

fn group(owner: &str, streams: &[Arc<Stream>]) -> Option<String> {
    let is_kafka = |stream: &Arc<Stream>| matches!(stream.live, LiveFace::Kafka { .. });
    streams.iter().any(is_kafka).then(|| group_of(owner))
}

/// As much of an archived stream as is needed to ask its log: the declaration in the history knows the topic, the
/// archiver's checkpoint the stream's name.
async fn archived_stream(catalog: &Catalog, store: &CheckpointStore, table: &TableName) -> Result<Stream, Failure> {
    let history = catalog.load(table).await.map_err(Failure::running)?;
    let history =
        history.ok_or_else(|| Failure::invalid(format!("{table} doesn't exist; `kappa archive` makes it")))?;
    let declaration = history.properties().get(archive::STREAM_PROPERTY).ok_or_else(|| {
        Failure::invalid(format!(
            "{table} wasn't made by `kappa archive`: it has no property {}",
            archive::STREAM_PROPERTY
        ))
    })?;
    let declaration = Declaration::parse(declaration).map_err(|error| Failure::invalid(format!("{table}: {error}")))?;
    let newest = store.newest().await.map_err(Failure::from)?.manifest;
    let known = newest.and_then(|manifest| manifest.streams.into_keys().next());
    Ok(stream_of(&declaration, known, table))
}

/// As much of an archived stream as is needed to ask its log.
pub(in crate::cli) fn stream_of(declaration: &Declaration, name: Option<String>, history: &TableName) -> Stream {
    let format = declaration.format.clone();
    let (live, named) = match &declaration.log {
        Log::Topic { name, .. } => (LiveFace::Kafka { topic: name.clone(), format }, name.clone()),
        Log::File { path } => (LiveFace::File { path: path.clone(), format }, path.clone()),
    };
    Stream {
        name: name.unwrap_or(named),
        columns: Vec::new(),
        event_time: 0,
        bound: Micros(declaration.bound_us),
        marker: None,
        idle_after: None,
        max_future: declaration.max_future_us.map(Micros),
        live,
        accepts_compacted: true,
        history: Some(history.clone()),
    }
}

fn text(shown: &Shown, found: &Offsets, now: EventTime) -> String {
    let title = &shown.title;
    let group =
        shown.group.as_ref().map(|group| format!("consumer group {group}, for lag tools\n")).unwrap_or_default();
    let checkpoint =
        found.checkpoint.as_deref().map_or("no checkpoint yet".to_owned(), |id| format!("checkpoint {id}"));
    let watermark = match found.watermark {
        EventTime::MIN => "no watermark yet".to_owned(),
        EventTime::MAX => "finished".to_owned(),
        watermark => format!("watermark {watermark}"),
    };
    let mut table = output::Table::new(&[
        output::Column::Text("stream"),
        output::Column::Number("partition"),
        output::Column::Number("position"),
        output::Column::Number("log start"),
        output::Column::Number("log end"),
        output::Column::Number("lag"),
        output::Column::Text("behind"),
    ]);
    let mut lost = String::new();
    for stream in &found.streams {
        for (partition, at) in &stream.partitions {
            let known = |offset: Option<i64>| offset.map_or("-".to_owned(), output::number);
            let (end, lag) = if at.end.0 == i64::MAX { (None, None) } else { (Some(at.end.0), at.lag()) };
            table.row([
                stream.stream.clone(),
                partition.to_string(),
                known(at.position.map(|position| position.0)),
                output::number(at.start.0),
                known(end),
                known(lag),
                behind(at, now).map_or("-".to_owned(), output::duration),
            ]);
            if at.lost() > 0 {
                lost += &format!(
                    "partition {partition} of {}: {} removed from the log before being taken; a run stops there (exit 5)\n",
                    stream.stream,
                    output::count(at.lost().unsigned_abs(), "offset was", "offsets were")
                );
            }
        }
    }
    format!("{title}: {checkpoint}, {watermark}\n{group}{table}{lost}")
}

/// How far behind the clock the newest taken event is, while there is more to take.
fn behind(at: &PartitionOffsets, now: EventTime) -> Option<Duration> {
    // A file has no end until it is read, and its records' times have nothing to do with the clock.
    if at.end.0 == i64::MAX {
        return None;
    }
    if at.lag() == Some(0) {
        return Some(Duration::ZERO);
    }
    let micros = now.0.saturating_sub(at.seen?.0);
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// Positions, as `--json` shows them.
#[derive(Serialize)]
struct Document<'a> {
    of: &'a str,
    /// `null`: no topic is read.
    group: Option<&'a str>,
    checkpoint: Option<&'a str>,
    watermark: Option<String>,
    partitions: Vec<PartitionDocument<'a>>,
}

#[derive(Serialize)]
struct PartitionDocument<'a> {
    stream: &'a str,
    partition: i32,
    position: Option<i64>,
    log_start: i64,
    log_end: Option<i64>,
    lag: Option<i64>,
    lost: i64,
    behind_ms: Option<u64>,
}

impl<'a> Document<'a> {
    fn new(shown: &'a Shown, found: &'a Offsets, now: EventTime) -> Document<'a> {
        let partitions = found.streams.iter().flat_map(|stream| {
            stream.partitions.iter().map(|(&partition, at)| {
                let bounded = at.end.0 == i64::MAX;
                PartitionDocument {
                    stream: &stream.stream,
                    partition,
                    position: at.position.map(|position| position.0),
                    log_start: at.start.0,
                    log_end: (!bounded).then_some(at.end.0),
                    lag: at.lag().filter(|_| !bounded),
                    lost: at.lost(),
                    behind_ms: behind(at, now).map(|behind| u64::try_from(behind.as_millis()).unwrap_or(u64::MAX)),
                }
            })
        });
        Document {
            of: &shown.title,
            group: shown.group.as_deref(),
            checkpoint: found.checkpoint.as_deref(),
            watermark: output::time(found.watermark),
            partitions: partitions.collect(),
        }
    }
}

fn table_name(text: &str) -> Result<TableName, String> {
    TableName::parse(text).ok_or_else(|| format!("`{text}` isn't namespace.table, such as raw.web_requests"))
}
