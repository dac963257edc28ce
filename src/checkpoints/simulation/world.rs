//! What processes share: the store, the tables, and the log that all of them read.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::memory::InMemory;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Planted;
use crate::checkpoints::*;
use crate::event::{EventTime, ResumeOffset, TableName};

/// Records in the log. Record `r` belongs into table `a` unless `r % 3 == 0`, and into `b` if it is even.
pub(super) const LOG: i64 = 40;

fn belongs(table: &TableName, record: i64) -> bool {
    if table.name == "a" { record % 3 != 0 } else { record % 2 == 0 }
}

pub(super) fn names() -> [TableName; 2] {
    ["marts.a", "marts.b"].map(|name| TableName::parse(name).expect("has a namespace"))
}

pub(super) fn uuid_of(table: &TableName) -> Uuid {
    Uuid::from_u128(u128::from(table.name.as_bytes()[0]))
}

/// A table with compare-and-swap commits, as a catalog has them.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelTable {
    pub(super) version: u64,
    pub(super) generation: Option<Generation>,
    pub(super) checkpoint: Option<ManifestId>,
    pub(super) rows: Vec<i64>,
}

/// All that outlives a process.
pub(super) struct World {
    pub(super) objects: Arc<InMemory>,
    pub(super) tables: BTreeMap<TableName, ModelTable>,
    /// What the processes do wrong.
    pub(super) planted: Option<Planted>,
}

impl World {
    pub(super) fn new(planted: Option<Planted>) -> World {
        let tables = names().into_iter().map(|name| (name, ModelTable::default())).collect();
        World { objects: Arc::new(InMemory::new()), tables, planted }
    }

    /// Fails if a table has a row twice.
    pub(super) fn check_none_twice(&self) {
        for (name, table) in &self.tables {
            let mut rows = table.rows.clone();
            rows.sort_unstable();
            rows.dedup();
            assert_eq!(rows.len(), table.rows.len(), "{name} has a row twice: {:?}", table.rows);
        }
    }

    /// Fails unless each table has exactly the rows that belong into it.
    pub(super) fn check_all_there(&self) {
        for (name, table) in &self.tables {
            let mut rows = table.rows.clone();
            rows.sort_unstable();
            let expected: Vec<i64> = (0..LOG).filter(|record| belongs(name, *record)).collect();
            assert_eq!(rows, expected, "{name} has each of its rows exactly once");
        }
    }
}

/// A checkpoint that has read the log up to `to`, and brings the records from `from` on.
pub(super) fn manifest(id: ManifestId, from: i64, to: i64, state: Vec<StateFile>) -> Manifest {
    let change = |table: TableName| TableChange {
        uuid: uuid_of(&table),
        schema_id: 0,
        spec_id: 0,
        add: (from..to).filter(|record| belongs(&table, *record)).map(|record| json!(record)).collect::<Vec<Value>>(),
        remove: vec![],
        operation: Operation::Append,
        properties: BTreeMap::new(),
        remove_properties: vec![],
        summary: BTreeMap::new(),
        table,
    };
    let progress = PartitionProgress {
        next_offset: ResumeOffset(to),
        seen: None,
        taken: u64::try_from(to).expect("not negative"),
        rejected: 0,
    };
    Manifest {
        inserts: Vec::new(),
        id,
        owner: "job".into(),
        fingerprint: "f".into(),
        description: Vec::new(),
        streams: BTreeMap::from([("log".into(), BTreeMap::from([(0, progress)]))]),
        watermark: EventTime(to),
        finished: false,
        state,
        claimed: names().into_iter().map(|table| ClaimedTable { uuid: uuid_of(&table), table }).collect(),
        tables: names().into_iter().map(change).filter(|change| !change.add.is_empty()).collect(),
        held: vec![],
        reread: BTreeMap::new(),
        topics: BTreeMap::new(),
        from_history: BTreeMap::new(),
    }
}
