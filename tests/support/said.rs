//! What commands say, as snapshots keep it: without what differs from run to run.

use std::path::Path;

/// What differs from run to run, whatever the project.
const FILTERS: [(&str, &str); 16] = [
    (r"version [0-9a-f]{8}\b", "version [VERSION]"),
    (r#""version": "[0-9a-f]{8}""#, r#""version": "[VERSION]""#),
    (r"stopped at \S+Z", "stopped at [TIME]"),
    (r", [\d.]+(ms|s|m \d+s) old", ", [AGE] old"),
    (r#""checkpoint_time": "[^"]+""#, r#""checkpoint_time": "[TIME]""#),
    (r"state.location \S*/", "state.location [PROJECT]/"),
    (r"\b[0-9a-f]{32}\b", "[FINGERPRINT]"),
    (r"\(\d{15,}\)", "([SNAPSHOT])"),
    (r#""snapshot_id": \d+"#, r#""snapshot_id": [SNAPSHOT]"#),
    (r"\b[\d.]+ (B|KiB|MiB)\b", "[BYTES]"),
    (r#""bytes": \d+"#, r#""bytes": [BYTES]"#),
    (r"read in [\dms. ]+, [\d,]+ a second", "read in [TIME]"),
    (r"\b(before-[a-z]+)-\d{8}t\d{6}z\b", "$1-[TIME]"),
    (r"made \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "made [TIME]"),
    (r"  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  finished", "  [TIME]  finished"),
    (r"estimate: [\dms. ]+ to run", "estimate: [TIME] to run"),
];

/// How snapshots in a folder (from `tests/` on) are compared, with filters of the caller's own before those for all.
pub fn snapshots(folder: &str, filters: &[(&str, &str)]) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, replacement) in filters.iter().copied().chain(FILTERS) {
        settings.add_filter(pattern, replacement);
    }
    settings
}
