//! `kappa validate --connect` where tables, state and catalog are on servers: what it finds when all is well, and each right
//! that is missing by its name, with nothing left behind.
//!
//! `INSTA_UPDATE=always tests/run stores::connect` writes the snapshots anew; read the difference before you commit it.

use std::io::{BufRead, BufReader, Write};
use std::sync::{Arc, Mutex};

use sqlx::Connection;

use crate::support::project::{BUCKET, Catalog, Project, REST_CREDENTIAL};
use crate::support::{postgres_address, unique};

const JOB: &str = "jobs/hits.sql";
const CONNECT: [&str; 3] = ["validate", JOB, "--connect"];

fn project(catalog: Catalog) -> Project {
    let project = Project::with_kafka(catalog, &[], "");
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

/// Holds what a look says against its snapshot.
#[track_caller]
fn says(name: &str, project: &Project, more: &[&str]) {
    let finished = project.kappa(&[&CONNECT[..], more].concat());
    let code = finished.code.expect("no signal ends it");
    let said = format!("{}--- stderr\n{}--- exit {code}\n", finished.stdout, finished.stderr);
    let root = project.path().canonicalize().expect("a folder").display().to_string();
    let said = said.replace(&root, "[PROJECT]").replace(project.namespace(), "[NAMESPACE]");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../messages/stores");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:[PORT]");
    settings.add_filter(r"kappa-probe-[0-9a-f]{32}", "kappa-probe-[UUID]");
    settings.bind(|| insta::assert_snapshot!(name, said));
}

/// Changes a line of the project's `kappa.toml`.
fn with(project: &Project, line: &str, other: &str) {
    let config = std::fs::read_to_string(project.path().join("kappa.toml")).expect("it is there");
    assert!(config.contains(line), "{line} in {config}");
    project.write("kappa.toml", config.replace(line, other));
}

#[test]
fn a_catalog_and_a_bucket_that_let_us_in_are_seen_before_and_after_a_run() {
    let project = project(Catalog::GuardedOnS3);
    says("connect-before", &project, &[]);
    project.kappa(&["run", JOB]).ok();
    says("connect-after", &project, &[]);
    // The files of tables go by vended keys, so that one store refuses and the others don't.
    says("connect-wrong-secret", &project, &["--set", "store.aws_secret_access_key=not-the-secret"]);
    with(&project, &format!("credential = \"{REST_CREDENTIAL}\""), "token = \"guest-token\"");
    says("connect-read-only-catalog", &project, &[]);
}

#[test]
fn a_database_that_lets_us_only_read_is_told() {
    let Some(address) = postgres_address() else { return };
    let project = project(Catalog::PostgresOnS3);
    project.kappa(&["run", JOB]).ok();
    let reader = unique("reader");
    execute(
        &address,
        &[
            format!("CREATE ROLE {reader} LOGIN PASSWORD 'a-secret'"),
            format!("GRANT SELECT ON iceberg_tables, iceberg_namespace_properties TO {reader}"),
        ],
    );
    with(&project, "kappa:kappa-pg-secret@", &format!("{reader}:a-secret@"));
    says("connect-read-only-database", &project, &[]);
    // Tables of another name would have to be created.
    let job = std::fs::read_to_string(project.path().join(JOB)).expect("it is there");
    project.write(JOB, job.replace(".hits'", ".others'"));
    says("connect-database-without-create", &project, &[]);
    execute(&address, &[format!("DROP OWNED BY {reader}"), format!("DROP ROLE {reader}")]);
}

fn execute(address: &str, statements: &[String]) {
    sqlx::any::install_default_drivers();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(address).await.expect("the database is there");
        for statement in statements {
            sqlx::query(statement).execute(&mut connection).await.expect("it is allowed");
        }
    });
}

#[test]
fn a_bucket_that_takes_nothing_is_told_before_a_run() {
    let project = project(Catalog::Sql);
    let (endpoint, seen) = read_only_bucket();
    project.write(
        "kappa.toml",
        format!(
            "[catalog]\nwarehouse = \"{BUCKET}/warehouse\"\n[state]\nlocation = \"{BUCKET}/state\"\n\
             [store]\naws_endpoint = \"{endpoint}\"\naws_allow_http = true\naws_access_key_id = \"reader\"\n\
             aws_secret_access_key = \"a-secret\"\n"
        ),
    );
    says("connect-read-only-bucket", &project, &[]);
    let asked = seen.lock().expect("no panic");
    let puts = asked.iter().filter(|request| request.starts_with("PUT ")).count();
    assert_eq!(puts, 2, "one for the state, one for tables: {asked:#?}");
    assert!(!project.path().join(".kappa").exists(), "nothing is left behind");
}

/// Requests that a server was given, each with its headers.
type Seen = Arc<Mutex<Vec<String>>>;

/// A bucket in which nothing is, and which takes nothing.
fn read_only_bucket() -> (String, Seen) {
    serve(|request| {
        let list = "<ListBucketResult><Name>lake</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>\
                    </ListBucketResult>";
        match request.split(' ').next() {
            Some("GET") if request.contains("list-type=2") => ("200 OK", list.to_owned()),
            Some("PUT" | "POST" | "DELETE") => ("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>".to_owned()),
            _ => ("404 Not Found", "<Error><Code>NoSuchKey</Code></Error>".to_owned()),
        }
    })
}

/// A bucket that refuses everything, and says what it was asked, headers and all.
pub(super) fn refusing_bucket() -> (String, Seen) {
    serve(|request| {
        let said = request.replace(['<', '>'], " ");
        let body = format!(
            "<Error><Code>AccessDenied</Code><Message>no</Message><CanonicalRequest>{said}</CanonicalRequest></Error>"
        );
        ("403 Forbidden", body)
    })
}

/// A server of status and body by request; it ends with the test's process.
fn serve(answer: impl Fn(&str) -> (&'static str, String) + Send + 'static) -> (String, Seen) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    let seen = Seen::default();
    let noted = seen.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Some(request) = read_request(&stream) else { continue };
            let (status, body) = answer(&request);
            noted.lock().expect("no panic").push(request);
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            drop(stream.write_all(format!("{head}{body}").as_bytes()));
        }
    });
    (address, seen)
}

/// The first line and the headers of a request, whose body is read too.
fn read_request(stream: &std::net::TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
    }
    let length = request
        .to_lowercase()
        .split("content-length: ")
        .nth(1)
        .map_or("0", |rest| rest.lines().next().unwrap_or("0"))
        .to_owned();
    std::io::copy(&mut std::io::Read::take(&mut reader, length.trim().parse().ok()?), &mut std::io::sink()).ok()?;
    Some(request)
}
