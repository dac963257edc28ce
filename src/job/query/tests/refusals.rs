//! Queries that can't be run: what is said, and where.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{definition, partition, refused, spanned, stream};
use crate::event::{Micros, Transform};
use crate::job::Problems;
use crate::job::definition::{StreamDefinition, WindowFunction};
use crate::job::interval::Length;
use crate::job::query::plan_insert;

fn all(sql: &str) -> Vec<String> {
    refused(&definition(sql))
}

fn one(sql: &str) -> String {
    let mut problems = all(sql);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.remove(0)
}

#[test]
fn unknown_names_are_all_found_with_their_places() {
    assert_eq!(
        all(
            "SELECT window_strat, hots, count(*) AS n, uper(host) AS u\nFROM s WHERE byte > 0 GROUP BY window_start, hots"
        ),
        [
            "1:8-20 unknown column `window_strat` (did you mean `window_start`?)",
            "1:22-26 unknown column `hots` (did you mean `host`?)",
            "1:43-47 unknown function `uper` (did you mean `upper`?)",
            "2:14-18 unknown column `byte` (did you mean `bytes`?)",
            "2:46-50 unknown column `hots` (did you mean `host`?)",
        ]
    );
}

#[test]
fn clauses_that_are_not_there_yet_are_named() {
    let cases = [
        ("SELECT window_start, count(*) AS n FROM s GROUP BY 1 ORDER BY n", "ORDER BY isn't possible in an INSERT"),
        ("SELECT window_start, count(*) AS n FROM s JOIN x ON true GROUP BY 1", "unknown table `x`"),
        ("SELECT window_start, count(*) AS n FROM s, x GROUP BY 1", "unknown table `x`"),
        ("SELECT window_start, count(*) AS n FROM raw GROUP BY 1", "a table beside a window isn't supported yet"),
        ("SELECT count(*) AS n FROM s", "a SELECT without GROUP BY isn't supported yet"),
        ("SELECT * FROM s GROUP BY window_start", "* would select columns that aren't in GROUP BY"),
        ("SELECT window_start, count(*) AS n FROM s GROUP BY ALL", "GROUP BY ALL isn't supported"),
        (
            "SELECT window_start, count(*) AS n FROM s WHERE bytes > (SELECT 1) GROUP BY 1",
            "a subquery isn't supported yet",
        ),
        (
            "SELECT window_start, count(*) AS n FROM s WHERE host IN (SELECT 'a') GROUP BY 1",
            "a subquery isn't supported yet",
        ),
        ("SELECT window_start, mode(bytes) AS n FROM s GROUP BY 1", "the aggregate `mode` isn't there"),
        ("SELECT window_start, grouping(host) AS n FROM s GROUP BY 1", "the aggregate `grouping` isn't there"),
        (
            "SELECT window_start, stddev(DISTINCT bytes) AS n FROM s GROUP BY 1",
            "stddev(DISTINCT …) isn't supported yet",
        ),
    ];
    for (sql, expected) in cases {
        let problems = all(sql);
        assert!(problems[0].contains(expected), "{sql}: {problems:#?}");
        assert!(problems[0].contains('('), "the way out: {problems:?}");
    }
}

#[test]
fn group_by_needs_the_window() {
    assert_eq!(
        one("SELECT host, count(*) AS n FROM s GROUP BY host"),
        "1:44-48 GROUP BY must name window_start or window_end: without a window a group never ends (write GROUP BY window_start, window_end, and the keys)"
    );
}

#[test]
fn messages_say_what_is_wrong_and_how_to_go_on() {
    let cases = [
        "SELECT window_start, referrer, count(*) AS n FROM s GROUP BY window_start",
        "SELECT window_start, host, count(*) AS n FROM s GROUP BY window_start",
        "SELECT window_start, count(*) AS n FROM s GROUP BY window_start HAVING bytes > 1",
        "SELECT window_start, count(*) FROM s GROUP BY window_start",
        "SELECT window_start, host, count(*) AS host FROM s GROUP BY window_start, host",
        "SELECT window_start, count(*) AS n FROM s WHERE window_start > t GROUP BY window_start",
        "SELECT window_start, count(*) AS n FROM s WHERE count(*) > 1 GROUP BY window_start",
        "SELECT window_start, count(*) AS n FROM s WHERE n > 1 GROUP BY window_start",
        "SELECT window_start, count(*) AS n FROM s WHERE bytes GROUP BY window_start",
        "SELECT window_start, count(*) AS n FROM s GROUP BY window_start HAVING count(*)",
        "SELECT window_start, max(sum(bytes)) AS n FROM s GROUP BY window_start",
        "SELECT window_start, max(window_end) AS n FROM s GROUP BY window_start",
        "SELECT window_start, t - window_start AS age, count(*) AS n FROM s GROUP BY window_start, t - window_start",
        "SELECT window_start, now() AS at, count(*) AS n FROM s GROUP BY window_start",
        "SELECT window_start, sum(host) AS n FROM s GROUP BY window_start",
        "SELECT window_start, host + 1 AS x, count(*) AS n FROM s GROUP BY window_start, host",
        "SELECT window_start, host + day AS x, count(*) AS n FROM s GROUP BY window_start, host, day",
        "SELECT window_start, NULL AS x, count(*) AS n FROM s GROUP BY window_start",
        "SELECT window_start, max(t) - min(t) AS x, count(*) AS n FROM s GROUP BY window_start",
        "SELECT window_start, CAST(t AS TIME) AS x, count(*) AS n FROM s GROUP BY window_start, t",
        "SELECT window_start, substr(host) AS x, count(*) AS n FROM s GROUP BY window_start, host",
        "SELECT window_start, date_trunc(t) AS x, count(*) AS n FROM s GROUP BY window_start, t",
        "SELECT window_start, x.host, count(*) AS n FROM s GROUP BY window_start, x.host",
        "SELECT window_start, count(*) AS n FROM s GROUP BY window_start, 7",
        "SELECT window_start, count(*) AS n FROM s GROUP BY window_start, n",
        "SELECT window_start, sum(bytes) FILTER (WHERE status) AS n FROM s GROUP BY window_start",
        "SELECT window_start, CAST(host AS GEOMETRY) AS n, count(*) AS m FROM s GROUP BY window_start, host",
        "SELECT window_start, count(*) AS n FROM s WHERE tags = 1 GROUP BY window_start",
        "SELECT window_start, upper(host, host) AS n, count(*) AS m FROM s GROUP BY window_start, host",
        "SELECT window_start, date_trunc('fortnight', t) AS n, count(*) AS m FROM s GROUP BY window_start, n",
        "SELECT window_start, count(*) AS n FROM s WHERE date_trunc('fortnight', t) > t GROUP BY window_start HAVING date_trunc('fortnight', window_start) IS NULL",
        "SELECT window_start, date_trunc('fortnight', max(t)) AS n FROM s GROUP BY window_start",
        "SELECT window_start, max(date_trunc('fortnight', t)) AS n FROM s GROUP BY window_start",
        "SELECT window_start, count(*) AS n FROM s WHERE host ~ '(' GROUP BY window_start",
        "SELECT window_start, count(*) AS n FROM s WHERE regexp_like(host, '(') GROUP BY window_start",
        "SELECT window_start, to_timestamp('yesterday') AS n, count(*) AS m FROM s GROUP BY window_start",
        "SELECT window_start, n + 1 AS m, count(*) AS n FROM s GROUP BY window_start",
        "SELECT window_start, count(*) AS n FROM s GROUP BY window_start, host HAVING sum(nope) > 1 AND m > 2 AND now() > t",
        "SELECT window_start, any_value(host) AS n, listagg(host, ',') AS m FROM s GROUP BY window_start",
        "SELECT window_start, grouping(host) AS n, count(*) AS c FROM s GROUP BY window_start, host",
        "SELECT window_start, hop(t, 1) AS n, count(*) AS c FROM s GROUP BY window_start, t",
        "SELECT window_start, percentile_disc(0.5) WITHIN GROUP (ORDER BY bytes) AS n FROM s GROUP BY window_start",
        "SELECT window_start, unnest(tags) AS n, count(*) AS c FROM s GROUP BY window_start, tags",
        "SELECT window_start, arrow_cast(1, 'Decimal256(76, 0)') AS n, count(*) AS c FROM s GROUP BY window_start",
        "SELECT window_start, map(['a'], [1]) AS n, count(*) AS c FROM s GROUP BY window_start",
        "SELECT window_start, bytes > 'x' + 1 AS n, count(*) AS c FROM s GROUP BY window_start, bytes",
        "SELECT window_start, bool_or(bytes) AS n, avg(host) AS a, stddev(t) AS s FROM s GROUP BY window_start",
        "SELECT window_start, first_value(host ORDER BY nope) AS n FROM s GROUP BY window_start",
        "SELECT window_start, count(*) FILTER (WHERE nope) AS n FROM s GROUP BY window_start",
        "SELECT window_start, count(*) AS n FROM s WHERE host IN (1, t) GROUP BY window_start",
        "SELECT window_start, CAST(host AS UUID) AS n, count(*) AS m FROM s GROUP BY window_start, host",
        "SELECT window_start, round(host) AS n, count(*) AS m FROM s GROUP BY window_start, host",
        "SELECT window_start, place.town AS n, count(*) AS m FROM s GROUP BY window_start, place",
        "SELECT window_start, not host AS n, count(*) AS m FROM s GROUP BY window_start, host",
        "SELECT window_start, -host AS n, count(*) AS m FROM s GROUP BY window_start, host",
        "SELECT window_start, host LIKE 5 AS n, count(*) AS m FROM s GROUP BY window_start, host",
        "SELECT window_start, last_value(host, 3) AS n FROM s GROUP BY window_start",
        "SELECT window_start, x'zz' AS b, @@v AS y, $1 AS z, count(*) AS n FROM s GROUP BY window_start",
        "SELECT window_start, avg(t) AS m FROM s GROUP BY window_start",
        "SELECT window_start, count(*) AS m FROM s AS q GROUP BY s.window_start",
    ];
    let mut out = String::new();
    for sql in cases {
        writeln!(
            out,
            "{sql}
  {}",
            all(sql).join(
                "
  "
            )
        )
        .expect("a String takes all");
    }
    insta::assert_snapshot!(out);
}

#[test]
fn windows_and_clauses_are_checked() {
    let sql = "SELECT window_start, count(*) AS n FROM s GROUP BY 1";
    let mut insert = definition(sql);
    insert.windows[0].time = spanned("tt".to_owned());
    assert_eq!(
        refused(&insert),
        ["9:1-5 `tt` isn't the time of stream `s` (windows go by the stream's watermark column: `t`)"]
    );
    let mut insert = definition(sql);
    insert.windows[0].function =
        WindowFunction::Tumble { size: spanned(Length::Fixed(Micros(0))), offset: None, zone: None };
    assert_eq!(refused(&insert), ["9:1-5 a window's size must be positive (write INTERVAL '1 minute', for example)"]);
    let mut insert = definition(sql);
    insert.windows[0].input = crate::job::definition::WindowInput::Named(spanned("ss".to_owned()));
    assert_eq!(refused(&insert), ["9:1-5 unknown stream `ss` (did you mean `s`?)"]);
    let mut insert = definition(sql);
    insert.allow_lateness = Some(spanned(Micros(1)));
    assert_eq!(
        refused(&insert),
        ["9:1-5 ALLOW LATENESS revises rows by window, and the result has no window_end (select window_end)"]
    );
}

#[test]
fn partitions_are_checked() {
    let sql = "SELECT window_start AS w, host, sum(score) AS x, count(*) AS n FROM s GROUP BY 1, 2";
    let with = |fields: Vec<(&str, Transform)>| {
        let mut insert = definition(sql);
        insert.partitioned_by =
            Some(fields.into_iter().map(|(column, transform)| partition(column, transform)).collect());
        refused(&insert)
    };
    let day = || ("w", Transform::Day);
    assert_eq!(
        with(vec![("hots", Transform::Identity), day()]),
        ["9:1-5 the result has no column `hots` (did you mean `host`?)"]
    );
    let needs = "PARTITIONED BY needs a time transform of the window, so that a backfill can replace whole partitions";
    let way_out = "add hour(w), day(w) or month(w)";
    assert_eq!(with(vec![("host", Transform::Identity)]), [format!("9:1-5 {needs} ({way_out})")]);
    assert_eq!(with(vec![("w", Transform::Identity)]), [format!("9:1-5 {needs} ({way_out})")]);
    assert_eq!(with(vec![]), [format!("9:1-5 {needs} ({way_out})")]);
    assert_eq!(with(vec![day(), day()]), ["9:1-5 `day(w)` stands twice in PARTITIONED BY (leave one out)"]);
    assert_eq!(
        with(vec![day(), ("host", Transform::Hour)]),
        ["9:1-5 `hour(host)`: `host` is TEXT (hour takes a TIMESTAMP)"]
    );
    assert_eq!(
        with(vec![day(), ("x", Transform::Bucket(4))]),
        [
            "9:1-5 `bucket(4, x)`: `x` is DOUBLE (bucket takes whole numbers, DECIMAL, TEXT, BYTES, UUID, DATE or TIMESTAMP)"
        ]
    );
    assert_eq!(
        one("SELECT window_end, count(*) AS n FROM s GROUP BY 1"),
        "9:1-5 a result is partitioned by day(window_start), and it has no window_start (select window_start, or write PARTITIONED BY (day(window_end)))"
    );
}

#[test]
fn an_insert_over_a_refused_stream_is_passed_over_without_a_word() {
    let declared = StreamDefinition {
        file: 0,
        name: spanned("s".to_owned()),
        columns: Vec::new(),
        watermark: None,
        live: None,
        accepts_compacted: false,
        history: None,
    };
    let mut problems = Problems::default();
    let insert = definition("SELECT window_start, nope FROM s GROUP BY 1");
    assert!(plan_insert(&insert, &[], &[declared], &mut problems).is_none());
    assert!(problems.is_empty());
}

#[test]
fn a_stream_with_a_column_of_the_window_is_refused() {
    let mut stream = stream().as_ref().clone();
    stream.columns[1].name = "window_end".to_owned();
    let mut problems = Problems::default();
    let insert = definition("SELECT window_start, count(*) AS n FROM s GROUP BY 1");
    assert!(plan_insert(&insert, &[Arc::new(stream)], &[], &mut problems).is_none());
    let message = &problems.into_sorted()[0].message;
    assert_eq!(message, "stream `s` has a column `window_end`, which the window adds too");
}
