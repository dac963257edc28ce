//! Messages and declarations that change: whatever happened to a topic and its history, a backfill gives the rows that a
//! live run of the same job gives over the whole log.

use kappa::archive::ArchiveError;
use kappa::live::RunError;
use kappa::start::Start;

use super::log::{Log, Record};
use super::rig::{DRAINED, Rig, at, between, job};

/// What happened.
struct Drift {
    /// Columns under which the topic is archived at first, beside `host` and `t`.
    before: &'static str,
    /// Options of the format.
    options: &'static str,
    /// Messages that are archived so: times, and fields beside `host` and `t`.
    old: &'static [(&'static str, &'static str)],
    /// Columns under which the job reads.
    after: &'static str,
    /// Messages behind them; archived under `after` if the history is widened to it, else under `before`.
    new: &'static [(&'static str, &'static str)],
    /// Whether the history is widened to `after`.
    evolve: bool,
    /// An aggregate over the columns `after`.
    value: &'static str,
}

const NOTHING: Drift =
    Drift { before: "", options: "", old: &[], after: "", new: &[], evolve: false, value: "count(*)" };

const KEPT: &str = "WITH (keep_rest = true)";

fn sql(columns: &str, options: &str, value: &str) -> String {
    format!(
        "CREATE STREAM events ({columns} host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '1 minute')
         LIVE FROM KAFKA 'events' FORMAT JSON {options} HISTORY FROM ICEBERG 'raw.events';
         INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
         SELECT window_start, window_end, count(*) AS n, {value} AS value FROM TUMBLE(events, t, INTERVAL '1 minute')
         GROUP BY window_start, window_end;"
    )
}

fn record((time, fields): &(&str, &str)) -> Record {
    let time = format!("2026-01-01T{time}Z");
    (at(&time).0, format!(r#"{{"host":"a","t":"{time}"{fields}}}"#))
}

/// What a live run and a backfill gave: rows of the result, and late records.
#[derive(Debug, PartialEq)]
struct Given {
    rows: Vec<String>,
    late: Vec<String>,
}

impl Given {
    async fn in_tables_of(rig: &Rig, result: &str) -> Given {
        Given { rows: rig.rows(result, &[]).await, late: rig.rows(&format!("{result}_late"), &[]).await }
    }

    /// The values of the windows, in their order.
    fn values(&self) -> Vec<&str> {
        let value = |row: &'_ String| row.find(" value=").map(|at| at + " value=".len());
        self.rows.iter().filter_map(|row| Some(&row[value(row)?..])).collect()
    }
}

impl Drift {
    /// Archives in two steps, and gives what the job makes of the log, live and from history.
    async fn happens(&self) -> (Given, Given) {
        let messages: Vec<Record> = self.old.iter().chain(self.new).map(record).collect();
        let log = Log::new(vec![messages]);
        let plan = job("hits", &sql(self.after, self.options, self.value));
        let live = Rig::new().await;
        live.live(&plan, &log, true).await;

        let rig = Rig::new().await;
        let before = job("hits", &sql(self.before, self.options, "count(*)"));
        rig.archive(&before, &log.up_to(self.old.len())).await;
        if self.evolve {
            rig.evolve(&plan, &log).await.expect("the history can be widened");
        } else {
            rig.archive(&before, &log).await;
        }
        rig.backfill(&plan, between("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"), &DRAINED).await;
        (Given::in_tables_of(&live, "marts.hits").await, Given::in_tables_of(&rig, "marts.hits").await)
    }

    /// Asserts that both are the same, and that the windows have these values.
    #[track_caller]
    fn gives(&self, values: &[&str]) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let (live, backfilled) = runtime.expect("a runtime").block_on(self.happens());
        assert_eq!(live, backfilled);
        assert_eq!(live.values(), values);
    }
}

#[test]
fn a_new_field_that_nobody_declares_changes_nothing() {
    let drift = Drift { old: &[("00:00:01", "")], new: &[("00:00:02", r#","x":[1,{"y":2}]"#)], ..NOTHING };
    drift.gives(&["Integer(2)"]);
    Drift { options: KEPT, ..drift }.gives(&["Integer(2)"]);
}

#[test]
fn a_field_that_goes_is_null() {
    let drift = Drift {
        before: "x INT, y TEXT FROM 'o.y',",
        after: "x INT, y TEXT FROM 'o.y',",
        old: &[("00:00:01", r#","x":1,"o":{"y":"b"}"#)],
        new: &[("00:01:01", r#","o":{}"#), ("00:02:01", ""), ("00:03:01", r#","x":4,"o":null"#)],
        value: "coalesce(max(y), cast(max(x) AS TEXT))",
        ..NOTHING
    };
    drift.gives(&["Text(\"b\")", "Null", "Null", "Text(\"4\")"]);
    Drift { options: KEPT, ..drift }.gives(&["Text(\"b\")", "Null", "Null", "Text(\"4\")"]);
}

#[test]
fn values_of_another_type_and_nulls_where_none_may_be_are_rejected_by_both() {
    for options in ["", KEPT] {
        Drift {
            before: "x INT NOT NULL, o STRUCT<y INT>,",
            after: "x INT NOT NULL, o STRUCT<y INT>,",
            options,
            old: &[("00:00:01", r#","x":1"#), ("00:00:02", r#","x":3000000000"#)],
            new: &[
                ("00:00:03", r#","x":"2""#),
                ("00:00:04", r#","x":null"#),
                ("00:00:05", ""),
                ("00:00:06", r#","x":10,"o":{"y":"z"}"#),
                ("00:00:07", r#","x":100,"o":7"#),
                ("00:00:08", r#","x":1000,"o":{"y":1,"z":2}"#),
            ],
            value: "sum(x)",
            ..NOTHING
        }
        .gives(&["Integer(1001)"]);
    }
}

#[test]
fn a_column_declared_later_is_read_from_what_old_history_kept() {
    let drift = Drift {
        options: KEPT,
        after: "x BIGINT, y TEXT FROM 'o.y', at INT FROM METADATA 'partition', double BIGINT AS x * 2,",
        old: &[("00:00:01", r#","x":1,"o":{"y":"old","z":1}"#), ("00:00:02", r#","z":1"#)],
        new: &[("00:01:01", r#","x":20,"o":{"y":"new"}"#), ("00:01:02", r#","o":null"#)],
        value: "concat(max(y), cast(sum(double + at) AS TEXT))",
        ..NOTHING
    };
    let values = ["Text(\"old2\")", "Text(\"new40\")"];
    drift.gives(&values);
    Drift { evolve: true, ..drift }.gives(&values);
}

#[test]
fn a_field_that_moves_inside_an_object_is_read_from_there() {
    let drift = Drift {
        before: "a INT FROM 'o.a',",
        after: "a INT FROM 'o.a', b INT FROM 'o.b', c INT FROM 'p.q.c',",
        options: KEPT,
        old: &[
            ("00:00:01", r#","o":{"a":1,"b":10}"#),
            ("00:00:02", r#","o":{"b":20},"o":{"a":2},"p":{"q":{"c":100}}"#),
        ],
        new: &[("00:00:03", r#","p":{"q":{"c":200,"c":300}},"o":{"b":40}"#)],
        value: "sum(coalesce(a, 0) + coalesce(b, 0) + coalesce(c, 0))",
        ..NOTHING
    };
    drift.gives(&["Integer(453)"]);
    Drift { evolve: true, ..drift }.gives(&["Integer(453)"]);
}

#[test]
fn a_bad_value_in_a_column_declared_later_rejects_its_record_and_takes_it_out_of_what_was_seen() {
    let drift = Drift {
        options: KEPT,
        after: "x BIGINT,",
        old: &[
            ("00:00:01", r#","x":1"#),
            // A reject under the new declaration: without it the next record is in time.
            ("00:30:00", r#","x":"far ahead""#),
            ("00:00:02", r#","x":2"#),
        ],
        new: &[("00:40:00", r#","x":4"#), ("00:00:03", r#","x":8"#), ("00:50:00", r#","x":{}"#)],
        value: "sum(x)",
        ..NOTHING
    };
    drift.gives(&["Integer(3)", "Integer(4)"]);
    Drift { evolve: true, ..drift }.gives(&["Integer(3)", "Integer(4)"]);
}

#[test]
fn a_field_that_came_with_its_declaration_needs_nothing_kept() {
    Drift {
        after: "x BIGINT,",
        old: &[("00:00:01", "")],
        new: &[("00:00:02", r#","x":5"#), ("00:00:03", r#","x":"bad""#)],
        evolve: true,
        value: "sum(x)",
        ..NOTHING
    }
    .gives(&["Integer(5)"]);
}

#[test]
fn a_type_that_is_widened_with_its_values_is_one_column() {
    for options in ["", KEPT] {
        Drift {
            before: "x INT, d DECIMAL(4, 2),",
            after: "x BIGINT, d DECIMAL(20, 2),",
            options,
            old: &[("00:00:01", r#","x":1,"d":99.99"#)],
            new: &[("00:00:02", r#","x":3000000000,"d":123456.78"#)],
            evolve: true,
            value: "cast(sum(x) + sum(d) AS TEXT)",
        }
        .gives(&["Text(\"3000123557.77\")"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_history_does_not_hold_is_refused_by_run_archive_and_backfill() {
    let log = Log::new(vec![vec![record(&("00:00:01", r#","x":1"#))]]);
    let range = between("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    for (before, kept, after, why) in [
        ("", "", "x BIGINT,", "column `x`: declared here, not there, and history doesn't keep undeclared fields"),
        ("x BIGINT,", KEPT, "", "column `x`: declared there, not here"),
        ("x BIGINT,", KEPT, "x BIGINT NOT NULL,", "column `x`: BIGINT NOT NULL here, BIGINT there"),
        ("x INT,", "", "x BIGINT,", "column `x`: BIGINT here, INT there"),
        ("", KEPT, "x BIGINT NOT NULL,", "column `x`: declared here, not there"),
        (
            "x BIGINT,",
            KEPT,
            "x BIGINT, again TEXT FROM 'x',",
            "column `again`: declared here, not there, and history keeps that field as its column `x` only",
        ),
        (
            "",
            KEPT,
            "k TEXT FROM METADATA 'key',",
            "column `k`: declared here, not there, and history doesn't keep METADATA 'key'",
        ),
    ] {
        let rig = Rig::new().await;
        rig.archive(&job("hits", &sql(before, kept, "count(*)")), &log).await;
        let plan = job("hits", &sql(after, kept, "count(*)"));
        let live = rig.try_live(&plan, &log, true, Start::Earliest).await.expect_err(why);
        assert!(matches!(&live, RunError::History(_)), "{live}");
        let backfill = rig.try_backfill(&plan, range.clone(), &DRAINED).await.expect_err(why);
        assert_eq!(live.to_string(), backfill.to_string());
        assert!(live.to_string().contains(&format!(" of events: {why}; ")), "{live}");
        let archive = rig.try_archive(&plan, &log, 1).await.expect_err(why);
        assert!(matches!(archive, ArchiveError::Declaration { .. }), "{archive}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_not_widened_to_what_it_can_not_hold() {
    let log = Log::new(vec![vec![record(&("00:00:01", r#","x":1"#))]]);
    let rig = Rig::new().await;
    rig.archive(&job("hits", &sql("x BIGINT,", KEPT, "count(*)")), &log).await;
    for (after, options, why) in [
        ("x TEXT,", KEPT, "column `x`: BIGINT there, TEXT here"),
        ("x INT,", KEPT, "column `x`: BIGINT there, INT here"),
        ("", KEPT, "column `x`: declared there, not here"),
        ("x BIGINT,", "", "undeclared fields: kept there, not here"),
    ] {
        let error = rig.evolve(&job("hits", &sql(after, options, "count(*)")), &log).await.expect_err(why);
        assert!(matches!(error, ArchiveError::NotWider { .. }), "{error}");
        assert!(error.to_string().contains(&format!(": {why}; ")), "{error}");
    }
    // Nothing of it has touched the history.
    assert_eq!(rig.archive(&job("hits", &sql("x BIGINT,", KEPT, "count(*)")), &log).await.taken, 0);
}

/// A stream whose records have two times, read by one of them.
fn timed(event_time: &str, max_future: &str) -> String {
    format!(
        "CREATE STREAM events (host TEXT, t TIMESTAMP NOT NULL, u TIMESTAMP NOT NULL,
           WATERMARK FOR {event_time} AS {event_time} - INTERVAL '1 minute' MAX FUTURE {max_future})
         LIVE FROM KAFKA 'events' FORMAT JSON HISTORY FROM ICEBERG 'raw.events';
         INSERT INTO ICEBERG 'marts.hits_{event_time}' PARTITIONED BY (hour(window_start))
         SELECT window_start, window_end, count(*) AS n, min(host) AS value
         FROM TUMBLE(events, {event_time}, INTERVAL '1 minute') GROUP BY window_start, window_end;"
    )
}

/// Records of two partitions, some far ahead of their timestamps in one of their times, in no order.
fn two_times() -> Log {
    let hour = at("2026-01-01T12:00:00Z").0;
    let partition = |partition: i64| -> Vec<Record> {
        let record = |index: i64| {
            let stamp = hour + index * 30_000_000;
            let ahead = |every: i64| if (index + partition) % every == 0 { 2 * 3_600_000_000 } else { 0 };
            let behind = |every: i64| if (index * 7 + partition) % every == 0 { 600_000_000 } else { 0 };
            let (t, u) = (stamp + ahead(13) - behind(5), stamp + ahead(17) - behind(3));
            let time = kappa::event::EventTime;
            (stamp, format!(r#"{{"host":"{partition}/{index}","t":"{}","u":"{}"}}"#, time(t), time(u)))
        };
        (0..300).map(record).collect()
    };
    Log::new(vec![partition(0), partition(1)])
}

#[tokio::test(flavor = "multi_thread")]
async fn under_another_event_time_max_future_or_when_seen_is_found_anew() {
    let hour = ("t", "INTERVAL '1 hour'");
    let markers = ("t", "INTERVAL '1 hour' WHEN host LIKE '%7'");
    let others = [
        ("t", "INTERVAL '3 hours'"),
        ("t", "INTERVAL '1 minute'"),
        ("t", "NONE"),
        ("u", "INTERVAL '1 hour'"),
        ("u", "NONE"),
    ];
    // By the other time, by what is computed from both, and by what no record has.
    let other_markers = [
        ("u", "INTERVAL '1 minute' WHEN host LIKE '%7'"),
        ("t", "INTERVAL '3 hours' WHEN u > t"),
        ("t", "INTERVAL '1 hour' WHEN host IS NULL"),
    ];
    let found = found_anew(hour, &[&[hour, markers], &others[..], &other_markers[..]].concat()).await;
    assert!(found.len() > 7, "the declarations make a difference: {}", found.len());
    assert_eq!(found_anew(markers, &[markers, hour, other_markers[0]]).await.len(), 3);
}

/// Archives under one event time and what stands behind MAX FUTURE, and backfills under others. What each gave, but for those
/// that gave the same as the one before.
async fn found_anew(archived: (&str, &str), declared: &[(&str, &str)]) -> Vec<Given> {
    let log = two_times();
    let rig = Rig::new().await;
    rig.archive(&job("hits", &timed(archived.0, archived.1)), &log).await;
    let whole = between("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let mut all = Vec::new();
    for &(event_time, max_future) in declared {
        // A late table goes by one event time.
        let result = format!("marts.hits_{event_time}");
        let plan = job("hits", &timed(event_time, max_future));
        let live = Rig::new().await;
        live.live(&plan, &log, true).await;
        let expected = Given::in_tables_of(&live, &result).await;
        rig.backfill(&plan, whole.clone(), &DRAINED).await;
        let found = Given::in_tables_of(&rig, &result).await;
        assert_eq!(found, expected, "{event_time}, {max_future}");
        assert_eq!(found.late.is_empty(), max_future.contains("IS NULL"), "{event_time}, {max_future}");
        let planned = rig.plan(&plan, whole.clone(), &DRAINED).await;
        let anew = planned.scope.histories[0].anew.is_some();
        assert_eq!(anew, (event_time, max_future) != archived);
        // A later range reads the rows only that may matter to it.
        let hour = between("2026-01-01T14:00:00Z", "2026-01-01T15:00:00Z");
        rig.backfill(&plan, hour.clone(), &DRAINED).await;
        assert_eq!(Given::in_tables_of(&rig, &result).await, expected, "{event_time}, {max_future}, an hour again");
        let read = rig.plan(&plan, hour, &DRAINED).await.scope.histories[0].anew.as_ref().map(|anew| anew.records);
        if anew {
            let read = read.expect("found anew for an hour too");
            let is_short =
                ["INTERVAL '1 hour'", "INTERVAL '1 minute'"].iter().any(|short| max_future.starts_with(short));
            assert_eq!(read < 600, is_short, "{read} rows for {event_time}, {max_future}");
        }
        all.push(found);
    }
    all.dedup();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_that_a_wider_type_takes_go_into_history_as_if_they_had_never_been_rejects() {
    wider_type_takes_rejects("").await;
    // Half of the rejects are markers.
    wider_type_takes_rejects(" WHEN x % 2 = 0").await;
}

async fn wider_type_takes_rejects(when: &str) {
    let with_when = |columns| {
        sql(columns, "", "sum(x)").replacen("t - INTERVAL '1 minute'", &format!("t - INTERVAL '1 minute'{when}"), 1)
    };
    let (narrow, wide) = (job("hits", &with_when("x INT,")), job("hits", &with_when("x BIGINT,")));
    let partition = |shift: usize| -> Vec<Record> {
        let record = |index: usize| {
            let x = match (index * 7 + shift) % 11 {
                0 => format!("300000000{}", index / 11 % 2),
                1 => "\"text\"".to_owned(),
                _ => index.to_string(),
            };
            // Rejects jump ahead, so that with them others are late.
            let minute = if x.starts_with("300000000") { index / 2 + 10 } else { index / 2 };
            record(&(&format!("{:02}:{:02}:{:02}", minute / 60, minute % 60, index % 60), &format!(r#","x":{x}"#)))
        };
        (0..150).map(record).collect()
    };
    let log = Log::new(vec![partition(0), partition(5)]);
    let live = Rig::new().await;
    live.live(&wide, &log, true).await;

    let rig = Rig::new().await;
    rig.archive(&narrow, &log.up_to(100)).await;
    rig.decode_rejects(&wide).await.expect_err("the history is still a narrower one");
    let none = rig.decode_rejects(&narrow).await.expect("nothing stands against it");
    assert_eq!((none.times, &none.before), (None, &none.after));
    rig.evolve(&wide, &log.up_to(120)).await.expect("INT becomes BIGINT");
    let taken = rig.decode_rejects(&wide).await.expect("they can be read");
    assert_eq!(taken.before, none.before.iter().map(|(reason, count)| (reason.clone(), count + 4)).collect());
    let (before, after): (u64, u64) = (taken.before.values().sum(), taken.after.values().sum());
    assert!(after > 15 && before - after > 15, "{taken:?}");
    assert_eq!(rig.decode_rejects(&wide).await.expect("again").before, taken.after);
    // The archive goes on where it was.
    let rest = rig.archive(&wide, &log).await;
    assert_eq!((rest.taken, rest.resumed), (60, true));

    let whole = between("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    rig.backfill(&wide, whole, &DRAINED).await;
    let (expected, found) =
        (Given::in_tables_of(&live, "marts.hits").await, Given::in_tables_of(&rig, "marts.hits").await);
    assert!(expected.late.len() > 20, "{}", expected.late.len());
    assert_eq!(found, expected);
    let rejected = |row: &String| row.contains("bad_value");
    assert_eq!(rig.rows("raw.events_rejects", &[]).await.iter().filter(|row| rejected(row)).count(), 27);
    assert_eq!(rig.rows("raw.events", &["_seen"]).await.len(), 300 - 27);
    // A history of the whole log under the wide declaration has the same rows.
    let anew = Rig::new().await;
    anew.archive(&wide, &log).await;
    assert_eq!(rig.rows("raw.events", &["_seen"]).await, anew.rows("raw.events", &["_seen"]).await);
}
