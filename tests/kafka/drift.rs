//! A topic whose messages change, and a declaration that follows them: on a real broker and real catalogs, with history
//! read by others too.

use crate::model::Value;
use crate::support::kafka::{self, Message};
use crate::support::project::{Catalog, Project};
use crate::support::python::{Column, duckdb, sound_tables};

const PARTITIONS: usize = 2;
const JOB: &str = "jobs/visits.sql";
const DAY: [&str; 4] = ["--from", "2026-01-01", "--to", "2026-01-02"];

fn message(partition: i32, index: i64) -> Message {
    let (minute, second) = (index / 60, index % 60);
    // INT at first, then beyond it; now and then no number at all.
    let visits = match index % 50 {
        7 => r#""many""#.to_owned(),
        9 => "3000000000".to_owned(),
        _ => index.to_string(),
    };
    let fields = format!(r#""visits":{visits},"page":{{"path":"/{}","query":null}}"#, index % 3);
    let text = format!(r#"{{"t":"2026-01-01T00:{minute:02}:{second:02}Z",{fields}}}"#);
    Message { partition, key: None, value: Some(text.into_bytes()), timestamp_ms: None }
}

fn stream(topic: &str, namespace: &str, columns: &str) -> String {
    format!(
        "CREATE STREAM visits ({columns} t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '5 seconds' MAX FUTURE NONE)
         LIVE FROM KAFKA '{topic}' FORMAT JSON WITH (keep_rest = true) HISTORY FROM ICEBERG '{namespace}.visits_raw';"
    )
}

#[test]
fn a_history_that_was_widened_and_took_its_rejects_gives_what_a_live_run_gives() {
    for catalog in [Catalog::Sql, Catalog::Rest] {
        let topic = kafka::create_topic("visits", PARTITIONS);
        let project = Project::on_kafka(catalog, "rejects_max = \"100%\"");
        let namespace = project.namespace();
        let declare = |columns: &str| project.write("jobs/streams/visits.sql", stream(&topic, namespace, columns));
        let produce = |indices: std::ops::Range<i64>| {
            let messages = indices.flat_map(|index| (0..2).map(move |partition| message(partition, index)));
            kafka::produce(&topic, &messages.collect::<Vec<_>>());
        };
        project.write(
            JOB,
            format!(
                "INCLUDE 'streams/visits.sql';
                 INSERT INTO ICEBERG '{namespace}.visits' PARTITIONED BY (hour(window_start))
                 SELECT window_start, window_end, count(*) AS n, sum(visits) AS visits
                 FROM TUMBLE(visits, t, INTERVAL '1 minute') GROUP BY window_start, window_end;"
            ),
        );
        declare("visits INT,");
        produce(0..300);
        project.kappa(&["archive", JOB, "--until", "end"]).ok();
        declare("visits BIGINT, path TEXT FROM 'page.path',");
        produce(300..600);
        project.kappa(&["archive", JOB, "--until", "end", "--evolve"]).ok();
        let taken = project.kappa(&["archive", JOB, "--rejects"]).ok();
        assert!(taken.stdout.contains("12 records can be read now"), "{}", taken.stdout);
        project.kappa(&["run", JOB, "--until", "end", "--drain"]).ok();
        project.kappa(&[&["diff", JOB], &DAY[..], &["--drain"]].concat()).ok();

        let name = format!("{namespace}.visits_raw");
        let [history] = sound_tables(&project, [&name]);
        let wanted = [("visits", "long"), ("path", "string"), ("_rest", "string")];
        for (name, column_type) in wanted {
            let column = Column { name: name.to_owned(), column_type: column_type.to_owned() };
            assert!(history.columns.contains(&column), "{column:?} in {:?}", history.columns);
        }
        // Of 1,200 messages 24 have no number.
        assert_eq!(history.rows().len(), 1_176);
        let asked =
            format!("SELECT count(path), count(*) FILTER (WHERE _rest LIKE '%path%'), max(visits) FROM {{{name}}}");
        let numbers = [600, 576, 3_000_000_000].map(Value::Integer);
        assert_eq!(duckdb(&project, &asked), [numbers]);
    }
}
