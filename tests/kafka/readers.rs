//! Independent readers: pyiceberg and DuckDB find the same in every table that a job writes, and nothing that shouldn't be
//! there (see `tests/readers/pyiceberg_read.py` for what is looked at in each file).

use crate::replay::{Case, Deployed};
use crate::support::project::Catalog;
use crate::support::python::{duckdb, sound_tables};

#[test]
fn pyiceberg_and_duckdb_read_the_same_rows_of_every_table() {
    for catalog in [Catalog::Sql, Catalog::Rest] {
        let deployed = Deployed::new(Case::steady(5, 2_000), catalog);
        let project = &deployed.project;
        project.kappa(&["run", "jobs/live.sql", "--until", "end", "--drain"]).ok();
        project.kappa(&["archive", "jobs/live.sql", "--until", "end"]).ok();
        let names = ["live", "live_late", "history", "history_rejects"];
        let names = names.map(|table| format!("{}.{table}", project.namespace()));
        let tables = sound_tables(project, names.each_ref().map(String::as_str));
        let partitionings = tables.each_ref().map(|table| table.partitioning.join(", "));
        assert_eq!(partitionings, ["hour(window_start)", "result, hour(t)", "hour(t)", "day(_timestamp)"]);
        for (table, name) in tables.iter().zip(&names) {
            assert!(!table.rows().is_empty(), "{name} is empty");
            let mut from_duckdb = duckdb(project, &format!("SELECT * FROM {{{name}}}"));
            from_duckdb.sort();
            assert_eq!(from_duckdb, table.rows(), "{name}");
        }
    }
}

#[test]
fn a_reader_skips_files_by_partition_and_by_bounds() {
    let deployed = Deployed::new(Case::steady(6, 2_000), Catalog::Sql);
    let project = &deployed.project;
    project.kappa(&["archive", "jobs/live.sql", "--until", "end"]).ok();
    let history = format!("{}.history", project.namespace());
    let [table] = sound_tables(project, [&history]);
    assert!(table.files.len() > 1, "several partitions are needed");
    let count = |condition: &str| duckdb(project, &format!("SELECT count(*) FROM {{{history}}} WHERE {condition}"));
    let total = i64::try_from(table.rows().len()).expect("is small");
    assert_eq!(count("t < TIMESTAMPTZ '1800-01-01'"), [[0.into()]]);
    assert_eq!(count("_offset >= 0"), [[total.into()]]);
}
