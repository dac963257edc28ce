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

use std::path::Path;
use std::process::Command;

use arriving::{Arriving, Gate};
use watched::Watched;

#[test]
fn every_bug_of_other_systems_can_still_be_planted_and_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mutants/planted");
    for bug in 1..=16 {
        assert!(folder.join(format!("b{bug}.patch")).exists(), "b{bug}");
    }
    let checked = Command::new(folder.join("run")).arg("--check").output().expect("starts");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
