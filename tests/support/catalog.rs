//! A quick look at the tables of a project with a SQLite catalog while commands run, by our own catalog: when to act next.
//! What is right is for the independent readers to say.

use std::collections::HashMap;
use std::path::PathBuf;

use kappa::event::TableName;
use kappa::iceberg::{Catalog, CatalogConfig, ScanFilter, Table, plan_files};

use super::project::Project;

/// The properties of a table; none: it isn't there.
pub fn properties(project: &Project, table: &str) -> Option<HashMap<String, String>> {
    load(project, table).map(|table| table.properties().clone())
}

/// How many rows a table holds, as its newest snapshot says; 0 if it isn't there.
pub fn row_count(project: &Project, table: &str) -> u64 {
    let Some(table) = load(project, table) else { return 0 };
    let summary = table.current_snapshot_id().and_then(|snapshot| table.summary(snapshot));
    let total = summary.and_then(|summary| summary.get("total-records"));
    total.map_or(0, |total| total.parse().expect("the summary holds a number"))
}

/// The data files of a table's newest snapshot, in a local warehouse; none: it isn't there.
pub fn data_files(project: &Project, table: &str) -> Vec<PathBuf> {
    let Some(table) = load(project, table) else { return Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let files = runtime.block_on(plan_files(&table, None, &ScanFilter::default())).expect("metadata can be read");
    files.iter().map(|file| PathBuf::from(file.path.trim_start_matches("file://"))).collect()
}

fn load(project: &Project, table: &str) -> Option<Table> {
    let config = CatalogConfig {
        uri: "sqlite:.kappa/catalog.db".to_owned(),
        warehouse: ".kappa/warehouse".to_owned(),
        ..CatalogConfig::embedded()
    };
    if !project.path().join(".kappa/catalog.db").exists() {
        return None;
    }
    let name = TableName::parse(table).expect("a name");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let catalog = Catalog::open(&config, project.path()).await.expect("the catalog is there");
        catalog.load(&name).await.expect("the catalog answers")
    })
}
