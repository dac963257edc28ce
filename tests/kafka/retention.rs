//! Retention that overtakes a checkpoint: nothing is passed over in silence.

use super::hours::Hours;
use crate::support::kafka;

#[test]
fn a_gap_between_checkpoint_and_log_stops_run_and_archive_with_its_offsets() {
    let hours = Hours::new(2, &[], "WATERMARK FOR t AS t");
    hours.send(&[(0, "00:30"), (1, "00:30"), (1, "00:40")]);
    for command in ["run", "archive"] {
        hours.kappa(&[command], &["--until", "end"]).ok();
    }
    hours.send(&[(1, "01:00"), (1, "01:10"), (1, "01:20"), (1, "01:30")]);
    // Read up to 2; of 2 to 5 only the last is left.
    kafka::trim(&hours.topic, 1, 5);
    let gap = format!(
        "error: partition 1 of topic {}: 3 offsets, 2 to 4, are lost: the log now begins at 5 (retention or deletion); to go on \
         without them, reset the position\n",
        hours.topic
    );
    for command in ["run", "archive"] {
        let stopped = hours.kappa(&[command], &["--until", "end"]).exits(5);
        assert!(stopped.stderr.starts_with(&gap), "{}", stopped.stderr);
    }
    let offsets = hours.kappa(&["offsets", "get"], &[]).ok();
    let told =
        "partition 1 of events: 3 offsets were removed from the log before being taken; a run stops there (exit 5)\n";
    assert!(offsets.stdout.ends_with(told), "{}", offsets.stdout);
}
