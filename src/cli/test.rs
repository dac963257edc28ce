//! `kappa test`: its arguments, and what they mean together.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::arguments::OutputArgs;
use super::exit::{Exit, Failure};
use super::job::{JobFile, JobFileError};
use super::log::{self, Verbosity};
use super::terminal::Terminal;
use super::{connect, output};
use crate::config::LogFormat;
use crate::diff::Kind;
use crate::fixture::{
    Checked, Differing, FindError, Fixture, FixtureError, Folder, TableVerdict, Verdict, Written, find,
};

/// Runs jobs on the records of fixture folders and compares the rows
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Runs jobs on the records of fixture folders, and compares the rows with those that are expected.\n\n\
        A fixture is a folder with input.jsonl, the records, and expected.jsonl, the rows. It is of the job.sql in it, or of the \
        job that one of the folders in its path is named after: jobs/tests/page_hits, and all below it, of jobs/page_hits.sql.\n\n\
        The job runs live, with epochs of several sizes and on several workers, and from a history that was archived at once \
        and in parts. All of them must give the same rows, the expected ones. Everything is in memory: no Kafka, no tables, \
        no kappa.toml. Exits 0 if all fixtures pass, 4 if some don't, 3 if a job or a file can't be understood.\n\n\
        A line of an input is a message as it stands, on partition 0, or an object with \"_value\", the message, and any of \
        \"_partition\", \"_timestamp\", \"_key\", \"_headers\", \"_stream\"; input.<stream>.jsonl is of one stream. Late records \
        and rejects are expected in expected_late.jsonl and expected_rejects.jsonl; a file that isn't there expects none.",
    after_long_help = "Examples:\n  \
        kappa test\n  \
        kappa test jobs/tests/page_hits --bless\n  \
        kappa test jobs tests/semantics --json"
)]
pub struct TestArgs {
    /// Folders: fixtures, or with fixtures further down
    #[arg(value_name = "PATH", default_value = ".")]
    pub paths: Vec<PathBuf>,
    /// Write what comes out as what is expected, where all runs agree; look at the difference before you commit it
    #[arg(long)]
    pub bless: bool,
    /// Show so many differing rows; all are counted
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// What became of one folder.
enum Tested {
    /// Its job was run in every way.
    Checked { checked: Box<Checked>, verdict: Verdict, written: Vec<Written> },
    /// Its job stopped.
    Stopped(String),
    /// Its job or one of its files can't be understood; ready to print.
    Invalid(String),
}

impl TestArgs {
    /// Runs the fixtures and shows what differs.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        // What the runs log is of interest only to those who ask for it.
        if terminal.verbosity > Verbosity::Normal {
            log::start(LogFormat::Text, terminal.verbosity, terminal.colour);
        }
        let runtime = connect::runtime()?;
        let mut all = Vec::new();
        for folder in find(&self.paths)? {
            let tested = runtime.block_on(self.test(&folder, terminal));
            if let Tested::Invalid(message) = &tested {
                terminal.error(message);
            }
            if !self.output.json {
                terminal.data(&text(&folder, &tested))?;
            }
            all.push((folder, tested));
        }
        let count = |end: Exit| all.iter().filter(|(_, tested)| tested.exit() == end).count();
        let (passed, failed, invalid) = (count(Exit::Done), count(Exit::Unequal), count(Exit::Invalid));
        if self.output.json {
            let fixtures = all.iter().map(|(folder, tested)| FixtureDocument::new(folder, tested)).collect();
            terminal.json(&Document { passed: failed + invalid == 0, fixtures })?;
        } else if all.len() > 1 {
            let others = [(failed, "failed"), (invalid, "invalid")].into_iter().filter(|(count, _)| *count > 0);
            let others: String = others.map(|(count, what)| format!(", {} {what}", output::number(count))).collect();
            let fixtures = output::count(all.len(), "fixture", "fixtures");
            terminal.data(&format!("{fixtures}: {} passed{others}\n", output::number(passed)))?;
        }
        let differs = |tested: &Tested| matches!(tested, Tested::Checked { verdict: Verdict::Differs(_), .. });
        if all.iter().any(|(_, tested)| differs(tested)) {
            terminal.note("shown is expected -> given; where what is given is right, --bless writes it down");
        }
        Ok(match (invalid, failed) {
            (0, 0) => Exit::Done,
            (0, _) => Exit::Unequal,
            _ => Exit::Invalid,
        })
    }

    async fn test(&self, folder: &Folder, terminal: &Terminal) -> Tested {
        match self.check(folder).await {
            Ok((checked, verdict, written)) => Tested::Checked { checked: Box::new(checked), verdict, written },
            Err(Stop::Fixture(FixtureError::Run { run, source })) => Tested::Stopped(format!("{run}: {source}")),
            Err(Stop::Fixture(error)) => Tested::Invalid(format!("error: {error}")),
            Err(Stop::Job(error)) => Tested::Invalid(format!("{}\n", error.render(terminal.colour))),
        }
    }

    async fn check(&self, folder: &Folder) -> Result<(Checked, Verdict, Vec<Written>), Stop> {
        let plan = JobFile::read(folder.job()?).and_then(|file| file.compile())?;
        let checked = Fixture::read(folder, plan)?.run().await?;
        if !self.bless {
            let verdict = checked.verdict(self.limit)?;
            return Ok((checked, verdict, Vec::new()));
        }
        let written = checked.bless()?;
        let verdict = checked.verdict(self.limit)?;
        Ok((checked, verdict, written))
    }
}

/// Why a fixture has no verdict.
enum Stop {
    Fixture(FixtureError),
    Job(JobFileError),
}

impl From<FixtureError> for Stop {
    fn from(error: FixtureError) -> Stop {
        Stop::Fixture(error)
    }
}

impl From<JobFileError> for Stop {
    fn from(error: JobFileError) -> Stop {
        Stop::Job(error)
    }
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Failure {
        Failure::Usage(error.to_string())
    }
}

impl Tested {
    /// The exit code of this one alone.
    fn exit(&self) -> Exit {
        match self {
            Tested::Checked { verdict: Verdict::Passed, .. } => Exit::Done,
            Tested::Checked { .. } | Tested::Stopped(_) => Exit::Unequal,
            Tested::Invalid(_) => Exit::Invalid,
        }
    }
}

fn text(folder: &Folder, tested: &Tested) -> String {
    let path = folder.path.display();
    let (checked, verdict, written) = match tested {
        Tested::Checked { checked, verdict, written } => (checked, verdict, written),
        Tested::Stopped(message) => return format!("failed   {path}: {message}\n"),
        Tested::Invalid(_) => return format!("invalid  {path}\n"),
    };
    let given = given(checked);
    let mut text = match verdict {
        Verdict::Passed if written.is_empty() => format!("passed   {path}: {given}\n"),
        Verdict::Passed => format!("blessed  {path}: {given}\n"),
        Verdict::Unblessed => format!(
            "failed   {path}: {given}, and nothing says what is expected; `kappa test {path} --bless` writes that down\n"
        ),
        Verdict::Differs(_) => format!("failed   {path}: {given}\n"),
        Verdict::Disagrees(disagreement) => format!(
            "failed   {path}: two runs of the job give different rows, which must never be; it is a bug of kappa, please report \
             it with this folder\n  expected: {}\n  given:    {}\n",
            disagreement.left, disagreement.right
        ),
    };
    match verdict {
        Verdict::Passed | Verdict::Unblessed => {}
        Verdict::Differs(tables) => tables.iter().for_each(|table| text += &table_text(table)),
        Verdict::Disagrees(disagreement) => text += &table_text(&disagreement.table),
    }
    for Written { path, how } in written {
        text += &format!("  {how:<9}  {}\n", path.display());
    }
    text
}

/// What the records have become.
fn given(checked: &Checked) -> String {
    let (rows, late, rejected) = checked.counts();
    let rest = [(late, "late"), (rejected, "rejected")].into_iter().filter(|(count, _)| *count > 0);
    let rest: String = rest.map(|(count, what)| format!(", {} {what}", output::number(count))).collect();
    let (records, rows) = (output::count(checked.records(), "record", "records"), output::count(rows, "row", "rows"));
    format!("{records}, {rows}{rest}")
}

fn table_text(table: &TableVerdict) -> String {
    let count = |kind| table.counts.get(&kind).copied().unwrap_or(0);
    let (missing, extra, changed) = (count(Kind::Missing), count(Kind::Extra), count(Kind::Changed));
    let file = if table.is_there { table.file.clone() } else { format!("{}, which isn't there", table.file) };
    let mut text = format!(
        "  {} against {file}: {} missing, {} extra, {} changed\n",
        table.name,
        output::number(missing),
        output::number(extra),
        output::number(changed)
    );
    table.rows.iter().for_each(|row| text += &row_text(row));
    let (shown, all) = (table.rows.len() as u64, missing + extra + changed);
    if shown < all {
        text += &format!("    … and {} more; --limit shows them\n", output::number(all - shown));
    }
    text
}

/// A differing row; a changed one with `expected -> given` in the columns that have changed.
fn row_text(row: &Differing) -> String {
    let values = |values: &[(String, String)]| {
        let values: Vec<String> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        values.join("  ")
    };
    let mut text = match row.kind {
        Kind::Missing => format!("    missing  {}", values(&row.expected)),
        Kind::Extra => format!("    extra    {}", values(&row.actual)),
        Kind::Changed => {
            let pairs = row.expected.iter().zip(&row.actual);
            let changes: Vec<String> = pairs
                .map(|((name, expected), (_, actual))| match expected == actual {
                    true => format!("{name}={actual}"),
                    false => format!("{name}={expected} -> {actual}"),
                })
                .collect();
            format!("    changed  {}", changes.join("  "))
        }
    };
    text += &row.place.as_ref().map_or_else(String::new, |place| format!("  ({place})"));
    text += &row.detail.as_ref().map_or_else(String::new, |detail| format!("\n             {detail}"));
    text.push('\n');
    text
}

/// All fixtures, as `--json` shows them.
#[derive(Serialize)]
struct Document<'a> {
    passed: bool,
    fixtures: Vec<FixtureDocument<'a>>,
}

#[derive(Serialize)]
struct FixtureDocument<'a> {
    folder: String,
    job: Option<String>,
    /// `passed`, `failed` or `invalid`.
    verdict: &'static str,
    /// What is wrong, where that isn't a difference of rows.
    message: Option<String>,
    records: Option<usize>,
    rows: Option<usize>,
    late: Option<usize>,
    rejected: Option<usize>,
    /// Tables that differ.
    differences: Vec<TableDocument<'a>>,
    /// Files that `--bless` has written.
    written: Vec<WrittenDocument<'a>>,
}

#[derive(Serialize)]
struct TableDocument<'a> {
    file: &'a str,
    table: &'a str,
    missing: u64,
    extra: u64,
    changed: u64,
    rows: Vec<RowDocument<'a>>,
}

#[derive(Serialize)]
struct RowDocument<'a> {
    kind: Kind,
    #[serde(serialize_with = "as_object")]
    expected: &'a [(String, String)],
    #[serde(serialize_with = "as_object")]
    given: &'a [(String, String)],
    /// File and line of a late or rejected record.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct WrittenDocument<'a> {
    file: String,
    how: &'a str,
}

impl<'a> FixtureDocument<'a> {
    fn new(folder: &Folder, tested: &'a Tested) -> FixtureDocument<'a> {
        let verdict = match tested.exit() {
            Exit::Done => "passed",
            Exit::Invalid => "invalid",
            _ => "failed",
        };
        let mut document = FixtureDocument {
            folder: folder.path.display().to_string(),
            job: folder.job.as_ref().map(|job| job.display().to_string()),
            verdict,
            message: None,
            records: None,
            rows: None,
            late: None,
            rejected: None,
            differences: Vec::new(),
            written: Vec::new(),
        };
        let (checked, verdict, written) = match tested {
            Tested::Checked { checked, verdict, written } => (checked, verdict, written),
            Tested::Stopped(message) | Tested::Invalid(message) => {
                document.message = Some(message.trim_start_matches("error: ").trim_end().to_owned());
                return document;
            }
        };
        let (rows, late, rejected) = checked.counts();
        document.records = Some(checked.records());
        (document.rows, document.late, document.rejected) = (Some(rows), Some(late), Some(rejected));
        match verdict {
            Verdict::Passed => {}
            Verdict::Unblessed => document.message = Some("nothing says what is expected".to_owned()),
            Verdict::Differs(tables) => document.differences = tables.iter().map(TableDocument::new).collect(),
            Verdict::Disagrees(disagreement) => {
                let (left, right) = (&disagreement.left, &disagreement.right);
                document.message = Some(format!(
                    "two runs give different rows: expected are those of \"{left}\", given \
                                                 those of \"{right}\""
                ));
                document.differences = vec![TableDocument::new(&disagreement.table)];
            }
        }
        let written = written.iter();
        document.written =
            written.map(|Written { path, how }| WrittenDocument { file: path.display().to_string(), how }).collect();
        document
    }
}

impl<'a> TableDocument<'a> {
    fn new(table: &'a TableVerdict) -> TableDocument<'a> {
        let count = |kind| table.counts.get(&kind).copied().unwrap_or(0);
        let row = |row: &'a Differing| RowDocument {
            kind: row.kind,
            expected: &row.expected,
            given: &row.actual,
            place: row.place.as_deref(),
            detail: row.detail.as_deref(),
        };
        TableDocument {
            file: &table.file,
            table: &table.name,
            missing: count(Kind::Missing),
            extra: count(Kind::Extra),
            changed: count(Kind::Changed),
            rows: table.rows.iter().map(row).collect(),
        }
    }
}

/// A row as an object, in the order of its columns; null if there is none.
fn as_object<S: serde::Serializer>(row: &&[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    match row {
        [] => serializer.serialize_none(),
        row => serializer.collect_map(row.iter().map(|(name, value)| (name, value))),
    }
}
