//! What is said when no checkpoint can be gone on from.

use super::*;
use crate::checkpoints::{Generation, ManifestId};
use crate::event::TableName;

fn table(name: &str) -> TableName {
    TableName::parse(name).expect("has a namespace")
}

#[test]
fn messages_name_the_files_and_the_ways_out() {
    let flaws = "hits/0000000003/0000000012.json is missing, though table marts.hits needs it".to_owned();
    let none = RepositionError::NoneGood { job: "hits".to_owned(), flaws: flaws.clone() };
    assert_eq!(
        none.to_string(),
        "no checkpoint of hits below state.location can be gone on from: hits/0000000003/0000000012.json is missing, though \
         table marts.hits needs it; restore one of these files from a copy, go back to a savepoint with `kappa run JOB \
         --savepoint NAME`, or say where the job begins with `kappa offsets reset`"
    );
    let (checkpoint, to) = (ManifestId::new(Generation(3), 12), ManifestId::new(Generation(3), 11));
    let source = RepositionError::Partly { checkpoint, table: table("marts.hits"), late: table("marts.hits_late") };
    let refused = RepositionError::NoWayBack { to, flaws, source: Box::new(source) };
    assert_eq!(
        refused.to_string(),
        "the newest checkpoint below state.location can't be gone on from: hits/0000000003/0000000012.json is missing, though \
         table marts.hits needs it; and the one before, 3/11, doesn't do: checkpoint 3/12 can't be read, and it was committed \
         to marts.hits_late but perhaps not to marts.hits, so that nothing tells which records are in marts.hits; publish all \
         of it again with `kappa offsets reset JOB --to-earliest --execute`; or restore the file from a copy"
    );
}
