//! A disk that is full for a while, under state, tables, catalog and log: no file may grow. A job says so, waits, and goes on, with
//! nothing lost and nothing twice.

use std::time::Duration;

use super::arriving::JOB;
use super::{Arriving, Gate, Watched};
use crate::operating::address;
use crate::support::http;
use crate::support::process::Running;

const LIMIT: Duration = Duration::from_secs(120);
/// Shares of the messages, one before each change.
const SHARES: usize = 5;
const SETTINGS: &str = "checkpoint_interval = \"100ms\"\nlisten = \"127.0.0.1:0\"";
/// Seconds of an outage in which it has tried several times.
const OUTAGE_S: f64 = 3.0;
/// Where files can't grow at all, nor can the log; here it can say a few lines.
const ROOM_FOR_LINES: u64 = 1_500;

#[test]
fn a_run_on_a_full_disk_says_so_and_goes_on_when_there_is_room() {
    let arriving = Arriving::live(6_300, 600, SETTINGS);
    story(&arriving, &Watched::run(&arriving));
    arriving.audit_result();
}

#[test]
fn an_archive_on_a_full_disk_says_so_and_goes_on_when_there_is_room() {
    let arriving = Arriving::archived(6_301, 600, SETTINGS);
    story(&arriving, &Watched::archive(&arriving));
    arriving.audit_history();
}

fn story(arriving: &Arriving, command: &Watched<'_>) {
    arriving.while_fed(SHARES, |gate| {
        gate.open();
        // No progress on stderr, which must keep its room.
        let mut run = arriving.project.start(&[command.name(), JOB]);
        let address = address(&mut run);
        run.wait_until("a checkpoint is published", LIMIT, || command.committed().is_some());
        run.limit_files(Some(ROOM_FOR_LINES));
        gate.open();
        run.wait_for_stderr("File too large", LIMIT);
        go_on(command, &mut run, gate);

        // Nor is there room for a word about it.
        run.limit_files(Some(0));
        gate.open();
        run.wait_until("it tries to write", LIMIT, || outage_seconds(&address) > OUTAGE_S);
        go_on(command, &mut run, gate);
        run.terminate();
        run.wait(LIMIT).ok();
    });
    command.finish();
}

/// There is room again: a checkpoint is published that is newer than what there was.
fn go_on(command: &Watched<'_>, run: &mut Running, gate: &Gate) {
    let before = command.committed();
    run.limit_files(None);
    gate.open();
    run.wait_until("another one is published", LIMIT, || command.committed() > before);
}

/// How long the longest outage lasts, by its metrics.
fn outage_seconds(address: &str) -> f64 {
    let page = http::get(address, "/metrics").expect("it listens").body;
    let values = page.lines().filter(|line| line.starts_with("kappa_outage_seconds{"));
    let seconds = values.map(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number"));
    seconds.fold(0.0, f64::max)
}
