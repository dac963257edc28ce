//! Random cases through the real broker and separate processes: live with restarts, and as a backfill from history, by
//! two job files that share everything but their result.

use super::{Case, Names, Observed, seeds};
use crate::model::Value;
use crate::support::kafka;
use crate::support::project::{Catalog, Project};
use crate::support::python::{Table, pyiceberg};

/// Cases of the suite.
const CASES: u64 = 50;

#[test]
fn live_and_backfill_processes_on_the_broker_give_the_rows_of_the_model() {
    for seed in seeds(1_000, CASES) {
        live_and_backfill_give_the_rows_of_the_model(seed);
    }
}

fn live_and_backfill_give_the_rows_of_the_model(seed: u64) {
    let case = Case::generate(seed);
    let catalog = if seed.is_multiple_of(4) { Catalog::Rest } else { Catalog::Sql };
    let deployed = Deployed::new(case, catalog);
    let workers = ["1", "2", "4"][usize::try_from(seed % 3).expect("is small")];

    // Stopped at the end of the log, and again with the end of all windows, by another number of workers.
    deployed.project.kappa(&["run", LIVE, "--until", "end", "--workers", workers]).ok();
    deployed.project.kappa(&["run", LIVE, "--until", "end", "--drain", "--workers", "2"]).ok();
    deployed.project.kappa(&["archive", LIVE, "--until", "end"]).ok();
    let [result, late, history, rejects] = deployed.tables("live");
    deployed.case.check("live", &deployed.observed(&result, &late, &history, &rejects, result.as_ref()));

    let Some((from, to)) = deployed.range() else { return };
    let range = ["--from", &from, "--to", &to, "--drain"];
    deployed.project.kappa(&[&["backfill", "run", BACKFILL][..], &range[..], &["--workers", workers]].concat()).ok();
    let [result, late, ..] = deployed.tables("backfill");
    deployed.case.check("backfill", &deployed.observed(&result, &late, &history, &rejects, None));

    deployed.project.kappa(&[&["diff", LIVE][..], &range[..]].concat()).ok();
}

const LIVE: &str = "jobs/live.sql";
const BACKFILL: &str = "jobs/backfill.sql";

/// A case with its topic filled and its job files written.
pub struct Deployed {
    /// The case.
    pub case: Case,
    /// Where it runs.
    pub project: Project,
}

impl Deployed {
    /// Fills every partition before anything runs, so that no record comes behind the watermark.
    pub fn new(case: Case, catalog: Catalog) -> Deployed {
        let project = Project::on_kafka(catalog, "rejects_max = \"100%\"");
        let topic = kafka::create_topic("replay", case.partitions.len());
        kafka::produce(&topic, &case.kafka_messages());
        for (file, result) in [(LIVE, "live"), (BACKFILL, "backfill")] {
            let history = Some("history");
            project.write(file, case.sql(&Names { topic: &topic, namespace: project.namespace(), result, history }));
        }
        Deployed { case, project }
    }

    /// Tables of a result: the result, its late records, the history, its rejects.
    pub fn tables(&self, result: &str) -> [Option<Table>; 4] {
        let name = |table: &str| format!("{}.{table}", self.project.namespace());
        let names = [result.to_owned(), format!("{result}_late"), "history".to_owned(), "history_rejects".to_owned()];
        let names = names.map(|table| name(&table));
        let tables = pyiceberg(&self.project, names.each_ref().map(String::as_str));
        for table in tables.iter().flatten() {
            assert!(table.problems.is_empty(), "seed {}: {:#?}", self.case.seed, table.problems);
        }
        tables
    }

    /// What tables say of the run. A table that would be empty may be missing.
    fn observed(
        &self,
        result: &Option<Table>,
        late: &Option<Table>,
        history: &Option<Table>,
        rejects: &Option<Table>,
        counted_in: Option<&Table>,
    ) -> Observed {
        let positions = |table: &Option<Table>| table.as_ref().map_or_else(Vec::new, Table::positions);
        let mut rejected = positions(rejects);
        if let (Some(history), Some(max_future)) = (history, self.case.stream.max_future) {
            rejected.extend(beyond_max_future(history, &self.case.stream.event_time, max_future));
        }
        Observed {
            rows: result.as_ref().map_or_else(Vec::new, Table::rows),
            late: positions(late),
            rejected,
            accepted: counted_in.and_then(|table| table.newest("kappa.accepted")),
        }
    }

    /// [`Case::range`].
    pub fn range(&self) -> Option<(String, String)> {
        self.case.range()
    }
}

/// Positions of the records in a history that its stream rejects by their time.
fn beyond_max_future(history: &Table, event_time: &str, max_future: i64) -> Vec<(i32, i64)> {
    let [time, timestamp] = [event_time, "_timestamp"].map(|column| history.index(column));
    let beyond = |row: &Vec<Value>| match (&row[time], &row[timestamp]) {
        (Value::Timestamp(time), Value::Timestamp(timestamp)) => *time > timestamp + max_future,
        _ => false,
    };
    let rows = history.rows();
    let positions = history.positions();
    rows.iter().zip(positions).filter(|(row, _)| beyond(row)).map(|(_, position)| position).collect()
}
