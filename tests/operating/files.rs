//! The files that README's "Running it" offers: they say what they should to those who read them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use crate::support::project::Project;
use crate::support::python_interpreter;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/operating/deploy")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Names of metrics in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("kappa_")).map(str::to_owned).collect()
}

#[test]
fn alerts_and_readme_name_metrics_that_there_are() {
    let known: BTreeSet<String> = kappa::metrics::names().into_iter().collect();
    let readme = std::fs::read_to_string(folder().join("../../../README.md")).expect("README.md");
    for (name, text) in [("alerts.yml", text("alerts.yml")), ("README.md", readme)] {
        let used = metrics_in(&text);
        assert!(used.len() > 5, "{name} names metrics: {used:?}");
        let unknown: Vec<&String> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{name} names {unknown:?}, which aren't shown");
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    let alerts = text("alerts.yml");
    let rules: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    assert!(rules.len() >= 10, "{}", rules.len());
    for rule in rules {
        for part in ["expr: |", "severity: ", "summary: ", "action: "] {
            assert!(rule.contains(part), "{part} in {rule}");
        }
    }
}

#[test]
fn yaml_is_yaml() {
    let program = "import sys, strictyaml\n\
                   for path in sys.argv[1:]:\n\
                   \x20   for document in open(path).read().split('\\n---\\n'):\n\
                   \x20       strictyaml.load(document)\n";
    let files = ["alerts.yml", "kubernetes.yaml"].map(|name| folder().join(name));
    let parsed = Command::new(python_interpreter()).arg("-c").arg(program).args(files).output().expect("Python runs");
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let unit = text("kappa@.service");
    let mut section = "";
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name,
            None => {
                let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("key=value: {line}"));
                assert!(["Unit", "Service", "Install"].contains(&section), "{line}");
                assert!(key.chars().all(char::is_alphanumeric) && !value.is_empty(), "{line}");
            }
        }
    }
    assert!(unit.contains("RestartPreventExitStatus=2 3 4 5"), "a person must act");
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        // Its own checker is only where systemd is.
        return;
    }
    let copy = tempfile::tempdir().expect("a folder");
    let path = copy.path().join("kappa@page_hits.service");
    let users = unit.replace("/usr/local/bin/kappa", env!("CARGO_BIN_EXE_kappa")).replace("User=kappa", "User=root");
    std::fs::write(&path, users).expect("a file");
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().expect("it runs");
    let said = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("kappa@page_hits")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

#[test]
fn the_container_runs_the_binary_and_not_as_root() {
    let file = text("Containerfile").replace("\\\n", " ");
    let instructions = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let known =
        ["FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"].map(str::to_owned);
    let words: Vec<&str> = instructions.map(|line| line.split(' ').next().unwrap_or_default()).collect();
    assert!(words.iter().all(|word| known.contains(&(*word).to_owned())), "{words:?}");
    assert!(file.contains("\nUSER kappa\n") && file.contains("ENTRYPOINT [\"/usr/local/bin/kappa\"]\n"));
    // The version that the package asks for builds it.
    let manifest = include_str!("../../Cargo.toml");
    let version =
        manifest.split("rust-version = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("a version");
    assert!(file.contains(&format!("rust:{version}-")), "{version}");
}

#[test]
fn the_configuration_in_the_manifest_is_one_that_kappa_takes() {
    let manifest = text("kubernetes.yaml");
    let rest = manifest.split("kappa.toml: |\n").nth(1).expect("a configuration");
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let config: String = lines.map(|line| format!("{}\n", line.trim())).collect();
    let project = Project::embedded();
    project.write("kappa.toml", config);
    let shown = project.kappa(&["config"]).ok().stdout;
    assert!(shown.contains("0.0.0.0:8090") && shown.contains("s3://company-kappa/state"), "{shown}");
}
