//! A live run on the real broker is stopped, and files of its checkpoints are damaged: the next run says so, goes on from the
//! checkpoint before and publishes again what was published since; without any that is good it stops with exit 5 and
//! names the files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arriving::JOB_NAME;
use super::stops::started_in_mid_stream;
use super::watched::ManifestId;
use super::{Arriving, Gate, Watched};

/// For anything that a command does at once, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);
/// No checkpoint but the last one of a run.
const SELDOM: &str = "checkpoint_interval = \"1h\"";

#[test]
fn a_damaged_checkpoint_is_said_and_the_one_before_gone_on_from() {
    let arriving = Arriving::live(60, 2_000, SELDOM);
    let run = Watched::run(&arriving);
    let damages: [fn(&Path); 3] = [
        |path| flip(path, 0),
        |path| std::fs::write(path, "").expect("can be cut off"),
        |path| flip(path, std::fs::read(path).expect("is there").len() - 1),
    ];
    arriving.while_fed(1 + damages.len(), |gate| {
        run_a_little(&run, gate);
        for damage in damages {
            run_a_little(&run, gate);
            let newest = run.newest().expect("a checkpoint");
            damage(&manifest(&arriving, newest));
            let mut running = run.start();
            running.wait_for_stderr(&file(newest), LIMIT);
            running.wait_for_stderr("; job steady goes on from the checkpoint before, ", LIMIT);
            running.terminate();
            running.wait(LIMIT).ok();
        }
    });
    run.finish();
    arriving.audit_result();
}

#[test]
fn without_a_good_checkpoint_a_run_stops_with_exit_5_and_names_the_files() {
    let arriving = Arriving::live(61, 1_000, SELDOM);
    let run = Watched::run(&arriving);
    arriving.while_fed(2, |gate| {
        run_a_little(&run, gate);
        run_a_little(&run, gate);
    });
    let manifests: Vec<_> = run.manifests().into_iter().filter(|(_, number)| *number > 0).collect();
    assert_eq!(manifests.len(), 2, "two are kept");
    let paths: Vec<PathBuf> = manifests.iter().map(|&id| manifest(&arriving, id)).collect();
    let copies: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).expect("is there")).collect();
    for (path, copy) in paths.iter().zip(&copies) {
        std::fs::write(path, &copy[..copy.len() / 2]).expect("can be cut off");
    }
    for _ in 0..2 {
        let stopped = run.start().wait(LIMIT).exits(5).stderr;
        for &id in &manifests {
            assert!(stopped.contains(&file(id)), "{} in {stopped}", file(id));
        }
        assert!(stopped.contains("--savepoint NAME") && stopped.contains("kappa offsets reset"), "{stopped}");
    }
    for (path, copy) in paths.iter().zip(&copies) {
        std::fs::write(path, copy).expect("can be put back");
    }
    run.finish();
    arriving.audit_result();
}

/// Runs until something was taken, and stops with a checkpoint.
fn run_a_little(run: &Watched<'_>, gate: &Gate) {
    let running = started_in_mid_stream(run, gate);
    running.terminate();
    running.wait(LIMIT).ok();
}

fn file((generation, number): ManifestId) -> String {
    format!("{JOB_NAME}/{generation:010}/{number:010}.json")
}

fn manifest(arriving: &Arriving, id: ManifestId) -> PathBuf {
    arriving.project.path().join(".kappa/state").join(file(id))
}

fn flip(path: &Path, index: usize) {
    let mut bytes = std::fs::read(path).expect("is there");
    bytes[index] ^= 1;
    std::fs::write(path, bytes).expect("can be written");
}
