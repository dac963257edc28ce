//! `kappa test` over the fixtures of this repository: each rule in `semantics/`, each job in `jobs/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// `kappa test` with these arguments, in the repository.
fn test(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kappa"));
    command.arg("test").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.output().expect("the binary was built for this test")
}

#[test]
fn every_fixture_passes_and_every_job_has_one() {
    let output = test(&["jobs", "tests/semantics", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}{text}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_str(&text).expect("one JSON document");
    let fixtures = document["fixtures"].as_array().expect("a list");
    let tested: BTreeSet<&str> = fixtures.iter().filter_map(|fixture| fixture["job"].as_str()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let jobs =
        fs::read_dir(root.join("jobs")).expect("there are jobs").map(|entry| entry.expect("it is listed").path());
    let jobs = jobs.filter(|path| path.extension().is_some_and(|extension| extension == "sql"));
    let untested: Vec<String> = jobs
        .map(|path| path.strip_prefix(root).expect("it is in the repository").display().to_string())
        .filter(|job| !tested.contains(job.as_str()))
        .collect();
    assert!(untested.is_empty(), "no fixture in jobs/tests: {untested:?}");
    assert!(fixtures.iter().any(|fixture| fixture["late"].as_u64() > Some(0)), "late records are tested");
}
