//! `kappa validate --connect`: what a preflight found, in lines and as JSON, and how it ends.

use std::path::Path;

use serde::Serialize;

use crate::cli::exit::{Exit, Failure, with_causes};
use crate::cli::terminal::Terminal;
use crate::cli::{connect, output};
use crate::config::{CatalogKind, Project};
use crate::event::EventTime;
use crate::job::Plan;
use crate::preflight::{self, CatalogLook, Found, LogLook, Preflight, RejectExample, Role, TableLook};

/// What was found of one job, and all that is wrong.
pub struct Connected {
    found: Preflight,
    failures: Vec<Failure>,
}

impl Connected {
    /// Looks at everything that a run of `plan` would meet.
    pub fn look(plan: &Plan, project: &Project) -> Result<Connected, Failure> {
        let mut failures = Vec::new();
        let state_folder = &project.state.location;
        let warehouse_folder = project.catalog.warehouse.as_ref().filter(|_| project.catalog.kind == CatalogKind::Sql);
        let made = Unmade::before([Some(state_folder), warehouse_folder].into_iter().flatten());
        let found = connect::runtime()?.block_on(async {
            let catalog = match connect::catalog_is_new(project) {
                true => CatalogLook::New,
                false => match connect::catalog(project).await {
                    Ok(catalog) => CatalogLook::Open(catalog),
                    Err(failure) => {
                        failures.push(failure);
                        CatalogLook::Closed
                    }
                },
            };
            let state = connect::state(project).map_err(|failure| failures.push(failure)).ok();
            let warehouse = connect::warehouse(project).map_err(|failure| failures.push(failure)).ok().flatten();
            let setup = preflight::Setup {
                catalog,
                state,
                warehouse,
                logs: connect::logs(project, &plan.name),
                clock: connect::clock(),
                rejects_max_millionths: project.run.rejects_max.millionths(),
            };
            preflight::check(plan, &setup).await
        });
        drop(made);
        let Preflight { problems, .. } = found;
        failures.extend(problems.into_iter().map(Failure::from));
        Ok(Connected { found: Preflight { problems: Vec::new(), ..found }, failures })
    }

    /// How many things are wrong.
    pub fn problems(&self) -> usize {
        self.failures.len()
    }

    /// Something is wrong, or couldn't be reached; the first counts more, as trying again doesn't mend it.
    pub fn exit(&self) -> Exit {
        match self.failures.iter().any(|failure| !matches!(failure, Failure::Running(_))) {
            true => Exit::Invalid,
            false if self.failures.is_empty() => Exit::Done,
            false => Exit::Failed,
        }
    }

    /// Says all that is wrong.
    pub fn complain(&self, terminal: &Terminal) {
        for failure in &self.failures {
            terminal.error(&message(failure));
        }
    }

    /// What was found, in lines.
    pub fn text(&self, plan: &Plan, project: &Project) -> String {
        let Preflight { logs, tables, state_writable, warehouse_writable, checkpoint, first_window, .. } = &self.found;
        let mut text = format!("{}:\n", plan.name);
        for look in logs {
            text += &log_text(look);
        }
        for look in tables {
            text += &format!("  {}\n", table_text(look));
        }
        if let (Some(true), Some(location)) = (warehouse_writable, &project.catalog.warehouse) {
            text += &format!("  warehouse {location}: takes files (tried with one, which is gone again)\n");
        }
        if *state_writable {
            let location = &project.state.location;
            text += &format!("  state {location}: takes files, and none twice (tried with one, which is gone again)\n");
        }
        match (checkpoint, first_window) {
            (Some((id, EventTime::MAX)), _) => text += &format!("  `run` finds the job finished: checkpoint {id}\n"),
            (Some((id, EventTime::MIN)), _) => {
                text += &format!("  `run` goes on from checkpoint {id}, which has no watermark yet\n");
            }
            (Some((id, watermark)), _) => {
                text += &format!("  `run` goes on from checkpoint {id}, with windows that end after {watermark}\n");
            }
            (None, Some(Ok(EventTime::MIN))) => text += "  `run` begins with the first window of the log\n",
            (None, Some(Ok(first))) => text += &format!("  `run` begins with the window of {first}\n"),
            (None, Some(Err(error))) => text += &format!("  `run` needs --start TIME, or more: {error}\n"),
            (None, None) => {}
        }
        text
    }

    /// What was found, as `--json` shows it.
    pub fn document(&self) -> ConnectedDocument {
        let Preflight { logs, tables, state_writable, warehouse_writable, checkpoint, first_window, .. } = &self.found;
        ConnectedDocument {
            logs: logs.iter().map(LogDocument::new).collect(),
            tables: tables.iter().map(TableDocument::new).collect(),
            state_writable: *state_writable,
            warehouse_writable: *warehouse_writable,
            checkpoint: checkpoint.map(|(id, _)| id.to_string()),
            watermark: checkpoint.and_then(|(_, watermark)| output::time(watermark)),
            first_window: first_window.as_ref().and_then(|first| output::time(*first.as_ref().ok()?)),
            needs_start: first_window.as_ref().is_some_and(Result::is_err),
            problems: self.failures.iter().map(|failure| terminal_free(&message(failure))).collect(),
        }
    }
}

/// Without what only stands before it at a terminal.
fn terminal_free(message: &str) -> String {
    crate::cli::redact::hide(message.trim_start_matches("error: ")).into_owned()
}

/// The failure without what is said of exit codes: this command has its own.
fn message(failure: &Failure) -> String {
    match failure {
        Failure::Person(error) => format!("error: {}", with_causes(error)),
        other => other.to_string(),
    }
}

/// Folders that aren't there yet: opening what is in them makes them, and dropping this removes them while they are empty.
struct Unmade(Vec<std::path::PathBuf>);

impl Unmade {
    fn before<'a>(locations: impl Iterator<Item = &'a String>) -> Unmade {
        let folders = locations.map(Path::new).filter(|folder| folder.is_absolute());
        let missing = folders.flat_map(|folder| folder.ancestors().take_while(|above| !above.exists()));
        let mut missing: Vec<_> = missing.map(Path::to_owned).collect();
        // The innermost first.
        missing.sort_by_key(|folder| (std::cmp::Reverse(folder.components().count()), folder.clone()));
        missing.dedup();
        Unmade(missing)
    }
}

impl Drop for Unmade {
    fn drop(&mut self) {
        for folder in &self.0 {
            // Something else has put a file there meanwhile: then it stays, and so do those above it.
            if let Err(error) = std::fs::remove_dir(folder) {
                tracing::debug!(folder = %folder.display(), %error, "a folder that was made to look at it stays");
            }
        }
    }
}

fn log_text(look: &LogLook) -> String {
    let partitions = output::count(look.partitions.len() as u64, "partition", "partitions");
    let is_file = look.partitions.values().any(|look| look.facts.high.0 == i64::MAX);
    let mut text = match is_file {
        true => format!("  {} ({})\n", look.log, look.stream),
        false => {
            let records: i64 = look.partitions.values().map(|look| look.facts.high.0 - look.facts.low.0).sum();
            let offsets = output::count(records.unsigned_abs(), "offset", "offsets");
            let first = look.partitions.values().filter_map(|look| look.first).min();
            let last = look.partitions.values().filter_map(|look| look.last).max();
            let span = match (first, last) {
                (Some(first), Some(last)) => format!(", written from {first} to {last}"),
                _ => String::new(),
            };
            format!("  {} ({}): {partitions}, {offsets}{span}\n", look.log, look.stream)
        }
    };
    let sample = &look.sample;
    let all = output::count(sample.decoded + sample.rejected_total(), "record", "records");
    let which = if is_file { "first" } else { "newest" };
    text += &format!("    the {which} {all}: {} decoded", output::number(sample.decoded));
    let reasons =
        sample.rejected.iter().map(|(reason, count)| format!(", {} rejected as {reason}", output::number(*count)));
    text += &reasons.collect::<String>();
    if let Some((from, to)) = sample.event_times {
        text += &format!("; event times from {from} to {to}");
    }
    text.push('\n');
    for RejectExample { partition, offset, reason, detail, raw } in &sample.examples {
        text += &format!("    rejected {partition}:{offset} as {reason}: {detail}: {raw}\n");
    }
    text
}

fn table_text(look: &TableLook) -> String {
    let TableLook { table, role, found, writable } = look;
    let what = match role {
        Role::Result => "result",
        Role::Shared => "late or rejected records",
        Role::History => "history",
    };
    let state = match (found, role) {
        (Found::Unknown, _) => "not known, as the catalog didn't answer".to_owned(),
        (Found::Missing, Role::History) => "isn't there; `kappa archive` makes it".to_owned(),
        (Found::Missing, _) => "isn't there; `kappa run` makes it".to_owned(),
        (Found::There { owner, sealed_edge }, _) => {
            let owner = owner.as_ref().map(|owner| format!(", of job {owner}")).unwrap_or_default();
            let sealed = sealed_edge.map(|edge| format!(", sealed up to {edge}")).unwrap_or_default();
            let rights = if *writable == Some(true) { "; takes files and commits (tried)" } else { "" };
            format!("is there{owner}{sealed}{rights}")
        }
    };
    format!("table {table} ({what}): {state}")
}

/// What was found of one job, as `--json` shows it.
#[derive(Debug, Serialize)]
pub struct ConnectedDocument {
    logs: Vec<LogDocument>,
    tables: Vec<TableDocument>,
    state_writable: bool,
    warehouse_writable: Option<bool>,
    checkpoint: Option<String>,
    watermark: Option<String>,
    first_window: Option<String>,
    needs_start: bool,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LogDocument {
    stream: String,
    log: String,
    partitions: Vec<PartitionDocument>,
    decoded: u64,
    rejected: std::collections::BTreeMap<&'static str, u64>,
    examples: Vec<ExampleDocument>,
    event_time_min: Option<String>,
    event_time_max: Option<String>,
}

#[derive(Debug, Serialize)]
struct PartitionDocument {
    partition: i32,
    start: i64,
    end: Option<i64>,
    first_timestamp: Option<String>,
    last_timestamp: Option<String>,
}

#[derive(Debug, Serialize)]
struct ExampleDocument {
    partition: i32,
    offset: i64,
    reason: &'static str,
    detail: String,
    raw: String,
}

#[derive(Debug, Serialize)]
struct TableDocument {
    table: String,
    role: &'static str,
    found: &'static str,
    owner: Option<String>,
    sealed_edge: Option<String>,
    writable: Option<bool>,
}

impl LogDocument {
    fn new(look: &LogLook) -> LogDocument {
        let partitions = look.partitions.iter().map(|(&partition, look)| PartitionDocument {
            partition,
            start: look.facts.low.0,
            end: (look.facts.high.0 != i64::MAX).then_some(look.facts.high.0),
            first_timestamp: look.first.and_then(output::time),
            last_timestamp: look.last.and_then(output::time),
        });
        let examples = look.sample.examples.iter().cloned().map(|example| {
            let RejectExample { partition, offset, reason, detail, raw } = example;
            ExampleDocument { partition, offset, reason, detail, raw }
        });
        let times = look.sample.event_times;
        LogDocument {
            stream: look.stream.clone(),
            log: look.log.clone(),
            partitions: partitions.collect(),
            decoded: look.sample.decoded,
            rejected: look.sample.rejected.clone(),
            examples: examples.collect(),
            event_time_min: times.and_then(|(from, _)| output::time(from)),
            event_time_max: times.and_then(|(_, to)| output::time(to)),
        }
    }
}

impl TableDocument {
    fn new(look: &TableLook) -> TableDocument {
        let role = match look.role {
            Role::Result => "result",
            Role::Shared => "shared",
            Role::History => "history",
        };
        let (found, owner, sealed_edge) = match &look.found {
            Found::Unknown => ("unknown", None, None),
            Found::Missing => ("missing", None, None),
            Found::There { owner, sealed_edge } => ("there", owner.clone(), sealed_edge.and_then(output::time)),
        };
        let (table, writable) = (look.table.to_string(), look.writable);
        TableDocument { table, role, found, owner, sealed_edge, writable }
    }
}
