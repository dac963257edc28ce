//! Windows of two streams, joined and put together: live, with restarts, and from two histories they are those of a plain
//! model. Each stream has its own bound, and its late records a table of their own.

use std::collections::BTreeMap;

use kappa::event::EventTime;
use kappa::live::RunOptions;

use super::by_data::{Event, events, hours, log};
use super::rig::{DRAINED, Rig, job};
use crate::support::Value;

const MINUTE: i64 = 60 * 1_000_000;

/// Bounds of the two streams.
const BOUNDS: [i64; 2] = [MINUTE / 2, 2 * MINUTE];

fn sql(namespace: &str) -> String {
    let stream = |name: &str, bound: i64| {
        format!(
            "CREATE STREAM {name} (user TEXT, page TEXT, v BIGINT, t TIMESTAMP NOT NULL,
               WATERMARK FOR t AS t - INTERVAL '{} seconds')
             LIVE FROM KAFKA '{name}' FORMAT JSON HISTORY FROM ICEBERG 'raw.{name}';",
            bound / 1_000_000
        )
    };
    let counts = |name: &str| {
        format!(
            "SELECT window_start, window_end, user, count(*) AS n FROM TUMBLE({name}, t, INTERVAL '1 minute')
             GROUP BY window_start, window_end, user"
        )
    };
    format!(
        "{} {}
         INSERT INTO ICEBERG '{namespace}.joined' PARTITIONED BY (hour(window_start))
         WITH x AS ({}), y AS ({})
         SELECT coalesce(x.window_start, y.window_start) AS window_start, coalesce(x.window_end, y.window_end) AS window_end,
                coalesce(x.user, y.user) AS user, x.n AS of_a, y.n AS of_b
         FROM x FULL JOIN y ON x.window_start = y.window_start AND x.window_end = y.window_end AND x.user = y.user;
         CREATE VIEW both AS
         SELECT user, v, t FROM a WHERE v % 7 > 0 UNION ALL SELECT user, -v, t FROM b;
         INSERT INTO ICEBERG '{namespace}.united' PARTITIONED BY (hour(window_start))
         SELECT window_start, window_end, user, count(*) AS n, sum(v) AS s, last_value(v) AS last
         FROM TUMBLE(both, t, INTERVAL '1 minute') GROUP BY window_start, window_end, user;
         INSERT INTO ICEBERG '{namespace}.above' PARTITIONED BY (hour(window_start))
         SELECT window_start, window_end, count(*) AS minutes, max(n) AS most
         FROM TUMBLE((
           SELECT window_time, count(*) AS n FROM TUMBLE(both, t, INTERVAL '1 minute')
           GROUP BY window_start, window_end, window_time
         ), window_time, INTERVAL '20 minutes') GROUP BY window_start, window_end;",
        stream("a", BOUNDS[0]),
        stream("b", BOUNDS[1]),
        counts("a"),
        counts("b"),
    )
}

/// The events that are in time for their minute by their own partition, partition by partition.
fn in_time(partitions: &[Vec<Event>], bound: i64) -> Vec<Event> {
    let mut taken = Vec::new();
    for events in partitions {
        let mut seen = None;
        for event in events {
            let end = (event.time.div_euclid(MINUTE) + 1) * MINUTE;
            if seen.is_none_or(|seen| end > seen - bound) {
                taken.push(event.clone());
            }
            seen = seen.max(Some(event.time));
        }
    }
    taken
}

type User = Option<&'static str>;

/// Time, number of the branch and value of a record of two streams.
type Branch = (i64, usize, i64);

/// What the three results must hold, as the rig shows rows.
fn expected(taken: &[Vec<Event>; 2]) -> [Vec<String>; 3] {
    let minute = |event: &Event| event.time.div_euclid(MINUTE) * MINUTE;
    let mut counts: BTreeMap<(i64, User), [i64; 2]> = BTreeMap::new();
    let mut united: BTreeMap<(i64, User), Vec<Branch>> = BTreeMap::new();
    for (side, events) in taken.iter().enumerate() {
        for event in events {
            counts.entry((minute(event), event.user)).or_default()[side] += 1;
            if side == 1 || event.value % 7 > 0 {
                let value = if side == 1 { -event.value } else { event.value };
                united.entry((minute(event), event.user)).or_default().push((event.time, side, value));
            }
        }
    }
    let integer = |value: Option<i64>| format!("{:?}", value.map_or(Value::Null, Value::from));
    let text = |text: User| format!("{:?}", text.map_or(Value::Null, Value::from));
    let window =
        |start: i64, size: i64| format!("window_start={} window_end={}", EventTime(start), EventTime(start + size));
    let mut joined = Vec::new();
    for (&(start, user), &[of_a, of_b]) in &counts {
        let mut row = |of_a: i64, of_b: i64| {
            let [of_a, of_b] = [of_a, of_b].map(|n| integer((n > 0).then_some(n)));
            joined.push(format!("{} user={} of_a={of_a} of_b={of_b}", window(start, MINUTE), text(user)));
        };
        match user {
            Some(_) => row(of_a, of_b),
            // NULL equals nothing: each side has a row of its own.
            None => [(of_a, 0), (0, of_b)].into_iter().filter(|sides| *sides != (0, 0)).for_each(|(a, b)| row(a, b)),
        }
    }
    let mut by_minute: BTreeMap<i64, i64> = BTreeMap::new();
    let mut put_together = Vec::new();
    for ((start, user), mut values) in united {
        let n = i64::try_from(values.len()).expect("few");
        *by_minute.entry(start).or_default() += n;
        // Records of one time and stream are in the order of their positions already.
        values.sort_by_key(|&(time, side, _)| (time, side));
        let sum = values.iter().map(|(_, _, value)| value).sum::<i64>();
        let last = values.last().map(|(_, _, value)| *value);
        put_together.push(format!(
            "{} user={} n={} s={} last={}",
            window(start, MINUTE),
            text(user),
            integer(Some(n)),
            integer(Some(sum)),
            integer(last)
        ));
    }
    let mut twenty: BTreeMap<i64, [i64; 2]> = BTreeMap::new();
    for (start, n) in by_minute {
        let above = twenty.entry(start.div_euclid(20 * MINUTE) * 20 * MINUTE).or_default();
        *above = [above[0] + 1, above[1].max(n)];
    }
    let above = twenty.into_iter().map(|(start, [minutes, most])| {
        let [minutes, most] = [minutes, most].map(|n| integer(Some(n)));
        format!("{} minutes={minutes} most={most}", window(start, 20 * MINUTE))
    });
    let mut all = [joined, put_together, above.collect()];
    all.iter_mut().for_each(|lines| lines.sort());
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_two_streams_are_the_same_live_and_from_two_histories() {
    let rig = Rig::new().await;
    let partitions = events(21);
    let log = log(&partitions);
    let (live, backfill) = (job("live", &sql("live")), job("backfill", &sql("backfill")));
    rig.archive_all(&live, &log).await;
    for (rows, workers) in [(60, 1), (61, 3), (200, 2), (330, 1)] {
        let options = RunOptions { workers, ..RunOptions::default() };
        rig.live_by(&live, &log.up_to(rows), options).await.expect("the job runs");
    }
    let options = RunOptions { workers: 2, drain: true, ..RunOptions::default() };
    rig.live_by(&live, &log, options).await.expect("the job runs");
    let expected = expected(&BOUNDS.map(|bound| in_time(&partitions, bound)));
    for (table, expected) in ["joined", "united", "above"].iter().zip(&expected) {
        assert!(expected.len() > 5, "{table} says something: {}", expected.len());
        assert_eq!(rig.rows(&format!("live.{table}"), &[]).await, *expected, "live.{table}");
    }
    for hour in hours() {
        rig.backfill(&backfill, hour.clone(), &DRAINED).await;
        rig.assert_equal(&live, hour.clone(), true).await;
    }
    for (table, expected) in ["joined", "united", "above"].iter().zip(&expected) {
        assert_eq!(rig.rows(&format!("backfill.{table}"), &[]).await, *expected, "backfill.{table}");
        for stream in ["a", "b"] {
            let late = rig.rows(&format!("live.{table}_late_{stream}"), &["result"]).await;
            assert!(late.len() > 20, "{table} of {stream}: {}", late.len());
            let again = rig.rows(&format!("backfill.{table}_late_{stream}"), &["result"]).await;
            assert_eq!(late, again, "{table} of {stream}");
        }
    }
}
