//! What a user reads when a bucket, a catalog or a database refuses, within seconds and without a secret: one snapshot of
//! all messages, with the exit code of each.
//!
//! `INSTA_UPDATE=always tests/run stores::refused` writes it anew; read the difference before you commit it.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::support::project::{BUCKET, Project, REST_CREDENTIAL, REST_TOKEN, S3_KEY, S3_SECRET};
use crate::support::{guarded_rest_address, postgres_address, rest_tls_address, s3_address, s3_tls_address, tls};

/// The limit for a start that can't succeed.
const LIMIT: Duration = Duration::from_secs(15);
/// What no message may show.
const SECRETS: [&str; 6] = [S3_SECRET, REST_TOKEN, "guest-token", "kappa-pg-secret", "not-the-secret", "a-secret"];
const JOB: &str = "
CREATE STREAM clicks (host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '5 seconds')
LIVE FROM FILE 'clicks.jsonl';
INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, count(*) AS hits FROM TUMBLE(clicks, t, INTERVAL '1 minute')
GROUP BY window_start, window_end, host;
";

struct Case {
    what: &'static str,
    config: String,
}

/// A catalog on the local disk, or the state there: what isn't refused.
const LOCAL_CATALOG: &str = "[catalog]\nuri = \"sqlite:.kappa/catalog.db\"\n";

fn store(endpoint: &str, key: &str, secret: &str) -> String {
    format!(
        "[store]\naws_endpoint = \"{endpoint}\"\naws_allow_http = true\naws_access_key_id = \"{key}\"\n\
         aws_secret_access_key = \"{secret}\"\n"
    )
}

fn state(location: &str) -> String {
    format!("{LOCAL_CATALOG}[state]\nlocation = \"{location}\"\n")
}

fn rest(lines: &str) -> String {
    format!("[catalog]\ntype = \"rest\"\nuri = \"{}\"\n{lines}\n", guarded_rest_address())
}

fn sql(uri: &str) -> String {
    format!("[catalog]\nuri = \"{uri}\"\nwarehouse = \"{BUCKET}/refused\"\n{}", store(&s3_address(), S3_KEY, S3_SECRET))
}

/// A port of this machine on which nobody listens.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn of_buckets() -> Vec<Case> {
    let s3 = s3_address();
    let away = format!("http://127.0.0.1:{}", closed_port());
    let warehouse = |location: &str| format!("{LOCAL_CATALOG}warehouse = \"{location}\"\n");
    let case = |what, config| Case { what, config };
    vec![
        case("state: wrong secret key", state(&format!("{BUCKET}/x")) + &store(&s3, S3_KEY, "not-the-secret")),
        case("state: unknown access key", state(&format!("{BUCKET}/x")) + &store(&s3, "nobody", S3_SECRET)),
        case("state: no such bucket", state("s3://no-such-bucket/x") + &store(&s3, S3_KEY, S3_SECRET)),
        case("state: nobody answers", state(&format!("{BUCKET}/x")) + &store(&away, S3_KEY, S3_SECRET)),
        case("warehouse: wrong secret key", warehouse(&format!("{BUCKET}/x")) + &store(&s3, S3_KEY, "not-the-secret")),
        case("warehouse: no such bucket", warehouse("s3://no-such-bucket/x") + &store(&s3, S3_KEY, S3_SECRET)),
        case(
            "plain http without leave",
            state(&format!("{BUCKET}/x")) + &store(&s3, S3_KEY, S3_SECRET).replace("aws_allow_http = true\n", ""),
        ),
        case("half of a key", state(&format!("{BUCKET}/x")) + "[store]\naws_secret_access_key = \"a-secret\"\n"),
        case("another kind of store", state("gs://lake/x")),
        case("a misspelt setting", state(&format!("{BUCKET}/x")) + "[store]\naws_regoin = \"x\"\n"),
    ]
}

fn of_rest_catalogs() -> Vec<Case> {
    let away = format!("http://127.0.0.1:{}", closed_port());
    let (client, _) = REST_CREDENTIAL.split_once(':').expect("an id and a secret");
    let case = |what, config| Case { what, config };
    let here = guarded_rest_address();
    vec![
        case("no token", rest("")),
        case("a wrong token", rest("token = \"a-secret\"")),
        case("wrong client credentials", rest(&format!("credential = \"{client}:not-the-secret\""))),
        case("a token without the right to write", rest("token = \"guest-token\"")),
        case(
            "an address that is no catalog's",
            rest(&format!("token = \"{REST_TOKEN}\"")).replace(&here, &format!("{here}/x")),
        ),
        case("nobody answers", rest("token = \"a-secret\"").replace(&here, &away)),
        case("a header that is none", rest("\"header.a b\" = \"a-secret\"")),
        case("a misspelt setting", rest("credentials = \"x\"")),
    ]
}

fn of_postgres(address: &str) -> Vec<Case> {
    let password = address.split(['@', ':']).nth(2).expect("a password").to_owned();
    let closed = closed_port();
    let (host, _) = address.split(['@', '/']).nth(3).and_then(|host| host.split_once(':')).expect("host and port");
    let case = |what, uri: String| Case { what, config: sql(&uri) };
    vec![
        case("wrong password", address.replace(&password, "not-the-secret")),
        case("unknown user", address.replace("//kappa:", "//nobody:")),
        case("no such database", address.replace("/kappa", "/nothing").replace("//nothing", "//kappa")),
        case("nobody answers", format!("postgres://kappa:{password}@{host}:{closed}/kappa")),
        case(
            "TLS that the server doesn't speak",
            format!("postgres://kappa:{password}@127.0.0.1:{}/kappa?sslmode=require", without_tls()),
        ),
        case("TLS by nobody's CA", format!("{address}?sslmode=verify-full")),
        case("TLS by another CA", format!("{address}?sslmode=require&sslrootcert=other-ca.pem")),
        case("a CA that isn't there", format!("{address}?sslmode=verify-full&sslrootcert=none.pem")),
        case("a misspelt parameter", format!("{address}?sslmod=require&password=a-secret")),
    ]
}

/// The port of a PostgreSQL, as far as it is asked for TLS: it has none.
fn without_tls() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            // Length and code of the question, then the one letter that says no.
            if client.read_exact(&mut [0; 8]).is_ok() {
                drop(client.write_all(b"N"));
            }
        }
    });
    port
}

fn of_tls() -> Vec<Case> {
    let bucket = |endpoint: &str, lines: &str| {
        state(&format!("{BUCKET}/x")) + &store(endpoint, S3_KEY, S3_SECRET).replace("aws_allow_http = true\n", lines)
    };
    let catalog = |uri: &str, lines: &str| {
        let here = guarded_rest_address();
        rest(&format!("credential = \"{REST_CREDENTIAL}\"\n{lines}")).replace(&here, uri)
    };
    let (s3, uri) = (s3_tls_address(), rest_tls_address());
    let plain = |address: String| address.replace("http://", "https://");
    let case = |what, config| Case { what, config };
    vec![
        case("a bucket by nobody's CA", bucket(&s3, "")),
        case("a bucket by another CA", bucket(&s3, "aws_ca_bundle = \"other-ca.pem\"\n")),
        case("a bucket's CA that isn't there", bucket(&s3, "aws_ca_bundle = \"none.pem\"\n")),
        case("a bucket's CA that is none", bucket(&s3, "aws_ca_bundle = \"clicks.jsonl\"\n")),
        case("a bucket without TLS", bucket(&plain(s3_address()), "aws_ca_bundle = \"ca.pem\"\n")),
        case("a catalog by nobody's CA", catalog(&uri, "")),
        case("a catalog by another CA", catalog(&uri, "ca = \"other-ca.pem\"")),
        case("a catalog's CA that isn't there", catalog(&uri, "ca = \"none.pem\"")),
        case("a catalog's CA that is none", catalog(&uri, "ca = \"clicks.jsonl\"")),
        case("a catalog without TLS", catalog(&plain(guarded_rest_address()), "ca = \"ca.pem\"")),
    ]
}

/// All messages of the cases, each within the limit and without a secret.
fn said(cases: Vec<Case>) -> String {
    let mut text = String::new();
    for Case { what, config } in cases {
        let project = Project::embedded();
        project.write("kappa.toml", &config);
        project.write("jobs/hits.sql", JOB);
        project.write("clicks.jsonl", "{\"host\":\"a\",\"t\":\"2026-01-01T00:00:01Z\"}\n");
        for certificate in ["ca.pem", "other-ca.pem"] {
            project.write(certificate, std::fs::read(tls::file(certificate)).expect("the servers have it"));
        }
        let started = now();
        let finished = project.kappa(&["run", "jobs/hits.sql"]);
        assert!(started.elapsed() < LIMIT, "{what}: {:?}\n{}", started.elapsed(), finished.stderr);
        for secret in SECRETS {
            assert!(!finished.stderr.contains(secret), "{what}:\n{}", finished.stderr);
        }
        let code = finished.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        let folder = project.path().canonicalize().expect("a folder").display().to_string();
        let stderr = finished.stderr.replace(&folder, "[PROJECT]");
        text.push_str(&format!("--- {what}: exit {code}\n{}{stderr}\n", finished.stdout));
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "how long a message takes is what is tested")]
fn now() -> Instant {
    Instant::now()
}

#[track_caller]
fn check(name: &str, cases: Vec<Case>) {
    let text = said(cases);
    let filters = [
        (r"127\.0\.0\.1:\d+", "127.0.0.1:[PORT]"),
        (r"\(os error \d+\)", "(os error)"),
        (r"[0-9a-f]{8}-[0-9a-f-]{27}", "[UUID]"),
    ];
    insta::with_settings!({ snapshot_path => "../messages/stores", prepend_module_to_snapshot => false, filters => filters }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn buckets_that_refuse_say_why_and_how_to_go_on() {
    check("buckets", of_buckets());
}

#[test]
fn rest_catalogs_that_refuse_say_why_and_how_to_go_on() {
    check("rest", of_rest_catalogs());
}

#[test]
fn certificates_that_are_not_trusted_are_named_with_the_way_out() {
    check("tls", of_tls());
}

#[test]
fn postgres_that_refuses_says_why_and_how_to_go_on() {
    if let Some(address) = postgres_address() {
        check("postgres", of_postgres(&address));
    }
}
