//! `kappa maintain`: its arguments, and how what was done to tables is shown.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::Serialize;

use super::arguments::{OutputArgs, job_path};
use super::connect::open_project;
use super::exit::{Exit, Failure};
use super::terminal::Terminal;
use super::{connect, job, output};
use crate::config::{DurationText, Project};
use crate::event::{EventTime, TableName};
use crate::job::Plan;
use crate::maintain::{MaintainOptions, Maintained, ORPHAN_AGE_MIN, held, maintain};
use crate::sinks::targets;

/// Compacts small files, expires snapshots, removes orphans; without --execute it only shows what that would do
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Compacts small files, expires snapshots, removes orphans; without --execute it only shows what that would \
        do.\n\n\
        TARGET is a job file, for all tables that the job writes and the histories of its streams with their rejects, or one \
        table of any maker. Jobs, archives, backfills and queries may go on meanwhile.\n\n\
        A snapshot expires when another took its place --older-than ago, but for the newest --retain-last, and those that \
        branches, tags, checkpoints, savepoints or properties of the table name. An orphan is a file in the table's folders \
        that no snapshot, no metadata file and no checkpoint refers to, older than --orphans-older-than. Small files are \
        rewritten, partition by partition and sorted, where no running job changes them any more; the files that they \
        replace are orphans when the snapshots before have expired. A table with gc.enabled=false is only compacted.",
    after_long_help = "Examples:\n  \
        kappa maintain jobs/page_hits.sql            what would be, for all its tables\n  \
        kappa maintain jobs/page_hits.sql --execute  do it\n  \
        kappa maintain marts.page_hits --older-than 12h --execute"
)]
pub struct MaintainArgs {
    /// The job's SQL file, such as jobs/page_hits.sql, or a table, such as marts.page_hits
    #[arg(value_name = "TABLE|JOB")]
    pub target: MaintainTarget,
    /// Expire snapshots that another took the place of so long ago [default: the table's
    /// history.expire.max-snapshot-age-ms, or 5d]
    #[arg(long, value_name = "DURATION")]
    pub older_than: Option<DurationText>,
    /// Keep so many of the newest snapshots, whatever their age [default: the table's
    /// history.expire.min-snapshots-to-keep, or 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub retain_last: Option<u32>,
    /// Remove files that nothing refers to if they are older than this; at least 1d, as runs, backfills and other engines
    /// name what they write only when they commit
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = orphan_age)]
    pub orphans_older_than: DurationText,
    /// Do it; without this, nothing is changed
    #[arg(long)]
    pub execute: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// What is to be taken care of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaintainTarget {
    /// All tables of a job.
    Job(PathBuf),
    /// One table.
    Table(TableName),
}

impl FromStr for MaintainTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<MaintainTarget, String> {
        if Path::new(text).extension().is_some_and(|extension| extension == "sql" || extension == "toml") {
            return job_path(text).map(MaintainTarget::Job);
        }
        let table = TableName::parse(text).filter(|_| !text.contains(['/', '\\']));
        table.map(MaintainTarget::Table).ok_or_else(|| {
            "it is neither a job file, such as jobs/page_hits.sql, nor a table, such as marts.page_hits".to_owned()
        })
    }
}

fn orphan_age(text: &str) -> Result<DurationText, String> {
    let age: DurationText = text.parse().map_err(|error: crate::config::DurationTextError| error.to_string())?;
    match age.0 < ORPHAN_AGE_MIN {
        true => {
            Err("it must be 1d or more: younger files may be those of a run, a backfill or another engine that hasn't \
                     committed them yet"
                .to_owned())
        }
        false => Ok(age),
    }
}

impl MaintainArgs {
    /// Takes care of the tables, or shows what that would do.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (project, tables) = match &self.target {
            MaintainTarget::Table(table) => (open_project(Path::new("."), terminal)?, vec![table.clone()]),
            MaintainTarget::Job(path) => {
                let project = open_project(path, terminal)?;
                (project, tables_of(&job::load(path, terminal.colour)?))
            }
        };
        let mut done = Vec::new();
        let ended = connect::runtime()?.block_on(self.maintain(&project, tables, &mut done));
        // What was done is shown, whatever came then.
        match self.output.json {
            true => terminal.json(&Document::new(self.execute, &done))?,
            false => {
                let blocks: Vec<String> =
                    done.iter().map(|(name, table)| text(name, table.as_ref(), self.execute)).collect();
                terminal.data(&blocks.concat())?;
            }
        }
        ended?;
        for table in done.iter().filter_map(|(_, table)| table.as_ref()).filter(|table| table.files.left > 0) {
            let left = output::count(table.files.left, "partition", "partitions");
            terminal.note(&format!(
                "{left} of {} changed again and again, and stay as they are; the next time looks at them again",
                table.table
            ));
        }
        if !self.execute {
            terminal.note("nothing was changed; --execute does it");
        }
        Ok(Exit::Done)
    }

    /// One table after the other, up to the first that fails.
    async fn maintain(
        &self,
        project: &Project,
        tables: Vec<TableName>,
        done: &mut Vec<(TableName, Option<Maintained>)>,
    ) -> Result<(), Failure> {
        let missing = |table: &TableName| {
            Failure::invalid(format!("there is no table {table} in catalog `{}`", project.catalog.name))
        };
        let is_named = matches!(self.target, MaintainTarget::Table(_));
        if connect::catalog_is_new(project) {
            match tables.first().filter(|_| is_named) {
                Some(table) => return Err(missing(table)),
                None => done.extend(tables.into_iter().map(|table| (table, None))),
            }
            return Ok(());
        }
        let catalog = connect::catalog(project).await?;
        let options = MaintainOptions {
            now: connect::clock().now(),
            snapshot_age: self.older_than.map(|age| age.0),
            retain_last: self.retain_last.map(|count| count as usize),
            orphan_age: self.orphans_older_than.0,
            execute: self.execute,
        };
        let state = connect::state(project)?;
        for table in tables {
            // Before each table, as it must be looked up before the table is.
            let held = held(&state).await?;
            let maintained = maintain(&catalog, &table, &held, &options).await?;
            if maintained.is_none() && is_named {
                return Err(missing(&table));
            }
            done.push((table, maintained));
        }
        Ok(())
    }
}

/// All tables that a job writes, the histories of its streams, and their rejects.
fn tables_of(plan: &Plan) -> Vec<TableName> {
    let mut tables: Vec<TableName> = targets(plan).into_iter().map(|target| target.table).collect();
    for history in plan.streams.iter().filter_map(|stream| stream.history.as_ref()) {
        for table in [history.clone(), history.with_suffix("_rejects")] {
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
    }
    tables
}

fn text(name: &TableName, table: Option<&Maintained>, executed: bool) -> String {
    let Some(table) = table else { return format!("{name}\n  isn't there yet\n") };
    let verb = |done: &'static str, planned: &'static str| if executed { done } else { planned };
    let snapshots = &table.snapshots;
    let all = output::number((snapshots.gone.len() + snapshots.stay) as u64);
    let expiry = match (snapshots.gone.first(), snapshots.gone.last()) {
        (Some((_, first)), Some((_, last))) => format!(
            "{} of {all} {}, made from {first} to {last}",
            output::number(snapshots.gone.len() as u64),
            verb("expired", "would expire")
        ),
        _ => format!("none of {all} {}", verb("expired", "would expire")),
    };
    let oldest = snapshots.oldest.map(|(id, made)| format!("; the oldest that stays is {id} of {made}"));
    let orphans = match table.orphans.count {
        0 => "none".to_owned(),
        count => format!(
            "{} ({}) {}, such as {}",
            output::count(count, "file", "files"),
            output::bytes(table.orphans.bytes),
            verb("removed", "would be removed"),
            table.orphans.examples.iter().cloned().collect::<Vec<_>>().join(", ")
        ),
    };
    let files = &table.files;
    let small = match files.files {
        0 => "none in a partition that can be rewritten".to_owned(),
        count => format!(
            "{} ({}) in {} {} {}",
            output::count(count as u64, "file", "files"),
            output::bytes(files.bytes),
            output::count(files.partitions as u64, "partition", "partitions"),
            verb("became", "would become about"),
            output::number(files.into)
        ),
    };
    let in_use =
        table.in_use.map(|since| format!("  in use       by a backfill since {since}: what it may need stays\n"));
    format!(
        "{name}\n  snapshots    {expiry}{}\n  orphans      {orphans}\n  small files  {small}\n{}",
        oldest.unwrap_or_default(),
        in_use.unwrap_or_default()
    )
}

/// What was done, as `--json` shows it.
#[derive(Serialize)]
struct Document {
    executed: bool,
    tables: Vec<TableDocument>,
}

#[derive(Serialize)]
struct TableDocument {
    table: String,
    exists: bool,
    in_use_since: Option<String>,
    snapshots: Option<SnapshotsDocument>,
    orphans: Option<OrphansDocument>,
    small_files: Option<FilesDocument>,
}

#[derive(Serialize)]
struct SnapshotsDocument {
    expired: Vec<SnapshotDocument>,
    stay: usize,
    oldest: Option<SnapshotDocument>,
}

#[derive(Serialize)]
struct SnapshotDocument {
    id: i64,
    made: String,
}

#[derive(Serialize)]
struct OrphansDocument {
    files: u64,
    bytes: u64,
    examples: Vec<String>,
}

#[derive(Serialize)]
struct FilesDocument {
    partitions: usize,
    files: usize,
    bytes: u64,
    into: u64,
    partitions_left: usize,
}

impl Document {
    fn new(executed: bool, done: &[(TableName, Option<Maintained>)]) -> Document {
        let snapshot = |&(id, made): &(i64, EventTime)| SnapshotDocument { id, made: made.to_string() };
        let tables = done.iter().map(|(name, table)| TableDocument {
            table: name.to_string(),
            exists: table.is_some(),
            in_use_since: table.as_ref().and_then(|table| table.in_use).map(|since| since.to_string()),
            snapshots: table.as_ref().map(|table| SnapshotsDocument {
                expired: table.snapshots.gone.iter().map(snapshot).collect(),
                stay: table.snapshots.stay,
                oldest: table.snapshots.oldest.as_ref().map(snapshot),
            }),
            orphans: table.as_ref().map(|table| OrphansDocument {
                files: table.orphans.count,
                bytes: table.orphans.bytes,
                examples: table.orphans.examples.iter().cloned().collect(),
            }),
            small_files: table.as_ref().map(|table| FilesDocument {
                partitions: table.files.partitions,
                files: table.files.files,
                bytes: table.files.bytes,
                into: table.files.into,
                partitions_left: table.files.left,
            }),
        });
        Document { executed, tables: tables.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_job_file_or_a_table() {
        let parse = |text: &str| text.parse::<MaintainTarget>();
        assert_eq!(parse("jobs/hits.sql"), Ok(MaintainTarget::Job("jobs/hits.sql".into())));
        let table = TableName::parse("marts.hits").expect("a name");
        assert_eq!(parse("marts.hits"), Ok(MaintainTarget::Table(table)));
        for wrong in ["hits", "jobs/hits", "../a.b", "backfill/x.toml", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn orphans_are_a_day_old_at_least() {
        assert_eq!(orphan_age("3d").map(|age| age.0.as_secs()), Ok(3 * 86_400));
        assert!(orphan_age("23h").expect_err("too young").contains("1d or more"));
    }
}
