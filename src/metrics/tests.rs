use std::collections::BTreeSet;

use super::*;
use crate::event::{ResumeOffset, TableName};
use crate::memory::HeldByOperator;
use crate::standing::{LogSpan, StreamStanding};
use crate::vitals::Outage;

/// Values by name and labels, as they stand.
fn scraped(standings: Vec<Standing>) -> BTreeMap<String, f64> {
    let text = text(standings);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let values = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').expect("a series and its value");
        (series.to_owned(), value.parse().expect("a number"))
    });
    let values: Vec<(String, f64)> = values.collect();
    let count = values.len();
    let values: BTreeMap<String, f64> = values.into_iter().collect();
    assert_eq!(values.len(), count, "no series twice");
    values
}

fn partition(position: i64) -> PartitionStanding {
    PartitionStanding {
        taken: 10,
        rejected: 1,
        position: ResumeOffset(position),
        seen: Some(EventTime(90_500_000)),
        logged: Some(EventTime(91_000_000)),
        log: Some(LogSpan { low: ResumeOffset(0), high: ResumeOffset(100) }),
        retention: Some(Duration::from_secs(60)),
    }
}

fn standing(partitions: i32) -> Standing {
    let table = TableName::parse("marts.hits").expect("a name");
    let stream = StreamStanding {
        name: "clicks".to_owned(),
        bytes: 4_096,
        partitions: (0..partitions).map(|number| (number, partition(40))).collect(),
    };
    let mut standing = Standing {
        now: EventTime(100_000_000),
        phase: Phase::Reading,
        watermark: EventTime(80_000_000),
        holder: Some(("clicks".to_owned(), 1)),
        streams: vec![stream],
        tables: vec![TableStanding { rows: 7, late: 2, ..TableStanding::of(table.clone()) }],
        ..Standing::of("hits")
    };
    standing.held.operators.push(HeldByOperator { table, bytes: 512, windows: 3, largest: None });
    standing
}

#[test]
fn a_standing_is_shown_with_its_labels_and_in_base_units() {
    let values = scraped(vec![standing(2)]);
    let of = |series: &str| values.get(series).copied();
    assert_eq!(of(r#"kappa_records_taken_total{owner="hits",stream="clicks",partition="1"}"#), Some(10.0));
    assert_eq!(of(r#"kappa_read_bytes_total{owner="hits",stream="clicks"}"#), Some(4096.0));
    assert_eq!(of(r#"kappa_lag_records{owner="hits",stream="clicks",partition="0"}"#), Some(60.0));
    assert_eq!(of(r#"kappa_lag_seconds{owner="hits",stream="clicks",partition="0"}"#), Some(9.5));
    assert_eq!(of(r#"kappa_log_headroom_ratio{owner="hits",stream="clicks",partition="0"}"#), Some(0.4));
    assert_eq!(of(r#"kappa_log_headroom_seconds{owner="hits",stream="clicks",partition="0"}"#), Some(51.0));
    assert_eq!(of(r#"kappa_watermark_timestamp_seconds{owner="hits"}"#), Some(80.0));
    assert_eq!(of(r#"kappa_watermark_lag_seconds{owner="hits"}"#), Some(20.0));
    assert_eq!(of(r#"kappa_watermark_holder{owner="hits",stream="clicks",partition="1"}"#), Some(1.0));
    assert_eq!(of(r#"kappa_rows_published_total{owner="hits",table="marts.hits"}"#), Some(7.0));
    assert_eq!(of(r#"kappa_state_bytes{owner="hits",table="marts.hits"}"#), Some(512.0));
    assert_eq!(of(r#"kappa_ready{owner="hits"}"#), Some(1.0));
}

#[test]
fn what_is_not_known_has_no_series() {
    let values = scraped(vec![Standing::of("hits")]);
    for name in ["kappa_watermark_timestamp_seconds", "kappa_generation", "kappa_checkpoint_age_seconds"] {
        assert!(!values.keys().any(|series| series.starts_with(name)), "{name}");
    }
    assert_eq!(values[r#"kappa_outage_seconds{owner="hits",of="tables"}"#], 0.0, "an alert needs a series to look at");
}

#[test]
fn partitions_beyond_the_bound_share_a_series() {
    let many = PARTITIONS_MAX as i32 + 5;
    let values = scraped(vec![standing(many)]);
    let of = |name: &str| values.keys().filter(|series| series.starts_with(name)).count();
    assert_eq!(of("kappa_lag_records{"), PARTITIONS_MAX + 1);
    assert_eq!(values[r#"kappa_lag_records{owner="hits",stream="clicks",partition="rest"}"#], 300.0, "added up");
    assert_eq!(values[r#"kappa_lag_seconds{owner="hits",stream="clicks",partition="rest"}"#], 9.5, "the worst");
}

#[test]
fn the_longest_outage_of_a_kind_counts() {
    let outage = |lasts| Outage {
        of: Outside::Log,
        action: "ask",
        error: String::new(),
        lasts: Duration::from_secs(lasts),
        calls: 1,
    };
    let values = scraped(vec![Standing { outages: vec![outage(3), outage(9)], ..Standing::of("hits") }]);
    assert_eq!(values[r#"kappa_outage_seconds{owner="hits",of="log"}"#], 9.0);
}

#[test]
fn names_follow_the_conventions_and_labels_are_escaped() {
    let known: BTreeSet<String> = names().into_iter().collect();
    assert_eq!(known.len(), FAMILIES.len(), "no name twice");
    for name in &known {
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && name.starts_with("kappa_"), "{name}");
        assert!(!name.contains("_ms") && !name.contains("millis"), "{name} isn't in base units");
    }
    assert!(FAMILIES.iter().all(|family| !family.help.ends_with('.') && !family.name.ends_with("_total")));
    let values = scraped(vec![Standing::of("a\"b\\c")]);
    assert!(values.contains_key(r#"kappa_ready{owner="a\"b\\c"}"#), "{values:?}");
}
