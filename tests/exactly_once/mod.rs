//! Exactly once: whatever dies or is told to stop when, no row is lost and none comes twice.

mod arriving;
mod audit;
mod kill_points;
mod corruption;
mod full_disk;
mod kills;
mod one_owner;
mod removed_insert;
mod stops;
mod takeovers;
mod watched;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use kappa::kill_point::KillPoint;

use arriving::{Arriving, Gate};
use watched::Watched;

#[test]
fn every_bug_of_other_systems_and_one_for_each_kill_point_can_still_be_planted_and_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mutants/planted");
    let files = std::fs::read_dir(&folder).expect("it is there").map(|file| file.expect("it is there").file_name());
    let patches = files.filter_map(|name| Some(name.to_str()?.strip_suffix(".patch")?.to_owned()));
    let names: BTreeSet<String> =
        patches.flat_map(|patch| patch.split('-').map(str::to_owned).collect::<Vec<_>>()).collect();
    let bugs = (1..=16).map(|number| format!("b{number}"));
    let points = (1..=KillPoint::ALL.len()).map(|number| format!("k{number}"));
    assert_eq!(names, bugs.chain(points).collect());
    let checked = Command::new(folder.join("run")).arg("--check").output().expect("starts");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
