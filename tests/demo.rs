//! The demo, from end to end, as the first command that a new user gives.

use std::path::Path;
use std::process::Command;

/// What differs from run to run: the folder, ids and times taken.
const FILTERS: [(&str, &str); 6] = [
    (r"/\S*/story", "[DIR]"),
    (r"\d{5}-[0-9a-f-]{36}\.metadata", "[VERSION].metadata"),
    (r"\b[0-9a-f]{32}\b", "[FINGERPRINT]"),
    (r"\(\d{15,}\)", "([SNAPSHOT])"),
    (r"\b[\d.]+ (B|KiB|MiB)\b", "[BYTES]"),
    (r"in [\dms. ]+s, [\d,]+ a second|estimate: .*", "[TIME]"),
];

#[test]
fn the_story_ends_with_a_comparison_without_differences() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_kappa"));
    // What is set for the user's own jobs must not reach the demo's.
    demo.env("KAPPA_PROFILE", "prod").env("KAPPA_KAFKA__BOOTSTRAP_SERVERS", "localhost:1");
    let output = demo.arg("demo").arg("--keep").arg(folder.path().join("story")).output().expect("the binary is there");
    let (story, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{story}\n{errors}");
    assert_eq!(errors, "", "a story that goes well says nothing beside it");

    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new("messages/demo"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, replacement) in FILTERS {
        settings.add_filter(pattern, replacement);
    }
    settings.bind(|| insta::assert_snapshot!("story", story));
}
