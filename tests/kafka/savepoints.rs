//! A savepoint is Parquet and JSON that others can read: DuckDB, by the very queries of `src/state/README.md`, lists keys and open
//! windows as a plain computation gives them; and a job that goes back to it publishes what it would have.

use chrono::DateTime;

use crate::support::Value;
use crate::support::kafka::{self, Message};
use crate::support::project::{Catalog, Project};
use crate::support::python::{duckdb, sound_tables};

const README: &str = include_str!("../../src/state/README.md");
/// 2026-01-01T00:00:00Z, in seconds.
const MIDNIGHT: i64 = 1_767_225_600;
/// Seconds since midnight, and hosts. The watermark is five seconds behind the last: 00:01:26.
const FIRST: [(i64, &str); 7] = [(1, "a"), (10, "b"), (50, "a"), (80, "a"), (81, "a"), (90, "b"), (91, "b")];
/// These end all that is open.
const THEN: [(i64, &str); 5] = [(92, "a"), (93, "a"), (100, "b"), (300, "a"), (5_000, "b")];
const RESULTS: [&str; 5] = ["minutes", "visits", "threes", "hops", "slides"];

fn job(topic: &str, namespace: &str, suffix: &str) -> String {
    let table = |name: &str| format!("'{namespace}.{name}{suffix}'");
    let [minutes, visits, threes, hops, slides] = RESULTS.map(table);
    format!(
        "CREATE STREAM clicks (host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '5 seconds')
LIVE FROM KAFKA '{topic}' FORMAT JSON;
INSERT INTO ICEBERG {minutes}
SELECT window_start, window_end, host, count(*) AS hits FROM TUMBLE(clicks, t, INTERVAL '1 minute')
GROUP BY window_start, window_end, host;
INSERT INTO ICEBERG {visits}
SELECT window_start, window_end, host, count(*) AS hits
FROM SESSION(clicks PARTITION BY host, t, INTERVAL '20 seconds') GROUP BY window_start, window_end, host;
INSERT INTO ICEBERG {threes} PARTITIONED BY (day(window_end))
SELECT window_start, window_end, window_reason, host, count(*) AS hits
FROM COUNT_WINDOW(clicks PARTITION BY host, t, 3, TIMEOUT INTERVAL '10 minutes')
GROUP BY window_start, window_end, window_reason, host;
INSERT INTO ICEBERG {hops}
SELECT window_start, window_end, host, count(*) AS hits FROM HOP(clicks, t, INTERVAL '1 minute', INTERVAL '2 minutes')
GROUP BY window_start, window_end, host;
INSERT INTO ICEBERG {slides}
SELECT window_start, window_end, host, count(*) AS hits
FROM SLIDING(clicks PARTITION BY host, t, INTERVAL '20 seconds') GROUP BY window_start, window_end, host;
"
    )
}

fn produce(topic: &str, clicks: &[(i64, &str)]) {
    let message = |&(second, host): &(i64, &str)| {
        let time = DateTime::from_timestamp(MIDNIGHT + second, 0).expect("a time").to_rfc3339();
        let value = format!(r#"{{"host":"{host}","t":"{time}"}}"#);
        let timestamp_ms = Some((MIDNIGHT + second) * 1_000);
        Message { value: Some(value.into_bytes()), timestamp_ms, ..Message::default() }
    };
    kafka::produce(topic, &clicks.iter().map(message).collect::<Vec<_>>());
}

/// The queries of the readme, and what it says that each gives: the code block behind it.
fn queries() -> Vec<(String, String)> {
    let mut blocks: Vec<(&str, String)> = Vec::new();
    let mut is_open = false;
    for line in README.lines() {
        match line.strip_prefix("```") {
            Some(language) if !is_open => blocks.push((language, String::new())),
            None if is_open => {
                let text = &mut blocks.last_mut().expect("it was opened").1;
                *text += line;
                *text += "\n";
                continue;
            }
            None => continue,
            Some(_) => {}
        }
        is_open = !is_open;
    }
    let pairs = blocks.windows(2).filter(|pair| pair[0].0 == "sql");
    pairs.map(|pair| (pair[0].1.clone(), pair[1].1.clone())).collect()
}

fn shown(rows: &[Vec<Value>]) -> String {
    let value = |value: &Value| match value {
        Value::Timestamp(time) => {
            DateTime::from_timestamp_micros(*time).expect("a time").format("%Y-%m-%d %H:%M:%S").to_string()
        }
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        other => format!("{other:?}"),
    };
    let row = |row: &Vec<Value>| row.iter().map(value).collect::<Vec<_>>().join(" | ");
    rows.iter().map(|cells| row(cells) + "\n").collect()
}

/// What is open at the watermark, by a plain computation.
fn model() -> [Vec<Vec<Value>>; 5] {
    let watermark = 91 - 5;
    let at = |second: i64| Value::Timestamp((MIDNIGHT + second) * 1_000_000);
    let mut open = [const { Vec::new() }; 5];
    for host in ["a", "b"] {
        let times: Vec<i64> = FIRST.iter().filter(|click| click.1 == host).map(|click| click.0).collect();
        let mut minutes: Vec<(i64, i64)> = Vec::new();
        let mut visits: Vec<(i64, i64, i64)> = Vec::new();
        for &time in &times {
            match minutes.last_mut().filter(|minute| minute.0 == time / 60) {
                Some(minute) => minute.1 += 1,
                None => minutes.push((time / 60, 1)),
            }
            match visits.last_mut().filter(|visit| time < visit.1 + 20) {
                Some(visit) => *visit = (visit.0, time, visit.2 + 1),
                None => visits.push((time, time, 1)),
            }
        }
        // A minute is in the hop that begins with it, and in the one before.
        for &(minute, hits) in minutes.iter().filter(|minute| (minute.0 + 2) * 60 > watermark) {
            open[3].push(vec![host.into(), at(minute * 60), hits.into()]);
        }
        for (minute, hits) in minutes.into_iter().filter(|minute| (minute.0 + 1) * 60 > watermark) {
            open[0].push(vec![at(minute * 60), at((minute + 1) * 60), host.into(), hits.into()]);
        }
        for (first, last, hits) in visits.into_iter().filter(|visit| visit.1 + 20 > watermark) {
            open[1].push(vec![host.into(), at(first), at(last), hits.into()]);
        }
        for &time in times.iter().filter(|&&time| time + 20 > watermark) {
            open[4].push(vec![host.into(), at(time), 1.into()]);
        }
        let taken: Vec<i64> = times.into_iter().filter(|&time| time < watermark).collect();
        let last = taken.chunks(3).last().filter(|window| window.len() < 3).expect("one is open");
        open[2].push(vec![host.into(), at(last[0]), at(last[last.len() - 1]), (last.len() as i64).into()]);
    }
    open
}

#[test]
fn duckdb_lists_the_open_windows_of_a_savepoint_and_the_job_goes_on_from_it_as_if_nothing_had_been() {
    let topic = kafka::create_topic("savepoints", 1);
    let project = Project::on_kafka(Catalog::Sql, "");
    let namespace = project.namespace();
    for (name, suffix) in [("clicks", ""), ("whole", "_whole")] {
        project.write(&format!("jobs/{name}.sql"), job(&topic, namespace, suffix));
    }
    produce(&topic, &FIRST);
    project.kappa(&["run", "jobs/clicks.sql", "--until", "end"]).ok();
    project.kappa(&["savepoint", "create", "jobs/clicks.sql", "first"]).ok();

    let folder = project.path().join(".kappa/state/clicks/savepoints/first");
    let queries = queries();
    assert_eq!(queries.len(), RESULTS.len());
    for ((query, output), expected) in queries.iter().zip(model()) {
        let query = query.replace("FOLDER", &folder.display().to_string());
        let rows = duckdb(&project, query.trim_end().trim_end_matches(';'));
        assert_eq!(rows, expected, "{query}");
        assert_eq!(shown(&rows), *output, "{query}");
    }
    let json = std::fs::read_to_string(folder.join("savepoint.json")).expect("is there");
    let content: serde_json::Value = serde_json::from_str(json.lines().next().expect("two lines")).expect("JSON");
    assert_eq!(content["format"], 1);
    assert_eq!(content["content"]["manifest"]["streams"]["clicks"]["0"]["next_offset"], FIRST.len());

    produce(&topic, &THEN);
    project.kappa(&["run", "jobs/clicks.sql", "--until", "end"]).ok();
    project.kappa(&["run", "jobs/clicks.sql", "--savepoint", "first", "--until", "end", "--drain"]).ok();
    project.kappa(&["run", "jobs/whole.sql", "--until", "end", "--drain"]).ok();
    for result in RESULTS {
        let names = ["", "_whole"].map(|suffix| format!("{namespace}.{result}{suffix}"));
        let [gone_back, whole] = sound_tables(&project, [&names[0], &names[1]]);
        assert!(!whole.rows().is_empty(), "{result}");
        assert_eq!(gone_back.rows(), whole.rows(), "{result}");
    }
}
