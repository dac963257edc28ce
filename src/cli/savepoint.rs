//! `kappa savepoint`: its arguments, and what they mean together.

use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::arguments::{OutputArgs, job_path};
use super::connect::open_project;
use super::exit::{Exit, Failure};
use super::terminal::Terminal;
use super::{connect, job, output};
use crate::checkpoints::{CheckpointStore, Savepoint, SavepointLabel, SavepointName, Version};
use crate::event::EventTime;
use crate::job::Plan;

/// Keeps checkpoints of a job, to go back to
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Keeps checkpoints of a job, to go back to.\n\n\
        A savepoint is a copy of the newest checkpoint: positions, watermark and open windows. It stays until it is \
        deleted. `kappa run JOB --savepoint NAME` goes back to it: windows published since are then published again, \
        each once in the end. A reset, an upgrade and going back keep one by themselves.",
    after_long_help = "Examples:\n  \
        kappa savepoint create jobs/page_hits.sql before-holidays\n  \
        kappa savepoint list jobs/page_hits.sql\n  \
        kappa run jobs/page_hits.sql --savepoint before-holidays"
)]
pub struct SavepointArgs {
    /// What to do
    #[command(subcommand)]
    pub command: SavepointCommand,
}

/// What to do with savepoints.
#[derive(Subcommand, Clone, Debug)]
pub enum SavepointCommand {
    /// Keeps the newest checkpoint; a running job is not disturbed
    #[command(after_long_help = "Examples:\n  kappa savepoint create jobs/page_hits.sql before-holidays")]
    Create(CreateArgs),
    /// Lists the savepoints of a job, oldest first
    #[command(after_long_help = "Examples:\n  kappa savepoint list jobs/page_hits.sql")]
    List(ListArgs),
    /// Shows a savepoint: where it stands, and what it holds
    #[command(after_long_help = "Examples:\n  kappa savepoint show jobs/page_hits.sql before-holidays")]
    Show(NamedArgs),
    /// Deletes a savepoint
    #[command(after_long_help = "Examples:\n  kappa savepoint delete jobs/page_hits.sql before-holidays")]
    Delete(NamedArgs),
}

/// Arguments of `kappa savepoint create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// The job's SQL file, such as jobs/page_hits.sql
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: PathBuf,
    /// The savepoint's name: small letters, digits and `-` [default: the time as it is now]
    #[arg(value_name = "NAME")]
    pub name: Option<SavepointName>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// Arguments of `kappa savepoint list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// The job's SQL file, such as jobs/page_hits.sql
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// A job and one of its savepoints.
#[derive(Args, Clone, Debug)]
pub struct NamedArgs {
    /// The job's SQL file, such as jobs/page_hits.sql
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: PathBuf,
    /// The savepoint's name
    #[arg(value_name = "NAME")]
    pub name: SavepointName,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

impl SavepointArgs {
    /// Does what was asked for.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        match &self.command {
            SavepointCommand::Create(arguments) => arguments.execute(terminal),
            SavepointCommand::List(arguments) => arguments.execute(terminal),
            SavepointCommand::Show(arguments) => arguments.show(terminal),
            SavepointCommand::Delete(arguments) => arguments.delete(terminal),
        }
    }
}

/// A job and its checkpoints.
fn open(path: &Path, terminal: &Terminal) -> Result<(Plan, CheckpointStore), Failure> {
    let project = open_project(path, terminal)?;
    let plan = job::load(path, terminal.colour)?;
    let store = connect::checkpoints(&project, &plan.name)?;
    Ok((plan, store))
}

impl CreateArgs {
    fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (plan, store) = open(&self.job, terminal)?;
        let created = connect::clock().now();
        let label = SavepointLabel {
            name: self.name.clone().unwrap_or_else(|| named_by_time(created)),
            created,
            reason: "made by hand".to_owned(),
        };
        let legs = plan.state_columns();
        let version = Version { fingerprint: &plan.fingerprint, legs: &legs };
        let kept = connect::runtime()?.block_on(store.keep_newest(&label, &version)).map_err(Failure::from)?;
        let Some(kept) = kept else {
            let message = format!("job {} has no checkpoint yet, so there is nothing to keep; run it first", plan.name);
            return Err(Failure::invalid(message));
        };
        match self.output.json {
            true => terminal.json(&Document::new(&plan, &kept))?,
            false => terminal.data(&format!("{}\n", line(&kept)))?,
        }
        terminal.note(&format!("`kappa run {} --savepoint {}` goes back to it", self.job.display(), kept.name));
        Ok(Exit::Done)
    }
}

impl ListArgs {
    fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (plan, store) = open(&self.job, terminal)?;
        let found = connect::runtime()?.block_on(store.savepoints()).map_err(Failure::from)?;
        if self.output.json {
            let documents: Vec<Document<'_>> = found.iter().map(|savepoint| Document::new(&plan, savepoint)).collect();
            terminal.json(&documents)?;
            return Ok(Exit::Done);
        }
        if found.is_empty() {
            terminal.note(&format!("job {} has no savepoints", plan.name));
            return Ok(Exit::Done);
        }
        let mut table = output::Table::new(&[
            output::Column::Text("savepoint"),
            output::Column::Text("made"),
            output::Column::Text("watermark"),
            output::Column::Number("open windows"),
            output::Column::Text("version"),
            output::Column::Text("why"),
        ]);
        for savepoint in &found {
            table.row([
                savepoint.name.to_string(),
                made(savepoint),
                watermark(savepoint),
                output::number(windows(savepoint) as u64),
                version(&plan, savepoint).to_owned(),
                savepoint.reason.clone(),
            ]);
        }
        terminal.data(&table.to_string())?;
        Ok(Exit::Done)
    }
}

impl NamedArgs {
    fn show(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (plan, store) = open(&self.job, terminal)?;
        let found = connect::runtime()?.block_on(store.savepoint(&self.name)).map_err(Failure::from)?;
        match self.output.json {
            true => terminal.json(&Document::new(&plan, &found))?,
            false => terminal.data(&text(&plan, &found))?,
        }
        Ok(Exit::Done)
    }

    fn delete(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (plan, store) = open(&self.job, terminal)?;
        connect::runtime()?.block_on(store.delete_savepoint(&self.name)).map_err(Failure::from)?;
        match self.output.json {
            true => terminal.json(&Deleted { job: &plan.name, deleted: self.name.as_str() })?,
            false => terminal.data(&format!("savepoint {} of {} is deleted\n", self.name, plan.name))?,
        }
        Ok(Exit::Done)
    }
}

fn named_by_time(now: EventTime) -> SavepointName {
    let text = second(now).replace(['-', ':'], "").to_ascii_lowercase();
    text.parse().expect("digits and small letters")
}

fn second(time: EventTime) -> String {
    DateTime::from_timestamp_micros(time.0).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn made(savepoint: &Savepoint) -> String {
    second(savepoint.created)
}

fn watermark(savepoint: &Savepoint) -> String {
    match savepoint.manifest.watermark {
        EventTime::MIN => "none yet".to_owned(),
        EventTime::MAX => "finished".to_owned(),
        watermark => watermark.to_string(),
    }
}

fn windows(savepoint: &Savepoint) -> usize {
    let files = savepoint.manifest.state.iter();
    let open = files.flat_map(|file| file.panes.iter().map(|&start| (file.insert, start)));
    open.collect::<std::collections::BTreeSet<_>>().len()
}

fn version(plan: &Plan, savepoint: &Savepoint) -> &'static str {
    if savepoint.manifest.fingerprint == plan.fingerprint { "the file's" } else { "another" }
}

fn line(savepoint: &Savepoint) -> String {
    format!(
        "savepoint {}: checkpoint {}, watermark {}, {}",
        savepoint.name,
        savepoint.manifest.id,
        watermark(savepoint),
        output::count(windows(savepoint) as u64, "open window", "open windows")
    )
}

fn text(plan: &Plan, savepoint: &Savepoint) -> String {
    let bytes: u64 = savepoint.manifest.state.iter().map(|file| file.bytes).sum();
    let mut table = output::Table::new(&[
        output::Column::Text("stream"),
        output::Column::Number("partition"),
        output::Column::Number("position"),
        output::Column::Text("greatest event time"),
    ]);
    for (stream, partitions) in &savepoint.manifest.streams {
        for (partition, at) in partitions {
            table.row([
                stream.clone(),
                partition.to_string(),
                output::number(at.next_offset.0),
                at.seen.map_or("-".to_owned(), |seen| seen.to_string()),
            ]);
        }
    }
    format!(
        "{} ({} of state)\nmade {}, {}; version of the job: {}\n{table}",
        line(savepoint),
        output::bytes(bytes),
        made(savepoint),
        savepoint.reason,
        version(plan, savepoint),
    )
}

/// A savepoint, as `--json` shows it.
#[derive(Serialize)]
struct Document<'a> {
    job: &'a str,
    savepoint: &'a str,
    created: String,
    reason: &'a str,
    checkpoint: String,
    fingerprint: &'a str,
    is_of_this_version: bool,
    watermark: Option<String>,
    finished: bool,
    open_windows: usize,
    bytes: u64,
    partitions: Vec<PartitionDocument<'a>>,
}

#[derive(Serialize)]
struct PartitionDocument<'a> {
    stream: &'a str,
    partition: i32,
    position: i64,
    seen: Option<String>,
}

#[derive(Serialize)]
struct Deleted<'a> {
    job: &'a str,
    deleted: &'a str,
}

impl<'a> Document<'a> {
    fn new(plan: &'a Plan, savepoint: &'a Savepoint) -> Document<'a> {
        let manifest = &savepoint.manifest;
        let partitions = manifest.streams.iter().flat_map(|(stream, partitions)| {
            partitions.iter().map(move |(&partition, at)| PartitionDocument {
                stream,
                partition,
                position: at.next_offset.0,
                seen: at.seen.and_then(output::time),
            })
        });
        Document {
            job: &plan.name,
            savepoint: savepoint.name.as_str(),
            created: savepoint.created.to_string(),
            reason: &savepoint.reason,
            checkpoint: manifest.id.to_string(),
            fingerprint: &manifest.fingerprint,
            is_of_this_version: manifest.fingerprint == plan.fingerprint,
            watermark: output::time(manifest.watermark),
            finished: manifest.finished,
            open_windows: windows(savepoint),
            bytes: manifest.state.iter().map(|file| file.bytes).sum(),
            partitions: partitions.collect(),
        }
    }
}
