//! A bucket and a catalog that are slow, refuse requests, and lose or cut off answers to what they have done: a run, an archive and
//! a backfill take longer, and that is all.

use std::collections::BTreeSet;

use super::clicks::{HOURS, JOB, MESSAGES, PARTITIONS, expected, job, message};
use crate::support::faults::{Fault, FaultyServer};
use crate::support::project::{Catalog, Project};
use crate::support::python::sound_tables;
use crate::support::{guarded_rest_address, kafka, s3_address};

#[test]
fn a_bucket_that_fails_now_and_then_costs_nothing_but_time() {
    let bucket = FaultyServer::before(&s3_address(), seed());
    story(Catalog::SqlOnS3, &format!("store.aws_endpoint={}", bucket.address()));
    assert_all_met(&bucket);
}

#[test]
fn a_catalog_that_fails_now_and_then_costs_nothing_but_time() {
    let catalog = FaultyServer::before(&guarded_rest_address(), seed());
    story(Catalog::GuardedOnS3, &format!("catalog.uri={}", catalog.address()));
    assert_all_met(&catalog);
}

fn seed() -> u64 {
    std::env::var("KAPPA_FAULTS_SEED").map_or(6_001, |text| text.parse().expect("a number"))
}

fn assert_all_met(server: &FaultyServer) {
    let met = server.met();
    assert_eq!(met.keys().copied().collect::<BTreeSet<_>>(), Fault::ALL.into(), "{met:?}");
    eprintln!("{met:?}");
}

/// A run that is stopped and goes on, an archive and a backfill, with this setting.
fn story(catalog: Catalog, setting: &str) {
    let topic = kafka::create_topic("faulty", usize::try_from(PARTITIONS).expect("is small"));
    let project = Project::on_kafka(catalog, "checkpoint_interval = \"200ms\"");
    let namespace = project.namespace();
    project.write(JOB, job(&topic, namespace));
    let give = |arguments: &[&str]| project.kappa(&[arguments, &["--set", setting]].concat()).ok();

    for half in [0..MESSAGES / 2, MESSAGES / 2..MESSAGES] {
        kafka::produce(&topic, &half.map(message).collect::<Vec<_>>());
        give(&["run", JOB, "--until", "end"]);
        give(&["archive", JOB, "--until", "end"]);
    }
    give(&["run", JOB, "--until", "end", "--drain"]);
    give(&[&["backfill", "run", JOB], &HOURS[..]].concat());
    let [live, history] = sound_tables(&project, [&format!("{namespace}.hits"), &format!("{namespace}.raw")]);
    assert_eq!(live.rows(), expected());
    assert_eq!(history.rows().len(), usize::try_from(MESSAGES).expect("is small"));
}
