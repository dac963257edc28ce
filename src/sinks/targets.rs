//! Which tables a job writes to.

use super::{Target, layout};
use crate::decode::SideInputs;
use crate::event::TableName;
use crate::iceberg::TableSpec;
use crate::job::Plan;

/// The table that takes a stream's rejects in a live run: only streams without a history need one, as the archive
/// keeps the others' rejects.
pub fn rejects_table(plan: &Plan, stream: usize) -> Option<TableName> {
    if plan.streams[stream].history.is_some() {
        return None;
    }
    let first = plan.inserts.iter().find(|insert| insert.reads(stream))?;
    Some(first.table.with_suffix("_rejects"))
}

/// Every table that a job writes to, results first.
pub fn targets(plan: &Plan) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for insert in &plan.inserts {
        targets.push(Target { table: insert.table.clone(), spec: layout::result(insert), owned: true, evolve: false });
    }
    for insert in &plan.inserts {
        for late in &insert.late {
            add_shared(&mut targets, &late.table, layout::late(insert, &plan.streams[late.stream]));
        }
    }
    for stream in 0..plan.streams.len() {
        if let Some(table) = rejects_table(plan, stream) {
            add_shared(&mut targets, &table, layout::rejects(&SideInputs::default()));
        }
    }
    targets
}

fn add_shared(targets: &mut Vec<Target>, table: &TableName, spec: TableSpec) {
    if !targets.iter().any(|target| target.table == *table) {
        targets.push(Target { table: table.clone(), spec, owned: false, evolve: false });
    }
}
