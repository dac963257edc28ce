//! TLS to buckets, catalogs and databases by a CA of our own: each way of naming it lets a job run.

use crate::support::project::{BUCKET, Project, REST_CREDENTIAL, S3_KEY, S3_SECRET};
use crate::support::{postgres_address, rest_tls_address, s3_address, s3_tls_address, tls, unique};

const JOB: &str = "jobs/hits.sql";

/// A project with these settings, and the CA in its folder.
fn project(config: &str) -> Project {
    let project = Project::embedded();
    project.write("kappa.toml", config);
    project.write("certificates/ca.pem", std::fs::read(tls::file("ca.pem")).expect("the servers have it"));
    project.write("clicks.jsonl", "{\"host\":\"a\",\"t\":\"2026-01-01T00:00:01Z\"}\n");
    let namespace = project.namespace();
    project.write(
        JOB,
        format!(
            "CREATE STREAM clicks (host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '5 seconds')
             LIVE FROM FILE 'clicks.jsonl';
             INSERT INTO ICEBERG '{namespace}.hits' PARTITIONED BY (hour(window_start))
             SELECT window_start, window_end, host, count(*) AS hits FROM TUMBLE(clicks, t, INTERVAL '1 minute')
             GROUP BY window_start, window_end, host;"
        ),
    );
    project
}

#[track_caller]
fn publishes(config: &str, environment: &[(&str, &str)]) {
    let project = project(config);
    let limit = std::time::Duration::from_secs(120);
    let finished = project.start_with(&["run", JOB], environment).wait(limit).ok();
    assert!(finished.stdout.contains("hits: 1 row published"), "{}", finished.stdout);
    project.start_with(&["validate", JOB, "--connect"], environment).wait(limit).ok();
}

/// `[store]` with more lines.
fn store(endpoint: &str, lines: &str) -> String {
    format!(
        "[store]\naws_endpoint = \"{endpoint}\"\naws_access_key_id = \"{S3_KEY}\"\n\
         aws_secret_access_key = \"{S3_SECRET}\"\n{lines}\n"
    )
}

#[test]
fn tables_and_state_go_to_a_bucket_by_tls() {
    let config = |lines: &str| {
        let prefix = format!("{BUCKET}/{}", unique("tls"));
        let places = format!("[catalog]\nwarehouse = \"{prefix}/warehouse\"\n[state]\nlocation = \"{prefix}/state\"\n");
        places + &store(&s3_tls_address(), lines)
    };
    publishes(&config("aws_ca_bundle = \"certificates/ca.pem\""), &[]);
    publishes(&config(""), &[("AWS_CA_BUNDLE", &tls::file("ca.pem"))]);
    publishes(&config(""), &[("SSL_CERT_FILE", &tls::file("ca.pem"))]);
}

#[test]
fn a_catalog_gives_tokens_and_tables_by_tls() {
    let config = |lines: &str| {
        format!(
            "[catalog]\ntype = \"rest\"\nuri = \"{}\"\ncredential = \"{REST_CREDENTIAL}\"\n{lines}\n",
            rest_tls_address()
        )
    };
    publishes(&config("ca = \"certificates/ca.pem\""), &[]);
    publishes(&config(""), &[("SSL_CERT_FILE", &tls::file("ca.pem"))]);
}

#[test]
fn a_database_is_a_catalog_by_tls() {
    let Some(address) = postgres_address() else { return };
    for parameters in [
        "sslmode=require",
        "sslmode=require&sslrootcert=certificates/ca.pem",
        "sslmode=verify-full&sslrootcert=certificates/ca.pem",
    ] {
        let name = unique("tls");
        let catalog = format!("[catalog]\nuri = \"{address}?{parameters}\"\nname = \"{name}\"\n");
        let warehouse = format!("warehouse = \"{BUCKET}/{name}\"\n");
        publishes(&(catalog + &warehouse + &store(&s3_address(), "aws_allow_http = true")), &[]);
    }
}
