//! `kappa status`: its arguments, and how jobs and archives are shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::arguments::{OutputArgs, job_path};
use super::connect::open_project;
use super::exit::{Exit, Failure};
use super::job::JobFile;
use super::moving::unpublished;
use super::offsets::stream_of;
use super::terminal::Terminal;
use super::{connect, output};
use crate::checkpoints::{ARCHIVE, CheckpointStore, Gaps, checksum_text};
use crate::config::Project;
use crate::event::{EventTime, Stream, TableName};
use crate::iceberg::Catalog;
use crate::job::{Colour, Declaration, Plan};
use crate::status::{Asked, Holder, Newest, Running, Status, gaps, status};

/// Characters of a version that are shown: enough to tell the versions of one job apart.
const VERSION_CHARS: usize = 8;

/// Shows which jobs and archives run, where, and how far they are
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Shows which jobs and archives run, where, and how far they are.\n\n\
        Without a JOB it shows all that ever ran with this state.location. It reads checkpoints and claims, and asks the \
        broker for the ends of the topics and the result tables for windows that nobody has published; it says so when a \
        broker or the catalog doesn't answer, which is no error.",
    after_long_help = "Examples:\n  \
        kappa status                          all jobs and archives\n  \
        kappa status jobs/page_hits.sql       one job and the archives of its streams\n  \
        kappa status --json | jq '.[] | select(.running == false) | .owner'"
)]
pub struct StatusArgs {
    /// The jobs' SQL files, such as jobs/page_hits.sql [default: all jobs and archives]
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub jobs: Vec<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// A job or an archive, and what is known of it beside its checkpoints.
struct Subject {
    owner: String,
    /// The job and its file, as the user would name it.
    job: Option<(Plan, PathBuf)>,
}

impl StatusArgs {
    /// Shows how they stand.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let first = self.jobs.first().map_or(Path::new("."), PathBuf::as_path);
        let project = open_project(first, terminal)?;
        let now = connect::clock().now();
        let found = connect::runtime()?.block_on(async {
            let (mut found, mut catalog) = (Vec::new(), None);
            for subject in self.subjects(&project).await? {
                let store = connect::checkpoints(&project, &subject.owner)?;
                let streams = match &subject.job {
                    None => archived_streams(&store).await?,
                    Some((plan, _)) => plan.streams.clone(),
                };
                let logs = connect::logs(&project, &subject.owner);
                let mut status = status(&store, &streams, &logs, now).await.map_err(Failure::from)?;
                if status.newest.as_ref().is_some_and(|newest| !newest.inserts.is_empty()) {
                    status.gaps = asked_for_gaps(&project, &mut catalog, &status).await;
                }
                found.push((subject, status));
            }
            Ok::<_, Failure>(found)
        })?;
        if self.output.json {
            let documents: Vec<Document> =
                found.iter().map(|(subject, status)| Document::new(subject, status)).collect();
            terminal.json(&documents)?;
        } else if found.is_empty() {
            terminal.data(&format!("nothing has run yet with state.location {}\n", project.state.location))?;
        } else {
            let blocks: Vec<String> = found.iter().map(|(subject, status)| text(subject, status, now)).collect();
            terminal.data(&blocks.join("\n"))?;
        }
        Ok(Exit::Done)
    }

    /// The jobs that were named and the archives of their streams; else all that there are, with the job files that can be
    /// found.
    async fn subjects(&self, project: &Project) -> Result<Vec<Subject>, Failure> {
        let mut subjects = Vec::new();
        for path in &self.jobs {
            let job = JobFile::read(path).map_err(|error| Failure::Invalid(error.render(Colour::Plain)))?;
            let subject = subject_of(job);
            let streams = subject.job.iter().flat_map(|(plan, _)| &plan.streams);
            let histories = streams.filter_map(|stream| stream.history.clone());
            let archives: Vec<String> = histories.map(|history| crate::archive::owner(&history)).collect();
            subjects.push(subject);
            subjects.extend(archives.into_iter().map(unknown));
        }
        let owners = connect::checkpoints(project, "status")?.owners().await.map_err(Failure::from)?;
        if !self.jobs.is_empty() {
            // An archive that never ran is nothing to look at.
            subjects.retain(|subject| !subject.owner.starts_with(ARCHIVE) || owners.contains(&subject.owner));
            return Ok(subjects);
        }
        Ok(owners.into_iter().map(|owner| job_of(project, &owner).map_or(unknown(owner), subject_of)).collect())
    }
}

fn unknown(owner: String) -> Subject {
    Subject { owner, job: None }
}

/// What a job file says, as far as it can be understood.
fn subject_of(job: JobFile) -> Subject {
    match job.compile() {
        Ok(plan) => Subject { owner: plan.name.clone(), job: Some((plan, short(job.path))) },
        Err(_) => unknown(job.name),
    }
}

/// A path from the current folder on, if it lies below.
fn short(path: PathBuf) -> PathBuf {
    let here = std::env::current_dir().and_then(|folder| folder.canonicalize());
    let below = here.ok().and_then(|here| path.canonicalize().ok()?.strip_prefix(here).map(Path::to_owned).ok());
    below.unwrap_or(path)
}

/// A failure without what is said of exit codes.
fn first_line(failure: &Failure) -> String {
    let text = failure.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// What the result tables say, by a catalog that is opened once and only for those who need it.
async fn asked_for_gaps(
    project: &Project,
    catalog: &mut Option<Result<Catalog, String>>,
    status: &Status,
) -> Asked<BTreeMap<TableName, Gaps>> {
    if catalog.is_none() {
        *catalog = Some(match connect::catalog_is_new(project) {
            true => Err("the catalog's file isn't there".to_owned()),
            false => connect::catalog(project).await.map_err(|failure| first_line(&failure)),
        });
    }
    match catalog.as_ref().expect("it was just opened") {
        Ok(catalog) => gaps(catalog, status).await,
        Err(error) => Asked::Silent(error.clone()),
    }
}

/// The file of a job that is known by its name only: in `jobs/`, or in the project folder.
fn job_of(project: &Project, owner: &str) -> Option<JobFile> {
    let folders = [project.root.join("jobs"), project.root.clone()];
    folders.iter().find_map(|folder| JobFile::read(&folder.join(format!("{owner}.sql"))).ok())
}

/// As much of an archive's stream as is needed to ask its log: its checkpoint knows the declaration.
async fn archived_streams(store: &CheckpointStore) -> Result<Vec<Arc<Stream>>, Failure> {
    let Some(manifest) = store.newest().await.map_err(Failure::from)?.manifest else { return Ok(Vec::new()) };
    let Ok(declaration) = Declaration::parse(&manifest.fingerprint) else { return Ok(Vec::new()) };
    let Some(history) = store.owner().strip_prefix(ARCHIVE).and_then(TableName::parse) else { return Ok(Vec::new()) };
    let streams = manifest.streams.into_keys();
    Ok(streams.map(|name| Arc::new(stream_of(&declaration, Some(name), &history))).collect())
}

fn text(subject: &Subject, status: &Status, now: EventTime) -> String {
    let mut text = format!("{}: {}\n", title(&status.owner), running(&status.running));
    let Some(newest) = &status.newest else { return text + "  no checkpoint yet\n" };
    let age = newest.written.map_or_else(String::new, |written| {
        let micros = now.0.saturating_sub(written.0);
        format!(", {} old", output::duration(Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
    });
    let generation = status.generation.unwrap_or(newest.id.generation);
    text += &format!("  generation {generation}, checkpoint {}{age}\n", newest.id);
    text += &format!("  version {}{}\n", version(newest), changed(subject, newest));
    text += &match (newest.finished, newest.frontier) {
        (true, _) => "  finished: everything is published\n".to_owned(),
        (false, EventTime::MIN) => "  no watermark yet\n".to_owned(),
        (false, frontier) if status.owner.starts_with(ARCHIVE) => {
            format!("  watermark {frontier}: history is complete below it\n")
        }
        (false, frontier) => format!("  frontier {frontier}: windows that ended by then are published\n"),
    };
    if let Some(holder) = &status.holder {
        text += &held(holder, marker(subject, newest, &holder.stream).as_deref());
    }
    text += &streams(status);
    if !newest.inserts.is_empty() {
        text += &inserts(newest);
        text += &not_published(subject, status);
    }
    text
}

/// Which partition holds the watermark back, and where only records with `marker` move it, what the newest one has said: a
/// partition can be full of records that don't.
fn held(holder: &Holder, marker: Option<&str>) -> String {
    let Holder { stream, partition, seen } = holder;
    let held = format!("  the watermark is held by partition {partition} of {stream}");
    match (marker, seen) {
        (None, _) => held + "\n",
        (Some(marker), Some(seen)) => {
            format!("{held}, where only records with {marker} move it: the newest of them is of {seen}\n")
        }
        (Some(marker), None) => format!("{held}, where only records with {marker} move it: there has been none yet\n"),
    }
}

/// WHEN of a stream, as far as it is known: an archive's checkpoint knows the declaration.
fn marker(subject: &Subject, newest: &Newest, stream: &str) -> Option<String> {
    match &subject.job {
        Some((plan, _)) => {
            let stream = plan.streams.iter().find(|known| known.name == stream)?;
            stream.marker.as_ref().map(|marker| marker.sql.clone())
        }
        None => Declaration::parse(&newest.fingerprint).ok()?.marker,
    }
}

fn streams(status: &Status) -> String {
    let mut table = output::Table::new(&[
        output::Column::Text("stream"),
        output::Column::Number("taken"),
        output::Column::Number("rejected"),
        output::Column::Number("lag"),
    ]);
    let mut silent = String::new();
    for stream in &status.streams {
        let lag = match &stream.lag {
            Asked::Told(Some(lag)) => output::number(*lag),
            Asked::Told(None) | Asked::Unasked => "-".to_owned(),
            Asked::Silent(error) => {
                silent += &format!("  {error}\n");
                "broker doesn't answer".to_owned()
            }
        };
        table.row([stream.name.clone(), output::number(stream.taken), output::number(stream.rejected), lag]);
    }
    indented(&table) + &silent
}

fn inserts(newest: &Newest) -> String {
    let mut table = output::Table::new(&[
        output::Column::Text("result"),
        output::Column::Number("late"),
        output::Column::Text("sealed edge"),
        output::Column::Text("publishes again"),
    ]);
    for insert in &newest.inserts {
        let sealed = output::time(insert.sealed_edge).unwrap_or_else(|| "-".to_owned());
        let again = insert.republish.map_or_else(|| "-".to_owned(), |range| output::range(&(range.from..range.to)));
        let late: u64 = insert.late.values().sum();
        table.row([insert.table.to_string(), output::number(late), sealed, again]);
    }
    indented(&table)
}

/// Windows that nobody has published, and the way out.
fn not_published(subject: &Subject, status: &Status) -> String {
    let gaps = match &status.gaps {
        Asked::Told(gaps) => gaps,
        Asked::Silent(error) => return format!("  whether all windows are published isn't known: {error}\n"),
        Asked::Unasked => return String::new(),
    };
    let job = subject.job.as_ref().map(|(plan, path)| (plan, path.as_path()));
    unpublished(job, gaps.iter()).iter().map(|line| format!("  {line}\n")).collect()
}

fn indented(table: &output::Table) -> String {
    table.to_string().lines().map(|line| format!("  {line}\n")).collect()
}

fn title(owner: &str) -> String {
    match owner.strip_prefix(ARCHIVE) {
        Some(history) => format!("archive of {history}"),
        None => format!("job {owner}"),
    }
}

fn running(running: &Running) -> String {
    match running {
        Running::Yes(claim) => {
            let listens =
                claim.listens.as_ref().map_or_else(String::new, |listens| format!(", listening at {listens}"));
            format!("running, {claim}{listens}")
        }
        Running::Stopped(at) => format!("stopped at {}", EventTime(at.0 - at.0.rem_euclid(1_000_000))),
        Running::Lost(claim) => format!("not running: {claim} is gone, or hasn't been heard of for a while"),
        Running::Unknown => "not running".to_owned(),
    }
}

/// An archive's version is its declaration, which is long.
fn version(newest: &Newest) -> String {
    let is_hash = newest.fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hash = if is_hash { newest.fingerprint.clone() } else { checksum_text(newest.fingerprint.as_bytes()) };
    hash.chars().take(VERSION_CHARS).collect()
}

fn changed(subject: &Subject, newest: &Newest) -> &'static str {
    match &subject.job {
        Some((plan, _)) if plan.fingerprint != newest.fingerprint => "; the job file is of another one (run --upgrade)",
        _ => "",
    }
}

/// How one owner stands, as `--json` shows it.
#[derive(Serialize)]
struct Document<'a> {
    owner: &'a str,
    kind: &'static str,
    running: bool,
    state: &'static str,
    host: Option<&'a str>,
    pid: Option<u32>,
    since: Option<String>,
    listens: Option<&'a str>,
    generation: Option<u64>,
    checkpoint: Option<String>,
    checkpoint_time: Option<String>,
    version: Option<String>,
    file_has_other_version: bool,
    finished: bool,
    frontier: Option<String>,
    holder: Option<HolderDocument<'a>>,
    streams: Vec<StreamDocument<'a>>,
    results: Vec<ResultDocument>,
}

#[derive(Serialize)]
struct HolderDocument<'a> {
    stream: &'a str,
    partition: i32,
    /// Where only marker records move the watermark.
    #[serde(skip_serializing_if = "Option::is_none")]
    markers: Option<MarkersDocument>,
}

#[derive(Serialize)]
struct MarkersDocument {
    /// What they are told by.
    condition: String,
    /// Time of the newest; `None`: there has been none.
    newest: Option<String>,
}

#[derive(Serialize)]
struct StreamDocument<'a> {
    stream: &'a str,
    taken: u64,
    rejected: u64,
    lag: Option<u64>,
    lag_error: Option<&'a str>,
}

#[derive(Serialize)]
struct ResultDocument {
    table: String,
    late: u64,
    sealed_edge: Option<String>,
    republish_from: Option<String>,
    republish_to: Option<String>,
    /// `None`: the table wasn't asked, or didn't answer.
    nobody_publishes: Option<Vec<RangeDocument>>,
}

#[derive(Serialize)]
struct RangeDocument {
    from: Option<String>,
    to: Option<String>,
}

/// Windows of a result that nobody has published.
fn gap_documents(status: &Status, table: &TableName) -> Option<Vec<RangeDocument>> {
    let Asked::Told(gaps) = &status.gaps else { return None };
    let ranges = gaps.get(table).into_iter().flat_map(Gaps::iter);
    Some(ranges.map(|gap| RangeDocument { from: output::time(gap.start), to: output::time(gap.end) }).collect())
}

impl<'a> Document<'a> {
    fn new(subject: &Subject, status: &'a Status) -> Document<'a> {
        let (state, claim) = match &status.running {
            Running::Yes(claim) => ("running", Some(claim)),
            Running::Lost(claim) => ("lost", Some(claim)),
            Running::Stopped(_) => ("stopped", None),
            Running::Unknown => ("unknown", None),
        };
        let newest = status.newest.as_ref();
        let streams = status.streams.iter().map(|stream| StreamDocument {
            stream: &stream.name,
            taken: stream.taken,
            rejected: stream.rejected,
            lag: if let Asked::Told(lag) = stream.lag { lag } else { None },
            lag_error: if let Asked::Silent(error) = &stream.lag { Some(error) } else { None },
        });
        let results = newest.iter().flat_map(|newest| &newest.inserts).map(|insert| ResultDocument {
            table: insert.table.to_string(),
            late: insert.late.values().sum(),
            sealed_edge: output::time(insert.sealed_edge),
            republish_from: insert.republish.and_then(|range| output::time(range.from)),
            republish_to: insert.republish.and_then(|range| output::time(range.to)),
            nobody_publishes: gap_documents(status, &insert.table),
        });
        Document {
            owner: &status.owner,
            kind: if status.owner.starts_with(ARCHIVE) { "archive" } else { "job" },
            running: matches!(status.running, Running::Yes(_)),
            state,
            host: claim.map(|claim| claim.process.host.as_str()),
            pid: claim.map(|claim| claim.process.pid),
            since: claim.and_then(|claim| output::time(claim.since)),
            listens: claim.and_then(|claim| claim.listens.as_deref()),
            generation: status.generation.map(|generation| generation.0),
            checkpoint: newest.map(|newest| newest.id.to_string()),
            checkpoint_time: newest.and_then(|newest| newest.written).and_then(output::time),
            version: newest.map(version),
            file_has_other_version: newest.is_some_and(|newest| !changed(subject, newest).is_empty()),
            finished: newest.is_some_and(|newest| newest.finished),
            frontier: newest.and_then(|newest| output::time(newest.frontier)),
            holder: status.holder.as_ref().map(|holder| HolderDocument {
                stream: &holder.stream,
                partition: holder.partition,
                markers: newest
                    .and_then(|newest| marker(subject, newest, &holder.stream))
                    .map(|condition| MarkersDocument { condition, newest: holder.seen.and_then(output::time) }),
            }),
            streams: streams.collect(),
            results: results.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_marker_is_told_what_it_is_and_when_there_was_one() {
        let holder = |seen| Holder { stream: "meters".to_owned(), partition: 2, seen };
        let told = |seen, marker| held(&holder(seen), marker);
        let noon = Some(EventTime(1_767_268_800_000_000));
        assert_eq!(told(noon, None), "  the watermark is held by partition 2 of meters\n");
        assert_eq!(
            told(noon, Some("kind = 'tick'")),
            "  the watermark is held by partition 2 of meters, where only records with kind = 'tick' move it: the newest of them \
             is of 2026-01-01T12:00:00Z\n"
        );
        assert_eq!(
            told(None, Some("kind = 'tick'")),
            "  the watermark is held by partition 2 of meters, where only records with kind = 'tick' move it: there has been none \
             yet\n"
        );
    }
}
