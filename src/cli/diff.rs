//! `kappa diff`: its arguments, and what they mean together.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::arguments::{OutputArgs, job_path};
use super::connect::open_project;
use super::exit::{Exit, Failure};
use super::progress::{ProgressMode, make_room};
use super::range::{Range, RangeArgs};
use super::terminal::Terminal;
use super::{connect, job, output};
use crate::diff::{self, DiffReport, Differing, InsertDiff, Kind};
use crate::event::EventTime;

/// Recomputes a range and compares it with what is published
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Recomputes a range from history and compares it with what is published.\n\n\
        Shows rows that are missing, extra or changed, and why: late, behind_watermark, or another version of the job. \
        Writes nothing. Exits 0 if there are no such rows, 4 if there are some.",
    after_long_help = "Examples:\n  \
        kappa diff jobs/page_hits.sql --from 2026-11-01 --to 2026-11-08\n  \
        kappa diff jobs/page_hits.sql --from now-1d --to now-1h --json"
)]
pub struct DiffArgs {
    /// The job's SQL file, such as jobs/page_hits.sql
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub range: RangeArgs,
    /// Treat the end of history as the end of the log: windows that are still open there are whole
    #[arg(long)]
    pub drain: bool,
    /// Show so many differing rows; all are counted
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// What a comparison is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiffOptions {
    /// The range of the result's time partition column.
    pub range: Range,
    /// The end of history is the end of the log.
    pub drain: bool,
    /// Differing rows to show.
    pub limit: usize,
}

impl DiffArgs {
    /// What the arguments mean together if it is `now` now.
    pub fn options(&self, now: EventTime, terminal: &Terminal) -> Result<DiffOptions, Failure> {
        Ok(DiffOptions { range: self.range.resolve(now, terminal)?, drain: self.drain, limit: self.limit })
    }

    /// Compares the range and shows what differs.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let project = open_project(&self.job, terminal)?;
        let plan = Arc::new(job::load(&self.job, terminal.colour)?);
        let clock = connect::clock();
        let options = self.options(clock.now(), terminal)?;
        let range = options.range.from..options.range.to;
        let driver = diff::DiffOptions {
            range: range.clone(),
            drain: options.drain,
            workers: project.run.workers,
            limit: options.limit,
            memory_max: connect::memory_max(&project),
        };
        let watch = connect::range_watch(clock.clone(), ProgressMode::choose(terminal, self.output.json));
        let report = connect::runtime()?.block_on(async {
            let catalog = connect::catalog(&project).await?;
            diff::diff(&plan, &catalog, &driver, &watch).await.map_err(Failure::from)
        });
        make_room();
        let report = report?;
        match self.output.json {
            true => terminal.json(&Document::new(&plan.name, &range, &report))?,
            false => terminal.data(&text(&report, &output::range(&range)))?,
        }
        if !report.is_equal() {
            terminal.note(
                "`kappa backfill run` over the partitions of the range publishes what history gives; `plan` shows it first",
            );
        }
        Ok(if report.is_equal() { Exit::Done } else { Exit::Unequal })
    }
}

fn text(report: &DiffReport, range: &str) -> String {
    let mut text = String::new();
    for insert in &report.inserts {
        let count = |kind| insert.counts.get(&kind).copied().unwrap_or(0);
        let (missing, extra, changed) = (count(Kind::Missing), count(Kind::Extra), count(Kind::Changed));
        let differing = missing + extra + changed;
        text += &format!(
            "{} over {range}: {}\n  {} published, {} recomputed: {} missing, {} extra, {} changed\n",
            insert.table,
            output::count(differing, "row differs", "rows differ"),
            output::number(insert.published),
            output::number(insert.recomputed),
            output::number(missing),
            output::number(extra),
            output::number(changed),
        );
        text += &reasons(insert, differing > 0);
        for row in &insert.rows {
            text += &row_text(row);
        }
        let shown = insert.rows.len() as u64;
        if shown < differing {
            text += &format!("  … and {} more; --limit shows them\n", output::number(differing - shown));
        }
    }
    text
}

/// Why rows may differ, as far as tables tell.
fn reasons(insert: &InsertDiff, differs: bool) -> String {
    let mut text = String::new();
    if insert.behind_watermark > 0 {
        let count = output::count(insert.behind_watermark, "record", "records");
        text += &format!(
            "  {count} came behind the watermark (behind_watermark) when it ran live: a backfill counts them\n"
        );
    }
    if let Some((from, to)) = insert.late_included.as_ref().filter(|_| differs) {
        text += &format!("  a backfill of [{from}, {to}) has counted late records (--late include)\n");
    }
    if let Some(version) = insert.other_version.as_ref().filter(|_| differs) {
        text += &format!("  published, in part at least, by another version of the job ({version})\n");
    }
    text
}

fn row_text(row: &Differing) -> String {
    let values = |values: &[(String, String)]| {
        let values: Vec<String> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        values.join("  ")
    };
    match row.kind {
        Kind::Missing => format!("  missing   {}\n", values(&row.recomputed)),
        Kind::Extra => format!("  extra     {}\n", values(&row.published)),
        Kind::Changed => {
            let pairs = row.published.iter().zip(&row.recomputed);
            let changes: Vec<String> = pairs
                .map(|((name, published), (_, recomputed))| match published == recomputed {
                    true => format!("{name}={published}"),
                    false => format!("{name}={published} -> {recomputed}"),
                })
                .collect();
            format!("  changed   {}\n", changes.join("  "))
        }
    }
}

/// A comparison, as `--json` shows it.
#[derive(Serialize)]
struct Document<'a> {
    job: &'a str,
    from: Option<String>,
    to: Option<String>,
    equal: bool,
    results: Vec<ResultDocument<'a>>,
}

#[derive(Serialize)]
struct ResultDocument<'a> {
    table: String,
    published: u64,
    recomputed: u64,
    missing: u64,
    extra: u64,
    changed: u64,
    behind_watermark: u64,
    other_version: Option<&'a str>,
    late_included: bool,
    rows: &'a [Differing],
}

impl<'a> Document<'a> {
    fn new(job: &'a str, range: &std::ops::Range<EventTime>, report: &'a DiffReport) -> Document<'a> {
        let results = report.inserts.iter().map(|insert| {
            let count = |kind| insert.counts.get(&kind).copied().unwrap_or(0);
            ResultDocument {
                table: insert.table.to_string(),
                published: insert.published,
                recomputed: insert.recomputed,
                missing: count(Kind::Missing),
                extra: count(Kind::Extra),
                changed: count(Kind::Changed),
                behind_watermark: insert.behind_watermark,
                other_version: insert.other_version.as_deref(),
                late_included: insert.late_included.is_some(),
                rows: &insert.rows,
            }
        });
        Document {
            job,
            from: output::time(range.start),
            to: output::time(range.end),
            equal: report.is_equal(),
            results: results.collect(),
        }
    }
}
