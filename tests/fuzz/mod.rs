//! What the fuzz targets have found and kept is taken again, without a fuzzer. `README.md` of this folder's parent says how to
//! look for more.

mod inputs;

use std::path::{Path, PathBuf};

#[test]
fn every_target_takes_all_of_its_corpus() {
    for (name, take) in inputs::ALL {
        let files = corpus(name);
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            // Seen when one of them panics.
            eprintln!("{}", file.display());
            take(&std::fs::read(&file).expect("it is there"));
        }
    }
}

#[test]
fn every_target_has_its_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/Cargo.toml");
    let manifest: toml::Table = std::fs::read_to_string(path).expect("it is there").parse().expect("it is TOML");
    let programs = manifest["bin"].as_array().expect("programs").iter();
    let programs: Vec<&str> = programs.map(|program| program["name"].as_str().expect("a name")).collect();
    assert_eq!(programs, inputs::ALL.map(|(name, _)| name));
}

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("folder is readable").path()).collect();
    files.sort();
    files
}
