//! A live run and an archive on the real broker are killed again and again, half of the time as soon as a checkpoint's
//! manifest is there, which is before its tables are committed. In the end every row is audited.

use std::time::Duration;

use super::{Arriving, Gate, Watched};
use crate::replay::Random;
use crate::support::is_long;

/// For a checkpoint of a command that makes one a second, on a loaded machine.
const PROGRESS_LIMIT: Duration = Duration::from_secs(60);
/// So long goes a command on at most, half of the time, before it is killed: about one checkpoint.
const REPRIEVE_MS: u64 = 1_000;

#[test]
fn kills_of_a_run_again_and_again_lose_no_row_and_repeat_none() {
    let kills = number("KAPPA_KILLS", if is_long() { 300 } else { 30 });
    let arriving = Arriving::live(seed(), kills * 667, "checkpoint_interval = \"1s\"");
    let run = Watched::run(&arriving);
    let between = arriving.while_fed(kills, |gate| kill_repeatedly(&run, kills, gate));
    assert!(between >= kills / 6, "only {between} kills hit between manifest and commit");
    run.finish();
    arriving.audit_result();
}

#[test]
fn twelve_kills_of_an_archive_lose_no_record_and_repeat_none() {
    let arriving = Arriving::archived(31, 6_000, "checkpoint_interval = \"300ms\"");
    let archive = Watched::archive(&arriving);
    let between = arriving.while_fed(12, |gate| kill_repeatedly(&archive, 12, gate));
    assert!(between >= 2, "only {between} kills hit between manifest and commit");
    archive.finish();
    arriving.audit_history();
}

fn seed() -> u64 {
    number("KAPPA_KILLS_SEED", 30) as u64
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Kills a command again and again, each time after progress; answers how often a manifest was left without its commit.
fn kill_repeatedly(command: &Watched<'_>, kills: usize, gate: &Gate) -> usize {
    let mut random = Random::new(seed());
    let mut between = 0;
    let mut last_committed = None;
    for kill in 0..kills {
        let manifests_before = command.manifests();
        let mut running = command.start();
        gate.open();
        let new_manifest = || command.manifests().difference(&manifests_before).any(|(_, number)| *number > 0);
        running.wait_until("a new checkpoint", PROGRESS_LIMIT, new_manifest);
        if kill % 2 == 1 {
            // Somewhere in the work of the next checkpoint.
            std::thread::sleep(Duration::from_millis(random.bits() % REPRIEVE_MS));
        }
        running.kill();
        let committed = command.committed();
        if command.newest() > committed {
            between += 1;
        } else {
            assert!(committed > last_committed, "kill {kill}: nothing was committed since the one before");
        }
        last_committed = committed;
    }
    eprintln!("{between} of {kills} kills hit between manifest and commit");
    between
}
