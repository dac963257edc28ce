//! A topic that was deleted and made anew: its offsets stand for other records, which nobody takes for the old ones.

use super::hours::Hours;
use crate::support::kafka;

const TO_END: [&str; 2] = ["--until", "end"];

/// Two hours of the old topic are published and archived, and the new one is longer than what was read of the old one.
fn made_anew() -> Hours {
    let hours = Hours::new(1, &[], "WATERMARK FOR t AS t");
    hours.send(&[(0, "00:30"), (0, "01:30"), (0, "02:30")]);
    for command in ["run", "archive"] {
        hours.kappa(&[command], &TO_END).ok();
    }
    kafka::make_anew(&hours.topic, 1);
    hours.send(&[(0, "02:10"), (0, "02:20"), (0, "03:10"), (0, "03:20"), (0, "04:10"), (0, "05:10")]);
    hours
}

fn counts(hours: &[(&str, i64)]) -> Vec<(String, i64)> {
    hours.iter().map(|&(hour, records)| (hour.to_owned(), records)).collect()
}

#[test]
fn b16_what_was_read_of_a_topic_is_not_gone_on_with_in_another_of_its_name() {
    let hours = made_anew();
    for command in ["run", "archive"] {
        let stopped = hours.kappa(&[command], &TO_END).exits(5);
        let says = format!("error: topic {} was deleted and made anew: it had the id ", hours.topic);
        assert!(stopped.stderr.starts_with(&says), "{}", stopped.stderr);
        let way_out = "to read the new one, reset the position of all its partitions\n";
        assert!(stopped.stderr.contains(way_out), "{}", stopped.stderr);
    }
    assert_eq!(hours.results(), counts(&[("00:00", 1), ("01:00", 1)]));
    assert_eq!(hours.row_count("history"), 3);
}

#[test]
fn a_reset_reads_a_topic_that_was_made_anew_and_a_savepoint_of_the_old_one_stays_one() {
    let hours = made_anew();
    hours.kappa(&["savepoint", "create"], &["old"]).ok();
    hours.kappa(&["offsets", "reset"], &["--to-earliest", "--execute"]).ok();
    hours.kappa(&["run"], &TO_END).ok();
    assert_eq!(hours.results(), counts(&[("02:00", 2), ("03:00", 2), ("04:00", 1)]));
    let stopped = hours.kappa(&["run"], &["--savepoint", "old"]).exits(5);
    assert!(stopped.stderr.contains("was deleted and made anew"), "{}", stopped.stderr);
}

#[test]
fn some_partitions_of_a_topic_that_was_made_anew_are_not_reset() {
    let hours = Hours::new(2, &[], "WATERMARK FOR t AS t");
    hours.send(&[(0, "00:30"), (1, "00:40")]);
    hours.kappa(&["run"], &TO_END).ok();
    kafka::make_anew(&hours.topic, 2);
    let some = format!("{}:0", hours.topic);
    let refused = hours.kappa(&["offsets", "reset"], &["--to-earliest", "--topic", &some]);
    assert!(refused.stderr.contains("reset the position of all its partitions"), "{}", refused.stderr);
    assert_ne!(refused.code, Some(0));
}
