//! Jobs that are accepted: what their text becomes.

use std::time::Duration;

use super::definition::{InsertDefinition, OriginDefinition, StreamDefinition, WindowFunction};
use super::include::nowhere;
use super::interval::Length;
use super::problem::Problems;
use super::statement::parse;
use super::{Publish, compile, compile_streams, compile_with};
use crate::event::{
    ColumnType, FieldType, FormatKind, LiveFace, Metadata, Micros, Origin, PartitionField, TimestampUnit, Transform,
};

const STREAM: &str =
    "CREATE STREAM requests (url TEXT, host TEXT, ip TEXT, bytes BIGINT, event_time TIMESTAMP NOT NULL,
    WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds')
  LIVE FROM KAFKA 'requests' FORMAT JSON HISTORY FROM ICEBERG 'raw.requests';\n";

fn stream(text: &str) -> StreamDefinition {
    let mut problems = Problems::default();
    let mut parsed = parse("job", text, &nowhere, &mut problems);
    assert_eq!(problems, Problems::default(), "{text}");
    parsed.definition.streams.remove(0)
}

fn columns(columns: &str) -> StreamDefinition {
    stream(&format!("CREATE STREAM s ({columns}) LIVE FROM FILE 'a.jsonl'"))
}

fn insert(text: &str) -> InsertDefinition {
    let mut problems = Problems::default();
    let mut parsed = parse("job", text, &nowhere, &mut problems);
    assert_eq!(problems, Problems::default(), "{text}");
    parsed.definition.inserts.remove(0)
}

fn fingerprint(text: &str) -> String {
    compile("job", text).unwrap_or_else(|errors| panic!("{errors}")).fingerprint
}

fn hits(query: &str) -> String {
    format!("{STREAM} INSERT INTO ICEBERG 'marts.hits' {query};")
}

#[test]
fn every_type_can_be_written_in_all_its_ways() {
    let of = |text: &str| columns(&format!("c {text}")).columns[0].column_type.value.clone();
    let array = |item: ColumnType| ColumnType::Array(Box::new(item));
    for (text, expected) in [
        ("boolean", ColumnType::Boolean),
        ("INTEGER", ColumnType::Int),
        ("BIGINT", ColumnType::BigInt),
        ("REAL", ColumnType::Float),
        ("DOUBLE PRECISION", ColumnType::Double),
        ("DOUBLE", ColumnType::Double),
        ("DECIMAL(18, 2)", ColumnType::Decimal { precision: 18, scale: 2 }),
        ("NUMERIC(5)", ColumnType::Decimal { precision: 5, scale: 0 }),
        ("VARCHAR", ColumnType::Text),
        ("STRING", ColumnType::Text),
        ("BYTEA", ColumnType::Bytes),
        ("DATE", ColumnType::Date),
        ("TIMESTAMP", ColumnType::Timestamp),
        ("UUID", ColumnType::Uuid),
        ("TEXT[]", array(ColumnType::Text)),
        ("TEXT ARRAY", array(ColumnType::Text)),
        ("ARRAY<ARRAY<ARRAY<INT>>>", array(array(array(ColumnType::Int)))),
        ("INT[][]", array(array(ColumnType::Int))),
    ] {
        assert_eq!(of(text), expected, "{text}");
    }
    let field = |name: &str, column_type| FieldType { name: name.into(), column_type };
    assert_eq!(
        of("STRUCT<a INT, tags ARRAY<STRUCT<key TEXT>>> NOT NULL"),
        ColumnType::Struct(vec![
            field("a", ColumnType::Int),
            field("tags", array(ColumnType::Struct(vec![field("key", ColumnType::Text)]))),
        ])
    );
}

#[test]
fn column_options_stand_in_any_order() {
    let definition = columns(
        "a INT NOT NULL FROM 'x.y', b INT FROM 'x.y' NOT NULL, c INT NOT NULL AS a + 1, d INT AS a + 1 NOT NULL,
         e BOOLEAN AS a IS NOT NULL NOT NULL, f BOOLEAN AS a IS DISTINCT FROM b, g TEXT FROM METADATA 'header:trace-id'",
    );
    let required: Vec<bool> = definition.columns.iter().map(|column| column.required).collect();
    assert_eq!(required, [true, true, true, true, true, false, false]);
    let computed: Vec<String> = definition
        .columns
        .iter()
        .filter_map(|column| match &column.origin {
            OriginDefinition::Computed(expression) => Some(expression.value.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(computed, ["a + 1", "a + 1", "a IS NOT NULL", "a IS DISTINCT FROM b"]);
    assert!(matches!(&definition.columns[1].origin, OriginDefinition::Path(path) if path == &["x", "y"]));
    let OriginDefinition::Metadata(metadata) = &definition.columns[6].origin else { panic!("a header") };
    assert_eq!(metadata.value, Metadata::Header("trace-id".into()));
}

#[test]
fn a_watermark_has_a_bound_idleness_and_a_greatest_future() {
    let of =
        |clause: &str| columns(&format!("t TIMESTAMP NOT NULL, WATERMARK FOR t {clause}")).watermark.expect("there");
    let plain = of("");
    assert_eq!((plain.bound, plain.idle_after, plain.max_future), (Micros(0), None, None));
    let full = of("AS t - INTERVAL '5' SECOND MAX FUTURE INTERVAL '2 hours' IDLE AFTER INTERVAL '1 minute'");
    assert_eq!(full.bound, Micros::from_seconds(5));
    assert_eq!(full.idle_after, Some(Duration::from_secs(60)));
    assert_eq!(full.max_future, Some(Some(Micros::from_seconds(7200))));
    assert_eq!(of("AS t MAX FUTURE NONE").max_future, Some(None));
}

#[test]
fn a_watermark_may_go_by_marker_records() {
    let of = |clause: &str| {
        columns(&format!("idle INT, most INT, end INT, kind TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t {clause}"))
            .watermark
    };
    for (clause, condition) in [
        ("WHEN kind = 'tick'", "kind = 'tick'"),
        ("WHEN kind IN ('a', 'b') OR (idle, 1) = (most, 2)", "kind IN ('a', 'b') OR (idle, 1) = (most, 2)"),
        (
            "WHEN CASE WHEN end > 1 THEN kind = 'x' WHEN end > 0 THEN CASE WHEN idle = 1 THEN true END WHEN most = 2 THEN false END",
            "CASE WHEN \"end\" > 1 THEN kind = 'x' WHEN \"end\" > 0 THEN CASE WHEN idle = 1 THEN true END WHEN most = 2 THEN false END",
        ),
        (
            "AS t WHEN CASE WHEN kind = 'x' THEN idle > 1 END IDLE AFTER INTERVAL '1 minute'",
            "CASE WHEN kind = 'x' THEN idle > 1 END",
        ),
        ("IDLE AFTER INTERVAL '1 minute' WHEN idle = most MAX FUTURE NONE", "idle = most"),
    ] {
        let watermark = of(clause).expect("there");
        assert_eq!(watermark.when.expect("a condition").value.to_string(), condition);
        assert_eq!(watermark.idle_after.is_some(), clause.contains("IDLE AFTER"));
        assert_eq!(watermark.max_future.is_some(), clause.contains("MAX FUTURE"));
    }
    assert!(of("AS t").expect("there").when.is_none());
}

#[test]
fn what_marker_records_are_told_by_is_planned_over_all_columns() {
    let text = "CREATE STREAM s (kind TEXT, n INT, twice BIGINT AS n * 2, k TEXT FROM METADATA 'key', t TIMESTAMP NOT NULL,
        WATERMARK FOR t WHEN Twice > 2 AND upper(k) = 'K' OR CORRECT_CLOCK(t, t, t) < t) LIVE FROM KAFKA 'a' FORMAT JSON";
    let streams = compile_streams("job", &text.replace("Twice", "twice")).unwrap_or_else(|errors| panic!("{errors}"));
    let marker = streams[0].marker.as_ref().expect("it has a WHEN");
    assert_eq!(marker.sql, "twice > 2 AND upper(k) = 'K' OR correct_clock(t, t, t) < t");
    assert!(compile_streams("job", text).is_err(), "names of columns keep their case");
}

#[test]
fn faces_say_where_records_come_from() {
    let of = |faces: &str| stream(&format!("CREATE STREAM s (a INT) {faces}")).live.expect("there").value;
    let LiveFace::Kafka { topic, format } = of("LIVE FROM KAFKA 'a-b.c' FORMAT JSON WITH (timestamp_unit = 'ms')")
    else {
        panic!("a topic")
    };
    assert_eq!(
        (topic.as_str(), format.kind, format.timestamp_unit),
        ("a-b.c", FormatKind::Json, Some(TimestampUnit::Milliseconds))
    );
    for (path, kind) in
        [("a.ndjson", FormatKind::Json), ("x/a.csv", FormatKind::Csv), ("a.PARQUET", FormatKind::Parquet)]
    {
        assert!(
            matches!(of(&format!("LIVE FROM FILE '{path}'")), LiveFace::File { format, .. } if format.kind == kind)
        );
    }
    let csv = of("HISTORY FROM ICEBERG 'a.b.c' LIVE FROM FILE 'a.txt' FORMAT CSV");
    assert!(matches!(csv, LiveFace::File { format, .. } if format.kind == FormatKind::Csv));
}

#[test]
fn the_long_form_of_a_window_is_the_short_one() {
    let rest = "GROUP BY window_start, host";
    let of = |from: &str| {
        let text = hits(&format!("SELECT window_start, host, count(*) AS n FROM {from} {rest}"));
        let mut insert = insert(&text);
        let call = insert.windows.remove(0);
        (call.input.name().unwrap_or_default().to_owned(), call.time.value, call.relation, call.function)
    };
    let short = of("TUMBLE(requests, event_time, INTERVAL '1 day', INTERVAL '-8' HOUR)");
    let long = of("TABLE(TUMBLE(TABLE requests, DESCRIPTOR(event_time), INTERVAL '1' DAY, INTERVAL '-8 hours'))");
    assert_eq!((&short.0, &short.1, &short.2), (&long.0, &long.1, &long.2));
    for function in [short.3, long.3] {
        let WindowFunction::Tumble { size, offset, zone: None } = function else { panic!("{function:?}") };
        assert_eq!(size.value, Length::Fixed(Micros::from_seconds(86_400)));
        assert_eq!(offset.map(|offset| offset.value), Some(Micros::from_seconds(-28_800)));
    }
}

#[test]
fn an_alias_behind_a_window_keeps_working() {
    let plan = compile(
        "job",
        &hits(
            "SELECT w.window_start, w.host, count(*) AS n FROM TUMBLE(requests, event_time, INTERVAL '1 minute') AS w GROUP BY w.window_start, w.host",
        ),
    );
    assert!(plan.is_ok(), "{}", plan.unwrap_err());
}

#[test]
fn clauses_behind_the_query_are_found_outside_of_brackets_only() {
    let insert = insert(&hits(
        "PARTITIONED BY (hour(window_start), bucket(16, host), truncate(4, host), host)
         SELECT window_start, max(late) AS late, (SELECT publish FROM x) AS publish FROM TUMBLE(requests, event_time, INTERVAL '1 minute')
         WHERE publish = 'each' AND late IS NULL GROUP BY window_start
         PUBLISH WHOLE PARTITIONS LATE INTO ICEBERG 'late.requests'",
    ));
    assert_eq!(insert.publish.map(|publish| publish.value), Some(Publish::WholePartitions));
    assert_eq!(insert.late_into.map(|late| late.value.to_string()), Some("late.requests".into()));
    let partitions: Vec<PartitionField> =
        insert.partitioned_by.into_iter().flatten().map(|field| field.value).collect();
    let field = |column: &str, transform| PartitionField { column: column.into(), transform };
    assert_eq!(
        partitions,
        [
            field("window_start", Transform::Hour),
            field("host", Transform::Bucket(16)),
            field("host", Transform::Truncate(4)),
            field("host", Transform::Identity),
        ]
    );
    assert!(insert.query.to_string().ends_with("GROUP BY window_start"), "{}", insert.query);
}

#[test]
fn columns_may_be_called_like_words_of_sql() {
    let text = "CREATE STREAM events (timestamp TIMESTAMP NOT NULL, start BIGINT, end BIGINT, count BIGINT, key TEXT, value DOUBLE,
          user TEXT, date DATE, WATERMARK FOR timestamp AS timestamp - INTERVAL '1 second')
        LIVE FROM FILE 'events.jsonl';
        INSERT INTO ICEBERG 'a.b'
        SELECT window_start, key, user, date, max(timestamp) AS timestamp, sum(end - start) AS length, sum(count) AS count, max(value) AS value,
               sum(CASE WHEN end > start THEN end ELSE start END) AS end, min(events.end) AS start,
               count(*) AS n, min(CAST(value AS BIGINT)) AS whole
        FROM TUMBLE(events, timestamp, INTERVAL '1 minute')
        WHERE end >= start AND value > 0 AND timestamp > TIMESTAMP '2020-01-01 00:00:00' AND date > DATE '2020-01-01'
        GROUP BY window_start, key, user, date;";
    let plan = compile("job", text).unwrap_or_else(|errors| panic!("{errors}"));
    let names: Vec<&str> = plan.inserts[0].columns.iter().map(|column| column.name.as_str()).collect();
    let expected =
        ["window_start", "key", "user", "date", "timestamp", "length", "count", "value", "end", "start", "n", "whole"];
    assert_eq!(names, expected);
}

#[test]
fn names_keep_their_case() {
    let text = "CREATE STREAM Events (userId BIGINT, Name TEXT, rank BIGINT, eventTime TIMESTAMP NOT NULL, payload STRUCT<itemId BIGINT>, WATERMARK FOR eventTime)
        LIVE FROM FILE 'e.jsonl';
        INSERT INTO ICEBERG 'a.b' SELECT window_start, userId, COUNT(*) AS hitCount, max(payload.itemId) AS lastItem, max(Name) AS Name, max(rank) AS rank, max(CAST(userId AS TEXT)) AS COUNT
        FROM TUMBLE(Events, eventTime, INTERVAL '1 minute') AS W GROUP BY window_start, W.userId;
        INSERT INTO ICEBERG 'a.c' SELECT window_start, max(Events.rank) AS n FROM TUMBLE(Events, eventTime, INTERVAL '1 minute') GROUP BY window_start;";
    let plan = compile("job", text).unwrap_or_else(|errors| panic!("{errors}"));
    let names: Vec<&str> = plan.inserts[0].columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["window_start", "userId", "hitCount", "lastItem", "Name", "rank", "COUNT"]);
    assert!(matches!(&plan.streams[0].columns[0].origin, Origin::Path(path) if path == &["userId"]));
}

#[test]
fn a_file_has_no_greatest_future_and_a_topic_has_one_of_an_hour() {
    let of = |live: &str| {
        let text = format!("CREATE STREAM s (t TIMESTAMP NOT NULL, WATERMARK FOR t) LIVE FROM {live}");
        compile_streams("job", &text).unwrap_or_else(|errors| panic!("{errors}"))[0].max_future
    };
    assert_eq!(of("KAFKA 'a' FORMAT JSON"), Some(Micros::from_seconds(3600)));
    assert_eq!(of("FILE 'a.jsonl'"), None);
}

#[test]
fn computed_columns_are_planned_over_all_columns_and_widened_to_their_type() {
    let text = "CREATE STREAM s (t TIMESTAMP NOT NULL AS coalesce(sent, got), sent TIMESTAMP, got TIMESTAMP, n INT,
        wide BIGINT AS n, ratio DOUBLE AS n, name TEXT AS upper('x'), WATERMARK FOR t) LIVE FROM FILE 'a.jsonl'";
    let streams = compile_streams("job", text).unwrap_or_else(|errors| panic!("{errors}"));
    let stream = &streams[0];
    let schema = stream.declared_schema();
    let mut computed = 0;
    for column in &stream.columns {
        if let Origin::Computed(expression) = &column.origin {
            let data_type = expression.expression.data_type(&schema).expect("it has a type");
            assert_eq!(data_type, column.column_type.arrow(), "{}", column.name);
            computed += 1;
        }
    }
    assert_eq!((computed, stream.event_time), (4, 0));
}

#[test]
fn the_fingerprint_forgets_layout_comments_and_aliases() {
    let a = hits(
        "SELECT window_start, host, count(*) AS n, max(ip) AS ip FROM TUMBLE(requests, event_time, INTERVAL '1 minute') WHERE bytes > 1 GROUP BY window_start, host",
    );
    let b = hits(
        "select  w.window_start, w.host, COUNT(*) as n, MAX(w.ip) AS ip -- the same
         from /* really */ TABLE(tumble(TABLE requests, DESCRIPTOR(event_time), interval '60 seconds')) as w
         where w.bytes > 1 group by w.window_start, host publish each window",
    );
    assert_eq!(fingerprint(&a), fingerprint(&b));
    assert_eq!(fingerprint(&a).len(), 32);
}

#[test]
fn the_fingerprint_knows_everything_that_decides_a_result() {
    let base = hits(
        "SELECT window_start, host, count(*) AS n, max(ip) AS ip FROM TUMBLE(requests, event_time, INTERVAL '1 minute') WHERE host <> 'a' GROUP BY window_start, host",
    );
    let mut fingerprints = vec![fingerprint(&base)];
    for (from, to) in [
        ("AS n", "AS m"),
        ("count(*)", "count(ip)"),
        ("count(*)", "count(DISTINCT ip)"),
        ("count(*)", "count(*) FILTER (WHERE bytes > 1)"),
        ("max(ip)", "min(ip)"),
        ("max(ip)", "first_value(ip ORDER BY bytes)"),
        ("max(ip)", "first_value(ip ORDER BY bytes DESC)"),
        ("max(ip)", "max(concat(ip, '1'))"),
        ("max(ip)", "max(concat(ip, '2'))"),
        ("'1 minute'", "'2 minutes'"),
        ("'1 minute'", "'1 minute', INTERVAL '30 seconds'"),
        ("<> 'a'", "<> 'b'"),
        ("<> 'a'", "= 'a'"),
        ("GROUP BY window_start, host", "GROUP BY window_start, host HAVING count(*) > 1"),
        ("GROUP BY window_start, host", "GROUP BY window_start, host LATE INTO ICEBERG 'late.x'"),
        ("GROUP BY window_start, host", "GROUP BY window_start, host PUBLISH WHOLE PARTITIONS"),
        ("'marts.hits'", "'marts.hits2'"),
        ("'marts.hits'", "'marts.hits' PARTITIONED BY (hour(window_start))"),
        ("'15 seconds'", "'16 seconds'"),
        ("'15 seconds'", "'15 seconds' MAX FUTURE NONE"),
        ("'15 seconds'", "'15 seconds' WHEN host = 'marker'"),
        ("'15 seconds'", "'15 seconds' WHEN url = 'marker'"),
        ("url TEXT", "url TEXT NOT NULL"),
        ("url TEXT", "url TEXT FROM 'u'"),
        ("url TEXT", "url TEXT AS upper(host)"),
        ("url TEXT", "url TEXT AS lower(host)"),
        ("'raw.requests'", "'raw.others'"),
        ("KAFKA 'requests'", "KAFKA 'others'"),
        ("TUMBLE(requests, event_time, ", "HOP(requests, event_time, INTERVAL '1 minute', "),
        ("TUMBLE(requests, event_time, ", "HOP(requests, event_time, INTERVAL '30 seconds', "),
        ("'1 minute'", "'1 day'"),
        ("'1 minute'", "'1 day', TIME ZONE 'Europe/Berlin'"),
        ("'1 minute'", "'1 day', TIME ZONE 'Europe/Paris'"),
        ("'1 minute'", "'2 days', TIME ZONE 'Europe/Paris'"),
        ("'1 minute'", "'2 days', INTERVAL '1 day', TIME ZONE 'Europe/Paris'"),
        ("'1 minute'", "'1 month'"),
        ("'1 minute'", "'1 month', TIME ZONE 'Europe/Paris'"),
        ("'1 minute'", "'1 year'"),
    ] {
        assert!(base.contains(from), "{from}");
        fingerprints.push(fingerprint(&base.replacen(from, to, 1)));
    }
    let all = fingerprints.len();
    fingerprints.sort();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), all);
}

#[test]
fn windows_that_are_the_same_have_one_fingerprint() {
    let of = |window: &str| {
        fingerprint(&hits(
            &format!("SELECT window_end, host, count(*) AS n FROM {window} GROUP BY window_end, host").replacen(
                "SELECT",
                "PARTITIONED BY (day(window_end)) SELECT",
                1,
            ),
        ))
    };
    for (one, other) in [
        (
            "HOP(requests, event_time, INTERVAL '5 minutes', INTERVAL '1 hour', INTERVAL '-1 minute')",
            "HOP(requests, event_time, INTERVAL '5 minutes', INTERVAL '1 hour', INTERVAL '64 minutes')",
        ),
        (
            "CUMULATE(requests, event_time, INTERVAL '5 minutes', INTERVAL '1 hour')",
            "CUMULATE(requests, event_time, INTERVAL '5' MINUTE, INTERVAL '60' MINUTE, INTERVAL '-2 hours')",
        ),
        (
            "TUMBLE(requests, event_time, INTERVAL '1 month')",
            "TUMBLE(requests, event_time, INTERVAL '1' MONTH, TIME ZONE 'UTC')",
        ),
        ("TUMBLE(requests, event_time, INTERVAL '12 months')", "TUMBLE(requests, event_time, INTERVAL '4 quarters')"),
    ] {
        assert_eq!(of(one), of(other), "{one}");
    }
}

#[test]
fn streams_that_nobody_reads_are_left_out_of_the_plan() {
    let other = "CREATE STREAM first (t TIMESTAMP NOT NULL, WATERMARK FOR t) LIVE FROM FILE 'a.jsonl';";
    let query = hits(
        "SELECT window_start, count(*) AS n FROM TUMBLE(requests, event_time, INTERVAL '1 minute') GROUP BY window_start",
    );
    let plan = compile("job", &format!("{other}{query}")).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(plan.streams.iter().map(|stream| stream.name.as_str()).collect::<Vec<_>>(), ["requests"]);
    assert_eq!(plan.inserts[0].legs[0].inputs[0].stream, 0);
    assert_eq!(plan.fingerprint, fingerprint(&query));
}

#[test]
fn nothing_that_can_be_typed_makes_the_parser_panic() {
    let job = hits(
        "PARTITIONED BY (hour(window_start)) SELECT window_start, host, count(*) AS n FROM TUMBLE(requests, event_time, INTERVAL '1 minute') GROUP BY window_start, host LATE INTO ICEBERG 'late.x' PUBLISH EACH WINDOW",
    );
    for end in (0..job.len()).filter(|end| job.is_char_boundary(*end)) {
        let _cut = compile("job", &job[..end]);
        for inserted in ["(", ")", ",", "'", "\"", ">>", ";", "é", " AS ", "\0"] {
            let mut problems = Problems::default();
            let text = format!("{}{inserted}{}", &job[..end], &job[end..]);
            parse("job", &text, &nowhere, &mut problems);
        }
    }
}

/// A reader of the given files.
fn files(files: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> std::io::Result<String> {
    move |path| {
        let found = files.iter().find(|(name, _)| *name == path);
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

const QUERY: &str = "INSERT INTO ICEBERG 'marts.hits' SELECT window_start, count(*) AS hits
    FROM TUMBLE(requests, event_time, INTERVAL '1 minute') GROUP BY window_start;";

#[test]
fn an_included_stream_makes_the_same_version_as_a_copied_one() {
    let read = files(&[
        ("shared/all.sql", "INCLUDE '../requests.sql'; INCLUDE 'other.sql';"),
        ("shared/other.sql", "INCLUDE '../requests.sql';"),
        ("requests.sql", STREAM),
    ]);
    let copied = fingerprint(&format!("{STREAM}{QUERY}"));
    for text in [
        format!("INCLUDE 'requests.sql'; {QUERY}"),
        format!("{QUERY} INCLUDE './requests.sql';"),
        format!("INCLUDE 'shared/all.sql'; include 'requests.sql'; {QUERY}"),
    ] {
        let plan = compile_with("job", &text, &read).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(plan.fingerprint, copied, "{text}");
    }
}

#[test]
fn where_a_stream_is_declared_makes_no_other_version() {
    let other = STREAM.replace("requests", "answers");
    let both = format!("{QUERY}{}", QUERY.replace("requests", "answers").replace("marts.hits", "marts.others"));
    assert_eq!(fingerprint(&format!("{STREAM}{other}{both}")), fingerprint(&format!("{other}{STREAM}{both}")));
}

#[test]
fn an_included_view_means_what_it_would_mean_in_the_job_file() {
    let view = "CREATE VIEW hits AS
        SELECT window_start, window_end, host, count(*) AS hits
        FROM TUMBLE(requests, event_time, INTERVAL '1 minute') GROUP BY window_start, window_end, host;";
    let insert = "INSERT INTO ICEBERG 'marts.hits' SELECT * FROM hits WHERE hits > 1;";
    let copied = fingerprint(&format!("{STREAM}{view}{insert}"));
    let read = |path: &str| match path {
        "shared/hits.sql" => Ok(format!("INCLUDE 'requests.sql';\n{view}")),
        "shared/requests.sql" => Ok(STREAM.to_owned()),
        _ => Err(std::io::ErrorKind::NotFound.into()),
    };
    let plan = compile_with("job", &format!("INCLUDE 'shared/hits.sql'; {insert}"), &read);
    assert_eq!(plan.unwrap_or_else(|errors| panic!("{errors}")).fingerprint, copied);
}

#[test]
fn a_problem_in_an_included_view_is_shown_there() {
    let view = |column: &str| {
        format!(
            "-- views\nCREATE VIEW hits AS\nSELECT window_start, window_end, {column} AS n
        FROM TUMBLE(requests, event_time, INTERVAL '1 minute')\nGROUP BY window_start, window_end;"
        )
    };
    let insert = "\n\n\n\nINSERT INTO ICEBERG 'marts.hits' SELECT * FROM hits WHERE no_such > 1;";
    let shown = |column: &str| {
        let read = |_: &str| Ok(format!("{STREAM}\n{}", view(column)));
        let errors = compile_with("job", &format!("INCLUDE 'views.sql';{insert}"), &read).expect_err("it is wrong");
        errors.to_string()
    };
    let line = STREAM.lines().count() + 4;
    // By sqlparser, by our own check of names, and by DataFusion, which plans the query that the view went into.
    assert!(shown("count(*").contains("--> views.sql:"), "{}", shown("count(*"));
    assert!(shown("conut(*)").contains(&format!("--> views.sql:{line}:34")), "{}", shown("conut(*)"));
    assert!(shown("sum(hots)").contains(&format!("--> views.sql:{line}:38")), "{}", shown("sum(hots)"));
    assert!(shown("count(*)").contains("--> job.sql:5:"), "{}", shown("count(*)"));
}

#[test]
fn a_problem_in_an_included_file_is_shown_there() {
    let read = files(&[
        ("shared/streams.sql", "INCLUDE 'more.sql';\nCREATE STREAM s (a TEKST) LIVE FROM FILE 'a.jsonl';"),
        ("shared/more.sql", "-- nothing\nCREATE TABLE t;"),
    ]);
    let errors = compile_with("job", "INCLUDE 'shared/streams.sql';\nSELECT 1;", &read).expect_err("three problems");
    let places: Vec<String> = errors
        .problems()
        .iter()
        .map(|problem| format!("{}:{}", errors.path_of(problem), problem.span.expect("a place").start.line))
        .collect();
    assert_eq!(places, ["job.sql:2", "shared/streams.sql:2", "shared/more.sql:2"]);
    let shown = errors.with_path("some/jobs/job.sql").to_string();
    assert!(shown.contains("--> some/jobs/shared/more.sql:2:1"), "{shown}");
}
