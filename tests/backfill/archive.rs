//! Archives: each record once, whatever the pieces it is taken in.

use kappa::archive::ArchiveError;
use kappa::event::EventTime;

use super::log::{Log, Record};
use super::rig::{Rig, job};

const SQL: &str = "
    CREATE STREAM events (host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '1 minute')
    LIVE FROM KAFKA 'events' FORMAT JSON HISTORY FROM ICEBERG 'raw.events';
    INSERT INTO ICEBERG 'marts.hits' SELECT window_start, host, count(*) AS n
    FROM TUMBLE(events, t, INTERVAL '1 minute') GROUP BY window_start, window_end, host;";

/// Three partitions out of order, with broken records and some beyond MAX FUTURE.
fn log() -> Log {
    let record = |partition: i64, index: i64| -> Record {
        let stamp = 1_767_225_600_000_000 + index * 60_000_000;
        let text = match (index * 7 + partition) % 11 {
            0 => "{".to_owned(),
            1 => format!(r#"{{"host":"ahead","t":"{}"}}"#, EventTime(stamp + 2 * 3_600_000_000)),
            2 => format!(r#"{{"host":"behind","t":"{}"}}"#, EventTime(stamp - 600_000_000)),
            _ => format!(r#"{{"host":"h{partition}","t":"{}"}}"#, EventTime(stamp)),
        };
        (stamp, text)
    };
    let partition = |partition: i64| (0..150).map(|index| record(partition, index)).collect();
    Log::new(vec![partition(0), partition(1), partition(2)])
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_with_other_lanes_leave_the_same_history_as_one_run() {
    let (whole, pieces) = (Rig::new().await, Rig::new().await);
    let plan = job("hits", SQL);
    let all = whole.archive(&plan, &log()).await;
    let (mut taken, mut rows, mut rejected) = (0, 0, 0);
    for (index, end) in [1, 2, 9, 9, 60, 61, 149, 150, 150].into_iter().enumerate() {
        let report = pieces.try_archive(&plan, &log().up_to(end), 1 + index % 4).await.expect("it goes on");
        assert_eq!(report.resumed, index > 0);
        taken += report.taken;
        rows += report.rows;
        rejected += report.rejected;
    }
    assert_eq!((taken, rows, rejected), (all.taken, all.rows, all.rejected));
    assert_eq!((taken, rows + rejected), (450, 450));
    for table in ["raw.events", "raw.events_rejects"] {
        let expected = whole.rows(table, &[]).await;
        assert!(expected.len() > 30);
        assert_eq!(pieces.rows(table, &[]).await, expected, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_holds_records_beyond_max_future_and_seen_passes_them_over() {
    let rig = Rig::new().await;
    let plan = job("hits", SQL);
    let report = rig.archive(&plan, &log()).await;
    let rows = rig.rows("raw.events", &[]).await;
    assert_eq!(rows.len() as u64, report.rows);
    assert!(rows.iter().any(|row| row.contains("\"ahead\"")));
    let value = |row: &String, name: &str| {
        let text = row.split(' ').find_map(|part| part.strip_prefix(name)).expect("the column is there").to_owned();
        chrono::DateTime::parse_from_rfc3339(&text).ok().map(|time| time.timestamp_micros())
    };
    let mut of_partition: Vec<(i64, i64, Option<i64>, bool)> = rows
        .iter()
        .filter(|row| row.contains("_partition=Integer(1)"))
        .map(|row| {
            let offset = row.split("_offset=Integer(").nth(1).and_then(|rest| rest.split(')').next());
            let offset = offset.and_then(|text| text.parse().ok()).expect("a number");
            (offset, value(row, "t=").expect("a time"), value(row, "_seen="), row.contains("\"ahead\""))
        })
        .collect();
    of_partition.sort_unstable();
    let mut seen = None;
    for (offset, time, found, ahead) in of_partition {
        assert_eq!(found, seen, "offset {offset}");
        seen = if ahead { seen } else { seen.max(Some(time)) };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_says_its_declaration_and_is_not_continued_under_another() {
    let rig = Rig::new().await;
    rig.archive(&job("hits", SQL), &log()).await;
    let table = rig.table("raw.events").await.expect("it is there");
    let declared = table.properties().get("kappa.stream").expect("it is set");
    assert!(
        declared.contains(r#""event_time":"t""#) && declared.contains(r#""max_future_us":3600000000"#),
        "{declared}"
    );
    let other = job("hits", &SQL.replace("host TEXT,", "host TEXT NOT NULL,"));
    let refused = rig.try_archive(&other, &log(), 1).await.expect_err("other records");
    assert!(matches!(refused, ArchiveError::Declaration { .. }), "{refused}");
    // Another job with the same stream goes on with it.
    let twin = job("twin", &SQL.replace("marts.hits", "marts.twin"));
    let report = rig.try_archive(&twin, &log(), 1).await.expect("the archiver is the history's");
    assert_eq!((report.resumed, report.taken), (true, 0));
}
