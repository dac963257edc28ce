//! A job that was down, a reset in haste, the hole that it left, and the ways back.

use serde_json::{Value as Json, json};

use super::story::{SETTINGS, Story, behind};
use crate::kafka::hours::{Hours, JOB};

#[test]
fn a_hole_that_a_hasty_reset_left_is_told_filled_and_the_reset_undone() {
    let hours = Hours::new(2, &[], "WATERMARK FOR t AS t");
    let settings = std::fs::read_to_string(hours.project.path().join("kappa.toml")).expect("the project has one");
    hours.project.write("kappa.toml", settings.replace("checkpoint_interval = \"100ms\"", SETTINGS));
    let mut story = Story::new(&hours.project, (&hours.topic, "events"), "marts");
    story.tell("A job counts events by the hour. Both partitions hold some up to a quarter past seven.");
    hours.send(&[(0, "05:10"), (0, "06:10"), (0, "07:10"), (1, "05:20"), (1, "06:20"), (1, "07:20")]);
    story.give("kappa run jobs/hours.sql --until end", 0);
    assert_eq!(hours.results(), counts(&[("05:00", 2), ("06:00", 2)]));

    story.tell("Then it is down, and nobody sees it until noon.");
    hours.send(&[(0, "07:40"), (0, "08:10"), (0, "09:10"), (0, "10:10"), (0, "11:10"), (0, "12:10")]);
    hours.send(&[(1, "08:20"), (1, "09:20"), (1, "10:20"), (1, "11:20"), (1, "12:20")]);
    story.give("kappa status jobs/hours.sql", 0);
    story.give("kappa offsets get jobs/hours.sql", 0);

    story.tell("Somebody wants fresh numbers at once, and lets the job go on with the current hours.");
    story.give("kappa offsets reset jobs/hours.sql --to-datetime 2026-01-01T11:00:00Z --execute", 0);
    story.give("kappa run jobs/hours.sql --until end", 0);
    assert_eq!(hours.results(), counts(&[("05:00", 2), ("06:00", 2), ("11:00", 2)]));
    story.tell("There is no lag any more, but a hole.");
    story.give("kappa offsets get jobs/hours.sql", 0);
    story.give("kappa status jobs/hours.sql", 0);
    assert_eq!(holes(&hours), json!([{ "from": "2026-01-01T07:00:00Z", "to": "2026-01-01T11:00:00Z" }]));

    story.tell("The topic still holds the morning, so the job is put back to 08:00: first to look, then in earnest.");
    story.give("kappa offsets reset jobs/hours.sql --to-datetime 2026-01-01T08:00:00Z", 0);
    let command = "kappa offsets reset jobs/hours.sql --to-datetime 2026-01-01T08:00:00Z --execute";
    let reset = story.give(command, 0);
    story.give("kappa run jobs/hours.sql --until end", 0);
    let but_seven = [("05:00", 2), ("06:00", 2), ("08:00", 2), ("09:00", 2), ("10:00", 2), ("11:00", 2)];
    assert_eq!(hours.results(), counts(&but_seven), "each hour once, and the one that nobody publishes isn't there");
    assert_eq!(holes(&hours), json!([{ "from": "2026-01-01T07:00:00Z", "to": "2026-01-01T08:00:00Z" }]));

    story.tell("What is left of the hole comes from history, by the backfill that was named.");
    story.give("kappa archive jobs/hours.sql --until end", 0);
    story.give(behind(&reset.stdout, "backfill them with: "), 0);
    let mut whole = but_seven.to_vec();
    whole.insert(2, ("07:00", 3));
    assert_eq!(hours.results(), counts(&whole));
    assert_eq!(holes(&hours), json!([]));
    let diff = "kappa diff jobs/hours.sql --from 2026-01-01T05:00:00Z --to 2026-01-01T12:00:00Z";
    story.give(diff, 0);

    story.tell("The hasty reset could have been undone as well: before it, the job stood at a quarter past seven.");
    let listed = story.give("kappa savepoint list jobs/hours.sql", 0);
    let first = listed.stdout.split_whitespace().find(|word| word.starts_with("before-reset-")).expect("it was kept");
    story.give(&format!("kappa run jobs/hours.sql --savepoint {first} --until end"), 0);
    story.give(diff, 0);
    story.ends("lag");
    assert_eq!(hours.results(), counts(&whole), "published again, each hour once");
}

fn counts(hours: &[(&str, i64)]) -> Vec<(String, i64)> {
    hours.iter().map(|&(hour, count)| (hour.to_owned(), count)).collect()
}

/// The windows that nobody has published, as scripts read them.
fn holes(hours: &Hours) -> Json {
    let status = hours.project.kappa(&["status", JOB, "--json"]).ok();
    let status: Json = serde_json::from_str(&status.stdout).expect("one JSON document");
    status[0]["results"][0]["nobody_publishes"].clone()
}
