//! Kafka with TLS and SASL: every way in, and what is said when there is none: within fifteen seconds, with the cause, the way
//! out, and never a secret.

use std::time::Duration;

use super::hours::{Hours, JOB};
use crate::support::process::Finished;
use crate::support::tls::{self, GUEST_PASSWORD, KEY_PASSWORD, PASSWORD, Properties};
use crate::support::{kafka, kafka_address};

/// From the start of a command to its message.
const MESSAGE_LIMIT: Duration = Duration::from_secs(15);
const WATERMARK: &str = "WATERMARK FOR t AS t";
/// A password that nobody has.
const WRONG_PASSWORD: &str = "canary-of-a-password";

/// A project with these properties, on a topic with one hour to publish.
fn project(kafka: &Properties) -> Hours {
    let hours = on_topic(kafka::create_topic("secured", 1), kafka);
    hours.send(&[(0, "00:30"), (0, "01:30")]);
    hours
}

fn on_topic(topic: String, kafka: &Properties) -> Hours {
    let kafka: Vec<(&str, &str)> = kafka.iter().map(|(property, value)| (*property, value.as_str())).collect();
    Hours::with_kafka(topic, &kafka, WATERMARK)
}

fn with(mut properties: Properties, property: &'static str, value: &str) -> Properties {
    properties.retain(|(other, _)| *other != property);
    properties.push((property, value.to_owned()));
    properties
}

#[test]
fn every_way_in_reads_the_topic() {
    let ways = [
        tls::ssl(),
        tls::mutual(),
        tls::inline(),
        tls::sasl("PLAIN", "kappa", PASSWORD),
        tls::sasl("SCRAM-SHA-256", "kappa", PASSWORD),
        tls::sasl_ssl("SCRAM-SHA-512", "kappa", PASSWORD),
    ];
    for way in ways {
        let hours = project(&way);
        hours.kappa(&["run"], &["--until", "end"]).ok();
        assert_eq!(hours.row_count("result"), 1, "{way:?}");
    }
}

#[test]
fn archive_and_offsets_go_the_same_way_in() {
    let hours = project(&tls::sasl_ssl("PLAIN", "kappa", PASSWORD));
    hours.kappa(&["archive"], &["--until", "end"]).ok();
    assert_eq!(hours.row_count("history"), 2);
    let offsets = hours.kappa(&["offsets", "get"], &["--json"]).ok();
    let offsets: serde_json::Value = serde_json::from_str(&offsets.stdout).expect("one JSON document");
    assert_eq!(offsets["partitions"][0]["log_end"], 2, "{offsets}");
}

/// Runs the job and holds what it says against its snapshot.
#[track_caller]
fn refused(name: &str, hours: &Hours) {
    let finished = hours.run(&[]).wait(MESSAGE_LIMIT);
    assert_eq!(finished.stdout, "");
    let mut settings = hours.snapshots();
    settings.add_filter(r"near-[0-9a-f]{12}", "[NEAR]");
    let code = finished.code.expect("no signal ends it");
    settings.bind(|| insta::assert_snapshot!(name, format!("{}--- exit {code}\n", finished.stderr)));
}

#[test]
fn a_wrong_password_is_named() {
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let name = format!("wrong-password-{}", mechanism.to_lowercase());
        refused(&name, &project(&tls::sasl(mechanism, "kappa", WRONG_PASSWORD)));
    }
}

#[test]
fn a_certificate_that_nobody_trusts_is_named() {
    refused("wrong-ca", &project(&with(tls::ssl(), "ssl.ca.location", &tls::file("other-ca.pem"))));
}

#[test]
fn a_missing_client_certificate_is_named() {
    refused("no-client-certificate", &project(&tls::without_certificate()));
}

#[test]
fn a_wrong_protocol_is_named() {
    refused("tls-expected", &project(&with(tls::ssl(), "security.protocol", "PLAINTEXT")));
}

#[test]
fn a_host_that_nobody_knows_is_named() {
    let kafka = vec![("bootstrap.servers", "no-such-host.invalid:9092".to_owned())];
    refused("unknown-host", &project(&kafka));
}

#[test]
fn a_closed_port_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one").to_string();
    drop(listener);
    refused("closed-port", &project(&vec![("bootstrap.servers", address)]));
}

#[test]
fn a_missing_topic_is_named_with_a_near_one() {
    let topic = kafka::create_topic("near", 1);
    let hours = on_topic(format!("{topic}s"), &vec![("bootstrap.servers", kafka_address())]);
    refused("missing-topic", &hours);
}

#[test]
fn a_missing_right_is_named() {
    let hours = project(&tls::sasl("PLAIN", "guest", GUEST_PASSWORD));
    refused("no-right-to-describe", &hours);
    let looked = hours.kappa(&["validate"], &["--connect"]).exits(3);
    assert!(looked.stderr.contains("--operation Describe"), "{}", looked.stderr);
    allow_guest("Describe", &hours.topic);
    refused("no-right-to-read", &hours);
    let looked = hours.kappa(&["validate"], &["--connect"]).exits(3);
    assert!(looked.stderr.contains("--operation Read"), "{}", looked.stderr);
    allow_guest("Read", &hours.topic);
    // All but the rights on settings and group, without which it goes on.
    hours.says("no-right-to-see-settings", &["run"], &["--until", "end"]);
    allow_guest("DescribeConfigs", &hours.topic);
    let finished = hours.kappa(&["run"], &["--until", "end"]).ok();
    assert_eq!(hours.results(), [("00:00".to_owned(), 1)]);
    let told = "lag tools don't see how far this is: ";
    let warnings: Vec<&str> = finished.stderr.lines().filter(|line| line.contains("WARN")).collect();
    assert!(
        matches!(warnings[..], [one] if one.contains(told) && one.ends_with("--operation Read --group kappa-hours")),
        "{warnings:#?}"
    );
}

/// Grants a right on a topic to the user who has none.
fn allow_guest(operation: &str, topic: &str) {
    let right = ["--add", "--allow-principal", "User:guest", "--operation", operation, "--topic", topic];
    kafka::tool("AclCommand", &right);
}

#[test]
fn no_secret_is_ever_shown() {
    let misspelt = with(tls::sasl("PLAIN", "kappa", PASSWORD), "sasl.pasword", WRONG_PASSWORD);
    let wrong_key = with(tls::mutual(), "ssl.keystore.password", WRONG_PASSWORD);
    let wrong = tls::sasl_ssl("SCRAM-SHA-256", "kappa", WRONG_PASSWORD);
    for (properties, code) in
        [(tls::mutual(), 0), (tls::sasl("PLAIN", "kappa", PASSWORD), 0), (misspelt, 3), (wrong_key, 3), (wrong, 5)]
    {
        let properties = with(properties, "debug", "all");
        let hours = project(&properties);
        let finished = hours.project.kappa(&["-vv", "run", JOB, "--until", "end"]).exits(code);
        for secret in [PASSWORD, GUEST_PASSWORD, KEY_PASSWORD, WRONG_PASSWORD] {
            for output in [&finished.stdout, &finished.stderr] {
                let line = output.lines().find(|line| line.contains(secret));
                assert_eq!(line, None, "{properties:?}");
            }
        }
    }
}

#[test]
fn a_key_that_is_given_as_text_is_never_shown() {
    let text = std::fs::read_to_string(tls::file("client-key.pem")).expect("the servers' certificates are made");
    let secret: Vec<&str> = text.lines().filter(|line| !line.starts_with("-----")).collect();
    assert!(secret.len() > 1, "a key has some lines");
    let silent = |what: &str, finished: &Finished| {
        for output in [&finished.stdout, &finished.stderr] {
            let line = output.lines().find(|line| secret.iter().any(|part| line.contains(part)));
            assert_eq!(line, None, "{what}");
        }
    };
    let hours = project(&with(tls::inline(), "debug", "all"));
    let shown = hours.project.kappa(&["config"]).ok();
    for property in ["ssl.key.pem", "ssl.certificate.pem", "ssl.ca.pem"] {
        let line = shown.stdout.lines().find(|line| line.contains(property)).expect("every property is shown");
        assert!(line.contains("***"), "{line}");
    }
    silent("config", &shown);
    silent("config --json", &hours.project.kappa(&["config", "--json"]).ok());
    silent("run", &hours.project.kappa(&["-vv", "run", JOB, "--until", "end"]).ok());
    assert_eq!(hours.row_count("result"), 1);
    // A key that isn't the certificate's, and one that is none.
    let other =
        hours.project.write("other-key.pem", text.replacen(secret[1], &secret[1].chars().rev().collect::<String>(), 1));
    for key in [format!("${{file:{}}}", other.display()), text.replace('\n', " ")] {
        let refused = hours.project.kappa(&["-vv", "run", JOB, "--set", &format!("kafka.ssl.key.pem={key}")]).exits(3);
        silent("a wrong key", &refused);
    }
}
