//! Canaries: secrets in every place that takes one, and every command that succeeds or fails with them, as loud as it can be.
//! None of them may sing.

use super::{LIMIT, kappa};
use crate::support::process::Finished;
use crate::support::project::Project;

const JOB: &str = "
CREATE STREAM clicks (
  host TEXT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
)
LIVE    FROM KAFKA   'clicks' FORMAT JSON
HISTORY FROM ICEBERG 'raw.clicks';

INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, count(*) AS hits
FROM   TUMBLE(clicks, t, INTERVAL '1 minute')
GROUP  BY window_start, window_end, host;
";

/// Commands of every kind; whether they succeed doesn't matter here.
const COMMANDS: [&[&str]; 13] = [
    &["config"],
    &["config", "--json"],
    &["validate", "jobs/hits.sql"],
    &["validate", "jobs/hits.sql", "--json"],
    &["validate", "jobs/hits.sql", "--connect"],
    &["validate", "jobs/hits.sql", "--connect", "--json"],
    &["explain", "jobs/hits.sql"],
    &["run", "jobs/hits.sql", "--until", "end"],
    &["archive", "jobs/hits.sql", "--until", "end"],
    &["offsets", "get", "jobs/hits.sql"],
    &["backfill", "plan", "jobs/hits.sql", "--from", "2026-01-01", "--to", "2026-01-02"],
    &["diff", "jobs/hits.sql", "--from", "2026-01-01", "--to", "2026-01-02"],
    &["offsets", "get", "--archive", "raw.clicks"],
];

fn project(config: &str) -> Project {
    let project = Project::embedded();
    project.write("kappa.toml", config);
    project.write("jobs/hits.sql", JOB);
    project.write("secrets/password", "canary-of-file\n");
    project.write("secrets/key.pem", "-----BEGIN PRIVATE KEY-----\ncanaryOfPemLine1\n-----END PRIVATE KEY-----\n");
    project
}

#[track_caller]
fn silent(command: &[&str], finished: &Finished) {
    let Finished { stdout, stderr, code, .. } = finished;
    for output in [stdout, stderr] {
        let sings = output.to_lowercase().find("canary");
        assert!(sings.is_none(), "kappa {} (exit {code:?}) shows a secret:\n{output}", command.join(" "));
    }
}

/// Gives every command, with everything logged, as text and as JSON.
fn all_silent(project: &Project, environment: &[(&str, &str)]) {
    for log in ["text", "json"] {
        for command in COMMANDS {
            let format = format!("run.log={log}");
            let loud = [command, &["-vv", "--set", &format]].concat();
            silent(&loud, &kappa(project, &loud, environment));
        }
    }
}

#[test]
fn a_broker_that_is_not_there_gets_nothing_out() {
    // librdkafka's own word for everything it knows, its configuration too.
    let project = project(
        "[kafka]\n\"bootstrap.servers\" = \"localhost:1\"\n\"security.protocol\" = \"SASL_PLAINTEXT\"\n\
         \"sasl.mechanism\" = \"PLAIN\"\n\"sasl.username\" = \"kappa\"\n\"sasl.password\" = \"canary-of-value\"\n\
         \"socket.connection.setup.timeout.ms\" = 1000\n\"debug\" = \"all\"\n",
    );
    let commands: [&[&str]; 3] = [
        &["offsets", "get", "jobs/hits.sql", "-vv"],
        &["validate", "jobs/hits.sql", "--connect", "-vv"],
        &["offsets", "get", "jobs/hits.sql", "-vv", "--set", "kafka.sasl.mechanism=canary-of-value"],
    ];
    for command in commands {
        let finished = kappa(&project, command, &[]);
        assert_ne!(finished.code, Some(0), "there is no broker");
        silent(command, &finished);
    }
}

#[test]
fn properties_that_are_refused_are_not_shown() {
    let project = project("");
    let mut started = Vec::new();
    for (key, value) in [
        ("ssl.key.pem", "${file:secrets/key.pem}"),
        ("ssl.keystore.password", "canary-of-set"),
        ("sasl.jaas.config", "module required password=\"canary-of-jaas\";"),
        ("sasl.oauthbearer.config", "canary=of"),
        ("linger.ms", "${file:secrets/password}"),
        ("client.secret.unknown", "canary-of-set"),
    ] {
        let set = format!("kafka.{key}={value}");
        for command in [&["offsets", "get", "jobs/hits.sql"][..], &["config"]] {
            let command = [command, &["-vv", "--set", "kafka.bootstrap.servers=localhost:1", "--set", &set]].concat();
            // At once, as some wait for a broker.
            let running = project.start(&command);
            started.push((command.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), running));
        }
    }
    for (command, running) in started {
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        silent(&command, &running.wait(LIMIT));
    }
}

#[test]
fn a_catalog_that_is_not_there_gets_nothing_out() {
    let project = project(
        "[kafka]\n\"bootstrap.servers\" = \"localhost:1\"\n\"socket.connection.setup.timeout.ms\" = 1000\n\
         \"sasl.password\" = \"${file:secrets/password}\"\n\
         [catalog]\ntype = \"rest\"\nuri = \"http://reader:canary-of-uri@127.0.0.1:1\"\ntoken = \"${TOKEN}\"\n\
         header.x-api-key = \"canary-of-header\"\n[run]\nworkers = 1\n",
    );
    all_silent(
        &project,
        &[("TOKEN", "canary-of-variable"), ("KAPPA_CATALOG__HEADER_AUTHORIZATION", "Basic canary-of-env")],
    );
}

#[test]
fn a_server_that_repeats_what_it_was_told_gets_nothing_out() {
    let address = echo();
    let project = project(&format!(
        "[kafka]\n\"bootstrap.servers\" = \"localhost:1\"\n\"socket.connection.setup.timeout.ms\" = 1000\n\
         [catalog]\ntype = \"rest\"\nuri = \"http://{address}\"\ntoken = \"canary-of-token\"\n"
    ));
    let command = ["backfill", "plan", "jobs/hits.sql", "--from", "2026-01-01", "--to", "2026-01-02", "-vv"];
    let finished = kappa(&project, &command, &[]);
    assert_eq!(finished.code, Some(5), "{}", finished.stderr);
    // The server was asked, and its answer is shown: but not what it repeats.
    assert!(finished.stderr.contains("401"), "{}", finished.stderr);
    assert!(finished.stderr.contains("you sent"), "{}", finished.stderr);
    silent(&command, &finished);
}

/// A server that refuses everything with the request in its answer; it ends with the test's process.
fn echo() -> std::net::SocketAddr {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 8192];
            let length = stream.read(&mut request).unwrap_or(0);
            let said = String::from_utf8_lossy(&request[..length]).replace(['\r', '\n', '"'], " ");
            let body = format!("{{\"error\":{{\"message\":\"you sent {said}\"}}}}");
            let answer = format!(
                "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    address
}

#[test]
fn secrets_that_are_not_there_are_told_without_those_that_are() {
    let project = project(
        "[kafka]\n\"sasl.password\" = \"canary-of-value\"\n\"ssl.key.pem\" = \"\"\"\ncanary\n\"\"\"\n\
         \"ssl.key.password\" = \"${file:secrets/none}\"\n\"client.id\" = \"${NOT_SET}\"\n\
         [catalog]\ntype = \"hive\"\nuri = \"postgres://u:canary-of-uri@h/d\"\ntoken = [\"canary-of-list\"]\n",
    );
    for command in COMMANDS {
        if command[0] == "explain" {
            continue; // It looks at no settings.
        }
        let finished = kappa(&project, command, &[]);
        silent(command, &finished);
        if !command.contains(&"--connect") {
            assert_eq!(finished.code, Some(3), "{command:?}: {}{}", finished.stdout, finished.stderr);
        }
    }
}
