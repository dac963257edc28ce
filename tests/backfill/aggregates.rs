//! Every aggregate in one job, over a stream whose event time is corrected: the same bits live, from history in pieces, and
//! in a comparison; and the values that a person would work out.

use kappa::event::EventTime;

use super::log::{Log, Record};
use super::rig::{DRAINED, Rig, at, between, job};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

fn sql(result: &str) -> String {
    format!(
        "CREATE STREAM readings (
           device TEXT, x DOUBLE, y DOUBLE, n BIGINT, price DECIMAL(10, 2),
           occurred TIMESTAMP, sent TIMESTAMP, received TIMESTAMP FROM METADATA 'timestamp',
           happened TIMESTAMP NOT NULL AS CORRECT_CLOCK(occurred, sent, received),
           WATERMARK FOR happened AS happened - INTERVAL '30 minutes'
         )
         LIVE FROM KAFKA 'readings' FORMAT JSON HISTORY FROM ICEBERG 'raw.readings';
         INSERT INTO ICEBERG 'marts.{result}' PARTITIONED BY (hour(window_start))
         SELECT window_start, window_end, device, count(*) AS records,
                covar(x, y) AS co, covar_pop(x, y) AS co_pop, corr(x, y) AS r, regr_slope(y, x) AS slope,
                regr_intercept(y, x) AS base, regr_r2(y, x) AS r2, regr_count(y, x) AS pairs,
                approx_distinct(n) AS about, count(DISTINCT n) AS exactly, approx_quantile(x, 0.9) AS p90,
                approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY x DESC) AS p10,
                median(x) AS mid, median(price) AS mid_price, percentile_cont(0.25) WITHIN GROUP (ORDER BY n) AS quarter,
                array_agg(n) AS ns, array_agg(DISTINCT n ORDER BY x) IGNORE NULLS AS by_x, array_agg(x) AS xs,
                array_agg(price) FILTER (WHERE n > 5) AS prices, string_agg(device || n, ',' ORDER BY n DESC) AS texts,
                nth_value(n, 2) AS second, nth_value(n, -2 ORDER BY x) AS second_largest, bit_xor(n) AS bits
         FROM TUMBLE(readings, happened, INTERVAL '10 minutes') GROUP BY window_start, window_end, device;"
    )
}

/// Devices whose clocks are an hour behind, right, and ten days ahead; a few say nothing of when they sent.
fn log() -> Log {
    let start = at("2026-01-01T00:00:00Z").0;
    let mut partitions: Vec<Vec<Record>> = vec![Vec::new(); 3];
    let mut number = 1_u64;
    for index in 0..2_400 {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = |shift: u32, end: u64| (number >> shift) % end;
        let received = start + index * 5 * SECOND;
        let device = random(33, 3) as usize;
        let wrong_by = [-HOUR, 0, 240 * HOUR][device];
        let delay = random(36, 600) as i64 * SECOND;
        let (occurred, sent) = (EventTime(received + wrong_by - delay), EventTime(received + wrong_by));
        let sent = if random(40, 50) == 0 { "null".to_owned() } else { format!("\"{sent}\"") };
        let x = match random(43, 30) {
            0 => "null".to_owned(),
            1 => "-1e300".to_owned(),
            2 => "-0.0".to_owned(),
            value => format!("{}", 1e9 + value as f64 * 0.001),
        };
        let y = format!("{}", random(20, 1_000) as f64 * 0.1 - 50.0);
        let n = if random(48, 9) == 0 { "null".to_owned() } else { random(49, 12).to_string() };
        let text = format!(
            r#"{{"device":"d{device}","x":{x},"y":{y},"n":{n},"price":{}.{:02},"occurred":"{occurred}","sent":{sent}}}"#,
            random(22, 100),
            random(30, 100),
        );
        partitions[random(52, 3) as usize].push((received, text));
    }
    Log::new(partitions)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_aggregate_gives_the_same_bits_live_and_from_history() {
    let (rig, log) = (Rig::new().await, log());
    let (live, backfill) = (job("live", &sql("live")), job("backfill", &sql("backfill")));
    let archived = rig.archive(&live, &log).await;
    assert!(archived.rejected > 20, "a record that doesn't say when it was sent has no time: {archived:?}");
    rig.live(&live, &log, true).await;
    let pieces = [
        between("2026-01-01T02:00:00Z", "2026-01-01T04:00:00Z"),
        between("2025-12-31T23:00:00Z", "2026-01-01T01:00:00Z"),
        between("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"),
    ];
    for piece in pieces {
        rig.backfill(&backfill, piece.clone(), &DRAINED).await;
        rig.assert_equal(&live, piece.clone(), true).await;
    }
    let (published, recomputed) = (rig.rows("marts.live", &[]).await, rig.rows("marts.backfill", &[]).await);
    // Twenty windows and a bit of three devices: no clock is wrong any more.
    assert!((60..=66).contains(&published.len()), "{}", published.len());
    assert_eq!(published, recomputed);
    for line in &published {
        let value = |name: &str| line.split(&format!(" {name}=")).nth(1).and_then(|rest| rest.split(' ').next());
        assert_eq!(value("about"), value("exactly"), "few values are counted exactly: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_window_can_be_worked_out_by_hand() {
    let time = |second: i64| EventTime(at("2026-01-01T00:00:00Z").0 + second * SECOND);
    // The device's clock is an hour ahead; it sends everything a minute later.
    let record = |second: i64, x: &str, n: &str, price: &str| {
        let (occurred, sent) = (time(second + 3_600), time(second + 3_660));
        let text = format!(
            r#"{{"device":"a","x":{x},"y":{x},"n":{n},"price":{price},"occurred":"{occurred}","sent":"{sent}"}}"#
        );
        (time(second + 60).0, text)
    };
    let log = Log::new(vec![
        vec![record(0, "1", "1", "0.01"), record(30, "3", "null", "0.02"), record(599, "10", "2", "0.03")],
        vec![record(20, "2", "2", "9.99"), record(600, "7", "7", "7.00")],
    ]);
    let (rig, plan) = (Rig::new().await, job("small", &sql("small")));
    rig.archive(&plan, &log).await;
    rig.live(&plan, &log, true).await;
    insta::assert_snapshot!(rig.rows("marts.small", &[]).await.join("\n").replace(' ', "\n  "));
    rig.assert_equal(&plan, between("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"), true).await;
}
