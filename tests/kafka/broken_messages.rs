//! A thousand broken messages among good ones: each is a reject with its bytes, none is lost, none stops the job.

use std::collections::BTreeMap;

use crate::model::{self, Body, Value};
use crate::replay::{Case, Names};
use crate::support::kafka;
use crate::support::project::{Catalog, Project};
use crate::support::python::{Table, sound_tables};

const BROKEN: usize = 1_000;
const JOB: &str = "jobs/broken.sql";

#[test]
fn a_thousand_broken_messages_are_a_thousand_rejects_live() {
    let (case, project) = deployed(None);
    project.kappa(&["run", JOB, "--until", "end", "--drain"]).ok();
    let names = ["result", "result_rejects"].map(|table| format!("{}.{table}", project.namespace()));
    let [result, rejects] = sound_tables(&project, names.each_ref().map(String::as_str));
    check_rejects(&case, &rejects);
    let judged = model::judge(&case.log(), &case.stream, &case.query);
    let expected = model::results(&judged, &case.stream, &case.query, i64::MAX);
    assert_eq!(model::differences(&expected, &result.rows(), case.key_columns()), Vec::<String>::new());
}

#[test]
fn a_thousand_broken_messages_are_a_thousand_rejects_in_history() {
    let (case, project) = deployed(Some("history"));
    project.kappa(&["archive", JOB, "--until", "end"]).ok();
    let names = ["history", "history_rejects"].map(|table| format!("{}.{table}", project.namespace()));
    let [history, rejects] = sound_tables(&project, names.each_ref().map(String::as_str));
    check_rejects(&case, &rejects);
    let good: usize = case.partitions.iter().flatten().filter(|message| !is_broken(&case, &message.body)).count();
    assert_eq!(history.rows().len(), good);
}

fn deployed(history: Option<&str>) -> (Case, Project) {
    let case = Case::mostly_broken(77, BROKEN);
    let topic = kafka::create_topic("broken", case.partitions.len());
    kafka::produce(&topic, &case.kafka_messages());
    let project = Project::on_kafka(Catalog::Sql, "rejects_max = \"100%\"");
    let names = Names { topic: &topic, namespace: project.namespace(), result: "result", history };
    project.write(JOB, case.sql(&names));
    (case, project)
}

fn is_broken(case: &Case, body: &Body) -> bool {
    match body {
        Body::Broken => true,
        Body::Fields(fields) => case.stream.required.iter().any(|column| fields[column].is_null()),
    }
}

/// Position and bytes of every reject, and a reason for each.
fn check_rejects(case: &Case, rejects: &Table) {
    let mut expected: BTreeMap<(i32, i64), Option<Vec<u8>>> = BTreeMap::new();
    for (partition, messages) in (0..).zip(&case.partitions) {
        for (offset, message) in (0..).zip(messages) {
            if is_broken(case, &message.body) {
                expected.insert((partition, offset), message.raw.clone());
            }
        }
    }
    assert_eq!(expected.len(), BROKEN);
    let (raw, reason) = (rejects.index("raw"), rejects.index("reason"));
    let rows = rejects.rows();
    assert_eq!(rows.len(), BROKEN, "each once");
    for (row, position) in rows.iter().zip(rejects.positions()) {
        let sent =
            expected.remove(&position).unwrap_or_else(|| panic!("{position:?} is no broken message, or comes twice"));
        let found = match &row[raw] {
            Value::Bytes(bytes) => bytes.clone(),
            Value::Null => Vec::new(),
            other => panic!("{other:?} are no bytes"),
        };
        assert_eq!(found, sent.unwrap_or_default(), "bytes of {position:?}");
        assert!(matches!(&row[reason], Value::Text(text) if !text.is_empty()), "reason of {position:?}");
    }
}
