//! Windows that the data makes: live, with restarts, and from history they are those of a slow, obvious model.

use std::collections::BTreeMap;
use std::ops::Range;

use kappa::event::EventTime;
use kappa::live::RunOptions;
use kappa::start::Start;

use super::log::Log;
use super::rig::{DRAINED, How, Rig, at, between, job};
use crate::support::Value;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const BOUND: i64 = 30 * SECOND;

/// One record of a test's log.
#[derive(Clone, Debug)]
pub struct Event {
    pub time: i64,
    pub user: Option<&'static str>,
    page: &'static str,
    pub value: i64,
    position: (usize, usize),
}

/// A small generator of numbers: what matters is only that they are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as i64 % end
    }
}

/// Three partitions over three hours: users come and go, records are out of order, one in ten beyond the bound.
pub fn events(seed: u64) -> Vec<Vec<Event>> {
    let mut numbers = Numbers(seed);
    let mut partitions = vec![Vec::new(); 3];
    let start = at("2026-01-01T00:00:00Z").0;
    let mut now = start;
    for value in 0..1_200 {
        // Bursts, and silences long enough for sessions to end.
        now += if numbers.below(40) == 0 { numbers.below(10 * MINUTE) } else { numbers.below(12 * SECOND) };
        let behind = match numbers.below(10) {
            0 => numbers.below(10 * MINUTE),
            1..4 => numbers.below(BOUND),
            _ => 0,
        };
        // Whole seconds, so that records meet at one time and stand exactly a gap apart.
        let time = (now - behind).div_euclid(SECOND) * SECOND;
        let user = [Some("ann"), Some("bob"), Some("cem"), None][numbers.below(4) as usize];
        let page = ["home", "cart"][numbers.below(2) as usize];
        let partition = numbers.below(3) as usize;
        let position = (partition, partitions[partition].len());
        partitions[partition].push(Event { time, user, page, value, position });
    }
    partitions
}

pub fn log(partitions: &[Vec<Event>]) -> Log {
    let message = |event: &Event| {
        let user = event.user.map_or("null".to_owned(), |user| format!("\"{user}\""));
        let Event { time, page, value, .. } = event;
        let text = format!(r#"{{"user":{user},"page":"{page}","v":{value},"t":"{}"}}"#, EventTime(*time));
        (*time + BOUND, text)
    };
    Log::new(partitions.iter().map(|events| events.iter().map(message).collect()).collect())
}

/// The events that are in time by their own partition, in canonical order.
fn in_time(partitions: &[Vec<Event>]) -> Vec<Event> {
    let mut taken = Vec::new();
    for events in partitions {
        let mut seen = i64::MIN;
        for event in events {
            if seen == i64::MIN || event.time >= seen - BOUND {
                taken.push(event.clone());
            }
            seen = seen.max(event.time);
        }
    }
    taken.sort_by_key(|event| (event.time, event.position));
    taken
}

/// Start, end, reason and events of a window.
type Window = (i64, i64, &'static str, Vec<Event>);

fn by_user(events: &[Event]) -> BTreeMap<Option<&'static str>, Vec<Event>> {
    let mut of_user: BTreeMap<Option<&'static str>, Vec<Event>> = BTreeMap::new();
    for event in events {
        of_user.entry(event.user).or_default().push(event.clone());
    }
    of_user
}

fn sessions(events: &[Event], gap: i64) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for event in events {
        match windows.last_mut().filter(|window| event.time < window.1) {
            Some(window) => {
                window.1 = event.time + gap;
                window.3.push(event.clone());
            }
            None => windows.push((event.time, event.time + gap, "", vec![event.clone()])),
        }
    }
    windows
}

fn counted(events: &[Event], size: usize, timeout: i64) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for event in events {
        let open = windows.last_mut().filter(|window| window.2 == "timeout" && event.time < window.1);
        let window = match open {
            Some(window) => window,
            None => {
                windows.push((event.time, event.time + timeout, "timeout", Vec::new()));
                windows.last_mut().expect("just pushed")
            }
        };
        window.3.push(event.clone());
        if window.3.len() == size {
            (window.1, window.2) = (event.time + 1, "full");
        }
    }
    windows
}

fn sliding(events: &[Event], size: i64) -> Vec<Window> {
    let mut times: Vec<i64> = events.iter().map(|event| event.time).collect();
    times.dedup();
    let window = |time: i64| {
        let inside = events.iter().filter(|event| event.time > time - size && event.time <= time).cloned().collect();
        (time - size + 1, time + 1, "", inside)
    };
    times.into_iter().map(window).collect()
}

/// One kind of window: its SQL, and its model.
struct Case {
    call: &'static str,
    /// Columns of the result before `n`, `s` and `last`.
    columns: &'static [&'static str],
    model: fn(&[Event]) -> Vec<Window>,
}

const SESSION: Case = Case {
    call: "SESSION(events PARTITION BY user, t, INTERVAL '2 minutes')",
    columns: &["user", "window_start", "window_end"],
    model: |events| by_user(events).values().flat_map(|events| sessions(events, 2 * MINUTE)).collect(),
};

const SESSION_OF_ALL: Case = Case {
    call: "SESSION(events, t, INTERVAL '45 seconds')",
    columns: &["window_start", "window_end"],
    model: |events| sessions(events, 45 * SECOND),
};

const SESSION_BY_PAGE: Case = Case {
    call: "SESSION(events PARTITION BY user, t, INTERVAL '2 minutes')",
    columns: &["page", "user", "window_start", "window_end"],
    model: |events| {
        let mut split = Vec::new();
        for (start, end, reason, events) in (SESSION.model)(events) {
            for page in ["home", "cart"] {
                let own: Vec<Event> = events.iter().filter(|event| event.page == page).cloned().collect();
                if !own.is_empty() {
                    split.push((start, end, reason, own));
                }
            }
        }
        split
    },
};

const COUNT: Case = Case {
    call: "COUNT_WINDOW(events PARTITION BY user, t, 5, TIMEOUT INTERVAL '90 seconds')",
    columns: &["user", "window_start", "window_end", "window_reason"],
    model: |events| by_user(events).values().flat_map(|events| counted(events, 5, 90 * SECOND)).collect(),
};

const SLIDING: Case = Case {
    call: "SLIDING(events PARTITION BY user, t, INTERVAL '3 minutes')",
    columns: &["user", "window_start", "window_end"],
    model: |events| by_user(events).values().flat_map(|events| sliding(events, 3 * MINUTE)).collect(),
};

impl Case {
    fn sql(&self, result: &str, partition: &str) -> String {
        let columns = self.columns.join(", ");
        format!(
            "CREATE STREAM events (user TEXT, page TEXT, v BIGINT, t TIMESTAMP NOT NULL,
               WATERMARK FOR t AS t - INTERVAL '30 seconds')
             LIVE FROM KAFKA 'events' FORMAT JSON HISTORY FROM ICEBERG 'raw.events';
             INSERT INTO ICEBERG 'marts.{result}' PARTITIONED BY (hour({partition}))
             SELECT {columns}, count(*) AS n, sum(v) AS s, last_value(v) AS last
             FROM {} GROUP BY {columns};",
            self.call
        )
    }

    /// The rows of some windows as the rig shows them.
    fn lines(&self, windows: &[Window]) -> Vec<String> {
        let integer = |value: i64| format!("{:?}", Value::from(value));
        let text = |text: Option<&str>| format!("{:?}", text.map_or(Value::Null, Value::from));
        let line = |(start, end, reason, events): &Window| {
            let mut parts: Vec<String> = Vec::new();
            for &column in self.columns {
                parts.push(match column {
                    "user" => format!("user={}", text(events[0].user)),
                    "page" => format!("page={}", text(Some(events[0].page))),
                    "window_start" => format!("window_start={}", EventTime(*start)),
                    "window_end" => format!("window_end={}", EventTime(*end)),
                    _ => format!("window_reason={}", text(Some(reason))),
                });
            }
            parts.push(format!("n={}", integer(i64::try_from(events.len()).expect("few"))));
            parts.push(format!("s={}", integer(events.iter().map(|event| event.value).sum())));
            parts.push(format!("last={}", integer(events.last().expect("not empty").value)));
            parts.join(" ")
        };
        let mut lines: Vec<String> = windows.iter().map(line).collect();
        lines.sort();
        lines
    }
}

pub fn hours() -> [Range<EventTime>; 4] {
    [
        between("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"),
        between("2025-12-31T23:00:00Z", "2026-01-01T01:00:00Z"),
        between("2026-01-01T02:00:00Z", "2026-01-01T03:00:00Z"),
        between("2026-01-01T03:00:00Z", "2026-01-01T12:00:00Z"),
    ]
}

/// Runs live with restarts, and from history in pieces; both are the model.
async fn same_as_the_model(case: &Case, partition: &str) {
    let rig = Rig::new().await;
    let partitions = events(11);
    let log = log(&partitions);
    let (live, backfill) =
        (job("live", &case.sql("live", partition)), job("backfill", &case.sql("backfill", partition)));
    rig.archive(&live, &log).await;
    for (rows, workers) in [(60, 1), (61, 3), (200, 2), (330, 1)] {
        let options = RunOptions { workers, ..RunOptions::default() };
        rig.live_by(&live, &log.up_to(rows), options).await.expect("the job runs");
    }
    let options = RunOptions { workers: 2, drain: true, ..RunOptions::default() };
    rig.live_by(&live, &log, options).await.expect("the job runs");
    let taken = in_time(&partitions);
    let expected = case.lines(&(case.model)(&taken));
    assert!(expected.len() > 20, "the case says something: {}", expected.len());
    assert_eq!(rig.rows("marts.live", &[]).await, expected, "live");
    for hour in hours() {
        rig.backfill(&backfill, hour.clone(), &DRAINED).await;
        rig.assert_equal(&live, hour.clone(), true).await;
    }
    assert_eq!(rig.rows("marts.backfill", &[]).await, expected, "from history");
    let late = rig.rows("marts.live_late", &["result"]).await;
    assert_eq!(late.len(), 1_200 - taken.len());
    assert_eq!(late, rig.rows("marts.backfill_late", &["result"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_by_their_ends() {
    same_as_the_model(&SESSION, "window_end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_by_their_starts() {
    same_as_the_model(&SESSION_BY_PAGE, "window_start").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_at_a_time_for_all_records() {
    same_as_the_model(&SESSION_OF_ALL, "window_end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn count_windows_by_their_starts() {
    same_as_the_model(&COUNT, "window_start").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn count_windows_by_their_ends() {
    same_as_the_model(&COUNT, "window_end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sliding_windows_by_their_starts() {
    same_as_the_model(&SLIDING, "window_start").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sliding_windows_by_their_ends() {
    same_as_the_model(&SLIDING, "window_end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_in_mid_log_gives_whole_windows_only() {
    let partitions = events(12);
    let from = at("2026-01-01T01:20:00Z");
    for case in [SESSION, COUNT, SLIDING] {
        let rig = Rig::new().await;
        let plan = job("live", &case.sql("live", "window_end"));
        rig.try_live(&plan, &log(&partitions), true, Start::Time(from)).await.expect("the job runs");
        let windows = (case.model)(&in_time(&partitions));
        let behind: Vec<Window> = windows.into_iter().filter(|window| window.0 >= from.0).collect();
        let (expected, found) = (case.lines(&behind), rig.rows("marts.live", &[]).await);
        let wrong: Vec<&String> = found.iter().filter(|line| !expected.contains(line)).collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", case.call);
        // Where count windows begin is known only once their key was silent.
        let is_count = case.columns.contains(&"window_reason");
        assert!(found.len() == expected.len() || (is_count && found.len() > 10), "{}: {}", case.call, found.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_history_does_not_reach_back_for_is_refused() {
    let rig = Rig::new().await;
    let partitions = events(13);
    let plan = job("backfill", &COUNT.sql("backfill", "window_start"));
    rig.archive(&plan, &log(&partitions).trimmed(100)).await;
    let error = rig.try_backfill(&plan, hours()[1].clone(), &DRAINED).await.expect_err("its beginning is gone");
    assert!(error.to_string().contains("may have begun before"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_open_where_history_ends_refuses_its_range() {
    let rig = Rig::new().await;
    let start = at("2026-01-01T00:59:30Z").0;
    // One session without end, from before the edge on.
    let position = |index: usize| (0, index);
    let time = |index: usize| start + i64::try_from(index).expect("few") * MINUTE;
    let events: Vec<Event> = (0..60)
        .map(|index| Event { time: time(index), user: Some("ann"), page: "home", value: 1, position: position(index) })
        .collect();
    let plan = job("backfill", &SESSION.sql("backfill", "window_start"));
    rig.archive(&plan, &log(&[events])).await;
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
    let exact = How { drain: false, ..DRAINED };
    let error = rig.try_backfill(&plan, range.clone(), &exact).await.expect_err("it goes on");
    assert!(error.to_string().contains("last until 2026-01-01T02:00:30Z"), "{error}");
    let done = rig.backfill(&plan, range, &DRAINED).await;
    assert_eq!(done.inserts[0].rows, 1);
}
