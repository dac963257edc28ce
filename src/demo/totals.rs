//! What the result says: hits of each host by day, read from the table as any other program would.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use futures::StreamExt;

use super::DemoError;
use super::requests::{DAY_US, FIRST_DAY};
use crate::event::TableName;
use crate::iceberg::{Catalog, ScanFilter, plan_files, read_file};

/// Hits by host on the two days, and where the table's metadata is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Hits of the first and the second day, by host.
    pub hits: BTreeMap<String, [i64; 2]>,
    /// The file that other engines open the table by.
    pub metadata: String,
}

/// Reads the result table.
pub async fn totals(catalog: &Catalog, name: &TableName) -> Result<Totals, DemoError> {
    let table = catalog.load(name).await?.ok_or_else(|| DemoError::Missing(name.clone()))?;
    let columns = ["window_start", "host", "hits"].map(str::to_owned);
    let mut totals =
        Totals { metadata: table.inner.metadata_location().unwrap_or_default().to_owned(), ..Totals::default() };
    for file in plan_files(&table, None, &ScanFilter::default()).await? {
        let mut batches = read_file(&table, &file, &columns, None).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            let starts = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            let hosts = batch.column(1).as_string::<i32>();
            let hits = batch.column(2).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let day = usize::from(starts.value(row) >= FIRST_DAY.0 + DAY_US);
                totals.hits.entry(hosts.value(row).to_owned()).or_default()[day] += hits.value(row);
            }
        }
    }
    Ok(totals)
}
