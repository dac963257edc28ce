//! A job, its archive and its backfill with nothing on the local disk: warehouse and state in a bucket, the catalog on a
//! server that checks who asks, Kafka with TLS and a password.

use super::clicks::{HOURS, JOB, MESSAGES, PARTITIONS, expected, job, message};
use crate::support::kafka;
use crate::support::process::Finished;
use crate::support::project::{Catalog, Project, REST_CREDENTIAL, S3_SECRET};
use crate::support::python::{duckdb, sound_tables};
use crate::support::{Value, postgres_address, tls};

/// Of the server; the file's name says so.
const POSTGRES_SECRET: &str = "kappa-pg-secret";

#[test]
fn everything_on_s3_and_a_guarded_catalog_by_sasl_ssl_equals_its_backfill() {
    whole_story(Catalog::GuardedOnS3);
}

#[test]
fn everything_on_s3_and_postgres_by_sasl_ssl_equals_its_backfill() {
    if postgres_address().is_some() {
        whole_story(Catalog::PostgresOnS3);
    }
}

fn whole_story(catalog: Catalog) {
    let topic = kafka::create_topic("stores", usize::try_from(PARTITIONS).expect("is small"));
    let kafka = tls::sasl_ssl("SCRAM-SHA-512", "kappa", tls::PASSWORD);
    let kafka: Vec<(&str, &str)> = kafka.iter().map(|(property, value)| (*property, value.as_str())).collect();
    let project = Project::with_kafka(catalog, &kafka, "checkpoint_interval = \"500ms\"");
    let namespace = project.namespace().to_owned();
    project.write(JOB, job(&topic, &namespace));
    let give = |arguments: &[&str]| shows_no_secret(project.kappa(arguments)).ok();

    // In two runs, so that the second goes on from what the first has put into the bucket.
    for half in [0..MESSAGES / 2, MESSAGES / 2..MESSAGES] {
        kafka::produce(&topic, &half.map(message).collect::<Vec<_>>());
        give(&["run", JOB, "--until", "end", "-v"]);
        give(&["archive", JOB, "--until", "end", "-v"]);
    }
    give(&["run", JOB, "--until", "end", "--drain"]);
    let (hits, raw) = (format!("{namespace}.hits"), format!("{namespace}.raw"));
    let [live, history] = sound_tables(&project, [&hits, &raw]);
    assert_eq!(live.rows(), expected());
    assert_eq!(history.rows().len(), usize::try_from(MESSAGES).expect("is small"));
    assert!(live.files.iter().chain(&history.files).all(|file| file.path.starts_with("s3://lake/")));
    assert!(!project.path().join(".kappa").exists(), "nothing lies on the local disk");

    give(&[&["diff", JOB], &HOURS[..]].concat());
    give(&["maintain", JOB, "--older-than", "0s", "--execute", "-v"]);
    give(&[&["backfill", "run", JOB], &HOURS[..]].concat());
    give(&["maintain", JOB, "--older-than", "0s", "--execute", "-v"]);
    give(&[&["diff", JOB], &HOURS[..]].concat());
    let [replaced] = sound_tables(&project, [&hits]);
    assert_eq!(replaced.rows(), expected(), "two hours from history are those hours as they were live");
    let last = replaced.snapshots.last().expect("a snapshot");
    assert!(last.summary.contains_key("kappa.backfill.from"), "the backfill was published: {last:?}");
    let counted = duckdb(&project, &format!("SELECT CAST(sum(hits) AS BIGINT), count(*) FROM {{{hits}}}"));
    let rows = i64::try_from(expected().len()).expect("is small");
    assert_eq!(counted, [[MESSAGES, rows].map(Value::from)]);
}

#[track_caller]
fn shows_no_secret(finished: Finished) -> Finished {
    let (_, client_secret) = REST_CREDENTIAL.split_once(':').expect("an id and a secret");
    for secret in [S3_SECRET, client_secret, POSTGRES_SECRET, tls::PASSWORD] {
        for output in [&finished.stdout, &finished.stderr] {
            assert!(!output.contains(secret), "a secret is shown:\n{output}");
        }
    }
    finished
}
